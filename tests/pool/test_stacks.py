"""The stacks of workers: on request, and in the error of a call that has timed out."""

from __future__ import annotations

import asyncio
import contextlib
import linecache
import os
import pickle
import queue
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pool.busy import SOURCE
from tests.pool.conftest import PATIENCE_S, Begun, Door, pids
from wpc_magic import WorkerProcedureCall
from wpc_magic.pool import CallFuture
from wpc_magic.pool.driver import stacks
from wpc_magic.pool.driver.stack_report import StackReport, format_stacks, parse_dump
from wpc_magic.pool.errors import CallTimeoutError, NotRunningError, OptionError
from wpc_magic.pool.wire.protocol import Stack

MORE = """
def in_a_thread(begun):
    thread = threading.Thread(target=sleeps, args=(begun,), name="the helper", daemon=True)
    thread.start()
    thread.join()

async def deeper(begun):
    await awaits(begun)

def own_loop(begun):
    asyncio.run(deeper(begun))

def deep(begun, n=300):
    return deep(begun, n - 1) if n else sleeps(begun)

def says_nothing_back(begun):
    print("a text without an end", end="")
    sleeps(begun)
"""
STOPS_ITSELF = """
def stops_itself():
    import os, signal
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.fixture
def busy(make_pool: Any) -> WorkerProcedureCall:
    pool: WorkerProcedureCall = make_pool(1, SOURCE + MORE, interrupt_grace_ms=100)
    return pool


def until(pool: WorkerProcedureCall, *parts: str) -> str:
    """Return the stack of worker 1 once it has these parts: functions report a line before these."""
    while any(part not in (text := pool.stack(1)) for part in parts):
        pass
    return text


def stack_of(pool: WorkerProcedureCall, begun: Begun, name: str, *parts: str) -> tuple[CallFuture, str]:
    """Submit a call; return its future, and the stack of worker 1 once it has these parts."""
    future = pool.call[name](begun.path)
    begun.wait()
    return future, until(pool, *parts)


def stop(pid: int) -> None:
    """Stop a child process, and return when all of its threads are stopped."""
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)


@contextlib.contextmanager
def all_begin_before_a_timeout(
    pool: WorkerProcedureCall, begun: Begun, count: int = 1, and_stop: bool = False
) -> Iterator[None]:
    """Make calls that time out: so many have begun before the first does, however busy the machine is.

    Then the worker may be stopped, as by a debugger.
    """
    #  the worker is stopped      -> no call begins, while they are made
    #  the lock is held           -> no timeout passes, while they begin
    pid = pids(pool)[1]
    assert pid is not None
    stop(pid)
    yield
    with pool._driver.lock:
        os.kill(pid, signal.SIGCONT)
        begun.wait_for(count)
        if and_stop:
            stop(pid)


@pytest.fixture
def stopped(make_pool: Any) -> Iterator[tuple[WorkerProcedureCall, int]]:
    """A pool whose only worker is stopped, as by a debugger."""
    pool = make_pool(1, SOURCE)
    pid = pids(pool)[1]
    stop(pid)
    yield pool, pid
    if pids(pool).get(1) == pid:
        os.kill(pid, signal.SIGCONT)


# -- on request -------------------------------------------------------------------------------------------


def test_an_idle_worker_says_so(busy: WorkerProcedureCall) -> None:
    assert busy.stack(1, timeout_ms=60_000) == f"worker 1 (pid {pids(busy)[1]}) waits for calls"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("spins", "while True: pass"),
        ("sleeps", "time.sleep(3600)"),
        ("reads", "os.read(read_end, 1)"),
        ("holds_the_gil", "sleep(3600)"),
        ("never_awaits", "while True: pass"),
    ],
)
def test_a_busy_worker_tells_the_line_that_it_is_at(
    busy: WorkerProcedureCall, begun: Begun, name: str, line: str
) -> None:
    future, text = stack_of(busy, begun, name, line)
    assert text.startswith(f"worker 1 (pid {pids(busy)[1]}) runs {name} #{future.call_id} for ")
    assert f", in {name}\n" in text
    assert "wpc_magic" not in text, "frames of the pool itself are left out"
    assert line in busy.stack(1, timeout_ms=60_000), "the first request has not disturbed it"
    assert not future.done()


def test_all_workers_are_told_at_once(make_pool: Any, door: Door) -> None:
    pool = make_pool(2)
    future = pool.call.held.options(worker_id=2)(door.path)
    door.wait()
    while not (texts := pool.stack())[2].endswith("    connection.recv(1)"):
        pass
    assert list(texts) == [1, 2]
    assert texts[1].endswith("waits for calls")
    assert f"runs held #{future.call_id}" in texts[2]


def test_threads_of_the_users_are_told_and_ours_are_not(busy: WorkerProcedureCall, begun: Begun) -> None:
    _, text = stack_of(busy, begun, "in_a_thread", "time.sleep(3600)", "thread.join()")
    assert text.count("in thread") == 1
    assert "in thread 'the helper':\n" in text
    assert "wpc-" not in text
    assert "_bootstrap" not in text, "the bootstrap of every thread"


def test_coroutines_that_wait_are_told_with_their_calls(busy: WorkerProcedureCall, begun: Begun) -> None:
    future, text = stack_of(busy, begun, "deeper", "await asyncio.sleep(3600)")
    assert f"waits in deeper #{future.call_id}:\n" in text
    assert text.index(", in deeper\n") < text.index(", in awaits\n") < text.index(", in sleep\n")
    assert "run_forever" not in text, "the main thread only waits for the coroutines"


def test_coroutines_on_a_loop_of_the_functions_own_are_told(busy: WorkerProcedureCall, begun: Begun) -> None:
    _, text = stack_of(busy, begun, "own_loop", "await asyncio.sleep(3600)")
    assert "asyncio.run(deeper(begun))" in text
    assert "in the task 'Task-" in text


def test_a_deep_stack_is_told_from_both_ends(busy: WorkerProcedureCall, begun: Begun) -> None:
    _, text = stack_of(busy, begun, "deep", "time.sleep(3600)")
    assert "  ... and " in text
    assert "more times]" in text
    assert len(text.splitlines()) < 30


def test_text_that_a_function_prints_is_not_in_the_way(busy: WorkerProcedureCall, begun: Begun) -> None:
    busy.output_sink = lambda output: None
    stack_of(busy, begun, "says_nothing_back", ", in sleeps\n")


def test_a_process_that_is_stopped_is_told_as_such(stopped: tuple[WorkerProcedureCall, int]) -> None:
    pool, pid = stopped
    assert pool.stack(1, timeout_ms=60) == f"worker 1 (pid {pid}) does not answer; its process is stopped"
    os.kill(pid, signal.SIGCONT)
    until(pool, "waits for calls")  # its answer to the request that timed out is dropped


def test_a_worker_that_starts_tells_where_it_is(make_pool: Any, door: Door) -> None:
    pool = make_pool(0)
    waits = f"import socket\nway = socket.socket(socket.AF_UNIX)\nway.connect({door.path!r})\n"
    pool.define_worker_functions(waits + "way.sendall(b'1\\n')\nway.recv(1)\ndef f(): pass")
    pool._begin_start(1, {})
    door.wait()
    text = until(pool, "way.recv(1)")
    assert f"worker 1 (pid {pids(pool)[1]}) starts:\n" in text


def test_a_worker_without_a_process_is_told_as_such(make_pool: Any, listen: Any) -> None:
    pool = make_pool(1, restart_on_failure=False)
    listener = listen(pool)
    os.kill(pids(pool)[1], signal.SIGKILL)
    listener.until("worker_health_state_changed", to="failed")
    assert pool.stack() == {1: "worker 1 is failed, and has no process now"}


def request_stack(pool: WorkerProcedureCall) -> Callable[[], str]:
    """Request the stack of worker 1; return a function that waits for the report."""
    reports: queue.SimpleQueue[StackReport] = queue.SimpleQueue()
    with pool._driver.locked_core():
        pool._driver.stacks.request_stacks(1, PATIENCE_S, lambda _, report: reports.put(report))
    return lambda: str(reports.get(timeout=PATIENCE_S))


def test_a_worker_that_dies_before_it_answers_is_told_as_such(
    stopped: tuple[WorkerProcedureCall, int],
) -> None:
    pool, pid = stopped
    wait_for_report = request_stack(pool)
    os.kill(pid, signal.SIGKILL)
    assert wait_for_report() == f"worker 1 (pid {pid}) ended before it could tell"


def test_a_stop_of_the_pool_answers_whoever_asks(stopped: tuple[WorkerProcedureCall, int]) -> None:
    pool, pid = stopped
    wait_for_report = request_stack(pool)
    pool.stop_workers()
    assert wait_for_report() == f"worker 1 (pid {pid}) ended before it could tell"


def test_wrong_use_is_one_clear_error(busy: WorkerProcedureCall) -> None:
    with pytest.raises(OptionError, match="there is no worker 7; there are 1"):
        busy.stack(7)
    for wrong in (0, -1, "1", True, 1.0):
        with pytest.raises(OptionError, match="worker_id takes a positive whole number"):
            busy.stack(wrong)  # type: ignore[call-overload]
    with pytest.raises(OptionError, match="timeout_ms takes"):
        busy.stack(1, timeout_ms=0)
    busy.stop_workers()
    with pytest.raises(NotRunningError):
        busy.stack()


# -- in the error of a timeout ----------------------------------------------------------------------------


@pytest.fixture
def patient(make_pool: Any, monkeypatch: pytest.MonkeyPatch) -> WorkerProcedureCall:
    """A pool whose errors wait for their stacks as long as a busy machine may take."""
    monkeypatch.setattr(stacks, "_ERROR_TIMEOUT_S", (PATIENCE_S, PATIENCE_S))
    pool: WorkerProcedureCall = make_pool(1, SOURCE, interrupt_grace_ms=60_000)
    return pool


@pytest.mark.parametrize("name", ["spins", "sleeps", "reads", "holds_the_gil", "awaits"])
def test_a_call_that_runs_for_too_long_tells_where_it_was(
    patient: WorkerProcedureCall, begun: Begun, name: str
) -> None:
    future = patient.call[name].options(timeout_ms=1000)(begun.path)
    with pytest.raises(CallTimeoutError) as caught:
        future.result()
    error = caught.value
    head, _, below = str(error).partition("\n\n")
    assert head == f"{name} #{future.call_id} ran for more than 1000 ms on worker 1, and was stopped"
    assert below == error.stack
    assert f"{name} #{future.call_id}" in error.stack
    assert f", in {name}\n" in error.stack
    assert "CallInterrupted" not in error.stack, "it was taken before the work was stopped"
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.stack) == (CallTimeoutError, str(error), error.stack)


def test_a_time_out_of_an_awaited_call_has_it_too(patient: WorkerProcedureCall, begun: Begun) -> None:
    async def main() -> str:
        call = patient.call.sleeps.options(timeout_ms=1000)(begun.path)
        with pytest.raises(CallTimeoutError) as caught:
            await call
        return caught.value.stack

    assert ", in sleeps\n" in asyncio.run(main())


def test_a_time_out_of_a_stopped_process_comes_without(make_pool: Any, begun: Begun) -> None:
    pool = make_pool(1, SOURCE, interrupt_grace_ms=60_000)
    pid = pids(pool)[1]
    with all_begin_before_a_timeout(pool, begun, and_stop=True):
        future = pool.call.sleeps.options(timeout_ms=500)(begun.path)
    try:
        with pytest.raises(CallTimeoutError, match="does not answer; its process is stopped"):
            future.result()
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("how", ["dies", "stops"])
def test_a_call_that_waits_for_its_stack_ends_with_its_worker_and_with_the_pool(
    patient: WorkerProcedureCall, begun: Begun, listen: Any, how: str
) -> None:
    patient.configure(stop_timeout_ms=200)
    listener = listen(patient)
    with all_begin_before_a_timeout(patient, begun, and_stop=True):
        future = patient.call.sleeps.options(timeout_ms=500)(begun.path)
    listener.until("call_timed_out")
    assert not future.done(), "there is no stack yet"
    if how == "dies":
        os.kill(pids(patient)[1], signal.SIGKILL)
    else:
        patient.stop_workers()
    assert isinstance(future.exception(PATIENCE_S), CallTimeoutError)
    assert future.call.future is None


def test_a_drain_does_not_wait_for_the_stack_of_a_worker_that_is_killed(make_pool: Any) -> None:
    pool = make_pool(1, STOPS_ITSELF, interrupt_grace_ms=50)
    future = pool.call.stops_itself.options(timeout_ms=100)()
    pool.stop_workers(drain=True)
    assert isinstance(future.exception(PATIENCE_S), CallTimeoutError)
    assert future.call.future is None


def test_very_many_that_time_out_at_once_all_end(patient: WorkerProcedureCall, begun: Begun) -> None:
    with all_begin_before_a_timeout(patient, begun, 150):
        futures = [patient.call.awaits.options(timeout_ms=300)(begun.path) for _ in range(150)]
    errors = [future.exception() for future in futures]
    assert [error for error in errors if not isinstance(error, CallTimeoutError)] == []
    assert "... and " in str(errors[0]), "not all of them are shown"
    until(patient, "waits for calls")


def test_a_cancelled_call_ends_at_once_and_asks_nothing(
    stopped: tuple[WorkerProcedureCall, int], begun: Begun
) -> None:
    pool, _ = stopped
    future = pool.call.sleeps(begun.path)
    assert future.cancel()
    assert future.cancelled()


# -- as text ----------------------------------------------------------------------------------------------

DUMP = """\
Thread 0x00007f01 (most recent call first):
  File "/usr/lib/python3/threading.py", line 320 in wait
  File "/somewhere/caf\\xe9.py", line 7 in helps
  File "/usr/lib/python3/threading.py", line 982 in run

