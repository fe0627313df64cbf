"""How many items of a map are sent together."""

from __future__ import annotations

import pytest

from wpc_magic.pool.maps.sizes import ChunkSizes
from wpc_magic.pool.options import CallOptions


class FakePool:
    """What `ChunkSizes` asks a pool."""

    def __init__(self, workers: int, mean_s: float) -> None:
        self.worker_count = workers
        self.mean_s = lambda name: mean_s
        self.has_timeout = lambda name, options: False
        self.interleaves = lambda name: False


@pytest.mark.parametrize(
    ("workers", "total", "size"),
    [
        (2, 1_000_000, 10),
        (25, 1_000_000, 10),
        (100, 1_000_000, 40),
        (1000, 10_000_000, 400),
        (1000, 400_000, 100),  # else some of the workers would have none
        (1000, 1_000, 10),
        (1000, None, 10),
    ],
)
def test_chunks_are_larger_where_many_workers_wait_for_one_process_that_sends_them(
    workers: int, total: int | None, size: int
) -> None:
    sizes = ChunkSizes(FakePool(workers, 0.000_999), "f", CallOptions(), None, total)  # type: ignore[arg-type]
    assert sizes.now() == (size, 3 * workers)
