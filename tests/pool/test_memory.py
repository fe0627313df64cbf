"""The memory of blocks: where it is, how much of it there may be, and when it is given back."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pool.conftest import PATIENCE_S
from wpc_magic.pool import WorkerProcedureCall

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


def are_as_they_came():
    return [bool((x == n).all()) for n, x in enumerate(kept)]


def lets_go():
    kept.clear()


def are_kept_for_an_hour():
    "Have no block given back because it is idle."
    from wpc_magic.pool.worker.server import Server
    Server.tidy.__defaults__ = (3600.0,)


def blocks():
    "What this worker's store has, how many mappings it keeps, and what it has open."
    import gc, os
    from wpc_magic.pool.wire.blocks import Receiver, Store
    gc.collect()
    (store,) = (each for each in gc.get_objects() if isinstance(each, Store))
    (receiver,) = (each for each in gc.get_objects() if isinstance(each, Receiver))
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink("/proc/self/fd/" + fd))
        except OSError:
            pass
    return store.total, len(receiver.kept), links
"""


def used(pool: WorkerProcedureCall) -> int:
    """Return how many bytes of the pool's own blocks are in use."""
    store = pool._driver.memory.store
    return store.total - sum(block.size for block in store._free)


def files_of(pool: WorkerProcedureCall) -> set[str]:
    """Return what this process, and the workers, have open or mapped that is memory of ours."""
    found = set()
    for pid in ("self", *(str(worker.pid) for worker in pool.snapshot().workers)):
        maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
        found |= {line.split(maxsplit=5)[5] for line in maps if line.endswith("(deleted)")}
    return found


# -- temporary files ------------------------------------------------------------------------------------


@pytest.fixture
def temporary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of temporary files that nobody else uses, here and in workers."""
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


def test_arguments_values_and_constants_travel_in_temporary_files_that_have_no_name(
    make_pool: Any, temporary: Path
) -> None:
    pool = make_pool(0, "", blocks_in="file")
    before = files_of(pool)  # what other tests have left to the garbage collector
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
    # It did go that way: no memory that is no file was made, but for the status pages.
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


def test_what_is_beyond_the_limit_goes_through_the_socket_and_arrives(make_pool: Any) -> None:
    pool = make_pool(2, FUNCTIONS, block_memory_mb=4)
    arrays = [np.full(MB // 4, n, dtype=np.float64) for n in range(12)]  # 2 MB each, more than fit at once
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


def test_a_function_that_keeps_all_it_gets_does_not_use_up_the_pools_memory(make_pool: Any) -> None:
    """Its blocks do not come back; what follows goes another way, and arrives."""
    pool = make_pool(1, FUNCTIONS, block_memory_mb=8)
    for n in range(12):
        assert pool.call.keeps(np.full(MB // 4, n, dtype=np.float64)).result() == n + 1
    assert pool._driver.memory.store.total <= 8 * MB
    assert pool.call.are_as_they_came().result() == [True] * 12
    pool.call.lets_go().result()
    pool.call.lets_go().result()  # whose answer brings the news
    assert used(pool) == 0


# -- what is kept, and what is used again -----------------------------------------------------------------


@pytest.mark.parametrize("retries", [0, 1])
def test_what_a_function_keeps_stays_as_it_came_whatever_comes_later(make_pool: Any, retries: int) -> None:
    pool = make_pool(1, FUNCTIONS)
    keeps, echo = (pool.call[name].options(retries=retries) for name in ("keeps", "echo"))
    for n in range(3):
        keeps(np.full(MB // 4, n, dtype=np.float64)).result()
        for other in range(30):  # of the same size: each takes the block that was free last
            came = echo(np.full(MB // 4, 100 + other, dtype=np.float64)).result()
            assert (came == 100 + other).all()
    assert pool.call.are_as_they_came().result() == [True] * 3
    assert used(pool) >= 3 * 2 * MB, "they are in use as long as somebody can see them"
    pool.call.lets_go().result()
    pool.call.lets_go().result()
    assert used(pool) == 0


def test_a_value_that_the_caller_keeps_stays_as_it_came_whatever_comes_later(make_pool: Any) -> None:
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
    """Stands for the machine's memory: tells what is set, and that it was asked."""

    def __init__(self, pool: WorkerProcedureCall) -> None:
        self.percent = 50.0
        self._lock = pool._driver.lock
        self._asked = threading.Semaphore(0)
        pool._driver.memory.percent = self._tell

    def _tell(self) -> float:  # in the driver's thread, which gives back under the same lock what it has to
        self._asked.release()
        return self.percent

    def wait(self) -> None:
        """Wait until the driver has asked once more, and has done what follows."""
        while self._asked.acquire(blocking=False):
            pass
        assert self._asked.acquire(timeout=PATIENCE_S)
        with self._lock:
            pass


