"""The future of a call works like a future of the standard library, and can be awaited."""

from __future__ import annotations

import asyncio
import concurrent.futures
import concurrent.futures._base as futures_of_python
import contextvars
import gc
import pickle
import queue
import re
import threading
import time
import weakref
from typing import Any

import pytest

from tests.pool.conftest import HELD, PATIENCE_S, learn
from wpc_magic.pool import CallFuture, WorkerProcedureCall, future_callbacks

FUNCTIONS = """
def double(x):
    return 2 * x


def fails(x):
    raise ValueError(x)


def same(x):
    return x


gate = None


async def waits_at_the_gate():
    import asyncio
    global gate
    gate = asyncio.Event()
    await gate.wait()
    return "through"


async def opens_the_gate():
    gate.set()


async def wait_for(n):
    import asyncio
    for _ in range(n):
        await asyncio.sleep(0)
    return n
"""


@pytest.fixture(scope="module", autouse=True)
def functions(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(FUNCTIONS)


# -- the standard library's functions -------------------------------------------------------------------


def test_it_is_a_future_of_the_standard_library(pool: WorkerProcedureCall) -> None:
    future = pool.call.double(1)
    assert isinstance(future, concurrent.futures.Future)
    assert isinstance(future, CallFuture)
    assert future.name == "double"
    assert future.call_id > 0
    assert future.result() == 2


def test_wait_returns_when_all_have_ended(pool: WorkerProcedureCall) -> None:
    futures = [pool.call.double(n) for n in range(200)] + [pool.call.fails(1)]
    done, pending = concurrent.futures.wait(futures)
    assert done == set(futures)
    assert not pending


def test_wait_returns_at_the_first_that_ends(pool: WorkerProcedureCall, door: Any) -> None:
    slow = pool.call.held(door.path)
    visit = door.wait()
    quick = pool.call.double(1)
    done, pending = concurrent.futures.wait([slow, quick], return_when="FIRST_COMPLETED")
    assert (done, pending) == ({quick}, {slow})
    visit.let_go()
    assert concurrent.futures.wait([slow]).done == {slow}


def test_wait_returns_at_the_first_that_fails(pool: WorkerProcedureCall, door: Any) -> None:
    slow = pool.call.held(door.path)
    visit = door.wait()
    bad = pool.call.fails(1)
    done, _ = concurrent.futures.wait([slow, bad], return_when="FIRST_EXCEPTION")
    assert done == {bad}
    visit.let_go()
    assert slow.exception() is None


def test_wait_with_a_time_out_returns_what_is_pending(pool: WorkerProcedureCall, door: Any) -> None:
    slow = pool.call.held(door.path)
    visit = door.wait()
    assert concurrent.futures.wait([slow], timeout=0.001).not_done == {slow}
    visit.let_go()
    assert slow.result() is None


def test_as_completed_gives_each_once_as_it_ends(pool: WorkerProcedureCall, door: Any) -> None:
    slow = pool.call.held(door.path, "slow")
    visit = door.wait()
    quick = [pool.call.double(n) for n in range(50)]
    ended = concurrent.futures.as_completed([slow, *quick])
    first = [next(ended) for _ in quick]
    assert set(first) == set(quick)
    visit.let_go()
    assert next(ended) is slow
    assert list(ended) == []


def test_as_completed_tells_of_a_cancelled_one(pool: WorkerProcedureCall, door: Any) -> None:
    held = [pool.call.held(door.path) for _ in range(2)]
    visits = [door.wait(), door.wait()]
    queued = pool.call.double(1)
    ended = concurrent.futures.as_completed([queued])
    assert queued.cancel()
    assert next(ended) is queued
    for visit in visits:
        visit.let_go()
    concurrent.futures.wait(held)


# -- state and result -----------------------------------------------------------------------------------


def test_result_with_a_time_out_raises_and_the_call_goes_on(pool: WorkerProcedureCall, door: Any) -> None:
    future = pool.call.held(door.path, "ended")
    visit = door.wait()
    for limit in (0, 0.001):
        with pytest.raises(TimeoutError, match="it goes on"):
            future.result(timeout=limit)
        with pytest.raises(TimeoutError):
            future.exception(timeout=limit)
    visit.let_go()
    assert future.result(timeout=60) == "ended"


def test_exception_returns_the_error_or_none(pool: WorkerProcedureCall) -> None:
    assert pool.call.double(1).exception() is None
    error = pool.call.fails("no").exception()
    assert isinstance(error, ValueError)
    assert error.args == ("no",)


def test_whoever_asks_gets_the_same_object(pool: WorkerProcedureCall) -> None:
    future = pool.call.double([1])
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: future.result(), range(8)))
    assert found[0] == [1, 1]
    assert all(each is found[0] for each in found)
    bad = pool.call.fails(1)
    assert bad.exception() is bad.exception()


