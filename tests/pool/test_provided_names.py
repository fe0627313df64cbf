"""Whatever the workers were given is a global name in every cell, also where only a text names it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from wpc_magic.pool import WorkerProcedureCall

READERS = {
    "eval": "def f(): return eval('LIMIT + 1')",
    "globals": "def f(): return globals()['LIMIT'] + 1",
    "exec": "def f():\n    found = {}\n    exec('n = LIMIT + 1', globals(), found)\n    return found['n']",
    "a format": "def f(): return int('{LIMIT}'.format(**globals())) + 1",
    "a comprehension in a text": "def f(): return eval('[LIMIT + 1 for _ in range(1)]')[0]",
}


@pytest.fixture
def pool(make_pool: Any) -> WorkerProcedureCall:
    made: WorkerProcedureCall = make_pool(1)
    return made


@pytest.mark.parametrize("source", READERS.values(), ids=READERS)
def test_a_name_that_stands_only_in_a_text_is_there(pool: WorkerProcedureCall, source: str) -> None:
    pool.define_worker_functions(source)
    pool.define_worker_constant(name="LIMIT", value=1)  # after the cell: it is given to all cells
    assert pool.call.f().result() == 2
    pool.define_worker_constant(name="LIMIT", value=2)
    assert pool.call.f().result() == 3
    pool.undefine_worker_constant(name="LIMIT")
    with pytest.raises((NameError, KeyError)):
        pool.call.f().result()


def test_pandas_and_duckdb_find_constants_by_their_names(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="sales", value=pd.DataFrame({"x": [1, 2, 3]}))
    pool.define_worker_constant(name="LIMIT", value=1)
    pool.define_worker_functions(
        "import duckdb\n"
        "def more(): return list(sales.query('x > @LIMIT')['x'])\n"
        "def total(): return duckdb.sql('SELECT sum(x) FROM sales').fetchall()[0][0]"
    )
    assert pool.call.more().result() == [2, 3]
    assert pool.call.total().result() == 6


def test_the_own_names_of_a_cell_win(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="pi", value=3)
    pool.define_worker_functions("from math import pi\ndef own(): return round(pi, 2)")
    pool.define_worker_functions("pi = 4\ndef other(): return pi")
    pool.define_worker_functions("def given(): return pi")
    pool.define_worker_constant(name="pi", value=5)
    assert [pool.call[name]().result() for name in ("own", "other", "given")] == [3.14, 4, 5]


def test_an_own_name_that_is_the_very_object_that_was_given_stays_the_cells_own(
    pool: WorkerProcedureCall,
) -> None:
    pool.define_worker_dependency(alias="sqrt", module_specifier="math", export_name="sqrt")
    pool.define_worker_functions("from math import sqrt\ndef root(x): return sqrt(x)")
    pool.define_worker_dependency(alias="sqrt", module_specifier="cmath", export_name="sqrt")
    assert pool.call.root(4).result() == 2.0
    assert isinstance(pool.call.root(4).result(), float)


def test_methods_of_old_objects_read_the_state_of_now(pool: WorkerProcedureCall) -> None:
    """The class of an object whose cell was replaced is not bound to the past, in a worker of any age."""
    source = "class Scale:\n    def __call__(self, x): return x * FACTOR\ndef make(): return Scale()\n"
    pool.define_worker_constant(name="FACTOR", value=2)
    pool.define_worker_functions(source)
    scale = pool.call.make().result()
    pool.define_worker_constant(name="SCALE", value=scale)
    pool.define_worker_functions("def apply(scale, x): return scale(x), SCALE(x)")
    pool.define_worker_functions(source + "def more(): return 1\n")
    pool.define_worker_constant(name="FACTOR", value=3)
    assert pool.call.apply(scale, 10).result() == (30, 30)
    pool.restart_workers()
    pool.wait_until_ready()
    assert pool.call.apply(scale, 10).result() == (30, 30)


def test_cells_that_read_each_other_while_they_are_loaded_are_refused(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions("def base(): return 1")
    pool.define_worker_functions("TOP = base() + 1\ndef top(): return TOP")
    with pytest.raises(Exception, match="NameError: name 'base' is not defined"):
        pool.define_worker_functions("BASE = top()\ndef base(): return BASE")
    assert pool.call.top().result() == 2
    assert pool.call.base().result() == 1


def test_cached_functions_of_two_cells_may_call_each_other(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions("def odd(n): return False")
    pool.define_worker_functions(
        "import functools\n@functools.cache\ndef even(n): return n == 0 or odd(n - 1)"
    )
    pool.define_worker_functions(
        "import functools\n@functools.cache\ndef odd(n): return n > 0 and even(n - 1)"
    )
    assert pool.call.even(10).result() is True
    assert pool.call.odd(10).result() is False
    pool.restart_workers()
    pool.wait_until_ready()
    assert pool.call.even(10).result() is True


def test_a_function_whose_cell_lacks_what_it_reads_is_refused_and_comes_back(
    pool: WorkerProcedureCall,
) -> None:
    pool.define_worker_functions("def base(): return 1")
    pool.define_worker_functions("TOP = base() + 1\ndef top(): return TOP")
    pool.undefine_worker_function(name="base")
    with pytest.raises(LookupError, match="top needs 'base'"):
        pool.call.top()
    pool.restart_workers()
    pool.wait_until_ready()
    pool.define_worker_functions("def base(): return 2")
    assert pool.call.top().result() == 3
