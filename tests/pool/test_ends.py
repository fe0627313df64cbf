"""Pools stop and drain, programs exit, and no process is left; every call gets an outcome."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import signal
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.pool.conftest import HELD, EventListener, children, pids, run, states, wait_until_dead
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import (
    NestedCallError,
    OptionError,
    PoolStateError,
    PoolStoppedError,
)

FUNCTIONS = """
def pid():
    import os
    return os.getpid()


def double(x):
    return 2 * x


def blocks_signals(door):
    "As `held`, but no interrupt ends it."
    while True:
        try:
            held(door)
            return
        except BaseException:
            pass
"""


# -- stop -----------------------------------------------------------------------------------------------


def test_stopping_an_idle_pool_ends_every_process(make_pool: Any, listen: Any) -> None:
    pool = make_pool(2, FUNCTIONS, stop_timeout_ms=60_000)
    listener = listen(pool)
    before = pids(pool)
    pool.stop_workers()
    for pid in before.values():
        assert not psutil.pid_exists(pid)
    assert states(pool) == ["stopped", "stopped"]
    events = listener.until("worker_exited") + listener.until("worker_exited")
    exited = [event for event in events if event.event_name == "worker_exited"]
    assert {event.details["exitcode"] for event in exited} == {0}, "each has exited by itself"
    assert {event.severity for event in exited} == {"info"}
    changes = [e.details["to"] for e in events if e.event_name == "worker_health_state_changed"]
    assert changes == ["stopped", "stopped"], "once each, and never ready again"
    pool.stop_workers()


def test_stopping_a_busy_pool_interrupts_the_work_and_every_call_gets_an_outcome(
    make_pool: Any, door: Any, folder: Path
) -> None:
    pool = make_pool(
        2,
        FUNCTIONS
        + """
def cleans_up(door, path):
    try:
        held(door)
    finally:
        open(path, "w").close()
