"""What is accepted although it needs more than its own text: decorators, recursion, classes of a notebook."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest

from wpc_magic.magics.fixes import magic_line
from wpc_magic.pool.errors import UnknownNameError
from wpc_magic.pool.source.draft import draft_function
from wpc_magic.pool.source.missing import Fix, python_line
from wpc_magic.pool.source.objects import look_in
from wpc_magic.pool.worker.cells import PREFIX

from .test_draft import Notebook, WorkerProcedureCall, complaint, install


@pytest.fixture(autouse=True)
def no_modules_left():
    yield
    for name in [name for name in sys.modules if name.startswith(PREFIX)]:
        del sys.modules[name]


@pytest.fixture
def notebook():
    return Notebook()


# -- decorators -----------------------------------------------------------------------------------------


class Drafting(WorkerProcedureCall):
    """A pool that drafts what it decorates."""

    __module__ = "wpc_magic.pool.api"

    def __init__(self) -> None:
        self.drafts: list[Any] = []

    def function(self, *args, **options):
        def define(function):
            self.drafts.append(draft_function(function))
            return function

        define.__module__, define.__qualname__ = (
            "wpc_magic.pool.functions",
            "Functions.function.<locals>.define",
        )
        return define(args[0]) if args else define


def only(pool: Drafting) -> Any:
    [draft] = pool.drafts
    assert draft.how == "cell"
    assert "@" not in draft.source
    return install(draft)[draft.name](2)


class Owner:
    pool = Drafting()


def test_a_pool_in_an_attribute_registers():
    owner = Owner()
    owner.pool = Drafting()

    @owner.pool.function
    def double(x):
        return 2 * x

    assert only(owner.pool) == 4


def test_a_pool_of_a_class_a_list_or_a_dict_registers():
    for where in ("class", "list", "dict"):
        pool = Owner.pool = Drafting()
        pools, by_name, key = [pool], {"main": pool}, "main"
        if where == "class":

            @Owner.pool.function(timeout_ms=5)
            def double(x):
                return 2 * x

        elif where == "list":

            @pools[0].function
            def double(x):
                return 2 * x

        else:

            @by_name[key].function()
            def double(x):
                return 2 * x

        assert only(pool) == 4


def test_a_pool_of_a_method_or_an_argument_registers():
    class Suite:
        def __init__(self) -> None:
            self.pool = Drafting()

        def define(self, fixture) -> None:
            @self.pool.function
            def double(x):
                return 2 * x

            @fixture.function
            def triple(x):
                return 3 * x

    suite, fixture = Suite(), Drafting()
    suite.define(fixture)
    assert (only(suite.pool), only(fixture)) == (4, 6)


def test_the_method_itself_under_another_name_registers():
    pool = Drafting()
    worker = pool.function
    options = pool.function(timeout_ms=5)

    @worker
    def double(x):
        return 2 * x

    @options
    def triple(x):
        return 3 * x

    assert [(draft.source, install(draft)[draft.name](1)) for draft in pool.drafts] == [
        ("def double(x):\n    return 2 * x\n", 2),
        ("def triple(x):\n    return 3 * x\n", 3),
    ]


def test_a_pool_that_a_call_returns_registers():
    pool = Drafting()

    def main_pool() -> Drafting:
        return pool

    @main_pool().function
    def double(x):
        return 2 * x

    assert only(pool) == 4


def test_a_decorator_of_something_else_is_kept_though_it_has_that_name(notebook):
    here = notebook.run(
        """
        import types
        def twice(f): return lambda x: 2 * f(x)
        other = types.SimpleNamespace(function=lambda f: f)

        @other.function
        def f(x): return x
        """
    )
    assert draft_function(here.f, known=["other"]).source.startswith("@other.function\n")


# -- functions that need themselves, or each other ------------------------------------------------------


def without_source(source: str, *names: str) -> list[Any]:
    """Return functions as of a program that was given with ``-c``."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(source, namespace)
    return [namespace[name] for name in names]


RECURSION = "def down(n): return 0 if n == 0 else 1 + down(n - 1)"


def test_a_function_without_source_may_call_itself():
    [down] = without_source(RECURSION, "down")
    assert install(draft_function(down))["down"](5) == 5
    assert install(draft_function(down, "other"))["other"](5) == 5


def test_a_function_without_source_may_call_itself_already_when_it_is_decorated():
    [down] = without_source(RECURSION, "down")
    del down.__globals__["down"]
    assert install(draft_function(down))["down"](5) == 5
    assert install(draft_function(down, "other"))["other"](5) == 5
    assert "down" not in down.__globals__


