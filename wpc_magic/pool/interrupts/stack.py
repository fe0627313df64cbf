"""Whether the stack has room for what must not be stopped halfway by a RecursionError."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

__all__ = ["ensure_stack_room", "ensure_step_room"]

_STEP = 24  # frames; the deepest step of the pool takes about half of them
_STEPS = _STEP + 6  # for several steps, from where they are begun


def _nested(depth: int) -> Any:
    """Return a tuple in a tuple in a tuple."""
    nested: Any = (int,)
    for _ in range(depth - 1):
        nested = (nested,)
    return nested


if sys.version_info >= (3, 12):
    # Calls in C are not counted as frames any more; but a frame that is not there can be asked for.
    def _ensure_frames(number: int) -> None:
        if sys._getframemodulename(sys.getrecursionlimit() - number) is not None:
            raise RecursionError("maximum recursion depth exceeded where the pool was used")

    def _ensure(number: int) -> Callable[[], object]:
        return partial(_ensure_frames, number)
else:

    def _ensure(number: int) -> Callable[[], object]:
        # It recurses for each level, and each counts as a frame; nothing else is as quick.
        return partial(isinstance, 0, _nested(number))


ensure_step_room = _ensure(_STEP)
"""Raise a RecursionError unless there is room for one step."""

ensure_stack_room = _ensure(_STEPS)
"""Raise a RecursionError unless there is room for what consists of several steps."""
