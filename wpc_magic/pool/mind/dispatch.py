"""Which worker runs which call, and when: the queue, what is sent ahead, and what is taken back."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from ..errors import (
    CallRefusedError,
    CallTimeoutError,
    FunctionNotDefinedError,
    NotRunningError,
    NoWorkerError,
    OptionError,
    QueueTimeoutError,
    RequirementMissingError,
    SaturatedError,
)
from ..options import did_you_mean
from .calls import NO_OPTIONS, Call
from .effects import SendRevoke
from .lifecycle import LOST, SlotState
from .registry import Kind, Record
from .scheduler import Loads, depth
from .slots import Slot
from .state import State
from .stats import FunctionStats

__all__ = ["Dispatch"]

_STUCK_S = 0.003
"""A worker that has made no step for so long while another one idles has its waiting calls taken back."""


class Dispatch:
    """The calls of a pool.

    Parameters
    ----------
    state : State
        What the parts of the core share.
    replace : callable
        Given a slot and a reason, ends its process and has the slot filled again.

    Attributes
    ----------
    queued : int
        Calls that no worker has been given.
    in_flight : int
        Calls that a worker has been given and has not answered.
    """

    def __init__(self, state: State, replace: Callable[[Slot, str], None]) -> None:
        self._state = state
        self._replace = replace
        self._queue: deque[Call] = deque()  # with calls that have ended: they are skipped
        self._loads = Loads()
        self.queued = 0
        self.in_flight = 0
        self._ahead = 0  # slots with calls that wait behind another
        self._watching = False  # whether a look for stuck workers is planned

    # -- a call begins ----------------------------------------------------------------------------------

    def check(self, name: str) -> Record:
        """Return the function of that name; what `submit` will ask before anything else.

        Raises
        ------
        NotRunningError, FunctionNotDefinedError
        """
        state = self._state
        if state.phase == "stopped" or state.phase == "stopping":
            raise NotRunningError(f"the workers are {state.phase}; start them first")
        if state.draining:
            raise NotRunningError("the workers stop as soon as the calls that were made before have ended")
        record = state.registry.records.get(name)
        if record is None or record.kind is not Kind.FUNCTION:
            raise FunctionNotDefinedError(self._unknown(name))
        return record

    def _unknown(self, name: str) -> str:
        registry = self._state.registry
        if name in registry.records:
            return f"{name!r} is a {registry.records[name].kind.value}, not a function"
        known = [record.name for record in registry.of_kind(Kind.FUNCTION)]
        return f"no function {name!r} is defined.{did_you_mean(name, known)}"

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
        record = self.check(call.name)
        missing = state.registry.missing(call.name)
        if missing is not None:
            raise RequirementMissingError(self._lacks(call.name, missing))
        options = call.options
        pinned = None
        if options is not NO_OPTIONS and options.worker_id is not None:
            pinned = self._pinned(options.worker_id)
        if state.options.max_pending_calls_per_worker is not None and not self.has_room():
            raise SaturatedError(
                f"{self.queued + self.in_flight} calls are pending, which is the limit of "
                f"max_pending_calls_per_worker={state.options.max_pending_calls_per_worker}; "
                f"wait for some, or choose saturation='wait'"
            )
        slot = self._choose(record, call, pinned)
        if slot is not None:
            self._send(slot, call, record, now)
            if slot.plain > 1:
                self._limit_waiting(call, record, now)  # it was sent, but behind another
            return
        if not state.usable():
            raise NoWorkerError("no worker can run the call: every one is stopped or failed")
        (self._queue if pinned is None else pinned.pinned).append(call)
        self.queued += 1
        self._limit_waiting(call, record, now)

    def _limit_waiting(self, call: Call, record: Record, now: float) -> None:
        wait_ms = call.options.queue_timeout_ms
        if wait_ms is None:
            wait_ms = record.options.queue_timeout_ms
        if wait_ms is None:
            wait_ms = self._state.options.queue_timeout_ms
        if wait_ms is not None:
            error = QueueTimeoutError(f"{call} waited for more than {wait_ms} ms, and did not run")
            self._state.timers.at(now + wait_ms / 1000, lambda _: self._waited(call, error))

    def _lacks(self, name: str, missing: str) -> str:
        record = self._state.registry.records.get(missing)
        if record is not None and record.broken is not None:
            return f"{name} needs {missing!r}, which no worker could install: {record.broken}"
        return f"{name} needs {missing!r}, which is not defined"

    def _pinned(self, worker_id: int) -> Slot:
        slot = self._state.slots.get(worker_id)
        if slot is None or slot.retired:
            there = ", ".join(str(number) for number in sorted(self._state.slots))
            raise OptionError(f"worker_id={worker_id}: there is no such worker; there are {there}")
        if slot.state in LOST:
            raise NoWorkerError(
                f"worker {worker_id} is {slot.state.value}; restart_worker({worker_id}) starts it"
            )
        return slot

    def has_room(self) -> bool:
        """Whether the limit of pending calls lets one more in."""
        state = self._state
        most = state.options.max_pending_calls_per_worker
        return most is None or self.queued + self.in_flight < most * max(1, len(state.slots))

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
        number = self._loads.lightest(self._depth(record, call))
        return None if number is None else self._state.slots[number]

    def _fits(self, slot: Slot, record: Record, call: Call) -> bool:
        if not self._is_open(slot) or slot.full:
            return False
        return (len(slot.sent) if record.is_async else slot.plain) < self._depth(record, call)

    def _is_open(self, slot: Slot) -> bool:
        return (
            slot.state is SlotState.READY
            and slot.held == self._state.registry.epoch
            and not slot.drains
            and not slot.replacing
        )

    def _depth(self, record: Record, call: Call) -> int:
        stats = self._state.stats.get(record.key)
        mean = None if stats is None else stats.mean_s
        if mean is not None and call.items:
            mean *= call.items
        return depth(mean, record.is_async)

    def _send(self, slot: Slot, call: Call, record: Record, now: float) -> None:
        state = self._state
        call.record = record
        call.slot = slot
        call.began_s = 0.0
        call.epoch = state.registry.epoch
        call.seq = seq = slot.next_seq
        slot.next_seq = seq + 1
        slot.sent[seq] = call
        self.in_flight += 1
        if not record.is_async:
            slot.plain += 1
            if slot.plain == 2:
                self._ahead += 1
            if self._depth(record, call) == 1:
                slot.full = True
        self._weigh(slot)
        state.sends.append((slot, call))
        timeout_ms = call.options.timeout_ms
        if timeout_ms is None:
            timeout_ms = record.options.timeout_ms
        if timeout_ms is None:
            timeout_ms = state.options.call_timeout_ms
        if timeout_ms is not None:
            life = slot.life
            state.timers.at(
                now + timeout_ms / 1000, lambda now: self._overdue(call, slot, life, seq, timeout_ms, now)
            )

    def _weigh(self, slot: Slot) -> None:
        """Enter how much a slot holds, or take it out where it takes no calls."""
        if slot.full or not self._is_open(slot):
            self._loads.drop(slot.id)
        else:
            self._loads.put(slot.id, slot.plain)

    # -- a call ends ------------------------------------------------------------------------------------

    def answered(self, slot: Slot, seq: int, ran_ns: int, ok: bool, now: float) -> Call | None:
        """Note that a worker has answered; return the call, or None if nobody waits for it any more."""
        call = slot.sent.pop(seq, None)
        if call is None:
            return None
        state = self._state
        record = call.record
        assert record is not None
        stats = state.stats.get(record.key)
        if stats is None:
            stats = state.stats[record.key] = FunctionStats()
        stats.add(ran_ns, call.items, ok)
        self._leave(slot, record)
        if not record.is_async:
            slot.full = (
                False  # what was sent behind it can only be quick: a slow call is sent to an idle worker
            )
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
        self.room_at(slot, now)
        return call if wanted else None

    def _leave(self, slot: Slot, record: Record) -> None:
        """Take one call off a slot's books."""
        self.in_flight -= 1
        if not record.is_async:
            slot.plain -= 1
            if slot.plain == 1:
                self._ahead -= 1

    def room_at(self, slot: Slot, now: float) -> None:
        """Give a slot that has room what is queued; look for stuck workers where it idles."""
        self._weigh(slot)
        if slot.pinned:
            self._feed_pinned(slot, now)
        if self._queue:
            self._feed(now)
        if self._ahead and not slot.plain and not self._watching:
            self._watch(now)

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
                return
            queue.popleft()
            self.queued -= 1
            self._send(slot, call, record, now)

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
            self._send(slot, call, record, now)

    def _current(self, call: Call) -> Record | None:
        """Return the function as it is now; if it went away while the call was queued, the call ends."""
        registry = self._state.registry
        record = registry.records.get(call.name)
        error: CallRefusedError
        if record is None or record.kind is not Kind.FUNCTION:
            error = FunctionNotDefinedError(f"{call} was queued when its function was undefined")
        elif (missing := registry.missing(call.name)) is not None:
            error = RequirementMissingError(self._lacks(call.name, missing))
        else:
            return record
        self.queued -= 1
        self._state.finish(call, error)
        return None

    # -- a call is late, stuck, or taken back -----------------------------------------------------------

    def began(self, slot: Slot, seq: int, since_s: float, now: float) -> None:
        """Note when a coroutine began, which the status page cannot tell of more than one."""
        call = slot.sent.get(seq)
        if call is not None:
            call.began_s = since_s

    def _began(self, slot: Slot, call: Call) -> float | None:
        """Return when a call's first instruction ran, in seconds; None if it has not."""
        if call.began_s:
            return call.began_s
        seq, since = self._state.running(slot.id)
        return since if seq == call.seq and since else None

    def _overdue(self, call: Call, slot: Slot, life: int, seq: int, timeout_ms: int, now: float) -> None:
        if slot.life != life or slot.sent.get(seq) is not call or call.ended:
            return
        began = self._began(slot, call)
        left = timeout_ms / 1000 - (now - began if began is not None else 0.0)
        if left > 0:  # it waited behind others first: the time runs from its first instruction
            self._state.timers.at(
                now + left, lambda now: self._overdue(call, slot, life, seq, timeout_ms, now)
            )
            return
        details = {"function": call.name, "timeout_ms": timeout_ms}
        self._state.emit(
            slot.id, "call_timed_out", "warn", correlation_id=call.correlation_id, details=details
        )
        slot.failed += 1
        message = f"{call} ran for more than {timeout_ms} ms on worker {slot.id}, and was stopped"
        self._state.finish(call, CallTimeoutError(message))
        self._replace(slot, f"{call} ran out of time")

    def _waited(self, call: Call, error: QueueTimeoutError) -> None:
        slot = call.slot
        if call.ended:
            return
        if slot is None:
            self.queued -= 1
            self._state.finish(call, error)
        elif not self.has_begun(slot, call):
            call.expired = error  # it ends with this once the worker has given it up
            self._revoke(slot, [call.seq])

    def _revoke(self, slot: Slot, seqs: Iterable[int]) -> None:
        self._state.effects.append(SendRevoke(slot.id, slot.life, tuple(seqs)))

    def given_up(self, slot: Slot, seqs: Iterable[int], now: float) -> None:
        """Note that a worker will not run these calls: they go back to the head of the queue."""
        back = []
        for seq in seqs:
            call = slot.sent.pop(seq, None)
            if call is not None and call.record is not None:
                self._leave(slot, call.record)
                back.append(call)
        self.queue_again(back, now)
        self.room_at(slot, now)

    def queue_again(self, calls: Iterable[Call], now: float) -> None:
        """Put calls that were sent and did not begin back to the head of the queue, in their order."""
        for call in reversed(list(calls)):
            slot, call.slot = call.slot, None
            if call.ended:
                continue
            if call.expired is not None:
                self._state.finish(call, call.expired)
                continue
            self.queued += 1
            if slot is not None and call.options.worker_id is not None:
                slot.pinned.appendleft(call)
            else:
                self._queue.appendleft(call)
        self._feed(now)

    def cancel(self, call: Call) -> bool:
        """End a call that has not begun; return whether it is over without having run."""
        if call.ended:
            return False
        slot = call.slot
        if slot is None:
            self.queued -= 1
        elif self.has_begun(slot, call):
            return False
        else:
            self._revoke(slot, [call.seq])
        self._state.finish(call, None)
        return True

    def has_begun(self, slot: Slot, call: Call) -> bool:
        """Tell whether a worker has begun a call that it holds."""
        return bool(call.began_s) or self._state.running(slot.id)[0] >= call.seq

    def _watch(self, now: float) -> None:
        """Plan a look: does a worker stand still on one call while others wait behind it?"""
        self._watching = True
        state = self._state
        at = {s.id: state.running(s.id)[0] for s in state.slots.values() if s.plain > 1}
        state.timers.at(now + _STUCK_S, lambda now: self._look(at, now))

    def _look(self, at: dict[int, int], now: float) -> None:
        self._watching = False
        state = self._state
        for slot in state.slots.values():
            if slot.plain > 1 and at.get(slot.id) == (seq := state.running(slot.id)[0]):
                behind = [number for number, call in slot.sent.items() if number > seq and not call.ended]
                if behind:
                    slot.full = True  # nothing more behind this one
                    self._weigh(slot)
                    self._revoke(slot, behind)
        if self._ahead and any(self._is_open(slot) and not slot.plain for slot in state.slots.values()):
            self._watch(now)

    # -- all of them ------------------------------------------------------------------------------------

    def lose(self, slot: Slot) -> list[Call]:
        """Take all calls off a slot whose process is gone, and return them in order."""
        calls = list(slot.sent.values())
        for call in calls:
            assert call.record is not None
            self._leave(slot, call.record)
        slot.sent.clear()
        self._loads.drop(slot.id)
        return calls

    def close(self, slot: Slot) -> None:
        """Give a slot no more calls."""
        self._weigh(slot)

    def fail_queued(self, error: type[Exception], why: str) -> None:
        """End every call that is queued."""
        queued = self.waiting()
        self._queue.clear()
        for slot in self._state.slots.values():
            slot.pinned.clear()
        for call in queued:
            if not call.ended:
                self.queued -= 1
                self._state.finish(call, error(f"{call} {why}"))

    def fail_pinned(self, slot: Slot) -> None:
        """End the calls that only this slot may run: it does not come back."""
        for call in slot.pinned:
            if not call.ended:
                self.queued -= 1
                self._state.finish(call, NoWorkerError(f"{call} was for worker {slot.id}, which is gone"))
        slot.pinned.clear()

    # -- for the invariants -----------------------------------------------------------------------------

    def waiting(self) -> list[Call]:
        """Return what is queued, with calls that have ended and are not taken out yet."""
        return [*self._queue, *(call for slot in self._state.slots.values() for call in slot.pinned)]

    def offered(self) -> list[int]:
        """Return the slots that calls may be given to."""
        return self._loads.slots()