def test_who_asks_while_another_thread_lets_go_of_the_answer_gets_the_same_object(
    pool: WorkerProcedureCall,
) -> None:
    """Just after one thread has seen that there is no outcome yet, the other one asks, and sets it."""
    future = pool.call.double([1])
    concurrent.futures.wait([future])
    looks = 0

    class Overtaken(CallFuture):
        @property
        def _outcome(self) -> Any:  # type: ignore[override]
            nonlocal looks
            looks += 1
            seen = self.__dict__.get("_outcome")
            if looks == 2:
                with concurrent.futures.ThreadPoolExecutor(1) as threads:
                    threads.submit(self.result).result()
            return seen

        @_outcome.setter
        def _outcome(self, outcome: Any) -> None:
            self.__dict__["_outcome"] = outcome

    future.__class__ = Overtaken
    assert future.result() == [1, 1]
    assert future.result() is future.result()


def test_a_call_that_runs_is_running_until_it_has_ended(pool: WorkerProcedureCall, door: Any) -> None:
    future = pool.call.held(door.path, 1)
    visit = door.wait()
    assert future.running()
    assert not future.done()
    assert not future.cancelled()
    visit.let_go()
    assert future.result() == 1
    assert not future.running()
    assert future.done()
    assert not future.cancel(), "it is too late"
    assert future.result() == 1


def test_a_call_that_runs_is_ended_by_a_cancel_and_its_worker_goes_on(
    pool: WorkerProcedureCall, door: Any
) -> None:
    before = [worker.pid for worker in pool.snapshot().workers]
    future = pool.call.held(door.path)
    visit = door.wait()
    assert future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        future.result()
    visit.wait_until_gone()
    assert [each.result() for each in pool.broadcast("double", 2).values()] == [4, 4]
    assert [worker.pid for worker in pool.snapshot().workers] == before


def test_a_queued_call_can_be_cancelled_and_never_runs(pool: WorkerProcedureCall, door: Any) -> None:
    held = [pool.call.held(door.path) for _ in range(2)]
    visits = [door.wait(), door.wait()]
    future = pool.call.double(1)
    assert not future.running()
    assert not future.done()
    assert future.cancel()
    assert future.cancel(), "again"
    assert future.cancelled()
    assert future.done()
    for ask in (future.result, future.exception):
        with pytest.raises(concurrent.futures.CancelledError):
            ask()
    before = pool.snapshot().done
    for visit in visits:
        visit.let_go()
    concurrent.futures.wait(held)
    assert pool.snapshot().done == before + 2
    assert pool.call.double(2).result() == 4


def test_a_thread_that_waits_learns_that_its_call_was_cancelled(pool: WorkerProcedureCall, door: Any) -> None:
    held = [pool.call.held(door.path) for _ in range(2)]
    visits = [door.wait(), door.wait()]
    future = pool.call.double(1)
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(future.exception)
        assert future.cancel()
        with pytest.raises(concurrent.futures.CancelledError):
            waiting.result()
    for visit in visits:
        visit.let_go()
    concurrent.futures.wait(held)


def test_its_text_says_what_it_is_and_how_it_stands(pool: WorkerProcedureCall, door: Any) -> None:
    future = pool.call.held(door.path, 0.5)
    visit = door.wait()
    worker = next(each.worker_id for each in pool.snapshot().workers if each.current_call)
    name = f"CallFuture held #{future.call_id}"
    assert re.fullmatch(rf"<{name}: running on worker {worker} for \d+ m?s>", repr(future))
    visit.let_go()
    concurrent.futures.wait([future])
    assert repr(future) == f"<{name}: finished → float>", "also if nobody has asked for the value"
    assert future.result() == 0.5


