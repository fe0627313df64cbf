"""Read-only containers: nothing changes them, and libraries use them as the plain ones."""

from __future__ import annotations

import collections
import copy
import dataclasses
import heapq
import json
import pickle
import pprint
import subprocess
import sys
import types
from collections import Counter, OrderedDict, defaultdict, deque
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.pool.conftest import PATIENCE_S, ROOT
from wpc_magic.pool.worker.frozen import freeze


class Pair(NamedTuple):
    one: Any
    two: Any


VALUES: dict[str, Any] = {
    "dict": {"a": [1], "b": {"c": None}},
    "list": [1, [2, {3}]],
    "set": {1},
    "bytearray": bytearray(b"ab"),
    "deque": deque([1, [2]], maxlen=5),
    "Counter": Counter("aab"),
    "defaultdict": defaultdict(list, a=[1]),
    "OrderedDict": OrderedDict(b=1, a=[2]),
    "named tuple": Pair([1], 2),
}
CHANGES = {
    "deque": [
        *("append(1)", "appendleft(1)", "pop()", "popleft()", "extend([1])", "extendleft([1])", "rotate(1)"),
        *("insert(0, 1)", "remove(1)", "reverse()", "clear()", "__setitem__(0, 2)", "__delitem__(0)"),
        *("__iadd__([1])", "__imul__(2)", "__init__([3])"),
    ],
    "Counter": [
        *("update('a')", "subtract('a')", "clear()", "pop('a')", "popitem()", "setdefault('z', 1)"),
        *("__setitem__('a', 1)", "__delitem__('a')", "__iadd__(K)", "__isub__(K)", "__iand__(K)"),
        "__ior__(K)",
    ],
    "OrderedDict": [
        *("update(a=3)", "clear()", "pop('a')", "popitem()", "setdefault('z', 1)", "move_to_end('b')"),
        *("__setitem__('a', 1)", "__delitem__('a')", "__ior__({'a': 3})", "__setattr__('x', 1)"),
    ],
    "defaultdict": [
        *("update(a=3)", "clear()", "pop('a')", "popitem()", "setdefault('z', 1)", "__setitem__('a', 1)"),
        *("__delitem__('a')", "__ior__({'a': 3})", "__setattr__('default_factory', int)"),
        *("__getitem__('a').append(1)", "__getitem__('missing').append(1)"),
    ],
}


def kinds(value: Any) -> Any:
    """Return the types of a value and of what is in it."""
    if isinstance(value, dict):
        return type(value), [kinds(item) for item in value.values()]
    if isinstance(value, list | tuple | deque):
        return type(value), [kinds(item) for item in value]
    return type(value)


@pytest.mark.parametrize(("name", "change"), [(name, each) for name in CHANGES for each in CHANGES[name]])
def test_every_change_is_refused(name: str, change: str) -> None:
    value = freeze(VALUES[name])
    with pytest.raises(TypeError, match="a constant cannot be changed; work on a copy: "):
        eval(f"K.{change}", {"K": value})
    assert value == VALUES[name]


@pytest.mark.parametrize("name", VALUES)
def test_a_pickle_or_deep_copy_is_plain_all_the_way_down(name: str) -> None:
    value, frozen = VALUES[name], freeze(VALUES[name])
    for made in (
        copy.deepcopy(frozen),
        *(pickle.loads(pickle.dumps(frozen, protocol)) for protocol in range(2, 6)),
    ):
        assert made == value == frozen
        assert kinds(made) == kinds(value)


@pytest.mark.parametrize("name", sorted(set(VALUES) - {"named tuple"}))
def test_a_copy_is_plain(name: str) -> None:
    value, frozen = VALUES[name], freeze(VALUES[name])
    assert type(frozen) is not type(value)
    for made in (copy.copy(frozen), frozen.copy()):
        assert type(made) is type(value)
        assert made == value
    assert type(type(frozen)()) is type(value)


@pytest.mark.parametrize("name", VALUES)
def test_it_is_shown_as_the_plain_one(name: str) -> None:
    value, frozen = VALUES[name], freeze(VALUES[name])
    assert (repr(frozen), f"{frozen}") == (repr(value), f"{value}")
    if name not in ("set", "list", "dict"):
        assert pprint.pformat(frozen, width=5) == pprint.pformat(value, width=5)
    with pytest.raises(TypeError, match=f"unhashable type: '({type(value).__name__}|list)'"):
        hash(frozen)


