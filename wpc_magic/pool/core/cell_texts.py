"""The texts of all cells that were ever defined: objects of their classes may still exist.

A worker that has not loaded a cell loads its text when such an object arrives. So it is sent the texts that
were defined and replaced before it started, or while it was busy.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from ..wire.limits import MAX_TEXTS, MAX_TEXTS_SIZE

__all__ = ["CellTexts"]


class _Text(NamedTuple):
    epoch: int
    size: int
    wire: Any


class CellTexts:
    """Texts by their keys, in the order in which they were last defined.

    Examples
    --------
    >>> texts = CellTexts()
    >>> texts.add("a", 1, 10, "the text of a", in_use=())
    []
    >>> texts.since(0), texts.since(1)
    (('the text of a',), ())
    """

    def __init__(self) -> None:
        self._texts: dict[str, _Text] = {}
        self._size = 0

    def add(self, key: str, epoch: int, size: int, wire: Any, in_use: Collection[str]) -> list[str]:
        """Keep a text; return the keys of those that are dropped for it.

        Parameters
        ----------
        key : str
            The same for the same text.
        epoch : int
            The epoch in which it is defined. If it was defined before, all workers have it since then.
        size : int
            The length of the text, in characters.
        wire : object
            What is sent to workers.
        in_use : collection of str
            The keys of the texts that current definitions use.
        """
        old = self._texts.pop(key, None)
        self._texts[key] = _Text(epoch, size, wire) if old is None else old
        if old is None:
            self._size += size
        dropped: list[str] = []
        if len(self._texts) <= MAX_TEXTS and self._size <= MAX_TEXTS_SIZE:
            return dropped
        for each in list(self._texts):
            if each not in in_use and each != key:
                self._size -= self._texts.pop(each).size
                dropped.append(each)
            if len(self._texts) <= MAX_TEXTS and self._size <= MAX_TEXTS_SIZE:
                break
        return dropped

    def since(self, epoch: int) -> tuple[Any, ...]:
        """Return the texts that were defined after an epoch, as they are sent."""
        return tuple(text.wire for text in self._texts.values() if text.epoch > epoch)
