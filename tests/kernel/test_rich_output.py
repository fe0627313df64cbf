"""What functions show besides text, in the cell that made the call."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tests.kernel.kernels import Cell, Gate, Kernel

pytestmark = pytest.mark.kernel

SHOWS = """%%wpc_function
import sys

class Bold:
    def __init__(self, text):
        self.text = text
    def __repr__(self):
        return self.text
    def _repr_html_(self):
        return f"<b>{self.text}</b>"

def shows(text):
    print("before", text)
    display(Bold(text))
    print("after", text)
    return text

def shows_frame():
    import pandas as pd
    display(pd.DataFrame({"a": [1, 2]}))

def updates(gate):
    handle = display("begun", display_id=True)
    open(gate).read()
    handle.update("done")

def clears():
    from IPython.display import HTML, clear_output, display
    display("old")
    clear_output(wait=True)
    display(HTML("<i>new</i>"))

def imported():
    return [name for name in ("IPython", "logging", "matplotlib") if name in sys.modules]

def plots(how):
    import matplotlib.pyplot as plt
    print("plots")
    plt.plot([1, 2])
    if how == "show":
        plt.show()
        print("shown")
    elif how == "figure":
        plt.gcf().show()
    elif how == "raise":
        raise ValueError("after plotting")
    elif how == "close":
        plt.close()
    return plt.get_fignums(), plt.get_backend()
"""

PNG = b"\x89PNG\r\n"


@pytest.fixture
def started(started: Kernel) -> Kernel:
    """Without the line of a long wait, which is a display, too."""
    started.good("%config WpcMagics.progress = False")
    return started


@pytest.fixture
def showing(started: Kernel) -> Kernel:
    started.good(SHOWS)
    return started


def shown(cell: Cell) -> list[Any]:
    """Return the lines of text and the mime bundles of a cell, in order."""
    found: list[Any] = []
    stream = text = ""  # a line may come in several messages
    for kind, content in [*cell.messages, ("end", {})]:
        if kind != "stream" or content["name"] != stream:
            found += text.splitlines()
            stream = text = ""
        if kind == "stream":
            stream, text = content["name"], text + content["text"]
        elif kind in ("display_data", "update_display_data"):
            found.append(content["data"])
        elif kind == "clear_output":
            found.append(kind)
    return found


def is_picture(data: dict[str, str]) -> bool:
    return base64.b64decode(data["image/png"]).startswith(PNG) and data["text/plain"].startswith(
        "<Figure size"
    )


def test_display_needs_no_import_and_stands_among_the_text(showing: Kernel) -> None:
    cell = showing.good("print('first')\nwpc.call.shows('it').result()\nprint('last')")
    assert shown(cell) == [
        "first",
        "before it",
        {"text/plain": "it", "text/html": "<b>it</b>"},
        "after it",
        "last",
    ]


def test_a_data_frame_is_a_table(showing: Kernel) -> None:
    (data,) = showing.good("wpc.call.shows_frame().result()").bundles
    assert "<table" in data["text/html"]
    assert data["text/plain"].split() == ["a", "0", "1", "1", "2"]


def test_what_is_displayed_later_and_updated_belongs_to_the_cell_of_the_call(
    showing: Kernel, gate: Gate
) -> None:
    first = showing.good(f"call = wpc.call.updates({str(gate.path)!r})")
    showing.until(lambda: first.bundles == [{"text/plain": "'begun'"}])
    other = showing.good("1 + 1")
    gate.open()
    showing.until(lambda: first.displayed == ["'done'"])
    assert [kind for kind, _ in first.messages if "display" in kind] == [
        "display_data",
        "update_display_data",
    ]
    assert other.displayed == []


def test_the_display_of_ipython_is_the_same_and_what_is_displayed_can_be_cleared(showing: Kernel) -> None:
    cell = showing.good("wpc.call.clears().result()")
    assert shown(cell)[:2] == [{"text/plain": "'old'"}, "clear_output"]
    assert shown(cell)[2]["text/html"] == "<i>new</i>"


def test_captured_displays_are_captured(showing: Kernel) -> None:
    cell = showing.good("%%capture it\n_ = wpc.call.shows('it').result()")
    assert shown(cell) == []
    assert showing.evaluate("it.stdout, [each.data for each in it.outputs]") == (
        "before it\nafter it\n",
        [{"text/plain": "it", "text/html": "<b>it</b>"}],
    )


def test_a_worker_imports_only_what_its_functions_use(showing: Kernel) -> None:
    showing.good("wpc.call.shows('it').result()")
    assert showing.evaluate("[wpc.call.imported.options(worker_id=n)().result() for n in (1, 2)]") == [[], []]


def test_figures_are_shown_where_the_function_shows_them_and_else_at_its_end(showing: Kernel) -> None:
    cell = showing.good("print(wpc.call.plots('show').result())")
    before, picture, after, value = shown(cell)
    assert (before, after, value) == ("plots", "shown", "([], 'agg')")
    assert is_picture(picture)
    cell = showing.good("print(wpc.call.plots('leave').result())")
    before, picture, value = shown(cell)
    assert (before, value) == ("plots", "([1], 'agg')")
    assert is_picture(picture)
    assert is_picture(shown(showing.good("wpc.call.plots('figure').result()"))[1])
    assert shown(showing.good("wpc.call.plots('close').result()")) == ["plots"]


def test_the_figure_of_a_call_that_fails_is_shown_too(showing: Kernel) -> None:
    cell = showing.run("wpc.call.plots('raise').result()")
    assert cell.error_name == "ValueError"
    assert [is_picture(data) for data in cell.bundles] == [True]


def test_each_item_of_a_map_has_a_figure_of_its_own(showing: Kernel) -> None:
    showing.good(
        "%%wpc_function\n"
        "def lines(n):\n"
        "    import matplotlib.pyplot as plt\n"
        "    plt.plot([n, n])\n"
        "    return len(plt.gca().lines)"
    )
    cell = showing.good("print(list(wpc.map('lines', range(20), chunk_size=10)))")
    assert cell.text == f"{[1] * 20}\n"
    assert len(cell.bundles) == 20


WARNS = """%%wpc_function
import logging, warnings

