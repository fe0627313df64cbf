"""``%wpc_export`` and ``%wpc_load``: the definitions of the pool as a Python module, and back."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING

from wpc_magic.pool.options import did_you_mean

from .parsing import UsageMistake
from .tables import plural

if TYPE_CHECKING:
    from wpc_magic.pool import WorkerProcedureCall

__all__ = ["load_module", "write_module"]

_FIRST_LINE = '"""Functions for worker processes'


def write_module(pool: WorkerProcedureCall, file: str, overwrite: bool) -> str:
    """Write the definitions to a file; return what was written.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    file : str
        The path of the file; it ends in ``.py``.
    overwrite : bool
        Whether the file may be one that this has not written.

    Raises
    ------
    UsageMistake
        If the file cannot be written, or would be lost.
    """
    path = Path(file).expanduser()
    if path.suffix != ".py" or not path.stem.isidentifier():
        raise UsageMistake(f"{file!r} is not the name of a Python module. Type for example: pipeline.py")
    text = pool.export(path.stem)
    try:
        if not overwrite and path.exists() and not path.read_text(errors="replace").startswith(_FIRST_LINE):
            raise UsageMistake(f"{file} exists, and is something else. To overwrite it: --force")
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageMistake(f"{file} cannot be written: {error.strerror}") from None
    return f"{_contents(pool)} written to {file} ({len(text.encode()):,} bytes)"


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