def test_operators_give_plain_values() -> None:
    counter, queue = freeze(Counter("ab")), freeze(deque([1]))
    plain = [3]
    numbers, names = freeze([2, 1]), freeze({"a": 1})
    ordered, default = freeze(OrderedDict(a=1)), freeze(defaultdict(int, a=1))
    for made in (counter + counter, counter - counter, counter | counter, counter & counter, +counter):
        assert type(made) is Counter
    for made in (queue + queue, queue * 2, 2 * queue):
        assert type(made) is deque
    for made in (numbers + plain, numbers * 2, numbers[:], sorted(numbers), [*numbers]):
        assert type(made) is list
    for made in (names | {}, {} | names, {**names}, type(names).fromkeys("a"), dict(**names)):
        assert type(made) is dict
    assert [type(made) for made in (ordered | {}, {} | ordered)] == [OrderedDict] * 2
    assert [type(made) for made in (default | {}, {} | default)] == [defaultdict] * 2
    assert default.copy().default_factory is int


def test_a_missing_key_has_its_default_and_is_not_inserted() -> None:
    default = freeze(defaultdict(list, a=[1]))
    assert default["missing"] == []
    assert dict(default) == {"a": [1]}
    assert freeze(Counter("a"))["missing"] == 0
    with pytest.raises(KeyError):
        freeze(defaultdict(None))["missing"]


def test_containers_in_tuples_proxies_and_arrays_of_objects_are_read_only() -> None:
    array = np.empty((1, 2), dtype=object)
    array[0, 0], array[0, 1] = [1], "text"
    frozen = freeze((Pair([1], 2), types.MappingProxyType({"a": [1]}), array))
    assert type(frozen[0]) is Pair
    for inner in (frozen[0].one, frozen[1]["a"], frozen[2][0, 0]):
        with pytest.raises(TypeError, match="a constant cannot be changed"):
            inner.append(2)
    with pytest.raises(ValueError, match="read-only"):
        frozen[2][0, 0] = 1


@pytest.mark.parametrize(
    "container",
    [
        lambda array: [array],
        lambda array: (array,),
        lambda array: {"a": [array]},
        lambda array: deque([array]),
        lambda array: OrderedDict(a=array),
        lambda array: defaultdict(list, a=array),
        lambda array: Pair(array, 1),
        lambda array: array.view(np.recarray),
        lambda array: np.ma.masked_array(array, mask=[True, False]),
    ],
)
def test_arrays_are_read_only_wherever_they_are(container: Any) -> None:
    value = freeze(container(np.zeros(2)))
    while not isinstance(value, np.ndarray):
        value = next(iter(value.values() if isinstance(value, dict) else value))
    with pytest.raises(ValueError, match="read-only"):
        value[0] = 1
    assert copy.deepcopy(value).flags.writeable


def test_a_value_that_holds_itself_is_frozen_pickled_and_copied() -> None:
    value: dict[str, Any] = {}
    value["me"] = [value, deque([value]), (value,)]
    frozen = freeze(value)
    assert frozen["me"][0] is frozen["me"][1][0] is frozen["me"][2][0] is frozen
    for made in (pickle.loads(pickle.dumps(frozen)), copy.deepcopy(frozen)):
        assert made["me"][0] is made["me"][1][0] is made
        assert type(made) is dict


CONFIG = {"b": [3, 1, 2], "a": {"c": None, "d": [{"e": 1.5}]}, "names": ["x", "y"]}


def test_the_standard_library_takes_it() -> None:
    config = freeze(CONFIG)
    for options in ({}, {"indent": 1}, {"sort_keys": True}, {"indent": 2, "sort_keys": True}):
        assert json.dumps(config, **options) == json.dumps(CONFIG, **options)
    assert pprint.pformat(config, width=20).replace(" ", "") == pprint.pformat(CONFIG, width=20).replace(
        " ", ""
    )
    assert "{b}".format_map(config) == "{b}".format(**config) == "[3, 1, 2]"
    assert ",".join(config["names"]) == "x,y"
    assert collections.ChainMap({}, config)["b"] == [3, 1, 2]
    assert dict.fromkeys(config["names"], 0) == {"x": 0, "y": 0}
    assert Counter(freeze(Counter("aab"))) == Counter("aab")
    match config:
        case {"b": [first, *_], **rest}:
            assert (first, set(rest)) == (3, {"a", "names"})
        case _:
            pytest.fail("it matches as a dict does")


def test_dataclasses_give_plain_containers_of_it() -> None:
    @dataclasses.dataclass
    class Settings:
        config: dict[str, Any]
        numbers: list[int]

    made = dataclasses.asdict(Settings(freeze(CONFIG), freeze([1])))
    assert kinds(made) == kinds({"config": CONFIG, "numbers": [1]})


