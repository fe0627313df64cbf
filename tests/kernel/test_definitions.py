"""Options of `%%wpc_function`, the setup of workers and their seed, as the user of a notebook sees them."""

from __future__ import annotations

import re

import pytest

from tests.kernel.conftest import pids_of_workers
from tests.kernel.kernels import Gate, Kernel

pytestmark = pytest.mark.kernel


# -- %%wpc_function --capture -----------------------------------------------------------------------------


def test_a_function_takes_modules_and_small_values_along_and_says_which(started: Kernel) -> None:
    started.good("import json as j\nfrom math import sqrt as root\nSEED, names = 42, ['a']")
    started.good("big = bytes(2_000_000)")
    shown = started.good("%%wpc_function --capture\ndef f(n):\n    return j.dumps([root(n), SEED, names])\n")
    lines = shown.text.splitlines()
    assert lines[0] == "takes j = json, root = math.sqrt, SEED (int), names (list)"
    assert re.fullmatch(
        r"f\(n\) registered on 2 workers · needs SEED, j, names, root · [0-9a-f]{7}", lines[1]
    )
    assert len(lines) == 2
    assert started.evaluate("%wpc_call f(4)") == '[2.0, 42, ["a"]]'
    shown = started.run("%%wpc_function --capture\ndef g():\n    return big, SEED\n")
    assert shown.stream("stderr") == (
        "UsageError: g uses 'big' (line 3), which the workers don't have. "
        "It has 2 MB, too much to be captured. Type: %wpc_const big\n"
    )
    started.good("%wpc_const big")
    started.good("SEED = 43")
    assert "takes" not in started.good("%%wpc_function\ndef g():\n    return len(big) + SEED\n").text
    assert started.good("%%wpc_function --capture\ndef g():\n    return len(big) + SEED\n").text.startswith(
        "takes SEED (int)\n"
    )
    assert started.evaluate("%wpc_call g()") == 2_000_043


def test_a_captured_name_goes_with_here(started: Kernel) -> None:
    started.good("LIMIT = 3")
    started.good("%%wpc_function --capture --here\ndef f():\n    return LIMIT\n")
    assert started.evaluate("f(), wpc.call.f().result()") == (3, 3)


# -- %%wpc_function --test --------------------------------------------------------------------------------

DOUBLE = '''%%wpc_function --test
def double(x):
    """
    >>> double(SEED)
    {}
    """
    return 2 * x
'''


def test_doctests_are_run_in_a_worker_and_reported_with_the_lines_of_the_editor(kernel: Kernel) -> None:
    kernel.good("%wpc_const SEED 4")
    shown = kernel.good(DOUBLE.format(8))  # it starts the workers
    assert shown.text.endswith("\n1 doctest passed\n")
    assert kernel.evaluate("%wpc_call double(1)") == 2
    shown = kernel.run(DOUBLE.format(9).replace("2 * x", "2 * x + 0"))
    number = kernel.evaluate("len(In)") - 2
    assert shown.stream("stderr").startswith(
        "UsageError: 1 of 1 doctests fail, so double stays as it was\n"
        "**********************************************************************\n"
        f'File "Cell In[{number}]", line 4, in double\n'
        "Failed example:\n"
        "    double(SEED)\n"
        "Expected:\n"
        "    9\n"
        "Got:\n"
        "    8\n"
    )
    assert "+ 0" not in kernel.good("%wpc_functions double").text
    shown = kernel.good("%%wpc_function --test\ndef plain():\n    return 1\n")
    assert shown.text.endswith("\nthe cell has no doctests\n")


def test_what_doctests_print_and_log_is_under_their_cell_and_stays_out_of_others(started: Kernel) -> None:
    source = '%%wpc_function --test\nimport sys\ndef f():\n    """\n    >>> f()\n    shown\n    """\n'
    shown = started.good(source + "    print('shown')\n    print('aside', file=sys.stderr)\n")
    assert shown.stream("stderr") == "aside\n"
    assert "shown" not in shown.text


