"""Waiting for an event, such as that of ``concurrent.futures.wait``: the waiting thread reads the answers."""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Any

from ..interrupts.hold import HeldInterrupts, poll
from ..interrupts.stack import ensure_stack_room
from ..wait_events import WaitEvent
from .condition import deadline_of, time_left
from .inbox import Inbox
from .link import Link
from .output import OutputQueue
from .poller import Poller
from .state_lock import StepInProgressError
from .waiters import Waiters

__all__ = ["EventWaits"]

_MAX_CLAIMED = 4
"""To take a channel from the driver's thread, and to give it back, costs two system calls for each wait."""


class EventWaits:
    """Lets a thread that waits for several calls read their workers' channels itself.

    It wakes up once for what arrives, and the driver's thread does not. What it does not read, that does: the
    channels of more than a few workers, those on which more than one answer comes, and those that another
    thread has claimed.

    Parameters
    ----------
    waiters : Waiters
        Its lock, and who else reads channels.
    links : dict
        The links, by incarnation.
    poller : Poller
        Is notified which channels are read here.
    inbox : Inbox
        Handles the answers.
    output : OutputQueue
        What functions print meanwhile is delivered in its own thread.
    apply : callable
        Performs the effects of the core.
    """

    def __init__(
        self,
        waiters: Waiters,
        links: dict[int, Link],
        poller: Poller,
        inbox: Inbox,
        output: OutputQueue,
        apply: Callable[[], object],
    ) -> None:
        self._lock = waiters.lock
        self._poll_reserved, self._release = waiters.poll_reserved, waiters.release
        self._wait_reserved = waiters.wait_reserved
        self._links = links
        self._poller = poller
        self._read_call = inbox.read_call
        self._output = output
        self._apply = apply

    def wait(self, event: WaitEvent, timeout: float | None) -> bool:
        """Wait until an event is set, at most for the timeout in seconds; return whether it is set.

        Raises
        ------
        StepInProgressError
            As `Waiters.wait`.
        """
        if event.is_set():
            return True
        if self._lock.is_owned():
            raise StepInProgressError
        ensure_stack_room()
        deadline = deadline_of(timeout)
        if len(event.futures) == 1 and self._wait_for_one(event, deadline):
            return True
        with HeldInterrupts() as interrupts:
            while not event.is_set():
                with self._lock:
                    claimed = self._claim(event)
                if not claimed:
                    break
                waker = _LinkWaker(claimed[0])
                try:
                    in_time = self._read(event, claimed, waker, deadline, interrupts)
                except BaseException:
                    with self._lock:
                        event.remove(waker)
                        self._release_all(event, claimed)
                    raise
                if self._output.waiting:
                    self._output.deliver_soon()
                if not in_time:
                    return event.is_set()
        return event.wait_for_set(None if deadline is None else time_left(deadline))

    def _wait_for_one(self, event: WaitEvent, deadline: float | None) -> bool:
        """Wait at the channel that is reserved for the only call of the pool, if it is; as `wait`."""
        future: Any = event.futures[0]()
        link = None if future is None else future.reserved_at
        if link is None or not event.is_of(future):
            return False
        waker = _LinkWaker(link)
        event.add(waker)  # one of another kind may set it, too
        try:
            if not event.is_set():
                self._wait_reserved(future, link, deadline, deadline, lambda: event.remove(waker))
        finally:
            event.remove(waker)
        return event.is_set()

    def _claim(self, event: WaitEvent) -> list[Link]:
        """Claim channels of workers that hold one call each, which nobody but the driver's thread reads now.

        Where there are more calls, more answers come: a channel would be taken from that thread and given
        back for each of them.
        """
        if self._lock.torn is not None:
            return []
        if event.links is None:
            event.links = self._links_of(event)
        claimed = []
        for link in event.links:
            if link.dead or link.lost or len(link.slot.sent) != 1:
                continue
            link.vacate()
            if link.owner is None:
                link.owner = event
                self._poller.hand_over(link)
                claimed.append(link)
        return claimed

    def _links_of(self, event: WaitEvent) -> list[Link]:
        """Return the links of the first workers that have calls of an event; the others' are polled."""
        links: dict[Link, None] = {}
        for each in event.futures:
            future = each()
            if future is None or future.ended or not event.is_of(future):
                continue
            slot = future.call.slot
            link = self._links.get(slot.incarnation) if slot is not None else None
            if link is None or link in links:
                continue
            if len(links) < _MAX_CLAIMED:
                links[link] = None
            else:
                self._poll_reserved(future)
        return list(links)

    def _read(
        self,
        event: WaitEvent,
        claimed: list[Link],
        waker: _LinkWaker,
        deadline: float | None,
        interrupts: HeldInterrupts,
    ) -> bool:
        """Read until the event is set, or there is something else to do; return False at the deadline."""
        lock, links = self._lock, claimed
        poll_set = _poll_set(links)
        while True:
            event.add(waker)
            # Set before that, it has woken nobody; then this thread only looks for what has arrived.
            ready = interrupts.wait(poll, poll_set, 0.0 if event.is_set() else time_left(deadline))
            with lock:
                event.remove(waker)  # this thread is awake: it must not wake itself
                if lock.torn is None:
                    self._read_ready(links, ready)
                is_over = event.is_set() or not ready or lock.torn is not None
                if is_over or any(link.dead or link.lost for link in links):
                    self._release_all(event, links)
                    return bool(ready)
            if self._output.waiting:
                self._output.deliver_soon()

    def _read_ready(self, links: list[Link], ready: list[tuple[int, int]]) -> None:
        """Read once from each channel on which something has arrived. Under the lock."""
        fds = {fd for fd, _ in ready}
        for link in links:
            if link.call_fd in fds:
                fds.discard(link.call_fd)
                self._read_call(link)
        if fds:
            for link in links:
                link.clear_wake()
        self._apply()

    def _release_all(self, event: WaitEvent, links: list[Link]) -> None:
        for link in links:
            self._release(link, event)


class _LinkWaker:
    """Wakes the thread that waits at a channel when an event is set, as a lock wakes one that waits there."""

    __slots__ = ("release",)

    def __init__(self, link: Link) -> None:
        self.release = link.wake


def _poll_set(links: list[Link]) -> Any:
    if len(links) == 1:
        return links[0].poll_set
    poll_set = select.poll()
    for link in links:
        link.register(poll_set)
    return poll_set
