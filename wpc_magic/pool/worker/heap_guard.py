"""`heapq` in a worker: its functions are of C, and change a list without asking its class."""

from __future__ import annotations

import sys
from types import BuiltinFunctionType, ModuleType

from wpc_magic.pool.wire.lazy_import import INTERPRETER_PATH, interpreter_path_first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["guard_heapq"]

_guarded = False


def guard_heapq(kind: type, refuse: Callable[[Any], object]) -> None:
    """Make the functions of `heapq` refuse lists of one kind, in a worker, from now on.

    Only a worker that has a list as a constant pays for it, some ten nanoseconds a call; the heaps of the
    standard library, and the process of the notebook, stay as they are.

    Parameters
    ----------
    kind : type
        The type of a read-only list.
    refuse : callable
        Raises the error, given such a list.
    """
    global _guarded
    if _guarded or not INTERPRETER_PATH:  # empty: this is no worker
        return
    _guarded = True
    with interpreter_path_first:
        import heapq
    guards: dict[int, Any] = {}
    for name, function in list(vars(heapq).items()):
        if name.startswith("heap") and type(function) is BuiltinFunctionType:
            guards[id(function)] = guard = _guard(function, kind, refuse)
            setattr(heapq, name, guard)
            _tell_numba(function, guard)
    for module_name, module in list(sys.modules.items()):  # `from heapq import heappush` has happened already
        if isinstance(module, ModuleType) and module_name.partition(".")[0] not in _SPARED:
            names = object.__getattribute__(
                module, "__dict__"
            )  # it must not load one that loads itself lazily
            for name, value in list(names.items()):
                if id(value) in guards:
                    names[name] = guards[id(value)]


_SPARED = sys.stdlib_module_names


def _takes_item(function: Callable[..., Any]) -> bool:
    return "item" in (getattr(function, "__text_signature__", None) or "")


def _guard(function: Callable[..., Any], kind: type, refuse: Callable[[Any], object]) -> Callable[..., Any]:
    # Two, since ``*items`` would take twice as long.
    def guard_one(heap: Any, /) -> Any:
        if type(heap) is kind:
            refuse(heap)
        return function(heap)

    def guard_two(heap: Any, item: Any, /) -> Any:
        if type(heap) is kind:
            refuse(heap)
        return function(heap, item)

    guard = guard_two if _takes_item(function) else guard_one
    guard.__name__ = guard.__qualname__ = function.__name__
    guard.__module__ = "heapq"  # by this name, it is pickled as the function that it replaces
    guard.__doc__ = function.__doc__
    guard.__annotations__ = {}
    return guard


def _tell_numba(function: Callable[..., Any], guard: Callable[..., Any]) -> None:
    """Let compiled code call the guard, which numba does not know if it was loaded before."""
    extending = sys.modules.get("numba.extending")
    if extending is None:
        return

    def compile_one(heap: Any) -> Any:
        return lambda heap: function(heap)

    def compile_two(heap: Any, item: Any) -> Any:
        return lambda heap, item: function(heap, item)

    compiled: Any = compile_two if _takes_item(function) else compile_one
    compiled.__annotations__ = {}  # numba compares the signature with that of the lambda
    extending.overload(guard)(compiled)
