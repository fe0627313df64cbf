"""The items of a map that have failed, with equal errors together."""

from __future__ import annotations

__all__ = ["Failures"]

_MAX_ERRORS = 1_000  # exceptions that are kept: a map may go on forever
_MAX_NAMED = 5  # items that are named with one error
_MAX_LINES = 10
_MAX_LENGTH = 100  # characters of a message


class Failures:
    """Counts the failures of a map.

    Attributes
    ----------
    count : int
        How many items have failed.
    errors : dict
        The exceptions by item; of the first 1,000.

    Examples
    --------
    >>> failures = Failures()
    >>> for item in (37, 91, 405): failures.add(item, ValueError("no date"))
    >>> failures.add(4, KeyError("id"))
    >>> print(failures)
    ValueError: no date ×3 (items 37, 91, 405)
    KeyError: 'id' (item 4)
    """

    def __init__(self) -> None:
        self.count = 0
        self.errors: dict[int, BaseException] = {}
        self._counts: dict[str, int] = {}
        self._items: dict[str, list[int]] = {}

    def add(self, item: int, error: BaseException) -> None:
        """Add the error of an item."""
        self.count += 1
        if len(self.errors) < _MAX_ERRORS:
            self.errors[item] = error
            text = _one_line(error)
            self._counts[text] = self._counts.get(text, 0) + 1
            self._items.setdefault(text, []).append(item)

    def __str__(self) -> str:
        kinds = sorted(self._counts, key=lambda text: -self._counts[text])
        lines = [self._line(text) for text in kinds[:_MAX_LINES]]
        told = sum(self._counts[text] for text in kinds[:_MAX_LINES])
        if told < self.count:
            lines.append(f"… and {self.count - told:,} more items")
        return "\n".join(lines)

    def _line(self, text: str) -> str:
        count, items = self._counts[text], sorted(self._items[text])
        if count == 1:
            return f"{text} (item {items[0]})"
        named = ", ".join(map(str, items[:_MAX_NAMED]))
        more = f" and {count - _MAX_NAMED:,} more" if count > _MAX_NAMED else ""
        return f"{text} ×{count:,} (items {named}{more})"


def _one_line(error: BaseException) -> str:
    try:
        message = " ".join(str(error).split())
    except Exception:  # from the exception's own __str__
        message = ""
    if len(message) > _MAX_LENGTH:
        message = message[: _MAX_LENGTH - 1] + "…"
    name = type(error).__name__
    return f"{name}: {message}" if message else name
