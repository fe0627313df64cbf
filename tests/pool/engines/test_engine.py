"""What the driver asks of an engine, with one that starts its workers in threads of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.pool.conftest import PATIENCE_S
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.engines.engine import Came, Process, WorkerEnvironment
from wpc_magic.pool.engines.process import WorkerProcess
from wpc_magic.pool.errors import StartError


class Elsewhere:
    """Starts workers here, but as if it were elsewhere: later, and without memory that is shared."""

    name = "elsewhere"
    shares_memory = False
    copies_blocks = False

    def __init__(self) -> None:
        self.log: list[str] = []
        self.waiting: list[Came] = []
        self.asked = threading.Semaphore(0)
        self.refuses = ""
        self.has_room = True
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def capacity(self, memory: int = 0) -> int:
        return 2

    def open(self) -> None:
        self.log.append("open")
        if self.refuses == "open":
            raise StartError("nobody answers at tcp://elsewhere")

    def start(self, environment: WorkerEnvironment, came: Came, replaces: Process | None = None) -> None:
        self.asked.release()
        if not self.has_room:
            self.waiting.append(came)
            return
        # On Linux a worker ends with the thread that has started it.
        thread = threading.Thread(target=self._start, args=(environment, came))
        self._threads.append(thread)
        thread.start()

    def _start(self, environment: WorkerEnvironment, came: Came) -> None:
        if self.refuses == "start":
            came(StartError("the host refuses"))
            return
        process = WorkerProcess.start(environ=environment.environ, cwd=environment.cwd)
        blocks, process.blocks = process.blocks, None
        process.host = "there"
        came(process)
        self._over.wait()
        if blocks is not None:
            blocks.close()

    def differences(self) -> str:
        return ""

    def give_up_starts(self) -> None:
        waiting, self.waiting = self.waiting, []
        for came in waiting:
            came(StartError("the pool was stopped"))

    def close(self) -> None:
        self.log.append("close")
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)

    def after_fork(self) -> None:
        pass


@pytest.fixture
def elsewhere() -> Iterator[tuple[WorkerProcedureCall, Elsewhere]]:
    pool, engine = WorkerProcedureCall(), Elsewhere()
    pool._driver.parts.engine = engine
    yield pool, engine
    pool.stop_workers()


def test_an_engine_says_how_many_workers_there_are_and_is_closed_with_the_last_one(
    elsewhere: tuple[WorkerProcedureCall, Elsewhere],
) -> None:
    pool, engine = elsewhere
    pool.start_workers()
    assert pool.worker_count == 2
    assert engine.log == ["open"]
    pool.stop_workers()
    assert engine.log == ["open", "close"]


def test_a_process_may_come_from_any_thread_and_share_no_memory(
    elsewhere: tuple[WorkerProcedureCall, Elsewhere],
) -> None:
    pool, _ = elsewhere
    large = np.arange(1_000_000)
    pool.define_worker_constant(name="TABLE", value=large)
    pool.define_worker_function(name="add", worker_func="def add(x): x += TABLE; return x")
    pool.define_worker_function(name="pieces", worker_func="def pieces(x):\n    yield x\n    yield x + 1")
    pool.start_workers(1)
    assert (pool.call.add(large).result() == 2 * large).all()
    assert [int(piece.sum()) for piece in pool.call.pieces(large)] == [large.sum(), large.sum() + 1_000_000]
    first = pool.call.add.remote(large)
    assert (pool.call.add(first).result() == 3 * large).all()
    assert pool._driver.memory.store.total == 0
    pool.undefine_worker_function(name="add")
    pool.undefine_worker_constant(name="TABLE")  # pytest keeps the pool, which keeps its constants


def test_a_start_that_waits_for_a_place_ends_with_the_pool(
    elsewhere: tuple[WorkerProcedureCall, Elsewhere],
) -> None:
    pool, engine = elsewhere
    engine.has_room = False
    errors: list[BaseException] = []

    def start() -> None:
        try:
            pool.start_workers(2)
        except BaseException as error:
            errors.append(error)

    starter = threading.Thread(target=start)
    starter.start()
    for _ in range(2):
        assert engine.asked.acquire(timeout=PATIENCE_S)
    pool.stop_workers()
    starter.join(PATIENCE_S)
    assert [type(error).__name__ for error in errors] == ["PoolStoppedError"]
    assert engine.log == ["open", "close"]


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ("open", "nobody answers at tcp://elsewhere"),
        ("start", "no worker could be started; .* the host refuses"),
    ],
)
def test_what_an_engine_says_is_the_error_of_the_start(
    elsewhere: tuple[WorkerProcedureCall, Elsewhere], when: str, why: str
) -> None:
    pool, engine = elsewhere
    engine.refuses = when
    pool.configure(max_restarts_per_worker=0)
    with pytest.raises(StartError, match=why):
        pool.start_workers(1)
    assert not pool.is_running
    engine.refuses = ""


def test_a_lost_host_is_told_as_the_reason(elsewhere: tuple[WorkerProcedureCall, Elsewhere]) -> None:
    pool, _ = elsewhere
    pool.define_worker_function(
        name="hang", worker_func="import threading\ndef hang(): threading.Event().wait()"
    )
    pool.start_workers(1)
    future = pool.call.hang()
    (link,) = pool._driver.parts.links.values()
    link.process.lost = "is lost"
    _when(lambda: bool(link.running()[1]))
    link.process.kill()
    error = future.exception(PATIENCE_S)
    assert str(error) == f"{future.call} ended with worker 1 on there, which is lost"


def _when(holds: Callable[[], Any]) -> None:
    """Return when something holds that nobody tells."""
    pause = threading.Event()
    while not holds():
        pause.wait(0.01)
