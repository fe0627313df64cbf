"""The rules of advice, and what is recorded for them."""

from __future__ import annotations

from typing import Any

import pytest

from wpc_magic.pool.core.advice import advice_for_function, advice_for_map, growth_per_call
from wpc_magic.pool.core.calls import Call
from wpc_magic.pool.core.history import CallHistory
from wpc_magic.pool.core.insights import FunctionInsight, Insights, MapInsight, SlowCall
from wpc_magic.pool.core.measures import Measures
from wpc_magic.pool.core.registry import Kind, Record, Registry
from wpc_magic.pool.core.runs import runs_of
from wpc_magic.pool.core.slots import Slot
from wpc_magic.pool.core.stats import FunctionStats

MB = 1 << 20


@pytest.mark.parametrize(
    ("seen", "advice"),
    [
        (MapInsight("f", 60, 0, 14.0, 25.0, 4, 12.0, 37), "one item took 12 of 14 s: item 37"),
        (MapInsight("f", 60, 0, 14.0, 25.0, 4, 12.0, 37, 3), "one call took 12 of 14 s: items 37 to 39"),
        (MapInsight("f", 60, 0, 200.0, 300.0, 4, 180.0, 0), "one item took 3 min 0 s of 3 min 20 s: item 0"),
        (MapInsight("f", 60, 0, 14.0, 54.0, 4, 2.0, 37), None),
        (MapInsight("f", 8, 0, 2.0, 8.0, 4, 1.1, 3), None),  # each takes half of the time
        (MapInsight("f", 60, 0, 0.1, 0.2, 4, 0.09, 3), None),  # too short to matter
        (MapInsight("f", 60, 0, 14.0, 13.0, 1, 12.0, 3), None),  # no other worker waits
        (MapInsight("f", 2, 0, 14.0, 28.0, 4, 14.0, 0), "2 of 4 workers had no item"),
        (MapInsight("f", 0, 0, 14.0, 0.0, 4), None),
    ],
)
def test_a_map_is_told_what_kept_it(seen: MapInsight, advice: str | None) -> None:
    assert advice_for_map(seen) == advice


def test_a_quick_function_is_told_to_be_mapped_unless_it_is() -> None:
    quick = FunctionInsight("quick", calls=5000, quick_calls=4990, mean_s=3e-6)
    assert advice_for_function(quick) == ["quick takes 3 µs, sending costs more: use wpc.map or %wpc_map"]
    assert advice_for_function(FunctionInsight("quick", calls=50, quick_calls=2, mean_s=3e-6)) == []
    assert advice_for_function(FunctionInsight("slow", calls=5000, quick_calls=5, mean_s=0.01)) == []


def test_one_slow_call_is_named_with_its_arguments() -> None:
    slow = SlowCall("fit #58", "(37)", 12.0, 2)
    seen = FunctionInsight("fit", calls=40, working_s=15.0, active_s=14.0, slowest=(slow,))
    assert advice_for_function(seen) == ["one call took 12 of 14 s: fit(37) #58"]
    alike = FunctionInsight("fit", calls=2, working_s=24.0, active_s=14.0, slowest=(slow,))
    assert advice_for_function(alike) == []


def test_large_arguments_and_growth_are_told() -> None:
    seen = FunctionInsight("load", calls=10, measured=10, sent_bytes=120 * MB, growth_bytes=10 * MB)
    assert advice_for_function(seen) == [
        "load is sent 12 MB a call: what is always the same, %wpc_const keeps there",
        "load grew 10 MB a call: %wpc_start --max-memory-per-worker-mb replaces workers in time",
    ]


def test_growth_is_what_goes_on_after_the_first_call() -> None:
    grows = [(1, 50), (2, 130), (5, 160), (9, 200), (12, 230)]
    assert growth_per_call([(calls, size * MB) for calls, size in grows]) == 10 * MB
    for sizes in ([50, 300, 300, 301], [50, 100, 400, 402], [50, 90, 60, 90], [50, 51, 52, 53], [50, 400]):
        assert growth_per_call([(3 * n, size * MB) for n, size in enumerate(sizes)]) is None


# -- what is recorded -------------------------------------------------------------------------------------


def record(name: str = "f", key: int = 1, is_async: bool = False) -> Record:
    return Record(name, Kind.FUNCTION, b"", None, key=key, is_async=is_async)


