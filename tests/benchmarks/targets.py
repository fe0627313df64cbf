"""The table of targets: for each a required and a desired bound, and a verdict."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Literal

from .contestants import PEERS, TITLES, US
from .timing import Failed, Outcome, Spread, ratio

__all__ = ["TARGETS", "Judged", "Results", "Target", "best_peer", "judge", "peer_ratio", "verdict"]

Results = Mapping[str, Mapping[str, Outcome]]
Verdict = Literal["dream", "met", "missed", "below the dream", "not measured", "for the record"]


class NotRun(Failed):
    """A measure was not selected."""


@dataclasses.dataclass(frozen=True)
class Target:
    """One row.

    Parameters
    ----------
    what : str
        The description.
    value : callable
        Takes the results, and returns the spread and a note.
    must, dream : float or None
        The required and the desired bound.
    unit : str
        The unit of numbers.
    at_most : bool
        Whether less is better.
    """

    what: str
    value: Callable[[Results], tuple[Spread, str]]
    must: float | None = None
    dream: float | None = None
    unit: str = "×"
    at_most: bool = True


@dataclasses.dataclass(frozen=True)
class Judged:
    """A row with its result."""

    target: Target
    spread: Spread | None
    verdict: Verdict
    note: str


def verdict(target: Target, value: float) -> Verdict:
    """Return the verdict on a value; a value equal to a bound reaches it."""
    sign = 1 if target.at_most else -1
    if target.dream is not None and sign * value <= sign * target.dream:
        return "dream"
    if target.must is None:
        return "for the record" if target.dream is None else "below the dream"
    return "met" if sign * value <= sign * target.must else "missed"


def judge(results: Results) -> list[Judged]:
    """Return the rows with their verdicts; without measures that were not selected."""
    judged = []
    for target in TARGETS:
        try:
            spread, note = target.value(results)
        except NotRun:
            pass
        except Failed as failure:
            judged.append(Judged(target, None, "not measured", str(failure)))
        else:
            judged.append(Judged(target, spread, verdict(target, spread.median), note))
    return judged


def best_peer(results: Results, key: str) -> str:
    """Return the peer with the smallest median.

    Raises
    ------
    Failed
        If none of them has one.
    """
    if key not in results:
        raise NotRun(key)
    of_key = results[key]
    medians = {name: s.median for name in PEERS if name in of_key and (s := of_key[name].spread)}
    if not medians:
        raise Failed(f"no peer has a result in {key}")
    return min(medians, key=medians.__getitem__)


def _values(results: Results, key: str, name: str) -> list[float]:
    outcome = results.get(key, {}).get(name)
    if outcome is None:
        raise NotRun(key)
    if not outcome.values:
        raise Failed(f"{TITLES[name]}: {outcome.error}")
    return outcome.values


def peer_ratio(results: Results, key: str, name: str) -> Spread:
    """Return how many times longer a contestant takes than we do.

    Raises
    ------
    Failed
        If either has no result.
    """
    return ratio(_values(results, key, name), _values(results, key, US))


def _peer(key: str, name: str) -> Callable[[Results], tuple[Spread, str]]:
    return lambda results: (peer_ratio(results, key, name), "")


def _times(key: str, below: str, name: str = US) -> Callable[[Results], tuple[Spread, str]]:
    """The ratio of our result to another one, of ours or of another contestant; the note has both."""

    def value(results: Results) -> tuple[Spread, str]:
        above, under = _values(results, key, US), _values(results, below, name)
        return ratio(above, under), f"{_time(Spread.of(above).median)} to {_time(Spread.of(under).median)}"

    return value


def _on_dask(what: str) -> Callable[[Results], tuple[Spread, str]]:
    return _times(f"dask.{what}.cluster", f"dask.{what}.local")


def _than(name: str, what: str) -> Callable[[Results], tuple[Spread, str]]:
    return _times(f"{name}.{what}.plain", f"{name}.{what}.cluster")


def _limit(key: str) -> Callable[[Results], tuple[Spread, str]]:
    return _times(key, key, "limit")


def _defined(workers: int, memory: str) -> Callable[[Results], tuple[Spread, str]]:
    return _times(f"constant.{workers}.define", f"constant.{workers}.{memory}")


def _plain(key: str, scale: float) -> Callable[[Results], tuple[Spread, str]]:
    return lambda results: (Spread.of([each * scale for each in _values(results, key, US)]), "")


def _rate(results: Results) -> tuple[Spread, str]:
    calls = Spread.of(_values(results, "burst.calls", US)).median
    return Spread.of([1 / each for each in _values(results, "burst", US)]), f"in bursts of {calls:,.0f}"


def _burst(results: Results) -> tuple[Spread, str]:
    calls = [Spread.of(_values(results, "burst.calls", name)).median for name in ("executor", US)]
    note = "" if calls[0] == calls[1] else f"bursts of {calls[0]:,.0f} and {calls[1]:,.0f}"
    return peer_ratio(results, "burst", "executor"), note


def _best(key: str) -> Callable[[Results], tuple[Spread, str]]:
    def value(results: Results) -> tuple[Spread, str]:
        best = best_peer(results, key)
        return peer_ratio(results, key, best), f"the best is {TITLES[best]}"

    return value


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


_HUGE = "… against the same memcpy into huge pages, which shared memory has not"
_SHARED = "… {} in full, against the same in one process's shared memory, whose pages are small"
_START = "4 workers from start to first answer each, against `python -c pass` 4 times side by side"

TARGETS: list[Target] = [
    Target("blocking no-op call, 1 worker, against a bare Pipe ping-pong", _limit("call"), 1.7, 1.35),
    Target("… with the worker on a core of its own", _limit("call.apart")),
    Target("… with both on one core", _limit("call.together")),
    Target("… faster than `ProcessPoolExecutor`", _peer("call", "executor"), 5, at_most=False),
    Target("… faster than `Pool.apply`", _peer("call", "mp_pool"), 2.5, at_most=False),
    Target("… faster than loky", _peer("call", "loky_pool"), 8, at_most=False),
    Target("awaited no-op call against the blocking one", _times("awaited", "awaited.blocking"), 2, 1.5),
    Target(
        "burst of 20,000 no-op futures, 2 workers: faster than `ProcessPoolExecutor`",
        _burst,
        5,
        at_most=False,
    ),
    Target("… calls a second", _rate, None, 65_000, "/s", at_most=False),
    Target(
        "no-op call until its callback runs: faster than loky",
        _peer("callbacks.call", "loky_pool"),
        1,
        at_most=False,
    ),
    Target(
        "… processor time of the caller's process: less than with loky",
        _peer("callbacks.cpu", "loky_pool"),
        2,
        at_most=False,
    ),
    Target(
        "burst of 20,000 no-op calls through `as_completed`: faster than loky",
        _peer("as_completed", "loky_pool"),
        1,
        at_most=False,
    ),
    Target("… through `wait`: faster than loky", _peer("wait", "loky_pool"), 1, at_most=False),
    Target(
        "`map` over 200,000 tiny items, 2 workers: faster than the best peer", _best("map"), 1, at_most=False
    ),
    Target("… faster than one process's plain loop", _peer("map", "limit"), None, 1, at_most=False),
    Target(
        "call through an executor: faster than the standard library's",
        _peer("executor.call", "executor"),
        1,
        at_most=False,
    ),
    Target("call of a lambda: faster than loky", _peer("lambda.call", "loky_pool"), 1, at_most=False),
    Target("… made anew for each call", _peer("lambda.anew.call", "loky_pool"), 1, at_most=False),
    Target(
        "call of a lambda, against a function that can be imported", _times("lambda.call", "executor.call")
    ),
    Target(
        "20,000 tiny tasks of joblib: faster than loky", _peer("joblib.tasks", "loky_pool"), 1, at_most=False
    ),
    Target(
        "8 MB for 100 tasks of joblib: faster than loky", _peer("joblib.array", "loky_pool"), 1, at_most=False
    ),
    Target("64 MB through three calls: faster than the best peer", _best("pipeline.array"), 1, at_most=False),
    Target("a small item of a stream", _plain("stream", 1e6), 10, None, "µs"),
    Target("64 MB array there and back, against 2 × warm memcpy", _limit("array.echo"), 2.5, 1.5),
    Target("… every 4,096th element summed, against warm memcpy", _limit("array.sample"), 2, 1.2),
    Target("… summed in full, against an eager copy and the same work", _limit("array.total"), 1.2, 1),
    Target(_SHARED.format("summed"), _times("array.total", "array.total.shared", "limit")),
    Target("… written in full, against an eager copy and the same work", _limit("array.write"), 1.5, 1),
    Target(_SHARED.format("written"), _times("array.write", "array.write.shared", "limit")),
    Target("64 MB that workers have in common: written in full", _plain("array.common", 1e3), unit="ms"),
    Target("constant of 256 MB on 4 workers: copies in all (PSS)", _plain("constant.4.copies", 1), 1.05),
    Target("… defined, against one memcpy into untouched memory", _defined(4, "memcpy"), 1.5),
    Target(_HUGE, _defined(4, "huge")),
    Target("… on 8 workers: copies in all", _plain("constant.8.copies", 1), None, 1.05),
    Target("… on 8 workers: defined, against untouched memory", _defined(8, "memcpy"), None, 1.5),
    Target(
        "redefinition until the new code has answered everywhere", _plain("redefinition", 1e3), 5, 1, "ms"
    ),
    Target("one 1 s call and 40 of 1 ms, 2 workers: the 40 done in", _plain("fairness", 1e3), 80, 50, "ms"),
    Target(_START, _limit("start"), 3.5, 2),
    Target("a crashed worker's slot serving again", _plain("crash", 1e3), 100, 10, "ms"),
    Target("… one with NumPy and matplotlib, from a template", _plain("warm.template", 1e3), 60, None, "ms"),
    Target("… the same as a new interpreter", _plain("warm.spawn", 1e3), unit="ms"),
    Target("… the same with a spare worker", _plain("warm.spare", 1e3), 60, None, "ms"),
    Target("memory of an idle worker (USS)", _plain("uss", 2**-20), 12, 8, "MB"),
    Target("pool of 2, idle for 10 s: processor time in all", _plain("idle", 1e3), 10, None, "ms"),
    Target("call on a Dask cluster of this machine, against the local pool", _on_dask("call"), 1.5),
    Target("… faster than Dask's own `submit`", _than("dask", "call"), 1, at_most=False),
    Target("… 20,000 at once, each", _on_dask("burst"), 2),
    Target("… faster than Dask's own burst", _than("dask", "burst"), 1, at_most=False),
    Target("… `map` over tiny items, each", _on_dask("map"), 2),
    Target("… faster than Dask's own `map`", _than("dask", "map"), 1, at_most=False),
    Target("… 64 MB there and back on it", _on_dask("array")),
    Target("… faster than as an argument of Dask's `submit`", _than("dask", "array"), None, 1, at_most=False),
    Target("call on it: faster than a task of Ray", _than("ray", "call"), None, 1, at_most=False),
    Target("… 20,000 at once: faster than Ray's", _than("ray", "burst"), None, 1, at_most=False),
    Target(
        "… `map` over tiny items: faster than a task of Ray each", _than("ray", "map"), None, 1, at_most=False
    ),
    Target("… 64 MB there and back: faster than Ray's", _than("ray", "array"), None, 1, at_most=False),
    Target(
        "dashboard, 16 workers with calls of 10 ms: processor time a frame",
        _plain("dashboard.cpu", 1e3),
        1,
        None,
        "ms",
    ),
    Target("… size of a frame", _plain("dashboard.bytes", 1e-3), 2, None, "kB"),
    Target("… with the timeline", _plain("dashboard.bytes.timeline", 1e-3), 2, None, "kB"),
    Target("… frames a second", _plain("dashboard.frames", 1), 4, None, "/s"),
    Target(
        "… throughput of no-op calls, of that without it",
        _times("dashboard.closed", "dashboard.open"),
        0.97,
        at_most=False,
    ),
    Target("… share of a core that a page takes for it", _plain("page.share", 100), 10, None, "%"),
    Target("… with the panel that takes the most", _plain("page.share.others", 100), 10, None, "%"),
    Target("… processor time of a kernel a frame, sent", _plain("page.cpu", 1e3), 1, None, "ms"),
    Target(
        "… throughput while a page shows it, of that while it is hidden",
        _times("page.closed", "page.open"),
        0.97,
        at_most=False,
    ),
    Target("cell in the background until its variable is there", _plain("background.cell", 1e3), unit="ms"),
    Target(
        "latency with 1,000 registered functions, against 1", _times("functions.many", "functions.few"), 1.5
    ),
    Target("latency with 64 workers, against 2", _times("workers.many", "workers.few"), 1.5),
    Target("latency with 100,000 queued calls, against 0", _times("queue.many", "queue.few"), 1.5),
]
