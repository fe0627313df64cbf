"""The output of functions is delivered to the pool's sink, tagged, and before their results."""

from __future__ import annotations

import concurrent.futures
import os
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pool.conftest import PATIENCE_S
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.driver.output import OutputText

FUNCTIONS = """
def says(*words, end="\\n"):
    print(*words, end=end)
    return words


def says_at_both_sides(gate):
    print("first")
    open(gate).read()
    print("last", end="")


def complains(text):
    import sys
    print(text, file=sys.stderr)


def writes(text):
    import os
    os.write(1, text.encode())


def writes_error(text):
    import os
    os.write(2, text.encode())


def echoes(text):
    import subprocess
    subprocess.run(["echo", text], check=True)


def says_and_fails(text):
    print(text)
    raise ValueError(text)


def says_in_a_thread(text):
    import threading
    thread = threading.Thread(target=print, args=(text,))
    thread.start()
    thread.join()


async def says_twice(text):
    import asyncio
    print(text, 1)
    await asyncio.sleep(0)
    print(text, 2)


def says_and_dies(text):
    import os
    print(text)
    os._exit(1)


def says_then_waits(text, door):
    print(text)
    held(door)


def stream():
    import sys
    return sys.stdout.isatty(), sys.stdout.encoding, sys.stdout.fileno(), sys.stdout.writable()
"""


class Sink:
    """Records texts, and lets a test wait for one."""

    def __init__(self) -> None:
        self.texts: list[OutputText] = []
        self._changed = threading.Condition()

    def __call__(self, output: OutputText) -> None:
        with self._changed:
            self.texts.append(output)
            self._changed.notify_all()

    def text(self, stream: str = "stdout") -> str:
        return "".join(each.text for each in self.texts if each.stream == stream)

    def wait(self, text: str, stream: str = "stdout") -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.text(stream), 60)


