"""Advice: what stands out in how functions and maps have run, in words. Pure rules, one a function."""

from __future__ import annotations

from collections.abc import Sequence

from .durations import shown_s, shown_us
from .insights import FunctionInsight, MapInsight

__all__ = ["advice_for_function", "advice_for_map", "growth_per_call"]

_WORTH_S = 1.0  # nothing shorter is worth a word
_QUICK_S = 50e-6  # sending a call takes about as long
_MANY = 200
_MB = 1 << 20


def advice_for_map(seen: MapInsight) -> str | None:
    """Return what stands out in a map; None: nothing does.

    Examples
    --------
    >>> advice_for_map(MapInsight("fit", 60, 0, 14.0, 25.0, 4, slowest_s=12.0, slowest_item=37))
    'one item took 12 of 14 s: item 37'
    >>> advice_for_map(MapInsight("fit", 60, 0, 14.0, 54.0, 4, slowest_s=1.0)) is None
    True
    """
    if seen.took_s < _WORTH_S or seen.items < 2:
        return None
    others_s = (seen.ran_s - seen.slowest_s) / max(1, seen.items - seen.slowest_count)
    each_s = seen.slowest_s / max(1, seen.slowest_count)
    if seen.slowest_s > 0.5 * seen.took_s and each_s > 4 * others_s and seen.worker_count > 1:
        first, last = seen.slowest_item, seen.slowest_item + seen.slowest_count - 1
        what, which = (
            ("one item", f"item {first}") if first == last else ("one call", f"items {first} to {last}")
        )
        return f"{what} took {_of(seen.slowest_s, seen.took_s)}: {which}"
    if seen.items < seen.worker_count:
        return f"{seen.worker_count - seen.items} of {seen.worker_count} workers had no item"
    return None


def advice_for_function(seen: FunctionInsight) -> list[str]:
    """Return what stands out in a function.

    Examples
    --------
    >>> advice_for_function(FunctionInsight("quick", calls=5000, quick_calls=4990, mean_s=3e-6))
    ['quick takes 3 µs, sending costs more: use wpc.map or %wpc_map']
    >>> advice_for_function(FunctionInsight("leak", calls=9, mean_s=0.1, growth_bytes=10 << 20))
    ['leak grew 10 MB a call: %wpc_start --max-memory-per-worker-mb replaces workers in time']
    """
    found = []
    if seen.mean_s is not None and seen.mean_s < _QUICK_S and seen.quick_calls >= max(_MANY, seen.calls // 2):
        found.append(
            f"{seen.name} takes {shown_us(seen.mean_s)}, sending costs more: use wpc.map or %wpc_map"
        )
    if seen.slowest and seen.calls > 1 and not seen.is_async:
        slow = seen.slowest[0]  # that of a map is told with the map
        others_s = max(0.0, seen.working_s - slow.ran_s) / (seen.calls - 1)
        if not slow.items and slow.ran_s > max(_WORTH_S, 0.5 * seen.active_s, 4 * others_s):
            took = _of(slow.ran_s, seen.active_s)
            found.append(f"one call took {took}: {slow}")
    if seen.measured >= 5 and seen.sent_bytes > _MB * seen.measured:
        each = round(seen.sent_bytes / seen.measured / _MB)
        found.append(f"{seen.name} is sent {each} MB a call: what is always the same, %wpc_const keeps there")
    if seen.growth_bytes is not None:
        grew = max(1, round(seen.growth_bytes / _MB))
        how = "%wpc_start --max-memory-per-worker-mb replaces workers in time"
        found.append(f"{seen.name} grew {grew} MB a call: {how}")
    return found


def growth_per_call(samples: Sequence[tuple[int, int]]) -> int | None:
    """Return by how many bytes a worker grows with each call; None: it does not grow steadily.

    Parameters
    ----------
    samples : sequence of (int, int)
        How many calls it had run, and how large it was then, in bytes; in order.

    Examples
    --------
    >>> growth_per_call([(1, 50 << 20), (3, 70 << 20), (6, 100 << 20), (9, 130 << 20)]) == 10 << 20
    True
    >>> growth_per_call([(1, 50 << 20), (3, 300 << 20), (6, 300 << 20), (9, 300 << 20)]) is None
    True
    """
    later = samples[1:]  # the first call may have imported what it needs
    if len(later) < 3 or later[-1][0] - later[0][0] < 3:
        return None
    middle = later[len(later) // 2]
    whole, before, after = (
        _slope(later[0], later[-1]),
        _slope(later[0], middle),
        _slope(middle, later[-1]),
    )
    grew = later[-1][1] - later[0][1]
    if grew < 20 * _MB or whole < _MB / 2 or min(before, after) < whole / 3:
        return None
    return int(whole)


def _slope(first: tuple[int, int], last: tuple[int, int]) -> float:
    return (last[1] - first[1]) / max(1, last[0] - first[0])


def _of(part_s: float, whole_s: float) -> str:
    """Return a part of a duration in words: ``12 of 14 s``."""
    if part_s < 60 and whole_s < 60:
        return f"{part_s:.2g} of {max(part_s, whole_s):.2g} s"
    return f"{shown_s(part_s)} of {shown_s(max(part_s, whole_s))}"
