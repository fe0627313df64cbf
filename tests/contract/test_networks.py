"""A network that fails between the pool and a machine: calls end once, and the pool goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.contract.conftest import SOON, Events
from tests.contract.gate import AT_A_GATE, Gate
from tests.pool.engines.clusters import local_cluster, proxied_hosts
from tests.proxy import Proxy
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import WorkerLostError

pytestmark = pytest.mark.leaves(reason="a client of Dask keeps connections for later")

SOURCE = """
def double(x): return 2 * x

def large(size): return bytes(size)
"""
Net = list[Proxy]
"""What lies between the pool and its machines, in the order in which the pool has reached them."""


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with local_cluster(workers=2, threads=2) as client:
        yield client


@pytest.fixture
def net() -> Iterator[Net]:
    with proxied_hosts() as proxies:
        yield proxies


@pytest.fixture
def pool(client: Any, net: Net) -> Iterator[WorkerProcedureCall]:
    pool = WorkerProcedureCall(engine="dask", client=client, unresponsive_after_ms=1000, **SOON)
    pool.define_worker_functions(AT_A_GATE + SOURCE)
    pool.start_workers(1)
    yield pool
    pool.stop_workers()


def test_a_slow_network_delays_calls_and_changes_nothing(pool: WorkerProcedureCall, net: Net) -> None:
    net[0].slow_down(0.02)
    assert [pool.call.double(n).result() for n in range(10)] == list(range(0, 20, 2))
    assert list(pool.map("double", range(1000))) == list(range(0, 2000, 2))
    assert len(pool.call.large(3_000_000).result()) == 3_000_000


def test_what_was_under_way_arrives_once_when_a_network_is_back(
    pool: WorkerProcedureCall, net: Net, gate: Gate, listen: Callable[[WorkerProcedureCall], Events]
) -> None:
    events = listen(pool)
    running = pool.call.held(gate.address, "running")
    visit = gate.wait()
    net[0].go_silent()
    visit.let_go()
    queued = [pool.call.double(n) for n in range(20)]
    events.until("worker_unresponsive")
    net[0].heal()
    assert running.result() == "running"
    assert [call.result() for call in queued] == list(range(0, 40, 2))
    assert gate.is_quiet()
    assert (pool.snapshot().failed, len(net)) == (0, 1)


@pytest.mark.parametrize("hard", [False, True], ids=["with an end of file", "with a reset"])
def test_a_network_that_is_cut_fails_what_ran_ends_it_there_and_the_rest_runs_elsewhere(
    pool: WorkerProcedureCall, net: Net, gate: Gate, hard: bool
) -> None:
    running = pool.call.held(gate.address, "running")
    visit = gate.wait()
    queued = [pool.call.double(n) for n in range(20)]
    net[0].cut(hard=hard)
    assert isinstance(running.exception(), WorkerLostError)
    visit.wait_until_gone()
    assert [call.result() for call in queued] == list(range(0, 40, 2))
    assert len(net) == 2
    assert gate.is_quiet()


def test_an_answer_that_is_cut_in_its_midst_is_an_error_and_not_a_hang(
    pool: WorkerProcedureCall, net: Net
) -> None:
    assert len(pool.call.large(10).result()) == 10
    net[0].cut(after=500_000)
    assert isinstance(pool.call.large(3_000_000).exception(), WorkerLostError)
    assert len(pool.call.large(3_000_000).result()) == 3_000_000
