"""Imports that are put off until they are needed, in a process whose `sys.path` is its user's by then.

A ``queue.py`` beside the notebook must break nothing of ours, and our late imports load most of the standard
library.
"""

from __future__ import annotations

import sys

__all__ = ["OWN", "own_path"]

OWN: list[str] = []
"""Where Python itself looks. A worker fills it at its start; in the pool's process it stays empty."""


class _OwnPath:
    """Puts `OWN` before everything else. Nothing is taken away: other threads may import meanwhile."""

    def __enter__(self) -> None:
        sys.path[:0] = OWN

    def __exit__(self, *error: object) -> None:
        for entry in OWN:
            if entry in sys.path:
                sys.path.remove(entry)


own_path = _OwnPath()
"""Use: ``with own_path: import asyncio``. It is cheap, but not free: ask `sys.modules` first."""
