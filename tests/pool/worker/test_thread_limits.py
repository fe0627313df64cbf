"""DuckDB in a worker has as many threads as the other libraries there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from wpc_magic.pool import WorkerProcedureCall

FUNCTIONS = """
def threads_of(connection):
    ((threads,),) = connection.sql("SELECT current_setting('threads')").fetchall()
    return int(threads)

def of_default():
    import duckdb
    return threads_of(duckdb)

def of_opened(path, config=None):
    import duckdb
    with duckdb.connect(path, config=config or {}) as connection:
        return threads_of(connection)

def of_second(path):
    import duckdb
    with duckdb.connect(path) as first, duckdb.connect(path) as second:
        first.execute("SET threads TO 2")
        with duckdb.connect(path) as third:
            return threads_of(first), threads_of(second), threads_of(third)

def sent():
    import pickle
    import duckdb
    return pickle.loads(pickle.dumps(duckdb.connect)) is duckdb.connect
"""


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerProcedureCall]:
    with WorkerProcedureCall(threads_per_worker=1) as pool:
        pool.start_workers(1)
        pool.define_worker_functions(FUNCTIONS)
        yield pool


def test_the_default_connection_has_the_threads_of_a_worker(pool: WorkerProcedureCall) -> None:
    assert pool.call.of_default().result() == 1


def test_a_database_that_is_opened_has_them(pool: WorkerProcedureCall, tmp_path: object) -> None:
    assert pool.call.of_opened(":memory:").result() == 1
    assert pool.call.of_opened(f"{tmp_path}/data.db").result() == 1
    assert pool.call.sent().result()


def test_threads_that_the_user_has_set_stay(pool: WorkerProcedureCall, tmp_path: object) -> None:
    more = (os.cpu_count() or 1) + 3
    assert pool.call.of_opened(":memory:", {"threads": more}).result() == more
    if (os.cpu_count() or 1) > 2:  # else two are what nobody has set
        assert pool.call.of_second(f"{tmp_path}/shared.db").result() == (2, 2, 2)


def test_nothing_is_loaded_before_a_function_does() -> None:
    code = (
        "import sys\n"
        "from wpc_magic.pool.worker.joblib_tasks import name_backend\n"
        "from wpc_magic.pool.worker.thread_limits import limit_threads\n"
        "limit_threads(), name_backend()\n"
        "print([name for name in ('duckdb', 'joblib', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "DUCKDB_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
