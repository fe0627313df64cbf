"""Whether the results of functions can be cached at all."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Protocol

from ..errors import OptionError

__all__ = ["check_cacheable", "check_installed"]


class _Draft(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def is_generator(self) -> bool: ...


def check_installed() -> None:
    """Raise an OptionError if what stores results is not installed."""
    if importlib.util.find_spec("joblib") is None:
        raise OptionError("cache=True needs joblib. Type: pip install 'wpc_magic[cache]'")


def check_cacheable(drafts: Iterable[_Draft]) -> None:
    """Raise an OptionError if a function cannot have a results cache."""
    check_installed()
    for draft in drafts:
        if draft.is_generator:
            raise OptionError(f"cache=True is for functions that return a value, and {draft.name} yields")
