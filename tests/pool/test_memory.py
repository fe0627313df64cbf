"""The memory of blocks: where it is allocated, its limit, and when it is freed."""

from __future__ import annotations

import errno
import gc
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pool.conftest import PATIENCE_S, Door
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import DefinitionError

MB = 1 << 20

FUNCTIONS = """
kept = []


def echo(x):
    return x


def total(x):
    return float(x.sum())


def keeps(x):
    kept.append(x)
    return len(kept)


def are_unchanged():
    return [bool((x == n).all()) for n, x in enumerate(kept)]


def clears():
    kept.clear()


def keeps_idle_memory():
    "Do not free blocks because they are idle."
    from wpc_magic.pool.worker.server import Server
    Server.trim_idle.__defaults__ = (3600.0,)


def blocks():
    "Return the size of this worker's store, the number of cached mappings, and the open files."
    import gc, os
    from wpc_magic.pool.wire.block_receiver import Receiver
    from wpc_magic.pool.wire.block_store import BlockStore
    gc.collect()
    (store,) = (each for each in gc.get_objects() if isinstance(each, BlockStore))
    (receiver,) = (each for each in gc.get_objects() if isinstance(each, Receiver))
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink("/proc/self/fd/" + fd))
        except OSError:
            pass
    return store.total, len(receiver.cache), links
"""


def used(pool: WorkerProcedureCall) -> int:
    """Return how many bytes of the parent process's blocks are in use."""
    store = pool._driver.memory.store
    return store.total - sum(block.size for block in store._free)


def files_of(pool: WorkerProcedureCall) -> set[str]:
    """Return the anonymous files that this process and the workers have mapped."""
    found = set()
    for pid in ("self", *(str(worker.pid) for worker in pool.snapshot().workers)):
        maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
        found |= {line.split(maxsplit=5)[5] for line in maps if line.endswith("(deleted)")}
    return found


# -- temporary files ------------------------------------------------------------------------------------


@pytest.fixture
def temporary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private directory of temporary files, here and in workers."""
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_arguments_values_and_constants_travel_in_temporary_files_that_have_no_name(
    make_pool: Any, temporary: Path
) -> None:
    pool = make_pool(0, "", blocks_in="file")
    before = files_of(pool)  # left by other tests, until the garbage collector runs
    pool.define_worker_constant(name="TABLE", value=np.arange(float(MB)))
    pool.define_worker_functions(FUNCTIONS + "\n\ndef table(n):\n    return float(TABLE[n])")
    pool.start_workers(2)
    arrays = [np.full(MB, n, dtype=np.float64) for n in range(4)]
    futures = [pool.call.echo(array) for array in arrays]
    for array, future in zip(arrays, futures, strict=True):
        assert np.array_equal(future.result(), array)
        assert list(temporary.iterdir()) == []
    assert [pool.call.table(n).result() for n in (0, MB - 1)] == [0.0, MB - 1]
    data = b"x" * (3 * MB)
    assert pool.call.echo(data).result() == data
    assert [future.result() for future in pool.broadcast("total", arrays[3]).values()] == [3.0 * MB] * 2
    # The data really was in temporary files: no memfd was created for a block.
    files = files_of(pool) - before
    assert any(name.startswith(str(temporary)) for name in files)
    assert not any("wpc-block" in name for name in files)
    assert list(temporary.iterdir()) == []
    pool.stop_workers()
    assert list(temporary.iterdir()) == []


def test_a_worker_that_dies_with_blocks_in_files_leaves_none(make_pool: Any, temporary: Path) -> None:
    pool = make_pool(1, FUNCTIONS + "\ndef dies(x):\n    import os\n    os._exit(1)", blocks_in="file")
    array = np.ones(MB)
    assert pool.call.dies(array).exception() is not None
    assert np.array_equal(pool.call.echo(array).result(), array)
    assert list(temporary.iterdir()) == []


# -- the limit ------------------------------------------------------------------------------------------


def test_what_exceeds_the_limit_goes_through_the_socket_and_arrives(make_pool: Any) -> None:
    pool = make_pool(2, FUNCTIONS, block_memory_mb=4)
    arrays = [np.full(MB // 4, n, dtype=np.float64) for n in range(12)]  # 2 MB each: exceeds the limit
    futures = [pool.call.echo(array) for array in arrays]
    assert pool._driver.memory.store.total <= 4 * MB
    for array, future in zip(arrays, futures, strict=True):
        assert np.array_equal(future.result(), array)
    large = np.arange(float(2 * MB))  # 16 MB: it fits in no block
    assert np.array_equal(pool.call.echo(large).result(), large)
    assert pool._driver.memory.store.total <= 4 * MB
    assert all(future.result()[0] <= 4 * MB for future in pool.broadcast("blocks").values())


def test_a_limit_that_is_set_later_holds_here_and_in_workers(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    array = np.ones(MB)
    assert np.array_equal(pool.call.echo(array).result(), array)
    pool.configure(block_memory_mb=4)
    assert np.array_equal(pool.call.echo(array).result(), array)
    assert pool._driver.memory.store.total == 0
    assert pool.call.blocks().result()[0] == 0


def test_a_value_for_which_there_is_no_room_in_a_file_arrives(make_pool: Any) -> None:
    source = """
