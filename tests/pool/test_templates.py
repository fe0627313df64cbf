"""Workers that are forked from a process which has imported what they need."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.pool.conftest import PATIENCE_S, children, pids, run, states, wait_until_dead
from tests.pool.faults import DIES, HANGS, RUNNING, TABLE
from tests.pool.test_faults import SOURCE, OtherCalls, Sink, begin, check_outcome, exits, stop
from wpc_magic.pool.engines.template import Template
from wpc_magic.pool.errors import InstallError, OptionError, StartError, WorkerCrashedError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such forks")

FUNCTIONS = """
import os

def who(): return os.getpid(), os.getppid(), os.getsid(0)

def dies():
    os._exit(3)
"""


@pytest.fixture
def make(make_pool: Any) -> Callable[..., Any]:
    """Makes pools whose workers come from a template."""

    def make(count: int = 1, source: str = FUNCTIONS, **options: Any) -> Any:
        return make_pool(count, source, start_method="template", **options)

    return make


@pytest.fixture
def write(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Writes local modules; each notes in a file of its name which processes import it."""
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("LOGS", str(folder))

    def write(name: str, text: str = "") -> Path:
        note = f"import os\nwith open({str(folder / name)!r}, 'a') as log: print(os.getpid(), file=log)\n"
        (folder / f"{name}.py").write_text(note + text)
        return folder / name

    return write


def importers(log: Path) -> list[int]:
    """Return the processes that have imported a module, in order."""
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def templates(pool: Any) -> list[int]:
    """Return the processes of this one that are no workers of the pool, and were none."""
    workers = {event.details["pid"] for event in pool.events() if event.event_name == "worker_spawned"}
    return [child.pid for child in children() if child.pid not in workers]


def told(pool: Any, name: str = "template_left_out") -> list[dict[str, Any]]:
    return [dict(event.details) for event in pool.events() if event.event_name == name]


def test_a_worker_of_a_template_is_a_child_of_the_program_and_leads_a_session(make: Any) -> None:
    pool = make(2)
    found = [future.result() for future in pool.broadcast("who").values()]
    assert sorted(pid for pid, _, _ in found) == sorted(pids(pool).values())
    assert {parent for _, parent, _ in found} == {os.getpid()}
    assert all(session == pid for pid, _, session in found)
    assert len(templates(pool)) == 1
    pool.stop_workers()
    assert children() == []


@pytest.mark.parametrize("how", ["dependency", "cell", "function"])
def test_what_workers_need_is_imported_once_by_the_template(make: Any, write: Any, how: str) -> None:
    log = write("needed", "def f(): return 6\n")
    pool = make(0)
    if how == "dependency":
        pool.define_worker_dependency(alias="needed", module_specifier="needed")
        pool.define_worker_functions("def uses(): return needed.f()")
    elif how == "cell":
        pool.define_worker_functions("import needed\ndef uses(): return needed.f()")
    else:
        import needed  # type: ignore[import-not-found]

        log.unlink()
        pool.define_worker_function(name="uses", worker_func=needed.f)
        del sys.modules["needed"]
    pool.start_workers(2)
    assert pool.call.uses.options(worker_id=2)().result() == 6
    with pytest.raises(WorkerCrashedError):
        pool.call.dies.options(worker_id=2)().result()
    assert pool.call.uses.options(worker_id=2)().result() == 6
    assert importers(log) == templates(pool)
    assert told(pool) == []


def test_what_is_defined_later_is_in_the_template_before_the_next_worker(make: Any, write: Any) -> None:
    log = write("later")
    pool = make(1)
    (template,), first = templates(pool), pids(pool)[1]
    pool.define_worker_dependency(alias="later", module_specifier="later")
    with pytest.raises(WorkerCrashedError):
        pool.call.dies().result()
    pool.call.who().result()
    assert sorted(importers(log)) == sorted([first, template])


