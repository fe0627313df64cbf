"""The magics as the user of a notebook sees them."""

from __future__ import annotations

import ast
import re

import pytest

from tests.kernel.conftest import WAITS, children, descriptors, pids_of_workers
from tests.kernel.kernels import Gate, Kernel, eventually

pytestmark = pytest.mark.kernel

SIMULATE = '''%%wpc_function
def simulate(n):
    """Mean of n normal numbers.

    Parameters
    ----------
    n : int
        How many.
    """
    rng = np.random.default_rng(SEED + n)
    return float(rng.normal(size=n).mean())
'''


def test_the_first_notebook_cell_by_cell(kernel: Kernel) -> None:
    assert re.fullmatch(r"2 workers ready in \d+\.\d\d s\n", kernel.good("%wpc_start -n 2").text)
    assert kernel.good("%wpc_dep numpy as np").text == "np = numpy registered on 2 workers\n"
    assert kernel.good("%wpc_const SEED 42").text == "SEED (int) registered on 2 workers\n"
    said = kernel.good(SIMULATE).text
    assert re.fullmatch(r"simulate\(n\) registered on 2 workers · needs SEED, np · [0-9a-f]{7}\n", said)
    value = kernel.evaluate("%wpc_call simulate(10)")
    assert isinstance(value, float)
    assert kernel.evaluate("await wpc.call.simulate(10)") == value
    assert kernel.evaluate("wpc.call.simulate(10).result()") == value
    assert kernel.evaluate("%wpc_map simulate([10, 10])") == [value, value]
    assert kernel.evaluate("wpc.call.simulate.local(10)") == value
    assert "simulate" not in kernel.evaluate("dir()")  # the cell was not run in the kernel


def test_the_example_of_the_original_line_by_line(kernel: Kernel) -> None:
    kernel.good("%wpc_start -n 2")
    kernel.good("%wpc_const SERVICE_PREFIX 'api-v1'")
    kernel.good("%wpc_dep os.path as path_dep")
    kernel.good(
        "%%wpc_function\n"
        "def WPCFunction1(params):\n"
        "    path_dep = wpc_import('path_dep')\n"
        "    name = context.dependencies.path_dep.basename(params['file_path'])\n"
        "    assert name == path_dep.basename(params['file_path'])\n"
        "    return f\"{wpc_constant('SERVICE_PREFIX')}:{context.constants.SERVICE_PREFIX}:{name}\"\n"
    )
    assert (
        kernel.evaluate("await wpc.call.WPCFunction1({'file_path': '/tmp/a.txt'})") == "api-v1:api-v1:a.txt"
    )


def test_a_magic_gives_its_value_to_a_variable(started: Kernel) -> None:
    started.good("%%wpc_function\ndef double(x):\n    return 2 * x\n")
    started.good("x = %wpc_call double(4)")
    started.good("%wpc_map -o all double(range(3))")
    assert started.evaluate("x, all") == (8, [0, 2, 4])
    started.good("def run(start):\n    y = %wpc_call double(start + 1)\n    return y")
    assert started.evaluate("run(2)") == 6


def test_a_function_of_a_cell_is_registered_by_the_decorator(started: Kernel) -> None:
    started.good("import json as j\nbase = 5")
    shown = started.run("@wpc.function\ndef f(n):\n    return j.dumps(n + base)\n")
    assert shown.error_name == "UnknownNameError"
    assert "f uses 'j' (line 3), which the workers don't have. Type: %wpc_dep json as j" in shown.error
    assert "f uses 'base' (line 3), which the workers don't have. Type: %wpc_const base" in shown.error
    assert "wpc_magic/pool" not in shown.error
    started.good("%wpc_dep json as j")
    started.good("%wpc_const base")
    started.good("@wpc.function(timeout_ms=5000)\ndef f(n):\n    return j.dumps(n + base)\n")
    assert started.evaluate("wpc.call.f(1).result()") == "6"
    assert started.evaluate("f(1)") == "6"


