"""The table of functions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.dashboard.fakes import FakePool
from wpc_magic.dashboard.function_rows import function_rows, quantile_s
from wpc_magic.pool.core.events import ErrorInfo
from wpc_magic.pool.core.snapshot import FunctionInfo
from wpc_magic.pool.statistics import FunctionStatistics

FIT = FunctionInfo("fit", "(n)", "0" * 40, 2, revision=3)


def test_a_function_is_there_from_its_definition_on_and_after_its_end():
    gone = FunctionStatistics("gone", {"done": 1}, (0,) * 20 + (1,), calls=1)
    rows = function_rows([gone], [FIT])
    assert [(row["name"], row["version"], row["calls"]) for row in rows] == [("fit", 3, 0), ("gone", 0, 1)]
    assert (rows[0]["p50"], rows[0]["share"]) == (None, 0.0)


def test_calls_items_failed_and_cancelled_are_four_numbers():
    counted = FunctionStatistics(
        "fit", {"done": 100, "failed": 2, "timed_out": 1, "cancelled": 4}, (), calls=7, items=100
    )
    (row,) = function_rows([counted], [])
    assert (row["calls"], row["items"], row["failed"], row["cancelled"]) == (7, 100, 3, 4)


def test_the_slow_function_has_most_of_the_time_though_it_was_called_less():
    slow = FunctionStatistics("slow", {"done": 2}, (0,) * 30 + (2,), calls=2)
    quick = FunctionStatistics("quick", {"done": 900}, (0,) * 20 + (900,), calls=900)
    rows = {row["name"]: row for row in function_rows([slow, quick], [])}
    assert rows["slow"]["share"] > 0.6 > rows["quick"]["share"]


def test_the_last_error_of_a_function_is_one_line():
    pool = FakePool()
    for message in ("the first", "the\nlast" + "x" * 1000):
        error = ErrorInfo("cell_1a2b.Missing", message)
        pool.emit("call_execution_failed", severity="warn", error=error, details={"function": "fit"})
    (row,) = function_rows([], [FIT], pool.events())
    assert row["last_error"].startswith("Missing: the last")
    assert len(row["last_error"]) <= 200


buckets = st.lists(st.integers(0, 50), max_size=48).map(tuple)


@given(buckets, st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_a_quantile_grows_and_is_that_of_a_bucket(counts: tuple[int, ...], qs: list[float]):
    low, high = (quantile_s(counts, q) for q in sorted(qs))
    if not any(counts):
        assert low is high is None
    else:
        assert low is not None
        assert high is not None
        assert low <= high


@given(st.lists(buckets, min_size=1, max_size=6))
def test_the_shares_are_the_whole(all_counts: list[tuple[int, ...]]):
    counted = [FunctionStatistics(f"f{i}", {}, counts) for i, counts in enumerate(all_counts)]
    shares = [row["share"] for row in function_rows(counted, [])]
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert not any(map(any, all_counts)) or abs(sum(shares) - 1.0) < 0.001 * len(shares)
