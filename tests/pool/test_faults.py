"""A fault affects only the call in which it happens: the table of `faults`, cell by cell."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import leaks
from tests.pool import faults
from tests.pool.conftest import PATIENCE_S, states
from tests.pool.faults import (
    DIES,
    FAULTS,
    GOES_ON,
    HANGS,
    HERE,
    IMPORTING,
    IN_A_WORKER,
    INSTALLING,
    PICKLING_ANSWER,
    PICKLING_ARGUMENT,
    RAISES,
    RUNNING,
    STARTING,
    STOPPING,
    TABLE,
    AtPickling,
    AtUnpickling,
    Case,
    commit,
    commit_here,
)
from wpc_magic.pool.errors import (
    ArgumentsNotSerializableError,
    CallTimeoutError,
    InstallError,
    NoWorkerError,
    PoolStoppedError,
    RequirementMissingError,
    StartError,
    WorkerCrashedError,
)

ROOT = Path(__file__).parents[2]
TIMEOUT_MS = 150
START_METHOD = os.environ.get("FAULTS_START_METHOD", "spawn")  # "template": the whole table with it

SOURCE = """
import atexit, os
from tests.pool import faults
from tests.pool.faults import AtPickling, AtUnpickling, AtTheEnd, commit, commit_here, lock, stranger

def counted(log, n):
    "Note that it has run; return the square."
    with open(log, "a") as file:
        file.write(f"{n}\\n")
    return n * n

def runs(fault, begun=''): return commit(fault, begun)
def takes(value): return value
def gives_at_pickling(fault): return AtPickling(commit, fault)
def gives_at_unpickling(fault): return AtUnpickling(commit_here, fault)
def gives(what): return getattr(faults, what)()
def version(): return "old"
def pid(): return os.getpid()

def at_exit(fault):
    atexit.register(commit, fault)

def at_finalizing(fault):
    faults.left = AtTheEnd(commit, fault)

def cleans_up(door, fault):
    try:
        held(door)
    finally:
        commit(fault)

def forks_and_runs(fault):
    if os.fork() == 0:
        import signal
        while True:
            signal.pause()
    return commit(fault)