def test_an_unknown_name_in_a_function_cell_is_told_with_the_line_to_type(kernel: Kernel) -> None:
    kernel.good("limit = 3")
    shown = kernel.run("%%wpc_function\ndef f(n):\n    return np.clip(n, 0, limit)\n")
    assert shown.stream("stderr") == (
        "UsageError: f uses 'limit' (line 3), which the workers don't have. Type: %wpc_const limit\n"
        "f uses 'np' (line 3), which the workers don't have. Type: %wpc_dep numpy as np\n"
    )


@pytest.mark.parametrize(
    "line", ["%wpc_call f(0)", "%wpc_map f([1, 0])", "wpc.call.f(0).result()", "await wpc.call.f(0)"]
)
def test_a_traceback_shows_the_failing_line_of_the_cell(started: Kernel, line: str) -> None:
    started.good("%%wpc_function\ndef f(n):\n    half = n / 2\n    return 1 / half\n")
    shown = started.run(line)
    assert shown.error_name == "ZeroDivisionError"
    assert "----> 4     return 1 / half" in shown.error
    assert re.search(r"in (f\(0\) #\d+ on worker \d|item 1: f\(0\) #\d+)", shown.error)
    for ours in ("session.py", "magics.py", "boundary.py", "worker/"):
        assert ours not in shown.error


def test_usage_errors_are_one_line(kernel: Kernel) -> None:
    for line, says in (
        ("%wpc_start --cout 3", "UsageError: %wpc_start: unknown option --cout. Did you mean '--count'?"),
        ("%wpc_scale many", "UsageError: %wpc_scale: n: takes a positive whole number, not 'many'"),
        ("%wpc_call f", "UsageError: %wpc_call: write the arguments too: %wpc_call f()"),
        ("%wpc_undef f", "UsageError: %wpc_undef: no function 'f' is registered."),
        ("%wpc_const nowhere", "UsageError: %wpc_const: the notebook has no variable 'nowhere'."),
        ("%wpc_dep from . import x", "UsageError: %wpc_dep: workers have no package to import relative to"),
        (
            "%wpc_scale 3",
            "UsageError: the workers are stopped; start them first: start_workers() or %wpc_start",
        ),
    ):
        shown = kernel.run(line)
        assert shown.stream("stderr").startswith(says)
        assert shown.stream("stderr").count("\n") == 1
        assert not shown.error


def test_tables_are_html_in_a_notebook_and_text_elsewhere(started: Kernel) -> None:
    started.good("%wpc_const SEED 42")
    for magic in ("wpc_status", "wpc_events", "wpc_const", "wpc_dep", "wpc_functions"):
        (bundle,) = started.good(f"%{magic}").bundles
        assert bundle["text/html"].startswith(("<table", "<p>"))
        assert bundle["text/plain"]
    shown = started.good("%wpc_status").value
    assert shown.startswith("wpc running · 0 queued")
    pids = pids_of_workers(started)
    assert [row.split()[:3] for row in shown.splitlines()[3:]] == [
        [str(n), "ready", str(pid)] for n, pid in enumerate(pids, 1)
    ]
    shown = started.good("%wpc_events -n 2 --severity info --worker 1").value
    assert "starting → ready" in shown.splitlines()[-1]


def test_help_is_there_for_every_magic(kernel: Kernel) -> None:
    magics = kernel.evaluate(
        "[name for name in get_ipython().magics_manager.magics['line'] if name.startswith('wpc_')]"
    )
    assert len(magics) >= 20
    for name in magics:
        assert f"\n%{name}" in kernel.ask(f"%{name}?").replace("    ", "")
    assert "--here" in kernel.ask("%%wpc_function?")
    assert "--call-timeout-ms VALUE" in kernel.ask("%wpc_start?")


