"""Arrays, counters and queues that a line makes, lists and removes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell

from tests.magics.conftest import Loaded
from wpc_magic.magics import extension


@pytest.fixture
def loaded(shell: InteractiveShell) -> Iterator[Loaded]:
    """A shell with the extension, over a real pool."""
    shell.run_line_magic("load_ext", "wpc_magic")
    shell.user_ns["np"] = np
    loaded = Loaded(shell, [])
    yield loaded
    loaded.run("pass")  # IPython keeps the result of the latest cell
    extension.unload(shell)
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        vars(sys).pop(name, None)  # of a mistake, whose frames have the pool


def rows(loaded: Loaded) -> list[tuple[Any, ...]]:
    return list(loaded.magic("wpc_shared").rows)


def test_a_line_makes_what_the_notebook_and_all_workers_change_in_place(loaded: Loaded) -> None:
    assert loaded.run("%wpc_shared grid = np.zeros((2, 3))") == (
        "grid (array of float64 (2 × 3), 48 B) registered · grid here is the same\n"
    )
    assert "done (counter, 8 B) registered" in loaded.run("%wpc_shared --counter done")
    assert "todo (queue of 9 items at most, 1.0 MB)" in loaded.run("%wpc_shared --queue todo --maxsize 9")
    loaded.run("%wpc_start -n 1")
    cell = "def fill(n):\n    grid[0] += n\n    done.add(n)\n    todo.put(n)\n"
    loaded.run(f"%%wpc_function\n{cell}")
    loaded.magic("wpc_call fill(2)")
    here = loaded.shell.user_ns
    assert here["grid"].tolist() == [[2.0] * 3, [0.0] * 3]
    assert (here["done"].value, here["todo"].qsize()) == (2, 1)
    assert rows(loaded) == [
        ("done", "counter", "8 B", 1, 1, "2"),
        ("grid", "array of float64 (2 × 3)", "48 B", 1, 1, ""),
        ("todo", "queue of 9 items at most", "1.0 MB", 1, 1, "1 item"),
    ]
    assert "on 1 worker ·" in loaded.run("%wpc_shared --counter done 5")
    assert loaded.shell.user_ns["done"].value == 5
    assert loaded.run("%wpc_shared -d grid done") == "grid, done removed\n"
    assert [row[0] for row in rows(loaded)] == ["todo"]
    assert here["grid"].tolist() == [[2.0] * 3, [0.0] * 3], "who has it keeps it"


def test_a_variable_becomes_what_is_shared(loaded: Loaded) -> None:
    loaded.run("table = np.arange(3)\nplain = table")
    assert "table (array of int64 (3), 24 B) registered" in loaded.run("%wpc_shared table")
    here = loaded.shell.user_ns
    assert type(here["table"]).__name__ == "SharedArray"
    assert here["table"].tolist() == here["plain"].tolist()
    said = "table here is what all share: array of int64 (3)\n"
    assert loaded.run("table[0] = 7\n%wpc_shared table") == said
    assert here["table"].tolist() == [7, 1, 2]
    assert loaded.run("del table\n%wpc_shared table") == said
    assert here["table"].tolist() == [7, 1, 2]
    assert loaded.run("table = plain\n%wpc_shared table") == (
        "UsageError: %wpc_shared: table is shared already, and table here is something else. "
        "To share that instead type: %wpc_shared table = table\n"
    )
    assert here["table"] is here["plain"]
    loaded.run("%wpc_shared table = table")
    assert here["table"].tolist() == [0, 1, 2]
    assert here["table"] is not here["plain"]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("grid", "the notebook has no variable 'grid'. To give a value: %wpc_shared grid = ..."),
        ("np.zeros(3)", "give the shared object a name. Type for example: %wpc_shared NAME = np.zeros(3)"),
        ("3", "a shared object begins with its name. Type for example: %wpc_shared grid = np.zeros(10)"),
        ("grid = [object()]", "value takes an array of numbers, or of text of a fixed length"),
        ("--counter", "no name is given. Type for example: %wpc_shared --counter done"),
        ("--counter done 1.5", "value takes a whole number of 64 bits, not 1.5"),
        ("--queue todo 3", "a queue begins empty. Type for example: %wpc_shared --queue todo --maxsize 100"),
        ("--maxsize 3 todo", "--maxsize is for --queue"),
        ("--queue todo --max-bytes x", "--max-bytes: takes a positive whole number, not 'x'"),
        ("--queue --counter todo", "-d, --counter and --queue do not go together"),
        ("-d", "no name is given. Type for example: %wpc_shared -d grid"),
        ("-d doe", "no shared object 'doe' is registered. Did you mean 'done'?"),
    ],
)
def test_a_mistake_in_the_line_is_one_line(loaded: Loaded, line: str, says: str) -> None:
    loaded.run("%wpc_shared --counter done")
    shown = loaded.run(f"%wpc_shared {line}")
    assert shown.startswith("UsageError: ")
    assert says in shown
    assert shown.count("\n") == 1
    assert [row[0] for row in rows(loaded)] == ["done"]


def test_without_anything_shared_the_list_says_what_to_type(loaded: Loaded) -> None:
    assert "%wpc_shared grid = np.zeros(10)" in repr(loaded.magic("wpc_shared"))


def test_another_magic_says_which_one_removes_it(loaded: Loaded) -> None:
    loaded.run("%wpc_shared --counter done")
    assert loaded.run("%wpc_undef done").endswith("done is no function. Type: %wpc_shared -d done\n")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%wpc_shared --co", "%wpc_shared --counter"),
        ("%wpc_shared tab", "%wpc_shared table"),  # a variable
        ("%wpc_shared -d don", "%wpc_shared -d done"),
        ("wpc.shared('do", "wpc.shared('done"),
        ("wpc.undefine_shared(name='do", "wpc.undefine_shared(name='done"),
    ],
)
def test_the_tab_key_completes_names(loaded: Loaded, text: str, expected: str) -> None:
    loaded.run("table = [1]\n%wpc_shared --counter done")
    with provisionalcompleter():
        found = loaded.shell.Completer.completions(text, len(text))
        assert expected in {text[: each.start] + each.text for each in found}
