"""Large values in both directions at once: nothing deadlocks, and each arrives unchanged."""

from __future__ import annotations

import asyncio
import concurrent.futures
import hashlib
import threading
from typing import Any

import numpy as np
import pytest

from wpc_magic.pool import WorkerProcedureCall

MB = 1 << 20

FUNCTIONS = """
def echo(x):
    return x


def total(x):
    return float(x.sum())


def sha1(data):
    import hashlib
    return hashlib.sha1(data).hexdigest()


def makes(n, byte):
    return bytes([byte]) * n


def changes(x):
    x[0] = -1
    return x
"""


@pytest.fixture
def pool(make_pool: Any) -> WorkerProcedureCall:
    """A pool for each test: it caches shared memory, and frees it when it stops."""
    return make_pool(2, FUNCTIONS)


def test_64_mb_go_there_and_back_with_several_in_flight_both_ways(pool: WorkerProcedureCall) -> None:
    arrays = [np.full(8 * MB, n, dtype=np.float64) for n in range(3)]
    futures = [pool.call.echo(array) for array in arrays]
    for array, future in zip(arrays, futures, strict=True):
        assert np.array_equal(future.result(), array)


def test_bytes_of_any_size_around_the_thresholds_arrive(pool: WorkerProcedureCall) -> None:
    sizes = sorted({(1 << bits) + extra for bits in range(8, 22, 2) for extra in (-65, -33, -1, 0, 1)})
    block = bytes(range(256)) * (max(sizes) // 256 + 1)
    futures = [pool.call.sha1(block[:size]) for size in sizes]
    expected = [hashlib.sha1(block[:size]).hexdigest() for size in sizes]
    assert [future.result() for future in futures] == expected
    found = [pool.call.makes(size, size % 256) for size in sizes]
    assert all(
        future.result() == bytes([size % 256]) * size for future, size in zip(found, sizes, strict=True)
    )


def test_large_calls_of_many_threads_do_not_deadlock(pool: WorkerProcedureCall) -> None:
    def many(n: int) -> bool:
        data = bytes([n]) * (4 * MB)
        return all(pool.call.echo(data).result() == data for _ in range(4))

    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        assert all(threads.map(many, range(6)))


def test_large_answers_and_calls_cross_while_no_thread_waits_for_them(pool: WorkerProcedureCall) -> None:
    data = b"x" * (8 * MB)
    futures = [pool.call.echo(data) for _ in range(8)]
    done, _ = concurrent.futures.wait(futures)
    assert len(done) == 8
    assert all(future.result() == data for future in futures)


def test_large_values_can_be_awaited(pool: WorkerProcedureCall) -> None:
    async def main() -> list[float]:
        return await asyncio.gather(*(pool.call.total(np.full(MB, n, dtype=np.float64)) for n in range(6)))

    assert asyncio.run(main()) == [float(n * MB) for n in range(6)]


def test_large_items_can_be_mapped(pool: WorkerProcedureCall) -> None:
    items = (np.full(MB // 4, n, dtype=np.float64) for n in range(20))
    assert list(pool.map("total", items)) == [n * MB / 4 for n in range(20)]


def test_an_array_is_copied_when_the_call_is_made(pool: WorkerProcedureCall, door: Any) -> None:
    held = [pool.call.held(door.path) for _ in range(2)]
    visits = [door.wait(), door.wait()]
    array = np.ones(MB)
    future = pool.call.total(array)  # queued
    array[:] = 0
    for visit in visits:
        visit.let_go()
    assert future.result() == MB
    concurrent.futures.wait(held)


def test_what_a_function_does_to_its_argument_stays_in_the_worker(pool: WorkerProcedureCall) -> None:
    array = np.ones(MB)
    returned = pool.call.changes(array).result()
    assert returned[0] == -1
    assert array[0] == 1
    returned[1] = 5  # a returned value belongs to the caller
    again = pool.call.changes(array).result()
    assert again[1] == 1


def test_an_array_of_any_layout_arrives(pool: WorkerProcedureCall) -> None:
    base = np.arange(400_000.0).reshape(400, 1000)
    for array in (base.T, base[::2], base[:, ::-1], np.asfortranarray(base), base.astype(">i4"), base[:0]):
        returned = pool.call.echo(array).result()
        assert np.array_equal(returned, array)
        assert returned.dtype == array.dtype


def test_small_calls_proceed_while_a_large_one_is_in_flight(pool: WorkerProcedureCall) -> None:
    over = threading.Event()
    data = b"y" * (32 * MB)

    def large() -> None:
        try:
            for _ in range(3):
                assert len(pool.call.echo.options(worker_id=1)(data).result()) == len(data)
        finally:
            over.set()

    thread = threading.Thread(target=large)
    thread.start()
    while not over.is_set():
        assert pool.call.echo.options(worker_id=2)(1).result() == 1
    thread.join()


def test_a_worker_that_dies_while_large_calls_are_in_flight_costs_only_what_ran(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS + "\ndef dies(x):\n    import os\n    os._exit(1)")
    data = b"z" * (8 * MB)
    first, second = pool.call.dies(data), pool.call.echo(data)
    assert first.exception() is not None
    assert second.result() == data
