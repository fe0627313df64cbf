"""How many items of a map are sent together, and how many chunks are in flight."""

from __future__ import annotations

from ..core.prefetch import ASYNC_DEPTH
from ..options import CallOptions
from .request import ChunkRunner

__all__ = ["ChunkSizes"]

_CHUNK_S = 0.01  # run time of a chunk: sending it then costs about one percent
_SENDING_S = 0.0001  # what one chunk costs this process, sent and received
_SENDING_SHARE = 0.25  # of the time of this process, which all workers share
_CHUNKS_PER_WORKER = (
    4  # at least, of a map whose items are many enough: so that all end at about the same time
)
_MAX_ITEMS = 20_000
_PER_WORKER = 3  # chunks in flight for each worker: one runs, the others are prefetched
_CALLS_PER_S = 2_000  # of coroutines: more of them cost more time than there is
_MAX_COROUTINES = ASYNC_DEPTH // 4  # of one chunk: when it has ended, the others still keep the worker busy


class ChunkSizes:
    """Follows the run time of a function.

    Chunks of a plain function run one after another: a few of them keep a worker busy. Coroutines wait most
    of their time, so as many items are in flight as a worker interleaves; only those that hardly wait are
    sent together.

    Parameters
    ----------
    pool : ChunkRunner
        Knows the run times.
    name : str
        The function.
    options : CallOptions
        The options of the calls.
    chunk_size : int or None
        How many items are sent together, if that is given.
    total : int, optional
        How many items there are, if that is known.

    Attributes
    ----------
    interleaves : bool
        Whether the function is a coroutine function; then `ran` is to be called.
    """

    def __init__(
        self,
        pool: ChunkRunner,
        name: str,
        options: CallOptions,
        chunk_size: int | None,
        total: int | None = None,
    ) -> None:
        self._pool = pool
        self._total = total or 0
        self._name = name
        self._options = options
        self._chunk_size = chunk_size
        self.interleaves = pool.interleaves(name)
        self._latest_s = (pool.mean_s(name) or 0.0) if self.interleaves else 0.0

    def now(self) -> tuple[int, int]:
        """Return of how many items the next chunks are, and how many chunks may be in flight."""
        workers = max(1, self._pool.worker_count)
        if self.interleaves:
            size = self._chunk_size or self._coroutines(workers)
            return size, workers * max(2, ASYNC_DEPTH // size)
        return self._chunk_size or self._items(workers), workers * _PER_WORKER

    def ran(self, seconds: float) -> None:
        """Note how long a chunk of coroutines took."""
        self._latest_s = seconds

    def _items(self, workers: int) -> int:
        if self._pool.has_timeout(self._name, self._options):
            return 1
        mean = self._pool.mean_s(self._name)
        if mean is None:
            return 1  # to measure the run time
        # Of many workers all chunks together must not be more than this process can send.
        longest_s = max(_CHUNK_S, workers * _SENDING_S / _SENDING_SHARE)
        short, long = (int(seconds / (mean + 1e-9)) for seconds in (_CHUNK_S, longest_s))
        return max(1, min(_MAX_ITEMS, max(short, min(long, self._total // (workers * _CHUNKS_PER_WORKER)))))

    def _coroutines(self, workers: int) -> int:
        if not self._latest_s or self._pool.has_timeout(self._name, self._options):
            return 1
        # All that are in flight are answered once in that time.
        calls = self._latest_s * _CALLS_PER_S
        return max(1, min(_MAX_COROUTINES, int(workers * ASYNC_DEPTH / calls)))
