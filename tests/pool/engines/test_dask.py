"""Pools whose workers live on a Dask cluster."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from tests.pool.conftest import HELD, PATIENCE_S, Door, EventListener, wait_until_dead
from tests.pool.engines.clusters import local_cluster
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import (
    CallTimeoutError,
    DefinitionError,
    OptionError,
    PoolStateError,
    StartError,
    WorkerCrashedError,
)

pytestmark = pytest.mark.leaves(reason="a client of Dask keeps connections for later")

SOURCE = (
    HELD
    + """
def double(x):
    "Double it."
    return 2 * x

def where():
    import os
    return os.getpid()

def spin():
    while True:
        pass

def crash():
    import os, signal
    os.kill(os.getpid(), signal.SIGSEGV)

def say(text):
    print(text)

def fail():
    raise ValueError("no")

def numbers(n):
    yield from range(n)

async def nap(s):
    import asyncio
    await asyncio.sleep(s)
    return s
"""
)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with local_cluster(workers=2, threads=2) as client:
        client.submit(int).result()
        yield client


@pytest.fixture(scope="module")
def running(client: Any) -> Iterator[WorkerProcedureCall]:
    pool = WorkerProcedureCall(engine="dask", client=client, restart_base_delay_ms=1, restart_jitter_ms=0)
    pool.define_worker_functions(SOURCE)
    pool.start_workers(3)
    yield pool
    pool.stop_workers()


@pytest.fixture
def pool(running: WorkerProcedureCall) -> WorkerProcedureCall:
    running.wait_until_ready()
    return running


def host_processes(client: Any) -> set[int]:
    """Return the ids of the processes that the Dask workers have started, and those that these have."""

    def of_worker() -> list[int]:
        return [child.pid for child in psutil.Process().children(recursive=True)]

    return {pid for pids in client.run(of_worker).values() for pid in pids}


def until(condition: Callable[[], object]) -> None:
    """Wait for what happens on the cluster, of which nothing tells."""
    deadline, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.05)


# -- what holds on any engine, once more --------------------------------------------------------------------


def test_calls_maps_and_streams_run_on_the_cluster(pool: WorkerProcedureCall, client: Any) -> None:
    assert pool.call.double(21).result() == 42
    assert list(pool.map("double", range(1000))) == [2 * n for n in range(1000)]
    assert list(pool.call.numbers(5)) == [0, 1, 2, 3, 4]
    assert pool.call.nap(0.001).result() == 0.001
    with pytest.raises(ValueError, match="no"):
        pool.call.fail().result()
    first = pool.call.double.remote(b"x" * 2_000_000)
    assert pool.call.double(first).result() == b"x" * 8_000_000
    pids = {
        pool.call.where.options(worker_id=worker.worker_id)().result() for worker in pool.snapshot().workers
    }
    assert len(pids) == 3
    assert pids <= host_processes(client)


def test_a_call_after_a_definition_never_runs_the_old_one(pool: WorkerProcedureCall) -> None:
    for version in range(5):
        pool.define_worker_function(name="version", worker_func=f"def version(_): return {version}")
        assert set(pool.map("version", range(100))) == {version}


def test_a_time_out_ends_the_work_and_shows_its_stack(pool: WorkerProcedureCall) -> None:
    future = pool.call.spin.options(timeout_ms=200)()
    with pytest.raises(CallTimeoutError) as caught:
        future.result(PATIENCE_S)
    assert "in spin" in str(caught.value.stack)
    assert pool.call.double(1).result() == 2


def test_a_crash_costs_one_call(make_pool: Any, client: Any) -> None:
    pool = make_pool(1, SOURCE, engine="dask", client=client)
    crashing = pool.call.crash()
    others = [pool.call.double(n) for n in range(50)]
    with pytest.raises(WorkerCrashedError, match="was killed by SIGSEGV") as caught:
        crashing.result(PATIENCE_S)
    assert "in crash" in str(caught.value.stack)
    assert [other.result(PATIENCE_S) for other in others] == [2 * n for n in range(50)]
    assert caught.value.exitcode == -signal.SIGSEGV


def test_a_cancelled_call_is_ended(pool: WorkerProcedureCall, door: Door) -> None:
    future = pool.call.held(door.path)
    visit = door.wait()
    assert future.cancel()
    visit.wait_until_gone()
    assert pool.call.double(1).result() == 2


def test_what_a_function_prints_has_the_origin_of_its_call(pool: WorkerProcedureCall) -> None:
    texts: list[Any] = []
    pool.output_sink = texts.append
    pool.call.say("from afar").result()
    pool.output_sink = None
    assert "".join(each.text for each in texts) == "from afar\n"


def test_a_killed_worker_is_replaced(
    make_pool: Any, client: Any, listen: Callable[[WorkerProcedureCall], EventListener]
) -> None:
    pool = make_pool(1, SOURCE, engine="dask", client=client)
    events = listen(pool)
    pid = pool.call.where.options(worker_id=1)().result()
    os.kill(pid, signal.SIGKILL)
    events.until("worker_ready")
    assert pool.call.where.options(worker_id=1)().result() != pid


def test_the_end_of_a_host_process_costs_what_runs_there_and_nothing_else(
    make_pool: Any, client: Any
) -> None:
    pool = make_pool(1, SOURCE, engine="dask", client=client)
    future = pool.call.spin()
    host = psutil.Process(pool.snapshot().workers[0].pid).parent()
    assert host is not None
    host.kill()
    with pytest.raises(WorkerCrashedError, match="is lost: the connection to it has ended"):
        future.result(PATIENCE_S)
    assert pool.call.double(1).result(PATIENCE_S) == 2


def test_what_is_written_without_end_arrives_and_stops_no_one(pool: WorkerProcedureCall) -> None:
    pool.define_worker_function(
        name="flood",
        worker_func="def flood(n):\n    import os\n    for _ in range(n): os.write(1, b'x' * 65536)",
    )
    size, all_there = 0, threading.Event()

    def count(text: Any) -> None:
        nonlocal size
        size += len(text.text)
        if size >= 100 * 65536:
            all_there.set()

    pool.output_sink = count
    flooding = pool.call.flood(100)
    assert pool.call.double(1).result(PATIENCE_S) == 2
    flooding.result(PATIENCE_S)
    assert all_there.wait(PATIENCE_S)
    pool.output_sink = None


def test_a_stack_is_seen_from_here(pool: WorkerProcedureCall, door: Door) -> None:
    future = pool.call.held.options(worker_id=2)(door.path)
    visit = door.wait()
    assert "in held" in pool.stack(2)
    visit.let_go()
    future.result(PATIENCE_S)


# -- what is there, and what is left ------------------------------------------------------------------------


def test_a_stop_leaves_nothing_on_the_cluster(client: Any) -> None:
    before = host_processes(client)
    doors = set(next(iter(client.run(lambda dask_worker: list(dask_worker.handlers)).values())))
    pool = WorkerProcedureCall(engine="dask", client=client)
    pool.define_worker_functions(SOURCE)
    pool.start_workers(1)
    future = pool.call.spin()
    pool.stop_workers()
    assert future.exception() is not None
    until(lambda: host_processes(client) <= before)
    until(
        lambda: set(next(iter(client.run(lambda dask_worker: list(dask_worker.handlers)).values()))) == doors
    )
    assert client.submit(int).result() == 0


def test_as_many_workers_start_as_the_cluster_has_threads(client: Any) -> None:
    pool = WorkerProcedureCall()
    pool.use_engine("dask", address=client.scheduler.address)
    assert pool.engine == "dask"
    assert pool._driver.parts.engine.capacity() == 4
    pool._driver.parts.engine.close()


def test_workers_are_replaced_where_no_thread_is_free_and_free_theirs_at_last(
    pool: WorkerProcedureCall, client: Any
) -> None:
    assert pool.worker_count == 3
    fourth = WorkerProcedureCall(engine="dask", client=client)
    fourth.define_worker_functions(SOURCE)
    fourth.start_workers(1)
    pids = [fourth.snapshot().workers[0].pid]
    for _ in range(2):
        fourth.restart_workers()
        fourth.wait_until_ready(timeout_ms=60_000)
        assert fourth.call.double(2).result() == 4
        pids.append(fourth.snapshot().workers[0].pid)
    assert len(set(pids)) == 3
    others = client.submit(int)
    assert not others.done(), "it waits for the thread that the worker has"
    fourth.stop_workers()
    assert others.result(PATIENCE_S) == 0


PROGRAM = """
import sys, threading
from wpc_magic.pool.engines.dask import engine, routes
engine._FORGET_S = 0.5
make = routes.Route.__init__

