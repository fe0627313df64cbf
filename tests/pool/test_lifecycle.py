"""Workers start, die, restart, and change in number; their calls are notified."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.pool.conftest import PATIENCE_S, EventListener, learn, pids, states, wait_until_dead
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import (
    CallTimeoutError,
    NotRunningError,
    NoWorkerError,
    OptionError,
    PoolStateError,
    RequirementMissingError,
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
"""


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
    pool.start_workers(2, wait=False)
    futures = [pool.call.double(n) for n in range(20)]
    assert [future.result() for future in futures] == [2 * n for n in range(20)]
    pool.wait_until_ready()


def test_a_start_that_is_not_waited_for_is_told_by_the_wait_when_it_fails(
    make_pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(0, FUNCTIONS, max_restarts_per_worker=1)
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    pool.start_workers(1, wait=False)
    future = pool.call.double(1)
    with pytest.raises(StartError, match=r"no worker could be started; the last one .*nonexistent"):
        pool.wait_until_ready()
    with pytest.raises(NoWorkerError):
        future.result()


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
    listener = listen(pool)
    with pytest.raises(StartError, match="the last one was not ready in 300 ms"):
        pool.start_workers(1)
    heard = listener.until("worker_restart_exhausted")
    assert "not ready in 300 ms" in next(e for e in heard if e.event_name == "worker_error").details["reason"]
    assert sum(event.event_name == "worker_exited" for event in heard) == 2


def test_workers_that_load_something_large_may_take_longer_than_their_option(make_pool: Any) -> None:
    pool = make_pool(0, start_timeout_ms=1500, max_restarts_per_worker=0)
    pool.define_worker_functions(
        "import time\nend = time.process_time() + 1.6\nwhile time.process_time() < end: pass\n"
        "def big(): return 'loaded'"
    )
    pool.start_workers(1)
    assert pool.call.big().result() == "loaded"
    slow = [each for each in pool.events() if each.event_name == "worker_installs_slowly"]
    assert [each.details["definition"] for each in slow] == ["big"]


def test_what_took_too_long_is_named_with_its_option_and_tried_again_when_that_changes(
    make_pool: Any, folder: Path
) -> None:
    pool = make_pool(0, start_timeout_ms=500, max_restarts_per_worker=9)
    fifo = folder / "later"
    os.mkfifo(fifo)
    pool.define_worker_functions(f"open({str(fifo)!r}).read()\ndef big(): return 'loaded'")
    pool.start_workers(1)
    assert {each.name: bool(each.broken) for each in pool.get_remote_functions()} == {
        "big": True,
        "held": False,
    }
    with pytest.raises(
        RequirementMissingError, match="install big: it took longer than start_timeout_ms=500"
    ):
        pool.call.big()
    fifo.unlink()
    fifo.touch()
    pool.configure(start_timeout_ms=60_000)
    assert pool.call.big().result() == "loaded"
    assert not any(each.broken for each in pool.get_remote_functions())


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


# -- crashes and restarts -------------------------------------------------------------------------------


def test_the_events_of_a_crash_come_in_the_originals_order(make_pool: Any, listen: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    listener = listen(pool)
    with pytest.raises(WorkerCrashedError):
        pool.call.dies().result()
    heard = listener.until("worker_restart_completed")
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
    listener = listen(pool)
    os.kill(pids(pool)[1], signal.SIGKILL)
    listener.until("worker_restart_completed")
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
    threading.Timer(1.0, os._exit, [4]).start()  # it has written its answer long before
    return "answered"
""",
    )
    listener = listen(pool)
    future = pool.call.answers_then_dies()
    listener.until("worker_exited")  # no thread has asked for the answer yet; the pool has read it
    assert future.result() == "answered"


def die_idle(pool: Any, listener: EventListener) -> int:
    """Let a worker die while it runs nothing; return the delay before the next process."""
    os.kill(pids(pool)[1], signal.SIGKILL)
    delay: int = listener.until("worker_restart_scheduled")[-1].details["delay_ms"]
    return delay


def test_the_delay_doubles_up_to_its_cap_and_the_budget_ends_in_failed(make_pool: Any, listen: Any) -> None:
    pool = make_pool(1, FUNCTIONS, restart_base_delay_ms=2, restart_max_delay_ms=5, max_restarts_per_worker=3)
    listener = listen(pool)
    delays = []
    for _ in range(3):
        delays.append(die_idle(pool, listener))
        listener.until("worker_restart_completed")
    assert delays == [2, 4, 5]
    os.kill(pids(pool)[1], signal.SIGKILL)
    heard = listener.until("worker_health_state_changed", to="failed")
    assert "worker_restart_exhausted" in [event.event_name for event in heard]
    assert heard[-1].severity == "error"
    assert states(pool) == ["failed"]
    with pytest.raises(NoWorkerError, match=r"every one is stopped or failed; .* as %wpc_restart does"):
        pool.call.double(1)
    with pytest.raises(
        PoolStateError, match=r"running already, but every one has failed; restart_workers\(\)"
    ):
        pool.start_workers(1)


def test_calls_that_kill_their_workers_cost_only_themselves(make_pool: Any) -> None:
    pool = make_pool(2, FUNCTIONS + "def some(n): return n if n % 6 != 5 else crashes()")
    futures = [pool.call.some(n) for n in range(60)]
    ends = [future.exception() or future.result() for future in futures]
    assert [end for end in ends if isinstance(end, int)] == [n for n in range(60) if n % 6 != 5]
    assert sum(isinstance(end, WorkerCrashedError) for end in ends) == 10
    pool.wait_until_ready()
    assert states(pool) == ["ready", "ready"]


def test_the_first_process_after_a_crash_starts_at_once(make_pool: Any, listen: Any) -> None:
    pool = make_pool(1, FUNCTIONS, restart_base_delay_ms=2, max_restarts_per_worker=0)
    listener = listen(pool)
    delays = []
    for call in (pool.call.dies, pool.call.dies, pool.call.pid, pool.call.dies):
        if call().exception() is not None:
            delays.append(listener.until("worker_restart_scheduled")[-1].details["delay_ms"])
    assert delays == [0, 2, 0]


def test_what_is_queued_when_the_last_worker_fails_is_told(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, FUNCTIONS, restart_on_failure=False)
    held = pool.call.held(door.path)
    visit = door.wait()
    queued = [pool.call.double(1), pool.call.double.options(worker_id=1)(1)]
    os.kill(visit.pid, signal.SIGKILL)
    assert isinstance(held.exception(), WorkerCrashedError)
    assert [type(future.exception()) for future in queued] == [NoWorkerError] * 2


def test_calls_wait_while_their_worker_restarts(make_pool: Any, listen: Any) -> None:
    pool = make_pool(1, FUNCTIONS, restart_base_delay_ms=1000)
    die_idle(pool, listen(pool))
    assert states(pool) == ["restarting"]
    assert pool.call.double(4).result() == 8


def test_restart_worker_brings_a_failed_one_back_with_a_fresh_budget(make_pool: Any, listen: Any) -> None:
    pool = make_pool(1, FUNCTIONS, max_restarts_per_worker=1)
    listener = listen(pool)
    die_idle(pool, listener)
    listener.until("worker_restart_completed")
    os.kill(pids(pool)[1], signal.SIGKILL)
    listener.until("worker_restart_exhausted")
    assert states(pool) == ["failed"]
    pool.restart_worker(1)
    pool.wait_until_ready()
    assert states(pool) == ["ready"]
    assert pool.call.double(1).result() == 2
    assert pool.get_worker_health_states()[0].restart_attempt == 0
    pool.call.dies().exception()
    listener.until("worker_restart_completed", attempt=1)


def test_old_deaths_are_forgotten_after_a_stable_time(make_pool: Any, listen: Any, door: Any) -> None:
    pool = make_pool(1, FUNCTIONS, max_restarts_per_worker=1, restart_stable_after_ms=1)
    listener = listen(pool)
    for _ in range(4):
        os.kill(pids(pool)[1], signal.SIGKILL)
        assert listener.until("worker_restart_scheduled")[-1].details["attempt"] == 1
        listener.until("worker_restart_completed")
        with pytest.raises(TimeoutError):  # wait for the stable time
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
    listener = EventListener(pool)
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
    listener.until("worker_exited", reason="it was asked to restart")


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


# -- heartbeats -----------------------------------------------------------------------------------------


def test_a_worker_that_stands_still_is_degraded_and_ready_again_when_it_goes_on(
    make_pool: Any, listen: Any
) -> None:
    pool = make_pool(2, FUNCTIONS, heartbeat_interval_ms=20, unresponsive_after_ms=1500)
    listener = listen(pool)
    stopped = pids(pool)[1]
    os.kill(stopped, signal.SIGSTOP)
    try:
        event = listener.until("worker_health_state_changed", to="degraded")[-1]
        pool.configure(unresponsive_after_ms=600_000)  # after twice that time it would be replaced
        assert event.worker_id == 1
        assert {pool.call.pid().result() for _ in range(10)} == {pids(pool)[2]}, "it is given no calls"
        waits = pool.call.pid.options(worker_id=1)()
    finally:
        os.kill(stopped, signal.SIGCONT)
    listener.until("worker_health_state_changed", to="ready")
    assert waits.result() == stopped
    assert states(pool) == ["ready", "ready"]


def test_a_worker_that_stands_still_for_good_costs_no_call(make_pool: Any, listen: Any) -> None:
    pool = make_pool(2, FUNCTIONS, heartbeat_interval_ms=20, unresponsive_after_ms=1000)
    listener = listen(pool)
    stopped = pids(pool)[1]
    waits = pool.call.pid.options(worker_id=1)
    os.kill(stopped, signal.SIGSTOP)
    sent, pinned = waits(), waits()
    assert listener.until("worker_unresponsive")[-1].details["runs"] is None
    assert sent.result() == pinned.result() != stopped
    assert states(pool) == ["ready", "ready"]
    assert pool.get_worker_health_states()[0].restart_attempt == 0, "the budget stays"


def test_a_worker_whose_call_holds_the_lock_of_the_interpreter_is_told_of_and_left_to_its_time_out(
    make_pool: Any, listen: Any
) -> None:
    options = {"heartbeat_interval_ms": 20, "unresponsive_after_ms": 400, "interrupt_grace_ms": 100}
    source = FUNCTIONS + "def holds(): import ctypes; ctypes.PyDLL(None).sleep(3600)\n"
    pool = make_pool(1, source, **options)
    listener = listen(pool)
    future = pool.call.holds.options(timeout_ms=2500)()
    behind = pool.call.double(2)
    event = listener.until("worker_unresponsive")[-1]
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
    hear = supervisor.pong_received
    monkeypatch.setattr(supervisor, "pong_received", lambda slot, now: (hear(slot, now), heard.release()))
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


# -- resizing -------------------------------------------------------------------------------------------


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
    listener = listen(pool)
    future = pool.call.held.options(worker_id=2)(door.path, "ended")
    visit = door.wait()
    waits = pool.call.pid.options(worker_id=2)()
    pool.resize(1)
    assert isinstance(waits.exception(), NoWorkerError)
    with pytest.raises(OptionError, match="no such worker"):
        pool.call.pid.options(worker_id=2)()
    visit.let_go()
    assert future.result() == "ended"
    listener.until("worker_exited")
    wait_until_dead(visit.pid)
    assert pool.worker_count == 1
    pool.resize(2)
    pool.wait_until_ready()
    assert sorted(pids(pool)) == [1, 2]


def test_a_pool_that_does_not_run_cannot_be_resized(make_pool: Any) -> None:
    with pytest.raises(NotRunningError):
        make_pool(0).resize(2)


def test_a_start_in_a_folder_that_is_gone_says_so_and_a_later_one_works(
    make_pool: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(0)
    (tmp_path / "gone").mkdir()
    with monkeypatch.context() as inside:
        inside.chdir(tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        with pytest.raises(StartError, match="the working directory is gone"):
            pool.start_workers(1)
        assert not pool.is_running
    pool.start_workers(1)
