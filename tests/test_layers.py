"""Imports point down: the layers of the package, as one table of rules, and the code that checks it."""

import ast
import graphlib
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "wpc_magic"

NOTEBOOK = {"IPython", "ipywidgets", "anywidget", "ipykernel"}
# Whoever imports one of these can ask the clock, throw dice, wait, or touch the world.
# fmt: off
HANDS = {
    "_thread", "asyncio", "concurrent", "ctypes", "fcntl", "mmap", "multiprocessing", "os", "pathlib", "pty",
    "queue", "random", "resource", "sched", "secrets", "select", "selectors", "shutil", "signal", "socket",
    "ssl", "subprocess", "tempfile", "threading", "time", "uuid",
}
# fmt: on
STANDARD = set(sys.stdlib_module_names)
WORKER_SEES = {"wpc_magic.pool.worker", "wpc_magic.pool.wire", "wpc_magic.pool.errors"}


class Rule(NamedTuple):
    """What one module, or the modules under it, may import; a name stands for what is under it, too."""

    who: str
    never: Collection[str] = ()
    only: Collection[str] | None = None
    lazily: Collection[str] = ()  # inside a function, also if it is not in `only`


RULES = [
    Rule(
        "wpc_magic.pool.mind",
        only=(STANDARD - HANDS)
        | {f"wpc_magic.pool.{each}" for each in ("mind", "checks", "errors", "options")},
    ),
    Rule(
        "wpc_magic.pool.hands",
        never={
            f"wpc_magic.pool.{each}"
            for each in ("api", "definitions", "driver", "local", "mapping", "procedures", "workers")
        },
    ),
    Rule("wpc_magic.pool.worker", only=STANDARD | WORKER_SEES, lazily={"cloudpickle", "tblib"}),
    Rule(
        "wpc_magic.pool.wire",
        only=STANDARD | {"wpc_magic.pool.wire", "wpc_magic.pool.errors"},
        lazily={"cloudpickle", "tblib"},
    ),
    Rule("wpc_magic.pool", only=STANDARD | {"wpc_magic.pool", "cloudpickle", "tblib", "psutil"}),
    Rule("wpc_magic.dashboard.view", never=NOTEBOOK),
    Rule("wpc_magic.dashboard.text", never=NOTEBOOK),
    Rule("wpc_magic.magics.session", never=NOTEBOOK),
    Rule("wpc_magic.magics.parsing", never=NOTEBOOK),
]


class Import(NamedTuple):
    """One module that another one imports."""

    what: str
    line: int
    lazy: bool  # inside a function: it happens when that is called
    typing: bool  # for the type checker only: it never happens


def read(package: Path) -> dict[str, str]:
    """Return the sources of a package by the modules' names; a folder's own is called `folder.__init__`."""
    paths = sorted(package.rglob("*.py"))
    names = [".".join(path.relative_to(package.parent).with_suffix("").parts) for path in paths]
    return {name: path.read_text(encoding="utf-8") for name, path in zip(names, paths, strict=True)}


def public(name: str) -> str:
    """Return the name by which a module is imported."""
    return name.removesuffix(".__init__")