def kept(pool: WorkerProcedureCall) -> list[Any]:
    """Return what is kept: bytes of blocks here, mappings here, and the same in each worker."""
    driver = pool._driver
    there = [future.result()[:2] for future in pool.broadcast("blocks").values()]
    return [
        driver.memory.store.total,
        sum(len(link.receiver.kept) for link in driver._links.values()),
        *there,
    ]


def test_what_is_kept_is_given_back_here_and_in_workers_when_memory_runs_short(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS, heartbeat_interval_ms=50)
    pool.call.are_kept_for_an_hour().result()
    gauge = Gauge(pool)
    array = np.ones(MB)
    assert np.array_equal(pool.call.echo(array).result(), array)
    here, mapped_here, (there, mapped_there) = kept(pool)
    assert min(here, there) >= 8 * MB, "it is kept for the next call"
    assert (mapped_here, mapped_there) == (1, 1)
    gauge.wait()
    assert kept(pool)[0] == here, "there is memory enough"
    gauge.percent = 96.0
    gauge.wait()
    assert pool._driver.memory.store.total == 0
    assert not any(len(link.receiver.kept) for link in pool._driver._links.values())
    until_empty(pool)
    # It goes on, and keeps again when there is room.
    gauge.percent = 50.0
    assert np.array_equal(pool.call.echo(array).result(), array)
    assert kept(pool)[0] == here


def until_empty(pool: WorkerProcedureCall) -> None:
    """Ask a worker until it has obeyed: its other thread does, and tells nobody."""
    for _ in range(2_000):
        (there,) = (future.result()[:2] for future in pool.broadcast("blocks").values())
        if there == (0, 0):
            return
    pytest.fail(f"the worker keeps {there}")


def test_what_is_in_use_stays_when_memory_runs_short(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS, heartbeat_interval_ms=50)
    gauge = Gauge(pool)
    gauge.percent = 100.0
    pool.call.keeps(np.zeros(MB)).result()
    value = pool.call.echo(np.full(MB, 5.0)).result()
    gauge.wait()
    assert (value == 5.0).all()
    assert pool.call.are_as_they_came().result() == [True]
    assert np.array_equal(pool.call.echo(value).result(), value)


def test_a_value_of_a_worker_alone_makes_the_pool_ask_for_the_memory_too(make_pool: Any) -> None:
    """Nothing of this process's own is kept then: only a mapping of what is the worker's."""
    pool = make_pool(1, FUNCTIONS + "\ndef makes(n):\n    return b'x' * n", heartbeat_interval_ms=50)
    pool.call.are_kept_for_an_hour().result()
    gauge = Gauge(pool)
    gauge.percent = 100.0
    assert len(pool.call.makes(8 * MB).result()) == 8 * MB
    assert not pool._driver.memory.store.has_free
    gauge.wait()
    assert not any(len(link.receiver.kept) for link in pool._driver._links.values())
    until_empty(pool)


def test_an_idle_pool_does_not_ask_for_the_memory(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS, heartbeat_interval_ms=10)
    gauge = Gauge(pool)
    pool._driver._tidy_at = 0.0  # it is due
    pool.call.lets_go().result()
    with pool._driver.lock:
        pool._driver._before_sleep()
        assert not gauge._asked.acquire(blocking=False)


@pytest.mark.parametrize("blocks_in", ["memory", "file"])
def test_what_is_kept_is_given_back_at_the_stop(make_pool: Any, blocks_in: str) -> None:
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
