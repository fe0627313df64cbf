"""Takes the README's picture: a notebook at work, in a real JupyterLab.

python -m tests.browser.picture notebooks/picture.png
"""

from __future__ import annotations

import io
import re
import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser

from tests.browser.lab import Lab, Notebook, chromium

CELLS = [
    """%load_ext wpc_magic
%wpc_dep numpy as np""",
    """%%wpc_function
def simulate(n):
    \"\"\"The mean of the largest of n random numbers.\"\"\"
    dice = np.random.default_rng(n)
    return np.mean([dice.normal(size=n).max() for _ in range(3_000)])""",
    "%wpc_dashboard",
    """%%wpc_cell -o limit
dice = np.random.default_rng(1)
limit = np.mean([dice.normal(size=1_000_000).max() for _ in range(10_000)])""",
    "means = %wpc_map simulate(range(100, 700))",
]
SIZE = {"width": 1240, "height": 1040}
COLOURS = 128


def take(browser: Browser, lab: Lab) -> bytes:
    """Return a screenshot of the notebook, while its calls run."""
    page = browser.new_page(viewport=SIZE, device_scale_factor=1.25)
    notebook = Notebook(page, lab, lab.write("simulate.ipynb", CELLS)).open()
    try:
        notebook.theme("JupyterLab Light")
        notebook.command("application:toggle-left-area")
        notebook.run_all()
        page.get_by_role("tab", name="Timeline").first.click()
        page.locator(".jp-OutputArea-output", has_text=re.compile(r"item [23]\d\d/")).first.wait_for()
        page.locator(".jp-Notebook .jp-Cell").first.scroll_into_view_if_needed()
        return bytes(page.locator(".jp-Notebook").screenshot(animations="disabled"))
    finally:
        notebook.close()


def main(target: Path) -> None:
    folder = Path(tempfile.mkdtemp(prefix="picture-"))
    lab = Lab(folder)
    try:
        lab.wait_until_up()
        with chromium() as browser:
            shot = take(browser, lab)
    finally:
        lab.close()
        shutil.rmtree(folder, ignore_errors=True)
    with Image.open(io.BytesIO(shot)) as picture:
        picture.convert("RGB").quantize(COLOURS).save(target, optimize=True)
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
