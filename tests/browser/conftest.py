"""One JupyterLab and one Chromium for the tests of this folder; each test has its own page and kernel."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.browser.bare import BarePage, Show
from tests.browser.lab import Lab, Notebook, chromium
from tests.dashboard.fakes import FakePool


# For this folder only, which is a package for that: while Playwright runs, its event loop counts as running
# in the main thread, so that `asyncio.run` fails in other tests.
@pytest.fixture(scope="package")
def lab() -> Iterator[Lab]:
    folder = Path(tempfile.mkdtemp(prefix="browser-"))
    lab = Lab(folder)
    try:
        lab.wait_until_up()
        yield lab
    finally:
        lab.close()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def open_notebook(
    lab: Lab, browser: Browser, request: pytest.FixtureRequest
) -> Iterator[Callable[..., Notebook]]:
    """Write a notebook of some cells and open it in a page; shut its kernel down afterwards."""
    opened: list[Notebook] = []

    def open_(*cells: str) -> Notebook:
        name = lab.write(f"{request.node.name.partition('[')[0]}.ipynb", cells)
        page = browser.new_page(viewport={"width": 1200, "height": 1000}, device_scale_factor=1.5)
        opened.append(Notebook(page, lab, name))
        return opened[-1].open()

    yield open_
    for notebook in opened:
        print(notebook.outputs(), *notebook.errors, sep="\n")  # shown by pytest if the test fails
        notebook.close()


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """The folder for screenshots."""
    return Path(os.environ.get("WPC_SHOTS") or tmp_path)


@pytest.fixture
def show(browser: Browser) -> Iterator[Show]:
    """Show a fake pool in a page of its own."""
    shown: list[BarePage] = []

    def show_(pool: FakePool, **options: Any) -> BarePage:
        shown.append(BarePage(browser, pool, **options))
        return shown[-1]

    yield show_
    for page in shown:
        page.close()
    assert [page.errors for page in shown if page.errors] == []