def test_a_module_that_was_edited_is_imported_anew_by_another_template(make: Any, write: Any) -> None:
    log = write("edited", "VALUE = 1\n")
    pool = make(0)
    pool.define_worker_functions("import edited\ndef value(): return edited.VALUE")
    pool.start_workers(1)
    (old,) = templates(pool)
    assert pool.call.value().result() == 1
    write("edited", "VALUE = 2 + 0\n")
    with pytest.raises(WorkerCrashedError):
        pool.call.dies().result()
    assert pool.call.value().result() == 2
    (new,) = templates(pool)
    assert importers(log) == [old, new]
    assert not psutil.pid_exists(old)


def test_a_restart_of_the_workers_makes_another_template(make: Any) -> None:
    pool = make(2)
    old = templates(pool)
    pool.restart_workers()
    pool.wait_until_ready(timeout_ms=60_000)
    assert len(templates(pool)) == 1
    assert templates(pool) != old


LEFT_TO_WORKERS = {
    "starts a thread": (
        "import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()",
        "it has started 1 thread",
    ),
    "opens a socket": ("import socket\nopened = socket.socketpair()", "it has opened socket:"),
    "ends the template": (
        "import os, sys\nif not hasattr(sys.stdin, '_refuse'): os._exit(9)",
        "its import has ended the process: exit code 9",
    ),
    "fails in the template": (
        "import sys\nsys.stdin._refuse",
        "it cannot be imported here: AttributeError",
    ),
}


@pytest.mark.parametrize("what", LEFT_TO_WORKERS)
def test_a_module_that_no_fork_can_share_is_left_to_the_workers(make: Any, write: Any, what: str) -> None:
    text, why = LEFT_TO_WORKERS[what]
    good, bad = write("good"), write("bad", text)
    pool = make(0)
    for name in ("good", "bad"):
        pool.define_worker_dependency(alias=name, module_specifier=name)
    pool.define_worker_functions("def uses(): return bad.__name__, good.__name__")
    pool.start_workers(2)
    assert {future.result() for future in pool.broadcast("uses").values()} == {("bad", "good")}
    (left_out,) = told(pool)
    assert left_out["module"] == "bad"
    assert left_out["reason"].startswith(why)
    assert set(pids(pool).values()) < set(importers(bad)), "the template has tried, and each worker"
    assert importers(good)[-1:] == templates(pool), "the next template has imported the rest"


def test_an_import_has_a_time_limit(write: Any) -> None:
    good, _ = write("good"), write("hangs", "import time\ntime.sleep(1000)")
    template = Template.start(os.environ, os.getcwd(), sys.path)
    try:
        assert template.import_module("good", PATIENCE_S) == ("", False)
        assert importers(good) == [template.pid]
        assert template.import_module("hangs", 0.1) == ("its import has not ended after 0.1 s", True)
    finally:
        template.close()


def test_a_module_that_is_known_to_fail_in_a_fork_is_not_even_tried(make: Any, write: Any) -> None:
    log = write("grpc")
    write("uses_it", "import grpc\n")
    pool = make(0)
    for name in ("grpc", "uses_it"):
        pool.define_worker_dependency(alias=name, module_specifier=name)
    pool.start_workers(1)
    assert told(pool) == [
        {"module": name, "reason": "grpc is not safe in a fork"} for name in ("grpc", "uses_it")
    ]
    assert pids(pool)[1] in importers(log)
    assert templates(pool)[0] not in importers(log)


def test_a_module_that_no_worker_can_import_is_the_error_that_it_always_was(make: Any, write: Any) -> None:
    write("wrong", "raise ValueError('not today')\n")
    pool = make(1)
    with pytest.raises(InstallError, match="not today"):
        pool.define_worker_dependency(alias="wrong", module_specifier="wrong")
    pool.call.who().result()


def test_a_setup_runs_before_what_is_imported_after_it(make: Any, write: Any) -> None:
    first, second = write("first"), write("second", "import os\nVALUE = os.environ['SET_UP']\n")
    pool = make(0)
    pool.define_worker_setup("import first\nimport os\nos.environ['SET_UP'] = 'by the setup'")
    pool.define_worker_functions("import second\ndef value(): return second.VALUE")
    pool.start_workers(1)
    assert pool.call.value().result() == "by the setup"
    assert importers(first) == templates(pool)
    assert importers(second) == [pids(pool)[1]]


