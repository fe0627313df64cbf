"""How many threads DuckDB uses in a worker.

BLAS libraries, OpenMP, Numba and Polars read their limits from the environment. DuckDB reads none, so each
database that is opened in a worker is told: otherwise each has as many threads as the machine has cores.
"""

from __future__ import annotations

import os

from wpc_magic.pool.worker.import_hooks import when_imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["limit_threads"]

VARIABLE = "DUCKDB_NUM_THREADS"
"""Ours, set as the variables of the other libraries are."""


def limit_threads() -> None:
    """Limit the threads of DuckDB when it is imported, if there is a limit."""
    if os.environ.get(VARIABLE, "").isdecimal():
        when_imported("duckdb", _limit)


def _limit(duckdb: Any) -> None:
    limit = int(os.environ[VARIABLE])
    original = duckdb.connect
    # What a database has whose threads nobody has set; the default connection is this one from now on.
    untouched = _threads_of(duckdb.connect(":default:"))
    if not 0 < limit < untouched:
        return

    def connect(*args: Any, **kwargs: Any) -> Any:
        connection = original(*args, **kwargs)
        # Another connection to the same database shares its threads, which its user may have set.
        if _threads_of(connection) == untouched:
            connection.execute(f"SET threads TO {limit}")
        return connection

    connect.__name__ = connect.__qualname__ = "connect"
    connect.__module__, connect.__doc__ = duckdb.__name__, original.__doc__
    duckdb.connect = connect
    connect(":default:")


def _threads_of(connection: Any) -> int:
    # All that there is, or it would be an unfinished result to the user's own statements.
    ((threads,),) = connection.execute("SELECT current_setting('threads')").fetchall()
    return int(threads)
