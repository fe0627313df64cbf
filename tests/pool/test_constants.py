"""Constants: any value, the same in every worker, and it cannot drift."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import DefinitionError, NestedCallError

FUNCTIONS = """
def get():
    return K


def attempt(code):
    "Run a change of the constant; return the error, or None."
    try:
        exec(code, {"K": K})
    except Exception as error:
        return f"{type(error).__name__}: {error}"
"""


@pytest.fixture(scope="module", autouse=True)
def functions(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="K", value=None)
    pool.define_worker_functions(FUNCTIONS)


@pytest.mark.parametrize(
    "value",
    [
        None,
        42,
        "text",
        b"bytes",
        (1, [2]),
        {"a": [1, {"b": {2}}]},
        [1, 2],
        {1, 2},
        frozenset({1}),
        bytearray(b"xy"),
        3 + 4j,
    ],
)
def test_a_value_is_in_every_worker_what_it_is_here(pool: WorkerProcedureCall, value: Any) -> None:
    pool.define_worker_constant(name="K", value=value)
    for future in pool.broadcast("get").values():
        found = future.result()
        assert found == value
        assert type(found) is type(value), "sent back, it is the plain kind again"


@pytest.mark.parametrize(
    ("value", "change"),
    [
        ({"a": 1}, "K['b'] = 2"),
        ({"a": 1}, "K |= {'b': 2}"),
        ({"a": 1}, "K.setdefault('b', 2)"),
        ({"a": 1}, "del K['a']"),
        ([1], "K.append(2)"),
        ([1], "K[0] = 2"),
        ([1], "K += [2]"),
        ([2, 1], "K.sort()"),
        ({1}, "K.add(2)"),
        ({1}, "K -= {1}"),
        (bytearray(b"a"), "K[0] = 1"),
        ({"a": [{"b": 1}]}, "K['a'][0]['b'] = 2"),
        (([1],), "K[0].append(2)"),
        ([{1}], "K[0].clear()"),
    ],
)
def test_a_container_cannot_be_changed_by_a_function(
    pool: WorkerProcedureCall, value: Any, change: str
) -> None:
    pool.define_worker_constant(name="K", value=value)
    for future in pool.broadcast("attempt", change).values():
        assert future.result().startswith("TypeError: a constant cannot be changed; work on a copy")
    assert [future.result() for future in pool.broadcast("get").values()] == [value, value]


def test_a_copy_of_a_constant_can_be_changed(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="K", value={"a": [1]})
    pool.define_worker_function(
        worker_func="""
def copies():
    import copy
    shallow, deep, plain = copy.copy(K), copy.deepcopy(K), dict(K)
    shallow["b"] = plain["b"] = 1
    deep["a"].append(2)
    return shallow, deep, plain, isinstance(K, dict), isinstance(K["a"], list)
"""
    )
    assert pool.call.copies().result() == (
        {"a": [1], "b": 1},
        {"a": [1, 2]},
        {"a": [1], "b": 1},
        True,
        True,
    )


def test_a_read_only_container_is_used_as_the_plain_kind(pool: WorkerProcedureCall) -> None:
    value = {"a": [3, 1, 2], "b": {"c": None}}
    pool.define_worker_constant(name="K", value=value)
    pool.define_worker_function(
        worker_func="""
def uses():
    import json
    return json.dumps(K), sorted(K["a"]), {**K}, [*K["a"]], K == dict(K), repr(K)
