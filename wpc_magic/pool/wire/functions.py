"""What functions that are pickled by value find as global variables, also of what an initializer has bound.

cloudpickle gives the functions of each pickle a namespace of their own. So an initializer that sets a global
variable would set it where no other function looks. What it has bound is told here, and is there in each
function of the same module that is unpickled later.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FunctionType
    from typing import Any

__all__ = ["provide_globals", "set_function_state"]

_provided: dict[str, dict[str, Any]] = {}


def provide_globals(module: str, values: Mapping[str, Any]) -> None:
    """Have functions of a module that are unpickled from now on find these global variables.

    They take the place of those that come along with a function.

    Parameters
    ----------
    module : str
        The name of the module, ``"__main__"`` for a notebook.
    values : mapping
        The variables.
    """
    _provided.setdefault(module, {}).update(values)


def set_function_state(function: FunctionType, state: Any) -> None:
    """Set the state of a function, as cloudpickle does, and what is provided: pickle calls this."""
    from cloudpickle import cloudpickle  # it has made the function

    cloudpickle._function_setstate(function, state)
    if _provided:
        namespace = function.__globals__
        found = _provided.get(namespace.get("__name__", ""))
        if found:
            namespace.update(found)
