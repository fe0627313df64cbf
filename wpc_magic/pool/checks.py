"""Checks of what our own methods are given: one clear error each, which names the parameter."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .errors import OptionError

__all__ = [
    "MOST",
    "MOST_WORKERS",
    "check_callable",
    "check_count",
    "check_flag",
    "check_iterable",
    "check_seconds",
    "check_text",
    "check_whole",
    "check_workers",
    "shown",
]

MOST = 10**12
"""The largest whole number that is taken: as milliseconds, thirty years."""

MOST_WORKERS = 10_000
"""Each takes some descriptors and 20 MB: far more than any one machine can run."""

_LONGEST = 120  # characters of a value in a message


def shown(value: object) -> str:
    """Return a value as a message shows it: short, and without fail.

    Examples
    --------
    >>> shown("5")
    "'5'"
    >>> shown(10**5000)
    '<int ...>'
    >>> len(shown("x" * 100_000))
    120
    """
    try:
        text = repr(value) if _is_small(value) else _BRIEFLY.repr(value)
    except Exception:  # of the value's own
        text = f"<{type(value).__name__} object>"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _is_small(value: object) -> bool:
    return isinstance(value, float | bool | type(None)) or (
        isinstance(value, int | str | bytes) and value.__sizeof__() < _LONGEST
    )


class _Briefly(reprlib.Repr):
    """Looks at a part of what is large: all of it may take minutes."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = _LONGEST


_BRIEFLY = _Briefly()


def check_whole(word: str, value: object, least: int) -> int:
    """Return `value` if it is a whole number from `least` (0 or 1) up.

    Raises
    ------
    OptionError
        If it is not; the text names it by `word`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        kind = "a positive whole number" if least == 1 else "a whole number, 0 or more"
        raise OptionError(f"{word} takes {kind}, not {shown(value)}")
    if value > MOST:
        raise OptionError(f"{word} takes a whole number up to {MOST}, not {shown(value)}")
    return value


def check_count(word: str, value: object) -> int:
    """Return `value` if it is a positive whole number. See `check_whole`."""
    return check_whole(word, value, 1)


def check_workers(word: str, value: object) -> int:
    """Return `value` if it is a number of workers.

    Raises
    ------
    OptionError
        If it is none, or more than any machine can run.
    """
    number = check_whole(word, value, 1)
    if number > MOST_WORKERS:
        raise OptionError(f"{word} takes a number of workers up to {MOST_WORKERS}, not {number}")
    return number


def check_flag(word: str, value: object) -> bool:
    """Return `value` if it is True or False.

    Raises
    ------
    OptionError
        If it is neither.
    """
    if not isinstance(value, bool):
        raise OptionError(f"{word} takes True or False, not {shown(value)}")
    return value


def check_text(word: str, value: object) -> str:
    """Return `value` if it is a text.

    Raises
    ------
    OptionError
        If it is not.
    """
    if not isinstance(value, str):
        raise OptionError(f"{word} takes a text, not {shown(value)}")
    return value


def check_callable(word: str, value: Any) -> Callable[..., Any]:
    """Return `value` if it can be called.

    Raises
    ------
    OptionError
        If it cannot.
    """
    if not callable(value):
        raise OptionError(f"{word} takes a callable, not {shown(value)}")
    made: Callable[..., Any] = value
    return made


def check_iterable(word: str, value: Iterable[Any]) -> Iterator[Any]:
    """Return an iterator over `value`.

    Raises
    ------
    OptionError
        If it is not iterable.
    """
    try:
        return iter(value)
    except TypeError:
        raise OptionError(f"{word} takes an iterable, not {shown(value)}") from None


def check_seconds(word: str, value: object) -> float:
    """Return `value` if it is a number of seconds; a negative one is none.

    Raises
    ------
    OptionError
        If it is no number, or not a number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise OptionError(f"{word} takes a number of seconds, or None, not {shown(value)}")
    return float(min(max(value, 0), MOST))
