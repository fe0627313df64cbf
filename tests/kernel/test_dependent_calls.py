"""Calls that wait for others, in a notebook."""

from __future__ import annotations

import re

import pytest

from tests.kernel.conftest import WAITS
from tests.kernel.kernels import Cell, Gate, Kernel

pytestmark = pytest.mark.kernel

FUNCTIONS = """%%wpc_function
import numpy as np

class Point:
    def __init__(self, x):
        self.x = x

def point(x): return Point(x)
def norm(p): return abs(p.x)
def added(a, b=0): return a + b
def f(x): return 1 / x
def ones(n): return np.ones(n)
"""


@pytest.fixture
def defined(started: Kernel) -> Kernel:
    started.good(WAITS)
    started.good(FUNCTIONS)
    return started


def told(cell: Cell) -> str:
    return re.sub(r"#\d+", "#N", cell.stream("stderr"))


@pytest.mark.parametrize(
    "code",
    [
        "await wpc.call.norm(wpc.call.point(-3))",
        "wpc.call.norm(wpc.call.point(-3)).result()",
        "%wpc_call norm(wpc.call.point(-3))",
        "first = wpc.call.point(-3)\nlist(wpc.map('norm', [first]))[0]",
        "import asyncio\n(await asyncio.gather(wpc.call.norm(wpc.call.point(-3))))[0]",
        "kept = wpc.call.point.remote(-3)\nawait wpc.call.norm(kept)",
    ],
)
def test_a_call_waits_for_another_one(defined: Kernel, code: str) -> None:
    assert defined.good(code).value == "3"


def test_it_is_shown_what_a_call_waits_for(defined: Kernel, gate: Gate) -> None:
    defined.good("%config WpcMagics.progress = 0.001")
    cell = defined.begin(f"await wpc.call.added(wpc.call.waits({str(gate.path)!r}, 3), 4)")
    defined.until(lambda: any("waits for" in shown for shown in cell.displayed))
    (shown,) = cell.displayed
    assert re.fullmatch(r"added\(<waits #\d+>, 4\) waits for waits #\d+\s*", shown), shown
    gate.open()
    defined.wait(cell)
    assert "7" in cell.value


def test_the_traceback_is_that_of_the_first_call_and_says_which_did_not_run(defined: Kernel) -> None:
    cell = defined.run("await wpc.call.added(wpc.call.added(wpc.call.f(0)))")
    assert cell.error_name == "ZeroDivisionError"
    assert "def f(x): return 1 / x" in cell.error
    assert "wpc_magic" not in cell.error
    assert re.search(r"in f\(0\) #\d+ on worker \d", cell.error)
    needed = r"added #\d+ did not run: it needed the value of added #\d+, which needed that of f #\d+"
    assert re.search(needed, cell.error)
    defined.good("_ = __ = ___ = None; Out.clear()")
    assert told(cell) == ""  # somebody has asked, if only for the last one


def test_an_error_that_nobody_asks_for_is_told_once(defined: Kernel) -> None:
    cell = defined.good("wpc.call.added(wpc.call.f(0));")
    defined.good("_ = __ = ___ = None; Out.clear()")
    defined.until(lambda: told(cell))
    defined.good("1")
    assert told(cell) == "f #N failed: ZeroDivisionError: division by zero; nobody asked for its result\n"


def test_the_stop_button_ends_the_whole_chain(defined: Kernel, gate: Gate) -> None:
    path = str(gate.path)
    cell = defined.begin(f"await wpc.call.added(wpc.call.added(wpc.call.waits({path!r}, 1)))")
    defined.until(lambda: "at the gate" in cell.text)
    defined.interrupt()
    defined.wait(cell)
    assert "interrupted: 3 calls cancelled" in str(cell.messages)
    assert defined.good("await wpc.call.added(1)").value == "1"


def test_the_card_of_a_kept_value_says_so(defined: Kernel) -> None:
    cell = defined.good("kept = wpc.call.ones.remote(10)\nkept.exception()\nrepr(kept)")
    assert re.search(r"kept by the pool, \d+ bytes", cell.value)


def test_a_cell_in_the_background_takes_no_future(defined: Kernel) -> None:
    defined.good("first = wpc.call.added(1)")
    cell = defined.run("%%wpc_cell\nprint(first.result())")
    assert "To take its value: first = first.result()" in cell.stream("stderr")
