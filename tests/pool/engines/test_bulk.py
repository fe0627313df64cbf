"""Large data on a cluster: it travels once to each machine, and lies there once for all of its workers."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from tests.pool.conftest import PATIENCE_S, EventListener
from tests.pool.engines.clusters import local_cluster, proxied_hosts
from tests.proxy import Proxy
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.driver import memory
from wpc_magic.pool.errors import WorkerLostError

pytestmark = pytest.mark.leaves(reason="a client of Dask keeps connections for later")

SOURCE = """
import os

def total(): return float(WEIGHTS.sum())

def total_of(array, other=0): return float(array.sum())

def spoil(array):
    array[:] = 7
    return float(array.sum())

def echo(array): return array

def ones(n):
    import numpy
    return numpy.ones(n)

def add_one(array): return array + 1

def here(): return os.getppid(), os.getpid()

def mapped():
    with open("/proc/self/maps") as file:
        found = {line.split()[4] for line in file if "wpc-copy" in line}
    return os.getppid(), found
"""
FULL = """
def fill_memory():
    from wpc_magic.pool.worker import room
    room._memory_left, room._allowed = (lambda: 1_000_000), 0
"""
SIZE = 1_000_000  # of 8 bytes
MakePool = Callable[[int], WorkerProcedureCall]
NBYTES = 8 * SIZE
LITTLE = NBYTES // 4
"""All that travels besides."""


counts_copies = pytest.mark.skipif(
    not hasattr(os, "memfd_create"), reason="only memfd has names by which copies can be counted"
)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with local_cluster(workers=2, threads=5) as client:
        yield client


@pytest.fixture
def net() -> Iterator[list[Proxy]]:
    with proxied_hosts() as proxies:
        yield proxies


@pytest.fixture
def make_pool(client: Any, net: list[Proxy]) -> Iterator[Callable[[int], WorkerProcedureCall]]:
    made: list[WorkerProcedureCall] = []

    def make(count: int) -> WorkerProcedureCall:
        pool = WorkerProcedureCall(engine="dask", client=client, restart_base_delay_ms=1, restart_jitter_ms=0)
        made.append(pool)
        pool.define_worker_constant(name="WEIGHTS", value=np.zeros(SIZE))
        pool.define_worker_functions(SOURCE)
        pool.start_workers(count)
        pool.wait_until_ready()
        return pool

    yield make
    while made:
        made.pop().stop_workers()


def sent(net: list[Proxy]) -> int:
    """Return how many bytes have passed between the pool and the hosts."""
    return sum(proxy.forwarded for proxy in net)


def copies(pid: int) -> int:
    """Return how many blocks a host process has."""
    found = -1  # one is empty
    for each in os.listdir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # it is closed meanwhile
            found += os.readlink(f"/proc/{pid}/fd/{each}").startswith(("/memfd:wpc-copy", "/memfd:wpc-block"))
    return found


def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that nobody tells."""
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.05)  # noqa: TID251 - what is waited for happens in other processes


@counts_copies
def test_a_constant_travels_once_to_each_machine_lies_there_once_and_is_there_for_later_workers(
    make_pool: MakePool, net: list[Proxy], listen: Callable[[WorkerProcedureCall], EventListener]
) -> None:
    pool = make_pool(8)
    assert len(net) == 2
    assert 2 * NBYTES < sent(net) < 2 * NBYTES + LITTLE
    files: dict[int, set[str]] = {}
    for each in pool.broadcast("mapped").values():
        host, found = each.result()
        files.setdefault(host, set()).update(found)
    assert [len(found) for found in files.values()] == [1, 1]

    for _ in range(2):  # an equal value does not travel again
        pool.define_worker_constant(name="WEIGHTS", value=np.ones(SIZE))
        assert [each.result() for each in pool.broadcast("total").values()] == [SIZE] * 8
    assert 4 * NBYTES < sent(net) < 4 * NBYTES + LITTLE
    until(lambda: {copies(host) for host in files} == {1})

    events = listen(pool)
    _, pid = pool.call.here.options(worker_id=3)().result()
    os.kill(pid, signal.SIGKILL)
    events.until("worker_ready")
    assert pool.call.total.options(worker_id=3)().result() == SIZE
    assert sent(net) < 4 * NBYTES + LITTLE

    pool.define_worker_function(name="total", worker_func="def total(): return 0.0")
    pool.undefine_worker_constant(name="WEIGHTS")
    until(lambda: {copies(host) for host in files} == {0})