def large(size):
    import os
    def write(*args):
        raise OSError(28, "No space left on device")
    os.pwrite = write
    return bytes(size)
"""
    pool = make_pool(1, source, blocks_in="file")
    assert pool.call.large(MB).result() == bytes(MB)
    assert pool.snapshot().workers[0].restarts == 0


def test_a_function_that_keeps_its_arguments_does_not_use_up_the_pools_memory(make_pool: Any) -> None:
    """Its blocks are not released; later arguments go through the socket, and arrive."""
    pool = make_pool(1, FUNCTIONS, block_memory_mb=8)
    for n in range(12):
        assert pool.call.keeps(np.full(MB // 4, n, dtype=np.float64)).result() == n + 1
    assert pool._driver.memory.store.total <= 8 * MB
    assert pool.call.are_unchanged().result() == [True] * 12
    pool.call.clears().result()
    pool.call.clears().result()  # its answer delivers the releases
    assert used(pool) == 0


# -- what is cached, and what is reused -------------------------------------------------------------------


@pytest.mark.parametrize("retries", [0, 1])
def test_what_a_function_keeps_is_not_changed_by_later_calls(make_pool: Any, retries: int) -> None:
    pool = make_pool(1, FUNCTIONS)
    keeps, echo = (pool.call[name].options(retries=retries) for name in ("keeps", "echo"))
    for n in range(3):
        keeps(np.full(MB // 4, n, dtype=np.float64)).result()
        for other in range(30):  # of the same size: each reuses the most recently freed block
            returned = echo(np.full(MB // 4, 100 + other, dtype=np.float64)).result()
            assert (returned == 100 + other).all()
    assert pool.call.are_unchanged().result() == [True] * 3
    assert used(pool) >= 3 * 2 * MB, "they are in use as long as they are referenced"
    pool.call.clears().result()
    pool.call.clears().result()
    assert used(pool) == 0


def test_a_value_that_the_caller_keeps_is_not_changed_by_later_calls(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    values = [pool.call.echo(np.full(MB // 4, n, dtype=np.float64)).result() for n in range(3)]
    part = pool.call.echo(np.full(MB // 4, 7, dtype=np.float64)).result()[10:20]
    for other in range(50):
        pool.call.echo(np.full(MB // 4, 100 + other, dtype=np.float64)).result()
    assert [(value == n).all() for n, value in enumerate(values)] == [True] * 3
    assert (part == 7).all()
    pool.stop_workers()
    assert [(value == n).all() for n, value in enumerate(values)] == [True] * 3


class Gauge:
    """A fake measurement of the machine's memory, which also records each measurement."""

    def __init__(self, pool: WorkerProcedureCall) -> None:
        self.percent = 50.0
        self._lock = pool._driver.lock
        self._measured = threading.Semaphore(0)
        pool._driver.memory.percent = self._measure

    def _measure(self) -> float:  # in the driver's thread, which then frees memory under the same lock
        self._measured.release()
        return self.percent

    def wait(self) -> None:
        """Wait until the driver has measured once more, and has freed what it has to."""
        while self._measured.acquire(blocking=False):
            pass
        assert self._measured.acquire(timeout=PATIENCE_S)
        with self._lock:
            pass


