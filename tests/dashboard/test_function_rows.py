"""The table of functions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from wpc_magic.dashboard.function_rows import function_rows, quantile_s
from wpc_magic.pool.core.snapshot import FunctionInfo
from wpc_magic.pool.statistics import FunctionStatistics

FIT = FunctionInfo("fit", "(n)", "0" * 40, 2, revision=3)


def test_a_function_is_there_from_its_definition_on_and_after_its_end():
    gone = FunctionStatistics("gone", {"done": 1}, (0, 1), calls=1, sums_s=(0.0, 0.3))
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
    slow = FunctionStatistics("slow", {"done": 2}, (0,) * 30 + (2,), calls=2, sums_s=(0.0,) * 30 + (1.8,))
    quick = FunctionStatistics(
        "quick", {"done": 900}, (0,) * 20 + (900,), calls=900, sums_s=(0.0,) * 20 + (0.9,)
    )
    rows = {row["name"]: row for row in function_rows([slow, quick], [])}
    assert rows["slow"]["share"] > 0.6 > rows["quick"]["share"]


def test_the_last_error_of_a_function_is_one_line():
    counted = FunctionStatistics("fit", {"failed": 2}, (), last_error="Missing: the\nlast")
    (row,) = function_rows([counted], [FIT])
    assert row["last_error"] == "Missing: the last"


def test_a_function_that_always_takes_as_long_has_that_as_its_quantiles():
    counted = FunctionStatistics("fit", {"done": 9}, (0,) * 29 + (9,), calls=9, sums_s=(0.0,) * 29 + (2.7,))
    (row,) = function_rows([counted], [FIT])
    assert (row["p50"], row["p95"], row["p99"]) == (0.3, 0.3, 0.3)


buckets = st.lists(st.integers(0, 50), max_size=48).map(tuple)


def sums_of(counts: tuple[int, ...]) -> tuple[float, ...]:
    """How long runs take that are in the middle of their buckets."""
    return tuple(0.75 * count * 2**exponent / 1e9 for exponent, count in enumerate(counts))


@given(buckets, st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_a_quantile_grows_and_is_that_of_a_bucket(counts: tuple[int, ...], qs: list[float]):
    low, high = (quantile_s(counts, sums_of(counts), q) for q in sorted(qs))
    if not any(counts):
        assert low is high is None
    else:
        assert low is not None
        assert high is not None
        assert low <= high


@given(st.lists(buckets, min_size=1, max_size=6))
def test_the_shares_are_the_whole(all_counts: list[tuple[int, ...]]):
    counted = [
        FunctionStatistics(f"f{i}", {}, counts, sums_s=sums_of(counts)) for i, counts in enumerate(all_counts)
    ]
    shares = [row["share"] for row in function_rows(counted, [])]
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert not any(map(any, all_counts)) or abs(sum(shares) - 1.0) < 0.001 * len(shares)
