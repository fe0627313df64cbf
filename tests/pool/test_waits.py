"""Long waits, of which an observer is told, and what functions say of how far they are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import as_completed, wait
from typing import Any

import pytest

from tests.pool.conftest import HELD, PATIENCE_S
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.futures import CallFuture
from wpc_magic.pool.wait_events import WaitEvent

FUNCTIONS = """
def same(x):
    return x


def reports(door):
    context.progress(1, 4, "half of the half")
    held(door)
    for _ in range(1000):
        context.progress(2, 4, "much of it")
    context.progress(4, 4, "done")


def reports_nonsense():
    context.progress("a lot")


async def reports_later():
    context.progress(3)
    return 1
"""


class Observer:
    """Looks at each wait at once, and lets the call go on when it has looked twice."""

    def __init__(self) -> None:
        self.go_on: Any = lambda: None
        self.looked: list[Any] = []
        self.over: list[Any] = []
        self.maps: list[tuple[int, int]] = []
        self.ended_maps: list[Any] = []
        self.loops: list[Any] = []

    def pause_s(self, waiting: Any) -> float:
        return 0.0 if len(self.looked) < 2 else PATIENCE_S

    def look(self, waiting: Any) -> None:
        self.looked.append(waiting)
        if len(self.looked) == 2:
            self.go_on()

    def left(self, waiting: Any) -> None:
        self.over.append(waiting)

    def awaited(self, future: CallFuture, loop: Any, waiter: Any) -> None:
        self.loops.append(loop)

    def map_went_on(self, results: Any) -> None:
        self.maps.append((results.done, results.total))

    def map_ended(self, results: Any) -> None:
        self.ended_maps.append(results)


@pytest.fixture(scope="module", autouse=True)
def functions(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(FUNCTIONS + HELD)


@pytest.fixture
def observer(pool: WorkerProcedureCall, door: Any) -> Iterator[Observer]:
    pool.wait_observer = observer = Observer()
    observer.go_on = lambda: door.wait().let_go()
    yield observer
    pool.wait_observer = None


def test_an_observer_looks_at_a_call_while_a_thread_waits(
    pool: WorkerProcedureCall, observer: Observer, door: Any
) -> None:
    future = pool.call.held(door.path, 7)
    assert future.result() == 7
    assert observer.looked == [future, future]
    assert observer.over == [future]


def test_a_wait_with_a_timeout_ends_in_time_although_somebody_looks(
    pool: WorkerProcedureCall, observer: Observer, door: Any
) -> None:
    observer.go_on = lambda: None
    future = pool.call.held(door.path, 7)
    with pytest.raises(TimeoutError):
        future.result(timeout=0.001)
    observer.looked.clear()
    with pytest.raises(TimeoutError):
        future.result(timeout=0)
    door.wait().let_go()
    assert future.result() == 7


@pytest.mark.parametrize("how", [wait, lambda futures: [each.result() for each in as_completed(futures)]])
def test_an_observer_looks_at_a_wait_for_several_calls(
    pool: WorkerProcedureCall, observer: Observer, door: Any, how: Any
) -> None:
    futures = [pool.call.held(door.path, 7), pool.call.same(8)]
    pool.call.same(9)
    how(futures)
    event = observer.looked[0]
    assert isinstance(event, WaitEvent)
    assert {each() for each in event.futures} <= set(futures)
    assert event.is_over()
    assert observer.over[-1] is event


@pytest.mark.parametrize("ordered", [True, False])
def test_an_observer_is_told_how_a_map_goes_on_and_ends(
    pool: WorkerProcedureCall, observer: Observer, door: Any, ordered: bool
) -> None:
    results = pool.map("held", [door.path], [7], ordered=ordered)
    assert list(results) == [7]
    assert {future.part_of for future in observer.looked} == set(observer.ended_maps)
    assert observer.maps == [(1, 1)]
    (chunks,) = observer.ended_maps
    assert chunks.stopped_by is None
    assert chunks.ran_s > 0


def test_a_map_that_fails_is_told_with_its_error(pool: WorkerProcedureCall, observer: Observer) -> None:
    observer.go_on = lambda: None
    with pytest.raises(TypeError) as caught:
        list(pool.map("held", [1]))
    assert observer.ended_maps[0].stopped_by is caught.value


def test_an_observer_is_told_which_loop_waits(pool: WorkerProcedureCall, observer: Observer) -> None:
    async def main() -> Any:
        assert await pool.call.same(5) == 5
        assert await pool.map("same", range(3)) == [0, 1, 2]
        return asyncio.get_running_loop()

    loop = asyncio.run(main())
    assert set(observer.loops) == {loop}
    assert len(observer.ended_maps) == 1


def test_without_an_observer_nothing_is_between_a_call_and_its_wait(pool: WorkerProcedureCall) -> None:
    driver = pool._driver
    before = driver.wait
    pool.wait_observer = Observer()
    assert driver.wait != before
    pool.wait_observer = None
    assert driver.wait == before == driver.parts.waiters.wait


def test_a_function_says_how_far_it_is(pool: WorkerProcedureCall, door: Any) -> None:
    future = pool.call.reports(door.path)
    visit = door.wait()
    said = future.progress
    while said is None:  # what was said before the door has been sent, and is about to be read
        future.done()
        said = future.progress
    assert (said.done, said.total, said.text) == (1, 4, "half of the half")
    visit.let_go()
    future.result()
    said = future.progress
    assert said is not None
    assert (said.done, said.total, said.text) == (4, 4, "done")


def test_a_coroutine_says_how_far_it_is(pool: WorkerProcedureCall) -> None:
    future = pool.call.reports_later()
    assert future.result() == 1
    assert future.progress is not None
    assert (future.progress.done, future.progress.total) == (3, None)


def test_what_is_no_number_is_told_with_the_line_to_type(pool: WorkerProcedureCall) -> None:
    with pytest.raises(TypeError, match=r"Type: context.progress\(done, total, 'text'\)"):
        pool.call.reports_nonsense().result()
    with pytest.raises(TypeError, match="takes numbers, not str"):
        pool.call.reports_nonsense.local()


def test_the_same_in_this_process_says_nothing(pool: WorkerProcedureCall) -> None:
    assert asyncio.run(pool.call.reports_later.local()) == 1


def test_a_bar_that_iterates_a_map_shows_it_itself(pool: WorkerProcedureCall) -> None:
    results = pool.map("same", range(3))
    names: dict[str, Any] = {"__name__": "tqdm.std", "results": results, "found": []}
    exec("for each in results: found.append(each)", names)
    assert names["found"] == [0, 1, 2]
    assert results._chunks.is_shown
    plain = pool.map("same", range(3))
    assert list(plain) == [0, 1, 2]
    assert not plain._chunks.is_shown


def test_a_wait_in_any_thread_is_observed(pool: WorkerProcedureCall, observer: Observer, door: Any) -> None:
    found: list[Any] = []
    future = pool.call.held(door.path, 7)
    thread = threading.Thread(target=lambda: found.append(future.result()))
    thread.start()
    thread.join(PATIENCE_S)
    assert found == [7]
    assert observer.over == [future]
