"""The state of the pool as human-readable tables."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from wpc_magic.dashboard.table import Table
from wpc_magic.pool.core.events import WorkerEvent
from wpc_magic.pool.core.snapshot import (
    ConstantInfo,
    DependencyInfo,
    FunctionInfo,
    PoolSnapshot,
    ResourceInfo,
    SharedInfo,
    UploadInfo,
    WorkerSnapshot,
)
from wpc_magic.pool.shared.counter import SharedCounter
from wpc_magic.pool.shared.queue import SharedQueue

__all__ = [
    "constant_table",
    "dependency_table",
    "event_table",
    "function_table",
    "plural",
    "resource_table",
    "shared_kind",
    "shared_table",
    "size_text",
    "status_table",
]

_SEVERITIES = ("info", "warn", "error")


def plural(count: int, word: str) -> str:
    """Return a count with its noun, in the plural if necessary.

    Examples
    --------
    >>> plural(1, "worker"), plural(4, "worker")
    ('1 worker', '4 workers')
    """
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def function_table(infos: Sequence[FunctionInfo]) -> Table:
    """Return the table of the registered functions."""
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
    """Return the table of the registered dependencies."""
    rows = [(info.alias, _target(info), info.installed_worker_count) for info in infos]
    return _table(
        ("name", "stands for", "workers"), rows, "No dependency is registered: %wpc_dep numpy as np."
    )


def upload_table(infos: Sequence[UploadInfo]) -> Table:
    """Return the table of what is uploaded."""
    rows = [
        (info.name, ", ".join(info.brings), size_text(info.nbytes), info.path, info.digest[:7])
        for info in infos
    ]
    columns = ("module", "brings", "size", "from", "hash")
    return _table(columns, rows, "Nothing is uploaded: %wpc_upload helpers.py.")


def _target(info: DependencyInfo) -> str:
    if info.is_default_export:
        return f"{info.module_specifier}.{info.module_specifier.rpartition('.')[2]}"
    return f"{info.module_specifier}.{info.export_name}" if info.export_name else info.module_specifier


def constant_table(infos: Sequence[ConstantInfo]) -> Table:
    """Return the table of the registered constants, without their values."""
    rows = [
        (info.name, info.type_name, size_text(info.nbytes), info.installed_worker_count) for info in infos
    ]
    return _table(
        ("name", "type", "size", "workers"), rows, "No constant is registered: %wpc_const SEED = 42."
    )


def resource_table(infos: Sequence[ResourceInfo]) -> Table:
    """Return the table of the registered resources, without the objects."""
    rows = [
        (
            info.name,
            info.made_by,
            ", ".join(info.requires),
            "at start" if info.eager else "on first use",
            "" if info.timeout_ms is None else info.timeout_ms,
            info.installed_worker_count,
            info.revision,
        )
        for info in infos
    ]
    columns = ("name", "made by", "needs", "made", "time-out ms", "workers", "revision")
    return _table(columns, rows, "No resource is registered: %%wpc_resource NAME on top of a cell does it.")


def shared_table(infos: Sequence[SharedInfo], states: Mapping[str, Any] | None = None) -> Table:
    """Return the table of the shared objects.

    Parameters
    ----------
    infos : sequence of SharedInfo
        The objects.
    states : mapping, optional
        Counters and queues, whose state is to be shown, by their names.

    Examples
    --------
    >>> shared_table([SharedInfo("grid", "array", 2, 80, (10,), "float64")]).rows
    [('grid', 'array of float64 (10)', '80 B', 2, 1)]
    """
    rows: list[tuple[Any, ...]] = []
    for info in infos:
        row = (info.name, shared_kind(info), size_text(info.nbytes), info.installed_worker_count)
        state = () if states is None else (_shared_state(states.get(info.name)),)
        rows.append((*row, info.revision, *state))
    columns = ("name", "kind", "size", "workers", "revision", *(() if states is None else ("now",)))
    return _table(columns, rows, "Nothing is shared: %wpc_shared grid = np.zeros(10).")


def _shared_state(shared: Any) -> str:
    if isinstance(shared, SharedCounter):
        return str(shared.value)
    return plural(len(shared), "item") if isinstance(shared, SharedQueue) else ""


def shared_kind(info: SharedInfo) -> str:
    """Return what a shared object is, in words."""
    if info.kind == "queue":
        return f"queue of {info.shape[0]} items at most"
    if info.kind == "array":
        return f"array of {info.dtype} ({' × '.join(map(str, info.shape))})"
    return info.kind


def _waiting_text(worker: WorkerSnapshot) -> str:
    """Return what is shown in the place of a call: why there is no process; empty: it has one, or soon."""
    return f"waits: {worker.waits_for}" if worker.waits_for else ""


def status_table(snapshot: PoolSnapshot) -> Table:
    """Return the table of the workers."""
    hosts = ["host"] if any(worker.host for worker in snapshot.workers) else []
    rows = [
        (
            worker.worker_id,
            worker.health_state,
            "" if worker.pid is None else worker.pid,
            worker.current_call or _waiting_text(worker),
            "" if worker.running_s is None else f"{worker.running_s:.1f} s",
            worker.waiting,
            worker.done,
            worker.failed,
            worker.restarts,
            "" if worker.memory_bytes is None else size_text(worker.memory_bytes),
            "" if worker.cpu_percent is None else f"{worker.cpu_percent:.0f} %",
            *([worker.host] if hosts else []),
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
        *hosts,
    )
    caption = " · ".join(
        (
            f"{snapshot.name} {snapshot.state}",
            f"{snapshot.queued} queued",
            f"{snapshot.in_flight} in flight",
            f"{snapshot.done} done",
            f"{snapshot.failed} failed",
            *([f"{snapshot.cancelled} cancelled"] if snapshot.cancelled else []),
        )
    )
    return _table(columns, rows, f"{caption}. No worker runs: %wpc_start starts them.", caption)


def event_table(
    events: Sequence[WorkerEvent], count: int, severity: str | None = None, worker_id: int | None = None
) -> Table:
    """Return the table of the latest events, the latest last.

    Parameters
    ----------
    events : sequence of WorkerEvent
        The event history, oldest first.
    count : int
        How many to return at most.
    severity : {"info", "warn", "error"}, optional
        The minimum severity.
    worker_id : int, optional
        Only the events of this worker.
    """
    min_severity = _SEVERITIES.index(severity or "info")
    selected = [
        event
        for event in events
        if _SEVERITIES.index(event.severity) >= min_severity and worker_id in (None, event.worker_id)
    ]
    rows = [
        (
            event.timestamp[11:23],  # the time of day: the history begins with the kernel
            event.worker_id or "pool",
            event.severity,
            event.event_name,
            event.correlation_id or "",
            _detail(event),
        )
        for event in selected[-count:]
    ]
    columns = ("time (UTC)", "worker", "severity", "event", "call", "details")
    return _table(columns, rows, "No such event.")


def _detail(event: WorkerEvent) -> str:
    """Return the details of an event, in one line.

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
        details.pop("exitcode", None)  # part of the reason already
        parts.append(details.pop("reason"))
    if "call" in details:
        details.pop("function", None)  # part of the call already
        parts.append(f"{details.pop('call')} {details.pop('arguments', '')}".rstrip())
    if event.error is not None:
        # The module of a class from a cell has a generated name, which is meaningless to users.
        name = re.sub(r"^wpc_cell_\w+\.", "", event.error.name)
        parts.append(f"{name}: {event.error.message}")
    parts += [
        f"{key} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for key, value in details.items()
    ]
    return " · ".join(parts)


def size_text(nbytes: float) -> str:
    """Return a size in a unit that makes the number short.

    Examples
    --------
    >>> size_text(512), size_text(64 * 2**20)
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
