"""What happens to a pool when parts of its Dask cluster go, and come."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.pool.conftest import HELD, PATIENCE_S, Door, EventListener, wait_until_dead
from tests.pool.engines.clusters import Scheduler, dask_worker, free_port
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import WorkerCrashedError

pytestmark = pytest.mark.leaves(reason="a client of Dask keeps connections for later")

SOURCE = (
    HELD
    + """
def where():
    import os
    return os.getppid()
"""
)


class Cluster:
    """A scheduler, and Dask workers with one thread each that come and go."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.scheduler = Scheduler(folder, self.port)
        self.workers = contextlib.ExitStack()

    def add_worker(self) -> subprocess.Popen[bytes]:
        return self.workers.enter_context(dask_worker(self.folder, self.scheduler.file))

    def restart_scheduler(self) -> None:
        self.scheduler.end()
        self.scheduler.file.unlink()
        self.scheduler = Scheduler(self.folder, self.port)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.workers.close()
    made.scheduler.end()


@pytest.fixture
def pool(cluster: Cluster) -> Iterator[WorkerProcedureCall]:
    pool = WorkerProcedureCall(
        engine="dask",
        address=f"tcp://127.0.0.1:{cluster.port}",
        restart_base_delay_ms=1,
        restart_jitter_ms=0,
    )
    pool.define_worker_functions(SOURCE)
    yield pool
    pool.stop_workers()


def test_a_lost_host_costs_the_calls_that_were_sent_to_it_and_another_takes_its_place(
    cluster: Cluster,
    pool: WorkerProcedureCall,
    door: Door,
    listen: Callable[[WorkerProcedureCall], EventListener],
) -> None:
    # A start waits for the first place, and not for one that is not there.
    events = listen(pool)
    starting = threading.Thread(target=pool.start_workers, args=(2,))
    starting.start()
    events.until("worker_start_waits")
    processes = [cluster.add_worker()]
    starting.join(PATIENCE_S)
    assert not starting.is_alive()
    assert sorted(each.health_state for each in pool.get_worker_health_states()) == ["ready", "starting"]
    processes.append(cluster.add_worker())
    events.until("worker_ready")
    events.until("worker_ready")
    assert {each.host for each in pool.snapshot().workers} == {socket.gethostname()}
    lost, retried = pool.call.held(door.path), pool.call.held.options(retries=1)(door.path, 7)
    visits = [door.wait(), door.wait()]

    # Both hosts are lost: one call fails, and the other waits for a place to run again.
    for process in processes:
        process.kill()
    with pytest.raises(WorkerCrashedError, match="is lost") as caught:
        lost.result(PATIENCE_S)
    assert caught.value.exitcode is None
    for visit in visits:
        wait_until_dead(visit.pid)
    events.until("worker_start_waits")
    pool.define_worker_function(name="later", worker_func="def later(): return 'defined meanwhile'")

    # A late joiner has all definitions first.
    cluster.add_worker()
    again = door.wait()
    again.let_go()
    assert retried.result(PATIENCE_S) == 7
    assert pool.call.later().result(PATIENCE_S) == "defined meanwhile"
    pool.wait_until_ready()
    states = sorted(each.health_state for each in pool.get_worker_health_states())
    assert states == ["ready", "restarting"], "a place that is not there is no death"
    assert "worker_restart_exhausted" not in {each.event_name for each in pool.events()}


def test_a_restarted_scheduler_gives_places_again_and_a_stop_ends_where_there_is_none(
    cluster: Cluster, pool: WorkerProcedureCall, listen: Callable[[WorkerProcedureCall], EventListener]
) -> None:
    first = cluster.add_worker()
    pool.start_workers(1)
    before = pool.call.where().result()
    events = listen(pool)
    cluster.restart_scheduler()
    events.until("worker_exited")
    first.wait(PATIENCE_S)
    cluster.add_worker()
    assert pool.call.where().result(PATIENCE_S) != before

    pid = pool.snapshot().workers[0].pid
    assert pid is not None
    cluster.scheduler.end()
    pool.stop_workers()
    wait_until_dead(pid)
    assert not pool.is_running


def test_a_host_that_stands_still_is_lost_and_nothing_of_it_goes_on(
    cluster: Cluster, pool: WorkerProcedureCall, door: Door
) -> None:
    cluster.add_worker()
    pool.start_workers(1, reconnect_ms=5_000)
    running = pool.call.held(door.path)
    visit = door.wait()
    host = psutil.Process(visit.pid).parent()
    assert host is not None
    host.suspend()
    with pytest.raises(WorkerCrashedError, match="is lost: nothing was heard of it for 5 s"):
        running.result(PATIENCE_S)
    wait_until_dead(visit.pid)
    wait_until_dead(host.pid)
    assert pool.call.where().result(PATIENCE_S) != host.pid


def test_a_dask_worker_that_stands_still_holds_up_no_call(
    cluster: Cluster, pool: WorkerProcedureCall
) -> None:
    process = psutil.Process(cluster.add_worker().pid)
    pool.start_workers(1)
    process.suspend()
    try:
        assert pool.call.where().result(PATIENCE_S) == pool.call.where().result(PATIENCE_S)
    finally:
        process.resume()
