"""Changes of the registry on behalf of callers: one at a time, each with the outcome of its rollout."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from ..core.core import Core
from ..core.registry import Change, Kind, Record
from ..core.rollout import Rollout
from ..errors import RequirementMissingError
from ..interrupts.hold import HeldInterrupts
from ..wire.block_ref import BlockRef
from ..wire.blocks import Placed
from .condition import PoolCondition
from .memory import Memory, PlacedRegion

__all__ = ["Changes"]


class Changes:
    """Changes the registry of one pool.

    Parameters
    ----------
    core : Core
        The core.
    condition : PoolCondition
        Used to wait for the outcome.
    memory : Memory
        Where constants are stored.
    locked_core : callable
        Returns a context manager that holds the lock and yields the core and the current time.
    reading : callable
        Returns one that yields the core to whoever changes nothing.
    finish_output : callable
        Returns when the output of the workers has been delivered.
    """

    def __init__(
        self,
        core: Core,
        condition: PoolCondition,
        memory: Memory,
        locked_core: Callable[[], AbstractContextManager[tuple[Core, float]]],
        reading: Callable[[], AbstractContextManager[Core]],
        finish_output: Callable[[], object],
    ) -> None:
        self._core = core
        self._condition = condition
        self._memory = memory
        self._locked_core = locked_core
        self._reading = reading
        self._finish_output = finish_output
        self._changing = False  # whether a change is in progress

    def make(self, records: Iterable[Record], removed: Iterable[str]) -> Rollout:
        """Change the registry, after any change in progress; return when the outcome is known."""
        proposed: list[Rollout] = []
        records, removed = list(records), list(removed)

        def begin() -> bool:
            if not self._changing and not self._core.replication.is_catching_up():
                proposed.append(self._core.propose(records, removed, time.monotonic()))
                self._changing = True
            return bool(proposed)

        # Held, so that what has begun is also ended; while it waits, handlers are called all the same.
        with HeldInterrupts():
            try:
                self._condition.wait_for(begin)
                self._condition.wait_for(lambda: proposed[0].decided)
            finally:
                with self._locked_core() as (core, now):
                    if proposed:
                        core.replication.abort(proposed[0], now)
                        self._changing = False
                    self._condition.notify_all()
        self._finish_output()  # what was printed during the installation
        return proposed[0]

    def since(self, epoch: int) -> Change:
        """Return the change from an epoch to the current one."""
        with self._reading() as core:
            return core.state.registry.since(epoch)

    def cells_in_use(self) -> set[str]:
        """Return the keys of the cells that current definitions refer to."""
        with self._reading() as core:
            return core.state.registry.cells_in_use()

    def put(self, buffers: Sequence[Any]) -> tuple[Placed | None, Any]:
        """Copy a constant's buffers; return the block (or None), and what is sent to workers."""
        return self._memory.put_constant(buffers, self._core.state.options)

    def find_constant(self, name: str, body: bytes, buffers: Sequence[Any]) -> tuple[Placed, Any] | None:
        """Return what `put` has returned for the present value of a constant, if it is equal to this one.

        Workers, or their machines, have it already: to compare it is as quick as to copy it here.
        """
        with self._reading() as core:
            record = core.state.registry.records.get(name)
        if record is None or record.kind is not Kind.CONSTANT or record.block is None:
            return None
        placed: Placed = record.block
        if record.wire.payload != body or not placed.is_equal(buffers):
            return None
        return placed, record.wire.buffers

    def put_shared(self, parts: Sequence[Any], size: int) -> tuple[PlacedRegion, BlockRef]:
        """Make the memory of a shared object; return it, and what is sent to workers."""
        return self._memory.put_shared(parts, size, self._core.state.options)

    def buffers(self, sent: Any) -> Sequence[Any]:
        """Return the buffers of a constant, read-only, in this process; `sent` is what workers got."""
        if not isinstance(sent, BlockRef):
            return [memoryview(buffer).toreadonly() for buffer in sent]
        with self._reading() as core:
            for record in core.state.registry.records.values():
                if record.kind is Kind.CONSTANT and record.block is not None and record.wire.buffers == sent:
                    shared: Sequence[Any] = record.block.share()
                    return shared
        raise RequirementMissingError("the constant is not there any more")
