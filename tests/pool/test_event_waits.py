"""A thread in ``concurrent.futures.wait`` or ``as_completed`` reads answers itself, and always wakes up."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from typing import Any

import pytest

from tests.pool.conftest import PATIENCE_S
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import WorkerLostError
from wpc_magic.pool.futures import CallFuture
from wpc_magic.pool.wait_events import WaitEvent

FUNCTIONS = """
def double(x):
    return 2 * x


def prints(x):
    print(x)
    return x
"""


@pytest.fixture(scope="module", autouse=True)
def functions(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(FUNCTIONS)


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The names of the threads that have read the answers of calls."""
    names: set[str] = set()
    settle = CallFuture.settle

    def noted(future: CallFuture[Any], answer: Any) -> None:
        names.add(threading.current_thread().name)
        settle(future, answer)

    monkeypatch.setattr(CallFuture, "settle", noted)
    return names


def waiting(futures: list[Any], **how: Any) -> Callable[[], tuple[set[Any], set[Any]]]:
    """Wait in a thread, until there is nothing more to do but to wait; return what gives what it returns."""
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    thread = threading.Thread(target=lambda: told.put(wait(futures, **how)), daemon=True)
    thread.start()
    pending = [future for future in futures if not future.done()]
    while not all(future._waiters for future in pending if not future.done()):
        assert thread.is_alive()

    def returned() -> tuple[set[Any], set[Any]]:
        done, not_done = told.get(timeout=PATIENCE_S)
        thread.join(PATIENCE_S)
        return done, not_done

    return returned


def assert_at_rest(pool: WorkerProcedureCall) -> None:
    """No thread has a channel, and calls are answered."""
    assert not any(link.owner for link in pool._driver.parts.links.values())
    assert pool.call.double(4).result() == 8
    assert wait([pool.call.double(n) for n in range(20)]).not_done == set()


WAYS_TO_WAIT = {
    "wait": lambda call: wait([call]),
    "as_completed": lambda call: list(as_completed([call])),
    "wait for the first": lambda call: wait([call, Future()], return_when="FIRST_COMPLETED"),
}


@pytest.mark.parametrize("way", WAYS_TO_WAIT.values(), ids=list(WAYS_TO_WAIT))
def test_the_thread_that_waits_reads_the_answer_itself(
    make_pool: Any, door: Any, readers: set[str], way: Callable[[CallFuture[Any]], object]
) -> None:
    pool = make_pool(1, FUNCTIONS)
    call = pool.call.held(door.path)
    visit = door.wait()
    thread = threading.Thread(target=way, args=(call,), name="who-waits", daemon=True)
    thread.start()
    (link,) = pool._driver.parts.links.values()
    while not isinstance(link.owner, WaitEvent):
        assert not call.done()
    visit.let_go()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert readers == {"who-waits"}
    assert_at_rest(pool)


def test_it_reads_the_answers_of_several_workers(make_pool: Any, door: Any, readers: set[str]) -> None:
    pool = make_pool(2, FUNCTIONS)
    futures = [pool.call.held.options(worker_id=n)(door.path, n) for n in (1, 2)]
    visits = [door.wait() for _ in futures]
    returned = waiting(futures)
    links = pool._driver.parts.links.values()
    while not all(isinstance(link.owner, WaitEvent) for link in links):
        assert not any(future.done() for future in futures)
    for visit in visits:
        visit.let_go()
    assert returned() == (set(futures), set())
    assert len(readers) == 1
    assert "wpc-driver" not in readers
    assert_at_rest(pool)


def test_a_wait_without_time_looks_for_what_has_arrived(pool: WorkerProcedureCall) -> None:
    future = pool.call.double(1)
    while not wait([future], timeout=0).done:
        pass
    assert_at_rest(pool)


def test_more_workers_than_a_thread_reads_are_read_all_the_same(make_pool: Any, door: Any) -> None:
    pool = make_pool(6, FUNCTIONS)
    futures = [pool.call.held(door.path, n) for n in range(6)]
    visits = [door.wait() for _ in futures]
    returned = waiting(futures)
    for visit in visits:
        visit.let_go()
    assert returned() == (set(futures), set())
    assert_at_rest(pool)


