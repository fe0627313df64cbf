"""Functions that yield, in a notebook: what is shown of them, and how they are stopped."""

from __future__ import annotations

import re

import pytest

from tests.kernel.conftest import pids_of_workers
from tests.kernel.kernels import Cell, Gate, Kernel
from tests.kernel.test_cards import states

pytestmark = pytest.mark.kernel

YIELDS = """%%wpc_function
import time

def numbers(n):
    for x in range(n):
        yield x

def then_waits(n, gate):
    yield from range(n)
    print("at the gate", flush=True)
    open(gate).read()
    yield "through"

def spins():
    while True:
        yield 1

def late():
    for x in range(100):
        time.sleep(0.05)  # so that the wait for it is shown
        yield x

def fails():
    yield 1
    raise ValueError("no more")
"""

SETTLED = "import time\nwhile wpc.snapshot().in_flight or wpc.snapshot().queued: time.sleep(0.01)"


@pytest.fixture
def streaming(patient: Kernel) -> Kernel:
    patient.good(YIELDS)
    return patient


def test_a_magic_shows_the_items_as_a_list(streaming: Kernel) -> None:
    assert streaming.evaluate("%wpc_call numbers(3)") == [0, 1, 2]
    assert streaming.evaluate("%wpc_map numbers([1, 2])") == [[0], [0, 1]]


def becomes(kernel: Kernel, cell: Cell, end: str) -> None:
    """Wait until the card of a cell ends so, a regular expression."""
    kernel.until(lambda: re.search(rf"{end}>$", states(cell)[-1]))


def test_a_stream_is_a_card_that_follows_it(streaming: Kernel) -> None:
    cell = streaming.good("mine = wpc.call.spins()\nmine")
    assert states(cell)[0].startswith("<ResultStream spins() #")
    becomes(streaming, cell, r"paused on worker \d · Out\[\d+\]\.cancel\(\) stops it")
    streaming.good("next(mine), next(mine)")
    streaming.until(lambda: ": 2 items taken, " in states(cell)[-1])
    streaming.good("mine.close()")
    becomes(streaming, cell, ": 2 items taken, closed")
    becomes(streaming, streaming.good("mine"), ": 2 items taken, closed")

    cell = streaming.good("wpc.call.numbers(3)")
    # What has ended at once is shown as any call that has ended: without its arguments.
    becomes(streaming, cell, r"numbers(\(3\))? #\d+: finished( in .+)? → 3 items")
    assert streaming.evaluate("list(_)") == [0, 1, 2], "a card takes none"
    assert streaming.good("[mine]").value.startswith("[<ResultStream spins #")

    cell = streaming.good("wpc.call.fails()")
    becomes(streaming, cell, r"failed( in .+)? after 1 item: ValueError: no more")
    streaming.good("_ = __ = ___ = None; Out.clear()")
    streaming.good("1")
    assert cell.stream("stderr") == "", "the card has told it"

    cell = streaming.good("display(wpc.call.spins())")  # nobody has it
    becomes(streaming, cell, ": 0 items taken, closed")
    streaming.good(SETTLED)


@pytest.mark.parametrize(
    "code",
    [
        "for x in wpc.call.then_waits(3, {gate!r}): pass",
        "async for x in wpc.call.then_waits(3, {gate!r}): pass",
        "%wpc_call then_waits(3, {gate!r})",
    ],
)
def test_the_stop_button_ends_the_stream_that_is_waited_for(streaming: Kernel, gate: Gate, code: str) -> None:
    before = pids_of_workers(streaming)
    cell = streaming.begin(code.format(gate=str(gate.path)))
    streaming.until(lambda: "at the gate" in cell.text)
    streaming.interrupt()
    streaming.wait(cell)
    assert cell.error_name in ("KeyboardInterrupt", "CancelledError")
    assert "wpc_magic" not in cell.error
    assert cell.displayed == ["interrupted: 1 call cancelled"]
    streaming.good(SETTLED)
    assert not gate.open_if_needed()
    assert pids_of_workers(streaming) == before


def test_the_stop_button_in_the_body_of_the_loop_ends_it_too(streaming: Kernel) -> None:
    cell = streaming.begin(
        "mine = wpc.call.spins()\nfor x in mine:\n    print('in the body', flush=True)\n    while True: pass"
    )
    streaming.until(lambda: "in the body" in cell.text)
    streaming.interrupt()
    streaming.wait(cell)
    assert cell.displayed == ["interrupted: 1 call cancelled"]
    streaming.good(SETTLED)


def test_a_wait_shows_how_many_items_there_were(streaming: Kernel, gate: Gate) -> None:
    streaming.good("%config WpcMagics.progress = 0.001")
    cell = streaming.begin(f"list(wpc.call.then_waits(3, {str(gate.path)!r}))")
    streaming.until(lambda: any(each.startswith("item 3 · ") for each in cell.displayed))
    gate.open()
    streaming.wait(cell)
    assert "through" in cell.value
    assert cell.displayed[0].startswith("4 items in ")


def test_an_error_shows_the_function_and_no_frame_of_ours(streaming: Kernel) -> None:
    cell = streaming.run("for x in wpc.call.fails(): pass")
    assert cell.error_name == "ValueError"
    assert 'raise ValueError("no more")' in cell.error
    assert "after 1 item of the stream" in cell.error
    assert "streams.py" not in cell.error


def test_a_loop_that_breaks_leaves_no_line_that_goes_on(streaming: Kernel) -> None:
    streaming.good("%config WpcMagics.progress = 0.001")
    cell = streaming.run("for x in wpc.call.late():\n    if x == 3: break")
    assert not cell.error
    assert cell.displayed
    assert " items in " in cell.displayed[0]
