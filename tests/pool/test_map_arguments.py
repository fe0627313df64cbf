"""Maps: the ways to give a function, and its arguments."""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import (
    ArgumentsNotSerializableError,
    CallTimeoutError,
    FunctionNotDefinedError,
    NestedCallError,
    OptionError,
)

FUNCTIONS = """
def score(x, y=0, *, cv=1):
    if x == 77:
        raise ValueError("not 77")
    return x * cv + y


def anything(*args, **kwargs):
    return args, kwargs


def retry(x, retries=0):
    return x, retries


def nothing():
    return 1


def use(x, function):
    return function(x)


def total(x, array):
    return x + float(array.sum())


def fill(x, array):
    array[:] = 1
    return x


async def later(x, cv=1):
    import asyncio
    await asyncio.sleep(0)
    return x * cv


async def stays(x):
    import asyncio
    await asyncio.sleep(1000)
"""


@pytest.fixture(scope="module", autouse=True)
def functions(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(FUNCTIONS)


# -- keywords -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_size", [None, 1, 3])
@pytest.mark.parametrize("ordered", [True, False])
def test_keywords_are_the_same_for_every_item(
    pool: WorkerProcedureCall, chunk_size: int | None, ordered: bool
) -> None:
    options: Any = {"chunk_size": chunk_size, "ordered": ordered}
    wanted = [3 * n + 1 for n in range(10)]
    assert sorted(pool.map("score", range(10), itertools.repeat(1), cv=3, **options)) == wanted
    assert sorted(pool.map("score", range(10), kwargs={"cv": 3, "y": 1}, **options)) == wanted
    assert sorted(pool.call.score.map(range(10), y=1, kwargs={"cv": 3}, **options)) == wanted


def test_coroutines_take_keywords_too(pool: WorkerProcedureCall) -> None:
    assert list(pool.map("later", range(10), cv=3)) == [3 * n for n in range(10)]

    async def main() -> list[int]:
        return await pool.map("later", range(10), cv=2, ordered=True)

    assert asyncio.run(main()) == [2 * n for n in range(10)]


def test_an_option_is_an_option_and_kwargs_are_for_the_function(pool: WorkerProcedureCall) -> None:
    assert list(pool.map("retry", [1], retries=2)) == [(1, 0)]
    assert list(pool.map("retry", [1], kwargs={"retries": 2})) == [(1, 2)]
    assert list(pool.map("anything", [1], kwargs={"chunk_size": 2, "name": 3})) == [
        ((1,), {"chunk_size": 2, "name": 3})
    ]


def test_a_keyword_that_the_function_does_not_take_is_refused_at_once(pool: WorkerProcedureCall) -> None:
    with pytest.raises(OptionError, match=r"unknown option 'vc'\. .*and score takes no such keyword"):
        pool.map("score", [1], vc=3)
    with pytest.raises(OptionError, match=r"unknown option 'chunk_sise'\. Did you mean 'chunk_size'\?"):
        pool.map("score", [1], chunk_sise=3)
    with pytest.raises(TypeError, match="unexpected keyword argument 'vc'"):
        pool.map("score", [1], kwargs={"vc": 3})
    with pytest.raises(TypeError, match="multiple values for argument 'y'"):
        pool.map("score", [1], [2], y=3)
    with pytest.raises(OptionError, match="kwargs takes a dict of names, not 3"):
        pool.map("score", [1], kwargs=3)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="map takes cv once: in kwargs, or by itself"):
        pool.map("score", [1], cv=1, kwargs={"cv": 1})


def test_a_misspelt_option_is_no_keyword_of_a_function_that_takes_any(pool: WorkerProcedureCall) -> None:
    assert list(pool.map("anything", [1], colour="red")) == [((1,), {"colour": "red"})]
    with pytest.raises(OptionError, match=r"Did you mean 'chunk_size'\? If anything takes it, write kwargs="):
        pool.map("anything", [1], chunk_sise=3)


def test_a_failed_item_is_told_and_replayed_with_its_keywords(pool: WorkerProcedureCall) -> None:
    with pytest.raises(ValueError, match="not 77") as caught:
        list(pool.map("score", range(100), cv=3))
    assert any(note.startswith("in item 77: score(77, cv=3) #") for note in caught.value.__notes__)
    replay = pool.failed_call(caught.value)
    assert (replay.args, replay.kwargs) == ((77,), {"cv": 3})
    with pytest.raises(ValueError, match="not 77"):
        pool.replay(caught.value)


