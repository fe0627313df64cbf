"""Metrics of pools for Prometheus: ``pip install 'wpc_magic[metrics]'``.

::

    import wpc_magic.metrics

    wpc_magic.metrics.register(wpc)  # then as ever: prometheus_client.start_http_server(8000)

What is exported is what the pool counts anyway; it is read when somebody asks. So a call costs nothing more.
Times are in seconds, sizes in bytes.

===================================  =========  ==========================================================
metric                               labels     means
===================================  =========  ==========================================================
``wpc_calls_total``                  function,  calls that have ended: ``done``, ``failed``, ``cancelled``,
                                     outcome    ``timed_out``, ``worker_lost``, ``not_run``
``wpc_call_duration_seconds``        function   histogram of the run times; their sum is an estimate
``wpc_queue_length``                            calls that wait for a worker
``wpc_calls_in_flight``                         calls that workers have
``wpc_workers``                      state      workers by health: ``ready``, ``starting``, ...
``wpc_worker_restarts_total``        worker     how often its process was replaced
``wpc_worker_memory_bytes``          worker     resident memory of its process
``wpc_blocks``, ``wpc_block_bytes``             blocks of shared memory for arguments, and their size
``wpc_events_total``                            events that were emitted
===================================  =========  ==========================================================

Each has the label ``pool``, too.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from wpc_magic.pool.checks import check_text
from wpc_magic.pool.errors import OptionError, PoolStateError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.metrics_core import Metric

    from wpc_magic.pool import WorkerProcedureCall

__all__ = ["PoolCollector", "register", "unregister"]

_STATES = ("ready", "degraded", "starting", "restarting", "resting", "failed", "stopped")
_EXPONENTS = range(14, 42, 2)
"""The limits of the histogram, as powers of two nanoseconds: from 16 µs to 18 minutes."""


class PoolCollector(Collector):
    """What one registry of ``prometheus_client`` knows of pools. It keeps none of them alive."""

    def __init__(self) -> None:
        self.pools: dict[str, weakref.ref[WorkerProcedureCall]] = {}

    def add(self, pool: WorkerProcedureCall, name: str) -> None:
        """Export a pool under a name, and no longer under another one."""
        found = self.pools.get(name)
        other = None if found is None else found()
        if other is not None and not _is_same(other, pool):
            raise OptionError(f"name {name!r} is that of another pool; give it one: register(pool, name=...)")
        self.remove(pool)
        self.pools[name] = weakref.ref(pool)

    def remove(self, pool: WorkerProcedureCall) -> bool:
        """Export a pool no longer; return whether it was."""
        names = [
            name for name, ref in self.pools.items() if (each := ref()) is not None and _is_same(each, pool)
        ]
        for name in names:
            del self.pools[name]
        return bool(names)

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without values."""
        return _Families().all

    def collect(self) -> Iterator[Metric]:
        """Return the metrics of all pools."""
        families = _Families()
        for name, ref in list(self.pools.items()):
            pool = ref()
            if pool is None:
                self.pools.pop(name, None)
                continue
            try:
                families.add(name, pool)
            except PoolStateError:
                pass  # it belongs to the process that this one was forked from
        yield from families.all