"""
    )
    assert pool.call.uses().result() == (
        json.dumps(value),
        [1, 2, 3],
        value,
        [3, 1, 2],
        True,
        repr(value),
    )


def test_what_is_here_changed_later_does_not_reach_the_workers(pool: WorkerProcedureCall) -> None:
    value = {"a": [1]}
    pool.define_worker_constant(name="K", value=value)
    before = copy.deepcopy(value)
    value["a"].append(2)
    assert pool.call.get().result() == before


def test_a_container_that_holds_itself_is_a_constant(pool: WorkerProcedureCall) -> None:
    value: list[Any] = [1]
    value.append(value)
    pool.define_worker_constant(name="K", value=value)
    pool.define_worker_function(worker_func="def loops(): return K[1] is K, K[1][1][0]")
    assert pool.call.loops().result() == (True, 1)


def test_arrays_and_tables_are_constants(make_pool: Any) -> None:
    pool = make_pool(0)
    pool.define_worker_constant(name="K", value=None)
    pool.define_worker_functions(FUNCTIONS)
    pool.start_workers(2)
    array = np.arange(100_000.0)
    pool.define_worker_constant(name="K", value=array)
    for future in pool.broadcast("get").values():
        assert np.array_equal(future.result(), array)
    table = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    info = pool.define_worker_constant(name="K", value=table)
    assert info.type_name == "DataFrame"
    for future in pool.broadcast("get").values():
        pd.testing.assert_frame_equal(future.result(), table)


def test_a_large_array_cannot_be_written_to_by_a_function(make_pool: Any) -> None:
    pool = make_pool(0)
    pool.define_worker_constant(name="K", value=np.zeros(100_000))
    pool.define_worker_functions(FUNCTIONS)
    pool.start_workers(2)
    for future in pool.broadcast("attempt", "K[0] = 1").values():
        assert future.result() == "ValueError: assignment destination is read-only"


def test_a_class_of_this_program_is_a_constant(pool: WorkerProcedureCall) -> None:
    class Settings:
        def __init__(self, depth: int) -> None:
            self.depth = depth

    pool.define_worker_constant(name="K", value=Settings(3))
    pool.define_worker_function(worker_func="def depth(): return K.depth")
    assert pool.call.depth().result() == 3


def test_a_new_value_reaches_every_later_call(pool: WorkerProcedureCall) -> None:
    for n in range(20):
        pool.define_worker_constant(name="K", value=n)
        assert [future.result() for future in pool.broadcast("get").values()] == [n, n]


def test_a_changed_dict_or_set_defined_again_is_noticed(pool: WorkerProcedureCall) -> None:
    for value in ({"a": 1}, {1, 2}):
        pool.define_worker_constant(name="K", value=value)
        value.update({"b": 2} if isinstance(value, dict) else {3})
        pool.define_worker_constant(name="K", value=value)
        assert [future.result() for future in pool.broadcast("get").values()] == [value, value]


def test_what_cannot_be_pickled_is_refused_and_the_old_value_stays(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="K", value=1)
    with pytest.raises(DefinitionError, match=r"the value of K \(lock\) cannot be sent to workers"):
        pool.define_worker_constant(name="K", value=threading.Lock())
    with pytest.raises(NestedCallError):
        pool.define_worker_constant(name="K", value=pool)
    assert pool.call.get().result() == 1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux lists what a process has open")
def test_the_memory_of_a_large_constant_goes_with_its_definition(make_pool: Any) -> None:
    pool = make_pool(1)

    def sizes() -> list[int]:
        found = []
        for each in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the listing's own
                if "wpc-block" in os.readlink(each):
                    found.append(os.stat(each).st_size)
        return found

    for n in range(5):
        pool.define_worker_constant(name="LARGE", value=np.full(1_000_000, n, np.uint8))
    assert sizes() == [1_000_000]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists what a process has mapped")
def test_there_may_be_more_large_constants_than_descriptors_under_way(make_pool: Any) -> None:
    pool = make_pool(0, "def sizes(names): return [len(wpc_constant(name)) for name in names]")
    names = [f"LARGE_{n}" for n in range(400)]
    for n, name in enumerate(names):
        pool.define_worker_constant(name=name, value=bytes(140_000 + n))
    pool.start_workers(1)
    assert pool.call.sizes(names).result() == [140_000 + n for n in range(400)]
    assert [event.event_name for event in pool.events() if event.severity == "error"] == []


def test_a_worker_that_runs_nothing_does_not_keep_every_value_that_a_constant_had(make_pool: Any) -> None:
    pool = make_pool(1)
    (worker,) = pool.snapshot().workers

    def mapped() -> int:
        return Path(f"/proc/{worker.pid}/maps").read_text().count("wpc-block")

    for n in range(10):
        pool.define_worker_constant(name="LARGE", value=np.full(1_000_000, n, np.uint8))
    assert mapped() <= 2, "the one in force, and the one before it"
