"""A variable of the notebook that was registered as a constant, and has another value by now."""

from __future__ import annotations

import math
from typing import Any

import pytest

from wpc_magic.pool.drift import SimpleConstants


def differs(registered: Any, variable: Any) -> bool:
    constants = SimpleConstants()
    constants.keep("K", registered)
    return constants.differing(["K", "other"], {"K": variable, "other": 1}) == ["K"]


@pytest.mark.parametrize(
    ("registered", "variable"),
    [(1, 2), (1, "1"), ("a", "b"), (b"a", "a"), (None, 0), (0.5, None), ((1, "a"), (1, "b")), ((1,), (1, 2))],
)
def test_another_value_differs(registered, variable):
    assert differs(registered, variable)
    assert differs(variable, registered)


@pytest.mark.parametrize(
    ("registered", "variable"),
    [
        (1, 1),
        (1, True),
        (1, 1.0),
        (math.nan, float("nan")),
        ((math.nan, b"a"), (float("nan"), b"a")),
        ("", ""),
    ],
)
def test_an_equal_value_does_not(registered, variable):
    assert not differs(registered, variable)


class Sly(int):
    def __eq__(self, other: object) -> bool:
        raise AssertionError("never compared")

    __hash__ = int.__hash__


@pytest.mark.parametrize("value", [[1], {1: 2}, object(), Sly(3), (Sly(3),), tuple(range(2000))])
def test_nothing_is_said_of_values_that_are_dear_or_unsafe_to_compare(value):
    assert not differs(value, 1)
    assert not differs(1, value)


def test_a_name_without_variable_or_without_constant_does_not_differ():
    constants = SimpleConstants()
    constants.keep("K", 1)
    assert constants.differing(["K"], {}) == []
    assert constants.differing(["L"], {"L": 1}) == []
    constants.keep("K", [1])
    assert constants.differing(["K"], {"K": 2}) == []


def test_a_pool_knows_the_constants_that_a_function_reads_also_through_others(make_pool):
    pool = make_pool(1)
    pool.define_worker_constant(name="K", value=1)
    pool.define_worker_constant(name="L", value=1)
    pool.define_worker_functions("def g(): return K\ndef h(): return L\ndef f(): return g()")
    assert pool.differing_constants(["f"], {"K": 2, "L": 2, "g": 3}) == ["K"]
    assert pool.differing_constants(["K", "unheard"], {"K": 2}) == ["K"]
    pool.undefine_worker_constant(name="K")
    assert pool.differing_constants(["f"], {"K": 2}) == []
