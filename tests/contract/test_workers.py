"""What is promised of the workers: they come, go and are replaced without a call lost, and leave nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.contract.conftest import Events
from tests.contract.engines import Place
from tests.contract.gate import AT_A_GATE, PATIENCE_S, Gate
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import NotRunningError, PoolStoppedError

SOURCE = """
import os

def pid(): return os.getpid()

def double(x): return 2 * x

"""
HAS_A_CHILD = """
import subprocess

def has_a_child(gate):
    child = subprocess.Popen(["sleep", "1000"])
    held(gate, child.pid)
"""
ROOT = Path(__file__).parents[2]

MakePool = Callable[..., WorkerProcedureCall]
Listen = Callable[[WorkerProcedureCall], Events]


def pids(pool: WorkerProcedureCall) -> list[int]:
    """Return the process ids of all workers, as these know them."""
    return sorted(future.result() for future in pool.broadcast("pid").values())


def wait_until_dead(*numbers: int) -> None:
    """Wait until processes of this machine have ended that are no children of this one, or no longer."""
    for number in numbers:
        try:
            psutil.Process(number).wait(PATIENCE_S)
        except psutil.NoSuchProcess:
            pass


def test_what_happens_and_what_runs_can_be_seen(make_pool: MakePool, gate: Gate, listen: Listen) -> None:
    pool = make_pool(0, SOURCE)
    events = listen(pool)
    pool.start_workers(2)
    events.until("worker_spawned")
    events.until("worker_ready")
    future = pool.call.held.options(worker_id=2)(gate.address, "seen")
    visit = gate.wait()
    while (snapshot := pool.snapshot()).workers[1].current_call is None:
        pass  # what a worker elsewhere does is known some milliseconds later
    assert (snapshot.state, snapshot.in_flight) == ("running", 1)
    assert [worker.health_state for worker in snapshot.workers] == ["ready", "ready"]
    first, second = snapshot.workers
    assert (first.current_call, second.current_call) == (None, str(future.call))
    while "visit.recv(1)" not in pool.stack(2):  # it has only sent its report yet
        pass
    visit.let_go()
    future.result()
    assert pool.snapshot().done == 1


def test_workers_are_replaced_without_losing_a_call(make_pool: MakePool, gate: Gate) -> None:
    pool = make_pool(2, SOURCE)
    before = pids(pool)
    running = pool.call.held.options(worker_id=1)(gate.address, "old")
    visit = gate.wait()
    calls = [pool.call.double(n) for n in range(100)]
    pool.restart_workers()
    assert [call.result() for call in calls] == [2 * n for n in range(100)]
    visit.let_go()
    assert running.result() == "old"
    pool.wait_until_ready()
    assert not set(before) & set(pids(pool))


def test_a_worker_leaves_after_so_many_calls(make_pool: MakePool, listen: Listen) -> None:
    pool = make_pool(1, SOURCE, max_calls_per_worker=3)
    events = listen(pool)
    before = [pool.call.pid().result() for _ in range(3)]
    assert events.until("worker_recycled").details["old_pid"] is not None
    assert len(set(before)) == 1
    assert pool.call.pid().result() != before[0]


def test_workers_come_and_go_and_newcomers_have_every_definition(
    make_pool: MakePool, gate: Gate, listen: Listen
) -> None:
    pool = make_pool(1, SOURCE)
    events = listen(pool)
    pool.define_worker_constant(name="K", value=3)
    pool.define_worker_function(worker_func="def times(x): return K * x")
    pool.resize(2)
    assert pool.call.times.options(worker_id=2)(2).result() == 6
    pool.wait_until_ready()
    running = pool.call.held.options(worker_id=2)(gate.address, "ends first")
    visit = gate.wait()
    pool.resize(1)
    visit.let_go()
    assert running.result() == "ends first"
    assert [call.result() for call in [pool.call.times(n) for n in range(10)]] == list(range(0, 30, 3))
    assert events.until("worker_exited").worker_id == 2


def test_an_idle_worker_rests_and_the_next_call_wakes_it(make_pool: MakePool, listen: Listen) -> None:
    pool = make_pool(0, SOURCE, idle_timeout_ms=20, min_workers=0, heartbeat_interval_ms=20)
    events = listen(pool)
    pool.start_workers(1)
    events.until("worker_rests")
    assert pool.call.double(2).result() == 4
    events.until("worker_wakes")


def test_a_drain_lets_the_calls_end_that_were_made(make_pool: MakePool) -> None:
    pool = make_pool(2, SOURCE)
    calls = [pool.call.double(n) for n in range(200)]
    pool.stop_workers(drain=True)
    assert [call.result(0) for call in calls] == [2 * n for n in range(200)]
    with pytest.raises(NotRunningError):
        pool.call.double(1)


def test_a_stop_ends_what_runs_and_definitions_stay(make_pool: MakePool, gate: Gate) -> None:
    pool = make_pool(1, SOURCE + HAS_A_CHILD, stop_timeout_ms=500)
    running = pool.call.has_a_child(gate.address)
    queued = pool.call.double(1)
    visit = gate.wait()
    number = int(visit.text)
    parents = [process.pid for process in psutil.Process(number).parents()]
    pool.stop_workers()
    assert isinstance(running.exception(), PoolStoppedError)
    assert isinstance(queued.exception(), PoolStoppedError)
    visit.wait_until_gone()
    wait_until_dead(number, parents[0])
    pool.start_workers(1)
    assert pool.call.double(3).result() == 6


def test_a_pool_that_nobody_has_any_more_ends_its_workers(engine: Place) -> None:
    pool = WorkerProcedureCall(**engine.options)
    pool.define_worker_functions(SOURCE)
    pool.start_workers(1)
    (number,) = pids(pool)
    del pool
    wait_until_dead(number)


KILLED = """
from wpc_magic.pool import WorkerProcedureCall

pool = WorkerProcedureCall(**{options!r})
pool.define_worker_functions({source!r})
pool.start_workers(2)
calls = [pool.call.tells_pid({gate!r}) for _ in range(2)]
calls[0].result()
"""
TELLS_PID = """
def tells_pid(gate):
    import os
    held(gate, os.getpid())
"""


def test_a_program_that_is_killed_leaves_no_worker(engine: Place, gate: Gate) -> None:
    text = KILLED.format(options=engine.options, source=AT_A_GATE + SOURCE + TELLS_PID, gate=gate.address)
    with subprocess.Popen([sys.executable, "-c", text], cwd=ROOT) as program:
        visits = [gate.wait(), gate.wait()]
        program.kill()
        for visit in visits:
            visit.wait_until_gone()
    wait_until_dead(*(int(visit.text) for visit in visits))
