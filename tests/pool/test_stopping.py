"""A timeout or a cancellation ends the work of that call only: by an interrupt first, then by a kill."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.pool.busy import SOURCE
from tests.pool.conftest import PATIENCE_S, Begun, EventListener
from wpc_magic import WorkerProcedureCall
from wpc_magic.pool import CallFuture
from wpc_magic.pool.errors import CallTimeoutError, QueueTimeoutError

HOUR_S = 3600
INTERRUPTIBLE = [
    "spins",
    "sleeps",
    "reads",
    "catches_what_it_can",
    "awaits",
    "never_awaits",
    "cleans_up_slowly",
]
INTERRUPTIBLE += [
    "cleans_up_in_steps",
    "has_a_task_that_cleans_up_in_steps",
    "never_awaits_and_cleans_up_in_steps",
    "has_a_task_that_never_awaits",
]
UNINTERRUPTIBLE = ["holds_the_gil", "swallows_all"]


@pytest.fixture(scope="module")
def stopping() -> Iterator[WorkerProcedureCall]:
    pool = WorkerProcedureCall(interrupt_grace_ms=60_000)  # nothing here has its worker ended
    pool.define_worker_functions(SOURCE)
    pool.start_workers(1)
    yield pool
    pool.stop_workers()


def logged(pool: WorkerProcedureCall) -> list[str]:
    """Return the log as soon as it is not empty: a coroutine cleans up only when its loop runs."""
    while not (found := pool.call.log().result()):
        pass
    return list(found)


@pytest.mark.parametrize("name", INTERRUPTIBLE)
def test_a_call_that_is_cancelled_ends_cleans_up_and_its_worker_goes_on(
    stopping: WorkerProcedureCall, begun: Begun, name: str
) -> None:
    before = stopping.call.pid().result()
    future = stopping.call[name](begun.path)
    begun.wait()
    assert future.cancel()
    assert future.cancelled()
    with pytest.raises(CancelledError):
        future.result()
    assert stopping.call.pid().result() == before
    assert logged(stopping) == ["cleaned up"]


@pytest.mark.parametrize("name", ["spins", "awaits", "never_awaits"])
def test_a_map_that_is_closed_ends_cleans_up_and_its_worker_goes_on(
    stopping: WorkerProcedureCall, begun: Begun, name: str
) -> None:
    before = stopping.call.pid().result()
    results = stopping.map(name, [begun.path])
    begun.wait()
    results.close()
    assert stopping.call.pid().result() == before
    assert logged(stopping) == ["cleaned up"]


@pytest.mark.parametrize("name", UNINTERRUPTIBLE)
def test_a_call_that_cannot_be_interrupted_has_its_worker_replaced(
    make_pool: Any, begun: Begun, name: str
) -> None:
    stopping = make_pool(1, SOURCE, interrupt_grace_ms=200)
    before = stopping.call.pid().result()
    future = stopping.call[name](begun.path)
    begun.wait()
    assert future.cancel()
    assert stopping.call.pid().result() != before
    assert stopping.get_worker_health_states()[0].restart_attempt == 0, "the budget stays"


@pytest.mark.parametrize("name", ["spins", "awaits"])
def test_a_call_that_runs_too_long_is_stopped_in_the_same_way(
    stopping: WorkerProcedureCall, begun: Begun, name: str
) -> None:
    before = stopping.call.pid().result()
    future = stopping.call[name].options(timeout_ms=1000)(begun.path)
    with pytest.raises(CallTimeoutError, match=f"{name} #.* ran for more than 1000 ms on worker 1"):
        future.result()
    assert stopping.call.pid().result() == before
    assert logged(stopping) == ["cleaned up"]


def test_the_interrupt_of_another_call_does_not_reach_one_that_cleans_up(
    stopping: WorkerProcedureCall, begun: Begun, tmp_path: Path
) -> None:
    before = stopping.call.pid().result()
    with closing(Begun(tmp_path / "other")) as other_begun:
        other = stopping.call.awaits(other_begun.path)
        other_begun.wait()
    future = stopping.call.spins_and_reports_twice(begun.path)
    begun.wait_for(1)
    future.cancel()
    begun.wait_for(1)
    other.cancel()
    driver = stopping._driver
    assert driver.condition.wait_for(lambda: not driver.core.dispatcher.in_flight.count, PATIENCE_S)
    assert logged(stopping) == ["cleaned up"] * 2
    assert stopping.call.pid().result() == before


def test_an_interrupt_that_is_swallowed_comes_again(stopping: WorkerProcedureCall, begun: Begun) -> None:
    before = stopping.call.pid().result()
    future = stopping.call.swallows_one(begun.path)
    begun.wait()
    future.cancel()
    assert stopping.call.pid().result() == before
    assert logged(stopping) == ["CallInterrupted"]


IMPORTS = """
import sys, time

