"""Displayed numbers do not flicker."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from wpc_magic.dashboard.meter import Meter, Reading, memory_text
from wpc_magic.pool.core.snapshot import PoolSnapshot, WorkerSnapshot

MB = 2**20


def read(meter: Meter, at: float, percent: float | None, megabytes: float = 50.0, pid: int = 7) -> Reading:
    worker = WorkerSnapshot(1, "ready", pid, memory_bytes=int(megabytes * MB), cpu_percent=percent)
    return meter.read(PoolSnapshot("wpc", "running", (worker,)), at)[1]


def run(meter: Meter, readings: Iterable[tuple[float, float]]) -> list[Reading]:
    return [read(meter, at, percent) for at, percent in readings]


def test_the_processor_is_an_average_that_changes_once_a_second():
    shown = run(Meter(), [(tenth / 10, 100.0 * (tenth % 2)) for tenth in range(31)])
    assert [reading.cpu for reading in shown] == [None] * 10 + [50] * 21


def test_a_reading_counts_for_as_long_as_it_covers():
    shown = run(Meter(), [(0.0, 0.0), (0.9, 0.0), (1.0, 100.0)])
    assert shown[-1].cpu == 10


def test_a_snapshot_that_repeats_the_last_readings_counts_for_nothing():
    meter = Meter()
    for at, percent in [(0.0, 0.0), (0.5, 0.0), (1.0, 80.0), (1.5, 80.0)]:
        snapshot = PoolSnapshot("wpc", "running", (WorkerSnapshot(1, "ready", 7, cpu_percent=percent),))
        shown = meter.read(snapshot, at, is_measured=at in (0.0, 1.0))[1]
    assert shown.cpu == 80


def test_a_worker_that_only_answers_pings_is_idle():
    shown = run(Meter(), [(float(second), 1.0 * (second % 2)) for second in range(10)])
    assert {reading.cpu for reading in shown[1:]} == {0}


def test_memory_that_moves_by_a_few_pages_stays_where_it_is():
    meter = Meter()
    amounts = [50.0, 50.2, 49.7, 50.4, 50.0, 52.0, 51.8]
    shown = [read(meter, float(second), 0.0, amount) for second, amount in enumerate(amounts)]
    assert [reading.memory for reading in shown] == ["50 MB"] * 5 + ["52 MB"] * 2


def test_a_new_process_is_not_shown_with_the_numbers_of_the_old_one():
    meter = Meter()
    read(meter, 0.0, 90.0, 800.0)
    assert read(meter, 1.0, 90.0, 800.0) == Reading("800 MB", 90)
    assert read(meter, 1.1, 0.0, 30.0, pid=8) == Reading("30 MB", None)


def test_a_worker_without_a_process_has_no_reading():
    assert Meter().read(PoolSnapshot("wpc", "running", (WorkerSnapshot(1, "failed"),)), 0.0) == {}


def test_what_the_machine_does_not_tell_is_not_shown():
    worker = WorkerSnapshot(1, "ready", 7)
    assert Meter().read(PoolSnapshot("wpc", "running", (worker,)), 0.0) == {1: Reading("", None)}


def test_a_clock_that_was_set_back_does_not_stop_the_meter():
    meter = Meter()
    run(meter, [(1000.0, 0.0), (1001.0, 20.0)])
    assert run(meter, [(5.0, 40.0), (6.0, 80.0)])[-1].cpu == 80


@pytest.mark.parametrize(
    ("megabytes", "text"), [(0.2, "0 MB"), (999.4, "999 MB"), (1000, "1.0 GB"), (20_480, "20.0 GB")]
)
def test_memory_is_a_short_number(megabytes: float, text: str):
    assert memory_text(megabytes * MB) == text
