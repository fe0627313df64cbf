"""Arrays of 64 MB: round trip, sampled, read in full, written in full."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from .. import work
from ..bench import Measure
from ..contestants import US
from ..timing import Failed

__all__ = ["MEASURES", "array_of_64_mb"]

_ITEMS = 8 << 20  # 64 MB of float64
_made: list[Any] = []


def array_of_64_mb() -> Any:
    """Return the array, which is always the same one."""
    import numpy

    if not _made:
        _made.append(numpy.arange(float(_ITEMS)))
    return _made[0]


def _timed(
    call: Callable[[Any], Any], is_expected: Callable[[Any, Any], bool], repeats: int, limit_s: float
) -> float:
    """Return the median time of calls with the array, whose first number changes with each call.

    The warm-up is two calls, or one that exceeds the limit; at least one call is timed.
    """
    array = array_of_64_mb()
    times = []
    end = time.perf_counter() + limit_s
    for number in range(repeats + 2):
        array[0] = number
        began = time.perf_counter()
        value = call(array)
        took = time.perf_counter() - began
        if not is_expected(value, array):
            raise Failed("wrong result with an array")
        del value
        late = time.perf_counter() > end
        if number >= 2 or times or (number and late):
            times.append(took)
            if late:
                break
    return statistics.median(times)


def arrays(contestant: Any, repeats: int, limit_s: float) -> dict[str, float]:
    """Send the array as an argument, and receive it back, or read a sample of it."""
    import numpy

    return _all(
        contestant,
        repeats,
        limit_s,
        {
            "array.echo": (
                work.echo,
                lambda value, array: value is not array and numpy.array_equal(value, array),
            ),
            "array.sample": (work.sample, lambda value, array: value == work.sample(array)),
        },
    )


def arrays_in_full(contestant: Any, repeats: int, limit_s: float) -> dict[str, float]:
    """Send the array as an argument, and read it in full, or write it in place."""
    return _all(
        contestant,
        repeats,
        limit_s,
        {
            "array.total": (work.total, lambda value, array: value == work.total(array)),
            "array.write": (
                work.write,
                # Writes of the worker must not be visible here.
                lambda value, array: value == (array[0] + 1, array[-1] + 1) and array[-1] == _ITEMS - 1,
            ),
        },
    )


def arrays_in_shared_memory(contestant: Any, repeats: int, limit_s: float) -> dict[str, float]:
    """Copy the array into warm shared memory, and read or write all of it there, in one process.

    This is the minimum for any pool that passes arguments in shared memory, whose pages have 4 kB, while a
    large array has huge pages.
    """
    import mmap

    array = array_of_64_mb()
    with mmap.mmap(-1, array.nbytes) as memory:  # shared and anonymous
        return {
            f"array.{function.__name__}.shared": _timed(
                _copied_into(memory, function), lambda value, _: value is not None, repeats, limit_s
            )
            for function in (work.total, work.write)
        }


def shared_arrays(contestant: Any, repeats: int) -> dict[str, float]:
    """Write all of an array that the workers have in common: it is an argument, and does not travel."""
    contestant.open(1)
    array = contestant.pool.shared("array", array_of_64_mb())
    first = float(array[0])
    call = contestant.caller(work.write)
    times = []
    for number in range(repeats + 2):  # the first two are the warm-up
        began = time.perf_counter()
        value = call(array)
        times.append(time.perf_counter() - began)
        if value[0] != first + number + 1 or value[0] != array[0]:
            raise Failed("wrong values in a shared array")
    del array
    contestant.close()
    return {"array.common": statistics.median(times[2:])}


def _copied_into(memory: Any, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    import numpy

    def call(array: Any) -> Any:
        there = numpy.frombuffer(memory, array.dtype)
        numpy.copyto(there, array)
        return function(there)

    return call


_Case = tuple[Callable[..., Any], Callable[[Any, Any], bool]]


def _all(contestant: Any, repeats: int, limit_s: float, cases: dict[str, _Case]) -> dict[str, float]:
    return {
        key: _timed(contestant.caller(function), is_expected, repeats, limit_s)
        for key, (function, is_expected) in cases.items()
    }


_FULL = {"repeats": 10, "limit_s": 3.0}
_QUICK = {"repeats": 5, "limit_s": 0.2}

MEASURES = [
    Measure("arrays", arrays, ["array.echo", "array.sample"], workers=1, full=_FULL, quick=_QUICK),
    Measure(
        "arrays-in-full",
        arrays_in_full,
        ["array.total", "array.write"],
        who=["limit", US],
        workers=1,
        full=_FULL,
        quick=_QUICK,
    ),
    Measure(
        "arrays-in-shared-memory",
        arrays_in_shared_memory,
        ["array.total.shared", "array.write.shared"],
        who=["limit"],
        full=_FULL,
        quick=_QUICK,
    ),
    Measure(
        "shared-arrays", shared_arrays, ["array.common"], who=[US], full={"repeats": 10}, quick={"repeats": 5}
    ),
]
