"""What a blocking call costs its caller, counted in bytecode instructions: the same on any machine."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from wpc_magic import WorkerProcedureCall

_LIMIT = 1_875
"""On Python 3.11: 1,862 are counted."""


def instructions(step: Callable[[], object]) -> int:
    """Return how many bytecode instructions a step takes in this thread."""
    count = 0

    def on_opcode(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "opcode"
        return on_opcode

    def on_call(frame: FrameType, event: str, argument: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return on_opcode

    before = sys.gettrace()
    sys.settrace(on_call)
    try:
        step()
    finally:
        sys.settrace(before)
    return count


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="other versions have other instructions")
def test_a_blocking_call_takes_no_more_instructions_than_before_it_was_kept_in_the_history(
    make_pool: Callable[..., WorkerProcedureCall],
) -> None:
    pool = make_pool(1, "def double(x): return 2 * x\n", spin_us=0)  # a look takes as many as it takes
    assert pool.options.call_history > 0
    double = pool.call.double
    for n in range(300):
        double(n).result()
    # Now and then the driver's thread takes part, and what the caller does is more, or less.
    counts = sorted(instructions(lambda: double(5).result()) for _ in range(200))
    assert counts[20] <= _LIMIT, counts[::20]
