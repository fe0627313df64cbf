"""What a replaced cell has made is freed as soon as nothing refers to its code."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.pool.worker.harness import Failed, WorkerHarness, cell
from wpc_magic.pool.wire import protocol
from wpc_magic.pool.worker import cell_modules, unused
from wpc_magic.pool.worker.runtime import Runtime
from wpc_magic.pool.worker.unused import clear_module, is_unused

NAME = "wpc_test_unused"

OWN = {
    "function": "def f(): return f",
    "class": """
class A:
    def m(self): return super().__repr__()
    @property
    def p(self): return f
    @staticmethod
    def s(): return f
    @classmethod
    def c(cls): return f
class B(A):
    __slots__ = ("x",)
def f(): return A
""",
    "instances": """
class A:
    def m(self): return f
def f(): return ALL
ALL = [A(), {1: A()}, (A().m,)]
""",
    "closure": """
def outer():
    x = 1
    def inner(): return x, inner
    return inner
f = outer()
ALL = [lambda: f]
""",
    "cache": """
import functools
@functools.lru_cache
def f(x): return f
PART = functools.partial(f, 1)
""",
    "decorator": """
import contextlib
@contextlib.contextmanager
def f(): yield f
""",
    "dataclass": """
import dataclasses
@dataclasses.dataclass
class Point:
    x: int = 1
    y: list = dataclasses.field(default_factory=list)
""",
    "enum": """
import enum
class Color(enum.Enum):
    RED = 1
    def mixed(self): return Color
""",
    "abstract": """
import abc
class Base(abc.ABC):
    @abc.abstractmethod
    def m(self): return Base
class Derived(Base):
    def m(self): return Base
""",
    "named tuple": """
import typing
class Pair(typing.NamedTuple):
    x: int
    def m(self): return Pair
""",
    "generator": """
def g(): yield g
RUNS = g()
next(RUNS)
""",
    "exception": "class Wrong(Exception):\n    def m(self): return Wrong",
}


class Content:
    """Something large at the top level of a cell."""


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.collect()


def load(source: str) -> tuple[ModuleType, weakref.ref[Content]]:
    module = ModuleType(NAME)
    exec(compile(source, "cell", "exec", dont_inherit=True), module.__dict__)
    module.__dict__["CONTENT"] = content = Content()
    return module, weakref.ref(content)


@pytest.mark.parametrize("source", OWN.values(), ids=OWN)
def test_a_module_to_which_only_its_own_objects_refer_is_freed(source: str) -> None:
    module, content = load(source)
    held: list[Any] = [module]
    del module
    assert is_unused(held)
    del held[1:]
    clear_module(held.pop())
    assert content() is None


USES = """
import sys
class A:
    def m(self): return f
def f(): return 1
def outer():
    def inner(): return f
    return inner
def gen():
    yield f
def frame():
    return sys._getframe()
ALL = [lambda: f]
"""


@pytest.mark.parametrize(
    "use",
    ["f", "A", "A()", "A().m", "A.m", "outer()", "ALL", "ALL[0]", "gen()", "frame()", "globals()"],
)
def test_a_module_whose_code_may_still_run_is_used(use: str) -> None:
    module, content = load(USES)
    kept = eval(use, module.__dict__)
    held: list[Any] = [module]
    del module
    assert not is_unused(held)
    del kept
    assert content() is not None


def test_a_module_that_is_referred_to_is_used() -> None:
    module, _ = load(USES)
    assert not is_unused([module])


def test_a_class_without_methods_needs_no_module() -> None:
    module, _ = load("class Wrong(Exception): pass\ndef f(): pass")
    kept = module.Wrong
    held: list[Any] = [module]
    del module
    assert is_unused(held)
    assert kept.__module__ == NAME


def test_a_module_of_very_many_objects_is_left_to_the_collector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unused, "_MAX_OBJECTS", 50)
    module, _ = load("def f(): pass\nALL = [[n] for n in range(100)]")
    held: list[Any] = [module]
    del module
    assert not is_unused(held)


def test_finalizers_find_the_code_and_what_was_made_before_them() -> None:
    told: list[str] = []
    module, _ = load("""
import math
def say(text): tell(text + str(math.floor(1.5)) + FIRST)
class Last:
    def __del__(self): say("freed")
FIRST = " in order"
LAST = Last()
""")
    module.__dict__["tell"] = told.append
    clear_module(module)
    assert told == ["freed1 in order"]


# -- in the runtime ---------------------------------------------------------------------------------------


def install(runtime: Runtime, epoch: int, source: str, *names: str) -> str:
    made = cell(source)
    records = tuple(
        protocol.Function(n, 10 * epoch + k, "cell", made, n, b"", ()) for k, n in enumerate(names)
    )
    runtime.install(protocol.Install(epoch, epoch - 1, records, (), ()))
    runtime.activate(epoch)
    runtime.free_unreferenced()
    return made.module


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    made = Runtime(tuple)
    yield made
    for name in [each for each in sys.modules if each.startswith("wpc_cell_")]:
        del sys.modules[name]


def test_what_a_replaced_cell_has_made_is_freed_at_the_first_call_of_the_next(runtime: Runtime) -> None:
    names: list[weakref.ref[Any]] = []
    for epoch in range(1, 6):
        module = install(
            runtime,
            epoch,
            f"class Big:\n def m(self): return BIG\nBIG = Big()\ndef f(): return BIG, {epoch}",
            "f",
        )
        names.append(weakref.ref(sys.modules[module].BIG))
        assert [ref() is not None for ref in names] == [False] * (epoch - 1) + [True]


def test_what_a_replaced_cell_has_made_stays_while_its_code_is_in_use(runtime: Runtime) -> None:
    source = "class Big:\n def m(self): return BIG\nBIG = Big()\ndef f(): return Big"
    module = install(runtime, 1, source, "f")
    content = weakref.ref(sys.modules[module].BIG)
    kept = runtime.function(10)()()
    install(runtime, 2, "def f(): pass", "f")
    assert kept.m() is content()
    assert type(kept) is runtime.module(module).Big  # type: ignore[union-attr]


def test_the_collector_is_called_when_the_process_has_grown(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The objects of other classes are not looked into: what refers to a cell there is the collector's."""
    size, content = 100 << 20, []
    monkeypatch.setattr(cell_modules, "_process_size", lambda: size)
    source = "import argparse\nHIDDEN = argparse.Namespace(f=lambda: HIDDEN)\n"
    for epoch in range(1, 5):
        module = install(runtime, epoch, source + f"def f(): return {epoch}", "f")
        content.append(weakref.ref(sys.modules[module].HIDDEN))
        size += 20 << 20
    assert [ref() is not None for ref in content] == [False, False, True, True]


def test_what_is_remembered_of_replaced_cells_is_bounded(runtime: Runtime) -> None:
    for epoch in range(1, 300):
        install(runtime, epoch, f"class A: pass\ndef f(): return {epoch}", "f")
        if epoch % 30 == 0:
            gc.collect()
    assert len(runtime.cells._dropped) <= 2 * cell_modules._MIN_DROPPED


def test_a_class_whose_errors_were_sent_is_not_kept_for_them(worker: WorkerHarness) -> None:
    for n in range(3):
        worker.define(
            "class Wrong(Exception):\n"
            "    def __init__(self): super().__init__()\n"
            f"def raises(): raise Wrong(){' ' * n}"
        )
        with pytest.raises(Failed, match="Wrong"):
            worker.call("raises")
    worker.define(
        "import copyreg\ndef kept(): return sum(k.__name__ == 'Wrong' for k in copyreg.dispatch_table)"
    )
    assert worker.call("kept") == 1
