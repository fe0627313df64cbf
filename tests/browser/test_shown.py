"""Futures and the pool in a real JupyterLab: a card follows its call, and tables are tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.lab import TIMEOUT_S, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=TIMEOUT_S * 1000)

FUNCTIONS = """%%wpc_function
def half(x):
    return x / 2"""


def test_a_card_follows_its_call_also_to_its_error(
    open_notebook: Callable[..., Notebook], shots: Path
) -> None:
    notebook = open_notebook(
        "%load_ext wpc_magic\n%wpc_start -n 1", FUNCTIONS, "wpc.call.half(3)", "wpc", "wpc.call.half('x')"
    )
    notebook.run_all()
    cards = notebook.page.locator(".wpc-card")
    expect(cards.nth(0)).to_contain_text("finished")
    expect(cards.nth(0)).to_contain_text("→ 1.5")
    expect(cards.nth(1)).to_contain_text("failed")
    expect(cards.nth(1)).to_contain_text("TypeError: unsupported operand")
    expect(notebook.page.locator("table.wpc-table").first).to_contain_text("ready")
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        notebook.theme(theme)
        (shots / f"cards-{theme[11:].lower()}.png").write_bytes(
            notebook.page.screenshot(animations="disabled")
        )
    assert notebook.errors == []