def imports(name: str, sources: Mapping[str, str]) -> Iterator[Import]:
    """Yield what a module imports, anywhere in it."""
    modules = {public(module) for module in sources}

    def targets(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
            return
        base = node.module or ""
        if node.level:
            folder = name.rsplit(".", node.level)[0]
            base = f"{folder}.{base}" if base else folder
        for alias in node.names:  # from folder import module: that module, not all of the folder
            yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else base

    def walk(node: ast.AST, lazy: bool, typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (Import(what, node.lineno, lazy, typing) for what in targets(node))
            return
        lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        guarded = (
            isinstance(node, ast.If) and ast.unparse(node.test).removeprefix("typing.") == "TYPE_CHECKING"
        )
        for child in ast.iter_child_nodes(node):
            yield from walk(child, lazy, typing or (guarded and child in node.body))

    return walk(ast.parse(sources[name]), False, False)


def under(name: str, names: Iterable[str]) -> bool:
    """Tell whether a name is one of the names, or in a folder that is."""
    return any(name == other or name.startswith(f"{other}.") for other in names)


def violations(sources: Mapping[str, str], rules: Iterable[Rule]) -> list[str]:
    """Return each import that a rule forbids, also those for the type checker: they know the other layer."""
    found = []
    for rule in rules:
        for name in sources:
            if not under(public(name), [rule.who]):
                continue
            for what, line, lazy, _ in imports(name, sources):
                allowed = rule.only is None or under(what, rule.only) or (lazy and under(what, rule.lazily))
                if under(what, rule.never) or not allowed:
                    found.append(f"{public(name)}:{line} imports {what}")
    return found


def cycle(sources: Mapping[str, str]) -> list[str]:
    """Return a circle of modules that need each other to be imported, or nothing."""
    graph = {
        public(name): {what for what, _, lazy, typing in imports(name, sources) if not (lazy or typing)}
        for name in sources
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def loaded_by(module: str, suspects: Iterable[str]) -> list[str]:
    """Return which of the suspects a fresh interpreter has loaded after it has imported the module."""
    code = f"import sys, {module}; print(*sorted(set({list(suspects)!r}) & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return answer.stdout.split()


def test_each_module_imports_only_what_its_layer_may():
    assert violations(read(PACKAGE), RULES) == []


def test_no_modules_import_each_other_in_a_circle():
    assert cycle(read(PACKAGE)) == []


def test_importing_the_package_loads_nothing_heavy():
    heavy = [*NOTEBOOK, "psutil", "cloudpickle", "tblib", "asyncio", "multiprocessing", "traitlets"]
    assert loaded_by("wpc_magic", heavy) == []


def test_a_worker_never_loads_the_mind_or_the_notebook():
    passed = {"wpc_magic", "wpc_magic.pool"}  # Python imports the folders on the way
    above = {public(name) for name in read(PACKAGE) if not under(public(name), WORKER_SEES)} - passed
    assert loaded_by("wpc_magic.pool.worker.runtime", [*above, *NOTEBOOK, "psutil", "asyncio"]) == []


# The rest checks the checker.

A_RULE = [Rule("p.mind", never={"os"}, only={"os", "math", "p.mind", "p.errors"}, lazily={"json"})]


@pytest.mark.parametrize(
    "source",
    [
        "import os",
        "import os.path",
        "import math, os",
        "from os import path",
        "def f():\n    import os",
        "try:\n    import os\nexcept ImportError:\n    pass",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import os",
        "import json",
        "import mathematics",
        "import p",
        "from p import driver",
        "from p.driver import Driver",
        "from .. import driver",
        "from ..driver import Driver",
    ],
)
def test_the_checker_sees_a_forbidden_import(source):
    sources = {"p.__init__": "", "p.driver": "", "p.errors": "", "p.mind.__init__": "", "p.mind.core": source}
    assert violations(sources, A_RULE)


@pytest.mark.parametrize(
    "source",
    [
        "import math",
        "from p import errors",
        "from p.errors import Error",
        "from .. import errors",
        "from . import core",
        "from .core import Core",
        "def f():\n    import json",
        "'import os'",
    ],
)
def test_the_checker_lets_an_allowed_import_pass(source):
    sources = {
        "p.__init__": "",
        "p.errors": "",
        "p.mind.__init__": "",
        "p.mind.core": "",
        "p.mind.rest": source,
    }
    assert violations(sources, A_RULE) == []


def test_the_checker_reads_dots_in_a_folder_as_from_that_folder():
    sources = {"p.__init__": "", "p.driver": "", "p.mind.__init__": "from . import core", "p.mind.core": ""}
    assert violations(sources, A_RULE) == []
    assert violations(sources | {"p.mind.__init__": "from .. import driver"}, A_RULE)


def test_the_checker_leaves_other_layers_alone():
    assert violations({"p.__init__": "", "p.driver": "import os", "p.minder": "import os"}, A_RULE) == []


def test_the_checker_says_where():
    assert violations({"p.mind": "import math\n\nimport os"}, A_RULE) == ["p.mind:3 imports os"]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("import p.b", "import p.a"),
        ("from p import b", "from .a import A"),
        ("from . import b", "class B:\n    from p.a import A"),
        ("from p.b import B", "from typing import TYPE_CHECKING\nif not TYPE_CHECKING:\n    import p.a"),
        (
            "from p.b import B",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    pass\nelse:\n    import p.a",
        ),
    ],
)
def test_the_checker_sees_a_circle(a, b):
    assert set(cycle({"p.__init__": "", "p.a": a, "p.b": b})) == {"p.a", "p.b"}


@pytest.mark.parametrize(
    "b",
    [
        "",
        "def f():\n    import p.a",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import p.a",
        "import typing\nif typing.TYPE_CHECKING:\n    import p.a",
    ],
)
def test_the_checker_takes_no_circle_for_one(b):
    assert cycle({"p.__init__": "", "p.a": "import p.b", "p.b": b}) == []


def test_the_checker_sees_what_an_import_loads():
    assert loaded_by("json.tool", ["json.decoder", "asyncio"]) == ["json.decoder"]
