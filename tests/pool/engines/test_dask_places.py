"""Where the workers of a pool are on a Dask cluster, and what becomes of them when its workers leave."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

import pytest

from tests.pool.conftest import HELD, PATIENCE_S, Door, EventListener
from tests.pool.engines.clusters import Scheduler, dask_worker, local_cluster
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.core.events import WorkerEvent
from wpc_magic.pool.engines.dask.engine import DaskEngine
from wpc_magic.pool.errors import NoWorkerError, StartError

pytestmark = pytest.mark.leaves(reason="a client of Dask keeps connections for later")


class Cluster:
    """A scheduler, and Dask workers that the tests start, with a client of it."""

    def __init__(self, folder: Path) -> None:
        from distributed import Client

        self._folder = folder
        self._ends = contextlib.ExitStack()
        self._scheduler = Scheduler(folder)
        self._ends.callback(self._scheduler.end)
        self.client = self._ends.enter_context(
            Client(scheduler_file=str(self._scheduler.file), set_as_default=False)
        )

    def add_worker(self, *more: str, threads: int = 1) -> subprocess.Popen[bytes]:
        return self._ends.enter_context(dask_worker(self._folder, self._scheduler.file, threads, *more))

    def close(self) -> None:
        self._ends.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.close()


@pytest.fixture
def pool(cluster: Cluster) -> Iterator[WorkerProcedureCall]:
    pool = WorkerProcedureCall(
        engine="dask", client=cluster.client, restart_base_delay_ms=1, restart_jitter_ms=0
    )
    pool.define_worker_functions(HELD)
    yield pool
    pool.stop_workers()


def test_a_call_that_asks_for_resources_runs_on_a_dask_worker_that_has_them(
    cluster: Cluster,
    pool: WorkerProcedureCall,
    door: Door,
    listen: Callable[[WorkerProcedureCall], EventListener],
) -> None:
    events = listen(pool)
    cluster.add_worker("--resources", "GPU=1", threads=2)
    cluster.add_worker()
    pool.start_workers(3)
    spawned: list[WorkerEvent] = []
    while len(spawned) < 3:
        spawned += [each for each in events.until("worker_spawned") if each.event_name == "worker_spawned"]
    with_gpu = {each.worker_id for each in spawned if each.details.get("resources") == {"GPU": 1}}
    assert len(with_gpu) == 2

    while {worker.health_state for worker in pool.snapshot().workers} != {"ready"}:
        events.until("worker_ready")
    first = pool.call.held.options(resources={"GPU": 1})(door.path, "first")
    visit = door.wait()
    second = pool.call.held.options(resources="GPU=1")(door.path, "second")
    others = [pool.call.held(door.path), pool.call.held(door.path)]
    for _ in others:
        door.wait().let_go()
    assert [other.result() for other in others] == [None, None]
    assert not second.running()
    used = {worker.worker_id for worker in pool.snapshot().workers if worker.current_call}
    assert used <= with_gpu
    visit.let_go()
    door.wait().let_go()
    assert (first.result(), second.result()) == ("first", "second")
    with pytest.raises(NoWorkerError, match="machines here offer GPU=1"):
        pool.call.held.options(resources={"GPU": 2})(door.path)


def test_as_many_workers_start_as_have_what_each_takes(cluster: Cluster) -> None:
    cluster.add_worker("--resources", "GPU=2", threads=3)
    cluster.add_worker()
    cluster.client.wait_for_workers(2, timeout=PATIENCE_S)
    for resources, room in (({}, 4), ({"GPU": 1}, 2), ({"disk": 1}, 1)):
        engine = DaskEngine(client=cluster.client, resources=resources)
        assert engine.capacity() == room
        engine.close()


def test_a_dask_worker_takes_no_more_workers_than_its_memory_has_room_for(
    cluster: Cluster, pool: WorkerProcedureCall, listen: Callable[[WorkerProcedureCall], EventListener]
) -> None:
    cluster.add_worker("--memory-limit", "1GiB", threads=3)
    cluster.client.wait_for_workers(1, timeout=PATIENCE_S)
    pool.configure(hard_memory_per_worker_mb=400)
    assert pool._driver.parts.engine.capacity(400 << 20) == 2
    events = listen(pool)
    pool.start_workers(3, wait=False)
    (*_, event) = events.until("worker_start_waits")
    assert event.details["reason"].endswith(
        "is free, and 400 MiB (hard_memory_per_worker_mb) of its memory limit"
    )
    cluster.add_worker("--memory-limit", "500MiB")
    while (each := events.next()).event_name != "worker_ready" or each.worker_id != event.worker_id:
        pass


def test_a_start_gives_up_where_there_is_no_place(cluster: Cluster, pool: WorkerProcedureCall) -> None:
    with pytest.raises(StartError, match="a place for none of 2 workers within 1 s: no worker of the Dask"):
        pool.start_workers(2, start_timeout_ms=100)
    assert not pool.is_running
    assert not cluster.client.nthreads()


def test_a_dask_worker_that_is_retired_ends_after_the_calls_that_run_there(
    cluster: Cluster,
    pool: WorkerProcedureCall,
    door: Door,
    listen: Callable[[WorkerProcedureCall], EventListener],
) -> None:
    events = listen(pool)
    first = cluster.add_worker()
    pool.start_workers(1)
    (address,) = cluster.client.nthreads()
    running = pool.call.held(door.path, "as ever")
    visit = door.wait()
    cluster.client.retire_workers([address])
    events.until("worker_leaves", reason="its Dask worker is to end")
    later = pool.call.held(door.path, "elsewhere")
    cluster.add_worker()
    elsewhere = door.wait()
    assert first.poll() is None
    elsewhere.let_go()
    assert later.result() == "elsewhere"
    visit.let_go()
    assert running.result() == "as ever"
    assert first.wait(PATIENCE_S) == 0
    assert pool.snapshot().workers[0].health_state == "ready"
    assert "worker_restart_failed" not in {each.event_name for each in pool.events()}


@pytest.fixture(scope="module")
def adaptive() -> Iterator[Any]:
    """A client of a cluster that has no worker until there is something to do."""
    resource_tracker.ensure_running()  # else it would be a process that the test leaves behind
    with local_cluster(workers=0, threads=1) as client:
        client.cluster.adapt(minimum=0, maximum=3, interval="100 ms", wait_count=2)
        yield client


def test_an_adaptive_cluster_grows_and_shrinks_with_the_pool_and_keeps_what_runs(
    adaptive: Any, door: Door
) -> None:
    pool = WorkerProcedureCall(engine="dask", client=adaptive)
    pool.define_worker_functions(HELD)
    pool.start_workers(2)
    calls = [pool.call.held(door.path, n) for n in range(2)]
    visits = [door.wait(), door.wait()]
    assert len(adaptive.nthreads()) >= 2
    pool.resize(1)
    for visit in visits:
        visit.let_go()
    assert [call.result() for call in calls] == [0, 1]
    _wait_until(lambda: len(adaptive.nthreads()) == 1)
    last = pool.call.held(door.path, "last")
    door.wait().let_go()
    assert last.result() == "last"
    pool.stop_workers()
    _wait_until(lambda: not adaptive.nthreads())


def _wait_until(is_so: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1200):
        if is_so():
            return
        pause.wait(0.05)
    raise AssertionError("it has not happened")
