"""What goes along with a function of the caller: functions that need each other, and classes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import FunctionType, ModuleType

from ..worker.cells import PREFIX
from .missing import ALWAYS_DEFINED
from .objects import code_names, plain_function, reference, variables

__all__ = ["own_classes", "who_need_each_other"]


def who_need_each_other(function: FunctionType, other: str) -> tuple[str, ...]:
    """Return the functions that have to be registered together, since each leads to the next and back.

    Parameters
    ----------
    function : function
        The function that is registered.
    other : str
        A function that it calls.

    Returns
    -------
    tuple of str
        Their names; empty if the other one does not lead back.

    Examples
    --------
    >>> names = {}
    >>> exec("def even(n): return odd(n - 1)", names)
    >>> exec("def odd(n): return even(n - 1)", names)
    >>> who_need_each_other(names["even"], "odd"), who_need_each_other(names["even"], "even")
    (('even', 'odd'), ())
    """
    found = variables(function)
    own = function.__name__
    reads: dict[str, set[str]] = {own: set(code_names(function.__code__)[0])}
    pending = [other]
    while pending:
        name = pending.pop()
        value = plain_function(found.get(name))
        if name not in reads and value is not None:
            reads[name] = set(code_names(value.__code__)[0])
            pending += reads[name]
    together = {own}
    while more := {name for name, read in reads.items() if read & together} - together:
        together |= more
    return tuple(sorted(together)) if other in together and other != own else ()


def own_classes(names: Collection[str], found: Mapping[str, object]) -> set[str]:
    """Return those of these names that are classes which can come along with a function, by value.

    They are classes of the notebook whose methods read nothing but what can be imported, and such classes:
    what else they read would be another thing in the workers as soon as it changes. By value, since so their
    objects are of one class in the notebook and in the workers.
    """
    return {name for name in names if name in found and _comes_along(found[name], set())}


def _comes_along(value: object, seen: set[object]) -> bool:
    """Return whether a class of the notebook can; `seen` are those that are being asked about."""
    if not isinstance(value, type) or reference(value) is not None:
        return False
    if value in seen or value.__module__.startswith(PREFIX):  # the workers have the cell
        return True
    seen.add(value)
    own = [kind for kind in value.__mro__ if reference(kind) is None]
    return all(
        _reads_what_can_be_imported(function, seen)
        for kind in own
        for member in vars(kind).values()
        for function in _functions_of(member)
        if reference(function) is None  # as `dataclasses` gives to its classes since Python 3.13
    )


def _functions_of(member: object) -> list[FunctionType]:
    """Return the functions of a method, a property and the like."""
    parts = [member, *(getattr(member, part, None) for part in ("__func__", "fget", "fset", "fdel", "func"))]
    plain = [getattr(part, "__wrapped__", part) for part in parts]
    return [part for part in plain if isinstance(part, FunctionType)]


def _reads_what_can_be_imported(function: FunctionType, seen: set[object]) -> bool:
    found = variables(function)
    for name in {*code_names(function.__code__)[0], *function.__code__.co_freevars} - {"__class__"}:
        if name not in found:
            if name not in ALWAYS_DEFINED:
                return False
            continue
        value = found[name]
        is_there = isinstance(value, ModuleType) or reference(value) is not None
        if not is_there and not _comes_along(value, seen):
            return False
    return True
