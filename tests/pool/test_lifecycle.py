"""Workers start, die, come back, change in number, and stop; the calls are told."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.pool.conftest import HELD, PATIENCE_S, Ears, learn, pids, states
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import (
    CallTimeoutError,
    NestedCallError,
    NotRunningError,
    NoWorkerError,
    OptionError,
    PoolStateError,
    PoolStoppedError,
    StartError,
    WorkerCrashedError,
    WorkerReplacedError,
)

FUNCTIONS = """
def pid():
    import os
    return os.getpid()


def dies(code=3):
    import os
    os._exit(code)


def crashes():
    import ctypes
    ctypes.string_at(0)


def double(x):
    return 2 * x


def around():
    import os, sys
    return os.getcwd(), list(sys.path), dict(os.environ)


def blocks_signals(door):
    "As `held`, but nothing soft ends it."
    while True:
        try:
            held(door)
            return
        except BaseException:
            pass
"""

ROOT = Path(__file__).parents[2]


def wait_until_dead(pid: int) -> None:
    """Wait until a process that is not our child, or is no longer, has ended."""
    try:
        psutil.Process(pid).wait(60)
    except psutil.NoSuchProcess:
        pass


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own; its output is what it has to say."""
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )


# -- start ----------------------------------------------------------------------------------------------


def test_workers_start_are_ready_and_have_processes_of_their_own(make_pool: Any) -> None:
    pool = make_pool(3, FUNCTIONS)
    assert pool.is_running
    assert pool.worker_count == 3
    assert states(pool) == ["ready"] * 3
    assert len({os.getpid(), *pids(pool).values()}) == 4
    assert {n: future.result() for n, future in pool.broadcast("pid").items()} == pids(pool)


def test_by_default_there_are_as_many_workers_as_usable_cores() -> None:
    with WorkerProcedureCall() as pool:
        pool.start_workers()
        assert pool.worker_count == len(os.sched_getaffinity(0))


def test_a_pool_that_runs_cannot_be_started_again(make_pool: Any) -> None:
    pool = make_pool(1)
    with pytest.raises(PoolStateError, match="running already"):
        pool.start_workers(1)


