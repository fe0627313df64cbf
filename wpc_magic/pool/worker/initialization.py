"""Calls an initializer, and has the functions of its module find the global variables that it binds.

It came by value, as the functions that are called after it do, so its namespace is its own; where it can be
imported, all of them have that of the module, and nothing is to be done.
"""

from __future__ import annotations

import sys
from functools import partial
from types import FunctionType, MethodType

from wpc_magic.pool.wire.functions import provide_globals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["call_initializer"]


def call_initializer(function: Callable[..., object], args: tuple[Any, ...]) -> None:
    """Call an initializer.

    Parameters
    ----------
    function : callable
        It.
    args : tuple
        Its arguments.

    Raises
    ------
    BaseException
        What it raises.
    """
    namespace = _own_namespace(function)
    before = {name: (value, _content(value)) for name, value in namespace.items()}
    function(*args)
    bound = {
        name: value
        for name, value in namespace.items()
        if name != "__builtins__" and not _is_as_before(value, before.get(name))
    }
    if bound:
        provide_globals(namespace.get("__name__", ""), bound)


def _own_namespace(function: Any) -> dict[str, Any]:
    """Return the global variables of a function that came by value; empty if it has none of its own."""
    while isinstance(function, partial):
        function = function.func
    if isinstance(function, MethodType):
        function = function.__func__
    if not isinstance(function, FunctionType):
        function = getattr(type(function), "__call__", None)  # noqa: B004 (the function, not whether)
        if not isinstance(function, FunctionType):
            return {}
    namespace: dict[str, Any] = function.__globals__
    module = sys.modules.get(namespace.get("__name__", ""))
    return {} if module is not None and vars(module) is namespace else namespace


def _content(value: Any) -> Any:
    """Return what shows that a container was changed in place, without comparing what is in it."""
    kind = type(value)
    if kind is dict:
        return [*value], [*value.values()]
    return [*value] if kind is list or kind is set else None


def _is_as_before(value: Any, before: tuple[Any, Any] | None) -> bool:
    if before is None or value is not before[0]:
        return False
    return bool(_ids(_content(value)) == _ids(before[1]))


def _ids(content: Any) -> Any:
    if type(content) is tuple:
        return [list(map(id, each)) for each in content]
    return content and list(map(id, content))
