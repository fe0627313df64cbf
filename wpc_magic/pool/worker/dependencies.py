"""What a dependency stands for in a worker: a module, or something in it."""

from __future__ import annotations

from wpc_magic.pool.worker.module_files import check_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wpc_magic.pool.wire.protocol import Dependency

__all__ = ["import_dependency", "resolve"]


def import_dependency(record: Dependency) -> Any:
    """Import a module, and return it, or what is exported of it.

    Raises
    ------
    BaseException
        Whatever importing the module raises.
    AttributeError
        If the module has nothing of that name.
    """
    from importlib import import_module

    module = import_module(record.module)
    if record.fresh:
        check_module(record.module)
    if record.export is None:
        return module
    try:
        return resolve(module, record.export)
    except AttributeError:
        try:  # `from package import module` imports it, too
            return import_module(f"{record.module}.{record.export}")
        except ModuleNotFoundError:
            pass
        raise


def resolve(thing: Any, path: str) -> Any:
    """Return what a dotted path leads to.

    Examples
    --------
    >>> resolve(dict, "fromkeys.__name__")
    'fromkeys'
    """
    for name in path.split("."):
        thing = getattr(thing, name)
    return thing
