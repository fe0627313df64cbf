"""A call belongs to the cell, task, thread or callback in which it was made: its text, its stop button."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.conftest import WAITS
from tests.kernel.kernels import Cell, Gate, Kernel

pytestmark = pytest.mark.kernel

TALKS = """%%wpc_function
import sys

def talks(n=1):
    for i in range(n):
        print("line", i)
    return n

def both():
    print("out")
    print("err", file=sys.stderr)
"""

# Each is left running by one cell, and makes its call when a later one says `go()`.
WAYS = {
    "a task": "later = asyncio.create_task(in_task())",
    "a task of a task": "later = asyncio.create_task(asyncio.wait_for(in_task(), 60))",
    "a task that blocks": "later = asyncio.create_task(in_blocking_task())",
    "a thread": "threading.Thread(target=in_thread).start()",
    "a thread of a thread": "threading.Thread(target=in_another_thread).start()",
    "a timer": "threading.Timer(0, in_thread).start()",
    "an executor": "executor = ThreadPoolExecutor(1); executor.submit(in_thread)",
    "asyncio.to_thread": "later = asyncio.create_task(asyncio.to_thread(in_thread))",
    "run_in_executor": "later = asyncio.get_running_loop().run_in_executor(None, in_thread)",
    "a loop in a thread": "threading.Thread(target=lambda: asyncio.run(in_own_loop())).start()",
}
SET_UP = """import asyncio, threading
from concurrent.futures import Future, ThreadPoolExecutor

loop = asyncio.get_running_loop()
going, going_loop, made, done = threading.Event(), asyncio.Event(), threading.Event(), Future()

def go():
    going.set()
    going_loop.set()

def call():
    future = wpc.call.talks(2)
    made.set()
    return future

async def in_task():
    await going_loop.wait()
    done.set_result(await call())

async def in_blocking_task():
    await going_loop.wait()
    done.set_result(call().result())

async def in_own_loop():
    going.wait()
    done.set_result(await call())

def in_thread():
    going.wait()
    done.set_result(call().result())

def in_another_thread():
    threading.Thread(target=in_thread).start()
