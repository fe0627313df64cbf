"""Which thread polls which channel: the selector of the driver's thread, and the parked channels.

Any thread may read a call channel, since reads do not block and are done under the lock. So it is only a
matter of speed who does, and there is one rule: the channel of a worker that holds calls is polled by the
driver's thread, a waiting thread, or an event loop. A channel that a waiter has just left is *parked*: nobody
polls it for a moment, because most likely the next call is awaited in the same way.
`Poller.reclaim_parked` reclaims it after `PARKED_S`.

All methods except `wake` are called under the driver's lock.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from collections.abc import Callable

from ..wire.channel import Channel
from .condition import MAX_WAIT_S
from .link import Link

__all__ = ["PARKED_S", "Poller"]

PARKED_S = 0.05

Handlers = dict[str, Callable[[Link], None]]


class Poller:
    """The selector of the driver's thread.

    Attributes
    ----------
    handlers : dict
        Called in the driver's thread, without the lock, when a link's ``call``, ``control``, ``stdout``,
        ``stderr`` or ``exit`` is ready.
    wakes_at : float
        When the selector's timeout expires.
    """

    def __init__(self) -> None:
        self.handlers: Handlers = {}
        self._selector: selectors.BaseSelector | None = None
        self._wake_in = self._wake_out = -1
        self._parked: set[Link] = set()
        self._reclaiming = False  # whether `reclaim_parked` is called periodically
        self._parked_again = False  # whether any was parked since the last time that it was
        self._reclaim_all = False
        self.wakes_at = 0.0

    def open(self) -> None:
        """Create the selector."""
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = os.pipe()
        for fd in (self._wake_in, self._wake_out):
            os.set_blocking(fd, False)
        self._selector.register(self._wake_in, selectors.EVENT_READ, self._on_wake)

    def close(self) -> None:
        """Close the selector: all workers have exited."""
        if self._selector is not None:
            self._selector.close()
            self._selector = None
            fds, self._wake_in, self._wake_out = (self._wake_in, self._wake_out), -1, -1
            for fd in fds:
                if fd >= 0:
                    os.close(fd)
            for link in list(self._parked):
                self._unpark(link)

    def after_fork(self) -> None:
        """Close the selector, in a fork; a kqueue does not exist there."""
        if self._selector is not None:
            with contextlib.suppress(OSError):
                self._selector.close()
        self.close()

    def sleep(self, seconds: float | None) -> float:
        """Wait until something is ready, and handle it. In the driver's thread, without the lock.

        Returns
        -------
        float
            How much longer it has slept than it was to, in seconds.
        """
        assert self._selector is not None
        # The system does not take arbitrary timeouts; one wake-up in eleven days does no harm.
        seconds = MAX_WAIT_S if seconds is None else min(seconds, MAX_WAIT_S)
        due = time.monotonic() + seconds
        ready = self._selector.select(seconds)
        late = time.monotonic() - due
        for key, _ in ready:
            key.data()
        return max(0.0, late)

    def wake(self) -> None:
        """Wake the driver's thread. Any thread may call this, with or without the lock."""
        fd = self._wake_out
        if fd >= 0:
            try:
                os.write(fd, b"\0")
            except OSError:  # it is awake already, or has ended
                pass

    def _on_wake(self) -> None:
        try:
            os.read(self._wake_in, 4096)
        except BlockingIOError:
            pass

    def wake_before(self, due: float | None) -> None:
        """Make the thread wake up at a time, unless it does so before that anyway."""
        if due is not None and due < self.wakes_at - 0.001:
            self.wakes_at = due
            self.wake()

    # -- one link ---------------------------------------------------------------------------------------

    def add(self, link: Link) -> None:
        """Poll everything of a new link."""
        assert self._selector is not None
        self.call(link, True)
        self.control(link)
        process = link.process
        for fd, name in ((process.stdout_fd, "stdout"), (process.stderr_fd, "stderr")):
            self._selector.register(fd, selectors.EVENT_READ, self._handler(name, link))
        if process.sentinel_fd >= 0:
            self._selector.register(process.sentinel_fd, selectors.EVENT_READ, self._handler("exit", link))
        else:
            process.wait_in_thread(self._handler("exit", link))

    def _handler(self, name: str, link: Link) -> Callable[[], None]:
        handle = self.handlers[name]
        return lambda: handle(link)

    def call(self, link: Link, polled: bool) -> None:
        """Poll a link's call channel for reading, or stop that; pending output is flushed in any case."""
        if link.lost:
            return
        link.polled = polled
        mask = (selectors.EVENT_READ if polled else 0) | (selectors.EVENT_WRITE if link.call.outbox else 0)
        if mask != link.call_mask:
            self._select(link.call, link.call_mask, mask, self._handler("call", link))
            link.call_mask = mask

    def control(self, link: Link) -> None:
        """Poll a link's control channel for reading, and for writing if there is pending output."""
        if link.lost:
            return
        mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.control.outbox else 0)
        if mask != link.control_mask:
            self._select(link.control, link.control_mask, mask, self._handler("control", link))
            link.control_mask = mask

    def _select(self, channel: Channel, old: int, new: int, handler: Callable[[], object]) -> None:
        selector = self._selector
        if selector is None:
            return
        if not old:
            selector.register(channel, new, handler)
        elif new:
            selector.modify(channel, new, handler)
        else:
            selector.unregister(channel)

    def remove_channels(self, link: Link) -> None:
        """Stop polling the channels of a link."""
        for channel, mask in ((link.call, link.call_mask), (link.control, link.control_mask)):
            if mask:
                self._select(channel, mask, 0, lambda: None)
        link.call_mask = link.control_mask = 0
        self._unpark(link)

    def remove_pipe(self, fd: int) -> None:
        """Stop polling a pipe."""
        if self._selector is not None:
            try:
                self._selector.unregister(fd)
            except (KeyError, ValueError):  # it was at its end of file, and has been removed before
                pass

    def remove(self, link: Link) -> None:
        """Stop polling anything of a link."""
        self.remove_channels(link)
        for fd in (link.process.stdout_fd, link.process.stderr_fd, link.process.sentinel_fd):
            self.remove_pipe(fd)

    # -- parked channels --------------------------------------------------------------------------------

    @property
    def has_parked(self) -> bool:
        """Whether any channel is parked."""
        return bool(self._parked)

    def hand_over(self, link: Link) -> None:
        """Stop polling a call channel, since a waiter reads it now."""
        link.touched += 1
        self._unpark(link)
        self.call(link, False)

    def park(self, link: Link) -> None:
        """Stop polling a channel for a moment: the next waiter is likely to come."""
        link.touched += 1
        if link.polled:
            self.call(link, False)
        if link.parked:
            return
        link.parked = self._parked_again = True
        self._parked.add(link)
        if not self._reclaiming:
            self._reclaiming = True
            self.wake()

    def _unpark(self, link: Link) -> None:
        link.parked = False
        self._parked.discard(link)

    def reclaim(self, link: Link) -> None:
        """Poll a channel now."""
        self._unpark(link)
        self.call(link, True)

    def reclaim_all_soon(self) -> None:
        """Request that all channels are polled soon. Any thread may call this, with or without the lock."""
        self._reclaim_all = True
        self.wake()

    def reclaim_parked(self) -> float | None:
        """Reclaim parked channels that no waiter has used; return when to check again, in seconds."""
        for link in list(self._parked):
            if self._reclaim_all or link.touched == link.touched_at_check:
                link.vacate()
                self.reclaim(link)
            link.touched_at_check = link.touched
        # Once more after the last was parked: those for the time of a callback are not when this is called.
        self._reclaiming = bool(self._parked) or self._parked_again
        self._reclaim_all = self._parked_again = False
        return PARKED_S if self._reclaiming else None
