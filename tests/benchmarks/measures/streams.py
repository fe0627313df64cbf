"""What a function yields, taken one after another."""

from __future__ import annotations

import time
from typing import Any

from ..bench import Measure
from ..contestants import US
from ..timing import Failed

__all__ = ["MEASURES"]


def stream(contestant: Any, count: int) -> dict[str, float]:
    """Take many small numbers from a generator; and one, from a generator that gives it at once.

    The warm-up is a tenth of them.
    """
    contestant.open(1)
    numbers = contestant.pool.call.numbers

    def go(items: int) -> float:
        began = time.perf_counter()
        last = None
        for last in numbers(items):  # noqa: B007  # as a user would
            pass
        took = time.perf_counter() - began
        if last != items - 1:
            raise Failed(f"wrong items of a stream: the last is {last}")
        return took

    go(count // 10)
    return {"stream": go(count) / count, "stream.first": min(go(1) for _ in range(20))}


MEASURES = [
    Measure(
        "stream",
        stream,
        ["stream", "stream.first"],
        who=[US],
        full={"count": 1_000_000},
        quick={"count": 200_000},
    )
]
