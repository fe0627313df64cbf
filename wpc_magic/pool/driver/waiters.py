"""Waiting for one call: the waiting thread, or event loop, reads the worker's channel itself."""

from __future__ import annotations

import select
import time
from _thread import allocate_lock
from collections.abc import Callable
from typing import Any

from ..core.prefetch import QUICK_DEPTH
from ..future_driver import WaitObserver
from ..futures import CallFuture
from ..interrupts.hold import LOOK_S, HeldInterrupts, acquire, hold, poll, restore
from ..interrupts.stack import ensure_stack_room
from ..loop_waiters import end_shown
from ..wire.looks import sees
from ..wire.status_page import ANSWERED, LOOK
from .condition import deadline_of, time_left
from .inbox import Inbox
from .link import Link
from .output import OutputQueue
from .poller import Poller
from .state_lock import StateLock, StepInProgressError

__all__ = ["Waiters"]

_LOOK_MS = LOOK_S * 1000


class Waiters:
    """Lets the threads and event loops that wait for a call read its answer themselves.

    Parameters
    ----------
    lock : StateLock
        The driver's lock.
    links : dict
        The links, by incarnation.
    poller : Poller
        Is notified which channels are read here.
    inbox : Inbox
        Handles the answers.
    output : OutputQueue
        Delivered here, so that a call's output is shown before its value is returned.
    apply : callable
        Performs the effects of the core.

    Attributes
    ----------
    observer : WaitObserver or None
        Is told of long waits.
    """

    def __init__(
        self,
        lock: StateLock,
        links: dict[int, Link],
        poller: Poller,
        inbox: Inbox,
        output: OutputQueue,
        apply: Callable[[], object],
    ) -> None:
        self.lock = lock
        self._links = links
        self._poller = poller
        self._read_call = inbox.read_call
        self._output = output
        self._apply = apply
        self.observer: WaitObserver | None = None

    # -- threads ----------------------------------------------------------------------------------------

    def wait(self, future: CallFuture, timeout: float | None, pause_s: float | None = None) -> None:
        """Return when the future has ended, or the timeout expires.

        Parameters
        ----------
        future : CallFuture
            The future to wait for.
        timeout : float or None
            In seconds.
        pause_s : float, optional
            Return after so many seconds, too; unlike with a timeout, output is delivered in this thread.

        Raises
        ------
        StepInProgressError
            If the garbage collector has interrupted a step of this pool for a finalizer, which waits here:
            the call could not end before that step has.
        """
        if future.is_shown:
            return
        is_in_step = self.lock.is_owned()
        deadline = until = None
        if timeout is not None:
            deadline = until = deadline_of(timeout)
        link = future.reserved_at
        if link is None and future.ended:
            output = self._output
            if (output.waiting or output.deliverer) and not is_in_step:
                output.finish(deadline)  # its output is shown before its value is returned
            return
        if is_in_step:
            raise StepInProgressError
        ensure_stack_room()
        if pause_s is not None:
            until = _earlier(deadline, pause_s)
        if link is None or not self.wait_reserved(future, link, deadline, until):
            self._wait_in_turn(future, deadline, until)

    def _wait_in_turn(self, future: CallFuture, deadline: float | None, until: float | None) -> None:
        """Wait at the channel of the call's worker, or for the thread that reads it."""
        with HeldInterrupts() as interrupts:
            while True:
                with self.lock:
                    if future.ended:
                        break
                    link = self._claim(future)
                    if link is None:
                        waiter = allocate_lock()
                        waiter.acquire()
                        future.add_waker(waiter.release)
                if link is None:
                    try:
                        if not interrupts.wait(acquire, waiter, time_left(until)):
                            break
                    finally:
                        with self.lock:
                            future.remove_waker(waiter.release)
                    continue
                try:
                    in_time = self._read(future, link, until, interrupts)
                finally:
                    with self.lock:
                        self.release(link, future)
                if self._output.waiting:
                    if deadline is None:
                        self._output.deliver_here(interrupts)
                    else:
                        self._output.deliver_soon()
                if not in_time:
                    break
        if future.ended:
            self._output.finish(deadline)  # its output is shown before its value is returned

    def wait_observed(self, future: CallFuture, timeout: float | None) -> None:
        """Wait as `wait` does, and tell the observer if it takes long."""
        observer = self.observer
        if observer is None or future.ended:
            self.wait(future, timeout)
            return
        deadline = deadline_of(timeout)
        left = timeout
        try:
            while True:
                pause_s = observer.pause_s(future)
                self.wait(future, left, pause_s)
                if self._is_over(future, deadline) or (left is not None and left <= pause_s):
                    break
                observer.look(future)
                left = None if deadline is None else time_left(deadline)
        finally:
            observer.left(future)

    def _is_over(self, future: CallFuture, deadline: float | None) -> bool:
        """Return whether a call has ended, maybe after a wait for it, and show its output if it has."""
        has_ended = future.ended
        if has_ended and (self._output.waiting or self._output.deliverer):
            self._output.finish(deadline)
        return has_ended

    def wait_reserved(
        self,
        future: CallFuture,
        link: Link,
        deadline: float | None,
        until: float | None,
        awake: Callable[[], object] | None = None,
    ) -> bool:
        """Wait for a channel that was reserved when the call was submitted; return whether the wait is over.

        `awake`, of who wants no value, is called before anything is read.

        Everything between the sending of a call and this `poll` delays every call, so there is next to
        nothing: no channel is claimed, and no signal handler is swapped, since an interrupt cannot leave
        anything inconsistent yet.
        """
        left = _LOOK_MS if until is None else min(_LOOK_MS, time_left(until) * 1000)
        lock = self.lock
        future.reserved_at = None
        try:
            if link.reserved.pop(future, None) is None:
                return False  # another thread has cancelled it
            spinning = link.spinning
            if spinning.pause or link.slot.depth < QUICK_DEPTH:
                if spinning.pause:
                    spinning.pause -= 1
                ready = link.poll_set.poll(left)
            else:
                ready = _look_first(link, future, left)
            held = hold()  # its first bytecode may still be interrupted
            if not lock.acquire(False) or lock.busy:
                lock.enter_contended(held)
            lock.busy = True
        except BaseException:
            with lock:
                link.reserved.pop(future, None)
                self.release(link, future)
            raise
        try:
            try:
                if awake is not None:
                    awake()
                if ready:
                    self._read_once(future, link, ready)
                # Not later: another thread, which reads next, may end it while its first output is shown.
                is_over = future.ended or (not ready and time_left(until) == 0)
                self.release(link, future)
            except BaseException as error:
                lock.tear(error)
                raise
            finally:
                lock.busy = False
                lock.release()
                if lock.requests:
                    lock.do_requests()
                restore(held)
        finally:
            output = self._output
            if output.waiting or output.deliverer:
                if awake is None:
                    output.finish(deadline)  # its output is shown before its value is returned
                else:  # no value is
                    output.deliver_soon()
        return is_over

    def _read_once(self, future: CallFuture, link: Link, ready: list[tuple[int, int]]) -> None:
        """Read from a channel that this thread waits for. Under the lock."""
        if len(ready) > 1 or ready[0][0] != link.call_fd:
            link.clear_wake()
        if future.wakers:
            future.remove_waker(link.wake)  # this thread is awake: it must not wake itself
        if self.lock.torn is None:
            self._read_call(link)
            self._apply()

    def _claim(self, future: CallFuture) -> Link | None:
        """Claim the channel of the worker that has the call; None: another thread reads it."""
        slot = future.call.slot
        link = self._links.get(slot.incarnation) if slot is not None else None
        if link is None or link.dead or self.lock.torn is not None:
            return None
        link.vacate()
        if link.owner is not None:
            return None
        link.owner = future
        self._poller.hand_over(link)
        future.add_waker(link.wake)
        return link

    def release(self, link: Link, future: Any) -> None:
        """Let others read a channel whose owner is a future, or a `WaitEvent`. Under the lock."""
        if link.owner is not future:  # the reservation was cancelled
            return
        link.owner = None
        if future.wakers:
            future.remove_waker(link.wake)
        if link.dead:
            self.close(link)
        elif link.slot.sent:
            self._poller.reclaim(link)
        elif link.parked and not link.polled:
            link.touched += 1
        else:
            self._poller.park(link)

    def _read(
        self, future: CallFuture, link: Link, deadline: float | None, interrupts: HeldInterrupts
    ) -> bool:
        """Read until there is something else to do; return False if the timeout expires."""
        lock = self.lock
        while True:
            ready = interrupts.wait(poll, link.poll_set, time_left(deadline))
            if not ready:
                return future.ended
            with lock:
                self._read_once(future, link, ready)
                if not future.ended:
                    future.add_waker(link.wake)
            # Output is delivered after the channel is released: the sink may do anything, even submit calls.
            moved = future.call.slot is not link.slot or lock.torn is not None
            if future.ended or link.dead or self._output.waiting or moved:
                return True

    # -- nobody waits -----------------------------------------------------------------------------------

    def ensure_read(self, future: CallFuture) -> None:
        """Ensure that the answer to a call is read although nobody waits for it in `wait`.

        Only a channel that is reserved for the submitter of the call is read by nobody else.
        """
        if future.reserved_at is None:
            return
        try:
            with self.lock:
                self.poll_reserved(future)
        except StepInProgressError:  # in a finalizer
            self._poller.reclaim_all_soon()

    def poll_reserved(self, future: CallFuture) -> None:
        """Do what `ensure_read` does. Under the lock."""
        link = future.reserved_at
        if link is not None and future in link.reserved:
            link.vacate()
            self._poller.reclaim(link)

    # -- event loops ------------------------------------------------------------------------------------

    def wait_in_loop(self, future: CallFuture, loop: Any) -> Any:
        """Return an asyncio future that ends with this one; the loop reads the worker's channel meanwhile."""
        waiter = loop.create_future()
        with self.lock:
            has_ended = future.ended
            if not has_ended:
                self._read_in_loop(future, loop, waiter)
        if has_ended and self.is_shown(future, loop, waiter):
            waiter.set_result(None)
        elif not has_ended and self.observer is not None:
            self.observer.awaited(future, loop, waiter)
        return waiter

    def _read_in_loop(self, future: CallFuture, loop: Any, waiter: Any) -> None:
        """Have a loop read the channel of a call until that has ended, or `waiter` has. Under the lock."""
        # Drop those that have stopped waiting: a caller may wait repeatedly, each time with a timeout.
        future.loops = [*(each for each in future.loops if not each[1].done()), (loop, waiter)]
        slot = future.call.slot
        link = self._links.get(slot.incarnation) if slot is not None else None
        if link is None or link.dead or link.lost or not hasattr(loop, "add_reader"):
            self._poller.reclaim_all_soon()
        else:
            link.vacate()
            if not link.loops.get(loop):
                loop.add_reader(link.call_fd, self._on_readable, link)
            link.loops[loop] = link.loops.get(loop, 0) + 1
            self._poller.hand_over(link)
            self._poller.park(link)  # in case the loop is blocked
            waiter.add_done_callback(lambda _: self._leave_loop(link, loop))

    def _on_readable(self, link: Link) -> None:
        with HeldInterrupts() as interrupts:
            with self.lock:
                link.touched += 1
                if self.lock.torn is None:
                    self._read_call(link)
                    self._apply()
            # Not here: the sink may block, or wait for this loop.
            if self._output.waiting and not self._output.deliver_soon():
                self._output.deliver_here(interrupts)

    def is_shown(self, future: CallFuture, loop: Any, waiter: Any) -> bool:
        """Return whether the output of a call that has ended has been delivered.

        If not, `waiter` ends when it has, so that the loop goes on meanwhile. In the loop's thread.
        """
        output = self._output
        if not (output.waiting or output.deliverer):
            future.is_shown = True
            return True
        if not output.deliver_soon():
            return True  # there is no thread for it: whoever takes the value delivers it

        def end() -> None:
            future.is_shown = True
            end_shown(loop, waiter)

        return not output.when_finished(end)

    def _leave_loop(self, link: Link, loop: Any) -> None:
        """Detach an event loop from a channel after its last waiting future. Called in the loop's thread."""
        with self.lock:
            link.loops[loop] -= 1
            if link.loops[loop]:
                return
            del link.loops[loop]
            loop.remove_reader(link.call_fd)
            if link.dead:
                self.close(link)
            elif link.slot.sent and link.owner is None:
                self._poller.reclaim(link)

    def close(self, link: Link) -> None:
        """Close a link whose process has exited, unless a thread or an event loop still uses it.

        An event loop that was closed while its tasks waited never detaches itself.
        """
        if link.owner is None and all(loop.is_closed() for loop in link.loops):
            link.close()


def _look_first(link: Link, future: CallFuture, left_ms: float) -> list[tuple[int, int]]:
    """Wait for a quick call, maybe by looking at the status page before sleep; return what is ready.

    What is seen there only says that there is something to read: whoever reads finds out whether there is.
    """
    spinning, words = link.spinning, link.words
    began = time.monotonic_ns()
    look_ns = spinning.look_ns if left_ms >= 1 else 0
    in_time = bool(look_ns) and sees(words, ANSWERED, future.call.seq, look_ns)
    ready = [(link.call_fd, select.POLLIN)] if in_time else link.poll_set.poll(left_ms)
    if ready:
        spinning.waited(time.monotonic_ns() - began, in_time)
        words[LOOK] = spinning.look_ns  # the worker does the same
    return ready


def _earlier(deadline: float | None, pause_s: float) -> float | None:
    """Return the deadline, or the end of a pause that begins now, whichever is earlier."""
    end = deadline_of(pause_s)
    return end if deadline is None or (end is not None and end < deadline) else deadline
