"""What the calls of a worker share of a constant, and what each of them gets for itself."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import itertools
import pathlib
import random
import re
import types
import uuid
from typing import Any

import numpy as np
import pandas as pd
import pytest

from wpc_magic.pool.worker.frozen import freeze
from wpc_magic.pool.worker.sharing import per_call, shared_kinds

Pair = collections.namedtuple("Pair", "one two")


@dataclasses.dataclass(frozen=True)
class Frozen:
    value: Any


@dataclasses.dataclass
class Model:
    value: Any


class Colour(enum.Enum):
    RED = 1


def table() -> pd.DataFrame:
    made = pd.DataFrame({"price": [1.0, 2.0], "n": [3, 4]})
    made.index.name = "row"
    return made


def change(found: pd.DataFrame) -> None:
    found["price"] = found["price"] * 2
    found.loc[0, "n"] = 99
    found.index.name = found.columns.name = "changed"
    found.attrs["changed"] = True
    del found["price"]


@pytest.mark.parametrize("value", [1, "text", None, [1, {"a": (2, {3})}], np.zeros(3), pd.Index([1])])
def test_what_cannot_be_changed_is_one_for_all_calls(value: Any) -> None:
    assert per_call(freeze(value)) is None


def test_each_call_has_a_table_of_its_own() -> None:
    given = table()
    fresh = per_call(freeze(given))
    assert fresh is not None
    for _ in range(3):
        found = fresh()
        pd.testing.assert_frame_equal(found, table())
        assert (found.columns.name, found.attrs) == (None, {})
        change(found)
    pd.testing.assert_frame_equal(given, table())


def test_each_call_has_a_series_of_its_own() -> None:
    fresh = per_call(pd.Series([1, 2], name="given"))
    assert fresh is not None
    for _ in range(2):
        found = fresh()
        assert (found.tolist(), found.name) == ([1, 2], "given")
        found[0], found.name = 9, "changed"


def test_a_subclass_of_a_table_stays_one() -> None:
    class Sales(pd.DataFrame):
        @property
        def _constructor(self) -> type:
            return Sales

    fresh = per_call(Sales({"a": [1]}))
    assert fresh is not None
    assert type(fresh()) is Sales


def test_tables_in_containers_are_each_calls_own_and_the_rest_is_shared() -> None:
    one = table()
    value = freeze({"t": one, "deep": [Pair(one, ({"s": one["n"]},))], "rest": [[1]]})
    fresh = per_call(value)
    assert fresh is not None
    for _ in range(2):
        found = fresh()
        pd.testing.assert_frame_equal(found["t"], table())
        assert found["deep"][0].one is found["t"], "what was one table is one table"
        assert type(found["deep"][0]) is Pair
        assert found["rest"] is value["rest"]
        change(found["t"])
        found["deep"][0].two[0]["s"][0] = 5
        with pytest.raises(TypeError, match="a constant cannot be changed"):
            found["deep"].append(1)


def test_a_table_in_a_container_that_holds_itself() -> None:
    value: dict[str, Any] = {"t": table()}
    value["me"] = [value]
    fresh = per_call(freeze(value))
    assert fresh is not None
    found = fresh()
    assert found["me"][0] is found
    assert found["t"] is not fresh()["t"]


@pytest.mark.parametrize(
    "value",
    [
        *(1, "text", None, b"", 1.5, 2j, ..., NotImplemented, range(3), slice(1)),
        *([1, {2}], {"a": ({"b": 1},)}, frozenset({1}), collections.deque([1]), collections.Counter("a")),
        *(collections.defaultdict(list), collections.OrderedDict(a=1), types.MappingProxyType({"a": [1]})),
        *(Pair([1], 2), Colour.RED, Colour, Model, len, [].append, re, re.compile("a"), lambda: 1),
        *(datetime.datetime(2026, 1, 1), datetime.UTC, datetime.timedelta(1), decimal.Decimal(1)),
        *(pathlib.Path("a"), uuid.UUID(int=1), Frozen(1), Frozen((1, "a"))),
        *(np.zeros(2), [np.zeros(2)], np.float64(1), np.dtype("f8"), np.sin),
        *(table(), [table()["n"]], table().index, pd.Timestamp(0), pd.Timedelta(0), pd.NaT, pd.NA),
        *(pd.Period("2020"), pd.Interval(0, 1), pd.CategoricalDtype(), pd.DateOffset(1)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_nothing_is_said_of_what_is_read_only_or_copied(value: Any) -> None:
    assert shared_kinds(value) == ()


@pytest.mark.parametrize(
    ("value", "kinds"),
    [
        (Model(1), {"Model"}),
        ({"a": [(Model(1),)]}, {"Model"}),
        (Pair(1, Model(1)), {"Model"}),
        (Frozen([1]), {"Frozen"}),
        ((Frozen(Frozen({"a": 1})),), {"Frozen"}),
        (random.Random(1), {"Random"}),
        (np.random.default_rng(1), {"Generator"}),
        (itertools.count(), {"count"}),
        (collections.UserDict(), {"UserDict"}),
        (types.SimpleNamespace(), {"SimpleNamespace"}),
        ([Model(1), Model(2), random.Random(1)], {"Model", "Random"}),
    ],
)
def test_what_the_calls_of_a_worker_share_is_named(value: Any, kinds: set[str]) -> None:
    assert set(shared_kinds(value)) == kinds


def test_only_the_beginning_of_a_large_value_is_searched() -> None:
    assert shared_kinds(itertools.repeat(None)) == ("repeat",)  # it is not consumed
    looked = []

    class Endless(tuple):
        def __iter__(self) -> Any:
            for n in itertools.count():
                looked.append(n)
                yield n

    assert shared_kinds(Endless()) == ()
    assert len(looked) < 20_000
    loop: list[Any] = []
    loop.append(loop)
    assert shared_kinds(loop) == ()
