"""`%%wpc_cell` runs a cell in a worker while the notebook goes on; `%%wpc_for` runs one for each item.

What a cell shows is looked up by the parents of the messages: all of it has to be under that cell.
"""

from __future__ import annotations

import re

import pytest

from tests.kernel.kernels import Cell, Gate, Kernel

pytestmark = pytest.mark.kernel

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def shown(cell: Cell) -> list[str]:
    """Return the last state of the card, the value, and whatever else was displayed, without colours."""
    return [_COLOUR.sub("", text) for text in cell.displayed]


def ended(kernel: Kernel, cell: Cell) -> list[str]:
    """Wait for the last state of the card."""
    kernel.until(lambda: re.search(r": (finished|failed|cancelled)", shown(cell)[0]))
    return shown(cell)


def test_a_cell_runs_while_the_notebook_goes_on(started: Kernel, gate: Gate) -> None:
    started.good("rows = [1, 2, 3]\ndef clean(xs): return [x * FACTOR for x in xs]\nFACTOR = 10")
    cell = started.good(
        f"%%wpc_cell -o total\nprint('begins')\n{gate.wait}\ntotal = sum(clean(rows))\ntotal / 2"
    )
    assert cell.text.startswith("takes clean, rows\n")
    started.until(lambda: "begins" in cell.text)
    assert re.match(r"<Cell In\[\d+\]: (queued|running)", shown(cell)[0])
    assert started.good("'total' in globals()").value == "False"
    early = started.run("total + 1")
    assert early.error_name == "NameError"
    assert re.search(
        r"^total is there when Cell In\[\d+\] has ended; %wpc_wait total waits", early.stream("stderr"), re.M
    )
    started.good("rows.append(1000)")
    gate.open()
    started.good("%wpc_wait total")
    assert started.evaluate("total") == 60, "the rows as they were when the cell began"
    card, value = ended(started, cell)
    assert re.fullmatch(r"<Cell In\[\d+\]: finished( in .+)? → total>", card)
    assert value == "30.0"


def test_what_is_registered_is_used_as_it_is(started: Kernel) -> None:
    started.good("%wpc_const SEED 42")
    started.good("SEED = 1\nimport os.path as there")
    cell = started.good("%%wpc_cell\n(SEED, there.join('a', 'b'))")
    assert ended(started, cell)[1] == "(42, 'a/b')"
    assert "takes" not in cell.text


def test_no_list_shows_the_function_of_a_cell(started: Kernel, gate: Gate) -> None:
    cell = started.good(f"%%wpc_cell\n{gate.wait}")
    started.until(lambda: "running" in shown(cell)[0])
    assert "_wpc" not in started.good("%wpc_functions").value
    assert started.evaluate("(dir(wpc.call), len(wpc.get_remote_functions()))") == ([], 0)
    assert "_wpc" not in started.evaluate("wpc.export()")
    assert re.search(r"Cell In\[\d+\] #\d+", started.good("%wpc_status").value)
    gate.open()
    started.good("%wpc_wait")
    started.until_true("not wpc.defined_names()")


def test_several_run_at_once_and_each_shows_its_own(started: Kernel, gate: Gate) -> None:
    # Each waits for the other one: they meet at the two ends of a pipe.
    one = started.good(f"%%wpc_cell\nprint('one')\n{gate.wait}")
    other = started.good(f"%%wpc_cell\nprint('other')\nopen({str(gate.path)!r}, 'w').close()\n'done'")
    started.good("%wpc_wait")
    started.until(lambda: "one\n" in one.text and "other\n" in other.text)
    assert "other" not in one.text
    assert ended(started, one)[1] == "''"
    assert ended(started, other)[1] == "'done'"


