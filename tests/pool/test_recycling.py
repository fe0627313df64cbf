"""A process replaces another one transparently for calls; idle workers are scaled to zero and back."""

from __future__ import annotations

import os
from typing import Any

import numpy
import pytest

from tests.pool.conftest import pids, states
from wpc_magic.pool.errors import MemoryLimitError, OptionError, StartError, WorkerCrashedError

FUNCTIONS = """
import os
LEAK = []
def pid(): return os.getpid()
def double(x): return 2 * x
def leaks(megabytes):
    LEAK.append(os.urandom(megabytes << 20))
    return os.getpid()
def hoards(megabytes):
    import time
    LEAK.append(os.urandom(megabytes << 20))
    while True:
        time.sleep(0.01)
def dies(): os._exit(7)
"""
QUICK = {"heartbeat_interval_ms": 10}


def recycled(listener: Any, worker_id: int = 1) -> dict[str, Any]:
    while (event := listener.until("worker_recycled")[-1]).worker_id != worker_id:
        pass
    return dict(event.details)


# -- by number of calls -----------------------------------------------------------------------------------


def test_a_worker_is_recycled_after_so_many_calls_and_costs_no_restart(make_pool: Any, listen: Any) -> None:
    pool = make_pool(1, FUNCTIONS, max_calls_per_worker=3, max_restarts_per_worker=0)
    listener = listen(pool)
    before = pids(pool)[1]
    assert [pool.call.pid().result() for _ in range(3)] == [before] * 3
    details = recycled(listener)
    assert details["reason"] == "it was sent 3 calls (max_calls_per_worker=3)"
    assert details["old_pid"] == before
    assert pool.call.pid().result() == details["pid"] == pids(pool)[1]
    assert listener.until("worker_exited")[-1].severity == "info"
    (worker,) = pool.snapshot().workers
    assert (worker.restarts, worker.done, worker.failed) == (1, 4, 0)
    assert pool.get_worker_health_states()[0].restart_attempt == 0


def test_many_calls_run_once_each_while_workers_are_recycled_all_the_time(make_pool: Any) -> None:
    pool = make_pool(2, FUNCTIONS, max_calls_per_worker=50)
    made = 0
    while any(worker.restarts < 3 for worker in pool.snapshot().workers):
        futures = [pool.call.double(n) for n in range(500)]
        assert [future.result() for future in futures] == [2 * n for n in range(500)]
        made += 500
    assert pool.snapshot().done == made
    assert {event.event_name for event in pool.events() if event.severity == "error"} == set()


def test_the_old_process_ends_its_call_while_the_new_one_takes_others(
    make_pool: Any, door: Any, listen: Any
) -> None:
    pool = make_pool(1, FUNCTIONS, max_calls_per_worker=1)
    listener = listen(pool)
    future = pool.call.held(door.path, "ended")
    visit = door.wait()
    details = recycled(listener)
    assert visit.pid == details["old_pid"]
    assert pool.call.pid().result() != visit.pid
    assert not future.done()
    visit.let_go()
    assert future.result() == "ended"


def test_a_call_that_kills_a_process_on_its_way_out_is_the_only_one_lost(
    make_pool: Any, door: Any, listen: Any
) -> None:
    pool = make_pool(1, FUNCTIONS, max_calls_per_worker=1, max_restarts_per_worker=0)
    listener = listen(pool)
    future = pool.call.held(door.path)
    visit = door.wait()
    recycled(listener)
    os.kill(visit.pid, 9)
    assert isinstance(future.exception(), WorkerCrashedError)
    assert pool.call.double(1).result() == 2
    assert states(pool) == ["ready"]


def test_a_definition_reaches_a_process_that_is_about_to_take_a_place(make_pool: Any) -> None:
    pool = make_pool(2, FUNCTIONS, max_calls_per_worker=2)
    for n in range(20):
        pool.define_worker_function(worker_func=f"def newest(): return {n}")
        assert [pool.call.newest().result() for _ in range(3)] == [n] * 3


def test_a_recycling_that_fails_leaves_the_old_process_at_work(
    make_pool: Any, folder: Any, listen: Any
) -> None:
    breaks = folder / "breaks"
    source = FUNCTIONS + f"if os.path.exists({str(breaks)!r}): os._exit(3)\n"
    pool = make_pool(1, source, max_calls_per_worker=2, max_restarts_per_worker=1)
    before = pids(pool)[1]
    breaks.touch()
    listener = listen(pool)
    assert [pool.call.pid().result() for _ in range(2)] == [before] * 2
    listener.until("worker_recycle_failed", given_up=False)
    listener.until("worker_recycle_failed", given_up=True)
    assert pool.call.pid().result() == before
    assert states(pool) == ["ready"]
    pool.restart_worker(1)
    with pytest.raises(StartError, match=r"worker 1 goes on, .* exited with code 3"):
        pool.wait_until_ready()
    breaks.unlink()
    pool.restart_worker(1)
    pool.wait_until_ready()
    assert pool.call.pid().result() != before


