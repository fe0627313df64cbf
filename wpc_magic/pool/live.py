"""The pools of this process, for those who show all of them; none is kept alive by that."""

from __future__ import annotations

import itertools
import weakref
from typing import Any

__all__ = ["add_pool", "live_pools"]

# By the order in which they were made. Each step is one operation of a dict: a pool may go at any time, in
# any thread, also in the middle of a step.
_pools: dict[int, weakref.ref[Any]] = {}
_numbers = itertools.count()


def add_pool(pool: Any) -> None:
    """Take note of a pool, until it is gone."""
    number = next(_numbers)
    _pools[number] = weakref.ref(pool, lambda _: _pools.pop(number, None))


def live_pools() -> list[Any]:
    """Return the pools that there are, in the order in which they were made."""
    return [pool for made in list(_pools.values()) if (pool := made()) is not None]
