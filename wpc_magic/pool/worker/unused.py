"""Whether anything refers to a module that was dropped, without looking at all objects of the process.

The functions of a module refer to its globals, which refer to them: it is a cycle, and stays until the
collector comes, with all that it has at its top level. The collector looks at every object there is. This
looks at those of the module alone, by the same rule: what has no more references than those that were found
inside is not referred to from outside.
"""

from __future__ import annotations

import sys
from types import BuiltinFunctionType, FunctionType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["clear_module", "is_unused"]

_MAX_OBJECTS = 2_000
_CODE = (FunctionType, BuiltinFunctionType, type, ModuleType)
_HEAP_TYPE = 1 << 9  # a flag of classes that are not of C


def is_unused(objects: list[Any]) -> bool:
    """Tell whether only a module's own objects refer to its globals.

    The answer is False, too, if these are many, or of kinds into which this does not look.

    Parameters
    ----------
    objects : list
        Nothing but the module, to which nothing else refers that the caller knows of. It is changed.
    """
    import gc

    index = _find(objects)
    if index is None:
        return False
    inner = [0] * len(objects)
    for each in objects:
        for found in gc.get_referents(each):
            at = index.get(id(found))
            if at is not None:
                inner[at] += 1
    found = each = None
    objects.append(object())  # what it has, `objects` and this loop have of each
    counts = [sys.getrefcount(each) for each in objects]
    objects.pop()
    usual = counts.pop()
    outside = [at for at, count in enumerate(counts) if count - usual > inner[at]]
    reached = set(outside)
    for at in outside:  # it grows during the iteration
        for found in gc.get_referents(objects[at]):
            other = index.get(id(found))
            if other is not None and other not in reached:
                reached.add(other)
                outside.append(other)
    return index[id(objects[0].__dict__)] not in reached


def _find(objects: list[Any]) -> dict[int, int] | None:
    """Add what a module has of its own; return the places of all by their ids; None: too many."""
    import gc

    name, global_names = objects[0].__name__, objects[0].__dict__
    index = {id(objects[0]): 0}
    left_out = {id(global_names.get("__builtins__"))}
    for each in objects:  # it grows during the iteration
        for found in gc.get_referents(each):
            if id(found) in index or id(found) in left_out or not gc.is_tracked(found):
                continue
            kind = type(found)
            if kind is FunctionType:
                if found.__globals__ is not global_names:  # a decorator's, around one of the module
                    left_out.update((id(found.__globals__), id(found.__builtins__)))
            elif not _is_looked_into(found, kind, name):
                continue
            index[id(found)] = len(objects)
            objects.append(found)
            if len(objects) > _MAX_OBJECTS:
                return None
    return index


def _is_looked_into(found: Any, kind: type, name: str) -> bool:
    if issubclass(kind, type):
        return bool(type.__getattribute__(found, "__module__") == name)
    if issubclass(kind, ModuleType):
        return False
    if not kind.__flags__ & _HEAP_TYPE:  # containers, descriptors, cells of closures
        return True
    return type.__getattribute__(kind, "__module__") in (name, "functools", "collections")


def clear_module(module: ModuleType) -> None:
    """Remove what a module refers to: values in reverse order, then the code that their finalizers need."""
    global_names = module.__dict__
    for name in reversed(list(global_names)):  # no variable may hold a value
        if not name.startswith("__") and not isinstance(global_names.get(name), _CODE):
            global_names.pop(name, None)
    global_names.clear()
