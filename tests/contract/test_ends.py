"""How calls end: exactly once, with what is known; a stop ends the work, and a crash costs one call."""

from __future__ import annotations

import signal
from concurrent.futures import CancelledError
from typing import Any

import pytest

from tests.contract.gate import Gate
from wpc_magic.pool.errors import (
    CallTimeoutError,
    QueueTimeoutError,
    WorkerCrashedError,
)

SOURCE = """
import asyncio, ctypes, os, signal, time

def pid(): return os.getpid()

def naps(gate):
    try:
        tell(gate, "begun")
        while True:
            time.sleep(0.01)
    finally:
        tell(gate, "cleaned up")

def deaf():
    while True:
        try:
            while True:
                time.sleep(0.01)
        except BaseException:
            pass

async def awaits(gate):
    try:
        tell(gate, "begun")
        await asyncio.Event().wait()
    finally:
        tell(gate, "cleaned up")

def exits(): os._exit(3)

def segfaults():
    print("last words", flush=True)
    ctypes.string_at(0)

def is_killed(): os.kill(os.getpid(), signal.SIGKILL)

def counted(gate, n):
    tell(gate, n)
    if n % 10 == 7:
        os._exit(3)
    return n
"""


@pytest.mark.parametrize("name", ["naps", "awaits"])
def test_a_time_out_ends_the_work_says_where_it_was_and_costs_no_worker(
    make_pool: Any, gate: Gate, name: str
) -> None:
    pool = make_pool(1, SOURCE, interrupt_grace_ms=60_000)
    before = pool.call.pid().result()
    pool.call.tell(gate.address, "ready").result()  # what it imports at first takes no time of the call
    assert gate.told(1) == ["ready"]
    error = pool.call[name].options(timeout_ms=1000)(gate.address).exception()
    assert isinstance(error, CallTimeoutError)
    assert f"in {name}" in error.stack
    assert "wpc_magic" not in error.stack, "the frames of the pool itself are left out"
    assert gate.told(2) == ["begun", "cleaned up"]
    assert pool.call.pid().result() == before


def test_a_call_that_does_not_end_in_time_has_its_worker_replaced(make_pool: Any, listen: Any) -> None:
    pool = make_pool(1, SOURCE, interrupt_grace_ms=50)
    events = listen(pool)
    before = pool.call.pid().result()
    future = pool.call.deaf.options(timeout_ms=500)()
    assert isinstance(future.exception(), CallTimeoutError)
    assert pool.call.pid().result() != before
    events.until("call_ended_by_force")


def test_a_call_that_waits_too_long_never_begins(make_pool: Any, gate: Gate) -> None:
    pool = make_pool(1, SOURCE)
    busy = pool.call.held(gate.address, "busy")
    visit = gate.wait()
    late = pool.call.tell.options(queue_timeout_ms=50)(gate.address, "late")
    assert isinstance(late.exception(), QueueTimeoutError)
    visit.let_go()
    assert busy.result() == "busy"
    assert pool.call.pid().result()
    assert gate.is_quiet()


@pytest.mark.parametrize("name", ["naps", "awaits"])
def test_a_cancel_ends_the_work_of_that_call_only(make_pool: Any, gate: Gate, name: str) -> None:
    pool = make_pool(2, SOURCE)
    other = pool.call.held.options(worker_id=2)(gate.address, "other")
    visit = gate.wait()
    future = pool.call[name].options(worker_id=1)(gate.address)
    queued = pool.call.tell.options(worker_id=2)(gate.address, "never")
    assert gate.told(1) == ["begun"]
    assert queued.cancel()
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result()
    assert gate.told(1) == ["cleaned up"]
    visit.let_go()
    assert other.result() == "other"
    assert pool.call.pid.options(worker_id=2)().result()
    assert gate.is_quiet()


@pytest.mark.parametrize(
    ("name", "exitcode", "words"),
    [
        ("exits", 3, "exited with code 3"),
        ("segfaults", -signal.SIGSEGV, "was killed by SIGSEGV"),
        ("is_killed", -signal.SIGKILL, "was killed by SIGKILL"),
    ],
)
def test_a_crash_costs_one_call_and_says_how_the_worker_died(
    make_pool: Any, gate: Gate, name: str, exitcode: int, words: str
) -> None:
    pool = make_pool(2, SOURCE)
    other = pool.call.held.options(worker_id=2)(gate.address, "other")
    visit = gate.wait()
    crash = pool.call[name].options(worker_id=1)()
    behind = pool.call.pid.options(worker_id=1)()
    error = crash.exception()
    assert isinstance(error, WorkerCrashedError)
    assert (error.worker_id, error.exitcode) == (1, exitcode)
    assert words in str(error)
    if name == "segfaults":
        assert "ctypes.string_at(0)" in error.stack
        assert "wpc_magic" not in error.stack
        assert error.output == "last words\\n" or error.output.strip() == "last words"
    assert behind.result(), "what waited behind it runs in the next process"
    visit.let_go()
    assert other.result() == "other"


def test_every_call_ends_once_and_none_runs_twice_while_workers_die(make_pool: Any, gate: Gate) -> None:
    pool = make_pool(2, SOURCE)
    calls = [pool.call.counted(gate.address, n) for n in range(50)]
    told = sorted(int(text) for text in gate.told(50))
    assert told == list(range(50))
    for n, call in enumerate(calls):
        if n % 10 == 7:
            assert isinstance(call.exception(), WorkerCrashedError)
        else:
            assert call.result() == n
    assert gate.is_quiet()
    snapshot = pool.snapshot()
    assert (snapshot.done, snapshot.failed) == (45, 5)


def test_a_call_runs_again_only_if_that_was_declared(make_pool: Any, gate: Gate) -> None:
    pool = make_pool(1, SOURCE)
    assert isinstance(pool.call.counted(gate.address, 7).exception(), WorkerCrashedError)
    assert gate.told(1) == ["7"]
    error = pool.call.counted.options(retries=2)(gate.address, 17).exception()
    assert isinstance(error, WorkerCrashedError)
    assert gate.told(3) == ["17"] * 3
    assert gate.is_quiet()
