"""Changes of the definitions as the caller sees them: one after another, each with its outcome."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from ..errors import RequirementMissingError
from ..mind.core import Core
from ..mind.registry import Change, Kind, Record
from ..mind.rollout import Rollout
from ..wire.blocks import Block
from ..wire.placed import Placed
from .gates import Gates
from .memory import Memory

__all__ = ["Changes"]


class Changes:
    """Changes the definitions of one pool.

    Parameters
    ----------
    core : Core
        The mind.
    gates : Gates
        Where the outcome is waited for.
    memory : Memory
        Where constants are placed.
    deciding : callable
        Returns a context that gives the mind and the time, under the lock.
    show_texts : callable
        Returns when what workers have printed is shown.
    """

    def __init__(
        self,
        core: Core,
        gates: Gates,
        memory: Memory,
        deciding: Callable[[], AbstractContextManager[tuple[Core, float]]],
        show_texts: Callable[[], object],
    ) -> None:
        self._core = core
        self._gates = gates
        self._memory = memory
        self._deciding = deciding
        self._show_texts = show_texts
        self._changing = False  # whether one is under way

    def make(self, records: Iterable[Record], removed: Iterable[str]) -> Rollout:
        """Change the definitions, one change after another; return when the outcome is known."""
        mine: list[Rollout] = []
        records, removed = list(records), list(removed)

        def begin() -> bool:
            if not self._changing and not self._core.definitions.is_behind():
                # SIGINT is held back here: either both are noted or none.
                mine.append(self._core.propose(records, removed, time.monotonic()))
                self._changing = True
            return bool(mine)

        try:
            self._gates.wait_for(begin)
            self._gates.wait_for(lambda: mine[0].over)
        finally:
            with self._deciding() as (core, now):
                if mine:
                    core.definitions.withdraw(mine[0], now)
                    self._changing = False
                self._gates.open()
        self._show_texts()  # what was printed while it was installed
        return mine[0]

    def since(self, epoch: int) -> Change:
        """Return what leads from an epoch to the one in force."""
        with self._deciding() as (core, _):
            return core.state.registry.since(epoch)

    def place(self, buffers: Sequence[Any]) -> tuple[Block | None, Any]:
        """Return memory with copies of a constant's buffers, and what workers are told of it."""
        return self._memory.place_constant(buffers, self._core.state.options)

    def buffers(self, sent: Any) -> Sequence[Any]:
        """Return the buffers of a constant, read-only, in this process; given what workers were sent."""
        if not isinstance(sent, Placed):
            return [memoryview(buffer).toreadonly() for buffer in sent]
        with self._deciding() as (core, _):
            for record in core.state.registry.of_kind(Kind.CONSTANT):
                if record.block is not None and record.wire.buffers == sent:
                    shared: Sequence[Any] = record.block.share()
                    return shared
        raise RequirementMissingError("the constant is not there any more")
