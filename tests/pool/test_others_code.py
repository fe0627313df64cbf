"""Listeners, output sinks and done-callbacks that block or raise: nobody else's code holds the pool up."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pool.conftest import PATIENCE_S, ROOT, run
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.driver import output, parts
from wpc_magic.pool.errors import PoolStoppedError

SAYS = "def says(text):\n    print(text)\n    return text\n\ndef idles(): pass\n"


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a callback blocks at, until the end of the test."""
    gate = threading.Event()
    yield gate
    gate.set()


def ends(function: Callable[[], object]) -> bool:
    """Return whether a function ends, in a thread of its own; otherwise it is left there."""
    thread = threading.Thread(target=function, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    return not thread.is_alive()


# -- what raises ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, RuntimeError])
def test_a_done_callback_may_raise_anything_and_the_later_ones_are_called(
    pool: WorkerProcedureCall, door: Any, error: type[BaseException]
) -> None:
    called: queue.SimpleQueue[str] = queue.SimpleQueue()

    def raises(_: object) -> None:
        raise error

    future = pool.call.held(door.path)
    visit = door.wait()
    for callback in (raises, lambda _: called.put("the next of the same call")):
        future.add_done_callback(callback)
    visit.let_go()
    assert called.get(timeout=PATIENCE_S) == "the next of the same call"
    later = pool.call.held(door.path)
    visit = door.wait()
    later.add_done_callback(lambda _: called.put("one of a later call"))
    visit.let_go()
    assert called.get(timeout=PATIENCE_S) == "one of a later call"


def test_a_future_that_asyncio_wraps_ends_after_a_callback_that_wanted_to_exit(
    pool: WorkerProcedureCall, door: Any
) -> None:
    async def main() -> Any:
        future = pool.call.held(door.path, "its value")
        visit = await asyncio.to_thread(door.wait)
        future.add_done_callback(lambda _: sys.exit())
        wrapped = asyncio.wrap_future(future)
        visit.let_go()
        return await asyncio.wait_for(wrapped, PATIENCE_S)

    assert asyncio.run(main()) == "its value"


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, RuntimeError])
def test_a_listener_may_raise_anything_and_the_later_ones_are_called(
    make_pool: Any, listen: Any, error: type[BaseException]
) -> None:
    pool = make_pool(0)

    def raises(_: object) -> None:
        raise error

    pool.on_worker_event(listener=raises)
    heard = listen(pool)
    pool.start_workers(1)
    pool.stop_workers()
    heard.until("worker_exited")


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, asyncio.CancelledError])
@pytest.mark.parametrize("timeout", [None, PATIENCE_S])
def test_a_sink_may_raise_anything_and_the_call_has_its_value(
    make_pool: Any, error: type[BaseException], timeout: float | None
) -> None:
    pool = make_pool(1, SAYS)

    def raises(_: object) -> None:
        raise error

    pool.output_sink = raises
    assert pool.call.says("a").result(timeout) == "a"
    assert pool.call.says("b").result(timeout) == "b"


