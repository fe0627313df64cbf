"""A history as a trace in the format of Chrome, which Perfetto and ``chrome://tracing`` open; pure.

Each worker process is a process there, whose calls are slices of its thread. Readers want slices of one
thread to be nested, so calls that run side by side are in threads of their own. The pool is a process, too:
it has the number of calls that wait, and its events.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from .core.ended_calls import EndedCall, PoolHistory, WorkerProcess
from .core.events import WorkerEvent

__all__ = ["trace_of"]

_NS = 1_000_000_000
_LANES = 1_000  # thread ids for the calls of one process that run side by side
_SLACK_NS = 1_000_000  # calls that run one after another are not measured more exactly than this


def trace_of(
    history: PoolHistory, events: Iterable[WorkerEvent] = (), *, name: str = "wpc", pid: int = 0
) -> dict[str, Any]:
    """Return a trace; JSON-serializable.

    Parameters
    ----------
    history : PoolHistory
        The calls, and the processes.
    events : iterable of WorkerEvent
        What happened besides.
    name : str
        The pool's name.
    pid : int
        The process of the pool.

    Returns
    -------
    dict
        ``traceEvents``, in microseconds from the beginning on, which ``otherData`` says.

    Examples
    --------
    >>> call = EndedCall(7, "fit", 1, 2, 4711, 5, "done", 100.0, 100.0, 101.0, 103.5)
    >>> trace = trace_of(PoolHistory((call,), (WorkerProcess(5, 2, 4711, 100.0),)))
    >>> [(e["name"], e["ts"], e["dur"], e["pid"]) for e in trace["traceEvents"] if e["ph"] == "X"]
    [('fit', 1000000.0, 2500000.0, 4711)]
    """
    happened = [(each, datetime.fromisoformat(each.timestamp).timestamp()) for each in events]
    starts = [
        *(each.started_at for each in history.processes),
        *(each.queued_at for each in history.calls),
        *(at for _, at in happened),
    ]
    base = min(starts, default=0.0)
    pids = _pids(history.processes, pid)
    found: list[dict[str, Any]] = [_meta("process_name", pid, 0, name=f"{name} (pool)")]
    found.append(_meta("process_sort_index", pid, 0, sort_index=0))
    for process in history.processes:
        found += _process(process, pids[process.incarnation], base)
    lanes = _Lanes()
    for call in sorted(history.calls, key=lambda call: call.began_at or 0.0):
        if call.began_at is not None and call.incarnation in pids:
            found += lanes.slices(call, pids[call.incarnation], base)
    found += _waiting(history.calls, pid, base)
    for event, at in happened:
        found.append(_instant(event, at - base, pid))
    return {
        "traceEvents": found,
        "displayTimeUnit": "ms",
        "otherData": {"pool": name, "began_at": datetime.fromtimestamp(base).astimezone().isoformat()},
    }


def _pids(processes: Sequence[WorkerProcess], own: int) -> dict[int, int]:
    """Return the process id of each incarnation; another number where the system has given one twice."""
    taken, found = {own}, {}
    for each in processes:
        pid = each.pid if each.pid not in taken else max(taken) + 1
        taken.add(pid)
        found[each.incarnation] = pid
    return found


def _meta(what: str, pid: int, tid: int, **args: Any) -> dict[str, Any]:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "args": args}


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 3)


def _process(process: WorkerProcess, pid: int, base: float) -> list[dict[str, Any]]:
    """Return what is told of a process itself."""
    tid = process.incarnation * _LANES
    label = f"worker {process.worker_id}, process {process.pid}"
    found = [
        _meta("process_name", pid, tid, name=label),
        _meta("process_sort_index", pid, tid, sort_index=process.worker_id),
        _meta("thread_name", pid, tid, name=f"worker {process.worker_id}"),
    ]
    for at, what in ((process.started_at, "started"), (process.ended_at, process.reason or "ended")):
        if at is not None:
            found.append(
                {
                    "ph": "i",
                    "s": "p",
                    "cat": "process",
                    "name": what,
                    "ts": _us(at - base),
                    "pid": pid,
                    "tid": tid,
                }
            )
    return found


class _Lanes:
    """Gives each call the first thread of its process that is free."""

    def __init__(self) -> None:
        self._free_at: dict[int, list[int]] = {}  # by process, of each thread: since when, in nanoseconds

    def slices(self, call: EndedCall, pid: int, base: float) -> list[dict[str, Any]]:
        """Return the slice of a call, and the name of its thread if that is new."""
        assert call.began_at is not None
        start, end = round((call.began_at - base) * _NS), round((call.ended_at - base) * _NS)
        lanes = self._free_at.setdefault(pid, [])
        slack = min(_SLACK_NS, (end - start) // 2)
        lane = next((n for n, free in enumerate(lanes) if free <= start + slack), len(lanes))
        tid = call.incarnation * _LANES + min(lane, _LANES - 1)
        found = []
        if lane == len(lanes):
            lanes.append(0)
            if lane:
                found.append(_meta("thread_name", pid, tid, name=f"worker {call.worker_id}, side by side"))
        start = max(start, lanes[lane])
        lanes[lane] = end = max(start, end)
        return [
            *found,
            {
                "ph": "X",
                "cat": call.state,
                "name": call.function,
                "ts": start / 1e3,
                "dur": (end - start) / 1e3,
                "pid": pid,
                "tid": tid,
                "args": _arguments(call),
            },
        ]


def _arguments(call: EndedCall) -> dict[str, Any]:
    """Return what is shown of a call when it is clicked."""
    known: Mapping[str, Any] = {
        "call": call.number,
        "state": call.state,
        "version": call.version,
        "waited_ms": round(call.waited_s * 1e3, 3),
        "items": call.items,
        "failed_items": call.failed_items,
        "bytes_in": call.bytes_in,
        "bytes_out": call.bytes_out,
        "error": call.error,
        "arguments": call.arguments,
    }
    return {key: value for key, value in known.items() if value not in (None, "", 0) or key == "waited_ms"}


def _waiting(calls: Iterable[EndedCall], pid: int, base: float) -> list[dict[str, Any]]:
    """Return how many calls waited, whenever that changed."""
    changes = []
    for call in calls:
        if call.state != "retried":
            until = call.ended_at if call.began_at is None else call.began_at
            changes += [(call.queued_at, 1), (max(until, call.queued_at), -1)]
    found, waiting = [], 0
    for at, change in sorted(changes):
        waiting += change
        found.append(
            {
                "ph": "C",
                "name": "calls that wait",
                "ts": _us(at - base),
                "pid": pid,
                "tid": 0,
                "args": {"calls": max(0, waiting)},
            }
        )
    return found


def _instant(event: WorkerEvent, at: float, pid: int) -> dict[str, Any]:
    return {
        "ph": "i",
        "s": "p",
        "cat": event.severity,
        "name": event.event_name,
        "ts": _us(at),
        "pid": pid,
        "tid": 0,
        "args": {key: str(value) for key, value in event.as_dict().items() if key != "event_id"},
    }
