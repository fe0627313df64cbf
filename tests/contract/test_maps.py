"""What maps and streams promise: every item once and in order, errors with their item, and an end."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import closing

import pytest

from tests.contract.gate import Gate
from wpc_magic.pool import WorkerProcedureCall

SOURCE = """
def scaled(x, y=0, *, by=1): return x * by + y

def inverse(x): return 1 / x

def numbers(n):
    for x in range(n):
        yield x

def fails_after(n):
    yield from range(n)
    raise ValueError("no more")

def endless(gate):
    sent = 0
    try:
        while True:
            yield sent
            sent += 1
    except GeneratorExit:
        tell(gate, "closed")
        raise

async def slowly(n):
    for x in range(n):
        yield x
"""


@pytest.fixture(scope="module", autouse=True)
def functions(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(SOURCE)


def test_a_map_gives_every_value_once_and_in_order(pool: WorkerProcedureCall) -> None:
    assert list(pool.map("scaled", range(5000), by=3)) == list(range(0, 15000, 3))
    assert sorted(pool.map("scaled", range(500), ordered=False, chunk_size=7)) == list(range(500))
    assert list(pool.starmap("scaled", [(1, 2), (3,)], by=10)) == [12, 30]


def test_a_map_takes_items_as_workers_need_them(pool: WorkerProcedureCall) -> None:
    with closing(pool.map("scaled", itertools.count())) as values:
        assert list(itertools.islice(values, 100)) == list(range(100))


def test_an_item_that_fails_is_named_and_what_was_done_is_kept(pool: WorkerProcedureCall) -> None:
    with pytest.raises(ZeroDivisionError) as info:
        list(pool.map("inverse", [2, 1, 0], chunk_size=1))
    assert any(note.startswith("in item 2: inverse(0)") for note in info.value.__notes__)
    assert info.value.partial == {0: 0.5, 1: 1.0}  # type: ignore[attr-defined]
    assert list(pool.map("inverse", [2, 0, 1], on_error="skip")) == [0.5, 1.0]
    kinds = [type(value) for value in pool.map("inverse", [0, 1], on_error="return")]
    assert kinds == [ZeroDivisionError, float]


def test_a_map_that_is_closed_ends_its_work(pool: WorkerProcedureCall, gate: Gate) -> None:
    values = pool.map("held", [gate.address] * 4, chunk_size=1)
    visits = [gate.wait(), gate.wait()]
    values.close()
    for visit in visits:
        visit.wait_until_gone()
    assert pool.call.scaled(1).result() == 1
    assert gate.is_quiet()


def test_a_stream_arrives_in_order_and_its_error_after_its_items(pool: WorkerProcedureCall) -> None:
    assert list(pool.call.numbers(2500)) == list(range(2500))
    assert pool.call.numbers(3).result() == [0, 1, 2]
    received = []
    with pytest.raises(ValueError, match="no more"):
        received.extend(pool.call.fails_after(3))
    stream = pool.call.fails_after(2)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(ValueError, match="no more"):
        next(stream)


def test_a_stream_that_is_closed_ends_its_function(pool: WorkerProcedureCall, gate: Gate) -> None:
    with closing(pool.call.endless.options(buffer=2)(gate.address)) as stream:
        assert list(itertools.islice(stream, 10)) == list(range(10))
    assert gate.told(1) == ["closed"]


def test_maps_and_streams_can_be_awaited(pool: WorkerProcedureCall) -> None:
    async def main() -> list[list[int]]:
        return [
            await pool.map("scaled", range(3)),
            [value async for value in pool.map("scaled", range(3))],
            [item async for item in pool.call.numbers(3)],
            [item async for item in pool.call.slowly(3)],
        ]

    assert asyncio.run(main()) == [[0, 1, 2]] * 4