def test_an_array_travels_once_to_each_machine_however_many_calls_have_it(
    make_pool: MakePool, net: list[Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_IDLE_S", 2 * PATIENCE_S)
    pool = make_pool(3)
    array = np.ones(SIZE)
    before = sent(net)
    calls = [pool.call.total_of(array, n) for n in range(20)]
    assert [call.result() for call in calls] == [SIZE] * 20
    for _ in range(5):
        assert pool.call.total_of(array).result() == SIZE
    assert NBYTES < sent(net) - before < len(net) * NBYTES + LITTLE

    # What a call, or the caller, writes no other call sees.
    calls = [pool.call[("total_of", "spoil")[n % 2]](array) for n in range(20)]
    assert [call.result() for call in calls] == [SIZE, 7 * SIZE] * 10
    later = pool.call.total_of(array)
    array[:] = 3
    assert later.result() == SIZE
    assert pool.call.total_of(array).result() == 3 * SIZE
    array[-1] = 4
    assert pool.call.total_of(array).result() == 3 * SIZE + 1


def test_arrays_of_many_sizes_arrive_as_they_are(make_pool: MakePool) -> None:
    pool = make_pool(1)
    random = np.random.default_rng(1)
    arrays = [random.integers(0, 256, 1 << n, dtype=np.uint8) for n in range(14, 24)] * 2
    for call, array in [(pool.call.echo([array, array[1:]]), array) for array in arrays]:
        whole, part = call.result()
        assert (whole == array).all()
        assert (part == array[1:]).all()


@counts_copies
def test_what_calls_do_not_need_any_more_is_freed_on_the_machines(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "_IDLE_S", 0.1)
    pool = make_pool(2)
    hosts = {host for host, _ in (each.result() for each in pool.broadcast("here").values())}
    pool.map("total_of", [np.ones(SIZE) for _ in range(10)]).result()
    until(lambda: {copies(host) for host in hosts} == {1})  # the constant
    _, pid = pool.call.here.options(worker_id=1)().result()
    held = pool.call.total_of.options(worker_id=1)(np.ones(SIZE))
    os.kill(pid, signal.SIGKILL)
    held.exception()
    until(lambda: {copies(host) for host in hosts} == {1})


def hosts_of(pool: WorkerProcedureCall) -> dict[int, int]:
    """Return the host process of each worker, by the worker's number."""
    return {worker: each.result()[0] for worker, each in pool.broadcast("here").items()}


@counts_copies
def test_a_value_that_is_kept_goes_from_machine_to_machine_and_not_through_the_program(
    make_pool: MakePool, net: list[Proxy]
) -> None:
    pool = make_pool(6)  # more than there are places on one machine
    hosts = hosts_of(pool)
    near = next(iter(hosts))
    far = next(worker for worker in hosts if hosts[worker] != hosts[near])
    before = sent(net)
    kept = pool.call.ones.options(worker_id=near).remote(SIZE)
    sums = [pool.call.total_of.options(worker_id=worker)(kept) for worker in hosts]
    assert [each.result() for each in sums] == [SIZE] * len(hosts)
    again = pool.call.add_one.options(worker_id=far).remote(kept)
    assert pool.call.total_of.options(worker_id=near)(again).result() == 2 * SIZE
    assert pool.call.total_of([kept, again], kept).exception() is not None  # a list has no sum
    assert sent(net) - before < LITTLE
    assert "8.0 MB" in kept.state

    # Whoever asks for it fetches it, also after the worker that has made it.
    os.kill(pool.call.here.options(worker_id=near)().result()[1], signal.SIGKILL)
    for _ in range(2):
        fetched = kept.result()
        assert (fetched == 1).all()
        fetched[:] = 2
    assert 2 * NBYTES < sent(net) - before < 2 * NBYTES + LITTLE
    assert pool.call.total_of.options(worker_id=far)(kept).result() == SIZE

    del kept, again, sums
    until(lambda: {copies(host) for host in hosts.values()} == {1})  # the constant


def test_a_value_that_is_kept_is_lost_with_its_machine(make_pool: MakePool) -> None:
    pool = make_pool(1)
    ((worker, host),) = hosts_of(pool).items()
    kept = pool.call.ones.remote(SIZE)
    assert pool.call.total_of(kept).result() == SIZE
    os.kill(host, signal.SIGKILL)
    assert isinstance(pool.call.total_of.options(worker_id=worker)(kept).exception(), WorkerLostError)
    with pytest.raises(WorkerLostError, match="lost"):
        kept.result()
    again = pool.call.ones.remote(SIZE)
    assert pool.call.total_of(again).result() == SIZE


def test_a_value_for_which_its_machine_has_no_memory_left_is_kept_by_the_program(
    make_pool: MakePool, net: list[Proxy]
) -> None:
    pool = make_pool(1)
    pool.define_worker_functions(FULL)
    pool.call.fill_memory().result()
    before = sent(net)
    kept = pool.call.ones.remote(SIZE)
    assert kept.exception() is None
    assert NBYTES < sent(net) - before < NBYTES + LITTLE
    assert "8.0 MB" in kept.state
    assert (kept.result() == 1).all()
    assert sent(net) - before < NBYTES + LITTLE


def test_another_pool_gets_the_value_itself(make_pool: MakePool) -> None:
    kept = make_pool(1).call.ones.remote(SIZE)
    with WorkerProcedureCall() as here:
        here.define_worker_functions("def last(array): return float(array[-1])")
        here.start_workers(1)
        assert here.call.last(kept).result() == 1.0
