"""Futures among the arguments of a call in this process: their values take their places."""

from __future__ import annotations

from typing import Any

from .futures import CallFuture

__all__ = ["with_values"]


def with_values(argument: Any) -> Any:
    """Return what a function is to get: the values of futures in place of these; else the same object.

    Parameters
    ----------
    argument : object
        A future, or a list, tuple or dict with futures at any depth; anything else stays as it is.

    Raises
    ------
    Exception
        That of a call that has failed.

    Examples
    --------
    >>> argument = [1, {"of": (2, 3)}]
    >>> argument.append(argument)
    >>> with_values(argument) is argument
    True
    """
    return _replaced(argument, set()) if _has_future(argument) else argument


def _has_future(argument: Any) -> bool:
    """Whether there is one. Not recursive: what is nested deeply, or contains itself, is an argument, too."""
    unseen, seen = [argument], set()
    while unseen:
        each = unseen.pop()
        kind = type(each)
        if isinstance(each, CallFuture):
            return True
        if kind in (list, tuple, dict) and id(each) not in seen:
            seen.add(id(each))
            unseen.extend(each.values() if kind is dict else each)
    return False


def _replaced(argument: Any, within: set[int]) -> Any:
    """Return a copy with the values; in it, what contains itself contains what it was copied from."""
    kind = type(argument)
    if isinstance(argument, CallFuture):
        return argument.result()
    if kind not in (list, tuple, dict) or id(argument) in within:
        return argument
    within = within | {id(argument)}
    old = argument.values() if kind is dict else argument
    new = [_replaced(each, within) for each in old]
    if all(after is before for after, before in zip(new, old, strict=True)):
        return argument
    return dict(zip(argument, new, strict=True)) if kind is dict else kind(new)
