"""The table of functions: how often each was called, how that ended, and how long it took; pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

from wpc_magic.pool.core.snapshot import FunctionInfo
from wpc_magic.pool.statistics import FunctionStatistics

__all__ = ["FunctionRow", "function_rows", "quantile_s"]


class FunctionRow(TypedDict):
    """One function, in all its versions; times in seconds."""

    name: str
    version: int  # 0: it is not registered
    calls: int
    items: int
    failed: int
    cancelled: int
    # How long workers have run it: the mean of a bucket, whose ends are a factor of 2 apart.
    p50: float | None
    p95: float | None
    p99: float | None
    share: float  # of the time that workers have run functions, from 0 to 1
    last_error: str


def function_rows(
    statistics: Iterable[FunctionStatistics],
    infos: Iterable[FunctionInfo],
) -> list[FunctionRow]:
    """Return the rows of the functions that are registered, or were called; by name.

    Parameters
    ----------
    statistics : iterable of FunctionStatistics
        What the pool has counted.
    infos : iterable of FunctionInfo
        The functions that are registered.

    Examples
    --------
    >>> runs, took = (0,) * 30 + (4,), (0.0,) * 30 + (3.6,)
    >>> counted = FunctionStatistics("fit", {"done": 3, "failed": 1}, runs, calls=4, sums_s=took)
    >>> (row,) = function_rows([counted], [])
    >>> row["calls"], row["failed"], row["share"], row["p50"]
    (4, 1, 1.0, 0.9)
    """
    counted = {each.name: each for each in statistics}
    versions = {info.name: info.revision for info in infos}
    took = {name: sum(each.sums_s) for name, each in counted.items()}
    total = sum(took.values()) or 1.0
    rows = []
    for name in sorted({*counted, *versions}):
        each = counted.get(name) or FunctionStatistics(name, {}, ())
        p50, p95, p99 = (quantile_s(each.buckets, each.sums_s, q) for q in (0.5, 0.95, 0.99))
        rows.append(
            FunctionRow(
                name=name,
                version=versions.get(name, 0),
                calls=each.calls,
                items=each.items,
                failed=each.failed,
                cancelled=each.cancelled,
                p50=p50,
                p95=p95,
                p99=p99,
                share=round(took.get(name, 0.0) / total, 3),
                last_error=" ".join(each.last_error.split()),
            )
        )
    return rows


def quantile_s(buckets: Sequence[int], sums_s: Sequence[float], q: float) -> float | None:
    """Return a quantile of run times in buckets of powers of two: the mean of its bucket, in seconds.

    Parameters
    ----------
    buckets, sums_s : sequence
        As in `FunctionStatistics`.
    q : float
        From 0 to 1.

    Examples
    --------
    >>> runs, took_s = (0, 9, 1), (0.0, 2.7, 0.5)
    >>> quantile_s(runs, took_s, 0.5), quantile_s(runs, took_s, 0.95), quantile_s((), (), 0.5)
    (0.3, 0.5, None)
    """
    left = q * sum(buckets)
    for count, sum_s in zip(buckets, sums_s, strict=True):
        left -= count
        if count and left <= 0:
            return float(f"{sum_s / count:.3g}")
    return None