def test_a_handler_of_the_log_that_raises_ends_no_thread(
    pool: WorkerProcedureCall, door: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Raises(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise SystemExit

    called = threading.Event()
    handler = Raises()
    for name in ("wpc_magic", "concurrent.futures"):
        logging.getLogger(name).addHandler(handler)
    try:
        future = pool.call.held(door.path)
        visit = door.wait()
        future.add_done_callback(lambda _: sys.exit())
        future.add_done_callback(lambda _: called.set())
        visit.let_go()
        assert called.wait(PATIENCE_S)
    finally:
        for name in ("wpc_magic", "concurrent.futures"):
            logging.getLogger(name).removeHandler(handler)


# -- what blocks ------------------------------------------------------------------------------------------


def block_listener(pool: WorkerProcedureCall, gate: threading.Event, door: Any) -> None:
    blocked = threading.Event()
    pool.on_worker_event(listener=lambda _: (blocked.set(), gate.wait()))
    pool.resize(pool.worker_count + 1)
    assert blocked.wait(PATIENCE_S)


def block_done_callback(pool: WorkerProcedureCall, gate: threading.Event, door: Any) -> None:
    blocked = threading.Event()
    future = pool.call.held(door.path)
    visit = door.wait()
    future.add_done_callback(lambda _: (blocked.set(), gate.wait()))
    visit.let_go()
    assert blocked.wait(PATIENCE_S)


def block_sink(pool: WorkerProcedureCall, gate: threading.Event, door: Any) -> None:
    blocked = threading.Event()
    pool.output_sink = lambda _: (blocked.set(), gate.wait())
    pool.call.says("blocks")
    assert blocked.wait(PATIENCE_S)


BLOCKS = [block_listener, block_done_callback, block_sink]


@pytest.mark.parametrize("block", BLOCKS)
def test_a_stop_does_not_wait_for_what_blocks(
    make_pool: Any, door: Any, gate: threading.Event, block: Callable[..., None]
) -> None:
    pool = make_pool(1, SAYS, stop_timeout_ms=300)
    block(pool, gate, door)
    assert ends(pool.stop_workers)
    pool.start_workers(1)
    assert ends(lambda: asyncio.run(pool.stop_workers_async()))


@pytest.mark.parametrize("block", BLOCKS)
def test_a_result_with_a_timeout_does_not_wait_for_what_blocks(
    make_pool: Any, door: Any, gate: threading.Event, block: Callable[..., None]
) -> None:
    pool = make_pool(1, SAYS, stop_timeout_ms=300)
    block(pool, gate, door)
    values: list[Any] = []
    assert ends(lambda: values.append(pool.call.says("a").result(timeout=3)))
    assert values == ["a"]
    with pytest.raises(TimeoutError):
        pool.call.held(door.path).result(timeout=0.01)


@pytest.mark.parametrize("block", [block_listener, block_sink])
def test_done_callbacks_do_not_wait_for_a_listener_or_a_sink(
    make_pool: Any, door: Any, gate: threading.Event, block: Callable[..., None]
) -> None:
    pool = make_pool(1, SAYS, stop_timeout_ms=300)
    block(pool, gate, door)
    called = threading.Event()
    pool.call.says("a").add_done_callback(lambda _: called.set())
    assert called.wait(PATIENCE_S)


def test_a_listener_may_wait_for_the_thread_that_stops_the_pool_in_its_event_loop(make_pool: Any) -> None:
    # the loop's thread: await stop_workers_async() ................ runs `pause` ........ returns
    # the listener:            worker_exited, waits for `pause` in the loop ^ .... done ^
    pool = make_pool(1, stop_timeout_ms=int(PATIENCE_S * 1000))
    ran: list[str] = []

    async def pause() -> None:
        ran.append("in the loop")

    async def main() -> None:
        loop = asyncio.get_running_loop()

        def waits(event: Any) -> None:
            if event.event_name == "worker_exited":
                asyncio.run_coroutine_threadsafe(pause(), loop).result(PATIENCE_S)

        pool.on_worker_event(listener=waits)
        await pool.stop_workers_async()

    asyncio.run(main())
    assert ran == ["in the loop"]


@pytest.mark.parametrize(
    "blocks",
    [
        "pool.on_worker_event(listener=wait); pool.resize(2); blocked.wait()",
        "pool.call.idles().add_done_callback(wait); blocked.wait()",
        "pool.output_sink = wait; pool.call.says('a'); blocked.wait()",
    ],
    ids=["listener", "done-callback", "sink"],
)
def test_a_program_ends_although_something_blocks(blocks: str) -> None:
    ended = run(f"""
import threading
from wpc_magic.pool import WorkerProcedureCall
blocked = threading.Event()
def wait(_):
    blocked.set()
    threading.Event().wait()
pool = WorkerProcedureCall(stop_timeout_ms=300)
pool.define_worker_functions({SAYS!r})
pool.start_workers(1)
{blocks}
print("the end")
""")
    assert (ended.stdout, ended.stderr, ended.returncode) == ("the end\n", "", 0)


FULL_PIPE = f"""
import concurrent.futures, sys
from wpc_magic.pool import WorkerProcedureCall
pool = WorkerProcedureCall(stop_timeout_ms=300)
pool.define_worker_functions({SAYS!r})
pool.start_workers(1)
try:
    future = pool.call.says("x" * 1_000_000)
    timeout = TIMEOUT
    if timeout is not None:
        concurrent.futures.wait([future])
    future.result(timeout)
    print("the value", file=sys.stderr)
    pool.call.says("y").result()
except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
"""


@pytest.mark.parametrize("timeout", [None, 0.1])
def test_an_interrupt_works_while_the_programs_standard_output_is_a_full_pipe(timeout: float | None) -> None:
    read_end, write_end = os.pipe()
    program = subprocess.Popen(
        [sys.executable, "-c", FULL_PIPE.replace("TIMEOUT", repr(timeout))],
        stdout=write_end,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    os.close(write_end)
    try:
        assert program.stderr is not None
        if timeout is not None:
            assert program.stderr.readline() == "the value\n"
        assert os.read(read_end, 1) == b"x"  # it writes; the rest stays there
        program.send_signal(signal.SIGINT)
        assert program.communicate(timeout=PATIENCE_S) == (None, "interrupted\n")
        assert program.returncode == 0
    finally:
        program.kill()
        program.communicate()
        os.close(read_end)


def test_no_call_waits_for_a_handler_of_the_log_when_the_pool_fails(
    make_pool: Any, door: Any, gate: threading.Event
) -> None:
    class Blocks(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            gate.wait()

    handler = Blocks()
    logging.getLogger("wpc_magic").addHandler(handler)
    try:
        pool = make_pool(1, stop_timeout_ms=300)
        future = pool.call.held(door.path)
        door.wait()
        with pool._driver.locked_core() as (core, now):
            core.state.timers.call_at(now, lambda _: sys.exit())
        assert ends(future.exception)
        assert isinstance(future.exception(), PoolStoppedError)
        assert ends(pool.stop_workers)
    finally:
        gate.set()
        logging.getLogger("wpc_magic").removeHandler(handler)


# -- what piles up ----------------------------------------------------------------------------------------


def test_text_that_waits_for_a_sink_is_bounded_and_what_is_left_out_is_said(
    make_pool: Any, door: Any, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_MAX_WAITING", 1000)
    pool = make_pool(1, SAYS)
    blocked, received = threading.Event(), []

    def sink(text: Any) -> None:
        blocked.set()
        gate.wait()
        received.append(text.text)

    pool.output_sink = sink
    pool.call.says("first")
    assert blocked.wait(PATIENCE_S)
    for text in ("kept" * 300, "lost" * 100, "lost" * 200):
        future = pool.call.says(text)
        concurrent.futures.wait([future])
        assert future.result(timeout=0.01) == text  # it waits no longer for its text to be shown
    gate.set()
    assert pool.call.says("last").result() == "last"
    note = "\n[1,202 characters were left out here: the output sink took nothing for too long]\n"
    assert "".join(received) == "first\n" + "kept" * 300 + "\n" + note + "last\n"


def test_events_that_wait_for_a_listener_are_bounded_and_how_many_are_left_out_is_said(
    make_pool: Any, gate: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(parts, "_MAX_NOTIFICATIONS", 3)
    pool = make_pool(0)
    before, blocked, heard = len(pool.events()), threading.Event(), []
    pool.on_worker_event(listener=lambda event: (blocked.set(), gate.wait(), heard.append(event)))
    pool.start_workers(1)
    assert blocked.wait(PATIENCE_S)
    pool.restart_workers()
    pool.wait_until_ready()
    gate.set()
    pool.stop_workers()
    left_out = sum(map(int, re.findall(r"(\d+) callbacks were left out", caplog.text)))
    assert left_out > 0
    assert before + len(heard) + left_out == len(pool.events())


# -- in an event loop -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["await", "wait", "gather", "map"])
def test_a_sink_may_wait_for_the_loop_that_awaits_the_call(make_pool: Any, how: str) -> None:
    # the loop's thread: await says ..................... runs `show` ........... has the value
    # the sink:               called with the text, waits for `show` ^ ... done ^
    pool = make_pool(1, SAYS)
    shown: list[str] = []

    async def show(text: str) -> None:
        shown.append(text)

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        pool.output_sink = lambda output: asyncio.run_coroutine_threadsafe(show(output.text), loop).result(
            PATIENCE_S
        )
        match how:
            case "await":
                return await pool.call.says("a")
            case "wait":
                done, _ = await asyncio.wait([pool.call.says("a")])
                return done.pop().result()
            case "gather":
                return (await asyncio.gather(pool.call.says("a"), pool.call.says("a")))[0]
            case _:
                return await anext(pool.call.says.map(["a"]))

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE_S)) == "a"
    assert shown[0] == "a\n", "before the value"


@pytest.mark.parametrize("how", ["await", "wait", "gather", "map", "unordered", "stream"])
def test_a_sink_may_wait_for_the_loop_that_comes_when_the_call_has_ended(make_pool: Any, how: str) -> None:
    # the worker's answer is read, then: await says ... runs `show` ... has the value
    pool = make_pool(1, SAYS + "\ndef says_each(value):\n    print(value)\n    yield value\n")
    shown: list[str] = []

    async def show(text: str) -> None:
        shown.append(text)

    def wait_for(call: Any) -> Any:
        while not call.ended:  # in the loop, which shows nothing meanwhile
            pass
        return call

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        pool.output_sink = lambda output: asyncio.run_coroutine_threadsafe(show(output.text), loop).result(
            PATIENCE_S
        )
        match how:
            case "await":
                return await wait_for(pool.call.says("a"))
            case "wait":
                done, _ = await asyncio.wait([wait_for(pool.call.says("a"))])
                return done.pop().result()
            case "gather":
                return (await asyncio.gather(wait_for(pool.call.says("a")), pool.call.says("a")))[0]
            case "stream":
                stream = pool.call.says_each("a")
                wait_for(stream._items.future)
                return await anext(stream)
            case _:
                results = pool.call.says.map(["a"], ordered=how == "map")
                (chunk,) = results._chunks._sent
                wait_for(chunk)
                return await anext(results)

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE_S)) == "a"
    assert shown[0] == "a\n", "before the value"


def test_a_loop_goes_on_while_a_sink_blocks(make_pool: Any, gate: threading.Event, door: Any) -> None:
    source = "def says_later(door, value):\n    held(door)\n    print(value)\n    return value\n"
    pool = make_pool(1, source, stop_timeout_ms=300)
    pool.output_sink = lambda _: gate.wait()

    async def main() -> Any:
        waiting = asyncio.ensure_future(pool.call.says_later(door.path, "a"))
        visit = await asyncio.to_thread(door.wait)  # the call has not ended when it is awaited
        visit.let_go()
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done, "its output is not shown yet"
        gate.set()
        return await waiting

    assert asyncio.run(asyncio.wait_for(main(), PATIENCE_S)) == "a"
