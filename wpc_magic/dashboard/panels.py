"""What is sent only while somebody looks at it: the data of the panel that a page shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from .function_rows import FunctionRow, function_rows
from .live_timeline import LiveTimeline
from .load import LoadSeries
from .running import Running
from .sampling import HotPanel

__all__ = ["PANELS", "PERIOD_S", "LoadPanel", "Panels"]

PANELS = ("Functions", "Hot lines", "Load", "Running", "Timeline")
"""The panels that have data of their own, by the labels of their tabs; others show what every frame has."""

PERIOD_S = 1.0
"""How often a panel is read, in seconds."""


class _Panel(Protocol):
    def forget(self) -> None:
        """Return all of it the next time."""

    def read(self, pool: Any) -> dict[str, Any]:
        """Return what has changed since the last time, as parts of a message."""


class Panels:
    """Reads the panels that are looked at, at most once per `PERIOD_S`.

    Parameters
    ----------
    load : LoadSeries
        Has the samples for the panel of the load; somebody else takes them.
    wake : callable
        Called when a panel has changed that has to be read at once.
    """

    def __init__(self, load: LoadSeries, wake: Callable[[], None] = lambda: None) -> None:
        self._hot = HotPanel(wake)
        self._panels: dict[str, _Panel] = {
            "Functions": _Functions(),
            "Hot lines": self._hot,
            "Load": LoadPanel(load),
            "Running": Running(),
            "Timeline": LiveTimeline(),
        }
        self._wanted: frozenset[str] = frozenset()
        self._fresh = False  # whether somebody has begun to look at one
        self._read_at = 0.0

    def want(self, names: Iterable[str], begun: str | None = None) -> None:
        """Say which panels are looked at from now on; in any thread.

        Parameters
        ----------
        names : iterable of str
            The panels.
        begun : str, optional
            The one that a page has begun to look at, which has nothing of it yet, although others may.
        """
        wanted = frozenset(names) & frozenset(PANELS)
        if wanted != self._wanted or begun in wanted:
            self._wanted, self._fresh = wanted, True
        if "Hot lines" not in wanted:
            self._hot.stop()

    def sample(self, pool: Any, start: bool) -> None:
        """Start or stop to sample the hot lines; nothing is sampled that nobody looks at."""
        if not start:
            self._hot.stop()
        elif "Hot lines" in self._wanted:
            self._hot.start(pool)
        self._read_at = 0.0  # the page is to show it at once

    def close(self) -> None:
        """End what goes on for a panel."""
        self._hot.close()

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
            self._fresh = False
            for panel in self._panels.values():
                panel.forget()
        elif 0 <= now - self._read_at < PERIOD_S:
            return {}
        self._read_at = now
        changed: dict[str, Any] = {}
        for name in self._wanted:
            changed |= self._panels[name].read(pool)
        return changed


class _Functions:
    """The table of functions: all of it, if anything has changed."""

    def __init__(self) -> None:
        self._sent: list[FunctionRow] | None = None

    def forget(self) -> None:
        self._sent = None

    def read(self, pool: Any) -> dict[str, Any]:
        rows = function_rows(pool.statistics().functions, pool.get_remote_functions())
        if rows == self._sent:
            return {}
        self._sent = rows
        return {"functions": rows}


class LoadPanel:
    """The load over time: all of it at first, then the samples that were taken since.

    ``{"load": ...}`` replaces what a page has, ``{"load_more": ...}`` is added to it; both have ``samples``,
    ``memory`` with a row for each worker, and ``blocks`` with what is known of shared memory.
    """

    def __init__(self, series: LoadSeries) -> None:
        self._series = series
        self._last = 0.0

    def forget(self) -> None:
        """Return all of it the next time."""
        self._last = 0.0

    def read(self, pool: Any) -> dict[str, Any]:
        """Return what is new, if something is."""
        samples = self._series.samples(self._last)
        if not samples:
            return {}
        is_first, self._last = self._last == 0.0, samples[-1]["at"]
        memory = self._series.memory() if is_first else self._series.memory(len(samples))
        blocks = pool.block_memory()._asdict()
        return {"load" if is_first else "load_more": {"samples": samples, "memory": memory, "blocks": blocks}}
