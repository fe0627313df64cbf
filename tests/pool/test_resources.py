"""Resources: one object for each worker, made when it is needed, checked, closed, and made again."""

from __future__ import annotations

import gc
import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pool.conftest import PATIENCE_S, pids, wait_until_dead
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.core.snapshot import ResourceInfo
from wpc_magic.pool.errors import (
    InstallError,
    NotRunningError,
    OptionError,
    PoolStoppedError,
    RequirementMissingError,
    ResourceTimeoutError,
    UnknownNameError,
)

THING = """
class Thing:
    def __init__(self, name):
        self.name, self.works, self.uses = name, True, 0

def note(what):
    with open(LOG, "a") as file:
        file.write(what + "\\n")

def make():
    note("make NAME")
    return Thing("NAME")

def close(thing):
    note(f"close {thing.name}")

def check(thing):
    if thing.works == "raises":
        raise OSError("gone")
    return thing.works
"""
USE = """
def use():
    thing.uses += 1
    return thing.name, thing.uses

def through():
    return use()

def spoil(how):
    thing.works = how

def other():
    return 1

def pid():
    import os
    return os.getpid()
"""


class Bench:
    """A pool with a resource, and what was noted of it."""

    def __init__(self, pool: WorkerProcedureCall, log: Path) -> None:
        self.pool = pool
        self.log = log
        log.touch()

    def define(self, name: str = "one", *, more: str = "", **options: Any) -> ResourceInfo:
        source = THING.replace("LOG", repr(str(self.log))).replace("NAME", name)
        return self.pool.define_worker_resource("thing", source + more, **options)

    def noted(self) -> list[str]:
        return self.log.read_text().splitlines()

    def call(self, name: str, *args: Any) -> Any:
        return self.pool.call[name](*args).result(PATIENCE_S)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Any]:
    made = []

    def make(count: int = 1, define: bool = True, **options: Any) -> Bench:
        pool = WorkerProcedureCall(restart_base_delay_ms=1, restart_jitter_ms=0, **options)
        bench = Bench(pool, tmp_path / f"log-{len(made)}")
        made.append(bench)
        if define:
            bench.define()
            pool.define_worker_functions(USE)
        if count:
            pool.start_workers(count)
            pool.wait_until_ready()
        return bench

    yield make
    while made:
        made.pop().pool.stop_workers()


def blocked(path: str) -> str:
    """Return the text of a resource that waits at a door while it is made."""
    return (
        "import os, socket\ndef make():\n"
        "    with socket.socket(socket.AF_UNIX) as connection:\n"
        f"        connection.connect({path!r})\n"
        "        connection.sendall(b'%d\\n' % os.getpid())\n"
        "        connection.recv(1)\n"
        "    return 'made'\n"
    )


# -- when it is made, and closed ------------------------------------------------------------------------


def test_it_is_made_for_the_first_call_that_names_it_and_shared_by_all_calls_of_a_worker(bench: Any) -> None:
    bench = bench()
    assert bench.call("other") == 1
    assert bench.noted() == []
    assert bench.call("through") == ("one", 1)
    assert bench.call("use") == ("one", 2)
    assert bench.noted() == ["make one"]
    bench.pool.stop_workers()
    assert bench.noted() == ["make one", "close one"]


def test_each_worker_has_its_own(bench: Any) -> None:
    bench = bench(2)
    results = [future.result(PATIENCE_S) for future in bench.pool.broadcast("use").values()]
    assert results == [("one", 1)] * 2
    assert bench.noted() == ["make one"] * 2


def test_a_map_makes_it_once_a_worker(bench: Any) -> None:
    bench = bench()
    bench.pool.define_worker_functions("def count(i):\n    thing.uses += 1\n    return thing.uses\n")
    assert list(bench.pool.map("count", range(6), chunk_size=2)) == [1, 2, 3, 4, 5, 6]
    assert bench.noted() == ["make one"]


def test_another_definition_closes_it_first_and_makes_it_when_it_is_needed(bench: Any) -> None:
    bench = bench()
    bench.call("use")
    assert bench.define("two").revision == 2
    assert bench.call("use") == ("two", 1)
    assert bench.noted() == ["make one", "close one", "make two"]


