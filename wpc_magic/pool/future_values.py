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
    >>> with_values(argument) is argument
    True
    """
    if isinstance(argument, CallFuture):
        return argument.result()
    kind = type(argument)
    if kind in (list, tuple):
        values = [with_values(each) for each in argument]
        changed = any(new is not old for new, old in zip(values, argument, strict=True))
        return kind(values) if changed else argument
    if kind is dict:
        values = [with_values(each) for each in argument.values()]
        changed = any(new is not old for new, old in zip(values, argument.values(), strict=True))
        return dict(zip(argument, values, strict=True)) if changed else argument
    return argument
