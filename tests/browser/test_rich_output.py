"""What functions show besides text, in a real JupyterLab, in both themes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.lab import TIMEOUT_S, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=TIMEOUT_S * 1000)

SHOWS = """%%wpc_function
import os, sys, time

def shows(n):
    import matplotlib.pyplot as plt
    import pandas as pd
    print("\\x1b[1;32mworker\\x1b[0m of item", n)
    plt.figure(figsize=(4, 1.5))
    plt.plot([n * i % 7 for i in range(20)])
    plt.show()
    display(pd.DataFrame({"item": [n], "square": [n * n]}))

def bars(n):
    for part in range(0, 101, 20):
        print(f"\\rbar {n}: {part} %", end="", file=sys.stderr, flush=True)
        time.sleep(0.1)
    print(file=sys.stderr)

def later(path):
    handle = display("waiting", display_id=True)
    while not os.path.exists(path):
        time.sleep(0.02)
    handle.update("it has arrived")

def floods(n):
    for i in range(n):
        print(f"line {i}\\n" * 10_000, end="")
    print("the flood is", "over")
"""


def test_what_functions_show_is_seen_under_their_cells(
    open_notebook: Callable[..., Notebook], shots: Path
) -> None:
    notebook = open_notebook(
        "%load_ext wpc_magic\n%config WpcMagics.progress = False\n%wpc_start -n 3",
        SHOWS,
        "import os\ncall = wpc.call.later(os.path.abspath('end'))",
        "wpc.call.shows(3).result()",
        "list(wpc.map('bars', [1, 2], chunk_size=1));",
        "print('all', 'shown')",
    )
    notebook.run_all()
    notebook.output("all shown")
    cells = notebook.page.locator(".jp-Cell")
    shown = cells.nth(3).locator(".jp-OutputArea")
    expect(shown.locator("[class*='ansi-green']")).to_have_text("worker")
    expect(shown.locator("table")).to_contain_text("square")
    picture = shown.locator("img")
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("image => image.naturalWidth") > 100
    bars = cells.nth(4).locator(".jp-OutputArea-output")
    expect(bars).to_have_count(2)
    for n in (1, 2):  # the one that began first is above
        expect(bars.filter(has_text=f"bar {n}: ")).to_have_text(f"bar {n}: 100 %")
    expect(cells.nth(2).locator(".jp-OutputArea")).to_contain_text("waiting")
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        notebook.theme(theme)
        path = shots / f"rich-output-{theme.split()[1].lower()}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(notebook.page.screenshot(animations="disabled"))
    notebook.touch("end")
    expect(cells.nth(2).locator(".jp-OutputArea")).to_have_text("'it has arrived'")
    assert notebook.errors == []


def test_a_flood_is_cut_before_the_server_does(open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook(
        "%load_ext wpc_magic\n%wpc_start -n 1",
        SHOWS,
        "wpc.call.floods(300).result()",
        "print('al', 'ive')",
    )
    notebook.run_all()
    notebook.output("al ive")
    flood = notebook.page.locator(".jp-Cell").nth(2).locator(".jp-OutputArea")
    expect(flood).to_contain_text("more lines")
    expect(flood).to_contain_text("the flood is over")
    assert "rate exceeded" not in notebook.outputs()
    assert "rate exceeded" not in notebook.lab.log
