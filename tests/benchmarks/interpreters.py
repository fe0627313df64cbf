"""Newer Pythons beside this one, in which contestants run that this one does not have."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .contestants import NEWER

__all__ = ["find"]


class _Wanted(NamedTuple):
    commands: Sequence[str]
    check: str  # an expression, true in an interpreter that will do


_WANTED = {
    "interpreter_pool": _Wanted(
        ("python3.14", "python3.15", "python3"),
        "hasattr(__import__('concurrent.futures').futures, 'InterpreterPoolExecutor')",
    ),
    "free_threads": _Wanted(
        ("python3.14t", "python3.13t", "python3.15t", "python3"),
        "not getattr(__import__('sys'), '_is_gil_enabled', lambda: True)()",
    ),
}
_PATIENCE_S = 10.0


def find() -> Mapping[str, str]:
    """Return the interpreter of each contestant of `NEWER` that has one: this one, or one of ``PATH``."""
    found = {name: _first(_WANTED[name]) for name in NEWER}
    return {name: command for name, command in found.items() if command}


def _first(wanted: _Wanted) -> str:
    for command in (sys.executable, *map(shutil.which, wanted.commands)):
        if command and _holds(command, wanted.check):
            return command
    return ""


def _holds(command: str, check: str) -> bool:
    # A command that exists may still be none: that of a version manager which has no such version.
    try:
        tried = subprocess.run(
            [command, "-c", f"raise SystemExit(not ({check}))"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0
