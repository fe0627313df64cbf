"""Large blocks are sent both ways while a worker or the program is killed: all calls end, nothing leaks.

The programs below run in separate processes. Every descendant of one carries a mark in its environment.
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
KILLS = 20  # of workers, in each kind of memory
ENDS = 4  # of programs, in each kind of memory

POOL = """
import collections, gc, json, os, random, signal, sys, threading
import numpy as np
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import WorkerCrashedError

BYTES = 8 << 20
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
    x[0] = n % 251  # the function owns the array, no matter what happens to its block
    return x


def blocks():
    "The size of this worker's own store, the free part of it, and what is still mapped."
    import gc
    from wpc_magic.pool.wire.block_receiver import Receiver
    from wpc_magic.pool.wire.block_store import BlockStore
    gc.collect()
    (store,) = (each for each in gc.get_objects() if isinstance(each, BlockStore))
    (receiver,) = (each for each in gc.get_objects() if isinstance(each, Receiver))
    return store.total, sum(block.size for block in store._free), receiver.mappings
''')
pool.start_workers(2)
arrays = [np.full(BYTES, value, np.uint8) for value in (1, 2)]


def submit(n):
    "Submit a call, one of four kinds; return its future and the check of its value."
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
KILLS, rng = int(sys.argv[2]), random.Random(int(sys.argv[3]))
killed, finished = 0, threading.Event()
ends = collections.Counter()


def kill():
    global killed
    try:
        while killed < KILLS or ends["crashed"] < 5:  # some hit a worker that has just become idle
            pool.wait_until_ready()
            finished.wait(rng.random() * 0.05)  # a random time: this waits for nothing
            with pool._driver.lock:
                links = list(pool._driver.parts.links.values())  # the one killed last may not be replaced yet
                busy = [link for link in links if link.slot.sent]
                killed += bool(links) and rng.choice(busy or links).process.signal(signal.SIGKILL)
    finally:
        finished.set()


killer = threading.Thread(target=kill)
killer.start()
n = 0
in_flight = collections.deque()
while not finished.is_set() or in_flight:
    while len(in_flight) < 6 and not finished.is_set():
        n += 1
        in_flight.append(submit(n))
    future, is_right = in_flight.popleft()
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

# Releases of blocks are sent with the next message: a worker's with its next answer, ours with the next call.
for _ in range(2):
    gc.collect()
    workers = [future.result() for future in pool.broadcast("blocks").values()]
driver, store = pool._driver, pool._driver.memory.store
ledger = {
    "killed": killed,
    "made": n,
    "ends": ends,
    "used_here": store.total - sum(block.size for block in store._free),
    "used_there": [total - free for total, free, _ in workers],
    "mapped_there": [mapped for *_, mapped in workers],
    "mapped_here": [link.receiver.mappings for link in driver.parts.links.values()],
    "leases": [len(link.sender._leases) for link in driver.parts.links.values()],
    "queued": pool.snapshot().queued + pool.snapshot().in_flight,
}
pool.stop_workers()
ledger["kept"] = store.total
pool.undefine_worker_function(name="up")
pool.undefine_worker_constant(name="TABLE")
gc.collect()
ledger["descriptors"] = [
    where for fd in os.listdir("/proc/self/fd")
    if os.path.lexists(f"/proc/self/fd/{fd}") and "(deleted)" in (where := os.readlink(f"/proc/self/fd/{fd}"))
]
with open("/proc/self/maps") as maps:
    ledger["maps"] = [line for line in maps if "(deleted)" in line]
ledger["threads"] = threading.active_count()
print(json.dumps(ledger))
"""
)

PROGRAM_DIES = (
    POOL
    + """
in_flight = collections.deque(submit(n) for n in range(6))
first, _ = in_flight.popleft()
first.result()
print("busy", flush=True)
n = 6
while True:
    n += 1
    in_flight.append(submit(n))
    future, is_right = in_flight.popleft()
    assert is_right(future.result())
    del future, is_right
"""
)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of a program, with a mark, and a separate folder for temporary files."""
    mark = uuid.uuid4().hex
    # Not below the folder of this run's other temporary files, which the leak check inspects.
    folder = tempfile.mkdtemp(prefix="ends-", dir=tmp_path)
    yield {**os.environ, MARK: mark, "TMPDIR": folder, "PYTHONPATH": str(ROOT)}
    for process in marked(mark):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def marked(mark: str) -> list[psutil.Process]:
    """Return the processes that carry a mark; zombies carry none."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError, psutil.NoSuchProcess):
            if f"{MARK}={mark}".encode() in environ.read_bytes().split(b"\0"):
                found.append(psutil.Process(int(environ.parent.name)))
    return found


def names_in_files(processes: list[psutil.Process], folder: str) -> set[str]:
    """Return the named files (shared memory or temporary) that processes have open or mapped."""
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


@pytest.mark.slow
@pytest.mark.parametrize("blocks_in", ["memory", "file"])
def test_workers_that_are_killed_while_blocks_travel_cost_their_calls_and_no_memory(
    environment: dict[str, str], blocks_in: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKERS_DIE, blocks_in, str(KILLS), "20240607"],
        capture_output=True,
        text=True,
        timeout=150,
        env=environment,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    ledger: dict[str, Any] = json.loads(done.stdout)
    assert ledger["killed"] >= KILLS, ledger
    # Every call has ended, with its value or because its worker was killed.
    ends = ledger["ends"]
    assert sum(ends.values()) == ledger["made"], ledger
    assert set(ends) == {"right", "crashed"}, ledger
    assert ends["crashed"] <= ledger["killed"], f"a kill costs one call at most: {ledger}"
    # Every block has been released, here and in the workers.
    assert ledger["queued"] == 0, ledger
    assert ledger["used_here"] == 0, ledger
    assert (ledger["used_there"], ledger["mapped_there"]) == ([0, 0], [0, 0]), ledger
    assert (ledger["mapped_here"], ledger["leases"]) == ([0, 0], [0, 0]), ledger
    # Nothing is left after the stop.
    assert ledger["kept"] == 0, ledger
    assert (ledger["descriptors"], ledger["maps"], ledger["threads"]) == ([], [], 1), ledger
    assert marked(environment[MARK]) == []
    assert os.listdir(environment["TMPDIR"]) == []


@pytest.mark.slow
@pytest.mark.parametrize("blocks_in", ["memory", "file"])
def test_a_program_that_is_killed_while_blocks_travel_leaves_nothing(
    environment: dict[str, str], blocks_in: str
) -> None:
    rng = random.Random(20240607)
    before = set(os.listdir("/dev/shm"))
    for _ in range(ENDS):
        with subprocess.Popen(
            [sys.executable, "-c", PROGRAM_DIES, blocks_in],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=ROOT,
        ) as program:
            assert program.stdout is not None
            assert program.stderr is not None
            assert program.stdout.readline() == b"busy\n"
            ours = marked(environment[MARK])
            workers = [process for process in ours if process.pid != program.pid]
            assert len(workers) == 2, "both workers run"
            assert {os.getsid(worker.pid) for worker in workers} == {worker.pid for worker in workers}
            assert names_in_files(ours, environment["TMPDIR"]) == set(), (
                "files without a name cannot be left behind"
            )
            select.select([], [], [], rng.random() * 0.05)  # a random time: this waits for nothing
            program.send_signal(signal.SIGKILL)
            program.wait(PATIENCE_S)
            assert psutil.wait_procs(workers, PATIENCE_S)[1] == []
            assert program.stderr.read() == b""
        assert program.returncode == -signal.SIGKILL
        assert marked(environment[MARK]) == []
        assert os.listdir(environment["TMPDIR"]) == []
    left = set(os.listdir("/dev/shm")) - before
    assert not {name for name in left if "wpc" in name}
