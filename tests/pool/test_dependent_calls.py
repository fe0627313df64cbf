"""Calls that have the futures of other calls among their arguments."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pool.conftest import PATIENCE_S, Door, wait_until_dead
from wpc_magic.pool import CallFuture, CallOptions, WorkerProcedureCall, WpcExecutor
from wpc_magic.pool.driver import value_passing
from wpc_magic.pool.errors import (
    ArgumentsNotSerializableError,
    CallTimeoutError,
    FunctionNotDefinedError,
    PoolStoppedError,
    QueueTimeoutError,
    SaturatedError,
    WorkerCrashedError,
)
from wpc_magic.pool.wire.held_value import PassedBlock

FUNCTIONS = """
import os
import numpy as np


def add(a, b=0, *more, **named):
    return a + b + sum(more) + sum(named.values())


def same(*args, **kwargs):
    return (args, kwargs) if kwargs else args[0] if len(args) == 1 else args


def pid(*args):
    return os.getpid()


class Mistake(Exception):
    def __init__(self, number):
        super().__init__(number)
        self.number = number


def fails(number=1, *args):
    error = Mistake(number)
    error.colour = "red"
    raise error


def dies(*args):
    os._exit(3)


def ones(count):
    return np.ones(count)


def total(*arrays):
    return float(sum(each.sum() for each in arrays))


def doubles(array):
    array *= 2
    return array


def note(path):
    with open(path, "a") as file:
        file.write(f"{os.getpid()} ")
    return "noted"


class Noted:
    "Notes in which processes it is unpickled."

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return note, (self.path,)


def noted(path):
    return Noted(path)


async def soon(value):
    return value
