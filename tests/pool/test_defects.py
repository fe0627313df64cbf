"""The twenty defects of the original: one test for each, named after what works instead."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pool.conftest import children, learn, run
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import (
    CallTimeoutError,
    InstallError,
    OptionError,
    PoolStoppedError,
    StartError,
    UnknownNameError,
    WorkerCrashedError,
)

DOUBLE = "def double(x): return 2 * x"


def test_01_a_timed_out_call_ends_its_work_and_its_slot_serves_again(make_pool: Any, door: Any) -> None:
    pool = make_pool(2, DOUBLE)
    future = pool.call.held.options(timeout_ms=1000, worker_id=1)(door.path)
    others = [pool.call.double(n) for n in range(20)]
    visit = door.wait()
    with pytest.raises(CallTimeoutError):
        future.result()
    visit.wait_until_gone()
    assert [each.result() for each in others] == [2 * n for n in range(20)]
    pool.wait_until_ready()
    assert [state.health_state for state in pool.get_worker_health_states()] == ["ready", "ready"]
    assert pool.call.double.options(worker_id=1)(4).result() == 8


def test_01_an_error_in_a_background_task_leaves_the_worker_ready(make_pool: Any, listen: Any) -> None:
    pool = make_pool(
        1,
        """
def breaks_aside():
    import threading
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()
""",
    )
    pool.output_sink = lambda output: None
    listener = listen(pool)
    pool.call.breaks_aside().result()
    listener.until("uncaught_exception")
    assert pool.get_worker_health_states()[0].health_state == "ready"


def test_02_a_definition_made_while_workers_start_or_restart_reaches_each(make_pool: Any) -> None:
    pool = make_pool(0)
    pool._begin_start(2, {})
    pool.define_worker_function(worker_func=DOUBLE)
    pool.wait_until_ready()
    pool.restart_worker(1)
    pool.define_worker_constant(name="K", value=5)
    pool.define_worker_function(worker_func="def k(): return K")
    pool.wait_until_ready()
    assert [future.result() for future in pool.broadcast("double", 2).values()] == [4, 4]
    assert [future.result() for future in pool.broadcast("k").values()] == [5, 5]


def test_02_a_definition_made_while_a_worker_is_degraded_reaches_it(make_pool: Any, listen: Any) -> None:
    pool = make_pool(2, heartbeat_interval_ms=20, unresponsive_after_ms=1500)
    listener = listen(pool)
    pid = pool.snapshot().workers[0].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        listener.until("worker_health_state_changed", to="degraded")
        pool.configure(unresponsive_after_ms=600_000)  # after twice that time it would be replaced
        with concurrent.futures.ThreadPoolExecutor(1) as threads:
            defining = threads.submit(pool.define_worker_function, worker_func=DOUBLE)
            os.kill(pid, signal.SIGCONT)
            defining.result()
    finally:
        os.kill(pid, signal.SIGCONT)
    listener.until("worker_health_state_changed", to="ready")
    assert [future.result() for future in pool.broadcast("double", 2).values()] == [4, 4]


def test_03_a_definition_that_fails_leaves_the_old_one_in_force_and_breaks_no_later_start(
    make_pool: Any, folder: Path
) -> None:
    pool = make_pool(2, DOUBLE)
    bad = f"open({str(folder / 'missing')!r})\ndef double(x): return 'new'"
    for _ in range(2):
        with pytest.raises(InstallError, match="FileNotFoundError"):
            pool.define_worker_functions(bad)
    pool.stop_workers()
    pool.start_workers(2)
    assert [future.result() for future in pool.broadcast("double", 2).values()] == [4, 4]
    (folder / "missing").touch()
    pool.define_worker_functions(bad)  # the same source
    assert [future.result() for future in pool.broadcast("double", 2).values()] == ["new", "new"]


def test_04_a_failed_restart_leaves_no_half_installed_worker(
    make_pool: Any, folder: Path, listen: Any
) -> None:
    pool = make_pool(1, max_restarts_per_worker=0)
    fifo = folder / "fifo"
    pool.define_worker_functions(
        f"import os\nif os.path.exists({str(fifo)!r}): open({str(fifo)!r}).read()\ndef f(): pass"
    )
    os.mkfifo(fifo)
    listener = listen(pool)
    pool.configure(start_timeout_ms=300)
    pool.restart_worker(1, drain=False)
    listener.until("worker_restart_exhausted")
    listener.until("worker_health_state_changed", to="failed")
    assert children() == []
    with pytest.raises(StartError):
        pool.wait_until_ready()
    fifo.unlink()
    pool.configure(start_timeout_ms=60_000)
    pool.restart_worker(1)
    pool.wait_until_ready()
    assert pool.call.f().result() is None


def test_05_a_stop_during_a_start_leaves_no_worker(make_pool: Any) -> None:
    pool = make_pool(0)
    for _ in range(5):
        pool._begin_start(2, {})
        pool.stop_workers()
        assert children() == []


def test_05_a_program_that_forgets_to_stop_ends() -> None:
    program = """
