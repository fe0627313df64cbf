"""Constants: any value, the same in every worker, and immutable there."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import random
import threading
from collections import Counter, OrderedDict, defaultdict, deque
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.pool.conftest import PATIENCE_S
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
        deque([1, [2]], maxlen=4),
        Counter("aab"),
        defaultdict(list, {"a": [1]}),
        OrderedDict(b=1, a=2),
    ],
)
def test_a_value_is_in_every_worker_what_it_is_here(pool: WorkerProcedureCall, value: Any) -> None:
    pool.define_worker_constant(name="K", value=value)
    for future in pool.broadcast("get").values():
        found = future.result()
        assert found == value
        assert type(found) is type(value), "a returned value has the plain type again"


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
        (deque([1]), "K.append(2)"),
        (Counter("a"), "K['a'] += 1"),
        (Counter("a"), "K.update('b')"),
        (defaultdict(list, a=1), "K['b'] = 2"),
        (OrderedDict(a=1, b=2), "K.move_to_end('a')"),
        ({"a": deque([[1]])}, "K['a'][0].append(2)"),
        ([3, 1, 2], "import heapq; heapq.heappush(K, 0)"),
        ([3, 1, 2], "from heapq import heapify; heapify(K)"),
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


def test_a_read_only_container_is_used_like_the_plain_type(pool: WorkerProcedureCall) -> None:
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


def test_a_later_change_of_the_value_here_does_not_reach_the_workers(pool: WorkerProcedureCall) -> None:
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


@pytest.mark.parametrize("container", [lambda a: [a], lambda a: {"a": (a,)}, lambda a: deque([a])])
def test_a_small_array_in_a_container_cannot_be_written_to(make_pool: Any, container: Any) -> None:
    pool = make_pool(0)
    pool.define_worker_constant(name="K", value=container(np.zeros(3)))
    pool.define_worker_functions(FUNCTIONS)
    pool.start_workers(1)
    code = """
value = K
while not hasattr(value, 'dtype'):
    value = next(iter(value.values() if hasattr(value, 'values') else value))
value[0] = 1
"""
    assert pool.call.attempt(code).result() == "ValueError: assignment destination is read-only"


def test_a_heap_is_guarded_for_functions_that_were_there_before_the_constant(make_pool: Any) -> None:
    source = """
from heapq import heappush

def push(item):
    mine = []
    heappush(mine, item)
    heappush(NUMBERS, item)
"""
    pool = make_pool(1)
    pool.define_worker_constant(name="NUMBERS", value=())
    pool.define_worker_functions(source)
    pool.define_worker_constant(name="NUMBERS", value=[3])
    with pytest.raises(TypeError, match="a constant cannot be changed; work on a copy: list"):
        pool.call.push(1).result()


def test_a_missing_key_of_a_defaultdict_is_not_inserted(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="K", value=defaultdict(list, a=[1]))
    pool.define_worker_function(worker_func="def missing(): return K['b'], len(K)")
    for _ in range(2):
        assert [future.result() for future in pool.broadcast("missing").values()] == [([], 1)] * 2


def test_every_call_finds_a_table_as_it_was_given(make_pool: Any) -> None:
    pool = make_pool(0)
    sales = pd.DataFrame({"price": [1.0, 3.0]})
    pool.define_worker_constant(name="SALES", value=sales)
    pool.define_worker_constant(name="BOOK", value={"sales": [sales]})
    pool.define_worker_functions("""
def double(n):
    SALES["price"] = SALES["price"] * 2
    return float(SALES["price"].mean())

def double_inside(n):
    sales = BOOK["sales"][0]
    sales.loc[0, "price"] *= 10
    return float(sales["price"].sum())