"""

BIG = 1 << 20  # items of an array: 8 MiB


@pytest.fixture(scope="module", autouse=True)
def functions(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(FUNCTIONS)


@pytest.fixture(autouse=True)
def no_cache(pool: WorkerProcedureCall) -> Iterator[None]:
    """Have each test leave no mapping of a block behind, which the pool would use again."""
    yield
    for link in list(pool._driver.parts.links.values()):
        link.receiver.cache.trim(0.0)
    pool._driver.memory.store.trim(0.0)


def held(pool: WorkerProcedureCall, door: Door, value: Any = None) -> CallFuture:
    """Make a call that ends when it is let go at the door."""
    return pool.call.held(door.path, value)


def notes_of(error: BaseException | None) -> list[str]:
    return list(getattr(error, "__notes__", []))


# -- values ---------------------------------------------------------------------------------------------


def test_a_call_gets_the_value_of_another_in_the_place_of_its_future(pool: WorkerProcedureCall) -> None:
    add = pool.call.add
    assert add(add(1, 2), 3).result() == 6
    assert add(1, x=add(2), y=add(3)).result() == 6


def test_a_future_is_replaced_wherever_it_is(pool: WorkerProcedureCall) -> None:
    add, same = pool.call.add, pool.call.same
    nested = same([add(1), (add(2), {"k": [add(3)]})], {"set": {add(4)}}).result()
    assert nested == ([1, (2, {"k": [3]})], {"set": {4}})


def test_a_call_in_this_process_gets_the_values_of_futures_too(pool: WorkerProcedureCall) -> None:
    add, same = pool.call.add, pool.call.same
    assert add.local(add(1, 2), y=add(3)) == 6
    assert same.local([add(1), (add(2), {"k": [add(3)]})]) == [1, (2, {"k": [3]})]
    argument = [1, (2,)]
    assert same.local(argument) is argument
    with pytest.raises(TypeError, match="can only concatenate"):
        same.local(add("a"))


@dataclass
class Box:
    inside: Any


def test_a_future_in_an_object_or_a_closure_is_replaced(pool: WorkerProcedureCall) -> None:
    future = pool.call.add(20)
    assert pool.call.same(Box(future)).result() == Box(20)
    pool.define_worker_functions("def called(f): return f()")
    assert pool.call.called(lambda: future + 1).result() == 21  # type: ignore[operator]


def test_one_future_in_two_places_is_one_object(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions("def is_one(a, b, c): return a is b and a is c[0]")
    future = pool.call.same([1])
    assert pool.call.is_one(future, future, [future]).result() is True


def test_the_caller_goes_on_and_no_worker_waits(pool: WorkerProcedureCall, door: Door) -> None:
    first = held(pool, door, 1)
    visit = door.wait()
    second = pool.call.add(first, 1)
    assert [pool.call.add(n).result() for n in range(5)] == list(range(5))  # by the other worker
    assert not second.done()
    assert not second.running()
    visit.let_go()
    assert second.result() == 2


def test_it_says_what_it_waits_for(pool: WorkerProcedureCall, door: Door) -> None:
    first, also = held(pool, door, 1), held(pool, door, 1)
    visits = [door.wait(), door.wait()]
    second = pool.call.add(first, also)
    third = pool.call.add(second)
    assert repr(second) == f"<CallFuture add #{second.call_id}: waits for {first.call} and 1 more>"
    assert third.state == f"waits for {second.call}"
    snapshot = pool.snapshot()
    assert (snapshot.queued, snapshot.dependent) == (2, 2)
    assert "2 queued (2 wait for values)" in repr(snapshot)
    for visit in visits:
        visit.let_go()
    assert third.result() == 2
    assert pool.snapshot().dependent == 0


def test_a_value_is_not_unpickled_on_its_way(pool: WorkerProcedureCall, folder: Path) -> None:
    first = pool.call.noted(str(folder / "notes"))
    assert pool.call.same(pool.call.same(first)).result() == "noted"
    assert str(os.getpid()) not in (folder / "notes").read_text().split()


def test_that_holds_for_one_that_has_ended_already(pool: WorkerProcedureCall, folder: Path) -> None:
    first = pool.call.noted(str(folder / "notes"))
    pool.call.pid(first).result()  # so it has ended
    assert pool.call.same(first).result() == "noted"
    assert str(os.getpid()) not in (folder / "notes").read_text().split()


def test_large_values_lie_where_their_worker_has_put_them(pool: WorkerProcedureCall) -> None:
    array = pool.call.ones(BIG)
    assert pool.call.total(pool.call.doubles(array), array).result() == 3 * BIG
    assert array.result()[0] == 1  # what `doubles` has written stays in its call


@pytest.mark.parametrize("count", [1, 10_000, 20_000, 100_000, BIG])
def test_values_of_any_size_arrive_with_others(pool: WorkerProcedureCall, count: int) -> None:
    # In the frame, in a buffer of it, in a block that is copied, in one that is mapped.
    values = [pool.call.ones(count), pool.call.ones(BIG), pool.call.ones(3)]
    assert pool.call.total(np.ones(count), *values, np.ones(BIG)).result() == 2 * count + 2 * BIG + 3


def test_what_is_done_to_a_value_here_does_not_reach_who_waits(pool: WorkerProcedureCall, door: Door) -> None:
    array, gate = pool.call.ones(BIG), held(pool, door, 0)
    second = pool.call.total(array, pool.call.ones(gate))
    visit = door.wait()
    array.result()[:] = 7  # its memory is that of the block, unless it is passed on
    visit.let_go()
    assert second.result() == BIG


def test_a_value_that_was_fetched_is_sent_as_it_is_now(pool: WorkerProcedureCall) -> None:
    future = pool.call.ones(BIG)
    future.result()[:] = 2
    assert pool.call.total(future).result() == 2 * BIG


def test_a_value_that_another_thread_is_unpickling_is_pickled_again(
    pool: WorkerProcedureCall, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    #   this thread: future.result()             the thread that makes the other call
    #   reads the answer, is about to unpickle
    #                                            finds that the call has ended, and a reference too many
    future = pool.call.ones(BIG)
    pool.call.pid(future).result()
    answer = future._answer
    monkeypatch.setattr(future, "_answer", (*answer[:2], [*answer[2]], *answer[3:]))
    being_unpickled = future._answer
    encoded = []
    encode = value_passing.encode
    monkeypatch.setattr(value_passing, "encode", lambda value: encoded.append(1) or encode(value))
    assert pool.call.total(future).result() == BIG
    assert encoded
    del being_unpickled


def test_a_coroutine_can_wait_and_be_waited_for(pool: WorkerProcedureCall) -> None:
    assert pool.call.soon(pool.call.add(pool.call.soon(1), 1)).result() == 2


def test_a_map_takes_futures_as_items(pool: WorkerProcedureCall) -> None:
    add = pool.call.add
    assert list(pool.map("add", [add(n) for n in range(30)], range(30))) == [2 * n for n in range(30)]
    assert list(pool.map("add", [1, add(2), 3], chunk_size=3)) == [1, 2, 3]
    assert list(pool.map("add", range(3), x=add(2), chunk_size=2)) == [2, 3, 4]
    assert list(pool.starmap("add", [(1, add(2)), (add(3),)])) == [3, 3]


def test_a_function_that_is_not_registered_takes_futures(pool: WorkerProcedureCall) -> None:
    future = pool.call.add(2)
    assert pool.submit_function(lambda x: x + 1, (future,)).result() == 3
    assert pool.submit_function(pow, (future, future)).result() == 4
    assert list(pool.map_function(lambda x: x + 1, [future, 3])) == [3, 4]


def test_a_seed_goes_with_it(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions("def draws(x): return x + context.rng.random()")
    drawn = []
    for _ in range(2):
        pool.seed(42)
        drawn.append((pool.call.draws(pool.call.draws(0)).result(), *pool.map("draws", [pool.call.add(1)])))
    pool.seed(None)
    assert drawn[0] == drawn[1]


def test_a_map_gives_an_item_the_error_of_the_call_that_it_needs(pool: WorkerProcedureCall) -> None:
    add = pool.call.add
    items = [add(1), pool.call.fails(), add(3), pool.call.dies, 5]
    del items[3]
    results = list(pool.map("add", items, on_error="return"))
    assert [results[0], type(results[1]).__name__, *results[2:]] == [1, "Mistake", 3, 5]
    assert notes_of(results[1])[-1] == "in item 1 of the map over add"
    with pytest.raises(Exception, match="9") as caught:
        list(pool.map("add", [add(1), pool.call.fails(9)]))
    assert caught.type.__name__ == "Mistake"


def test_a_broadcast_gives_every_worker_the_value(pool: WorkerProcedureCall) -> None:
    calls = pool.broadcast("total", pool.call.ones(BIG))
    assert [future.result() for future in calls.values()] == [BIG, BIG]


def test_it_can_be_awaited(pool: WorkerProcedureCall) -> None:
    async def main() -> Any:
        return await pool.call.add(pool.call.add(1), 1)

    assert asyncio.run(main()) == 2


def test_a_call_cannot_wait_for_itself(pool: WorkerProcedureCall, door: Door) -> None:
    first = held(pool, door, 1)
    items: list[Any] = [first]
    second = pool.call.same(items)
    items.append(second)  # too late: the arguments were taken when the call was made
    door.wait().let_go()
    assert second.result() == [1]


def test_many_wait_in_a_chain(pool: WorkerProcedureCall, door: Door) -> None:
    last = first = held(pool, door, 0)
    for _ in range(300):
        last = pool.call.add(last, 1)
    door.wait().let_go()
    assert last.result() == 300
    assert first.result() == 0


# -- errors and cancels ---------------------------------------------------------------------------------


def test_an_error_passes_on_with_a_note_that_names_the_calls(pool: WorkerProcedureCall) -> None:
    first = pool.call.fails(7)
    second = pool.call.add(first)
    third = pool.call.add(1, x=second)
    error: Any = third.exception()
    assert (type(error).__name__, error.number, error.colour) == ("Mistake", 7, "red")
    assert notes_of(error)[0].startswith(f"in fails(7) {str(first.call).split()[1]} on worker ")
    chain = (
        f"{third.call} did not run: it needed the value of {second.call}, which needed that of {first.call}"
    )
    assert notes_of(error)[1:] == [chain]
    assert third.ran_s == 0.0
    assert len(notes_of(second.exception())) == 2
    assert len(notes_of(first.exception())) == 1


def test_the_error_of_a_call_that_has_been_asked_passes_on(pool: WorkerProcedureCall) -> None:
    first = pool.call.fails(7)
    error = first.exception()
    second = pool.call.add(first)
    passed: Any = second.exception()
    assert passed.number == 7
    assert notes_of(passed)[:-1] == notes_of(error)
    assert notes_of(passed)[-1] == f"{second.call} did not run: it needed the value of {first.call}"


def test_a_long_chain_is_named_in_short(pool: WorkerProcedureCall) -> None:
    last = pool.call.fails(7)
    for _ in range(20):
        last = pool.call.add(last)
    note = notes_of(last.exception())[-1]
    assert note.count("which needed that of") == 6
    assert "another (14 in all)" in note


def test_the_first_error_ends_it_though_others_go_on(pool: WorkerProcedureCall, door: Door) -> None:
    slow = held(pool, door, 1)
    visit = door.wait()
    second = pool.call.add(slow, pool.call.fails(5))
    assert type(second.exception()).__name__ == "Mistake"
    visit.let_go()
    assert slow.result() == 1


def test_to_replay_its_error_is_to_replay_the_call_that_failed(pool: WorkerProcedureCall) -> None:
    error = pool.call.add(pool.call.fails(8)).exception()
    with pytest.raises(Exception, match="8") as caught:
        pool.replay(error)
    assert caught.type.__name__ == "Mistake"


def test_a_call_that_fails_with_a_passed_value_can_be_replayed(pool: WorkerProcedureCall) -> None:
    error = pool.call.fails(pool.call.add(3), pool.call.ones(3)).exception()
    assert notes_of(error)[0].startswith("in fails(<add #")
    with pytest.raises(Exception, match="3"):
        pool.replay(error)


def test_to_cancel_the_first_is_to_cancel_what_waits_for_it(pool: WorkerProcedureCall, door: Door) -> None:
    first = held(pool, door)
    door.wait()
    second = pool.call.add(first)
    third = pool.call.add(second)
    first.cancel()
    with pytest.raises(CancelledError):
        third.result(PATIENCE_S)
    assert second.cancelled()
    assert third.cancelled()


def test_to_cancel_what_waits_leaves_a_call_that_somebody_has(pool: WorkerProcedureCall, door: Door) -> None:
    first = held(pool, door, 1)
    visit = door.wait()
    second, other = pool.call.add(first), pool.call.add(first, 1)
    assert second.cancel()
    assert second.cancelled()
    visit.let_go()
    assert (first.result(), other.result()) == (1, 2)


def test_to_cancel_what_waits_cancels_calls_that_nobody_has(pool: WorkerProcedureCall, door: Door) -> None:
    before = pool.cancelled_count
    second = pool.call.add(pool.call.add(held(pool, door)))
    visit = door.wait()
    assert second.cancel()
    assert pool.cancelled_count == before + 3
    visit.wait_until_gone()


def test_a_call_that_another_one_waits_for_is_not_cancelled(pool: WorkerProcedureCall, door: Door) -> None:
    before = pool.cancelled_count
    first = held(pool, door, 1)
    calls = [pool.call.add(first) for _ in range(2)]
    del first
    visit = door.wait()
    calls[0].cancel()
    assert pool.cancelled_count == before + 1
    visit.let_go()
    assert calls[1].result() == 1


def test_a_call_with_a_callback_is_not_cancelled(pool: WorkerProcedureCall, door: Door) -> None:
    ended: list[Any] = []
    first = held(pool, door, 1)
    first.add_done_callback(lambda future: ended.append(future.result()))
    waits = pool.call.add(first)
    del first
    visit = door.wait()
    before = pool.cancelled_count
    waits.cancel()
    assert pool.cancelled_count == before + 1
    visit.let_go()
    while not ended:
        pool.call.pid().result()
    assert ended == [1]


def test_a_task_that_is_cancelled_cancels_both(pool: WorkerProcedureCall, door: Door) -> None:
    before = pool.cancelled_count

    async def main() -> None:
        async def both() -> Any:
            return await pool.call.add(held(pool, door))

        task = asyncio.ensure_future(both())
        visit = await asyncio.to_thread(door.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(visit.wait_until_gone)

    asyncio.run(main())
    assert pool.cancelled_count == before + 2


def test_what_is_no_future_and_cannot_be_sent_is_named(pool: WorkerProcedureCall) -> None:
    with pytest.raises(ArgumentsNotSerializableError, match=r"b\['lock'\] is a _thread.lock"):
        pool.call.add(pool.call.add(1), {"lock": threading.Lock()})


def test_a_future_is_no_constant(pool: WorkerProcedureCall) -> None:
    with pytest.raises(Exception, match="only as an argument of another call"):
        pool.define_worker_constant(name="FUTURE", value=pool.call.add(1))


# -- time-outs, workers and definitions -----------------------------------------------------------------


def test_timeouts_count_from_when_it_can_run(make_pool: Any, door: Door) -> None:
    pool = make_pool(2, FUNCTIONS)
    first = held(pool, door, 1)
    visit = door.wait()
    second = pool.call.add.options(queue_timeout_ms=60_000, timeout_ms=60_000)(first)
    assert all(call is not second.call for _, _, _, call in pool._driver.core.state.timers.due if call)
    visit.let_go()
    assert second.result() == 1


def test_its_own_timeout_ends_it(make_pool: Any, door: Door) -> None:
    pool = make_pool(1, FUNCTIONS)
    with pytest.raises(CallTimeoutError, match="ran for more than 20 ms"):
        pool.call.held.options(timeout_ms=20)(pool.call.same(door.path)).result()
    first = pool.call.add(1)
    first.result()
    blocker = held(pool, door)
    door.wait()
    with pytest.raises(QueueTimeoutError):
        pool.call.add.options(queue_timeout_ms=20)(first).result()
    blocker.cancel()


def test_the_timeout_of_the_first_passes_on(make_pool: Any, door: Door) -> None:
    pool = make_pool(1, FUNCTIONS)
    first = pool.call.held.options(timeout_ms=20)(door.path)
    second = pool.call.add(first)
    error = second.exception()
    assert isinstance(error, CallTimeoutError)
    assert f"{second.call} did not run: it needed the value of {first.call}" in notes_of(error)
    assert "did not run" not in str(notes_of(first.exception()))


def test_a_value_outlives_the_worker_that_has_made_it(make_pool: Any, door: Door) -> None:
    pool = make_pool(2, FUNCTIONS)
    gate = pool.call.held.options(worker_id=2)(door.path, np.zeros(1))
    array = pool.call.ones.options(worker_id=1)(BIG)
    second = pool.call.total.options(worker_id=2)(array, gate)
    number = pool.call.pid.options(worker_id=1)(array).result()
    os.kill(number, signal.SIGKILL)
    wait_until_dead(number)
    door.wait().let_go()
    assert second.result() == BIG


def test_the_loss_of_a_worker_passes_on(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    first = pool.call.dies()
    second = pool.call.add(first)
    error = second.exception()
    assert isinstance(error, WorkerCrashedError)
    assert error.exitcode == 3
    assert notes_of(error)[-1] == f"{second.call} did not run: it needed the value of {first.call}"
    assert notes_of(first.exception()) == notes_of(error)[:-1]
    assert pool.call.add(1).result() == 1


def test_it_is_sent_again_with_its_values_when_its_worker_dies(make_pool: Any, folder: Path) -> None:
    once = """