def make_relayed(route, *args):
    make(route, *args)
    route.relay()

if sys.argv[3] == "by relay":
    routes.Route.__init__ = make_relayed
from wpc_magic.pool import WorkerProcedureCall
pool = WorkerProcedureCall(engine="dask", address=sys.argv[1])
pool.define_worker_functions(sys.argv[2])
pool.start_workers(1)
pool.call.spin()
(worker,) = pool.snapshot().workers
(spawned,) = [event for event in pool.events() if event.event_name == "worker_spawned"]
print("by relay" if spawned.details.get("relayed") else "directly", worker.pid, sep=":", flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("way", ["directly", "by relay"])
def test_nothing_is_left_of_a_client_that_was_killed(client: Any, way: str) -> None:
    def tasks() -> set[str]:
        return {key for keys in client.processing().values() for key in keys}

    def plugins() -> set[str]:
        both = client.run_on_scheduler(
            lambda dask_scheduler: [*dask_scheduler.worker_plugins, *dask_scheduler.plugins]
        )
        return {name for name in both if name.startswith("wpc-")}

    before, known = tasks(), plugins()
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, client.scheduler.address, SOURCE, way],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    told, number = program.stdout.readline().split(":")
    assert told == way
    pid = int(number)
    host = psutil.Process(pid).parent()
    assert host is not None
    program.kill()
    program.wait()
    program.stdout.close()
    wait_until_dead(pid)
    wait_until_dead(host.pid)
    until(lambda: tasks() <= before)  # the task that held the place
    until(lambda: plugins() <= known)  # what new Dask workers would get


