"""Who reads which channel: the selector of the driver's thread, and what is left to others for a while.

Any thread may read a call channel, since it is read without waiting and under the lock. So who reads is a
matter of speed alone, and there is one rule: a worker that holds calls has its channel watched by the
driver's thread, or a waiting thread at it, or an event loop. A channel that a waiter has just left is watched
by nobody: most likely the next call is waited for in the same way. `Watch.revisit` takes it back after
`LEFT_S`.

All methods are called under the driver's lock, but for `wake`.
"""

from __future__ import annotations

import os
import selectors
from collections.abc import Callable

from ..wire.channel import Channel
from .gates import LONGEST_S
from .link import Link

__all__ = ["LEFT_S", "Watch"]

LEFT_S = 0.05

Handlers = dict[str, Callable[[Link], None]]


class Watch:
    """The selector of the driver's thread.

    Parameters
    ----------
    handlers : dict
        What is called in the driver's thread, without the lock, when a link's ``call``, ``control``,
        ``stdout``, ``stderr`` or ``exit`` is ready.

    Attributes
    ----------
    sleeps_until : float
        When the thread wakes up by itself.
    """

    def __init__(self, handlers: Handlers) -> None:
        self._handlers = handlers
        self._selector: selectors.BaseSelector | None = None
        self._wake_in = self._wake_out = -1
        self._left: set[Link] = set()
        self._ticking = False
        self._look_again = False
        self.sleeps_until = 0.0

    def open(self) -> None:
        """Make the selector."""
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = os.pipe()
        for fd in (self._wake_in, self._wake_out):
            os.set_blocking(fd, False)
        self._selector.register(self._wake_in, selectors.EVENT_READ, self._on_wake)

    def close(self) -> None:
        """Close it: every worker is gone."""
        if self._selector is not None:
            self._selector.close()
            self._selector = None
            fds, self._wake_in, self._wake_out = (self._wake_in, self._wake_out), -1, -1
            for fd in fds:
                if fd >= 0:
                    os.close(fd)
            for link in list(self._left):
                self._not_left(link)

    def sleep(self, seconds: float | None) -> None:
        """Wait until something is ready, and handle it. In the driver's thread, without the lock."""
        assert self._selector is not None
        # The system takes no time of any length; to wake up once in eleven days does no harm.
        for key, _ in self._selector.select(None if seconds is None else min(seconds, LONGEST_S)):
            key.data()

    def wake(self) -> None:
        """Wake the driver's thread. Any thread may, with the lock or without."""
        fd = self._wake_out
        if fd >= 0:
            try:
                os.write(fd, b"\0")
            except OSError:  # it is awake already, or over
                pass

    def _on_wake(self) -> None:
        try:
            os.read(self._wake_in, 4096)
        except BlockingIOError:
            pass

    def wake_by(self, due: float | None) -> None:
        """Have the thread awake at a moment; it is left asleep if it will be anyway."""
        if due is not None and due < self.sleeps_until - 0.001:
            self.sleeps_until = due
            self.wake()

    # -- one link ---------------------------------------------------------------------------------------

    def add(self, link: Link) -> None:
        """Watch all of a new link."""
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
        handle = self._handlers[name]
        return lambda: handle(link)

    def call(self, link: Link, watched: bool) -> None:
        """Read a link's call channel from now on, or not; what waits to be sent is sent in any case."""
        if link.lost:
            return
        link.watched = watched
        mask = (selectors.EVENT_READ if watched else 0) | (selectors.EVENT_WRITE if link.call.outbox else 0)
        if mask != link.call_mask:
            self._select(link.call, link.call_mask, mask, self._handler("call", link))
            link.call_mask = mask

    def control(self, link: Link) -> None:
        """Read a link's control channel, and send what waits to be sent."""
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

    def drop_channels(self, link: Link) -> None:
        """Watch the channels of a link no more."""
        for channel, mask in ((link.call, link.call_mask), (link.control, link.control_mask)):
            if mask:
                self._select(channel, mask, 0, lambda: None)
        link.call_mask = link.control_mask = 0
        self._not_left(link)

    def drop_pipe(self, fd: int) -> None:
        """Watch a pipe no more."""
        if self._selector is not None:
            try:
                self._selector.unregister(fd)
            except (KeyError, ValueError):  # its end has come before
                pass

    def drop(self, link: Link) -> None:
        """Watch nothing of a link any more."""
        self.drop_channels(link)
        for fd in (link.process.stdout_fd, link.process.stderr_fd, link.process.sentinel_fd):
            self.drop_pipe(fd)

    # -- what is left to others -------------------------------------------------------------------------

    @property
    def leaves_any(self) -> bool:
        """Whether any channel is left to others now."""
        return bool(self._left)

    def take_over(self, link: Link) -> None:
        """Note that somebody else reads a call channel now."""
        link.touched += 1
        self._not_left(link)
        self.call(link, False)

    def leave(self, link: Link) -> None:
        """Watch a channel later, if nobody has come back to wait at it by then."""
        link.touched += 1
        if link.watched:
            self.call(link, False)
        if link.left:
            return
        link.left = True
        self._left.add(link)
        if not self._ticking:
            self._ticking = True
            self.wake()

    def _not_left(self, link: Link) -> None:
        link.left = False
        self._left.discard(link)

    def take_back(self, link: Link) -> None:
        """Watch a channel now."""
        self._not_left(link)
        self.call(link, True)

    def ask_for_all(self) -> None:
        """Have all channels watched soon. Any thread may, with the lock or without."""
        self._look_again = True
        self.wake()

    def revisit(self) -> float | None:
        """Take back what nobody has come back to; return when to look again, in seconds."""
        for link in list(self._left):
            if self._look_again or link.touched == link.seen:
                link.expect_not()
                self.take_back(link)
            link.seen = link.touched
        self._look_again = False
        self._ticking = bool(self._left)
        return LEFT_S if self._left else None
