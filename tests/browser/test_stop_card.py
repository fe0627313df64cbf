"""The button under a card stops its call, while the kernel is busy and while it is not, and is gone then."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.lab import TIMEOUT_S, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=TIMEOUT_S * 1000)

Open = Callable[..., Notebook]

START = """import pathlib, time
%load_ext wpc_magic
%wpc_start -n 2
def until(name):
    while not pathlib.Path(name).exists():
        time.sleep(0.02)"""
FUNCTIONS = """%%wpc_function
import threading
def waits(x):
    threading.Event().wait()"""


def button(cell: Locator) -> Locator:
    return cell.get_by_role("button", name="Stop ")


def cell(notebook: Notebook, number: int) -> Locator:
    return notebook.page.locator(".jp-Cell").nth(number)


def test_it_stops_a_call_while_the_kernel_is_busy_and_is_gone_then(open_notebook: Open, shots: Path) -> None:
    notebook = open_notebook(START, FUNCTIONS, "wpc.call.waits(3)", "until('end')\nprint('end', 'seen')")
    notebook.run_all()
    card, stop = cell(notebook, 2).locator(".wpc-card"), button(cell(notebook, 2))
    expect(card).to_contain_text("running on worker")
    expect(card).to_contain_text(".cancel() stops it")
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        notebook.theme(theme)
        expect(stop).to_be_visible()
        shots.mkdir(parents=True, exist_ok=True)
        picture = notebook.page.screenshot(animations="disabled")
        (shots / f"stop-{theme[11:].lower()}.png").write_bytes(picture)
    stop.click()
    expect(card).to_contain_text("cancelled")
    expect(stop).to_have_count(0)
    expect(notebook.page.get_by_text("end seen")).to_have_count(0)  # the cell still runs
    notebook.touch("end")
    notebook.output("end seen")
    assert notebook.errors == []


def test_it_stops_a_background_cell_and_a_saved_notebook_has_cards_and_no_dead_button(open_notebook: Open):
    notebook = open_notebook(
        START,
        FUNCTIONS,
        "%%wpc_cell\nimport threading\nprint('it has', 'begun')\nthreading.Event().wait()",
        "wpc.call.waits(3)",
    )
    notebook.run_all()
    stopped, running = (cell(notebook, number).locator(".wpc-card") for number in (2, 3))
    stop, other = button(cell(notebook, 2)), button(cell(notebook, 3))
    expect(stop).to_be_visible()
    notebook.wait_for_kernel()  # it is idle
    stop.click()
    expect(stopped).to_contain_text("cancelled")
    expect(stop).to_have_count(0)
    # The other one is saved while it runs.
    expect(other).to_be_visible()
    expect(running).to_contain_text("running on worker")
    expect(running.locator("style")).to_have_count(1)  # hides what stands in its place without the kernel
    notebook.save()
    notebook.shutdown()
    expect(other).to_have_count(0)
    notebook.open(kernel=False)
    expect(stopped).to_contain_text("cancelled")
    expect(running).to_contain_text("running on worker")
    expect(button(notebook.page.locator(".jp-Notebook"))).to_have_count(0)
    dead = notebook.page.get_by_text("Error displaying widget: model not found")
    expect(dead).to_have_count(1)
    expect(dead).to_be_hidden()
    in_cell = cell(notebook, 3).locator(".jp-OutputArea-child").nth(1)
    expect(in_cell).to_have_text("Error displaying widget: model not found")
