"""What a worker answers does not depend on its age: each holds the same state of all definitions.

Cells compute things when they are loaded; a worker that started earlier loaded them earlier. So what a cell
reads meanwhile is an input of the cell: when it changes, the cell is loaded again, everywhere, in one epoch.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wpc_magic.pool import WorkerProcedureCall


def everywhere(pool: WorkerProcedureCall, name: str, *args: Any) -> list[Any]:
    """Return what each worker answers."""
    return [future.result() for future in pool.broadcast(name, *args).values()]


def replace_one(pool: WorkerProcedureCall) -> None:
    """Have one worker younger than the other."""
    pool.restart_worker(2, drain=False)
    pool.wait_until_ready()


def cell(pool: WorkerProcedureCall, source: str) -> None:
    pool.define_worker_functions(source)


@pytest.fixture
def pool(make_pool: Any) -> WorkerProcedureCall:
    made: WorkerProcedureCall = make_pool(2)
    return made


# -- what a cell reads while it is loaded ---------------------------------------------------------------

READS = {
    "at its top level": "TABLE = [K * 10]\ndef f(): return TABLE[0]",
    "by a name that it computes": "TABLE = wpc_constant('k'.upper()) * 10\ndef f(): return TABLE",
    "through the whole context": "ALL = dict(context.constants)\ndef f(): return ALL['K'] * 10",
    "through its globals": "TABLE = globals()['k'.upper()] * 10\ndef f(): return TABLE",
    "in a default": "def f(k=K): return k * 10",
    "in a keyword default": "def f(*, k=K): return k * 10",
    "in a decorator": (
        "def times(k):\n"
        "    def decorate(function): return lambda: function() * k\n"
        "    return decorate\n"
        "@times(K)\n"
        "def f(): return 10"
    ),
    "in a class body": "class Table:\n    first = K * 10\ndef f(): return Table.first",
    "in a default of a method": (
        "class Table:\n    def first(self, k=K): return k * 10\ndef f(): return Table().first()"
    ),
    "in a helper that its top level calls": (
        "def _build(): return K * 10\nTABLE = _build()\ndef f(): return TABLE"
    ),
    "in a function that a decorator caches": "import functools\n@functools.cache\ndef f(): return K * 10",
    "in a method that is cached": (
        "import functools\n"
        "class Table:\n"
        "    @staticmethod\n"
        "    @functools.cache\n"
        "    def first(): return K * 10\n"
        "def f(): return Table.first()"
    ),
    "by name": "TABLE = wpc_constant('K') * 10\ndef f(): return TABLE",
    "by attribute": "TABLE = context.constants.K * 10\ndef f(): return TABLE",
    "in a text": "TABLE = eval('K * 10')\ndef f(): return TABLE",
    "in a lambda that its top level calls": "ten = lambda: K * 10\nTABLE = ten()\ndef f(): return TABLE",
    "in a comprehension": "TABLE = [K * 10 for _ in range(1)]\ndef f(): return TABLE[0]",
}


@pytest.mark.parametrize("source", READS.values(), ids=READS)
def test_a_cell_is_loaded_again_when_a_constant_changes_that_it_reads(
    pool: WorkerProcedureCall, source: str
) -> None:
    pool.define_worker_constant(name="K", value=1)
    cell(pool, source)
    assert everywhere(pool, "f") == [10, 10]
    pool.define_worker_constant(name="K", value=2)
    replace_one(pool)
    assert everywhere(pool, "f") == [20, 20]
    assert pool.call.f.local() == 20


def test_default_table_and_name_are_of_one_state(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="K", value=1)
    cell(pool, "TABLE = [K * 10]\ndef f(x, k=K): return x * k, TABLE[0], K")
    pool.define_worker_constant(name="K", value=2)
    replace_one(pool)
    assert everywhere(pool, "f", 10) == [(20, 20, 2), (20, 20, 2)]


def test_a_cell_that_reads_nothing_of_it_keeps_what_it_has(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="K", value=1)
    cell(pool, "COUNT = []\ndef count():\n    COUNT.append(K)\n    return list(COUNT)")
    assert everywhere(pool, "count") == [[1], [1]]
    pool.define_worker_constant(name="K", value=2)
    assert everywhere(pool, "count") == [[1, 2], [1, 2]], "K is read when it is called, not when it is loaded"


def test_a_constant_that_is_defined_again_with_the_same_value_loads_nothing_again(
    pool: WorkerProcedureCall,
) -> None:
    pool.define_worker_constant(name="K", value=1)
    cell(pool, "COUNT = [K]\ndef count():\n    COUNT.append(0)\n    return len(COUNT)")
    everywhere(pool, "count")
    pool.define_worker_constant(name="K", value=1)
    assert everywhere(pool, "count") == [3, 3]


def test_cells_that_read_from_cells_are_loaded_again_in_their_order(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="K", value=1)
    cell(pool, "BASE = K * 10\ndef base(): return BASE")
    cell(pool, "TOP = base() + 1\ndef top(): return TOP, base()")
    cell(pool, "HIGHEST = top()[0] + 1\ndef highest(): return HIGHEST")
    pool.define_worker_constant(name="K", value=2)
    replace_one(pool)
    assert everywhere(pool, "highest") == [22, 22]
    assert everywhere(pool, "top") == [(21, 20), (21, 20)]


def test_a_cell_that_calls_a_function_while_it_is_loaded_depends_on_what_that_reads(
    pool: WorkerProcedureCall,
) -> None:
    pool.define_worker_constant(name="K", value=1)
    cell(pool, "def scaled(x): return x * K")
    cell(pool, "TABLE = scaled(10)\ndef table(): return TABLE")
    pool.define_worker_constant(name="K", value=2)
    replace_one(pool)
    assert everywhere(pool, "table") == [20, 20]


def test_a_cell_is_loaded_again_when_a_function_that_it_used_is_defined_again(
    pool: WorkerProcedureCall,
) -> None:
    cell(pool, "def scaled(x): return x")
    cell(pool, "TABLE = scaled(10)\ndef table(): return TABLE")
    cell(pool, "def scaled(x): return x * 2")
    replace_one(pool)
    assert everywhere(pool, "table") == [20, 20]


def test_a_cell_is_loaded_again_when_a_dependency_changes(pool: WorkerProcedureCall) -> None:
    pool.define_worker_dependency(alias="lib", module_specifier="math")
    cell(pool, "NAME = lib.__name__\ndef name(): return NAME")
    pool.define_worker_dependency(alias="lib", module_specifier="cmath")
    replace_one(pool)
    assert everywhere(pool, "name") == ["cmath", "cmath"]


def test_a_change_that_a_cell_cannot_be_loaded_with_is_refused_and_nothing_changes(
    pool: WorkerProcedureCall,
) -> None:
    pool.define_worker_constant(name="K", value=2)
    cell(pool, "HALF = 10 / K\ndef half(): return HALF, K")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        pool.define_worker_constant(name="K", value=0)
    replace_one(pool)
    assert everywhere(pool, "half") == [(5, 2), (5, 2)]


def test_a_call_has_one_state_while_a_constant_changes_again_and_again(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="K", value=0)
    cell(pool, "TABLE = K\ndef state(k=K): return TABLE, k, K")
    for number in range(1, 30):
        before = [pool.call.state() for _ in range(20)]
        pool.define_worker_constant(name="K", value=number)
        after = [pool.call.state() for _ in range(20)]
        for future in before:
            assert future.result() in [(number - 1,) * 3, (number,) * 3]
        assert {future.result() for future in after} == {(number,) * 3}


# -- a cell that is run again ---------------------------------------------------------------------------


def test_a_cell_that_is_run_again_is_loaded_again(pool: WorkerProcedureCall, tmp_path: Path) -> None:
    file = tmp_path / "data.txt"
    file.write_text("old")
    source = f"DATA = open({str(file)!r}).read()\ndef data(): return DATA"
    cell(pool, source)
    assert everywhere(pool, "data") == ["old", "old"]
    file.write_text("new")
    cell(pool, source)
    assert everywhere(pool, "data") == ["new", "new"]


MODEL = """
class Model:
    def __init__(self, w): self.w = w
    def predict(self, x): return self.w * x
