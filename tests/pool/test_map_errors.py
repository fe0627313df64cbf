"""Maps whose items fail: what goes on, and what is kept of the rest."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.pool.conftest import HELD
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import (
    ArgumentsNotSerializableError,
    OptionError,
    PoolStoppedError,
    WorkerCrashedError,
)

FUNCTIONS = """
def picky(x):
    if x % 5 == 2:
        raise ValueError("no date")
    return x


async def picky_later(x):
    if x % 5 == 2:
        raise ValueError("no date")
    return x


def same(x):
    return x


def boxed(x):
    if x == 100:
        raise ValueError("no date")
    return [x]


def dies(x):
    import os
    if x == 12: os._exit(1)
    return x


def waits(x, door):
    if x == 3:
        held(door)
    if x in (3, 5):
        raise ValueError("no date")
    return x


async def sleeps(x):
    import asyncio
    if x == 3:
        await asyncio.sleep(1000)
    return x
"""


@pytest.fixture(scope="module", autouse=True)
def functions(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(FUNCTIONS + HELD)


def shown(results: list[Any]) -> list[Any]:
    """Return results with errors as text, to be compared."""
    return [f"{type(each).__name__}: {each}" if isinstance(each, Exception) else each for each in results]


@pytest.mark.parametrize("name", ["picky", "picky_later"])
@pytest.mark.parametrize("chunk_size", [None, 1, 3, 100])
@pytest.mark.parametrize("ordered", [True, False])
def test_an_error_stands_in_the_place_of_its_item_or_is_left_out(
    pool: WorkerProcedureCall, name: str, chunk_size: int | None, ordered: bool
) -> None:
    wanted = ["ValueError: no date" if n % 5 == 2 else n for n in range(50)]
    options: Any = {"chunk_size": chunk_size, "ordered": ordered}
    found = shown(list(pool.map(name, range(50), on_error="return", **options)))
    assert found == wanted if ordered else sorted(found, key=str) == sorted(wanted, key=str)
    found = list(pool.map(name, range(50), on_error="skip", **options))
    assert found == [n for n in range(50) if n % 5 != 2] if ordered else len(found) == 40


def test_the_errors_are_known_by_item_and_equal_ones_are_told_once(pool: WorkerProcedureCall) -> None:
    results = pool.map("picky", range(13), on_error="return", chunk_size=4)
    found = list(results)
    assert list(results.errors) == [2, 7, 12]
    assert results.errors[7] is found[7]
    assert any("in item 7: picky(7) #" in note for note in found[7].__notes__)
    assert results.error_summary == "ValueError: no date ×3 (items 2, 7, 12)"


def test_an_event_loop_gets_errors_in_their_places(pool: WorkerProcedureCall) -> None:
    async def main() -> list[Any]:
        return await pool.map("picky", range(8), on_error="return", chunk_size=3)

    assert shown(asyncio.run(main())) == [0, 1, "ValueError: no date", 3, 4, 5, 6, "ValueError: no date"]


def test_an_item_that_cannot_be_sent_fails_alone(pool: WorkerProcedureCall) -> None:
    items = [1, 2, threading.Lock(), 4, 5]
    found = list(pool.map("same", items, on_error="return", chunk_size=5))
    assert [n for n, each in enumerate(found) if isinstance(each, ArgumentsNotSerializableError)] == [2]
    assert list(pool.map("same", items, on_error="skip", chunk_size=5)) == [1, 2, 4, 5]
    unordered = pool.map("same", items, on_error="skip", chunk_size=2, ordered=False)
    assert sorted(unordered) == [1, 2, 4, 5]


def test_a_worker_that_dies_fails_the_items_of_its_chunk(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS + HELD)
    found = list(pool.map("dies", range(20), on_error="return", chunk_size=5))
    assert found[:10] + found[15:] == [*range(10), *range(15, 20)]
    assert all(isinstance(each, WorkerCrashedError) for each in found[10:15])


def test_a_pool_that_stops_ends_also_a_map_that_goes_on_after_errors(make_pool: Any, door: Any) -> None:
    pool = make_pool(1)
    results = pool.map("held", [door.path] * 3, chunk_size=1, on_error="skip")
    door.wait()
    pool.stop_workers()
    with pytest.raises(PoolStoppedError):
        next(results)


def test_an_error_has_what_was_done_by_item(pool: WorkerProcedureCall) -> None:
    with pytest.raises(ValueError, match="no date") as caught:
        list(pool.map("boxed", range(500), chunk_size=1))
    partial = caught.value.partial  # type: ignore[attr-defined]
    assert {n: [n] for n in range(100)}.items() <= partial.items()
    assert caught.value.__notes__[-1] == f"{len(partial)} of 500 done; they are in error.partial"


def test_what_was_computed_behind_the_item_that_fails_is_kept(pool: WorkerProcedureCall, door: Any) -> None:
    before = pool.snapshot().items
    # Items 4 and 5 are computed by the other worker while item 3 waits at the door.
    results = pool.map("waits", range(6), itertools.repeat(door.path), chunk_size=1)
    visit = door.wait()
    while pool.snapshot().items - before < 5:  # all but the one at the door
        pool.call.same(1).result()
    visit.let_go()
    with pytest.raises(ValueError, match="no date") as caught:
        list(results)
    assert caught.value.partial == {0: 0, 1: 1, 2: 2, 4: 4}  # type: ignore[attr-defined]


def test_a_loop_keeps_no_more_values_alive_than_it_uses(pool: WorkerProcedureCall) -> None:
    results = pool.map("boxed", range(500), chunk_size=1)
    with pytest.raises(ValueError, match="no date") as caught:
        for _ in results:
            pass
    partial = caught.value.partial  # type: ignore[attr-defined]
    assert len([n for n in partial if n < 100]) <= 3
    assert "that were not used yet are in error.partial" in caught.value.__notes__[-1]


def test_an_interrupt_has_what_was_done(pool: WorkerProcedureCall, door: Any) -> None:
    def items() -> Iterator[int]:
        yield from range(50)
        os.kill(os.getpid(), signal.SIGINT)  # while the map waits for more
        yield from range(50)

    with pytest.raises(KeyboardInterrupt) as caught:
        list(pool.map("same", items(), chunk_size=1))
    partial = caught.value.partial  # type: ignore[attr-defined]
    assert partial
    assert all(n == value for n, value in partial.items())
    assert caught.value.__notes__[-1] == f"{len(partial)} done; they are in error.partial"


def test_a_cancelled_task_has_what_was_done(pool: WorkerProcedureCall) -> None:
    async def main() -> Any:
        results = pool.map("sleeps", range(4), chunk_size=1)
        kept = [await anext(results) for _ in range(3)]
        waiting = asyncio.ensure_future(anext(results))
        await asyncio.sleep(0)
        waiting.cancel()
        try:
            await waiting
        except asyncio.CancelledError as error:
            return kept, error
        raise AssertionError("it went on")

    kept, error = asyncio.run(main())
    assert error.partial == dict(enumerate(kept))


def test_the_own_attribute_of_an_error_is_left_alone(make_pool: Any) -> None:
    source = """
