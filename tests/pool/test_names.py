"""Names mean in the workers what they mean where a function was written; with real workers."""

from __future__ import annotations

import subprocess
import sys
import traceback
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from wpc_magic.magics.fixes import magic_line
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import OptionError, UnknownNameError
from wpc_magic.pool.source.draft import look_in

from .conftest import ROOT


@pytest.fixture
def pool(make_pool: Any) -> WorkerProcedureCall:
    made: WorkerProcedureCall = make_pool(1)
    return made


def define(pool: WorkerProcedureCall, source: str, **names: Any) -> None:
    """Define the functions of a cell, as in a notebook with these variables."""
    pool.describe_fix = magic_line
    pool.define_worker_functions(dedent(source), look=look_in(names))


def call(pool: WorkerProcedureCall, name: str, *args: Any) -> Any:
    return pool.call[name](*args).result()


def run_script(source: str, *, given: str = "-c", folder: Path) -> str:
    """Return what a program prints that has no file: given with ``-c``, or typed."""
    program = "import sys\n" + dedent(source)
    command = [sys.executable, "-c", program] if given == "-c" else [sys.executable, "-"]
    done = subprocess.run(
        command, input=program, capture_output=True, text=True, cwd=folder, env={"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# -- builtins -------------------------------------------------------------------------------------------


def test_a_sum_that_is_numpys_in_the_notebook_is_numpys_in_the_workers(pool):
    import numpy

    names: dict[str, Any] = {}
    exec("from numpy import *", names)
    cell = "def total(rows): return float(sum(rows))"
    with pytest.raises(UnknownNameError, match=r"Type: %wpc_dep from numpy import sum$"):
        define(pool, cell, **names)
    pool.define_worker_dependency(alias="sum", module_specifier="numpy", export_name="sum")
    define(pool, cell, **names)
    assert call(pool, "total", numpy.ones((2, 3))) == 6.0


# -- texts ----------------------------------------------------------------------------------------------


def test_names_that_stand_in_texts_only_are_found_by_the_libraries_that_read_them(pool):
    import pandas

    pool.define_worker_constant(name="df", value=pandas.DataFrame({"x": [1, 2, 3]}))
    pool.define_worker_constant(name="LIMIT", value=1)
    define(
        pool,
        """
        import duckdb

        def by_sql(): return duckdb.sql("SELECT sum(x) FROM df").fetchall()[0][0]
        def by_query(): return len(wpc_constant("df").query("x > @LIMIT"))
        def by_eval(): return eval("LIMIT * 10")
        def by_globals(): return globals()["LIMIT"]
        """,
    )
    assert [call(pool, name) for name in ("by_sql", "by_query", "by_eval", "by_globals")] == [6, 2, 10, 1]
    pool.define_worker_constant(name="LIMIT", value=2)
    assert [call(pool, name) for name in ("by_query", "by_eval", "by_globals")] == [1, 20, 2]


# -- annotations ----------------------------------------------------------------------------------------


def test_pydantic_finds_a_registered_name_that_stands_in_annotations_only(pool):
    pool.define_worker_dependency(alias="Price", module_specifier="decimal", export_name="Decimal")
    define(
        pool,
        """
        from __future__ import annotations
        from pydantic import BaseModel

        class Item(BaseModel):
            price: Price

        def cost(text): return str(Item(price=text).price * 2)
        """,
    )
    assert call(pool, "cost", "1.10") == "2.20"


def test_singledispatch_and_dataclasses_resolve_registered_names(pool):
    pool.define_worker_dependency(alias="Price", module_specifier="decimal", export_name="Decimal")
    define(
        pool,
        """
        from __future__ import annotations
        import dataclasses, functools, typing

        @dataclasses.dataclass
        class Item:
            price: Price

        @functools.singledispatch
        def _kind(value): return "other"

        @_kind.register
        def _(value: Price): return "price"

        def kinds(): return _kind(Item(1).price), _kind(context.dependencies.Price(1))
        def hints(): return [kind.__name__ for kind in typing.get_type_hints(Item).values()]
        """,
    )
    assert call(pool, "kinds") == ("other", "price")
    assert call(pool, "hints") == ["Decimal"]


def test_a_cell_is_loaded_again_when_a_name_in_its_annotations_changes(pool):
    pool.define_worker_dependency(alias="Price", module_specifier="decimal", export_name="Decimal")
    define(
        pool,
        """
        from __future__ import annotations
        from pydantic import BaseModel

        class Item(BaseModel):
            price: Price

        def kind(): return type(Item(price=1).price).__name__
        """,
    )
    assert call(pool, "kind") == "Decimal"
    pool.define_worker_dependency(alias="Price", module_specifier="fractions", export_name="Fraction")
    assert call(pool, "kind") == "Fraction"


# -- __file__ -------------------------------------------------------------------------------------------


def test_the_file_of_a_function_of_a_script_is_the_script_in_the_workers_too(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(
        dedent(
            """
            from wpc_magic.pool import WorkerProcedureCall

            def beside(): return __file__

            if __name__ == "__main__":
                with WorkerProcedureCall() as pool:
                    pool.define_worker_function(worker_func=beside)
                    pool.start_workers(1)
                    print(pool.call.beside().result())
            """
        )
    )
    done = subprocess.run(
        [sys.executable, "job.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert (done.stdout, done.stderr) == (f"{script}\n", "")


# -- functions that need themselves, or each other ------------------------------------------------------

RECURSION = """
    from wpc_magic.pool import WorkerProcedureCall

    pool = WorkerProcedureCall()

    @pool.function
    def down(n): return 0 if n == 0 else 1 + down(n - 1)

    def is_even(n): return n == 0 or is_odd(n - 1)
    def is_odd(n): return n != 0 and is_even(n - 1)

    pool.functions(is_even, is_odd)

    @pool.function(name="other")
    def again(n): return 0 if n == 0 else 1 + again(n - 1)

    with pool:
        pool.start_workers(1)
        calls = pool.call.down(5), pool.call.is_even(7), pool.call.is_odd(7), pool.call.other(3)
        print(*[call.result() for call in calls])
"""


@pytest.mark.parametrize("given", ["-c", "-"])
def test_functions_of_a_program_without_a_file_may_need_themselves_and_each_other(given, tmp_path):
    assert run_script(RECURSION, given=given, folder=tmp_path) == "5 False True 3\n"


def is_even(n):
    return n == 0 or is_odd(n - 1)


def is_odd(n):
    return n != 0 and is_even(n - 1)


def in_a_notebook(*functions: Any) -> list[Any]:
    """Return functions as of `__main__`, which are sent as their source."""
    names = {"__name__": "__main__"}
    found = []
    for function in functions:
        made = type(function)(function.__code__, names, function.__name__)
        made.__module__ = "__main__"
        names[function.__name__] = made
        found.append(made)
    return found


def test_functions_that_need_each_other_are_defined_together_or_not_at_all(pool):
    even, odd = in_a_notebook(is_even, is_odd)
    for alone in (even, odd):
        with pytest.raises(UnknownNameError, match=r"Type: .*functions\(is_even, is_odd\)$"):
            pool.function(alone)
    infos = pool.functions(even, odd, timeout_ms=60_000)
    assert [(info.name, info.requires, info.timeout_ms) for info in infos] == [
        ("is_even", ("is_odd",), 60_000),
        ("is_odd", ("is_even",), 60_000),
    ]
    assert (call(pool, "is_even", 6), call(pool, "is_odd", 6)) == (True, False)


def test_wrong_use_of_functions_is_said_and_defines_nothing(pool):
    even, odd = in_a_notebook(is_even, is_odd)
    for given, text in (
        ((), "functions takes functions: wpc.functions(is_even, is_odd)"),
        ((even, 1), "functions takes a callable, not 1"),
        ((even, odd, even), "two of the functions have the name 'is_even'"),
    ):
        with pytest.raises(OptionError) as caught:
            pool.functions(*given)
        assert str(caught.value) == text
    assert "is_even" not in dir(pool.call)


# -- classes --------------------------------------------------------------------------------------------


class Point:
    def __init__(self, x: float) -> None:
        self.x = x

    def twice(self) -> Point:
        return Point(2 * self.x)


Point.__module__ = "__main__"  # as of a notebook
Point.__init__.__module__ = Point.twice.__module__ = "__main__"


def make(x):
    return Point(x).twice()


def is_point(value):
    return isinstance(value, Point)


def test_a_class_of_the_notebook_is_one_class_here_and_in_the_workers(pool):
    for function in (make, is_point):
        own = type(function)(function.__code__, {"__name__": "__main__", "Point": Point}, function.__name__)
        own.__module__ = "__main__"
        pool.function(own)
    made = call(pool, "make", 2)
    assert (type(made), made.x) == (Point, 4)
    assert call(pool, "is_point", Point(1)) is True


# -- compiled code --------------------------------------------------------------------------------------

COMPILED = """
    import numba

    @numba.njit(cache=True)
    def _area(x): return x * x * W

    def area(x): return _area(x)
    def hits(): return sum(_area.stats.cache_hits.values())
"""


def test_numba_caches_what_it_compiles_of_a_cell(pool, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # where IPython has its caches
    pool.restart_workers()
    pool.wait_until_ready()
    pool.define_worker_constant(name="W", value=3)
    define(pool, COMPILED)
    assert (call(pool, "area", 2), call(pool, "hits")) == (12, 0)
    pool.restart_workers()
    pool.wait_until_ready()
    assert (call(pool, "area", 2), call(pool, "hits")) == (12, 1)
    pool.define_worker_constant(name="W", value=5)
    assert (call(pool, "area", 2), call(pool, "hits")) == (20, 0)
    pool.define_worker_constant(name="W", value=3)
    assert (call(pool, "area", 2), call(pool, "hits")) == (12, 1)


def test_numba_finds_no_code_that_was_compiled_with_another_function(pool, tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    pool.restart_workers()
    pool.wait_until_ready()
    inner = "import numba\n@numba.njit(cache=True)\ndef scaled(x): return x * {}"
    outer = """
        import numba

        def _area(x): return scaled(x) * x

        fast = numba.njit(cache=True)(_area)

        def area(x): return fast(x)
    """
    for factor in (3, 5, 3):
        define(pool, inner.format(factor))
        define(pool, outer)
        assert call(pool, "area", 2) == 4 * factor


def test_a_marked_cell_shows_its_own_lines_in_the_notebook(pool):
    define(pool, "LENGTHS = dict(cache=True, of=len)\n\ndef f(x): return LENGTHS['of'](x)\n")
    with pytest.raises(TypeError) as caught:
        call(pool, "f", 1)
    shown = "".join(traceback.format_exception(caught.value))
    assert "def f(x): return LENGTHS['of'](x)\n" in shown