@pytest.fixture(scope="module", autouse=True)
def functions(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(FUNCTIONS)


@pytest.fixture
def sink(pool: WorkerProcedureCall) -> Iterator[Sink]:
    pool.output_sink = sink = Sink()
    yield sink
    pool.output_sink = None
    pool.origin = None


def test_text_is_there_before_the_result_is(pool: WorkerProcedureCall, sink: Sink) -> None:
    for n in range(100):
        pool.call.says(n).result()
        assert sink.text().endswith(f"{n}\n")
    assert sink.text() == "".join(f"{n}\n" for n in range(100))


def test_all_text_is_there_before_the_result_is_also_if_the_call_ends_while_the_first_is_shown(
    pool: WorkerProcedureCall, folder: Path
) -> None:
    gate, shown, slow = folder / "gate", [], threading.Event()
    os.mkfifo(gate)

    def sink(output: Any) -> None:
        if output.text == "first\n":  # in the thread that waits for the result
            gate.write_text("")
            while not future.done():
                pass
        else:
            slow.wait(0.1)  # in another thread: the result must not come before this is over
        shown.append(output.text)

    says = pool.call.says_at_both_sides.options(worker_id=1)
    for _ in range(3):
        says("/dev/null").result()  # so that who makes the next call waits at the worker's channel itself
    pool.output_sink = sink
    try:
        future = says(str(gate))
        future.result()
        assert shown == ["first\n", "last"]
    finally:
        pool.output_sink = None


def test_text_is_tagged_with_its_call_its_worker_and_its_origin(
    pool: WorkerProcedureCall, sink: Sink
) -> None:
    pool.origin = cell = object()
    future = pool.call.says.options(worker_id=2)("hello")
    pool.origin = "another cell"
    other = pool.call.says.options(worker_id=1)("there")
    future.result(), other.result()
    assert OutputText("hello\n", cell, "stdout", 2, future.call_id) in sink.texts
    assert OutputText("there\n", "another cell", "stdout", 1, other.call_id) in sink.texts


def test_the_origin_is_asked_for_once_when_a_call_is_made_and_where(
    pool: WorkerProcedureCall, sink: Sink
) -> None:
    asked: list[str] = []

    def find_origin() -> str:
        asked.append(threading.current_thread().name)
        return asked[-1]

    pool.find_origin = find_origin
    thread = threading.Thread(target=lambda: pool.call.says("there").result(), name="of a cell")
    thread.start()
    thread.join()
    pool.call.says("here").result()
    assert asked == ["of a cell", "MainThread"]
    assert {(text.text, text.origin) for text in sink.texts} >= {
        ("there\n", "of a cell"),
        ("here\n", "MainThread"),
    }


def test_a_call_with_large_arguments_asks_once_too(make_pool: Callable[..., WorkerProcedureCall]) -> None:
    pool = make_pool()
    pool.output_sink = sink = Sink()
    pool.find_origin = iter(["the cell"]).__next__
    pool.define_worker_function(worker_func="def counts(data): print(len(data), 'bytes')")
    pool.call.counts(bytearray(2_000_000)).result()
    assert [(text.text, text.origin) for text in sink.texts] == [("2000000 bytes\n", "the cell")]


def test_all_chunks_of_a_map_carry_the_origin_of_the_map(pool: WorkerProcedureCall, sink: Sink) -> None:
    pool.find_origin = iter(["the cell"]).__next__
    results = pool.map("says", range(50), chunk_size=1)
    assert len(list(results)) == 50
    assert {text.origin for text in sink.texts} == {"the cell"}


def test_an_origin_that_is_set_takes_the_place_of_the_one_that_is_found(
    pool: WorkerProcedureCall, sink: Sink
) -> None:
    pool.find_origin = lambda: "found"
    assert pool.origin == "found"
    pool.origin = "set"
    assert (pool.origin, pool.find_origin) == ("set", None)


def test_cancelled_calls_are_counted_by_origin(make_pool: Any, door: Any) -> None:
    pool = make_pool(2, FUNCTIONS)  # one of its own: workers that are slow to stop are replaced
    pool.origin = {"cell": 1}
    futures = [pool.call.says_then_waits("", door.path) for _ in range(3)]
    pool.origin = {"cell": 2}
    other = pool.call.says_then_waits("", door.path)
    assert other.cancel()
    assert pool.cancel_all({"cell": 1}) == len(futures)
    counts = [pool.cancelled_count_of(origin) for origin in ({"cell": 1}, {"cell": 2}, {"cell": 3})]
    assert counts == [3, 1, 0]


def test_standard_error_is_told_apart(pool: WorkerProcedureCall, sink: Sink) -> None:
    pool.call.complains("oh no").result()
    assert sink.text("stderr") == "oh no\n"
    assert sink.text() == ""


def test_text_of_a_call_that_fails_is_there_before_its_error(pool: WorkerProcedureCall, sink: Sink) -> None:
    assert pool.call.says_and_fails("first this").exception() is not None
    assert sink.text() == "first this\n"


def test_text_without_a_line_end_comes_as_well(pool: WorkerProcedureCall, sink: Sink) -> None:
    pool.call.says("a", end="").result()
    pool.call.says("b", end="").result()
    assert sorted(sink.text()) == ["a", "b"]


def test_text_comes_while_the_function_still_runs(pool: WorkerProcedureCall, sink: Sink, door: Any) -> None:
    future = pool.call.says_then_waits("so far", door.path)
    visit = door.wait()
    sink.wait("so far\n")
    assert not future.done()
    visit.let_go()
    future.result()


def test_what_c_code_and_other_programs_write_comes_too(pool: WorkerProcedureCall, sink: Sink) -> None:
    future = pool.call.writes("from C\n")
    future.result()
    sink.wait("from C\n")
    pool.call.writes_error("badly\n").result()
    sink.wait("badly\n", "stderr")
    pool.call.echoes("from a program").result()
    sink.wait("from a program\n")


def test_what_c_code_writes_belongs_to_the_call_that_runs(
    pool: WorkerProcedureCall, sink: Sink, door: Any
) -> None:
    pool.origin = "the cell"
    pool.define_worker_function(worker_func="def writes_then_waits(door):\n    writes('raw')\n    held(door)")
    future = pool.call.writes_then_waits(door.path)
    visit = door.wait()
    sink.wait("raw")
    assert sink.texts[-1].origin == "the cell"
    assert sink.texts[-1].call_id == future.call_id
    visit.let_go()
    future.result()


def test_text_of_a_thread_belongs_to_the_call_that_runs(pool: WorkerProcedureCall, sink: Sink) -> None:
    future = pool.call.says_in_a_thread("aside")
    future.result()
    assert [(each.text, each.call_id) for each in sink.texts] == [("aside\n", future.call_id)]


def test_coroutines_that_interleave_keep_their_texts_apart(pool: WorkerProcedureCall, sink: Sink) -> None:
    futures = {n: pool.call.says_twice(n) for n in range(20)}
    for future in futures.values():
        future.result()
    for n, future in futures.items():
        own = "".join(each.text for each in sink.texts if each.call_id == future.call_id)
        assert own == f"{n} 1\n{n} 2\n"


def test_text_of_threads_that_wait_at_the_same_time_is_complete(
    pool: WorkerProcedureCall, sink: Sink
) -> None:
    def many(start: int) -> None:
        for n in range(start, start + 100):
            pool.call.says(n).result()
            assert f"{n}\n" in sink.text()

    threads = [threading.Thread(target=many, args=(start,)) for start in (1000, 2000, 3000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sink.text().split()) == 300


def test_a_result_waits_for_its_text_while_another_thread_is_busy_with_the_sink(
    pool: WorkerProcedureCall,
) -> None:
    # one thread:      result of "first": sink(first) ...blocked until released... sink(second)
    # another thread:       result of "second": its text is delivered by that thread ............ returns
    received: list[str] = []
    entered, released = threading.Event(), threading.Event()

    def slow(output: OutputText) -> None:
        if output.text == "first\n":
            entered.set()
            assert released.wait(60)
        received.append(output.text)

    pool.output_sink = slow
    try:
        one = threading.Thread(target=pool.call.says("first").result)
        one.start()
        assert entered.wait(60)
        future = pool.call.says("second")
        other = threading.Thread(target=lambda: received.append(f"{future.result()}"))
        concurrent.futures.wait([future])
        other.start()
        released.set()
        one.join(), other.join()
    finally:
        pool.output_sink = None
    assert received == ["first\n", "second\n", "('second',)"]


def test_a_sink_may_call_and_wait(pool: WorkerProcedureCall) -> None:
    received: list[Any] = []

    def calls(output: OutputText) -> None:
        received.append((output.text, pool.call.stream().result()[1]))

    pool.output_sink = calls
    try:
        pool.call.says("hello").result()
    finally:
        pool.output_sink = None
    assert received == [("hello\n", "utf-8")]


def test_a_sink_may_wait_for_a_call_also_when_nobody_else_does(pool: WorkerProcedureCall) -> None:
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def calls(output: OutputText) -> None:
        future = pool.call.stream()
        concurrent.futures.wait([future])  # so that the driver's thread reads the answer
        received.put((output.text, future.result()[1]))

    pool.output_sink = calls
    try:
        future = pool.call.says("hello")
        assert received.get(timeout=PATIENCE_S) == ("hello\n", "utf-8")
        assert future.result() == ("hello",)
    finally:
        pool.output_sink = None


def test_much_text_comes_complete_and_in_order(pool: WorkerProcedureCall, sink: Sink) -> None:
    pool.define_worker_function(
        worker_func="def much():\n    for n in range(20_000): print(n)\n    print('x' * 1_000_000)"
    )
    pool.call.much().result()
    assert sink.text() == "".join(f"{n}\n" for n in range(20_000)) + "x" * 1_000_000 + "\n"


def test_a_sink_that_raises_breaks_no_call(pool: WorkerProcedureCall) -> None:
    def breaks(output: OutputText) -> None:
        raise RuntimeError

    pool.output_sink = breaks
    try:
        assert pool.call.says("a").result() == ("a",)
    finally:
        pool.output_sink = None


def test_without_a_sink_it_goes_where_this_process_prints(
    pool: WorkerProcedureCall, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pool.output_sink is None
    pool.call.says("hello").result()
    pool.call.complains("oh no").result()
    assert capsys.readouterr() == ("hello\n", "oh no\n")


def test_text_of_a_worker_that_dies_is_there_before_the_error(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    pool.output_sink = sink = Sink()
    pool.call.says_and_dies("last words").exception()
    assert sink.text() == "last words\n"


def test_the_streams_of_a_worker_are_as_those_of_a_program(pool: WorkerProcedureCall) -> None:
    assert pool.call.stream().result() == (False, "utf-8", 1, True)
