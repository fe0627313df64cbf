"""The sans-I/O core of the pool: inputs are what happened and when; outputs are calls to send and effects.

::

                       ┌──────────────────────────── Core ───────────────────────────┐
    submit, answered   │  Dispatcher    QueuedCalls, Placement, Timeouts, …          │   sends
    propose, installed │  Replication   the registry, and each worker's copy         │   effects
    spawned, died      │  Supervisor    slots: start, monitor, restart, stop         │
    tick(now)          │  State         what they share; timers, events              │
                       └─────────────────────────────────────────────────────────────┘

Nothing here blocks, reads a clock, draws random numbers, or does I/O; the driver does, under one lock.

Invariants, which `Core.check` tests one by one:

1.  A call that has not ended is in exactly one place: the shared queue, a slot's pinned queue, the calls
    that wait for a retry, or for the values of others, or one slot's `sent`.
2.  `queued.count` is the number of calls that wait (in all places but the last), `in_flight`
    that of the calls in `sent`.
3.  Only a slot with a process has calls in `sent`.
4.  The dispatcher considers a slot only if it serves, is ready, has installed the current epoch, is neither
    draining nor being replaced, and has no cancelled coroutine that still runs.
5.  All calls in a slot's `sent` are of one epoch: calls of a new epoch are sent only after the others ended.
6.  A slot that is restarting has a process, one is being started, or a restart is scheduled.
7.  A stopped pool has no process, no queued call, and no timer.
8.  A rollout waits only for slots with a process.
9.  A worker that lags behind the current epoch is being sent what it lacks, or is being replaced or retired.
10. A slot's counters and flags agree with `sent`: the number of synchronous calls, the cancelled coroutines,
    and whether calls are prefetched. A slot without synchronous calls is not `full`.
11. A call is queued only while some slot may run it, now or later.
12. No queued call could be sent now.
13. An incoming slot has no calls, and the slot that it replaces serves and has a process.
14. A leaving slot has a process, or one is being started; it takes no calls, and none is pinned to it.
15. An idle slot (scaled to zero) has no process, and no call is pinned to it; while any slot is idle, there
    are no more unpinned queued calls than workers starting.
16. A process belongs to one slot, and its incarnation is unique.
17. A spare has a process, or one is being started; it has no number, no calls, and none is pinned to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeAlias

from ..options import PoolOptions
from .calls import Call
from .lifecycle import ALIVE, LOST, SlotState
from .registry import Kind, Record
from .rollout import Rollout
from .running_calls import RunningCall
from .slots import Slot
from .snapshot import LeavingProcess, PoolSnapshot, WorkerHealth, WorkerSnapshot
from .state import State
from .stream_calls import doing
from .supervisor import Supervisor
from .tally import sum_of

__all__ = ["Core", "ProcessFacts"]


class ProcessFacts(NamedTuple):
    """What the operating system reports about a process."""

    memory_bytes: int | None
    cpu_percent: float | None


_Begun: TypeAlias = list[tuple[Call, float]]  # calls, and when they began, in seconds
_STARTING_STATES = frozenset({SlotState.STARTING, SlotState.RESTARTING})
_NO_FACTS = ProcessFacts(None, None)


class Core:
    """All decisions of one pool. See `State` for the parameters.

    Attributes
    ----------
    state : State
        The shared state.
    supervisor, dispatcher, replication : object
        The three components; each has the methods for its kind of input.
    """

    def __init__(
        self,
        options: PoolOptions,
        *,
        timestamp: Callable[[], str],
        random: Callable[[], float],
        running: Callable[[int], tuple[int, float]],
        installing: Callable[[int], str],
        load_again: Callable[[list[Record]], Iterable[Record]],
        cpu_s: Callable[[int], float] = lambda incarnation: 0.0,
        arguments: Callable[[Call], str] = lambda call: "",
        prepares: Callable[[int], bool] = lambda incarnation: False,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.state = State(
            options, timestamp, random, running, installing, load_again, cpu_s, arguments, prepares, clock
        )
        self.supervisor = Supervisor(self.state)
        self.dispatcher = self.supervisor.dispatcher
        self.replication = self.supervisor.replication

    def slot(self, number: int, incarnation: int) -> Slot | None:
        """Return the slot that this process fills; None if it no longer fills one."""
        return self.state.live_slot(number, incarnation)

    def is_settled(self) -> bool:
        """Whether every slot is in a steady state: ready, idle, failed, or stopped.

        While one is ready, those do not count for which there is no place.
        """
        if self.state.phase not in ("starting", "running"):
            return True
        slots = self.state.slots.values()
        some = any(slot.state is SlotState.READY for slot in slots)
        return not self.supervisor.replacements.is_awaited() and not any(
            (slot.state in _STARTING_STATES and not (some and slot.waits_for))
            or slot.replace_reason
            or slot.draining
            for slot in slots
        )

    def tick(self, now: float) -> None:
        """Run the timers that are due."""
        self.state.timers.run(now)

    def paused(self, seconds: float, now: float) -> None:
        """Record that the pool has not run for so long up to now: that is nobody's time.

        What workers have written meanwhile must have been read before.
        """
        self.state.pauses.add(now - seconds, now)
        self.state.timers.delay(seconds)

    def propose(self, records: Iterable[Record], removed: Iterable[str], now: float) -> Rollout:
        """Change the definitions; see `Replication.propose`."""
        return self.replication.propose(records, removed, now)

    # -- snapshots --------------------------------------------------------------------------------------

    def installed_count(self, record: Record) -> int:
        """Return how many workers have this revision of a definition installed."""
        return len(self.holders(record))

    def holders(self, record: Record) -> list[int]:
        """Return the numbers of the workers that have this revision of a definition installed."""
        if record.broken is not None:
            return []
        since = self.state.registry.changed_at(record.name)
        slots = self.state.slots.values()
        return sorted(slot.id for slot in slots if slot.pid is not None and slot.installed_epoch >= since)

    def health(self) -> list[WorkerHealth]:
        """Return the health of every slot that is not retired, by number."""
        return [
            WorkerHealth(
                slot.id,
                slot.state.value,
                sum(len(each.sent) for each in self._processes_of(slot)),
                len(slot.installing),
                slot.attempts,
            )
            for _, slot in sorted(self.state.slots.items())
            if not slot.retired
        ]

    def _processes_of(self, slot: Slot) -> list[Slot]:
        """Return the slot, and the leaving slots that it replaces."""
        leaving = self.state.leaving
        return [slot, *(old for old in leaving.values() if old.id == slot.id)] if leaving else [slot]

    def snapshot(self, name: str, now: float, facts: Mapping[int, ProcessFacts]) -> PoolSnapshot:
        """Return a snapshot of the pool.

        Parameters
        ----------
        name : str
            The pool's name.
        now : float
            In seconds.
        facts : mapping
            What the operating system reports, by slot number.
        """
        state, registry = self.state, self.state.registry
        tally, kinds = state.call_counts.total(), registry.kinds()
        return PoolSnapshot(
            name=name,
            state=state.phase,
            workers=tuple(
                self._worker(slot, now, facts.get(slot.id, _NO_FACTS))
                for _, slot in sorted(state.slots.items())
            ),
            queued=self.dispatcher.queued.count,
            dependent=len(self.dispatcher.queued.dependents.calls),
            in_flight=self.dispatcher.in_flight.count,
            done=tally.done,
            failed=tally.failed,
            calls=tally.calls,
            items=tally.items,
            cancelled=tally.cancelled,
            functions=kinds.count(Kind.FUNCTION),
            dependencies=kinds.count(Kind.DEPENDENCY),
            constants=kinds.count(Kind.CONSTANT),
            setup=kinds.count(Kind.SETUP),
            resources=len(registry.resources),
            shared=kinds.count(Kind.SHARED),
            spare_workers=sum(bool(slot.ready_since) for slot in state.spares.values()),
            epoch=registry.epoch,
            events=state.events.total,
        )

    def _worker(self, slot: Slot, now: float, facts: ProcessFacts) -> WorkerSnapshot:
        # A dashboard asks for this of each worker, several times a second.
        begun = self._begun(slot)
        current, running_s = _shown(begun, now)
        tally, waiting = slot.tally, len(slot.sent) - len(begun) + len(slot.pinned)
        leaving: list[LeavingProcess] = []
        if self.state.leaving:
            olds = self._processes_of(slot)[1:]
            tally = sum_of([tally, *(old.tally for old in olds)])
            for old in olds:
                its = self._begun(old)
                waiting += len(old.sent) - len(its)
                leaving.append(LeavingProcess(old.incarnation, old.pid, *_shown(its, now), _ids(its)))
        return WorkerSnapshot(
            worker_id=slot.id,
            health_state=slot.state.value,
            pid=slot.pid,
            current_call=current,
            running_s=running_s,
            waiting=waiting,
            done=tally.done,
            failed=tally.failed,
            cancelled=tally.cancelled,
            restarts=slot.restarts,
            memory_bytes=facts.memory_bytes,
            cpu_percent=facts.cpu_percent,
            host=slot.host,
            waits_for=slot.waits_for,
            restart_in_s=max(0.0, slot.restart_at - now) if slot.restart_at else None,
            call_ids=_ids(begun),
            leaving=tuple(leaving),
        )

    def _begun(self, slot: Slot) -> _Begun:
        """Return the calls that a process has begun and not ended, each with when it began."""
        seq, since = self.state.running(slot.incarnation) if slot.sent else (0, 0.0)
        return [
            (call, call.began_s or since)
            for number, call in slot.sent.items()
            if (number <= seq or call.began_s) and not call.ended
        ]

    def running_calls(self, now: float) -> list[RunningCall]:
        """Return the calls that workers have begun, by slot and age, given the time in seconds."""
        return [
            RunningCall(
                call.correlation_id,
                call.name,
                slot.id,
                max(0.0, now - since) if since else 0.0,
                call.items,
                getattr(call.future, "progress", None),
            )
            for slot in sorted(self.state.processes(), key=lambda each: (each.id, each.incarnation))
            for call, since in self._begun(slot)
        ]

    # -- the invariants ---------------------------------------------------------------------------------

    def check(self) -> None:
        """Test the invariants of this module.

        Raises
        ------
        AssertionError
            With the number of the invariant that does not hold.
        """
        state, dispatcher = self.state, self.dispatcher
        slots = state.processes()
        waiting, count = list(dispatcher.queued), dispatcher.queued.count
        held = [call for slot in slots for call in slot.sent.values()]
        live = [call for call in held if not call.ended]
        assert len({call.id for call in waiting + live}) == len(waiting) + len(live), (
            "1: a call in two places"
        )
        assert all(call.slot is None for call in waiting), "1: a queued call has a slot"
        assert not any(call.ended for call in waiting), "1: a call that has ended is queued"
        assert all(call.slot is slot for slot in slots for call in slot.sent.values() if not call.ended), "1"
        assert count == len(waiting), f"2: {count} queued, not {len(waiting)}"
        assert dispatcher.in_flight.count == len(held), (
            f"2: {dispatcher.in_flight.count} in flight, not {len(held)}"
        )
        assert all(slot.pid is not None for slot in slots if slot.sent), "3: calls without a process"
        for slot in dispatcher.offered():
            assert state.is_serving(slot), f"4: {slot} is offered, and does not serve"
            assert slot.state is SlotState.READY, f"4: {slot} is offered"
            assert slot.installed_epoch == state.registry.epoch, f"4: {slot} is offered, and lags"
            assert not slot.draining, f"4: {slot} is offered, and drains"
            assert not slot.replace_reason, f"4: {slot} is offered, and is replaced"
            assert not slot.cancelling, f"4: {slot} is offered, and a cancelled coroutine runs"
        for slot in slots:
            assert all(call.epoch == slot.epoch for call in slot.sent.values()), f"5: {slot} has two epochs"
            if slot.state is SlotState.RESTARTING:
                assert slot.pid is not None or slot.starting or slot.restart_at, (
                    f"6: {slot} has no restart scheduled"
                )
        if state.phase == "stopped":
            assert all(slot.pid is None for slot in slots), "7: a process"
            assert not waiting, "7: a queued call"
            assert state.timers.next_due is None, "7: a timer"
        alive = {slot.incarnation for slot in slots if slot.pid is not None}
        assert alive.issuperset(self.replication.pending()), "8: the rollout waits for an exited process"
        for slot in slots:
            self._check_slot(slot)
        assert state.usable() or not waiting, "11: no slot is left for queued calls"
        dispatchable = dispatcher.dispatchable()
        assert dispatchable is None, f"12: {dispatchable} could be sent"
        self._check_replacements()

    def _check_slot(self, slot: Slot) -> None:
        lags = (
            slot.installed_epoch != self.state.registry.epoch and not slot.replace_reason and not slot.retired
        )
        if slot.state in ALIVE and lags:
            assert slot.installing, f"9: {slot} lags"
        count = sum(call.record is not None and not call.record.is_async for call in slot.sent.values())
        assert slot.sync_count == count, f"10: {slot} has {count} synchronous calls, not {slot.sync_count}"
        assert count or not slot.full, f"10: {slot} is full without a synchronous call"
        assert slot.cancelling <= slot.sent.keys(), f"10: {slot} cancels a call that it does not have"
        assert slot.has_prefetched == (count > 0 and len(slot.sent) > 1), (
            f"10: {slot}: prefetched={slot.has_prefetched}"
        )
        if slot.retired or slot.state in LOST:
            assert not slot.pinned, f"11: {slot} will not run its pinned calls"

    def _check_replacements(self) -> None:
        state = self.state
        for number, slot in state.incoming.items():
            assert slot.pid is not None or slot.starting, f"13: {slot} has no process"
            assert not slot.sent, f"13: {slot} has calls"
            assert not slot.pinned, f"13: {slot} has pinned calls"
            old = state.slots.get(number)
            assert old is not None, f"13: {slot} replaces no slot"
            assert old.pid is not None, f"13: {old} has no process"
            assert not old.retired, f"13: {old} is retired"
        for incarnation, slot in state.leaving.items():
            assert incarnation == slot.incarnation, f"14: {slot}"
            assert slot.pid is not None or slot.starting, f"14: {slot} has no process"
            assert slot.retired, f"14: {slot} is not retired"
            assert slot.draining or slot.replace_reason, f"14: {slot} takes calls"
            assert not slot.pinned, f"14: {slot} has pinned calls"
        resting = {number for number, slot in state.slots.items() if slot.state is SlotState.RESTING}
        assert resting == state.resting, f"15: {resting} are idle, not {state.resting}"
        for number in resting:
            slot = state.slots[number]
            assert slot.pid is None, f"15: {slot} has a process"
            assert not slot.starting, f"15: {slot} has a process"
            assert not slot.pinned, f"15: {slot} has pinned calls"
        if resting:
            starting = sum(
                slot.state in _STARTING_STATES and not slot.restart_at for slot in state.slots.values()
            )
            assert self.dispatcher.queued.unpinned() <= starting, "15: calls are queued, and a slot is idle"
        for incarnation, slot in state.spares.items():
            assert incarnation == slot.incarnation, f"17: {slot}"
            assert slot.pid is not None or slot.starting, f"17: {slot} has no process"
            assert not slot.id, f"17: {slot} has a number"
            assert not slot.sent, f"17: {slot} has calls"
            assert not slot.pinned, f"17: {slot} has pinned calls"
        incarnations = [slot.incarnation for slot in state.processes() if slot.incarnation]
        assert len(set(incarnations)) == len(incarnations), "16: two slots have one incarnation"


def _shown(begun: _Begun, now: float) -> tuple[str | None, float | None]:
    """Return what a process does as text, and for how long it has done so."""
    if not begun:
        return None, None
    call, since = begun[0]
    more = f" and {len(begun) - 1} more" if len(begun) > 1 else ""
    return f"{doing(call)}{more}", max(0.0, now - since) if since else None


def _ids(begun: _Begun) -> tuple[str, ...]:
    return tuple([call.correlation_id for call, _ in begun])
