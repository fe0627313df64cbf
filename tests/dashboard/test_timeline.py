"""The timeline: no call is lost, none is moved, and there are never more bars than a page can draw."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.dashboard.fakes import FakeClock
from wpc_magic.dashboard.live_timeline import LiveTimeline, take_timeline
from wpc_magic.dashboard.timeline import Bar, bars_of, timeline_of
from wpc_magic.pool.core.ended_calls import WorkerProcess
from wpc_magic.pool.core.history import CallHistory, UnpackedRow
from wpc_magic.pool.core.stats import FunctionStats
from wpc_magic.pool.histories import RecentCalls

FUNCTIONS = [FunctionStats(name, 1) for name in ("fit", "clean", "save")]
STATES = ("done", "done", "done", "failed", "timed_out", "cancelled", "worker_lost")
SECOND = 1_000_000_000

steps = st.tuples(
    st.integers(1, 4),  # the lane
    st.sampled_from(FUNCTIONS),
    st.sampled_from([0, 1_000, 80_000, 3_000_000, 200_000_000, 5 * SECOND]),  # how long it is idle before
    st.sampled_from([0, 900, 50_000, 2_000_000, 90_000_000, 3 * SECOND, 40 * SECOND]),  # and runs
    st.sampled_from(STATES),
)


def rows_of(found: list[tuple[int, FunctionStats, int, int, str]]) -> list[UnpackedRow]:
    """Return rows of lanes that run one call after another, by their ends."""
    ends = dict.fromkeys(range(5), 0)
    rows = []
    for number, (lane, function, idle, ran, state) in enumerate(found, 1):
        end = ends[lane] = ends[lane] + idle + ran
        rows.append(UnpackedRow(number, function, lane, 0.0, 0.0, ran, end / SECOND, state=state))
    return sorted(rows, key=lambda row: row.ended)


def lanes_of(bars: list[Bar]) -> dict[int, list[Bar]]:
    lanes: dict[int, list[Bar]] = {}
    for bar in bars:
        lanes.setdefault(bar.lane, []).append(bar)
    return lanes


@given(st.lists(steps, max_size=60), st.sampled_from([1e-6, 1e-3, 0.15, 2.0, 60.0]))
def test_each_call_lies_in_a_bar_of_its_lane_and_is_counted_once(
    found: list[tuple[int, FunctionStats, int, int, str]], resolution: float
) -> None:
    rows = rows_of(found)
    bars = bars_of(rows, resolution)
    assert sum(bar.calls for bar in bars) == len(rows)
    assert sum(bar.cancelled for bar in bars) == sum(row.state == "cancelled" for row in rows)
    assert sum(bar.failed for bar in bars) == sum(row.state not in ("done", "cancelled") for row in rows)
    lanes = lanes_of(bars)
    for row in rows:
        begin = row.ended - row.ran_ns / 1e9
        assert any(
            bar.start - 1e-6 <= begin and row.ended <= bar.start + bar.duration + 1e-6
            for bar in lanes[row.incarnation]
        ), f"{row} is in none of {lanes[row.incarnation]}"


@given(st.lists(steps, max_size=60), st.sampled_from([1e-3, 0.15, 2.0]))
def test_the_bars_of_a_lane_do_not_overlap_and_those_of_several_calls_are_short(
    found: list[tuple[int, FunctionStats, int, int, str]], resolution: float
) -> None:
    for bars in lanes_of(bars_of(rows_of(found), resolution)).values():
        assert bars == sorted(bars)
        for bar, later in itertools.pairwise(bars):
            assert bar.start + bar.duration <= later.start + 1e-6
        for bar in bars:
            assert (bar.number == 0) == (bar.calls > 1)
            assert bar.calls == 1 or bar.duration < 2 * resolution
            assert bar.busy <= bar.duration + 1e-9


@given(st.lists(steps, max_size=80), st.integers(1, 12))
def test_there_are_never_more_bars_than_allowed_or_lanes(
    found: list[tuple[int, FunctionStats, int, int, str]], most: int
) -> None:
    rows = rows_of(found)
    end = rows[-1].ended if rows else 1.0
    seen = timeline_of(rows, [], 0.0, max(end, 1e-3), most=most)
    assert len(seen["bars"]) <= max(most, 4)
    assert sum(bar[4] for bar in seen["bars"]) == len(rows)
    assert all(0 <= bar[3] < len(seen["functions"]) for bar in seen["bars"])
    assert json.loads(json.dumps(seen))["resolution"] == seen["resolution"]


def test_a_hundred_thousand_calls_are_two_thousand_bars() -> None:
    row = UnpackedRow(1, FUNCTIONS[0], 1, 0.0, 0.0, 100_000, 0.0)
    rows = [row._replace(number=n, incarnation=1 + n % 8, ended=n * 3e-3) for n in range(100_000)]
    seen = timeline_of(rows, [], 0.0, 300.0)
    assert len(seen["bars"]) <= 2_000
    assert sum(bar[4] for bar in seen["bars"]) == 100_000


def test_coroutines_side_by_side_are_merged_too_if_they_are_many() -> None:
    beside = FunctionStats("fetch", 1, interleaves=True)
    rows = [UnpackedRow(n, beside, 1, 0.0, 0.0, 2 * SECOND, 3.0 + n * 1e-3) for n in range(5000)]
    seen = timeline_of(rows, [], 0.0, 10.0)
    assert len(seen["bars"]) <= 2_000
    assert sum(bar[4] for bar in seen["bars"]) == 5_000


def test_what_never_began_has_no_bar_and_what_lies_outside_is_left_out() -> None:
    rows = [
        UnpackedRow(1, FUNCTIONS[0], 0, 0.0, 0.0, -1, 5.0, state="cancelled"),
        UnpackedRow(2, FUNCTIONS[0], 1, 0.0, 0.0, SECOND, 2.0),
        UnpackedRow(3, FUNCTIONS[0], 1, 0.0, 0.0, 4 * SECOND, 9.0),
    ]
    processes = [WorkerProcess(1, 1, 4711, 0.5), WorkerProcess(2, 2, 4712, 0.5, 3.0, "exited with code 1")]
    seen = timeline_of(rows, processes, 4.0, 10.0, offset=1000.0)
    assert seen["bars"] == [(1, 1.0, 4.0, 0, 1, 0, 0, 4.0, 3)]
    assert (seen["base"], seen["until"], seen["functions"]) == (1004.0, 6.0, ["fit"])
    assert [(lane["n"], lane["start"], lane["end"]) for lane in seen["lanes"]] == [(1, 1000.5, None)]


class Pool:
    """A pool that has a history and nothing else."""

    def __init__(self, clock: FakeClock) -> None:
        self.history = CallHistory(10_000)
        self.history.process_started(1, 1, 4711, clock.now)
        self._clock = clock

    def run(self, count: int, each_s: float = 0.001) -> None:
        for number in range(count):
            self._clock.advance(each_s)
            now = self._clock.now
            self.history.append((number + 1, FUNCTIONS[0], 1, now - each_s, round(each_s * 1e9), now))

    def recent_calls(self, after: float, most: int | None = None) -> RecentCalls:
        return RecentCalls(*self.history.since(after, most), self.history.processes())


def calls_in(sent: Any) -> int:
    return sum(bar[4] for bar in sent["bars"])


def test_a_live_timeline_sends_all_of_it_once_and_then_what_is_new() -> None:
    clock = FakeClock()
    pool, live = Pool(clock), LiveTimeline(lambda: clock.now + 5.0, clock)
    pool.run(100)
    whole = live.read(pool)["timeline"]
    assert (calls_in(whole), whole["lanes"][0]["start"]) == (100, 1005.0)
    assert live.read(pool) == {}, "nothing has happened"
    pool.run(3, 0.5)
    more = live.read(pool)["timeline_more"]
    assert [(bar[1], bar[2], bar[8]) for bar in more["bars"]] == [(0.0, 0.5, 1), (0.5, 0.5, 2), (1.0, 0.5, 3)]
    assert math.isclose(more["base"], 1005.1)
    assert "lanes" not in more, "they are the same"
    pool.run(5_000, 1e-5)
    assert calls_in(live.read(pool)["timeline_more"]) == 5_000, "of ten calls, one is looked at"
    pool.history.process_ended(1, "killed", clock.now)
    assert live.read(pool)["timeline_more"]["lanes"][0]["reason"] == "killed"
    live.forget()
    assert calls_in(live.read(pool)["timeline"]) == 5_103
    middle = take_timeline(pool, 1005.05, 1005.06, 10, lambda: clock.now + 5.0, clock)
    assert 9 <= calls_in(middle) <= 12, "a closer look"
    assert len(middle["bars"]) <= 10
