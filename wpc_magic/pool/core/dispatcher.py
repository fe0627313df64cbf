"""What happens to each call from its submission to its outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .admission import Admission
from .call_queue import CallQueue
from .calls import NO_OPTIONS, Call, queued_at
from .cancellation import Cancellation
from .dependent_calls import DependentCall
from .in_flight import InFlight
from .lifecycle import LOST
from .placement import Placement
from .queued_calls import QueuedCalls
from .registry import Kind, Record
from .retries import Raised, is_retried
from .slots import Slot, slot_of
from .state import State
from .timeouts import Timeouts
from .work_stealing import WorkStealing

__all__ = ["Dispatcher"]


class Dispatcher:
    """Queues the calls of a pool, sends them to slots, and ends them.

    Parameters
    ----------
    state : State
        The shared state of the core.
    replace : callable
        Given a slot and a reason, kills its process and starts another.
    call_limit_reached : callable
        Given a slot, called when the last call that its process may run was sent to it.
    wake : callable
        Wakes resting slots for queued calls.

    Attributes
    ----------
    queued : QueuedCalls
        The calls that have not been sent to a worker.
    in_flight : InFlight
        The calls that have been sent to a worker and not answered.
    tainted : callable
        See `Cancellation.tainted`.
    update_load, offered : callable
        See `Placement`.
    check, has_room, room : callable
        See `Admission`.
    is_awaited : callable
        See `QueuedCalls.is_awaited`.
    """

    def __init__(
        self,
        state: State,
        replace: Callable[[Slot, str], None],
        call_limit_reached: Callable[[Slot], None],
        wake: Callable[[], None],
    ) -> None:
        self._state = state
        self._wake = wake
        self.queued = queued = QueuedCalls(state, self._queue_released, self._queue_dependent)
        self._demands = demands = queued.demands
        self.in_flight = in_flight = InFlight(state, call_limit_reached)
        self._send = in_flight.send  # saves a lookup for every call, as some of the next ones do
        self._placement = placement = Placement(state, demands, in_flight)
        self._next_slot = placement.next_slot
        self.update_load = placement.update_load
        self.offered = placement.offered
        self.is_awaited = queued.is_awaited
        self._queue = queued.shared
        self._limits = queued.limits
        self._held = queued.limits.held
        self._admission = admission = Admission(state, lambda: queued.count + in_flight.count, demands)
        self.check, self.has_room, self.room = admission.check, admission.has_room, admission.room
        self._cancellation = Cancellation(state, self.update_load, replace)
        self.tainted = self._cancellation.tainted
        self._timeouts = Timeouts(
            state, self._cancellation.stop, self._end_queued, lambda: bool(queued.count or in_flight.count)
        )
        self._stealing = WorkStealing(state, placement.is_idle, self.update_load)

    # -- a call is submitted ----------------------------------------------------------------------------

    def submit(self, call: Call, now: float) -> None:
        """Accept a call: send it if a worker is free for it, else queue it.

        Raises
        ------
        CallRefusedError
            If it cannot run; nothing has changed then.
        NotRunningError
            If the workers are not running.
        """
        state = self._state
        call.times = now
        quick = state.registry.fast_path.get(call.name)
        if (
            quick is not None
            and call.options is NO_OPTIONS
            and state.phase == "running"
            and not state.draining
        ):
            # The path of nearly every call: it needs no checks again, and a worker has room.
            stats = state.stats.get(quick.key)
            depth = (
                1
                if stats is None
                else stats.prefetch_depth
                if not call.items
                else self._placement.prefetch_depth(quick, call)
            )
            slot = None if self._queue else self._next_slot(depth)
            if slot is not None:
                self._send(slot, call, quick, depth)
                return
            # A worker will have room. Where calls are queued, this was found out for the first of them.
            if self.in_flight.count and (self._queue or state.usable()):
                self.queued.count += 1
                if self._queue.append(call):
                    self._dispatch(self._queue, None, now)
                if state.resting:
                    self._wake()
                return
        record, pinned = self._admission.accept(call)
        if isinstance(call, DependentCall):
            self.queued.count += 1
            self.queued.dependents.hold(call)
            return
        if call.attempts:  # items of a map that have failed before
            self.queued.count += 1
            self.queued.retries.wait(call, now)
        elif self._limits.holds(record, call):
            self.queued.count += 1
        else:
            queue, _ = self.queued.queue_of(call)
            slot = None if queue else self._placement.choose(record, call, pinned)
            if slot is not None:
                self._send(slot, call, record, self._placement.prefetch_depth(record, call))
                self._timeouts.start_call_timeout(call, record, slot, now)
            else:
                self._enqueue(queue, call, pinned, now)
        self._timeouts.start_queue_timeout(call, record, now)

    def _enqueue(self, queue: CallQueue, call: Call, pinned: Slot | None, now: float) -> None:
        """Queue a call that cannot be sent now, at the end of those of its priority."""
        self.queued.count += 1
        if call.options.priority:
            queue.rank()
        if queue.append(call):
            self._dispatch(queue, pinned, now)
        if self._state.resting:
            self._wake()

    # -- a worker answers -------------------------------------------------------------------------------

    def answered(
        self,
        slot: Slot,
        seq: int,
        ran_ns: int,
        ok: bool,
        now: float,
        raised: Raised | None = None,
        failed: int = 0,
    ) -> Call | None:
        """Record a worker's answer; return the call, or None if it has ended already, or runs again.

        Parameters
        ----------
        slot : Slot
            The slot of the worker.
        seq : int
            The number of the call there.
        ran_ns : int
            For how long it ran, in nanoseconds.
        ok : bool
            Whether it has a value.
        now : float
            In seconds.
        raised : Raised, optional
            What it has raised.
        failed : int
            Of a chunk of a map that has a value: which of its items have failed; see `protocol.VALUE`.
        """
        call = slot.sent.pop(seq, None)
        if call is None:
            self._report_unknown(slot, f"an answer to call {seq}")
            return None
        state = self._state
        record: Record = call.record  # type: ignore[assignment]  # it was sent
        stats = state.stats.get(record.key)
        if stats is None:
            stats = state.call_counts.of_record(record, state.registry)
        if stats.add(ran_ns, call.items):
            state.history.sent(call.id, state.measures.add(slot, call, record, ran_ns, now))
        in_flight = self.in_flight
        in_flight.count -= 1  # `InFlight.release`, inlined: this runs for every call
        if not record.is_async:
            slot.sync_count -= 1
            # What was sent behind it can only be quick: a slow call is sent to an idle worker.
            slot.full = False
        if slot.has_prefetched and (not slot.sync_count or len(slot.sent) < 2):
            slot.has_prefetched = False
            in_flight.prefetching -= 1
        if slot.cancelling:
            slot.cancelling.discard(seq)
        pending = not call.ended
        if pending:
            if raised is not None and is_retried(call, raised):
                pending = False
                self.queued.retry(call, now, raised)
            else:
                call.ended = True
                call.slot = None
                if ok and not call.items:  # `State.answered`, inlined: this runs for nearly every call
                    stats.tally.calls += 1
                    slot.tally.calls += 1
                    state.history.append((call.id, stats, slot.incarnation, call.times, ran_ns, now))
                else:
                    info = None if raised is None else raised.info
                    state.answered(slot, call, stats, ran_ns, now, ok, info, failed)
        loads = in_flight.loads
        if slot in loads.of:  # so it is open
            loads.put(slot, slot.sync_count)
        else:
            self._placement.update_load(slot)
        if self._held and call.name in self._held:
            self._queue_freed(now)
        if self._demands.queues:
            self._dispatch_demands(now)
        if (slot.pinned or self._queue or in_flight.prefetching) and not self._has_prefetched_enough(slot):
            self._refill(slot, now)
        return call if pending else None

    def _has_prefetched_enough(self, slot: Slot) -> bool:
        """Whether a slot has enough calls for now: the next are sent together when half of them are done."""
        # By the depth of the last call that was sent there: to ask for the next one's takes longer.
        held = slot.sync_count
        return held > 1 and 2 * held > slot.depth and bool(self._queue) and not slot.pinned

    def began(self, slot: Slot, seq: int, since_s: float, now: float) -> None:
        """Record when a coroutine began: the status page has room for one call only."""
        call = slot.sent.get(seq)
        if call is None:
            self._report_unknown(slot, f"the beginning of call {seq}")
        else:
            call.began_s = min(since_s, now)  # else its timeout might never expire

    def _report_unknown(self, slot: Slot, what: str) -> None:
        """Report a message about a call that the worker does not hold."""
        if slot.state not in LOST:  # what arrives while the pool stops is just too late
            self._state.emit(slot.id, "unknown_worker_message", "warn", details={"type": what})

    # -- queued calls are sent --------------------------------------------------------------------------

    def refill(self, slot: Slot, now: float) -> None:
        """Send queued calls to a slot that has room; if it stays idle, look for stalled workers."""
        self._placement.update_load(slot)
        self._refill(slot, now)

    def _refill(self, slot: Slot, now: float) -> None:
        if self._held:
            self._queue_freed(now)
        if slot.pinned:
            self._dispatch(slot.pinned, slot, now)
        if self._demands.queues:
            self._dispatch_demands(now)
        if self._queue:
            self._dispatch(self._queue, None, now)
        if self.in_flight.prefetching and not slot.sync_count:
            self._stealing.schedule_check(now)

    def dispatch(self, now: float) -> None:
        """Update the load of every slot, and send what can be sent."""
        for slot in self._state.slots.values():  # first: all that follows looks at them
            self._placement.update_load(slot)
        self._dispatch_all(now)

    def _dispatch_all(self, now: float) -> None:
        """Send what can be sent; the loads of slots are as they were, and to look at many takes long."""
        if self._held:
            self._queue_freed(now)
        for slot in self._state.slots.values():
            if slot.pinned:
                self._dispatch(slot.pinned, slot, now)
        if self._demands.queues:
            self._dispatch_demands(now)
        self._dispatch(self._queue, None, now)

    def _dispatch_demands(self, now: float) -> None:
        """Send the calls that ask for resources and can have them; end those that never can."""
        while self.queued.fail_impossible():
            if self._held:
                self._queue_freed(now)  # others of their functions may have been held back for them
        for queue in list(self._demands.queues.values()):
            if queue:
                self._dispatch(queue, self.queued.queue_of(queue.head)[1], now)
        self._demands.drop_empty()

    def _dispatch(self, queue: CallQueue, pinned: Slot | None, now: float) -> None:
        """Send the calls of one queue, in order, until the first that does not fit.

        Parameters
        ----------
        queue : CallQueue
            The queue.
        pinned : Slot or None
            The slot that it belongs to; None: any slot may run its calls.
        now : float
            In seconds.
        """
        if pinned is None and self._dispatch_quick(queue, now):
            return
        while queue:
            call = queue.head
            record = self._current_record(call)
            if record is None:
                queue.popleft()
                continue
            if record.at_most is not None and self._limits.holds(record, call):
                queue.popleft()
                continue
            slot = self._placement.choose(record, call, pinned)
            if slot is None:
                if pinned is None and self._state.resting:
                    self._wake()
                return
            queue.popleft()
            self.queued.count -= 1
            call.times = queued_at(call), now
            self._send(slot, call, record, self._placement.prefetch_depth(record, call))
            self._timeouts.start_call_timeout(call, record, slot, now)

    def _dispatch_quick(self, queue: CallQueue, now: float) -> bool:
        """Send calls at the head of a queue, as long as they need no check; return whether that was all.

        These are nearly all, as in `submit`.
        """
        state, placement = self._state, self._placement
        fast_path, stats_of = state.registry.fast_path, state.stats
        while queue:
            call = queue.head
            record = fast_path.get(call.name)
            if record is None or call.options is not NO_OPTIONS:
                return False
            stats = stats_of.get(record.key)
            if stats is None or call.items or call.is_stream:
                depth = placement.prefetch_depth(record, call)
            else:
                depth = stats.prefetch_depth
            slot = placement.next_slot(depth)
            if slot is None:
                if state.resting:
                    self._wake()
                return True
            queue.popleft()
            self.queued.count -= 1
            times = call.times
            call.times = (times[0] if isinstance(times, tuple) else times), now
            self._send(slot, call, record, depth)
        return True

    def _queue_freed(self, now: float) -> None:
        """Queue the calls that need not be held back any more, in their places by number."""
        for call in self._limits.free():
            queue, pinned = self.queued.queue_of(call)
            queue.rank()
            if queue.append(call):
                self._dispatch(queue, pinned, now)
        if self._state.resting:
            self._wake()

    def _current_record(self, call: Call) -> Record | None:
        """Return the current revision of a queued call's function, or end the call if it cannot run now."""
        error = self._admission.refusal(call)
        if error is None:
            return self._state.registry.records[call.name]
        self.queued.count -= 1
        self._state.finish(call, error)
        return None

    # -- a call returns to the queue --------------------------------------------------------------------

    def revoked(self, slot: Slot, seqs: Iterable[int], now: float) -> None:
        """Put calls that a worker will not run back to the head of the queue."""
        back = []
        for seq in seqs:
            call = slot.sent.pop(seq, None)
            slot.cancelling.discard(seq)
            if call is not None and call.record is not None:
                self.in_flight.release(slot, call.record)
                back.append(call)
        self.requeue(back, now)
        self.refill(slot, now)

    def requeue(self, calls: Iterable[Call], now: float) -> None:
        """Put calls that were sent and did not end back to the head of the queue, in their order."""
        for call in reversed(list(calls)):
            self.queued.take_back(call)
        self._dispatch_all(now)
        if self._state.resting:
            self._wake()
        self.queued.fail_if_unusable()

    def _queue_released(self, call: Call, now: float) -> None:
        """Queue a call that is held back no longer, ahead: it was made before most that are queued now."""
        self.queued.put_back(call)
        self._dispatch_all(now)
        if self._state.resting:
            self._wake()

    def _queue_dependent(self, call: Call, now: float) -> None:
        """Queue a call whose last argument is there: ahead, so that the value is soon not needed any more."""
        record = self._state.registry.records.get(call.name)
        if call.attempts:  # an item of a map that has failed before
            self.queued.retries.wait(call, now)
        else:
            self._queue_released(call, now)
        if record is not None and not call.ended:
            self._timeouts.start_queue_timeout(call, record, now)

    # -- a call is cancelled, or expires ----------------------------------------------------------------

    def cancel(self, call: Call, now: float) -> bool:
        """End a call, and its work if that has begun; return whether it had not ended before."""
        if call.ended:
            return False
        slot = slot_of(call)
        if slot is None:
            self._end_queued(call, None, now)
        else:
            self._state.finish(call, None)
            self._cancellation.stop(slot, call, now)
        return True

    def fail(self, call: Call, slot: Slot, error: Exception, now: float) -> None:
        """End a call that a worker runs with an error, and its work."""
        self._state.finish(call, error)
        self._cancellation.stop(slot, call, now)

    def cancel_all(self, which: Callable[[Call], bool], now: float) -> int:
        """Cancel every call for which `which` is true; return how many."""
        # The last first: so none is sent just because the one before it was cancelled.
        calls = [*reversed(list(self.queued)), *self.in_flight.calls()]
        return sum([self.cancel(call, now) for call in calls if which(call)])

    def _end_queued(self, call: Call, error: Exception | None, now: float) -> None:
        """End a queued call: it leaves the queue, and what waited behind it may fit where it did not."""
        if self.queued.end(call, error):
            self._dispatch_all(now)

    def reset(self) -> None:
        """Start over after the pool has stopped."""
        self.in_flight.latest = None
        self.queued.clear()
        self._stealing.reset()
        self._timeouts.reset()

    def dispatchable(self) -> Call | None:
        """Return a call at the head of a queue that could be sent now: an invariant is that there is none."""
        records = self._state.registry.records
        needlessly_held = self._limits.needlessly_held([*self._queue, *self._demands])
        if needlessly_held is not None:
            return needlessly_held
        asking = [
            (queue, self.queued.queue_of(queue.head)[1]) for queue in self._demands.queues.values() if queue
        ]
        pinned = [(s.pinned, s) for s in self._state.slots.values()]
        for queue, slot in [(self._queue, None), *pinned, *asking]:
            if queue:
                call = queue.head
                record = records.get(call.name)
                if record is None or record.kind is not Kind.FUNCTION:
                    return call
                if record.at_most is not None and self._limits.room(record.name, record.at_most) <= 0:
                    continue
                free = self._placement.choose(record, call, slot)
                if (
                    free is not None
                    and self._placement.fits(free, record, call)
                    and not self._has_prefetched_enough(free)
                ):
                    return call
        return None