def test_it_is_closed_as_soon_as_it_is_undefined(bench: Any) -> None:
    bench = bench()
    bench.call("use")
    bench.pool.undefine_worker_resource(name="thing")
    with pytest.raises(RequirementMissingError, match="use needs 'thing', which is not defined"):
        bench.call("use")
    bench.call("other")
    assert bench.noted() == ["make one", "close one"]
    assert bench.pool.get_worker_resources() == []
    assert not [name for name in bench.pool.defined_names() if "resource" in name]


@pytest.mark.parametrize("what", ["constant", "function"])
def test_it_is_made_anew_when_something_changes_that_it_is_made_with(bench: Any, what: str) -> None:
    bench = bench(define=False)

    def define(value: int) -> None:
        if what == "constant":
            bench.pool.define_worker_constant(name="part", value=value)
        else:
            bench.pool.define_worker_function(worker_func=f"def part(): return {value}")

    define(1)
    part = "part" if what == "constant" else "part()"
    bench.pool.define_worker_resource("thing", f"def make(): return [{part}]")
    bench.pool.define_worker_function(worker_func="def use(): return thing")
    assert bench.call("use") == [1]
    define(2)
    assert bench.call("use") == [2]
    bench.pool.define_worker_function(worker_func="def unrelated(): pass")
    assert bench.call("use") == [2]


def test_what_the_change_of_another_definition_leaves_alone_stays_open(bench: Any) -> None:
    bench = bench()
    bench.call("use")
    bench.pool.define_worker_constant(name="K", value=1)
    bench.pool.define_worker_functions(USE + "# another text")
    assert bench.call("use") == ("one", 2)
    assert bench.noted() == ["make one"]


def test_a_worker_that_leaves_closes_it_and_the_next_one_makes_its_own(bench: Any) -> None:
    bench = bench()
    bench.call("use")
    bench.pool.restart_workers()
    bench.pool.wait_until_ready()
    assert bench.call("use") == ("one", 1)
    bench.pool.stop_workers()
    assert sorted(bench.noted()) == ["close one"] * 2 + ["make one"] * 2


def test_a_worker_that_replaces_a_dead_one_makes_its_own(bench: Any) -> None:
    bench = bench()
    bench.call("use")
    pid = pids(bench.pool)[1]
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_until_dead(pid)
    assert bench.call("use") == ("one", 1)
    assert bench.noted() == ["make one", "make one"]


@pytest.mark.parametrize("how", [False, "raises"])
def test_one_that_does_not_work_any_more_is_closed_and_made_again(bench: Any, how: Any, listen: Any) -> None:
    bench = bench()
    events = listen(bench.pool)
    bench.call("use")
    bench.call("spoil", how)
    assert bench.call("use") == ("one", 1)
    assert bench.noted() == ["make one", "close one", "make one"]
    event = events.until("resource_failed")[-1]
    assert event.details == {"resource": "thing", "during": "check"}
    assert (event.error is not None) == (how == "raises")


def test_a_close_that_fails_is_an_event_and_nothing_else(bench: Any, listen: Any) -> None:
    bench = bench(define=False)
    events = listen(bench.pool)
    bench.pool.define_worker_resource("thing", "def make(): return 1\ndef close(x): x / 0")
    bench.pool.define_worker_function(worker_func="def use(): return thing")
    assert bench.call("use") == 1
    bench.pool.define_worker_resource("thing", "def make(): return 2")
    assert bench.call("use") == 2
    event = events.until("resource_failed")[-1]
    assert event.details == {"resource": "thing", "during": "close"}
    assert event.error.name == "ZeroDivisionError"


# -- eager ----------------------------------------------------------------------------------------------


def test_an_eager_one_is_made_at_the_definition_and_by_each_worker_that_starts(bench: Any) -> None:
    bench = bench()
    assert bench.define(eager=True).eager
    assert bench.noted() == ["make one"]
    pid = pids(bench.pool)[1]
    bench.pool.restart_workers()
    bench.pool.wait_until_ready()
    assert pids(bench.pool)[1] != pid
    assert bench.noted()[:2] == ["make one", "make one"]


def test_an_eager_one_that_cannot_be_made_is_refused_and_the_old_one_stays_open(bench: Any) -> None:
    bench = bench()
    bench.call("use")
    with pytest.raises(
        InstallError, match="worker 1 could not install thing: ValueError: no model"
    ) as raised:
        bench.pool.define_worker_resource("thing", "def make(): raise ValueError('no model')", eager=True)
    assert "while the resource thing was made" in str(raised.value)
    assert bench.call("use") == ("one", 2)
    assert bench.noted() == ["make one"]


