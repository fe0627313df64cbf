"""The stop button of a real JupyterLab."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.lab import TIMEOUT_S, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=TIMEOUT_S * 1000)

STUBBORN = """%%wpc_function
def stubborn():
    said = False
    while True:
        try:
            if not said:
                said = True
                print("it has", "begun", flush=True)
            while True:
                pass
        except BaseException:
            pass
"""


def test_the_line_of_an_interrupted_cell_changes_when_its_call_has_cost_a_worker(
    open_notebook: Callable[..., Notebook], shots: Path
):
    notebook = open_notebook(
        "%load_ext wpc_magic\n%wpc_start -n 2\n%config WpcMagics.interrupt_grace_ms = 3000",
        STUBBORN,
        "await wpc.call.stubborn()",
    )
    notebook.run_all()
    notebook.output("it has begun")
    notebook.command("notebook:interrupt-kernel")
    cell = notebook.page.locator(".jp-Cell").nth(2)
    line = cell.get_by_text("interrupted: 1 call cancelled")
    expect(line).to_be_visible()
    notebook.wait_for_kernel()  # the cell has ended, and as a rule the worker has not
    expect(line).to_have_text("interrupted: 1 call cancelled, 1 worker replaced")
    shots.mkdir(parents=True, exist_ok=True)
    (shots / "interrupted.png").write_bytes(cell.screenshot(animations="disabled"))
    assert notebook.errors == []
