"""What is sent only while somebody looks at it: the data of the panel that a page shows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .function_rows import function_rows

__all__ = ["PANELS", "PERIOD_S", "Panels"]

PANELS = ("Functions",)
"""The panels that have data of their own, by the labels of their tabs; others show what every frame has."""

PERIOD_S = 1.0
"""How often a panel is read, in seconds."""


class Panels:
    """Reads the panels that are looked at, at most once per `PERIOD_S`, and remembers what was sent."""

    def __init__(self) -> None:
        self._wanted: frozenset[str] = frozenset()
        self._fresh = False  # whether somebody has begun to look at one
        self._read_at = 0.0
        self._sent: dict[str, Any] = {}

    def want(self, names: Iterable[str]) -> None:
        """Say which panels are looked at from now on; in any thread."""
        wanted = frozenset(names) & frozenset(PANELS)
        if wanted != self._wanted:
            self._wanted, self._fresh = wanted, True

    def forget(self) -> None:
        """Send everything again: a page may have missed something."""
        self._fresh = True

    def read(self, pool: Any, now: float) -> dict[str, Any]:
        """Return what has changed of the panels that are looked at.

        Parameters
        ----------
        pool : WorkerProcedureCall
            The pool.
        now : float
            The time, in seconds.
        """
        if not self._wanted:
            return {}
        if self._fresh:
            self._fresh, self._sent = False, {}
        elif 0 <= now - self._read_at < PERIOD_S:
            return {}
        self._read_at = now
        changed = {}
        for name in self._wanted:
            key, data = _READERS[name](pool)
            if self._sent.get(key) != data:
                self._sent[key] = changed[key] = data
        return changed


def _functions(pool: Any) -> tuple[str, Any]:
    return "functions", function_rows(pool.statistics().functions, pool.get_remote_functions(), pool.events())


_READERS = {"Functions": _functions}
