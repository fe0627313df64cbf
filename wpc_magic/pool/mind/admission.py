"""Which calls are accepted, and what is said to the others."""

from __future__ import annotations

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
from .lifecycle import LOST
from .registry import Kind, Record
from .slots import Slot
from .state import State

__all__ = ["Admission"]


class Admission:
    """Asks everything that is to be asked before a call is taken, in the order of the original.

    Parameters
    ----------
    state : State
        What the parts of the core share.
    pending : callable
        Returns how many calls have been taken and have not ended.
    """

    def __init__(self, state: State, pending: Callable[[], int]) -> None:
        self._state = state
        self._pending = pending

    def accept(self, call: Call) -> tuple[Record, Slot | None]:
        """Return the function of a call, and the slot that must run it if there is only one.

        Raises
        ------
        CallRefusedError, NotRunningError, OptionError
            If the call cannot run.
        """
        state = self._state
        record = self.check(call.name)
        lacking = self._lacking(call)
        if lacking is not None:
            raise lacking
        self._note_quick(record)
        number = call.options.worker_id
        pinned = None if number is None else self._pinned(number)
        if not state.usable():
            raise NoWorkerError("no worker can run the call: every one is stopped or failed")
        if not self.has_room():
            raise SaturatedError(
                f"{self._pending()} calls are pending, which is the limit of "
                f"max_pending_calls_per_worker={state.options.max_pending_calls_per_worker}; "
                f"wait for some, or choose saturation='wait'"
            )
        return record, pinned

    def check(self, name: str) -> Record:
        """Return the function of that name; what is asked before anything else.

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
            raise FunctionNotDefinedError(self._unknown(name))
        return record

    def _unknown(self, name: str) -> str:
        registry = self._state.registry
        if not isinstance(name, str):
            raise OptionError(f"the function is given by its name, not by {type(name).__name__}")
        if name in registry.records:
            return f"{shown(name)} is a {registry.records[name].kind.value}, not a function"
        known = [record.name for record in registry.of_kind(Kind.FUNCTION)]
        return f"no function {shown(name)} is defined.{did_you_mean(name, known)}"

    def _lacking(self, call: Call) -> RequirementMissingError | None:
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
        """Return why a call that was queued cannot run any more; None: it can."""
        record = self._state.registry.records.get(call.name)
        if record is None or record.kind is not Kind.FUNCTION:
            return FunctionNotDefinedError(f"{call} was queued when its function was undefined")
        return self._lacking(call)

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
        most = self._state.options.max_pending_calls_per_worker
        return most is None or self._pending() < most * max(1, len(self._state.slots))

    def _note_quick(self, record: Record) -> None:
        """Note a function whose calls run under no limit, in any worker; until something changes."""
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
            )
        ):
            self._state.registry.quick[record.name] = record
