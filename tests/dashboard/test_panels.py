"""What is sent only while somebody looks at it."""

from __future__ import annotations

import json
from typing import Any

from tests.dashboard.fakes import FakePool
from wpc_magic.dashboard.load import LoadSeries
from wpc_magic.dashboard.panels import PERIOD_S, LoadPanel, Panels
from wpc_magic.pool.core.snapshot import FunctionInfo
from wpc_magic.pool.statistics import FunctionStatistics


def test_what_nobody_looks_at_is_not_read():
    panels = Panels(LoadSeries())
    assert panels.read(None, 0.0) == {}
    panels.want(["Events", "nonsense"])
    assert panels.read(None, 10.0) == {}


def test_a_panel_is_sent_when_it_is_opened_and_when_it_has_changed_once_a_second():
    pool, panels = FakePool(), Panels(LoadSeries())
    pool.functions.append(FunctionInfo("fit", "(n)", "0" * 40, 2))
    panels.want(["Functions"])
    assert [row["name"] for row in panels.read(pool, 100.0)["functions"]] == ["fit"]
    assert panels.read(pool, 100.0 + PERIOD_S) == {}  # nothing has changed
    pool.counted.append(FunctionStatistics("fit", {"done": 1}, (0, 1), calls=1, sums_s=(0.0, 0.1)))
    assert panels.read(pool, 100.0 + 1.5 * PERIOD_S) == {}  # it was read a moment ago
    assert panels.read(pool, 100.0 + 2 * PERIOD_S)["functions"][0]["calls"] == 1
    panels.forget()
    assert panels.read(pool, 100.0 + 2 * PERIOD_S)["functions"][0]["calls"] == 1


def test_a_page_that_begins_to_look_at_a_panel_is_sent_all_of_it_though_another_has_it():
    pool, panels = FakePool(1), Panels(LoadSeries())
    panels.want(["Timeline"], "Timeline")
    assert set(panels.read(pool, 0.0)) == {"timeline"}
    panels.want(["Timeline"], None)  # it looks on
    assert panels.read(pool, 2.0) == {}
    panels.want(["Timeline"], "Timeline")
    assert set(panels.read(pool, 2.1)) == {"timeline"}


def test_the_timeline_of_a_pool_without_calls_has_its_processes_and_is_sent_once():
    pool, panels = FakePool(), Panels(LoadSeries())
    panels.want(["Timeline"])
    first = panels.read(pool, 100.0)
    assert [lane["worker"] for lane in first["timeline"]["lanes"]] == [1, 2]
    assert json.loads(json.dumps(first)) == first
    assert panels.read(pool, 100.0 + PERIOD_S) == {}


def test_the_load_is_sent_as_a_whole_and_then_as_it_goes_on():
    pool, series = FakePool(), LoadSeries()
    pool.change_worker(1, memory_bytes=2**26)
    panel = LoadPanel(series)
    assert panel.read(pool) == {}
    for second in range(3):
        pool.change(calls=10 * second)
        series.add(pool.current, 100.0 + second)
    first = panel.read(pool)["load"]
    assert first["blocks"] == {"used": 0, "total": 0, "peak": 0, "limit": 2**30}
    assert [sample["rate"] for sample in first["samples"]] == [0.0, 10.0, 10.0]
    assert [(row["worker"], row["bytes"]) for row in first["memory"]] == [(1, [2**26] * 3)]
    assert panel.read(pool) == {}
    series.add(pool.current, 103.0)
    more: Any = panel.read(pool)["load_more"]
    assert [sample["at"] for sample in more["samples"]] == [103.0]
    assert more["memory"][0]["bytes"] == [2**26]
    panel.forget()
    assert len(panel.read(pool)["load"]["samples"]) == 4
