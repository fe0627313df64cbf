"""`WpcExecutor` and `wpc.executor()`: what callers of `concurrent.futures` expect, and who else takes one."""

from __future__ import annotations

import asyncio
import concurrent.futures as cf
import gc
import itertools
import json
import os
import subprocess
import sys
import sysconfig
import threading
import weakref
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

from tests.pool.conftest import HELD, PATIENCE_S, ROOT
from wpc_magic.pool import CallFuture, WorkerProcedureCall, WpcExecutor
from wpc_magic.pool.errors import CallTimeoutError, WorkerCrashedError

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="module")
def executor():
    with WpcExecutor(2) as executor:
        executor.submit(pow, 2, 2).result(PATIENCE_S)
        executor._pool.resize(2)  # now, else a test would be blamed for the second
        executor._pool.wait_until_ready()
        executor._grows = False
        yield executor


@pytest.fixture
def executor_of_its_own():
    with WpcExecutor(2) as executor:
        yield executor


def die():
    os._exit(3)


def note(path):
    """Write a line with the process id."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")


def output_of(program):
    """Run a program, which ends well; return what it prints."""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, timeout=PATIENCE_S
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.strip()


# -- calls and their futures ----------------------------------------------------------------------------


def test_submit_takes_any_function_and_any_keyword(executor):
    n = 3
    assert executor.submit(lambda x: x * n, 14).result(PATIENCE_S) == 42
    assert executor.submit(dict, fn=1, self=2).result(PATIENCE_S) == {"fn": 1, "self": 2}


def test_a_future_is_one_of_concurrent_futures_and_can_be_awaited(executor):
    future = executor.submit(pow, 2, 5)
    assert isinstance(future, cf.Future)
    assert isinstance(future, CallFuture)
    assert cf.wait([future], PATIENCE_S).done == {future}
    assert (future.done(), future.running(), future.cancelled(), future.cancel()) == (
        True,
        False,
        False,
        False,
    )
    with pytest.raises(RuntimeError):
        future.set_running_or_notify_cancel()

    async def main():
        return await executor.submit(pow, 2, 6)

    assert asyncio.run(main()) == 64


@pytest.fixture
def held():
    """A function that waits at a door, and is not registered."""
    scope = {"__name__": "__main__"}
    exec(HELD, scope)
    return scope["held"]


def test_callbacks_are_called_in_order_and_once(executor, door, held):
    seen, done = [], threading.Event()
    future = executor.submit(held, door.path, 8)
    for n in range(5):
        future.add_done_callback(lambda future, n=n: seen.append((n, future.result())))
    future.add_done_callback(lambda future: done.set())
    door.wait().let_go()  # not before: callbacks of a call that has ended are called at once
    assert done.wait(PATIENCE_S)
    assert seen == [(n, 8) for n in range(5)]


def test_cancel_ends_also_what_runs_and_says_so(door, held):
    with WpcExecutor(1) as executor:
        running = executor.submit(held, door.path)
        visit = door.wait()
        queued = executor.submit(pow, 2, 2)
        assert running.running()
        assert queued.set_running_or_notify_cancel() is True
        assert running.cancel() is True
        visit.wait_until_gone()
        assert running.cancelled()
        assert running.set_running_or_notify_cancel() is False
        with pytest.raises(cf.CancelledError):
            running.result(PATIENCE_S)
        assert queued.result(PATIENCE_S) == 4


def test_what_cannot_be_pickled_comes_out_of_the_future(executor):
    lock = threading.Lock()
    future = executor.submit(print, lock)
    assert isinstance(future.exception(PATIENCE_S), TypeError)
    assert "cannot pickle" in str(future.exception())
    assert executor.submit(pow, 2, 2).result(PATIENCE_S) == 4
    with pytest.raises(TypeError, match="cannot pickle"):
        list(executor.map(lambda x: lock, [1]))


def test_a_value_or_an_argument_whose_unpickling_exits_is_an_error_of_that_call(executor):
    class Exits:
        def __reduce__(self):
            return sys.exit, (3,)

    future = executor.submit(lambda: Exits())
    for _ in range(2):
        with pytest.raises(BrokenProcessPool, match=r"cannot be unpickled: SystemExit: 3"):
            future.result(PATIENCE_S)
    future = executor.submit(id, Exits())
    for _ in range(2):
        with pytest.raises(BrokenProcessPool, match=r"cannot be unpickled by its worker: SystemExit: 3"):
            future.result(PATIENCE_S)
    with pytest.raises(SystemExit):  # as the function's own
        executor.submit(sys.exit, 3).result(PATIENCE_S)
    assert executor.submit(pow, 2, 2).result(PATIENCE_S) == 4


def test_one_crash_costs_one_future_and_is_the_error_that_callers_expect(executor_of_its_own):
    executor = executor_of_its_own
    futures = [executor.submit(pow, n, 2) for n in range(20)]
    crash = executor.submit(die)
    futures += [executor.submit(pow, n, 2) for n in range(20)]
    with pytest.raises(BrokenProcessPool, match="exited with code 3") as caught:
        crash.result(PATIENCE_S)
    assert isinstance(caught.value, WorkerCrashedError)
    assert [future.result(PATIENCE_S) for future in futures] == [n * n for n in range(20)] * 2
    assert executor.submit(pow, 3, 2).result(PATIENCE_S) == 9


# -- map ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"chunksize": 4}, {"buffersize": 2}, {"timeout": PATIENCE_S}])
def test_a_map_gives_the_values_in_order(executor, options):
    n = 2
    assert list(executor.map(lambda x: x * n, range(10), **options)) == list(range(0, 20, 2))
    assert list(executor.map(pow, [1, 2, 3], [3, 3], **options)) == [1, 8]
    assert list(executor.map(pow, [], [], **options)) == []


@pytest.mark.parametrize("chunksize", [1, 3])
def test_a_map_ends_with_the_first_item_that_fails_after_the_values_before_it(executor, chunksize):
    results = executor.map(lambda x: 1 / (x - 2), range(10), chunksize=chunksize)
    assert [next(results), next(results)] == [-0.5, -1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_a_map_takes_all_items_at_once_and_values_may_be_taken_after_the_shutdown():
    taken = []
    with WpcExecutor(1) as executor:
        results = executor.map(abs, (taken.append(n) or n for n in range(5)))
        assert taken == [0, 1, 2, 3, 4]
    assert list(results) == [0, 1, 2, 3, 4]


def test_with_a_buffer_a_map_takes_items_as_they_are_needed(executor):
    taken = []
    results = executor.map(abs, (taken.append(n) or n for n in itertools.count()), buffersize=2)
    assert taken == [0, 1]
    assert [next(results), next(results)] == [0, 1]
    assert taken == [0, 1, 2, 3]
    results.close()


def test_a_map_that_takes_too_long_raises_and_cancels_the_rest(executor):
    def spin(n):
        while n:
            pass

    results = executor.map(spin, [0, 1, 1, 1], timeout=3)
    assert next(results) is None
    with pytest.raises(TimeoutError):
        next(results)
    assert executor.submit(pow, 2, 2).result(PATIENCE_S) == 4  # no worker spins any more


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"chunksize": 0}, ValueError),
        ({"chunksize": "1"}, ValueError),
        ({"buffersize": 0}, ValueError),
        ({"buffersize": 1.5}, TypeError),
    ],
)
def test_a_map_refuses_what_others_refuse(executor, options, error):
    with pytest.raises(error):
        executor.map(abs, [1], **options)


# -- the initializer, and processes ---------------------------------------------------------------------


def test_the_initializer_runs_once_in_each_process_also_in_one_that_replaces_another(tmp_path):
    path = tmp_path / "initialized"
    with WpcExecutor(1, initializer=note, initargs=(str(path),)) as executor:
        pids = [executor.submit(os.getpid).result(PATIENCE_S) for _ in range(3)]
        with pytest.raises(BrokenProcessPool):
            executor.submit(die).result(PATIENCE_S)
        pids += [executor.submit(os.getpid).result(PATIENCE_S) for _ in range(3)]
    assert len(set(pids)) == 2
    assert list(map(int, path.read_text().split())) == list(dict.fromkeys(pids))


OF_A_NOTEBOOK = """
from functools import partial
model, known, scale = None, {}, 2

