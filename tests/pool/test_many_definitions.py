"""Definitions that are replaced again and again cost what one costs, in the pool and in the workers."""

from __future__ import annotations

import linecache
from collections.abc import Callable

import psutil
import pytest

from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.core import cell_texts, timers
from wpc_magic.pool.worker import cell_modules

MB = 1 << 20


@pytest.mark.parametrize(
    "rest",
    [
        "def look(n): return TABLE[n]",
        "class Wrong(Exception):\n"
        "    def __init__(self): super().__init__()\n"
        "def look(n):\n"
        "    if TABLE: raise Wrong",
        "class Table:\n    def all(self): return TABLE\nONE = Table()\nasync def look(n): return Table()",
        "import argparse\n"
        "HIDDEN = argparse.Namespace(f=lambda: TABLE)\n"  # only the collector finds it
        "def look(n): return n",
        "def look(n): return n\nclass Unused:\n    def m(self): return TABLE\nraise ValueError",
    ],
    ids=["functions", "exception", "class", "hidden", "fails"],
)
def test_what_is_at_the_top_level_of_a_replaced_cell_is_freed(
    make_pool: Callable[..., WorkerProcedureCall], rest: str
) -> None:
    pool = make_pool(1)
    worker = psutil.Process(pool.snapshot().workers[0].pid)
    before, most = worker.memory_info().rss, 0
    for n in range(12):
        source = f"N = {n}\nTABLE = bytearray(50_000_000)\nTABLE[::4096] = bytes(len(TABLE[::4096]))\n" + rest
        if rest.endswith("ValueError"):
            with pytest.raises(Exception, match="ValueError"):
                pool.define_worker_functions(source)
        else:
            pool.define_worker_functions(source)
            pool.call.look(3).exception()
        most = max(most, worker.memory_info().rss)
    assert most - before < 200 * MB


def test_texts_that_are_dropped_leave_no_lines_and_those_in_use_stay(
    make_pool: Callable[..., WorkerProcedureCall], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()
    for module in cell_texts, cell_modules:
        monkeypatch.setattr(module, "MAX_TEXTS", 10)
    pool.define_worker_functions("class Stays:\n    pass\n\ndef stays(): return Stays()")
    before = set(linecache.cache)
    for n in range(40):
        pool.define_worker_functions(f"def replaced(): return {n}")
    shown = [name for name in linecache.cache if name not in before]
    assert len(shown) <= 10
    assert pool.call.replaced().result() == 39
    assert type(pool.call.stays().result()).__name__ == "Stays"
    assert any(name.startswith("<ipython-wpc> stays") for name in linecache.cache)


def test_the_time_limits_of_installations_end_with_them(
    make_pool: Callable[..., WorkerProcedureCall], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "_MIN_SWEEP", 20)
    pool = make_pool(2, heartbeat_interval_ms=60_000)
    for n in range(40):
        pool.define_worker_functions(f"def replaced(): return {n}")
        assert len(pool._driver.core.state.timers.due) <= 40