from wpc_magic.pool import WorkerProcedureCall
pool = WorkerProcedureCall()
pool.define_worker_function(worker_func="def double(x): return 2 * x")
pool.start_workers(2)
print(pool.call.double(2).result())
"""
    done = run(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n", "")


@pytest.mark.parametrize("value", [{"a": 1}, {1, 2}])
def test_06_changed_dicts_and_sets_are_noticed_and_functions_cannot_change_them(
    make_pool: Any, value: Any
) -> None:
    pool = make_pool(0)
    pool.define_worker_constant(name="K", value=value)
    pool.define_worker_functions("def get(): return K\ndef change(): K.clear()")
    pool.start_workers(1)
    with pytest.raises(TypeError, match="a constant cannot be changed"):
        pool.call.change().result()
    assert pool.call.get().result() == value
    value.update([("b", 2)])
    pool.define_worker_constant(name="K", value=value)
    assert pool.call.get().result() == value


def test_07_a_function_that_reaches_outside_itself_is_refused_at_its_definition(make_pool: Any) -> None:
    pool = make_pool(0)
    outside = 1

    def reaches() -> Any:
        return np.zeros(outside)

    with pytest.raises(UnknownNameError) as caught:
        pool.function(reaches)
    assert set(caught.value.names) == {"np", "outside"}
    assert "wpc.define_worker_dependency(alias='np', module_specifier='numpy')" in str(caught.value)


def test_08_there_are_cancel_time_outs_retries_map_a_queue_resize_and_statistics(
    make_pool: Any, door: Any
) -> None:
    pool = make_pool(1, DOUBLE)
    pool.call.held(door.path)
    visit = door.wait()
    assert pool.call.double(1).cancel()
    assert pool.snapshot().in_flight == 1
    assert pool.snapshot().workers[0].current_call.startswith("held #")
    visit.let_go()
    assert list(pool.map("double", range(5))) == [0, 2, 4, 6, 8]
    assert pool.call.double.options(retries=1, timeout_ms=60_000, queue_timeout_ms=60_000)(1).result() == 2
    pool.restart_worker(1)
    assert pool.call.double(2).result() == 4  # queued while it restarts
    pool.resize(2)
    pool.wait_until_ready(timeout_ms=60_000)
    assert pool.worker_count == 2
    assert pool.snapshot().done >= 3


def test_09_large_arguments_come_back_whole_with_several_in_flight(make_pool: Any) -> None:
    pool = make_pool(2, "def echo(x): return x")
    arrays = [np.full(1 << 20, n) for n in range(4)]
    futures = [pool.call.echo(array) for array in arrays]
    assert all(np.array_equal(f.result(), a) for f, a in zip(futures, arrays, strict=True))


def test_10_a_native_crash_costs_one_call(make_pool: Any) -> None:
    pool = make_pool(2, DOUBLE + "\ndef crashes():\n    import ctypes\n    ctypes.string_at(0)")
    future = pool.call.crashes()
    others = [pool.call.double(n) for n in range(50)]
    with pytest.raises(WorkerCrashedError, match="SIGSEGV"):
        future.result()
    assert [each.result() for each in others] == [2 * n for n in range(50)]


def test_11_a_worker_that_takes_too_long_for_a_definition_is_replaced_and_agrees_again(
    make_pool: Any, door: Any
) -> None:
    pool = make_pool(2, DOUBLE, control_timeout_ms=100)
    slow = f"import socket\nway = socket.socket(socket.AF_UNIX)\nway.connect({door.path!r})\nway.recv(1)\n"
    with pytest.raises(InstallError, match="control_timeout_ms=100"):
        pool.define_worker_functions(slow + "def double(x): return 'new'")
    pool.wait_until_ready()
    assert [future.result() for future in pool.broadcast("double", 2).values()] == [4, 4]
    assert pool.get_remote_functions()[0].installed_worker_count == 2


def test_12_a_stop_reports_stopped_once_and_a_time_out_has_its_event(
    make_pool: Any, door: Any, listen: Any
) -> None:
    pool = make_pool(1)
    listener = listen(pool)
    future = pool.call.held.options(timeout_ms=20)(door.path)
    event = listener.until("call_timed_out")[-1]
    assert event.correlation_id == f"call-{future.call_id}"
    assert dict(event.details) == {"function": "held", "timeout_ms": 20}
    pool.wait_until_ready()
    pool.stop_workers()
    heard = listener.until("worker_exited")
    assert [e.details["to"] for e in heard if e.event_name == "worker_health_state_changed"] == ["stopped"]


def test_13_the_context_takes_no_parameter_of_the_function(make_pool: Any) -> None:
    pool = make_pool(1, "def f(a, b='own', *rest, **more):\n    return a, b, rest, more, context.worker_id")
    assert pool.call.f(1).result() == (1, "own", (), {}, 1)


def test_14_needs_are_found_by_the_rules_of_the_language(make_pool: Any) -> None:
    pool = make_pool(0)
    info = pool.define_worker_function(
        worker_func="""
