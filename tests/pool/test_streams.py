"""Functions that yield: their items arrive one after another, and end where their caller stops."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import pickle
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pool.conftest import PATIENCE_S, Begun, Door, pids
from wpc_magic.pool import CallOptions, ResultStream, WorkerProcedureCall
from wpc_magic.pool.errors import (
    CallTimeoutError,
    PoolStoppedError,
    WorkerCrashedError,
)
from wpc_magic.pool.wire.limits import MAX_AHEAD

SOURCE = '''
import os, time


def numbers(n):
    for x in range(n):
        yield x
    return "the end"


def noted(path, n=10**9, by="closed"):
    """Write how many items it has yielded, and how it ends."""
    count = 0
    try:
        while count < n:
            count += 1
            yield count
    except GeneratorExit:
        write(path, f"{by} after {count}")
        raise
    except BaseException as error:
        write(path, f"{type(error).__name__} after {count}")
        raise


def write(path, text):
    with open(path, "w") as pipe:
        pipe.write(text + "\\\\n")


def stubborn(path):
    try:
        yield 1
        yield 2
    finally:
        while True:
            time.sleep(0.01)


def spins(path):
    yield 1
    write(path, "on")
    while True:
        pass


def fails_at(n):
    yield from range(n)
    raise ValueError("no more")


def dies_at(n):
    yield from range(n)
    os._exit(3)


def once(path, n):
    """Die in the first process, after n items."""
    first = not os.path.exists(path)
    if first:
        write(path, "here")
    yield from range(n)
    if first:
        os._exit(3)
    yield "again"


def says(n):
    for x in range(n):
        print("item", x)
        yield x


def then_waits(n, door):
    yield from range(n)
    held(door)
    yield "later"


def naps(seconds):
    for each in seconds:
        time.sleep(each)
        yield each


def same_list(n):
    shared = []
    for x in range(n):
        shared.append(x)
        yield shared


def arrays(n, size):
    import numpy as np
    for x in range(n):
        yield np.full(size, x)


def bad_item():
    yield 1
    yield {"lock": __import__("threading").Lock()}


def returned(n):
    return (x for x in range(n))


def number(x=3):
    return x


async def later(n):
    import asyncio
    for x in range(n):
        await asyncio.sleep(0)
        yield x


async def noted_later(path):
    count = 0
    try:
        while True:
            count += 1
            yield count
    except GeneratorExit:
        write(path, f"closed after {count}")
        raise


async def tidies_up(path, waits):
    import asyncio
    try:
        yield 1
        if waits:
            await asyncio.sleep(3600)
        yield 2
        yield 3
    finally:
        time.sleep(0.2)  # longer than it takes until the next interrupt
        await asyncio.sleep(0)
        write(path, "tidy")


async def late_list(n):
    return [x for x in range(n)]


async def quick():
    return os.getpid()


class Breaks:
    def __reduce__(self):
        return int, ("no number",)


def breaks_here(n):
    yield from range(n)
    yield Breaks()


def forks(n):
    for x in range(n):
        if x == 1 and not os.fork():
            yield "the child's"
        yield x
'''.replace("\\\\n", "\\n")


@pytest.fixture(scope="module")
def shared_pool() -> Iterator[WorkerProcedureCall]:
    pool = WorkerProcedureCall()
    pool.define_worker_functions(SOURCE.replace("held(door)", "pass"))
    pool.start_workers(2)
    yield pool
    pool.stop_workers()


@pytest.fixture
def note(folder: Path) -> Iterator[Any]:
    """A pipe that a function writes a line to: its path, and `read`."""
    with contextlib.closing(Begun(folder / "note")) as begun:

        class Note:
            path = begun.path

            def read(self) -> str:
                begun.wait()
                import os

                return os.read(begun._read_end, 1000).decode().strip()

        yield Note()


def until_paused(pool: WorkerProcedureCall, stream: ResultStream) -> None:
    call: Any = stream.call
    assert pool._driver.condition.wait_for(lambda: call.paused_at > 0, PATIENCE_S)


def until_idle(pool: WorkerProcedureCall) -> None:
    assert pool._driver.condition.wait_for(
        lambda: not pool._driver.core.dispatcher.in_flight.count, PATIENCE_S
    )


# -- taking ---------------------------------------------------------------------------------------------


def test_the_items_come_in_order_and_the_loop_ends(shared_pool: WorkerProcedureCall) -> None:
    assert [x for x in shared_pool.call.numbers(5_000)] == list(range(5_000))  # noqa: C416
    assert list(shared_pool.call.numbers(0)) == []


def test_it_is_an_iterator_like_any_other(shared_pool: WorkerProcedureCall) -> None:
    numbers = shared_pool.call.numbers
    assert list(zip(numbers(3), numbers(5), strict=False)) == [(0, 0), (1, 1), (2, 2)]
    assert list(itertools.islice(numbers(10**9), 3)) == [0, 1, 2]
    assert sum(numbers(10)) == 45
    assert numbers(4).result() == [0, 1, 2, 3]
    stream = numbers(3)
    assert iter(stream) is stream
    assert next(stream) == 0
    assert list(stream) == [1, 2]
    with pytest.raises(StopIteration):
        next(stream)


def test_what_the_function_returns_is_the_value_of_yield_from(shared_pool: WorkerProcedureCall) -> None:
    got = []

    def outer() -> Iterator[int]:
        got.append((yield from shared_pool.call.numbers(3)))

    assert list(outer()) == [0, 1, 2]
    assert got == ["the end"]


def test_items_are_as_they_were_when_they_were_yielded(shared_pool: WorkerProcedureCall) -> None:
    assert list(shared_pool.call.same_list(3)) == [[0], [0, 1], [0, 1, 2]]


def test_an_item_does_not_wait_for_the_next_one(make_pool: Any, door: Door) -> None:
    pool = make_pool(1, SOURCE)
    stream = pool.call.then_waits(300, door.path)
    visit = door.wait()
    assert list(itertools.islice(stream, 300)) == list(range(300))
    visit.let_go()
    assert list(stream) == ["later"]


def test_large_items_arrive_and_their_memory_is_used_again(make_pool: Any) -> None:
    pool = make_pool(1, SOURCE, block_memory_mb=64)
    link = next(iter(pool._driver.parts.links.values()))
    kept = None
    for n, array in enumerate(pool.call.arrays(40, 1_000_000)):
        assert array.shape == (1_000_000,)
        assert (array == n).all()
        array += 1  # it is the caller's own
        assert link.receiver.mappings <= 8, "as many as are ahead, and the one that is used"
        if n == 20:
            kept = array
    assert (kept == 21).all()


def test_the_items_of_a_map_are_lists(shared_pool: WorkerProcedureCall) -> None:
    assert shared_pool.call.numbers.map([2, 0, 3]).result() == [[0, 1], [], [0, 1, 2]]
    assert shared_pool.call.later.map([2, 3]).result() == [[0, 1], [0, 1, 2]]
    with pytest.raises(ValueError, match="no more"):
        shared_pool.call.fails_at.map([2]).result()


def test_a_broadcast_gives_the_stream_of_each_worker(shared_pool: WorkerProcedureCall) -> None:
    streams = shared_pool.broadcast("numbers", 3)
    assert {worker: stream.result() for worker, stream in streams.items()} == {1: [0, 1, 2], 2: [0, 1, 2]}
    assert repr(streams) == "<Broadcast numbers: 2 of 2 workers have ended it>"


def test_result_with_a_timeout_loses_nothing(make_pool: Any, door: Door) -> None:
    pool = make_pool(1, SOURCE)
    stream = pool.call.then_waits(3, door.path)
    visit = door.wait()
    with pytest.raises(TimeoutError, match="it goes on"):
        stream.result(0.05)
    visit.let_go()
    assert stream.result(PATIENCE_S) == [0, 1, 2, "later"]


# -- back-pressure --------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffer", [1, 2, 7])
def test_the_function_is_never_further_ahead_than_the_buffer(make_pool: Any, note: Any, buffer: int) -> None:
    pool = make_pool(1, SOURCE)
    stream = pool.call.noted.options(buffer=buffer)(note.path)
    until_paused(pool, stream)
    assert next(stream) == 1
    until_paused(pool, stream)
    stream.close()
    assert note.read() in {f"closed after {buffer}", f"closed after {buffer + 1}"}


def test_without_a_buffer_it_is_a_thousand_items_or_what_comes_to_16_mb(make_pool: Any, note: Any) -> None:
    pool = make_pool(2, SOURCE)
    stream = pool.call.noted(note.path)
    arrays = pool.call.arrays(10**9, 1_000_000)
    until_paused(pool, stream)
    assert repr(stream).startswith("<ResultStream noted #1: 0 items taken, 1,000 more here, paused on worker")
    stream.close()
    assert note.read() == f"closed after {MAX_AHEAD}"
    until_paused(pool, arrays)
    assert arrays.state.startswith("0 items taken, 3 more here, paused on worker")
    assert [array[0] for array in itertools.islice(arrays, 10)] == list(range(10))


def test_a_paused_stream_holds_its_worker_and_no_other(make_pool: Any) -> None:
    pool = make_pool(2, SOURCE)
    stream = pool.call.numbers.options(buffer=1)(10**9)
    until_paused(pool, stream)
    assert [pool.call.number(n).result(PATIENCE_S) for n in range(20)] == list(range(20))
    assert sum(worker.current_call == "numbers #1 (paused)" for worker in pool.snapshot().workers) == 1
    stream.close()


# -- the end --------------------------------------------------------------------------------------------


def test_a_loop_that_breaks_closes_the_generator_and_its_worker_goes_on(make_pool: Any, note: Any) -> None:
    pool = make_pool(1, SOURCE, interrupt_grace_ms=60_000)
    before = pids(pool)
    for x in pool.call.noted.options(buffer=3)(note.path):
        if x == 2:
            break
    assert " after " in note.read()
    assert pool.call.number(7).result(PATIENCE_S) == 7
    assert pids(pool) == before


@pytest.mark.parametrize("end", ["del", "close", "with", "cancel_all", "aclose"])
def test_however_it_is_dropped_the_generator_is_closed(make_pool: Any, note: Any, end: str) -> None:
    pool = make_pool(1, SOURCE)
    stream: Any = pool.call.noted.options(buffer=1)(note.path)
    until_paused(pool, stream)
    match end:
        case "del":
            del stream
            gc.collect()
        case "close":
            stream.close()
            assert list(stream) == []
        case "with":
            with stream:
                pass
        case "cancel_all":
            assert pool.cancel_all() == 1
            assert next(stream) == 1
            with pytest.raises(CancelledError) as caught:
                next(stream)
            assert caught.value.__notes__ == ["after 1 item of the stream"]
        case "aclose":
            asyncio.run(stream.aclose())
    assert note.read() == "closed after 1"
    until_idle(pool)


def test_a_generator_that_runs_is_interrupted(make_pool: Any, note: Any) -> None:
    pool = make_pool(1, SOURCE, interrupt_grace_ms=60_000)
    before = pids(pool)
    stream = pool.call.spins(note.path)
    assert next(stream) == 1
    assert note.read() == "on"
    stream.close()
    until_idle(pool)
    assert pids(pool) == before


def test_one_that_does_not_end_is_ended_with_its_worker(make_pool: Any, listen: Any) -> None:
    pool = make_pool(1, SOURCE, interrupt_grace_ms=50)
    events = listen(pool)
    stream = pool.call.stubborn.options(buffer=1)("")
    assert next(stream) == 1
    stream.close()
    events.until("call_ended_by_force")
    assert pool.call.number(7).result(PATIENCE_S) == 7


def test_an_error_is_raised_at_its_place_and_with_its_traceback(shared_pool: WorkerProcedureCall) -> None:
    got: list[int] = []
    with pytest.raises(ValueError, match="no more") as caught:
        got.extend(shared_pool.call.fails_at(3))
    assert got == [0, 1, 2]
    assert [frame.name for frame in caught.traceback][-1] == "fails_at"
    assert caught.value.__context__ is None
    first, last = caught.value.__notes__
    assert first.startswith("in fails_at(3) #")
    assert last == "after 3 items of the stream"


def test_a_worker_that_dies_is_said_with_the_number_of_items(make_pool: Any) -> None:
    pool = make_pool(1, SOURCE)
    got: list[int] = []
    with pytest.raises(WorkerCrashedError, match="exited with code 3") as caught:
        got.extend(pool.call.dies_at.options(retries=3)(600))
    assert len(got) in range(601)
    assert got == list(range(len(got)))
    assert f"after {len(got)} item" in caught.value.__notes__[-1]
    assert pool.call.number(7).result(PATIENCE_S) == 7


def test_a_stream_is_run_again_only_if_nothing_of_it_has_arrived(make_pool: Any, folder: Path) -> None:
    pool = make_pool(1, SOURCE)
    once = pool.call.once.options(retries=1)
    assert list(once(str(folder / "a"), 0)) == ["again"]
    with pytest.raises(WorkerCrashedError):
        list(once(str(folder / "b"), 1))


def test_an_item_that_takes_too_long_ends_the_stream(shared_pool: WorkerProcedureCall) -> None:
    stream = shared_pool.call.naps.options(item_timeout_ms=1000)([0, 0, 60])
    assert [next(stream), next(stream)] == [0, 0]
    with pytest.raises(CallTimeoutError, match=r"gave no item for more than 1000 ms on worker \d"):
        next(stream)
    assert list(stream) == []


def test_a_stream_as_a_whole_may_take_too_long(shared_pool: WorkerProcedureCall) -> None:
    with pytest.raises(CallTimeoutError, match=r"ran for more than 300 ms on worker \d, and was stopped"):
        list(shared_pool.call.naps.options(timeout_ms=300)([0.02] * 3_000))


def test_an_item_that_cannot_be_sent_is_named(shared_pool: WorkerProcedureCall) -> None:
    stream = shared_pool.call.bad_item()
    assert next(stream) == 1
    with pytest.raises(TypeError, match="cannot pickle") as caught:
        next(stream)
    assert "the item that it yielded (dict) cannot be sent: value['lock'] is" in str(caught.value.__notes__)


def test_an_item_that_cannot_be_unpickled_is_named(shared_pool: WorkerProcedureCall) -> None:
    stream = shared_pool.call.breaks_here(3)
    assert list(itertools.islice(stream, 3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="no number") as caught:
        next(stream)
    assert "while item 3 of breaks_here #" in caught.value.__notes__[0]
    assert list(stream) == []


def test_an_interrupt_ends_the_stream_that_is_waited_for(make_pool: Any, note: Any) -> None:
    pool = make_pool(1, SOURCE)
    stream = pool.call.spins(note.path)
    assert next(stream) == 1
    waits = stream._items.future.waits

    def interrupt() -> None:
        while not waits or not (waits[0].wakers or waits[0].loops):
            pass
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        next(stream)
    thread.join()
    until_idle(pool)
    assert list(stream) == []


def test_a_stream_whose_finalizer_was_interrupted_is_ended_all_the_same(
    make_pool: Any, note: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    #  the last reference goes -> `__del__`, where a signal handler raises at its first instruction
    #                          -> the weak reference of the future, which no Python code is needed for
    pool = make_pool(1, SOURCE)
    stream = pool.call.noted.options(buffer=1)(note.path)
    until_paused(pool, stream)
    monkeypatch.setattr(ResultStream, "__del__", lambda self: None)
    del stream
    gc.collect()
    assert note.read() == "closed after 1"
    until_idle(pool)


def test_a_pool_that_stops_says_so_and_does_not_wait_for_who_does_not_take(make_pool: Any) -> None:
    pool = make_pool(1, SOURCE)
    stream = pool.call.numbers.options(buffer=2)(10**9)
    until_paused(pool, stream)
    pool.stop_workers(drain=True)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(PoolStoppedError) as caught:
        next(stream)
    assert caught.value.__notes__ == ["after 2 items of the stream"]


def test_a_process_that_a_generator_forks_sends_nothing(make_pool: Any) -> None:
    pool = make_pool(1, SOURCE)
    assert list(pool.call.forks(3)) == [0, 1, 2]


# -- definitions ----------------------------------------------------------------------------------------


def test_a_redefinition_leaves_the_stream_at_its_version(make_pool: Any) -> None:
    pool = make_pool(2, SOURCE)
    stream = pool.call.numbers.options(buffer=1)(6)
    assert next(stream) == 0
    held = pool.call.numbers
    pool.define_worker_function(name="numbers", worker_func="def numbers(n): return -n")
    assert held(3).result(PATIENCE_S) == -3, "it is a plain function now"
    pool.define_worker_function(name="numbers", worker_func="def numbers(n): yield -n")
    assert list(held(3)) == [-3]
    assert list(stream) == [1, 2, 3, 4, 5]


def test_a_function_that_returns_a_generator_says_what_to_do(shared_pool: WorkerProcedureCall) -> None:
    with pytest.raises(TypeError, match="cannot pickle 'generator' object") as caught:
        shared_pool.call.returned(3).result()
    assert "one called with options(buffer=...)" in str(caught.value.__notes__)
    assert list(shared_pool.call.returned.options(buffer=10)(3)) == [0, 1, 2]
    assert list(shared_pool.call.late_list.options(buffer=10)(3)) == [0, 1, 2]
    with pytest.raises(TypeError, match="it returned int, which is no iterable"):
        list(shared_pool.call.number.options(buffer=10)())


def test_a_function_that_is_not_registered_streams_if_that_is_wanted(
    shared_pool: WorkerProcedureCall,
) -> None:
    outside = [3]

    def not_registered(n: int) -> Iterator[Any]:
        yield from range(n)
        yield outside  # it can change, so that the function is sent with its call

    with shared_pool.submit_function(not_registered, (2,), options=CallOptions(buffer=2)) as stream:
        assert list(stream) == [0, 1, [3]]
    with shared_pool.submit_function(range, (10**9,), options=CallOptions(buffer=2)) as stream:
        assert [next(stream) for _ in range(5)] == [0, 1, 2, 3, 4]


def test_wrong_arguments_are_refused_at_once(shared_pool: WorkerProcedureCall) -> None:
    with pytest.raises(TypeError, match=r"numbers\(\) missing 1 required argument: 'n'"):
        shared_pool.call.numbers()
    assert shared_pool.call.numbers.local(3).__next__() == 0


def test_a_future_among_the_arguments_is_waited_for(shared_pool: WorkerProcedureCall) -> None:
    numbers, number = shared_pool.call.numbers, shared_pool.call.number
    assert list(numbers(number(3))) == list(numbers(3))


def test_a_failed_stream_is_replayed_to_its_error(shared_pool: WorkerProcedureCall) -> None:
    with pytest.raises(ValueError, match="no more") as caught:
        list(shared_pool.call.fails_at(2))
    with pytest.raises(ValueError, match="no more"):
        shared_pool.replay(caught.value)


def test_a_stream_stays_in_its_process(shared_pool: WorkerProcedureCall) -> None:
    with shared_pool.call.numbers(1) as stream, pytest.raises(TypeError, match="send its result"):
        pickle.dumps(stream)


# -- output, threads and event loops --------------------------------------------------------------------


def test_what_is_printed_before_an_item_is_shown_before_it_is_returned(make_pool: Any) -> None:
    pool = make_pool(1, SOURCE)
    shown: list[str] = []
    pool.output_sink = lambda each: shown.append(each.text)
    for x in pool.call.says.options(buffer=1)(5):
        assert f"item {x}\n" in "".join(shown)
    assert "".join(shown) == "".join(f"item {x}\n" for x in range(5))


def test_threads_may_share_a_stream(shared_pool: WorkerProcedureCall) -> None:
    stream = shared_pool.call.numbers.options(buffer=10)(3_000)
    got: list[list[int]] = [[], [], []]
    threads = [threading.Thread(target=lambda items: items.extend(stream), args=(each,)) for each in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert sorted(itertools.chain(*got)) == list(range(3_000))
    assert all(items == sorted(items) for items in got)


def test_event_loops_iterate_and_await(shared_pool: WorkerProcedureCall) -> None:
    async def iterate(name: str, n: int) -> list[int]:
        return [x async for x in shared_pool.call[name].options(buffer=2)(n)]

    async def several() -> list[Any]:
        return await asyncio.gather(
            iterate("numbers", 50),
            iterate("later", 50),
            shared_pool.call.later(3),
            shared_pool.call.numbers(3),
        )

    expected = [list(range(50)), list(range(50)), [0, 1, 2], [0, 1, 2]]
    assert asyncio.run(several()) == expected
    others: list[Any] = []
    threads = [threading.Thread(target=lambda: others.append(asyncio.run(several()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert others == [expected, expected]


def test_errors_reach_async_code_at_their_place(shared_pool: WorkerProcedureCall) -> None:
    async def main() -> None:
        stream = shared_pool.call.fails_at(3)
        assert [await anext(stream) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="no more") as caught:
            await anext(stream)
        assert caught.value.__notes__[-1] == "after 3 items of the stream"
        assert caught.value.__context__ is None
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    asyncio.run(main())


def test_async_generators_interleave_with_coroutines_on_one_worker(make_pool: Any, note: Any) -> None:
    pool = make_pool(1, SOURCE)
    stream = pool.call.noted_later.options(buffer=1)(note.path)
    another = pool.call.later.options(buffer=1)(10)
    until_paused(pool, stream)
    assert pool.call.quick().result(PATIENCE_S) == pids(pool)[1]
    assert list(another) == list(range(10))
    assert next(stream) == 1
    until_paused(pool, stream)
    stream.close()
    assert note.read() == "closed after 2"
    until_idle(pool)


@pytest.mark.parametrize("waits", [False, True])
def test_an_async_generator_that_is_closed_cleans_up_in_peace(make_pool: Any, note: Any, waits: bool) -> None:
    pool = make_pool(1, SOURCE, interrupt_grace_ms=60_000)
    stream = pool.call.tidies_up.options(buffer=1)(note.path, waits)
    assert next(stream) == 1
    if not waits:
        until_paused(pool, stream)
    stream.close()
    assert note.read() == "tidy"
    until_idle(pool)


def test_a_task_that_is_cancelled_ends_its_stream(make_pool: Any, note: Any) -> None:
    pool = make_pool(1, SOURCE)

    async def main() -> None:
        stream = pool.call.spins(note.path)
        task = asyncio.ensure_future(_collect(stream))
        await asyncio.to_thread(note.read)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [x async for x in stream] == []

    asyncio.run(main())
    until_idle(pool)


async def _collect(stream: Any) -> list[Any]:
    return [x async for x in stream]


def test_a_text_of_its_state_says_how_it_stands(shared_pool: WorkerProcedureCall) -> None:
    stream = shared_pool.call.numbers(3)
    number = stream.call_id
    assert stream.result() == [0, 1, 2]
    assert repr(stream) == f"<ResultStream numbers #{number}: 3 items taken, ended>"
    assert (stream.name, stream.ended, stream.progress) == ("numbers", True, None)
    closed = shared_pool.call.numbers(10**9)
    assert closed.cancel()
    assert not closed.cancel()
    assert closed.state == "0 items taken, closed"
    closed = shared_pool.call.numbers(10**9)
    assert [next(closed) for _ in range(3)] == [0, 1, 2]
    closed.close()
    assert closed.state == "3 items taken, closed"  # and not those that were here
    assert shared_pool.call.numbers.map([1])
    infos = {info.name: info.is_generator for info in shared_pool.get_remote_functions()}
    assert infos["numbers"]
    assert infos["later"]
    assert not infos["returned"]


def test_arrays_in_small_items_are_equal(shared_pool: WorkerProcedureCall) -> None:
    for n, array in enumerate(shared_pool.call.arrays(5, 10)):
        np.testing.assert_array_equal(array, np.full(10, n))
