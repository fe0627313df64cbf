"""The table of the README says what these tests show."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tests.contract.promises import PROMISES

FOLDER = Path(__file__).parent
README = (FOLDER.parents[1] / "README.md").read_text(encoding="utf-8")
HEAD = "| promise | on this machine | on a Dask cluster |"


def test_every_test_of_this_folder_shows_one_promise() -> None:
    found = [
        name
        for path in FOLDER.glob("test_*.py")
        if path.name != Path(__file__).name
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert Counter(found) == Counter(name for promise in PROMISES for name in promise.tests)


def test_the_readme_says_what_holds_where() -> None:
    _, _, rest = README.partition(f"{HEAD}\n")
    rows = [line.strip("| ").split(" | ") for line in rest.partition("\n\n")[0].splitlines()[1:]]
    assert rows == [[promise.what, promise.local, promise.cluster] for promise in PROMISES]
