"""Runs joblib's own tests of backends with processes for `"wpc"`, and prints the outcomes as JSON.

    python -m tests.joblib_own_tests FOLDER WHICH

FOLDER is an empty one, for the module with the tests, in which the backend is one of the list. WHICH is an
expression, as for ``pytest -k``.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import joblib.test
import pytest

import wpc_magic.joblib

BACKENDS = 'PROCESS_BACKENDS = ["multiprocessing", "loky"]'
PROGRAM = "\nfrom joblib import Parallel, delayed\n"  # in the text of the programs that tests start


def module() -> str | None:
    """Return the text of the tests, with our backend in the list; None: this joblib has other ones."""
    path = Path(joblib.test.__file__).with_name("test_parallel.py")
    text = path.read_text() if path.exists() else ""
    if BACKENDS not in text or PROGRAM not in text:
        return None
    text = text.replace(BACKENDS, BACKENDS[:-1] + ', "wpc"]')
    text = text.replace(PROGRAM, f"{PROGRAM}import wpc_magic.joblib\n")
    # Seconds for a program: too few for all that it starts while the machine is busy.
    text = re.sub(r"timeout=10,(?=\s+stdout)", "timeout=100,", text)
    return text.replace("\nimport joblib\n", "\nimport joblib\nimport wpc_magic.joblib\n", 1)


class Outcomes:
    """A plugin of pytest that notes how each test ends."""

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def pytest_configure(self, config: Any) -> None:
        config.addinivalue_line("markers", "timeout: of a plugin")
        config.addinivalue_line("markers", "thread_unsafe: of a plugin")

    def pytest_runtest_logreport(self, report: Any) -> None:
        name = report.nodeid.partition("::")[2]
        if report.failed or self.found.get(name) != "failed":
            self.found[name] = report.outcome


def main(folder: str, which: str) -> None:
    """Run them."""
    text = module()
    outcomes = Outcomes()
    if text is not None:
        path = Path(folder, "test_parallel_again.py")
        path.write_text(text)
        options = [
            "-k",
            f"wpc and ({which})",
            "-q",
            "-c",
            "/dev/null",
            "--rootdir",
            folder,
            "-p",
            "no:cacheprovider",
        ]
        pytest.main([*options, "-k", f"wpc and ({which})", str(path)], plugins=[outcomes])
        wpc_magic.joblib.stop_workers()
    print("\n" + json.dumps(outcomes.found))


if __name__ == "__main__":
    main(*sys.argv[1:])
