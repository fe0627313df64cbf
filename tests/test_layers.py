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
IO = {
    "_thread", "asyncio", "concurrent", "ctypes", "fcntl", "mmap", "multiprocessing", "os", "pathlib", "pty",
    "queue", "random", "resource", "sched", "secrets", "select", "selectors", "shutil", "signal", "socket",
    "ssl", "subprocess", "tempfile", "threading", "time", "uuid",
}
# fmt: on
STANDARD = set(sys.stdlib_module_names)
ENGINES = "wpc_magic.pool.engines"
WORKER_SEES = {f"wpc_magic.pool.{each}" for each in ("worker", "shared", "wire", "errors")}


class Rule(NamedTuple):
    """What one module, or the modules under it, may import; a name stands for what is under it, too."""

    who: str
    never: Collection[str] = ()
    only: Collection[str] | None = None
    lazily: Collection[str] = ()  # inside a function, also if it is not in `only`


IO_FREE = STANDARD - IO
# `wire.limits` holds numbers only, of what both ends keep.
CORE_SEES = {
    f"wpc_magic.pool.{each}" for each in ("core", "checks", "errors", "frames", "options", "wire.limits")
}

RULES = [
    Rule("wpc_magic.pool.core", only=IO_FREE | CORE_SEES),
    *(
        # Reading a function's text decides nothing by the world around it, either.
        Rule(
            f"wpc_magic.pool.source.{module}",
            only=IO_FREE | {f"wpc_magic.pool.{each}" for each in ("source", "checks", "errors", "options")},
        )
        for module in ("bindings", "cell", "missing", "names", "syntax")
    ),
    Rule(
        "wpc_magic.pool.driver",
        never={
            f"wpc_magic.pool.{each}"
            for each in (
                "anonymous",
                "api",
                "blanks",
                "caching",
                "capture",
                "constants",
                "database_urls",
                "databases",
                "definitions",
                "doctests",
                "event_log",
                "executors",
                "dependencies",
                "chrome_trace",
                "function_calls",
                "histories",
                "dependent_calls",
                "functions",
                "inspection",
                "local",
                "kept_arrays",
                "maps",
                "procedures",
                "resources",
                "seeds",
                "setups",
                "shared_objects",
                "source",
                "statistics",
                "stream_items",
                "streams",
                "submission",
                "workers",
            )
        },
    ),
    Rule("wpc_magic.pool.interrupts", only=STANDARD | {"wpc_magic.pool.interrupts"}),
    # NumPy: only for a function that asks for `context.rng`. OpenTelemetry: only in a module that is imported
    # for the first call that comes with the context of a trace. SQLAlchemy: only for a database. The control
    # groups: only for a value that is to stay on its machine, where memory may be short.
    Rule(
        "wpc_magic.pool.worker",
        only=STANDARD | WORKER_SEES | {"opentelemetry"},
        lazily={"cloudpickle", "tblib", "numpy", "sqlalchemy", "wpc_magic.pool.control_groups"},
    ),
    # NumPy: for an array, where code names it.
    Rule(
        "wpc_magic.pool.shared",
        only=STANDARD | {f"wpc_magic.pool.{each}" for each in ("shared", "wire", "errors")},
        lazily={"numpy"},
    ),
    Rule(
        "wpc_magic.pool.wire",
        only=STANDARD | {"wpc_magic.pool.wire", "wpc_magic.pool.errors"},
        lazily={"cloudpickle", "tblib"},
    ),
    # typing_extensions: only type checkers read that import, and know the module without its being installed.
    Rule(
        "wpc_magic.pool",
        only=STANDARD
        | {"wpc_magic.pool", "cloudpickle", "tblib", "psutil", "opentelemetry", "typing_extensions"},
        lazily={"pandas", "numpy", "joblib", "sqlalchemy", "distributed"},
    ),
    Rule("wpc_magic.dashboard.view", never=NOTEBOOK),
    Rule("wpc_magic.dashboard.static_view", never=NOTEBOOK),
    Rule("wpc_magic.magics.session", never=NOTEBOOK),
    Rule("wpc_magic.magics.worker_commands", never=NOTEBOOK),
    Rule("wpc_magic.magics.messages", never=NOTEBOOK),
    Rule("wpc_magic.magics.parsing", never=NOTEBOOK),
]