def test_what_one_worker_has_made_is_closed_if_another_one_refuses(bench: Any) -> None:
    bench = bench(2)
    more = "first = make\ndef make():\n    assert context.worker_id == 1\n    return first()\n"
    with pytest.raises(InstallError, match="worker 2 could not"):
        bench.define("two", more=more, eager=True)
    for future in bench.pool.broadcast("other").values():
        future.result(PATIENCE_S)
    assert bench.noted() in (["make two", "close two"], [])


def test_an_eager_one_may_take_longer_than_workers_may_to_start_and_to_install(bench: Any) -> None:
    bench = bench(define=False, control_timeout_ms=500, start_timeout_ms=1_000)
    slow = "import time\ndef make():\n    time.sleep(%s)\n    return 1\n"
    assert bench.pool.define_worker_resource("thing", slow % 1, eager=True).installed_worker_count == 1
    bench.pool.stop_workers()
    bench.pool.define_worker_resource("thing", slow % 2, eager=True)
    bench.pool.start_workers(1)
    bench.pool.wait_until_ready()
    bench.pool.define_worker_function(worker_func="def use(): return thing")
    assert bench.call("use") == 1


# -- limits, and ends -----------------------------------------------------------------------------------


def test_making_it_is_no_part_of_the_time_of_the_call(bench: Any) -> None:
    bench = bench(define=False, control_timeout_ms=500)
    bench.pool.define_worker_resource("thing", "import time\ndef make():\n    time.sleep(1)\n    return 1\n")
    bench.pool.define_worker_function(worker_func="def use(): return thing", timeout_ms=500)
    assert bench.call("use") == 1


@pytest.mark.parametrize(
    "source", ["def make():\n    while True: pass", "async def make(): await Event().wait()"]
)
def test_it_has_a_time_limit_of_its_own_and_the_worker_goes_on(bench: Any, source: str) -> None:
    bench = bench()
    pid = bench.call("pid")
    bench.pool.define_worker_resource("thing", "from asyncio import Event\n" + source, timeout_ms=100)
    for _ in range(2):
        future = bench.pool.call.use()
        with pytest.raises(ResourceTimeoutError, match="to make the resource thing took longer") as raised:
            future.result(PATIENCE_S)
        assert "while the resource thing was made" in raised.value.__notes__
    assert bench.call("pid") == pid


def test_an_eager_one_that_takes_too_long_is_refused(bench: Any) -> None:
    bench = bench()
    with pytest.raises(InstallError, match="longer than timeout_ms=100"):
        bench.pool.define_worker_resource(
            "thing", "def make():\n    while True: pass", eager=True, timeout_ms=100
        )
    assert bench.call("use") == ("one", 1)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_call_that_is_cancelled_ends_the_making(bench: Any, door: Any, is_async: bool) -> None:
    bench = bench()
    pid = bench.call("pid")
    source = blocked(door.path)
    if is_async:
        source = source.replace("def make", "import asyncio\nasync def make").replace(
            "connection.recv(1)", "await asyncio.Event().wait()"
        )
    bench.pool.define_worker_resource("thing", source)
    future = bench.pool.call.use()
    visit = door.wait()
    assert future.cancel()
    visit.wait_until_gone()
    assert bench.call("pid") == pid


def test_a_stop_ends_the_making(bench: Any, door: Any) -> None:
    bench = bench()
    bench.pool.define_worker_resource("thing", blocked(door.path))
    future = bench.pool.call.use()
    visit = door.wait()
    bench.pool.stop_workers()
    assert isinstance(future.exception(PATIENCE_S), PoolStoppedError)
    visit.wait_until_gone()
    with pytest.raises(NotRunningError):
        bench.call("use")


def test_what_making_raises_is_the_error_of_the_call_and_the_next_one_tries_again(bench: Any) -> None:
    bench = bench(define=False)
    bench.pool.define_worker_resource(
        "thing", "tries = []\ndef make():\n    tries.append(1)\n    return 1 // (len(tries) - 1)\n"
    )
    bench.pool.define_worker_function(worker_func="def use(): return thing")
    with pytest.raises(ZeroDivisionError) as raised:
        bench.call("use")
    assert "while the resource thing was made" in raised.value.__notes__
    assert bench.call("use") == 1


