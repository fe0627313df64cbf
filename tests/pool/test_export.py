"""The definitions of a pool as a Python module, and back."""

from __future__ import annotations

import functools
import importlib
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import DefinitionError

TEXT = r'''import re


def shorten(text, n=3):
    r"""Return it without its end, and without \d."""
    return re.sub(r"\d", "", text)[:n] + TAIL


def both(text): return shorten(text), """it's "quoted"\\"""
'''


def again(pool: WorkerProcedureCall, **options: Any) -> WorkerProcedureCall:
    """Return the pool that the exported module makes."""
    made: dict[str, Any] = {}
    exec(compile(pool.export(), "pipeline.py", "exec"), made)
    built: WorkerProcedureCall = made["build_pool"](**options)
    assert built.export() == pool.export()
    return built


def hashes(pool: WorkerProcedureCall) -> dict[str, str]:
    return {info.name: info.function_hash_sha1 for info in pool.get_remote_functions()}


@pytest.fixture
def pool() -> WorkerProcedureCall:
    return WorkerProcedureCall()


def test_what_is_built_is_the_same(pool: WorkerProcedureCall) -> None:
    pool.define_worker_dependency(alias="np", module_specifier="numpy")
    pool.define_worker_dependency(alias="root", module_specifier="math", export_name="sqrt")
    pool.define_worker_constant(name="TAIL", value="…\n")
    pool.define_worker_constant(name="TABLE", value={"a": [1, 2.5, ("x", None, b"y")], "b": {True}})
    pool.define_worker_functions(TEXT, timeout_ms=900, retries=2)
    pool.define_worker_functions("async def later(n): return np.ones(n).sum(), root(n)")
    built = again(pool)
    assert hashes(built) == hashes(pool)
    assert built.get_worker_dependencies() == pool.get_worker_dependencies()
    assert built.get_worker_constants() == pool.get_worker_constants()
    info = {info.name: info for info in built.get_remote_functions()}
    assert (info["shorten"].timeout_ms, info["shorten"].retries) == (900, 2)
    assert built.call.both.local("a1bcde") == ("abc…\n", """it's "quoted"\\""")


def test_options_of_the_pool_are_kept_and_may_be_given_anew() -> None:
    pool = WorkerProcedureCall(call_timeout_ms=5000, saturation="error")
    assert again(pool).options == pool.options
    made: dict[str, Any] = {}
    exec(pool.export(), made)
    assert made["build_pool"](call_timeout_ms=7).options == pool.options.replace({"call_timeout_ms": 7})


@pytest.mark.parametrize(
    "value",
    [math.inf, math.nan, set(), frozenset({1}), 1j, np.arange(12.0).reshape(3, 4), "\udcff", range(5)],
    ids=repr,
)
def test_every_constant_that_can_be_pickled_comes_back(pool: WorkerProcedureCall, value: Any) -> None:
    pool.define_worker_constant(name="VALUE", value=value)
    pool.define_worker_functions("def kind(): return type(VALUE).__name__, repr(VALUE)")
    text = pool.export()
    text.encode()
    made: dict[str, Any] = {}
    exec(text, made)
    assert made["build_pool"]().call.kind.local() == pool.call.kind.local()


def test_functions_that_need_each_other_come_back(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions("def odd(n): return None")
    pool.define_worker_functions("def even(n): return n == 0 or odd(n - 1)")
    pool.define_worker_functions("def odd(n): return n != 0 and even(n - 1)")
    built = again(pool)
    assert [built.call.even.local(n) for n in range(4)] == [True, False, True, False]
    assert hashes(built) == hashes(pool)


def test_functions_come_after_those_that_they_need(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions("def z(): return 1")
    pool.define_worker_functions("def y(): return z() + 1")
    pool.define_worker_functions("def a(): return y() + 1")
    assert "it follows" not in pool.export()
    assert again(pool).call.a.local() == 3


def test_functions_that_are_no_source_of_a_cell_come_back(pool: WorkerProcedureCall) -> None:
    pool.define_worker_function(worker_func=math.sqrt, name="root")
    pool.define_worker_function(worker_func=functools.partial(max, 3), name="at_least_three")
    pool.define_worker_function(worker_func="def original(x): return 2 * x", name="renamed")
    pool.define_worker_function(worker_func=importlib.import_module("json").dumps, name="text_of")
    built = again(pool)
    call = built.call
    assert (call.root.local(9), call.at_least_three.local(1), call.renamed.local(4)) == (3.0, 3, 8)
    assert call.text_of.local([1]) == "[1]"


def test_two_functions_of_one_cell_stay_in_one_cell(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions("SEEN = []\ndef add(x): SEEN.append(x)\ndef seen(): return SEEN")
    built = again(pool)
    built.call.add.local(1)
    assert built.call.seen.local() == [1]


def test_an_empty_pool_is_a_module_too(pool: WorkerProcedureCall) -> None:
    assert again(pool).get_remote_functions() == []


def test_an_object_of_a_cells_class_is_refused_with_what_to_do(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions("class Model: pass\ndef make(): return Model()")
    pool.define_worker_constant(name="MODEL", value=pool.call.make.local())
    with pytest.raises(DefinitionError, match="MODEL holds an object of a class that a cell defines"):
        pool.export()


def test_a_large_value_is_refused_with_what_to_do_and_written_if_asked_for(
    pool: WorkerProcedureCall,
) -> None:
    pool.define_worker_constant(name="LARGE", value="x" * 2_400_000)
    with pytest.raises(DefinitionError, match=r"LARGE has 2\.3 MB, .*large=True"):
        pool.export()
    assert "LARGE" in pool.export(large=True)
    pool.undefine_worker_constant(name="LARGE")


def test_the_module_runs_as_its_docstring_says(pool: WorkerProcedureCall, tmp_path: Path) -> None:
    pool.define_worker_constant(name="K", value=3)
    pool.define_worker_functions("def times(n): return n * K")
    (tmp_path / "pipeline.py").write_text(pool.export(), encoding="utf-8")
    program = (
        "from pipeline import build_pool\n"
        "with build_pool() as pool:\n"
        "    pool.start_workers(1)\n"
        "    print(pool.call.times(14).result())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr) == ("42\n", "")