def test_numpy_and_pandas_take_it() -> None:
    columns = {"a": [1, 2], "b": ["x", "y"]}
    plain, frozen = pd.DataFrame(columns), freeze(columns)
    pd.testing.assert_frame_equal(pd.DataFrame(frozen), plain)
    pd.testing.assert_frame_equal(pd.DataFrame(freeze([{"a": 1}, {"a": 2}])), plain[["a"]])
    pd.testing.assert_frame_equal(plain[freeze(["a"])], plain[["a"]])
    assert plain.rename(columns=freeze({"a": "z"})).columns.tolist() == ["z", "b"]
    assert plain["a"].map(freeze({1: "one", 2: "two"})).tolist() == ["one", "two"]
    assert plain.agg(freeze({"a": "sum"})).tolist() == [3]
    assert np.array(freeze([[1, 2], [3, 4]])).tolist() == [[1, 2], [3, 4]]
    assert np.arange(3)[freeze([0, 2])].tolist() == [0, 2]
    assert np.asarray(frozen["a"]).flags.writeable


def test_the_process_of_the_notebook_keeps_its_heapq_and_yaml() -> None:
    before = heapq.heappush, dict(yaml.SafeDumper.yaml_representers)
    freeze([{"a": 1}])
    assert (heapq.heappush, yaml.SafeDumper.yaml_representers) == before


def test_the_memory_of_a_bytearray_is_read_only_where_a_class_can_refuse_its_buffer() -> None:
    value = freeze(bytearray(b"ab"))
    if sys.version_info >= (3, 12):
        with pytest.raises(TypeError, match="read-only"):
            memoryview(value)[0] = 1
    else:  # `%wpc_const` says that it is shared
        memoryview(value)[0] = ord("a")
    assert (bytes(value), value + b"c") == (b"ab", b"abc")


WORKER = """
import heapq, inspect, pickle, sys
from heapq import heappush as alias
from wpc_magic.pool.wire.lazy_import import INTERPRETER_PATH
from wpc_magic.pool.worker.frozen import freeze
INTERPRETER_PATH[:] = sys.path  # as a worker
original = heapq.heappush
"""


def in_a_worker(code: str) -> str:
    """Run code in a process that looks like a worker; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", WORKER + code],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=ROOT,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


def test_every_function_of_heapq_refuses_a_read_only_list() -> None:
    code = """
numbers = freeze([3, 1, 2])
for name in ("heapify", "heappop", "heappush", "heappushpop", "heapreplace"):
    function = getattr(heapq, name)
    try:
        function(numbers, *[0][: len(inspect.signature(function).parameters) - 1])
    except TypeError as error:
        print(name, "cannot be changed" in str(error))
try:
    alias(numbers, 1)
except TypeError:
    print("alias True")
print(numbers, heapq.nsmallest(2, numbers), list(heapq.merge(numbers, [9])))
mine = [3, 1]
heapq.heapify(mine); heapq.heappush(mine, 0)
print(heapq.heappop(mine), mine, pickle.loads(pickle.dumps(heapq.heappush)) is heapq.heappush)
"""
    assert in_a_worker(code).splitlines() == [
        *(
            f"{name} True"
            for name in ("heapify", "heappop", "heappush", "heappushpop", "heapreplace", "alias")
        ),
        "[3, 1, 2] [1, 2] [3, 1, 2, 9]",
        "0 [1, 3] True",
    ]


def test_heapq_stays_as_it_is_until_there_is_a_read_only_list() -> None:
    code = "freeze(({'a': 1}, {2})); print(heapq.heappush is original); freeze([1]); print(type(alias))"
    assert in_a_worker(code) == "True\n<class 'function'>\n"


@pytest.mark.parametrize("first", ["warm(1)", "pass"])
def test_compiled_code_uses_heapq_whether_numba_was_used_before_or_not(first: str) -> None:
    code = f"""
import numba

@numba.njit
def warm(n):
    heap = [n]
    heapq.heappush(heap, 0)
    return heap[0]

@numba.njit
def smallest(n):
    heap = [n, 7]
    heapq.heapify(heap)
    alias(heap, 2)
    return heapq.heappop(heap), heapq.heapreplace(heap, 9), heapq.heappushpop(heap, 1)

{first}
freeze([1])
print(smallest(5), warm(4))
"""
    assert in_a_worker(code) == "(2, 5, 1) 0\n"


@pytest.mark.parametrize("first", ["import yaml", "pass"])
def test_yaml_writes_it_whether_it_was_imported_before_or_not(first: str) -> None:
    code = f"""
{first}
value = {{"a": [1, {{"b": None}}], "c": {{2}}}}
frozen = freeze(value)
import yaml
for dump in (yaml.safe_dump, yaml.dump, lambda v: yaml.dump_all([v], Dumper=yaml.SafeDumper)):
    print(dump(frozen) == dump(value), len(sys.meta_path))
"""
    before = len(in_a_worker("print('.' * len(sys.meta_path))")) - 1
    assert in_a_worker(code) == f"True {before}\n" * 3
