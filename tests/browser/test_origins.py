"""A click in a real JupyterLab: what its call prints is in the Output widget, and under no cell."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.lab import TIMEOUT_S, Notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=TIMEOUT_S * 1000)

WIDGETS = """import ipywidgets
button, out = ipywidgets.Button(description="press here"), ipywidgets.Output()
out.add_class("captures")

def clicked(_):
    with out:
        print("the callback")
        print(wpc.call.talks().result())

button.on_click(clicked)
ipywidgets.VBox([button, out])"""


def test_the_text_of_a_clicks_call_is_in_the_output_widget(open_notebook: Callable[..., Notebook]) -> None:
    notebook = open_notebook(
        "%load_ext wpc_magic\n%wpc_start -n 1",
        "%%wpc_function\ndef talks():\n    print('from', 'a worker')\n    return 'the value'",
        WIDGETS,
        "print('an unrelated', 'cell')",
    )
    notebook.run_all()
    notebook.output("an unrelated cell")
    notebook.page.get_by_role("button", name="press here").click()
    captured = notebook.page.locator(".captures")
    expect(captured).to_have_text("the callback from a worker the value", use_inner_text=True)
    unrelated = notebook.page.locator(".jp-Cell").nth(3).locator(".jp-OutputArea")
    expect(unrelated).to_have_text("an unrelated cell")
    assert notebook.errors == []