""",
        stop_timeout_ms=60_000,
    )
    running = [pool.call.cleans_up(door.path, str(folder / f"clean-{n}")) for n in range(2)]
    visits = [door.wait(), door.wait()]
    queued = [pool.call.double(1), pool.call.double.options(worker_id=1)(1)]
    pool.stop_workers()
    for future in running:
        with pytest.raises(PoolStoppedError, match=r"had not ended on worker [12] when the pool was stopped"):
            future.result()
    for future in queued:
        with pytest.raises(PoolStoppedError, match="was queued when the pool was stopped"):
            future.result()
    for visit in visits:
        assert not psutil.pid_exists(visit.pid)
    assert sorted(path.name for path in folder.glob("clean-*")) == ["clean-0", "clean-1"], "by an interrupt"


def test_a_call_that_ignores_interrupts_is_killed(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, FUNCTIONS, stop_timeout_ms=300)
    future = pool.call.blocks_signals(door.path)
    visit = door.wait()
    stopping = threading.Thread(target=pool.stop_workers)
    stopping.start()
    stopping.join()
    assert not psutil.pid_exists(visit.pid)
    assert isinstance(future.exception(), PoolStoppedError)


def test_a_worker_that_is_suspended_is_stopped_as_well(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS, stop_timeout_ms=200)
    pid = pids(pool)[1]
    os.kill(pid, signal.SIGSTOP)
    pool.stop_workers()
    assert not psutil.pid_exists(pid)


def test_waiters_in_threads_and_loops_are_notified_when_the_pool_stops(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    future = pool.call.held(door.path)
    door.wait()

    async def wait() -> Any:
        return await asyncio.gather(future, return_exceptions=True)

    with concurrent.futures.ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(future.exception), threads.submit(lambda: asyncio.run(wait())[0])]
        waiting += [threads.submit(lambda: concurrent.futures.wait([future]).done.pop().exception())]
        pool.stop_workers()
        assert [type(each.result()) for each in waiting] == [PoolStoppedError] * 3


def test_stop_during_start_works_and_the_start_raises(make_pool: Any, folder: Path) -> None:
    pool = make_pool(0)
    os.mkfifo(folder / "never")
    pool.define_worker_functions(f"open({str(folder / 'never')!r}).read()\ndef f(): pass")
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        starting = threads.submit(pool.start_workers, 2)
        while not pool.is_running and not starting.done():
            pass
        pool.stop_workers()
        assert isinstance(starting.exception(), PoolStoppedError)
    assert not pool.is_running
    assert children() == []


@pytest.mark.parametrize("after", [0, 1, 2, 5, 20, 100, 1000])
def test_stop_works_at_any_moment_of_a_start(make_pool: Any, after: int) -> None:
    pool = make_pool(0, FUNCTIONS)
    pool._begin_start(2, {})
    for _ in range(after):
        pool.snapshot()
    pool.stop_workers()
    assert not pool.is_running
    pool.start_workers(1)
    assert pool.call.double(1).result() == 2


def test_many_threads_may_stop_at_once(make_pool: Any) -> None:
    pool = make_pool(2)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert [each.result() for each in [threads.submit(pool.stop_workers) for _ in range(4)]] == [None] * 4
    assert not pool.is_running


def test_a_drain_lets_every_call_end_first(make_pool: Any) -> None:
    pool = make_pool(2, FUNCTIONS)
    futures = [pool.call.double(n) for n in range(1000)]
    pool.stop_workers(drain=True)
    assert [future.result() for future in futures] == [2 * n for n in range(1000)]


def test_a_drain_with_a_limit_stops_what_has_not_ended_by_then(make_pool: Any, door: Any) -> None:
    pool = make_pool(2, FUNCTIONS)
    ended = pool.call.double(1)
    runs = pool.call.held.options(worker_id=1)(door.path)
    queued = pool.call.double.options(worker_id=1)(2)
    door.wait()
    pool.stop_workers(drain=True, timeout_ms=100)
    assert ended.result() == 2
    assert isinstance(runs.exception(), PoolStoppedError)
    assert isinstance(queued.exception(), PoolStoppedError)
    assert not pool.is_running


def test_a_drain_that_ends_in_time_loses_no_call(make_pool: Any) -> None:
    pool = make_pool(2, FUNCTIONS)
    futures = [pool.call.double(n) for n in range(1000)]
    pool.stop_workers(drain=True, timeout_ms=60_000)
    assert [future.result() for future in futures] == [2 * n for n in range(1000)]


def test_a_limit_needs_a_drain(make_pool: Any) -> None:
    pool = make_pool(1)
    with pytest.raises(OptionError, match="give drain=True"):
        pool.stop_workers(timeout_ms=100)
    with pytest.raises(OptionError, match="positive whole number"):
        pool.stop_workers(drain=True, timeout_ms=0)
    assert pool.is_running


@pytest.mark.parametrize("timeout_ms", [None, 100, 60_000])
def test_a_drain_in_an_event_loop_does_the_same(make_pool: Any, door: Any, timeout_ms: int | None) -> None:
    pool = make_pool(1, FUNCTIONS)
    future = pool.call.held(door.path, "ended")
    visit = door.wait()

    async def main() -> None:
        if timeout_ms != 100:
            asyncio.get_running_loop().call_soon(visit.let_go)
        await pool.stop_workers_async(drain=True, timeout_ms=timeout_ms)

    asyncio.run(main())
    assert not pool.is_running
    if timeout_ms == 100:
        assert isinstance(future.exception(), PoolStoppedError)
    else:
        assert future.result() == "ended"


def test_a_drain_that_is_cancelled_leaves_a_pool_that_takes_calls(make_pool: Any, door: Any) -> None:
    pool = make_pool(2, FUNCTIONS)
    future = pool.call.held(door.path, "ended")
    visit = door.wait()

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pool.stop_workers_async(drain=True), 0.01)

    asyncio.run(main())
    assert pool.call.double(1).result() == 2
    visit.let_go()
    assert future.result() == "ended"


def test_a_pool_is_a_context_that_drains_and_stops() -> None:
    with WorkerProcedureCall() as pool:
        pool.define_worker_functions(HELD + FUNCTIONS)
        pool.start_workers(2)
        futures = [pool.call.double(n) for n in range(100)]
    assert not pool.is_running
    assert [future.result() for future in futures] == [2 * n for n in range(100)]


def test_an_error_in_the_context_stops_without_waiting_for_calls(door: Any) -> None:
    pool = WorkerProcedureCall()
    pool.define_worker_functions(HELD)

    def program() -> None:
        with pool:
            raise KeyError

    pool.start_workers(1)
    future = pool.call.held(door.path)
    door.wait()
    with pytest.raises(KeyError):
        program()
    assert isinstance(future.exception(), PoolStoppedError)


def test_a_pool_is_an_async_context_and_the_loop_goes_on_meanwhile(door: Any) -> None:
    async def main() -> Any:
        async with WorkerProcedureCall() as pool:
            pool.define_worker_functions(HELD)
            pool.start_workers(1)
            future = pool.call.held(door.path, "ended")
            visit = await asyncio.to_thread(door.wait)
            asyncio.get_running_loop().call_soon(visit.let_go)  # runs only if the loop does
        return future.result()

    assert asyncio.run(main()) == "ended"


# -- the end of a program -------------------------------------------------------------------------------

PROGRAM = """
import os, sys, threading, gc, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks where there are threads
from wpc_magic.pool import WorkerProcedureCall
from tests.pool.conftest import HELD
pool = WorkerProcedureCall()
pool.define_worker_functions(HELD + '''
def pid():
    import os
    return os.getpid()
def waits():
    import threading
    threading.Event().wait()
''')
pool.start_workers(2)
print(*(worker.pid for worker in pool.snapshot().workers), flush=True)
"""


@pytest.mark.parametrize(
    "end",
    [
        "",
        "pool.call.pid().result()",
        "[pool.call.waits() for _ in range(3)]",
        "pool.call.waits().add_done_callback(print)",
        "raise SystemExit(0)",
        "del pool; gc.collect()",
    ],
)
def test_a_program_that_forgets_to_stop_ends_cleanly(end: str) -> None:
    done = run(PROGRAM + end)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for pid in map(int, done.stdout.split()[:2]):
        wait_until_dead(pid)


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_workers_end_with_a_program_that_is_killed_while_they_are_busy(how: str) -> None:
    program = (
        PROGRAM + f"[pool.call.waits() for _ in range(3)]\nos.kill(os.getpid(), __import__('signal').{how})"
    )
    done = run(program)
    assert done.returncode == -getattr(signal, how)
    for pid in map(int, done.stdout.split()):
        wait_until_dead(pid)


def test_an_unhandled_error_ends_a_program_as_always() -> None:
    done = run(PROGRAM + "pool.call.waits()\nraise KeyError('mine')")
    assert done.returncode == 1
    assert "KeyError: 'mine'" in done.stderr
    assert done.stderr.count("Traceback") == 1


def test_a_pool_that_nobody_can_reach_leaves_nothing() -> None:
    pool = WorkerProcedureCall()
    pool.define_worker_functions(HELD + FUNCTIONS)
    pool.start_workers(2)
    assert pool.call.double(1).result() == 2
    left = list(pids(pool).values())
    del pool
    gc.collect()
    for pid in left:
        wait_until_dead(pid)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What is freed is freed by its reference count."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
def test_a_pool_ends_as_soon_as_nobody_refers_to_it_without_the_collector() -> None:
    pool = WorkerProcedureCall()
    pool.define_worker_functions(HELD + FUNCTIONS)
    pool.start_workers(2)
    assert pool.call.double(1).result() == 2
    assert list(pool.call.double.map([1, 2])) == [2, 4]
    pool.define_worker_functions("def later(): pass")
    pool.on_worker_event(listener=print)
    assert pool.broadcast("double", 1)[1].result() == 2
    with pytest.raises(TypeError):
        pool.call.double()
    left = list(pids(pool).values())
    gone = weakref.ref(pool)
    del pool
    assert gone() is None
    for pid in left:
        wait_until_dead(pid)


@pytest.mark.usefixtures("no_collector")
def test_who_holds_a_function_of_a_pool_holds_its_workers() -> None:
    pool = WorkerProcedureCall()
    pool.define_worker_functions(HELD + FUNCTIONS)
    pool.start_workers(1)
    left = list(pids(pool).values())
    double = pool.call.double
    del pool
    assert double(1).result() == 2
    assert list(double.map([1, 2])) == [2, 4]
    del double
    for pid in left:
        wait_until_dead(pid)


@pytest.mark.usefixtures("no_collector")
def test_a_pool_that_was_never_started_leaves_nothing() -> None:
    pool = WorkerProcedureCall()
    pool.define_worker_function(worker_func="def f(): return 1")
    finder = pool._local._finder
    assert finder in sys.meta_path
    del pool
    assert finder not in sys.meta_path


def test_a_fork_of_the_program_does_not_disturb_the_pool(make_pool: Any, door: Any) -> None:
    pool = make_pool(2, FUNCTIONS)
    future = pool.call.held(door.path, "ended")
    visit = door.wait()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            pool.call.double(1)
        except NestedCallError:
            code = 7
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7, "in a fork the pool refuses calls"
    assert pool.call.double(1).result() == 2
    visit.let_go()
    assert future.result() == "ended"


def test_a_fork_that_ends_as_a_program_does_leaves_the_pool_alone() -> None:
    done = run(
        PROGRAM
        + """