def once(path, array):
    if not os.path.exists(path):
        open(path, "w").close()
        os._exit(1)
    return float(array.sum())
"""
    pool = make_pool(1, FUNCTIONS + once)
    assert pool.call.once.options(retries=1)(str(folder / "was"), pool.call.ones(BIG)).result() == BIG


def test_it_runs_the_definition_in_force_when_it_runs(make_pool: Any, door: Door) -> None:
    pool = make_pool(1, FUNCTIONS + "def version(*args): return 1")
    first = held(pool, door)
    visit = door.wait()
    second = pool.call.version(first)
    third = pool.call.total(first)
    visit.let_go()
    pool.define_worker_functions("def version(*args): return 2")
    assert second.result() in (1, 2)
    visit_again = held(pool, door)
    visit = door.wait()
    second, third = pool.call.version(visit_again), pool.call.total(visit_again)
    pool.define_worker_functions("def version(*args): return 3")
    pool.undefine_worker_function(name="total")
    visit.let_go()
    assert second.result() == 3
    with pytest.raises(FunctionNotDefinedError):
        third.result()


def test_it_ends_when_the_pool_stops(make_pool: Any, door: Door) -> None:
    pool = make_pool(1, FUNCTIONS)
    first = held(pool, door)
    door.wait()
    second = pool.call.add(first)
    pool.stop_workers(drain=False)
    for future in (first, second):
        assert isinstance(future.exception(), PoolStoppedError)


def test_a_pool_that_drains_ends_it(make_pool: Any, door: Door) -> None:
    pool = make_pool(1, FUNCTIONS)
    first = held(pool, door, 1)
    visit = door.wait()
    second = pool.call.add(pool.call.add(first), 1)
    pool._driver._drained()  # as `stop_workers(drain=True)` does first
    assert not pool._driver._drained()
    visit.let_go()
    pool.stop_workers(drain=True)
    assert second.result() == 2


def test_a_restart_loses_nothing(make_pool: Any, door: Door) -> None:
    pool = make_pool(2, FUNCTIONS)
    array, gate = pool.call.ones(BIG), held(pool, door, np.zeros(1))
    second = pool.call.total(array, gate)
    visit = door.wait()
    pool.restart_workers(drain=True)
    visit.let_go()
    assert second.result() == BIG


def test_it_counts_as_pending(make_pool: Any, door: Door) -> None:
    pool = make_pool(1, FUNCTIONS, max_pending_calls_per_worker=2)
    first = held(pool, door, 1)
    second = pool.call.add(first)
    with pytest.raises(SaturatedError, match="2 calls are pending"):
        pool.call.add(first)
    door.wait().let_go()
    assert second.result() == 1


def test_it_waits_for_room(make_pool: Any, door: Door) -> None:
    pool = make_pool(1, FUNCTIONS, max_pending_calls_per_worker=1, saturation="wait")
    last: Any = 0
    for _ in range(5):
        last = pool.call.add(last, 1)  # returns when the one before has ended
    assert last.result() == 5


def test_it_runs_on_the_worker_that_it_is_for(make_pool: Any) -> None:
    pool = make_pool(2, FUNCTIONS)
    pids = {n: pool.call.pid.options(worker_id=n)().result() for n in (1, 2)}
    for n in (1, 2):
        assert pool.call.pid.options(worker_id=n)(pool.call.add(1)).result() == pids[n]


def test_a_limit_and_a_priority_hold_for_it(pool: WorkerProcedureCall) -> None:
    pool.define_worker_function(worker_func="def one(x): return x", at_most=1)
    one = pool.call.one.options(priority=1)
    assert [each.result() for each in [one(pool.call.add(n)) for n in range(10)]] == list(range(10))


STREAMS = """
def counts(n, array=None):
    yield from range(n)
    return None if array is None else float(array.sum())


