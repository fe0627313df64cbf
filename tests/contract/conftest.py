"""Pools on each engine, gates, and listeners for events."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.contract.engines import ENGINES, Place
from tests.contract.gate import AT_A_GATE, PATIENCE_S, Gate
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.core.events import WorkerEvent
from wpc_magic.pool.driver import callbacks

SOON = {"restart_base_delay_ms": 1, "restart_jitter_ms": 0}


class Events:
    """What a pool has told since this object was made."""

    def __init__(self, pool: WorkerProcedureCall) -> None:
        self._received: queue.SimpleQueue[WorkerEvent] = queue.SimpleQueue()
        pool.on_worker_event(listener=self._received.put)

    def until(self, name: str, **details: Any) -> WorkerEvent:
        """Wait for an event, and pass over those before it."""
        while True:
            event = self._received.get(timeout=PATIENCE_S)
            if event.event_name == name and details.items() <= dict(event.details).items():
                return event


@pytest.fixture(scope="package", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Place]:
    with closing(ENGINES[request.param]()) as place:
        yield place


@pytest.fixture(scope="module")
def pool(engine: Place) -> Iterator[WorkerProcedureCall]:
    """Two workers shared by the tests of a module: none of these may end one."""
    pool = WorkerProcedureCall(**SOON, **engine.options)
    pool.define_worker_functions(AT_A_GATE)
    pool.start_workers(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(callbacks, "_IDLE_S", 0.05)  # each test waits until that thread ends
        yield pool
    pool.stop_workers()


@pytest.fixture
def make_pool(engine: Place) -> Iterator[Callable[..., WorkerProcedureCall]]:
    """Makes pools for one test, started unless `count` is 0; they are stopped at its end."""
    made: list[WorkerProcedureCall] = []

    def make(count: int = 1, source: str = "", **options: Any) -> WorkerProcedureCall:
        pool = WorkerProcedureCall(**{**SOON, **engine.options, **options})
        made.append(pool)
        pool.define_worker_functions(AT_A_GATE + source)
        if count:
            pool.start_workers(count)
        return pool

    yield make
    while made:
        made.pop().stop_workers()


@pytest.fixture
def gate() -> Iterator[Gate]:
    with closing(Gate()) as gate:
        yield gate


@pytest.fixture
def listen() -> Callable[[WorkerProcedureCall], Events]:
    return Events