def test_an_error_is_shown_under_its_cell_and_told_in_one_line_at_the_next(started: Kernel) -> None:
    cell = started.good("%%wpc_cell\nx = 1\nx / 0\n")
    card, trace = ended(started, cell)
    assert re.fullmatch(r"<Cell In\[\d+\]: failed( in .+)?: ZeroDivisionError: division by zero>", card)
    assert re.search(r"Cell In\[\d+\], line 3\n", trace)
    assert "----> 3 x / 0\n" in trace
    assert "_wpc_cell" not in trace
    told = started.good("1").stream("stderr")
    assert re.fullmatch(r"Cell In\[\d+\] has failed( in .+)?: ZeroDivisionError: division by zero\n", told)
    assert started.good("2").stream("stderr") == ""
    waited = started.run("%wpc_wait")
    assert waited.error_name == "ZeroDivisionError"
    assert started.good("%wpc_wait").text == ""


def test_a_function_of_the_notebook_has_its_lines_in_the_traceback(started: Kernel) -> None:
    started.good("import json\ndef deeper(x):\n    return json.loads(x)\ndef bad(x):\n    return deeper(x)")
    cell = started.good("%%wpc_cell\nbad('{')")
    trace = ended(started, cell)[1]
    assert re.search(r"Cell In\[\d+\], line 5, in bad\(x\)\n", trace)
    assert re.search(r"----> 3 +return json.loads\(x\)\n", trace)
    assert started.run("1").stream("stderr").startswith("Cell In")


def test_a_cell_is_cancelled_by_its_output(started: Kernel, gate: Gate) -> None:
    cell = started.good(f"%%wpc_cell\n{gate.wait}")
    started.until(lambda: "running" in shown(cell)[0])
    (hint,) = re.findall(r"(Out\[\d+\]\.cancel\(\)) stops it", shown(cell)[0])
    assert started.good(hint).value == "True"
    card, value = ended(started, cell)
    assert card.endswith(": cancelled>")
    assert value == ""
    assert started.good("%wpc_wait").stream("stderr") == ""


def test_the_stop_button_ends_a_wait_and_the_cell_goes_on(started: Kernel, gate: Gate) -> None:
    started.good(f"%%wpc_cell -o late\n{gate.wait}\nlate = 5")
    started.good("%config WpcMagics.progress = 0.05")
    waiting = started.begin("%wpc_wait late")
    started.until(lambda: re.search(r"Cell In\[\d+\] runs on worker \d", "".join(waiting.displayed)))
    started.interrupt()
    started.wait(waiting)
    started.good("%config WpcMagics.progress = 60")
    assert waiting.error_name == "KeyboardInterrupt"
    assert re.search(r"Cell In\[\d+\] goes on; Out\[\d+\]\.cancel\(\) stops it", waiting.stream("stderr"))
    gate.open()
    started.good("%wpc_wait late")
    assert started.evaluate("late") == 5


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("nowhere + 1", "the cell uses 'nowhere' (line 2), which is not defined here, either."),
        ("lock", "lock cannot be taken to a worker: lock['a'] is a _thread.lock"),
        ("wpc.call.f()", "the cell uses wpc, which stays in the notebook"),
        ("get_ipython().magic", "the cell uses get_ipython, which stays in the notebook"),
        ("uses(1)", "uses calls registered, which only the workers have"),
        ("return 1", "line 2: 'return' outside function"),
    ],
)
def test_what_cannot_run_in_a_worker_is_one_error_that_names_it(
    started: Kernel, cell: str, message: str
) -> None:
    started.good("%%wpc_function\ndef registered(x): return x")
    started.good("import threading\nlock = {'a': threading.Lock()}\ndef uses(x): return registered(x)")
    said = started.run(f"%%wpc_cell\n{cell}")
    assert message in said.stream("stderr")
    assert len(said.stream("stderr").splitlines()) <= 2
    assert said.displayed == []
    assert started.evaluate("wpc.defined_names()") == {"registered"}


