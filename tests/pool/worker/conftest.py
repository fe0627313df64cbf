"""Worker processes for the tests of this folder."""

from collections.abc import Callable, Iterator

import pytest

from tests.pool.worker.harness import WorkerHarness


@pytest.fixture
def workers() -> Iterator[Callable[..., WorkerHarness]]:
    """Starts workers; they are killed after the test."""
    started: list[WorkerHarness] = []

    def start(**environ: str) -> WorkerHarness:
        started.append(WorkerHarness(**environ))
        return started[-1]

    yield start
    for worker in started:
        worker.close()


@pytest.fixture
def worker(workers: Callable[..., WorkerHarness]) -> WorkerHarness:
    """One worker."""
    return workers()