def insights(
    measures: Measures, *records: Record, stats: FunctionStats | None = None, history: Any = None
) -> Insights:
    registry = Registry(list)
    registry.records.update({each.name: each for each in records})
    stats = stats or _stats()
    runs = {} if history is None else runs_of(history.rows(), {1: 1, 2: 2}, history.sizes)
    return measures.insights(registry, {each.key: stats for each in records}, {}, runs)


def _stats() -> FunctionStats:
    stats = FunctionStats("f", 1)
    stats.add(2_000_000, 0)
    return stats


class Pool:
    """What answered calls leave, as the dispatcher does it."""

    def __init__(self, kept: int = 100) -> None:
        self.history = CallHistory(kept)
        self.measures = Measures(lambda call: f"({call.body.decode()})", self.history.oldest)
        self.stats, self.record = _stats(), record()

    def answered(self, number: int, worker: int, ran_s: float, now: float) -> None:
        slot, call, ran_ns = Slot(worker), Call(number, "f", str(number).encode()), int(ran_s * 1e9)
        self.history.sent(number, self.measures.add(slot, call, self.record, ran_ns, now))
        self.history.append((number, self.stats, worker, 0.0, ran_ns, now))

    def seen(self) -> FunctionInsight:
        (seen,) = insights(self.measures, self.record, stats=self.stats, history=self.history).functions
        return seen


def test_the_slowest_calls_are_kept_with_their_arguments_and_no_more() -> None:
    pool, ran = Pool(), [5, 900, 7, 1, 300, 2, 800, 3, 4, 700]
    for n in ran:
        pool.answered(n, 2, n, float(n))
    seen = pool.seen()
    assert [str(each) for each in seen.slowest] == [f"f({n}) #{n}" for n in (900, 800, 700, 300, 7)]
    assert [each.worker_id for each in seen.slowest] == [2] * 5
    assert seen.workers == {2: sum(ran)}
    assert seen.sent_bytes == sum(len(str(n)) for n in ran)


def test_what_has_left_the_history_is_no_slowest_call_but_still_counts_as_work() -> None:
    pool = Pool(kept=3)
    for n, ran_s in enumerate([50.0, 40.0, 1.0, 2.0, 3.0]):
        pool.answered(n, 1, ran_s, float(100 + n))
    seen = pool.seen()
    assert [str(each) for each in seen.slowest] == ["f(4) #4", "f(3) #3", "f(2) #2"]
    assert (seen.measured, seen.workers) == (3, {1: 6.0})
    assert seen.working_s == pytest.approx(96.0)


def test_workers_wait_while_the_function_runs_elsewhere() -> None:
    pool = Pool()
    runs = [(1, 1.0, 1.0), (1, 1.0, 2.0), (2, 1.0, 2.0), (1, 2.0, 4.0), (2, 1.0, 105.0)]
    for number, (worker, ran_s, now) in enumerate(runs):
        pool.answered(number, worker, ran_s, now)
    seen = pool.seen()
    assert seen.active_s == pytest.approx(5.0), "not the hundred seconds in which nothing ran"
    assert seen.working_share(1) == pytest.approx(0.8)
    assert seen.working_share(2) == pytest.approx(0.4)
    assert seen.working_share(3) == 0.0


def test_a_function_that_is_defined_again_begins_anew_and_functions_are_bounded() -> None:
    measures, slot = Measures(lambda call: ""), Slot(1)
    for n in range(1000):
        measures.add(slot, Call(n, f"f{n}", b""), record(f"f{n}", key=n), 2_000_000_000, float(n))
    assert len(measures._functions) == 64
    measures.add(slot, Call(1, "f999", b""), record("f999", key=5000), 3_000_000_000, 1000.0)
    (seen,) = insights(measures, record("f999", key=5000)).functions
    assert seen.working_s == pytest.approx(3.0, abs=0.1)


def test_what_is_quick_is_estimated_from_the_histogram() -> None:
    stats = FunctionStats()
    assert not any(stats.add(500_000, 0) for _ in range(1000))
    assert stats.add(2_000_000, 0), "this is measured"
    assert 0.3 < stats.unmeasured_s < 0.7


def test_a_map_has_its_line_and_no_repetition() -> None:
    measures = Measures(lambda call: "")
    for _ in range(30):
        measures.maps.append(MapInsight("fit", 60, 0, 14.0, 25.0, 4, 12.0, 37))
    seen = insights(measures)
    assert len(seen.maps) == 20
    assert seen.advice == ("fit: one item took 12 of 14 s: item 37",)
