"""What a pool has run, as one page of HTML that needs nothing else: no script, no server, no other file."""

from __future__ import annotations

import html
import platform
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from wpc_magic.pool.core.ended_calls import EndedCall, PoolHistory
from wpc_magic.pool.core.events import WorkerEvent
from wpc_magic.pool.core.snapshot import PoolSnapshot

from .function_rows import FunctionRow, function_rows
from .live_timeline import take_timeline
from .static_view import elapsed_text
from .table import Table
from .timeline import Timeline
from .timeline_svg import COLOURS, timeline_svg
from .view import frame_of

__all__ = ["report_html", "take_report"]

_FAILURES = 100
_EVENTS = 200
_LONGEST = 300  # characters of an error or its arguments
_STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.45; }
body { margin: 2rem auto; max-width: 1100px; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2rem; }
figure { margin: 0; overflow-x: auto; } svg { min-width: 700px; width: 100%; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.9rem; }
th, td { border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); padding: 0.2rem 0.6rem; }
td { max-width: 60ch; overflow-wrap: break-word; }
.key { display: inline-block; height: 0.75em; margin: 0 0.35em 0 1em; width: 0.75em; }
""".strip()


def take_report(pool: Any, clock: Callable[[], float] = time.time) -> str:
    """Return the report of a pool.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    clock : callable
        Returns the time, in seconds of the epoch.
    """
    history, events = pool.history(), pool.events()
    now = clock()
    begun = [call.began_at for call in history.calls if call.began_at is not None]
    return report_html(
        pool.snapshot(),
        history,
        function_rows(pool.statistics().functions, pool.get_remote_functions()),
        events,
        pool.insights().advice,
        take_timeline(pool, since=min(begun, default=now) - 1e-3, until=now),
        now,
    )


def report_html(
    snapshot: PoolSnapshot,
    history: PoolHistory,
    functions: Sequence[FunctionRow],
    events: Sequence[WorkerEvent],
    advice: Iterable[str],
    timeline: Timeline,
    now: float,
) -> str:
    """Return the report; pure.

    Parameters
    ----------
    snapshot : PoolSnapshot
        The pool.
    history : PoolHistory
        The calls that have ended last.
    functions : sequence of FunctionRow
        How each function has run.
    events : sequence of WorkerEvent
        What happened, oldest first.
    advice : iterable of str
        What stands out, in words.
    timeline : Timeline
        What has run when.
    now : float
        The time, in seconds of the epoch.
    """
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now))
    title = html.escape(f"{snapshot.name}: what it has run")
    sections = [
        _section("Timeline", _figure(timeline)),
        _section("Functions", _table(_function_table(functions, _quantiles(history.calls)))),
        _section("Failures", _table(_failure_table(history.calls))),
        _section("Workers", _table(_worker_table(history, now))),
        _section("What stands out", _list(advice)),
        _section("Events", _table(_event_table(snapshot, events, now))),
    ]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" '
            "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{title}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n<main>",
            f"<h1>{title}</h1>",
            f"<p>{html.escape(at)} · Python {html.escape(platform.python_version())} · "
            f"{html.escape(_counts(snapshot))}</p>",
            *(section for section in sections if section),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _counts(snapshot: PoolSnapshot) -> str:
    """Return the counts of a pool, in words.

    Examples
    --------
    >>> _counts(PoolSnapshot("wpc", "running", calls=1, items=2000, failed=3))
    'running, 0 workers · 1 call · 2,000 items of maps · 3 failed · 0 cancelled'
    """
    calls, workers = snapshot.calls, len(snapshot.workers)
    return (
        f"{snapshot.state}, {workers} worker{'s' * (workers != 1)} · {calls:,} call{'s' * (calls != 1)} · "
        f"{snapshot.items:,} items of maps · {snapshot.failed:,} failed · {snapshot.cancelled:,} cancelled"
    )


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{html.escape(title)}</h2>\n{content}\n</section>" if content else ""


def _table(table: Table) -> str:
    return f'<div class="scroll">\n{table._repr_html_()}\n</div>' if table.rows else ""


def _list(lines: Iterable[str]) -> str:
    items = "\n".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<ul>\n{items}\n</ul>" if items else ""


def _figure(timeline: Timeline) -> str:
    if not timeline["bars"]:
        return "<p>No call has run.</p>"
    keys = "".join(
        f'<span class="key" style="background: {COLOURS[number % len(COLOURS)]}"></span>{html.escape(name)}'
        for number, name in enumerate(timeline["functions"][:30])
    )
    return f"<figure>\n{timeline_svg(timeline)}\n<figcaption>{keys}</figcaption>\n</figure>"


def _quantiles(calls: Iterable[EndedCall]) -> dict[str, tuple[float, float, float]]:
    """Return how long the calls of each function, or the items of maps, took: exactly, where they are kept.

    Examples
    --------
    >>> of = lambda s, items: EndedCall(1, "f", 1, 1, 1, 1, "done", 0.0, 0.0, 0.0, s, items)
    >>> _quantiles([of(1.0, 0), of(2.0, 0), of(30.0, 10)])
    {'f': (2.0, 3.0, 3.0)}
    """
    took: dict[str, list[float]] = {}
    for call in calls:
        if call.ran_s is not None and call.state != "retried":
            took.setdefault(call.function, []).append(call.ran_s / (call.items or 1))
    found = {}
    for name, seconds in took.items():
        seconds.sort()
        p50, p95, p99 = (seconds[min(len(seconds) - 1, int(q * len(seconds)))] for q in (0.5, 0.95, 0.99))
        found[name] = p50, p95, p99
    return found


def _function_table(
    functions: Iterable[FunctionRow], exact: Mapping[str, tuple[float, float, float]]
) -> Table:
    """Return the functions, the one that took most first; quantiles are estimates where no call is kept."""
    rows = [
        (
            row["name"],
            row["version"] or "",
            row["calls"],
            row["items"],
            row["failed"],
            row["cancelled"],
            *map(_duration, exact.get(row["name"], (row["p50"], row["p95"], row["p99"]))),
            f"{row['share']:.0%}".replace("%", " %"),
            row["last_error"],
        )
        for row in sorted(functions, key=lambda row: (-row["share"], row["name"]))
        if row["calls"] or row["items"]
    ]
    columns = ("function", "version", "calls", "items", "failed", "cancelled", "p50", "p95", "p99")
    return Table((*columns, "share of time", "last error"), rows)


def _failure_table(calls: Sequence[EndedCall]) -> Table:
    failed = [call for call in calls if call.error or call.failed_items][-_FAILURES:]
    rows = [
        (
            time.strftime("%H:%M:%S", time.localtime(call.ended_at)),
            f"{call.function}{call.arguments[:_LONGEST]} #{call.number}",
            "" if call.worker_id is None else call.worker_id,
            call.state.replace("_", " "),
            _duration(call.ran_s),
            call.error[:_LONGEST] or f"{call.failed_items} of {call.items} items",
        )
        for call in reversed(failed)
    ]
    return Table(("time", "call", "worker", "ended", "after", "error"), rows)


def _worker_table(history: PoolHistory, now: float) -> Table:
    """Return the processes, with how much of their time the calls in the history have taken."""
    ran: dict[int, tuple[int, float]] = {}
    for call in history.calls:
        count, seconds = ran.get(call.incarnation, (0, 0.0))
        ran[call.incarnation] = count + 1, seconds + (call.ran_s or 0.0)
    first = min((call.queued_at for call in history.calls), default=now)
    rows = []
    for each in sorted(history.processes, key=lambda each: (each.worker_id, each.started_at)):
        count, seconds = ran.get(each.incarnation, (0, 0.0))
        there = (each.ended_at or now) - max(each.started_at, min(first, now))
        share = f"{min(1.0, seconds / there):.0%}".replace("%", " %") if there > 0 and count else ""
        started = time.strftime("%H:%M:%S", time.localtime(each.started_at))
        ended = "" if each.ended_at is None else time.strftime("%H:%M:%S", time.localtime(each.ended_at))
        rows.append((each.worker_id, each.pid, started, ended, each.reason, count, share))
    columns = ("worker", "process", "started", "ended", "why", "calls in the history", "busy")
    return Table(columns, rows)


def _event_table(snapshot: PoolSnapshot, events: Sequence[WorkerEvent], now: float) -> Table:
    shown = frame_of(snapshot, events[-_EVENTS:], now)["events"]
    rows = [
        (
            row["at"][11:19],
            str(row["worker"] or "pool"),
            row["severity"],
            row["name"],
            row["call"],
            row["text"],
        )
        for row in reversed(shown)
    ]
    return Table(("time (UTC)", "worker", "severity", "event", "call", "details"), rows)


def _duration(seconds: float | None) -> str:
    """Return a duration as text; empty: it is not known.

    Examples
    --------
    >>> _duration(0.0000132), _duration(0.25), _duration(75.0), _duration(None)
    ('13 µs', '250 ms', '1 min 15 s', '')
    """
    if seconds is None:
        return ""
    if seconds < 0.9995e-3:
        return f"{seconds * 1e6:.0f} µs"
    return f"{seconds * 1e3:.3g} ms" if seconds < 0.9995 else elapsed_text(seconds)
