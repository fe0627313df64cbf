"""A host process whose workers are all idle waits for what the pool sends to them."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from wpc_magic.pool.engines.dask.rest import Rest

BUSY_UNTIL = 100.0
LATER = BUSY_UNTIL + 60


class Worker:
    """A worker, and the pool's end of its channel."""

    def __init__(self) -> None:
        self.pool, self.call = socket.socketpair()
        self.is_idle = True

    def close(self) -> None:
        self.pool.close()
        self.call.close()


class Host:
    """What a host process does with it."""

    def __init__(self) -> None:
        self.workers = [Worker(), Worker()]
        self.woken = 0
        self._selector = selectors.DefaultSelector()
        self.rest = Rest(self._watch, self._selector.unregister, self._wake)

    def _watch(self, file: Any, handle: Any) -> None:
        self._selector.register(file, selectors.EVENT_READ, handle)

    def _wake(self) -> None:
        self.woken += 1

    def look(self, now: float = LATER) -> None:
        self.rest.update(self.workers, BUSY_UNTIL, now)

    def turn(self) -> None:
        """Handle what is there."""
        for key, _ in self._selector.select(0):
            key.data()

    @property
    def watched(self) -> int:
        return len(self._selector.get_map())

    def close(self) -> None:
        self._selector.close()
        for worker in self.workers:
            worker.close()


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


def test_it_rests_while_all_workers_are_idle_and_something_that_is_sent_to_one_ends_that(host: Host) -> None:
    host.look()
    assert not host.rest.is_on  # something may have been read, and not begun, just before it is watched for
    host.look()
    assert host.rest.is_on
    host.turn()
    assert not host.woken
    host.workers[1].pool.send(b"call")
    host.turn()
    host.turn()  # it is still unread
    assert host.woken == 1
    assert not host.rest.is_on
    assert host.watched == 0
    assert host.workers[1].call.recv(10) == b"call"  # all of it is the worker's


def test_it_does_not_rest_soon_after_something_has_happened(host: Host) -> None:
    host.look(BUSY_UNTIL + 1)
    assert host.watched == 0


def test_a_worker_that_runs_ends_the_rest_of_all(host: Host) -> None:
    host.look()
    host.look()
    host.workers[0].is_idle = False
    host.look()
    assert not host.rest.is_on
    assert host.watched == 0


def test_without_workers_there_is_nothing_to_wait_for(host: Host) -> None:
    for worker in host.workers:
        worker.close()
    host.workers.clear()
    host.look()
    host.look()
    assert not host.rest.is_on
