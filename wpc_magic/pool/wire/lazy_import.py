"""Lazy imports in a worker, whose `sys.path` includes directories of the user by then.

A ``queue.py`` next to the notebook must not shadow the standard library for our lazy imports, which load most
of it.
"""

from __future__ import annotations

import sys

__all__ = ["INTERPRETER_PATH", "interpreter_path_first"]

INTERPRETER_PATH: list[str] = []
"""`sys.path` as set by the interpreter. A worker fills it at start-up; in the parent process it is empty."""


class _InterpreterPathFirst:
    """Prepends `INTERPRETER_PATH` to `sys.path`; removes nothing, because other threads may be importing."""

    def __enter__(self) -> None:
        sys.path[:0] = INTERPRETER_PATH

    def __exit__(self, *error: object) -> None:
        for entry in INTERPRETER_PATH:
            if entry in sys.path:
                sys.path.remove(entry)


interpreter_path_first = _InterpreterPathFirst()
"""Use: ``with interpreter_path_first: import asyncio``. Cheap, but not free: check `sys.modules` first."""
