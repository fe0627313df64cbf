"""The examples in the README run and print what it shows, and its names exist."""

import ast
import dataclasses
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest

import wpc_magic
import wpc_magic.pool.errors as errors
from wpc_magic.magics.magics import WpcMagics
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.core.lifecycle import SlotState
from wpc_magic.pool.options import PoolOptions

# The functions that emit an event, whose name is among their first two arguments.
EMITTERS = ("emit", "notice", "Note")
README = Path(__file__).parent.parent / "README.md"
TEXT = README.read_text(encoding="utf-8")
DEADLINE_S = 120


class Block(NamedTuple):
    """A fenced block of the README, and the text block that directly follows it."""

    kind: str
    text: str
    shows: str

    @property
    def is_cell(self) -> bool:
        """Whether only a notebook can run it."""
        return bool(re.search(r"^(\w+ = )?%|^\w+ = await ", self.text, re.MULTILINE))


def blocks(text: str) -> list[Block]:
    fences = list(re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
    found = []
    for fence, after in zip(fences, [*fences[1:], None], strict=True):
        follows = after is not None and after[1] == "text" and not text[fence.end() : after.start()].strip()
        found.append(Block(fence[1], fence[2], after[2] if after is not None and follows else ""))
    return found


# Programs of their own: each of another pool, with the same in ours beside it.
PAIRS = blocks(TEXT.partition("\n## Coming from elsewhere\n")[2].partition("\n## ")[0])
BLOCKS = [each for each in blocks(TEXT) if each not in PAIRS]
CELLS = [block for block in BLOCKS if block.kind == "python" and block.is_cell]
SCRIPT = [block for block in BLOCKS if block.kind == "python" and not block.is_cell]

_CHECK = """\
def check(value, shown):
    assert repr(value) == shown, f"{value!r} is not {shown}"


"""
_CHECKED = re.compile(r"^( *)(\S.*?)  # → (.+)$", re.MULTILINE)


def checked(text: str) -> str:
    """Replace each ``expression  # → value`` by a comparison."""
    return _CHECKED.sub(lambda line: f"{line[1]}check({line[2]}, {line[3]!r})", text)


# Cells that need a notebook's own data: with stand-ins for these.
INDENTED = re.findall(r"(?:^    %%.*\n)(?:^    .*\n)+", TEXT, re.MULTILINE)
DATA = """\
%load_ext wpc_magic
import pathlib
from types import SimpleNamespace
for name in ("one.csv", "two.csv"):
    _ = pathlib.Path(name).write_text("amount\\n1\\n2\\n")
paths, df = ["one.csv", "two.csv"], [1, 2]
def fit(df, rounds): return SimpleNamespace(score=len(df) * rounds)
"""
AFTER = """\
%wpc_wait
assert model.score == 1000, model
assert totals == [3, 3], totals
assert {info.name for info in wpc.get_worker_resources()} == {"db"}
assert [info.name for info in wpc.get_remote_functions() if info.cache] == ["simulate"]
"""

_SHELL = """\
import contextlib, io, sys
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
for cell, shows in {cells!r}:
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        good = shell.run_cell(cell).success
    if shows:
        assert shown.getvalue().strip() == shows.strip(), shown.getvalue()
    else:
        assert good, shown.getvalue()
shell.run_cell("%wpc_stop")
"""


def run(code: str, folder: Path) -> str:
    """Run code as a program from a file, so that functions have a source; return its output."""
    program = folder / "readme.py"
    program.write_text(code, encoding="utf-8")
    answer = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        cwd=folder,
        env={
            **os.environ,
            "IPYTHONDIR": str(folder / "ipython"),
            "PYTHONIOENCODING": "utf-8",
            "PYTHONPATH": str(README.parent),
        },
        capture_output=True,
        encoding="utf-8",
        timeout=DEADLINE_S,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_the_python_of_the_readme_runs_in_order_and_its_values_are_right(tmp_path: Path) -> None:
    assert len(SCRIPT) >= 6
    run(_CHECK + checked("\n".join(block.text for block in SCRIPT)), tmp_path)


def test_a_value_that_the_readme_has_wrong_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="2 is not 3"):
        run(_CHECK + checked("1 + 1  # → 3\n"), tmp_path)


def test_the_notebook_of_the_readme_runs_and_shows_what_is_said(tmp_path: Path) -> None:
    assert len(CELLS) >= 5
    assert sum(bool(cell.shows) for cell in CELLS) >= 2
    run(_SHELL.format(cells=[(cell.text, cell.shows) for cell in CELLS]), tmp_path)