def test_the_text_of_a_failed_or_cancelled_call_says_so(pool: WorkerProcedureCall, door: Any) -> None:
    failed = pool.call.fails("no")
    concurrent.futures.wait([failed])
    assert failed.state == "raised ValueError"
    held = pool.call.held(door.path)
    door.wait()
    held.cancel()
    assert repr(held).endswith(": cancelled>")


def test_the_text_of_a_queued_call_says_how_many_are_ahead(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, HELD)  # where no call was short so far: then the next ones would be sent ahead
    held = pool.call.held(door.path)
    visit = door.wait()
    queued = [pool.call.held.options(queue_timeout_ms=60_000)(door.path) for _ in range(3)]
    assert [each.state for each in queued] == ["queued", "queued behind 1 call", "queued behind 2 calls"]
    for each in queued:
        each.cancel()
    visit.let_go()
    held.result()


@pytest.mark.parametrize(
    "fails",
    [
        lambda pool: pool.call.fails(1).result(),
        lambda pool: pool.call.double(),
        lambda pool: pool.call.fails(1).exception().add_note(1),
    ],
    ids=["result", "wrong arguments", "exception"],
)
def test_what_the_caller_of_a_call_that_fails_had_is_freed_without_the_collector(
    pool: WorkerProcedureCall, fails: Any
) -> None:
    class Large:
        pass

    def call() -> weakref.ref[Large]:
        large = Large()
        try:
            fails(pool)
        except Exception:
            return weakref.ref(large)
        raise AssertionError

    gc.disable()
    try:
        assert call()() is None
    finally:
        gc.enable()


def test_dir_lists_what_is_for_users(pool: WorkerProcedureCall) -> None:
    future = pool.call.double(1)
    assert future.result() == 2
    assert {"result", "cancel", "call_id"} <= set(dir(future))
    assert not {"settle", "loops", "wakers", "reserved_at", "_answer"} & set(dir(future))
    assert all(hasattr(future, name) for name in dir(future))
    assert {"call", "map", "start_workers", "events"} <= set(dir(pool))
    assert not {"submit_chunk", "give_up", "mean_s", "__init__"} & set(dir(pool))


def test_what_the_getters_return_is_one_line_of_text(pool: WorkerProcedureCall) -> None:
    assert re.fullmatch(r"<\d+ functions: .+>", repr(pool.get_remote_functions()))
    assert repr(pool.call) == repr(pool.get_remote_functions())
    assert repr(pool.get_worker_constants()) == "<no constants>"
    assert re.fullmatch(r"<\d+ events, the latest: \w+>", repr(pool.events()))
    assert re.fullmatch(r"<PoolSnapshot \w+: running, .* failed(, \d+ cancelled)?>", repr(pool.snapshot()))
    assert re.fullmatch(r"<WorkerProcedureCall \w+: running, \d workers?, \d+ functions?>", repr(pool))
    everywhere = pool.broadcast("double", 2)
    assert [each.result() for each in everywhere.values()] == [4] * pool.worker_count
    assert (
        repr(everywhere)
        == f"<Broadcast double: {pool.worker_count} of {pool.worker_count} workers have ended it>"
    )
    doubled = pool.map("double", [1, 2])
    assert repr(doubled) == "<MapResults double: 2 items sent, 2 of them in flight>"
    assert list(doubled) == [2, 4]
    assert repr(doubled) == "<MapResults double: ended after 2 items>"


def test_only_the_pool_ends_it(pool: WorkerProcedureCall) -> None:
    future = pool.call.double(1)
    for end in (
        lambda: future.set_result(1),
        lambda: future.set_exception(ValueError()),
        future.set_running_or_notify_cancel,
    ):
        with pytest.raises(RuntimeError, match="only the pool"):
            end()
    with pytest.raises(TypeError, match="send its result"):
        pickle.dumps(future)
    assert future.result() == 2


def test_nothing_holds_the_value_once_the_future_is_dropped(pool: WorkerProcedureCall) -> None:
    future = pool.call.same({1})
    there = weakref.ref(future), weakref.ref(future.result())
    gc.disable()
    try:
        del future
        deadline = time.monotonic() + PATIENCE_S
        while any(each() is not None for each in there):  # the pool's own thread may be about to let go
            assert time.monotonic() < deadline, "without the help of the garbage collector"
    finally:
        gc.enable()


