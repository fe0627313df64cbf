"""Errors of calls that nobody asks for are told under the cell that made the calls."""

from __future__ import annotations

import re

import pytest

from tests.kernel.kernels import Kernel

pytestmark = pytest.mark.kernel


@pytest.fixture
def failing(started: Kernel) -> Kernel:
    started.good("%%wpc_function\ndef f(x):\n    return 1 / x\n")
    return started


def told(cell: object) -> str:
    text = cell.stream("stderr")  # type: ignore[attr-defined]
    assert isinstance(text, str)
    return re.sub(r"#\d+", "#N", text)


ONE = "f #N failed: ZeroDivisionError: division by zero; nobody asked for its result\n"


def test_a_dropped_future_tells_its_error(failing: Kernel) -> None:
    cell = failing.good("wpc.call.f(0);")
    failing.good("_ = __ = ___ = None; Out.clear()")
    failing.until(lambda: told(cell))
    assert told(cell) == ONE


def test_equal_errors_are_told_together(failing: Kernel) -> None:
    cell = failing.good(
        "from concurrent.futures import wait\nfs = [wpc.call.f(0) for _ in range(3)]\nwait(fs)\ndel fs"
    )
    failing.until(lambda: told(cell))
    assert told(cell) == ONE.replace("zero;", "zero (×3);")


def test_a_future_that_is_kept_tells_its_error_when_a_later_cell_has_ended(failing: Kernel) -> None:
    cell = failing.good("kept = wpc.call.f(0)")
    failing.good("import concurrent.futures; concurrent.futures.wait([kept]); None")
    failing.until(lambda: told(cell))
    assert told(cell) == ONE
    assert failing.run("kept.result()").error_name == "ZeroDivisionError"
    failing.good("del kept")
    assert told(cell) == ONE, "once"


def test_an_error_that_was_asked_for_is_not_told(failing: Kernel) -> None:
    cells = [
        failing.good("a = wpc.call.f(0); a.exception(); del a"),
        failing.good("try: await wpc.call.f(0)\nexcept ZeroDivisionError: pass"),
        failing.good("b = wpc.call.f(0)\nif not b.cancel(): b.exception()  # it has ended before\ndel b"),
        failing.good("c = wpc.call.f(1); c.result(); del c"),
    ]
    cells.append(failing.good("import gc; gc.collect(); None"))
    failing.good("1")
    assert [told(cell) for cell in cells] == [""] * 5
