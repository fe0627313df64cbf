"""The load of a pool over time: samples at even intervals, bounded, and a line of memory for each process."""

from __future__ import annotations

import itertools
import json

from hypothesis import given
from hypothesis import strategies as st

from wpc_magic.dashboard.load import KEPT_S, SAMPLE_S, LoadSeries
from wpc_magic.pool.core.snapshot import PoolSnapshot, WorkerSnapshot


def snapshot(
    calls: int = 0, memory: int | None = None, pid: int | None = 4711, failed: int = 0
) -> PoolSnapshot:
    worker = WorkerSnapshot(1, "ready", pid, current_call="f #1" if calls % 2 else None, memory_bytes=memory)
    return PoolSnapshot("wpc", "running", (worker,), calls=calls, items=2 * calls, failed=failed)


@given(st.lists(st.floats(0.01, 5.0), min_size=1, max_size=600))
def test_samples_are_apart_and_bounded_and_no_call_is_counted_twice(gaps: list[float]) -> None:
    series, now, taken = LoadSeries(), 1000.0, 0
    for n, gap in enumerate(gaps):
        now += gap
        taken += series.add(snapshot(calls=n), now)
    samples = series.samples()
    assert 1 <= len(samples) == min(taken, round(KEPT_S / SAMPLE_S))
    times = [sample["at"] for sample in samples]
    assert times == sorted(times)
    assert all(b - a >= 0.9 * SAMPLE_S for a, b in itertools.pairwise(times))
    counted = sum(b["rate"] * (b["at"] - a["at"]) for a, b in itertools.pairwise(samples))
    assert counted <= 3 * len(gaps) * 1.02 + 1
    assert json.loads(json.dumps(samples)) == samples


def test_the_rates_are_those_since_the_last_sample() -> None:
    series = LoadSeries()
    assert series.add(snapshot(0), 10.0)
    assert not series.add(snapshot(5), 10.5), "too early"
    assert series.add(snapshot(9, failed=4), 12.0)
    latest = series.samples(after=10.0)
    assert [(each["rate"], each["failed"], each["busy"], each["workers"]) for each in latest] == [
        (13.5, 2.0, 1, 1)
    ]
    assert series.add(snapshot(9), 5.0), "somebody has set the clock"
    assert series.samples()[-1]["rate"] == 0.0


def test_shared_memory_is_asked_for_when_a_sample_is_taken_only() -> None:
    series, asked = LoadSeries(), iter([5, 7])
    for now in (10.0, 10.5, 11.0):
        series.add(snapshot(), now, lambda: next(asked))
    assert [sample["blocks"] for sample in series.samples()] == [5, 7]


def test_another_process_begins_another_line_of_memory() -> None:
    series = LoadSeries()
    for second, (pid, memory) in enumerate([(1, 10), (1, 30), (1, 20), (2, 5), (2, 6)]):
        series.add(snapshot(memory=memory, pid=pid), float(second))
    assert series.memory() == [{"worker": 1, "pid": 2, "peak": 6, "bytes": [5, 6]}]
    series.add(snapshot(memory=7, pid=2), 5.0)
    assert series.memory(latest=2)[0]["bytes"] == [6, 7]
    series.add(snapshot(pid=None), 6.0)
    assert series.memory() == []
