"""Errors of functions as a notebook shows them: the editor's lines, IPython's look, and no frame of ours."""

from __future__ import annotations

import re

import pytest

from tests.kernel.kernels import Kernel

pytestmark = pytest.mark.kernel

BAD = """
%%wpc_function
def helper(row):
    return int(row)

def bad(rows, scale=1):
    return sum(
        helper(row) for row in rows
    )
"""


@pytest.mark.parametrize(
    "call",
    [
        "wpc.call.bad(['1', 'x']).result()",
        "%wpc_call bad(['1', 'x'])",
        "await wpc.call.bad(['1', 'x'])",
        "list(wpc.map('bad', [['1', 'x']]))",
        "%wpc_map bad([['1', 'x']])",
    ],
)
def test_frames_are_numbered_as_the_editor_shows_them(started: Kernel, call: str) -> None:
    started.good(BAD)
    number = started.evaluate("len(In) - 2")
    shown = started.run(call).error
    assert f"Cell In[{number}], line 7, in bad(rows, scale)\n" in shown
    assert (
        f"Cell In[{number}], line 4, in helper(row)\n      3 def helper(row):\n----> 4     return int(row)"
        in shown
    )
    assert "skipping hidden" not in shown
    assert "wpc_magic" not in shown
    assert re.search(r"in (item 0: )?bad\(\['1', 'x'\]\) #\d+", shown)


def test_a_decorated_function_is_numbered_as_its_cell(started: Kernel) -> None:
    started.good("import math\n\n@wpc.function(timeout_ms=5000)\ndef inverse(x):\n    return 1 / x\n")
    number = started.evaluate("len(In) - 2")
    shown = started.run("wpc.call.inverse(0).result()").error
    assert f"Cell In[{number}], line 5, in inverse(x)\n" in shown
    assert "----> 5     return 1 / x" in shown


def test_texts_from_workers_name_cells_as_tracebacks_do(started: Kernel) -> None:
    started.good(
        "%%wpc_function\nimport os, signal, sys, time\n\ndef dies(): os.kill(os.getpid(), signal.SIGSEGV)\n"
        "\ndef leaves(): sys.exit(3)\n\ndef naps():\n    print('naps', flush=True)\n    time.sleep(60)\n"
    )
    number = started.evaluate("len(In) - 2")
    for call, line in (("%wpc_call dies()", 4), ("%wpc_call leaves()", 6), ("wpc.call.leaves().result()", 6)):
        shown = started.run(call).error
        assert f"Cell In[{number}], line {line}, in " in shown
        assert "ipython-wpc" not in shown
    cell = started.good("import time\nnap = wpc.call.naps()")
    started.until(lambda: "naps" in cell.text)
    assert f"Cell In[{number}], line 10, in naps" in started.good("%wpc_stack").value
    started.good("nap.cancel()\nwhile wpc.snapshot().in_flight: time.sleep(0.01)")


def test_a_cell_that_is_refused_by_a_worker_is_named_as_the_cell_that_runs(started: Kernel) -> None:
    refused = started.run("%%wpc_function\nimport no_such_module\n\ndef f(): pass\n")
    number = started.evaluate("len(In) - 2")
    assert f"Cell In[{number}], line 2, in <module>" in refused.stream("stderr")


def test_a_value_that_cannot_be_sent_shows_no_frame_of_the_serializer(started: Kernel) -> None:
    started.good("%%wpc_function\nimport threading\ndef lock(n):\n    return [threading.Lock()]\n")
    shown = started.run("wpc.call.lock(1).result()").error
    assert "cloudpickle" not in shown
    assert "wpc_magic" not in shown


def test_a_group_of_exceptions_shows_no_frame_of_ours(started: Kernel) -> None:
    started.good(
        "%%wpc_function\ndef several(x):\n    raise ExceptionGroup('both', [ValueError(x), KeyError(x)])\n"
    )
    cell = started.run("wpc.call.several(1).result()")
    shown = cell.error + cell.stream("stderr")
    assert "ExceptionGroup: both (2 sub-exceptions)" in shown
    assert "in several" in shown
    assert "wpc_magic" not in shown


def test_the_filter_is_gone_after_unloading(kernel: Kernel) -> None:
    kernel.good("%unload_ext wpc_magic")
    assert kernel.evaluate("'structured_traceback' in vars(get_ipython().InteractiveTB)") is False
    assert kernel.evaluate("'debugger' in vars(get_ipython().InteractiveTB)") is False


def test_an_async_call_is_run_again_in_the_kernel_whose_loop_runs(kernel: Kernel) -> None:
    kernel.good("%%wpc_function\nasync def waits(rows):\n    count = len(rows)\n    return 1 / count")
    cell = kernel.run("wpc.call.waits([]).result()")
    assert "ZeroDivisionError" in cell.error
    again = "try:\n    wpc.replay()\nexcept ZeroDivisionError as error:\n    last = error.__traceback__\n"
    again += "while last.tb_next:\n    last = last.tb_next\nprint(last.tb_frame.f_locals)"
    assert "{'rows': [], 'count': 0}" in kernel.good(again).stream("stdout")