# -- callbacks ------------------------------------------------------------------------------------------


def test_a_callback_is_called_when_the_call_ends_though_nobody_waits(
    pool: WorkerProcedureCall, door: Any
) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    future = pool.call.held(door.path, "ended")
    visit = door.wait()
    future.add_done_callback(lambda each: told.put((each, each.result(), threading.current_thread().name)))
    assert told.empty()
    visit.let_go()
    assert told.get(timeout=60) == (future, "ended", "wpc-callbacks")


def test_a_callback_that_comes_late_is_called_at_once_here(pool: WorkerProcedureCall) -> None:
    future = pool.call.double(1)
    future.result()
    told = []
    future.add_done_callback(lambda each: told.append((each.result(), threading.current_thread())))
    assert told == [(2, threading.current_thread())]


def test_callbacks_are_called_in_their_order_and_one_that_raises_harms_no_other(
    pool: WorkerProcedureCall, door: Any, caplog: pytest.LogCaptureFixture
) -> None:
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    future = pool.call.held(door.path)
    visit = door.wait()
    future.add_done_callback(lambda _: told.put(1))
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(lambda _: told.put(2))
    visit.let_go()
    assert [told.get(timeout=60), told.get(timeout=60)] == [1, 2]
    assert "exception calling callback" in caplog.text


