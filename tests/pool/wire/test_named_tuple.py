"""`NamedTuple`: named tuples that are created without compiling code."""

import copy
import pickle
import typing

import pytest

from wpc_magic.pool.wire import protocol
from wpc_magic.pool.wire.named_tuple import NamedTuple


class Point(NamedTuple):
    """A point."""

    x: int
    y: int


class Real(typing.NamedTuple):
    """The same with `typing.NamedTuple`."""

    x: int
    y: int


def test_a_named_tuple_is_a_tuple_with_names():
    point = Point(1, y=2)
    assert point == (1, 2) == Point(1, 2)
    assert (point.x, point.y) == (1, 2)
    x, y = point
    assert (x, y) == (1, 2)
    assert hash(point) == hash((1, 2))
    assert Point._fields == Real._fields


def test_a_named_tuple_has_the_repr_of_the_standard_one():
    assert repr(Point(1, "a")) == "Point(x=1, y='a')"


@pytest.mark.parametrize("args", [(), (1,), (1, 2, 3)])
def test_a_named_tuple_needs_all_of_its_items_and_no_more(args):
    with pytest.raises(TypeError, match="Point takes x, y"):
        Point(*args)


@pytest.mark.parametrize("named", [{"x": 1}, {"x": 1, "z": 2}, {"x": 1, "y": 2, "z": 3}])
def test_a_named_tuple_needs_its_own_names(named):
    with pytest.raises(TypeError, match="Point takes x, y"):
        Point(**named)
    with pytest.raises(TypeError, match="Point takes x, y"):
        Point(1, 2, x=1)


def test_a_named_tuple_can_be_replaced_copied_pickled_and_matched():
    point = Point(1, 2)
    assert point._replace(x=5) == Point(5, 2)
    for made in (copy.copy(point), copy.deepcopy(point), pickle.loads(pickle.dumps(point, 5))):
        assert made == point
        assert type(made) is Point
    match point:
        case Point(x, y=2):
            assert x == 1
        case _:
            pytest.fail("no match")


def test_a_named_tuple_cannot_be_changed():
    with pytest.raises(AttributeError):
        Point(1, 2).x = 3


def test_every_message_can_be_pickled():
    kinds = [
        kind
        for kind in vars(protocol).values()
        if isinstance(kind, type) and issubclass(kind, tuple) and kind is not NamedTuple
    ]
    assert len(kinds) >= 16
    for kind in kinds:
        message = kind(*range(len(kind._fields)))
        assert pickle.loads(pickle.dumps(message, 5)) == message
