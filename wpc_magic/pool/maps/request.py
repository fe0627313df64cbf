"""What a map is asked for, and what it needs from its pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, Protocol

from ..caching.results import ResultsCache
from ..core.insights import MapInsight
from ..future_driver import WaitObserver
from ..futures import CallFuture
from ..options import CallOptions
from ..outcomes import FailedCall
from ..seeds import MapSeed
from ..wire.chunk_arguments import Keywords
from .items import Items

__all__ = ["ChunkRunner", "MapRequest", "OnError"]

OnError = Literal["raise", "return", "skip"]


class MapRequest(NamedTuple):
    """What a map is asked for.

    Parameters
    ----------
    name : str
        The function.
    items : Items
        What it is called with.
    total : int or None
        How many items there are, if that is known.
    keywords : Keywords, dict or None
        The keyword arguments, which are the same for all items.
    chunk_size : int or None
        How many items are sent together; None: as many as take about 10 ms, or more for many workers.
    ordered : bool
        Whether results are in the order of the items, or in the order of completion.
    on_error : {"raise", "return", "skip"}
        The first item that fails ends the map with its exception, which says which item it was; or the
        exception stands in its place; or nothing does.
    options : CallOptions
        The options of the calls. A timeout is per item, unless `chunk_size` is larger than 1.
    """

    name: str
    items: Items
    total: int | None
    keywords: Keywords | dict[str, Any] | None
    chunk_size: int | None
    ordered: bool
    on_error: OnError
    options: CallOptions


class ChunkRunner(Protocol):
    """What a map needs from its pool."""

    @property
    def worker_count(self) -> int:
        """The number of slots."""

    @property
    def origin(self) -> Any:
        """What a call carries that is made here and now."""

    @property
    def wait_observer(self) -> WaitObserver | None:
        """What is told of long waits."""

    @property
    def keep_partial(self) -> Callable[[dict[int, Any]], str]:
        """Keeps the values of a map that has failed, and returns where they are, in words."""

    def submit_chunk(
        self,
        name: str,
        columns: tuple[Any, ...],
        count: int,
        options: CallOptions,
        origin: Any,
        keep_going: bool,
        attempts: int = 0,
    ) -> CallFuture:
        """Submit one call that runs the function for each item."""

    def retry_options(self, name: str, options: CallOptions) -> CallOptions | None:
        """Return the options of calls that are retried after some errors; None: these are not."""

    def runs_alone(self, name: str) -> bool:
        """Return whether each item has to be a call of its own."""

    def seed_of_map(self) -> MapSeed | None:
        """Return the seed of a map that is made now; None: there is none."""

    def cache_of_map(self, name: str, options: CallOptions) -> ResultsCache | None:
        """Return where the values of a map are stored; None: they are not."""

    def has_timeout(self, name: str, options: CallOptions) -> bool:
        """Return whether calls of the function have a timeout."""

    def mean_s(self, name: str) -> float | None:
        """Return the mean run time of a call, in seconds; None if not known yet."""

    def interleaves(self, name: str) -> bool:
        """Return whether a worker runs many calls of the function at a time: coroutines."""

    def note_map(self, seen: MapInsight) -> None:
        """Record how a map has run."""

    def map_made(self, chunks: Any) -> None:
        """Note that a map has been made."""

    def failed_item(self, chunk: Any, item: int) -> FailedCall:
        """Return what is known of an item that has failed, given its chunk and its place there."""

    def note_error(self, call: Any, error: BaseException) -> None:
        """Record what an item has failed with, given its chunk: the core knows only how many have."""

    def give_up(self, futures: list[CallFuture]) -> None:
        """Request the cancellation of calls, without waiting for anything."""

    def check_arguments(self, name: str, args: Any, kwargs: Mapping[str, Any]) -> None:
        """Raise a TypeError if a function does not take these arguments."""