def test_a_callback_that_is_added_while_the_call_ends_is_called_here(
    pool: WorkerProcedureCall, door: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    future = pool.call.held(door.path)
    visit = door.wait()

    def ends_meanwhile() -> contextvars.Context:  # after it has been found pending
        visit.let_go()
        future.result()
        return contextvars.copy_context()

    monkeypatch.setattr(future_callbacks, "copy_context", ends_meanwhile)
    future.add_done_callback(lambda each: told.append((each, threading.current_thread())))
    assert told == [(future, threading.current_thread())]


def test_a_callback_that_two_threads_find_is_called_once(pool: WorkerProcedureCall, door: Any) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    future = pool.call.held(door.path)
    visit = door.wait()

    class Callbacks(list[Any]):
        def append(self, callback: Any) -> None:
            super().append(callback)
            visit.let_go()
            future.result()

    future.__dict__["_callbacks"] = Callbacks()
    future.add_done_callback(told.put)
    assert told.get(timeout=60) is future
    pool.call.double(1).add_done_callback(told.put)  # after what else the thread has to call
    assert told.get(timeout=60) is not future


def test_a_callback_that_was_removed_is_not_called(pool: WorkerProcedureCall, door: Any) -> None:
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    future = pool.call.held(door.path)
    visit = door.wait()
    for each in (told.put, print, told.put):
        future.add_done_callback(each)
    assert [future.remove_done_callback(told.put) for _ in range(2)] == [2, 0]
    assert future.remove_done_callback(print) == 1
    future.add_done_callback(lambda _: told.put("last"))
    visit.let_go()
    assert told.get(timeout=60) == "last"


def test_a_callback_may_call_and_wait(pool: WorkerProcedureCall) -> None:
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    for n in range(50):
        pool.call.double(n).add_done_callback(lambda each: told.put(pool.call.double(each.result()).result()))
    assert sorted(told.get(timeout=60) for _ in range(50)) == [4 * n for n in range(50)]


def test_a_callback_hears_of_a_cancel(pool: WorkerProcedureCall, door: Any) -> None:
    told: queue.SimpleQueue[bool] = queue.SimpleQueue()
    held = [pool.call.held(door.path) for _ in range(2)]
    visits = [door.wait(), door.wait()]
    future = pool.call.double(1)
    future.add_done_callback(lambda each: told.put(each.cancelled()))
    future.cancel()
    assert told.get(timeout=60) is True
    for visit in visits:
        visit.let_go()
    concurrent.futures.wait(held)


# -- asyncio --------------------------------------------------------------------------------------------


def test_it_can_be_awaited(pool: WorkerProcedureCall) -> None:
    async def main() -> Any:
        return await pool.call.double(1)

    assert asyncio.run(main()) == 2


def test_it_can_be_awaited_again_and_after_its_end(pool: WorkerProcedureCall) -> None:
    async def main() -> Any:
        future = pool.call.double(1)
        return await future, await future, future.result()

    assert asyncio.run(main()) == (2, 2, 2)


def test_awaiting_raises_the_functions_error(pool: WorkerProcedureCall) -> None:
    async def main() -> None:
        await pool.call.fails("no")

    with pytest.raises(ValueError, match="no"):
        asyncio.run(main())


def test_hundreds_can_be_gathered(pool: WorkerProcedureCall) -> None:
    async def main() -> list[int]:
        return await asyncio.gather(*(pool.call.double(n) for n in range(800)))

    assert asyncio.run(main()) == [2 * n for n in range(800)]


def test_hundreds_of_errors_can_be_gathered(pool: WorkerProcedureCall) -> None:
    async def main() -> list[Any]:
        calls = [(pool.call.fails if n % 3 == 0 else pool.call.double)(n) for n in range(300)]
        return await asyncio.gather(*calls, return_exceptions=True)

    found = asyncio.run(main())
    assert [type(each) is ValueError for each in found] == [n % 3 == 0 for n in range(300)]


def test_coroutine_functions_interleave_on_a_worker(pool: WorkerProcedureCall) -> None:
    async def main() -> list[Any]:
        names = ("waits_at_the_gate", "opens_the_gate")
        return await asyncio.gather(*(pool.call[name].options(worker_id=1)() for name in names))

    assert asyncio.run(main()) == ["through", None]


def test_hundreds_of_coroutine_functions_can_be_awaited(pool: WorkerProcedureCall) -> None:
    async def main() -> list[int]:
        return await asyncio.gather(*(pool.call.wait_for(n) for n in range(300)))

    assert asyncio.run(main()) == list(range(300))


def test_wrap_future_takes_it(pool: WorkerProcedureCall) -> None:
    async def main() -> Any:
        return await asyncio.wrap_future(pool.call.double(21))

    assert asyncio.run(main()) == 42


def test_the_loop_goes_on_while_a_call_is_awaited(pool: WorkerProcedureCall, door: Any) -> None:
    async def main() -> Any:
        future = pool.call.held(door.path, "ended")
        waiting = asyncio.ensure_future(_await(future))
        visit = await asyncio.to_thread(door.wait)
        assert await pool.call.double(3) == 6
        assert not waiting.done()
        visit.let_go()
        return await waiting

    assert asyncio.run(main()) == "ended"


async def _await(future: CallFuture) -> Any:
    return await future


def test_a_cancelled_task_cancels_a_call_that_has_not_begun(pool: WorkerProcedureCall, door: Any) -> None:
    async def main() -> tuple[CallFuture, CallFuture]:
        held = [pool.call.held(door.path) for _ in range(2)]
        visits = [await asyncio.to_thread(door.wait) for _ in held]
        future = pool.call.double(1)
        task = asyncio.ensure_future(_await(future))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert future.cancelled()
        for visit in visits:
            visit.let_go()
        await asyncio.gather(*held)

    asyncio.run(main())
    assert pool.call.double(1).result() == 2


def test_a_cancelled_task_ends_a_call_that_runs(pool: WorkerProcedureCall, door: Any) -> None:
    async def main() -> None:
        future = pool.call.held(door.path, "ended")
        visit = await asyncio.to_thread(door.wait)
        first, second = asyncio.ensure_future(_await(future)), asyncio.ensure_future(_await(future))
        await asyncio.sleep(0)
        first.cancel()
        for task in (first, second):
            with pytest.raises((asyncio.CancelledError, concurrent.futures.CancelledError)):
                await task
        visit.wait_until_gone()

    asyncio.run(main())
    assert pool.call.double(1).result() == 2


def test_wait_for_gives_up_and_the_pool_goes_on(pool: WorkerProcedureCall, door: Any) -> None:
    async def main() -> None:
        future = pool.call.held(door.path)
        visit = await asyncio.to_thread(door.wait)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.001)
        visit.let_go()
        assert await pool.call.double(1) == 2

    asyncio.run(main())


