"""Values that are stored on disk: found by the same call, and never those of another version."""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.pool.conftest import PATIENCE_S, Door
from wpc_magic.pool import CallOptions, NotCachedWarning, WorkerProcedureCall
from wpc_magic.pool.caching.store import ResultStore
from wpc_magic.pool.errors import OptionError

COUNTED = """
def f(*args, **kwargs):
    with open({path!r}, "a") as file:
        file.write("f")
    return args, kwargs
"""


class Cached:
    """Pools that share a folder, and functions that say how often they have run."""

    def __init__(self, folder: Path, make_pool: Callable[..., WorkerProcedureCall]) -> None:
        self.folder = str(folder / "cache")
        self._make_pool = make_pool
        self._log = folder / "log"

    def pool(self, source: str = "", count: int = 1, **options: Any) -> WorkerProcedureCall:
        """Return a pool whose functions are cached; `runs()` in them notes that they run."""
        pool = self._make_pool(0, cache_folder=self.folder, **options)
        if source:
            self.define(pool, source)
        if count:
            pool.start_workers(count)
        return pool

    def define(self, pool: WorkerProcedureCall, source: str) -> None:
        note = f"\ndef _runs():\n    with open({str(self._log)!r}, 'a') as file:\n        file.write('.')\n"
        pool.define_worker_functions(note + source.replace("runs()", "_runs()"), cache=True)

    @property
    def runs(self) -> int:
        """How often functions have run since this was asked for."""
        if not self._log.exists():
            return 0
        count = len(self._log.read_text())
        self._log.unlink()
        return count


