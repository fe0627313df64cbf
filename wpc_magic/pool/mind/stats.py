"""Counters and latency histograms of fixed size."""

from __future__ import annotations

from .scheduler import depth

__all__ = ["FunctionStats", "Histogram"]

_BUCKETS = 48


class Histogram:
    """Durations in buckets of powers of two nanoseconds: 48 numbers, whatever is recorded.

    Examples
    --------
    >>> histogram = Histogram()
    >>> for ms in range(1, 101):
    ...     histogram.add(ms * 1_000_000)
    >>> 0.03 < histogram.quantile_s(0.5) < 0.07
    True
    """

    __slots__ = ("buckets", "count")

    def __init__(self) -> None:
        self.buckets = [0] * _BUCKETS
        self.count = 0

    def add(self, ns: int) -> None:
        """Record a duration in nanoseconds."""
        self.buckets[min(ns.bit_length(), _BUCKETS - 1)] += 1
        self.count += 1

    def quantile_s(self, q: float) -> float:
        """Return the duration below which the part `q` lies, in seconds; the middle of its bucket."""
        left = q * self.count
        for exponent, count in enumerate(self.buckets):
            left -= count
            if left <= 0 and count:
                return float(0.75 * 2**exponent / 1e9)
        return 0.0


class FunctionStats:
    """What is known of the run times of one function.

    Attributes
    ----------
    mean_s : float or None
        A moving mean of what one call takes, in seconds.
    depth : int
        How many calls of it a worker may hold at once, if it is no coroutine.
    """

    __slots__ = ("depth", "done", "failed", "histogram", "mean_s")

    def __init__(self) -> None:
        self.mean_s: float | None = None
        self.depth = 1
        self.done = 0
        self.failed = 0
        self.histogram = Histogram()

    def add(self, ran_ns: int, items: int, ok: bool) -> None:
        """Record a call that ran for that long, over so many items."""
        if ok:
            self.done += 1
        else:
            self.failed += 1
        histogram = self.histogram  # written out: this is done for every call
        histogram.buckets[min(ran_ns.bit_length(), _BUCKETS - 1)] += 1
        histogram.count += 1
        each = ran_ns / 1e9 / (items or 1)
        mean = self.mean_s
        # A slower call counts at once, quicker ones little by little: sending ahead behind a slow call hurts.
        self.mean_s = mean = each if mean is None or each > 4 * mean else mean + (each - mean) / 8
        self.depth = depth(mean, False)
