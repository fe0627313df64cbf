"""The line of a long wait, in a real JupyterLab, light and dark."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.lab import TIMEOUT_S, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=TIMEOUT_S * 1000)

TRAINS = """%%wpc_function
import threading
def trains(n, folder):
    context.progress(n, 40, "epoch")
    if n >= 30:
        while not threading.Event().wait(0.05):
            try:
                open(folder + "/go").close()
                break
            except OSError:
                pass
    if n % 10 == 3:
        raise ValueError("no date")
    return n
"""


def test_a_map_shows_its_line_while_it_runs_and_when_it_is_over(
    open_notebook: Callable[..., Notebook], shots: Path, tmp_path: Path
):
    notebook = open_notebook(
        "%load_ext wpc_magic\n%wpc_start -n 2",
        TRAINS,
        f"%wpc_map --keep-going --chunk-size 1 -o x trains(range(40), [{str(tmp_path)!r}] * 40)",
    )
    notebook.run_all()
    cell = notebook.page.locator(".jp-Cell").nth(2)
    line = cell.locator(".wpc-progress")
    expect(line).to_contain_text("item 30/40 · ")
    expect(line).to_contain_text("epoch 30/40")
    expect(line.locator("progress").first).to_have_attribute("value", "0.750")
    shots.mkdir(parents=True, exist_ok=True)
    (shots / "progress.png").write_bytes(cell.screenshot(animations="disabled"))
    notebook.theme("JupyterLab Dark")
    (shots / "progress-dark.png").write_bytes(cell.screenshot(animations="disabled"))
    (tmp_path / "go").touch()
    expect(line).to_contain_text("40 items in ")
    expect(line.locator("progress")).to_have_count(0)
    (shots / "progress-end.png").write_bytes(cell.screenshot(animations="disabled"))
    assert notebook.errors == []
