"""Samples of the stacks of calls, through the control channel."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.pool.busy import SOURCE
from tests.pool.conftest import Begun, Door, pids
from tests.pool.test_stacks import stop
from wpc_magic import WorkerProcedureCall
from wpc_magic.pool.driver.sampling import StackSample, StackSampler
from wpc_magic.pool.wire.native import Int, Long, c_function
from wpc_magic.pool.worker.stacks import take_call_stacks

PR_GET_TIMERSLACK = 30  # <linux/prctl.h>

MORE = """
def spins_below(begun, item=0):
    spins(begun)
"""


@pytest.fixture
def busy(make_pool: Any) -> WorkerProcedureCall:
    pool: WorkerProcedureCall = make_pool(1, SOURCE + MORE, interrupt_grace_ms=100)
    return pool


def sample(sampler: StackSampler, wanted: Callable[[StackSample], bool]) -> StackSample:
    """Request samples until there is one like that."""
    while True:
        assert sampler.request()
        if found := [each for each in sampler.take() if wanted(each)]:
            return found[-1]


def names(sample: StackSample) -> list[str]:
    return [name for _, _, name in sample.frames]


def test_a_sample_says_at_which_line_a_busy_call_is_and_what_called_that(
    busy: WorkerProcedureCall, begun: Begun
) -> None:
    future = busy.call.spins_below(begun.path)
    begun.wait()
    found = sample(busy.stack_sampler(), lambda each: names(each) == ["spins_below", "spins"])
    assert (found.worker_id, found.function) == (1, "spins_below")
    assert "wpc_magic" not in str(found.frames)
    assert not future.done()


def test_a_chunk_of_a_map_counts_for_its_function(busy: WorkerProcedureCall, begun: Begun) -> None:
    items = busy.map("spins_below", [begun.path], range(1), chunk_size=1)
    begun.wait()
    found = sample(busy.stack_sampler(), lambda each: names(each)[-1] == "spins")
    assert found.function == "spins_below"
    items.close()


def test_each_coroutine_that_waits_has_a_sample_of_the_await(busy: WorkerProcedureCall, begun: Begun) -> None:
    busy.call.awaits(begun.path)
    begun.wait()
    found = sample(busy.stack_sampler(), lambda each: names(each)[0] == "awaits")
    assert found.function == "awaits"
    assert names(found)[-1] == "sleep"


def test_a_worker_that_runs_nothing_is_not_asked(
    busy: WorkerProcedureCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(busy._driver.parts.outbox, "request_stack", lambda *args, **keys: asked.append(args))
    sampler = busy.stack_sampler()
    assert sampler.request()
    assert sampler.take() == []
    assert asked == []


def test_a_worker_that_does_not_answer_is_asked_once_and_its_answer_stands_for_all(
    busy: WorkerProcedureCall, begun: Begun
) -> None:
    busy.call.spins(begun.path)
    begun.wait()
    (pid,) = pids(busy).values()
    stop(pid)
    sampler = busy.stack_sampler()
    try:
        for _ in range(50):
            assert sampler.request()
        assert sampler.take() == []
    finally:
        os.kill(pid, signal.SIGCONT)
    while not (found := sampler.take()):
        busy.stack(1, timeout_ms=60_000)  # answered after the sample
    assert [each.weight for each in found] == [50]


def test_the_switch_interval_of_a_worker_is_what_it_was(make_pool: Any, door: Door) -> None:
    source = "import sys\ndef interval(value=None):\n    return sys.getswitchinterval()\n"
    pool = make_pool(1, source)
    before = pool.call.interval().result()
    future = pool.call.held(door.path)
    visit = door.wait()
    sample(pool.stack_sampler(), lambda each: each.function == "held")
    visit.let_go()
    future.result()
    while pool.call.interval().result() != before:  # another sample may be under way
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="where timers are late on purpose")
def test_a_sample_is_taken_when_it_is_due_and_not_when_the_function_waits() -> None:
    prctl, seen = c_function("prctl", Int, Int, Long), []

    def running() -> int:
        seen.append(prctl(PR_GET_TIMERSLACK, 0))
        return 1

    def take() -> None:
        seen.append(prctl(PR_GET_TIMERSLACK, 0))
        seen.extend(each.seq for each in take_call_stacks(threading.main_thread().ident or 0, running, None))
        seen.append(prctl(PR_GET_TIMERSLACK, 0))

    thread = threading.Thread(target=take)
    thread.start()
    thread.join()
    usual = seen[0]
    assert usual > 1
    assert seen == [usual, 1, 1, usual]


def test_a_death_ends_a_request_and_the_next_worker_is_asked(busy: WorkerProcedureCall, begun: Begun) -> None:
    future = busy.call.spins(begun.path)
    begun.wait()
    sampler = busy.stack_sampler()
    (pid,) = pids(busy).values()
    stop(pid)  # so that it does not answer
    assert sampler.request()
    os.kill(pid, signal.SIGKILL)
    assert future.exception() is not None
    busy.wait_until_ready()
    busy.call.sleeps(begun.path)
    assert sample(sampler, lambda each: names(each)[-1] == "sleeps").function == "sleeps"


def test_a_stopped_pool_is_not_sampled(busy: WorkerProcedureCall) -> None:
    sampler = busy.stack_sampler()
    busy.stop_workers()
    assert not sampler.request()
    assert sampler.take() == []
