"""Maps: one function over many items."""

from __future__ import annotations

import asyncio
import gc
import itertools
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pool.conftest import PATIENCE_S, Begun, learn
from wpc_magic.pool import CallFuture, WorkerProcedureCall
from wpc_magic.pool.errors import (
    ArgumentsNotSerializableError,
    CallTimeoutError,
    FunctionNotDefinedError,
    NotRunningError,
    OptionError,
    PoolStoppedError,
    SaturatedError,
    WorkerCrashedError,
)

FUNCTIONS = """
def double(x):
    return 2 * x


def add(a, b=0, c=0):
    return a + b + c


def picky(x):
    if x == 7:
        raise ValueError(f"not {x}")
    return x


async def later(x):
    import asyncio
    await asyncio.sleep(0)
    if x == -1:
        raise ValueError("not -1")
    return x


here = set()


async def meets(x, of):
    import asyncio
    here.add(x)
    for _ in range(100_000):
        if len(here) == of:
            return x
        await asyncio.sleep(0)
    raise TimeoutError(f"{here} alone")


def stops_at_three(x):
    return next(iter([])) if x == 3 else x


async def gives_an_error(x):
    return ValueError(x)


def gives_a_lock(x):
    import threading
    return threading.Lock() if x == 3 else x
"""


class Counted:
    """An infinite iterable that knows how far it was consumed."""

    def __init__(self) -> None:
        self.taken = 0

    def __iter__(self) -> Iterator[int]:
        for n in itertools.count():
            self.taken += 1
            yield n