def test_functions_and_objects_of_the_program_may_be_keywords(pool: WorkerProcedureCall) -> None:
    base = 10
    assert list(pool.map("use", range(3), function=lambda x: x + base)) == [10, 11, 12]
    assert list(pool.map("anything", [1], text="__main__")) == [((1,), {"text": "__main__"})]


def test_a_keyword_that_cannot_be_sent_is_named_when_the_map_is_made(pool: WorkerProcedureCall) -> None:
    with pytest.raises(ArgumentsNotSerializableError, match=r"cv is a _thread\.lock"):
        pool.map("score", [1], cv=threading.Lock())
    with pytest.raises(NestedCallError):
        pool.map("score", [1], cv=pool)


@pytest.mark.parametrize("chunk_size", [1, 4])
def test_a_large_array_is_sent_with_every_chunk_and_lies_in_memory_once_or_twice(
    make_pool: Any, chunk_size: int
) -> None:
    pool = make_pool(2, FUNCTIONS)
    array = np.ones(1 << 18)
    pool.call.score(1).result()
    found = list(pool.map("total", range(40), array=array, chunk_size=chunk_size))
    assert found == [n + float(1 << 18) for n in range(40)]
    assert pool._driver.memory.store.total <= 3 * array.nbytes


def test_what_an_item_does_to_an_array_is_not_seen_by_other_chunks(make_pool: Any) -> None:
    pool = make_pool(2, FUNCTIONS)
    array = np.zeros(1 << 16)
    assert list(pool.map("fill", range(8), array=array, chunk_size=1)) == list(range(8))
    assert not array.any()
    assert list(pool.map("total", [0], array=array)) == [0.0]


def test_the_item_of_a_map_with_a_large_keyword_is_told(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    with pytest.raises(TypeError) as caught:
        list(pool.map("total", ["a"], array=np.zeros(1 << 18)))
    assert any("in item 0: total('a', array=<ndarray object>) #" in each for each in caught.value.__notes__)
    with pytest.raises(OptionError, match="are not kept"):
        pool.replay(caught.value)


# -- starmap --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_size", [None, 1, 2])
@pytest.mark.parametrize("ordered", [True, False])
def test_each_item_of_a_starmap_has_all_arguments_of_a_call(
    pool: WorkerProcedureCall, chunk_size: int | None, ordered: bool
) -> None:
    options: Any = {"chunk_size": chunk_size, "ordered": ordered}
    found = list(pool.starmap("score", [(1, 2), [3], iter([5, 6])], cv=10, **options))
    assert sorted(found) == [12, 30, 56]
    assert sorted(pool.call.score.starmap(zip(range(5), range(5), strict=True), **options)) == [0, 2, 4, 6, 8]
    assert list(pool.starmap("nothing", [()] * 5, **options)) == [1] * 5


def test_a_starmap_has_a_length_and_can_be_awaited(pool: WorkerProcedureCall) -> None:
    results = pool.starmap("score", [(n, n) for n in range(5)])
    assert len(results) == 5

    async def main() -> list[int]:
        return [each async for each in pool.starmap("later", ((n,) for n in range(50)))]

    assert results.result() == [0, 2, 4, 6, 8]
    assert asyncio.run(main()) == list(range(50))


def test_a_failed_item_of_a_starmap_is_told_and_replayed(pool: WorkerProcedureCall) -> None:
    found = list(pool.starmap("score", [(1, 1), (77, 2), (3,)], on_error="return", chunk_size=3))
    assert (found[0], found[2]) == (2, 3)
    assert any("in item 1: score(77, 2) #" in note for note in found[1].__notes__)
    assert pool.failed_call(found[1]).args == (77, 2)


def test_items_of_a_starmap_that_are_no_tuples_end_it_after_those_before(pool: WorkerProcedureCall) -> None:
    results = pool.starmap("score", [(1,), (2,), 3, (4,)], chunk_size=10)  # type: ignore[list-item]
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(TypeError, match="starmap takes tuples of arguments; item 2 is none"):
        next(results)

    def broken() -> Iterator[tuple[int]]:
        yield (1,)
        raise TypeError("of the iterable")

    results = pool.starmap("score", broken())
    assert next(results) == 1
    with pytest.raises(TypeError, match=r"^of the iterable\n1 done"):
        next(results)


def test_a_starmap_with_too_many_arguments_is_refused_or_fails_by_item(pool: WorkerProcedureCall) -> None:
    with pytest.raises(TypeError, match=r"score\(\) takes from 1 to 2 positional arguments but 3 were given"):
        pool.starmap("score", [(1, 2, 3)])
    found = list(pool.starmap("score", [(1, 2), (1, 2, 3)], on_error="return"))
    assert found[0] == 3
    assert isinstance(found[1], TypeError)


def test_an_item_of_a_starmap_that_cannot_be_sent_fails_alone(pool: WorkerProcedureCall) -> None:
    items = [(1, 1), (2, threading.Lock()), (3, 3)]
    found = list(pool.starmap("score", iter(items), on_error="return", chunk_size=3))
    assert (found[0], found[2]) == (2, 6)
    assert isinstance(found[1], ArgumentsNotSerializableError)
    assert "y is a _thread.lock" in str(found[1])


def test_what_a_starmap_goes_over_is_iterable(pool: WorkerProcedureCall) -> None:
    with pytest.raises(OptionError, match="starmap, after the function's name, takes an iterable"):
        pool.starmap("score", 3)  # type: ignore[arg-type]
    with pytest.raises(FunctionNotDefinedError):
        pool.starmap("nowhere", [(1,)])


# -- the function ---------------------------------------------------------------------------------------


def test_a_function_of_the_pool_may_be_given_itself(pool: WorkerProcedureCall) -> None:
    assert list(pool.map(pool.call.score, range(3))) == [0, 1, 2]
    assert list(pool.starmap(pool.call["score"], [(1, 2)])) == [3]
    with pytest.raises(OptionError, match=r"by its name, or as pool\.call\.NAME, not by"):
        pool.map(len, [1])  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="score belongs to another pool"):
        WorkerProcedureCall().map(pool.call.score, [1])


