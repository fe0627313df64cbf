"""The magics over real workers, in a shell without a kernel."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.error import StdinNotImplementedError
from IPython.core.interactiveshell import InteractiveShell

from tests.magics.conftest import Loaded, without_colours
from wpc_magic.magics import extension
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import CallTimeoutError, NotRunningError, WorkerCrashedError


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
        ("", "np.zeros(n)", "f uses 'np' (line 3), which the workers don't have. Type: %wpc_dep numpy as np"),
        ("base = 3", "n + base", "Type: %wpc_const base"),
        ("import json as j", "j.dumps(n)", "Type: %wpc_dep json as j"),
        ("from math import sqrt as root", "root(n)", "Type: %wpc_dep from math import sqrt as root"),
        ("def clean(n): return n", "clean(n)", "Type: wpc.function(clean)"),
        ("", "wpc.call.g(n)", "Registered functions call each other by name"),
        ("", "lenn(n)", "Define it in the same cell, or pass it as an argument."),
        ("lengths = [1]", "n + length", "Did you mean 'lengths'?"),
        ("values = [1]", "valu + n", "Did you mean 'values'?"),
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
        "UsageError: line 3: '(' was never closed\n    return (n\n"
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
        "wpc_changing = wpc_changing registered on 2 workers\n"
        "imported anew: the workers were replaced, one after another\n"
    )
    assert started.magic("wpc_call f()") == 22


def test_a_constant_that_calls_share_is_said_to_be_shared(started: Real) -> None:
    started.run("import random")
    assert started.run("%wpc_const DICE = {'a': [1], 'b': random.Random(1)}") == (
        "DICE (dict) registered on 2 workers · not read-only, shared by the calls of a worker: Random\n"
    )
    assert started.run("%wpc_const DICE = {'a': [1]}") == "DICE (dict) registered on 2 workers\n"


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
        assert "4     return half / 0" in shown, line
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
    assert any(row[5].startswith("exited with code 3 · leaves #") for row in table.rows)


def test_the_stack_of_a_busy_worker_shows_the_lines_of_the_cell(started: Real) -> None:
    started.run("%%wpc_function\nimport threading\ndef waits():\n    # here\n    threading.Event().wait()\n")
    started.run("future = wpc.call.waits.options(worker_id=2)()")
    while "\n    threading.Event().wait()\n" not in (shown := started.run("%wpc_stack 2")):
        pass
    assert ", line 5, in waits\n" in shown
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


def test_a_start_says_which_workers_have_failed_and_what_starts_them_again(started: Real) -> None:
    started.run("wpc.configure(restart_on_failure=False)")
    started.run("%%wpc_function\nimport os\ndef dies(): os._exit(3)\n")
    started.run("wpc.call.dies.options(worker_id=2)().exception()")
    assert started.run("%wpc_start") == (
        "2 workers running already · worker 2 has failed: %wpc_restart 2 starts it again\n"
    )
    assert started.run("%wpc_scale 3").startswith("2 of 3 workers ready, 2 before · worker 2 has failed")
    started.run("%wpc_scale 2")
    started.run("wpc.call.dies.options(worker_id=1)().exception()")
    assert started.run("%wpc_start") == "workers 1, 2 have failed: %wpc_restart starts them again\n"
    assert started.run("%wpc_call dies()").endswith("starts them again, as %wpc_restart does\n")
    assert started.run("%wpc_restart") == "2 workers restarted\n"
    assert started.run("%wpc_start") == "2 workers running already\n"


def test_a_start_says_what_no_worker_could_install_and_a_longer_time_tries_it_again(
    started: Real, tmp_path: Path
) -> None:
    later = tmp_path / "later"
    os.mkfifo(later)
    started.run("%wpc_stop")
    started.run(f"%%wpc_function\nopen({str(later)!r}).read()\ndef big(): return 1\ndef too(): return 2\n")
    said = started.run("%wpc_start -n 1 --start-timeout-ms 500")
    assert said.startswith("1 worker ready in ")
    assert said.endswith(
        "\nwithout big, too: it took longer than start_timeout_ms=500 to install; to try it again with more "
        "time: configure(start_timeout_ms=3000) or %wpc_start --start-timeout-ms 3000\n"
    )
    later.unlink()
    later.touch()
    assert started.run("%wpc_start --start-timeout-ms 60000") == (
        "1 worker running already · start_timeout_ms=60000 (was 500) · big, too: tried again\n"
    )
    assert started.magic("wpc_call too()") == 2


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
    with pytest.raises(Exception, match="start them first") as raised:
        pool.call.nothing()
    assert not hasattr(raised.value, "_render_traceback_")


def test_the_procedure_tells_its_signature_and_docstring(real: Real) -> None:
    real.run("%%wpc_function\ndef f(n, *, scale=1.5):\n    '''Scale it.\n\n    More of it.\n    '''\n")
    shown = without_colours(real.shell.object_inspect_text("wpc.call.f"))
    for part in ("wpc.call.f(n, *, scale=1.5)", "Scale it.", "More of it."):
        assert part in shown


def test_wrong_arguments_are_one_line_and_start_nothing(real: Real) -> None:
    real.run("%%wpc_function\ndef simulate(n):\n    return n")
    line = "UsageError: %wpc_call: simulate() missing 1 required argument: 'n'\n"
    assert real.run("%wpc_call simulate()") == line
    assert real.run("%wpc_map simulate([1], [2])").startswith(
        "UsageError: %wpc_map: simulate() takes 1 positional argument but 2 were given"
    )
    assert not real.pool.is_running
    shown = real.run("wpc.call.simulate()")
    assert shown.endswith("TypeError: simulate() missing 1 required argument: 'n'\n")
    assert "wpc_magic/" not in shown


def test_the_end_of_the_interpreter_in_a_function_is_an_error_of_the_call(started: Real) -> None:
    started.run("%%wpc_function\nimport sys\ndef leaves(code):\n    sys.exit(code)")
    for line in ("%wpc_call leaves(3)", "wpc.call.leaves(3).result()", "list(wpc.map('leaves', [3]))"):
        shown = started.run(line)
        assert "RemoteError: SystemExit: 3" in shown
        assert "To exit" not in shown


def test_a_module_of_a_new_folder_says_that_the_workers_have_to_be_restarted(
    started: Real, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path_factory.mktemp("other")
    (folder / "wpc_of_another_folder.py").write_text("X = 1\n")
    (folder / "wpc_wrong.py").write_text("X = 1\nY = = 2\n")
    monkeypatch.syspath_prepend(folder)
    shown = started.run("%wpc_dep wpc_of_another_folder")
    assert f"It is in {folder}, " in shown
    assert "Type: %wpc_restart\n" in shown
    assert started.run("%wpc_restart") == "2 workers restarted\n"
    line = "wpc_of_another_folder = wpc_of_another_folder registered on 2 workers\n"
    assert started.run("%wpc_dep wpc_of_another_folder") == line
    shown = started.run("%wpc_dep wpc_wrong")
    assert (
        shown == f"UsageError: wpc_wrong cannot be imported: invalid syntax ({folder}/wpc_wrong.py, line 2)\n"
    )


DIFFERS = "threshold differs from the constant that workers have; %wpc_const threshold"


def test_a_variable_that_differs_from_its_constant_is_said_once_under_the_definition(started: Real) -> None:
    started.run("threshold = 1\n%wpc_const threshold")
    above = "%%wpc_function\ndef above(x):\n    return x > threshold\n"
    assert DIFFERS not in started.run(above)
    started.run("threshold = 2")
    assert started.run(above).splitlines()[1:] == [DIFFERS]
    assert DIFFERS not in started.run(above)


def test_a_variable_that_differs_from_its_constant_is_said_once_under_a_call(started: Real) -> None:
    started.run("threshold = 1\n%wpc_const threshold")
    started.run("%%wpc_function\ndef above(x):\n    return x > threshold\n")
    assert started.run("threshold = 5\nx = %wpc_call above(3)\nprint(x)") == f"{DIFFERS}\nTrue\n"
    assert started.run("x = %wpc_call above(3)\nprint(x)") == "True\n"
    started.run("%wpc_const threshold")
    assert started.run("x = %wpc_map above([3, 6])\nprint(x)") == "[False, True]\n"
    assert started.run("threshold = 9\nx = %wpc_map above([3])\nprint(x)") == f"{DIFFERS}\n[False]\n"


@pytest.mark.parametrize("last", ["wpc.call.above(3).result()", "list(wpc.map('above', [3]))"])
def test_it_is_said_once_under_a_call_without_a_magic(started: Real, last: str) -> None:
    started.run("threshold = 1\n%wpc_const threshold")
    started.run("@wpc.function\ndef above(x):\n    return x > threshold\n")
    assert started.run(f"print({last})") in ("True\n", "[True]\n")
    assert started.run("threshold = 5") == ""
    assert started.run(f"print({last})").splitlines()[1:] == [DIFFERS]
    assert DIFFERS not in started.run(f"print({last})")


def test_it_is_said_under_a_decorated_definition(started: Real) -> None:
    started.run("threshold = 1\n%wpc_const threshold\nthreshold = 2")
    assert started.run("@wpc.function\ndef above(x):\n    return x > threshold\n") == f"{DIFFERS}\n"


def test_a_constant_that_is_given_another_value_than_the_variable_is_meant(started: Real) -> None:
    started.run("threshold = 1\n%wpc_const threshold = 5")
    above = "%%wpc_function\ndef above(x):\n    return x > threshold\n"
    assert DIFFERS not in started.run(above)


def test_builtins_that_ipython_has_replaced_are_no_hindrance_and_those_of_the_user_are(real: Real) -> None:
    cell = "%%wpc_function\ndef f(path):\n    return open(path), exit, sum([1])\n"
    assert real.run(cell).startswith("f(path) registered · ")
    real.run("from math import fsum as sum")
    assert "f uses 'sum' (line 3), which is another thing here than in the workers" in real.run(cell)
    assert "Type: %wpc_dep from math import fsum as sum" in real.run(cell)


def test_a_class_of_the_notebook_comes_along_or_is_to_be_moved_into_the_cell(started: Real) -> None:
    started.run("class Point:\n    def __init__(self, x):\n        self.x = x\n")
    assert "Move the class Point into the cell of the function." in started.run(
        "%%wpc_function\ndef make(x):\n    return Point(x)\n"
    )
    started.run("@wpc.function\ndef make(x):\n    return Point(x)\n")
    started.run("made = %wpc_call make(3)")
    assert started.run("print(type(made) is Point, made.x)") == "True 3\n"


# -- what the pool returns, shown ------------------------------------------------------------------------


def shown(real: Real, value: Any) -> dict[str, str]:
    assert real.shell.display_formatter is not None
    bundle: dict[str, str] = real.shell.display_formatter.format(value)[0]
    return bundle


def test_the_pool_and_what_its_getters_return_are_shown_as_tables(real: Real) -> None:
    real.run("%wpc_start -n 1")
    real.run("%%wpc_function\ndef double(x):\n    return 2 * x\n")
    wpc = real.pool
    everywhere = wpc.broadcast("double", 1)
    assert [each.result() for each in everywhere.values()] == [2]
    for value, head in (
        (wpc, "wpc running · 0 queued"),
        (wpc.snapshot(), "wpc running · 0 queued"),
        (wpc.call, "function   needs"),
        (wpc.get_remote_functions(), "function   needs"),
        (wpc.get_worker_constants(), "No constant is registered"),
        (wpc.events(), "time (UTC)"),
        (everywhere, "Broadcast double: 1 of 1 workers have ended it"),
    ):
        bundle = shown(real, value)
        assert bundle["text/plain"].startswith(head)
        assert bundle["text/html"].startswith(("<table", "<p>"))
    assert shown(real, [wpc])["text/plain"] == "[<WorkerProcedureCall wpc: running, 1 worker, 1 function>]"
    extension.unload(real.shell)
    assert shown(real, wpc)["text/plain"] == repr(wpc)
    assert "text/html" not in shown(real, wpc)


@pytest.mark.parametrize(
    "call",
    [
        "wpc.call.double(21).result()",
        "list(wpc.map('double', [21]))[0]",
        "wpc.broadcast('double', 21)[1].result()",
        "len(wpc.call.double(b'x' * 500_000).result()) // 500_000 + 40",
    ],
)
def test_a_call_made_in_python_starts_the_workers(real: Real, call: str) -> None:
    real.run("%config WpcMagics.workers = 1")
    real.run("%%wpc_function\ndef double(x):\n    return 2 * x\n")
    assert not real.pool.is_running
    assert eval(call, real.shell.user_ns) == 42
    real.run("%wpc_stop")
    real.run("%config WpcMagics.start_on_call = False")
    with pytest.raises(NotRunningError, match="start them first"):
        eval(call, real.shell.user_ns)


def test_the_extension_starts_the_workers_when_it_is_loaded_if_the_settings_say_so(real: Real) -> None:
    real.run("%unload_ext wpc_magic")
    real.shell.config.WpcMagics.start_on_load = True
    real.shell.config.WpcMagics.workers = 1
    real.run("%load_ext wpc_magic")
    pool = real.shell.user_ns["wpc"]
    assert pool.is_running
    pool.wait_until_ready()
    assert [each.health_state for each in pool.get_worker_health_states()] == ["ready"]
    real.run("%unload_ext wpc_magic")
    assert not pool.is_running


def test_without_a_front_end_that_answers_the_debugger_says_what_to_type(
    started: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Debugger(started.shell.debugger_cls):
        def interaction(self, *args: Any) -> None:
            raise StdinNotImplementedError("raw_input was called, but this frontend does not support it")

    monkeypatch.setattr(type(started.shell), "debugger_cls", Debugger)
    started.run("%%wpc_function\ndef inverse(x):\n    return 1 / x\n")
    started.run("wpc.call.inverse(0).exception()")
    shown = started.run("%wpc_debug")
    assert "ZeroDivisionError: division by zero" in shown
    assert "wpc_debug: this front end answers no questions, so there is no debugger" in shown


def test_definitions_are_written_to_a_module_and_read_back(real: Real, tmp_path: Path) -> None:
    real.run("%wpc_const SEED = 40 + 2")
    real.run("%wpc_dep math")
    real.run(SIMULATE)
    shown = real.run("%wpc_export pipeline.py")
    assert re.fullmatch(
        r"1 function, 1 dependency, 1 constant written to pipeline\.py \([\d,]+ bytes\)\n", shown
    )
    before = {info.name: info.function_hash_sha1 for info in real.pool.get_remote_functions()}
    real.run("%wpc_undef simulate\n%wpc_const -d SEED\n%wpc_dep -d math")
    shown = real.run("%wpc_load pipeline.py")
    assert shown == "pipeline.py loaded: 1 function, 1 dependency, 1 constant are defined\n"
    assert {info.name: info.function_hash_sha1 for info in real.pool.get_remote_functions()} == before
    assert real.run("%wpc_export pipeline.py").startswith("1 function"), "it may overwrite its own"


def test_a_file_of_the_users_is_not_overwritten_unless_forced(real: Real, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1\n")
    assert real.run("%wpc_export mine.py") == (
        "UsageError: %wpc_export: mine.py exists, and is something else. To overwrite it: --force\n"
    )
    assert (tmp_path / "mine.py").read_text() == "x = 1\n"
    assert "written to mine.py" in real.run("%wpc_export mine.py --force")
    assert "is not the name of a Python module" in real.run("%wpc_export my-file.txt")
    assert real.run("%wpc_export no/such/folder.py") == (
        "UsageError: %wpc_export: no/such/folder.py cannot be written: No such file or directory\n"
    )


def test_the_types_of_functions_are_written_beside_the_module_and_stay_in_step_with_it(
    real: Real, tmp_path: Path
) -> None:
    real.run("%%wpc_function\ndef double(x: int) -> int:\n    return 2 * x\n")
    (tmp_path / "pipeline.pyi").write_text("x: int\n")
    assert real.run("%wpc_export pipeline.py --stubs") == (
        "UsageError: %wpc_export: pipeline.pyi exists, and is something else. To overwrite it: --force\n"
    )
    assert not (tmp_path / "pipeline.py").exists()
    shown = real.run("%wpc_export pipeline.py --stubs --force")
    assert re.fullmatch(
        r"1 function, 0 dependencies, 0 constants written to pipeline\.py \([\d,]+ bytes\), "
        r"their types to pipeline\.pyi\n",
        shown,
    )
    stub = tmp_path / "pipeline.pyi"
    assert "def __call__(self, /, x: Argument[int]) -> CallFuture[int]: ..." in stub.read_text()
    real.run("%%wpc_function\ndef double(x: str) -> str:\n    return 2 * x\n")
    # Without the option, too: a stub that is there would tell what was.
    assert real.run("%wpc_export pipeline.py").endswith("their types to pipeline.pyi\n")
    assert "def __call__(self, /, x: Argument[str]) -> CallFuture[str]: ..." in stub.read_text()
    assert real.run("%wpc_export other.py").endswith(" bytes)\n")
    assert not (tmp_path / "other.pyi").exists()
    real.run("%wpc_undef double")
    assert real.run("%wpc_load pipeline.py").startswith("pipeline.py loaded: 1 function")


def test_a_notebook_has_a_stub_of_its_own_wpc(real: Real, tmp_path: Path) -> None:
    real.run("%%wpc_function\ndef double(x: int) -> int:\n    return 2 * x\n")
    shown = real.run("%wpc_export notebook_types.pyi")
    assert re.fullmatch(r"the types of 1 function written to notebook_types\.pyi \([\d,]+ bytes\)\n", shown)
    assert (tmp_path / "notebook_types.pyi").read_text().endswith("\n\nwpc: Pool\n")
    assert not (tmp_path / "notebook_types.py").exists()
    assert real.run("%wpc_export notebook_types.pyi").startswith("the types of 1 function")


def test_a_file_that_is_none_of_its_own_is_refused_in_one_line(real: Real, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("x = 1\n")
    assert real.run("%wpc_load mine.py") == (
        "UsageError: %wpc_load: mine.py has no function define(pool); %wpc_export writes such a file\n"
    )
    assert real.run("%wpc_load mime.py") == (
        "UsageError: %wpc_load: there is no file mime.py. Did you mean 'mine.py'?\n"
    )


PICKY = "%%wpc_function\ndef picky(x):\n    if x % 5 == 2: raise ValueError('no date')\n    return x\n"


def test_a_map_takes_keywords_tuples_and_options_behind_it(started: Real) -> None:
    started.run("%%wpc_function\ndef scaled(x, y=0, *, by=1):\n    return x * by + y")
    assert started.magic("wpc_map scaled(range(3), by=10)") == [0, 10, 20]
    assert started.run(
        "%wpc_map scaled(range(3), [1, 2, 3], by=10) --chunk-size 2 -o found\nprint(found)"
    ) == ("[1, 12, 23]\n")
    assert started.magic("wpc_map --starmap scaled([(1, 2), (3,)], by=10)") == [12, 30]
    assert started.magic("wpc_map scaled range(3)") == [0, 1, 2]
    assert "scaled() got an unexpected keyword argument 'bye'" in started.run("%wpc_map scaled([1], bye=2)")


def test_a_map_that_keeps_going_says_what_has_failed_and_returns_the_errors(started: Real) -> None:
    started.run(PICKY)
    shown = started.run("%wpc_map --keep-going --chunksize 3 -o found picky(range(8))")
    assert shown == "2 of 8 items failed\nValueError: no date ×2 (items 2, 7)\n"
    found = started.shell.user_ns["found"]
    assert [type(each) for each in found] == [int, int, ValueError, int, int, int, int, ValueError]


@pytest.mark.parametrize(
    "line", ["%wpc_map --chunk-size 1 picky(range(8))", "list(wpc.map('picky', range(8), chunk_size=1))"]
)
def test_what_a_failed_map_has_computed_is_in_a_variable_of_the_notebook(started: Real, line: str) -> None:
    started.run(PICKY)
    shown = started.run(line)
    assert "of 8 done; they are in error.partial, and in _wpc_partial" in shown
    partial = started.shell.user_ns["_wpc_partial"]
    assert {0: 0, 1: 1}.items() <= partial.items()


def test_a_call_is_timed_there_and_here(started: Real) -> None:
    started.run("%%wpc_function\ndef total(xs):\n    xs.append(1)\n    return sum(xs)")
    started.shell.user_ns["numbers"] = [1, 2, 3]
    table = started.magic("wpc_time -n 3 total(numbers)")
    assert re.match(r"total: .* in a worker, .* here; .* \(the median of 3 calls\)", table.caption)
    assert table.rows[-1][0] == "total"
    assert started.shell.user_ns["numbers"] == [1, 2, 3], "here it runs with copies, too"
    assert table._repr_html_().startswith("<table")


def test_a_call_that_cannot_run_here_is_timed_and_says_so(started: Real) -> None:
    here = os.getpid()
    started.run(
        f"%%wpc_function\nimport os\ndef there():\n    if os.getpid() == {here}: raise OSError('only there')"
    )
    table = started.magic("wpc_time -n 1 there()")
    assert "it cannot run here (OSError: only there)" in table.caption
    assert {row[3] for row in table.rows} == {""}
    assert started.run("%wpc_time there(1)").startswith("UsageError: %wpc_time: there")


def test_a_coroutine_is_timed_and_an_error_is_the_functions_own(started: Real) -> None:
    started.run("%%wpc_function\nasync def later(x):\n    return x\ndef fails():\n    raise KeyError('own')")
    assert "here" in started.magic("wpc_time -n 1 later(1)").caption
    with pytest.raises(KeyError, match="own"):
        started.magic("wpc_time fails()")


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_stream_is_timed_there_and_here_until_it_has_ended(started: Real, kind: str) -> None:
    started.run(f"%%wpc_function\n{kind} countdown(n):\n    while n:\n        yield n\n        n -= 1")
    table = started.magic("wpc_time -n 1 countdown(3)")
    assert re.match(r"countdown: .* in a worker, .* here", table.caption)
    assert [row[0] for row in table.rows][-1] == "total"


def test_a_future_that_a_cell_in_the_background_reads_is_refused_with_the_line_to_type(started: Real) -> None:
    started.run("%%wpc_function\ndef quick(x): return x\ndef items(): yield 1")
    started.run("later, stream = wpc.call.quick(1), wpc.call.items()")
    for name, what in ("later", "the future of a call"), ("stream", "a stream"):
        assert started.run(f"%%wpc_cell\n{name}") == (
            f"UsageError: %%wpc_cell: {name} cannot be taken to a worker, since it is {what}. "
            f"To take its value: {name} = {name}.result()\n"
        )
    assert started.run("print(later.result(), stream.result())") == "1 [1]\n"


def test_insights_are_shown_as_advice_and_tables(started: Real) -> None:
    assert started.run("%wpc_insights").endswith("Nothing has run yet.\n")
    started.run("%%wpc_function\ndef quick(x): return x")
    started.run("for n in range(300): wpc.call.quick(n).result()")
    assert re.search(r"quick +300 ", started.run("%wpc_insights"))


def test_a_start_names_where_the_workers_live(real: Real) -> None:
    assert real.run("%wpc_start -n 1 --engine local").startswith("1 worker ready")
    assert real.run("%wpc_start --engine local") == "1 worker running already\n"
    assert "running already" in real.run("%wpc_start --engine dask --address tcp://127.0.0.1:1")
    real.run("%wpc_stop")
    needs = 'engine="dask" needs one of client=, address= and scheduler_file=, to know its cluster'
    assert needs in real.run("%wpc_start --engine dask")
