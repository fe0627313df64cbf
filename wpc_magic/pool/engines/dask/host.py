"""The process on a host that starts worker processes, and tells the pool what becomes of them.

It is a single thread that never runs anybody's code, so it answers at once. Its end is that of its workers;
it ends when the pool's connection does, or the Dask worker.
"""

from __future__ import annotations

import _socket
import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from ...errors import StartError
from ...wire import fault_dump
from ...wire.tls import Session, server_context
from ...wire.tls_channel import TlsSocket
from ..archive import place
from ..oom_kills import OomKills
from ..process import WorkerProcess
from . import messages
from .carriers import Carriers
from .greetings import Greetings
from .hosted_workers import HostedWorker
from .kept_blocks import DescriptorLimit, KeptBlocks
from .reports import Reports
from .silence import keep_alive

__all__ = ["main"]

_BUSY_S = 0.01  # how often status pages are looked at while something happens
_IDLE_S = 0.05
_BUSY_FOR_S = 0.5
_FACTS_S = 1.0
_DUMPS_S = 3.0  # how long a dump is looked for after it was asked for
_UNREAD_S = 2.0  # how long the pool may take to receive what a worker has sent before it exited
_READ = 1 << 16
_PIPE_READS = 32


class _Host:
    """Serves one pool.

    Parameters
    ----------
    secret : bytes
        What each connection has to begin with.
    bind : str
        The address to listen at.
    certificates : dict or None
        What `tls.server_context` takes, if direct connections are to be encrypted.
    path : list of str
        The ``sys.path`` of the Dask worker.
    folder : str
        Where archives are unpacked.
    silence_s : float
        How long nothing may be heard of the pool's machine, in seconds.
    """

    def __init__(
        self,
        secret: bytes,
        bind: str,
        certificates: dict[str, Any] | None,
        path: list[str],
        folder: str,
        silence_s: float,
    ) -> None:
        self._silence_s = silence_s
        self._beat_s = min(1.0, silence_s / 5)
        self._beat_at = 0.0
        self._folder = folder
        self._uploads: dict[str, str] = {}  # the folder of each archive, by its digest
        self._not_placed = ""
        self._path = path
        self._selector = selectors.DefaultSelector()
        self._certificates = b"" if certificates is None else json.dumps(certificates).encode()
        context = None if certificates is None else server_context(certificates)
        self._greetings = Greetings(self._watch, self._unwatch, secret, bind, context, self._connected)
        self.port = self._greetings.port
        self._ends: dict[int, dict[int, tuple[socket.socket, bool]]] = {}
        self._asked: dict[int, messages.Start] = {}
        self._workers: dict[int, HostedWorker] = {}
        self._reports: Reports | None = None
        self._facts_at = self._busy_until = 0.0
        self._oom_kills = OomKills()
        self._behind: list[tuple[HostedWorker, int]] = []  # pipes that are not read
        self._kept = KeptBlocks(self._lend, self._look_for_values)
        self._carriers = Carriers(self._selector, self._kept)
        self._blocks: _socket.socket | None = None
        self._limit = DescriptorLimit()
        self._over = False

    def watch_parents(self, stdin: int) -> None:
        """End with the Dask worker."""
        self._watch(stdin, lambda: self._end_if(not os.read(stdin, _READ)))
        if hasattr(os, "pidfd_open"):
            self._watch(os.pidfd_open(os.getppid()), lambda: self._end_if(True))

    def _end_if(self, ended: bool) -> None:
        self._over = self._over or ended

    def _watch(self, file: Any, handle: Callable[[], object]) -> None:
        self._selector.register(file, selectors.EVENT_READ, handle)

    def _unwatch(self, file: Any) -> None:
        try:
            self._selector.unregister(file)
        except (KeyError, ValueError):
            pass

    def serve(self) -> None:
        """Serve until it is over, and kill all workers."""
        try:
            while not (self._over or (self._reports is not None and self._reports.is_over)):
                for key, _ in self._selector.select(self._pause()):
                    key.data()
                self._look()
        finally:
            for worker in self._workers.values():
                worker.process.kill()
            for worker in self._workers.values():
                worker.process.end()

    def _pause(self) -> float | None:
        if self._workers:
            return _BUSY_S if time.monotonic() < self._busy_until else _IDLE_S
        if self._greetings.is_busy or self._kept.has_free or self._reports is not None:
            return self._beat_s
        return None

    # -- connections ------------------------------------------------------------------------------------

    def _connected(self, sock: socket.socket, what: int, key: int, session: Session | None) -> None:
        """Take a connection of the pool, which is new: each is made once."""
        keep_alive(sock, self._silence_s)
        is_secure, what = bool(what & messages.SECURE), what & ~messages.SECURE
        if what == messages.EVENTS and self._reports is None:
            self._reports = Reports(self._selector, sock, session, self._handle, self._read_on)
            self._send("hello", socket.gethostname())
        elif what == messages.BLOCKS and self._blocks is None:
            self._blocks = sock if session is None else TlsSocket(sock, session)
            self._watch(self._blocks, self._on_blocks)
        elif what in (messages.GIVE, messages.TAKE) and not is_secure:  # they go through Dask then
            self._carriers.accept(sock, what, key)
        elif what in (messages.CALL, messages.CONTROL) and what not in self._ends.get(key, ()):
            self._ends.setdefault(key, {})[what] = sock, is_secure
            self._start(key)
        else:
            sock.close()

    def _on_blocks(self) -> None:
        assert self._blocks is not None
        try:
            self._over = not self._receive_blocks(self._blocks) or self._over
        except OSError:
            self._over = True
        if self._carriers.waits:
            self._carriers.look()

    def _receive_blocks(self, sock: _socket.socket) -> bool:
        """Receive once; return whether the connection is still open."""
        if not isinstance(sock, TlsSocket):
            return self._kept.receive(sock)
        try:
            is_open = sock.receive()
        except BlockingIOError:
            return True
        while sock.session.has_more:  # a poll does not show it
            self._kept.receive(sock)
        return is_open

    def _send(self, *message: Any) -> None:
        if self._reports is not None:
            self._reports.send(*message)

    def _read_on(self) -> None:
        """Read the pipes again that were not read while the pool was behind."""
        behind, self._behind = self._behind, []
        for worker, fd in behind:
            if worker.ended is None:
                self._watch_pipe(worker, fd)

    # -- what the pool wants ----------------------------------------------------------------------------

    def _handle(self, what: str, key: Any, *rest: Any) -> None:
        if what == "start":
            self._asked[key.key] = key
            self._start(key.key)
            return
        if what == "upload":
            try:
                self._uploads[key] = place(key, rest[0], self._folder)
            except OSError as error:
                self._not_placed = f"an upload cannot be unpacked in {self._folder}: {error}"
            return
        worker = self._workers.get(key)
        if worker is None or worker.ended is not None:
            return
        if what == "kill":
            worker.process.kill()
        elif what == "signal":
            if rest[0] == fault_dump.SIGNAL:
                worker.dump_until = time.monotonic() + _DUMPS_S
                self._busy_until = max(self._busy_until, worker.dump_until)
            worker.process.signal(rest[0])
        elif what == "clear":
            worker.clear_dump(rest[0])

    def _start(self, key: int) -> None:
        """Start a worker, if everything for it is there."""
        asked, ends = self._asked.get(key), self._ends.get(key, {})
        if asked is None or len(ends) < 2:
            return
        del self._asked[key], self._ends[key]
        (call, is_secure), (control, _) = ends[messages.CALL], ends[messages.CONTROL]
        channels = call, control
        try:
            if not all(digest in self._uploads for digest in asked.uploads):
                raise StartError(self._not_placed)
            folder = None if asked.folder is None else os.path.expanduser(asked.folder)
            process = WorkerProcess.start(
                environ={**os.environ, **asked.environ},
                cwd=folder,
                channels=channels,
                certificates=self._certificates if is_secure else b"",
            )
        except StartError as error:
            for sock in channels:
                sock.close()
            self._send("failed", key, str(error))
            return
        self._limit.give_back(process.pid)
        worker = self._workers[key] = HostedWorker(key, process)
        for fd in worker.pipes:
            self._watch_pipe(worker, fd)
        self._watch(process.blocks, lambda: self._look_for_values(key))
        if process.sentinel_fd >= 0:
            self._watch(process.sentinel_fd, lambda: self._exited(worker))
        uploaded = [self._uploads[digest] for digest in asked.uploads]
        more = [each for each in asked.path if each not in self._path and os.path.isdir(each)]
        path = [*uploaded, *self._path, *more]
        self._busy_until = time.monotonic() + _BUSY_FOR_S
        self._send("started", key, process.pid, path)

    # -- blocks -----------------------------------------------------------------------------------------

    def _lend(self, key: int, lease: int, fd: int) -> None:
        """Pass the descriptor of a block to a worker, now or when there is room for it."""
        worker = self._workers.get(key)
        if worker is not None and worker.ended is None:
            worker.lend(lease, fd)

    def _look_for_values(self, key: int) -> None:
        """Take the descriptors of values that a worker leaves here, as far as they have arrived."""
        worker = self._workers.get(key)
        if worker is None or worker.blocks_ended:
            return
        try:
            while (left := worker.process.kept_descriptor()) is not None:
                self._kept.arrived(key, *left)
        except EOFError:
            worker.blocks_ended = True
            self._unwatch(worker.process.blocks)

    # -- what becomes of workers ------------------------------------------------------------------------

    def _watch_pipe(self, worker: HostedWorker, fd: int) -> None:
        self._watch(fd, lambda: self._read_pipe(worker, fd))

    def _read_pipe(self, worker: HostedWorker, fd: int) -> bool:
        """Read once from a pipe, unless the pool is behind; return whether there was anything."""
        if self._reports is not None and self._reports.is_behind and worker.ended is None:
            self._unwatch(fd)
            self._behind.append((worker, fd))
            return False  # the worker waits, as it would at a full pipe
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if data:
            self._send("output", worker.key, worker.pipes[fd], data)
        else:
            self._unwatch(fd)
        return bool(data)

    def _exited(self, worker: HostedWorker) -> None:
        process = worker.process
        exitcode = process.poll()
        if exitcode is None or worker.ended is not None:
            return
        if process.sentinel_fd >= 0:
            self._unwatch(process.sentinel_fd)
        oom = self._oom_kills.happened_recently() if exitcode == -9 else None
        worker.ended = messages.Exit(exitcode, process.is_exit_known, process.peak_bytes, oom)
        for fd in worker.pipes:
            for _ in range(_PIPE_READS):
                if not self._read_pipe(worker, fd):
                    break
            self._unwatch(fd)
        worker.end_sending()
        worker.forget_at = time.monotonic() + _UNREAD_S

    def _look(self) -> None:
        """Look at what nobody tells: pages, dumps, and what has become of what was sent."""
        now = time.monotonic()
        self._greetings.close_late_ones(now)
        self._kept.trim(now)
        pages = []
        for worker in list(self._workers.values()):
            worker.lend_rest()
            if worker.process.sentinel_fd < 0:
                self._exited(worker)
            seen = worker.new_page()
            if seen is not None:
                pages.append(seen)
                self._busy_until = max(self._busy_until, now + _BUSY_FOR_S)
            if worker.dump_until > now or worker.ended is not None:
                dump = worker.new_dump()
                if dump is not None:
                    self._send("dump", worker.key, *dump)
        if pages:
            self._send("pages", 0, time.monotonic_ns(), pages)
        if now >= self._beat_at and self._reports is not None:
            self._beat_at = now + self._beat_s
            self._send("alive", 0)
        if now >= self._facts_at and self._workers:
            self._facts_at = now + _FACTS_S
            self._oom_kills.refresh(now)
            self._send("facts", 0, [each.facts() for each in self._workers.values()])
        for worker in list(self._workers.values()):
            if worker.ended is not None and (now > worker.forget_at or worker.is_received):
                self._forget(worker, worker.ended)

    def _forget(self, worker: HostedWorker, ended: messages.Exit) -> None:
        self._look_for_values(worker.key)
        if not worker.blocks_ended:
            self._unwatch(worker.process.blocks)
        del self._workers[worker.key]
        self._send("exit", worker.key, ended)
        worker.close()


def main() -> None:
    """Serve one pool, which the agent names in the first line of stdin."""
    line = b""
    while not line.endswith(b"\n"):
        read = os.read(0, 1)  # no more than the line: what follows is the end of the Dask worker
        if not read:
            return
        line += read
    told = json.loads(line)
    secret = bytes.fromhex(told["secret"])
    host = _Host(secret, told["bind"], told["tls"], told["path"], told["folder"], told["silence_s"])
    host.watch_parents(0)
    os.write(1, json.dumps({"port": host.port, "pid": os.getpid()}).encode() + b"\n")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.close(nothing)
    sys.argv[1:] = []
    host.serve()