# From the top down: what a layer imports, also for the type checker, is of its own or of a lower one. The two
# `__init__` that only pass names on when they are asked for stand at the top of what they show.
LAYERS = [
    {"magics", "server"},
    {"joblib", "metrics", "traces"},
    {"dashboard", "notebook"},
    {"pool.__init__", "pool.caching.__init__", "pool.executors.__init__", "pool.maps.__init__"},
    {"pool.executors.executor"},
    {"pool.typed"},
    {"pool.api"},
    {"pool.submission"},
    {"pool.function_calls"},
    {"pool.dependent_calls"},
    {"pool.caching.calls", "pool.maps.mapping"},
    {"pool.unsendable"},
    {"pool.procedures"},
    {"pool.maps.results", "pool.streams"},
    {"pool.stream_items"},
    {"pool.caching.maps"},
    {"pool.maps.chunks", "pool.maps.running"},
    {"pool.maps.arrivals", "pool.kept_arrays", "pool.maps.sizes", "pool.maps.values"},
    {"pool.maps.request"},
    {"pool.caching.results"},
    {"pool.maps.failures", "pool.maps.items", "pool.maps.retries"},
    {"pool.databases"},
    {"pool.event_log", "pool.histories", "pool.insights", "pool.replay", "pool.resources", "pool.statistics"},
    {
        "pool.broadcast",
        "pool.capture",
        "pool.doctests",
        "pool.functions",
        "pool.inspection",
        "pool.seeds",
        "pool.setups",
        "pool.shared_objects",
        "pool.dependencies",
        "pool.constants",
        "pool.uploads",
        "pool.workers",
        "pool.export",
        "pool.stubs",
        "pool.run_here",
    },
    {"pool.definitions", "pool.caching.function_hashes", "pool.caching.store"},
    {"pool.anonymous", "pool.chrome_trace", "pool.local"},
    {"pool.source", "pool.driver"},
    {"pool.engines"},
    {"pool.executors.future", "pool.executors.values", "pool.future_values", "pool.stream_futures"},
    {"pool.futures", "pool.kept_futures"},
    {
        "pool.future_arguments",
        "pool.future_callbacks",
        "pool.future_driver",
        "pool.loop_waiters",
        "pool.outcomes",
        "pool.passed_answers",
        "pool.wait_events",
    },
    {"pool.blanks", "pool.executors.setup"},
    {"pool.caching.argument_keys"},
    {"pool.caching.module_versions", "pool.engines.uploads"},
    {"pool.core", "pool.database_urls", "pool.interrupts", "pool.worker"},
    {"pool.shared"},
    {"pool.wire"},
    {"pool.options"},
    {"pool.machine"},
    {
        "pool.caching.checks",
        "pool.captured",
        "pool.checks",
        "pool.files",
        "pool.control_groups",
        "pool.drift",
        "pool.engines.archive",
        "pool.engines.versions",
        "pool.executors.at_exit",
        "pool.executors.process",
        "pool.keywords",
        "pool.listing",
        "pool.live",
        "pool.nameless",
        "pool.public",
        "pool.signatures",
        "pool.value_type",
        "pool.warning_levels",
    },
    {"pool.engines.__init__", "pool.errors", "pool.frames"},
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


def cycle(sources: Mapping[str, str], hints: bool = False) -> list[str]:
    """Return a cycle of modules that import each other, or nothing; `hints`: also for the type checker."""
    graph = {
        public(name): {
            what
            for what, _, lazy, typing in imports(name, sources)
            if not lazy and (hints or not typing) and what != public(name)
        }
        for name in sources
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return list(error.args[1])
    return []


def upward(sources: Mapping[str, str], layers: list[set[str]], package: str) -> list[str]:
    """Return each import, also for the type checker, that leads from a layer to a higher one."""
    height = {f"{package}.{room}": -row for row, rooms in enumerate(layers) for room in rooms}

    def room(name: str) -> str | None:
        # The longest name wins: `pool.api` is a room of its own, in front of what is under `pool`.
        inside = [each for each in height if under(name, [each])]
        return max(inside, key=len, default=None)

    found = []
    for name in sources:
        here = room(name)
        if here is None:
            if name != f"{package}.__init__":
                found.append(f"{name} is in no layer")
            continue
        for what, line, lazy, _ in imports(name, sources):
            full = f"{what}.__init__" if f"{what}.__init__" in sources else what
            there = room(full)
            if there is not None and height[there] > height[here] and not lazy:
                found.append(f"{public(name)}:{line} imports {what}, which is above it")
    return found


def loaded_by(module: str, suspects: Iterable[str]) -> list[str]:
    """Return which of the suspects a fresh interpreter has loaded after it has imported the module."""
    code = f"import sys, {module}; print(*sorted(set({list(suspects)!r}) & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return answer.stdout.split()


def test_each_module_imports_only_what_its_layer_may():
    assert violations(read(PACKAGE), RULES) == []


def test_only_an_engine_knows_a_cluster():
    rest = {name: text for name, text in read(PACKAGE).items() if not name.startswith(f"{ENGINES}.")}
    assert violations(rest, [Rule("wpc_magic", never={"dask", "distributed"})]) == []


def test_no_modules_import_each_other_in_a_circle():
    assert cycle(read(PACKAGE)) == []


def test_no_modules_know_each_other_in_a_circle_not_even_by_type_hints():
    without_doors = {name: text for name, text in read(PACKAGE).items() if not name.endswith("__init__")}
    assert cycle(without_doors, hints=True) == []


def test_no_import_leads_upwards_not_even_for_type_hints():
    assert upward(read(PACKAGE), LAYERS, "wpc_magic") == []


def test_importing_the_package_loads_nothing_heavy():
    heavy = [*NOTEBOOK, "psutil", "cloudpickle", "tblib", "asyncio", "multiprocessing", "traitlets"]
    assert loaded_by("wpc_magic", heavy) == []


def test_a_worker_never_loads_the_core_or_the_notebook():
    passed = {"wpc_magic", "wpc_magic.pool"}  # Python imports the folders on the way
    above = {public(name) for name in read(PACKAGE) if not under(public(name), WORKER_SEES)} - passed
    assert (
        loaded_by("wpc_magic.pool.worker.runtime", [*above, *NOTEBOOK, "psutil", "asyncio", "opentelemetry"])
        == []
    )


# The rest checks the checker.

A_RULE = [Rule("p.core", never={"os"}, only={"os", "math", "p.core", "p.errors"}, lazily={"json"})]


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
    sources = {"p.__init__": "", "p.driver": "", "p.errors": "", "p.core.__init__": "", "p.core.core": source}
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
        "p.core.__init__": "",
        "p.core.core": "",
        "p.core.rest": source,
    }
    assert violations(sources, A_RULE) == []


def test_the_checker_reads_dots_in_a_folder_as_from_that_folder():
    sources = {"p.__init__": "", "p.driver": "", "p.core.__init__": "from . import core", "p.core.core": ""}
    assert violations(sources, A_RULE) == []
    assert violations(sources | {"p.core.__init__": "from .. import driver"}, A_RULE)


def test_the_checker_leaves_other_layers_alone():
    assert violations({"p.__init__": "", "p.driver": "import os", "p.corer": "import os"}, A_RULE) == []


def test_the_checker_says_where():
    assert violations({"p.core": "import math\n\nimport os"}, A_RULE) == ["p.core:3 imports os"]


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


TWO_LAYERS = [{"top"}, {"low"}]


@pytest.mark.parametrize(
    "source",
    [
        "import p.top",
        "from p.top import b",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import p.top.b",
    ],
)
def test_the_checker_sees_an_import_that_leads_upwards(source):
    sources = {"p.__init__": "", "p.top.__init__": "", "p.top.b": "", "p.low.__init__": "", "p.low.a": source}
    assert upward(sources, TWO_LAYERS, "p")


def test_the_checker_lets_imports_lead_down_and_sideways():
    sources = {
        "p.__init__": "import p.top.b",
        "p.top.b": "import p.low.a\nimport p.top.c",
        "p.top.c": "",
        "p.low.a": "",
    }
    assert upward(sources, TWO_LAYERS, "p") == []


def test_the_checker_sees_a_module_that_is_in_no_layer():
    assert upward({"p.__init__": "", "p.other": ""}, TWO_LAYERS, "p") == ["p.other is in no layer"]


def test_the_checker_sees_a_circle_of_type_hints():
    b = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import p.a"
    assert set(cycle({"p.a": "import p.b", "p.b": b}, hints=True)) == {"p.a", "p.b"}
