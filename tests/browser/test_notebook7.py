"""The dashboard in a real Notebook 7."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.lab import TIMEOUT_S, Lab, Notebook
from tests.browser.test_dashboard import START

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=TIMEOUT_S * 1000)


@pytest.fixture
def notebook7() -> Iterator[Lab]:
    folder = Path(tempfile.mkdtemp(prefix="browser-"))
    lab = Lab(folder, "notebook")
    try:
        lab.wait_until_up()
        yield lab
    finally:
        lab.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_notebook_7_shows_the_dashboard_and_takes_its_clicks_while_a_cell_runs(
    notebook7: Lab, browser: Browser
):
    name = notebook7.write("notebook7.ipynb", [START, "print('the cell', 'runs')\nuntil('end')"])
    notebook = Notebook(browser.new_page(viewport={"width": 1200, "height": 1000}), notebook7, name).open()
    try:
        notebook.run_all()
        notebook.output("the cell runs")
        worker = notebook.worker(1)
        expect(worker).to_have_attribute("data-state", "ready")
        before = notebook.pid(1)
        notebook.dashboard.get_by_role("button", name="Restart worker 1", exact=True).click()
        notebook.pid(1, other_than=before)
        expect(notebook.event("worker_recycled")).to_be_visible()
        notebook.dashboard.get_by_role("tab", name="Timeline", exact=True).click()
        expect(notebook.dashboard.locator(".wpc-canvas")).to_be_visible()
        expect(notebook.dashboard.locator(".wpc-notice")).to_be_hidden()
        notebook.touch("end")
    finally:
        print(notebook.outputs(), *notebook.errors, sep="\n")
        notebook.close()
