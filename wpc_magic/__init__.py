"""A supervised pool of worker processes for Jupyter.

Define functions in cells, call them in workers::

    %load_ext wpc_magic

or from Python::

    from wpc_magic import WorkerProcedureCall

Importing this module loads nothing else: names come on demand, since every worker imports it too.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as `typing` has it, without the import: each worker would pay for it
if TYPE_CHECKING:
    from typing import Any

    from IPython.core.interactiveshell import InteractiveShell

__version__ = "0.1.0"


def load_ipython_extension(ip: InteractiveShell) -> None:
    """Give a shell the magics and its pool: ``%load_ext wpc_magic``."""
    from .magics.extension import load

    load(ip)


def unload_ipython_extension(ip: InteractiveShell) -> None:
    """Stop the shell's pool, and take back everything that loading gave."""
    from .magics.extension import unload

    unload(ip)


def __getattr__(name: str) -> Any:
    if name.startswith("_"):  # `__path__` and its like are asked for by the import system itself
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    door = _door()
    if name in door.__all__:
        return getattr(door, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({"load_ipython_extension", "unload_ipython_extension", "__version__", *_door().__all__})


def _door() -> Any:
    # Not `from . import pool`: that asks this module for the name first, which comes back here.
    from importlib import import_module

    return import_module(".pool", __name__)
