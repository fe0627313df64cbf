"""What is said of a wait: lines of text, each perhaps with a bar, as text and as HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from wpc_magic.pool.core.advice import advice_for_map
from wpc_magic.pool.core.call_place import shown_s
from wpc_magic.pool.driver.arguments import arguments_of
from wpc_magic.pool.futures import CallFuture
from wpc_magic.pool.options import PRIVATE, shown_name

__all__ = [
    "Line",
    "as_html",
    "as_text",
    "call_text",
    "end_of_call",
    "end_of_calls",
    "end_of_map",
    "of_calls",
    "of_map",
    "reports",
]

_BAR_WIDTH = 20  # characters
_BAR_STYLE = "width: 16em; vertical-align: middle"
_MAX_CALL = 60  # characters of a call with its arguments
_MAX_REPORTS = 16  # calls whose `context.progress` is shown
_MAX_TEXT = 100  # characters of such a text


class Line(NamedTuple):
    """One line.

    Parameters
    ----------
    text : str
        The text behind the bar.
    fraction : float or None
        How much of the bar is filled, from 0 to 1; None: there is no bar.
    """

    text: str
    fraction: float | None = None


def as_text(lines: Iterable[Line]) -> str:
    """Return lines as text.

    Examples
    --------
    >>> print(as_text([Line("item 3/4", 0.75)]))
    ███████████████░░░░░ item 3/4
    """
    return "\n".join(
        line.text if line.fraction is None else f"{_bar(line.fraction)} {line.text}" for line in lines
    )


def _bar(fraction: float) -> str:
    filled = int(_BAR_WIDTH * fraction + 0.5)
    return "█" * filled + "░" * (_BAR_WIDTH - filled)


def as_html(lines: Iterable[Line]) -> str:
    """Return lines as HTML that stands alone: no script, no style sheet, and the colours of the page."""
    rows = []
    for line in lines:
        bar = ""
        if line.fraction is not None:
            bar = f'<progress value="{line.fraction:.3f}" max="1" style="{_BAR_STYLE}"></progress> '
        rows.append(f"<div>{bar}{html.escape(line.text)}</div>")
    return f'<div class="wpc-progress" style="font-variant-numeric: tabular-nums">{"".join(rows)}</div>'


def of_map(chunks: Any, now: float) -> list[Line]:
    """Return the lines of a map that goes on: how far it is, and what its calls report."""
    done, total = chunks.done + chunks.failures.count, chunks.total
    elapsed = max(now - chunks.began_s, 1e-3)
    parts = [f"item {done:,}" if total is None else f"item {done:,}/{total:,}"]
    in_flight = chunks.in_flight()
    if done:
        rate = done / elapsed
        parts.append(f"{_rate(rate)}/s")
        if total is not None:
            parts.append(f"{_duration((total - done) / rate, whole=True)} left")
    else:
        place = in_flight[0].place if in_flight else None
        if place is not None:
            parts.append(f"{shown_name(chunks.name)} {_placed(place)}")
    if chunks.failures.count:
        parts.append(f"{chunks.failures.count:,} failed")
    fraction = min(1.0, done / total) if total else None
    return [Line(" · ".join(parts), fraction), *reports(in_flight)]


def end_of_map(chunks: Any, now: float) -> Line:
    """Return the line of a map that is over."""
    done, failed = chunks.done + chunks.failures.count, chunks.failures.count
    elapsed = max(now - chunks.began_s, 1e-3)
    if chunks.stopped_by is None and (chunks.total is None or done >= chunks.total):
        count = f"{done:,} item{'s' * (done != 1)}"
    else:
        why = "stopped" if not isinstance(chunks.stopped_by, Exception) else "failed"
        of = "" if chunks.total is None else f" of {chunks.total:,}"
        count = f"{why} after {done:,}{of} items"
    parts = [f"{count} in {_duration(elapsed)}"]
    busy = chunks.ran_s / (elapsed * max(1, chunks.worker_count))
    if 0 < busy < 1.05:  # coroutines run side by side, and take more
        parts.append(f"workers {min(100, round(100 * busy))} % busy")
    if failed:
        parts.append(f"{failed:,} failed")
    is_map = hasattr(chunks, "seen")  # a stream is shown in the same way, and has no chunks to advise on
    advice = advice_for_map(chunks.seen(now)) if is_map and chunks.stopped_by is None else None
    return Line(" · ".join([*parts, advice] if advice else parts))


def of_calls(futures: Sequence[CallFuture], count: int) -> list[Line]:
    """Return the lines of calls that are waited for; of `count` in all, of which some may have ended."""
    if len(futures) == count == 1:
        (future,) = futures
        place, what = future.place, call_text(future)
        lines = [Line(f"{what} {_placed(place)}" if place is not None else f"{what} ends")]
        return [*lines, *reports(futures)]
    places = [future.place for future in futures]
    running = sum(place is not None and place.running_s is not None for place in places)
    dependent = sum(place is not None and bool(place.waits_for) for place in places)
    done, queued = count - len(places), len(places) - running - dependent
    text = f"{done:,} of {count:,} calls done · {running:,} running · {queued:,} queued"
    if dependent:
        text += f" · {dependent:,} waiting for others"
    return [Line(text, done / count), *reports(futures)]


def end_of_calls(done: int, count: int, waited_s: float) -> Line:
    """Return the line of several calls that were waited for."""
    if done == count:
        return Line(f"{count:,} calls in {_duration(waited_s)}")
    return Line(f"{done:,} of {count:,} calls done after {_duration(waited_s)}")


def end_of_call(future: CallFuture, what: str, waited_s: float) -> Line:
    """Return the line of a call that was waited for; `what`: its `call_text` when it had not ended."""
    if not future.ended:
        return Line(f"{what} goes on")
    if future.cancelled():
        return Line(f"{what} was stopped after {_duration(waited_s)}")
    return Line(f"{what} took {_duration(future.ran_s or waited_s)}")


def call_text(future: CallFuture) -> str:
    """Return a call as it was written, shortened: ``nap(8)``."""
    if future.name.startswith(PRIVATE):
        return shown_name(future.name)
    arguments = "" if future.call.items else arguments_of(future.call.body, 0)
    text = f"{future.name}{arguments}" if arguments else str(future.call)
    return text if len(text) <= _MAX_CALL else text[: _MAX_CALL - 1] + "…"


def _placed(place: Any) -> str:
    if place.running_s is not None:
        return f"runs on worker {place.worker_id} for {_duration(place.running_s, whole=True)}"
    return str(place) if place.waits_for else f"is {place}"


def reports(futures: Iterable[CallFuture]) -> list[Line]:
    """Return what the functions of calls say of themselves: ``context.progress``."""
    lines = []
    for future in futures:
        said = future.progress
        if said is None or future.ended:
            continue
        total = said.total
        count = f"{said.done:,}" if total is None else f"{said.done:,}/{total:,}"
        text = " ".join(said.text.split())[:_MAX_TEXT]
        fraction = min(1.0, max(0.0, said.done / total)) if total else None
        place = future.place
        worker = f" · worker {place.worker_id}" if place is not None and place.worker_id is not None else ""
        lines.append(Line(f"{text} {count}{worker}".strip(), fraction))
        if len(lines) == _MAX_REPORTS:
            break
    return lines


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}" if rate >= 0.1 else f"{rate:.2g}"


def _duration(seconds: float, whole: bool = False) -> str:
    if seconds < 60 and not whole:
        return f"{seconds:.1f} s" if seconds < 59.95 else "60 s"
    return shown_s(max(1.0, seconds))
