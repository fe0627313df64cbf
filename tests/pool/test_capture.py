"""What a definition takes from the variables where it is written."""

from __future__ import annotations

import contextlib
import json
import math
import threading
from typing import Any

import numpy as np
import pytest

from tests.pool.conftest import PATIENCE_S
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import InstallError, UnknownNameError


def value(pool: WorkerProcedureCall, name: str, *args: Any) -> Any:
    return pool.call[name](*args).result(PATIENCE_S)


def defined(pool: WorkerProcedureCall) -> list[str]:
    return sorted(pool.defined_names() - {"held"})  # of the fixture


def test_modules_their_objects_and_small_values_come_along(make_pool: Any) -> None:
    pool = make_pool()
    variables = {"np": np, "root": math.sqrt, "SEED": 42, "columns": ["a"], "other": 1}
    source = "def f(n):\n    return float(np.ones(n).sum()) + SEED, root(4), columns\n"
    (info,) = pool.define_worker_functions(source, capture=variables)
    assert info.captured == info.requires == ("SEED", "columns", "np", "root")
    assert value(pool, "f", 3) == (45.0, 2.0, ["a"])
    assert [each.alias for each in pool.get_worker_dependencies()] == ["np", "root"]
    assert [each.name for each in pool.get_worker_constants()] == ["SEED", "columns"]


def test_what_is_registered_is_used_as_it_is(make_pool: Any) -> None:
    pool = make_pool()
    pool.define_worker_constant(name="SEED", value=1)
    (info,) = pool.define_worker_functions("def f():\n    return SEED\n", capture={"SEED": 2})
    assert info.captured == ()
    assert value(pool, "f") == 1


def test_what_was_captured_is_taken_anew_with_the_next_definition_that_needs_it(make_pool: Any) -> None:
    pool = make_pool()
    source = "def f():\n    return SEED\n"
    pool.define_worker_functions(source, capture={"SEED": 1})
    assert pool.define_worker_functions(source, capture={"SEED": 1})[0].captured == ()  # it is the same
    pool.define_worker_functions("def g():\n    return 0\n", capture={"SEED": 2})
    assert value(pool, "f") == 1
    assert pool.define_worker_functions(source, capture={"SEED": 3})[0].captured == ("SEED",)
    assert value(pool, "f") == 3
    pool.define_worker_constant(name="SEED", value=4)  # from now on it is registered
    assert pool.define_worker_functions(source, capture={"SEED": 5})[0].captured == ()
    assert value(pool, "f") == 4


def test_what_is_looked_up_by_name_comes_along_where_it_is_there(make_pool: Any) -> None:
    pool = make_pool()
    source = "def f():\n    return wpc_constant('LIMIT') + context.constants.LATER\n"
    (info,) = pool.define_worker_functions(source, capture={"LIMIT": 1})
    assert info.captured == ("LIMIT",)
    pool.define_worker_constant(name="LATER", value=2)
    assert value(pool, "f") == 3


def test_what_the_cell_reads_while_it_is_loaded_comes_along(make_pool: Any) -> None:
    pool = make_pool()
    source = "@functools.cache\ndef f(n=LIMIT):\n    return n\n"
    pool.define_worker_functions(source, capture={"functools": __import__("functools"), "LIMIT": 7})
    assert value(pool, "f") == 7


def test_a_builtin_that_is_another_thing_here_comes_along(make_pool: Any) -> None:
    pool = make_pool()
    pool.define_worker_functions("def f():\n    return pow(2, 3)\n", capture={"pow": math.pow})
    assert value(pool, "f") == 8.0
    assert isinstance(value(pool, "f"), float)


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        (
            np.zeros(250_000),
            "It has 2 MB, too much to be captured. Type: wpc.define_worker_constant(name='it', value=it)",
        ),
        (threading.Lock(), "It cannot be captured: it is a _thread.lock"),
        ({"deep": [threading.Lock()]}, "It cannot be captured: it['deep'][0] is a _thread.lock"),
        (WorkerProcedureCall(), "Registered functions call each other by name"),
    ],
    ids=["large", "unpicklable", "unpicklable inside", "the pool"],
)
def test_what_cannot_be_captured_is_refused_with_the_line_to_type(
    make_pool: Any, variable: Any, says: str
) -> None:
    pool = make_pool()
    with pytest.raises(UnknownNameError) as caught:
        pool.define_worker_functions("def f():\n    return it, SEED\n", capture={"it": variable, "SEED": 1})
    assert str(caught.value).startswith("f uses 'it' (line 2), which the workers don't have. ")
    assert says in str(caught.value)
    assert caught.value.names == ("it",)
    assert defined(pool) == []


def test_a_function_and_a_class_of_the_notebook_are_told_as_without_it(make_pool: Any) -> None:
    pool, made = make_pool(), {"__name__": "__main__"}
    exec("def clean(x):\n    return x\nclass Row:\n    pass\n", made)
    with pytest.raises(UnknownNameError) as caught:
        pool.define_worker_functions("def f(x):\n    return clean(Row, x)\n", capture=made)
    assert "Type: wpc.function(clean)" in str(caught.value)
    assert "Move the class Row into the cell of the function." in str(caught.value)


@pytest.mark.parametrize("name", ["__file__", "get_ipython", "context"])
def test_what_means_another_thing_in_a_worker_stays_here(make_pool: Any, name: str) -> None:
    pool = make_pool()
    with contextlib.suppress(UnknownNameError):
        pool.define_worker_functions(f"def f():\n    return {name}\n", capture={name: "mine"})
    assert pool.get_worker_constants() == []


def test_a_refused_definition_leaves_nothing_that_was_captured_for_it(make_pool: Any) -> None:
    pool = make_pool()
    pool.define_worker_functions("def f():\n    return SEED\n", capture={"SEED": 1})
    with pytest.raises(InstallError, match="ZeroDivisionError"):
        pool.define_worker_functions(
            "1 / 0\ndef f():\n    return json.dumps(SEED)\n", capture={"SEED": 2, "json": json}
        )
    assert defined(pool) == ["SEED", "f"]
    assert value(pool, "f") == 1
