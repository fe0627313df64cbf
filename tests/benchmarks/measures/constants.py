"""A constant of 256 MB: its copies in memory, and the time until all workers have it."""

from __future__ import annotations

import mmap
import os
import time
from typing import Any

from .. import processes
from ..bench import Measure
from ..contestants import US
from ..timing import Failed

__all__ = ["MEASURES"]

_ITEMS = 32 << 20  # 256 MB of float64

_READ = """
def read_constant():
    return float(TABLE[::512].sum())
"""


def _memcpy_into_untouched(source: Any) -> float:
    """Return the time of a copy into fresh pages of 4 kB, as in shared memory, in seconds."""
    import numpy

    with mmap.mmap(-1, source.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        began = time.perf_counter()
        target = numpy.frombuffer(memory)
        numpy.copyto(target, source)
        took = time.perf_counter() - began
        del target
    return took


def _memcpy_into_untouched_huge(source: Any) -> float:
    """Return the same for memory that NumPy allocates, for which it requests huge pages of 2 MB."""
    import numpy

    began = time.perf_counter()
    numpy.copyto(numpy.empty_like(source), source)
    return time.perf_counter() - began


def constant(contestant: Any, workers: int) -> dict[str, float]:
    """Define the constant, read it in every worker, and measure the memory of all processes before and after.

    Every worker reads every page, since pages that are mapped but never read are not counted.
    """
    import numpy

    value = numpy.arange(float(_ITEMS))
    expected = float(value[::512].sum())
    contestant.open(workers)
    pool = contestant.pool
    pool.define_worker_dependency(alias="np", module_specifier="numpy")
    pool.define_worker_constant(name="TABLE", value=numpy.arange(1024.0))  # the warm-up: NumPy is loaded
    pool.define_worker_function(worker_func=_READ)
    [future.result() for future in pool.broadcast("read_constant").values()]
    pids = [os.getpid(), *contestant.pids()]
    _memcpy_into_untouched(value)  # the machine's own first touch
    plain = _memcpy_into_untouched(value)
    huge = _memcpy_into_untouched_huge(value)
    before = processes.pss(pids)
    began = time.perf_counter()
    pool.define_worker_constant(name="TABLE", value=value)
    took = time.perf_counter() - began
    answers = [future.result() for future in pool.broadcast("read_constant").values()]
    copies = (processes.pss(pids) - before) / value.nbytes
    contestant.close()
    if answers != [expected] * workers:
        raise Failed(f"wrong results: {answers}, not {expected}")
    name = f"constant.{workers}"
    return {f"{name}.define": took, f"{name}.memcpy": plain, f"{name}.huge": huge, f"{name}.copies": copies}


def _measure(workers: int) -> Measure:
    keys = [f"constant.{workers}.{part}" for part in ("define", "memcpy", "huge", "copies")]
    return Measure(
        f"constant{workers}",
        constant,
        keys,
        who=[US],
        full={"workers": workers},
        quick={"workers": workers},
        rounds=3,
    )


MEASURES = [_measure(4), _measure(8)]