def test_the_cells_of_the_readme_that_need_data_of_their_own_run_with_it(tmp_path: Path) -> None:
    cells = [textwrap.dedent(cell) for cell in INDENTED]
    assert [cell.split()[0] for cell in cells] == [
        "%%wpc_cell",
        "%%wpc_for",
        "%%wpc_resource",
        "%%wpc_function",
    ]
    run(_SHELL.format(cells=[(cell, "") for cell in (DATA, *cells, AFTER)]), tmp_path)


def test_the_views_of_the_dashboard_are_named() -> None:
    script = (Path(wpc_magic.__file__).parent / "dashboard/static/dashboard.js").read_text(encoding="utf-8")
    tabs = script.partition("new Tabs([")[2].partition("], (panel)")[0]
    views = re.findall(r"\[\"([A-Z][a-z ]+)\", ", tabs)
    assert len(views) == 7
    paragraph = TEXT.partition("The dashboard (`%wpc_dashboard`) shows")[2].partition("\n\n")[0]
    assert [view for view in re.findall(r"`([A-Z][a-z ]+)`", paragraph) if view != "Stop"] == views


def test_a_program_of_another_pool_and_the_one_beside_it_print_the_same(tmp_path: Path) -> None:
    assert len(PAIRS) == 6
    for other, ours in zip(PAIRS[::2], PAIRS[1::2], strict=True):
        printed = run(ours.text, tmp_path)
        assert printed.strip()
        if other.kind == "js":  # nothing of it is installed here: it says what it prints
            assert printed.splitlines() == re.findall(r"// → (.+)$", other.text, re.MULTILINE)
        else:
            assert printed == run(other.text, tmp_path)


# -- tables ---------------------------------------------------------------------------------------------


def table(heading: str) -> list[list[str]]:
    """Return the rows of the first table under a heading, as its cells."""
    _, _, section = TEXT.partition(f"\n## {heading}\n")
    assert section, heading
    rows = re.findall(r"^\|(.+)\|$", section.partition("\n## ")[0], re.MULTILINE)
    return [[cell.strip() for cell in row.split("|")] for row in rows[2:]]


def test_every_magic_is_in_the_table_and_no_other() -> None:
    named = [re.search(r"%+wpc_\w+", row[0])[0] for row in table("The magics")]  # type: ignore[index]
    there = ["%" + name for name in WpcMagics.magics["line"]] + [
        "%%" + name for name in WpcMagics.magics["cell"]
    ]
    assert sorted(named) == sorted(there)


def test_every_option_of_a_magic_in_the_table_exists() -> None:
    for row in table("The magics"):
        name = re.search(r"%(%?)(wpc_\w+)", row[0])
        assert name is not None
        magic = getattr(WpcMagics, name[2])
        there = {flag for option in magic.line_options.options for flag in option.names}
        said = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(row)))
        assert said <= there, name[0]


def test_every_option_is_in_the_table_with_its_default() -> None:
    said = {row[0].strip("`"): row[1].strip("`") for row in table("Options")}
    assert said == {field.name: repr(field.default) for field in dataclasses.fields(PoolOptions)}


def test_every_error_is_in_the_table_under_the_one_it_derives_from() -> None:
    latest = ["WpcError"]  # at each depth of the tree
    said = set()
    for row in table("When something fails"):
        name = row[0].strip("├└│ `")
        depth = len(re.findall("[├└│]", row[0]))
        bases = {base.__name__ for base in getattr(errors, name).__bases__}
        above = {latest[depth]} if name != "WpcError" else set()
        assert bases == above | {word for word in [row[1].strip("`")] if word}
        latest[depth + 1 :] = [name]
        said.add(name)
    assert said == set(errors.__all__) - {"CallInterrupted"}


def test_every_event_is_in_the_table_and_no_other() -> None:
    package = Path(errors.__file__).parent
    there = set()
    for file in package.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if (
                isinstance(call, ast.Call)
                and getattr(call.func, "attr", getattr(call.func, "id", "")) in EMITTERS
            ):
                names = [arg.value for arg in call.args[:2] if isinstance(arg, ast.Constant)]
                there |= {name for name in names if isinstance(name, str)}
    assert {name for row in table("Events") for name in re.findall(r"`(\w+)`", row[0])} == there


def test_every_state_is_in_the_table() -> None:
    assert {row[0].strip("`") for row in table("Health")} == {state.value for state in SlotState}


def test_every_method_that_the_readme_names_exists() -> None:
    methods = re.findall(r"`((?:un)?define_\w+|get_\w+|\w+_workers?|o(?:n|ff)_worker_event)\b", TEXT)
    assert len(set(methods)) >= 15
    there = {*dir(WorkerProcedureCall), *(field.name for field in dataclasses.fields(PoolOptions))}
    assert [name for name in methods if name not in there] == []


def test_every_file_that_the_readme_links_to_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", TEXT)
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
