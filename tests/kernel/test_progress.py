"""Long waits show how far they are, under the cell that waits."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbconvert import HTMLExporter

from tests.kernel.conftest import WAITS
from tests.kernel.kernels import DEADLINE_S, Cell, Gate, Kernel

pytestmark = pytest.mark.kernel

AT_ONCE = "%config WpcMagics.progress = 0.001"


@pytest.fixture
def showing(started: Kernel) -> Kernel:
    started.good(WAITS)
    started.good(AT_ONCE)
    return started


def bundles(cell: Cell) -> list[dict[str, Any]]:
    """Return all states of what a cell displays."""
    return [
        content["data"] for kind, content in cell.messages if kind in ("display_data", "update_display_data")
    ]


@pytest.mark.parametrize(
    "code",
    [
        "wpc.call.waits({gate!r}, 7).result()",
        "await wpc.call.waits({gate!r}, 7)",
        "%wpc_call waits({gate!r}, 7)",
        "import concurrent.futures as f\nmine = wpc.call.waits({gate!r}, 7)\nf.wait([mine])\nmine.result()",
    ],
)
def test_a_call_shows_what_it_waits_for_and_how_long_it_took(showing: Kernel, gate: Gate, code: str) -> None:
    cell = showing.begin(code.format(gate=str(gate.path)))
    showing.until(lambda: any("runs on worker" in each["text/plain"] for each in bundles(cell)))
    (shown,) = cell.displayed
    assert shown.startswith("waits('/")
    gate.open()
    showing.wait(cell)
    assert "7" in cell.value
    (shown,) = cell.displayed
    assert "took" in shown
    assert all("<progress" in each["text/html"] or "<div" in each["text/html"] for each in bundles(cell))


@pytest.mark.parametrize(
    "code",
    [
        "%wpc_map -o found --chunk-size 1 waits(gates, range(3))",
        "found = list(wpc.map('waits', gates, range(3), chunk_size=1))",
        "found = await wpc.map('waits', gates, range(3), chunk_size=1)",
        "found = sorted(wpc.map('waits', gates, range(3), chunk_size=1, ordered=False))",
        "found = wpc.map('waits', gates, range(3), chunk_size=1).result()",
    ],
)
def test_a_map_shows_how_far_it_is_and_how_busy_the_workers_were(
    showing: Kernel, gate: Gate, code: str
) -> None:
    showing.good(f"gates = ['/dev/null', '/dev/null', {str(gate.path)!r}]")
    cell = showing.begin(code)
    showing.until(lambda: any("item 2/3 · " in each["text/plain"] for each in bundles(cell)))
    showing.until(lambda: cell.text.count("at the gate") == 3)  # what runs for too short is not measured
    gate.open()
    showing.wait(cell)
    (shown,) = cell.displayed
    assert shown.startswith("3 items in ")
    assert shown.endswith(" % busy")
    assert showing.evaluate("found") == [0, 1, 2]
    assert "<progress" in bundles(cell)[-2]["text/html"]


def test_a_map_that_is_stopped_says_so_under_its_cell(showing: Kernel, gate: Gate) -> None:
    showing.good(f"gates = ['/dev/null', '/dev/null', {str(gate.path)!r}]")
    cell = showing.begin("list(wpc.map('waits', gates, range(3), chunk_size=1))")
    showing.until(lambda: any("item 2/3 · " in each["text/plain"] for each in bundles(cell)))
    showing.interrupt()
    showing.wait(cell)
    assert any(each.startswith("stopped after 2 of 3 items in ") for each in cell.displayed)
    assert cell.error.splitlines()[-1].startswith("2 of 3 done; they are in error.partial")


def test_a_call_whose_wait_is_interrupted_is_not_said_to_go_on(showing: Kernel, gate: Gate) -> None:
    cell = showing.begin(f"wpc.call.waits({str(gate.path)!r}, 7).result()")
    showing.until(lambda: any("runs on worker" in each["text/plain"] for each in bundles(cell)))
    showing.interrupt()
    showing.wait(cell)
    shown, interrupted = cell.displayed
    assert re.fullmatch(r"waits\('/.+ was stopped after .+", shown)
    assert interrupted == "interrupted: 1 call cancelled"


def test_a_function_adds_its_own_line(showing: Kernel, gate: Gate) -> None:
    showing.good(
        "%%wpc_function\ndef trains(gate):\n    context.progress(30, 120, 'epoch')\n    open(gate).read()\n"
    )
    cell = showing.begin(f"wpc.call.trains({str(gate.path)!r}).result()")
    showing.until(lambda: any("epoch 30/120" in each["text/plain"] for each in bundles(cell)))
    assert "█████░░░░░░░░░░░░░░░ epoch 30/120 · worker" in cell.displayed[0]
    gate.open()
    showing.wait(cell)


def test_a_wait_in_a_later_cell_is_shown_there(showing: Kernel, gate: Gate) -> None:
    made = showing.good(f"mine = wpc.call.waits({str(gate.path)!r}, 7)")
    cell = showing.begin("mine.result()")
    showing.until(lambda: any("runs on worker" in each["text/plain"] for each in bundles(cell)))
    gate.open()
    showing.wait(cell)
    assert made.displayed == []


def test_a_wait_in_a_thread_is_shown_under_the_cell_that_has_started_the_thread(
    showing: Kernel, gate: Gate
) -> None:
    cell = showing.good(
        "import threading\n"
        f"thread = threading.Thread(target=lambda: wpc.call.waits({str(gate.path)!r}, 7).result())\n"
        "thread.start()"
    )
    showing.until(lambda: any("runs on worker" in each["text/plain"] for each in bundles(cell)))
    later = showing.good("1 + 1")
    gate.open()
    showing.until(lambda: "took" in cell.displayed[0])
    showing.good("thread.join()")
    assert later.displayed == []


def test_a_quick_call_and_a_setting_show_nothing(started: Kernel, gate: Gate) -> None:
    started.good(WAITS)
    started.good("%config WpcMagics.progress = 'auto'")  # two seconds
    started.good("%config WpcMagics.progress = 60")
    assert started.good("wpc.call.where().result()").displayed == []
    started.good("%config WpcMagics.progress = False")
    cell = started.begin(f"wpc.call.waits({str(gate.path)!r}).result()")
    started.until(lambda: "at the gate" in cell.text)
    gate.open()
    started.wait(cell)
    assert cell.displayed == []
    shown = started.run("%config WpcMagics.progress = 'often'")
    assert (
        "progress takes 'auto', False or a number of seconds above 0, not 'often'"
        in shown.stream("stderr") + shown.error
    )


def test_a_cell_that_captures_its_output_captures_no_progress(showing: Kernel) -> None:
    showing.good("%%wpc_function\nimport threading\ndef naps(s):\n    threading.Event().wait(s)\n")
    showing.good("%%capture shown\nwpc.call.naps(0.3).result()")
    assert showing.evaluate("len(shown.outputs)") == 0


def test_a_bar_of_tqdm_knows_the_length_of_a_map_and_is_the_only_bar(showing: Kernel) -> None:
    showing.good(
        "import types\n"
        "tqdm = types.ModuleType('tqdm.std')\n"
        "exec('def bar(iterable):\\n    global total\\n    total = len(iterable)\\n"
        "    for each in iterable: yield each', tqdm.__dict__)"
    )
    cell = showing.good("sum(tqdm.bar(wpc.map('waits', ['/dev/null'] * 20, range(20))))")
    assert cell.displayed == []
    assert showing.evaluate("tqdm.total") == 20


def test_a_notebook_that_runs_without_a_front_end_keeps_the_last_state(tmp_path: Path) -> None:
    cells = [
        f"%load_ext wpc_magic\n%wpc_start -n 1\n{AT_ONCE}",
        "%%wpc_function\nimport threading\ndef naps(s):\n    return threading.Event().wait(s)\n",
        "x = list(wpc.map('naps', [0.2] * 2, chunk_size=1))",
        "x = await wpc.call.naps(0.2)",
        "%wpc_stop",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbformat.write(notebook, tmp_path / "waits.ipynb")
    subprocess.run(
        [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--inplace", "waits.ipynb"],
        cwd=tmp_path,
        env={**os.environ, "IPYTHONDIR": str(tmp_path / "ipython")},
        timeout=DEADLINE_S,
        check=True,
    )
    notebook = nbformat.read(tmp_path / "waits.ipynb", as_version=4)
    (of_map,) = notebook.cells[2].outputs
    assert re.fullmatch(r"2 items in .+ s · workers \d+ % busy", of_map.data["text/plain"])
    (of_call,) = notebook.cells[3].outputs
    assert re.fullmatch(r"naps\(0\.2\) took .+ s", of_call.data["text/plain"])
    page, _ = HTMLExporter().from_notebook_node(notebook)
    assert html.escape(of_map.data["text/plain"]) in page
