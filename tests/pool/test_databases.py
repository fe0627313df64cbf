"""Databases: SQLAlchemy engines as resources, with real servers, and credentials that nothing shows."""

from __future__ import annotations

import json
import os
import pickle
import signal
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import sqlalchemy as sa

from tests.pool.conftest import PATIENCE_S, pids, wait_until_dead
from tests.pool.postgres import PASSWORD, server
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import CallTimeoutError, DefinitionError, InstallError, OptionError
from wpc_magic.pool.wire.hidden import Hidden

SECRET = "sesame/öffne dich"

USE = """
import os
import sqlalchemy as sa

def scalar(sql):
    with db.begin() as connection:
        return connection.scalar(sa.text(sql))

def run(sql):
    with db.begin() as connection:
        connection.execute(sa.text(sql))

def shown():
    return repr(db), str(db.url), repr(db.url)
"""
BUSY = "select count(*) from pg_stat_activity where query like 'select pg_sleep(%' and state = 'active'"
SESSIONS = "select count(*) from pg_stat_activity where backend_type = 'client backend'"


class Watch:
    """Watches a server from here."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url, poolclass=sa.NullPool)

    def until(self, sql: str, wanted: Any) -> None:
        """Wait until a query has a value; the server does the waiting."""
        with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            while connection.scalar(sa.text(sql)) != wanted:
                connection.execute(sa.text("select pg_sleep(0.05) as watched"))


@pytest.fixture
def make() -> Iterator[Any]:
    pools = []

    def make(count: int = 1, **options: Any) -> WorkerProcedureCall:
        pool = WorkerProcedureCall(restart_base_delay_ms=1, restart_jitter_ms=0, **options)
        pools.append(pool)
        if count:
            pool.start_workers(count)
        return pool

    yield make
    while pools:
        pools.pop().stop_workers()


def value(pool: WorkerProcedureCall, name: str, *args: Any) -> Any:
    return pool.call[name](*args).result(PATIENCE_S)


# -- SQLite and DuckDB ----------------------------------------------------------------------------------


def test_sqlite_lasts_through_a_crash_a_time_out_a_stop_and_a_new_definition(
    make: Any, tmp_path: Path
) -> None:
    pool = make()
    info = pool.define_database("db", f"sqlite:///{tmp_path}/data.db", connect_args={"timeout": 30})
    assert info.made_by == f"create_engine('sqlite:///{tmp_path}/data.db')"
    pool.define_worker_functions(
        USE + "def crash():\n    with db.begin() as c:\n"
        "        c.execute(sa.text('insert into t values (99)'))\n        os._exit(3)\n"
        "def hang():\n    with db.begin() as c:\n"
        "        c.execute(sa.text('insert into t values (98)'))\n        while True: pass\n"
    )
    value(pool, "run", "create table t (n integer)")
    value(pool, "run", "insert into t values (1)")
    assert "exited with code 3" in str(pool.call.crash().exception(PATIENCE_S))
    with pytest.raises(CallTimeoutError):
        pool.call.hang.options(timeout_ms=200)().result(PATIENCE_S)
    assert value(pool, "scalar", "select sum(n) from t") == 1
    pool.stop_workers()
    pool.start_workers(2)
    value(pool, "run", "insert into t values (1)")
    pool.define_database("db", f"sqlite:///{tmp_path}/data.db", eager=True)
    assert value(pool, "scalar", "select sum(n) from t") == 2
    assert pool.call.scalar.local("select sum(n) from t") == 2


def test_duckdb_is_one_in_each_worker(make: Any, tmp_path: Path) -> None:
    pool = make(2)
    pool.define_database("db", "duckdb:///:memory:", timeout_ms=60_000)
    pool.define_worker_functions(USE)
    assert [each.result(PATIENCE_S) for each in pool.broadcast("scalar", "select 40 + 2").values()] == [
        42,
        42,
    ]
    pid = pids(pool)[1]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until_dead(pid)
    assert [each.result(PATIENCE_S) for each in pool.broadcast("scalar", "select 7").values()] == [7, 7]


def test_an_asynchronous_dialect_has_an_asynchronous_engine(make: Any) -> None:
    pool = make()
    assert pool.define_database("db", "sqlite+aiosqlite://").is_async
    pool.define_worker_functions(
        "import sqlalchemy as sa\nasync def scalar(sql):\n"
        "    async with db.connect() as c: return await c.scalar(sa.text(sql))\n"
    )
    assert value(pool, "scalar", "select 42") == 42


def test_a_process_that_a_function_forks_has_connections_of_its_own(make: Any, tmp_path: Path) -> None:
    pool = make()
    pool.define_database("db", f"sqlite:///{tmp_path}/data.db")
    pool.define_worker_functions(
        USE + "def forks():\n    pid = os.fork()\n    if not pid:\n"
        "        os._exit(scalar('select 41') + 1 if db.pool.checkedin() == 0 else 1)\n"
        "    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n"
    )
    value(pool, "scalar", "select 1")
    assert value(pool, "forks") == 42


# -- PostgreSQL -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with server() as place:
        yield place


@pytest.fixture
def in_postgres(make: Any, postgres: str) -> Any:
    """A pool of two workers with a database, and what watches the server."""
    url = f"postgresql+psycopg://tester:{quote(PASSWORD, safe='')}@{postgres}"
    pool, watch = make(2), Watch(url)
    pool.define_database("db", url, pool_size=1)
    pool.define_worker_functions(USE)
    yield pool, watch, url
    pool.stop_workers()
    watch.until(SESSIONS, 1)  # its own


def test_postgresql_a_call_that_times_out_ends_its_statement_on_the_server(in_postgres: Any) -> None:
    pool, watch, _ = in_postgres
    value(pool, "run", "create table if not exists t (n integer)")
    future = pool.call.run.options(timeout_ms=1_000)("select pg_sleep(3600)")
    watch.until(BUSY, 1)
    assert isinstance(future.exception(PATIENCE_S), CallTimeoutError)
    watch.until(BUSY, 0)
    assert [each.result(PATIENCE_S) for each in pool.broadcast("scalar", "select 1").values()] == [1, 1]


def test_postgresql_a_worker_that_is_killed_leaves_no_statement_and_no_transaction(in_postgres: Any) -> None:
    pool, watch, _ = in_postgres
    value(pool, "run", "create table if not exists kept (n integer)")
    value(pool, "run", "truncate kept")
    pool.define_worker_functions(
        USE + "def inserts():\n    with db.begin() as c:\n"
        "        c.execute(sa.text('insert into kept values (1)'))\n"
        "        c.execute(sa.text('select pg_sleep(3600)'))\n"
    )
    future = pool.call.inserts()
    watch.until(BUSY, 1)
    running = [worker.pid for worker in pool.snapshot().workers if worker.current_call]
    assert len(running) == 1
    os.kill(running[0], signal.SIGKILL)
    assert "SIGKILL" in str(future.exception(PATIENCE_S))
    watch.until(BUSY, 0)
    assert value(pool, "scalar", "select count(*) from kept") == 0


def test_postgresql_a_stop_and_a_new_definition_close_the_connections(in_postgres: Any) -> None:
    pool, watch, url = in_postgres
    for future in pool.broadcast("scalar", "select 1").values():
        future.result(PATIENCE_S)
    watch.until(SESSIONS, 3)
    pool.define_database("db", url)
    watch.until(SESSIONS, 1)
    assert value(pool, "scalar", "select 1") == 1
    pool.restart_workers()
    pool.wait_until_ready()
    watch.until(SESSIONS, 1)
    assert value(pool, "scalar", "select 1") == 1
    future = pool.call.run("select pg_sleep(3600)")
    watch.until(BUSY, 1)
    pool.stop_workers()
    assert future.exception(PATIENCE_S) is not None
    watch.until(SESSIONS, 1)
    pool.start_workers(1)
    assert value(pool, "scalar", "select 1") == 1


def test_postgresql_a_connection_that_the_server_has_ended_is_made_again(in_postgres: Any) -> None:
    pool, watch, _ = in_postgres
    pool.resize(1)
    backend = value(pool, "scalar", "select pg_backend_pid()")
    watch.until(f"select pg_terminate_backend({backend})", True)
    assert value(pool, "scalar", "select pg_backend_pid()") != backend


def test_postgresql_a_wrong_password_is_an_error_that_does_not_show_it(make: Any, postgres: str) -> None:
    pool = make()
    wrong = f"postgresql+psycopg://tester:{quote(SECRET, safe='')}@{postgres}"
    with pytest.raises(InstallError) as raised:
        pool.define_database("db", wrong, eager=True)
    assert "password authentication failed" in str(raised.value)
    assert_hidden("".join(traceback.format_exception(raised.value)))
    pool.define_database("db", wrong)
    pool.define_worker_functions(USE)
    error = pool.call.scalar("select 1").exception(PATIENCE_S)
    assert "password authentication failed" in str(error)
    assert_hidden("".join(traceback.format_exception(error)))
    assert_hidden(json.dumps([repr(event) for event in pool.events()]))


# -- credentials ----------------------------------------------------------------------------------------


def assert_hidden(text: str) -> None:
    for form in (SECRET, quote(SECRET, safe=""), quote(SECRET), repr(SECRET)[1:-1]):
        assert form not in text


def test_no_credential_is_in_a_repr_an_event_a_snapshot_or_a_table(make: Any) -> None:
    pool = make()
    events: list[str] = []
    pool.on_worker_event(listener=lambda event: events.append(repr(event)))
    pool.define_database("db", "sqlite://")
    info = pool.define_database("pg", f"postgresql+psycopg://me:{quote(SECRET, safe='')}@localhost:1/x")
    assert info.made_by == "create_engine('postgresql+psycopg://me:***@localhost:1/x')"
    records = pool._driver.core.state.registry.records
    for shown in (repr(info), repr(pool.snapshot()), repr(pool.get_worker_resources()), repr(records)):
        assert_hidden(shown)
    assert_hidden(pool.resource_source("pg"))
    pool.define_worker_functions(USE)
    assert value(pool, "shown")[1] == "sqlite://"
    assert_hidden(repr(events))


def test_what_a_driver_or_a_function_says_of_a_credential_is_masked(make: Any) -> None:
    pool = make()
    pool.define_database("db", "sqlite://", execution_options={"password": SECRET})
    pool.define_worker_functions(
        USE
        + f"""
