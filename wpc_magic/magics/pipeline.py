"""``%wpc_export`` and ``%wpc_load``: the definitions of the pool as a Python module, with types, and back."""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wpc_magic.pool.options import did_you_mean

from .parsing import UsageMistake
from .tables import plural

if TYPE_CHECKING:
    from wpc_magic.pool import WorkerProcedureCall

__all__ = ["load_module", "write_module"]

# What each kind of file begins with that is written here.
_FIRST_LINES = {
    ".py": '"""Functions for worker processes',
    ".pyi": '"""Types of functions for worker processes',
}


def write_module(
    pool: WorkerProcedureCall, file: str, overwrite: bool, stubs: bool = False, large: bool = False
) -> str:
    """Write the definitions to a file, or their types, or both; return what was written.

    A stub that was written here, and lies beside the module, is written anew: it would tell what was.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    file : str
        The path of the file; it ends in ``.py``, or in ``.pyi`` for a stub of a notebook's own ``wpc``.
    overwrite : bool
        Whether the file may be one that this has not written.
    stubs : bool
        Whether a module gets a stub beside it.
    large : bool
        Whether values of more than 1 MB are written down, too.

    Raises
    ------
    UsageMistake
        If the file cannot be written, or would be lost.
    """
    path = Path(file).expanduser()
    if path.suffix not in _FIRST_LINES or not path.stem.isidentifier():
        raise UsageMistake(f"{file!r} is not the name of a Python module. Type for example: pipeline.py")
    if path.suffix == ".pyi":
        size = _write({file: pool.export_stub(None)}, overwrite)
        functions = plural(len(pool.get_remote_functions()), "function")
        return f"the types of {functions} written to {file} ({size:,} bytes)"
    texts, stub = {file: pool.export(path.stem, large=large)}, f"{file}i"
    if stubs or _is_own(Path(stub).expanduser()):
        texts[stub] = pool.export_stub(path.stem)
    size = _write(texts, overwrite)
    types = f", their types to {stub}" if stub in texts else ""
    return f"{_contents(pool)} written to {file} ({size:,} bytes){types}"


def _write(texts: Mapping[str, str], overwrite: bool) -> int:
    """Write files, or none of them if one would be lost; return the size of the first, in bytes."""
    for file in texts:
        path = Path(file).expanduser()
        if not overwrite and path.exists() and not _is_own(path):
            raise UsageMistake(f"{file} exists, and is something else. To overwrite it: --force")
    for file, text in texts.items():
        try:
            Path(file).expanduser().write_text(text, encoding="utf-8")
        except OSError as error:
            raise UsageMistake(f"{file} cannot be written: {error.strerror}") from None
    return len(next(iter(texts.values())).encode())


def _is_own(path: Path) -> bool:
    """Return whether a file was written here."""
    try:
        return path.read_text(errors="replace").startswith(_FIRST_LINES[path.suffix])
    except OSError:
        return False


def load_module(pool: WorkerProcedureCall, file: str) -> str:
    """Add the definitions in a file to a pool; return what it holds now.

    Raises
    ------
    UsageMistake
        If it is not a file that `write_module` has written.
    Exception
        Whatever its code raises.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        near = did_you_mean(path.name, [each.name for each in path.parent.glob("*.py")])
        raise UsageMistake(f"there is no file {file}.{near}")
    define = runpy.run_path(str(path)).get("define")
    if not callable(define):
        raise UsageMistake(f"{file} has no function define(pool); %wpc_export writes such a file")
    define(pool)
    return f"{file} loaded: {_contents(pool)} are defined"


def _contents(pool: WorkerProcedureCall) -> str:
    functions, constants = pool.get_remote_functions(), pool.get_worker_constants()
    dependencies = len(pool.get_worker_dependencies())
    setup, resources = pool.get_worker_setup(), pool.get_worker_resources()
    return ", ".join(
        [
            *(["the setup"] if setup is not None else []),
            plural(len(functions), "function"),
            f"{dependencies} dependenc{'y' if dependencies == 1 else 'ies'}",
            plural(len(constants), "constant"),
            *([plural(len(resources), "resource")] if resources else []),
        ]
    )