def warns(n):
    warnings.warn("careful")
    warnings.warn("old", DeprecationWarning)
    return n

def logs(level, name="mine.part"):
    logging.getLogger(name).log(level, "level %s", level)

def logs_an_error(n):
    try:
        n / 0
    except ZeroDivisionError:
        logging.getLogger("mine").exception("failed", extra={"item": n})

def logs_to_the_console():
    logging.basicConfig(format="own: %(message)s", force=True)
    logging.getLogger("mine").error("once")
    logging.getLogger().handlers.clear()

def logs_later(gate):
    open(gate).read()
    logging.getLogger("mine").error("later")
"""


@pytest.fixture
def warning(started: Kernel) -> Kernel:
    started.good(WARNS)
    return started


def test_a_warning_is_shown_once_under_each_cell_with_its_line(warning: Kernel) -> None:
    definition = warning.evaluate("len(get_ipython().history_manager.input_hist_parsed)") - 2
    for _ in range(2):
        cell = warning.good("values = list(wpc.map('warns', range(20), chunk_size=1))")
        lines = cell.stream("stderr").splitlines()
        assert [line.strip() for line in lines[1::2]] == [
            'warnings.warn("careful")',
            'warnings.warn("old", DeprecationWarning)',
        ]
        assert lines[::2] == [
            f"Cell In[{definition}], line 5: UserWarning: careful",
            f"Cell In[{definition}], line 6: DeprecationWarning: old",
        ]


def test_log_records_go_to_the_loggers_of_the_kernel_by_its_levels(warning: Kernel) -> None:
    cell = warning.good(
        "import logging\n"
        "class Keeps(logging.Handler):\n"
        "    kept = []\n"
        "    def emit(self, r):\n"
        "        self.kept.append((r.name, r.levelname, r.getMessage(), r.worker_id, r.call.split(' ')[0]))\n"
        "logger = logging.getLogger('mine')\n"
        "logger.addHandler(Keeps())\n"
        "logs = wpc.call.logs.options(worker_id=2)\n"
        "for level in (None, logging.DEBUG, logging.ERROR):\n"
        "    if level: logger.setLevel(level)\n"
        "    for each in (logging.DEBUG, logging.INFO, logging.WARNING): logs(each).result()\n"
        "logger.setLevel(logging.NOTSET)\n"
        "logger.handlers.clear()\n"
    )
    assert cell.messages[1:] == []
    assert warning.evaluate("Keeps.kept") == [
        ("mine.part", "WARNING", "level 30", 2, "logs"),
        ("mine.part", "DEBUG", "level 10", 2, "logs"),
        ("mine.part", "INFO", "level 20", 2, "logs"),
        ("mine.part", "WARNING", "level 30", 2, "logs"),
    ]


def test_a_record_brings_its_traceback_and_its_own_attributes(warning: Kernel) -> None:
    cell = warning.good(
        "import logging, sys\n"
        "handler = logging.StreamHandler(sys.stderr)\n"
        "form = '%(levelname)s %(item)s [worker %(worker_id)s] %(message)s'\n"
        "handler.setFormatter(logging.Formatter(form))\n"
        "logging.getLogger('mine').addHandler(handler)\n"
        "wpc.call.logs_an_error.options(worker_id=1)(7).result()\n"
        "logging.getLogger('mine').removeHandler(handler)"
    )
    lines = cell.stream("stderr").splitlines()
    assert lines[:2] == ["ERROR 7 [worker 1] failed", "Traceback (most recent call last):"]
    assert lines[-1] == "ZeroDivisionError: division by zero"


def test_a_record_that_the_worker_has_printed_itself_is_not_shown_again(warning: Kernel) -> None:
    assert warning.good("wpc.call.logs_to_the_console().result()").stream("stderr") == "own: once\n"


def test_a_record_that_comes_later_is_shown_under_the_cell_of_its_call(warning: Kernel, gate: Gate) -> None:
    first = warning.good(f"call = wpc.call.logs_later({str(gate.path)!r})")
    other = warning.begin(f"open({str(gate.path)!r}, 'w').close()\ncall.result()")
    warning.wait(other)
    warning.until(lambda: first.stream("stderr") == "later\n")
    assert other.stream("stderr") == ""


def test_each_block_names_its_worker_once_where_several_print(started: Kernel, gate: Gate) -> None:
    started.good(
        "%%wpc_function\n"
        "def says(gate, n):\n"
        "    open(gate).read()\n"
        "    for i in range(2): print('from', n, flush=True)\n"
        "    open(gate).read()"
    )
    gates = [Gate(gate.path.with_name(f"gate {n}")) for n in (1, 2)]
    paths = [str(each.path) for each in gates]
    cell = started.begin(
        f"calls = [wpc.call.says.options(worker_id=n)(path, n) for n, path in zip((1, 2), {paths})]\n"
        "print('made', flush=True)\nfor call in calls: call.result()"
    )
    started.until(lambda: "made\n" in cell.text)  # else the first may print before there is another one
    gates[0].open()
    started.until(lambda: cell.text.count("from 1") == 2)
    gates[1].open()
    started.until(lambda: cell.text.count("from 2") == 2)
    gates[0].open()
    gates[1].open()
    started.wait(cell)
    assert cell.text == "made\n[worker 1]\nfrom 1\nfrom 1\n[worker 2]\nfrom 2\nfrom 2\n"


def test_calls_one_after_another_are_not_named(started: Kernel) -> None:
    started.good("%%wpc_function\ndef says(n): print('from', n)")
    cell = started.good("for n in (1, 2): wpc.call.says.options(worker_id=n)(n).result()")
    assert cell.text == "from 1\nfrom 2\n"


def test_a_flood_is_cut_to_what_a_front_end_takes_and_its_end_is_shown(started: Kernel) -> None:
    started.good("%%wpc_function\ndef floods(n):\n    for i in range(n): print('line', i)\n    print('done')")
    cell = started.good("wpc.call.floods(300_000).result()")
    started.until(lambda: cell.text.endswith("done\n"))
    lines = cell.text.splitlines()
    assert lines[0] == "line 0"
    gaps = [int(line.split()[1].replace(",", "")) for line in lines if line.startswith("…")]
    assert sum(gaps) + len(lines) - len(gaps) == 300_001
    assert len(cell.text) < 4_000_000
    captured = started.good("%%capture it\nwpc.call.floods(300_000).result()")
    assert captured.text == ""
    assert started.evaluate("it.stdout.count('\\n')") == 300_001


def test_bars_of_several_workers_each_have_a_line_of_their_own(started: Kernel, gate: Gate) -> None:
    started.good(
        "%%wpc_function\n"
        "import sys\n"
        "def bar(gate, n):\n"
        "    for part in (20, 60):\n"
        "        print(f'\\r{n}: {part} %', end='', file=sys.stderr, flush=True)\n"
        "        open(gate).read()\n"
        "    print(f'\\r{n}: 100 %\\ndone', n, file=sys.stderr)"
    )
    gates = [Gate(gate.path.with_name(f"gate {n}")) for n in (1, 2)]
    paths = [str(each.path) for each in gates]
    cell = started.begin(
        f"calls = [wpc.call.bar.options(worker_id=n)(path, n) for n, path in zip((1, 2), {paths})]\n"
        "for call in calls: call.result()"
    )
    for shown in (["1: 20 %", "2: 20 %"], ["1: 60 %", "2: 60 %"]):
        started.until(lambda shown=shown: sorted(cell.displayed) == shown)  # type: ignore[misc]
        for each in gates:
            each.open()
    started.wait(cell)
    assert sorted(cell.displayed) == ["1: 100 %", "2: 100 %"]
    text = cell.stream("stderr")
    assert [text.count(each) for each in ("done 1\n", "done 2\n", "%", "\r")] == [1, 1, 0, 0]


def test_a_bar_has_a_line_of_its_own_before_another_worker_begins(started: Kernel, gate: Gate) -> None:
    started.good(
        "%%wpc_function\n"
        "import sys\n"
        "def bar(gate):\n"
        "    print('\\r0 %', end='', file=sys.stderr, flush=True)\n"
        "    open(gate).read()\n"
        "    print('\\r100 %', file=sys.stderr)"
    )
    cell = started.begin(f"wpc.call.bar({str(gate.path)!r}).result()")
    started.until(lambda: cell.displayed == ["0 %"])
    gate.open()
    started.wait(cell)
    assert cell.displayed == ["100 %"]
    assert cell.stream("stderr") == ""
