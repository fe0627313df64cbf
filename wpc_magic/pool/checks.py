"""Validation of arguments: one clear error each, which names the parameter."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .errors import OptionError, qualified_name

__all__ = [
    "MAX_WHOLE",
    "MAX_WORKERS",
    "ErrorKinds",
    "check_callable",
    "check_count",
    "check_flag",
    "check_iterable",
    "check_seconds",
    "check_text",
    "check_whole",
    "check_workers",
    "error_names",
    "read_amounts",
    "read_variables",
    "shown",
    "shown_amounts",
]

ErrorKinds = type[BaseException] | str | Iterable[type[BaseException] | str]
"""Classes of errors, or their names."""

MAX_WHOLE = 10**12
"""The largest whole number that is accepted: as milliseconds, thirty years."""

MAX_WORKERS = 10_000
"""Each needs some descriptors and 20 MB: far more than any one machine can run."""

_MAX_LENGTH = 120  # characters of a value in a message


def shown(value: object) -> str:
    """Return the repr of a value for a message: short, and without raising.

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
        text = repr(value) if _is_small(value) else _BRIEF_REPR.repr(value)
    except Exception:  # from the value's own __repr__
        text = f"<{type(value).__name__} object>"
    return text if len(text) <= _MAX_LENGTH else text[: _MAX_LENGTH - 1] + "…"


def _is_small(value: object) -> bool:
    return isinstance(value, float | bool | type(None)) or (
        isinstance(value, int | str | bytes) and value.__sizeof__() < _MAX_LENGTH
    )


class _BriefRepr(reprlib.Repr):
    """Visits only a part of large values: all of it may take minutes."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = _MAX_LENGTH


_BRIEF_REPR = _BriefRepr()


def check_whole(word: str, value: object, least: int) -> int:
    """Return `value` if it is a whole number from `least` up: 0, 1, or a negative number.

    Raises
    ------
    OptionError
        If it is not; the message names it by `word`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        kind = "a positive whole number" if least == 1 else "a whole number, 0 or more"
        if least < 0:
            kind = f"a whole number from {least}"
        raise OptionError(f"{word} takes {kind}, not {shown(value)}")
    if value > MAX_WHOLE:
        raise OptionError(f"{word} takes a whole number up to {MAX_WHOLE}, not {shown(value)}")
    return value


def check_count(word: str, value: object) -> int:
    """Return `value` if it is a positive whole number. See `check_whole`."""
    return check_whole(word, value, 1)


def check_workers(word: str, value: object) -> int:
    """Return `value` if it is a valid number of workers.

    Raises
    ------
    OptionError
        If it is not, or is more than any machine can run.
    """
    number = check_whole(word, value, 1)
    if number > MAX_WORKERS:
        raise OptionError(f"{word} takes a number of workers up to {MAX_WORKERS}, not {number}")
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
    """Return `value` if it is a string.

    Raises
    ------
    OptionError
        If it is not.
    """
    if not isinstance(value, str):
        raise OptionError(f"{word} takes a text, not {shown(value)}")
    return value


def check_callable(word: str, value: Any) -> Callable[..., Any]:
    """Return `value` if it is callable.

    Raises
    ------
    OptionError
        If it is not.
    """
    if not callable(value):
        raise OptionError(f"{word} takes a callable, not {shown(value)}")
    checked: Callable[..., Any] = value
    return checked


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


def error_names(word: str, value: Any) -> tuple[str, ...]:
    """Return the names of classes of errors, each given as the class or as its name.

    Raises
    ------
    OptionError
        If one is neither.

    Examples
    --------
    >>> error_names("retry_on", (ConnectionError, "HTTPError"))
    ('ConnectionError', 'HTTPError')
    """
    names = []
    for each in value if type(value) in (tuple, list, set, frozenset) else (value,):
        if issubclass(type(each), type) and issubclass(each, BaseException):
            each = qualified_name(each)
        if type(each) is not str or not all(part.isidentifier() for part in each.split(".")):
            raise OptionError(f"{word} takes classes of errors, or their names, not {shown(each)}")
        names.append(each)
    return tuple(names)


def check_seconds(word: str, value: object) -> float:
    """Return `value` if it is a number of seconds; a negative one becomes 0.

    Raises
    ------
    OptionError
        If it is not a number, or is NaN.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise OptionError(f"{word} takes a number of seconds, or None, not {shown(value)}")
    return float(min(max(value, 0), MAX_WHOLE))


def read_amounts(word: str, value: Any) -> dict[str, float]:
    """Return amounts of resources, given as a mapping, or as text: ``"GPU=1 disk=0.5"``.

    Raises
    ------
    OptionError
        If it is neither, or an amount is no positive number.

    Examples
    --------
    >>> read_amounts("resources", "GPU=1, disk=0.5"), read_amounts("resources", {"GPU": 2})
    ({'GPU': 1, 'disk': 0.5}, {'GPU': 2})
    """
    if isinstance(value, str):
        pairs = [part.partition("=") for part in value.replace(",", " ").split()]
        value = {name: _number_of(amount) for name, _, amount in pairs}
    if not isinstance(value, Mapping):
        raise OptionError(f'{word} takes amounts by name, {{"GPU": 1}} or "GPU=1", not {shown(value)}')
    for name, amount in value.items():
        if not isinstance(name, str) or not name:
            raise OptionError(f"{word} takes names of resources as text, not {shown(name)}")
        is_number = isinstance(amount, int | float) and not isinstance(amount, bool)
        if not is_number or not 0 < amount < math.inf:
            raise OptionError(f"{word} takes a positive number for {shown(name)}, not {shown(amount)}")
    return dict(value)


def read_variables(word: str, value: Any) -> dict[str, str]:
    """Return environment variables, given as a mapping, or as text: ``"A=1 B=2"``.

    Raises
    ------
    OptionError
        If it is neither, or a system does not take them.

    Examples
    --------
    >>> read_variables("environment", "A=1 B=")
    {'A': '1', 'B': ''}
    """
    if isinstance(value, str):
        parts = [part.partition("=") for part in value.split()]
        value = {name: text if equals else None for name, equals, text in parts}
    if not isinstance(value, Mapping):
        raise OptionError(f'{word} takes variables by name, {{"NAME": "value"}}, not {shown(value)}')
    for name, text in value.items():
        if not isinstance(name, str) or not name or "=" in name or "\0" in name:
            raise OptionError(f"{word} takes names of variables as text, not {shown(name)}")
        if not isinstance(text, str) or "\0" in text:
            raise OptionError(f"{word} takes a text for {shown(name)}, not {shown(text)}")
    return dict(value)


def _number_of(text: str) -> float | str:
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text


def shown_amounts(amounts: Mapping[str, float]) -> str:
    """Return amounts of resources as text.

    Examples
    --------
    >>> shown_amounts({"disk": 0.5, "GPU": 1.0})
    'GPU=1, disk=0.5'
    """
    return ", ".join(f"{name}={amount:g}" for name, amount in sorted(amounts.items()))