def test_a_loop_that_ends_while_calls_run_leaves_nothing_broken(pool: WorkerProcedureCall, door: Any) -> None:
    async def main() -> CallFuture:
        future = pool.call.held(door.path, "ended")
        task = asyncio.ensure_future(_await(future))
        del task  # asyncio.run cancels it
        await asyncio.to_thread(door.wait)
        return future

    future = asyncio.run(main())
    assert pool.call.double(1).result() == 2
    assert future.cancelled(), "asyncio.run cancels what is left, and that ends the call"


def test_a_loop_that_is_closed_while_a_call_runs_keeps_no_channel_open(make_pool: Any, door: Any) -> None:
    pool = make_pool(1)
    future = pool.call.held(door.path, "ended")
    visit = door.wait()

    async def wait_for_nothing() -> None:
        future.wait_in(asyncio.get_running_loop())

    asyncio.run(wait_for_nothing())
    visit.let_go()
    assert future.result() == "ended"
    pool.stop_workers()  # the fixture checks that all descriptors are closed


def test_who_asks_again_and_again_adds_nothing_to_a_future(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    pool.call.held(door.path)
    visit = door.wait()
    future = pool.call.double(21)
    for _ in range(10):
        with pytest.raises(TimeoutError):
            future.result(timeout=0)
    assert list(future.wakers) == []

    async def ask() -> None:
        for _ in range(10):
            waiter = future.wait_in(asyncio.get_running_loop())
            waiter.cancel()
        assert len(future.loops) == 1

    asyncio.run(ask())
    visit.let_go()
    assert future.result() == 42


def test_several_loops_and_many_threads_wait_at_once(pool: WorkerProcedureCall) -> None:
    async def gather(start: int) -> list[int]:
        return await asyncio.gather(*(pool.call.double(n) for n in range(start, start + 150)))

    def in_loop(start: int) -> list[int]:
        return asyncio.run(gather(start))

    def in_thread(start: int) -> list[int]:
        return [pool.call.double(n).result() for n in range(start, start + 150)]

    def in_wait(start: int) -> list[int]:
        futures = [pool.call.double(n) for n in range(start, start + 150)]
        concurrent.futures.wait(futures)
        return [future.result() for future in futures]

    with concurrent.futures.ThreadPoolExecutor(9) as threads:
        found = [
            (start, threads.submit(way, start))
            for start in range(0, 900, 300)
            for way in (in_loop, in_thread, in_wait)
        ]
        for start, each in found:
            assert each.result() == [2 * n for n in range(start, start + 150)]


def test_one_call_may_be_awaited_in_several_loops_and_threads(pool: WorkerProcedureCall, door: Any) -> None:
    future = pool.call.held(door.path, "ended")
    visit = door.wait()
    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        waiting = [threads.submit(lambda: asyncio.run(_await(future))) for _ in range(3)]
        waiting += [threads.submit(future.result) for _ in range(3)]
        assert pool.call.double(1).result() == 2
        visit.let_go()
        assert [each.result() for each in waiting] == ["ended"] * 6


def test_a_call_that_is_waited_for_at_one_worker_is_answered_by_another(make_pool: Any, door: Any) -> None:
    # It is prefetched behind a call that turns out to be slow, while another worker is idle: it is stolen.
    pool = make_pool(2, "def quick(x): return x\ndef turns(door): return held(door) if door else None")
    learn(pool, "quick", "turns")
    slow = pool.call.turns.options(worker_id=1)(door.path)
    behind = [pool.call.quick(n) for n in range(40)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda each: each.result(), behind))
    assert found == list(range(40)), "though worker 1 is held up"
    door.wait().let_go()
    assert slow.result() is None


def test_a_waiter_that_an_interrupt_has_left_locked_does_not_hold_up_the_end_of_its_future(
    make_pool: Any, door: Any
) -> None:
    pool = make_pool(1)
    future = pool.call.held(door.path, 7)
    visit = door.wait()
    waiter = futures_of_python._AllCompletedWaiter(1, stop_on_exception=False)
    torn = waiter.event._cond._lock
    torn.acquire()  # the state after an interrupt between the lock and the ``with`` of `Event.wait`
    with futures_of_python._AcquireFutures([future]):
        future._waiters.append(waiter)
    visit.let_go()
    assert future.result(PATIENCE_S) == 7
    assert waiter.event.wait(PATIENCE_S)
    torn.release()