def test_the_stop_button_ends_doctests_and_the_definition_with_them(started: Kernel, gate: Gate) -> None:
    before = pids_of_workers(started)
    source = '%%wpc_function --test\nimport sys\ndef f():\n    """\n    >>> f()\n    >>> f()\n    """\n'
    source += "    print('at the gate', file=sys.stderr, flush=True)\n"
    cell = started.begin(source + f"    open({str(gate.path)!r}).close()\n")
    started.until(lambda: "at the gate" in cell.stream("stderr"))
    started.interrupt()
    started.wait(cell)
    assert cell.error_name == "KeyboardInterrupt"
    assert cell.stream("stderr").count("at the gate") == 1
    started.good("import time\nwhile wpc.snapshot().in_flight: time.sleep(0.01)")
    assert not gate.open_if_needed(), "nobody waits in a worker any more"
    assert started.evaluate("wpc.defined_names()") == set()
    assert pids_of_workers(started) == before


# -- %%wpc_setup ------------------------------------------------------------------------------------------

SETUP = "%%wpc_setup\nimport logging, random\nrandom.seed(7)\nLIMIT = 3\nprint('ready')\n"


def test_a_setup_runs_in_all_workers_and_its_names_are_there_in_every_cell(started: Kernel) -> None:
    shown = started.good(SETUP)
    lines = shown.text.splitlines()
    assert sorted(line.partition("]")[2].strip() or line for line in lines[:-1]).count("ready") == 2, (
        shown.text
    )
    names = "names in every cell: LIMIT, logging, random"
    assert lines[-1] == f"the setup has run in 2 workers · {names}"
    shown = started.good("%%wpc_function\ndef draw():\n    return LIMIT, round(random.random(), 4)\n")
    assert "needs LIMIT, random" in shown.text
    first = started.evaluate("[f.result() for f in wpc.broadcast('draw').values()]")
    assert first == [(3, 0.3238)] * 2
    shown = started.good(SETUP.replace("LIMIT = 3", "LIMIT = 4"))
    assert "the setup has run in 2 workers, which were replaced for it, one after another · " in shown.text
    assert started.evaluate("[f.result() for f in wpc.broadcast('draw').values()]") == [(4, 0.3238)] * 2
    assert "random.seed(7)\nLIMIT = 4\n" in started.good("%wpc_setup").text


def test_a_setup_that_fails_is_one_error_with_the_line_of_its_cell(started: Kernel) -> None:
    started.good("%%wpc_setup\nLIMIT = 3")
    shown = started.run("%%wpc_setup\nimport json\njson.loads('{')\n")
    said = shown.stream("stderr")
    assert said.startswith("UsageError: worker ")
    assert "could not install the setup: json.decoder.JSONDecodeError: " in said
    assert "line 3, in <module>\n    json.loads('{')" in said
    assert not shown.error
    shown = started.run("%%wpc_setup\nnp.seterr(all='raise')\n")
    assert shown.stream("stderr") == (
        "UsageError: the setup uses 'np' (line 2), which is not there before anything else. "
        "Write in it: import numpy as np\n"
    )
    started.good("%%wpc_function\ndef limit():\n    return LIMIT\n")
    assert started.evaluate("%wpc_call limit()") == 3


def test_a_setup_is_exported_loaded_and_removed(kernel: Kernel) -> None:
    assert kernel.good("%%wpc_setup\nLIMIT = 3").text == (
        "each worker that starts runs the setup first · names in every cell: LIMIT\n"
    )
    kernel.good("%%wpc_function\ndef limit():\n    return LIMIT\n")
    assert kernel.good("%wpc_export pipeline.py").text.startswith("the setup, 1 function, ")
    assert kernel.good("%wpc_setup -d").text == "the setup is removed\n"
    assert kernel.run("%wpc_setup -d").stream("stderr") == (
        "UsageError: %%wpc_setup: no setup is defined; %%wpc_setup, and code under it, defines one\n"
    )
    kernel.good("%wpc_load pipeline.py")
    assert kernel.evaluate("%wpc_call limit()") == 3


def test_a_broken_setup_is_told_at_the_start(kernel: Kernel) -> None:
    kernel.good("%%wpc_setup\nraise ValueError('no licence')")
    assert "\nwithout the setup: ValueError: no licence\n" in kernel.good("%wpc_start 1").text


