"""Calls that need the values of others, as the core stores them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..options import CallOptions
from .calls import NO_OPTIONS, Call

__all__ = ["DependentCall", "DependentWholeChunk"]


class DependentCall(Call):
    """A call that waits for the values of others.

    Attributes
    ----------
    awaited : dict of str
        The calls that it waits for, as text, by the number of the value. As long as there are some, it is no
        call that a worker could run.
    links : object
        What it is made of when the values are there; opaque here.
    """

    __slots__ = ()  # those of it are the call's: so it may be a stream as well
    awaited: dict[int, str]
    links: Any

    def __init__(
        self, id: int, name: str, body: Any, awaited: Mapping[int, str], options: CallOptions, **about: Any
    ) -> None:
        # Not the options by which the dispatcher knows a call that needs no look.
        options = CallOptions() if options is NO_OPTIONS else options
        super().__init__(id, name, body, options=options, **about)
        self.awaited = dict(awaited)
        self.links = None

    @property
    def waits_for(self) -> str:
        """The calls that it waits for, as text; empty: none.

        Examples
        --------
        >>> DependentCall(4, "c", b"", {0: "a #1", 1: "b #2", 2: "b #3"}, NO_OPTIONS).waits_for
        'a #1 and 2 more'
        """
        if not self.awaited:
            return ""
        more = len(self.awaited) - 1
        return f"{next(iter(self.awaited.values()))}{f' and {more} more' if more else ''}"


class DependentWholeChunk(DependentCall):
    """A chunk of a map that goes on after an item that has failed, and waits for the values of others."""

    __slots__ = ()
    keeps_going = True