def imports(folder):
    sys.path.insert(0, folder)
    import slow_module

async def imports_in_a_coroutine(folder):
    imports(folder)

async def imports_in_a_task(folder):
    await asyncio.gather(imports_in_a_coroutine(folder))

def naps(x):
    time.sleep(0.05)
    return x
"""


@pytest.fixture(params=["imports", "imports_in_a_coroutine", "imports_in_a_task"])
def importing(
    make_pool: Any, begun: Begun, tmp_path: Path, request: pytest.FixtureRequest
) -> tuple[WorkerProcedureCall, CallFuture]:
    """A pool of one worker, and its call that is in the middle of an import."""
    # The module itself reports that its import has begun, so that an interrupt hits the import.
    (tmp_path / "slow_module.py").write_text(
        f"import time\nwith open({begun.path!r}, 'w') as pipe: pipe.write('1')\ntime.sleep(3600)\n"
    )
    pool = make_pool(1, SOURCE + IMPORTS)
    future = pool.call[request.param](str(tmp_path))
    begun.wait()
    return pool, future


def test_a_worker_whose_import_was_interrupted_is_replaced(
    importing: tuple[WorkerProcedureCall, CallFuture],
) -> None:
    pool, future = importing
    before = pool.snapshot().workers[0].pid
    listener = EventListener(pool)
    future.cancel()
    event = listener.until("call_ended_by_force")[-1]
    assert event.correlation_id == f"call-{future.call_id}"
    assert event.details == {"function": future.name, "reason": "an import was interrupted"}
    assert listener.until("worker_exited")[-1].details["reason"] == "an import was interrupted"
    assert pool.call.pid().result() != before


def test_no_other_call_ends_with_a_worker_whose_import_was_interrupted(
    importing: tuple[WorkerProcedureCall, CallFuture],
) -> None:
    pool, future = importing
    behind = [pool.call.naps(n) for n in range(3)]
    future.cancel()
    assert [each.result() for each in behind] == [0, 1, 2]


def test_calls_behind_one_that_is_stopped_run_although_it_does_not_end(make_pool: Any, begun: Begun) -> None:
    pool = make_pool(2, SOURCE, interrupt_grace_ms=600_000)
    stalled = pool.call.swallows_all(begun.path)
    begun.wait()
    stalled.cancel()
    assert len({pool.call.pid().result() for _ in range(20)}) == 1  # the other worker's
    pool.stop_workers()


def test_a_task_that_is_cancelled_stops_the_call_that_it_awaits(
    stopping: WorkerProcedureCall, begun: Begun
) -> None:
    async def main() -> None:
        task = asyncio.ensure_future(asyncio.wait_for(stopping.call.sleeps(begun.path), HOUR_S))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert logged(stopping) == ["cleaned up"]


def test_all_calls_can_be_stopped_or_those_of_one_origin(stopping: WorkerProcedureCall, begun: Begun) -> None:
    stopping.origin = "a cell"
    mine = [stopping.call.sleeps(begun.path), *(stopping.call.pid() for _ in range(3))]
    stopping.origin = "another"
    other = stopping.call.pid()
    stopping.origin = None
    begun.wait()
    assert stopping.cancel_all("a cell") == 4
    assert all(future.cancelled() for future in mine)
    assert isinstance(other.result(), int)
    assert stopping.cancel_all() == 0
    assert logged(stopping) == ["cleaned up"]


def test_many_that_are_cancelled_at_once_are_all_interrupted(
    stopping: WorkerProcedureCall, tmp_path: Path
) -> None:
    before = stopping.call.pid().result()
    for round_ in range(20):
        with closing(Begun(tmp_path / f"begun-{round_}")) as begun:
            futures = [stopping.call.sleeps(begun.path), *(stopping.call.pid() for _ in range(5))]
            begun.wait()
        for future in futures:  # the running one first: revoking the others must not hide it
            future.cancel()
        assert logged(stopping) == ["cleaned up"]
    assert stopping.call.pid().result() == before


def test_a_synchronous_call_goes_on_beside_a_coroutine_that_is_stopped(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, interrupt_grace_ms=1)
    pool.define_worker_function(worker_func="import asyncio\nasync def waits(): await asyncio.Event().wait()")
    coroutine = pool.call.waits()
    while not coroutine.running():
        pass
    synchronous = pool.call.held(door.path, 7)
    visit = door.wait()  # from here on the worker's event loop does not run the coroutine
    coroutine.cancel()
    with pytest.raises(QueueTimeoutError):  # so the grace period has expired
        pool.call.held.options(queue_timeout_ms=50)(door.path).result()
    visit.let_go()
    assert synchronous.result() == 7
