"""The diagnosis of a worker's death: signal, exit code, stack, recent output, memory."""

from __future__ import annotations

import datetime
import os
import pickle
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import numpy
import pytest

from tests.pool.conftest import Door
from wpc_magic.pool.driver.arguments import arguments_of
from wpc_magic.pool.driver.output import OutputText, RecentOutput
from wpc_magic.pool.engines.oom_kills import OomKills
from wpc_magic.pool.errors import WorkerCrashedError
from wpc_magic.pool.wire.codec import encode
from wpc_magic.pool.wire.status_page import PEAK

SOURCE = """
import ctypes, os, sys, threading

def segfaults():
    print("about to crash")
    print("and here it goes", file=sys.stderr, flush=True)
    ctypes.string_at(0)

def crashes_aside():
    thread = threading.Thread(target=segfaults)
    thread.start(), thread.join()  # one line: the crash may precede the second statement

def exits(code):
    os.write(1, b"written by itself\\n")
    os._exit(code)

def prints(text):
    print(text)

def aborts():
    os.abort()

def has_a_child_that_crashes():
    child = os.fork()
    if not child:
        ctypes.string_at(0)
    os.waitpid(child, 0)
    os._exit(3)

def needs_memory(door):
    data = bytearray(b"1") * (100 << 20)
    held(door)
"""


def crash_of(pool: Any, name: str, *args: Any) -> WorkerCrashedError:
    error = pool.call[name](*args).exception()
    assert isinstance(error, WorkerCrashedError)
    return error


@pytest.fixture
def shown() -> list[OutputText]:
    return []


@pytest.fixture
def pool(make_pool: Any, shown: list[OutputText]) -> Any:
    pool = make_pool(1, SOURCE)
    pool.output_sink = shown.append
    return pool


def test_a_crash_in_native_code_is_told_with_its_lines_and_the_last_words(
    pool: Any, shown: list[OutputText]
) -> None:
    error = crash_of(pool, "segfaults")
    assert (error.worker_id, error.exitcode, error.signal) == (1, -signal.SIGSEGV, "SIGSEGV")
    assert error.output.splitlines() == ["about to crash", "and here it goes"]
    assert error.stack.startswith("Fatal Python error: Segmentation fault:\n")
    assert ", in segfaults\n    ctypes.string_at(0)\n" in error.stack
    assert "wpc_magic" not in error.stack, "frames of the pool itself are left out"
    head, output, stack = str(error).split("\n\n")
    assert head.endswith("ended with worker 1, which was killed by SIGSEGV")
    assert output == "The last that it printed:\nabout to crash\nand here it goes"
    assert stack == error.stack
    assert "Fatal" not in "".join(text.text for text in shown), "it is reported once, not twice"


def test_a_crash_in_another_thread_is_told_from_there(pool: Any) -> None:
    stack = crash_of(pool, "crashes_aside").stack
    order = ["in another thread:", "ctypes.string_at(0)", "in the main thread:", "thread.join()  #"]
    assert sorted(order, key=stack.index) == order


def test_an_abort_is_told_as_such(pool: Any) -> None:
    error = crash_of(pool, "aborts")
    assert error.signal == "SIGABRT"
    assert "    os.abort()" in error.stack


def test_an_exit_leaves_no_stack(pool: Any) -> None:
    error = crash_of(pool, "exits", 7)
    assert (error.exitcode, error.signal, error.stack) == (7, None, "")
    assert error.output == "written by itself\n"
    assert "which exited with code 7\n\nThe last that it printed:\nwritten by itself" in str(error)


def test_a_kill_by_somebody_is_told_without_a_guess(pool: Any, door: Door, tmp_path: Path) -> None:
    counts = tmp_path / "vmstat"
    counts.write_text("oom_kill 3\n")
    pool._driver.parts.oom_kills = OomKills([counts])
    future = pool.call.held(door.path)
    os.kill(door.wait().pid, signal.SIGKILL)
    error = future.exception()
    assert str(error).endswith("which was killed by SIGKILL")
    assert (error.signal, error.stack, error.output) == ("SIGKILL", "", "")