def test_two_threads_wait_for_calls_of_one_worker(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    held = pool.call.held(door.path)
    visit = door.wait()
    futures = [held, pool.call.double(1), pool.call.double(2)]
    all_returned = [waiting([each]) for each in futures]
    visit.let_go()
    assert [returned() for returned in all_returned] == [({each}, set()) for each in futures]
    assert_at_rest(pool)


def test_a_thread_waits_for_a_call_whose_channel_another_thread_reads(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    held = pool.call.held(door.path, 3)
    visit = door.wait()
    returned = waiting([held])
    second = pool.call.double(2)
    visit.let_go()
    assert second.result() == 4
    assert held.result() == 3
    assert returned() == ({held}, set())
    assert_at_rest(pool)


def test_what_is_cancelled_meanwhile_wakes_the_thread(pool: WorkerProcedureCall, door: Any) -> None:
    future = pool.call.held(door.path)
    door.wait()
    returned = waiting([future])
    assert future.cancel()
    assert returned() == ({future}, set())
    assert_at_rest(pool)


def test_a_time_out_of_the_call_wakes_the_thread(pool: WorkerProcedureCall, door: Any) -> None:
    future = pool.call.held.options(timeout_ms=50)(door.path)
    assert waiting([future])() == ({future}, set())
    assert isinstance(future.exception(), TimeoutError)
    assert_at_rest(pool)


def test_a_worker_that_dies_meanwhile_wakes_the_thread(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    future = pool.call.held(door.path)
    door.wait()
    returned = waiting([future])
    os.kill(pool.snapshot().workers[0].pid, signal.SIGKILL)
    assert returned() == ({future}, set())
    assert isinstance(future.exception(), WorkerLostError)
    assert_at_rest(pool)


def test_a_pool_that_stops_meanwhile_wakes_the_thread(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    future = pool.call.held(door.path)
    door.wait()
    returned = waiting([future])
    pool.stop_workers()
    assert returned() == ({future}, set())
    assert future.cancelled() or future.exception() is not None


def test_a_future_of_another_kind_wakes_the_thread(pool: WorkerProcedureCall, door: Any) -> None:
    held = pool.call.held(door.path)
    visit = door.wait()
    for first in (True, False):
        other: Future[int] = Future()
        futures = [other, held] if first else [held, other]
        returned = waiting(futures, return_when="FIRST_COMPLETED")
        other.set_result(1)
        assert returned() == ({other}, {held})
    visit.let_go()
    assert held.result() is None
    assert_at_rest(pool)


def test_one_thread_waits_for_calls_of_two_pools(
    pool: WorkerProcedureCall, make_pool: Any, door: Any
) -> None:
    second = make_pool(1, FUNCTIONS)
    futures = [each.call.held(door.path) for each in (pool, second)]
    visits = [door.wait() for _ in futures]
    returned = waiting(futures)
    for visit in visits:
        visit.let_go()
    assert returned() == (set(futures), set())
    for _ in range(20):
        assert wait([each.call.double(1) for each in (pool, second)]).not_done == set()
    assert_at_rest(pool)
    assert_at_rest(second)


def test_the_first_error_ends_the_wait_that_is_for_it(pool: WorkerProcedureCall, door: Any) -> None:
    held = pool.call.held(door.path)
    visit = door.wait()
    bad = pool.call.double(None)
    assert wait([held, bad], return_when="FIRST_EXCEPTION") == ({bad}, {held})
    visit.let_go()
    assert wait([held]).not_done == set()
    assert_at_rest(pool)


def test_an_interrupt_leaves_the_wait_and_no_channel_claimed(pool: WorkerProcedureCall, door: Any) -> None:
    future = pool.call.held(door.path, 7)
    visit = door.wait()

    def interrupt() -> None:
        links = pool._driver.parts.links.values()
        # Until it waits, and has the channel that its call has reserved for it, if it still has.
        while not future._waiters or any(future in link.reserved for link in links):
            pass
        signal.raise_signal(signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        wait([future])
    thread.join(PATIENCE_S)
    assert not any(link.owner for link in pool._driver.parts.links.values())
    visit.let_go()
    assert wait([future]).not_done == set()
    assert_at_rest(pool)


def test_what_functions_print_meanwhile_is_delivered(pool: WorkerProcedureCall, door: Any) -> None:
    texts: queue.SimpleQueue[str] = queue.SimpleQueue()
    before = pool.output_sink
    pool.output_sink = lambda output: texts.put(output.text)
    try:
        held = pool.call.held(door.path)
        visit = door.wait()
        printing = [pool.call.prints(n) for n in range(3)]
        returned = waiting([held, *printing])
        found = ""
        while not all(str(n) in found for n in range(3)):
            found += texts.get(timeout=PATIENCE_S)
        visit.let_go()
        assert returned()[1] == set()
    finally:
        pool.output_sink = before
    assert_at_rest(pool)


def test_many_threads_wait_at_the_same_time_and_none_is_forgotten(pool: WorkerProcedureCall) -> None:
    def rounds(n: int) -> list[int]:
        found = []
        for k in range(40):
            futures = [pool.call.double(k), pool.call.double(n)]
            if k % 3 == 0:
                assert wait(futures, timeout=PATIENCE_S).not_done == set()
                found.append(futures[0].result())
            elif k % 3 == 1:
                ended = as_completed(futures, timeout=PATIENCE_S)
                found.append(min(each.result() for each in ended) and futures[0].result())
            else:
                found.append(futures[0].result(PATIENCE_S))
        return found

    with ThreadPoolExecutor(6) as threads:
        for found in threads.map(rounds, range(1, 7)):
            assert found == [2 * k for k in range(40)]
    assert_at_rest(pool)