def test_the_random_numbers_of_workers_differ(make: Any) -> None:
    source = "import random\nimport numpy as np\ndef draw(): return random.random(), np.random.random()"
    pool = make(3, source)
    drawn = [number for future in pool.broadcast("draw").values() for number in future.result()]
    assert len(set(drawn)) == 6


def test_what_an_import_prints_is_shown_once(make: Any, write: Any) -> None:
    write("talks", "import sys\nprint('hello')\nprint('careful', file=sys.stderr)\n")
    pool = make(0)
    texts: list[str] = []
    pool.output_sink = lambda output: texts.append(output.text)
    pool.define_worker_dependency(alias="talks", module_specifier="talks")
    pool.start_workers(2)
    pool.stop_workers()
    assert sorted("".join(texts).split()) == ["careful", "hello"]


def test_workers_go_on_without_their_template_and_the_next_one_gets_another(make: Any) -> None:
    pool = make(2)
    before = pids(pool)
    (template,) = templates(pool)
    os.kill(template, signal.SIGKILL)
    assert pool.call.who.options(worker_id=1)().result()[0] == before[1]
    with pytest.raises(WorkerCrashedError):
        pool.call.dies.options(worker_id=2)().result()
    assert pool.call.who.options(worker_id=2)().result()[0] != before[2]
    assert pids(pool)[1] == before[1]
    assert templates(pool) != [template]
    assert told(pool, "template_unavailable") == []


def test_nothing_is_left_of_a_program_that_is_killed() -> None:
    program = """
import os, signal
from wpc_magic.pool import WorkerProcedureCall
pool = WorkerProcedureCall(start_method="template")
pool.define_worker_functions("import json\\ndef f(): pass")
pool.start_workers(2)
import psutil
print(*[child.pid for child in psutil.Process().children()], flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    left = [int(word) for word in run(program).stdout.split()]
    assert len(left) == 3
    for pid in left:
        wait_until_dead(pid)


def test_a_stop_does_not_wait_for_an_import(make: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    os.mkfifo(folder / "begun")
    (folder / "never.py").write_text(
        f"open({str(folder / 'begun')!r}, 'w').close()\nimport time\ntime.sleep(1000)"
    )
    pool = make(0)
    pool.define_worker_dependency(alias="never", module_specifier="never")
    pool.start_workers(1, wait=False)
    open(folder / "begun").close()
    pool.stop_workers()
    assert children() == []


def test_a_program_whose_python_is_a_script_starts_workers_as_without_it(
    make: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = folder / "python"
    script.write_text(f'#!/bin/sh\n{sys.executable} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    pool = make(2)
    assert states(pool) == ["ready", "ready"]
    (why,) = told(pool, "template_unavailable")
    assert "by a script" in why["reason"]


def test_a_template_that_cannot_start_is_told_and_workers_say_why_they_cannot(
    make: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "sitecustomize.py").write_text("import os\nos._exit(5)")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    pool = make(0, max_restarts_per_worker=0)
    with pytest.raises(StartError, match="exited with code 5"):
        pool.start_workers(1)
    assert len(told(pool, "template_unavailable")) == 1


def test_the_method_may_change_while_the_workers_run(make: Any) -> None:
    pool = make(2)
    for method in ("spawn", "template"):
        pool.configure(start_method=method)
        pool.restart_workers()
        pool.wait_until_ready(timeout_ms=60_000)
        assert {future.result()[1] for future in pool.broadcast("who").values()} == {os.getpid()}
    with pytest.raises(OptionError, match="start_method takes 'spawn' or 'template'"):
        pool.configure(start_method="fork")


FAULTS = [case for case in TABLE if case.when == RUNNING and case.ends in (DIES, HANGS)]


@pytest.mark.parametrize("case", FAULTS, ids=str)
def test_a_fault_in_a_worker_of_a_template_costs_its_own_call(make: Any, folder: Path, case: Any) -> None:
    pool = make(0, SOURCE, interrupt_grace_ms=50)
    pool.output_sink = Sink()
    pool.start_workers(2)
    others = OtherCalls(pool, folder)
    future = begin(pool, case)
    others.call(10)
    check_outcome(case, future)
    others.check()
    assert exits(pool) == 1 or case.fault == "loops"
    stop(pool)
