"""Metrics of pools for Prometheus."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.pool.conftest import PATIENCE_S
from wpc_magic import metrics
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import OptionError

SOURCE = """
import os, signal, time


def double(x):
    return 2 * x


def fails():
    raise ValueError


def dies():
    os.kill(os.getpid(), signal.SIGKILL)


def waits(seconds):
    time.sleep(seconds)
"""


@pytest.fixture
def pool() -> Iterator[WorkerProcedureCall]:
    with WorkerProcedureCall(restart_base_delay_ms=1, restart_jitter_ms=0) as pool:
        pool.define_worker_functions(SOURCE)
        yield pool


def samples(registry: CollectorRegistry, name: str) -> dict[tuple[str, ...], float]:
    """Return the values of a metric by its labels, without that of the pool, as a server would read them."""
    return {
        tuple(value for label, value in sample.labels.items() if label != "pool"): sample.value
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
        if sample.name == name
    }


def test_calls_are_counted_by_function_and_outcome(pool: WorkerProcedureCall) -> None:
    registry = CollectorRegistry()
    metrics.register(pool, registry)
    pool.start_workers(1)
    for n in range(5):
        pool.call.double(n).result(PATIENCE_S)
    pool.call.fails().exception(PATIENCE_S)
    pool.call.dies().exception(PATIENCE_S)
    pool.call.waits.options(timeout_ms=50)(PATIENCE_S).exception(PATIENCE_S)
    pool.call.waits(PATIENCE_S).cancel()
    pool.wait_until_ready()
    pool.call.double(1).result(PATIENCE_S)  # behind whatever the worker still had to answer
    assert samples(registry, "wpc_calls_total") == {
        ("double", "done"): 6,
        ("fails", "failed"): 1,
        ("dies", "worker_lost"): 1,
        ("waits", "timed_out"): 1,
        ("waits", "cancelled"): 1,
    }


def test_a_redefinition_loses_no_call(pool: WorkerProcedureCall) -> None:
    registry = CollectorRegistry()
    metrics.register(pool, registry)
    pool.start_workers(1)
    for n in range(4):
        pool.define_worker_function(worker_func=f"def double(x): return {n} * x")
        pool.call.double(n).result(PATIENCE_S)
    pool.undefine_worker_function(name="double")
    assert samples(registry, "wpc_calls_total") == {("double", "done"): 4}
    assert samples(registry, "wpc_call_duration_seconds_count") == {("double",): 4}


def test_functions_without_a_name_are_counted_once_though_they_come_and_go(pool: WorkerProcedureCall) -> None:
    registry = CollectorRegistry()
    metrics.register(pool, registry)
    pool.start_workers(1)
    for n in range(10):
        pool.submit_function(lambda n=n: n).result(PATIENCE_S)
    gc.collect()
    pool.submit_function(abs, (1,)).result(PATIENCE_S)
    assert samples(registry, "wpc_calls_total") == {("<lambda>", "done"): 10, ("abs", "done"): 1}


def test_durations_are_a_histogram(pool: WorkerProcedureCall) -> None:
    registry = CollectorRegistry()
    metrics.register(pool, registry)
    pool.start_workers(1)
    for n in range(8):
        pool.call.double(n).result(PATIENCE_S)
    buckets = samples(registry, "wpc_call_duration_seconds_bucket")
    counts = list(buckets.values())
    assert counts == sorted(counts)
    assert buckets["double", "+Inf"] == 8
    assert samples(registry, "wpc_call_duration_seconds_sum")["double",] > 0


def test_workers_queue_memory_and_blocks_are_those_of_now(pool: WorkerProcedureCall) -> None:
    registry = CollectorRegistry()
    metrics.register(pool, registry)
    assert samples(registry, "wpc_workers")["ready",] == 0
    pool.start_workers(2)
    pool.call.double(bytearray(10_000_000)).result(PATIENCE_S)
    pool.call.dies().exception(PATIENCE_S)
    pool.wait_until_ready()
    assert samples(registry, "wpc_workers")["ready",] == 2
    assert sum(samples(registry, "wpc_worker_restarts_total").values()) == 1
    assert min(samples(registry, "wpc_worker_memory_bytes").values()) > 1_000_000
    assert samples(registry, "wpc_queue_length") == {(): 0}
    assert samples(registry, "wpc_calls_in_flight") == {(): 0}
    assert samples(registry, "wpc_events_total")[()] == pool.snapshot().events
    waiting = [pool.call.waits.options(worker_id=1)(PATIENCE_S) for _ in range(3)]
    assert samples(registry, "wpc_calls_in_flight")[()] + samples(registry, "wpc_queue_length")[()] >= 1
    for future in waiting:
        future.cancel()


def test_a_pool_is_registered_once_and_two_pools_have_two_names(pool: WorkerProcedureCall) -> None:
    registry = CollectorRegistry()
    other = WorkerProcedureCall()
    metrics.register(pool, registry)
    metrics.register(pool, registry)
    with pytest.raises(OptionError, match="name 'wpc' is that of another pool"):
        metrics.register(other, registry)
    metrics.register(other, registry, name="other")
    families: Any = text_string_to_metric_families(generate_latest(registry).decode())
    (queue,) = (family for family in families if family.name == "wpc_queue_length")
    assert [sample.labels["pool"] for sample in queue.samples] == ["wpc", "other"]
    assert metrics.unregister(other, registry)
    assert not metrics.unregister(other, registry)


def test_a_pool_that_is_gone_is_exported_no_more() -> None:
    registry = CollectorRegistry()
    pool = WorkerProcedureCall()
    metrics.register(pool, registry)
    assert samples(registry, "wpc_queue_length") == {(): 0}
    del pool
    gc.collect()
    assert samples(registry, "wpc_queue_length") == {}
    metrics.register(WorkerProcedureCall(), registry)
