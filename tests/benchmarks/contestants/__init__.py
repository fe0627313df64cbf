"""Who is compared. A module each, which imports its library; nothing here does."""

from __future__ import annotations

__all__ = ["NAMES", "PEERS", "RESTLESS", "TITLES", "US"]

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
"""What each is called in tables, by its module, in the order of their turns."""

NAMES = tuple(TITLES)
US = "wpc"
PEERS = tuple(name for name in NAMES if name not in ("limit", US))
RESTLESS = frozenset({"dask_cluster"})
"""Who takes some 6 % of a core when it does nothing, so it is open during its own turns only."""