def cached(pool: WorkerProcedureCall) -> list[Any]:
    """Return what is cached: bytes of blocks here, mappings here, and the same in each worker."""
    driver = pool._driver
    there = [future.result()[:2] for future in pool.broadcast("blocks").values()]
    return [
        driver.memory.store.total,
        sum(len(link.receiver.cache) for link in driver.parts.links.values()),
        *there,
    ]


def test_what_is_cached_is_freed_here_and_in_workers_when_memory_runs_short(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS, heartbeat_interval_ms=50)
    pool.call.keeps_idle_memory().result()
    gauge = Gauge(pool)
    array = np.ones(MB)
    assert np.array_equal(pool.call.echo(array).result(), array)
    here, mapped_here, (there, mapped_there) = cached(pool)
    assert min(here, there) >= 8 * MB, "it is cached for the next call"
    assert (mapped_here, mapped_there) == (1, 1)
    gauge.wait()
    assert cached(pool)[0] == here, "there is enough memory"
    gauge.percent = 96.0
    gauge.wait()
    assert pool._driver.memory.store.total == 0
    assert not any(len(link.receiver.cache) for link in pool._driver.parts.links.values())
    until_empty(pool)
    # Calls still work, and blocks are cached again when there is enough memory.
    gauge.percent = 50.0
    assert np.array_equal(pool.call.echo(array).result(), array)
    assert cached(pool)[0] == here


def until_empty(pool: WorkerProcedureCall) -> None:
    """Poll a worker until it has freed its memory: its control thread does so without an answer."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        (there,) = (future.result()[:2] for future in pool.broadcast("blocks").values())
        if there == (0, 0):
            return
        assert time.monotonic() < deadline, f"the worker keeps {there}"


def test_what_is_in_use_stays_when_memory_runs_short(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS, heartbeat_interval_ms=50)
    gauge = Gauge(pool)
    gauge.percent = 100.0
    pool.call.keeps(np.zeros(MB)).result()
    value = pool.call.echo(np.full(MB, 5.0)).result()
    gauge.wait()
    assert (value == 5.0).all()
    assert pool.call.are_unchanged().result() == [True]
    assert np.array_equal(pool.call.echo(value).result(), value)


def test_a_value_of_a_worker_alone_makes_the_pool_measure_the_memory_too(make_pool: Any) -> None:
    """This process has no blocks of its own then, only a mapping of the worker's."""
    pool = make_pool(1, FUNCTIONS + "\ndef makes(n):\n    return b'x' * n", heartbeat_interval_ms=50)
    pool.call.keeps_idle_memory().result()
    gauge = Gauge(pool)
    gauge.percent = 100.0
    assert len(pool.call.makes(8 * MB).result()) == 8 * MB
    assert not pool._driver.memory.store.has_free
    gauge.wait()
    assert not any(len(link.receiver.cache) for link in pool._driver.parts.links.values())
    until_empty(pool)


def test_an_idle_pool_does_not_measure_the_memory(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS, heartbeat_interval_ms=10)
    gauge = Gauge(pool)
    pool._driver._thread._trim_at = 0.0  # it is due
    pool.call.clears().result()
    with pool._driver.lock:
        pool._driver._thread._run_due()
        assert not gauge._measured.acquire(blocking=False)


@pytest.mark.parametrize("blocks_in", ["memory", "file"])
def test_what_is_cached_is_freed_at_the_stop(make_pool: Any, blocks_in: str) -> None:
    pool = make_pool(2, FUNCTIONS, blocks_in=blocks_in)
    before = set(os.listdir("/proc/self/fd"))
    arrays = [np.full(MB, n, dtype=np.float64) for n in range(4)]
    for _ in range(2):
        for future in [pool.call.echo(array) for array in arrays]:
            future.result()
    assert pool._driver.memory.store.total > 0
    del future
    gc.collect()
    pool.stop_workers()
    assert pool._driver.memory.store.total == 0
    assert not pool._driver.memory.store.has_free
    maps = Path("/proc/self/maps").read_text()
    assert "wpc-block" not in maps
    assert len(set(os.listdir("/proc/self/fd")) - before) == 0


