"""Redefinition of a function."""

from __future__ import annotations

import linecache
import statistics
import time
from typing import Any

from ..bench import Measure
from ..contestants import US
from ..timing import Failed

__all__ = ["MEASURES"]

# A cell of typical length and contents: an import, a loop, a local function, a docstring.
_CELL = '''
def estimate(points, scale=1.0):
    """Return a number that depends on the points and the revision."""
    import math

    def weight(index, value):
        if index % 2:
            return -value * scale
        return value * scale

    found = 0.0
    for index, value in enumerate(points):
        if math.isnan(value):
            continue
        found += weight(index, float(value))
    try:
        result = round(found, 6)
    except ValueError:
        result = 0.0
    return result + {revision}
'''


def redefinition(contestant: Any, count: int) -> dict[str, float]:
    """Redefine a function object, as a notebook's cell does, until both workers have replied with it.

    Its source is read from `linecache`, where IPython stores that of cells. The first three are the warm-up.
    """
    contestant.open(2)
    pool = contestant.pool
    times = []
    for revision in range(count + 3):
        text = _CELL.format(revision=revision)
        file = f"<cell {revision}>"
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
        space: dict[str, Any] = {"__name__": "__main__"}
        exec(compile(text, file, "exec"), space)
        began = time.perf_counter()
        pool.define_worker_function(worker_func=space["estimate"])
        answers = [future.result() for future in pool.broadcast("estimate", [3.0, 1.0]).values()]
        times.append(time.perf_counter() - began)
        if answers != [2.0 + revision] * 2:
            raise Failed(f"wrong results: {answers}, not {2.0 + revision} twice")
    contestant.close()
    return {"redefinition": statistics.median(times[3:])}


MEASURES = [
    Measure(
        "redefinition", redefinition, ["redefinition"], who=[US], full={"count": 100}, quick={"count": 20}
    )
]
