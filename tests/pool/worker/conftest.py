"""Workers for the tests of this folder."""

from collections.abc import Callable, Iterator

import pytest

from tests.pool.worker.hand import Hand


@pytest.fixture
def workers() -> Iterator[Callable[..., Hand]]:
    """Start workers; they are ended after the test."""
    started: list[Hand] = []

    def start(**environ: str) -> Hand:
        started.append(Hand(**environ))
        return started[-1]

    yield start
    for worker in started:
        worker.close()


@pytest.fixture
def worker(workers: Callable[..., Hand]) -> Hand:
    """One worker."""
    return workers()
