"""Counters and fixed-size latency histograms."""

from __future__ import annotations

from .prefetch import MAX_DEPTH, MAX_DEPTH_S, prefetch_depth
from .tally import Tally

__all__ = ["MEASURED_NS", "FunctionStats", "Histogram"]

_BUCKETS = 48
MEASURED_NS = 1 << 20
"""Of calls that run for longer, more is recorded: about 1 ms."""


class Histogram:
    """Durations in 48 power-of-two buckets, in nanoseconds: the size is constant.

    Attributes
    ----------
    buckets : list of int
        How many durations are in each.
    sums_ns : list of int
        How long those of each are together.

    Examples
    --------
    >>> histogram = Histogram()
    >>> for ms in range(1, 101):
    ...     histogram.add(ms * 1_000_000)
    >>> histogram.quantile_s(0.5)
    0.0505
    """

    __slots__ = ("buckets", "sums_ns")

    def __init__(self) -> None:
        self.buckets = [0] * _BUCKETS
        self.sums_ns = [0] * _BUCKETS

    @property
    def count(self) -> int:
        """How many durations were recorded."""
        return sum(self.buckets)

    def add(self, ns: int) -> None:
        """Record a duration in nanoseconds."""
        exponent = min(ns.bit_length(), _BUCKETS - 1)
        self.buckets[exponent] += 1
        self.sums_ns[exponent] += ns

    def include(self, other: Histogram) -> None:
        """Add what another one has recorded."""
        self.buckets = [one + more for one, more in zip(self.buckets, other.buckets, strict=True)]
        self.sums_ns = [one + more for one, more in zip(self.sums_ns, other.sums_ns, strict=True)]

    def quantile_s(self, q: float) -> float:
        """Return the `q` quantile in seconds: the mean of its bucket."""
        left = q * self.count
        for exponent, count in enumerate(self.buckets):
            left -= count
            if left <= 0 and count:
                return self.sums_ns[exponent] / count / 1e9
        return 0.0


class FunctionStats:
    """Statistics of one function: how long it runs, and how its calls have ended.

    Parameters
    ----------
    name : str
        Its name, as it is shown.
    revision : int
        Which version of it; 0: any, or it has none.
    interleaves : bool
        Whether its calls run side by side in a worker.

    Attributes
    ----------
    mean_s : float or None
        The moving average of the run time of one call, in seconds.
    prefetch_depth : int
        How many calls of it a worker may have at once, unless it is a coroutine.
    last_error : str
        What its last call that failed has ended with, in one line, shortened; empty: none has failed.
    tally : Tally
        How its calls have ended.
    histogram : Histogram
        How long workers have run it each time: also when it is retried, or its call had ended before. The
        items of a map that are sent together are run once.
    """

    __slots__ = (
        "histogram",
        "interleaves",
        "last_error",
        "mean_s",
        "name",
        "prefetch_depth",
        "revision",
        "tally",
    )

    def __init__(self, name: str = "", revision: int = 0, interleaves: bool = False) -> None:
        self.name = name
        self.revision = revision
        self.interleaves = interleaves
        self.last_error = ""
        self.mean_s: float | None = None
        self.prefetch_depth = 1
        self.tally = Tally()
        self.histogram = Histogram()

    def add(self, ran_ns: int, items: int) -> bool:
        """Record that it has run for `ran_ns` nanoseconds, over `items` items (0: a single call).

        Return whether it took so long, about 1 ms, that more may be recorded of it.
        """
        exponent = ran_ns.bit_length()
        histogram = self.histogram
        try:  # `Histogram.add`, inlined: this runs for every call
            histogram.buckets[exponent] += 1
            histogram.sums_ns[exponent] += ran_ns
        except IndexError:  # some days
            histogram.add(ran_ns)
        each = ran_ns / 1e9
        if items:
            each /= items
        mean = self.mean_s
        # Slow calls count at once, quick ones gradually: prefetching behind a slow call is costly.
        self.mean_s = mean = each if mean is None or each > 4 * mean else mean + (each - mean) / 8
        self.prefetch_depth = MAX_DEPTH if mean <= MAX_DEPTH_S else prefetch_depth(mean, False)
        return exponent > 20

    @property
    def unmeasured_s(self) -> float:
        """How long the calls took of which `add` has returned False, in seconds."""
        return sum(self.histogram.sums_ns[:21]) / 1e9

    def include(self, other: FunctionStats) -> None:
        """Add what another one has counted."""
        self.tally.include(other.tally)
        self.last_error = other.last_error or self.last_error
        self.histogram.include(other.histogram)

    def take_counts(self, other: FunctionStats) -> None:
        """Take over what another one has counted, which begins anew."""
        self.include(other)
        other.tally, other.histogram = Tally(), Histogram()
