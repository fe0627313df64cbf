"""The contestants. Each is a module that imports its library; this one imports none."""

from __future__ import annotations

__all__ = ["BUSY_WHEN_IDLE", "NAMES", "NEWER", "PEERS", "TITLES", "US"]

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
    "interpreter_pool": "InterpreterPoolExecutor",
    "free_threads": "ThreadPoolExecutor without the GIL",
}
"""Titles for tables, by module, in the order of the turns."""

NAMES = tuple(TITLES)
US = "wpc"
NEWER = ("interpreter_pool", "free_threads")
"""Contestants that need another interpreter; they are left out where there is none: see `interpreters`.

They are no peers: which Python is installed beside this one must not change a verdict."""

PEERS = tuple(name for name in NAMES if name not in ("limit", US, *NEWER))
BUSY_WHEN_IDLE = frozenset({"dask_cluster"})
"""Contestants that use some 6 % of a core when idle; open only during their own turns."""