def initialize(value):
    global model, added
    model = added = value
    known["value"] = value

class Initializer:
    def __call__(self, value):
        initialize(value)

def found():
    return model, known, scale, added
"""


@pytest.mark.parametrize("initializer", ["initialize", "partial(initialize)", "Initializer()"])
def test_functions_of_a_notebook_find_the_global_variables_that_the_initializer_has_set(initializer):
    notebook = {"__name__": "__main__"}
    exec(OF_A_NOTEBOOK, notebook)
    found = notebook["found"]
    with WpcExecutor(1, initializer=eval(initializer, notebook), initargs=(7,)) as executor:
        expected = (7, {"value": 7}, 2, 7)
        assert executor.submit(found).result(PATIENCE_S) == expected
        assert list(executor.map(lambda call: call(), [found, found])) == [expected] * 2
        lambdas = [eval("lambda n=n: (n, model)", {**notebook, "n": n}) for n in range(4)]
        assert [executor.submit(each).result(PATIENCE_S)[1] for each in lambdas] == [7] * 4
        notebook["scale"] = 3
        assert executor.submit(found).result(PATIENCE_S) == (7, {"value": 7}, 3, 7)


def test_an_initializer_that_fails_breaks_the_executor():
    def initialize():
        raise ValueError("no license")

    with WpcExecutor(2, initializer=initialize) as executor:
        futures = [executor.submit(pow, 2, 2) for _ in range(4)]
        for future in futures:
            with pytest.raises(cf.BrokenExecutor, match="ValueError: no license"):
                future.result(PATIENCE_S)
        assert executor._pool._driver.condition.wait_for(lambda: executor._broken, PATIENCE_S)
        with pytest.raises(BrokenProcessPool, match="no license"):
            executor.submit(pow, 2, 2)


QUEUE_AND_LOCK = """
import multiprocessing, os
from concurrent.futures.process import BrokenProcessPool
from wpc_magic.pool import WpcExecutor

