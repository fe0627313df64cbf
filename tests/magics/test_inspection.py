"""What `?` and `??` say of registered functions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from tests.magics.conftest import Loaded
from wpc_magic.magics import extension

CELL = '''
%%wpc_function
def helper(x):
    return x

def simulate(n: int, scale: "float" = 1.0, *, seed: int | None = None) -> float:
    """The mean.

    More text.
    """
    # as its author wrote it
    return float(helper(n) * scale)   # also here
'''


def shown(loaded: Loaded, name: str, detail_level: int = 0) -> str:
    """Return what a question mark shows, without colours."""
    data: dict[str, Any] = loaded.shell.object_inspect_mime(name, detail_level=detail_level)
    return re.sub(r"\x1b\[[0-9;]*m", "", data["text/plain"])


@pytest.fixture
def loaded(shell: InteractiveShell) -> Iterator[Loaded]:
    """A shell with the extension, over a real pool."""
    shell.run_line_magic("load_ext", "wpc_magic")
    yield Loaded(shell, [])
    extension.unload(shell)


@pytest.fixture
def defined(loaded: Loaded) -> Loaded:
    loaded.run(CELL)
    return loaded


@pytest.mark.parametrize("name", ["wpc.call.simulate", "simulate"])
def test_a_question_mark_shows_signature_docstring_and_place(defined: Loaded, name: str) -> None:
    text = shown(defined, name)
    assert "wpc.call.simulate(n: int, scale: 'float' = 1.0, *, seed: int | None = None) -> float" in text
    assert "The mean.\n\nMore text." in text
    assert re.search(r"Defined in:\s+(Cell )?In *\[\d+\], line 6", text), text
    assert "function of the workers" in text
    assert "class Procedure" not in text


@pytest.mark.parametrize("name", ["wpc.call.simulate", "simulate"])
def test_two_question_marks_show_the_source_as_its_author_wrote_it(defined: Loaded, name: str) -> None:
    text = shown(defined, name, detail_level=1)
    assert CELL.partition("return x\n\n")[2].strip() in text
    assert "def helper" not in text


def test_a_function_of_the_decorator_and_one_of_a_module_are_shown_too(loaded: Loaded) -> None:
    loaded.run("@wpc.function\ndef f(a: int) -> list:\n    'Its doc.'\n    return [a]  # so\n")
    assert "return [a]  # so" in shown(loaded, "wpc.call.f", 1)
    assert "f(a: int) -> list" in shown(loaded, "wpc.call.f")
    loaded.run("import textwrap\n_ = wpc.function(textwrap.dedent)")
    text = shown(loaded, "wpc.call.dedent")
    assert re.search(r"Defined in:\s+.*textwrap\.py, line \d+", text), text
    assert "def dedent(text)" in shown(loaded, "wpc.call.dedent", 1)


def test_the_notebooks_own_names_and_those_that_nothing_has_are_as_ever(defined: Loaded) -> None:
    defined.run("def simulate():\n    'mine'\n")
    assert "mine" in shown(defined, "simulate")
    assert "list" in shown(defined, "list")
    with pytest.raises(KeyError):
        shown(defined, "simulat")


def test_a_function_that_is_not_registered_says_so(defined: Loaded) -> None:
    assert "simulat, which is not registered" in shown(defined, "wpc.call.simulat")


RESOURCE = "import sqlite3\ndef make():\n    return sqlite3.connect(':memory:')\ndef close(db): db.close()\n"


def test_a_resource_says_how_it_is_made_and_shows_its_source(loaded: Loaded) -> None:
    loaded.run(f"%%wpc_resource db --timeout-ms 500\n{RESOURCE}")
    text = shown(loaded, "db")
    assert re.search(r"Made by: +make\(\)", text), text
    assert (
        "resource, an object of each worker's own · made for the first call that needs it · "
        "closed at the end · time limit 500 ms"
    ) in text
    assert "sqlite3" not in text
    assert "NamedTuple" not in text
    assert RESOURCE.strip() in shown(loaded, "db", 1)
    loaded.run("db = 'mine'")
    assert "mine" in shown(loaded, "db")


def test_a_database_shows_no_password(loaded: Loaded) -> None:
    loaded.run("wpc.define_database('sales', 'postgresql://me:hidden@nowhere/sales')")
    for level in (0, 1):
        text = shown(loaded, "sales", level)
        assert "create_engine('postgresql://me:***@nowhere/sales')" in text
        assert "hidden" not in text


def test_nothing_is_left_when_the_extension_is_unloaded(defined: Loaded) -> None:
    inspector = defined.shell.inspector
    assert inspector.mime_hooks
    defined.run("%unload_ext wpc_magic")
    assert inspector.mime_hooks == {}
    assert "_object_find" not in vars(defined.shell)
