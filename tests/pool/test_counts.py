"""What is counted: calls, items of maps, what has failed, and what was cancelled, each once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.pool.conftest import PATIENCE_S
from wpc_magic.pool import WorkerProcedureCall

DEFINITIONS = """
def odd(n):
    if n % 2 == 0:
        raise ValueError(n)
    return n

def counts(n):
    yield from range(n)
"""


@pytest.fixture
def pool(make_pool: Any) -> WorkerProcedureCall:
    pool: WorkerProcedureCall = make_pool(1, DEFINITIONS)
    return pool


def numbers(pool: WorkerProcedureCall) -> tuple[int, int, int, int]:
    seen = pool.snapshot()
    assert seen.done == seen.calls + seen.items - seen.failed - seen.cancelled
    (worker,) = seen.workers
    assert (worker.done, worker.failed) == (seen.done, seen.failed), "its only worker has run all of it"
    assert worker.cancelled == seen.cancelled
    return seen.calls, seen.items, seen.failed, seen.cancelled


def test_a_chunk_is_no_call_but_its_items_and_each_that_fails_counts(pool: WorkerProcedureCall) -> None:
    assert len(list(pool.map("odd", range(1000), on_error="skip"))) == 500
    assert numbers(pool) == (0, 1000, 500, 0)
    (seen,) = pool.statistics().functions
    assert seen.outcomes == {"done": 500, "failed": 500}
    assert (seen.calls, seen.items, seen.failed, seen.cancelled) == (0, 1000, 500, 0)


def test_of_a_chunk_that_ends_with_the_first_failure_what_has_not_run_does_not_count(
    pool: WorkerProcedureCall,
) -> None:
    with pytest.raises(ValueError, match="4"):
        list(pool.map("odd", [1, 3, 4, 5, 6, 7], chunk_size=6))
    assert numbers(pool) == (0, 3, 1, 0)


def test_a_stream_is_one_call_and_a_failed_call_is_no_cancelled_one(pool: WorkerProcedureCall) -> None:
    assert list(pool.call.counts(5)) == [0, 1, 2, 3, 4]
    assert isinstance(pool.call.odd(2).exception(PATIENCE_S), ValueError)
    assert numbers(pool) == (2, 0, 1, 0)


def test_what_is_cancelled_has_not_failed(pool: WorkerProcedureCall, door: Any) -> None:
    running, queued = pool.call.held(door.path), pool.call.held(door.path)
    door.wait()
    assert queued.cancel()
    assert running.cancel()
    pool.call.odd(1).result(PATIENCE_S)
    seen = pool.snapshot()
    assert (seen.calls, seen.failed, seen.cancelled) == (3, 0, 2)
    assert pool.cancelled_count == 2


def test_a_call_that_is_retried_counts_once(pool: WorkerProcedureCall) -> None:
    future = pool.call.odd.options(retries=2, retry_on=ValueError)(2)
    assert isinstance(future.exception(PATIENCE_S), ValueError)
    assert numbers(pool) == (1, 0, 1, 0)
    (seen,) = pool.statistics().functions
    assert sum(seen.buckets) == 3, "it has run three times"


def test_the_last_error_of_a_function_may_be_that_of_an_item_or_of_another_kind(
    pool: WorkerProcedureCall,
) -> None:
    assert len(list(pool.map("odd", [1, 2, 3], on_error="return"))) == 3
    (seen,) = pool.statistics().functions
    assert seen.last_error.startswith("ValueError: ")
    assert sum(seen.sums_s) > 0
