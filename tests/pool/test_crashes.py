"""What is told of the death of a worker."""

from __future__ import annotations

import os
import pickle
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.pool.conftest import Door
from wpc_magic.pool.errors import WorkerCrashedError
from wpc_magic.pool.hands.crash import OutOfMemory
from wpc_magic.pool.hands.texts import LastWords, OutputText
from wpc_magic.pool.wire.page import PEAK

SOURCE = """
import ctypes, os, sys, threading

def segfaults():
    print("about to crash")
    print("and here it goes", file=sys.stderr, flush=True)
    ctypes.string_at(0)

def crashes_aside():
    thread = threading.Thread(target=segfaults)
    thread.start(), thread.join()  # one line: it may crash before the second

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
    assert "wpc_magic" not in error.stack, "our own frames say nothing to anybody"
    head, words, stack = str(error).split("\n\n")
    assert head.endswith("ended with worker 1, which was killed by SIGSEGV")
    assert words == "The last that it printed:\nabout to crash\nand here it goes"
    assert stack == error.stack
    assert "Fatal" not in "".join(text.text for text in shown), "it is told once, and not twice"


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
    pool._driver._out_of_memory = OutOfMemory([counts])
    future = pool.call.held(door.path)
    os.kill(door.wait().pid, signal.SIGKILL)
    error = future.exception()
    assert str(error).endswith("which was killed by SIGKILL")
    assert (error.signal, error.stack, error.output) == ("SIGKILL", "", "")


def test_a_kill_by_the_system_is_told_with_the_memory(make_pool: Any, door: Door, tmp_path: Path) -> None:
    pool = make_pool(1, SOURCE, heartbeat_interval_ms=10)
    counts = tmp_path / "vmstat"
    counts.write_text("pgfault 12\noom_kill 3\n")
    pool._driver._out_of_memory = OutOfMemory([counts, tmp_path / "not there"])
    future = pool.call.needs_memory(door.path)
    visit = door.wait()
    page = pool._driver._links[1].process.page
    while page.words[PEAK] < 100 << 20:  # written down with each sign of life
        pass
    counts.write_text("pgfault 12\noom_kill 4\n")
    os.kill(visit.pid, signal.SIGKILL)
    error = future.exception()
    assert "SIGKILL, most likely by the system: memory had run out, of which it had up to 1" in str(error)
    assert error.memory_bytes >= 100 << 20


def test_where_the_system_does_not_tell_both_are_possible(pool: Any, door: Door) -> None:
    pool._driver._out_of_memory = OutOfMemory([])
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
    assert pool._driver._links[1].process.dump.read()
    os.kill(visit.pid, signal.SIGKILL)
    assert future.exception().stack == ""


def test_the_error_travels_whole(pool: Any) -> None:
    error = crash_of(pool, "segfaults")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error)
    names = ("worker_id", "exitcode", "signal", "stack", "output", "memory_bytes")
    assert [getattr(again, name) for name in names] == [getattr(error, name) for name in names]


# -- its parts ----------------------------------------------------------------------------------------------


def test_of_the_last_words_only_the_last_are_kept() -> None:
    words = LastWords()
    words.add(1, "x" * 100_000)
    assert len(words.of(1)) == 4000
    for n in range(100):
        words.add(2, f"line {n}\n")
    assert words.of(2).splitlines() == [f"line {n}" for n in range(80, 100)]
    words.add(None, "nobody's\n")
    assert words.of(1) == ""


def test_an_end_for_want_of_memory_is_remembered_for_a_while(tmp_path: Path) -> None:
    counts = tmp_path / "memory.events"
    counts.write_text("low 0\noom 5\noom_kill 5\n")
    watch = OutOfMemory([counts])
    assert watch.struck() is False
    counts.write_text("low 0\noom 6\noom_kill 6\n")
    assert watch.struck()
    watch.look(100.0)
    assert watch.struck(), "the news of a death may come a moment later than the count"
    watch.look(101.0)
    assert watch.struck(), "a second is no time"
    watch.look(106.0)
    assert watch.struck() is False


def test_without_counts_nothing_is_known(tmp_path: Path) -> None:
    assert OutOfMemory([tmp_path / "none"]).struck() is None
    (tmp_path / "odd").write_text("oom_kill many\nelse\n")
    assert OutOfMemory([tmp_path / "odd"]).struck() is None