@pytest.fixture
def cached(tmp_path: Path, make_pool: Callable[..., WorkerProcedureCall]) -> Cached:
    return Cached(tmp_path, make_pool)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A local module that functions import."""
    folder = tmp_path / "local"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    path = folder / "local_helper.py"
    path.write_text("def help(): return 1\n")
    yield path
    sys.modules.pop("local_helper", None)
    importlib.invalidate_caches()


ECHO = "def echo(*args, **kwargs):\n    runs()\n    return args, kwargs\n"


def test_a_value_is_found_by_the_same_call_also_in_a_later_process(cached: Cached) -> None:
    pool = cached.pool(ECHO)
    first = pool.call.echo(1, x=2)
    assert (first.result(), first.from_cache, cached.runs) == (((1,), {"x": 2}), False, 1)
    again = pool.call.echo(1, x=2)
    assert (again.result(), again.from_cache, cached.runs) == (((1,), {"x": 2}), True, 0)
    other = cached.pool(ECHO, count=0)  # as after a restart: no worker runs
    found = other.call.echo(1, x=2)
    assert (found.done(), found.result(), found.from_cache) == (True, ((1,), {"x": 2}), True)
    assert found.exception() is None
    assert found.state == "finished → tuple"
    assert wait([found]).done == {found}
    assert not other.is_running


async def _awaited(future: Any) -> Any:
    return await future


def test_a_value_that_was_found_can_be_awaited_and_calls_back(cached: Cached) -> None:
    import asyncio

    pool = cached.pool(ECHO)
    pool.call.echo().result()
    future = pool.call.echo()
    assert asyncio.run(_awaited(future)) == ((), {})
    seen: list[Any] = []
    future.add_done_callback(seen.append)
    assert seen == [future]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (1, 1.0),
        (1, True),
        ("a", b"a"),
        ([1], (1,)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        (np.arange(3), np.arange(3).astype("int32")),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(100_000), np.ones(100_000)),
        (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"a": [1, 3]})),
        (pd.DataFrame({"a": [1, 2]}), pd.DataFrame({"b": [1, 2]})),
        ({1}, frozenset({1})),
    ],
    ids=str,
)
def test_other_arguments_are_another_call(cached: Cached, one: Any, other: Any) -> None:
    pool = cached.pool("def kind(x):\n    runs()\n    return repr(x)\n")
    assert [pool.call.kind(each).result() for each in (one, other, one, other)] == [
        repr(one),
        repr(other),
    ] * 2
    assert cached.runs == 2


def test_sets_are_the_same_in_each_order(cached: Cached) -> None:
    pool = cached.pool(ECHO)
    words = [f"word {n}" for n in range(100)]
    pool.call.echo(set(words)).result()
    assert pool.call.echo({*words[50:], *words[:50]}).from_cache


def test_a_changed_function_or_helper_runs_again(cached: Cached) -> None:
    pool = cached.pool("def f():\n    runs()\n    return helper()\ndef helper():\n    return 1\n")
    assert (pool.call.f().result(), pool.call.f().result(), cached.runs) == (1, 1, 1)
    cached.define(pool, "def f():\n    runs()\n    return helper()\ndef helper():\n    return 2\n")
    assert (pool.call.f().result(), cached.runs) == (2, 1)


def test_a_changed_function_that_it_calls_runs_again(cached: Cached) -> None:
    pool = cached.pool("def inner():\n    return 1\n")
    cached.define(pool, "def middle():\n    return inner()\n")
    cached.define(pool, "def f():\n    runs()\n    return middle()\n")
    assert (pool.call.f().result(), pool.call.f().result(), cached.runs) == (1, 1, 1)
    pool.define_worker_functions("def inner():\n    return 2\n")
    assert (pool.call.f().result(), cached.runs) == (2, 1)
    pool.define_worker_functions("def inner():\n    return 1\n")
    assert (pool.call.f().result(), cached.runs) == (1, 1)  # another text than the first: it has no `_runs`


@pytest.mark.parametrize(
    "use", ["K", "wpc_constant('K')", "wpc_constant('k'.upper())", "context.constants.K"]
)
def test_a_changed_constant_runs_again(cached: Cached, use: str) -> None:
    pool = cached.pool()
    pool.define_worker_constant(name="K", value={"a": np.zeros(20_000)})
    cached.define(pool, f"def f():\n    runs()\n    return float({use}['a'].sum())\n")
    assert (pool.call.f().result(), pool.call.f().result(), cached.runs) == (0.0, 0.0, 1)
    pool.define_worker_constant(name="K", value={"a": np.ones(20_000)})
    assert (pool.call.f().result(), cached.runs) == (20_000.0, 1)
    pool.define_worker_constant(name="K", value={"a": np.zeros(20_000)})
    assert (pool.call.f().result(), cached.runs) == (0.0, 0)


def test_a_changed_resource_runs_again(cached: Cached) -> None:
    pool = cached.pool()
    for value in (1, 2):
        pool.define_worker_resource("thing", f"def make(): return [{value}]\n")
        cached.define(pool, "def f():\n    return thing[0]\n")
        assert (pool.call.f().result(), pool.call.f().from_cache) == (value, True)


def test_a_constant_that_nothing_needs_changes_nothing(cached: Cached) -> None:
    pool = cached.pool(ECHO)
    pool.call.echo().result()
    pool.define_worker_constant(name="K", value=1)
    assert pool.call.echo().from_cache


def test_a_changed_setup_runs_again(cached: Cached) -> None:
    pool = cached.pool("def f():\n    import os\n    runs()\n    return os.environ.get('KIND')\n")
    assert pool.call.f().result() is None
    pool.define_worker_setup("import os\nos.environ['KIND'] = 'one'")
    assert pool.call.f().result() == "one"
    pool.define_worker_setup("import os\nos.environ['KIND'] = 'two'")
    assert pool.call.f().result() == "two"
    pool.undefine_worker_setup()
    assert pool.call.f().from_cache


def test_a_changed_local_module_runs_again_after_the_workers_have_it(cached: Cached, module: Path) -> None:
    pool = cached.pool("import local_helper\ndef f():\n    runs()\n    return local_helper.help()\n")
    assert (pool.call.f().result(), pool.call.f().result(), cached.runs) == (1, 1, 1)
    module.write_text("def help(): return 2\n")
    with pytest.warns(NotCachedWarning, match="f is not cached: a module that it uses has changed since"):
        future = pool.call.f()
    # The workers have the old module: their value is not stored as one of the new.
    assert (future.result(), future.from_cache) == (1, False)
    assert (pool.call.f().result(), cached.runs) == (1, 2)
    pool.restart_workers()
    pool.wait_until_ready()
    assert (pool.call.f().result(), pool.call.f().result(), cached.runs) == (2, 2, 1)


def test_a_module_that_a_local_module_imports_counts(cached: Cached, module: Path) -> None:
    deeper = module.with_name("local_deeper.py")
    deeper.write_text("VALUE = 1\n")
    module.write_text("def help():\n    import local_deeper\n    return local_deeper.VALUE\n")
    pool = cached.pool()
    pool.define_worker_dependency(alias="helper", module_specifier="local_helper")
    cached.define(pool, "def f():\n    return helper.help()\n")
    assert (pool.call.f().result(), pool.call.f().from_cache) == (1, True)
    deeper.write_text("VALUE = 2\n")
    pool.restart_workers()
    pool.wait_until_ready()
    assert pool.call.f().result() == 2


def test_the_class_of_an_argument_counts(cached: Cached, module: Path) -> None:
    module.write_text("class Thing:\n    def value(self): return 1\n")
    thing = importlib.import_module("local_helper").Thing()
    pool = cached.pool("def f(thing):\n    return thing.value()\n")
    assert (pool.call.f(thing).result(), pool.call.f(thing).from_cache) == (1, True)
    module.write_text("class Thing:\n    def value(self): return 2\n")
    pool.restart_workers()
    pool.wait_until_ready()
    assert pool.call.f(thing).result() == 2


def test_another_release_of_an_installed_module_runs_again(
    cached: Cached, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    info = site / "installed_thing-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "installed_thing.py").write_text("VALUE = 1\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-thing\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("installed_thing\n")
    monkeypatch.syspath_prepend(str(site))
    pool = cached.pool("def f():\n    import installed_thing\n    return installed_thing.VALUE\n")
    assert (pool.call.f().result(), pool.call.f().from_cache) == (1, True)
    (site / "installed_thing.py").write_text("VALUE = 22\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: installed-thing\nVersion: 2.0\n")
    info.rename(site / "installed_thing-2.0.dist-info")
    pool.restart_workers()
    pool.wait_until_ready()
    assert pool.call.f().result() == 22


def test_what_draws_random_numbers_is_cached_by_the_seed(cached: Cached) -> None:
    source = "def draw(n=0):\n    return float(context.rng.random())\n"
    pool = cached.pool(source)
    with pytest.warns(NotCachedWarning, match=r"draw is not cached: it draws other random numbers each time"):
        assert pool.call.draw().result() != pool.call.draw().result()
    pool.seed(1)
    first = [pool.call.draw().result() for _ in range(3)]
    mapped = pool.map("draw", range(4), chunk_size=2).result()
    assert len({*first, *mapped}) == 7
    pool.seed(1)
    futures = [pool.call.draw() for _ in range(3)]
    assert all(future.from_cache for future in futures)
    assert [future.result() for future in futures] == first
    assert pool.map("draw", range(4), chunk_size=3).result() == mapped
    pool.seed(2)
    assert pool.call.draw().result() not in first


def test_a_call_that_was_found_counts_for_the_numbers_of_later_calls(cached: Cached) -> None:
    pool = cached.pool("def plain():\n    return 1\n")
    pool.define_worker_functions("def draw():\n    return float(context.rng.random())\n")
    pool.seed(1)
    numbers = [(pool.call.plain().result(), pool.call.draw().result()) for _ in range(2)]
    pool.seed(1)
    assert [(pool.call.plain().result(), pool.call.draw().result()) for _ in range(2)] == numbers


class _OfThisTest:
    pass


@pytest.mark.parametrize(
    ("source", "args", "why"),
    [
        ("def f(x): return 1\n", (lambda: 1,), "an argument that plain pickle does not take"),
        ("def f(x): return eval(x)\n", ("1",), r"may run or import what its text does not name \(eval\)"),
        ("def f(x): return __import__(x).__name__\n", ("os",), r"does not name \(__import__\)"),
    ],
    ids=["lambda", "eval", "import"],
)
def test_what_cannot_be_hashed_is_not_cached_and_says_so(
    cached: Cached, source: str, args: Any, why: str
) -> None:
    pool = cached.pool(source)
    with pytest.warns(NotCachedWarning, match=f"f is not cached: .*{why}") as warned:
        futures = [pool.call.f(*args) for _ in range(2)]
    assert futures[0].result() == futures[1].result()
    assert [future.from_cache for future in futures] == [False, False]
    assert len(warned) == 1  # not at each call
    assert warned[0].filename == __file__  # at the line that makes the call


def test_a_call_that_waits_for_another_one_is_not_cached_and_says_what_would_be(cached: Cached) -> None:
    pool = cached.pool("def f(x): return x + 1\n")
    with pytest.warns(
        NotCachedWarning, match=r"the future of a call is among its arguments.* the result\(\)"
    ):
        assert pool.call.f(pool.call.f(1)).result() == 3
    assert pool.call.f(pool.call.f(1).result()).result() == 3


def test_a_function_without_source_is_not_cached_and_says_so(cached: Cached) -> None:
    pool = cached.pool()
    pool.define_worker_function(name="f", worker_func=lambda: 1, cache=True)
    with pytest.warns(NotCachedWarning, match="f is sent by value, without its source"):
        assert pool.call.f().result() == 1


def test_a_function_of_a_module_is_cached(cached: Cached) -> None:
    import math

    pool = cached.pool()
    pool.define_worker_function(name="root", worker_func=math.sqrt, cache=True)
    assert (pool.call.root(4).result(), pool.call.root(4).from_cache) == (2.0, True)


def test_errors_are_not_stored(cached: Cached) -> None:
    pool = cached.pool("def f():\n    runs()\n    raise ValueError('no')\n")
    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            pool.call.f().result()
    assert cached.runs == 2


def test_a_value_is_stored_as_the_worker_sent_it_whatever_its_owner_does_with_it(cached: Cached) -> None:
    pool = cached.pool("def f(n): return np.zeros(n), []\nimport numpy as np\n")
    for _ in range(3):  # the last two are found
        array, items = pool.call.f(3_000_000).result()
        assert not array.any()
        assert items == []
        array += 1
        items.append(1)


def test_a_value_that_nobody_asks_for_is_stored(cached: Cached) -> None:
    import threading

    pool = cached.pool(ECHO)
    ended = threading.Event()
    pool.call.echo().add_done_callback(lambda _: ended.set())
    assert ended.wait(PATIENCE_S)
    assert cached.pool(ECHO, count=0).call.echo().from_cache


def test_what_is_defined_again_while_a_call_runs_is_not_stored(cached: Cached, door: Door) -> None:
    pool = cached.pool()
    held = (
        "def held(door):\n    import socket\n    with socket.socket(socket.AF_UNIX) as c:\n"
        "        c.connect(door); c.sendall(b'0\\n'); c.recv(1)\n    return helper()\n"
    )
    pool.define_worker_functions("def helper(): return 1\n")
    cached.define(pool, held)
    future = pool.call.held(door.path)
    visit = door.wait()
    pool.define_worker_functions("def helper(): return 2\n")
    pool.define_worker_functions("def helper(): return 1\n")
    visit.let_go()
    future.result(PATIENCE_S)
    assert pool.get_cached_results() == []


def test_a_map_sends_only_the_items_that_have_no_value(cached: Cached) -> None:
    pool = cached.pool("def double(x, by=2):\n    runs()\n    return by * x\n", count=2)
    assert [pool.call.double(x, by=2).result() for x in (3, 4, 7)] == [6, 8, 14]
    assert cached.runs == 3
    assert pool.map("double", range(10), by=2).result() == [2 * x for x in range(10)]
    assert cached.runs == 7
    other = cached.pool("def double(x, by=2):\n    runs()\n    return by * x\n", count=0)
    assert other.map("double", range(10), by=2).result() == [2 * x for x in range(10)]
    assert sorted(other.map("double", range(10), by=2, ordered=False)) == [2 * x for x in range(10)]
    assert other.starmap("double", [(3,), (4,)], by=2).result() == [6, 8]
    assert (cached.runs, other.is_running) == (0, False)


@pytest.mark.parametrize("on_error", ["raise", "return", "skip"])
def test_a_map_that_fails_stores_what_it_has(cached: Cached, on_error: Any) -> None:
    source = "def odd(x):\n    runs()\n    if x % 5 == 4:\n        raise ValueError(x)\n    return x\n"
    pool = cached.pool(source)
    for attempt in range(2):
        results = pool.map("odd", range(10), chunk_size=3, on_error=on_error)
        if on_error == "raise":
            with pytest.raises(ValueError, match="4") as caught:
                results.result()
            assert [*caught.value.partial][:4] == [0, 1, 2, 3]  # type: ignore[attr-defined]
        else:
            found = results.result()
            values = [x for x in range(10) if x % 5 != 4]
            assert [each for each in found if not isinstance(each, ValueError)] == values
            assert sorted(results.errors) == [4, 9]
            assert cached.runs == (2 if attempt else 10)
    assert all(pool.call.odd(x).from_cache for x in range(4))


def test_items_that_run_again_are_stored(cached: Cached, tmp_path: Path) -> None:
    source = (
        f"def once(x):\n    import os\n    path = os.path.join({str(tmp_path)!r}, str(x))\n"
        "    if not os.path.exists(path):\n"
        "        open(path, 'w').close()\n        raise OSError(x)\n    return x\n"
    )
    pool = cached.pool(source)
    options = {"retries": 1, "retry_on": OSError}
    assert pool.map("once", range(6), chunk_size=3, **options).result() == [*range(6)]
    assert all(pool.call.once(x).from_cache for x in range(6))


def test_a_map_takes_items_that_cannot_be_sent_one_by_one(cached: Cached) -> None:
    pool = cached.pool("def same(x): return x\n")
    items = [1, 2, (n for n in ()), 4]
    for _ in range(2):
        with warnings.catch_warnings(action="ignore", category=NotCachedWarning):
            found = pool.map("same", items, chunk_size=4, on_error="return").result()
        assert [each if isinstance(each, int) else "error" for each in found] == [1, 2, "error", 4]


def test_coroutines_are_cached(cached: Cached) -> None:
    pool = cached.pool("async def later(x):\n    runs()\n    return x\n")
    assert pool.map("later", range(3)).result() == [0, 1, 2]
    assert (pool.call.later(1).from_cache, cached.runs) == (True, 3)


def test_options_say_for_one_call_whether_it_is_cached(cached: Cached) -> None:
    pool = cached.pool(ECHO)
    pool.define_worker_functions(ECHO.replace("echo", "plain").replace("    runs()\n", ""))
    call = pool.call.plain.options(cache=True)
    assert (call(1).result(), call(1).from_cache, pool.call.plain(1).from_cache) == (((1,), {}), True, False)
    pool.call.echo(1).result()
    assert not pool.call.echo.options(cache=False)(1).from_cache
    assert pool.map(pool.call.echo.options(cache=False), [1]).result() == [((1,), {})]
    assert [each.from_cache for each in pool.broadcast("echo", 1).values()] == [False]  # it is to run there


def test_what_yields_is_not_for_the_cache(cached: Cached) -> None:
    pool = cached.pool()
    with pytest.raises(OptionError, match="for functions that return a value, and f yields"):
        pool.define_worker_functions("def f(): yield 1\n", cache=True)
    pool.define_worker_functions("def f(): yield 1\n")
    with pytest.raises(OptionError, match="for calls that return a value"):
        pool.call.f.options(cache=True)()


def test_wrong_arguments_are_refused_as_without_a_cache(cached: Cached) -> None:
    pool = cached.pool("def one(x): return x\n")
    with pytest.raises(TypeError, match=r"one\(\).*'x'"):
        pool.call.one()


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_torn_file_is_not_found(cached: Cached, damage: str, size: int) -> None:
    pool = cached.pool("import numpy as np\ndef f(n):\n    runs()\n    return np.arange(n)\n")
    assert pool.call.f(size).result()[-1] == size - 1
    (path,) = Path(cached.folder).rglob("output.pkl")
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 255
    path.write_bytes({"cut": content[: len(content) // 2], "flip": content, "empty": b""}[damage])
    again = pool.call.f(size)
    assert (again.result()[-1], again.from_cache, cached.runs) == (size - 1, False, 2)
    assert pool.call.f(size).from_cache


def test_the_cache_has_a_limit_and_keeps_what_was_used_last(tmp_path: Path) -> None:
    store = ResultStore(str(tmp_path), 1_000_000)
    keys = [f"{n:032x}" for n in range(20)]
    for n, key in enumerate(keys):
        store.keep("f", key, bytes(100_000), ())
        os.utime(next((tmp_path / "joblib" / "f" / key).glob("output.pkl")), (n, n))
        if n:
            assert store.find("f", keys[0]) is not None
    assert store.find("f", keys[1]) is None
    assert store.stored()["f"].size <= 1_200_000
    store.keep("f", "f" * 32, bytes(2_000_000), ())
    assert store.find("f", "f" * 32) is None  # larger than all of it


def test_what_is_stored_is_listed_and_removed(cached: Cached) -> None:
    pool = cached.pool(ECHO + "def other(): return bytes(1000)\n")
    for n in (1, 2, 2):
        pool.call.echo(n).result()
    pool.call.other().result()
    echo, other = pool.get_cached_results()
    assert (echo.name, echo.entries, echo.hits) == ("echo", 2, 1)
    assert (other.entries, other.hits) == (1, 0)
    assert other.size > 1000
    with pytest.raises(OptionError, match=r"nothing is stored of 'ecko'\. Did you mean 'echo'"):
        pool.clear_cached_results("ecko")
    assert [each.name for each in pool.clear_cached_results("echo")] == ["echo"]
    assert not pool.call.echo(1).from_cache
    assert pool.call.other().from_cache
    pool.clear_cached_results()
    assert not pool.call.other().from_cache


def test_a_folder_that_cannot_be_written_leaves_the_call_as_it_is(cached: Cached, tmp_path: Path) -> None:
    pool = cached.pool("def f(): return 1\n")
    (tmp_path / "file").write_text("")
    pool.configure(cache_folder=str(tmp_path / "file" / "below"))
    with pytest.warns(NotCachedWarning, match="f is not cached: "):
        assert pool.call.f().result() == 1


def test_an_export_keeps_that_functions_are_cached(cached: Cached) -> None:
    made: dict[str, Any] = {}
    exec(cached.pool(ECHO, count=0).export(), made)
    assert [info.cache for info in made["build_pool"]().get_remote_functions()] == [True, False]


def test_two_processes_may_store_the_same_at_the_same_time(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    stores = [ResultStore(str(tmp_path), 1 << 30) for _ in range(4)]  # nothing is shared but the folder
    key = "a" * 32

    def work(store: ResultStore) -> bool:
        for _ in range(20):
            store.keep("f", key, b"x" * 10_000, [b"y" * 100_000])
            found = store.find("f", key)
            if found is not None and (found[0], bytes(found[1][0])) != (b"x" * 10_000, b"y" * 100_000):
                return False
        return store.find("f", key) is not None

    with ThreadPoolExecutor(4) as threads:
        assert all(threads.map(work, stores))


@pytest.mark.parametrize(
    "call",
    [
        lambda pool: pool.submit_function(abs, (1,), options=CallOptions(cache=True)),
        lambda pool: pool.map_function(abs, [1], cache=True),
        lambda pool: pool.executor(cache=True),
    ],
)
def test_a_function_that_is_not_registered_is_not_cached_and_says_so(
    cached: Cached, call: Callable[[WorkerProcedureCall], object]
) -> None:
    with pytest.raises(OptionError, match="cache is for registered functions: define this one"):
        call(cached.pool(count=0))
