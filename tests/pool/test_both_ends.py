"""Large blocks travel both ways while one of the ends is killed: each call ends, and nothing is left.

The programs below run in processes of their own. Every process that comes of one, however it comes about,
carries a mark in its environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.pool.conftest import PATIENCE_S

ROOT = Path(__file__).parents[2]
MARK = "WPC_TESTS_BOTH_ENDS"
KILLS = 40  # of workers, in each kind of memory
ENDS = 10  # of programs, in each kind of memory

POOL = """
import collections, gc, json, os, random, signal, sys, threading
import numpy as np
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import WorkerCrashedError

BYTES = 64 << 20
pool = WorkerProcedureCall(
    blocks_in=sys.argv[1], max_restarts_per_worker=100_000,
    restart_base_delay_ms=1, restart_max_delay_ms=1, restart_jitter_ms=0,
)
pool.define_worker_constant(name="TABLE", value=np.arange(1 << 20))
pool.define_worker_functions('''
import numpy as np


def up(x, n):
    return int(x[0]) + int(x[-1]) + int(TABLE[n])


def down(n, size):
    return np.full(size, n % 251, np.uint8)


def both(x, n):
    x[0] = n % 251  # the array is the function's own, whatever happens to its block
    return x


def blocks():
    "What this worker's own store has, what is free of it, and what it has mapped still."
    import gc
    from wpc_magic.pool.wire.blocks import Receiver, Store
    gc.collect()
    (store,) = (each for each in gc.get_objects() if isinstance(each, Store))
    (receiver,) = (each for each in gc.get_objects() if isinstance(each, Receiver))
    return store.total, sum(block.size for block in store._free), receiver.mappings
''')
pool.start_workers(2)
arrays = [np.full(BYTES, value, np.uint8) for value in (1, 2)]


def make(n):
    "Make a call, one of four kinds; return its future and the check of its value."
    array, byte = arrays[n % 2], n % 251
    kind = n % 4
    if kind == 0:
        return pool.call.up(array, n), lambda value: value == 2 * int(array[0]) + n
    if kind == 1:
        return pool.call.down(n, BYTES), lambda value: len(value) == BYTES and (value == byte).all()
    again = pool.call.both.options(retries=kind - 2)  # with a retry the block is kept, and mapped privately
    return again(array, n), lambda value: value[0] == byte and (value[1:] == array[1:]).all()
"""

WORKERS_DIE = (
    POOL
    + """
KILLS, dice = int(sys.argv[2]), random.Random(int(sys.argv[3]))
killed, over = 0, threading.Event()


def kill():
    global killed
    try:
        while killed < KILLS:
            pool.wait_until_ready()
            over.wait(dice.random() * 0.2)  # the moment: nothing is waited for here
            with pool._driver.lock:
                links = list(pool._driver._links.values())  # the one killed last may be missing still
                busy = [link for link in links if link.slot.sent]
                killed += bool(links) and dice.choice(busy or links).process.signal(signal.SIGKILL)
    finally:
        over.set()


killer = threading.Thread(target=kill)
killer.start()
n = 0
ends = collections.Counter()
under_way = collections.deque()
while not over.is_set() or under_way:
    while len(under_way) < 6 and not over.is_set():
        n += 1
        under_way.append(make(n))
    future, is_right = under_way.popleft()
    try:
        ends["right" if is_right(future.result(60)) else "wrong"] += 1
    except WorkerCrashedError as error:
        ends["crashed" if error.exitcode == -signal.SIGKILL else f"exit code {error.exitcode}"] += 1
    except Exception as error:
        ends[repr(error)] += 1
    del future, is_right
killer.join()
pool.wait_until_ready()
ends = dict(ends)

# News of blocks ride on the messages that follow: a worker's on its next answer, ours on the next call.
for _ in range(2):
    gc.collect()
    workers = [future.result() for future in pool.broadcast("blocks").values()]
driver, store = pool._driver, pool._driver.memory.store
books = {
    "killed": killed,
    "made": n,
    "ends": ends,
    "used_here": store.total - sum(block.size for block in store._free),
    "used_there": [total - free for total, free, _ in workers],
    "mapped_there": [mapped for *_, mapped in workers],
    "mapped_here": [link.receiver.mappings for link in driver._links.values()],
    "leases": [len(link.sender._leases) for link in driver._links.values()],
    "queued": pool.snapshot().queued + pool.snapshot().in_flight,
}
pool.stop_workers()
books["kept"] = store.total
pool.undefine_worker_function(name="up")
pool.undefine_worker_constant(name="TABLE")
gc.collect()
books["descriptors"] = [
    where for fd in os.listdir("/proc/self/fd")
    if os.path.lexists(f"/proc/self/fd/{fd}") and "(deleted)" in (where := os.readlink(f"/proc/self/fd/{fd}"))
]
with open("/proc/self/maps") as maps:
    books["maps"] = [line for line in maps if "(deleted)" in line]
