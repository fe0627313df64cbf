"""The mind of the pool: what happened, and when, goes in; what to do comes out.

::

                       ┌──────────────────────────── Core ───────────────────────────┐
    submit, answered   │  Dispatch      queue, who runs what; with Limits, Stuck     │   sends
    propose, installed │  Definitions   the registry, and who holds what of it       │   effects
    spawned, died      │  Supervisor    slots: start, watch, restart, end            │
    tick(now)          │  State         what they share; timers, events              │
                       └─────────────────────────────────────────────────────────────┘

Nothing here waits, reads a clock, throws dice, or touches the world; the driver does, under one lock.

Invariants, which `Core.check` tests one by one:

1.  A call that has not ended is in exactly one place: the queue, a slot's pinned queue, among those that
    wait to be tried again, or one slot's books.
2.  `queued` and `in_flight` count just those.
3.  Only a slot with a process holds calls.
4.  A slot is offered to calls only if it serves, is ready, holds the epoch in force, is not on its way out,
    and has no coroutine that was stopped and has not ended.
5.  All calls that a worker holds are of one epoch: it gets none of a new one before it has ended the others.
6.  A slot that is restarting has a process, is being filled, or has a moment for it.
7.  A stopped pool has no process, no queued call, and no timer.
8.  A change that is under way waits only for slots with a process.
9.  A worker that lags behind the epoch in force is being sent what it lacks, or is on its way out.
10. What a slot notes of its calls is so: how many are plain, which were stopped, whether others wait behind
    them. A slot that holds none is not full.
11. A call is queued only while a slot is left that may run it.
12. No call is queued that could be sent now.
13. A slot that is to take a place holds no call, and there is a place: one that serves, with a process.
14. A slot whose place was taken has a process, or one is being started; it takes no calls, and none waits
    for it.
15. A slot that rests has no process, and no call waits for it; while any rests, no more calls wait for any
    worker than workers are on their way.
16. A process is of one slot, whose life tells it from all others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ..options import PoolOptions
from .calls import Call
from .lifecycle import ALIVE, LOST, SlotState
from .registry import Kind, Record
from .rollout import Rollout
from .slots import Slot
from .snapshot import PoolSnapshot, WorkerHealth, WorkerSnapshot
from .state import State
from .supervise import Supervisor

__all__ = ["Core", "ProcessFacts"]


class ProcessFacts(NamedTuple):
    """What the machine says of a process."""

    memory_bytes: int | None
    cpu_percent: float | None


_ON_THE_WAY = frozenset({SlotState.STARTING, SlotState.RESTARTING})
_NO_FACTS = ProcessFacts(None, None)


class Core:
    """All decisions of one pool. See `State` for the parameters.

    Attributes
    ----------
    state : State
        What is known.
    supervisor, dispatch, definitions : object
        The three that decide; each takes the news of its kind.
    """

    def __init__(
        self,
        options: PoolOptions,
        *,
        stamp: Callable[[], str],
        dice: Callable[[], float],
        running: Callable[[int], tuple[int, float]],
        installing: Callable[[int], str],
    ) -> None:
        self.state = State(options, stamp, dice, running, installing)
        self.supervisor = Supervisor(self.state)
        self.dispatch = self.supervisor.dispatch
        self.definitions = self.supervisor.definitions

    def slot(self, number: int, life: int) -> Slot | None:
        """Return the slot that this process fills; None if the process is not its any more."""
        return self.state.alive(number, life)

    def is_settled(self) -> bool:
        """Whether every slot has come to where it stays: ready, failed, or stopped."""
        if self.state.phase not in ("starting", "running"):
            return True
        return not self.supervisor.overlap.is_awaited() and not any(
            slot.state in _ON_THE_WAY or slot.replacing or slot.drains for slot in self.state.slots.values()
        )

    def tick(self, now: float) -> None:
        """Do what is due."""
        self.state.timers.run(now)

    def propose(self, records: Iterable[Record], removed: Iterable[str], now: float) -> Rollout:
        """Change the definitions; see `Definitions.propose`."""
        return self.definitions.propose(records, removed, now)

    # -- pictures ---------------------------------------------------------------------------------------

    def installed_count(self, record: Record) -> int:
        """Return how many workers hold this revision of a definition."""
        if record.broken is not None:
            return 0
        since = self.state.registry.changed_at(record.name)
        return sum(slot.pid is not None and slot.held >= since for slot in self.state.slots.values())

    def health(self) -> list[WorkerHealth]:
        """Return the health of every slot that stays, by number."""
        return [
            WorkerHealth(
                slot.id,
                slot.state.value,
                sum(len(each.sent) for each in self._of_number(slot)),
                len(slot.installing),
                slot.deaths,
            )
            for _, slot in sorted(self.state.slots.items())
            if not slot.retired
        ]

    def _of_number(self, slot: Slot) -> list[Slot]:
        """Return the slot, and those whose place it has taken."""
        return [slot, *(old for old in self.state.leaving.values() if old.id == slot.id)]

    def snapshot(self, name: str, now: float, facts: Mapping[int, ProcessFacts]) -> PoolSnapshot:
        """Return a picture of everything.

        Parameters
        ----------
        name : str
            The pool's.
        now : float
            In seconds.
        facts : mapping
            What the machine says, by slot.
        """
        state, registry = self.state, self.state.registry
        return PoolSnapshot(
            name=name,
            state=state.phase,
            workers=tuple(
                self._worker(slot, now, facts.get(slot.id, _NO_FACTS))
                for _, slot in sorted(state.slots.items())
            ),
            queued=self.dispatch.queued,
            in_flight=self.dispatch.in_flight,
            done=state.done,
            failed=state.failed,
            functions=len(registry.of_kind(Kind.FUNCTION)),
            dependencies=len(registry.of_kind(Kind.DEPENDENCY)),
            constants=len(registry.of_kind(Kind.CONSTANT)),
            epoch=registry.epoch,
            events=state.events.total,
        )

    def _worker(self, slot: Slot, now: float, facts: ProcessFacts) -> WorkerSnapshot:
        begun: list[tuple[Call, float]] = []
        slots = self._of_number(slot)
        for each in slots:
            seq, since = self.state.running(each.life) if each.sent else (0, 0.0)
            begun += [
                (call, call.began_s or since)
                for number, call in each.sent.items()
                if (number <= seq or call.began_s) and not call.ended
            ]
        current, since = begun[0] if begun else (None, 0.0)
        more = f" and {len(begun) - 1} more" if len(begun) > 1 else ""
        return WorkerSnapshot(
            worker_id=slot.id,
            health_state=slot.state.value,
            pid=slot.pid,
            current_call=f"{current}{more}" if current is not None else None,
            running_s=max(0.0, now - since) if since else None,
            waiting=sum(len(each.sent) for each in slots) - len(begun) + len(slot.pinned),
            done=sum(each.done for each in slots),
            failed=sum(each.failed for each in slots),
            restarts=slot.restarts,
            memory_bytes=facts.memory_bytes,
            cpu_percent=facts.cpu_percent,
            restart_in_s=max(0.0, slot.restart_at - now) if slot.restart_at else None,
        )

    # -- the invariants ---------------------------------------------------------------------------------

    def check(self) -> None:
        """Test the invariants of this module.

        Raises
        ------
        AssertionError
            With the number of the one that does not hold.
        """
        state, dispatch = self.state, self.dispatch
        slots = state.processes()
        waiting = [call for call in dispatch.waiting() if not call.ended]
        held = [call for slot in slots for call in slot.sent.values()]
        live = [call for call in held if not call.ended]
        assert len({call.id for call in waiting + live}) == len(waiting) + len(live), (
            "1: a call in two places"
        )
        assert all(call.slot is None for call in waiting), "1: a queued call has a slot"
        assert all(call.slot is slot for slot in slots for call in slot.sent.values() if not call.ended), "1"
        assert dispatch.queued == len(waiting), f"2: {dispatch.queued} queued, not {len(waiting)}"
        assert dispatch.in_flight == len(held), f"2: {dispatch.in_flight} in flight, not {len(held)}"
        assert all(slot.pid is not None for slot in slots if slot.sent), "3: calls without a process"
        for slot in dispatch.offered():
            assert state.serves(slot), f"4: {slot} is offered, and does not serve"
            assert slot.state is SlotState.READY, f"4: {slot} is offered"
            assert slot.held == state.registry.epoch, f"4: {slot} is offered, and lags"
            assert not slot.drains, f"4: {slot} is offered, and drains"
            assert not slot.replacing, f"4: {slot} is offered, and is replaced"
            assert not slot.ending, f"4: {slot} is offered, and may have to be ended"
        for slot in slots:
            assert all(call.epoch == slot.epoch for call in slot.sent.values()), f"5: {slot} has two epochs"
            if slot.state is SlotState.RESTARTING:
                assert slot.pid is not None or slot.starting or slot.restart_at, (
                    f"6: {slot} waits for nothing"
                )
        if state.phase == "stopped":
            assert all(slot.pid is None for slot in slots), "7: a process"
            assert not waiting, "7: a queued call"
            assert state.timers.next_due is None, "7: a timer"
        there = {slot.life for slot in slots if slot.pid is not None}
        assert there.issuperset(self.definitions.awaited()), "8: a process that is gone is waited for"
        for slot in slots:
            self._check_books(slot)
        assert state.usable() or not waiting, "11: nobody is left for what is queued"
        overlooked = dispatch.overlooked()
        assert overlooked is None, f"12: {overlooked} could be sent"
        self._check_places()

    def _check_books(self, slot: Slot) -> None:
        lags = slot.held != self.state.registry.epoch and not slot.replacing and not slot.retired
        if slot.state in ALIVE and lags:
            assert slot.installing, f"9: {slot} lags"
        plain = sum(call.record is not None and not call.record.is_async for call in slot.sent.values())
        assert slot.plain == plain, f"10: {slot} has {plain} plain calls, not {slot.plain}"
        assert plain or not slot.full, f"10: {slot} is full of nothing"
        assert slot.ending <= slot.sent.keys(), f"10: {slot} ends what it does not hold"
        assert slot.ahead == (plain > 0 and len(slot.sent) > 1), f"10: {slot}: ahead={slot.ahead}"
        if slot.retired or slot.state in LOST:
            assert all(call.ended for call in slot.pinned), f"11: {slot} will not run what waits for it"

    def _check_places(self) -> None:
        state = self.state
        for number, slot in state.incoming.items():
            assert slot.pid is not None or slot.starting, f"13: {slot} does not come"
            assert not slot.sent, f"13: {slot} has calls"
            assert not slot.pinned, f"13: calls wait for {slot}"
            old = state.slots.get(number)
            assert old is not None, f"13: there is no place for {slot}"
            assert old.pid is not None, f"13: {old} has no process"
            assert not old.retired, f"13: {old} goes away"
        for life, slot in state.leaving.items():
            assert life == slot.life, f"14: {slot}"
            assert slot.pid is not None or slot.starting, f"14: {slot} is gone"
            assert slot.retired, f"14: {slot} stays"
            assert slot.drains or slot.replacing, f"14: {slot} takes calls"
            assert not slot.pinned, f"14: calls wait for {slot}"
        resting = {number for number, slot in state.slots.items() if slot.state is SlotState.RESTING}
        assert resting == state.resting, f"15: {resting} rest, not {state.resting}"
        for number in resting:
            slot = state.slots[number]
            assert slot.pid is None, f"15: {slot} has a process"
            assert not slot.starting, f"15: {slot} has a process"
            assert all(call.ended for call in slot.pinned), f"15: a call waits for {slot}"
        if resting:
            coming = sum(slot.state in _ON_THE_WAY and not slot.restart_at for slot in state.slots.values())
            assert self.dispatch.unpinned() <= coming, "15: calls wait, and a worker rests"
        lives = [slot.life for slot in state.processes() if slot.life]
        assert len(set(lives)) == len(lives), "16: two slots of one life"
