"""The rows of what goes on: maps, cells in the background, and calls that take their time."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from tests.dashboard.fakes import FakeClock, FakePool
from wpc_magic.dashboard.running import MOST_ROWS, Running, running_rows
from wpc_magic.pool.core.running_calls import RunningCall
from wpc_magic.pool.maps.running import RunningMap
from wpc_magic.pool.wire.protocol import Progress


def test_a_call_has_a_row_when_it_takes_its_time_and_a_cell_has_one_at_once():
    calls = [
        RunningCall("call-1", "quick", 1, 0.2),
        RunningCall("call-2", "slow", 1, 4.0, progress=Progress(1, 3, 8, "epoch")),
        RunningCall("call-3", "slow", 2, 4.0, items=10),
        RunningCall("call-4", "_wpc_cell_7", 3, 0.1),
    ]
    maps, (slow, cell) = running_rows([], calls, 100.0)
    assert maps == []
    assert (slow["id"], slow["since"], slow["done"], slow["total"], slow["text"]) == (
        *("call-2", 96.0, 3, 8, "epoch"),
    )
    assert (cell["id"], cell["name"], cell["done"]) == ("call-4", "Cell In[7]", None)


def test_a_cell_in_the_background_has_a_row_while_it_is_queued_and_a_call_has_none():
    _, rows = running_rows([], [], 100.0, [("call-5", "quick"), ("call-6", "_wpc_cell_8")])
    assert [(row["id"], row["name"], row["worker"]) for row in rows] == [("call-6", "Cell In[8]", 0)]


_COUNTS = st.integers(0, 10**9)


@given(
    st.builds(
        RunningMap,
        number=st.integers(1),
        function=st.text(),
        done=_COUNTS,
        failed=_COUNTS,
        total=st.none() | _COUNTS,
        running_s=st.none() | st.floats(0, 1e9),
    )
)
def test_the_row_of_a_map_has_no_time_left_that_is_not_known_or_negative(seen: RunningMap):
    ((row,), _) = running_rows([seen], [], 0.0)
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert (row["left_s"] is None) == (seen.total is None or not seen.rate)
    assert row["left_s"] is None or row["left_s"] >= 0
    assert (row["done"], row["failed"], row["total"]) == (seen.done, seen.failed, seen.total)


def test_of_very_many_the_latest_maps_are_shown():
    maps, calls = running_rows(
        [RunningMap(n, "f") for n in range(1, 300)],
        [RunningCall(f"call-{n}", "f", n, 9.0) for n in range(300)],
        0.0,
    )
    assert (len(maps), len(calls)) == (MOST_ROWS, MOST_ROWS)
    assert maps[-1]["number"] == 299


def test_what_goes_on_is_sent_when_it_changes_and_not_because_time_passes():
    pool, clock = FakePool(), FakeClock(1_000.0)
    panel = Running(clock)
    assert panel.read(pool) == {"running": {"maps": [], "calls": []}}
    assert panel.read(pool) == {}
    pool.calls = [RunningCall("call-1", "slow", 1, 4.0)]
    first = panel.read(pool)
    assert first["running"]["calls"][0]["since"] == 996.0
    clock.advance(10)
    pool.calls = [RunningCall("call-1", "slow", 1, 14.2)]
    assert panel.read(pool) == {}
    pool.maps = [RunningMap(1, "slow", done=3)]
    assert panel.read(pool)["running"]["maps"][0]["done"] == 3
    panel.forget()
    assert panel.read(pool) != {}