def test_the_tab_key_completes_names_and_options(started: Kernel) -> None:
    started.good("%wpc_dep numpy as np")
    started.good("%wpc_const SEED 42")
    started.good(SIMULATE)
    started.good("series = [1]")
    for text, expected in (
        ("wpc.call.", ["wpc.call.simulate"]),
        ("print(wpc.call.si", ["print(wpc.call.simulate"]),
        ("%wpc_call si", ["%wpc_call simulate"]),
        ("x = %wpc_call si", ["x = %wpc_call simulate"]),
        ("%wpc_call --wo", ["%wpc_call --worker"]),
        ("%wpc_call --worker ", ["%wpc_call --worker 1", "%wpc_call --worker 2"]),
        ("%wpc_const se", ["%wpc_const series"]),
        ("%wpc_const -d ", ["%wpc_const -d SEED"]),
        ("%wpc_dep -d ", ["%wpc_dep -d np"]),
        ("%%wpc_function --h", ["%%wpc_function --here"]),
        ("%wpc_events --severity w", ["%wpc_events --severity warn"]),
        ("1\n%wpc_undef s", ["1\n%wpc_undef simulate"]),
    ):
        assert started.complete(text) == expected, text
    assert "%wpc_start --stop-timeout-ms" in started.complete("%wpc_start --")
    assert "%wpc_map simulate(series" in started.complete("%wpc_map simulate(se")


def test_a_question_mark_shows_signature_and_docstring(kernel: Kernel) -> None:
    kernel.good("%wpc_dep numpy as np")
    kernel.good("%wpc_const SEED 42")
    kernel.good(SIMULATE)
    for shown in (kernel.ask("wpc.call.simulate?"), kernel.inspect("wpc.call.simulate")):
        assert "wpc.call.simulate(n)" in shown
        assert "Mean of n normal numbers." in shown
        assert "How many." in shown


def test_a_restart_brings_the_folder_the_path_and_the_environment_of_now(started: Kernel) -> None:
    started.good(
        "%%wpc_function\nimport os, sys\n"
        "def here():\n    return os.getcwd(), os.environ.get('WPC_NEW'), '/late' in sys.path\n"
    )
    before = started.evaluate("%wpc_call here()")
    assert before[1:] == (None, False)
    started.good("import os, sys\nold = os.getcwd(), list(sys.path)\n%cd /")
    try:
        started.good("os.environ['WPC_NEW'] = '1'\nsys.path.append('/late')")
        assert started.evaluate("%wpc_call here()") == before
        assert started.good("%wpc_restart").text == "2 workers restarted\n"
        assert started.evaluate("%wpc_call here()") == ("/", "1", True)
    finally:
        started.good("os.chdir(old[0]); sys.path[:] = old[1]; del os.environ['WPC_NEW']")


def test_the_pool_grows_shrinks_restarts_and_stops(started: Kernel) -> None:
    first = pids_of_workers(started)
    assert started.good("%wpc_scale 3").text == "3 workers ready, 2 before\n"
    assert pids_of_workers(started)[:2] == first
    assert started.good("%wpc_scale 1").text == "1 worker ready, 3 before\n"
    assert started.good("%wpc_restart 1").text == "worker 1 restarted\n"
    (again,) = pids_of_workers(started)
    assert again not in first
    assert started.good("%wpc_stop").text == "1 worker stopped\n"
    assert children(started.pid) == []
    assert started.good("%wpc_stop").text == "the workers are not running\n"


def test_a_definition_in_a_busy_pool_takes_force_without_waiting(started: Kernel, gate: Gate) -> None:
    started.good(WAITS)
    started.good(f"f = wpc.call.waits({str(gate.path)!r}, 1)")
    started.until(lambda: any("at the gate" in cell.text for cell in started.cells))
    said = started.good("%%wpc_function\ndef g():\n    return 'new'\n").text
    assert said.startswith("g() registered on 1 of 2 workers · ")
    assert started.evaluate("%wpc_call g()") == "new"
    gate.open()
    assert started.evaluate("f.result()") == 1


