"""What functions print, in the cell that made the call."""

from __future__ import annotations

import pytest

from tests.kernel.conftest import WAITS
from tests.kernel.kernels import Gate, Kernel

pytestmark = pytest.mark.kernel

TALKS = """%%wpc_function
import asyncio, os, sys

def talks(n):
    for i in range(n):
        print("line", i)
    return n

async def talks_at(gate):
    print("before the gate")
    await asyncio.to_thread(lambda: open(gate).read())
    print("behind the gate")
    return 3

def both(n):
    print("out", n)
    print("err", n, file=sys.stderr)

def child():
    os.system("echo from a child process")
    os.write(1, b"from the descriptor\\n")
"""


@pytest.fixture
def talking(started: Kernel) -> Kernel:
    started.good(TALKS)
    return started


@pytest.mark.parametrize("call", ["f.result()", "await f"])
def test_text_stands_in_its_place_among_the_cells_own_prints(talking: Kernel, call: str) -> None:
    cell = talking.good(f"print('before')\nf = wpc.call.talks(2)\nprint({call})\nprint('after')")
    assert cell.text == "before\nline 0\nline 1\n2\nafter\n"


def test_text_of_a_call_that_is_awaited_comes_while_it_runs(talking: Kernel, gate: Gate) -> None:
    cell = talking.begin(f"print(await wpc.call.talks_at({str(gate.path)!r}))")
    talking.until(lambda: cell.text == "before the gate\n")
    assert cell.status == "busy"
    gate.open()
    talking.wait(cell)
    assert cell.text == "before the gate\nbehind the gate\n3\n"


def test_both_streams_arrive_as_themselves(talking: Kernel) -> None:
    cell = talking.good("%wpc_call both(1)")
    assert (cell.text, cell.stream("stderr")) == ("out 1\n", "err 1\n")


def test_captured_text_is_captured(talking: Kernel) -> None:
    cell = talking.good("%%capture shown\n%wpc_call both(1)\nwpc.call.both(2).result()")
    assert (cell.text, cell.stream("stderr")) == ("", "")
    assert talking.evaluate("shown.stdout, shown.stderr") == (
        "out 1\nout 2\n",
        "err 1\nerr 2\n",
    )


def test_redirected_text_is_redirected(talking: Kernel) -> None:
    cell = talking.good(
        "import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()) as shown:\n"
        "    wpc.call.talks(1).result()\n"
        "print(repr(shown.getvalue()))"
    )
    assert cell.text == "'line 0\\n'\n"


def test_a_map_loses_no_line_and_all_are_in_its_cell(talking: Kernel) -> None:
    cell = talking.good("%wpc_map talks([10] * 50)")
    lines = [line for line in cell.text.splitlines() if not line.startswith("[worker ")]
    assert sorted(lines) == sorted([f"line {i}" for i in range(10)] * 50)


def test_text_that_comes_while_a_later_cell_runs_goes_to_the_cell_of_its_call(
    started: Kernel, gate: Gate
) -> None:
    started.good(WAITS)
    first = started.good(f"f = wpc.call.waits({str(gate.path)!r})")
    later = started.begin(
        f"print('later begins')\nopen({str(gate.path)!r}, 'w').close()\nf.result()\nprint('later ends')"
    )
    started.wait(later)
    started.until(lambda: "through the gate\n" in first.text)
    assert first.text == "at the gate\nthrough the gate\n"
    assert later.text == "later begins\nlater ends\n"


def test_text_that_comes_when_no_cell_runs_goes_to_the_cell_of_its_call(started: Kernel, gate: Gate) -> None:
    started.good(WAITS)
    first = started.good(f"f = wpc.call.waits({str(gate.path)!r})")
    other = started.good("1 + 1")
    gate.open()
    started.until(lambda: "through the gate\n" in first.text)
    assert first.text == "at the gate\nthrough the gate\n"
    assert other.text == ""


def test_text_of_a_thread_that_a_function_has_left_running_is_not_lost(started: Kernel, gate: Gate) -> None:
    started.good(
        "%%wpc_function\nimport threading\n"
        "def leaves(gate):\n"
        "    def run():\n"
        "        open(gate).read()\n"
        "        print('from the thread')\n"
        "    threading.Thread(target=run).start()\n"
    )
    started.good(f"%wpc_call leaves({str(gate.path)!r})")
    waiting = started.begin(f"import time\nopen({str(gate.path)!r}, 'w').close()\n")
    started.wait(waiting)
    started.until(lambda: any("from the thread\n" in cell.text for cell in started.cells))


def test_text_of_a_call_made_in_a_thread_is_in_the_cell_that_runs(talking: Kernel) -> None:
    cell = talking.good(
        "import threading\nprint('before')\n"
        "thread = threading.Thread(target=lambda: wpc.call.talks(2).result())\nthread.start()\nthread.join()"
    )
    assert cell.text == "before\nline 0\nline 1\n"


def test_text_that_goes_around_python_is_in_the_cell_too(talking: Kernel) -> None:
    cell = talking.good("%wpc_call child()")
    talking.until(lambda: cell.text.count("\n") == 2)
    assert cell.text == "from a child process\nfrom the descriptor\n"


def test_many_texts_travel_in_few_messages(talking: Kernel) -> None:
    # On a slow machine several of the kernel's own flushes come while the calls run: so it makes none.
    talking.good("import sys\nbefore, sys.stdout.flush_interval = sys.stdout.flush_interval, 3600")
    cell = talking.good("for _ in range(200):\n    wpc.call.talks(1).result()")
    talking.good("sys.stdout.flush_interval = before")
    assert cell.text == "line 0\n" * 200
    assert len([kind for kind, _ in cell.messages if kind == "stream"]) < 100


def test_half_of_a_surrogate_pair_loses_nothing(started: Kernel) -> None:
    started.good("%%wpc_function\ndef says(*texts):\n    print(*texts, sep='\\n')")
    assert started.good("%wpc_call -o _ says('a', 'half \\ud83d', 'b')").text == "a\nhalf \\ud83d\nb\n"
    cell = started.good("call = wpc.call.says('a', 'half \\ud83d', 'b')")
    started.good("call.result()")
    started.until(lambda: "b\n" in cell.text)
    assert cell.text == "a\nhalf \\ud83d\nb\n"