# -- %wpc_seed --------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_numbers_each_time_and_in_an_exported_pipeline(started: Kernel) -> None:
    started.good("%%wpc_function\ndef draw(n=0):\n    return int(context.rng.integers(1_000_000))\n")
    assert started.good("%wpc_seed").text == "there is no seed; %wpc_seed 42 sets one\n"
    said = "context.rng draws from seed 42: the calls are counted from here on\n"
    assert started.good("%wpc_seed 42").text == said
    first = started.evaluate("%wpc_map draw(range(5))"), started.evaluate("%wpc_call draw()")
    started.good("%wpc_scale 1\nseed = 42")
    assert started.good("%wpc_seed {seed}").text == said
    chunked = started.evaluate("%wpc_map --chunk-size 3 draw(range(5))"), started.evaluate("%wpc_call draw()")
    assert chunked == first
    assert len(set(first[0])) == 5
    assert started.good("%wpc_seed").text == "the seed is 42\n"
    started.good("%wpc_export pipeline.py")
    assert started.good("%wpc_seed -d").text.startswith("there is no seed")
    started.good("%wpc_load pipeline.py")
    assert started.evaluate("%wpc_map draw(range(5))") == first[0]
    assert started.run("%wpc_seed many").stream("stderr") == (
        "UsageError: %wpc_seed: the seed is a whole number, 0 or more, not 'many'. "
        "Type for example: %wpc_seed 42\n"
    )


# -- %%wpc_resource ---------------------------------------------------------------------------------------

RESOURCE = (
    "%%wpc_resource db --timeout-ms 60000\nimport sqlite3\n"
    "def make():\n    return sqlite3.connect(':memory:')\n"
    "def close(db):\n    db.close()\n    print('closed')\n"
)
ANSWER = "%%wpc_function\ndef answer():\n    return db.execute('select 6 * 7').fetchone()[0]\n"


def test_a_resource_is_there_in_functions_listed_shown_and_removed(started: Kernel) -> None:
    shown = started.good(RESOURCE)
    assert shown.text == "db registered on 2 workers · each makes it for the first call that needs it\n"
    shown = started.good(ANSWER)
    assert "needs db" in shown.text
    assert started.evaluate("%wpc_call answer()") == 42
    assert "make()" in started.good("%wpc_resource").value
    assert started.good("%wpc_resource db").text == RESOURCE.partition("\n")[2]
    assert started.run("%wpc_resource -d dbs").stream("stderr") == (
        "UsageError: %%wpc_resource: no resource 'dbs' is registered. Did you mean 'db'?\n"
    )
    assert started.run("%wpc_undef db").stream("stderr") == (
        "UsageError: %wpc_undef: db is no function. Type: %wpc_resource -d db\n"
    )
    assert "db removed" in started.good("%wpc_resource -d db").text
    assert "answer needs 'db', which is not defined" in started.run("%wpc_call answer()").stream("stderr")


def test_a_resource_that_cannot_be_made_is_one_error_with_the_line_of_its_cell(started: Kernel) -> None:
    said = started.run("%%wpc_resource db --eager\ndef make():\n    return 1 / 0\n").stream("stderr")
    assert said.startswith("UsageError: worker ")
    assert "could not install db: ZeroDivisionError: division by zero" in said
    assert "line 3, in make\n    return 1 / 0" in said
    said = started.run("%%wpc_resource db\ndef make():\n    return np.zeros(3)\n").stream("stderr")
    assert said == (
        "UsageError: make uses 'np' (line 3), which the workers don't have. Type: %wpc_dep numpy as np\n"
    )
    said = started.run("%%wpc_resource\ndef make(): pass\n").stream("stderr")
    said = said.removeprefix("UsageError: %%wpc_resource: ")
    assert said == "a resource has one name. Type for example: %%wpc_resource db\n"


def test_a_resource_is_exported_and_loaded(kernel: Kernel) -> None:
    kernel.good(RESOURCE)
    kernel.good(ANSWER)
    assert ", 1 resource written to " in kernel.good("%wpc_export pipeline.py").text
    kernel.good("%wpc_resource -d db")
    kernel.good("%wpc_load pipeline.py")
    assert kernel.evaluate("%wpc_call answer()") == 42
