"""Maps in a notebook: what a cell shows of one that fails or is stopped, and what is kept."""

from __future__ import annotations

import pytest

from tests.kernel.kernels import Gate, Kernel

pytestmark = pytest.mark.kernel

PICKY = "%%wpc_function\ndef picky(x):\n    if x % 5 == 2: raise ValueError('no date')\n    return x\n"

# Item 20 waits at the gate. Its worker has computed others before, and the other worker does so meanwhile.
UP_TO_A_GATE = """%%wpc_function
def up_to(x, gate):
    if x == 20:
        print("at the gate", flush=True)
        open(gate).read()
    return x
"""


def test_a_map_that_fails_says_where_its_values_are(started: Kernel) -> None:
    started.good(PICKY)
    cell = started.run("list(wpc.map('picky', range(8), chunk_size=4))")
    assert cell.error_name == "ValueError"
    assert "wpc_magic" not in cell.error
    assert cell.error.endswith("done; they are in error.partial, and in _wpc_partial"), cell.error
    assert started.evaluate("_wpc_partial[0], _wpc_partial[1]") == (0, 1)


def test_a_map_that_keeps_going_tells_equal_failures_once(started: Kernel) -> None:
    started.good(PICKY)
    cell = started.good("%wpc_map --keep-going -o found picky(range(8))")
    assert cell.text == "2 of 8 items failed\nValueError: no date ×2 (items 2, 7)\n"
    assert started.evaluate("[str(each) for each in found]") == [*"01", "no date", *"3456", "no date"]


@pytest.mark.parametrize(
    "code",
    [
        "%wpc_map --chunk-size 1 up_to(range(30), [{gate!r}] * 30)",
        "list(wpc.map('up_to', range(30), [{gate!r}] * 30, chunk_size=1))",
        "await wpc.map('up_to', range(30), [{gate!r}] * 30, chunk_size=1)",
        "wpc.map('up_to', range(30), [{gate!r}] * 30, chunk_size=1).result()",
    ],
)
def test_a_map_that_is_stopped_keeps_what_it_has_computed(started: Kernel, gate: Gate, code: str) -> None:
    started.good(UP_TO_A_GATE)
    cell = started.begin(code.format(gate=str(gate.path)))
    started.until(lambda: "at the gate" in cell.text)
    started.interrupt()
    started.wait(cell)
    assert "wpc_magic" not in cell.error
    partial = started.evaluate("_wpc_partial")
    assert all(n == value for n, value in partial.items())
    assert 0 < len(partial) < 30
    done = f"{len(partial)} of 30 done; they are in error.partial, and in _wpc_partial"
    assert done in cell.error, cell.error