# -- the same array in many calls -------------------------------------------------------------------------


CHANGES = """
def changes(array, n):
    array[0] += n
    return float(array[0]), float(array[1:].sum())
"""


def test_an_array_that_is_sent_with_many_calls_lies_in_memory_once(make_pool: Any, door: Door) -> None:
    pool = make_pool(1, FUNCTIONS + CHANGES)
    held = pool.call.held(door.path)
    visit = door.wait()
    array = np.ones(2 * MB)  # 16 MB
    futures = [pool.call.changes(array, n) for n in range(1, 51)]
    results = pool.map("changes", [array] * 50, range(1, 51), chunk_size=10)
    assert pool._driver.memory.store.total <= 3 * array.nbytes
    visit.let_go()
    held.result()
    expected = [(1.0 + n, float(array.size - 1)) for n in range(1, 51)]
    assert [future.result() for future in futures] == expected, "no call finds what another one wrote"
    # In a chunk it is one object, as in the list that it was taken from.
    assert [value for value, _ in results] == [1.0 + sum(range(10 * (n // 10) + 1, n + 2)) for n in range(50)]
    assert (array == 1.0).all()


def test_an_array_that_changes_between_calls_arrives_as_it_was_at_each(make_pool: Any, door: Door) -> None:
    pool = make_pool(1, FUNCTIONS)
    held = pool.call.held(door.path)
    visit = door.wait()
    array = np.zeros(MB // 2)
    futures = []
    for n in range(12):
        array[-1] = n // 2  # each value twice
        futures.append(pool.call.total(array))
    visit.let_go()
    held.result()
    assert [future.result() for future in futures] == [float(n // 2) for n in range(12)]


def test_a_broadcast_places_its_arguments_at_most_twice(make_pool: Any, door: Door) -> None:
    pool = make_pool(4, FUNCTIONS)
    held = [pool.call.held.options(worker_id=n)(door.path) for n in range(1, 5)]
    visits = [door.wait() for _ in held]
    array = np.ones(2 * MB)
    futures = pool.broadcast("total", array)
    assert pool._driver.memory.store.total <= 2 * array.nbytes
    for visit in visits:
        visit.let_go()
    assert [future.result() for future in futures.values()] == [float(array.size)] * 4
    for each in held:
        each.result()


# -- constants ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.ENOMEM])
def test_a_constant_for_which_there_is_no_room_is_refused_and_the_one_before_stays(
    make_pool: Any, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    pool = make_pool(1)
    pool.define_worker_constant(name="TABLE", value=np.arange(8.0))
    pool.define_worker_functions("def get(n): return float(TABLE[n])")

    def write(fd: int, data: object, offset: int) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", write)
        with pytest.raises(DefinitionError, match=f"no room for the value of TABLE.*{os.strerror(number)}"):
            pool.define_worker_constant(name="TABLE", value=np.ones(MB))
    assert pool.call.get(5).result() == 5.0
    pool.define_worker_constant(name="TABLE", value=np.ones(MB))
    assert pool.call.get(5).result() == 1.0


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="it is memfd that refuses")
def test_a_constant_for_which_no_descriptor_is_left_arrives(
    make_pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(1)

    def refuses(name: str, flags: int = 0) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(os, "memfd_create", refuses)
        pool.define_worker_constant(name="TABLE", value=np.ones(MB))
    monkeypatch.setattr("wpc_magic.pool.driver.memory.descriptor_limit", lambda: 16)
    for n in range(4):
        pool.define_worker_constant(name=f"MORE_{n}", value=np.ones(MB))
    assert sum("wpc-block" in os.readlink(fd) for fd in Path("/proc/self/fd").iterdir() if fd.exists()) == 2
    names = ", ".join(["TABLE", *(f"MORE_{n}" for n in range(4))])
    pool.define_worker_functions(f"def total(): return float(sum(each.sum() for each in ({names})))")
    assert pool.call.total().result() == 5.0 * MB
