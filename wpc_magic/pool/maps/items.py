"""The items of a map: taken from the iterables as they are needed, some at a time."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

__all__ = ["Items", "count_items"]

_ENDLESS = (itertools.repeat, itertools.count, itertools.cycle)


class Items:
    """Takes the items of a map from its iterables.

    Parameters
    ----------
    iterables : sequence of iterable
        One for each argument; the shortest ends the map.
    star : bool
        Whether there is one, whose items are tuples of arguments.

    Attributes
    ----------
    error : Exception or None
        What the iterables have raised; it is raised after the results of the items before it.

    Examples
    --------
    >>> items = Items((range(5),))
    >>> [*items.take(3)], [*items.take(3)], [*items.take(3)]
    ([0, 1, 2], [3, 4], [])
    >>> pairs = Items(([(2, 3), (4, 5)],), star=True)
    >>> pairs.columns(pairs.take(10))
    (((2, 3), (4, 5)),)
    """

    def __init__(self, iterables: Sequence[Iterable[Any]], star: bool = False) -> None:
        self.error: Exception | None = None
        self._star = star
        self._taken = 0
        self._alone = 0  # items to be taken one by one, since one of them cannot be sent
        self._single = len(iterables) == 1 and not star
        first = iterables[0]
        # These are cut into pieces, which is several times as fast as to iterate over them. As with an
        # iterator, what a list gets meanwhile is taken, too.
        self._whole: Any = first if self._single and type(first) in (list, tuple, range) else None
        self._rest: Iterator[Any]
        if self._whole is not None:
            self._rest = iter(())
        elif star:
            self._rest = map(tuple, first)
        elif self._single:
            self._rest = iter(first)
        else:
            self._rest = zip(*iterables, strict=False)

    def take(self, count: int) -> Sequence[Any]:
        """Return the next items, at most `count`; none: there are no more, or `error` is set."""
        if self._alone:
            self._alone -= 1
            count = 1
        whole = self._whole
        if whole is not None:
            at = self._taken
            pieces: Sequence[Any] = whole[at : at + count]
            self._taken = at + len(pieces)
            return list(pieces) if type(whole) is tuple else pieces
        items: list[Any] = []
        if self.error is None:
            try:
                items.extend(itertools.islice(self._rest, count))  # keeps the items before an error
            except TypeError as error:
                self.error = self._explained(error, len(items))
            except Exception as error:
                self.error = error
        self._taken += len(items)
        return items

    def _explained(self, error: TypeError, count: int) -> Exception:
        """Return what is wrong with an item of a starmap that is no tuple, or the error of an iterable."""
        if not self._star or error.__traceback__ is None or error.__traceback__.tb_next is not None:
            return error
        item = self._taken + count
        return TypeError(f"starmap takes tuples of arguments; item {item} is none: {error}")

    def take_back(self, items: Sequence[Any]) -> None:
        """Take back the items that were taken last: they are taken again, one by one."""
        self._taken -= len(items)
        self._alone = len(items)
        if self._whole is None:
            self._rest = itertools.chain(items, self._rest)

    def columns(self, items: Sequence[Any]) -> tuple[Any, ...]:
        """Return items as they are sent; see `wire.chunk_arguments`."""
        if self._single:
            return (items,)
        return (tuple(items),) if self._star else tuple(map(list, zip(*items, strict=True)))


def count_items(iterables: Iterable[Iterable[Any]]) -> int | None:
    """Return how many items a map over these has; None: that is not known.

    Examples
    --------
    >>> count_items([range(10), "abc"]), count_items([range(10), itertools.repeat(1)])
    (3, 10)
    >>> count_items([range(10), iter("abc")])
    """
    sizes = []
    for each in iterables:
        try:
            sizes.append(len(each))  # type: ignore[arg-type]
        except Exception:
            if not isinstance(each, _ENDLESS):  # `repeat` may have an end, and tells it
                return None
            hint = operator.length_hint(each, -1)
            sizes += [hint] if hint >= 0 else []
    return min(sizes, default=None)
