"""The values of a map of an executor, in order."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from ..futures import CallFuture
from ..outcomes import rebuild_outcome

__all__ = ["results"]


def results(
    futures: deque[Future[Any]],
    more: Iterator[Future[Any]] | None,
    due: float | None,
    chunksize: int,
) -> Iterator[Any]:
    """Yield the values of futures in order; cancel those that are left.

    What it holds keeps no pool alive: an executor may be dropped before its values are taken.

    Parameters
    ----------
    futures : deque of Future
        One for each item, or for each batch of items.
    more : iterator of Future, optional
        Makes another one whenever a value was taken.
    due : float, optional
        When each must have ended, on the monotonic clock.
    chunksize : int
        1, or more where they are of batches.
    """
    first = 0
    try:
        while futures:
            future = futures[0]
            value = [future.result(None if due is None else due - time.monotonic())]
            del futures[0]
            if more is not None:
                futures.extend(itertools.islice(more, 1))
            if chunksize == 1:
                del future
                yield value.pop()  # no reference is kept here, nor below
                continue
            values, failures = value.pop()
            error = _error_of(future, failures, first)
            first += len(values)
            del future
            values.reverse()
            for _ in range(len(values) - len(failures) if error is None else min(failures)):
                yield values.pop()
            if error is not None:
                raise error
    finally:
        for each in futures:
            each.cancel()


def _error_of(future: Any, failures: dict[int, Any], first: int) -> Any:
    """Return the exception of the first item of a batch that has failed; None: none has."""
    if not failures:
        return None
    n = min(failures)
    failed = future._driver.failures.keep_item(future.call, future.chunk, n, future.chunk_is_whole)
    note = f"in item {first + n}: {failed}"
    return failed.add_to(rebuild_outcome(failures[n], note, CallFuture.raises_exits))
