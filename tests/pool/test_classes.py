"""Classes of the program that travel by value: each stays what it is in the process that owns it."""

from __future__ import annotations

import abc
import dataclasses
import enum
import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import pytest

from wpc_magic.pool import WorkerProcedureCall

from .conftest import PATIENCE_S, ROOT

FUNCTIONS = """
def same(value):
    return value


def kinds(*values):
    "Change each class, and return the values."
    for value in values:
        cls = value if isinstance(value, type) else type(value)
        cls.count = -1
        cls.added = "by the worker"
    return values


def same_class(one, other):
    return type(one) is type(other)


def call(function, *args):
    return function(*args)


def count(cls):
    return cls.count


def dynamic():
    class Made:
        count = 1

    return Made()


"""


@pytest.fixture(scope="module", autouse=True)
def functions(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(FUNCTIONS)


T = TypeVar("T")


def test_an_instance_that_comes_back_leaves_its_class_as_it_is(pool: WorkerProcedureCall) -> None:
    factor = [2]

    class Counted:
        count = 0

        def factor(self) -> Any:
            return factor

    value = Counted()
    future = pool.call.kinds(value)
    Counted.count = 5
    method = vars(Counted)["factor"]
    [back] = future.result()
    assert type(back) is Counted
    assert Counted.count == 5
    assert not hasattr(Counted, "added")
    assert vars(Counted)["factor"] is method
    assert back.factor() is factor, "a method keeps the variables of this program"


class Colours(enum.Enum):
    """By reference, for comparison."""

    RED = 1


def test_the_state_of_every_kind_of_class_stays(pool: WorkerProcedureCall) -> None:
    class Mood(enum.Enum):
        GOOD = 1

    class Flags(enum.Flag):
        A = 1
        B = 2

    class Abstract(abc.ABC):  # noqa: B024  # it is about its metaclass
        count = 1

    class Concrete(Abstract):
        pass

    class Point(NamedTuple):
        x: int

    class Box(Generic[T]):
        def __init__(self, value: int) -> None:
            self.value = value

        def __eq__(self, other: object) -> bool:
            return vars(self) == vars(other)

        __hash__ = None  # type: ignore[assignment]

    values: tuple[Any, ...] = (Mood.GOOD, Flags.A | Flags.B, Point(1), Box(3), Concrete, Abstract, Mood, Box)
    classes = [Mood, Flags, Concrete, Abstract, Point, Box]
    before = [dict(vars(cls)) for cls in classes]
    back = pool.call.kinds(*values).result()
    assert back == values
    assert [type(value) for value in back] == [type(value) for value in values]
    assert back[0] is Mood.GOOD
    assert back[4:] == (Concrete, Abstract, Mood, Box)
    after = [{name: vars(cls)[name] for name in state} for cls, state in zip(classes, before, strict=True)]
    assert after == before
    assert pool.call.same(Colours.RED).result() is Colours.RED


def test_an_exception_class_stays_and_is_caught(pool: WorkerProcedureCall) -> None:
    class Refused(Exception):
        count = 0

    def refuse() -> None:
        Refused.count += 1
        raise Refused("no")

    Refused.count = 5
    future = pool.call.call(refuse)
    with pytest.raises(Refused, match="no"):
        future.result()
    assert Refused.count == 5


def test_a_constant_and_a_function_by_value_leave_a_class_as_it_is(make_pool: Any) -> None:
    pool = make_pool(1)

    class Counted:
        count = 1

    pool.define_worker_constant(name="KIND", value=Counted)
    pool.define_worker_constant(name="INSTANCE", value=Counted())
    pool.define_worker_function(
        worker_func="def of_constant(): return KIND.count, INSTANCE.count, type(INSTANCE) is KIND"
    )
    pool.define_worker_function(name="by_value", worker_func=eval("lambda: Counted", {"Counted": Counted}))
    Counted.count = 5
    assert pool.call.of_constant().result() == (1, 1, True)
    assert pool.call.by_value().result() is Counted
    assert pool.call.by_value.local() is Counted
    assert pool.call.of_constant.local() == (5, 5, True)
    assert Counted.count == 5


def test_workers_take_the_state_that_the_owner_has_now(pool: WorkerProcedureCall) -> None:
    class Counted:
        count = 1

    assert [future.result() for future in pool.broadcast("count", Counted).values()] == [1, 1]
    Counted.count = 2
    assert [future.result() for future in pool.broadcast("count", Counted).values()] == [2, 2]


def test_a_class_that_is_defined_again_is_a_new_class(pool: WorkerProcedureCall) -> None:
    def define(n: int) -> type:
        class Counted:
            count = n

        return Counted

    old, new = define(1), define(2)
    assert pool.call.same_class(old(), new()).result() is False
    back_old, back_new = pool.call.same([old(), new()]).result()
    assert (type(back_old), type(back_new)) == (old, new)
    assert (old.count, new.count) == (1, 2)  # type: ignore[attr-defined]


def test_an_instance_of_a_class_that_was_dropped_here_comes_back_whole(pool: WorkerProcedureCall) -> None:
    class Dropped:
        count = 3

    gone = weakref.ref(Dropped)
    future = pool.call.same(Dropped())
    del Dropped
    gc.collect()
    assert gone() is None
    assert future.result().count == 3


def test_a_class_that_a_worker_defined_is_one_class_here_and_stays_the_workers(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    made = pool.call.dynamic().result()
    assert type(pool.call.same(made).result()) is type(made)
    type(made).count = 2
    assert pool.call.count(type(made)).result() == 1, "the worker has defined it"


def test_no_process_makes_a_second_class(pool: WorkerProcedureCall) -> None:
    class Plugin:
        known: ClassVar[list[str]] = []

        def __init_subclass__(cls) -> None:
            cls.known.append(cls.__name__)

    class One(Plugin):
        def all(self) -> list[str]:
            return self.known

    assert type(pool.call.same(One()).result()) is One
    assert Plugin.known == ["One"]
    assert len(Plugin.__subclasses__()) == 1
    for future in pool.broadcast("same", One()).values():
        future.result()
    assert Plugin.known == ["One"]


def test_slotted_classes_come_back(pool: WorkerProcedureCall) -> None:
    @dataclasses.dataclass(slots=True)
    class Point:
        x: int
        tags: list[str] = dataclasses.field(default_factory=list)

    @dataclasses.dataclass(slots=True)
    class Solid(Point):
        z: int = 3

    @dataclasses.dataclass(frozen=True, slots=True)
    class Frozen:
        x: int = 1

    @dataclasses.dataclass(slots=True, weakref_slot=True)
    class Referred:
        x: int = 1

    values = [Point(1), Solid(2, ["a"]), Frozen(4), Referred(5)]
    back = pool.call.same(pool.call.same(values).result()).result()
    assert back == values
    assert [type(value) for value in back] == [Point, Solid, Frozen, Referred]
    assert weakref.ref(back[3])() is back[3]


def test_slots_are_slots_in_the_worker_too(pool: WorkerProcedureCall) -> None:
    class Base:
        __slots__ = "one"

    class Private(Base):
        __slots__ = {"__two": "documented", "three": None}

        def __init__(self) -> None:
            self.one, self.__two = 1, 2

        def two(self) -> int:
            return self.__two

        def tries(self) -> str:
            try:
                self.four = 4  # type: ignore[misc]
            except AttributeError as error:
                return str(error)
            return "was set"

    class Open(Private):
        __slots__ = ("__dict__", "__weakref__")

    back, opened = pool.call.same((Private(), Open())).result()
    assert (back.one, back.two(), hasattr(back, "three")) == (1, 2, False)
    assert pool.call.call(Private.tries, Private()).result() == Private().tries()
    assert pool.call.call(Open.tries, opened).result() == "was set"


SCRIPT = """
import dataclasses
from wpc_magic.pool import WorkerProcedureCall


@dataclasses.dataclass(slots=True)
class P:
    x: int


class Counted:
    count = 1

    def factor(self):
        return FACTOR


FACTOR = [3]

if __name__ == "__main__":
    pool = WorkerProcedureCall()
    pool.define_worker_function(worker_func="def same(value): return value")
    pool.start_workers(1)
    value = Counted()
    future = pool.call.same([P(1), value])
    Counted.count = 5
    point, counted = future.result()
    print(point == P(1), type(counted) is Counted, Counted.count, counted.factor() is FACTOR)
    pool.stop_workers()
"""


def test_classes_of_a_script_come_back_as_they_are(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert (done.stdout, done.stderr) == ("True True 5 True\n", "")