def test_a_kill_by_the_system_is_told_with_the_memory(make_pool: Any, door: Door, tmp_path: Path) -> None:
    pool = make_pool(1, SOURCE, heartbeat_interval_ms=10)
    counts = tmp_path / "vmstat"
    counts.write_text("pgfault 12\noom_kill 3\n")
    pool._driver.parts.oom_kills = OomKills([counts, tmp_path / "not there"])
    future = pool.call.needs_memory(door.path)
    visit = door.wait()
    page = pool._driver.parts.links[1].process.page
    while page.words[PEAK] < 100 << 20:  # written with each ping reply
        pass
    counts.write_text("pgfault 12\noom_kill 4\n")
    os.kill(visit.pid, signal.SIGKILL)
    error = future.exception()
    assert "SIGKILL, most likely by the system: memory had run out, of which it had up to 1" in str(error)
    assert error.memory_bytes >= 100 << 20


def test_where_the_system_does_not_tell_both_are_possible(pool: Any, door: Door) -> None:
    pool._driver.parts.oom_kills = OomKills([])
    future = pool.call.held(door.path)
    os.kill(door.wait().pid, signal.SIGKILL)
    assert "SIGKILL (by somebody, or by the system because memory ran out)" in str(future.exception())


def test_what_another_call_has_printed_is_not_told(pool: Any) -> None:
    pool.call.prints("not this").result()
    assert crash_of(pool, "aborts").output == ""


def test_the_crash_of_a_child_is_not_taken_for_the_workers(pool: Any, shown: list[OutputText]) -> None:
    error = crash_of(pool, "has_a_child_that_crashes")
    assert (error.exitcode, error.stack) == (3, "")
    assert "Fatal Python error: Segmentation fault" in "".join(text.text for text in shown)
    assert "Fatal Python error: Segmentation fault" in error.output


def test_what_a_worker_has_dumped_for_somebody_is_not_taken_for_a_crash(pool: Any, door: Door) -> None:
    pool.define_worker_function(
        worker_func="def holds_on(door):\n    import ctypes, os, socket\n"
        "    with socket.socket(socket.AF_UNIX) as way:\n        way.connect(door)\n"
        "        way.sendall(b'%d\\n' % os.getpid())\n        ctypes.PyDLL(None).sleep(3600)"
    )
    future = pool.call.holds_on(door.path)
    visit = door.wait()
    while "PyDLL(None).sleep" not in pool.stack(1):
        pass
    assert pool._driver.parts.links[1].process.dump.read()
    os.kill(visit.pid, signal.SIGKILL)
    assert future.exception().stack == ""


def test_the_error_travels_whole(pool: Any) -> None:
    error = crash_of(pool, "segfaults")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    names = ("worker_id", "exitcode", "signal", "stack", "output", "memory_bytes")
    assert [getattr(again, name) for name in names] == [getattr(error, name) for name in names]


# -- the arguments of the call ------------------------------------------------------------------------------


