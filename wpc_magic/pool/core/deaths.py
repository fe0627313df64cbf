"""The death of a worker: what becomes of its calls, and when its slot restarts.

A death while a call ran is that call's. The worker could start, and could run calls, so its slot keeps its
place: its next process starts at once, unless deaths follow each other without a call that ended well in
between. Only a worker that cannot start, or dies while it is idle, uses up its restarts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import WorkerCrashedError, WorkerReplacedError
from .backoff import crash_delay_s, restart_delay_s
from .calls import Call
from .dispatcher import Dispatcher
from .lifecycle import SlotState, Trigger
from .replacement import Replacements
from .replication import Replication
from .slots import Slot
from .spares import Spares
from .state import State

__all__ = ["Deaths", "no_details"]

_KILLED = -9
"""The exit code of a process killed by SIGKILL: by a person, or by the system when memory ran out."""


def no_details(call: Call) -> Mapping[str, Any]:
    """Return nothing more for the error of a call."""
    return {}


class Deaths:
    """Handles worker processes that have exited, expectedly or not: ends their calls, restarts their slots.

    Parameters
    ----------
    state : State
        The shared state of the core.
    dispatcher : Dispatcher
        Retries or requeues the calls of a dead worker.
    replication : Replication
        Learns which definitions kill workers.
    replacements : Replacements
        Processes that may be starting already for the slot of a dead one.
    spares : Spares
        Processes that take the place of one that has died.
    spawn : callable
        Given a slot, starts a process for it.
    """

    def __init__(
        self,
        state: State,
        dispatcher: Dispatcher,
        replication: Replication,
        replacements: Replacements,
        spares: Spares,
        spawn: Callable[[Slot], None],
    ) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._replication = replication
        self._replacements = replacements
        self._spares = spares
        self._spawn = spawn

    def handle(
        self,
        slot: Slot,
        exitcode: int | None,
        report: str,
        now: float,
        about: Callable[[Call], Mapping[str, Any]],
    ) -> None:
        """Handle the exit of a slot's process, or its failure to start; see `Supervisor.died`."""
        state = self._state
        begun = state.running(slot.incarnation)[0] if slot.pid is not None else 0
        calls = self._dispatcher.in_flight.take(slot)
        had_begun = [call for call in calls if call.began_s or call.seq <= begun]
        why = slot.replace_reason
        leaving = state.phase == "stopping" or slot.retired
        expected = bool(why) or leaving
        report = slot.start_error or report
        reason = why or ("stopped" if leaving else report)
        was_ready = bool(slot.ready_since)
        if was_ready and now - slot.ready_since >= state.options.restart_stable_after_ms / 1000:
            slot.forget_deaths()
        restart_failed = not was_ready and not expected and slot.state is SlotState.RESTARTING
        state.history.process_ended(slot.incarnation, "" if leaving else reason, now)
        serves = state.is_serving(slot)
        if serves and not leaving:
            state.transition(slot, Trigger.DIES)
        self._report_exit(slot, exitcode, reason, expected, had_begun)
        if restart_failed:
            details = {"attempt": slot.attempts, "reason": reason}
            state.emit(slot.id, "worker_restart_failed", "error", details=details)
        by_others = exitcode == _KILLED and not slot.start_error
        self._replication.lost(slot, "" if expected else report, now, by_others)
        where = f"{slot.id} on {slot.host}" if slot.host else str(slot.id)
        slot.reset()

        def error_of(call: Call) -> WorkerCrashedError | WorkerReplacedError:
            if why:
                return WorkerReplacedError(f"{call} ended with worker {where}: {why}")
            message = f"{call} ended with worker {where}, which {report}"
            known = {"arguments": state.arguments(call), **about(call)}
            return WorkerCrashedError(message, slot.id, exitcode, **known)

        # Before the restart is scheduled: if there is none, queued calls that need this slot are ended.
        self._end_calls(slot, calls, had_begun, error_of, now)
        if not serves and slot.retired:
            self._replacements.exited(slot)
        elif slot.incarnation in state.spares:
            self._spares.died(slot, was_ready, now)
        elif not serves:
            self._replacements.start_failed(slot, reason, now)
        elif not leaving:
            self._schedule_restart(slot, bool(why), bool(had_begun), now)

    def _report_exit(
        self, slot: Slot, exitcode: int | None, reason: str, expected: bool, had_begun: list[Call]
    ) -> None:
        details: dict[str, Any] = {"exitcode": exitcode, "reason": reason}
        correlation_id = None
        if had_begun:  # more than one only if they are coroutines
            details |= self._state.call_details(had_begun[0])
            correlation_id = had_begun[0].correlation_id
            if len(had_begun) > 1:
                details["other_calls"] = [str(call) for call in had_begun[1:]]
        self._state.emit(
            slot.id,
            "worker_exited",
            "info" if expected else "error",
            correlation_id=correlation_id,
            details=details,
        )

    def _end_calls(
        self,
        slot: Slot,
        calls: list[Call],
        had_begun: list[Call],
        error_of: Callable[[Call], Exception],
        now: float,
    ) -> None:
        """Requeue calls that had not begun; retry or fail the others.

        Parameters
        ----------
        slot : Slot
            The slot whose process has exited.
        calls : list of Call
            The calls that it held.
        had_begun : list of Call
            Those of them that had begun.
        error_of : callable
            Given a call that cannot run again, returns its error.
        now : float
            In seconds.
        """
        for call in had_begun:
            if call.ended:
                continue
            if call.attempts < call.retries:
                self._dispatcher.queued.retry(call, now)
            else:
                self._state.finish(call, error_of(call))
        self._dispatcher.requeue([call for call in calls if call not in had_begun], now)

    def _schedule_restart(self, slot: Slot, requested: bool, ran_call: bool, now: float) -> None:
        """Start another process, or fail the slot if its restarts are used up.

        Parameters
        ----------
        slot : Slot
            The slot whose process has exited.
        requested : bool
            Whether the pool has ended the process: then another starts at once.
        ran_call : bool
            Whether it ran a call: then the death does not count against the slot.
        now : float
            In seconds.
        """
        state = self._state
        delay: float | None = 0.0
        if not requested:
            delay = self._count_death(slot, ran_call)
        if delay is None:
            self._fail(slot)
            return
        if slot.attempts == 1 and self._spares.is_one_ready():
            delay = 0.0  # the delay is for what may be unable to start, and this one has started
        details = {"attempt": slot.attempts, "delay_ms": round(delay * 1000)}
        state.emit(slot.id, "worker_restart_scheduled", details=details)
        self._replacements.restarted(slot.id)
        if self._replacements.promote(slot):
            return
        if not delay:
            self._fill(slot, now)
            return
        slot.restart_at = now + delay
        incarnation = slot.incarnation
        state.timers.call_at(slot.restart_at, lambda now: self._restart_due(slot, incarnation, now))

    def _fill(self, slot: Slot, now: float) -> None:
        """Let a spare take over a slot, or start a process for it."""
        if not self._spares.take(slot, now):
            self._spawn(slot)

    def _count_death(self, slot: Slot, ran_call: bool) -> float | None:
        """Count a death; return the delay before the next process, or None if there is to be none."""
        state = self._state
        if slot.tally.done != slot.done_at_death:  # a call has ended well since the last one
            slot.forget_deaths()
        slot.done_at_death = slot.tally.done
        if ran_call:
            slot.crashes += 1
            return crash_delay_s(slot.crashes, state.options, state.random())
        slot.deaths += 1
        return restart_delay_s(slot.deaths, state.options, state.random())

    def _restart_due(self, slot: Slot, incarnation: int, now: float) -> None:
        running = self._state.phase in ("starting", "running")
        if running and slot.incarnation == incarnation and slot.restart_at:
            self._fill(slot, now)

    def _fail(self, slot: Slot) -> None:
        """Take a slot out of service, because it may not restart again."""
        state = self._state
        details = {
            "deaths": slot.deaths,
            "max_restarts_per_worker": state.options.max_restarts_per_worker,
        }
        state.emit(slot.id, "worker_restart_exhausted", "error", details=details)
        state.transition(slot, Trigger.EXHAUSTED)
        self._replacements.cancel(slot.id, "the slot has failed")
        self._dispatcher.queued.fail_pinned(slot)
        self._dispatcher.queued.fail_if_unusable()