def train(w): return Model(w)
def predict(model, x): return model.predict(x)
"""


def test_objects_of_a_cell_go_on_working_when_it_is_run_again_in_workers_of_any_age(
    pool: WorkerProcedureCall,
) -> None:
    cell(pool, MODEL)
    model = pool.call.train(3).result()
    cell(pool, MODEL + "def more(): return 1\n")
    replace_one(pool)
    assert everywhere(pool, "predict", model, 2) == [6, 6]
    cell(pool, MODEL)
    replace_one(pool)
    assert everywhere(pool, "predict", model, 2) == [6, 6]
    assert model.predict(2) == 6


def test_a_constant_of_a_class_of_a_cell_is_there_in_every_worker(pool: WorkerProcedureCall) -> None:
    cell(pool, MODEL)
    pool.define_worker_constant(name="MODEL", value=pool.call.train(3).result())
    cell(pool, "def with_model(x): return MODEL.predict(x)")
    replace_one(pool)
    assert everywhere(pool, "with_model", 2) == [6, 6]
    cell(pool, MODEL + "def more(): return 1\n")
    pool.restart_workers()
    pool.wait_until_ready()
    assert everywhere(pool, "with_model", 2) == [6, 6]


def test_a_constant_whose_class_needs_another_constant_is_there_in_every_worker(
    pool: WorkerProcedureCall,
) -> None:
    pool.define_worker_constant(name="K", value=2)
    cell(pool, "class Table:\n    first = K * 10\ndef table(): return Table()")
    pool.define_worker_constant(name="A_TABLE", value=pool.call.table().result())
    cell(pool, "def first(): return A_TABLE.first")
    pool.restart_workers()
    pool.wait_until_ready()
    assert everywhere(pool, "first") == [20, 20]


def test_results_of_the_parent_and_of_workers_are_of_one_class(pool: WorkerProcedureCall) -> None:
    cell(
        pool,
        "class P:\n    def __eq__(self, o): return type(self) is type(o)\n"
        "def make(): return P()\ndef same(a, b): return a == b",
    )
    one, two = pool.call.make().result(), pool.call.make().result()
    assert one == two
    assert everywhere(pool, "same", one, two) == [True, True]


# -- modules whose file changes -------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules that this process and the workers can import."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_a_function_of_a_module_that_was_edited_is_the_new_one(folder: Path, make_pool: Any) -> None:
    (folder / "helpers_a4.py").write_text("def version(): return 1\n")
    helpers = importlib.import_module("helpers_a4")
    pool = make_pool(2)
    pool.function(helpers.version)
    assert everywhere(pool, "version") == [1, 1]
    (folder / "helpers_a4.py").write_text("def version(): return 2\n")
    importlib.reload(helpers)
    pool.function(helpers.version)
    assert everywhere(pool, "version") == [2, 2]


def test_a_function_of_a_module_whose_helper_was_edited_is_the_new_one(folder: Path, make_pool: Any) -> None:
    (folder / "helpers_a4b.py").write_text("def _inner(): return 1\ndef version(): return _inner()\n")
    helpers = importlib.import_module("helpers_a4b")
    pool = make_pool(2)
    pool.function(helpers.version)
    (folder / "helpers_a4b.py").write_text("def _inner(): return 2\ndef version(): return _inner()\n")
    importlib.reload(helpers)
    pool.function(helpers.version)
    assert everywhere(pool, "version") == [2, 2]


@pytest.mark.parametrize("how", ["module", "export"])
def test_a_dependency_is_read_again_with_all_that_it_imports(folder: Path, make_pool: Any, how: str) -> None:
    package = folder / f"pkg_{how}"
    package.mkdir()
    (package / "__init__.py").write_text("from .inner import value\ndef f(): return value()\n")
    (package / "inner.py").write_text("def value(): return 1\n")
    export = {"export_name": "f"} if how == "export" else {}
    text = "def run(): return thing()" if how == "export" else "def run(): return thing.f()"
    pool = make_pool(2)
    pool.define_worker_dependency(alias="thing", module_specifier=package.name, **export)
    cell(pool, text)
    assert everywhere(pool, "run") == [1, 1]
    (package / "inner.py").write_text("def value(): return 2\n")  # of the same length, within a second
    pool.define_worker_dependency(alias="thing", module_specifier=package.name, reload=True, **export)
    assert everywhere(pool, "run") == [2, 2]


def test_a_dependency_that_cannot_be_read_again_is_refused_and_the_old_one_goes_on(
    folder: Path, make_pool: Any
) -> None:
    (folder / "broken_a5.py").write_text("def f(): return 1\n")
    pool = make_pool(2)
    pool.define_worker_dependency(alias="lib", module_specifier="broken_a5")
    cell(pool, "def run(): return lib.f()")
    (folder / "broken_a5.py").write_text("def f( return 2\n")
    with pytest.raises(Exception, match=r"broken_a5.*line 1"):
        pool.define_worker_dependency(alias="lib", module_specifier="broken_a5", reload=True)
    assert everywhere(pool, "run") == [1, 1]


def test_no_call_is_lost_while_a_dependency_is_read_again(folder: Path, make_pool: Any) -> None:
    (folder / "lossless_a5.py").write_text("def f(): return 1\n")
    pool = make_pool(2)
    pool.define_worker_dependency(alias="lib", module_specifier="lossless_a5")
    cell(pool, "def run(): return lib.f()")
    before = [pool.call.run() for _ in range(500)]
    (folder / "lossless_a5.py").write_text("def f(): return 2\n")
    pool.define_worker_dependency(alias="lib", module_specifier="lossless_a5", reload=True)
    after = [pool.call.run() for _ in range(500)]
    assert {future.result() for future in before} <= {1, 2}
    assert {future.result() for future in after} == {2}
