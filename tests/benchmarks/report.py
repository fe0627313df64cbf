"""The results as JSON, as a Markdown table, and as a plot."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .contestants import NEWER, PEERS, TITLES, US
from .targets import Judged, Results, Target, best_peer, judge
from .timing import Failed, Outcome, ratio

__all__ = ["as_json", "from_json", "markdown", "number", "plot"]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A measure that all contestants take part in.

    Parameters
    ----------
    key : str
        The key of the results.
    title, limit : str
        The descriptions of the measure and of its bare limit.
    scale : float
        The factor from seconds to the unit.
    unit : str
        The unit.
    """

    key: str
    title: str
    limit: str
    scale: float
    unit: str


COMPARISONS = [
    Comparison("call", "A no-op call, 1 worker", "a Pipe ping-pong", 1e6, "µs"),
    Comparison("call.apart", "A no-op call, the worker on a core of its own", "a Pipe ping-pong", 1e6, "µs"),
    Comparison("call.together", "A no-op call, both on one core", "a Pipe ping-pong", 1e6, "µs"),
    Comparison("burst", "A burst of 20,000 no-op calls, 2 workers, each", "", 1e6, "µs"),
    Comparison("callbacks.call", "A no-op call until its callback runs, 2 workers", "", 1e6, "µs"),
    Comparison("callbacks.cpu", "… processor time of the caller's process", "", 1e6, "µs"),
    Comparison("callbacks.burst", "A burst of 20,000 calls with callbacks, each", "", 1e6, "µs"),
    Comparison("as_completed", "A burst of 20,000 calls through `as_completed`, each", "", 1e6, "µs"),
    Comparison("wait", "… through `wait`, each", "", 1e6, "µs"),
    Comparison("map", "A map over 200,000 tiny items, 2 workers", "one process's plain loop", 1e3, "ms"),
    Comparison("array.echo", "64 MB of float64 there and back", "2 warm memcpy", 1e3, "ms"),
    Comparison("array.sample", "64 MB as an argument, read here and there", "1 warm memcpy", 1e3, "ms"),
    Comparison("executor.call", "A no-op call through an executor, 2 workers", "", 1e6, "µs"),
    Comparison("executor.burst", "A burst of 20,000 calls through an executor, each", "", 1e6, "µs"),
    Comparison("lambda.call", "A call of a lambda, 2 workers", "", 1e6, "µs"),
    Comparison("lambda.burst", "A burst of 20,000 calls of a lambda, each", "", 1e6, "µs"),
    Comparison("lambda.anew.call", "… made anew for each call, 2 workers", "", 1e6, "µs"),
    Comparison("lambda.anew.burst", "… made anew for each of 20,000, each", "", 1e6, "µs"),
    Comparison("joblib.tasks", "20,000 tiny tasks of joblib, 2 workers, each", "", 1e6, "µs"),
    Comparison("joblib.array", "8 MB as an argument of 100 tasks of joblib, each", "", 1e3, "ms"),
    Comparison("pipeline", "A call that needs one that needs another, 2 workers", "", 1e6, "µs"),
    Comparison("pipeline.array", "… of 64 MB, without the last value", "", 1e3, "ms"),
    Comparison("start", "4 workers, start to first answer", "4 × python -c pass", 1e3, "ms"),
]


def number(value: float) -> str:
    """Return a number with three significant digits.

    Examples
    --------
    >>> number(1234.5), number(12.34), number(0.012345), number(-0.3)
    ('1,230', '12.3', '0.0123', '-0.3')
    """
    if abs(value) >= 100:
        digits = max(0, len(str(int(abs(value)))) - 3)
        return f"{round(value, -digits):,.0f}"
    return f"{value:.3g}"


# -- JSON ---------------------------------------------------------------------------------------------------


def as_json(results: Results, about: Mapping[str, Any]) -> dict[str, Any]:
    """Return all measurements, and the verdicts."""
    return {
        "about": dict(about),
        "results": {
            key: {name: dataclasses.asdict(outcome) for name, outcome in of_key.items()}
            for key, of_key in results.items()
        },
        "targets": [
            {
                "what": row.target.what,
                "must": row.target.must,
                "dream": row.target.dream,
                "unit": row.target.unit,
                "at_most": row.target.at_most,
                "value": row.spread and dataclasses.asdict(row.spread),
                "verdict": row.verdict,
                "note": row.note,
            }
            for row in judge(results)
        ],
    }


def from_json(data: Mapping[str, Any]) -> dict[str, dict[str, Outcome]]:
    """Return the results from the output of `as_json`."""
    return {
        key: {name: Outcome(**outcome) for name, outcome in of_key.items()}
        for key, of_key in data["results"].items()
    }