"""


@pytest.fixture
def talking(started: Kernel) -> Kernel:
    started.good(TALKS)
    return started


@pytest.fixture
def button(talking: Kernel) -> str:
    """A button, and an Output widget `out`; the test defines `clicked`."""
    talking.good(
        "import asyncio, ipywidgets\nbutton, out = ipywidgets.Button(), ipywidgets.Output()\n"
        "button.on_click(lambda _: clicked())"
    )
    found: str = talking.evaluate("button.comm.comm_id")
    return found


def click(kernel: Kernel, button: str) -> Cell:
    return kernel.wait(kernel.click(button))


@pytest.mark.parametrize("way", WAYS)
def test_what_a_cell_has_left_running_makes_its_calls_for_that_cell(talking: Kernel, way: str) -> None:
    talking.good(SET_UP)
    first = talking.good(WAYS[way])
    later = talking.good("go()\nprint(await asyncio.wrap_future(done))")
    talking.until(lambda: first.text.count("\n") == 2)
    assert (first.text, later.text) == ("line 0\nline 1\n", "2\n")


@pytest.mark.parametrize("way", WAYS)
def test_it_does_so_while_no_cell_runs(talking: Kernel, gate: Gate, way: str) -> None:
    talking.good(SET_UP)
    first = talking.good(WAYS[way])
    last = talking.good(
        f"threading.Thread(target=lambda: ({gate.wait}, loop.call_soon_threadsafe(go))).start()"
    )
    gate.open()
    talking.until(lambda: first.text.count("\n") == 2)
    assert (first.text, last.text) == ("line 0\nline 1\n", "")


def test_what_a_cell_submits_to_the_executor_of_another_is_its_own(talking: Kernel) -> None:
    talking.good("from concurrent.futures import ThreadPoolExecutor\nexecutor = ThreadPoolExecutor(1)")
    first = talking.good("executor.submit(lambda: wpc.call.talks(1).result()).result()")
    second = talking.good("list(executor.map(lambda n: wpc.call.talks(n).result(), [1, 2]))")
    assert first.text == "line 0\n"
    assert second.text == "line 0\n" + "line 0\nline 1\n"
    talking.good("executor.shutdown()")


def test_a_map_belongs_to_the_cell_that_made_it_wherever_its_results_are_taken(talking: Kernel) -> None:
    first = talking.good("results = wpc.map('talks', [1] * 40, chunk_size=1)")
    second = talking.good("print(sum(results))")
    talking.until(lambda: first.text.count("line 0\n") == 40)
    assert second.text == "40\n"


def test_both_streams_of_another_origin_arrive_as_themselves(talking: Kernel) -> None:
    talking.good("import threading\ngoing = threading.Event()")
    first = talking.good(
        "def run():\n    going.wait()\n    wpc.call.both().result()\n"
        "thread = threading.Thread(target=run)\nthread.start()"
    )
    talking.good("going.set()\nthread.join()")
    talking.until(lambda: "\n" in first.text and "\n" in first.stream("stderr"))
    assert (first.text, first.stream("stderr")) == ("out\n", "err\n")


def test_the_text_of_a_threads_call_is_not_captured_by_another_cell(talking: Kernel) -> None:
    talking.good("import threading\ngoing = threading.Event()")
    first = talking.good(
        "def run():\n    going.wait()\n    wpc.call.talks(1).result()\n"
        "thread = threading.Thread(target=run)\nthread.start()"
    )
    talking.good("%%capture shown\ngoing.set()\nthread.join()\nwpc.call.talks(2).result()")
    talking.until(lambda: "\n" in first.text)
    assert first.text == "line 0\n"
    assert talking.evaluate("shown.stdout") == "line 0\nline 1\n"


def test_a_callback_of_a_future_works_for_the_cell_that_has_added_it(talking: Kernel, gate: Gate) -> None:
    talking.good(WAITS)
    waiting = talking.good(f"future = wpc.call.waits({str(gate.path)!r})")
    first = talking.good("future.add_done_callback(lambda _: (print('ended'), wpc.call.talks(1)))")
    gate.open()
    later = talking.good("future.result()\n1 + 1")
    talking.until(lambda: first.text.count("\n") == 2)
    assert (first.text, later.text) == ("ended\nline 0\n", "")
    talking.until(lambda: waiting.text == "at the gate\nthrough the gate\n")


# -- callbacks of widgets -------------------------------------------------------------------------------


def test_text_of_a_callbacks_call_is_not_put_under_an_unrelated_cell(talking: Kernel, button: str) -> None:
    talking.good("def clicked():\n    print('before')\n    wpc.call.talks(1).result()\n    print('after')")
    unrelated = talking.good("1 + 1")
    shown = click(talking, button)
    assert (shown.text, unrelated.text) == ("before\nline 0\nafter\n", "")


def test_text_that_comes_after_the_callback_belongs_to_it_as_well(
    talking: Kernel, button: str, gate: Gate
) -> None:
    talking.good(WAITS)
    talking.good(f"def clicked():\n    global future\n    future = wpc.call.waits({str(gate.path)!r})")
    shown = click(talking, button)
    unrelated = talking.begin("future.result()")
    gate.open()
    talking.wait(unrelated)
    talking.until(lambda: "through" in shown.text)
    assert (shown.text, unrelated.text) == ("at the gate\nthrough the gate\n", "")


@pytest.mark.parametrize(
    "callback",
    [
        "def clicked():\n    with out:\n        {line}wpc.call.talks(1).result()",
        "@out.capture()\ndef clicked():\n    {line}wpc.call.talks(1).result()",
        "async def run():\n    with out:\n        {line}await wpc.call.talks(1)\n"
        "def clicked():\n    global task\n    task = asyncio.get_running_loop().create_task(run())",
        "import threading\ndef run():\n    with out:\n        {line}wpc.call.talks(1).result()\n"
        "def clicked():\n    global thread\n    thread = threading.Thread(target=run)\n    thread.start()",
    ],
    ids=["with", "capture", "task", "thread"],
)
def test_an_output_widget_captures_what_its_calls_print(talking: Kernel, button: str, callback: str) -> None:
    talking.good(callback.format(line="print('before'); "))
    talking.good("1 + 1")
    out = talking.evaluate("out.comm.comm_id")
    click(talking, button)
    talking.until(lambda: talking.captured(out).count("\n") == 2)
    assert talking.captured(out) == "before\nline 0\n"
    talking.good("pass")


def test_redirected_text_of_a_callbacks_call_is_redirected(talking: Kernel, button: str) -> None:
    talking.good(
        "import contextlib, io\ndef clicked():\n"
        "    global text\n    with contextlib.redirect_stdout(io.StringIO()) as text:\n"
        "        wpc.call.talks(1).result()"
    )
    shown = click(talking, button)
    assert (shown.text, talking.evaluate("text.getvalue()")) == ("", "line 0\n")


def test_interact_shows_what_the_calls_print(talking: Kernel) -> None:
    talking.good(
        "import ipywidgets\nshown = ipywidgets.interactive(lambda n: wpc.call.talks(n).result(), n=(1, 9))"
    )
    out, slider = talking.evaluate("shown.out.comm.comm_id, shown.children[0].comm.comm_id")
    talking.received.clear()
    talking.wait(talking.change(slider, value=2))
    assert talking.captured(out) == "line 0\nline 1\n"


def test_the_stop_button_stops_a_callback_and_its_own_calls(
    talking: Kernel, button: str, gate: Gate, tmp_path: Path
) -> None:
    other = Gate(tmp_path / "other")
    talking.good(WAITS)
    talking.good(f"mine = wpc.call.waits({str(other.path)!r}, 7)")
    talking.good(f"def clicked():\n    with out:\n        wpc.call.waits({str(gate.path)!r}).result()")
    out = talking.evaluate("out.comm.comm_id")
    callback = talking.click(button)
    talking.until(lambda: "at the gate" in talking.captured(out))
    talking.interrupt()
    talking.wait(callback)
    assert callback.displayed == ["interrupted: 1 call cancelled"]
    other.open()
    assert talking.evaluate("mine.result()") == 7


# -- the stop button ------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["a task", "a thread", "an executor", "a loop in a thread"])
def test_the_stop_button_of_a_cell_leaves_the_calls_of_another_cells_task_or_thread(
    started: Kernel, gate: Gate, tmp_path: Path, way: str
) -> None:
    other = Gate(tmp_path / "other")
    started.good(WAITS)
    started.good(SET_UP)
    started.good(
        f"def call():\n    future = wpc.call.waits({str(other.path)!r}, 7)\n    made.set()\n    return future"
    )
    started.good(WAYS[way])
    cell = started.begin(
        f"go()\nwhile not made.is_set(): await asyncio.sleep(0.01)\nawait wpc.call.waits({str(gate.path)!r})"
    )
    started.until(lambda: "at the gate" in cell.text)
    started.interrupt()
    started.wait(cell)
    assert cell.error_name in ("KeyboardInterrupt", "CancelledError")
    assert cell.displayed == ["interrupted: 1 call cancelled"]
    other.open()
    assert started.evaluate("await asyncio.wrap_future(done)") == 7


def test_what_others_have_cancelled_is_not_counted_for_the_interrupted_cell(
    started: Kernel, gate: Gate, tmp_path: Path
) -> None:
    other = Gate(tmp_path / "other")
    started.good(WAITS)
    started.good(
        f"import threading\ngoing = threading.Event()\ndef run():\n    going.wait()\n"
        f"    for _ in range(5): wpc.call.waits({str(other.path)!r}).cancel()\n"
        "thread = threading.Thread(target=run)\nthread.start()"
    )
    cell = started.begin(f"going.set()\nthread.join()\nwpc.call.waits({str(gate.path)!r}).result()")
    started.until(lambda: "at the gate" in cell.text)
    started.interrupt()
    started.wait(cell)
    assert cell.displayed == ["interrupted: 1 call cancelled"]
