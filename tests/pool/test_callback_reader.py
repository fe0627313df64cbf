"""The thread of the done-callbacks reads answers itself while calls come one by one, and holds nobody up."""

from __future__ import annotations

import asyncio
import errno
import os
import queue
import signal
import threading
from concurrent.futures import CancelledError, as_completed, wait
from typing import Any

import pytest

from tests.pool.conftest import PATIENCE_S
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.driver import callback_reader, callbacks
from wpc_magic.pool.driver import thread as driver_thread
from wpc_magic.pool.driver.link import Link
from wpc_magic.pool.driver.poller import Poller
from wpc_magic.pool.errors import WorkerLostError
from wpc_magic.pool.futures import CallFuture

FUNCTIONS = """
def double(x):
    return 2 * x


def prints(x):
    print(x)
    return x
"""

pytestmark = pytest.mark.usefixtures("readers")


@pytest.fixture
def readers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that have read the answers of calls, one for each."""
    names: list[str] = []
    settle = CallFuture.settle

    def noted(future: CallFuture[Any], answer: Any) -> None:
        names.append(threading.current_thread().name)
        settle(future, answer)

    monkeypatch.setattr(CallFuture, "settle", noted)
    return names


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread reads for another that is not scheduled for a while, nor does that exit."""
    monkeypatch.setattr(driver_thread, "_PAUSE_S", PATIENCE_S)
    monkeypatch.setattr(callbacks, "_IDLE_S", PATIENCE_S)
    monkeypatch.setattr(Poller, "reclaim_parked", lambda _: None)


@pytest.fixture
def one(make_pool: Any) -> WorkerProcedureCall:
    """A pool of one worker, whose answers are read by the thread of the callbacks."""
    pool: WorkerProcedureCall = make_pool(1, FUNCTIONS)
    make_lone_calls(pool)
    return pool


def links_of(pool: WorkerProcedureCall) -> list[Link]:
    return list(pool._driver.parts.links.values())


def call_back(pool: WorkerProcedureCall, x: int, **options: Any) -> Any:
    """Make a call, and return what its callback is given."""
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    pool.call.double.options(**options)(x).add_done_callback(told.put)
    return told.get(timeout=PATIENCE_S)


def make_lone_calls(pool: WorkerProcedureCall, worker_id: int = 1) -> None:
    """Make calls one by one until the thread of the callbacks reads the channel of a worker."""

    def is_read() -> bool:
        for link in links_of(pool):
            while link.reader and link.parked:  # it has not come back from the callback
                pass
            if link.slot.id == worker_id and link.reader:
                return True
        return False

    while not is_read():
        call_back(pool, 1, worker_id=worker_id)


def add_in_time(pool: WorkerProcedureCall, door: Any, callback: Any) -> None:
    """Make a call that returns 1, and ends after its callback was added."""
    call = pool.call.held(door.path, 1)
    visit = door.wait()
    call.add_done_callback(callback)
    visit.let_go()


class Blocked:
    """The thread of the callbacks, which one of them blocks."""

    def __init__(self, pool: WorkerProcedureCall, door: Any) -> None:
        self._blocks, self._let_go = threading.Event(), threading.Event()
        add_in_time(pool, door, self._callback)
        assert self._blocks.wait(PATIENCE_S)

    def _callback(self, _: object) -> None:
        assert threading.current_thread().name == "wpc-callbacks"
        self._blocks.set()
        assert self._let_go.wait(PATIENCE_S)

    def __enter__(self) -> Blocked:
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go.set()


@pytest.fixture
def blocked_call(calm: None, one: WorkerProcedureCall, door: Any) -> Any:
    """A call with a callback, which waits at the door; its channel is read by the thread of the callbacks."""
    future = one.call.held(door.path, "held")
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    future.add_done_callback(told.put)
    visit = door.wait()
    assert all(link.reader for link in links_of(one))
    return future, visit, told


def test_the_thread_that_calls_back_reads_the_answers(
    calm: None, one: WorkerProcedureCall, readers: list[str]
) -> None:
    readers.clear()
    for n in range(20):
        make_lone_calls(one)  # it may have come back too late for the last one
        assert call_back(one, n).result() == 2 * n
    assert readers.count("wpc-callbacks") >= 20


def test_it_reads_those_of_several_workers(calm: None, make_pool: Any, door: Any, readers: list[str]) -> None:
    pool = make_pool(2, FUNCTIONS)
    for worker_id in (1, 2):
        make_lone_calls(pool, worker_id)
    assert all(link.reader for link in links_of(pool))
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    calls = [pool.call.held.options(worker_id=n)(door.path, n) for n in (1, 2)]
    for call in calls:
        call.add_done_callback(told.put)
    visits = [door.wait() for _ in calls]
    readers.clear()
    for visit in visits:
        visit.let_go()
        told.get(timeout=PATIENCE_S)
    assert readers == ["wpc-callbacks"] * 2


