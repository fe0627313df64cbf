"""A program that has no file descriptor left for a while: the pool asks for none that it can do without."""

from __future__ import annotations

import contextlib
import os
import queue
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pool.conftest import PATIENCE_S
from wpc_magic.pool.errors import StartError

SIZE = "def size(data): return len(data)"


@contextlib.contextmanager
def no_descriptor_left(but: int = 0) -> Iterator[None]:
    """Let this process open nothing more, or so many; what is open stays."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free + but, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def overheard(ask: Callable[[], Any]) -> tuple[Callable[[], Any], queue.SimpleQueue[Any]]:
    """Return the same question, and a queue of the answers that it gets."""
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def asked() -> Any:
        answer = ask()
        answers.put(answer)
        return answer

    return asked, answers


def test_a_pool_goes_on_where_it_cannot_ask_for_memory(make_pool: Any) -> None:
    pool = make_pool(1, SIZE, max_memory_per_worker_mb=100_000, heartbeat_interval_ms=1)
    driver = pool._driver
    (link,) = driver._links.values()
    assert pool.call.size(b"." * 1_000_000).result() == 1_000_000  # the block is kept, for a while
    with no_descriptor_left():
        link.own_memory, weighed = overheard(link.own_memory)
        driver.memory.percent, looked = overheard(driver.memory.percent)
        assert weighed.get(timeout=PATIENCE_S) is None
        assert looked.get(timeout=PATIENCE_S) == 0.0
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


@pytest.mark.parametrize("but", [0, 1, 2, 3, 12])
def test_a_pool_that_has_no_descriptor_to_start_says_so_and_starts_when_it_has(
    make_pool: Any, but: int
) -> None:
    pool = make_pool(0, SIZE)
    with no_descriptor_left(but), pytest.raises(StartError, match="Too many open files"):
        pool.start_workers(2)
    assert pool.snapshot().state == "stopped"
    pool.start_workers(1)
    assert pool.call.size(b"...").result() == 3


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
