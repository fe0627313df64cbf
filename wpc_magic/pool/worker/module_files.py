"""The files that local modules were imported from: a module that was edited since then is stale.

`importlib.reload` cannot bring a worker up to date: other modules, and objects, refer to what was there
before. So a worker that has imported an older version says so, and is replaced.
"""

from __future__ import annotations

import os
import sys
from importlib._bootstrap_external import SourceFileLoader, cache_from_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["StaleModuleError", "check_module", "edited_file", "is_local", "record_imports", "version"]

_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
_INSTALLED = f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}"

_imported: dict[str, tuple[int, int]] = {}  # path -> its time and size at the import


class StaleModuleError(ImportError):
    """A module was edited after this worker had imported it."""


def record_imports() -> None:
    """Record which local files are imported from now on, and ignore bytecode older than its source."""
    SourceFileLoader.path_stats = _path_stats  # type: ignore[method-assign]


def is_local(path: str) -> bool:
    """Return whether a file is of the user's own modules: not of the standard library, and not installed."""
    return not path.startswith(_STANDARD_LIBRARY) and not any(folder in path for folder in _INSTALLED)


def _path_stats(self: Any, path: str) -> dict[str, Any]:
    """Do what `SourceFileLoader.path_stats` does, which tells the import system how old a source file is."""
    found = os.stat(path)
    if is_local(path):
        _imported[path] = (found.st_mtime_ns, found.st_size)
        try:
            compiled = os.stat(cache_from_source(path))
        except (OSError, NotImplementedError):
            pass
        else:
            # Python compares whole seconds and the size: an edit within a second may change neither.
            if compiled.st_mtime_ns <= found.st_mtime_ns:
                raise OSError(f"the bytecode of {path} is not newer than its source")
    return {"mtime": found.st_mtime, "size": found.st_size}


def check_module(name: str) -> None:
    """Check that a module, and those beside it, are what their files say now.

    Raises
    ------
    StaleModuleError
        If a file was edited after it had been imported here.
    """
    file = getattr(sys.modules.get(name), "__file__", None)
    if not isinstance(file, str):
        return
    folder = os.path.dirname(file) + os.sep
    for path, imported in _imported.items():
        if path.startswith(folder) and version(path) != imported:
            raise StaleModuleError(f"{path} was edited after this worker had imported it")


def edited_file() -> str:
    """Return a local file that was edited after it had been imported here; empty: there is none."""
    return next((path for path, imported in _imported.items() if version(path) != imported), "")


def version(path: str) -> tuple[int, int] | None:
    """Return the time and the size of a file; None: it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