def f():
    "wpc_import('in_a_docstring')"
    # wpc_constant('IN_A_COMMENT')
    text = "wpc_import('in_a_text')"
    return wpc_import('real'), context.constants.K, wpc_constant("com" + "puted")
"""
    )
    assert info.requires == ("K", "real")


def test_15_old_deaths_are_forgotten(make_pool: Any, listen: Any, door: Any) -> None:
    pool = make_pool(
        1,
        "def dies():\n    import os\n    os._exit(1)",
        max_restarts_per_worker=1,
        restart_stable_after_ms=1,
    )
    listener = listen(pool)
    for _ in range(3):
        pool.call.dies().exception()
        listener.until("worker_restart_completed", attempt=1)
        with pytest.raises(TimeoutError):  # wait for the stable time
            pool.call.held(door.path).result(timeout=0.005)
        door.wait().let_go()


def test_16_a_slow_call_holds_up_no_quick_ones_while_another_worker_idles(make_pool: Any, door: Any) -> None:
    pool = make_pool(2, "def same(x): return x\ndef turns(door): return held(door) if door else None")
    learn(pool, "same", "turns")
    slow = pool.call.turns(door.path)
    quick = [pool.call.same(n) for n in range(60)]
    assert [future.result() for future in quick] == list(range(60))
    door.wait().let_go()
    assert slow.result() is None


def test_17_errors_keep_class_cause_and_attributes(make_pool: Any) -> None:
    pool = make_pool(
        1,
        """
class Mine(Exception):
    pass


def fails():
    error = Mine("a", 1)
    error.extra = [1]
    raise error from OSError(5, "why")
""",
    )
    error = pool.call.fails().exception()
    assert type(error) is pool.local_module("fails").Mine
    assert (error.args, error.extra) == (("a", 1), [1])
    assert isinstance(error.__cause__, OSError)
    assert error.__cause__.errno == 5


def test_18_calls_are_not_refused_while_a_function_is_defined(make_pool: Any) -> None:
    pool = make_pool(2, "def version(): return 0")
    over = threading.Event()
    refused = []

    def call() -> None:
        while not over.is_set():
            try:
                pool.call.version().result()
            except Exception as error:
                refused.append(error)

    threads = [threading.Thread(target=call) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for n in range(30):
            pool.define_worker_function(worker_func=f"def version(): return {n}")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert refused == []


def test_19_wrong_and_unknown_options_are_errors() -> None:
    with pytest.raises(OptionError, match="call_timeout_ms takes"):
        WorkerProcedureCall(call_timeout_ms="30000")
    with pytest.raises(OptionError, match="unknown option"):
        WorkerProcedureCall(cal_timeout_ms=30000)


def test_20_stopping_a_busy_pool_tells_its_calls_that_it_was_stopped(make_pool: Any, door: Any) -> None:
    pool = make_pool(2)
    futures = [pool.call.held(door.path) for _ in range(4)]
    door.wait(), door.wait()
    pool.stop_workers()
    for future in futures:
        with pytest.raises(PoolStoppedError, match="when the pool was stopped"):
            future.result()
