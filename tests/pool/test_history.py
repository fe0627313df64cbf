"""The history of calls: what has run where and when, how it has ended, and how much of it is kept."""

from __future__ import annotations

import itertools
import json
import sys
from typing import Any

import pytest

from tests.pool.conftest import PATIENCE_S
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import OptionError

DEFINITIONS = """
def odd(n):
    if n % 2 == 0:
        raise ValueError(f"{n} is even")
    return n

def dies():
    import os
    os._exit(3)

def naps(data):
    import time
    time.sleep(0.01)
    return b"x" * 2000

async def both(n):
    import asyncio
    await asyncio.sleep(0.01)
    return n
"""


@pytest.fixture
def pool(make_pool: Any) -> WorkerProcedureCall:
    pool: WorkerProcedureCall = make_pool(1, DEFINITIONS)
    return pool


def states(pool: WorkerProcedureCall) -> list[tuple[str, str]]:
    return [(call.function, call.state) for call in pool.history().calls]


def test_each_call_has_its_times_its_worker_and_its_version(pool: WorkerProcedureCall) -> None:
    assert pool.call.odd(3).result(PATIENCE_S) == 3
    pool.define_worker_function(worker_func="def odd(n): return n")
    pool.call.odd(3).result(PATIENCE_S)
    history = pool.history()
    first, second = history.calls
    (process,) = history.processes
    (worker,) = pool.snapshot().workers
    assert (first.number, first.function, first.version, second.version) == (1, "odd", 1, 2)
    assert (first.worker_id, first.pid) == (1, worker.pid) == (process.worker_id, process.pid)
    assert first.sent_at is not None
    assert first.began_at is not None
    assert process.started_at <= first.queued_at <= first.sent_at
    assert first.began_at <= first.ended_at <= second.ended_at
    assert (process.ended_at, first.bytes_in, first.error, first.items) == (None, None, "", 0)


def test_how_a_call_has_ended_is_kept_and_of_what_failed_the_arguments(
    pool: WorkerProcedureCall, door: Any
) -> None:
    pool.call.odd(2).exception(PATIENCE_S)
    pool.call.dies().exception(PATIENCE_S)
    running, queued = pool.call.held(door.path), pool.call.odd(1)
    door.wait()
    queued.cancel()
    running.cancel()
    pool.call.odd(1).result(PATIENCE_S)
    failed, died, waited, ran, done = pool.history().calls
    assert (failed.state, failed.error, failed.arguments) == ("failed", "ValueError: 2 is even", "(2)")
    assert (died.state, died.function) == ("worker_lost", "dies")
    assert died.error.startswith("WorkerCrashedError: dies #2 ended with worker 1")
    assert died.began_at is not None, "the status page tells it"
    assert (waited.state, waited.began_at, waited.ran_s) == ("cancelled", None, None)
    assert (ran.state, ran.began_at is None) == ("cancelled", False)
    assert (done.state, done.waited_s >= 0) == ("done", True)
    before, after = pool.history().processes[:2]
    assert (before.pid, after.pid) == (died.pid, done.pid)
    assert before.ended_at is not None
    assert before.reason == "exited with code 3", before.reason


def test_a_chunk_says_how_many_items_it_had_and_a_retried_call_each_run(pool: WorkerProcedureCall) -> None:
    assert list(pool.map("odd", [1, 2, 3, 4], chunk_size=4, on_error="skip")) == [1, 3]
    pool.call.odd.options(retries=1, retry_on=ValueError)(8).exception(PATIENCE_S)
    chunk, first, second = pool.history().calls
    assert (chunk.items, chunk.failed_items, chunk.state) == (4, 2, "failed")
    assert (first.number, first.state, first.error) == (second.number, "retried", "ValueError: 8 is even")
    assert second.state == "failed"


def test_sizes_are_known_of_what_is_not_quick(pool: WorkerProcedureCall) -> None:
    pool.call.naps(b"y" * 1000).result(PATIENCE_S)
    (seen,) = pool.history().calls
    assert seen.bytes_in is not None
    assert seen.bytes_out is not None
    assert (1000 < seen.bytes_in < 1200, 2000 < seen.bytes_out < 2200) == (True, True)


def test_calls_that_run_side_by_side_overlap_and_others_do_not(pool: WorkerProcedureCall) -> None:
    futures = [pool.call.both(n) for n in range(3)] + [pool.call.odd(2 * n + 1) for n in range(20)]
    for future in futures:
        future.result(PATIENCE_S)
    calls = pool.history().calls
    alone = sorted((each.began_at, each.ended_at) for each in calls if each.function == "odd")
    assert all(end <= begin or abs(end - begin) < 1e-4 for (_, end), (begin, _) in itertools.pairwise(alone))


def test_no_more_is_kept_than_the_option_says(pool: WorkerProcedureCall) -> None:
    for n in range(5):
        pool.call.odd(2 * n + 1).result(PATIENCE_S)
    assert [call.number for call in pool.history(latest=2).calls] == [4, 5]
    pool.configure(call_history=3)
    pool.call.odd(1).result(PATIENCE_S)
    assert [call.number for call in pool.history().calls] == [4, 5, 6]
    pool.configure(call_history=0)
    pool.call.odd(1).result(PATIENCE_S)
    assert pool.history().calls == ()
    assert pool.snapshot().calls == 7, "they are counted all the same"
    with pytest.raises(OptionError, match="call_history"):
        pool.configure(call_history=-1)
    assert json.loads(json.dumps(pool.history().as_dict()))["processes"]


def test_snapshot_calls_and_events_become_data_frames(
    pool: WorkerProcedureCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(4):
        pool.call.odd(n).exception(PATIENCE_S)
    calls = pool.history().to_pandas()
    assert calls["state"].tolist() == ["failed", "done", "failed", "done"]
    assert (calls["ended_at"] >= calls["queued_at"]).all()
    assert str(calls["began_at"].dtype).endswith("UTC]")
    assert pool.snapshot().to_pandas()["failed"].tolist() == [2]
    events = pool.events().to_pandas()
    assert (events["event_name"] == "call_execution_failed").sum() == 2
    assert events["timestamp"].is_monotonic_increasing
    pool.configure(call_history=0)
    assert len(pool.history().to_pandas()) == 0
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"to_pandas needs pandas. Type: pip install pandas"):
        pool.history().to_pandas()
