"""A worker that the system cannot end now (a frozen control group, a disk that does not answer)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.pool.conftest import PATIENCE_S, pids
from wpc_magic.pool.engines.process import WorkerProcess


@pytest.fixture
def frozen(make_pool: Any) -> Iterator[Any]:
    """A pool whose first worker does not answer, and whose end is never seen; and the worker's pid."""
    pool = make_pool(2, stop_timeout_ms=500)
    pid = pids(pool)[1]
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    kill, poll = WorkerProcess.kill, WorkerProcess.poll
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WorkerProcess, "kill", lambda self: None if self.pid == pid else kill(self))
        patch.setattr(WorkerProcess, "poll", lambda self: None if self.pid == pid else poll(self))
        yield pool, pid
    with contextlib.suppress(ProcessLookupError):  # the thread that had started it may have ended
        os.kill(pid, signal.SIGKILL)
    for thread in threading.enumerate():
        if thread.name == f"wpc-wait-{pid}":
            thread.join(PATIENCE_S)  # it has reaped the process


@pytest.mark.parametrize("how", ["in a thread", "in a loop"])
def test_a_stop_returns_and_says_which_process_is_left(
    frozen: Any, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    pool, pid = frozen
    if how == "in a loop":
        asyncio.run(pool.stop_workers_async())
    else:
        pool.stop_workers()
    assert f"the pool wpc has stopped, and the system could not end process {pid}" in caplog.text
    left = [event for event in pool.events() if event.event_name == "worker_left_behind"]
    assert [(event.worker_id, event.severity, event.details) for event in left] == [
        (1, "error", {"pid": pid})
    ]
    assert not pool.is_running


def test_the_pool_can_be_started_again_while_the_process_is_left(frozen: Any) -> None:
    pool, _ = frozen
    pool.stop_workers()
    pool.start_workers(1)
    pool.stop_workers()


def test_the_slot_gets_another_process_if_the_system_cannot_end_one(frozen: Any) -> None:
    pool, pid = frozen
    pool.restart_worker(1, drain=False)
    pool.wait_until_ready(timeout_ms=int(PATIENCE_S * 1000))
    assert pids(pool)[1] != pid
