"""A timeline as a picture that needs no script: static SVG, in which everything from users is text; pure."""

from __future__ import annotations

import html
import time
from collections.abc import Callable

from .timeline import BarRow, LaneRow, Timeline

__all__ = ["COLOURS", "timeline_svg"]

COLOURS = (
    *("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#72b7b2", "#eeca3b", "#9d755d", "#ff9da6", "#bab0ac"),
    "#79706e",
)
"""Of the functions, in their order; then again from the first."""

_FAILED = "#d62728"
_WIDTH, _LABEL, _ROW, _GAP, _AXIS = 1000.0, 130.0, 18.0, 4.0, 22.0
_MOST_LANES = 64
_STEPS_S = (1e-3, 1e-2, 0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
_MOST_TICKS = 8


def timeline_svg(timeline: Timeline, clock_text: Callable[[float], str] | None = None) -> str:
    """Return a timeline as SVG.

    Parameters
    ----------
    timeline : Timeline
        The timeline.
    clock_text : callable, optional
        Given seconds of the epoch, returns the time of day.

    Examples
    --------
    >>> lane = LaneRow(n=1, worker=2, pid=4711, start=0.0, end=None, reason="")
    >>> made = timeline_svg(
    ...     Timeline(base=0.0, since=0.0, until=10.0, resolution=0.1, functions=["<fit>"], lanes=[lane],
    ...              bars=[(1, 2.0, 5.0, 0, 1, 0, 0, 5.0, 12)])
    ... )
    >>> "&lt;fit&gt; #12, 5.0 s" in made, "<fit>" in made
    (True, False)
    """
    shown = timeline["lanes"][:_MOST_LANES]
    rows = {lane["n"]: number for number, lane in enumerate(shown)}
    span = max(timeline["until"] - timeline["since"], 1e-6)
    scale = (_WIDTH - _LABEL) / span
    height = _AXIS + len(shown) * (_ROW + _GAP)
    parts = [
        f'<svg class="wpc-timeline" viewBox="0 0 {_WIDTH:.0f} {height:.0f}" role="img" '
        f'aria-label="Calls of each worker over time" font-family="sans-serif" font-size="11">'
    ]
    parts += _axis(timeline, scale, height, clock_text or _time_of_day)
    for lane in shown:
        parts += _lane(lane, timeline, rows[lane["n"]], scale)
    for bar in timeline["bars"]:
        if bar[0] in rows:
            parts.append(_bar(bar, timeline, rows[bar[0]], scale))
    parts.append("</svg>")
    return "\n".join(parts)


def _time_of_day(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _axis(timeline: Timeline, scale: float, height: float, clock_text: Callable[[float], str]) -> list[str]:
    span = timeline["until"] - timeline["since"]
    step = next((each for each in _STEPS_S if span / each <= _MOST_TICKS), _STEPS_S[-1])
    parts: list[str] = []
    base = timeline["base"]
    tick = -(-base // step) * step if step >= 1 else base  # at whole seconds of the clock
    while tick <= base + timeline["until"] and len(parts) < 4 * _MOST_TICKS:
        x = _LABEL + (tick - base) * scale
        text = clock_text(tick) if step >= 1 else f"+{(tick - base) * 1000:.0f} ms"
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_AXIS - 4:.0f}" y2="{height:.0f}" '
            f'stroke="currentColor" stroke-opacity="0.15"/>'
            f'<text x="{x:.1f}" y="12" text-anchor="middle" fill="currentColor">{html.escape(text)}</text>'
        )
        tick += step
    return parts


def _lane(lane: LaneRow, timeline: Timeline, row: int, scale: float) -> list[str]:
    """Return the label of a process, and the time in which it was there."""
    y = _AXIS + row * (_ROW + _GAP)
    base, end = timeline["base"], timeline["until"]
    start = max(0.0, lane["start"] - base)
    stop = end if lane["end"] is None else min(end, lane["end"] - base)
    title = f"worker {lane['worker']}, process {lane['pid']}"
    if lane["reason"]:
        title += f": {lane['reason']}"
    parts = [
        f'<text x="{_LABEL - 6:.0f}" y="{y + 13:.1f}" text-anchor="end" fill="currentColor">'
        f"worker {lane['worker']} · {lane['pid']}</text>",
        f'<rect x="{_LABEL + start * scale:.1f}" y="{y:.1f}" width="{max(0.0, stop - start) * scale:.1f}" '
        f'height="{_ROW:.0f}" fill="currentColor" fill-opacity="0.07"><title>{html.escape(title)}</title>'
        "</rect>",
    ]
    if lane["end"] is not None and lane["reason"]:
        x = _LABEL + stop * scale
        parts.append(
            f'<path d="M{x:.1f} {y:.1f}v{_ROW:.0f}" stroke="{_FAILED}" stroke-width="2">'
            f"<title>{html.escape(title)}</title></path>"
        )
    return parts


def _bar(bar: BarRow, timeline: Timeline, row: int, scale: float) -> str:
    _, start, duration, function, calls, failed, cancelled, busy, number = bar
    name = timeline["functions"][function]
    said = f"{name} #{number}" if calls == 1 else f"{calls} calls, mostly of {name}"
    said += f", {_duration(busy)}"
    if failed:
        said += " · failed" if calls == 1 else f" · {failed} failed"
    if cancelled:
        said += " · cancelled" if calls == 1 else f" · {cancelled} cancelled"
    y = _AXIS + row * (_ROW + _GAP)
    stroke = f' stroke="{_FAILED}" stroke-width="1.5"' if failed else ""
    opacity = ' fill-opacity="0.45"' if cancelled == calls else ""
    return (
        f'<rect x="{_LABEL + start * scale:.2f}" y="{y + 2:.1f}" width="{max(duration * scale, 0.75):.2f}" '
        f'height="{_ROW - 4:.0f}" fill="{COLOURS[function % len(COLOURS)]}"{opacity}{stroke}>'
        f"<title>{html.escape(said)}</title></rect>"
    )


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
