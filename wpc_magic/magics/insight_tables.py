"""How functions and maps have run, as advice and tables, in text and HTML."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from typing import Any

from wpc_magic.dashboard.table import Table
from wpc_magic.pool.core.durations import shown_us
from wpc_magic.pool.core.insights import FunctionInsight, Insights, MapInsight, SlowCall

from .tables import size_text

__all__ = ["InsightReport"]

_MAX_FUNCTIONS = 20
_MAX_SPLIT = 5  # functions that are shown by worker


class InsightReport:
    """Advice, and tables below it.

    Parameters
    ----------
    insights : Insights
        What is known.

    Examples
    --------
    >>> InsightReport(Insights())
    Nothing has run yet.
    """

    def __init__(self, insights: Insights) -> None:
        self.advice = insights.advice
        self.tables = [table for table in _tables(insights) if table.rows]

    def __repr__(self) -> str:
        if not self.tables:
            return "Nothing has run yet."
        lines = [f"→ {line}" for line in self.advice]
        return "\n\n".join(["\n".join(lines)] * bool(lines) + [repr(table) for table in self.tables])

    def _repr_html_(self) -> str:
        if not self.tables:
            return "<p>Nothing has run yet.</p>"
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in self.advice)
        advice = f'<ul class="wpc-advice">{lines}</ul>\n' if lines else ""
        return advice + "\n".join(table._repr_html_() for table in self.tables)


def _tables(insights: Insights) -> list[Table]:
    functions = _with_labels(insights.functions[:_MAX_FUNCTIONS])
    return [
        Table(
            ("function", "calls", "failed", "one takes", "working", "sent", "slowest"),
            [_of_function(*each) for each in functions],
            "functions",
        ),
        Table(
            ("function", "worker", "working", "waiting"),
            [row for each in functions[:_MAX_SPLIT] for row in _by_worker(*each)],
            "workers, while calls of the function ran",
        ),
        Table(
            ("map over", "items", "failed", "took", "workers busy", "slowest"),
            [
                (
                    each.name,
                    each.items,
                    each.failed,
                    shown_us(each.took_s),
                    _percent(each.working_share),
                    _slowest_item(each),
                )
                for each in insights.maps
            ],
            "the latest maps",
        ),
    ]


def _with_labels(functions: Sequence[FunctionInsight]) -> list[tuple[str, FunctionInsight]]:
    """Return functions with their names; where several have one, with what tells them apart."""
    names = Counter(each.name for each in functions)
    others: Counter[str] = Counter()  # those of a name that are not registered
    labelled = []
    for each in functions:
        label = each.name
        if names[label] > 1:
            if each.revision:
                label += f" (revision {each.revision})"
            else:
                others[each.name] += 1
                label += f" (not registered, {others[each.name]})"
        labelled.append((label, each))
    return labelled


def _of_function(label: str, each: FunctionInsight) -> tuple[Any, ...]:
    return (
        label,
        each.calls,
        each.failed,
        "" if each.mean_s is None else shown_us(each.mean_s),
        shown_us(each.working_s),
        size_text(each.sent_bytes) if each.measured else "",
        "; ".join(map(_slow, each.slowest[:3])),
    )


def _slow(each: SlowCall) -> str:
    return f"{each}: {shown_us(each.ran_s)}"


def _by_worker(label: str, each: FunctionInsight) -> list[tuple[Any, ...]]:
    rows = []
    for worker in each.workers:
        share = each.working_share(worker)
        rest = None if share is None else 1 - share
        rows.append((label, worker, _percent(share), _percent(rest)))
    return rows


def _percent(share: float | None) -> str:
    return "" if share is None else f"{round(100 * share)} %"


def _slowest_item(each: MapInsight) -> str:
    if not each.slowest_s:  # all of them were too quick to be measured one by one
        return ""
    first, last = each.slowest_item, each.slowest_item + each.slowest_count - 1
    items = f"item {first}" if first == last else f"items {first} to {last}"
    return f"{items}: {shown_us(each.slowest_s)}"