def test_a_pool_can_be_started_again_after_it_was_stopped(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    first = pids(pool)
    pool.stop_workers()
    assert not pool.is_running
    assert pool.worker_count == 0
    pool.start_workers(2)
    assert pool.call.double(1).result() == 2
    assert pids(pool) != first


def test_options_can_be_given_at_the_start(make_pool: Any) -> None:
    pool = make_pool(0)
    pool.start_workers(1, stop_timeout_ms=1234)
    assert pool.options.stop_timeout_ms == 1234


def test_a_call_may_be_made_while_the_workers_start(make_pool: Any) -> None:
    pool = make_pool(0, FUNCTIONS)
    pool._begin_start(2, {})
    futures = [pool.call.double(n) for n in range(20)]
    assert [future.result() for future in futures] == [2 * n for n in range(20)]
    pool.wait_until_ready()


def test_workers_that_cannot_start_are_an_error_and_leave_nothing(
    make_pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(0, max_restarts_per_worker=1)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(StartError, match=r"no worker could be started; the last one .*nonexistent"):
        pool.start_workers(2)
    assert not pool.is_running
    monkeypatch.undo()
    pool.start_workers(1)
    assert states(pool) == ["ready"]


def test_a_worker_that_is_not_ready_in_time_is_ended_and_counts_as_dead(
    make_pool: Any, listen: Any, folder: Path
) -> None:
    pool = make_pool(0, start_timeout_ms=300, max_restarts_per_worker=1)
    os.mkfifo(folder / "never")
    pool.define_worker_functions(f"open({str(folder / 'never')!r}).read()\ndef f(): pass")
    ears = listen(pool)
    with pytest.raises(StartError):
        pool.start_workers(1)
    heard = ears.until("worker_restart_exhausted")
    assert "not ready in 300 ms" in next(e for e in heard if e.event_name == "worker_error").details["reason"]
    assert sum(event.event_name == "worker_exited" for event in heard) == 2


def test_who_waits_for_ready_workers_may_give_up(make_pool: Any, folder: Path) -> None:
    pool = make_pool(0)
    fifo = folder / "later"
    os.mkfifo(fifo)
    pool.define_worker_functions(f"open({str(fifo)!r}).read()\ndef f(): return 1")
    pool._begin_start(1, {})
    with pytest.raises(TimeoutError, match="not all ready after 20 ms"):
        pool.wait_until_ready(timeout_ms=20)
    fifo.write_text("")
    pool.wait_until_ready()
    assert pool.call.f().result() == 1


def test_threads_of_numeric_libraries_are_limited(make_pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "7")
    pool = make_pool(2, FUNCTIONS)
    environ = pool.call.around().result()[2]
    assert environ["OMP_NUM_THREADS"] == str(max(1, len(os.sched_getaffinity(0)) // 2))
    assert environ["OPENBLAS_NUM_THREADS"] == "7", "what the user has set counts"
    pool.stop_workers()
    pool.start_workers(1, threads_per_worker=3)
    environ = pool.call.around().result()[2]
    assert {environ[name] for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {"3"}


def test_workers_take_over_folder_path_and_environment_when_they_start_again(
    make_pool: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(2, FUNCTIONS)
    cwd, path, environ = pool.call.around().result()
    assert (cwd, path) == (os.getcwd(), sys.path)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend("/somewhere")
    monkeypatch.setenv("WPC_TEST_OF_A_TEST", "yes")
    assert pool.call.around().result()[0] == cwd, "not while they run"
    pool.restart_workers()
    pool.wait_until_ready()
    for future in pool.broadcast("around").values():
        cwd, path, environ = future.result()
        assert cwd == str(folder)
        assert path == sys.path
        assert path[0] == "/somewhere"
        assert environ["WPC_TEST_OF_A_TEST"] == "yes"


# -- a death --------------------------------------------------------------------------------------------


def test_the_events_of_a_crash_come_in_the_originals_order(make_pool: Any, listen: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    ears = listen(pool)
    with pytest.raises(WorkerCrashedError):
        pool.call.dies().result()
    heard = ears.until("worker_restart_completed")
    told = [
        f"health({e.details['to']})" if e.event_name == "worker_health_state_changed" else e.event_name
        for e in heard
    ]
    assert told == [
        "health(restarting)",
        "worker_exited",
        "worker_restart_scheduled",
        "worker_spawned",
        "worker_ready",
        "health(ready)",
        "worker_restart_completed",
    ]
    assert {event.worker_id for event in heard} == {1}
    assert heard[1].severity == "error"
    assert heard[1].details["exitcode"] == 3


def test_a_crash_says_how_the_worker_died(make_pool: Any) -> None:
    pool = make_pool(2, FUNCTIONS)
    with pytest.raises(
        WorkerCrashedError, match=r"dies #\d+ ended with worker 1, which exited with code 7"
    ) as caught:
        pool.call.dies.options(worker_id=1)(7).result()
    assert (caught.value.worker_id, caught.value.exitcode) == (1, 7)
    with pytest.raises(WorkerCrashedError, match="was killed by SIGSEGV") as caught:
        pool.call.crashes.options(worker_id=2)().result()
    assert caught.value.exitcode == -signal.SIGSEGV
    assert "Fatal Python error: Segmentation fault" in str(caught.value), "with what faulthandler wrote"
    pool.wait_until_ready()
    assert pool.call.double(1).result() == 2


def test_a_worker_that_is_killed_from_outside_costs_one_call(make_pool: Any, door: Any) -> None:
    pool = make_pool(2, FUNCTIONS)
    future = pool.call.held(door.path)
    visit = door.wait()
    others = [pool.call.double(n) for n in range(50)]
    os.kill(visit.pid, signal.SIGKILL)
    with pytest.raises(WorkerCrashedError, match="which was killed by SIGKILL"):
        future.result()
    assert [each.result() for each in others] == [2 * n for n in range(50)]
    pool.wait_until_ready()
    assert visit.pid not in pids(pool).values()
    assert states(pool) == ["ready", "ready"]


def test_an_idle_worker_that_is_killed_comes_back(make_pool: Any, listen: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    ears = listen(pool)
    os.kill(pids(pool)[1], signal.SIGKILL)
    ears.until("worker_restart_completed")
    assert pool.call.double(1).result() == 2
    assert pool.snapshot().workers[0].restarts == 1


def test_calls_that_were_sent_ahead_run_elsewhere_when_their_worker_dies(make_pool: Any, door: Any) -> None:
    source = "def turns(door): return held(door) if door else None\ndef times(n): return 2 * n if n else 0"
    pool = make_pool(1, source)
    learn(pool, "times", "turns")
    first = pool.call.turns(door.path)
    ahead = [pool.call.times(n) for n in range(30)]
    visit = door.wait()
    assert pool.snapshot().in_flight == 31, "they were sent behind it"
    os.kill(visit.pid, signal.SIGKILL)
    assert isinstance(first.exception(), WorkerCrashedError)
    assert [future.result() for future in ahead] == [2 * n for n in range(30)]


def test_an_answer_that_was_written_before_the_death_is_not_lost(make_pool: Any, listen: Any) -> None:
    pool = make_pool(
        1,
        """
def answers_then_dies():
    import os, threading
    threading.Timer(0.02, os._exit, [4]).start()
    return "answered"
""",
    )
    ears = listen(pool)
    future = pool.call.answers_then_dies()
    ears.until("worker_exited")  # nobody has read the answer yet, but for the pool itself
    assert future.result() == "answered"


def test_the_delay_doubles_up_to_its_cap_and_the_budget_ends_in_failed(make_pool: Any, listen: Any) -> None:
    pool = make_pool(1, FUNCTIONS, restart_base_delay_ms=2, restart_max_delay_ms=5, max_restarts_per_worker=3)
    ears = listen(pool)
    delays = []
    for _ in range(3):
        pool.call.dies().exception()
        delays.append(ears.until("worker_restart_scheduled")[-1].details["delay_ms"])
        ears.until("worker_restart_completed")
    assert delays == [2, 4, 5]
    pool.call.dies().exception()
    heard = ears.until("worker_health_state_changed", to="failed")
    assert "worker_restart_exhausted" in [event.event_name for event in heard]
    assert heard[-1].severity == "error"
    assert states(pool) == ["failed"]
    with pytest.raises(NoWorkerError, match="every one is stopped or failed"):
        pool.call.double(1)


def test_what_is_queued_when_the_last_worker_fails_is_told(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, FUNCTIONS, max_restarts_per_worker=0)
    held = pool.call.held(door.path)
    visit = door.wait()
    queued = [pool.call.double(1), pool.call.double.options(worker_id=1)(1)]
    os.kill(visit.pid, signal.SIGKILL)
    assert isinstance(held.exception(), WorkerCrashedError)
    assert [type(future.exception()) for future in queued] == [NoWorkerError] * 2


def test_calls_wait_while_their_worker_restarts(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS, restart_base_delay_ms=50)
    pool.call.dies().exception()
    assert states(pool) == ["restarting"]
    assert pool.call.double(4).result() == 8


def test_restart_worker_brings_a_failed_one_back_with_a_fresh_budget(make_pool: Any, listen: Any) -> None:
    pool = make_pool(1, FUNCTIONS, max_restarts_per_worker=1)
    for _ in range(2):
        pool.call.dies().exception()
    ears = listen(pool)
    assert states(pool) == ["failed"]
    pool.restart_worker(1)
    pool.wait_until_ready()
    assert states(pool) == ["ready"]
    assert pool.call.double(1).result() == 2
    assert pool.get_worker_health_states()[0].restart_attempt == 0
    pool.call.dies().exception()
    ears.until("worker_restart_completed", attempt=1)


def test_old_deaths_are_forgotten_after_a_stable_time(make_pool: Any, listen: Any, door: Any) -> None:
    pool = make_pool(1, FUNCTIONS, max_restarts_per_worker=1, restart_stable_after_ms=1)
    ears = listen(pool)
    for _ in range(4):
        pool.call.dies().exception()
        assert ears.until("worker_restart_scheduled")[-1].details["attempt"] == 1
        ears.until("worker_restart_completed")
        with pytest.raises(TimeoutError):  # the stable time passes
            pool.call.held(door.path).result(timeout=0.005)
        door.wait().let_go()


def test_without_restarts_a_dead_worker_stays_away(make_pool: Any) -> None:
    pool = make_pool(2, FUNCTIONS, restart_on_failure=False)
    pool.call.dies.options(worker_id=1)().exception()
    assert states(pool) == ["failed", "ready"]
    assert pool.call.double(1).result() == 2


def test_a_restart_by_force_ends_the_call_that_runs_and_costs_no_budget(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, FUNCTIONS, max_restarts_per_worker=0)
    before = pids(pool)
    future = pool.call.held(door.path)
    queued = pool.call.double(1)
    door.wait()
    pool.restart_worker(1, drain=False)
    with pytest.raises(WorkerReplacedError, match="it was asked to restart"):
        future.result()
    assert queued.result() == 2
    pool.wait_until_ready()
    assert pids(pool) != before


def test_a_restart_on_request_loses_no_call_and_does_not_wait_for_it(make_pool: Any, door: Any) -> None:
    pool = make_pool(2, FUNCTIONS)
    ears = Ears(pool)
    before = pids(pool)
    future = pool.call.held.options(worker_id=1)(door.path, "ended")
    visit = door.wait()
    queued = pool.call.pid.options(worker_id=1)()
    pool.restart_worker(1)
    pool.wait_until_ready()
    assert queued.result() == pids(pool)[1] != before[1], "what had not begun runs in the new process"
    assert pids(pool)[2] == before[2]
    assert os.path.exists(f"/proc/{before[1]}")
    visit.let_go()
    assert future.result() == "ended"
    ears.until("worker_exited", reason="it was asked to restart")


def test_all_workers_can_be_restarted_under_load_without_losing_a_queued_call(make_pool: Any) -> None:
    pool = make_pool(2, FUNCTIONS)
    futures = [pool.call.double(n) for n in range(2000)]
    pool.restart_workers()
    assert [future.result() for future in futures] == [2 * n for n in range(2000)]
    pool.wait_until_ready()
    assert pool.call.double(1).result() == 2


def test_a_restart_of_a_worker_that_does_not_exist_says_so(make_pool: Any) -> None:
    with pytest.raises(OptionError, match="no worker 9; there are 1"):
        make_pool(1).restart_worker(9)
    with pytest.raises(NotRunningError):
        make_pool(0).restart_worker(1)


def test_a_function_that_forks_and_leaves_a_child_behind_takes_it_along(make_pool: Any, door: Any) -> None:
    pool = make_pool(
        1,
        """
def forks(door):
    import os
    if os.fork() == 0:
        held(door)
        os._exit(0)
    return "parent"
""",
    )
    assert pool.call.forks(door.path).result() == "parent"
    child = door.wait()
    pool.restart_worker(1)
    child.wait_until_gone()
    pool.wait_until_ready()


# -- signs of life --------------------------------------------------------------------------------------


def test_a_worker_that_stands_still_is_degraded_and_ready_again_when_it_goes_on(
    make_pool: Any, listen: Any
) -> None:
    pool = make_pool(2, FUNCTIONS, heartbeat_interval_ms=20, unresponsive_after_ms=500)
    ears = listen(pool)
    stopped = pids(pool)[1]
    os.kill(stopped, signal.SIGSTOP)
    try:
        event = ears.until("worker_health_state_changed", to="degraded")[-1]
        pool.configure(unresponsive_after_ms=600_000)  # twice as long, and it would be replaced
        assert event.worker_id == 1
        assert {pool.call.pid().result() for _ in range(10)} == {pids(pool)[2]}, "it is given no calls"
        waits = pool.call.pid.options(worker_id=1)()
    finally:
        os.kill(stopped, signal.SIGCONT)
    ears.until("worker_health_state_changed", to="ready")
    assert waits.result() == stopped
    assert states(pool) == ["ready", "ready"]


def test_a_worker_that_stands_still_for_good_costs_no_call(make_pool: Any, listen: Any) -> None:
    pool = make_pool(2, FUNCTIONS, heartbeat_interval_ms=20, unresponsive_after_ms=300)
    ears = listen(pool)
    stopped = pids(pool)[1]
    waits = pool.call.pid.options(worker_id=1)
    os.kill(stopped, signal.SIGSTOP)
    sent, pinned = waits(), waits()
    assert ears.until("worker_unresponsive")[-1].details["runs"] is None
    assert sent.result() == pinned.result() != stopped
    assert states(pool) == ["ready", "ready"]
    assert pool.get_worker_health_states()[0].restart_attempt == 0, "the budget stays"


def test_a_worker_whose_call_holds_the_lock_of_the_interpreter_is_told_of_and_left_to_its_time_out(
    make_pool: Any, listen: Any
) -> None:
    options = {"heartbeat_interval_ms": 20, "unresponsive_after_ms": 100, "interrupt_grace_ms": 100}
    source = FUNCTIONS + "def holds(): import ctypes; ctypes.PyDLL(None).sleep(3600)\n"
    pool = make_pool(1, source, **options)
    ears = listen(pool)
    future = pool.call.holds.options(timeout_ms=800)()
    behind = pool.call.double(2)
    event = ears.until("worker_unresponsive")[-1]
    assert event.details["runs"] == f"holds #{future.call_id}"
    with pytest.raises(CallTimeoutError):
        future.result()
    assert behind.result() == 4


def test_a_busy_worker_still_gives_signs_of_life(
    make_pool: Any, door: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(1, FUNCTIONS, heartbeat_interval_ms=10)
    future = pool.call.held(door.path)
    door.wait()
    heard, supervisor = threading.Semaphore(0), pool._driver.core.supervisor
    hear = supervisor.heard
    monkeypatch.setattr(supervisor, "heard", lambda slot, now: (hear(slot, now), heard.release()))
    for _ in range(5):
        assert heard.acquire(timeout=PATIENCE_S)
    assert not future.done()
    assert states(pool) == ["ready"]


def test_workers_ignore_a_keyboard_interrupt(make_pool: Any, door: Any) -> None:
    pool = make_pool(2, FUNCTIONS)
    future = pool.call.held(door.path, "ended")
    visit = door.wait()
    before = pids(pool)
    for pid in before.values():
        os.kill(pid, signal.SIGINT)
    assert pool.call.double(1).result() == 2
    visit.let_go()
    assert future.result() == "ended"
    assert pids(pool) == before


# -- how many -------------------------------------------------------------------------------------------


def test_a_pool_grows_and_shrinks_without_losing_calls(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    futures = [pool.call.double(n) for n in range(500)]
    pool.resize(3)
    futures += [pool.call.double(n) for n in range(500, 1000)]
    pool.wait_until_ready()
    assert states(pool) == ["ready"] * 3
    pool.resize(1)
    futures += [pool.call.double(n) for n in range(1000, 1500)]
    assert [future.result() for future in futures] == [2 * n for n in range(1500)]
    pool.wait_until_ready()
    assert [state.worker_id for state in pool.get_worker_health_states()] == [1]


def test_a_worker_that_has_to_go_ends_its_call_first(make_pool: Any, door: Any, listen: Any) -> None:
    pool = make_pool(2, FUNCTIONS)
    ears = listen(pool)
    future = pool.call.held.options(worker_id=2)(door.path, "ended")
    visit = door.wait()
    waits = pool.call.pid.options(worker_id=2)()
    pool.resize(1)
    assert isinstance(waits.exception(), NoWorkerError)
    with pytest.raises(OptionError, match="no such worker"):
        pool.call.pid.options(worker_id=2)()
    visit.let_go()
    assert future.result() == "ended"
    ears.until("worker_exited")
    wait_until_dead(visit.pid)
    assert pool.worker_count == 1
    pool.resize(2)
    pool.wait_until_ready()
    assert sorted(pids(pool)) == [1, 2]


def test_a_pool_that_does_not_run_cannot_be_resized(make_pool: Any) -> None:
    with pytest.raises(NotRunningError):
        make_pool(0).resize(2)


# -- stop -----------------------------------------------------------------------------------------------


def test_stopping_an_idle_pool_ends_every_process(make_pool: Any, listen: Any) -> None:
    pool = make_pool(2, FUNCTIONS)
    ears = listen(pool)
    before = pids(pool)
    pool.stop_workers()
    for pid in before.values():
        assert not psutil.pid_exists(pid)
    assert states(pool) == ["stopped", "stopped"]
    heard = ears.until("worker_exited") + ears.until("worker_exited")
    exited = [event for event in heard if event.event_name == "worker_exited"]
    assert {event.details["exitcode"] for event in exited} == {0}, "by themselves"
    assert {event.severity for event in exited} == {"info"}
    changes = [e.details["to"] for e in heard if e.event_name == "worker_health_state_changed"]
    assert changes == ["stopped", "stopped"], "once each, and never ready again"
    pool.stop_workers()


def test_stopping_a_busy_pool_ends_the_work_softly_and_tells_every_call(
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
    assert sorted(path.name for path in folder.glob("clean-*")) == ["clean-0", "clean-1"], "softly"


def test_what_does_not_let_itself_be_stopped_is_ended_by_force(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, FUNCTIONS, stop_timeout_ms=300)
    future = pool.call.blocks_signals(door.path)
    visit = door.wait()
    stopping = threading.Thread(target=pool.stop_workers)
    stopping.start()
    stopping.join()
    assert not psutil.pid_exists(visit.pid)
    assert isinstance(future.exception(), PoolStoppedError)


def test_a_worker_that_stands_still_is_stopped_as_well(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS, stop_timeout_ms=200)
    pid = pids(pool)[1]
    os.kill(pid, signal.SIGSTOP)
    pool.stop_workers()
    assert not psutil.pid_exists(pid)


def test_who_waits_in_a_thread_or_a_loop_is_told_when_the_pool_stops(make_pool: Any, door: Any) -> None:
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


def test_stop_during_start_works_and_the_start_is_told(make_pool: Any, folder: Path) -> None:
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
    assert psutil.Process().children() == []


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


def test_a_drain_that_is_given_up_leaves_a_pool_that_takes_calls(make_pool: Any, door: Any) -> None:
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


# -- the ends of a program ------------------------------------------------------------------------------

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


def test_a_pool_that_was_never_started_leaves_nothing() -> None:
    pool = WorkerProcedureCall()
    pool.define_worker_function(worker_func="def f(): return 1")
    finder = pool._local._finder
    assert finder in sys.meta_path
    del pool
    gc.collect()
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
    assert os.waitstatus_to_exitcode(status) == 7, "in the fork the pool says that it is not there"
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


def test_a_call_that_nobody_waits_for_and_that_ends_its_worker_leaves_nothing(make_pool: Any) -> None:
    pool = make_pool(1, "def ends():\n    import os\n    os._exit(3)\ndef one(): return 1\n")
    ears = Ears(pool)
    for _ in range(3):
        assert pool.call.one().result() == 1  # who has waited for this is expected to wait for the next
        pool.call.ends()
        ears.until("worker_restart_completed")


# -- a fault of our own ---------------------------------------------------------------------------------


def test_if_the_pools_own_thread_fails_every_call_ends_and_no_process_is_left(
    make_pool: Any, door: Any, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(2, FUNCTIONS)
    calls = [pool.call.held(door.path) for _ in range(5)]
    visits = [door.wait() for _ in range(2)]
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(calls[0].exception), threads.submit(calls[4].exception)]

        def fails(now: float) -> None:
            raise ZeroDivisionError("no such luck")

        with pool._driver.deciding() as (core, now):
            core.state.timers.at(now, fails)
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
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    caplog.clear()
