"""Turns a snapshot of the pool into a frame to show, and computes patches between frames; pure functions.

::

    PoolSnapshot, events ── frame_of ──> Frame ── diff(last frame) ──> Patch, or None if nothing changed
                                                                           │
                                   the page's copy of the last Frame ── apply ──> its new copy
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

from wpc_magic.pool.core.events import WorkerEvent
from wpc_magic.pool.core.snapshot import LeavingProcess, PoolSnapshot, WorkerSnapshot

from .meter import NO_READING, Reading

__all__ = [
    "KEPT_EVENTS",
    "EventRow",
    "Frame",
    "Patch",
    "PoolRow",
    "WorkerRow",
    "apply",
    "diff",
    "event_row",
    "frame_of",
]

KEPT_EVENTS = 200
"""How many events a frame holds, so that a page that opens later can show them."""

_LONGEST_TEXT = 600  # one event must not dominate the size of a frame
_ERRORS = frozenset(
    {"call_execution_failed", "call_timed_out"}
)  # of a user's function: an error to whoever looks
_STOPPABLE_S = 1.0  # how long a call has to run until it can be stopped
_JITTER_S = 0.5  # two snapshots of a call may differ by this much in its start time


class PoolRow(TypedDict):
    """The pool as a whole."""

    name: str
    state: str
    queued: int
    in_flight: int
    calls: int  # single calls that have ended, in whatever way
    items: int  # items of maps that have ended, in whatever way
    done: int
    failed: int
    cancelled: int
    functions: int
    dependencies: int
    constants: int
    resources: int
    shared: int
    spare_workers: int


class LeavingRow(TypedDict):
    """A process that was replaced, and finishes its calls."""

    n: int  # which process of the pool it is
    pid: int | None
    call: str | None
    since: float | None
    call_ids: list[str]  # the ids of the calls that can be stopped


class WorkerRow(TypedDict):
    """One worker; times are in seconds of the epoch, so that a row does not change as time passes."""

    id: int
    state: str
    pid: int | None
    call: str | None
    since: float | None  # when the call began
    back_at: float | None  # when the slot is restarted
    waiting: int
    done: int
    failed: int
    restarts: int
    memory: str
    cpu: int | None
    host: str  # the machine of its process, or of its last one; empty: this one
    waits: str  # why it has no process, if a cluster has no place for it
    call_ids: list[str]  # of calls that can be stopped: a short one has ended before a click
    leaving: list[LeavingRow]


class EventRow(TypedDict):
    """One line of the log."""

    n: int  # counts up by one; identifies the events that are shown already
    id: str
    at: str
    worker: int
    severity: str
    level: str  # the severity to a person: what went wrong in a function of theirs is an error
    name: str
    call: str
    text: str


class Frame(TypedDict):
    """Everything that the dashboard shows; JSON-serializable and immutable."""

    pool: PoolRow
    workers: list[WorkerRow]
    events: list[EventRow]


Patch: TypeAlias = dict[str, Any]
"""The difference of two frames.