@pytest.fixture(scope="module", autouse=True)
def functions(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(FUNCTIONS)


def test_results_come_in_the_order_of_the_items(pool: WorkerProcedureCall) -> None:
    assert list(pool.map("double", range(10_000))) == [2 * n for n in range(10_000)]


def test_results_come_as_they_are_there(pool: WorkerProcedureCall) -> None:
    found = list(pool.map("double", range(10_000), ordered=False))
    assert sorted(found) == [2 * n for n in range(10_000)]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_map_may_be_made_where_futures_call_back(pool: WorkerProcedureCall, ordered: bool) -> None:
    found: queue.SimpleQueue[list[int]] = queue.SimpleQueue()

    def go_on(future: Any) -> None:
        found.put(sorted(pool.map("double", range(future.result()), ordered=ordered)))

    pool.call.double(50).add_done_callback(go_on)
    assert found.get(timeout=PATIENCE_S) == [2 * n for n in range(100)]


def test_what_is_ready_comes_before_an_item_that_is_not(pool: WorkerProcedureCall, door: Any) -> None:
    pool.define_worker_function(
        worker_func=pool.call.held.source.replace(
            "def held(door, value=None)", "def stop_at(value, door)"
        ).replace("import os, socket", "import os, socket\n    if value != 0: return value")
    )
    results = pool.map("stop_at", range(50), itertools.repeat(door.path), ordered=False, chunk_size=1)
    visit = door.wait()
    assert sorted(next(results) for _ in range(49)) == list(range(1, 50))
    visit.let_go()
    assert list(results) == [0]


def test_a_map_is_also_a_method_of_the_function(pool: WorkerProcedureCall) -> None:
    assert list(pool.call.double.map(range(3))) == [0, 2, 4]


def test_several_iterables_are_the_arguments_and_the_shortest_ends_it(pool: WorkerProcedureCall) -> None:
    assert list(pool.map("add", range(100), itertools.count(), [1, 2, 3])) == [1, 4, 7]


def test_an_empty_iterable_gives_nothing(pool: WorkerProcedureCall) -> None:
    results = pool.map("double", [])
    assert list(results) == []
    assert list(results) == []


@pytest.mark.parametrize("ordered", [True, False])
def test_an_endless_iterable_is_consumed_only_as_far_as_needed(
    pool: WorkerProcedureCall, ordered: bool
) -> None:
    items = Counted()
    results = pool.map("double", items, chunk_size=10, ordered=ordered)
    assert items.taken <= 60, "three chunks for each worker"
    found = [next(results) for _ in range(1000)]
    if ordered:
        assert found == [2 * n for n in range(1000)]
    assert set(found) <= {2 * n for n in range(items.taken)}
    assert len(set(found)) == 1000
    assert items.taken <= 1000 + 70
    results.close()


def test_nothing_is_consumed_while_nobody_takes_results(pool: WorkerProcedureCall) -> None:
    items = Counted()
    results = pool.map("double", items, chunk_size=1)
    assert items.taken == 6
    next(results)
    assert items.taken == 7
    results.close()


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_so_many_items_travel_together_as_one_says(pool: WorkerProcedureCall, size: int) -> None:
    first = pool.call.double(0)
    first.result()
    assert list(pool.map("double", range(100), chunk_size=size)) == [2 * n for n in range(100)]
    assert pool.call.double(0).call_id - first.call_id - 1 == -(-100 // size)


def test_quick_functions_travel_in_larger_chunks_as_their_time_becomes_known(
    pool: WorkerProcedureCall,
) -> None:
    pool.define_worker_function(worker_func="def quick(x): return x")
    first = pool.call.double(0).call_id
    assert list(pool.map("quick", range(20_000))) == list(range(20_000))
    assert pool.call.double(0).call_id - first < 2000


@pytest.mark.parametrize("size", [None, 1, 5, 100])
def test_the_failing_item_is_named_and_what_came_before_it_is_given(
    pool: WorkerProcedureCall, size: int | None
) -> None:
    results = pool.map("picky", range(20), chunk_size=size)
    found = []
    with pytest.raises(ValueError, match="not 7") as caught:
        found.extend(each for each in results)
    assert found == list(range(7))
    assert any(note.startswith("in item 7: picky(7) #") for note in caught.value.__notes__)
    assert list(results) == [], "and then it is over"


def test_an_unordered_map_names_the_failing_item_too(pool: WorkerProcedureCall) -> None:
    with pytest.raises(ValueError, match="not 7") as caught:
        list(pool.map("picky", range(20), ordered=False))
    assert any("in item 7: picky(7) #" in note for note in caught.value.__notes__)


def test_a_value_that_cannot_be_sent_is_named_as_its_item(pool: WorkerProcedureCall) -> None:
    results = pool.map("gives_a_lock", range(10), chunk_size=10)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(TypeError, match="pickle") as caught:
        next(results)
    text = "\n".join(caught.value.__notes__)
    assert "the value that it returned (lock) cannot be sent" in text
    assert "in item 3: gives_a_lock(3) #" in text


def test_an_item_that_cannot_be_pickled_ends_the_map_after_those_before_it(pool: WorkerProcedureCall) -> None:
    results = pool.map("add", [1, 2, threading.Lock(), 4], chunk_size=1)
    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ArgumentsNotSerializableError) as caught:
        next(results)
    assert "in item 2 of the map over add" in caught.value.__notes__


def test_an_iterable_that_raises_ends_the_map_with_its_error(pool: WorkerProcedureCall) -> None:
    def items() -> Iterator[int]:
        yield from range(100)
        raise OSError("the disk is gone")

    results = pool.map("double", items(), chunk_size=1)
    with pytest.raises(OSError, match="the disk is gone"):
        list(results)
    assert pool.call.double(1).result() == 2


@pytest.mark.parametrize("chunk_size", [None, 1, 2, 10])
@pytest.mark.parametrize("count", [0, 1, 5, 1000])
def test_the_error_of_an_iterable_comes_after_the_results_of_the_items_before_it(
    pool: WorkerProcedureCall, count: int, chunk_size: int | None
) -> None:
    def items() -> Iterator[int]:
        yield from range(count)
        raise OSError("the disk is gone")

    found: list[int] = []
    with pytest.raises(OSError, match="the disk is gone"):
        found.extend(pool.map("double", items(), chunk_size=chunk_size))
    assert found == [2 * n for n in range(count)]


@pytest.mark.parametrize("chunk_size", [1, 3, 10])
@pytest.mark.parametrize("ordered", [True, False])
def test_a_function_that_raises_stop_iteration_does_not_end_the_items(
    pool: WorkerProcedureCall, chunk_size: int, ordered: bool
) -> None:
    results = pool.map("stops_at_three", range(6), chunk_size=chunk_size, ordered=ordered)
    with pytest.raises(RuntimeError, match="the function raised StopIteration") as caught:
        list(results)
    assert any("in item 3: stops_at_three(3) #" in note for note in caught.value.__notes__)


def test_a_coroutine_may_return_an_exception_as_its_value(pool: WorkerProcedureCall) -> None:
    found = list(pool.map("gives_an_error", range(3), chunk_size=3))
    assert [str(error) for error in found] == ["0", "1", "2"]


def test_a_map_over_what_is_not_defined_is_refused_at_once(pool: WorkerProcedureCall) -> None:
    with pytest.raises(FunctionNotDefinedError):
        pool.map("nothing", [1])


def test_a_map_in_a_stopped_pool_is_refused(make_pool: Any) -> None:
    with pytest.raises(NotRunningError):
        make_pool(0).map("held", ["nowhere"])


def test_a_map_needs_an_iterable_and_sensible_options(pool: WorkerProcedureCall) -> None:
    with pytest.raises(OptionError, match="at least one iterable"):
        pool.map("double")
    with pytest.raises(OptionError, match="chunk_size takes a positive whole number, not 0"):
        pool.map("double", [1], chunk_size=0)
    with pytest.raises(OptionError, match="ordered takes True or False"):
        pool.map("double", [1], ordered=1)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="unknown option 'timeout'"):
        pool.map("double", [1], timeout=1)
    with pytest.raises(OptionError, match="by its name"):
        pool.map(len, [1])  # type: ignore[arg-type]


