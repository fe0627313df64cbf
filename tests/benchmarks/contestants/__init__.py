"""The contestants. Each is a module that imports its library; this one imports none."""

from __future__ import annotations

__all__ = ["BUSY_WHEN_IDLE", "NAMES", "PEERS", "TITLES", "US"]

TITLES = {
    "limit": "the bare limit",
    "wpc": "wpc_magic",
    "executor": "ProcessPoolExecutor",
    "mp_pool": "multiprocessing.Pool",
    "loky_pool": "loky",
    "pebble_pool": "pebble",
    "mpire_pool": "mpire",
    "ipyparallel_cluster": "ipyparallel",
    "dask_cluster": "Dask LocalCluster",
}
"""Titles for tables, by module, in the order of the turns."""

NAMES = tuple(TITLES)
US = "wpc"
PEERS = tuple(name for name in NAMES if name not in ("limit", US))
BUSY_WHEN_IDLE = frozenset({"dask_cluster"})
"""Contestants that use some 6 % of a core when idle; open only during their own turns."""