Thread 0x00007f02 (most recent call first):
  File "<wpc cell>", line 2 in f
  File "<string>", line 6 in <module>
"""


def test_a_dump_is_read_with_the_main_thread_first() -> None:
    why, found = parse_dump(DUMP)
    assert why == ""
    assert [stack.kind for stack in found] == ["main", "thread"]
    assert found[0].frames == (("<string>", 6, "<module>"), ("<wpc cell>", 2, "f"))
    assert found[1].frames[1] == ("/somewhere/café.py", 7, "helps")


def test_of_a_crash_the_thread_that_crashed_comes_first() -> None:
    dump = "Fatal Python error: Aborted\n\n" + DUMP.replace("Thread", "Current thread", 1)
    why, found = parse_dump(
        "what was dumped before\n" + DUMP + dump + "\nExtension modules: x, y (total: 2)\n"
    )
    assert why == "Fatal Python error: Aborted"
    assert [stack.kind for stack in found] == ["thread", "main"]
    text = format_stacks(found, {})
    assert text.index("in another thread:") < text.index("helps") < text.index("in the main thread:")


@pytest.mark.parametrize(
    "text", ["", "\n", "nonsense", "  File", "Thread 0x1 (most recent call first):\n  <no"]
)
def test_a_dump_that_is_torn_breaks_nothing(text: str) -> None:
    _, found = parse_dump(text)
    assert format_stacks(found, {}) == ""


def test_a_stack_without_anything_of_the_users_is_empty() -> None:
    import wpc_magic.pool.worker.server as server

    ours = Stack("main", "", 0, (("<string>", 6, "<module>"), (str(server.__file__), 90, "serve")), 0)
    assert str(StackReport("worker 1 waits", [ours])) == "worker 1 waits"


def test_code_without_a_file_is_told_without_a_line_of_other_such_code(monkeypatch: Any) -> None:
    monkeypatch.setitem(linecache.cache, "<string>", (1, None, ["a line of this process\n"], "<string>"))
    stack = Stack("thread", "", 0, (("<string>", 1, "f"),), 0)
    assert format_stacks([stack], {}) == 'in another thread:\n  File "<string>", line 1, in f'


def test_the_package_that_a_machine_of_a_cluster_was_given_is_none_of_the_users_either() -> None:
    given = f"/scratch/worker-x1/wpc-magic/{'0a' * 16}/wpc_magic/pool/worker"
    theirs = ("/home/me/wpc_magic/pool/worker/mine.py", 1, "f")
    frames = (("<string>", 6, "<module>"), (f"{given}/server.py", 90, "serve"), theirs)
    assert format_stacks([Stack("main", "", 0, frames, 0)], {}) == f'  File "{theirs[0]}", line 1, in f'
    assert format_stacks([Stack("thread", "", 0, frames[1:], 0)], {}) == ""
