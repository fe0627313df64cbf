"""A worker, opened: what its process runs with, its last calls, and its log."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict

from .details import CallRow, call_row
from .view import event_row

__all__ = ["LogLine", "WorkerDetails", "worker_details"]

_ANSWER_MS = 5_000  # a worker that is stopped does not answer, and then other clicks wait for so long
_LATEST = 10  # calls
_LOOKED_AT = 5_000  # calls among which they are looked for
_EVENTS = 15
_LINES = 40  # of output
_LONGEST_LINE = 500


class LogLine(TypedDict):
    """A line of what a worker has printed, or an event of it."""

    at: str  # when it happened, as text; empty: it is not known of output
    call: str  # the call that has printed it
    text: str


class WorkerDetails(TypedDict):
    """A worker, opened."""

    facts: list[tuple[str, str]]  # what its process runs with: a word for it, and the text
    calls: list[CallRow]  # the latest first
    output: list[LogLine]  # the latest last, as the events
    events: list[LogLine]


def worker_details(pool: Any, number: int) -> WorkerDetails:
    """Return what is known of a worker.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    number : int
        The worker.
    """
    found = pool.worker_details(number, timeout_ms=_ANSWER_MS)
    calls = [call for call in pool.history(latest=_LOOKED_AT).calls if call.worker_id == number]
    events = [event for event in pool.events() if event.worker_id == number][-_EVENTS:]
    return WorkerDetails(
        facts=_facts(found.runs_with),
        calls=[call_row(call) for call in reversed(calls[-_LATEST:])],
        output=_lines(found.output),
        events=[_event_line(event) for event in events],
    )


def _facts(runs_with: Any) -> list[tuple[str, str]]:
    if runs_with is None:
        return []
    return [
        ("Python", runs_with.python),
        ("Folder", runs_with.folder or "it is gone"),
        ("Packages", ", ".join(f"{name} {version}" for name, version in runs_with.packages)),
        *((name, value) for name, value in runs_with.variables),
    ]


def _lines(output: Iterable[tuple[int | None, str]]) -> list[LogLine]:
    r"""Return the last lines of texts that may begin and end within a line.

    Examples
    --------
    >>> [(line["call"], line["text"]) for line in _lines([(7, "one\ntw"), (7, "o\n"), (None, "three")])]
    [('#7', 'one'), ('#7', 'two'), ('', 'three')]
    """
    lines: list[LogLine] = []
    goes_on = False
    for call, text in output:
        name = "" if call is None else f"#{call}"
        for piece in text.splitlines(keepends=True):
            if goes_on and lines[-1]["call"] == name:
                lines[-1]["text"] += piece.rstrip("\r\n")
            else:
                lines.append(LogLine(at="", call=name, text=piece.rstrip("\r\n")))
            goes_on = not piece.endswith(("\n", "\r"))
    for line in lines:
        line["text"] = line["text"][:_LONGEST_LINE]
    return lines[-_LINES:]


def _event_line(event: Any) -> LogLine:
    row = event_row(event, 0)
    return LogLine(at=row["at"], call=row["call"], text=f"{row['name']} {row['text']}".strip())