class Own(Exception):
    pass

def says(how):
    db
    error = Own({SECRET!r}) if how == "args" else Own("x")
    error.add_note({SECRET!r})
    error.text = "with " + {SECRET!r}
    error.deep = [{{"a": {SECRET!r}}}] if how == "deep" else None
    raise error from ValueError("as " + {SECRET!r})
"""
    )
    for how in ("args", "deep"):
        error = pool.call.says(how).exception(PATIENCE_S)
        assert error is not None
        text = "".join(traceback.format_exception(error)).replace(f"{SECRET!r}", "")  # lines of the source
        assert_hidden(text)
        assert_hidden(repr(vars(error)))
    assert_hidden(repr([event.error.message for event in pool.events() if event.error]))


def test_an_export_has_names_of_environment_variables_instead(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make(0)
    quoted = quote(SECRET, safe="")
    pool.define_database("db", f"postgresql+psycopg://me:{quoted}@localhost:1/x?sslpassword={quoted}")
    pool.define_database("other", "sqlite://", connect_args={"cached_statements": 5}, eager=True)
    monkeypatch.setenv("TOKEN", SECRET)
    pool.define_database("third", "postgresql+psycopg://me:${TOKEN}@localhost:1/x", timeout_ms=5)
    text = pool.export()
    assert_hidden(text)
    assert "me:${DB_PASSWORD}@localhost:1/x?sslpassword=${DB_SSLPASSWORD}" in text
    assert "# DB_PASSWORD, DB_SSLPASSWORD: not written down, to be set in the environment" in text
    made: dict[str, Any] = {}
    exec(text, made)
    with pytest.raises(OptionError, match="the environment variable DB_PASSWORD is not set"):
        made["build_pool"]()
    monkeypatch.setenv("DB_PASSWORD", SECRET)
    monkeypatch.setenv("DB_SSLPASSWORD", SECRET)
    copy = made["build_pool"]()
    assert [info.name for info in copy.get_worker_resources()] == ["db", "other", "third"]
    both = [each._driver.core.state.registry.records["db"].about.database for each in (pool, copy)]
    assert both[0].hidden.reveal()[0] == both[1].hidden.reveal()[0]
    assert copy.export().replace("    # DB", "# DB").count("${DB_PASSWORD}") == 1


def test_a_whole_url_may_be_in_the_environment(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make()
    monkeypatch.setenv("DATABASE_URL", "sqlite://")
    info = pool.define_database("db", "${DATABASE_URL}")
    assert info.made_by == "create_engine('***')"
    pool.define_worker_functions(USE)
    assert value(pool, "scalar", "select 3") == 3
    assert "'${DATABASE_URL}'" in pool.export()


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        (f"not a url {SECRET}", OptionError, "the URL of db cannot be read"),
        ("nosuchthing://me:x@host/db", DefinitionError, "needs a driver for nosuchthing"),
        ("oracle://me:x@host/db", DefinitionError, "needs a driver for oracle"),
        ("sqlite:///${NOT_SET_AT_ALL}", OptionError, "NOT_SET_AT_ALL is not set"),
        (3, OptionError, "url takes a text, not 3"),
    ],
)
def test_a_wrong_url_is_one_clear_error_that_does_not_show_it(
    make: Any, url: Any, error: type[Exception], message: str
) -> None:
    pool = make(0)
    with pytest.raises(error, match=message) as raised:
        pool.define_database("db", url)
    assert_hidden("".join(traceback.format_exception(raised.value)))
    tb = raised.value.__traceback__
    while tb is not None:  # what a verbose traceback shows
        if "wpc_magic" in tb.tb_frame.f_code.co_filename:
            assert_hidden(repr(tb.tb_frame.f_locals.values()))
        tb = tb.tb_next
    assert pool.get_worker_resources() == []


def test_a_hidden_value_is_in_no_repr_and_in_no_pickle() -> None:
    hidden = Hidden({"password": SECRET})
    assert repr(hidden) == "<hidden>"
    pickled = pickle.dumps(hidden)
    assert SECRET.encode() not in pickled
    assert pickle.loads(pickled).reveal() == {"password": SECRET}