def initialize(queue, lock):
    with lock:
        queue.put(os.getpid())

context = multiprocessing.get_context("spawn")
queue, lock = context.SimpleQueue(), context.RLock()
with WpcExecutor(1, context, initialize, (queue, lock)) as executor:
    for _ in range(2):
        assert executor.submit(os.getpid).result() == queue.get()
        try:
            executor.submit(os._exit, 3).result()
        except BrokenProcessPool:
            print("died")
"""


def test_a_queue_and_a_lock_of_multiprocessing_may_be_arguments_of_the_initializer():
    """In a program of its own: `multiprocessing` leaves a process that tracks resources."""
    assert output_of(QUEUE_AND_LOCK) == "died\ndied"


def test_a_process_runs_exactly_as_many_calls_as_it_may():
    with WpcExecutor(1, max_tasks_per_child=3) as executor:
        pids = [executor.submit(os.getpid).result(PATIENCE_S) for _ in range(6)]
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3]
        pids = [future.result(PATIENCE_S) for future in [executor.submit(os.getpid) for _ in range(8)]]
        assert max(pids.count(pid) for pid in pids) <= 3


def test_there_are_as_many_workers_as_calls_need_and_no_more_than_allowed():
    with WpcExecutor(3) as executor:
        for _ in range(3):
            executor.submit(pow, 2, 2).result(PATIENCE_S)
        assert len(executor._processes) == 1
        barrier = [executor.submit(pow, 2, 2) for _ in range(50)]
        assert all(future.result(PATIENCE_S) == 4 for future in barrier)
        assert 1 <= len(executor._processes) <= 3


def test_workers_start_also_for_calls_that_cannot_be_sent():
    with WpcExecutor(3) as executor:
        for n in (1, 2, 3, 3):
            assert executor.submit(print, threading.Lock()).exception(PATIENCE_S)
            assert len(executor._processes) == n


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_workers": 0}, ValueError),
        ({"max_workers": -1}, ValueError),
        ({"initializer": 5}, TypeError),
        ({"max_tasks_per_child": 0}, ValueError),
        ({"max_tasks_per_child": "3"}, TypeError),
        ({"call_timeout": 5}, ValueError),
    ],
)
def test_an_executor_refuses_what_others_refuse(options, error):
    with pytest.raises(error):
        WpcExecutor(**options)


def test_options_of_the_pool_are_its_own():
    def spin():
        while True:
            pass

    with WpcExecutor(1, call_timeout_ms=200) as executor, pytest.raises(CallTimeoutError):
        executor.submit(spin).result(PATIENCE_S)


# -- the end --------------------------------------------------------------------------------------------


def test_after_the_shutdown_nothing_is_accepted_and_all_have_ended():
    executor = WpcExecutor(1)
    futures = [executor.submit(pow, n, 2) for n in range(10)]
    executor.shutdown()
    assert all(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(pow, 2, 2)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.map(abs, [1])
    executor.shutdown()


def test_a_shutdown_need_not_wait_and_all_end_all_the_same():
    executor = WpcExecutor(1)
    futures = [executor.submit(pow, n, 2) for n in range(10)]
    executor.shutdown(wait=False)
    assert [future.result(PATIENCE_S) for future in futures] == [n * n for n in range(10)]
    executor.shutdown(wait=True)
    assert not executor._pool.is_running


def test_a_shutdown_may_cancel_what_no_worker_is_about_to_run():
    executor = WpcExecutor(2)
    futures = [executor.submit(pow, n, 2) for n in range(100)]
    executor.shutdown(cancel_futures=True)
    assert all(future.done() for future in futures)
    ran = [future for future in futures if not future.cancelled()]
    assert len(ran) >= 2
    assert all(future.exception() is None for future in ran)


def test_an_executor_that_was_never_used_starts_nothing():
    with WpcExecutor(2) as executor:
        pass
    assert not executor._pool.is_running
    executor.shutdown()


def test_an_executor_that_is_dropped_runs_what_it_was_given_and_its_workers_end():
    executor = WpcExecutor(1)
    future = executor.submit(os.getpid)
    ref, driver = weakref.ref(executor), executor._pool._driver
    del executor
    assert future.result(PATIENCE_S)
    gc.collect()
    assert ref() is None
    assert driver.condition.wait_for(lambda: driver.core.state.phase == "stopped", PATIENCE_S)
    driver.stop()


@pytest.mark.parametrize("chunksize", [1, 4])
def test_an_executor_may_be_dropped_before_the_values_of_its_map_are_taken(chunksize):
    executor = WpcExecutor(2)
    driver, values = executor._pool._driver, executor.map(abs, range(-5, 5), chunksize=chunksize)
    thread = executor._executor_manager_thread
    del executor
    gc.collect()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert list(values) == list(map(abs, range(-5, 5)))
    driver.stop()


@pytest.mark.parametrize("how", ["executor = WpcExecutor(1); submit(executor)", "submit(WpcExecutor(1))"])
def test_at_the_exit_of_the_program_what_was_submitted_still_runs(how):
    text = f"""
