"""The magics over real workers, in a shell without a kernel."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from tests.magics.conftest import Loaded, without_colours
from wpc_magic.magics import extension
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import CallTimeoutError, WorkerCrashedError


class Real(Loaded):
    """A shell with the extension in it, over a pool with workers."""

    def __init__(self, shell: InteractiveShell) -> None:
        super().__init__(shell, [])

    @property
    def pool(self) -> Any:
        pool = self.shell.user_ns["wpc"]
        assert isinstance(pool, WorkerProcedureCall)
        return pool


@pytest.fixture
def real(shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Real]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    shell.run_line_magic("load_ext", "wpc_magic")
    yield Real(shell)
    extension.unload(shell)


@pytest.fixture
def started(real: Real) -> Real:
    assert real.run("%wpc_start -n 2").startswith("2 workers ready in ")
    return real


SIMULATE = '''%%wpc_function
def simulate(n):
    """Mean of n numbers."""
    return math.fsum(range(n)) / n + SEED
'''


def test_a_session_from_the_first_definition_to_the_stop(real: Real) -> None:
    assert real.run("%wpc_dep math") == "math = math registered\n"
    assert real.run("%wpc_const SEED = 40 + 2") == "SEED (int) registered\n"
    assert real.run(SIMULATE).startswith("simulate(n) registered · needs SEED, math · ")
    assert real.magic("wpc_call simulate(3)") == 43
    count = real.pool.worker_count
    assert real.magic("wpc_map simulate([1, 3, 5])") == [42, 43, 44]
    assert real.run("%wpc_const SEED 0").endswith(f" on {count} workers\n")
    assert real.magic("wpc_call simulate(3)") == 1
    assert f"simulate(n) registered again (revision 2) on {count} workers" in real.run(SIMULATE)
    assert real.run("%wpc_stop") == f"{count} workers stopped\n"
    assert [row[0] for row in real.magic("wpc_functions").rows] == ["simulate(n)"]


@pytest.mark.parametrize(
    ("before", "body", "says"),
    [
        ("", "np.zeros(n)", "f uses 'np' (line 2), which the workers don't have. Type: %wpc_dep numpy as np"),
        ("base = 3", "n + base", "Type: %wpc_const base"),
        ("import json as j", "j.dumps(n)", "Type: %wpc_dep json as j"),
        ("from math import sqrt as root", "root(n)", "Type: %wpc_dep from math import sqrt as root"),
        ("def clean(n): return n", "clean(n)", "Type: wpc.function(clean)"),
        ("", "wpc.call.g(n)", "Registered functions call each other by name"),
        ("", "lenn(n)", "Did you mean 'len'?"),
    ],
)
def test_an_unknown_name_is_told_with_the_line_that_mends_it(
    real: Real, before: str, body: str, says: str
) -> None:
    real.run(before)
    said = real.run(f"%%wpc_function\ndef f(n):\n    return {body}\n")
    assert said.startswith("UsageError: f uses ")
    assert says in said
    assert said.count("\n") == 1
    assert real.magic("wpc_functions").rows == []


def test_the_line_that_is_told_does_mend_it(real: Real) -> None:
    real.run("base = 3\nimport json as j")
    cell = "%%wpc_function\ndef f(n):\n    return j.dumps(n + base)\n"
    lines = [part.partition("Type: ")[2] for part in real.run(cell).splitlines()]
    assert sorted(lines) == ["%wpc_const base", "%wpc_dep json as j"]
    for line in lines:
        real.run(line)
    assert real.run(cell).startswith("f(n) registered")
    assert real.magic("wpc_call f(1)") == "4"


def test_a_cell_that_does_not_parse_is_told_with_its_line(real: Real) -> None:
    assert real.run("%%wpc_function\ndef f(n):\n    return (n\n") == (
        "UsageError: line 2: '(' was never closed\n    return (n\n"
    )


def test_a_refused_definition_leaves_the_one_before_it(started: Real) -> None:
    started.run("%%wpc_function\ndef f():\n    return 'old'\n")
    said = started.run("%%wpc_function\n1 / 0\ndef f():\n    return 'new'\n")
    assert "could not install f: ZeroDivisionError: division by zero" in said
    assert "1 / 0" in said
    assert started.magic("wpc_call f()") == "old"


def test_a_module_or_a_name_in_it_that_is_not_there_is_told(started: Real) -> None:
    assert started.run("%wpc_dep psutill") == (
        "UsageError: there is no module 'psutill' here. Did you mean 'psutil'?\n"
    )
    said = started.run("%wpc_dep from math import sqroot")
    assert "module 'math' has no attribute 'sqroot'" in said
    assert said.count("\n") == 1
    assert started.magic("wpc_dep").rows == []


def test_every_way_to_write_a_dependency_works(started: Real, tmp_path: Path) -> None:
    (tmp_path / "wpc_beside.py").write_text("def where(): return 'beside'\n")
    for line in ("j json", "os.path as p", "from math import sqrt as root", "textwrap, string as s"):
        assert "registered on 2 workers" in started.run(f"%wpc_dep {line}")
    started.run("%wpc_dep wpc_beside")
    started.run(
        "%%wpc_function\ndef f():\n"
        "    paths = p.basename('a/b'), wpc_beside.where()\n"
        "    return paths, j.dumps(1), root(4), textwrap.dedent(' x'), s.digits\n"
    )
    assert started.magic("wpc_call f()") == (("b", "beside"), "1", 2.0, "x", "0123456789")
    assert [row[1] for row in started.magic("wpc_dep").rows] == [
        *("json", "os.path", "math.sqrt", "string", "textwrap", "wpc_beside"),
    ]


def test_a_changed_module_is_read_again_where_it_is_asked_for(started: Real, tmp_path: Path) -> None:
    module = tmp_path / "wpc_changing.py"
    module.write_text("VALUE = 1\n")
    started.run("%wpc_dep wpc_changing")
    started.run("%%wpc_function\ndef f():\n    return wpc_changing.VALUE\n")
    assert started.magic("wpc_call f()") == 1
    module.write_text("VALUE = 22\n")
    assert started.magic("wpc_call f()") == 1
    assert started.run("%wpc_dep wpc_changing --reload") == (
        "wpc_changing = wpc_changing reloaded on 2 workers\n"
    )
    assert started.magic("wpc_call f()") == 22


def test_constants_of_the_notebook_reach_the_workers_and_stay_as_they_were(started: Real) -> None:
    started.run("limits = {'low': 1}\n%wpc_const limits\nlimits['low'] = 2")
    started.run("%%wpc_function\ndef low():\n    return limits['low']\n")
    assert started.magic("wpc_call low()") == 1
    assert started.run("%wpc_const lock = __import__('_thread').allocate_lock()").startswith(
        "UsageError: the value of lock (lock) cannot be sent to workers"
    )


def test_what_is_looked_up_by_name_may_come_later_and_is_said(started: Real) -> None:
    said = started.run("%%wpc_function\ndef f():\n    return wpc_import('later').digits\n")
    assert "needs later · calls are refused until later is registered" in said
    assert started.run("%wpc_call f()").startswith("UsageError: f needs 'later'")
    started.run("%wpc_dep string as later")
    assert started.magic("wpc_call f()") == "0123456789"


def test_the_classes_of_a_cell_are_the_same_ones_here(started: Real) -> None:
    started.run(
        "%%wpc_function --here\nclass TooBig(ValueError):\n    pass\n\n"
        "def f(n):\n    raise TooBig('too big', n)\n"
    )
    said = started.run("try:\n    %wpc_call f(7)\nexcept TooBig as error:\n    print('caught', error.args)")
    assert said == "caught ('too big', 7)\n"


def test_a_traceback_shows_the_failing_line_of_the_cell_and_no_frame_of_ours(started: Real) -> None:
    started.run("%%wpc_function\ndef f(n):\n    half = n / 2\n    return half / 0\n")
    for line in ("%wpc_call f(1)", "%wpc_map f([1])", "wpc.call.f(1).result()", "await wpc.call.f(1)"):
        shown = started.run(line)
        assert "3     return half / 0" in shown, line
        assert "ZeroDivisionError: " in shown
        assert "session.py" not in shown
        assert "magics.py" not in shown


def test_a_traceback_of_an_argument_shows_the_argument(started: Real) -> None:
    started.run("%%wpc_function\ndef f(n):\n    return n\n")
    assert "f(nowhere)" in started.run("%wpc_call f(nowhere)").partition("<arguments>")[2]
    assert "1 / 0" in started.run("%wpc_const X = 1 / 0").partition("<X>")[2]


def test_an_error_of_the_pool_in_a_cell_is_shown_without_the_pools_own_frames(real: Real) -> None:
    shown = real.run("@wpc.function\ndef f(n):\n    return nowhere(n)\n")
    assert "f uses 'nowhere' (line 3), which the workers don't have" in shown
    assert "@wpc.function" in shown
    assert "wpc_magic/pool" not in shown


def test_a_call_that_times_out_and_one_that_kills_its_worker_are_one_short_text(started: Real) -> None:
    started.run(
        "%%wpc_function\nimport os, threading\n"
        "def waits():\n    threading.Event().wait()\n"
        "def leaves():\n    os._exit(3)\n"
    )
    shown = started.run("%wpc_call --timeout-ms 50 waits()")
    assert shown.startswith("CallTimeoutError: waits #")
    assert "more than 50 ms" in shown
    shown = started.run("%wpc_call leaves()")
    assert shown.startswith("WorkerCrashedError: leaves #")
    assert "exited with code 3" in shown
    for line, kind in (("--timeout-ms 50 waits()", CallTimeoutError), ("leaves()", WorkerCrashedError)):
        with pytest.raises(kind):
            started.magic(f"wpc_call {line}")
    table = started.magic("wpc_events --severity warn")
    assert {"call_timed_out", "worker_exited"} <= {row[3] for row in table.rows}
    assert "exited with code 3" in [row[5] for row in table.rows]


def test_the_stack_of_a_busy_worker_shows_the_lines_of_the_cell(started: Real) -> None:
    started.run("%%wpc_function\nimport threading\ndef waits():\n    # here\n    threading.Event().wait()\n")
    started.run("future = wpc.call.waits.options(worker_id=2)()")
    while "\n    threading.Event().wait()\n" not in (shown := started.run("%wpc_stack 2")):
        pass
    assert ", line 4, in waits\n" in shown
    assert "runs waits #" in shown
    assert "waits for calls" in started.run("%wpc_stack 1")
    assert started.run("%wpc_stack 3").startswith("UsageError: there is no worker 3; there are 1, 2")
    started.run("%wpc_stop")
    assert started.run("%wpc_stack").startswith("UsageError: the workers are stopped")


def test_the_number_of_workers_is_what_the_magics_say(started: Real) -> None:
    assert started.run("%wpc_start") == "2 workers running already\n"
    assert started.run("%wpc_scale 3") == "3 workers ready, 2 before\n"
    assert [row[:2] for row in started.magic("wpc_status").rows] == [(n, "ready") for n in (1, 2, 3)]
    pids = [row[2] for row in started.magic("wpc_status").rows]
    assert started.run("%wpc_restart 2") == "worker 2 restarted\n"
    after = [row[2] for row in started.magic("wpc_status").rows]
    assert [old == new for old, new in zip(pids, after, strict=True)] == [True, False, True]
    assert started.run("%wpc_restart --force") == "3 workers restarted\n"
    assert started.run("%wpc_restart 9").startswith("UsageError: there is no worker 9")
    assert started.run("%wpc_start -n 1") == "1 worker ready, 3 before\n"


def test_a_restart_brings_the_folder_the_path_and_the_environment_of_now(
    started: Real, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    started.run(
        "%%wpc_function\nimport os, sys\n"
        "def f():\n    return os.getcwd(), os.environ.get('NEW'), sys.path[-1]\n"
    )
    before = started.magic("wpc_call f()")
    started.run("%cd sub")
    monkeypatch.setenv("NEW", "1")
    monkeypatch.setattr(sys, "path", [*sys.path, "/late"])
    assert started.magic("wpc_call f()") == before
    started.run("%wpc_restart")
    assert started.magic("wpc_call f()") == (str(tmp_path / "sub"), "1", "/late")


def test_what_functions_print_is_captured_with_what_the_cell_prints(started: Real) -> None:
    started.run(
        "%%wpc_function\nimport sys\ndef f(n):\n    print('out', n)\n    print('err', n, file=sys.stderr)\n"
    )
    started.run("%%capture shown\nprint('before')\n%wpc_call f(1)\nwpc.call.f(2).result()\nprint('after')")
    assert started.shell.user_ns["shown"].stdout == "before\nout 1\nout 2\nafter\n"
    assert started.shell.user_ns["shown"].stderr == "err 1\nerr 2\n"


def test_options_of_a_start_are_in_force(real: Real) -> None:
    assert real.run("%wpc_start -n 1 --call-timeout-ms 60 --saturation wait").startswith("1 worker ready")
    real.run("%%wpc_function\nimport threading\ndef waits():\n    threading.Event().wait()\n")
    assert "more than 60 ms" in real.run("%wpc_call waits()")
    assert real.run("%wpc_start --restart-on-failure maybe") == (
        "UsageError: restart_on_failure takes True or False, not 'maybe'\n"
    )


def test_a_reload_keeps_definitions_and_workers(started: Real) -> None:
    started.run("%%wpc_function\nclass C: ...\ndef f():\n    return C()\n")
    started.run("kept = wpc.call.f().result()")
    pool = started.pool
    assert started.run("%reload_ext wpc_magic") == ""
    assert started.pool is pool
    assert pool.worker_count == 2
    assert started.run("print(type(wpc.call.f().result()) is type(kept))") == "True\n"


def test_an_unloaded_extension_leaves_errors_and_names_as_they_were(
    make_shell: Callable[..., InteractiveShell],
) -> None:
    shell = make_shell()
    real = Real(shell)
    real.run("%load_ext wpc_magic")
    pool = real.pool
    real.run("%wpc_start -n 1\n%unload_ext wpc_magic")
    assert not pool.is_running
    assert "wpc" not in shell.user_ns
    with pytest.raises(Exception, match="start them first") as told:
        pool.call.nothing()
    assert not hasattr(told.value, "_render_traceback_")


def test_the_procedure_tells_its_signature_and_docstring(real: Real) -> None:
    real.run("%%wpc_function\ndef f(n, *, scale=1.5):\n    '''Scale it.\n\n    More of it.\n    '''\n")
    shown = without_colours(real.shell.object_inspect_text("wpc.call.f"))
    for part in ("wpc.call.f(n, *, scale=1.5)", "Scale it.", "More of it."):
        assert part in shown
