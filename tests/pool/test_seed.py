"""`context.rng` and the seed of a pool: the same numbers, whatever the workers."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest

from tests.pool.conftest import HELD, PATIENCE_S
from wpc_magic.pool import WorkerProcedureCall

DRAW = """
def draw(n=0):
    return float(context.rng.random())

def twice(n=0):
    return float(context.rng.random()), float(context.rng.random())

async def later(n=0):
    import asyncio
    first = float(context.rng.random())
    await asyncio.sleep(0)
    return first, float(context.rng.random())

def fails(n):
    raise ValueError(float(context.rng.random()))

def picky(n):
    if n % 2:
        raise ValueError(float(context.rng.random()))
    return float(context.rng.random())

def unpicklable(n):
    return n, float(context.rng.random())

def has_numpy():
    import sys
    return "numpy" in sys.modules
"""


@pytest.fixture(scope="module")
def two() -> Any:
    with WorkerProcedureCall() as pool:
        pool.define_worker_functions(DRAW)
        pool.start_workers(2)
        yield pool


def expected(seed: int, *key: int, count: int = 1) -> list[float]:
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    return [float(rng.random()) for _ in range(count)]


def test_a_call_draws_by_its_own_number_since_the_seed(two: Any) -> None:
    two.seed(42)
    futures = [two.call.draw() for _ in range(4)]
    assert [future.result(PATIENCE_S) for future in futures] == [expected(42, n)[0] for n in range(4)]
    two.seed(42)
    assert two.call.twice().result(PATIENCE_S) == tuple(expected(42, 0, count=2))
    two.seed(7)
    assert two.current_seed == 7
    assert two.call.draw().result(PATIENCE_S) == expected(7, 0)[0]


@pytest.mark.parametrize("chunk_size", [1, 2, 7, 100, None])
def test_an_item_of_a_map_draws_by_its_number_in_it_whatever_the_chunks(two: Any, chunk_size: Any) -> None:
    two.seed(42)
    two.call.draw().result(PATIENCE_S)
    values = two.map("twice", range(10), chunk_size=chunk_size).result()
    assert values == [tuple(expected(42, 1, n, count=2)) for n in range(10)]
    assert two.call.draw().result(PATIENCE_S) == expected(42, 2)[0]  # a map counts as one


@pytest.mark.parametrize("chunk_size", [1, 3, 10])
def test_so_do_coroutines_that_interleave(two: Any, chunk_size: int) -> None:
    two.seed(42)
    values = two.map("later", range(10), chunk_size=chunk_size).result()
    assert values == [tuple(expected(42, 0, n, count=2)) for n in range(10)]
    futures = [two.call.later() for _ in range(5)]
    assert [f.result(PATIENCE_S) for f in futures] == [tuple(expected(42, n, count=2)) for n in range(1, 6)]


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_does_not_matter(workers: int) -> None:
    with WorkerProcedureCall() as pool:
        pool.define_worker_functions(DRAW)
        pool.start_workers(workers)
        pool.seed(3)
        assert pool.map("draw", range(6), ordered=True).result() == [expected(3, 0, n)[0] for n in range(6)]


def test_items_that_fail_are_skipped_or_returned_without_a_shift(two: Any) -> None:
    two.seed(42)
    results = two.map("picky", range(6), chunk_size=4, on_error="return").result()
    drawn = [each if n % 2 == 0 else each.args[0] for n, each in enumerate(results)]
    assert drawn == [expected(42, 0, n)[0] for n in range(6)]


def test_items_around_one_that_cannot_be_sent_draw_the_same(two: Any) -> None:
    import threading

    two.seed(42)
    items = [0, 1, threading.Lock(), 3, 4]
    values = two.map("unpicklable", items, chunk_size=5, on_error="skip").result()
    assert values == [(n, expected(42, 0, n)[0]) for n in (0, 1, 3, 4)]


def test_a_call_that_is_run_again_draws_the_same(door: Any) -> None:
    source = HELD + "def slow(door):\n    drawn = float(context.rng.random())\n    return drawn, held(door)\n"
    with WorkerProcedureCall(restart_base_delay_ms=1, restart_jitter_ms=0) as pool:
        pool.define_worker_functions(source, retries=1)
        pool.start_workers(1)
        pool.seed(42)
        future = pool.call.slow(door.path)
        os.kill(door.wait().pid, signal.SIGKILL)
        door.wait().let_go()
        assert future.result(PATIENCE_S) == (expected(42, 0)[0], None)


def test_calls_here_count_too_and_a_failed_call_is_replayed_with_its_numbers(two: Any) -> None:
    two.seed(42)
    assert two.call.twice.local() == tuple(expected(42, 0, count=2))
    error = two.call.fails(5).exception(PATIENCE_S)
    assert error.args == tuple(expected(42, 1))
    assert error.__notes__[0].startswith("in fails(5) #")
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        two.replay(error)
    assert caught.value.args == error.args
    with pytest.raises(ValueError, match=r"0\.") as of_item:
        two.map("picky", range(4), chunk_size=4).result()
    assert of_item.value.__notes__[0].startswith("in item 1: picky(1) #")
    with pytest.raises(ValueError, match=r"0\.") as caught:
        two.replay(of_item.value)
    assert caught.value.args == of_item.value.args == tuple(expected(42, 2, 1))


def test_without_a_seed_numbers_are_others_each_time_and_one_stream_in_a_call(two: Any) -> None:
    two.seed(None)
    assert two.current_seed is None
    drawn = [number for pair in two.map("twice", range(4), chunk_size=2) for number in pair]
    drawn += [two.call.draw().result(PATIENCE_S), two.call.draw.local(), two.call.draw.local()]
    assert len(set(drawn)) == len(drawn)


def test_large_arguments_travel_as_before(make_pool: Any) -> None:
    two = make_pool(2)
    two.define_worker_functions("def total(a, b=0): return float(a.sum()) + b, float(context.rng.random())\n")
    two.seed(42)
    assert two.call.total(np.ones(100_000), b=1).result(PATIENCE_S) == (100_001.0, expected(42, 0)[0])
    values = two.map("total", [np.ones(50_000)] * 3, chunk_size=2).result()
    assert values == [(50_000.0, expected(42, 1, n)[0]) for n in range(3)]


def test_a_worker_that_draws_nothing_does_not_import_numpy() -> None:
    with WorkerProcedureCall() as pool:
        pool.define_worker_functions(DRAW)
        pool.start_workers(1)
        pool.seed(42)
        assert pool.call.has_numpy().result(PATIENCE_S) is False
        pool.call.draw().result(PATIENCE_S)
        assert pool.call.has_numpy().result(PATIENCE_S) is True


def test_an_exported_pipeline_has_the_seed(two: Any) -> None:
    made: dict[str, Any] = {}
    with WorkerProcedureCall() as pool:
        pool.define_worker_functions(DRAW)
        pool.seed(42)
        text = pool.export()
    exec(text, made)
    with made["build_pool"]() as again:
        again.start_workers(1)
        assert again.call.draw().result(PATIENCE_S) == expected(42, 0)[0]
        assert again.export() == text


def test_doctests_draw_the_same_each_time_and_count_as_no_call(two: Any) -> None:
    two.seed(42)
    source = f'def drawn():\n    """\n    >>> drawn()\n    {expected(0, 0)[0]!r}\n    """\n'
    for _ in range(2):
        two.define_worker_functions(source + "    return float(context.rng.random())\n", test=True)
    assert two.call.draw().result(PATIENCE_S) == expected(42, 0)[0]


def test_many_calls_that_draw_leave_little_behind(two: Any) -> None:
    two.seed(42)
    source = "def kept():\n    context.rng\n    return len(context._numbers._draws)\n"
    two.define_worker_functions(source)
    kept = [future.result(PATIENCE_S) for future in [two.call.kept() for _ in range(300)]]
    assert max(kept) <= 65