"""


def cases(
    *when: str, ends: str = "", faults: Collection[str] = FAULTS, forked: Collection[str] = ()
) -> pytest.MarkDecorator:
    """Parametrize over the cases of some phases.

    Those of the faults `forked` come a second time, with workers that are forked from a template, where
    there are such forks.
    """
    found = [
        case
        for case in TABLE
        if case.when in when and not case.left_out and case.fault in faults and ends in ("", case.ends)
    ]
    both = [pytest.param(case, START_METHOD, id=str(case)) for case in found]
    if START_METHOD != "template" and sys.platform == "linux":
        both += [
            pytest.param(case, "template", id=f"{case} - template") for case in found if case.fault in forked
        ]
    return pytest.mark.parametrize(("case", "start_method"), both)


class OtherCalls:
    """Calls made before and after a fault, the first at once: each is answered once, with its own value."""

    def __init__(self, pool: Any, folder: Path) -> None:
        self.pool = pool
        self.log = folder / "log"
        self.futures: list[Any] = []
        self.call(5)

    def call(self, count: int) -> None:
        for _ in range(count):
            self.futures.append(self.pool.call.counted(str(self.log), len(self.futures)))

    def check(self) -> None:
        """Check that all are answered, that the next call works, and that every worker works."""
        assert [future.result(PATIENCE_S) for future in self.futures] == [
            n * n for n in range(len(self.futures))
        ]
        assert Counter(self.log.read_text().split()) == Counter(str(n) for n in range(len(self.futures)))
        assert self.pool.call.takes("next").result(PATIENCE_S) == "next"
        self.pool.wait_until_ready(timeout_ms=60_000)
        assert states(self.pool) == ["ready"] * 2
        for future in self.pool.broadcast("takes", "every one").values():
            assert future.result(PATIENCE_S) == "every one"


def exits(pool: Any) -> int:
    return sum(event.event_name == "worker_exited" for event in pool.events())


def sessions(pool: Any) -> set[int]:
    """Return the pids of all workers that were ever started: each leads a session."""
    return {event.details["pid"] for event in pool.events() if event.event_name == "worker_spawned"}


def left_of(sessions: set[int]) -> list[str]:
    """Return the processes left in some sessions, after giving killed ones time to exit."""
    deadline = time.monotonic() + leaks.PATIENCE_S
    while (found := list(members(sessions))) and time.monotonic() < deadline:
        threading.Event().wait(leaks.POLL_S)
    return found


def members(sessions: set[int]) -> Iterator[str]:
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getsid(pid) in sessions:
                process = psutil.Process(pid)
                if process.status() != psutil.STATUS_ZOMBIE:  # its new parent reaps it
                    yield str(process)


def stop(pool: Any) -> None:
    pool.stop_workers()
    assert left_of(sessions(pool)) == []


class Sink:
    """Counts what functions print."""

    def __init__(self) -> None:
        self.size = 0

    def __call__(self, output: Any) -> None:
        self.size += len(output.text)


@pytest.fixture
def start_method() -> str:
    """How workers start, where the cases of a test do not say."""
    return START_METHOD


@pytest.fixture
def make(make_pool: Any, start_method: str) -> Any:
    """Makes a pool of two workers whose output is counted."""

    def make(**options: Any) -> Any:
        pool = make_pool(0, SOURCE, start_method=start_method, **options)
        pool.output_sink = Sink()
        pool.start_workers(2)
        if start_method == "template":
            assert not [e for e in pool.events() if e.event_name == "template_unavailable"]
        return pool

    return make


def test_each_field_of_the_table_is_tested_or_says_why_not() -> None:
    assert len(TABLE) == len(faults.FAULTS) * len(faults.WHEN) == len({(c.fault, c.when) for c in TABLE})
    assert {(c.fault, c.when) for c in TABLE if c.left_out} == set(faults.LEFT_OUT)
    assert set(faults.OTHERWISE).isdisjoint(faults.LEFT_OUT)


# -- in a call --------------------------------------------------------------------------------------------


def begin(pool: Any, case: Case) -> Any:
    """Make the call in which the fault happens in the worker."""
    limit = {"timeout_ms": TIMEOUT_MS} if case.ends == HANGS else {}
    call = {
        name: pool.call[name].options(**limit) for name in ("runs", "takes", "gives", "gives_at_pickling")
    }
    if case.fault == "cannot be pickled":
        return call["gives"]("lock")
    if case.fault == "cannot be unpickled":
        future = call["takes"](faults.stranger())
        del sys.modules["nowhere_else"]
        return future
    if case.when == RUNNING:
        return call["runs"](case.fault)
    if case.when == PICKLING_ANSWER:
        return call["gives_at_pickling"](case.fault)
    return call["takes"](AtUnpickling(commit, case.fault))


def check_outcome(case: Case, future: Any) -> None:
    if case.ends == GOES_ON:
        assert future.result(PATIENCE_S) == "went on"
        return
    error = future.exception(PATIENCE_S)
    assert faults.has_words(case, "\n".join([str(error), *getattr(error, "__notes__", ())]))
    if case.ends == RAISES:
        assert type(error).__name__ in case.errors
        assert getattr(error, "name", "MemoryError") in ("MemoryError", "nowhere_else")
        if case.when == PICKLING_ANSWER:
            assert "cannot be sent" in error.__notes__[0]
    else:
        assert type(error) is {DIES: WorkerCrashedError, HANGS: CallTimeoutError}[case.ends]


def is_interruptible(case: Case) -> bool:
    return case.fault == "loops" and case.when == RUNNING


@cases(*IN_A_WORKER)
def test_a_fault_in_a_worker_costs_its_own_call(make: Any, folder: Path, case: Case) -> None:
    pool = make(interrupt_grace_ms=10_000 if is_interruptible(case) else 50)
    if case.ends == HANGS:
        pool.configure(control_timeout_ms=TIMEOUT_MS)  # which also limits unpickling
    others = OtherCalls(pool, folder)
    future = begin(pool, case)
    others.call(10)
    check_outcome(case, future)
    others.check()
    assert exits(pool) == (case.ends == DIES or (case.ends == HANGS and not is_interruptible(case)))
    if case.ends == GOES_ON:
        assert pool.output_sink.size == faults.PRINTED
    stop(pool)


@cases(RUNNING, ends=HANGS, forked=["holds the GIL"])
def test_a_call_that_hangs_can_be_cancelled(make: Any, folder: Path, case: Case) -> None:
    pool = make(interrupt_grace_ms=10_000 if is_interruptible(case) else 50)
    others = OtherCalls(pool, folder)
    begun = folder / "begun"
    future = pool.call.runs(case.fault, str(begun))
    others.call(10)
    while not begun.exists():
        pass
    assert future.cancel()
    others.check()
    assert exits(pool) == (not is_interruptible(case))
    stop(pool)


@cases(RUNNING, ends=DIES, forked=["kills itself"])
def test_a_fork_of_a_worker_that_dies_ends_with_it(make: Any, folder: Path, case: Case) -> None:
    pool = make()
    others = OtherCalls(pool, folder)
    future = pool.call.forks_and_runs(case.fault)  # the fork holds every descriptor, the channels too
    others.call(10)
    check_outcome(case, future)
    others.check()
    stop(pool)


# -- in the parent process --------------------------------------------------------------------------------


def ask(pool: Any, case: Case) -> Any:
    """Make a call whose argument or answer causes the fault in this process, and return the answer."""
    if case.when == PICKLING_ARGUMENT:
        lock = case.fault == "cannot be pickled"
        return pool.call.takes(faults.lock() if lock else AtPickling(commit_here, case.fault)).result()
    if case.fault == "cannot be unpickled":
        return pool.call.gives("stranger").result()
    return pool.call.gives_at_unpickling(case.fault).result()


@cases(*HERE, ends=RAISES)  # loops have tests of their own below
def test_a_fault_in_the_process_that_asks_costs_the_call_that_asks(
    make: Any, folder: Path, case: Case
) -> None:
    pool = make()
    others = OtherCalls(pool, folder)
    with pytest.raises(BaseException) as caught:  # noqa: PT011  # its type is checked below
        ask(pool, case)
    others.call(10)
    error = caught.value
    assert faults.has_words(case, str(error))
    if case.when == PICKLING_ARGUMENT and case.fault != "exits":
        assert type(error) is ArgumentsNotSerializableError
    else:
        assert type(error).__name__ in case.errors
    others.check()
    assert exits(pool) == 0
    stop(pool)


@pytest.fixture
def loop() -> Any:
    """A loop in this process, which is ended after the test."""
    faults.INSIDE.clear()
    faults.OVER.clear()
    yield faults
    faults.OVER.set()


LOOPS = [c for c in TABLE if c.fault == "loops" and c.when in HERE]


@pytest.mark.parametrize("case", LOOPS, ids=str)
def test_a_loop_in_the_thread_that_asks_holds_up_no_other(
    make: Any, folder: Path, loop: Any, case: Case
) -> None:
    pool = make()
    others = OtherCalls(pool, folder)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(ask, pool, case)
        assert loop.INSIDE.wait(PATIENCE_S)
        others.call(10)
        others.check()
        loop.OVER.set()
        assert asked.result(PATIENCE_S) == "went on"
    others.check()
    stop(pool)


@pytest.mark.parametrize("case", LOOPS, ids=str)
def test_a_loop_in_the_main_thread_ends_by_an_interrupt(
    make: Any, folder: Path, loop: Any, case: Case
) -> None:
    pool = make()
    others = OtherCalls(pool, folder)

    def interrupt() -> None:
        assert loop.INSIDE.wait(PATIENCE_S)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    handler = signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a background process of a shell script ignores it
    try:
        with pytest.raises(KeyboardInterrupt):
            ask(pool, case)
    finally:
        signal.signal(signal.SIGINT, handler)
    thread.join()
    others.call(10)
    others.check()
    stop(pool)


# -- in a definition --------------------------------------------------------------------------------------


def define(pool: Any, case: Case, folder: Path) -> None:
    """Make the definition that causes the fault."""
    fault = f"from tests.pool.faults import commit\ncommit({case.fault!r})\n"
    if case.when == INSTALLING:
        pool.define_worker_functions(f"{fault}def version(): return 'new'")
    else:
        (folder / "at_fault.py").write_text(fault)
        pool.define_worker_dependency(alias="at_fault", module_specifier="at_fault")


def check_definitions(pool: Any, case: Case, what: str) -> None:
    """Check which definitions are active in each worker."""
    found = {future.result(PATIENCE_S) for future in pool.broadcast("version").values()}
    assert found == {what if case.when == INSTALLING else "old"}
    dependencies = [info.alias for info in pool.get_worker_dependencies()]
    assert dependencies == (["at_fault"] if case.when == IMPORTING and what == "new" else [])


@cases(INSTALLING, IMPORTING, forked=["raises", "ends its process", "loops", "fills its memory"])
def test_a_definition_at_fault_is_refused_and_the_old_one_stays(
    make: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    pool = make()
    others = OtherCalls(pool, folder)
    pool.broadcast("version")[1].result(PATIENCE_S)
    others.check()
    pool.configure(control_timeout_ms=TIMEOUT_MS if case.ends == HANGS else 60_000)
    if case.ends == GOES_ON:
        define(pool, case, folder)
        assert pool.output_sink.size == 2 * faults.PRINTED
    else:
        with pytest.raises(InstallError) as caught:
            define(pool, case, folder)
        text = str(caught.value)
        assert f"could not install {'version' if case.when == INSTALLING else 'at_fault'}" in text
        assert faults.has_words(case, text)
        if case.ends == RAISES:
            assert type(caught.value.__cause__).__name__ in case.errors
        else:
            expected = {
                DIES: "died while it installed it",
                HANGS: f"longer than control_timeout_ms={TIMEOUT_MS}",
            }
            assert expected[case.ends] in text
    others.call(10)
    others.check()
    check_definitions(pool, case, "new" if case.ends == GOES_ON else "old")
    stop(pool)


BAD = cases(INSTALLING, faults=["raises", "ends its process", "loops"], forked=["ends its process"])


@BAD
def test_a_worker_that_was_busy_meanwhile_gets_over_a_definition_that_was_refused(
    make: Any, door: Any, folder: Path, case: Case
) -> None:
    pool = make()
    others = OtherCalls(pool, folder)
    others.check()
    pool.configure(control_timeout_ms=TIMEOUT_MS if case.ends == HANGS else 60_000)
    busy = pool.call.held.options(worker_id=1)(door.path, "its value")
    visit = door.wait()
    with pytest.raises(InstallError, match="worker 2 could not install version"):
        define(pool, case, folder)
    visit.let_go()  # it installs the definition now, before it receives the abort
    assert busy.result(PATIENCE_S) == "its value"
    others.call(10)
    others.check()
    check_definitions(pool, case, "old")
    stop(pool)


@BAD
def test_a_definition_at_fault_that_no_worker_was_free_to_try_harms_only_its_own_calls(
    make: Any, door: Any, folder: Path, case: Case
) -> None:
    pool = make()
    if case.ends == HANGS:
        pool.configure(control_timeout_ms=TIMEOUT_MS, start_timeout_ms=5 * TIMEOUT_MS)
    busy = [pool.call.held.options(worker_id=n)(door.path, n) for n in (1, 2)]
    visits = [door.wait() for _ in busy]
    define(pool, case, folder)
    for visit in visits:
        visit.let_go()
    assert [future.result(PATIENCE_S) for future in busy] == [1, 2]
    assert pool.call.takes("next").result(PATIENCE_S) == "next"
    with pytest.raises(RequirementMissingError, match="no worker could install version"):
        pool.call.version()
    pool.wait_until_ready(timeout_ms=60_000)
    assert states(pool) == ["ready", "ready"]
    stop(pool)


# -- when a worker starts ---------------------------------------------------------------------------------


@cases(STARTING, forked=["exits", "ends its process", "crashes", "stops itself", "closes its descriptors"])
def test_a_worker_at_fault_as_it_starts_fails_and_comes_back_when_that_is_mended(
    make: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    (folder / "sitecustomize.py").write_text(
        f"from tests.pool.faults import commit\ncommit({case.fault!r})\n"
    )
    pool = make(max_restarts_per_worker=0)
    others = OtherCalls(pool, folder)
    with monkeypatch.context() as faulty:
        faulty.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(ROOT)]))
        if case.ends == HANGS:
            pool.configure(start_timeout_ms=TIMEOUT_MS)
        pool.restart_worker(1)
        others.call(10)
        if case.ends != GOES_ON:
            with pytest.raises(StartError, match="worker 1 goes on"):
                pool.wait_until_ready(timeout_ms=60_000)
        others.check()  # the old worker stays if the new one does not start
        pool.restart_worker(1, drain=False)
        others.call(10)
        pool.wait_until_ready(timeout_ms=60_000)
        assert states(pool) == ["ready" if case.ends == GOES_ON else "failed", "ready"]
        if case.ends != GOES_ON:
            check_failed_start(pool, case)
    pool.configure(start_timeout_ms=60_000)
    pool.restart_worker(1, drain=False)
    others.check()
    stop(pool)


def check_failed_start(pool: Any, case: Case) -> None:
    """Check that errors and events say why the worker has failed."""
    with pytest.raises(NoWorkerError):
        pool.call.takes.options(worker_id=1)("nothing").result(PATIENCE_S)
    events = [e for e in pool.events() if e.event_name in ("worker_error", "worker_exited")]
    words = f"not ready in {TIMEOUT_MS} ms" if case.ends == HANGS else case.words
    assert faults.has_words(case._replace(words=words), "\n".join(e.details["reason"] for e in events))


# -- when the workers stop --------------------------------------------------------------------------------


@cases(STOPPING, forked=["raises", "ends its process", "loops", "holds the GIL", "kills itself"])
def test_stopping_ends_whatever_a_worker_does_about_it(
    make: Any, door: Any, folder: Path, case: Case
) -> None:
    pool = make(stop_timeout_ms=400)
    others = OtherCalls(pool, folder)
    others.check()
    pool.resize(3)
    pool.wait_until_ready()
    pool.call.at_exit.options(worker_id=1)(case.fault).result(PATIENCE_S)
    pool.call.at_finalizing.options(worker_id=2)(case.fault).result(PATIENCE_S)
    future = pool.call.cleans_up.options(worker_id=3)(door.path, case.fault)
    door.wait()
    stop(pool)
    assert isinstance(future.exception(), PoolStoppedError)
    assert "on worker 3 when the pool was stopped" in str(future.exception())
    pool.start_workers(2)
    others.check()
    stop(pool)
