"""The calls of a broadcast: one in every worker."""

from __future__ import annotations

from collections.abc import Mapping

from .futures import CallFuture

__all__ = ["Broadcast"]


class Broadcast(dict[int, CallFuture]):
    """The future of each worker, by the worker's number.

    Parameters
    ----------
    name : str
        The function.
    futures : mapping
        The futures.
    """

    def __init__(self, name: str, futures: Mapping[int, CallFuture]) -> None:
        super().__init__(futures)
        self.name = name

    def __repr__(self) -> str:
        ended = sum(future.ended for future in self.values())
        return f"<Broadcast {self.name}: {ended} of {len(self)} workers have ended it>"