def test_a_lambda_may_call_itself_by_the_name_that_it_gets():
    function = eval("lambda n: 0 if n == 0 else 1 + down(n - 1)", {})
    assert install(draft_function(function, "down"))["down"](5) == 5


def test_functions_that_lead_back_to_each_other_are_to_be_registered_together(notebook):
    here = notebook.run(
        """
        def is_even(n): return n == 0 or is_odd(n - 1)
        def is_odd(n): return n != 0 and _before(n)
        def _before(n): return is_even(n - 1)
        def half(n): return n // 2 if is_even(n) else None
        """
    )
    assert complaint(here.is_even).endswith("Type: wpc.functions(_before, is_even, is_odd)")
    assert complaint(here.is_odd).endswith("Type: wpc.functions(_before, is_even, is_odd)")
    assert complaint(here.half).endswith("Type: wpc.function(is_even)")
    assert python_line(Fix("functions", "g", detail="f, g"), "pool") == "pool.functions(f, g)"


def test_a_function_that_is_defined_later_can_be_registered_together_with_this_one(notebook):
    here = notebook.run("def first(n): return second(n)")
    assert complaint(here.first).endswith(
        "Define it first, or pass it as an argument. "
        "Functions that need each other are registered together: wpc.functions(first, second)"
    )


# -- classes of the notebook ----------------------------------------------------------------------------

POINT = """
    import math
    import dataclasses

    @dataclasses.dataclass
    class Point:
        x: float

        @property
        def root(self): return math.sqrt(self.x)

    class Far(Point):
        def near(self): return Point(self.x / 2)
"""


def test_a_class_of_the_notebook_comes_along_with_a_function(notebook):
    notebook.run(POINT)
    here = notebook.run("def f(x): return Point(x).root, Far(x).near().root")
    assert install(draft_function(here.f))["f"](16) == (4.0, math_sqrt(8))


def math_sqrt(x: float) -> float:
    return float(x**0.5)


def test_its_objects_are_of_the_class_of_the_notebook(notebook):
    notebook.run(POINT)
    here = notebook.run("def make(x): return Point(x)\ndef kind(p: Point): return isinstance(p, Point)")
    functions = install(draft_function(here.make), draft_function(here.kind))
    assert functions["make"](1) == here.Point(1)
    assert functions["kind"](here.Point(1)) is True


def test_a_registered_name_beside_a_class_comes_from_the_registry(notebook):
    notebook.run(POINT)
    here = notebook.run("LIMIT = 1\ndef f(): return Point(LIMIT)")
    assert complaint(here.f).endswith("Type: %wpc_const LIMIT")
    draft = draft_function(here.f, known=["LIMIT"])
    assert (draft.how, draft.needs, draft.wire_needs) == ("pickle", ("LIMIT",), ("LIMIT",))


@pytest.mark.parametrize(
    "body",
    [
        "def far(self): return LIMIT",
        "far = property(lambda self: LIMIT)",
        "@staticmethod\n    def far(): return helper()",
        "@classmethod\n    def far(cls): return unheard",
    ],
)
def test_a_class_that_reads_the_notebook_is_to_be_moved_into_the_cell(notebook, body):
    notebook.run("LIMIT = 1\ndef helper(): return LIMIT")
    notebook.run(f"class Point:\n    {body}")
    here = notebook.run("def f(): return Point()")
    assert complaint(here.f) == (
        "f uses 'Point' (line 1), which the workers don't have. "
        "Move the class Point into the cell of the function."
    )


def test_a_cell_that_uses_a_class_of_the_notebook_is_told_to_take_it_in(notebook):
    here = notebook.run(POINT)
    fix = look_in(vars(here))("Point")
    assert fix is not None
    assert magic_line(fix) == "Move the class Point into the cell of the function."


def test_a_class_of_another_cell_of_the_workers_comes_as_it_is():
    module = types.ModuleType(PREFIX + "0" * 16)
    exec("class Item: pass", vars(module))
    fix = look_in({"Item": module.Item})("Item")
    assert fix is not None
    assert magic_line(fix) == "%wpc_const Item"


def test_a_decorated_function_does_not_take_a_class_along(notebook):
    notebook.run(POINT)
    here = notebook.run("""
        import functools
        def twice(f): return functools.wraps(f)(lambda: 2 * f())
        @twice
        def f(): return Point(1).x
    """)
    with pytest.raises(UnknownNameError, match="Move the class Point into the cell of the function"):
        draft_function(here.f, known=["twice"])


def test_an_unknown_name_beside_a_class_is_still_refused(notebook):
    notebook.run(POINT)
    here = notebook.run("def f(): return Point(nowhere)")
    with pytest.raises(UnknownNameError) as caught:
        draft_function(here.f)
    assert caught.value.names == ("nowhere",)
