"""A worker process on a machine of the cluster, as the driver sees it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from ...wire import status_page
from ...wire.block_ref import BlockRef
from ...wire.blocks import Block
from ...wire.channel import NO_SIGPIPE, Channel, without_sigpipe
from .copies import HostCopies
from .messages import Exit

__all__ = ["RemoteProcess"]

_EVERYTHING = (1 << 64) - 1
_UNKNOWN = 255
_WINDOW_NS = 60 * 10**9
_BITS = 1 << 64


class Owner(Protocol):
    """The host that a process is on; see `hosts.Host`."""

    address: str
    clock: Clock
    copies: HostCopies
    is_relayed: bool
    offers: Mapping[str, float]

    def post(self, *message: Any) -> None:
        """Send a message to the host process; any thread may call this."""

    def closed(self, key: int) -> None:
        """Forget a process: the driver has closed it. Any thread may call this."""


class Clock:
    """Translates the monotonic clock of another machine.

    A message that says what that clock shows arrives later than it was sent; the quickest one of the last two
    minutes counts. The clocks of two machines drift by less than that in so short a time.
    """

    def __init__(self) -> None:
        self._best = self._before = 1 << 62
        self._since = 0

    def heard(self, theirs: int, ours: int) -> None:
        """Take in what their clock showed, and ours when the message arrived, in nanoseconds.

        Examples
        --------
        >>> clock = Clock()
        >>> for theirs, ours in (100, 1_130), (200, 1_205), (300, 1_390):
        ...     clock.heard(theirs, ours)
        >>> clock.ours(400)
        1405
        """
        if ours - self._since > _WINDOW_NS:
            self._before, self._best, self._since = self._best, 1 << 62, ours
        self._best = min(self._best, ours - theirs)

    def ours(self, theirs: int) -> int:
        """Return what our clock shows when theirs shows `theirs`; now, if nothing was heard yet."""
        offset = min(self._best, self._before)
        return time.monotonic_ns() if offset == 1 << 62 else theirs + offset


class _RemoteUsage:
    """What a process uses, as its host has told last."""

    def __init__(self) -> None:
        self.facts: tuple[int | None, float | None, float, int | None, str] = (None, None, 0.0, None, "")

    def memory_and_cpu(self) -> tuple[int | None, float | None]:
        return self.facts[:2]

    def cpu_s(self) -> float:
        return self.facts[2]

    def private_memory(self) -> int | None:
        return self.facts[3]

    def status(self) -> str:
        return self.facts[4]


class _RemoteDump:
    """What the `faulthandler` of a process has written, as its host has told last."""

    def __init__(self, clear: Callable[[int], object]) -> None:
        self._clear = clear
        self._generation = 0
        self._text = ""

    def clear(self) -> None:
        self._generation += 1
        self._text = ""
        self._clear(self._generation)

    def read(self) -> str:
        return self._text

    def arrived(self, generation: int, text: str) -> None:
        """Take in a dump, unless it was written before the last `clear`."""
        if generation == self._generation:
            self._text = text


class RemoteProcess:
    """One worker process elsewhere; see `engine.Process`.

    What its host tells arrives in the thread of Dask's event loop; all else may be called by any thread.

    Parameters
    ----------
    key : int
        Its number among those of the pool.
    pid : int
        Its process id, there.
    host : str
        The name of the host.
    owner : Owner
        Passes on what is asked of the process.
    channels : tuple of socket.socket or Channel
        The pool's ends of its call and control channels.
    path : list of str
        The ``sys.path`` that it is to have.

    Attributes
    ----------
    place : object
        What keeps its place on the cluster, until this is closed.
    """

    blocks: socket.socket | None = None
    shares_page = False

    def __init__(
        self,
        key: int,
        pid: int,
        host: str,
        owner: Owner,
        channels: tuple[socket.socket | Channel, socket.socket | Channel],
        path: list[str],
    ) -> None:
        self.key, self.pid, self.host = key, pid, host
        self.is_relayed = owner.is_relayed
        self.place_name, self.offers = owner.address, owner.offers
        self.call, self.control = channels
        self.lend: Callable[[Block, int], object] | None = partial(owner.copies.lend, key)
        self.adopt: Callable[[BlockRef], object] | None = partial(owner.copies.adopt, key)
        self.path: list[str] | None = path
        self.peak_bytes = 0
        self.is_exit_known = True
        self.lost = ""
        self.oom_killed: bool | None = None
        self.started_ns = time.time_ns()
        self.place: object = None
        self.usage = _RemoteUsage()
        self.dump = _RemoteDump(lambda generation: owner.post("clear", key, generation))
        self._owner = owner
        self._exitcode: int | None = None
        self._begun = 0
        self._since = 0
        self._lock = threading.Lock()  # nothing is closed while it is written to
        self._closed = False
        with contextlib.ExitStack() as undo:
            self.page = status_page.StatusPage()
            undo.callback(self.page.close)
            self.page.close_fd()
            pairs = []
            for _ in range(3):
                ours, theirs = socket.socketpair()
                undo.callback(ours.close)
                undo.callback(theirs.close)
                pairs.append((ours, theirs))
            undo.pop_all()
        for ours, theirs in pairs:
            ours.setblocking(False)
            theirs.setblocking(False)
            without_sigpipe(theirs)
        self.stdout_fd, self.stderr_fd, self.sentinel_fd = (ours.detach() for ours, _ in pairs)
        self._feeds = [theirs for _, theirs in pairs]

    @property
    def worker_pid(self) -> int:
        """The process id of the worker, there."""
        try:
            return int(self.page.words[status_page.PID]) or self.pid
        except ValueError:  # it is unmapped
            return self.pid

    def local_ns(self, ns: int) -> int:
        """Return a time of its machine's clock as one of ours, in nanoseconds."""
        return self._owner.clock.ours(ns)

    def signal(self, signum: int) -> bool:
        """Have a signal sent to it; return False if it is known to have ended."""
        if self._exitcode is not None:
            return False
        self._owner.post("signal", self.key, signum)
        return True

    def kill(self) -> None:
        """Have it killed, with all that it has started."""
        if self._exitcode is None:
            self._owner.post("kill", self.key)

    def poll(self) -> int | None:
        """Return the exit code if it is known to have exited, else None; 255 if nobody knows it."""
        return self._exitcode

    def end(self) -> None:
        """Have it killed."""
        self.kill()

    def wait_in_thread(self, ended: Callable[[], None]) -> None:
        """Do nothing: its host waits for it."""

    def after_fork(self) -> None:
        """Take back the lock, in a fork, where nothing is told to the host any more."""
        self._lock = threading.Lock()
        self._exitcode = _UNKNOWN

    def close(self) -> None:
        """Close everything; if it still runs, its host kills it."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            fds = [self.stdout_fd, self.stderr_fd, self.sentinel_fd]
            self.stdout_fd = self.stderr_fd = self.sentinel_fd = -1
            for feed in self._feeds:
                feed.close()
        for fd in fds:
            os.close(fd)
        self.call.close()
        self.control.close()
        self.page.close()
        self.place = None
        self._owner.closed(self.key)

    # -- what its host tells ----------------------------------------------------------------------------

    async def feed(self, stream: int, data: bytes) -> None:
        """Have the driver read what it has written to its stdout (0) or stderr (1)."""
        loop = asyncio.get_running_loop()
        left = memoryview(data)
        while left:
            with self._lock:
                if self._closed:
                    return
                feed = self._feeds[stream]
                try:
                    left = left[feed.send(left, NO_SIGPIPE) :]
                    continue
                except BlockingIOError:
                    pass
                except OSError:  # the driver has done with it
                    return
                writable = loop.create_future()
                fd = os.dup(feed.fileno())  # it may be closed meanwhile
            try:
                loop.add_writer(fd, _set, writable)
                await writable
            finally:
                loop.remove_writer(fd)
                os.close(fd)

    def show(self, page: bytes, installing: str) -> None:
        """Show what its status page shows; the time since when a call runs in our time."""
        words = list(memoryview(page).cast("Q"))
        begun, since = words[status_page.BEGUN], words[status_page.SINCE]
        if since and begun == self._begun and self._since:
            since = self._since  # not a little other each time
        elif since:
            since = self.local_ns(since)
        self._begun, self._since = begun, since
        words[status_page.SINCE] = since
        # The answer itself takes another way, and may come later.
        words[status_page.ANSWERED] = 0
        with self._lock:
            if not self._closed:
                self.page.paste(words, installing)

    def exited(self, told: Exit) -> None:
        """Have the driver notice that it has exited, and how, unless its host was lost meanwhile."""
        if self._exitcode is not None:
            return
        self.is_exit_known, self.peak_bytes = told.is_exit_known, told.peak_bytes
        self.oom_killed = told.oom_killed
        self._over(told.exitcode)

    def lose(self, why: str) -> None:
        """Have the driver notice that nobody knows what becomes of it: all that was sent may have begun."""
        if self._exitcode is None:
            self.lost, self.is_exit_known = why, False
            with self._lock:
                if not self._closed:
                    self.page.words[status_page.BEGUN] = _EVERYTHING
            self._over(_UNKNOWN)

    def _over(self, exitcode: int) -> None:
        with self._lock:
            self._exitcode = exitcode
            for feed in self._feeds:
                feed.close()  # the end of file of the pipes, and the signal of the sentinel


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