def test_a_callback_that_makes_the_next_call_is_read_there_as_well(
    calm: None, one: WorkerProcedureCall, readers: list[str]
) -> None:
    values: queue.SimpleQueue[int] = queue.SimpleQueue()

    def next_one(future: CallFuture[Any]) -> None:
        values.put(future.result())
        if future.result() < 1000:
            one.call.double(future.result()).add_done_callback(next_one)

    readers.clear()
    one.call.double(1).add_done_callback(next_one)
    assert [values.get(timeout=PATIENCE_S) for _ in range(10)] == [2**n for n in range(1, 11)]
    assert "wpc-driver" not in readers


def waits_for_the_result(pool: WorkerProcedureCall) -> object:
    return pool.call.double(4).result()


def waits_for_several(pool: WorkerProcedureCall) -> object:
    calls = [pool.call.double(n) for n in range(40)]
    assert wait(calls, timeout=PATIENCE_S).not_done == set()
    return calls[4].result()


def waits_for_the_next(pool: WorkerProcedureCall) -> object:
    (call,) = as_completed([pool.call.double(4)], timeout=PATIENCE_S)
    return call.result()


def awaits(pool: WorkerProcedureCall) -> object:
    async def main() -> object:
        return await asyncio.wait_for(pool.call.double(4), PATIENCE_S)

    return asyncio.run(main())


def looks_until_it_has_ended(pool: WorkerProcedureCall) -> object:
    call = pool.call.double(4)
    while not call.done():
        pass
    return call.result()


def has_more_than_the_worker_takes(pool: WorkerProcedureCall) -> object:
    calls = [pool.call.double(n) for n in range(500)]
    for call in calls:
        call.add_done_callback(lambda _: None)
    while not all(call.done() for call in calls):
        pass
    return calls[4].result()


def maps(pool: WorkerProcedureCall) -> object:
    return list(pool.map("double", range(100)))[4]


WAYS = [
    waits_for_the_result,
    waits_for_several,
    waits_for_the_next,
    awaits,
    looks_until_it_has_ended,
    has_more_than_the_worker_takes,
    maps,
]


@pytest.mark.parametrize("way", WAYS)
def test_whoever_wants_the_channel_gets_it(one: WorkerProcedureCall, way: Any) -> None:
    assert way(one) == 8
    make_lone_calls(one)  # and it is given back
    assert way(one) == 8


@pytest.mark.parametrize("way", WAYS)
def test_a_callback_that_blocks_holds_up_no_call(one: WorkerProcedureCall, door: Any, way: Any) -> None:
    with Blocked(one, door):
        assert way(one) == 8
        assert way(one) == 8
    assert call_back(one, 3).result() == 6


def test_the_call_of_a_callback_that_blocks_ends_as_well(one: WorkerProcedureCall, door: Any) -> None:
    made: queue.SimpleQueue[Any] = queue.SimpleQueue()
    let_go = threading.Event()

    def makes_a_call_and_blocks(_: object) -> None:
        made.put(one.call.double(5))
        assert let_go.wait(PATIENCE_S)

    add_in_time(one, door, makes_a_call_and_blocks)
    call = made.get(timeout=PATIENCE_S)
    while not call.done():
        pass
    assert call.result() == 10
    let_go.set()


def test_the_call_of_a_callback_may_be_waited_for_there(one: WorkerProcedureCall, door: Any) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    add_in_time(one, door, lambda each: told.put(one.call.double(each.result()).result()))
    assert told.get(timeout=PATIENCE_S) == 2


def test_a_thread_that_waits_for_the_same_call_reads_it(blocked_call: Any, readers: list[str]) -> None:
    future, visit, told = blocked_call
    readers.clear()
    waits = threading.Thread(target=future.result, name="who-waits", daemon=True)
    waits.start()
    while not future.wakers:
        assert waits.is_alive()
    visit.let_go()
    waits.join(PATIENCE_S)
    assert told.get(timeout=PATIENCE_S) is future
    assert readers == ["who-waits"]


