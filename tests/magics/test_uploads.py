"""`%wpc_upload`: what it says on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from tests.magics.conftest import Loaded
from wpc_magic.magics import extension


@pytest.fixture
def real(shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loaded]:
    """A shell in a folder with a module, with the extension over a pool that is not started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "wpc_helpers.py").write_text("import wpc_more")
    (tmp_path / "wpc_more.py").write_text("")
    shell.run_line_magic("load_ext", "wpc_magic")
    yield Loaded(shell, [])
    extension.unload(shell)


def test_on_this_machine_one_line_says_that_it_is_importable(real: Loaded, tmp_path: Path) -> None:
    assert real.run("%wpc_upload wpc_helpers.py") == (
        f"wpc_helpers is importable already: workers of this machine find it in {tmp_path}\n"
    )
    table = real.magic("wpc_upload")
    assert [row[:2] for row in table.rows] == [("wpc_helpers", "wpc_more")]
    assert real.run("%wpc_upload -d wpc_helpers") == "wpc_helpers removed from what is uploaded\n"
    assert real.magic("wpc_upload").caption == "Nothing is uploaded: %wpc_upload helpers.py."


def test_a_mistake_is_told_in_one_line(real: Loaded) -> None:
    assert real.run("%wpc_upload nothing.py") == ("UsageError: there is no file or folder 'nothing.py'\n")
    assert "no name is given. Type for example: %wpc_upload -d helpers" in real.run("%wpc_upload -d")