async def counts_later(n):
    for each in range(n):
        yield each
"""


def test_a_stream_waits_for_futures(pool: WorkerProcedureCall, door: Door) -> None:
    pool.define_worker_functions(STREAMS)
    call = pool.call
    assert list(call.counts(call.add(3))) == [0, 1, 2]
    assert call.counts_later(call.add(3)).result() == [0, 1, 2]
    fetched = call.add(2)
    assert fetched.result() == 2
    assert call.counts.options(buffer=1)(fetched).result() == [0, 1]

    async def main() -> list[int]:
        return [item async for item in call.counts(call.add(2))]

    assert asyncio.run(main()) == [0, 1]
    first = held(pool, door, 4)
    stream = call.counts(first, call.ones(BIG))
    assert stream.state.startswith(f"0 items taken, waits for held #{first.call_id}")
    door.wait().let_go()

    def taken() -> Any:
        value = yield from stream
        ends.append(value)

    ends: list[Any] = []
    assert list(taken()) == [0, 1, 2, 3]
    assert ends == [BIG]


def test_a_stream_of_a_function_that_is_not_registered_waits_for_futures(pool: WorkerProcedureCall) -> None:
    def counts(n: int) -> Iterator[int]:
        yield from range(n)

    options = CallOptions(buffer=2)
    for n in range(3):
        assert pool.submit_function(counts, (pool.call.add(n),), options=options).result() == [*range(n)]


def test_a_stream_that_waits_ends_as_the_call_that_it_waits_for(
    pool: WorkerProcedureCall, door: Door
) -> None:
    pool.define_worker_functions(STREAMS)
    failed = pool.call.fails()
    with pytest.raises(Exception, match="1") as caught:
        next(pool.call.counts(failed))
    assert caught.type.__name__ == "Mistake"
    assert any(note.startswith(f"counts #{failed.call_id + 1} ") for note in notes_of(caught.value))
    first = held(pool, door, 1)
    stream = pool.call.counts(first)
    assert first.cancel()
    with pytest.raises(CancelledError):
        next(stream)


def test_a_stream_that_is_closed_or_dropped_while_it_waits_is_not_begun(
    pool: WorkerProcedureCall, door: Door
) -> None:
    pool.define_worker_functions(STREAMS)
    first = held(pool, door, 1)
    closed = pool.call.counts(first)
    dropped = pool.call.counts(first)
    future = dropped._items.future
    closed.close()
    assert closed.ended
    del dropped
    gc.collect()
    with pytest.raises(CancelledError):
        future.result(PATIENCE_S)
    door.wait().let_go()
    assert first.result(PATIENCE_S) == 1  # which somebody has


def test_an_executor_waits_for_futures_among_arguments_and_items(pool: WorkerProcedureCall) -> None:
    with pool.executor() as executor:
        first: Any = executor.submit(pow, 2, 3)
        offset = 1
        second: Any = executor.submit(lambda x, y: x + y + offset, first, pool.call.add(1))
        third: Any = executor.submit(max, [first, second])
        assert third.result(PATIENCE_S) == second.result(PATIENCE_S) == 10
        assert type(third) is type(first)
        assert pool.call.add(third, 1).result(PATIENCE_S) == 11
        assert list(executor.map(abs, [first, -2, second])) == [8, 2, 10]
        assert list(executor.map(abs, [-1, first, -2, second], chunksize=3)) == [1, 8, 2, 10]
        failed: Any = executor.submit(divmod, 1, 0)
        error = executor.submit(abs, failed).exception(PATIENCE_S)
        assert type(error) is ZeroDivisionError
        assert any(note.startswith("abs #") for note in notes_of(error))
        lock = threading.Lock()
        refused = executor.submit(print, first, lock).exception(PATIENCE_S)
        assert "lock" in str(refused)


def test_an_executor_of_its_own_waits_for_futures() -> None:
    with WpcExecutor(2) as executor:
        first: Any = executor.submit(pow, 2, 3)
        assert executor.submit(lambda x: x + 1, first).result(PATIENCE_S) == 9


def test_a_stream_is_no_argument_and_cannot_be_kept(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(STREAMS)
    with pytest.raises(ArgumentsNotSerializableError, match="a stream belongs to this process"):
        pool.call.add(pool.call.counts(3))
    with pytest.raises(ValueError, match="keep is for calls that return a value"):
        pool.call.counts.remote(3)


def test_workers_that_rest_are_woken_for_it(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS, idle_timeout_ms=1, min_workers=0, heartbeat_interval_ms=10)
    first = pool.call.add(1)
    first.exception()
    while pool.get_worker_health_states()[0].health_state != "resting":
        pool.wait_until_ready()
    assert pool.call.add(first, pool.call.add(1)).result() == 2


def test_a_finalizer_in_a_step_can_make_it(pool: WorkerProcedureCall, door: Door) -> None:
    first = held(pool, door, 1)
    with pool._driver.lock:  # as if the garbage collector had come in the middle of a step
        second = pool.call.add(first, 1)
    door.wait().let_go()
    assert second.result() == 2


# -- other pools ----------------------------------------------------------------------------------------


@pytest.fixture
def other(make_pool: Any) -> Iterator[WorkerProcedureCall]:
    pool: WorkerProcedureCall = make_pool(1, FUNCTIONS)
    yield pool
    pool.stop_workers()


def test_a_call_waits_for_one_of_another_pool(
    pool: WorkerProcedureCall, other: WorkerProcedureCall, door: Door
) -> None:
    first = held(other, door, 2)
    visit = door.wait()
    second = pool.call.add(first, other.call.add(3))
    back = other.call.add(second, 1)
    visit.let_go()
    assert back.result() == 6
    assert pool.call.total(other.call.ones(BIG)).result() == BIG


def test_the_end_of_another_pool_passes_on(
    pool: WorkerProcedureCall, other: WorkerProcedureCall, door: Door
) -> None:
    first = held(other, door)
    door.wait()
    second = pool.call.add(first)
    other.stop_workers(drain=False)
    assert isinstance(second.exception(), PoolStoppedError)
    again = pool.call.add(other_ended := first)
    assert isinstance(again.exception(), PoolStoppedError)
    assert other_ended.exception() is first.exception()


def test_cancels_pass_between_pools(
    pool: WorkerProcedureCall, other: WorkerProcedureCall, door: Door
) -> None:
    second = pool.call.add(held(other, door))
    visit = door.wait()
    second.cancel()
    assert other.cancelled_count == 1
    visit.wait_until_gone()


# -- what it costs --------------------------------------------------------------------------------------


def shared_bytes(pool: WorkerProcedureCall) -> int:
    """Return how much memory the blocks of this process and of the workers have, each once."""
    found = {}
    for process in ("self", *(str(worker.pid) for worker in pool.snapshot().workers)):
        for link in Path(f"/proc/{process}/fd").iterdir():
            try:
                if os.readlink(link).endswith(" (deleted)"):  # anonymous files of either kind
                    about = os.stat(link)
                    found[about.st_ino] = about.st_blocks * 512
            except OSError:  # it is closed by now
                pass
    return sum(found.values())


def own_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) << 10


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it is measured by /proc")
def test_a_pipeline_holds_one_copy_of_each_step(make_pool: Any, door: Door) -> None:
    pool = make_pool(2, FUNCTIONS + "def plus(array): return array + 1\n")
    size = 48 << 20
    pool.call.total(pool.call.ones(10)).result()
    before, own = shared_bytes(pool), own_bytes()
    first = pool.call.ones(size // 8)
    second = pool.call.plus(first)
    third = pool.call.plus(second)
    assert pool.call.total(third).result() == 3 * (size // 8)
    used = shared_bytes(pool) - before
    assert 3 * size <= used <= 3.3 * size
    assert own_bytes() - own < size / 4
    # Without the futures, the values go as soon as they are used.
    del first, second, third
    assert pool.call.total(pool.call.plus(pool.call.plus(pool.call.ones(size // 8)))).result()
    pool.call.pid().result()


def test_nothing_of_a_value_stays_when_its_futures_are_gone(pool: WorkerProcedureCall) -> None:
    first = pool.call.ones(BIG)
    pool.call.total(first).result()
    del first
    gc.collect()
    assert not [each for each in gc.get_objects() if isinstance(each, PassedBlock)]
    assert not pool._driver.unsettled


# -- values that stay with the pool ---------------------------------------------------------------------


def test_a_kept_value_is_fetched_by_each_result(pool: WorkerProcedureCall) -> None:
    kept = pool.call.ones.remote(BIG)
    mine = kept.result()
    mine[:] = 5
    assert kept.result()[0] == 1
    assert pool.call.total(kept).result() == BIG
    assert pool.call.total(pool.call.doubles(kept), kept).result() == 3 * BIG
    small = pool.call.same.options(keep=True)([1])
    assert small.result() is not small.result()


def test_a_kept_value_says_how_large_it_is_and_is_not_unpickled_for_it(
    pool: WorkerProcedureCall, folder: Path
) -> None:
    kept = pool.call.noted.remote(str(folder / "notes"))
    pool.call.pid(kept).result()
    assert "kept by the pool, " in repr(kept)
    array = pool.call.ones.remote(BIG)
    pool.call.pid(array).result()
    assert array.state == "kept by the pool, 8.4 MB"
    assert str(os.getpid()) not in (folder / "notes").read_text().split()
    assert kept.result() == "noted"
    assert str(os.getpid()) in (folder / "notes").read_text().split()


def test_a_kept_value_is_freed_with_its_future(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    kept = pool.call.ones.remote(BIG)
    assert kept.result().sum() == BIG
    memory = pool._driver.memory
    assert len(memory._kept) == 1
    del kept
    assert not memory._kept
    link = next(iter(pool._driver.parts.links.values()))
    assert link.receiver.mappings == 0  # its lease goes back to the worker


def test_a_kept_value_is_lost_when_the_pool_stops(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    kept = pool.call.ones.remote(BIG)
    kept.result()
    pool.stop_workers()
    with pytest.raises(PoolStoppedError, match=rf"the value of {kept.call} was kept by the pool, which has"):
        kept.result()
    pool.start_workers(1)
    assert isinstance(pool.call.total(kept).exception(), PoolStoppedError)


def test_a_kept_value_is_not_lost_with_its_worker(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    kept = pool.call.ones.remote(BIG)
    number = pool.call.pid(kept).result()
    os.kill(number, signal.SIGKILL)
    wait_until_dead(number)
    assert pool.call.total(kept).result() == BIG
    assert kept.result().sum() == BIG


def test_a_kept_call_fails_as_others_do(pool: WorkerProcedureCall) -> None:
    kept = pool.call.fails.remote(4)
    assert type(kept.exception()).__name__ == "Mistake"
    assert kept.exception() is kept.exception()
    assert repr(kept).endswith("Mistake>")


def test_a_dependent_call_can_be_kept(pool: WorkerProcedureCall) -> None:
    kept = pool.call.doubles.remote(pool.call.ones.remote(BIG))
    assert pool.call.total(kept, kept).result() == 4 * BIG


def test_a_map_keeps_nothing(pool: WorkerProcedureCall) -> None:
    with pytest.raises(ValueError, match="keep is for single calls"):
        pool.map("add", [1], keep=True)