def test_a_crash_while_it_is_made_costs_one_call(bench: Any) -> None:
    bench = bench()
    bench.pool.define_worker_resource("thing", "import os\ndef make(): os._exit(3)")
    future = bench.pool.call.use()
    assert "exited with code 3" in str(future.exception(PATIENCE_S))
    assert bench.call("other") == 1


# -- async ----------------------------------------------------------------------------------------------


def test_async_code_of_it_runs_on_the_loop_of_the_calls(bench: Any) -> None:
    bench = bench(define=False)
    bench.pool.define_worker_resource(
        "client",
        f"""
import asyncio
async def make():
    await asyncio.sleep(0)
    return {{"loop": asyncio.get_running_loop(), "works": True, "made": 1}}
async def check(client):
    return client["works"] and client["loop"] is asyncio.get_running_loop()
async def close(client):
    await asyncio.sleep(0)
    with open({str(bench.log)!r}, "a") as file:
        file.write("closed\\n")
""",
    )
    bench.pool.define_worker_functions(
        "import asyncio\n"
        "async def same(): return client['loop'] is asyncio.get_running_loop()\n"
        "def spoil(): client['works'] = False\n"
    )
    assert bench.call("same") is True
    bench.call("spoil")
    assert bench.call("same") is True
    assert bench.noted() == ["closed"]
    bench.pool.define_worker_constant(name="K", value=1)
    bench.pool.stop_workers()
    assert bench.noted() == ["closed", "closed"]


def test_coroutines_go_on_while_one_is_made(bench: Any, door: Any) -> None:
    bench = bench(define=False)
    bench.pool.define_worker_dependency(alias="asyncio", module_specifier="asyncio")
    bench.pool.define_worker_resource("go", "def make(): return asyncio.Event()")
    bench.pool.define_worker_resource("client", "async def make():\n    await go.wait()\n    return 'made'")
    bench.pool.define_worker_functions(
        "async def opens(path):\n"
        "    reader, writer = await asyncio.open_unix_connection(path)\n"
        "    writer.write(b'1\\n')\n"
        "    await reader.read(1)\n"
        "    writer.close()\n"
        "    go.set()\n"
        "def use(): return client\n"
    )
    first = bench.pool.call.opens(door.path)
    visit = door.wait()
    second = bench.pool.call.use()
    visit.let_go()
    assert second.result(PATIENCE_S) == "made"
    assert first.result(PATIENCE_S) is None


# -- what it needs, and who finds it --------------------------------------------------------------------


def test_one_may_need_another_and_is_closed_before_it_and_made_again_with_it(bench: Any) -> None:
    bench = bench()
    note = f"open({str(bench.log)!r}, 'a').write('%s part\\n')"
    bench.pool.define_worker_resource(
        "part", f"def make():\n    {note % 'make'}\n    return thing.name\ndef close(x): {note % 'close'}\n"
    )
    bench.pool.define_worker_functions("def both(): return part\n" + USE)
    assert bench.call("both") == "one"
    bench.call("spoil", False)
    assert bench.call("both") == "one"
    assert bench.noted() == ["make one", "make part", "close part", "close one", "make one", "make part"]
    bench.pool.stop_workers()
    assert bench.noted()[-2:] == ["close part", "close one"]


def test_those_that_need_each_other_are_one_clear_error(bench: Any) -> None:
    bench = bench()
    bench.pool.define_worker_resource("part", "def make(): return thing")
    bench.pool.define_worker_resource("thing", "def make(): return part")
    with pytest.raises(RequirementMissingError, match="need each other: thing -> part -> thing"):
        bench.call("use")


def test_code_that_is_loaded_does_not_find_it_and_is_told_why(bench: Any) -> None:
    bench = bench()
    with pytest.raises(InstallError, match="it is not there while a cell is loaded"):
        bench.pool.define_worker_functions("NAME = thing.name\ndef f(): return NAME\n")
    bench.pool.define_worker_functions(
        "def by_key(name): return getattr(context, 'resources')[name].name, list(context.resources)\n"
    )
    assert bench.call("by_key", "thing") == ("one", ["thing"])


