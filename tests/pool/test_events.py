"""The events that listeners receive, and those that are kept for late listeners."""

from __future__ import annotations

import dataclasses
import datetime
import json
import queue
import threading
from typing import Any

import pytest

from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.core.events import WorkerEvent
from wpc_magic.pool.errors import OptionError

FUNCTIONS = """
def fails(x):
    raise ValueError(x)


def fails_in_a_thread():
    import threading
    thread = threading.Thread(target=fails, args=("aside",), name="a thread")
    thread.start()
    thread.join()


def fails_in_a_finalizer():
    class Bad:
        def __del__(self):
            raise KeyError("finalizer")
    Bad()
    return "fine"


async def fails_in_a_task():
    import asyncio
    async def bad():
        raise OSError("task")
    task = asyncio.ensure_future(bad())
    await asyncio.wait([task])
    del task
    import gc
    gc.collect()
    return "fine"
"""


@pytest.fixture(scope="module", autouse=True)
def functions(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(FUNCTIONS)


def test_the_events_of_a_start_and_a_stop(make_pool: Any, listen: Any) -> None:
    pool = make_pool(0)
    listener = listen(pool)
    pool.start_workers(1)
    pool.stop_workers()
    told = [(event.event_name, event.source) for event in listener.until("worker_exited")]
    assert told == [
        ("worker_health_state_changed", "parent"),
        ("worker_spawned", "parent"),
        ("worker_ready", "worker"),
        ("worker_health_state_changed", "parent"),
        ("worker_health_state_changed", "parent"),
        ("worker_exited", "parent"),
    ]


def test_an_event_has_the_originals_shape(pool: WorkerProcedureCall, listen: Any) -> None:
    listener = listen(pool)
    future = pool.call.fails.options(worker_id=2)("no")
    future.exception()
    event = listener.until("call_execution_failed")[-1]
    assert isinstance(event, WorkerEvent)
    assert event.worker_id == 2
    assert event.source == "worker"
    assert event.severity == "warn"
    assert event.correlation_id == f"call-{future.call_id}"
    assert event.error is not None
    assert (event.error.name, event.error.message) == ("ValueError", "no")
    assert ", in fails\n    raise ValueError(x)\n" in event.error.stack
    assert event.details == {"function": "fails"}
    assert datetime.datetime.fromisoformat(event.timestamp).tzinfo is not None
    plain = json.loads(json.dumps(event.as_dict()))
    assert set(plain) == {
        "event_id",
        "worker_id",
        "source",
        "event_name",
        "severity",
        "timestamp",
        "correlation_id",
        "error",
        "details",
    }
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.worker_id = 1  # type: ignore[misc]


def test_what_is_absent_is_left_out_of_the_plain_form(pool: WorkerProcedureCall) -> None:
    ready = next(event for event in pool.events() if event.event_name == "worker_ready")
    assert "error" not in ready.as_dict()
    assert "correlation_id" not in ready.as_dict()


def test_identifiers_are_unique_and_increase(pool: WorkerProcedureCall) -> None:
    numbers = [event.event_id for event in pool.events()]
    assert len(set(numbers)) == len(numbers)
    assert numbers == sorted(numbers)
    assert pool.snapshot().events == int(numbers[-1].removeprefix("event-"))


def test_several_listeners_hear_the_same_in_the_same_order(pool: WorkerProcedureCall, listen: Any) -> None:
    one, two = listen(pool), listen(pool)
    for n in range(20):
        pool.call.fails(n).exception()
    pool.define_worker_function(worker_func="def last(): pass")
    assert one.until("definition_changed") == two.until("definition_changed")


def test_a_listener_that_was_taken_off_hears_nothing_more(pool: WorkerProcedureCall, listen: Any) -> None:
    one, two = listen(pool), listen(pool)
    assert pool.off_worker_event(listener_id=one.listener_id) is True
    assert pool.off_worker_event(listener_id=one.listener_id) is False
    pool.call.fails(1).exception()
    two.until("call_execution_failed")
    with pytest.raises(queue.Empty):
        one._received.get_nowait()


def test_a_listener_that_raises_harms_no_other_and_no_call(
    pool: WorkerProcedureCall, listen: Any, caplog: pytest.LogCaptureFixture
) -> None:
    number = pool.on_worker_event(listener=lambda event: 1 / 0)
    listener = listen(pool)
    pool.call.fails(1).exception()
    listener.until("call_execution_failed")
    pool.off_worker_event(listener_id=number)
    assert "a callback of the pool raised" in caplog.text


def test_a_listener_may_use_the_pool(pool: WorkerProcedureCall) -> None:
    found: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask(event: WorkerEvent) -> None:
        if event.event_name == "call_execution_failed":
            found.put((pool.snapshot().state, threading.current_thread().name, len(pool.events()) > 0))

    number = pool.on_worker_event(listener=ask)
    pool.call.fails(1).exception()
    assert found.get(timeout=60) == ("running", "wpc-listeners", True)
    pool.off_worker_event(listener_id=number)


def test_a_listener_may_stop_the_pool(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    stopped = threading.Event()

    def stop(event: WorkerEvent) -> None:
        if event.event_name == "call_execution_failed":
            pool.stop_workers()
            stopped.set()

    pool.on_worker_event(listener=stop)
    pool.call.fails(1).exception()
    assert stopped.wait(60)
    assert not pool.is_running


def test_a_late_listener_finds_what_happened_before(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    pool.call.fails(1).exception()
    names = [event.event_name for event in pool.events()]
    assert names[:3] == ["definition_changed", "worker_health_state_changed", "worker_spawned"]
    assert names[-1] == "call_execution_failed"


def test_the_ring_keeps_the_latest(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS, event_history=5)
    for n in range(20):
        pool.call.fails(n).exception()
    kept = pool.events()
    assert [event.error.message for event in kept if event.error] == ["15", "16", "17", "18", "19"]
    assert kept[-1].event_id == f"event-{pool.snapshot().events:06d}"
    pool.configure(event_history=2)
    assert pool.events() == kept[-2:]


def test_what_nobody_catches_becomes_an_event_and_the_worker_lives(
    pool: WorkerProcedureCall, listen: Any
) -> None:
    listener = listen(pool)
    pids = [worker.pid for worker in pool.snapshot().workers]
    pool.output_sink = lambda output: None
    future = pool.call.fails_in_a_thread()
    future.result()
    event = listener.until("uncaught_exception")[-1]
    assert (event.error.name, event.error.message) == ("ValueError", "aside")
    assert event.details["thread"] == "a thread"
    assert event.correlation_id == f"call-{future.call_id}"
    assert pool.call.fails_in_a_finalizer().result() == "fine"
    assert listener.until("uncaught_exception")[-1].error.name == "KeyError"
    assert pool.call.fails_in_a_task().result() == "fine"
    assert listener.until("unhandled_rejection")[-1].error.name == "OSError"
    pool.output_sink = None
    assert [worker.pid for worker in pool.snapshot().workers] == pids


def test_a_listener_is_a_callable(pool: WorkerProcedureCall) -> None:
    with pytest.raises(OptionError, match="listener takes a callable, not 7"):
        pool.on_worker_event(listener=7)  # type: ignore[arg-type]
