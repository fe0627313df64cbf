"""From a picture of the pool to what the dashboard shows, and what of it is new; pure.

::

    PoolSnapshot, events ── frame_of ──> Frame ── diff(the last one) ──> Patch, or None if all is the same
                                                                           │
                                   the page's copy of the last Frame ── apply ──> the page's copy
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

from wpc_magic.pool.mind.events import WorkerEvent
from wpc_magic.pool.mind.snapshot import PoolSnapshot, WorkerSnapshot

from .meter import NO_READING, Reading

__all__ = ["KEPT_EVENTS", "EventRow", "Frame", "Patch", "PoolRow", "WorkerRow", "apply", "diff", "frame_of"]

KEPT_EVENTS = 200
"""How many events a frame holds: what a view that opens later can still show."""

_LONGEST_TEXT = 600  # one event must not outweigh the rest of the frame
_JITTER_S = 0.5  # two snapshots of one call do not agree better than this on when it began


class PoolRow(TypedDict):
    """The pool as a whole."""

    name: str
    state: str
    queued: int
    in_flight: int
    done: int
    failed: int
    functions: int
    dependencies: int
    constants: int


class WorkerRow(TypedDict):
    """One worker; times are seconds of the epoch, so that they stay the same while they pass."""

    id: int
    state: str
    pid: int | None
    call: str | None
    since: float | None  # when the call began
    back_at: float | None  # when the slot is filled again
    waiting: int
    done: int
    failed: int
    restarts: int
    memory: str
    cpu: int | None


class EventRow(TypedDict):
    """One line of the log."""

    n: int  # counts up by one; what has been shown is known by it
    id: str
    at: str
    worker: int
    severity: str
    name: str
    call: str
    text: str


class Frame(TypedDict):
    """All that the dashboard shows; JSON-able, and never changed once it is made."""

    pool: PoolRow
    workers: list[WorkerRow]
    events: list[EventRow]


Patch: TypeAlias = dict[str, Any]
"""What makes one frame of another.

``pool`` has the fields that changed; ``workers`` the same for each worker that changed, with its ``id``;
``gone`` the ids of those that are no more; ``events`` the new ones. What is empty is absent.
"""

EMPTY = Frame(
    pool=PoolRow(
        name="",
        state="stopped",
        queued=0,
        in_flight=0,
        done=0,
        failed=0,
        functions=0,
        dependencies=0,
        constants=0,
    ),
    workers=[],
    events=[],
)
"""What there is to see before anything has been looked at."""


def frame_of(
    snapshot: PoolSnapshot,
    events: Sequence[WorkerEvent],
    now: float,
    *,
    readings: Mapping[int, Reading] | None = None,
    last: Frame | None = None,
) -> Frame:
    """Return what to show of a pool.

    Parameters
    ----------
    snapshot : PoolSnapshot
        The pool.
    events : sequence of WorkerEvent
        Those that are kept, oldest first; those that `last` has are recognised.
    now : float
        When the snapshot was taken, in seconds of the epoch.
    readings : mapping, optional
        Memory and processor use to show, by worker.
    last : Frame, optional
        The frame before: its times are kept where they mean the same.

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
        done=snapshot.done,
        failed=snapshot.failed,
        functions=snapshot.functions,
        dependencies=snapshot.dependencies,
        constants=snapshot.constants,
    )
    workers = [
        _worker_row(worker, before.get(worker.worker_id), readings.get(worker.worker_id, NO_READING), now)
        for worker in snapshot.workers
    ]
    return Frame(pool=pool, workers=workers, events=_event_rows(events, last["events"]))


def _worker_row(worker: WorkerSnapshot, before: WorkerRow | None, reading: Reading, now: float) -> WorkerRow:
    same_process = before is not None and before["pid"] == worker.pid
    same_call = before is not None and same_process and before["call"] == worker.current_call
    since = None if worker.running_s is None else now - worker.running_s
    back_at = None if worker.restart_in_s is None else now + worker.restart_in_s
    return WorkerRow(
        id=worker.worker_id,
        state=worker.health_state,
        pid=worker.pid,
        call=worker.current_call,
        since=_steady(before["since"] if before is not None and same_call else None, since),
        back_at=_steady(before["back_at"] if before is not None and same_process else None, back_at),
        waiting=worker.waiting,
        done=worker.done,
        failed=worker.failed,
        restarts=worker.restarts,
        memory=reading.memory,
        cpu=reading.cpu,
    )


def _steady(before: float | None, stamp: float | None) -> float | None:
    """Return the stamp, or the one before it if they mean the same moment."""
    if stamp is None:
        return None
    return before if before is not None and abs(stamp - before) < _JITTER_S else round(stamp, 2)


def _event_rows(events: Sequence[WorkerEvent], before: list[EventRow]) -> list[EventRow]:
    known = (before[-1]["id"], before[-1]["at"]) if before else None
    new: list[WorkerEvent] = []
    for event in reversed(events):
        if (event.event_id, event.timestamp) == known or len(new) == KEPT_EVENTS:
            break
        new.append(event)
    if not new:
        return before  # the same list: nothing has to be compared
    first = before[-1]["n"] + 1 if before else 1
    rows = [_event_row(event, number) for number, event in enumerate(reversed(new), first)]
    return [*before, *rows][-KEPT_EVENTS:]


def _event_row(event: WorkerEvent, number: int) -> EventRow:
    return EventRow(
        n=number,
        id=event.event_id,
        at=event.timestamp,
        worker=event.worker_id,
        severity=event.severity,
        name=event.event_name,
        call=event.correlation_id or "",
        text=_shortened(_event_text(event)),
    )


def _event_text(event: WorkerEvent) -> str:
    """Return in one line what an event says beside its name.

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
    """Return what makes `frame` of `last`, or None if they are the same.

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
        patch["gone"] = list(before)
    newest = last["events"][-1]["n"] if last["events"] else 0
    if events := [row for row in frame["events"] if row["n"] > newest]:
        patch["events"] = events
    return patch or None


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    missing = object()
    return {key: value for key, value in now.items() if before.get(key, missing) != value}


def apply(last: Frame, patch: Patch) -> Frame:
    """Return the frame that a patch makes of the last one: what the page does, written down.

    Parameters
    ----------
    last : Frame
        The frame that the patch was made against; it is left as it is.
    patch : Patch
        What changed.
    """
    gone = set(patch.get("gone", ()))
    rows: dict[int, Any] = {row["id"]: row for row in last["workers"] if row["id"] not in gone}
    for changed in patch.get("workers", ()):
        rows[changed["id"]] = {**rows.get(changed["id"], {}), **changed}
    events: Iterable[EventRow] = [*last["events"], *patch.get("events", ())]
    pool: Any = {**last["pool"], **patch.get("pool", {})}
    return Frame(
        pool=pool,
        workers=[rows[number] for number in sorted(rows)],
        events=list(events)[-KEPT_EVENTS:],
    )
