"""Recycling: a process is replaced after a number of calls, or when it uses too much memory."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import MemoryLimitError
from .calls import Call
from .effects import MeasureMemory
from .lifecycle import ALIVE
from .slots import Slot
from .state import State

__all__ = ["Recycling"]

_MIB = 1 << 20


class Recycling:
    """Requests the replacement of processes that have reached a limit.

    The calls are counted by their sequence numbers; memory is measured at each heartbeat.

    Parameters
    ----------
    state : State
        The shared state of the core.
    request_replacement : callable
        Given a slot and a reason, requests a replacement; the process serves until that is ready.
    replace : callable
        Given a slot and a reason, kills its process and starts another.
    update_load : callable
        Given a slot, enters whether calls may be sent to it.

    Attributes
    ----------
    exact : bool
        Whether a process that was sent as many calls as one may run is sent no more; else it runs some more
        until the next one is ready.
    """

    def __init__(
        self,
        state: State,
        request_replacement: Callable[[Slot, str], None],
        replace: Callable[[Slot, str], None],
        update_load: Callable[[Slot], None],
    ) -> None:
        self._state = state
        self._request_replacement = request_replacement
        self._replace = replace
        self._update_load = update_load
        self.exact = False

    def call_limit_reached(self, slot: Slot) -> None:
        """Record that a process has been sent as many calls as one may run."""
        most = self._state.options.max_calls_per_worker
        if most is None or not self._state.is_serving(slot):
            return
        why = f"it was sent {slot.next_seq - 1} calls (max_calls_per_worker={most})"
        if self.exact:
            slot.reason = slot.reason or why
            slot.draining = True
            self._update_load(slot)
        else:
            self._request_replacement(slot, why)

    def check(self, now: float) -> None:
        """Check every process."""
        state, options = self._state, self._state.options
        most = options.max_calls_per_worker
        measures = options.max_memory_per_worker_mb or options.hard_memory_per_worker_mb
        for slot in state.processes():
            slot.call_limit = most or 0  # the option may have changed meanwhile
            if slot.state not in ALIVE or slot.pid is None or slot.replace_reason:
                continue
            if most is not None and slot.next_seq > most and now >= slot.no_recycle_until:
                self.call_limit_reached(slot)
            if measures:
                state.effects.append(MeasureMemory(slot.id, slot.incarnation))

    def memory_measured(self, slot: Slot, nbytes: int, now: float) -> None:
        """Record how much private memory a process uses."""
        soft = self._state.options.max_memory_per_worker_mb
        hard = self._state.options.hard_memory_per_worker_mb
        if slot.replace_reason:
            return
        if hard is not None and nbytes > hard * _MIB:
            # Only what runs now: a call with a lower number may have been revoked, and run elsewhere.
            seq = self._state.running(slot.incarnation)[0]
            running = [c for c in slot.sent.values() if not c.ended and (c.began_s or c.seq == seq)]
            if running:
                self._kill(slot, running, nbytes, hard)
                return
        limits = {"max_memory_per_worker_mb": soft, "hard_memory_per_worker_mb": hard}
        for name, limit in limits.items():
            # One that has not run anything is as small as possible: its replacement would be no smaller.
            if (
                limit is not None
                and nbytes > limit * _MIB
                and slot.next_seq > 1
                and now >= slot.no_recycle_until
                and self._state.is_serving(slot)
            ):
                self._request_replacement(slot, f"it has {nbytes // _MIB} MiB in use ({name}={limit})")
                return

    def _kill(self, slot: Slot, running: list[Call], nbytes: int, limit: int) -> None:
        """Kill a process, and fail the calls that it runs: they would use as much memory again."""
        why = f"it had {nbytes // _MIB} MiB in use (hard_memory_per_worker_mb={limit})"
        for call in running:
            details = {**self._state.call_details(call), "memory_bytes": nbytes, "limit_mb": limit}
            self._state.emit(
                slot.id, "worker_over_memory", "error", correlation_id=call.correlation_id, details=details
            )
            self._state.finish(call, MemoryLimitError(f"{call} ended with worker {slot.id}: {why}"))
        self._replace(slot, why)