import threading, time
from wpc_magic.pool import WpcExecutor

def late():
    import time
    time.sleep(0.3)
    print("it ran")

def submit(executor):
    executor.submit(late)

{how}
"""
    assert output_of(text) == "it ran"


# -- a view of a pool -----------------------------------------------------------------------------------


def test_a_view_runs_on_the_pool_and_its_shutdown_waits_only_for_its_own_calls(door):
    with WorkerProcedureCall() as pool:
        pool.define_worker_function(worker_func=HELD)
        pool.start_workers(2)
        others = pool.call.held(door.path, "others")
        visit = door.wait()
        with pool.executor() as executor:
            futures = [executor.submit(pow, n, 2) for n in range(10)]
        assert all(future.done() for future in futures)
        assert not others.done()
        visit.let_go()
        assert others.result(PATIENCE_S) == "others"
        with pytest.raises(RuntimeError):
            executor.submit(pow, 2, 2)
        assert pool.executor().submit(pow, 2, 2).result(PATIENCE_S) == 4


def test_a_view_has_the_options_of_its_calls():
    def spin():
        while True:
            pass

    with WorkerProcedureCall() as pool:
        pool.start_workers(1)
        with pool.executor(timeout_ms=200) as executor, pytest.raises(CallTimeoutError):
            executor.submit(spin).result(PATIENCE_S)


# -- who takes an executor ------------------------------------------------------------------------------


def test_asyncio_runs_functions_in_it(executor):
    async def main():
        loop = asyncio.get_running_loop()
        calls = (loop.run_in_executor(executor, lambda n=n: n * n) for n in range(5))
        return await asyncio.gather(*calls)

    assert asyncio.run(main()) == [0, 1, 4, 9, 16]


def test_anyio_waits_for_its_calls_beside_others(executor):
    import anyio

    async def main():
        seen = []

        async def one(n):
            seen.append(await executor.submit(pow, n, 2))

        async with anyio.create_task_group() as group:
            for n in range(4):
                group.start_soon(one, n)
        with anyio.move_on_after(0.2) as scope:
            future = executor.submit(lambda: __import__("threading").Event().wait())
            await future
        assert scope.cancelled_caught
        assert future.cancelled()
        return sorted(seen)

    assert anyio.run(main) == [0, 1, 4, 9]


def test_dask_computes_with_it(executor):
    import dask

    total = dask.delayed(sum)([dask.delayed(lambda n: n * n)(n) for n in range(10)])
    with dask.config.set(scheduler=executor):
        assert total.compute() == 285


def test_scipy_optimizes_with_its_map(executor):
    from scipy import optimize

    target = 1.5

    def distance(x):
        return float(((x - target) ** 2).sum())

    found = optimize.differential_evolution(
        distance, [(-5, 5)] * 2, workers=executor.map, updating="deferred", maxiter=30, seed=1, polish=False
    )
    assert np.allclose(found.x, target, atol=0.05)


def test_tqdm_maps_with_it():
    from tqdm.contrib import concurrent

    values = concurrent._executor_map(
        WpcExecutor, lambda x: x + 1, range(20), max_workers=2, lock_name="mp_lock", disable=True
    )
    assert values == list(range(1, 21))


# -- CPython's own tests --------------------------------------------------------------------------------


def suite() -> Path | None:
    """Return a folder with the tests of executors of this version of Python; None: there is none."""
    for folder in (Path(sysconfig.get_path("stdlib")), Path("/usr/lib") / VERSION):
        if list((folder / "test").glob("test_concurrent_futures*")):
            return folder
    return None


KNOWN = {
    "ProcessPoolExecutorTest.test_max_workers_too_large": "skipped: a limit of Windows",
    "ProcessPoolExecutorTest.test_traceback": "the remote frames are in the traceback of the error, and "
    "its cause is what the function gave it: one more cause would show them twice",
    "ProcessPoolExecutorTest.test_python_finalization_error": "forbids a second thread of another executor; "
    "the function is called with a missing argument, and that is the error here",
    "ProcessPoolExecutorTest.test_killed_child": "the call is lost, and the executor goes on",
    "ExecutorDeadlockTest.test_error_at_task_unpickle": "it is that call's error, and the executor goes on",
    "ExecutorDeadlockTest.test_error_during_result_unpickle_in_result_handler": "the same",
    "FailingInitializerResourcesTest.test_spawn": "frames of the cause of an error have the caller's behind "
    "them, so its queue is freed by the collector, and the test runs none",
    "FailingInitializerResourcesTest.test_forkserver": "the same",
}
"""Of the tests for process pools, those that do not pass, and why: they are not run, since some wait long."""


@pytest.mark.slow
@pytest.mark.parametrize("tier", ["portable", "process"])
def test_the_tests_of_cpython_pass(tier, tmp_path):
    folder = suite()
    if folder is None:
        package = f"lib{VERSION}-testsuite"
        pytest.skip(f"no test suite of Python is here; Debian may have it in {package}: make testsuite")
    # Alone on the path: what is beside it is another version of the standard library.
    (tmp_path / "test").symlink_to(folder / "test")
    ended = subprocess.run(
        [sys.executable, "-m", "tests.pool.cpython_executors", str(tmp_path), tier, "", *KNOWN],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=5 * PATIENCE_S,
        check=True,
    )
    outcomes = json.loads(ended.stdout.splitlines()[-1])
    assert {name: text for name, text in outcomes.items() if text and name not in KNOWN} == {}
    assert len(outcomes) >= (29 if tier == "portable" else 38) or sys.version_info < (3, 13)
    assert len(outcomes) >= 27
