"""A supervised pool of worker processes for Jupyter.

Define functions in cells, call them in workers::

    %load_ext wpc_magic

or from Python::

    from wpc_magic import WorkerProcedureCall

Importing this module loads nothing else: names are imported on demand, since every worker imports it too.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as in `typing`, without the import, which each worker would pay for
if TYPE_CHECKING:
    from typing import Any

    from IPython.core.interactiveshell import InteractiveShell

__version__ = "1.0.0"


def load_ipython_extension(ip: InteractiveShell) -> None:
    """Register the magics with a shell, and create its pool: ``%load_ext wpc_magic``."""
    from .magics.extension import load

    load(ip)


def unload_ipython_extension(ip: InteractiveShell) -> None:
    """Stop the shell's pool, and undo everything that loading did."""
    from .magics.extension import unload

    unload(ip)


def __getattr__(name: str) -> Any:
    if name.startswith("_"):  # `__path__` and the like are looked up by the import system itself
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    pool = _pool_package()
    if name in pool.__all__:
        return getattr(pool, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(
        {"load_ipython_extension", "unload_ipython_extension", "__version__", *_pool_package().__all__}
    )


def _pool_package() -> Any:
    # Not `from . import pool`: that looks the name up in this module first, which would recurse into here.
    from importlib import import_module

    return import_module(".pool", __name__)