# -- what cannot be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", ["refuses", "says nothing"])
def test_where_a_port_cannot_be_reached_all_goes_through_the_connections_of_dask_and_it_is_said(
    make_pool: Any, client: Any, monkeypatch: pytest.MonkeyPatch, listen: Any, answers: str
) -> None:
    from wpc_magic.pool.engines.dask import hosts

    connect = hosts.Host._connect

    async def connect_elsewhere(host: hosts.Host) -> None:
        host._told = {**host._told, "bind": "127.0.0.1", "port": other.getsockname()[1]}
        await connect(host)

    monkeypatch.setattr(hosts.Host, "_connect", connect_elsewhere)
    monkeypatch.setattr(hosts, "_DIRECTLY_S", 0.1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if answers == "says nothing":
            other.listen()
        pool = make_pool(0, SOURCE, engine="dask", client=client)
        events = listen(pool)
        pool.start_workers(1)
        spawned = next(each for each in events.until("worker_ready") if each.event_name == "worker_spawned")
        assert spawned.details["relayed"] is True
        assert list(pool.map("double", range(500))) == [2 * n for n in range(500)]
        large = b"x" * 10_000_000  # more than a relay lets run ahead
        assert pool.call.double(large).result(PATIENCE_S) == 2 * large
        with pytest.raises(WorkerCrashedError, match="SIGSEGV"):
            pool.call.crash().result(PATIENCE_S)
        assert pool.call.double(1).result(PATIENCE_S) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "dask"}, 'engine="dask" needs one of client=, address= and scheduler_file=, to know its'),
        ({"engine": "dask", "address": "a", "scheduler_file": "b"}, "not more"),
        ({"engine": "dsk"}, "Did you mean 'dask'?"),
        ({"address": "tcp://a"}, 'give engine="dask" with it'),
    ],
)
def test_an_engine_that_is_not_described_rightly_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        WorkerProcedureCall(**options)
    assert message in str(caught.value)


def test_the_engine_stays_while_the_workers_run(pool: WorkerProcedureCall) -> None:
    with pytest.raises(PoolStateError):
        pool.use_engine("local")


def test_shared_objects_are_refused(pool: WorkerProcedureCall, client: Any) -> None:
    with pytest.raises(DefinitionError, match='workers of engine="dask" do not have'):
        pool.shared_counter("count")
    other = WorkerProcedureCall()
    other.shared_counter("count")
    with pytest.raises(StartError, match="count is in the shared memory of this machine"):
        other.start_workers(1, engine="dask", client=client)
    other.undefine_shared(name="count")


def test_a_scheduler_that_does_not_answer_is_one_error() -> None:
    import dask

    pool = WorkerProcedureCall(engine="dask", address="tcp://127.0.0.1:1")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "200 ms"}),
        pytest.raises(StartError, match=r"no Dask scheduler can be reached at tcp://127\.0\.0\.1:1"),
    ):
        pool.start_workers(1)
