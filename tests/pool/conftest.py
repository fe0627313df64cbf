"""Fixtures for tests of a running pool: pools, doors that block a function, listeners for events."""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import queue
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.portable.sitecustomize import has_taken_away
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.core.events import WorkerEvent

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0  # a test that waits longer has failed; no test asserts a duration

QUICK_S = 3e-5

HELD = """
def held(door, value=None):
    "Report that it has started, wait to be released, return the value."
    import os, socket
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(door)
        connection.sendall(b"%d\\n" % os.getpid())
        connection.recv(1)
    return value
"""


class Visit:
    """One call that is blocked at a door."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.pid = int(connection.makefile("rb").readline())

    def let_go(self) -> None:
        with contextlib.suppress(OSError):  # the process may have been killed meanwhile
            self._connection.sendall(b"\n")
        self._connection.close()

    def wait_until_gone(self) -> None:
        """Wait until the process has exited, or at least its function has ended."""
        self._connection.settimeout(PATIENCE_S)
        with contextlib.suppress(ConnectionResetError):
            assert self._connection.recv(1) == b""
        self._connection.close()


class Door:
    """A socket at which `held` blocks in a worker: it reports its start there, and waits to be released."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(64)
        self._listener.settimeout(PATIENCE_S)
        self._visits: list[Visit] = []

    def wait(self) -> Visit:
        """Wait for the next call to arrive."""
        connection, _ = self._listener.accept()
        visit = Visit(connection)
        self._visits.append(visit)
        return visit

    def close(self) -> None:
        """Release all calls, and refuse later ones."""
        for visit in self._visits:
            visit.let_go()
        self._visits.clear()
        self._listener.close()


class Begun:
    """A pipe on which a function reports that it has begun."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        # Opened before the function writes, so that it does not block, and may be stopped at any time.
        self._read_end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        # So that it never ends: where one function has closed the pipe, the next one is waited for.
        self._write_end = os.open(path, os.O_WRONLY | os.O_NONBLOCK)

    def wait(self) -> None:
        """Wait until the function has begun."""
        assert select.select([self._read_end], [], [], PATIENCE_S)[0], "nothing has begun"

    def wait_for(self, count: int) -> None:
        """Wait until so many functions have begun, each of which reports one byte."""
        while count:
            self.wait()
            count -= len(os.read(self._read_end, count))

    def close(self) -> None:
        os.close(self._read_end)
        os.close(self._write_end)


killed_with_parent = pytest.mark.skipif(
    has_taken_away() or sys.platform != "linux",
    reason="here the system does not kill a process that cannot notice the end of its parent",
)
"""Marks tests of what only Linux can do."""


class EventListener:
    """Collects every event of a pool, in order."""

    def __init__(self, pool: WorkerProcedureCall) -> None:
        self._received: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()
        self.listener_id = pool.on_worker_event(listener=self._received.put)

    def until(self, name: str, **details: Any) -> list[WorkerEvent]:
        """Wait for an event; return all that were received since the last time, including that one."""
        found = []
        while True:
            event = self._received.get(timeout=PATIENCE_S)
            found.append(event)
            if event.event_name == name and details.items() <= dict(event.details).items():
                return found

    def next(self) -> WorkerEvent:
        return self._received.get(timeout=PATIENCE_S)


def pids(pool: WorkerProcedureCall) -> dict[int, int | None]:
    """Return the process ids by worker number."""
    return {worker.worker_id: worker.pid for worker in pool.snapshot().workers}


def states(pool: WorkerProcedureCall) -> list[str]:
    return [state.health_state for state in pool.get_worker_health_states()]


def children() -> list[psutil.Process]:
    """Return the processes that this one has started.

    The resource tracker of `multiprocessing`, which another test has started, stays until the end.
    """
    found = []
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "multiprocessing.resource_tracker" not in " ".join(child.cmdline()):
                found.append(child)
    return found


def wait_until_dead(pid: int) -> None:
    """Wait until a process has exited that is not our child, or no longer."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(PATIENCE_S)


def exits(process: Any, seconds: float = PATIENCE_S) -> bool:
    """Wait until a process of a worker has exited, without reaping it; return False if it does not."""
    if process.sentinel_fd >= 0:
        return bool(select.select([process.sentinel_fd], [], [], seconds)[0])
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT) is not None


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a separate process."""
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=ROOT,
        check=False,
    )


def learn(pool: WorkerProcedureCall, *names: str) -> None:
    """Call functions with None until they are known to be so quick that their calls are prefetched."""
    for name in names:
        while (mean_s := pool.mean_s(name)) is None or mean_s > QUICK_S:
            list(pool.map(name, [None] * 100))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for the address of a Unix socket."""
    path = Path(tempfile.mkdtemp(prefix="t-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def door(folder: Path) -> Iterator[Door]:
    door = Door(str(folder / "door"))
    yield door
    door.close()


@pytest.fixture
def begun(folder: Path) -> Iterator[Begun]:
    with contextlib.closing(Begun(folder / "begun")) as begun:
        yield begun


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerProcedureCall]:
    """Two workers shared by all tests of a module: none of these may kill one."""
    pool = WorkerProcedureCall(interrupt_grace_ms=60_000)
    pool.define_worker_functions(HELD)
    pool.start_workers(2)
    yield pool
    pool.stop_workers()


@pytest.fixture
def make_pool() -> Iterator[Callable[..., WorkerProcedureCall]]:
    """Makes pools for one test, started unless `count` is 0; they are stopped at its end."""
    made: list[WorkerProcedureCall] = []

    def make(count: int = 1, source: str = "", **options: Any) -> WorkerProcedureCall:
        pool = WorkerProcedureCall(**{"restart_base_delay_ms": 1, "restart_jitter_ms": 0, **options})
        made.append(pool)
        pool.define_worker_functions(HELD + source)
        if count:
            pool.start_workers(count)
        return pool

    yield make
    while made:  # pytest keeps `make`, and a pool that stays alive keeps its constants
        made.pop().stop_workers()


@pytest.fixture
def listen() -> Callable[[WorkerProcedureCall], EventListener]:
    return EventListener


@pytest.fixture
def logged() -> Iterator[Callable[[], logging.LogRecord]]:
    """Waits for the pool's next log record. The callback thread writes it, maybe after all else has ended."""
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = logging.handlers.QueueHandler(records)  # type: ignore[arg-type]  # only `put_nowait` is used
    logger = logging.getLogger("wpc_magic")
    logger.addHandler(handler)
    propagate, logger.propagate = logger.propagate, False
    yield lambda: records.get(timeout=PATIENCE_S)
    logger.propagate = propagate
    logger.removeHandler(handler)