# -- by memory --------------------------------------------------------------------------------------------


def test_a_worker_that_leaks_is_recycled(make_pool: Any, listen: Any) -> None:
    pool = make_pool(1, FUNCTIONS, max_memory_per_worker_mb=150, **QUICK)
    listener = listen(pool)
    before = pool.call.leaks(200).result()
    details = recycled(listener)
    assert "MiB in use (max_memory_per_worker_mb=150)" in details["reason"]
    assert pool.call.pid().result() != before


def test_memory_that_is_shared_is_not_counted(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS + "def total(): return int(wpc_constant('BIG').sum())")
    pool.define_worker_constant(name="BIG", value=numpy.ones(200 << 20, numpy.uint8))
    assert pool.call.total().result() == 200 << 20
    (link,) = pool._driver.parts.links.values()
    assert link.process.usage.private_memory() < 150 << 20 < link.facts().memory_bytes


def test_a_call_that_takes_too_much_ends_alone_and_is_not_tried_again(make_pool: Any, listen: Any) -> None:
    pool = make_pool(1, FUNCTIONS, hard_memory_per_worker_mb=150, max_restarts_per_worker=0, **QUICK)
    listener = listen(pool)
    future = pool.call.hoards.options(retries=3)(200)
    queued = pool.call.double(1)
    with pytest.raises(MemoryLimitError, match=r"hoards #1 ended with worker 1: it had .* MiB in use"):
        future.result()
    assert queued.result() == 2
    event = listener.until("worker_over_memory")[-1]
    assert (event.correlation_id, event.details["limit_mb"]) == ("call-1", 150)
    assert states(pool) == ["ready"]


# -- idle workers -----------------------------------------------------------------------------------------


def test_idle_workers_rest_and_calls_bring_them_back(make_pool: Any, door: Any, listen: Any) -> None:
    pool = make_pool(3, FUNCTIONS, idle_timeout_ms=1, min_workers=1, **QUICK)
    listener = listen(pool)
    for _ in range(2):
        listener.until("worker_rests")
    assert states(pool) == ["ready", "resting", "resting"]
    assert pool.worker_count == 3
    futures = [pool.call.held(door.path, n) for n in range(3)]
    visits = [door.wait() for _ in range(3)]
    assert len({visit.pid for visit in visits}) == 3
    for visit in visits:
        visit.let_go()
    assert [future.result() for future in futures] == [0, 1, 2]


def test_a_call_for_one_worker_wakes_that_one(make_pool: Any, listen: Any) -> None:
    pool = make_pool(2, FUNCTIONS, idle_timeout_ms=1, min_workers=0, **QUICK)
    listener = listen(pool)
    for _ in range(2):
        listener.until("worker_rests")
    assert pool.call.double.options(worker_id=2)(1).result() == 2
    assert pool.call.double(1).result() == 2
    pool.restart_workers()
    pool.wait_until_ready()
    pool.define_worker_function(worker_func="def newest(): return 1")
    assert [future.result() for future in pool.broadcast("newest").values()] == [1, 1]


# -- rolling restart --------------------------------------------------------------------------------------


def test_all_are_restarted_while_as_many_are_ready_as_before(make_pool: Any, listen: Any) -> None:
    pool = make_pool(3, FUNCTIONS)
    listener = listen(pool)
    before = pids(pool)
    pool.restart_workers()
    pool.wait_until_ready()
    assert all(pids(pool)[number] != before[number] for number in before)
    pool.stop_workers()
    heard = [e for e in listener.until("worker_health_state_changed", to="stopped") if e.severity != "info"]
    assert heard == []
    health = [e.details["to"] for e in pool.events() if e.event_name == "worker_health_state_changed"]
    assert set(health) == {"starting", "ready", "stopped"}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_calls_per_worker", 0),
        ("max_memory_per_worker_mb", -1),
        ("hard_memory_per_worker_mb", 1.5),
        ("idle_timeout_ms", 0),
        ("min_workers", -1),
    ],
)
def test_a_limit_that_is_none_is_refused(make_pool: Any, option: str, value: Any) -> None:
    with pytest.raises(OptionError, match=option):
        make_pool(0, **{option: value})
