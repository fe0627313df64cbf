"""Which worker runs which call, and when: the queue, and what is sent ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from ..errors import NoWorkerError, QueueTimeoutError
from .admission import Admission
from .calls import NO_OPTIONS, Call
from .lifecycle import LOST, SlotState
from .limits import Limits
from .registry import Kind, Record
from .retries import Retries
from .scheduler import Loads, depth
from .slots import Slot
from .state import State
from .stats import FunctionStats
from .stopping import Stopping
from .stuck import Stuck

__all__ = ["Dispatch"]


class Dispatch:
    """The calls of a pool.

    Parameters
    ----------
    state : State
        What the parts of the core share.
    replace : callable
        Given a slot and a reason, ends its process and has the slot filled again.
    spent : callable
        Given a slot that has been sent the last call that one process may have.
    wake : callable
        Brings slots back that rest, for calls that wait.

    Attributes
    ----------
    queued : int
        Calls that no worker has been given.
    in_flight : int
        Calls that a worker has been given and has not answered.
    stained : callable
        See `Stopping.stained`.
    """

    def __init__(
        self,
        state: State,
        replace: Callable[[Slot, str], None],
        spent: Callable[[Slot], None],
        wake: Callable[[], None],
    ) -> None:
        self._state = state
        self._spent = spent
        self._wake = wake
        self._admission = Admission(state, lambda: self.queued + self.in_flight)
        self._stopping = Stopping(state, self._weigh, replace)
        self.stained = self._stopping.stained
        self._limits = Limits(state, self._stopping.stop, self._give_up)
        self._stuck = Stuck(state, lambda slot: self._is_open(slot) and not slot.plain, self._weigh)
        self._retries = Retries(state, self._queue_retried)
        self._queue: deque[Call] = deque()  # with calls that have ended: they are skipped
        self._loads: Loads[Slot] = Loads()
        self.queued = 0
        self.in_flight = 0
        self._latest: Slot | None = None  # that was given a call last
        self._ahead = 0  # slots where calls may wait behind another

    # -- a call begins ----------------------------------------------------------------------------------

    def check(self, name: str) -> Record:
        """Return the function of that name; what `submit` will ask before anything else.

        Raises
        ------
        NotRunningError, FunctionNotDefinedError
        """
        return self._admission.check(name)

    def has_room(self) -> bool:
        """Whether the limit of pending calls lets one more in."""
        return self._admission.has_room()

    def submit(self, call: Call, now: float) -> None:
        """Take a call: send it if a worker is free for it, else queue it.

        Raises
        ------
        CallRefusedError
            If it cannot run; it is as if it had never been made.
        NotRunningError
            If the workers are not running.
        """
        state = self._state
        quick = state.registry.quick.get(call.name)
        if (
            quick is not None
            and call.options is NO_OPTIONS
            and state.phase == "running"
            and not state.draining
        ):
            # The way of nearly every call: nothing is to be asked again, and a worker has room.
            stats = state.stats.get(quick.key)
            deep = 1 if stats is None else stats.depth if not call.items else self._depth(quick, call)
            slot = None if self._queue else self._next(deep)
            if slot is not None:
                self._send(slot, call, quick, deep)
                return
            if self.in_flight and state.usable():  # a worker that will have room
                self._queue.append(call)
                self.queued += 1
                if state.resting:
                    self._wake()
                return
        record, pinned = self._admission.accept(call)
        slot = self._choose(record, call, pinned)
        if slot is not None:
            self._send(slot, call, record, self._depth(record, call))
            self._limits.on_running(call, record, slot, now)
        else:
            (self._queue if pinned is None else pinned.pinned).append(call)
            self.queued += 1
            if state.resting:
                self._wake()
        self._limits.on_waiting(call, record, now)

    def _choose(self, record: Record, call: Call, pinned: Slot | None) -> Slot | None:
        """Return the slot that takes the call now, or None."""
        if pinned is not None:
            return pinned if not pinned.pinned and self._fits(pinned, record, call) else None
        if self._queue:
            return None
        return self._lightest(record, call)

    def _lightest(self, record: Record, call: Call) -> Slot | None:
        if record.is_async:
            # Not by `_loads`, which count plain calls: coroutines share a worker with each other.
            open_ = [
                s for s in self._state.slots.values() if self._is_open(s) and self._fits(s, record, call)
            ]
            return min(open_, key=lambda slot: len(slot.sent), default=None)
        return self._next(self._depth(record, call))

    def _next(self, deep: int) -> Slot | None:
        """Return the slot with the fewest calls; of equals, the one that has waited longest.

        But where no call is under way at all, one call comes after another, and the worker that has run the
        last is the one whose memory is still in the processor's cache.
        """
        latest = self._latest
        if not self.in_flight and latest is not None and latest in self._loads.of:
            return latest
        return self._loads.lightest(deep)

    def _fits(self, slot: Slot, record: Record, call: Call) -> bool:
        if not self._is_open(slot) or slot.full:
            return False
        return (len(slot.sent) if record.is_async else slot.plain) < self._depth(record, call)

    def _is_open(self, slot: Slot) -> bool:
        return (
            slot.state is SlotState.READY
            and slot.held == self._state.registry.epoch
            # Else a coroutine of an epoch before would hold up the call in the worker: the two do not mix.
            and (slot.epoch == slot.held or not slot.sent)
            and not slot.drains
            and not slot.replacing
            and not slot.ending
        )

    def _depth(self, record: Record, call: Call) -> int:
        stats = self._state.stats.get(record.key)
        mean = None if stats is None else stats.mean_s
        if mean is not None and call.items:
            mean *= call.items
        return depth(mean, record.is_async)

    def _send(self, slot: Slot, call: Call, record: Record, deep: int) -> None:
        state = self._state
        call.record = record
        call.slot = slot
        call.began_s = 0.0
        call.epoch = slot.epoch = state.registry.epoch
        call.seq = seq = slot.next_seq
        slot.next_seq = seq + 1
        slot.sent[seq] = call
        self._latest = slot
        self.in_flight += 1
        if not record.is_async:
            slot.plain += 1
            if deep == 1:
                slot.full = True
        if not slot.ahead and slot.plain and len(slot.sent) > 1:
            slot.ahead = True
            self._ahead += 1
        if slot.full:  # it was open a moment ago
            self._loads.drop(slot)
        else:
            self._loads.put(slot, slot.plain)
        state.sends.append((slot, call))
        if seq == slot.most:
            self._spent(slot)

    def _weigh(self, slot: Slot) -> None:
        """Enter how much a slot holds, or take it out where it takes no calls."""
        if slot.full or not self._is_open(slot):
            self._loads.drop(slot)
        else:
            self._loads.put(slot, slot.plain)

    # -- a call ends ------------------------------------------------------------------------------------

    def answered(self, slot: Slot, seq: int, ran_ns: int, ok: bool, now: float) -> Call | None:
        """Note that a worker has answered; return the call, or None if nobody waits for it any more."""
        call = slot.sent.pop(seq, None)
        if call is None:
            self._wonder(slot, f"an answer to call {seq}")
            return None
        state = self._state
        record = call.record
        assert record is not None
        stats = state.stats.get(record.key)
        if stats is None and state.registry.records.get(call.name) is record:
            stats = state.stats[record.key] = FunctionStats()
        if stats is not None:
            stats.add(ran_ns, call.items, ok)
        self._leave(slot, record)
        if slot.ending:
            slot.ending.discard(seq)
        if not record.is_async:
            # What was sent behind it can only be quick: a slow call is sent to an idle worker.
            slot.full = False
        wanted = not call.ended
        if wanted:
            call.ended = True
            call.slot = None
            if ok:
                slot.done += 1
                state.done += 1
            else:
                slot.failed += 1
                state.failed += 1
        if slot in self._loads.of:  # so it is open
            self._loads.put(slot, slot.plain)
        else:
            self._weigh(slot)
        if (slot.pinned or self._queue or self._ahead) and not self._has_enough(slot):
            self._feed_or_watch(slot, now)
        return call if wanted else None

    def _has_enough(self, slot: Slot) -> bool:
        """Whether a slot has calls to go on with: the next are sent together when half of them are done."""
        if slot.plain < 2 or not self._queue or slot.pinned:
            return False
        head = self._queue[0]
        record = self._state.registry.records.get(head.name)
        return record is not None and not head.ended and 2 * slot.plain > self._depth(record, head)

    def _leave(self, slot: Slot, record: Record) -> None:
        """Take one call off a slot's books, after it was taken out of `sent`."""
        self.in_flight -= 1
        if not record.is_async:
            slot.plain -= 1
            if not slot.plain:
                slot.full = False  # also where all that it held was taken back before it began
        if slot.ahead and (not slot.plain or len(slot.sent) < 2):
            slot.ahead = False
            self._ahead -= 1

    def room_at(self, slot: Slot, now: float) -> None:
        """Give a slot that has room what is queued; look for stuck workers where it idles."""
        self._weigh(slot)
        self._feed_or_watch(slot, now)

    def _feed_or_watch(self, slot: Slot, now: float) -> None:
        if slot.pinned:
            self._feed_pinned(slot, now)
        if self._queue:
            self._feed(now)
        if self._ahead and not slot.plain:
            self._stuck.watch(now)

    def feed(self, now: float) -> None:
        """Weigh every slot anew, and send what can be sent."""
        for slot in self._state.slots.values():
            self._weigh(slot)
            if slot.pinned:
                self._feed_pinned(slot, now)
        self._feed(now)

    def _feed(self, now: float) -> None:
        queue = self._queue
        while queue:
            call = queue[0]
            if call.ended:
                queue.popleft()
                continue
            record = self._current(call)
            if record is None:
                queue.popleft()
                continue
            slot = self._lightest(record, call)
            if slot is None:
                if self._state.resting:
                    self._wake()
                return
            queue.popleft()
            self.queued -= 1
            self._send(slot, call, record, self._depth(record, call))
            self._limits.on_running(call, record, slot, now)

    def _feed_pinned(self, slot: Slot, now: float) -> None:
        queue = slot.pinned
        while queue:
            call = queue[0]
            record = None if call.ended else self._current(call)
            if record is None:
                queue.popleft()
                continue
            if not self._fits(slot, record, call):
                return
            queue.popleft()
            self.queued -= 1
            self._send(slot, call, record, self._depth(record, call))
            self._limits.on_running(call, record, slot, now)

    def _current(self, call: Call) -> Record | None:
        """Return the function as it is now; if it went away while the call was queued, the call ends."""
        error = self._admission.refusal(call)
        if error is None:
            return self._state.registry.records[call.name]
        self.queued -= 1
        self._state.finish(call, error)
        return None

    # -- a call is taken back ---------------------------------------------------------------------------

    def began(self, slot: Slot, seq: int, since_s: float, now: float) -> None:
        """Note when a coroutine began, which the status page cannot tell of more than one."""
        call = slot.sent.get(seq)
        if call is None:
            self._wonder(slot, f"the beginning of call {seq}")
        else:
            call.began_s = min(since_s, now)  # else its time-out might never come

    def _wonder(self, slot: Slot, what: str) -> None:
        """Tell of news of a call that a worker was not sent, or has answered."""
        if slot.state not in LOST:  # what comes while the pool stops is just too late
            self._state.emit(slot.id, "unknown_worker_message", "warn", details={"type": what})

    def has_begun(self, slot: Slot, call: Call) -> bool:
        """Tell whether a worker has begun a call that it holds."""
        return self._state.has_begun(slot, call)

    def given_up(self, slot: Slot, seqs: Iterable[int], now: float) -> None:
        """Note that a worker will not run these calls: they go back to the head of the queue."""
        back = []
        for seq in seqs:
            call = slot.sent.pop(seq, None)
            slot.ending.discard(seq)
            if call is not None and call.record is not None:
                self._leave(slot, call.record)
                back.append(call)
        self.queue_again(back, now)
        self.room_at(slot, now)

    def queue_again(self, calls: Iterable[Call], now: float) -> None:
        """Put calls that were sent and did not end back to the head of the queue, in their order."""
        for call in reversed(list(calls)):
            pinned = self._take_off(call)
            if call.ended:
                continue
            if call.expired is not None and not call.crashes:
                self._state.finish(call, call.expired)
            elif pinned is not None and _is_lost(pinned):
                self._state.finish(call, _gone(call, pinned))
            else:
                self.queued += 1
                (self._queue if pinned is None else pinned.pinned).appendleft(call)
        self.feed(now)
        if self._state.resting:
            self._wake()
        self.fail_if_lost()

    def retry(self, call: Call, now: float) -> None:
        """Have a call run again after a while: its worker has died under it."""
        pinned = self._take_off(call)
        if pinned is not None and _is_lost(pinned):
            self._state.finish(call, _gone(call, pinned))
        else:
            self.queued += 1
            self._retries.wait(call, now)

    def _take_off(self, call: Call) -> Slot | None:
        """Take a call off the slot that has it; return the only one that may run it, if there is only one.

        It is the seat's, also where its process has been taken over from meanwhile.
        """
        slot, call.slot = call.slot, None
        return None if slot is None or call.options.worker_id is None else self._state.heir(slot)

    def _queue_retried(self, call: Call, now: float) -> None:
        pinned = self._state.slots.get(call.options.worker_id or 0)
        (self._queue if pinned is None else pinned.pinned).appendleft(call)
        self.feed(now)
        if self._state.resting:
            self._wake()

    def cancel(self, call: Call, now: float) -> bool:
        """End a call, and its work if that has begun; return whether there was something to end."""
        if call.ended:
            return False
        slot = call.slot
        if slot is None:
            self.queued -= 1
            self._retries.calls.pop(call.id, None)
        self._state.finish(call, None)
        if slot is not None:
            self._stopping.stop(slot, call, now)
        else:
            self._feed_behind(call, now)
        return True

    def cancel_all(self, which: Callable[[Call], bool], now: float) -> int:
        """End every call that is wanted; return how many."""
        # The last first: so none is sent just because the one before it has gone.
        calls = [*reversed(self.waiting()), *self.at_workers()]
        return sum([self.cancel(call, now) for call in calls if which(call)])

    def at_workers(self) -> list[Call]:
        """Return the calls that workers hold, also those whose work goes on although they have ended."""
        return [call for slot in self._state.processes() for call in slot.sent.values()]

    def _give_up(self, call: Call, error: QueueTimeoutError, now: float) -> None:
        """End a call that is queued."""
        self.queued -= 1
        self._state.finish(call, error)
        self._feed_behind(call, now)

    def _feed_behind(self, call: Call, now: float) -> None:
        """Send what waited behind a call that has ended in the queue: it may fit where that did not."""
        pinned = self._state.slots.get(call.options.worker_id or 0)
        queue = self._queue if pinned is None else pinned.pinned
        if queue and queue[0] is call:
            self.feed(now)

    # -- all of them ------------------------------------------------------------------------------------

    def lose(self, slot: Slot) -> list[Call]:
        """Take all calls off a slot whose process is gone, and return them in order."""
        calls = list(slot.sent.values())
        # The last that it had written may just have made room for others, which are not on their way yet.
        self._state.sends = [send for send in self._state.sends if send[0] is not slot]
        self.in_flight -= len(calls)
        self._ahead -= slot.ahead
        slot.sent.clear()
        slot.ending.clear()
        slot.plain = 0
        slot.ahead = slot.full = False
        self._loads.drop(slot)
        return calls

    def close(self, slot: Slot) -> None:
        """Give a slot no more calls."""
        self._weigh(slot)

    def fail_queued(self, error: type[Exception], why: str) -> None:
        """End every call that is queued."""
        queued = self.waiting()
        self._queue.clear()
        self._retries.calls.clear()
        for slot in self._state.slots.values():
            slot.pinned.clear()
        for call in queued:
            if not call.ended:
                self.queued -= 1
                self._state.finish(call, error(f"{call} {why}"))

    def fail_if_lost(self) -> None:
        """End every call that is queued, if no slot is left that could ever run one."""
        if self.queued and not self._state.usable():
            self.fail_queued(NoWorkerError, "was queued when the last worker was lost")

    def fail_pinned(self, slot: Slot) -> None:
        """End the calls that only this slot may run: it does not come back."""
        retries = self._retries.calls
        later = [call for call in retries.values() if call.options.worker_id == slot.id]
        for call in (*slot.pinned, *later):
            retries.pop(call.id, None)
            if not call.ended:
                self.queued -= 1
                self._state.finish(call, _gone(call, slot))
        slot.pinned.clear()

    def is_awaited(self, slot: Slot) -> bool:
        """Tell whether calls are queued that this slot may run."""
        return bool(self._queue or slot.pinned)

    def unpinned(self) -> int:
        """Return how many calls are queued that any slot may run now."""
        pinned = sum(not call.ended for slot in self._state.slots.values() for call in slot.pinned)
        return self.queued - pinned - len(self._retries.calls)

    def forget(self) -> None:
        """Begin anew: the pool has stopped."""
        self._latest = None
        self._queue.clear()
        self._stuck.forget()

    # -- for the invariants -----------------------------------------------------------------------------

    def waiting(self) -> list[Call]:
        """Return what is queued, with calls that have ended and are not taken out yet."""
        pinned = (call for slot in self._state.slots.values() for call in slot.pinned)
        return [*self._queue, *pinned, *self._retries.calls.values()]

    def overlooked(self) -> Call | None:
        """Return a call that waits although it is the first, and could be sent now."""
        records = self._state.registry.records
        for queue, slot in [(self._queue, None), *((s.pinned, s) for s in self._state.slots.values())]:
            call = next((call for call in queue if not call.ended), None)
            if call is not None:
                record = records.get(call.name)
                if record is None or record.kind is not Kind.FUNCTION:
                    return call
                free = self._lightest(record, call) if slot is None else slot
                if free is not None and self._fits(free, record, call) and not self._has_enough(free):
                    return call
        return None

    def offered(self) -> list[Slot]:
        """Return the slots that calls may be given to."""
        return self._loads.slots()


def _is_lost(slot: Slot) -> bool:
    """Whether a slot will run nothing more."""
    return slot.retired or slot.state in LOST


def _gone(call: Call, slot: Slot) -> NoWorkerError:
    return NoWorkerError(f"{call} was for worker {slot.id}, which is gone")