# -- Markdown -----------------------------------------------------------------------------------------------


def markdown(results: Results, about: Mapping[str, Any]) -> str:
    """Return the tables, and a description of the run."""
    parts = [_about(about), "### Targets\n", _targets(judge(results))]
    compared = [each for each in COMPARISONS if each.key in results]
    if compared:
        parts += ["### Side by side\n", *(_comparison(each, results) for each in compared)]
    if "steps.caller" in results:
        parts += ["### What one blocking no-op call consists of\n", _steps(results)]
    return "\n".join(parts)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    rule = ["---"] * left + ["--:"] * (len(head) - left)
    lines = [head, rule, *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |\n" for line in lines)


def _about(about: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{TITLES[name]} {version}" for name, version in about["versions"].items())
    quick = "a quick run, with short batches" if about["quick"] else "a full run"
    return (
        f"{about['when']}: {quick}{_took(about)}. {about['machine']}; load before the run {about['load']}. "
        f"Median and range of {about['rounds']} turns, taken A B C A B C; `n=` where a slow contestant had "
        f"fewer. A ratio is the median of the ratios of the turns.\n\n{versions}.\n"
    )


def _took(about: Mapping[str, Any]) -> str:
    minutes = about.get("minutes")  # which earlier runs did not note
    return "" if minutes is None else f", which took {number(minutes)} minutes"


def _bound(target: Target, value: float | None) -> str:
    if value is None:
        return ""
    return f"{'≤' if target.at_most else '≥'} {value:,g} {target.unit}"


_MARKS = {"dream": "**dream**", "missed": "**missed**"}


def _targets(judged: Sequence[Judged]) -> str:
    rows = []
    for row in judged:
        spread = row.spread
        measured = "–" if spread is None else f"{number(spread.median)} {row.target.unit}"
        span = "" if spread is None else f"{number(spread.low)}–{number(spread.high)}"
        rows.append(
            [
                row.target.what,
                _bound(row.target, row.target.must),
                _bound(row.target, row.target.dream),
                measured,
                span,
                _MARKS.get(row.verdict, row.verdict),
                row.note,
            ]
        )
    return _table(["what", "must", "dream", "measured", "range", "verdict", ""], rows)


def _comparison(comparison: Comparison, results: Results) -> str:
    of_key = results[comparison.key]
    try:
        best: str | None = best_peer(results, comparison.key)
    except Failed:
        best = None
    rows = []
    for name in TITLES:
        if name not in of_key:
            continue
        outcome = of_key[name]
        title = f"{TITLES[name]} ({comparison.limit})" if name == "limit" else TITLES[name]
        if name == US:
            title = f"**{title}**"
        spread = outcome.spread
        if spread is None:
            rows.append([title, _failure(outcome.error), "", "", ""])
            continue
        low, high = number(spread.low * comparison.scale), number(spread.high * comparison.scale)
        rounds = max(len(each.values) for each in of_key.values())
        fewer = f" n={spread.count}" if spread.count < rounds else ""
        fewer += _scaled(results, comparison.key, name)
        failed = f", then failed: {outcome.error}" if outcome.error else ""
        rows.append(
            [
                title,
                f"{number(spread.median * comparison.scale)} {comparison.unit}",
                f"{low}–{high}{fewer}{failed}",
                _against(outcome, of_key.get("limit")),
                _against(outcome, of_key[best] if best else None),
            ]
        )
    return _table([comparison.title, "median", "range", "× the limit", "× the best peer"], rows)


_COUNTS = {
    "burst": ("burst.calls", "calls", 20_000),
    "callbacks.burst": ("callbacks.burst.calls", "calls", 20_000),
    "as_completed": ("as_completed.calls", "calls", 20_000),
    "wait": ("wait.calls", "calls", 20_000),
    "map": ("map.items", "items", 200_000),
    "executor.burst": ("executor.burst.calls", "calls", 20_000),
    "lambda.burst": ("lambda.burst.calls", "calls", 20_000),
    "lambda.anew.burst": ("lambda.anew.burst.calls", "calls", 20_000),
    "joblib.tasks": ("joblib.tasks.count", "tasks", 20_000),
}


def _scaled(results: Results, key: str, name: str) -> str:
    """Return a note with the number of calls or items, if the full number would have taken too long."""
    count_key, what, wanted = _COUNTS.get(key, ("", "", 0))
    outcome = results.get(count_key, {}).get(name)
    if outcome is None or outcome.spread is None or outcome.spread.median >= wanted:
        return ""
    return f" from {outcome.spread.median:,.0f} {what}"


def _failure(error: str | None) -> str:
    """Return why there is no result: of what is not there, or because something went wrong."""
    return error if error and error.startswith("n/a") else f"failed: {error}"


def _against(outcome: Outcome, other: Outcome | None) -> str:
    if other is None or not other.values:
        return ""
    return f"{number(ratio(outcome.values, other.values).median)}"


def _steps(results: Results) -> str:
    columns = {
        "steps.caller": "system calls, calling thread",
        "steps.threads": "in the pool's threads there",
        "steps.worker": "in the worker's main thread",
        "steps.messages": "messages",
        "steps.wakeups.caller": "wake-ups, caller's process",
        "steps.wakeups.workers": "its children",
    }
    rows = []
    for name in results["steps.caller"]:
        cells = []
        for key in columns:
            outcome = results[key][name]
            cells.append(f"{outcome.spread.median:.2f}" if outcome.spread else f"failed: {outcome.error}")
        rows.append([TITLES[name], *cells])
    return _table(["for each call", *columns.values()], rows)


# -- plot ---------------------------------------------------------------------------------------------------

_INK, _PALE, _OURS, _PEER = "#24292f", "#8c959f", "#1f6feb", "#c9d1d9"
_PLOTTED = {
    "call": "One no-op call",
    "burst": "Burst of 20,000 calls, per call",
    "map": "map over 200,000 tiny items",
    "array.echo": "64 MB array, there and back",
}


def plot(results: Results, path: Path) -> None:
    """Draw latency, burst, map and arrays, side by side.

    One bar for each contestant, on a logarithmic axis; the dashed line is the bare limit.
    """
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    style = {
        "font.family": "sans-serif",
        "font.size": 9,
        "svg.hashsalt": "wpc_magic",  # the same file from the same numbers
        "text.color": _INK,
        "axes.edgecolor": _PALE,
        "xtick.color": _PALE,
        "ytick.color": _INK,
    }
    drawn = [each for each in COMPARISONS if each.key in _PLOTTED and each.key in results]
    names = [US, *PEERS, *(name for name in NEWER if any(name in results[each.key] for each in drawn))]
    rows = max(1, -(-len(drawn) // 2))
    with pyplot.rc_context(style):
        figure, grid = pyplot.subplots(rows, 2, sharey=True, squeeze=False, figsize=(8.6, 2.35 * rows + 0.35))
        places = list(grid.flat)
        for axes, comparison in zip(places, drawn, strict=False):
            _panel(axes, comparison, results[comparison.key], names)
        for axes in places[len(drawn) :]:
            axes.set_visible(False)
        figure.suptitle(
            "Time, shorter is better; logarithmic. Dashed: the bare limit of the machine.",
            x=0.01, ha="left", fontsize=8.5, color=_PALE,
        )  # fmt: skip
        figure.tight_layout(w_pad=2.0, h_pad=1.4)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        figure.savefig(path, facecolor="white", dpi=150, metadata=metadata)
        pyplot.close(figure)


def _panel(axes: Any, comparison: Comparison, of_key: Mapping[str, Outcome], names: Sequence[str]) -> None:
    values = {name: s.median * comparison.scale for name, o in of_key.items() if (s := o.spread)}
    shown = [values[name] for name in values]
    if not shown:
        return
    low, high = min(shown) / 2.5, max(shown)
    axes.set_xscale("log")
    axes.set_xlim(low, high * (high / low) ** 0.3)  # room for the numbers
    for place, name in enumerate(names):
        if name in values:
            ours = name == US
            axes.barh(place, values[name] - low, left=low, height=0.66, color=_OURS if ours else _PEER)
            axes.text(
                values[name] * (high / low) ** 0.02,
                place,
                _shown(values[name], comparison.unit),
                va="center",
                fontsize=8.5,
                color=_INK,
                fontweight="bold" if ours else "normal",
            )
        else:
            outcome = of_key.get(name)
            why = "n/a" if outcome is None or (outcome.error or "").startswith("n/a") else "failed"
            axes.text(low * 1.1, place, why, va="center", fontsize=8, color=_PALE, style="italic")
    if "limit" in values:
        axes.axvline(values["limit"], color=_INK, linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), [TITLES[name] for name in names])
    for label in axes.get_yticklabels()[:1]:
        label.set_fontweight("bold")
    axes.set_title(_PLOTTED[comparison.key], loc="left", fontsize=9.5, fontweight="bold")
    axes.tick_params(axis="both", which="both", length=0)
    axes.tick_params(axis="x", which="both", labelbottom=False)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)


def _shown(value: float, unit: str) -> str:
    for small, large in (("µs", "ms"), ("ms", "s")):
        if unit == small and value >= 1000:
            value, unit = value / 1000, large
    return f"{number(value)} {unit}"