def test_a_closed_map_gives_up_what_has_not_begun(pool: WorkerProcedureCall, door: Any) -> None:
    results = pool.map("held", itertools.repeat(door.path), chunk_size=1)
    door.wait(), door.wait()
    results.close()
    assert list(results) == []
    door.close()
    assert pool.call.double(1).result() == 2


def test_a_map_can_be_a_context(pool: WorkerProcedureCall) -> None:
    with pool.map("double", itertools.count()) as results:
        assert next(results) == 0
    assert list(results) == []


def test_a_map_that_is_dropped_gives_up_what_has_not_begun(pool: WorkerProcedureCall, door: Any) -> None:
    results = pool.map("held", itertools.repeat(door.path), chunk_size=1)
    door.wait(), door.wait()
    del results
    gc.collect()
    door.close()
    assert pool.call.double(1).result() == 2


def test_a_map_that_is_dropped_before_its_first_result_gives_up_all(
    pool: WorkerProcedureCall, door: Any
) -> None:
    results = pool.map("held", itertools.repeat(door.path), chunk_size=1)
    visits = door.wait(), door.wait()
    del results
    for visit in visits:
        visit.wait_until_gone()
    assert pool.call.double(1).result() == 2


def test_a_map_that_is_refused_in_the_middle_gives_up_what_it_has_sent(
    pool: WorkerProcedureCall, door: Any
) -> None:
    def items() -> Iterator[str]:
        yield door.path
        yield door.path
        raise KeyboardInterrupt  # any other error is raised after the results

    before = pool.cancelled_count
    with pytest.raises(KeyboardInterrupt):
        pool.map("held", items(), chunk_size=1)
    assert pool.cancelled_count == before + 2
    door.close()
    assert pool.call.double(1).result() == 2


def test_the_error_of_an_iterable_waits_for_items_that_found_no_room(make_pool: Any) -> None:
    def items() -> Iterator[int]:
        yield from range(20)
        raise OSError("the disk is gone")

    pool = make_pool(1, FUNCTIONS, max_pending_calls_per_worker=1)
    found: list[int] = []
    with pytest.raises(OSError, match="the disk is gone"):
        found.extend(pool.map("double", items(), chunk_size=3))
    assert found == [2 * n for n in range(20)]


@pytest.mark.parametrize("ordered", [True, False])
def test_a_map_sends_no_more_than_a_pool_with_a_limit_takes(make_pool: Any, ordered: bool) -> None:
    pool = make_pool(2, FUNCTIONS, max_pending_calls_per_worker=1)
    found = pool.map("double", range(100), chunk_size=3, ordered=ordered)
    assert sorted(found) == [2 * n for n in range(100)]


def test_a_map_that_a_pool_has_no_room_for_is_refused(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, FUNCTIONS, max_pending_calls_per_worker=1)
    future = pool.call.held(door.path)
    with pytest.raises(SaturatedError):
        pool.map("double", range(100))
    door.wait().let_go()
    assert future.result() is None
    assert list(pool.map("double", range(3))) == [0, 2, 4]


def test_a_map_can_be_iterated_in_an_event_loop(pool: WorkerProcedureCall) -> None:
    async def main(ordered: bool) -> list[int]:
        return [each async for each in pool.map("double", range(2000), ordered=ordered)]

    assert asyncio.run(main(True)) == [2 * n for n in range(2000)]
    assert sorted(asyncio.run(main(False))) == [2 * n for n in range(2000)]


def test_the_loop_goes_on_while_a_map_is_iterated(pool: WorkerProcedureCall, door: Any) -> None:
    async def main() -> list[Any]:
        results = pool.map("held", [door.path] * 2, ["a", "b"], chunk_size=1)
        found = asyncio.ensure_future(_collect(results))
        visits = [await asyncio.to_thread(door.wait) for _ in range(2)]
        assert not found.done()
        for visit in visits:
            visit.let_go()
        return await found

    assert asyncio.run(main()) == ["a", "b"]


