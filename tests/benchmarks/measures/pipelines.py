"""Calls that need the values of others: three steps, one after another."""

from __future__ import annotations

import statistics
import time
from typing import Any

from .. import work
from ..bench import Measure
from ..contestants import NAMES
from ..timing import Failed, batch
from .arrays import array_of_64_mb

__all__ = ["MEASURES"]


def pipeline(contestant: Any, count: int, repeats: int, limit_s: float) -> dict[str, float]:
    """Add one to a number three times; and to 64 MB twice, of which the third step reads a sample.

    Where a future can be an argument, the three are made at once; elsewhere each value comes back before the
    next step begins.
    """
    increments = (work.increment, work.increment, work.increment)

    def small() -> Any:
        return contestant.chained(increments, 1)

    batch(small, 4, 20, 0.1)  # not counted
    found = {"pipeline": batch(small, 4, count, limit_s)}

    array = array_of_64_mb()
    steps = (work.plus_one, work.plus_one, work.sample)
    times = []
    end = time.perf_counter() + limit_s
    for number in range(repeats + 1):  # the first is the warm-up
        array[0] = number
        began = time.perf_counter()
        value = contestant.chained(steps, array)
        took = time.perf_counter() - began
        if value != work.sample(array) + 2 * len(array[::4096]):
            raise Failed("wrong result of a pipeline")
        if number:
            times.append(took)
            if time.perf_counter() > end:
                break
    return {**found, "pipeline.array": statistics.median(times)}


MEASURES = [
    Measure(
        "pipeline",
        pipeline,
        ["pipeline", "pipeline.array"],
        who=[name for name in NAMES if name != "limit"],
        workers=2,
        full={"count": 2_000, "repeats": 10, "limit_s": 3.0},
        quick={"count": 200, "repeats": 3, "limit_s": 0.2},
    )
]
