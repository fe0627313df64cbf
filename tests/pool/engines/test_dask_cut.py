"""A cluster on another network, which is cut without a word: neither end hears anything, nor of any end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.far_network import FarNetwork, far_network
from tests.pool.conftest import HELD, PATIENCE_S, Door, EventListener, wait_until_dead
from tests.pool.engines.clusters import Scheduler, dask_worker
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.engines.dask import places
from wpc_magic.pool.engines.dask.routes import Route
from wpc_magic.pool.errors import WorkerLostError

pytestmark = [pytest.mark.slow, pytest.mark.leaves(reason="a client of Dask keeps connections for later")]

SOURCE = HELD + "\ndef double(x): return 2 * x\n\ndef host():\n    import os\n    return os.getppid()\n"
Listen = Callable[[WorkerProcedureCall], EventListener]


@pytest.fixture(scope="module")
def far() -> Iterator[FarNetwork]:
    with far_network() as network:
        yield network


AddWorker = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture(scope="module")
def cluster(far: FarNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, AddWorker]]:
    """A client of a cluster there, and what starts one more Dask worker with two threads."""
    from distributed import Client

    folder = tmp_path_factory.mktemp("far")
    with contextlib.ExitStack() as ends:
        scheduler = Scheduler(folder, far=far)
        ends.callback(scheduler.end)

        def add_worker() -> subprocess.Popen[bytes]:
            return ends.enter_context(dask_worker(folder, scheduler.file, 2, far=far))

        client = ends.enter_context(Client(scheduler_file=str(scheduler.file), set_as_default=False))
        assert far.address in json.loads(scheduler.file.read_text())["address"]
        yield client, add_worker


@pytest.fixture(scope="module")
def dask(cluster: tuple[Any, AddWorker]) -> subprocess.Popen[bytes]:
    """The first Dask worker."""
    client, add_worker = cluster
    process = add_worker()
    client.wait_for_workers(1, timeout=PATIENCE_S)
    return process


@pytest.fixture
def client(cluster: tuple[Any, AddWorker], dask: subprocess.Popen[bytes]) -> Any:
    return cluster[0]


@pytest.fixture
def make_pool(client: Any, far: FarNetwork) -> Iterator[Callable[..., WorkerProcedureCall]]:
    made: list[WorkerProcedureCall] = []

    def make(**options: Any) -> WorkerProcedureCall:
        pool = WorkerProcedureCall(
            engine="dask", client=client, restart_base_delay_ms=1, restart_jitter_ms=0, **options
        )
        made.append(pool)
        pool.define_worker_functions(SOURCE)
        pool.start_workers(1)
        return pool

    yield make
    far.mend()
    while made:
        made.pop().stop_workers()
    assert not any(client.processing().values())


def test_a_short_cut_keeps_the_workers_and_every_call_runs_once(
    make_pool: Callable[..., WorkerProcedureCall], far: FarNetwork, door: Door, listen: Listen
) -> None:
    pool = make_pool(reconnect_ms=30_000, unresponsive_after_ms=500, heartbeat_interval_ms=100)
    before = pool.call.host().result()
    events = listen(pool)
    running = pool.call.held(door.path, "running")
    visit = door.wait()
    far.cut()
    visit.let_go()  # its answer is lost on the way, and sent again
    queued = [pool.call.double(n) for n in range(20)]
    events.until("worker_unresponsive")
    assert not running.done()
    far.mend()
    assert running.result(PATIENCE_S) == "running"
    assert [call.result(PATIENCE_S) for call in queued] == list(range(0, 40, 2))
    assert pool.call.host().result(PATIENCE_S) == before
    assert (pool.snapshot().failed, pool.snapshot().done) == (0, 23)


@pytest.mark.parametrize(
    ("way", "is_relayed"),
    [({}, False), ({"outwards": False}, False), ({}, True)],
    ids=["in both directions", "towards the pool", "of a relay"],
)
def test_a_long_cut_fails_what_ran_and_ends_the_workers_there_while_it_lasts(
    make_pool: Callable[..., WorkerProcedureCall],
    far: FarNetwork,
    door: Door,
    monkeypatch: pytest.MonkeyPatch,
    way: dict[str, bool],
    is_relayed: bool,
) -> None:
    monkeypatch.setattr(places, "_LEFT_OUT_S", 0.1)
    if is_relayed:
        make = Route.__init__

        def make_relayed(route: Route, *args: Any) -> None:
            make(route, *args)
            route.relay()

        monkeypatch.setattr(Route, "__init__", make_relayed)
    pool = make_pool(reconnect_ms=2_000)
    host = pool.call.host().result()
    running = pool.call.held(door.path, "running")
    visit = door.wait()
    queued = [pool.call.double(n) for n in range(20)]
    far.cut(**way)
    with pytest.raises(WorkerLostError, match="is lost"):
        running.result(PATIENCE_S)
    wait_until_dead(visit.pid)
    wait_until_dead(host)
    assert not any(call.done() and call.exception() is None for call in queued)
    far.mend()
    assert pool.call.double(21).result(PATIENCE_S) == 42
    assert pool.call.host().result(PATIENCE_S) != host
    for call, n in zip(queued, range(20), strict=True):
        # What had been sent ahead may have begun, for all that anybody knows.
        assert isinstance(call.exception(PATIENCE_S), WorkerLostError) or call.result() == 2 * n


def test_a_host_that_loses_its_power_is_lost_although_no_connection_to_it_ends(
    make_pool: Callable[..., WorkerProcedureCall],
    cluster: tuple[Any, AddWorker],
    dask: subprocess.Popen[bytes],
    far: FarNetwork,
    door: Door,
) -> None:
    _, add_worker = cluster
    pool = make_pool(reconnect_ms=2_000)
    host = pool.call.host().result()
    running = pool.call.held(door.path, "running")
    visit = door.wait()
    far.cut()
    for pid in (visit.pid, host, dask.pid):
        os.kill(pid, signal.SIGKILL)
    dask.wait()
    with pytest.raises(WorkerLostError, match="is lost: nothing was heard of it for 2 s"):
        running.result(PATIENCE_S)
    far.mend()  # the scheduler is on another machine
    later = add_worker()
    try:
        assert pool.call.double(21).result(PATIENCE_S) == 42
        assert pool.call.host().result(PATIENCE_S) != host
        pool.stop_workers()
    finally:
        later.kill()
        later.wait()