async def _collect(results: Any) -> list[Any]:
    return [each async for each in results]


@pytest.mark.parametrize("ordered", [True, False])
def test_an_error_ends_an_iteration_in_an_event_loop(pool: WorkerProcedureCall, ordered: bool) -> None:
    with pytest.raises(ValueError, match="not 7"):
        asyncio.run(_collect(pool.map("picky", range(20), ordered=ordered)))


def test_a_map_over_a_coroutine_function_awaits_them_side_by_side(pool: WorkerProcedureCall) -> None:
    assert list(pool.map("meets", range(4), [4] * 4, chunk_size=4)) == [0, 1, 2, 3]
    assert list(pool.map("later", range(500))) == list(range(500))
    with pytest.raises(ValueError, match="not -1") as caught:
        list(pool.map("later", [1, 2, -1, 3], chunk_size=4))
    assert any("in item 2: later(-1) #" in note for note in caught.value.__notes__)


def test_a_worker_that_dies_ends_the_map_and_names_the_items(make_pool: Any) -> None:
    pool = make_pool(1, "def dies(x):\n    import os\n    if x == 12: os._exit(1)\n    return x")
    with pytest.raises(WorkerCrashedError) as caught:
        list(pool.map("dies", range(20), chunk_size=5))
    assert "in items 10 to 14 of the map over dies" in caught.value.__notes__
    pool.wait_until_ready()
    assert list(pool.map("dies", range(3))) == [0, 1, 2]


def test_retries_run_the_items_of_a_dead_worker_again(make_pool: Any, folder: Any) -> None:
    pool = make_pool(
        2,
        """
def dies_once(x, path):
    import os
    if x == 5:
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return x
        os._exit(1)
    return x
""",
    )
    results = pool.map("dies_once", range(50), itertools.repeat(str(folder / "was")), retries=1)
    assert list(results) == list(range(50))


def test_a_time_out_is_one_for_each_item(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, "def quick(x): return x")
    learn(pool, "quick")  # so that without a timeout they would be sent together
    first = pool.call.quick(0).call_id
    assert list(pool.map("quick", range(10), timeout_ms=60_000)) == list(range(10))
    assert pool.call.quick(0).call_id - first - 1 == 10
    results = pool.map("held", [door.path], timeout_ms=20)
    with pytest.raises(CallTimeoutError) as caught:
        next(results)
    assert "in item 0 of the map over held" in caught.value.__notes__


def test_a_map_goes_on_while_the_function_is_defined_anew(pool: WorkerProcedureCall) -> None:
    pool.define_worker_function(worker_func="def version(x): return 1")
    results = pool.map("version", itertools.count(), chunk_size=2)
    found = [next(results) for _ in range(20)]
    pool.define_worker_function(worker_func="def version(x): return 2")
    later = [next(results) for _ in range(60)]
    assert set(found) == {1}
    assert later[-1] == 2
    assert later == sorted(later)
    results.close()


def test_a_map_is_told_when_the_pool_stops(make_pool: Any, door: Any) -> None:
    pool = make_pool(1)
    results = pool.map("held", [door.path] * 3, chunk_size=1)
    door.wait()
    pool.stop_workers()
    with pytest.raises(PoolStoppedError):
        next(results)


def test_a_map_that_is_closed_begins_nothing_more(
    make_pool: Any, folder: Path, begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    #  one chunk is cancelled -> its work is stopped, and its worker is free   <- as late as this
    #                         -> the next one is cancelled
    source = (
        "import time\ndef begins(n, folder, begun):\n    open(f'{folder}/item-{n}', 'x').close()\n"
        "    with open(begun, 'w') as pipe: pipe.write('1')\n    time.sleep(3600)\n"
    )
    pool = make_pool(1, source, interrupt_grace_ms=60_000)
    dispatcher, condition = pool._driver.core.dispatcher, pool._driver.condition
    cancel = CallFuture.cancel

    def cancel_and_see_it_stopped(future: CallFuture) -> bool:
        is_cancelled = cancel(future)
        assert condition.wait_for(
            lambda: not any(call.ended for call in dispatcher.in_flight.calls()), PATIENCE_S
        )
        return is_cancelled

    results = pool.map("begins", range(5), chunk_size=1, folder=str(folder), begun=begun.path)
    begun.wait()
    monkeypatch.setattr(CallFuture, "cancel", cancel_and_see_it_stopped)
    results.close()
    assert dispatcher.in_flight.count == 0
    assert [path.name for path in folder.glob("item-*")] == ["item-0"]