``pool`` has the fields that changed; ``workers`` the same for each worker that changed, with its ``id``;
``removed`` the ids of removed workers; ``events`` the new events. Empty parts are absent.
"""

EMPTY = Frame(
    pool=PoolRow(
        name="",
        state="stopped",
        queued=0,
        in_flight=0,
        calls=0,
        items=0,
        done=0,
        failed=0,
        cancelled=0,
        functions=0,
        dependencies=0,
        constants=0,
        resources=0,
        shared=0,
        spare_workers=0,
    ),
    workers=[],
    events=[],
)
"""The frame before the first poll."""


def frame_of(
    snapshot: PoolSnapshot,
    events: Sequence[WorkerEvent],
    now: float,
    *,
    readings: Mapping[int, Reading] | None = None,
    last: Frame | None = None,
) -> Frame:
    """Return the frame of a pool.

    Parameters
    ----------
    snapshot : PoolSnapshot
        The pool.
    events : sequence of WorkerEvent
        Those in the history, oldest first; those in `last` are recognised.
    now : float
        When the snapshot was taken, in seconds of the epoch.
    readings : mapping, optional
        Memory and processor use to show, by worker.
    last : Frame, optional
        The previous frame: its times are kept where they differ by jitter only.

    Examples
    --------
    >>> worker = WorkerSnapshot(1, "ready", 4711, current_call="simulate #12", running_s=2.0)
    >>> frame = frame_of(PoolSnapshot("wpc", "running", (worker,)), [], 100.0)
    >>> frame["workers"][0]["call"], frame["workers"][0]["since"]
    ('simulate #12', 98.0)
    """
    last = last or EMPTY
    before = {row["id"]: row for row in last["workers"]}
    readings = readings or {}
    pool = PoolRow(
        name=snapshot.name,
        state=snapshot.state,
        queued=snapshot.queued,
        in_flight=snapshot.in_flight,
        calls=snapshot.calls,
        items=snapshot.items,
        done=snapshot.done,
        failed=snapshot.failed,
        cancelled=snapshot.cancelled,
        functions=snapshot.functions,
        dependencies=snapshot.dependencies,
        constants=snapshot.constants,
        resources=snapshot.resources,
        shared=snapshot.shared,
        spare_workers=snapshot.spare_workers,
    )
    workers = [
        _worker_row(worker, before.get(worker.worker_id), readings.get(worker.worker_id, NO_READING), now)
        for worker in snapshot.workers
    ]
    return Frame(pool=pool, workers=workers, events=_event_rows(events, last["events"]))


def _worker_row(worker: WorkerSnapshot, before: WorkerRow | None, reading: Reading, now: float) -> WorkerRow:
    same_process = before is not None and before["pid"] == worker.pid
    same_call = before is not None and same_process and before["call"] == worker.current_call
    stays = worker.pid is None and not worker.waits_for  # its next process is most likely there, too
    since = None if worker.running_s is None else now - worker.running_s
    back_at = None if worker.restart_in_s is None else now + worker.restart_in_s
    # As a literal: there is a row for each worker, several times a second.
    return {
        "id": worker.worker_id,
        "state": worker.health_state,
        "pid": worker.pid,
        "call": worker.current_call,
        "since": _stabilized(before["since"] if before is not None and same_call else None, since),
        "back_at": _stabilized(before["back_at"] if before is not None and same_process else None, back_at),
        "waiting": worker.waiting,
        "done": worker.done,
        "failed": worker.failed,
        "restarts": worker.restarts,
        "memory": reading.memory,
        "cpu": reading.cpu,
        "waits": worker.waits_for,
        "host": worker.host or (before["host"] if before is not None and stays else ""),
        "call_ids": list(worker.call_ids) if (worker.running_s or 0.0) >= _STOPPABLE_S else [],
        "leaving": _leaving_rows(worker.leaving, before["leaving"] if before is not None else [], now)
        if worker.leaving
        else [],
    }


def _leaving_rows(
    processes: Iterable[LeavingProcess], before: list[LeavingRow], now: float
) -> list[LeavingRow]:
    known = {(row["n"], row["call"]): row["since"] for row in before}
    return [
        LeavingRow(
            n=each.incarnation,
            pid=each.pid,
            call=each.current_call,
            since=_stabilized(
                known.get((each.incarnation, each.current_call)),
                None if each.running_s is None else now - each.running_s,
            ),
            call_ids=list(each.call_ids),
        )
        for each in processes
    ]


def _stabilized(before: float | None, timestamp: float | None) -> float | None:
    """Return the timestamp, or the previous one if they differ by jitter only."""
    if timestamp is None:
        return None
    return before if before is not None and abs(timestamp - before) < _JITTER_S else round(timestamp, 2)


def _event_rows(events: Sequence[WorkerEvent], before: list[EventRow]) -> list[EventRow]:
    known = (before[-1]["id"], before[-1]["at"]) if before else None
    new: list[WorkerEvent] = []
    for event in reversed(events):
        if (event.event_id, event.timestamp) == known or len(new) == KEPT_EVENTS:
            break
        new.append(event)
    if not new:
        return before  # the same list, so that comparing is cheap
    first = before[-1]["n"] + 1 if before else 1
    rows = [event_row(event, number) for number, event in enumerate(reversed(new), first)]
    return [*before, *rows][-KEPT_EVENTS:]


def event_row(event: WorkerEvent, number: int) -> EventRow:
    """Return the row of an event, which is numbered as given."""
    return EventRow(
        n=number,
        id=event.event_id,
        at=event.timestamp,
        worker=event.worker_id,
        severity=event.severity,
        level="error" if event.event_name in _ERRORS else event.severity,
        name=event.event_name,
        call=event.correlation_id or "",
        text=_shortened(_event_text(event)),
    )


def _event_text(event: WorkerEvent) -> str:
    """Return the details of an event as one line.

    Examples
    --------
    >>> details = {"from": "ready", "to": "restarting"}
    >>> _event_text(WorkerEvent("e", 1, "parent", "moved", "info", "now", details=details))
    'ready → restarting'
    """
    details = dict(event.details)
    parts = []
    if "from" in details and "to" in details:
        parts.append(f"{details.pop('from')} → {details.pop('to')}")
    if event.error is not None:
        parts.append(f"{event.error.name}: {event.error.message}")
    for key, value in details.items():
        if isinstance(value, list | tuple):
            value = ", ".join(map(str, value))
        if value not in (None, ""):
            parts.append(f"{key}={value}")
    return " · ".join(parts)


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def diff(last: Frame, frame: Frame) -> Patch | None:
    """Return the patch from `last` to `frame`, or None if they are equal.

    Examples
    --------
    >>> last = frame_of(PoolSnapshot("wpc", "running", (WorkerSnapshot(1, "ready"),), queued=2), [], 0.0)
    >>> next_ = frame_of(PoolSnapshot("wpc", "running", (WorkerSnapshot(1, "ready", done=1),)), [], 0.1)
    >>> diff(last, next_)
    {'pool': {'queued': 0}, 'workers': [{'id': 1, 'done': 1}]}
    >>> diff(next_, next_) is None
    True
    """
    patch: Patch = {}
    if pool := _changed(last["pool"], frame["pool"]):
        patch["pool"] = pool
    before = {row["id"]: row for row in last["workers"]}
    workers = []
    for row in frame["workers"]:
        if changed := _changed(before.pop(row["id"], {}), row):
            workers.append({"id": row["id"], **changed})
    if workers:
        patch["workers"] = workers
    if before:
        patch["removed"] = list(before)
    if frame["events"] is not last["events"]:
        newest = last["events"][-1]["n"] if last["events"] else 0
        if events := [row for row in frame["events"] if row["n"] > newest]:
            patch["events"] = events
    return patch or None


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that differ; all rows of a kind have the same fields."""
    return {key: value for key, value in now.items() if before[key] != value} if before else dict(now)


def apply(last: Frame, patch: Patch) -> Frame:
    """Return the result of applying a patch to a frame; the reference for what the page does.

    Parameters
    ----------
    last : Frame
        The frame from which the patch was computed; it is not modified.
    patch : Patch
        The changes.
    """
    removed = set(patch.get("removed", ()))
    rows: dict[int, Any] = {row["id"]: row for row in last["workers"] if row["id"] not in removed}
    for changed in patch.get("workers", ()):
        rows[changed["id"]] = {**rows.get(changed["id"], {}), **changed}
    events: Iterable[EventRow] = [*last["events"], *patch.get("events", ())]
    pool: Any = {**last["pool"], **patch.get("pool", {})}
    return Frame(
        pool=pool,
        workers=[rows[number] for number in sorted(rows)],
        events=list(events)[-KEPT_EVENTS:],
    )
