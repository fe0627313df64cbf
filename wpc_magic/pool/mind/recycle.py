"""Limits of one process: after so many calls, or with so much memory, another one takes its place."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import MemoryLimitError
from .calls import Call
from .effects import Weigh
from .lifecycle import ALIVE
from .slots import Slot
from .state import State

__all__ = ["Recycling"]

_MIB = 1 << 20


class Recycling:
    """Looks who has had enough.

    Calls are counted where they are numbered anyway; memory is weighed when signs of life are asked for.

    Parameters
    ----------
    state : State
        What the parts of the core share.
    ask : callable
        Given a slot and a reason, has a new process take its place when that is ready.
    replace : callable
        Given a slot and a reason, ends its process and has the slot filled again.
    """

    def __init__(
        self, state: State, ask: Callable[[Slot, str], None], replace: Callable[[Slot, str], None]
    ) -> None:
        self._state = state
        self._ask = ask
        self._replace = replace

    def spent(self, slot: Slot) -> None:
        """Note that a process has been sent as many calls as one may have."""
        most = self._state.options.max_calls_per_worker
        if most is not None and self._state.serves(slot):
            self._ask(slot, f"it was sent {slot.next_seq - 1} calls (max_calls_per_worker={most})")

    def look(self, now: float) -> None:
        """Look at every process."""
        state, options = self._state, self._state.options
        most = options.max_calls_per_worker
        weighs = options.max_memory_per_worker_mb or options.hard_memory_per_worker_mb
        for slot in state.processes():
            slot.most = most or 0  # it may have been changed meanwhile
            if slot.state not in ALIVE or slot.pid is None or slot.replacing:
                continue
            if most is not None and slot.next_seq > most and now >= slot.spare_until:
                self.spent(slot)
            if weighs:
                state.effects.append(Weigh(slot.id, slot.life))

    def weighed(self, slot: Slot, nbytes: int, now: float) -> None:
        """Note how much memory of its own a process has in use."""
        soft = self._state.options.max_memory_per_worker_mb
        hard = self._state.options.hard_memory_per_worker_mb
        if slot.replacing:
            return
        if hard is not None and nbytes > hard * _MIB:
            # Just what runs now: one with a lower number may have been given up, and run elsewhere.
            seq = self._state.running(slot.life)[0]
            runs = [c for c in slot.sent.values() if not c.ended and (c.began_s or c.seq == seq)]
            if runs:
                self._end(slot, runs, nbytes, hard)
                return
        limits = {"max_memory_per_worker_mb": soft, "hard_memory_per_worker_mb": hard}
        for name, limit in limits.items():
            # One that has not run anything is as small as it gets: the next would be no smaller.
            if (
                limit is not None
                and nbytes > limit * _MIB
                and slot.next_seq > 1
                and now >= slot.spare_until
                and self._state.serves(slot)
            ):
                self._ask(slot, f"it has {nbytes // _MIB} MiB in use ({name}={limit})")
                return

    def _end(self, slot: Slot, runs: list[Call], nbytes: int, limit: int) -> None:
        """End a process, and the calls that it runs: they would need as much again."""
        why = f"it had {nbytes // _MIB} MiB in use (hard_memory_per_worker_mb={limit})"
        for call in runs:
            details = {"function": call.name, "memory_bytes": nbytes, "limit_mb": limit}
            self._state.emit(
                slot.id, "worker_over_memory", "error", correlation_id=call.correlation_id, details=details
            )
            slot.failed += 1
            self._state.finish(call, MemoryLimitError(f"{call} ended with worker {slot.id}: {why}"))
        self._replace(slot, why)