def test_functions_are_given_as_they_are(bench: Any, tmp_path: Path) -> None:
    bench = bench(define=False)
    file = str(tmp_path / "data.db")
    bench.pool.define_worker_resource(
        "db",
        lambda: sqlite3.connect(file),
        close=sqlite3.Connection.close,
        check=lambda db: db.execute("select 1").fetchone() == (1,),
    )
    bench.pool.define_worker_function(worker_func="def one(): return db.execute('select 1').fetchone()[0]")
    assert bench.call("one") == 1
    info = bench.pool.get_worker_resources()[0]
    assert (info.name, info.is_closed, info.is_checked, info.is_async) == ("db", True, True, False)
    assert bench.pool.snapshot().resources == 1


def test_functions_that_run_here_have_one_of_this_process(bench: Any) -> None:
    bench = bench(count=0)
    assert bench.pool.call.use.local() == ("one", 1)
    assert bench.pool.call.through.local() == ("one", 2)
    bench.define("two")
    assert bench.pool.call.use.local() == ("two", 1)
    assert bench.noted() == ["make one", "close one", "make two"]
    bench.pool.define_worker_resource("thing", "async def make(): return 1")
    with pytest.raises(RequirementMissingError, match="is async: it runs in a worker"):
        bench.pool.call.use.local()
    assert bench.noted()[3:] == ["close two"]


def test_one_of_this_process_is_closed_with_the_pool(tmp_path: Path) -> None:
    bench = Bench(WorkerProcedureCall(), tmp_path / "log")
    bench.define()
    bench.pool.define_worker_functions(USE)
    bench.pool.call.use.local()
    del bench.pool
    gc.collect()
    assert bench.noted() == ["make one", "close one"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "a b", "factory": list}, "not a Python name"),
        ({"name": "x", "factory": 3}, "factory takes a function, or its text, not 3"),
        ({"name": "x", "factory": list, "close": 3}, "close takes a function, or its text, not 3"),
        ({"name": "x", "factory": list, "eager": 1}, "eager takes True or False"),
        ({"name": "x", "factory": list, "timeout_ms": 0}, "timeout_ms"),
        ({"name": "x", "factory": "def make(): pass", "close": list}, "a text that defines make"),
        ({"name": "use", "factory": list}, "'use' is a function already"),
    ],
)
def test_wrong_use_is_one_clear_error(bench: Any, wrong: dict[str, Any], message: str) -> None:
    bench = bench(count=0)
    with pytest.raises(OptionError, match=message):
        bench.pool.define_worker_resource(**wrong)
    assert [info.name for info in bench.pool.get_worker_resources()] == ["thing"]


def test_unknown_names_are_refused_and_near_ones_are_named(bench: Any) -> None:
    bench = bench(count=0)
    with pytest.raises(UnknownNameError, match=r"uses 'np' \(line 1\)"):
        bench.pool.define_worker_resource("x", "def make(): return np.zeros(3)")
    with pytest.raises(
        RequirementMissingError, match=r"no resource 'thin' is defined\. Did you mean 'thing'"
    ):
        bench.pool.undefine_worker_resource(name="thin")


def test_an_export_defines_the_same(bench: Any) -> None:
    bench = bench(count=0)
    pool = bench.pool
    pool.define_worker_function(worker_func="def helper(): return thing.name")
    pool.define_worker_resource(
        "given",
        lambda: [helper()],  # noqa: F821
        close=list.clear,
        eager=True,
        timeout_ms=9_000,
    )
    pool.define_worker_resource("by_text", "def anything(): return 5")
    pool.define_worker_functions("def all_of_them(): return given, by_text, thing.name\n")
    made: dict[str, Any] = {}
    exec(pool.export(), made)
    with made["build_pool"]() as copy:
        assert copy.get_worker_resources() == pool.get_worker_resources()
        copy.start_workers(1)
        assert copy.call.all_of_them().result(PATIENCE_S) == (["one"], 5, "one")
        assert copy.export() == pool.export()


def test_its_definition_and_its_end_make_no_call_slower_that_does_not_need_it(bench: Any) -> None:
    """A call asks one attribute, as before there were any."""
    from wpc_magic.pool.worker.server import Server

    names = Server._call.__code__.co_names
    assert names.count("prepares") == 1
    assert "renewed" not in names
