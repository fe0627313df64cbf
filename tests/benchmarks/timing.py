"""Interleaved turns, and statistics; pure except for the clock, which is an argument."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

__all__ = ["Failed", "Outcome", "Spread", "batch", "fitting_count", "ratio", "take_turns"]


class Failed(Exception):
    """A contestant failed; the message is the reason."""


@dataclasses.dataclass(frozen=True)
class Spread:
    """A median with its range.

    Parameters
    ----------
    median, low, high : float
        In the unit of the values.
    count : int
        How many values there were.
    """

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values), len(values))


@dataclasses.dataclass
class Outcome:
    """The results of one contestant in one measure.

    Parameters
    ----------
    values : list of float
        One for each turn.
    error : str or None
        Why there are no more of them.
    """

    values: list[float] = dataclasses.field(default_factory=list)
    error: str | None = None

    @property
    def spread(self) -> Spread | None:
        """The spread of the values; None: there is none."""
        return Spread.of(self.values) if self.values else None


def ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    """Return the spread of the ratios, turn by turn.

    A temporary slowdown of the machine affects adjacent turns alike, so that their ratio is unaffected. If
    the numbers of turns differ, the medians are divided, and the range is that of the extremes.

    Examples
    --------
    >>> ratio([2.0, 30.0, 2.2], [1.0, 10.0, 1.0]).median
    2.2
    """
    if len(above) == len(below):
        return Spread.of([a / b for a, b in zip(above, below, strict=True)])
    a, b = Spread.of(above), Spread.of(below)
    return Spread(a.median / b.median, a.low / b.high, a.high / b.low, min(a.count, b.count))


def take_turns(
    names: Iterable[str],
    rounds: int,
    turn: Callable[[str], Mapping[str, float]],
    keys: Iterable[str],
    *,
    budget_s: float,
    never_fewer: Collection[str] = (),
    least: int = 1,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, dict[str, Outcome]]:
    """Interleave the turns of all, A B C A B C, and return the results.

    Parameters
    ----------
    names : iterable of str
        The contestants, in order.
    rounds : int
        How many turns each contestant has.
    turn : callable
        Takes a name, and returns a value for each key, or raises `Failed`: then it has no more turns.
    keys : iterable of str
        What a turn measures.
    budget_s : float
        How long the turns of one contestant may take in all. One that would exceed it has fewer turns.
    never_fewer : collection of str
        Contestants to which the budget does not apply.
    least : int
        The minimum number of turns, regardless of the budget; at least one.
    clock : callable
        Returns the time, in seconds.

    Returns
    -------
    dict
        `Outcome` by key and name.
    """
    names = list(names)
    outcomes = {key: {name: Outcome() for name in names} for key in keys}
    spent = dict.fromkeys(names, 0.0)
    out: set[str] = set()
    for number in range(rounds):
        for name in names:
            slow = number >= max(1, least) and spent[name] * (number + 1) / number > budget_s
            if slow and name not in never_fewer:
                out.add(name)
            if name in out:
                continue
            began = clock()
            try:
                values = turn(name)
            except Failed as failure:
                out.add(name)
                for of_key in outcomes.values():
                    of_key[name].error = str(failure)
                continue
            spent[name] += clock() - began
            for key, of_key in outcomes.items():
                if key in values:
                    of_key[name].values.append(values[key])
    return outcomes


def batch(call: Callable[[], object], expected: object, count: int, limit_s: float) -> float:
    """Return the median time of a call, in seconds.

    Parameters
    ----------
    call : callable
        The timed function, called repeatedly.
    expected : object
        Its expected value.
    count : int
        How many times.
    limit_s : float
        When to stop early; but not before 10 calls.

    Raises
    ------
    Failed
        If a value is not the expected one.
    """
    clock = time.perf_counter
    times = []
    end = clock() + limit_s
    while len(times) < count and (len(times) < 10 or clock() < end):
        began = clock()
        value = call()
        times.append(clock() - began)
        if value != expected:
            raise Failed(f"wrong result: {value!r:.60}, not {expected!r:.60}")
    return statistics.median(times)


def fitting_count(wanted: int, each_s: float, limit_s: float) -> int:
    """Return how many repetitions of `each_s` fit into the limit; `wanted` at most.

    Examples
    --------
    >>> fitting_count(20_000, 0.001, 5.0)
    5000
    """
    return max(1, min(wanted, int(limit_s / max(each_s, 1e-9))))