def test_its_text_is_shown_though_nobody_waits(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    shown: queue.SimpleQueue[str] = queue.SimpleQueue()
    pool.output_sink = lambda output: shown.put(output.text)
    make_lone_calls(pool)
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    pool.call.prints(7).add_done_callback(told.put)
    assert told.get(timeout=PATIENCE_S).result() == 7
    assert shown.get(timeout=PATIENCE_S) == "7\n"


def test_a_worker_that_is_killed_is_told_of(one: WorkerProcedureCall, blocked_call: Any) -> None:
    future, visit, told = blocked_call
    os.kill(visit.pid, signal.SIGKILL)
    assert told.get(timeout=PATIENCE_S) is future
    with pytest.raises(WorkerLostError):
        future.result()
    make_lone_calls(one)


def test_an_idle_worker_that_is_killed_is_replaced(one: WorkerProcedureCall) -> None:
    (link,) = links_of(one)
    os.kill(link.process.pid, signal.SIGKILL)
    while not link.dead:
        pass
    assert not link.reader
    assert not link.owner
    make_lone_calls(one)
    assert link not in links_of(one)


def test_a_cancel_is_told_of(blocked_call: Any) -> None:
    future, _, told = blocked_call
    assert future.cancel()
    assert told.get(timeout=PATIENCE_S).cancelled()


def test_an_idle_thread_exits_and_keeps_nothing(one: WorkerProcedureCall) -> None:
    parts = one._driver.parts
    reader, thread = parts.callback_reader, parts.callbacks._thread
    assert thread is not None
    thread.join(PATIENCE_S)  # after a second
    assert not thread.is_alive()
    assert not any(link.owner or link.reader for link in links_of(one))
    assert (reader._wake_in, reader._wake_out) == (-1, -1)
    make_lone_calls(one)


def test_a_stop_ends_it(make_pool: Any, blocked_call: Any, one: WorkerProcedureCall) -> None:
    future, _, told = blocked_call
    one.stop_workers()
    assert told.get(timeout=PATIENCE_S) is future
    reader = one._driver.parts.callback_reader
    assert (reader._wake_in, reader._wake_out, reader._links) == (-1, -1, [])
    one.start_workers(1)
    make_lone_calls(one)


def test_without_a_descriptor_left_the_pools_own_thread_reads(
    make_pool: Any, monkeypatch: pytest.MonkeyPatch, readers: list[str]
) -> None:
    asked = []

    def refuse() -> Any:
        asked.append(True)
        raise OSError(errno.EMFILE, "no descriptor is left")

    monkeypatch.setattr(callback_reader, "open_waker", refuse)
    pool = make_pool(1, FUNCTIONS)
    while not asked:
        assert call_back(pool, 2).result() == 4
    assert call_back(pool, 3).result() == 6
    assert "wpc-callbacks" not in readers


def test_calls_side_by_side_are_left_to_the_pools_own_thread(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    for _ in range(40):
        told: queue.SimpleQueue[Any] = queue.SimpleQueue()
        first = pool.call.held(door.path)
        visit = door.wait()  # the others come beside it
        first.add_done_callback(told.put)
        for _ in range(10):
            pool.call.double(1).add_done_callback(told.put)
        visit.let_go()
        for _ in range(11):
            told.get(timeout=PATIENCE_S)
    assert not any(link.reader for link in links_of(pool))


class PollThatTimesOut:
    """A set of descriptors of which none is ready in time."""

    def __init__(self) -> None:
        self.begun, self.is_over = threading.Event(), threading.Event()

    def poll(self, timeout_ms: float) -> list[tuple[int, int]]:
        self.begun.set()
        assert self.is_over.wait(PATIENCE_S)
        return []


def test_a_callback_that_is_posted_as_the_time_is_over_leaves_the_channels_to_others(
    calm: None, one: WorkerProcedureCall
) -> None:
    parts, poll_set = one._driver.parts, PollThatTimesOut()
    (link,) = links_of(one)
    with parts.lock:
        parts.callback_reader._poll_set = poll_set
    parts.callbacks.post(lambda: None)
    assert poll_set.begun.wait(PATIENCE_S)
    told: queue.SimpleQueue[bool] = queue.SimpleQueue()
    parts.callbacks.post(lambda: told.put(link.parked))
    poll_set.is_over.set()
    assert told.get(timeout=PATIENCE_S)


@pytest.mark.parametrize("which", ["callbacks", "listener_thread", "output_thread", "output"])
def test_a_finalizer_that_interrupts_who_posts_does_not_wait_for_the_pool(
    make_pool: Any, door: Any, which: str
) -> None:
    pool = make_pool(1, FUNCTIONS)
    call = pool.call.held(door.path)
    door.wait()
    parts = pool._driver.parts
    is_held, may_go = threading.Event(), threading.Event()

    def holds() -> None:
        with parts.lock:
            is_held.set()
            assert may_go.wait(PATIENCE_S)

    def interrupts() -> None:
        with getattr(parts, which)._lock:  # a collection runs here
            call.cancel()
        may_go.set()

    threads = [threading.Thread(target=target, daemon=True) for target in (holds, interrupts)]
    threads[0].start()
    assert is_held.wait(PATIENCE_S)
    threads[1].start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    with pytest.raises(CancelledError):
        call.result()


def test_in_a_fork_it_is_forgotten(one: WorkerProcedureCall) -> None:
    pid = os.fork()
    if not pid:
        reader = one._driver.parts.callback_reader
        is_forgotten = (reader._wake_in, reader._wake_out, reader._links) == (-1, -1, [])
        os._exit(0 if is_forgotten else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert call_back(one, 4).result() == 8


def test_what_fails_there_ends_the_pool_and_callbacks_are_still_called(
    one: WorkerProcedureCall, blocked_call: Any, monkeypatch: pytest.MonkeyPatch, logged: Any
) -> None:
    future, visit, told = blocked_call

    def fails(link: Link) -> bool:
        raise ZeroDivisionError("no such luck")

    thread = one._driver.parts.callbacks._thread
    assert thread is not None
    monkeypatch.setattr(one._driver.parts.callback_reader, "_read_call", fails)
    monkeypatch.setattr(callbacks, "_IDLE_S", 0)  # after this it has nothing to wait for
    visit.let_go()
    assert told.get(timeout=PATIENCE_S) is future
    assert "the pool wpc has failed, and was ended: ZeroDivisionError: no such luck" in str(
        future.exception()
    )
    one.stop_workers()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert logged().levelname == "CRITICAL"
