"""What a map has computed that fails: the values that it has delivered, as long as its caller keeps them."""

from __future__ import annotations

from collections.abc import Callable
from sys import getrefcount
from typing import Any

from .failures import Failures

__all__ = ["DeliveredValues", "explain_end"]

_MAX_ITEMS = 1_000_000


class DeliveredValues:
    """Finds the values that a map has delivered again, for the error with which it ends.

    ``list(results)`` is lost when the map raises. So the map remembers what it has delivered; but it must
    not keep alive what a loop has finished with. A batch to which nothing else refers is therefore dropped:
    the latest one when the next is added, others when their number is three times that of the last time. The
    first and the last value show it. A list that grows keeps all of them, and costs nothing for each item.

    Examples
    --------
    >>> delivered, kept = DeliveredValues(), []
    >>> for n in range(100):
    ...     batch = [object()]
    ...     delivered.add(n, batch)
    ...     if n >= 98: kept += batch
    >>> del batch
    >>> delivered.prune()
    >>> list(delivered.by_item())
    [98, 99]
    """

    def __init__(self) -> None:
        self._batches: list[tuple[int, list[Any], Any]] = []
        self._limit = 8
        self._items = 0

    def add(self, first: int, values: list[Any], failed: Any = ()) -> None:
        """Add the values of items `first`, `first` + 1, and so on; not those at the positions `failed`."""
        batches = self._batches
        # By index: a name would be another reference.
        if batches and getrefcount(batches[-1][1][0]) <= _ALONE:
            batches[-1] = first, values, failed
            return
        batches.append((first, values, failed))
        self._items += len(values)
        if len(batches) > self._limit or self._items > _MAX_ITEMS:
            self.prune()

    def prune(self) -> None:
        """Forget the values that nothing else refers to, and the oldest if there are too many."""
        latest = self._batches.pop()  # nobody can refer to these values yet
        kept = [
            each
            for each in self._batches
            if getrefcount(each[1][0]) > _ALONE and getrefcount(each[1][-1]) > _ALONE
        ]
        kept.append(latest)
        items = sum([len(each[1]) for each in kept])
        if items > _MAX_ITEMS:
            too_many, oldest = items - _MAX_ITEMS // 4 * 3, 0  # not just below: the next time is not soon
            while too_many > 0 and oldest < len(kept) - 1:
                too_many -= len(kept[oldest][1])
                oldest += 1
            del kept[:oldest]
            items = sum([len(each[1]) for each in kept])
        self._batches, self._items = kept, items
        self._limit = 3 * len(kept) + 8

    def by_item(self) -> dict[int, Any]:
        """Return the values by the numbers of their items."""
        return {
            first + n: value
            for first, values, failed in self._batches
            for n, value in enumerate(values)
            if n not in failed
        }


def _references(values: list[Any]) -> int:
    return getrefcount(values[0])


_ALONE = _references([object()])
"""What `getrefcount` says of an object that is only in a list."""


def explain_end(
    error: BaseException,
    partial: dict[int, Any],
    failures: Failures,
    done: int,
    total: int | None,
    keep: Callable[[dict[int, Any]], str],
) -> None:
    """Give the exception that ends a map what has been computed, and say so.

    Parameters
    ----------
    error : BaseException
        The exception.
    partial : dict
        The values by the numbers of their items.
    failures : Failures
        The items that have failed.
    done : int
        How many values have been computed.
    total : int or None
        How many items there are, if that is known.
    keep : callable
        Keeps the values, and returns where.
    """
    try:
        error.partial = partial  # type: ignore[attr-defined]
    except Exception:  # its class does not let us
        return
    if failures.count > 1:
        error.add_note(str(failures))
    if not done:
        return
    of, kept = "" if total is None else f" of {total:,}", ""
    if partial:
        which = f"the {len(partial):,} that were not used yet are"
        if len(partial) == done:
            which = "they are" if done > 1 else "it is"
        kept = f"; {which} in {keep(partial)}"
    error.add_note(f"{done:,}{of} done{kept}")