def test_the_options_of_a_function_are_those_of_its_maps(pool: WorkerProcedureCall) -> None:
    stays = pool.call.stays.options(timeout_ms=20)
    for results in (stays.map([1]), pool.map(stays, [1]), stays.starmap([(1,)])):
        with pytest.raises(CallTimeoutError):
            next(results)
    quick = pool.call.score.options(worker_id=1)
    assert list(quick.map([1, 2], timeout_ms=60_000)) == [1, 2]
    with pytest.raises(OptionError, match="timeout_ms takes"):
        quick.map([1], timeout_ms=0)


def test_a_function_that_is_not_registered_takes_keywords_too(pool: WorkerProcedureCall) -> None:
    held, taken = [10], 3

    def weigh(x: int, *, cv: int) -> int:
        return x * cv + held[0]

    def scale(x: int, *, cv: int) -> int:
        if x == taken:
            raise ValueError("not 3")
        return x * cv

    assert pool.map_function(weigh, range(3), kwargs={"cv": 2}).result() == [10, 12, 14]
    with pytest.raises(ValueError, match="not 3") as caught:
        pool.map_function(scale, range(5), kwargs={"cv": 2}).result()
    assert any(note.startswith("in item 3: ") and "(3, cv=2) #" in note for note in caught.value.__notes__)
    assert pool.failed_call(caught.value).kwargs == {"cv": 2}
    with pytest.raises(OptionError, match="kwargs takes a dict of names"):
        pool.map_function(scale, [1], kwargs=1)  # type: ignore[arg-type]


def test_the_numbers_of_a_seed_do_not_depend_on_how_items_are_given(make_pool: Any) -> None:
    pool = make_pool(2, "def draw(x, *, to): return x, int(context.rng.integers(to))")
    pool.define_worker_function(
        worker_func="async def draw_later(x, *, to): return x, int(context.rng.integers(to))"
    )
    ways = [
        lambda: pool.map("draw", range(40), to=1000, chunk_size=1),
        lambda: pool.map("draw", range(40), to=1000, chunk_size=7),
        lambda: pool.starmap("draw", [(n,) for n in range(40)], to=1000, chunk_size=7),
        lambda: pool.map("draw_later", range(40), to=1000),
        lambda: pool.map("draw_later", range(40), to=1000, chunk_size=20),
    ]
    found = []
    for way in ways:
        pool.seed(42)
        found.append(way().result())
    assert all(each == found[0] for each in found)


def test_a_map_of_a_function_that_is_not_registered_says_which_method_takes_it(make_pool: Any) -> None:
    pool = make_pool(1)
    with pytest.raises(OptionError, match="map_function takes one that is not registered"):
        pool.map(math.sqrt, [4])
    assert list(pool.map_function(math.sqrt, [4])) == [2]