books["threads"] = threading.active_count()
print(json.dumps(books))
"""
)

PROGRAM_DIES = (
    POOL
    + """
under_way = collections.deque(make(n) for n in range(6))
first, _ = under_way.popleft()
first.result()
print("busy", flush=True)
n = 6
while True:
    n += 1
    under_way.append(make(n))
    future, is_right = under_way.popleft()
    assert is_right(future.result())
    del future, is_right
"""
)


@pytest.fixture
def around(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a program: with a mark, and a folder of its own for temporary files."""
    mark = uuid.uuid4().hex
    # Not below another temporary file's folder of this run, which the leak check looks at.
    folder = tempfile.mkdtemp(prefix="ends-", dir=tmp_path)
    yield {**os.environ, MARK: mark, "TMPDIR": folder, "PYTHONPATH": str(ROOT)}
    for process in marked(mark):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes that carry a mark; a zombie carries none."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError, psutil.NoSuchProcess):
            if f"{MARK}={mark}".encode() in environ.read_bytes().split(b"\0"):
                found.append(psutil.Process(int(environ.parent.name)))
    return found


def names_in_files(processes: list[psutil.Process], folder: str) -> set[str]:
    """Return files with a name, of shared memory or temporary ones, that processes have open or mapped."""
    found = set()
    for process in processes:
        with contextlib.suppress(OSError):
            for fd in Path(f"/proc/{process.pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    found.add(os.readlink(fd))
            lines = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
            found |= {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6}
    return {
        name for name in found if name.startswith(("/dev/shm", folder)) and not name.endswith(" (deleted)")
    }


def wait_until_ended(processes: list[int]) -> list[int]:
    """Wait for the ends of processes, given by their pidfds; return those that have not come."""
    left = set(processes)
    poller = select.poll()
    for fd in left:
        poller.register(fd, select.POLLIN)
    while left and (ready := poller.poll(PATIENCE_S * 1000)):
        for fd, _ in ready:
            poller.unregister(fd)
            left.discard(fd)
    return sorted(left)


@pytest.mark.slow
@pytest.mark.parametrize("blocks_in", ["memory", "file"])
def test_workers_that_are_killed_while_blocks_travel_cost_their_calls_and_no_memory(
    around: dict[str, str], blocks_in: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKERS_DIE, blocks_in, str(KILLS), "20240607"],
        capture_output=True,
        text=True,
        timeout=150,
        env=around,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    books: dict[str, Any] = json.loads(done.stdout)
    assert books["killed"] == KILLS, books
    # Each call has ended: with its value, or because its worker was killed.
    ends = books["ends"]
    assert sum(ends.values()) == books["made"], books
    assert set(ends) == {"right", "crashed"}, books
    assert KILLS // 4 < ends["crashed"] <= KILLS, (
        f"they hit where it matters, and cost one call each: {books}"
    )
    # Every block has come back, here and in the workers.
    assert books["queued"] == 0, books
    assert books["used_here"] == 0, books
    assert (books["used_there"], books["mapped_there"]) == ([0, 0], [0, 0]), books
    assert (books["mapped_here"], books["leases"]) == ([0, 0], [0, 0]), books
    # And nothing of it is left after the stop.
    assert books["kept"] == 0, books
    assert (books["descriptors"], books["maps"], books["threads"]) == ([], [], 1), books
    assert marked(around[MARK]) == []
    assert os.listdir(around["TMPDIR"]) == []


@pytest.mark.slow
@pytest.mark.parametrize("blocks_in", ["memory", "file"])
def test_a_program_that_is_killed_while_blocks_travel_leaves_nothing(
    around: dict[str, str], blocks_in: str
) -> None:
    dice = random.Random(20240607)
    here = set(os.listdir("/dev/shm"))
    for _ in range(ENDS):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM_DIES, blocks_in],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=around,
            cwd=ROOT,
        ) as program:
            assert program.stdout is not None
            assert program.stderr is not None
            assert program.stdout.readline() == b"busy\n"
            ours = marked(around[MARK])
            workers = [process for process in ours if process.pid != program.pid]
            assert len(workers) == 2, "the workers are there"
            assert {os.getsid(worker.pid) for worker in workers} == {worker.pid for worker in workers}
            assert names_in_files(ours, around["TMPDIR"]) == set(), "what has no name cannot be left behind"
            sentinels = [os.pidfd_open(process.pid) for process in ours]
            try:
                select.select([], [], [], dice.random() * 0.2)  # the moment: nothing is waited for here
                program.send_signal(signal.SIGKILL)
                assert wait_until_ended(sentinels) == []
            finally:
                for fd in sentinels:
                    os.close(fd)
            assert program.stderr.read() == b""
        assert program.returncode == -signal.SIGKILL
        assert marked(around[MARK]) == []
        assert os.listdir(around["TMPDIR"]) == []
    left = set(os.listdir("/dev/shm")) - here
    assert not {name for name in left if "wpc" in name}
