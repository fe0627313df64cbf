"""What a real pool knows of how its functions and maps have run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from wpc_magic.magics.insight_tables import InsightReport
from wpc_magic.pool import WorkerProcedureCall

FUNCTIONS = """
import os, threading, time

def dies():
    os._exit(3)

def quick(x):
    return x

def works(s):
    end = time.monotonic() + s
    while time.monotonic() < end:
        pass
    return s

kept = []

def leak(n):
    kept.append(os.urandom(1) * (n << 20))
    works(0.003)
"""


@pytest.fixture
def working(make_pool: Callable[..., WorkerProcedureCall]) -> WorkerProcedureCall:
    return make_pool(2, FUNCTIONS)


def test_a_pool_without_calls_knows_nothing(working: WorkerProcedureCall) -> None:
    seen = working.insights()
    assert (seen.functions, seen.maps, seen.advice) == ((), (), ())


def test_quick_calls_are_counted_and_told_to_be_mapped(working: WorkerProcedureCall) -> None:
    for n in range(250):
        working.call.quick(n).result()
    (seen,) = working.insights().functions
    assert (seen.name, seen.calls, seen.failed) == ("quick", 250, 0)
    assert seen.working_s > 0


def test_a_map_knows_its_slowest_item(working: WorkerProcedureCall) -> None:
    list(working.map("works", [0.02] * 8 + [0.4], chunk_size=1))
    (seen,) = working.insights().maps
    assert (seen.name, seen.items, seen.failed, seen.worker_count) == ("works", 9, 0, 2)
    assert (seen.slowest_item, seen.slowest_count) == (8, 1)
    assert 0.4 <= seen.slowest_s <= seen.took_s
    (function,) = working.insights().functions
    assert str(function.slowest[0]).endswith("(1 item: [0.4])")
    assert set(function.workers) == {1, 2}


def test_a_map_that_is_left_early_is_known_too_and_once(working: WorkerProcedureCall) -> None:
    results = working.map("works", [0.0] * 1000)
    next(results)
    results.close()
    results.close()
    assert len(working.insights().maps) == 1
    working.map("works", [0.0]).close()  # nobody has asked it for anything
    assert len(working.insights().maps) == 1


def test_a_worker_that_grows_is_told(working: WorkerProcedureCall) -> None:
    leak = working.call.leak.options(worker_id=1)
    for _ in range(5):
        for _ in range(2):
            leak(10).result()
        working.insights()  # measures the memory, as a heartbeat does
    (seen,) = working.insights().functions
    assert seen.growth_bytes is not None
    assert 8 << 20 < seen.growth_bytes < 13 << 20
    assert "leak grew" in "".join(working.insights().advice)


def test_a_function_that_has_only_crashed_is_known_with_its_failures(working: WorkerProcedureCall) -> None:
    assert working.call.dies().exception() is not None
    assert working.call.dies().exception() is not None
    (seen,) = working.insights().functions
    assert (seen.name, seen.calls, seen.failed, seen.revision) == ("dies", 2, 2, 1)


def test_functions_of_one_name_are_told_apart(working: WorkerProcedureCall) -> None:
    working.define_worker_function(worker_func="def quick(x): return -x")
    working.call.quick(1).result()
    for code in ("def quick(): return 3", "def quick(): return 4"):
        names: dict[str, Callable[[], int]] = {}
        exec(code, names)
        working.submit_function(names["quick"]).result()
    assert sorted(each.revision for each in working.insights().functions) == [0, 0, 2]
    text = repr(InsightReport(working.insights()))
    for label in ("quick (revision 2)", "quick (not registered, 1)", "quick (not registered, 2)"):
        assert label in text
