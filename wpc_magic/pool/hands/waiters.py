"""Waiting for one call: a thread reads its worker's channel by itself, and so does an event loop."""

from __future__ import annotations

import threading
from _thread import allocate_lock
from collections.abc import Callable
from typing import Any

from ..futures import CallFuture
from ..interrupts import Interrupts, free, hold
from .gates import moment, time_left
from .inbox import Inbox
from .link import Link
from .texts import Texts
from .watch import Watch

__all__ = ["Waiters"]


class Waiters:
    """Lets those who wait for a call read its answer themselves.

    Parameters
    ----------
    lock : threading.Lock
        The driver's.
    links : dict
        The links by the lives of their processes.
    watch : Watch
        Told who reads what.
    inbox : Inbox
        What takes an answer.
    texts : Texts
        Delivered here, so that a call's text is shown before its value is returned.
    apply : callable
        Does what the mind wants done.
    """

    def __init__(
        self,
        lock: threading.Lock,
        links: dict[int, Link],
        watch: Watch,
        inbox: Inbox,
        texts: Texts,
        apply: Callable[[], object],
    ) -> None:
        self.lock = lock
        self._links = links
        self._watch = watch
        self._inbox = inbox
        self._texts = texts
        self._apply = apply

    # -- threads ----------------------------------------------------------------------------------------

    def wait(self, future: CallFuture, timeout: float | None) -> None:
        """Return when the future has ended, or the time is over.

        Parameters
        ----------
        future : CallFuture
            What is waited for.
        timeout : float or None
            How long, in seconds.
        """
        deadline = moment(timeout)
        link = future.expected_at
        if link is not None and self._wait_as_expected(future, link, deadline):
            return
        with Interrupts() as interrupts:
            while True:
                with self.lock:
                    if future.ended:
                        break
                    link = self._claim(future)
                    if link is None:
                        gate = allocate_lock()
                        gate.acquire()
                        future.wake_by(gate.release)
                if link is None:
                    try:
                        if not interrupts.wait(gate.acquire, True, time_left(deadline)):
                            break
                    finally:
                        with self.lock:
                            future.wake_not_by(gate.release)
                    continue
                try:
                    in_time = self._read(future, link, deadline, interrupts)
                finally:
                    with self.lock:
                        self._release(link, future)
                if self._texts.waiting:
                    self._texts.deliver()
                if not in_time:
                    break
            if future.ended:
                self._texts.finish()  # what it printed is shown before its value is returned

    def _wait_as_expected(self, future: CallFuture, link: Link, deadline: float | None) -> bool:
        """Wait at a channel that is this thread's since the call was made; return whether that was all.

        What is between the sending of a call and this `poll` delays every call, so it is next to nothing:
        nothing is claimed, and no handler is swapped, as there is nothing yet that an interrupt could tear.
        """
        left = time_left(deadline)
        future.expected_at = None
        try:
            if link.expected.pop(future, None) is None:
                return False  # another thread has taken it out
            ready = link.poller.poll(None if left < 0 else left * 1000)
            handler = hold()  # an interrupt may still come with its first step
        except BaseException:
            with Interrupts(), self.lock:
                link.expected.pop(future, None)
                self._release(link, future)
            raise
        try:
            self.lock.acquire()
            try:
                if ready:
                    self._take(future, link, ready)
                self._release(link, future)
            finally:
                self.lock.release()
            if future.ended:
                self._texts.finish()  # what it printed is shown before its value is returned
            elif self._texts.waiting:
                self._texts.deliver()
        finally:
            free(handler)
        return not ready or future.ended

    def _take(self, future: CallFuture, link: Link, ready: list[tuple[int, int]]) -> None:
        """Read what has come to a channel at which this thread waits. Under the lock."""
        if len(ready) > 1 or ready[0][0] != link.call_fd:
            link.clear_wake()
        future.wake_not_by(link.wake)  # who is awake need not be woken by itself
        self._inbox.read_call(link)
        self._apply()

    def _claim(self, future: CallFuture) -> Link | None:
        """Let a thread read the channel of the worker that has its call; None: another one does."""
        slot = future.call.slot
        link = self._links.get(slot.life) if slot is not None else None
        if link is None or link.dead:
            return None
        link.expect_not()
        if link.owner is not None:
            return None
        link.owner = future
        self._watch.take_over(link)
        future.wake_by(link.wake)
        return link

    def _release(self, link: Link, future: CallFuture) -> None:
        if link.owner is not future:  # it was not expected any more
            return
        link.owner = None
        future.wake_not_by(link.wake)
        if link.dead:
            self.close(link)
        elif link.slot.sent:
            self._watch.take_back(link)
        elif link.left and not link.watched:
            link.touched += 1
        else:
            self._watch.leave(link)

    def _read(self, future: CallFuture, link: Link, deadline: float | None, interrupts: Interrupts) -> bool:
        """Read until there is something else to do; return False if the time is over."""
        lock = self.lock
        while True:
            left = time_left(deadline)
            ready = interrupts.wait(link.poller.poll, None if left < 0 else left * 1000)
            if not ready:
                return future.ended
            lock.acquire()
            try:
                self._take(future, link, ready)
                if not future.ended:
                    future.wake_by(link.wake)
            finally:
                lock.release()
            # Texts are given to the sink when the channel has been let go: it may do as it likes, even call.
            if future.ended or link.dead or self._texts.waiting or future.call.slot is not link.slot:
                return True

    # -- event loops ------------------------------------------------------------------------------------

    def wait_in_loop(self, future: CallFuture, loop: Any) -> Any:
        """Return an asyncio future that ends with this one; the loop reads the worker's channel meanwhile."""
        waiter = loop.create_future()
        with Interrupts(), self.lock:
            if future.ended:
                waiter.set_result(None)
                return waiter
            # Without those that have stopped waiting: one may ask again and again, each time for a while.
            future.loops = [*(each for each in future.loops if not each[1].done()), (loop, waiter)]
            slot = future.call.slot
            link = self._links.get(slot.life) if slot is not None else None
            if link is None or link.dead or link.lost or not hasattr(loop, "add_reader"):
                self._watch.ask_for_all()
            else:
                link.expect_not()
                if not link.loops.get(loop):
                    loop.add_reader(link.call_fd, self._on_readable, link)
                link.loops[loop] = link.loops.get(loop, 0) + 1
                self._watch.take_over(link)
                self._watch.leave(link)  # in case the loop stands still
                waiter.add_done_callback(lambda _: self._leave_loop(link, loop))
        return waiter

    def _on_readable(self, link: Link) -> None:
        with Interrupts():
            with self.lock:
                link.touched += 1
                self._inbox.read_call(link)
                self._apply()
            if self._texts.waiting:
                self._texts.deliver()

    def _leave_loop(self, link: Link, loop: Any) -> None:
        """Take an event loop off a channel when the last that it waits for there has ended; in its thread."""
        with Interrupts(), self.lock:
            link.loops[loop] -= 1
            if link.loops[loop]:
                return
            del link.loops[loop]
            loop.remove_reader(link.call_fd)
            if link.dead:
                self.close(link)
            elif link.slot.sent and link.owner is None:
                self._watch.take_back(link)

    def close(self, link: Link) -> None:
        """Close a link whose process is gone, as soon as nobody waits at it.

        An event loop that was closed while its tasks waited never takes itself off the channel.
        """
        if link.owner is None and all(loop.is_closed() for loop in link.loops):
            link.close()
