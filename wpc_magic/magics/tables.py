"""What the pool knows, as tables for people."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from wpc_magic.dashboard.table import Table
from wpc_magic.pool.mind.events import WorkerEvent
from wpc_magic.pool.mind.snapshot import ConstantInfo, DependencyInfo, FunctionInfo, PoolSnapshot

__all__ = [
    "constant_table",
    "dependency_table",
    "event_table",
    "function_table",
    "plural",
    "status_table",
]

_SEVERITIES = ("info", "warn", "error")


def plural(count: int, word: str) -> str:
    """Return a count with its word.

    Examples
    --------
    >>> plural(1, "worker"), plural(4, "worker")
    ('1 worker', '4 workers')
    """
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def function_table(infos: Sequence[FunctionInfo]) -> Table:
    """Return the registered functions."""
    rows = [
        (
            info.name + info.parameter_signature,
            ", ".join(info.requires),
            info.installed_worker_count,
            info.revision,
            info.function_hash_sha1[:7],
            "" if info.timeout_ms is None else info.timeout_ms,
            info.doc,
        )
        for info in infos
    ]
    columns = ("function", "needs", "workers", "revision", "hash", "time-out ms", "what it does")
    return _table(columns, rows, "No function is registered: %%wpc_function on top of a cell does it.")


def dependency_table(infos: Sequence[DependencyInfo]) -> Table:
    """Return the registered dependencies."""
    rows = [(info.alias, _target(info), info.installed_worker_count) for info in infos]
    return _table(
        ("name", "stands for", "workers"), rows, "No dependency is registered: %wpc_dep numpy as np."
    )


def _target(info: DependencyInfo) -> str:
    if info.is_default_export:
        return f"{info.module_specifier}.{info.module_specifier.rpartition('.')[2]}"
    return f"{info.module_specifier}.{info.export_name}" if info.export_name else info.module_specifier


def constant_table(infos: Sequence[ConstantInfo]) -> Table:
    """Return the registered constants, without their values."""
    rows = [(info.name, info.type_name, _size(info.nbytes), info.installed_worker_count) for info in infos]
    return _table(
        ("name", "type", "size", "workers"), rows, "No constant is registered: %wpc_const SEED = 42."
    )


def status_table(snapshot: PoolSnapshot) -> Table:
    """Return what each worker does."""
    rows = [
        (
            worker.worker_id,
            worker.health_state,
            "" if worker.pid is None else worker.pid,
            worker.current_call or "",
            "" if worker.running_s is None else f"{worker.running_s:.1f} s",
            worker.waiting,
            worker.done,
            worker.failed,
            worker.restarts,
            "" if worker.memory_bytes is None else _size(worker.memory_bytes),
            "" if worker.cpu_percent is None else f"{worker.cpu_percent:.0f} %",
        )
        for worker in snapshot.workers
    ]
    columns = (
        "worker",
        "state",
        "pid",
        "runs",
        "for",
        "waiting",
        "done",
        "failed",
        "restarts",
        "memory",
        "CPU",
    )
    caption = " · ".join(
        (
            f"{snapshot.name} {snapshot.state}",
            f"{snapshot.queued} queued",
            f"{snapshot.in_flight} in flight",
            f"{snapshot.done} done",
            f"{snapshot.failed} failed",
        )
    )
    return _table(columns, rows, f"{caption}. No worker runs: %wpc_start starts them.", caption)


def event_table(
    events: Sequence[WorkerEvent], count: int, severity: str | None = None, worker_id: int | None = None
) -> Table:
    """Return the latest events, the latest last.

    Parameters
    ----------
    events : sequence of WorkerEvent
        All that are kept, oldest first.
    count : int
        How many to return at most.
    severity : {"info", "warn", "error"}, optional
        Leave out what is less than this.
    worker_id : int, optional
        Leave out the other workers.
    """
    least = _SEVERITIES.index(severity or "info")
    chosen = [
        event
        for event in events
        if _SEVERITIES.index(event.severity) >= least and worker_id in (None, event.worker_id)
    ]
    rows = [
        (
            event.timestamp[11:23],  # the time of day; the date is that of the kernel
            event.worker_id or "pool",
            event.severity,
            event.event_name,
            event.correlation_id or "",
            _detail(event),
        )
        for event in chosen[-count:]
    ]
    columns = ("time (UTC)", "worker", "severity", "event", "call", "details")
    return _table(columns, rows, "No such event.")


def _detail(event: WorkerEvent) -> str:
    """Return what else is known of an event, in one line.

    Examples
    --------
    >>> details = {"defined": ["np", "pd"], "removed": [], "epoch": 3}
    >>> _detail(WorkerEvent("event-1", 0, "parent", "definition_changed", "info", "", details=details))
    'defined np, pd · epoch 3'
    """
    details = {key: value for key, value in event.details.items() if value not in (None, "", [])}
    parts = []
    if "from" in details and "to" in details:
        parts.append(f"{details.pop('from')} → {details.pop('to')}")
    if "reason" in details:
        details.pop("exitcode", None)  # which the reason tells, too
        parts.append(details.pop("reason"))
    if event.error is not None:
        # A class of a cell is in a module of a name that says nothing to anybody.
        name = re.sub(r"^wpc_cell_\w+\.", "", event.error.name)
        parts.append(f"{name}: {event.error.message}")
    parts += [
        f"{key} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in details.items()
    ]
    return " · ".join(parts)


def _size(nbytes: float) -> str:
    """Return a size in the unit in which it is a short number.

    Examples
    --------
    >>> _size(512), _size(64 * 2**20)
    ('512 B', '64.0 MB')
    """
    if nbytes < 1024:
        return f"{nbytes} B"
    units = iter(("kB", "MB", "GB"))
    while nbytes >= 1024 and (unit := next(units, "")):
        nbytes, shown = nbytes / 1024, unit
    return f"{nbytes:.1f} {shown}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]], empty: str, caption: str = "") -> Table:
    return Table(columns, rows, caption=caption if rows else empty)
