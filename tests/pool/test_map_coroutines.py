"""Maps over coroutine functions: as many items are in flight as the workers interleave."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from tests.pool.conftest import pids
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.core.prefetch import ASYNC_DEPTH
from wpc_magic.pool.errors import CallTimeoutError
from wpc_magic.pool.maps.sizes import ChunkSizes
from wpc_magic.pool.options import CallOptions
from wpc_magic.pool.worker.chunks import INTERLEAVED

FUNCTIONS = """
import asyncio

here = set()
now = most = 0


async def meets(x, of):
    here.add(x)
    while len(here) < of:
        await asyncio.sleep(0)
    return x


async def stays_at(x, *, where):
    if x in where:
        await asyncio.sleep(1000)
    if x == 5:
        raise ValueError("not 5")
    return x


async def counts(x):
    global now, most
    now += 1
    most = max(most, now)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    now -= 1
    return most


begins = ends = 0


async def cleans_up(x):
    global begins, ends
    begins += 1
    try:
        await asyncio.sleep(1000)
    finally:
        await asyncio.sleep(0)
        ends += 1


async def begun(count):
    while begins < count:
        await asyncio.sleep(0)
    return True


async def begun_and_cleaned():
    while ends < begins:
        await asyncio.sleep(0)
    return begins, ends


def most_at_once():
    return most
"""


@pytest.fixture
def pool(make_pool: Any) -> WorkerProcedureCall:
    pool: WorkerProcedureCall = make_pool(1, FUNCTIONS, interrupt_grace_ms=60_000)
    return pool


@pytest.mark.parametrize("ordered", [True, False])
def test_as_many_items_run_at_a_time_as_a_worker_interleaves(
    pool: WorkerProcedureCall, ordered: bool
) -> None:
    found = list(pool.map("meets", range(200), itertools.repeat(200), ordered=ordered))
    assert (found if ordered else sorted(found)) == list(range(200))


@pytest.mark.parametrize("ordered", [True, False])
def test_so_they_do_in_an_event_loop(pool: WorkerProcedureCall, ordered: bool) -> None:
    async def main() -> list[int]:
        results = pool.map("meets", range(300), itertools.repeat(ASYNC_DEPTH), ordered=ordered)
        return [each async for each in results]

    found = asyncio.run(main())
    assert (found if ordered else sorted(found)) == list(range(300))


def test_no_more_items_are_taken_than_that(pool: WorkerProcedureCall) -> None:
    taken = []

    def items() -> Iterator[int]:
        for n in itertools.count():
            taken.append(n)
            yield n

    results = pool.map("stays_at", items(), where=[0])
    assert len(taken) == ASYNC_DEPTH
    results.close()
    ordered = pool.map("stays_at", itertools.chain(range(5), range(6, 1000)), where=[])
    assert list(ordered) == [*range(5), *range(6, 1000)], "and the worker is free again"


def test_the_items_of_a_large_chunk_begin_by_and_by(pool: WorkerProcedureCall) -> None:
    found = list(pool.map("counts", range(500), chunk_size=500))
    assert len(found) == 500
    assert pool.call.most_at_once().result() == INTERLEAVED
    assert 2 * INTERLEAVED == ASYNC_DEPTH, "there are two such chunks at a time"


class FakePool:
    """What `ChunkSizes` asks a pool."""

    worker_count = 2

    def __init__(self, mean_s: float | None = None, has_timeout: bool = False) -> None:
        self.mean_s = lambda name: mean_s
        self.has_timeout = lambda name, options: has_timeout
        self.interleaves = lambda name: True


@pytest.mark.parametrize(
    ("latency_s", "size", "chunks"),
    [(0.5, 1, 512), (0.01, 25, 20), (0.001, 64, 8), (1e-9, 64, 8), (60.0, 1, 512)],
)
def test_coroutines_that_hardly_wait_are_sent_together(latency_s: float, size: int, chunks: int) -> None:
    sizes = ChunkSizes(FakePool(), "f", CallOptions(), None)  # type: ignore[arg-type]
    assert sizes.now() == (1, 2 * ASYNC_DEPTH), "nothing is known yet"
    sizes.ran(latency_s)
    assert sizes.now() == (size, chunks)
    known = ChunkSizes(FakePool(latency_s), "f", CallOptions(), None)  # type: ignore[arg-type]
    assert known.now() == (size, chunks)
    timed = ChunkSizes(FakePool(latency_s, True), "f", CallOptions(), None)  # type: ignore[arg-type]
    assert timed.now() == (1, 2 * ASYNC_DEPTH), "a timeout is one for each item"


def test_a_size_that_is_given_is_kept(pool: WorkerProcedureCall) -> None:
    for size, chunks in ((1, 512), (10, 50), (128, 4), (1000, 4)):
        sizes = ChunkSizes(FakePool(), "f", CallOptions(), size)  # type: ignore[arg-type]
        sizes.ran(0.01)
        assert sizes.now() == (size, chunks)
    first = pool.call.counts(0).call_id
    assert len(list(pool.map("counts", range(100), chunk_size=10))) == 100
    assert pool.call.counts(0).call_id - first - 1 == 10


def test_a_timeout_is_one_for_each_item(pool: WorkerProcedureCall) -> None:
    found = list(pool.map("stays_at", range(9), where=[2, 6], on_error="return", timeout_ms=300))
    assert [n for n, each in enumerate(found) if isinstance(each, CallTimeoutError)] == [2, 6]
    assert isinstance(found[5], ValueError)
    assert [each for each in found if isinstance(each, int)] == [0, 1, 3, 4, 7, 8]


def test_an_error_ends_the_others(pool: WorkerProcedureCall) -> None:
    results = pool.map("stays_at", range(200), where=range(6, 200))
    found = []
    with pytest.raises(ValueError, match="not 5") as caught:
        found.extend(each for each in results)
    assert found == [0, 1, 2, 3, 4]
    assert any("in item 5: stays_at(5, where=range(6, 200)) #" in each for each in caught.value.__notes__)
    assert list(pool.map("counts", range(3), chunk_size=1))[-1]


def test_a_chunk_that_is_stopped_lets_its_coroutines_clean_up(pool: WorkerProcedureCall) -> None:
    before = pids(pool)
    results = pool.map("cleans_up", range(500), chunk_size=250)
    assert next(pool.map("begun", [10])), "some of them have begun"
    results.close()
    began, ended = pool.call.begun_and_cleaned().result()
    assert began == ended, "and those that had not begun never do"
    assert pids(pool) == before, "and the worker goes on"


def test_an_iteration_may_go_on_in_another_way(pool: WorkerProcedureCall) -> None:
    results = pool.map("counts", range(600), ordered=False, chunk_size=1)

    async def some() -> int:
        return len([await anext(results) for _ in range(100)])

    assert asyncio.run(some()) == 100
    assert asyncio.run(some()) == 100
    assert len([next(results) for _ in range(100)]) == 100
    assert asyncio.run(some()) == 100
    assert len(list(results)) == 200