class _Runs:
    """Its pickle calls something when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def as_text(*args: Any, **kwargs: Any) -> str:
    return arguments_of(encode((args, kwargs))[0], 0)


def test_the_exit_of_a_worker_names_the_call_with_its_arguments(pool: Any, listen: Any) -> None:
    listener = listen(pool)
    error = crash_of(pool, "exits", 7)
    assert error.arguments == "(7)"
    assert error.__notes__ == ["it was called with (7)"]
    assert pickle.loads(pickle.dumps(error)).__notes__ == error.__notes__
    exited = listener.until("worker_exited")[-1]
    named = {"call": f"exits #{exited.correlation_id.removeprefix('call-')}", "function": "exits"}
    assert exited.details == {
        "exitcode": 7,
        "reason": "exited with code 7",
        **named,
        "arguments": "(7)",
    }


def test_a_retry_names_the_call_with_its_arguments(pool: Any, listen: Any) -> None:
    listener = listen(pool)
    pool.call.exits.options(retries=1)(7).exception()
    details = listener.until("call_retry_scheduled")[-1].details
    assert (details["function"], details["arguments"]) == ("exits", "(7)")


def test_of_a_chunk_of_a_map_the_items_are_named(make_pool: Any) -> None:
    pool = make_pool(1, "import os\ndef dies_at(n): return n if n != 5 else os._exit(3)")
    with pytest.raises(WorkerCrashedError) as caught:
        list(pool.map("dies_at", range(9), chunk_size=3))
    assert caught.value.arguments == "3 items: [3, 4, 5]"


def test_arguments_are_shown_as_in_a_call() -> None:
    assert as_text() == "()"
    assert as_text(3, "a", scale=[0.5]) == "(3, 'a', scale=[0.5])"
    assert as_text(datetime.date(2024, 2, 29), {1: {2}}, 1j) == "(datetime.date(2024, 2, 29), {1: {2}}, 1j)"
    assert as_text(Path("/tmp/x")) == "(PosixPath('/tmp/x'))"


def test_objects_of_other_classes_are_named_by_their_class_and_not_made(tmp_path: Path) -> None:
    assert as_text(numpy.arange(3), counter=Counter("ab")) == "(<ndarray object>, counter=<Counter object>)"
    assert as_text(numpy.arange(100_000)) == "(<ndarray object>)"
    assert as_text(pickle.PickleError("x"), [OomKills([])]) == "(<PickleError object>, [<OomKills object>])"
    made = tmp_path / "made"
    assert "object" in as_text(_Runs(made))
    assert not made.exists()


@pytest.mark.parametrize("code", ["e", "f", "d", "b", "h", "i", "q", "B", "H", "I", "Q", "?"])
def test_numbers_of_numpy_are_shown_as_numbers(code: str) -> None:
    number = numpy.dtype(code).type(7)
    assert as_text(number, [number]) == f"({number.item()!r}, [{number.item()!r}])"


def test_what_numpy_has_besides_is_named_by_its_kind() -> None:
    assert as_text(numpy.datetime64("2024-02-29"), numpy.complex64(1)) == "(<scalar object>, <scalar object>)"
    assert as_text(numpy.dtype("f8"), numpy.zeros(3)[1:]) == "(<dtype object>, <ndarray object>)"


def test_long_arguments_are_shortened_and_huge_ones_are_left_out() -> None:
    assert len(as_text("x" * 10_000)) < 200
    assert len(as_text(*range(10_000))) == 200
    assert as_text(list(range(500_000))) == ""
    assert arguments_of(b"", 0) == ""


# -- its parts ----------------------------------------------------------------------------------------------


def test_of_the_last_words_only_the_last_are_kept() -> None:
    recent = RecentOutput()
    recent.add(1, "x" * 100_000)
    assert len(recent.of(1)) == 4000
    for n in range(100):
        recent.add(2, f"line {n}\n")
    assert recent.of(2).splitlines() == [f"line {n}" for n in range(80, 100)]
    recent.add(None, "nobody's\n")
    assert recent.of(1) == ""


def test_an_end_for_want_of_memory_is_remembered_for_a_while(tmp_path: Path) -> None:
    counts = tmp_path / "memory.events"
    counts.write_text("low 0\noom 5\noom_kill 5\n")
    oom_kills = OomKills([counts])
    assert oom_kills.happened_recently() is False
    counts.write_text("low 0\noom 6\noom_kill 6\n")
    assert oom_kills.happened_recently()
    oom_kills.refresh(100.0)
    assert oom_kills.happened_recently(), "a death may be noticed later than the count"
    oom_kills.refresh(101.0)
    assert oom_kills.happened_recently(), "one second is too short to forget it"
    oom_kills.refresh(106.0)
    assert oom_kills.happened_recently() is False


def test_without_counts_nothing_is_known(tmp_path: Path) -> None:
    assert OomKills([tmp_path / "none"]).happened_recently() is None
    (tmp_path / "odd").write_text("oom_kill many\nelse\n")
    assert OomKills([tmp_path / "odd"]).happened_recently() is None
