"""A program that runs out of file descriptors for a while: the pool opens none that it can do without."""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import queue
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.pool.conftest import PATIENCE_S, children
from wpc_magic.pool.driver import link as link_module
from wpc_magic.pool.errors import StartError, WorkerCrashedError

SIZE = "def size(data): return len(data)"


@contextlib.contextmanager
def no_descriptor_left(but: int = 0) -> Iterator[None]:
    """Let this process open `but` more descriptors (0: none); what is open stays open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + but, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def recorded(function: Callable[[], Any]) -> tuple[Callable[[], Any], queue.SimpleQueue[Any]]:
    """Return a wrapper of a function, and a queue of the values that it returns."""
    values: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def wrapper() -> Any:
        value = function()
        values.put(value)
        return value

    return wrapper, values


def test_a_pool_goes_on_where_it_cannot_ask_for_memory(make_pool: Any) -> None:
    pool = make_pool(1, SIZE, max_memory_per_worker_mb=100_000, heartbeat_interval_ms=1)
    driver = pool._driver
    (link,) = driver.parts.links.values()
    assert pool.call.size(b"." * 1_000_000).result() == 1_000_000  # the idle block is kept for a while
    with no_descriptor_left():
        usage = link.process.usage
        usage.private_memory, measured = recorded(usage.private_memory)
        driver.memory.percent, percentages = recorded(driver.memory.percent)
        assert measured.get(timeout=PATIENCE_S) is None
        assert percentages.get(timeout=PATIENCE_S) == 0.0
        assert pool.snapshot().workers[0].memory_bytes is None
    assert pool.call.size(b"...").result() == 3


def test_a_worker_that_does_not_answer_is_said_to_where_its_process_cannot_be_looked_at(
    make_pool: Any,
) -> None:
    pool = make_pool(1, SIZE)
    pid = pool.snapshot().workers[0].pid
    os.kill(pid, signal.SIGSTOP)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
    try:
        with no_descriptor_left():
            assert pool.stack(1, timeout_ms=50) == f"worker 1 (pid {pid}) does not answer"
    finally:
        os.kill(pid, signal.SIGCONT)
    assert pool.call.size(b"...").result() == 3


def taken() -> tuple[Counter[str], int, list[psutil.Process]]:
    """Return this process's descriptors, the number of its threads, and its children."""
    links = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # of the listing itself
            links.append(os.readlink(each))
    return Counter(links), threading.active_count(), children()


@pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="only Linux lists the descriptors of a process"
)
@pytest.mark.parametrize("but", range(18))
def test_a_start_that_fails_for_want_of_descriptors_gives_back_what_it_took(make_pool: Any, but: int) -> None:
    pool = make_pool(0, SIZE)
    gc.collect()
    before = taken()
    with no_descriptor_left(but), pytest.raises(StartError, match="Too many open files"):
        pool.start_workers(2)
    assert pool.snapshot().state == "stopped"
    deadline = time.monotonic() + PATIENCE_S
    while taken() != before:  # a thread may be about to end
        assert time.monotonic() < deadline, (taken(), before)
    pool.start_workers(1)
    assert pool.call.size(b"...").result() == 3


def test_a_process_for_which_the_last_descriptors_are_missing_is_ended_and_started_again(
    make_pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, real = [], link_module.open_waker

    def waker() -> tuple[int, int]:
        (child,) = children()
        started.append(child)
        if len(started) == 1:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real()

    monkeypatch.setattr(link_module, "open_waker", waker)
    pool = make_pool(1, SIZE)
    assert pool.call.size(b"...").result() == 3
    first, second = started
    assert not first.is_running()
    assert children() == [second]


def test_a_pool_that_has_no_thread_to_start_says_so_and_starts_when_it_has(
    make_pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(0, SIZE)

    def start(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        with pytest.raises(StartError, match="can't start new thread"):
            pool.start_workers(2)
    assert pool.snapshot().state == "stopped"
    pool.start_workers(1)
    assert pool.call.size(b"...").result() == 3


# -- many values and many arguments ---------------------------------------------------------------------

ROOT = Path(__file__).resolve().parents[2]

MANY = '''
import concurrent.futures, contextlib, os, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
import numpy as np
from wpc_magic.pool import WorkerProcedureCall

def outcomes(futures):
    return {repr(error)[:200] if (error := future.exception()) else bool((future.result() == n).all())
            for n, future in enumerate(futures)}

def check_that_files_can_be_opened():
    with contextlib.ExitStack() as files:
        for _ in range(limit // 3):
            files.enter_context(open(os.devnull))

with WorkerProcedureCall() as pool:
    pool.define_worker_functions("""
def make(size, n):
    import numpy as np
    return np.full(size, float(n))

def first(array):
    return float(array[0])
""")
    pool.start_workers(2)
    waiting = [pool.call.make(25_000, n) for n in range(1_500)]
    concurrent.futures.wait(waiting)
    check_that_files_can_be_opened()
    print(outcomes(waiting))
    kept = [pool.call.make(150_000, n).result() for n in range(300)]
    check_that_files_can_be_opened()
    print(all((array == n).all() for n, array in enumerate(kept)))
    del waiting, kept
    for size, count in ((25_000, 1_500), (150_000, 300)):
        queued = [pool.call.first(np.full(size, float(n))) for n in range(count)]
        check_that_files_can_be_opened()
        print(all(future.result() == n for n, future in enumerate(queued)))
    print([worker.restarts for worker in pool.snapshot().workers])
'''


@pytest.mark.parametrize("limit", [1024, 256])
def test_many_large_values_and_arguments_need_few_descriptors(limit: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(limit)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout.splitlines() == ["{True}", "True", "True", "True", "[0, 0]"]


@pytest.mark.parametrize("size", [200_000, 2_000_000])
def test_a_value_that_was_lost_for_want_of_a_descriptor_is_asked_for_again(make_pool: Any, size: int) -> None:
    source = "def ones(size, n): return [bytes([n]) * size, bytes([1]) * size]"
    pool = make_pool(1, source, heartbeat_interval_ms=20)
    (link,) = pool._driver.parts.links.values()
    for n in range(1, 4):
        with no_descriptor_left():
            futures = [pool.call.ones(size, n) for _ in range(6)]
            for future in futures:
                assert future.result() == [bytes([n]) * size, bytes([1]) * size]
        assert pool.call.ones(size, 7).result()[0] == bytes([7]) * size
    assert link.awaited == {}
    assert pool.snapshot().workers[0].restarts == 0


def test_a_worker_that_dies_before_a_value_is_sent_again_fails_that_call(make_pool: Any) -> None:
    source = """
def ones(size):
    from wpc_magic.pool.worker.server import Server
    import os
    Server.resend = lambda server, message: os._exit(3)
    return bytes([1]) * size
"""
    pool = make_pool(1, source)
    with no_descriptor_left(), pytest.raises(WorkerCrashedError, match="ones #1"):
        pool.call.ones(2_000_000).result()
    pool.wait_until_ready()
    assert pool.call.ones(2_000_000).result() == bytes([1]) * 2_000_000


def test_arguments_arrive_where_a_function_has_left_no_descriptor(make_pool: Any) -> None:
    source = """
def takes_all():
    import numpy, os, resource
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

def total(array):
    return float(array.sum())
"""
    pool = make_pool(1, source)
    pool.call.total(np.ones(3)).result()  # it has imported what it needs
    pool.call.takes_all().result()
    for size in (25_000, 300_000):
        assert [pool.call.total(np.full(size, 1.0)).result() for _ in range(5)] == [float(size)] * 5
    assert pool.snapshot().workers[0].restarts == 0
