"""Tells workers which log records this process wants, also when a level is changed here."""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Any, Protocol

from ..wire.protocol import LogLevels
from .link import Link
from .outbox import Outbox
from .state_lock import StateLock

__all__ = ["LogLevelSender", "levels_here"]


class Senders(Protocol):
    """The parts of a driver that send; see `Parts`."""

    lock: StateLock
    links: dict[int, Link]
    outbox: Outbox


class LogLevelSender:
    """Sends the levels of the loggers here to the workers of one pool.

    Parameters
    ----------
    parts : Senders
        What it works with.
    """

    def __init__(self, parts: Senders) -> None:
        self._parts = parts
        self._sent: LogLevels | None = None
        _senders.add(self)

    def send_to(self, link: Link) -> None:
        """Send the levels to a new worker. Under the lock."""
        _watch()
        self._sent = levels_here()
        self._parts.outbox.set_log_levels(link, self._sent)

    def send(self) -> None:
        """Send the levels to all workers, if they have changed. Under the lock."""
        levels = levels_here()
        if levels != self._sent:
            self._sent = levels
            for link in self._parts.links.values():
                self._parts.outbox.set_log_levels(link, levels)

    def changed(self) -> None:
        """Send the levels before the next call, if they have changed.

        The thread that has changed a level holds the lock of `logging`, which another one may wait for in a
        step of the pool: so this one does not wait for that step.
        """
        if self._parts.links and levels_here() != self._sent:
            self._parts.lock.do_after(self.send)


def levels_here() -> LogLevels:
    """Return the levels of the loggers of this process that have one of their own."""
    loggers = list(logging.root.manager.loggerDict.items())
    levels = {name: each.level for name, each in loggers if isinstance(each, logging.Logger) and each.level}
    return LogLevels({"": logging.root.level, **levels}, logging.root.manager.disable)


_senders: weakref.WeakSet[LogLevelSender] = weakref.WeakSet()
_watching = threading.Lock()


class _Cache(dict[int, bool]):
    """What a logger remembers of its levels: `logging` clears it in all loggers when any level changes."""

    def clear(self) -> None:
        super().clear()
        for sender in list(_senders):
            sender.changed()


def _watch() -> None:
    """Have changes of levels noticed, without a change to `logging`: a logger of our own is told of them."""
    logger: Any = logging.getLogger("wpc_magic")
    with _watching:
        if not isinstance(getattr(logger, "_cache", None), _Cache):
            logger._cache = _Cache()
