"""What stays in a notebook that papermill has run, and in its page."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbconvert import HTMLExporter

pytestmark = [pytest.mark.kernel, pytest.mark.slow]

DEADLINE_S = 240
CELLS = [
    "%load_ext wpc_magic\n%wpc_start -n 2\n%config WpcMagics.progress = 0.1",
    "%%wpc_function\nimport time\ndef nap(s):\n    print(f'slept {s} s')\n    time.sleep(s)\n    return s",
    "naps = %wpc_map --chunk-size 1 nap([0.2] * 4)",
    "%%wpc_cell -o third\nthird = 1 / 3\nthird",
    "%wpc_wait third",
    "future = wpc.call.nap(0.1)\nfuture.result()\nfuture",
    "wpc.call.nap('x').exception()",
    "round(third, 2), naps",
    "wpc.call.nap(0.05)",
    "import time\nwhile not _.done():\n    time.sleep(0.01)",
    "'the next cell'",
]


def test_papermill_and_its_page_keep_what_cells_have_shown_last(tmp_path: Path) -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "in.ipynb")
    folders = {name: str(tmp_path / name) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR")}
    done = subprocess.run(
        [sys.executable, "-m", "papermill", "--no-progress-bar", "in.ipynb", "out.ipynb"],
        cwd=tmp_path,
        env={**os.environ, **folders},
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, done.stderr
    saved = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    shown = ["\n".join(map(text_of, cell.outputs)) for cell in saved.cells if cell.cell_type == "code"]
    assert shown[2].count("slept 0.2 s") == 4
    assert "4 items in " in shown[2]
    assert "/4" not in shown[2], "only the last state"
    assert "nap(0.1)" in shown[5] or "CallFuture nap" in shown[5]
    assert "TypeError" in shown[6]
    assert "(0.33, [0.2, 0.2, 0.2, 0.2])" in shown[7]
    # What it prints may come before its card; one that has ended by then is shown without its arguments.
    assert re.search(
        r"^<CallFuture nap(\(0\.05\))? #\d+: finished in .+ → 0\.05>$", shown[8], re.MULTILINE
    ), shown[8]
    page, _ = HTMLExporter().from_notebook_node(saved)
    for text in ("4 items in ", "slept 0.2 s", "TypeError"):
        assert text in page


def text_of(output: nbformat.NotebookNode) -> str:
    """Return an output as plain text."""
    return str(output.get("text") or output.get("data", {}).get("text/plain", ""))