def test_loading_twice_reloading_and_unloading_leave_nothing(one_kernel: Kernel) -> None:
    kernel = one_kernel
    state = (
        "import threading\n"
        "shell = get_ipython()\n"
        "(sorted(t.name for t in threading.enumerate() if t.name.startswith('wpc-')),\n"
        " sorted(n for table in shell.magics_manager.magics.values() for n in table if 'wpc' in n),\n"
        " len(shell.Completer.custom_matchers), {k: len(v) for k, v in shell.events.callbacks.items()},\n"
        " [k for k in vars(shell) if 'wpc' in k], 'wpc' in dir())"
    )
    use = "%wpc_start -n 2\n%wpc_call f()\nwpc.call.f()"
    kernel.good("%load_ext wpc_magic")  # imported modules stay loaded
    kernel.good("%%wpc_function\ndef f():\n    print('text')\n")
    kernel.good(use)
    kernel.good("%unload_ext wpc_magic")
    before = ast.literal_eval(kernel.good(state).value), descriptors(kernel.pid)
    kernel.good("%load_ext wpc_magic")
    assert "already loaded" in kernel.good("%load_ext wpc_magic").text
    kernel.good("%%wpc_function\ndef f():\n    print('text')\n")
    kernel.good(use)
    kernel.good("%reload_ext wpc_magic")
    assert len(pids_of_workers(kernel)) == 2
    assert kernel.good("%wpc_call f()").text == "text\n"  # definitions are kept
    kernel.good("%unload_ext wpc_magic")
    eventually(
        lambda: (ast.literal_eval(kernel.good(state).value), descriptors(kernel.pid)) == before,
        f"it has what it had: {before}",
    )
    assert children(kernel.pid) == []
    kernel.run("%reset -f")


def test_the_dashboard_is_a_widget(started: Kernel) -> None:
    bundles = started.good("%wpc_dashboard").bundles
    assert any("application/vnd.jupyter.widget-view+json" in bundle for bundle in bundles)
    assert bundles[0]["text/plain"] == "<dashboard of wpc>"


def test_the_end_of_the_interpreter_in_a_function_is_an_error_and_no_advice_to_leave(started: Kernel) -> None:
    started.good(
        "%%wpc_function\nimport sys\ndef leaves(code):\n    sys.exit(code)\ndef asks():\n    breakpoint()"
    )
    for line in ("%wpc_call leaves(3)", "wpc.call.leaves(3).result()", "await wpc.call.leaves(3)"):
        cell = started.run(line)
        assert "RemoteError: SystemExit: 3" in cell.error
        assert "To exit" not in cell.stream("stderr") + cell.error
    assert "call wpc.call.asks.local(...)" in started.run("%wpc_call asks()").error


def test_wrong_arguments_are_one_line_without_frames_of_ours(started: Kernel) -> None:
    started.good("%%wpc_function\ndef simulate(n):\n    return n")
    text = "simulate() missing 1 required argument: 'n'"
    assert text in started.run("%wpc_call simulate()").stream("stderr")
    for line in ("wpc.call.simulate()", "wpc.call.simulate.local()", "wpc.map('simulate', [1], [2])"):
        error = started.run(line).error
        assert "TypeError: simulate() " in error
        assert "wpc_magic/" not in error


def test_a_function_is_asked_for_by_its_name_and_completed_in_a_text(kernel: Kernel) -> None:
    kernel.good("%%wpc_function\ndef simulate(n: int) -> float:\n    'Its doc.'\n    return 1.0  # so")
    for name in ("simulate", "wpc.call.simulate"):
        text = kernel.ask(f"{name}?")
        assert "wpc.call.simulate(n: int) -> float" in text
        assert "Its doc." in text
        assert "Cell In[" in text
        assert "return 1.0  # so" in kernel.ask(f"{name}??")
    assert kernel.inspect("wpc.call.simulate").startswith("Signature:")
    assert "wpc.map('simulate" in kernel.complete("wpc.map('si")
    assert "%wpc_dep os.path" in kernel.complete("%wpc_dep os.pa")


def test_a_call_of_an_unknown_function_says_only_that(kernel: Kernel) -> None:
    cell = kernel.run("wpc.call.simulat(3)")
    assert cell.error_name == "FunctionNotDefinedError"
    assert "During handling" not in cell.error


def test_the_workers_are_watched_live_in_one_display_until_the_stop_button(started: Kernel) -> None:
    cell = started.begin("%wpc_status --watch")
    started.until(lambda: [kind for kind, _ in cell.messages].count("update_display_data") > 1)
    assert "Live; the stop button ends this" in cell.displayed[0]
    started.interrupt()
    started.wait(cell)
    assert not cell.error
    assert len(cell.displayed) == 1
    assert "no longer live." in cell.displayed[0]
