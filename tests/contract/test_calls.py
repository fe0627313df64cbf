"""What a call promises: its value or its own error, with arguments of any kind, of functions of any kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.contract.gate import Gate
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import (
    ArgumentsNotSerializableError,
    FunctionNotDefinedError,
    NoWorkerError,
    RemoteError,
)

SOURCE = """
import asyncio, os, sys

class Wrong(Exception):
    def __init__(self, what):
        super().__init__(f"wrong: {what}")
        self.what = what

class Point:
    def __init__(self, x):
        self.x = x
    def __eq__(self, other):
        return type(self) is type(other) and self.x == other.x

def scaled(x, y=0, *, by=1):
    return x * by + y

def fails(what):
    try:
        {}["nothing"]
    except KeyError as error:
        raise Wrong(what) from error

def leaves(): sys.exit(3)

def unpicklable(): return (each for each in ())

def point(x): return Point(x)

def moved(point): return Point(point.x + 1)

EVENT = asyncio.Event()

async def waits():
    await EVENT.wait()
    return os.getpid()

async def wakes():
    EVENT.set()
    return os.getpid()

def numbers(n): return context.rng.integers(0, 1000, size=n).tolist()
"""


@pytest.fixture(scope="module", autouse=True)
def functions(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(SOURCE)


def test_a_call_returns_its_value(pool: WorkerProcedureCall) -> None:
    assert [pool.call.scaled(n, 1, by=2).result() for n in range(5)] == [1, 3, 5, 7, 9]


def test_an_error_is_itself_with_attributes_cause_and_lines_of_the_cell(pool: WorkerProcedureCall) -> None:
    error: Any = pool.call.fails("all").exception()
    assert (type(error).__name__, str(error), error.what) == ("Wrong", "wrong: all", "all")
    assert isinstance(error.__cause__, KeyError)
    (note,) = error.__notes__
    assert "fails('all')" in note
    traceback = error.__traceback__
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    assert traceback.tb_frame.f_code.co_name == "fails"


def test_wrong_arguments_are_refused_here(pool: WorkerProcedureCall) -> None:
    before = pool.snapshot().failed
    with pytest.raises(TypeError, match="missing 1 required"):
        pool.call.scaled()
    with pytest.raises(ArgumentsNotSerializableError):
        pool.call.scaled(each for each in ())
    with pytest.raises(FunctionNotDefinedError):
        pool.call.nothing()
    assert pool.snapshot().failed == before


def test_what_ends_a_program_or_cannot_travel_fails_its_call_only(pool: WorkerProcedureCall) -> None:
    assert isinstance(pool.call.leaves().exception(), SystemExit | RemoteError)
    assert "generator" in str(pool.call.unpicklable().exception())
    assert pool.call.scaled(3).result() == 3


def test_objects_of_a_cells_classes_keep_their_class(pool: WorkerProcedureCall) -> None:
    points = [future.result() for future in pool.broadcast("point", 1).values()]
    assert points[0] == points[1]
    assert pool.call.moved(points[0]).result() == type(points[1])(2)


def test_coroutines_interleave_on_one_worker(pool: WorkerProcedureCall) -> None:
    first = pool.call.waits.options(worker_id=1)()
    second = pool.call.wakes.options(worker_id=1)()
    assert first.result() == second.result()


def test_a_call_can_be_awaited(pool: WorkerProcedureCall) -> None:
    async def main() -> list[Any]:
        return [await pool.call.scaled(1), *await asyncio.gather(*(pool.call.scaled(n) for n in (2, 3)))]

    assert asyncio.run(main()) == [1, 2, 3]


def test_a_future_is_an_argument_of_another_call(pool: WorkerProcedureCall) -> None:
    first = pool.call.scaled(3)
    assert pool.call.scaled(first, pool.call.scaled(4), by=2).result() == 10
    failed = pool.call.scaled(pool.call.fails("first"))
    assert "wrong: first" in str(failed.exception())


def test_a_function_need_not_be_registered(pool: WorkerProcedureCall) -> None:
    factor = 3
    assert pool.submit_function(lambda x: x * factor, (14,)).result() == 42
    factor = 4
    assert pool.map_function(lambda x: x * factor, range(4)).result() == [0, 4, 8, 12]


def test_the_pool_is_an_executor(pool: WorkerProcedureCall) -> None:
    with pool.executor() as executor:
        assert list(executor.map(pow, [2, 3], [3, 2])) == [8, 9]
        assert executor.submit(divmod, 7, 2).result() == (3, 1)


def test_a_broadcast_runs_once_in_every_worker(pool: WorkerProcedureCall, gate: Gate) -> None:
    futures = pool.broadcast("held", gate.address, "here")
    visits = [gate.wait(), gate.wait()]
    for visit in visits:
        visit.let_go()
    assert {worker: future.result() for worker, future in futures.items()} == {1: "here", 2: "here"}


def test_calls_of_a_higher_priority_begin_first(pool: WorkerProcedureCall, gate: Gate) -> None:
    busy = [pool.call.held(gate.address, "busy") for _ in range(2)]
    visits = [gate.wait(), gate.wait()]
    later = [
        pool.call.tell.options(worker_id=1, priority=priority)(gate.address, str(priority))
        for priority in (0, 1, 2)
    ]
    for visit in visits:
        visit.let_go()
    assert gate.told(3) == ["2", "1", "0"]
    assert [each.result() for each in [*busy, *later]] == ["busy", "busy", None, None, None]


def test_no_more_calls_are_at_workers_than_a_function_may_have(pool: WorkerProcedureCall, gate: Gate) -> None:
    pool.define_worker_function(
        name="alone", worker_func="def alone(gate, n): return held(gate, n)", at_most=1
    )
    calls = [pool.call.alone(gate.address, n) for n in range(3)]
    for n in range(3):
        visit = gate.wait()
        assert visit.text == str(n)
        assert pool.call.scaled(1).result() == 1, "others are not held up"
        assert gate.is_quiet()
        visit.let_go()
    assert [call.result() for call in calls] == [0, 1, 2]


def test_calls_use_no_more_of_a_resource_at_once_than_there_is(
    make_pool: Callable[..., WorkerProcedureCall], gate: Gate
) -> None:
    pool = make_pool(2, "def scaled(n): return n", host_resources={"GPU": 1})
    pool.resize(1)  # on a cluster, two workers may be on two machines
    calls = [pool.call.held.options(resources={"GPU": 1})(gate.address, n) for n in range(2)]
    for n in range(2):
        visit = gate.wait()
        assert visit.text == str(n)
        assert gate.is_quiet()
        visit.let_go()
    assert [call.result() for call in calls] == [0, 1]
    with pytest.raises(NoWorkerError, match=r"asks for GPU=2, and no worker has that: .* offer GPU=1"):
        pool.call.scaled.options(resources={"GPU": 2})(1)


def test_random_numbers_follow_from_the_seed(pool: WorkerProcedureCall) -> None:
    drawn = []
    for size in (1, 3):
        pool.seed(42)
        drawn.append(list(pool.map("numbers", [2, 3, 4], chunk_size=size)))
    assert drawn[0] == drawn[1]
    pool.seed(None)
