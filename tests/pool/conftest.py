"""What the tests of a running pool share: pools, doors that hold a function, ears for events."""

from __future__ import annotations

import contextlib
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

from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.hands import callbacks
from wpc_magic.pool.mind.events import WorkerEvent

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0  # a test that waits for so long has failed; nothing here is asserted about time

QUICK_S = 3e-5

HELD = """
def held(door, value=None):
    "Say that it has come, wait to be let go, return the value."
    import os, socket
    with socket.socket(socket.AF_UNIX) as way:
        way.connect(door)
        way.sendall(b"%d\\n" % os.getpid())
        way.recv(1)
    return value
"""


class Visit:
    """One call that stands at a door."""

    def __init__(self, way: socket.socket) -> None:
        self._way = way
        self.pid = int(way.makefile("rb").readline())

    def let_go(self) -> None:
        with contextlib.suppress(OSError):  # it may have been ended meanwhile
            self._way.sendall(b"\n")
        self._way.close()

    def wait_until_gone(self) -> None:
        """Wait until the process, or at least its function, is not there any more."""
        self._way.settimeout(PATIENCE_S)
        with contextlib.suppress(ConnectionResetError):
            assert self._way.recv(1) == b""
        self._way.close()


class Door:
    """A place where `held` waits in a worker: it tells when it has come, and goes when it is let go."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(64)
        self._listener.settimeout(PATIENCE_S)
        self._visits: list[Visit] = []

    def wait(self) -> Visit:
        """Wait for the next that comes."""
        way, _ = self._listener.accept()
        visit = Visit(way)
        self._visits.append(visit)
        return visit

    def close(self) -> None:
        """Let everybody go, and turn away who comes later."""
        for visit in self._visits:
            visit.let_go()
        self._visits.clear()
        self._listener.close()


class Begun:
    """A pipe by which a function says that it has begun."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        # Before anybody writes: so the function waits for nobody, and may be stopped at any moment.
        self._ours = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def wait(self) -> None:
        """Wait until the function has begun."""
        assert select.select([self._ours], [], [], PATIENCE_S)[0], "nothing has begun"

    def close(self) -> None:
        os.close(self._ours)


class Ears:
    """Hears every event of a pool, in order."""

    def __init__(self, pool: WorkerProcedureCall) -> None:
        self._heard: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()
        self.listener_id = pool.on_worker_event(listener=self._heard.put)

    def until(self, name: str, **details: Any) -> list[WorkerEvent]:
        """Wait for an event, and return all that were heard since the last time, that one included."""
        found = []
        while True:
            event = self._heard.get(timeout=PATIENCE_S)
            found.append(event)
            if event.event_name == name and details.items() <= dict(event.details).items():
                return found

    def next(self) -> WorkerEvent:
        return self._heard.get(timeout=PATIENCE_S)


def pids(pool: WorkerProcedureCall) -> dict[int, int | None]:
    """Return the processes by the numbers of their workers."""
    return {worker.worker_id: worker.pid for worker in pool.snapshot().workers}


def states(pool: WorkerProcedureCall) -> list[str]:
    return [state.health_state for state in pool.get_worker_health_states()]


def wait_until_dead(pid: int) -> None:
    """Wait until a process that is not our child, or is no longer, has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(PATIENCE_S)


def run(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=ROOT,
        check=False,
    )


def learn(pool: WorkerProcedureCall, *names: str) -> None:
    """Have functions, given None, known as so quick that dozens of their calls are sent ahead."""
    for name in names:
        while (mean_s := pool.mean_s(name)) is None or mean_s > QUICK_S:
            list(pool.map(name, [None] * 100))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for the name of a socket."""
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
    """Two workers that all tests of a module share: none of these may lose one."""
    pool = WorkerProcedureCall()
    pool.define_worker_functions(HELD)
    pool.start_workers(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "_IDLE_S", 0.05)  # each test waits for the end of that thread
        yield pool
    pool.stop_workers()


@pytest.fixture
def make_pool() -> Iterator[Callable[..., WorkerProcedureCall]]:
    """Makes pools of a test's own, started unless `count` is 0; they are stopped at its end."""
    made: list[WorkerProcedureCall] = []

    def make(count: int = 1, source: str = "", **options: Any) -> WorkerProcedureCall:
        pool = WorkerProcedureCall(**{"restart_base_delay_ms": 1, "restart_jitter_ms": 0, **options})
        made.append(pool)
        pool.define_worker_functions(HELD + source)
        if count:
            pool.start_workers(count)
        return pool

    yield make
    while made:  # pytest holds on to `make`: a pool that is kept alive keeps its constants
        made.pop().stop_workers()


@pytest.fixture
def listen() -> Callable[[WorkerProcedureCall], Ears]:
    return Ears
