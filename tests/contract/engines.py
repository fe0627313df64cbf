"""The engines that the contract suite runs on, each as a place where pools are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["ENGINES", "Place"]


class Place(Protocol):
    """Where the workers of pools live.

    Attributes
    ----------
    options : mapping
        What a pool is made with to have its workers there; all of it can be written as Python.
    shares_memory : bool
        Whether workers map the memory of this process.
    """

    options: dict[str, Any]
    shares_memory: bool

    def close(self) -> None: ...


class Local:
    """This machine, as it is without any option."""

    options: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    shares_memory = True

    def close(self) -> None:
        pass


ENGINES: dict[str, Callable[[], Place]] = {"local": Local}