child = os.fork()
if child == 0:
    sys.exit(0)  # with atexit, finalizers and all
os.waitpid(child, 0)
assert pool.call.pid().result()
pool.stop_workers()
print("ended")
"""
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("ended\n")


def test_two_pools_live_side_by_side(make_pool: Any) -> None:
    one, two = make_pool(1, FUNCTIONS), make_pool(1, "def double(x): return x * 20")
    assert (one.call.double(1).result(), two.call.double(1).result()) == (2, 20)
    one.stop_workers()
    assert two.call.double(2).result() == 40


def test_a_call_without_a_waiter_that_ends_its_worker_leaves_nothing(make_pool: Any) -> None:
    pool = make_pool(1, "def ends():\n    import os\n    os._exit(3)\ndef one(): return 1\n")
    listener = EventListener(pool)
    for _ in range(3):
        assert pool.call.one().result() == 1  # whose waiter is expected to wait for the next call
        pool.call.ends()
        listener.until("worker_restart_completed")


# -- an internal error ----------------------------------------------------------------------------------


def test_if_the_pools_own_thread_fails_every_call_ends_and_no_process_is_left(
    make_pool: Any, door: Any, logged: Any
) -> None:
    pool = make_pool(2, FUNCTIONS)
    calls = [pool.call.held(door.path) for _ in range(5)]
    visits = [door.wait() for _ in range(2)]
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(calls[0].exception), threads.submit(calls[4].exception)]

        def fails(now: float) -> None:
            raise ZeroDivisionError("no such luck")

        with pool._driver.locked_core() as (core, now):
            core.state.timers.call_at(now, fails)
        for each in [*waiting, *calls[1:4]]:
            error = each.result() if each in waiting else each.exception()
            assert isinstance(error, PoolStoppedError)
            assert "the pool wpc has failed, and was ended: ZeroDivisionError: no such luck" in str(error)
    for visit in visits:
        visit.wait_until_gone()
    for use in (pool.call.double, lambda _: pool.start_workers(1), lambda _: pool.resize(3)):
        with pytest.raises(PoolStateError, match="make a new one"):
            use(1)
    pool.stop_workers()
    assert logged().levelname == "CRITICAL"