class Half(Exception):
    partial = "half"

def fails(x):
    raise Half(x)
"""
    with pytest.raises(Exception, match="0") as caught:
        list(make_pool(1, source).map("fails", range(3)))
    assert caught.value.partial == "half"  # type: ignore[attr-defined]


def test_several_failures_are_told_together(pool: WorkerProcedureCall) -> None:
    with pytest.raises(ValueError, match="no date") as caught:
        list(pool.map("picky_later", range(20), chunk_size=20))
    text = "\n".join(caught.value.__notes__)
    assert "\nValueError: no date ×4 (items 2, 7, 12, 17)\n" in text
    assert text.endswith("16 of 20 done; they are in error.partial")


def test_a_map_says_how_many_items_it_has(pool: WorkerProcedureCall) -> None:
    assert len(pool.map("same", range(7))) == 7
    assert len(pool.call.same.map(["a"] * 3)) == 3
    nothing = pool.map("same", [])
    assert len(nothing) == 0
    assert nothing, "it is an iterator, which is true"
    endless = pool.map("same", itertools.count())
    with pytest.raises(TypeError, match="the number of items is not known"):
        len(endless)
    endless.close()
    assert list(pool.map("same", iter([1, 2]))) == [1, 2]


def test_a_map_gives_all_its_results_at_once(pool: WorkerProcedureCall) -> None:
    assert pool.map("same", range(100)).result() == list(range(100))
    results = pool.map("same", range(5))
    assert next(results) == 0
    assert results.result() == [1, 2, 3, 4]

    async def main() -> list[int]:
        return await pool.map("same", range(100))

    assert asyncio.run(main()) == list(range(100))


def test_a_map_that_is_indexed_says_what_to_type(pool: WorkerProcedureCall) -> None:
    results = pool.map("same", range(5))
    with pytest.raises(TypeError, match=r"Type: values = results.result\(\), then values\[0\]"):
        results[0]
    results.close()


def test_the_chunk_size_has_the_name_of_other_pools_too(pool: WorkerProcedureCall) -> None:
    first = pool.call.same(0).call_id
    assert pool.map("same", range(100), chunksize=50).result() == list(range(100))
    assert pool.call.same(0).call_id - first - 1 == 2
    with pytest.raises(OptionError, match="chunk_size or chunksize"):
        pool.map("same", range(3), chunk_size=1, chunksize=1)
    with pytest.raises(OptionError, match="chunk_size takes a positive whole number"):
        pool.map("same", range(3), chunksize=0)
    with pytest.raises(OptionError, match="on_error takes 'raise', 'return' or 'skip', not 'ignore'"):
        pool.map("same", range(3), on_error="ignore")  # type: ignore[arg-type]