class _Families:
    """The metrics, to which pools are added."""

    def __init__(self) -> None:
        self.calls = CounterMetricFamily(
            "wpc_calls", "Calls that have ended.", labels=("pool", "function", "outcome")
        )
        self.durations = HistogramMetricFamily(
            "wpc_call_duration_seconds",
            "Run times of calls in the workers.",
            labels=("pool", "function"),
        )
        self.queued = _gauge("wpc_queue_length", "Calls that wait for a worker.")
        self.in_flight = _gauge("wpc_calls_in_flight", "Calls that workers have.")
        self.workers = _gauge("wpc_workers", "Workers by health.", "state")
        self.restarts = CounterMetricFamily(
            "wpc_worker_restarts", "How often the process was replaced.", labels=("pool", "worker")
        )
        self.memory = _gauge("wpc_worker_memory_bytes", "Resident memory of the process.", "worker")
        self.blocks = _gauge("wpc_blocks", "Blocks of shared memory for arguments.")
        self.block_bytes = _gauge("wpc_block_bytes", "Size of the blocks of shared memory.")
        self.events = CounterMetricFamily("wpc_events", "Events that were emitted.", labels=("pool",))

    @property
    def all(self) -> list[Metric]:
        return list(vars(self).values())

    def add(self, name: str, pool: WorkerProcedureCall) -> None:
        snapshot, statistics = pool.snapshot(), pool.statistics()
        for function in statistics.functions:
            for outcome, count in function.outcomes.items():
                self.calls.add_metric((name, function.name, outcome), count)
            if any(function.buckets):
                self.durations.add_metric(
                    (name, function.name), *_histogram(function.buckets, function.sums_s)
                )
        self.queued.add_metric((name,), snapshot.queued)
        self.in_flight.add_metric((name,), snapshot.in_flight)
        states = Counter(dict.fromkeys(_STATES, 0))
        states.update(worker.health_state for worker in snapshot.workers)
        for state, count in states.items():
            self.workers.add_metric((name, state), count)
        for worker in snapshot.workers:
            labels = name, str(worker.worker_id)
            self.restarts.add_metric(labels, worker.restarts)
            if worker.memory_bytes is not None:
                self.memory.add_metric(labels, worker.memory_bytes)
        self.blocks.add_metric((name,), statistics.blocks)
        self.block_bytes.add_metric((name,), statistics.block_bytes)
        self.events.add_metric((name,), snapshot.events)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=("pool", *labels))


def _histogram(buckets: Sequence[int], sums_s: Sequence[float]) -> tuple[list[tuple[str, int]], float]:
    """Return the cumulative counts of a histogram, and its sum.

    Examples
    --------
    >>> counts, total = _histogram([0] * 20 + [3] + [0] * 27, [0.0] * 20 + [0.0024] + [0.0] * 27)
    >>> counts[:4], counts[-1]
    ([('1.6384e-05', 0), ('6.5536e-05', 0), ('0.000262144', 0), ('0.001048576', 3)], ('+Inf', 3))
    >>> total
    0.0024
    """
    counts = [(str(2**exponent / 1e9), sum(buckets[: exponent + 1])) for exponent in _EXPONENTS]
    counts.append(("+Inf", sum(buckets)))
    return counts, sum(sums_s)


_collectors: weakref.WeakKeyDictionary[CollectorRegistry, PoolCollector] = weakref.WeakKeyDictionary()


def register(
    pool: WorkerProcedureCall, registry: CollectorRegistry = REGISTRY, *, name: str | None = None
) -> None:
    """Export the metrics of a pool.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool. It is exported until `unregister`, or until nobody refers to it any more.
    registry : prometheus_client.CollectorRegistry, optional
        Where it is exported; by default, the registry of the process.
    name : str, optional
        The label ``pool`` of its metrics; by default, its name.

    Raises
    ------
    OptionError
        If another pool has this name there.

    Examples
    --------
    >>> from prometheus_client import CollectorRegistry, generate_latest
    >>> from wpc_magic.pool import WorkerProcedureCall
    >>> registry = CollectorRegistry()
    >>> with WorkerProcedureCall() as pool:
    ...     register(pool, registry)
    ...     pool.start_workers(2)
    ...     'wpc_workers{pool="wpc",state="ready"} 2.0' in generate_latest(registry).decode()
    True
    """
    label = pool.name if name is None else check_text("name", name)
    collector = _collectors.get(registry)
    if collector is not None:
        collector.add(pool, label)
        return
    collector = PoolCollector()
    collector.add(pool, label)
    registry.register(collector)
    _collectors[registry] = collector


def unregister(pool: WorkerProcedureCall, registry: CollectorRegistry = REGISTRY) -> bool:
    """Export a pool no longer; return whether it was exported."""
    collector = _collectors.get(registry)
    return collector is not None and collector.remove(pool)


def _is_same(one: WorkerProcedureCall, other: WorkerProcedureCall) -> bool:
    return vars(one) is vars(other)
