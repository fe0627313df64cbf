"""The run: who is measured, in which order, and what has come out."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .contestants import NAMES, RESTLESS, US
from .hosts import Host
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
        How many turns each has.
    least : int
        How many turns the slow ones have.
    budget_s : float
        How long the turns of one peer in one measure may take; the slow ones have fewer.
    limit_s : float
        When a turn is given up.
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
    """Something that is measured.

    Parameters
    ----------
    name : str
        What ``--only`` takes.
    run : callable
        Given the contestant and the options, returns a value for each key; it runs in the host.
    keys : sequence of str
        What it returns; under these the results are kept.
    who : sequence of str
        Who takes part.
    workers : int or None
        How many are opened for it; neighbours with the same number share the opened pool. None: it opens
        pools by itself.
    full, quick : mapping
        Its options.
    rounds : int or None
        How many turns, where that is not the run's number.
    """

    name: str
    run: Callable[..., Mapping[str, float]]
    keys: Sequence[str]
    who: Sequence[str] = NAMES
    workers: int | None = None
    full: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    quick: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rounds: int | None = None


class Bench:
    """One run.

    Parameters
    ----------
    settings : Settings
        How thorough.
    rounds : int or None
        How many turns each has, instead of what the settings say.

    Attributes
    ----------
    results : dict
        From the key to the contestant to the `Outcome`.
    versions : dict
        From the contestant to its version.
    """

    def __init__(self, settings: Settings, rounds: int | None = None) -> None:
        self.settings = settings
        self._rounds = rounds
        self.results: dict[str, dict[str, Outcome]] = {}
        self.versions: dict[str, str] = {}
        self._hosts: dict[str, Host] = {}
        self._opened: dict[str, int] = {}
        self._broken: dict[str, str] = {}  # who has not even started, and why

    def run(self, measures: Iterable[Measure]) -> None:
        """Measure one after another."""
        workers: int | None = None
        for measure in measures:
            if measure.workers != workers:
                self.close_pools()
                workers = measure.workers
            began = time.monotonic()
            self.results |= take_turns(
                measure.who,
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
            return host.ask("run", measure.run.__module__, measure.run.__name__, dict(options))
        except Failed as failure:
            _say(f"  {name} failed in {measure.name}: {failure}")
            self._drop(name)
            raise
        finally:
            if name in RESTLESS:
                self._close_pool(name)

    def _host(self, name: str) -> Host:
        if name in self._broken:
            raise Failed(self._broken[name])
        host = self._hosts.get(name)
        if host is None or not host.is_there:
            self._opened.pop(name, None)
            try:
                host = self._hosts[name] = Host(name, self.settings.limit_s)
            except Failed as failure:
                self._broken[name] = str(failure)
                _say(f"  {name} is out: {failure}")
                raise
            self.versions[name] = host.version
        return host

    def _drop(self, name: str) -> None:
        """Have a fresh process for whatever comes next."""
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
        """Close what is open; the hosts stay."""
        for name in list(self._opened):
            self._close_pool(name)

    def close(self) -> None:
        """End all hosts, and what they have started."""
        for name in list(self._hosts):
            self._drop(name)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
