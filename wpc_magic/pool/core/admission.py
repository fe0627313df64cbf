"""Admission of calls: which are accepted, and with which error the others are refused."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..checks import shown
from ..errors import (
    CallRefusedError,
    FunctionNotDefinedError,
    NotRunningError,
    NoWorkerError,
    OptionError,
    RequirementMissingError,
    SaturatedError,
)
from ..options import did_you_mean
from .calls import Call
from .demands import Demands
from .lifecycle import LOST
from .registry import Kind, Record
from .slots import Slot
from .state import State

__all__ = ["Admission"]


class Admission:
    """Makes all checks before a call is accepted, in the order of the original.

    Parameters
    ----------
    state : State
        The shared state of the core.
    pending : callable
        Returns how many calls have been accepted and have not ended.
    demands : Demands
        What machines offer.
    """

    def __init__(self, state: State, pending: Callable[[], int], demands: Demands) -> None:
        self._state = state
        self._demands = demands
        self._pending = pending

    def accept(self, call: Call) -> tuple[Record, Slot | None]:
        """Return the function of a call, and the slot that it is pinned to, if any.

        Raises
        ------
        CallRefusedError, NotRunningError, OptionError
            If the call cannot run.
        """
        state = self._state
        record = self.check(call.name)
        lacking = self._missing_requirement(call)
        if lacking is not None:
            raise lacking
        self._mark_fast_path(record)
        number = call.options.worker_id
        pinned = None if number is None else self._pinned(number)
        if not state.usable():
            raise NoWorkerError(
                "no worker can run the call: every one is stopped or failed; "
                "restart_workers() starts them again, as %wpc_restart does"
            )
        if call.options.resources is None and record.options.resources:
            call.options = call.options.replace({"resources": record.options.resources})
        unable = self._demands.refusal(call)
        if unable is not None:
            raise unable
        if not call.attempts and not self.has_room():
            raise SaturatedError(
                f"{self._pending()} calls are pending, which is the limit of "
                f"max_pending_calls_per_worker={state.options.max_pending_calls_per_worker}; "
                f"wait for some, or choose saturation='wait'"
            )
        return record, pinned

    def check(self, name: str) -> Record:
        """Return the function of that name; this is the first check.

        Raises
        ------
        NotRunningError, FunctionNotDefinedError
        """
        state = self._state
        if state.phase == "stopped" or state.phase == "stopping":
            raise state.not_running()
        if state.draining:
            raise NotRunningError("the workers stop as soon as the calls that were made before have ended")
        record = state.registry.records.get(name)
        if record is None or record.kind is not Kind.FUNCTION:
            raise FunctionNotDefinedError(self._unknown_function(name))
        return record

    def _unknown_function(self, name: str) -> str:
        registry = self._state.registry
        if not isinstance(name, str):
            raise OptionError(f"the function is given by its name, not by {type(name).__name__}")
        if name in registry.records:
            return f"{shown(name)} is a {registry.records[name].kind.value}, not a function"
        known = [record.name for record in registry.of_kind(Kind.FUNCTION)]
        return f"no function {shown(name)} is defined.{did_you_mean(name, known)}"

    def _missing_requirement(self, call: Call) -> RequirementMissingError | None:
        registry = self._state.registry
        name, lacking = call.name, registry.missing(call.name)
        if lacking is None:
            return None
        broken = registry.records[lacking].broken if lacking in registry.records else None
        if broken is None:
            return RequirementMissingError(f"{name} needs {lacking!r}, which is not defined")
        if lacking == name:
            return RequirementMissingError(f"no worker could install {name}: {broken}")
        return RequirementMissingError(f"{name} needs {lacking!r}, which no worker could install: {broken}")

    def refusal(self, call: Call) -> CallRefusedError | None:
        """Return why a queued call cannot run any more; None: it can."""
        record = self._state.registry.records.get(call.name)
        if record is None or record.kind is not Kind.FUNCTION:
            return FunctionNotDefinedError(f"{call} was queued when its function was undefined")
        return self._missing_requirement(call)

    def _pinned(self, worker_id: int) -> Slot:
        slot = self._state.slots.get(worker_id)
        if slot is None or slot.retired:
            known = ", ".join(str(number) for number in sorted(self._state.slots))
            raise OptionError(f"worker_id={worker_id}: there is no such worker; there are {known}")
        if slot.state in LOST:
            raise NoWorkerError(
                f"worker {worker_id} is {slot.state.value}; "
                f"restart_worker({worker_id}) starts it again, as %wpc_restart {worker_id} does"
            )
        return slot

    def has_room(self) -> bool:
        """Whether the limit of pending calls admits one more."""
        most = self._state.options.max_pending_calls_per_worker
        return most is None or self._pending() < most * max(1, len(self._state.slots))

    def room(self) -> float:
        """Return how many more calls the limit admits; infinitely many if calls are refused at once."""
        state = self._state
        most = state.options.max_pending_calls_per_worker
        if most is None or state.draining or state.phase not in ("starting", "running"):
            return math.inf
        return most * max(1, len(state.slots)) - self._pending()

    def _mark_fast_path(self, record: Record) -> None:
        """Mark a function whose calls have no limits, and may run on any worker, until something changes."""
        pool, own = self._state.options, record.options
        if not record.is_async and not any(
            limit is not None
            for limit in (
                pool.max_pending_calls_per_worker,
                pool.call_timeout_ms,
                pool.queue_timeout_ms,
                own.timeout_ms,
                own.queue_timeout_ms,
                own.worker_id,
                record.at_most,
                own.resources,
            )
        ):
            self._state.registry.fast_path[record.name] = record
