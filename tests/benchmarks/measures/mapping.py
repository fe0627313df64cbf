"""One function over many items."""

from __future__ import annotations

import time
from typing import Any

from .. import work
from ..bench import Measure
from ..timing import Failed, fitting_count

__all__ = ["MEASURES"]


def tiny_items(contestant: Any, count: int, limit_s: float) -> dict[str, float]:
    """Add one to each of many numbers.

    The warm-up is a tenth of them. A pool that would exceed the limit has fewer items, and its time is
    extrapolated.
    """

    def go(items: int) -> float:
        began = time.perf_counter()
        values = contestant.map(work.increment, range(items))
        took = time.perf_counter() - began
        if values != list(range(1, items + 1)):
            raise Failed(f"wrong results of a map over {items} items")
        return took

    tenth = count // 10
    items = max(tenth, fitting_count(count, go(tenth) / tenth, limit_s))
    return {"map": go(items) * count / items, "map.items": items}


MEASURES = [
    Measure(
        "map",
        tiny_items,
        ["map", "map.items"],
        workers=2,
        full={"count": 200_000, "limit_s": 5.0},
        quick={"count": 200_000, "limit_s": 1.0},
    )
]