""")
    pool.start_workers(1)
    assert list(pool.map("double", range(4))) == [4.0] * 4
    assert [pool.call.double(n).result() for n in range(3)] == [4.0] * 3
    assert list(pool.map("double_inside", range(4))) == [13.0] * 4


def test_what_calls_share_is_told(pool: WorkerProcedureCall) -> None:
    info = pool.define_worker_constant(name="K", value={"a": [1], "dice": random.Random(1)})
    assert info.shared_kinds == ("Random",)
    assert pool.define_worker_constant(name="K", value={"a": [1]}).shared_kinds == ()


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


def test_a_changed_dict_or_set_that_is_redefined_is_detected(pool: WorkerProcedureCall) -> None:
    for value in ({"a": 1}, {1, 2}):
        pool.define_worker_constant(name="K", value=value)
        value.update({"b": 2} if isinstance(value, dict) else {3})
        pool.define_worker_constant(name="K", value=value)
        assert [future.result() for future in pool.broadcast("get").values()] == [value, value]


def test_what_cannot_be_pickled_is_rejected_and_the_old_value_stays(pool: WorkerProcedureCall) -> None:
    pool.define_worker_constant(name="K", value=1)
    with pytest.raises(DefinitionError, match=r"the value of K \(lock\) cannot be sent to workers"):
        pool.define_worker_constant(name="K", value=threading.Lock())
    with pytest.raises(NestedCallError):
        pool.define_worker_constant(name="K", value=pool)
    assert pool.call.get().result() == 1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux lists the open files of a process")
def test_an_equal_value_of_a_large_constant_is_not_stored_again_and_another_one_is(make_pool: Any) -> None:
    pool = make_pool(1)
    table = np.arange(100_000)

    def define() -> Any:
        pool.define_worker_constant(name="TABLE", value=table)
        with pool._driver.reading() as core:
            return core.state.registry.records["TABLE"].block

    first = define()
    pool.define_worker_function(name="total", worker_func="def total(): return int(TABLE.sum())")
    assert pool.call.total().result() == table.sum()
    assert define() is first
    assert pool.call.total().result() == table.sum()
    table[-1] += 1
    assert define() is not first
    assert pool.call.total().result() == table.sum()
    table = table[:-1]
    assert define() is not first
    assert pool.call.total().result() == table.sum()


def test_the_memory_of_a_large_constant_is_freed_with_its_definition(make_pool: Any) -> None:
    pool = make_pool(1)

    def sizes() -> list[int]:
        found = []
        for each in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the descriptor of the listing itself
                size = os.stat(each).st_size
                if os.readlink(each).endswith(" (deleted)") and size >= 1_000_000:  # not a status page
                    found.append(size)
        return found

    for n in range(5):
        pool.define_worker_constant(name="LARGE", value=np.full(1_000_000, n, np.uint8))
    assert sizes() == [1_000_000]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists the mappings of a process")
def test_there_may_be_more_large_constants_than_descriptors_in_flight(make_pool: Any) -> None:
    pool = make_pool(0, "def sizes(names): return [len(wpc_constant(name)) for name in names]")
    names = [f"LARGE_{n}" for n in range(400)]
    for n, name in enumerate(names):
        pool.define_worker_constant(name=name, value=bytes(140_000 + n))
    pool.start_workers(1)
    assert pool.call.sizes(names).result() == [140_000 + n for n in range(400)]
    assert [event.event_name for event in pool.events() if event.severity == "error"] == []


def test_an_idle_worker_does_not_keep_every_value_that_a_constant_had(make_pool: Any) -> None:
    pool = make_pool(1)
    (worker,) = pool.snapshot().workers

    def mapped() -> int:
        return Path(f"/proc/{worker.pid}/maps").read_text().count("wpc-block")

    for n in range(10):
        pool.define_worker_constant(name="LARGE", value=np.full(1_000_000, n, np.uint8))
    assert mapped() <= 2, "the current one and the previous one"


def test_a_function_without_a_text_finds_constants_that_were_there_before(make_pool: Any) -> None:
    pool = make_pool()
    pool.define_worker_constant(name="EARLIER", value=1)
    pool.define_worker_function(name="first", worker_func=len)
    assert pool.call.first([1]).result(PATIENCE_S) == 1  # the worker has switched to the constant
    pool.define_worker_function(name="reads", worker_func=lambda: EARLIER)  # noqa: F821
    assert pool.call.reads().result(PATIENCE_S) == 1