def test_a_cell_may_await_display_and_return_objects_of_the_notebooks_classes(started: Kernel) -> None:
    started.good("import asyncio\nclass Point:\n    def __init__(self, x): self.x = x")
    cell = started.good("%%wpc_cell -o point\nawait asyncio.sleep(0)\ndisplay('look')\npoint = Point(3)")
    started.good("%wpc_wait point")
    assert started.evaluate("(isinstance(point, Point), point.x)") == (True, 3)
    assert "'look'" in ended(started, cell)


def test_the_next_cell_repeats_the_last_state_for_nbconvert(started: Kernel) -> None:
    cell = started.good("%%wpc_cell\n6 * 7")
    started.until(lambda: ended(started, cell)[1] == "42")
    waiting = started.good("%wpc_wait")
    ids = [content["transient"]["display_id"] for kind, content in cell.messages if kind == "display_data"]
    again = {
        content["transient"]["display_id"]: content["data"]["text/plain"]
        for kind, content in waiting.messages
        if kind == "update_display_data"
    }
    assert [again[each].partition(" in ")[0] for each in ids] == [shown(cell)[0].partition(" in ")[0], "42"]


def test_a_card_says_how_far_the_cell_is(started: Kernel, gate: Gate) -> None:
    cell = started.good(f"%%wpc_cell\ncontext.progress(2, 4, 'epochs')\n{gate.wait}")
    started.until(lambda: "epochs 2/4" in shown(cell)[0])
    gate.open()
    assert "epochs" not in ended(started, cell)[0]


def test_an_interrupted_loop_leaves_nothing(started: Kernel, gate: Gate) -> None:
    started.good("big = [1, 2]")
    cell = started.begin(f"%%wpc_for x in range(4)\nprint('here')\n{gate.wait}\nbig[0]")
    started.until(lambda: "here" in cell.text)
    started.interrupt()
    started.wait(cell)
    assert cell.error_name == "KeyboardInterrupt"
    assert "interrupted: 4 calls cancelled" in "".join(cell.displayed)
    assert started.evaluate("len(wpc.defined_names())") == 0


def test_a_loop_runs_its_items_in_all_workers(started: Kernel) -> None:
    started.good("K = [10]\nimport math as m\ndef half(x): return x / 2")
    cell = started.good("%%wpc_for x in range(4) -o results\nprint('item', x)\nhalf(x) + K[0] + m.floor(0.5)")
    assert cell.text.startswith("takes half, K\n")
    assert sorted(re.findall(r"item \d", cell.text)) == ["item 0", "item 1", "item 2", "item 3"]
    assert started.evaluate("results") == [10.0, 10.5, 11.0, 11.5]
    assert started.evaluate("len(wpc.defined_names())") == 0


def test_a_loop_goes_on_after_an_error_or_says_which_item_it_was(started: Kernel) -> None:
    started.good("pairs = [(1, 2), (0, 1), (4, 2)]")
    cell = started.good("%%wpc_for a, b in pairs --keep-going\nb // a")
    assert "1 of 3 items failed" in cell.text
    assert cell.value.startswith("[2, ZeroDivisionError(")
    failed = started.run("%%wpc_for a, b in pairs\nb // a")
    assert failed.error_name == "ZeroDivisionError"
    assert re.search(r"Cell In\[\d+\], line 2\n", failed.error)
    assert "in item 1" in failed.error
    assert started.evaluate("_wpc_partial")[0] == 2


def test_a_loop_that_adds_up_is_refused(started: Kernel) -> None:
    started.good("total = 0")
    said = started.run("%%wpc_for x in range(3)\ntotal += x").stream("stderr")
    assert "the cell changes total from item to item" in said


def test_events_name_a_background_cell_as_its_author_does(started: Kernel) -> None:
    started.good("%%wpc_cell\n1 / 0")
    assert "ZeroDivisionError" in started.run("%wpc_wait").error
    events = started.good("%wpc_events").value
    assert re.search(r"function Cell In\[\d+\]", events), events
    assert "_wpc_" not in events
    assert started.evaluate("'_wpc_' in repr(wpc.events())") is False
