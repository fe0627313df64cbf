"""Streams that wait for the values of others."""

from __future__ import annotations

from .dependent_calls import DependentCall
from .stream_calls import StreamCall

__all__ = ["DependentStream"]


class DependentStream(DependentCall, StreamCall):
    """A call of a function that yields, which begins when the values are there that it waits for."""

    __slots__ = ()
