"""When a host process rests: no worker has anything to do, so it waits for what the pool sends to one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Protocol

__all__ = ["Rest"]

_AFTER_S = 2.0


class Resting(Protocol):
    """A worker; see `hosted_workers.HostedWorker`."""

    call: Any

    @property
    def is_idle(self) -> bool:
        """Whether it waits for the pool."""


class Rest:
    """Watches the call channels of workers while all of them are idle, and nobody looks at their pages.

    What arrives at a channel is the worker's to read; here it only shows that there is something again.

    Parameters
    ----------
    watch, unwatch : callable
        Have a function called when a socket is readable; have that no more.
    wake : callable
        Called when the pool has sent something to a worker.

    Attributes
    ----------
    is_on : bool
        Whether that is so, and nothing has to be looked at meanwhile.
    """

    def __init__(
        self,
        watch: Callable[[Any, Callable[[], object]], object],
        unwatch: Callable[[Any], object],
        wake: Callable[[], object],
    ) -> None:
        self._watch, self._unwatch, self._wake = watch, unwatch, wake
        self._watched: list[Any] = []
        self.is_on = False

    def update(self, workers: Collection[Resting], busy_until: float, now: float) -> None:
        """Begin or end it.

        Parameters
        ----------
        workers : collection of Resting
            All that there are. None is closed before this was called without it.
        busy_until, now : float
            Until when something happens, or has happened, and the time.
        """
        if now < busy_until + _AFTER_S or not all(each.is_idle for each in workers):
            self._end()
        elif self._watched:
            # What arrived between a look at the pages and the first watch has shown at this look.
            self.is_on = True
        else:
            self._watched = [each.call for each in workers]
            for sock in self._watched:
                self._watch(sock, self._sent)

    def _sent(self) -> None:
        self._end()  # else it would be called until the worker has read that
        self._wake()

    def _end(self) -> None:
        for sock in self._watched:
            self._unwatch(sock)
        self._watched.clear()
        self.is_on = False
