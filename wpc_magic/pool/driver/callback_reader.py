"""The thread of the done-callbacks reads, while it is idle, the answers that more of them wait for.

Otherwise the driver's thread reads an answer, and wakes the thread that calls back: one wake-up more for each
call, and what the driver's thread does besides.
"""

from __future__ import annotations

import os
import select
from _thread import get_ident
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ..core.slots import Slot
from .callbacks import Posted
from .inbox import Inbox
from .link import Link
from .output import OutputQueue
from .poller import Poller
from .waiters import Waiters
from .waker import open_waker

__all__ = ["CallbackReader"]

_MAX_LINKS = 4
"""Each is parked, and read again, whenever a callback is called."""

_LONE_CALLS = 32
"""After so many calls one by one, more of them are expected. To give a channel from thread to thread costs as
much as several of them save."""


class CallbackReader(Posted):
    """What the thread of the done-callbacks waits for: callbacks, and answers on channels that it owns.

    The driver's thread offers it a channel when it has read an answer that a callback waited for. It takes
    that of a worker with one call at a time, and lets go of it when somebody else wants it, or more calls are
    under way there. A callback may block for ever; meanwhile the channels are parked, so that the driver's
    thread reclaims them; see `Poller`.

    Parameters
    ----------
    waiters : Waiters
        Its lock, and what is done with a channel that is released.
    poller : Poller
        Is notified which channels are read here.
    inbox : Inbox
        Handles the answers.
    output : OutputQueue
        What functions print meanwhile is delivered in its own thread.
    apply : callable
        Performs the effects of the core.
    is_awaited : callable
        Returns whether queued calls wait for a slot.

    Attributes
    ----------
    call : None
        As an owner of a channel, it waits for no call in particular.
    wakers : tuple
        Empty: nothing that it has given to a call is to be taken back.
    """

    call = None
    wakers = ()

    def __init__(
        self,
        waiters: Waiters,
        poller: Poller,
        inbox: Inbox,
        output: OutputQueue,
        apply: Callable[[], object],
        is_awaited: Callable[[Slot], bool],
    ) -> None:
        super().__init__()
        self._lock, self._release = waiters.lock, waiters.release
        self._poller = poller
        self._read_call = inbox.read_call
        self._output = output
        self._apply, self._is_awaited = apply, is_awaited
        self._forget()

    def _forget(self) -> None:
        self._links: list[Link] = []
        self._poll_set: Any = None  # None: the channels have changed
        self._wake_in = self._wake_out = -1  # opened for the first channel
        self._waits = False
        self._thread = 0
        self._reads = False  # whether the thread handles what it has read; it looks for callbacks after that

    # -- the driver's thread, and others, under the driver's lock ------------------------------------------

    def offer(self, link: Link, was_lone: bool) -> None:
        """Have a channel read here from now on, unless it is too busy, or callbacks are being called.

        `was_lone` says that the answer was to the only call of the worker.
        """
        link.lone_callbacks = link.lone_callbacks + 1 if was_lone else 0
        if link.lone_callbacks < _LONE_CALLS or not self._waits or len(self._links) >= _MAX_LINKS:
            return
        if link.owner is not None or link.loops or link.dead or link.lost:
            return
        if self._wake_out < 0:
            try:
                self._wake_in, self._wake_out = open_waker()
            except OSError:  # no descriptor is left: the driver's thread reads it, as before
                return
        self._poller.park(link)
        link.owner = link.reader = self
        link.lone_callbacks = 0
        self._links.append(link)
        self._poll_set = None
        self.wake()

    def keeps(self, link: Link) -> bool:
        """Return whether it will read what a worker answers that was just sent a call.

        Not while a callback is called, which may take long; but if that makes the call, it is about to end.
        """
        return not link.parked or (self._thread == get_ident() and self._is_lone(link, False))

    def give_up(self, link: Link) -> None:
        """Let go of a channel: whoever calls this has it read. What is ready on it may still wake us once."""
        self._remove(link)
        link.owner = None

    def _remove(self, link: Link) -> None:
        self._links.remove(link)
        self._poll_set = None
        link.reader = None

    # -- the thread of the callbacks -------------------------------------------------------------------------

    def wake(self) -> None:
        """Wake the thread, unless it is this one, which looks for callbacks next."""
        # Whoever has set it has written, too.
        if self._posted.is_set() or (self._reads and self._thread == get_ident()):
            return
        super().wake()
        if self._wake_out >= 0:
            with suppress(OSError):  # many wake-ups are pending already
                os.write(self._wake_out, b"\1\0\0\0\0\0\0\0")

    def wait(self, timeout: float) -> bool:
        """Wait until something was posted, or read.

        Return False after the timeout; then it owns no channel any more.
        """
        self._thread = get_ident()
        self._waits = True
        try:
            # Only this thread closes the descriptor. After a failure nothing is read any more.
            if self._wake_in < 0 or self._lock.torn is not None:
                woken = super().wait(timeout)
            else:
                woken = self._wait_at_channels(timeout)
            if not woken and self._lock.torn is None:
                with self._lock:
                    self._waits = False  # here, so that no channel is offered after this
                    self._release_all()
        finally:
            self._waits = False
        return woken

    def _wait_at_channels(self, timeout: float) -> bool:
        with self._lock:
            for link in self._links:
                self._poller.hand_over(link)
            if self._poll_set is None:
                self._poll_set = select.poll()
                self._poll_set.register(self._wake_in, select.POLLIN)
                for link in self._links:
                    self._poll_set.register(link.call_fd, select.POLLIN)
            poll_set = self._poll_set
        # Set before there was a descriptor to wake us by.
        ready = poll_set.poll(0 if self._posted.is_set() else timeout * 1000)
        is_posted = self._posted.is_set()
        self._posted.clear()
        if ready or is_posted:  # in either case the channels are parked while callbacks are called
            with self._lock:
                self._reads = True
                try:
                    self._read({fd for fd, _ in ready})
                finally:
                    self._reads = False
            if self._output.waiting:
                self._output.deliver_soon()
        return bool(ready) or is_posted

    def _read(self, fds: set[int]) -> None:
        """Read once from each channel that is ready, and park those of lone calls. Under the lock."""
        self._waits = False
        if self._wake_in in fds:
            with suppress(BlockingIOError):
                os.read(self._wake_in, 4096)
        if self._lock.torn is None:
            for link in list(self._links):
                if link.call_fd in fds:
                    self._read_call(link)
            self._apply()
        for link in list(self._links):
            if self._is_lone(link, link.call_fd in fds):
                self._poller.park(link)
            else:
                self._let_go(link)

    def _is_lone(self, link: Link, was_read: bool) -> bool:
        """Return whether a worker has no more to do than a call that callbacks may wait for."""
        if link.dead or link.lost or len(link.slot.sent) > (not was_read):
            return False
        return not self._is_awaited(link.slot)

    def _let_go(self, link: Link) -> None:
        self._remove(link)
        self._release(link, self)

    def _release_all(self) -> None:
        for link in list(self._links):
            self._let_go(link)

    def close(self) -> None:
        """Close what it is woken by: the thread is about to exit."""
        fds, self._wake_in, self._wake_out = {self._wake_in, self._wake_out}, -1, -1
        self._poll_set = None
        for fd in fds:
            if fd >= 0:
                os.close(fd)

    def after_fork(self) -> None:
        """Let go of everything, in a fork."""
        self.close()
        self._forget()
        super().after_fork()
