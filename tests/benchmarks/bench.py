"""The run: which contestants are measured, in which order, with which results."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .contestants import BUSY_WHEN_IDLE, NAMES, NEWER, US
from .hosts import Host
from .interpreters import find
from .timing import Failed, Outcome, take_turns

__all__ = ["FULL", "QUICK", "Bench", "Measure", "Settings"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """How thorough a run is.

    Parameters
    ----------
    quick : bool
        Whether batches are short.
    rounds : int
        How many turns each contestant has.
    least : int
        The minimum for slow contestants.
    budget_s : float
        How long the turns of one peer in one measure may take; slow ones have fewer turns.
    limit_s : float
        The timeout of a turn.
    """

    quick: bool
    rounds: int
    least: int
    budget_s: float
    limit_s: float


FULL = Settings(quick=False, rounds=5, least=3, budget_s=60.0, limit_s=180.0)
QUICK = Settings(quick=True, rounds=3, least=1, budget_s=3.0, limit_s=40.0)


@dataclasses.dataclass(frozen=True)
class Measure:
    """One measure.

    Parameters
    ----------
    name : str
        Its name for ``--only``.
    run : callable
        Takes the contestant and the options, and returns a value for each key; runs in the host.
    keys : sequence of str
        The keys of its results.
    who : sequence of str
        The contestants.
    workers : int or None
        How many are started for it; consecutive measures with the same number share the open pool. None: it
        opens pools by itself.
    full, quick : mapping
        Its options.
    rounds : int or None
        How many turns, if different from the number of the run.
    limit_s : float or None
        The timeout of a turn, if different from that of the run.
    """

    name: str
    run: Callable[..., Mapping[str, float]]
    keys: Sequence[str]
    who: Sequence[str] = NAMES
    workers: int | None = None
    full: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    quick: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rounds: int | None = None
    limit_s: float | None = None


class Bench:
    """One run.

    Parameters
    ----------
    settings : Settings
        How thorough it is.
    rounds : int or None
        How many turns each contestant has; overrides the settings.

    Attributes
    ----------
    results : dict
        `Outcome` by key and contestant.
    versions : dict
        Version by contestant.
    """

    def __init__(self, settings: Settings, rounds: int | None = None) -> None:
        self.settings = settings
        self._rounds = rounds
        self.results: dict[str, dict[str, Outcome]] = {}
        self.versions: dict[str, str] = {}
        self._hosts: dict[str, Host] = {}
        self._opened: dict[str, int] = {}
        self._broken: dict[str, str] = {}  # contestants that could not start, and why
        self._interpreters = find()

    def run(self, measures: Iterable[Measure]) -> None:
        """Run measures one after another."""
        workers: int | None = None
        for measure in measures:
            if measure.workers != workers:
                self.close_pools()
                workers = measure.workers
            began = time.monotonic()
            self.results |= take_turns(
                [name for name in measure.who if name not in NEWER or name in self._interpreters],
                self._rounds or measure.rounds or self.settings.rounds,
                lambda name, measure=measure: self._turn(name, measure),
                measure.keys,
                budget_s=self.settings.budget_s,
                never_fewer={"limit", US},
                least=self.settings.least,
            )
            _say(f"{measure.name}: {time.monotonic() - began:.1f} s")
        self.close_pools()

    def _turn(self, name: str, measure: Measure) -> dict[str, float]:
        host = self._host(name)
        options = measure.quick if self.settings.quick else measure.full
        try:
            if measure.workers is not None and self._opened.get(name) != measure.workers:
                host.ask("open", measure.workers)
                self._opened[name] = measure.workers
            return host.ask(
                "run", measure.run.__module__, measure.run.__name__, dict(options), limit_s=measure.limit_s
            )
        except Failed as failure:
            _say(f"  {name} failed in {measure.name}: {failure}")
            self._drop(name)
            raise
        finally:
            if name in BUSY_WHEN_IDLE:
                self._close_pool(name)

    def _host(self, name: str) -> Host:
        if name in self._broken:
            raise Failed(self._broken[name])
        host = self._hosts.get(name)
        if host is None or not host.is_running:
            self._opened.pop(name, None)
            try:
                python = self._interpreters.get(name, sys.executable)
                host = self._hosts[name] = Host(name, self.settings.limit_s, python)
            except Failed as failure:
                self._broken[name] = str(failure)
                _say(f"  {name} is out: {failure}")
                raise
            self.versions[name] = host.version
        return host

    def _drop(self, name: str) -> None:
        """Close the host, so that the next measure starts a new process."""
        self._opened.pop(name, None)
        host = self._hosts.pop(name, None)
        if host is not None:
            host.close()

    def _close_pool(self, name: str) -> None:
        if self._opened.pop(name, None) is not None:
            try:
                self._hosts[name].ask("close", limit_s=30.0)
            except Failed as failure:
                _say(f"  {name} could not be closed: {failure}")
                self._drop(name)

    def close_pools(self) -> None:
        """Close all pools; the hosts keep running."""
        for name in list(self._opened):
            self._close_pool(name)

    def close(self) -> None:
        """Stop all hosts and their descendants."""
        for name in list(self._hosts):
            self._drop(name)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
