"""Priorities, limits and retries of errors, in a real pool."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

from wpc_magic.pool.errors import OptionError

FAILS_AT_FIRST = """
import os

class Busy(Exception):
    pass

def tries(path, x=0, times=2, kind=ConnectionResetError):
    "Count the attempts by files; raise at the first ones."
    for attempt in range(99):
        try:
            os.close(os.open(f"{path}/{x}-{attempt}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        if attempt < times:
            raise kind(f"attempt {attempt}")
        return x

def busy(path):
    return tries(path, kind=Busy)

async def tries_async(path, x=0):
    return tries(path, x)
"""

QUICKLY = {"restart_base_delay_ms": 1, "restart_jitter_ms": 0}


@pytest.fixture
def pool(make_pool: Any) -> Any:
    pool = make_pool(2, FAILS_AT_FIRST)
    pool.configure(**QUICKLY)
    return pool


def attempts(folder: Any) -> int:
    return len(list(folder.iterdir()))


# -- priorities -------------------------------------------------------------------------------------------


def test_calls_begin_by_priority(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, "began = []\ndef notes(x):\n    began.append(x)\n    return list(began)")
    first = pool.call.held(door.path)
    visit = door.wait()
    for priority in (None, 2, -1, 2, 7):
        pool.call.notes.options(priority=priority)(priority)
    last = pool.call.notes.options(priority=-9)("last")
    visit.let_go()
    first.result()
    assert last.result() == [7, 2, 2, None, -1, "last"]


def test_a_map_with_a_priority_goes_ahead_of_a_map_without(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, "began = []\ndef notes(x):\n    began.append(x)\n    return list(began)")
    first = pool.call.held(door.path)
    visit = door.wait()
    later = pool.map("notes", ["later"] * 2, chunk_size=1)
    sooner = pool.map("notes", ["sooner"] * 2, chunk_size=1, priority=1)
    visit.let_go()
    first.result()
    list(sooner)
    assert list(later)[-1] == ["sooner", "sooner", "later", "later"]


@pytest.mark.parametrize("priority", [1.5, "high", True])
def test_a_priority_is_a_whole_number(make_pool: Any, priority: Any) -> None:
    pool = make_pool(1, "def f(): pass")
    with pytest.raises(OptionError, match="priority takes a whole number"):
        pool.call.f.options(priority=priority)


# -- limits -----------------------------------------------------------------------------------------------

COUNTS = """
import asyncio, os

def most_at_once(folder, n):
    here = f"{folder}/{n}-{os.getpid()}"
    open(here, "w").close()
    count = len(os.listdir(folder))
    os.unlink(here)
    return count

running, most = 0, 0

async def most_coroutines(until):
    global running, most
    running += 1
    most = max(most, running)
    while most < until:
        await asyncio.sleep(0)
    running -= 1
    return most
"""


def test_no_more_calls_run_at_once_than_the_limit(make_pool: Any, folder: Any) -> None:
    pool = make_pool(3)
    pool.define_worker_functions(COUNTS, names=["most_at_once"], at_most=1)
    assert set(pool.map("most_at_once", itertools.repeat(str(folder)), range(60), chunk_size=1)) == {1}
    calls = [pool.call.most_at_once(str(folder), n) for n in range(60)]
    assert {call.result() for call in calls} == {1}


def test_no_more_coroutines_run_at_once_than_the_limit(make_pool: Any) -> None:
    pool = make_pool(1)
    pool.define_worker_functions(COUNTS, names=["most_coroutines"], at_most=4)
    assert max(call.result() for call in [pool.call.most_coroutines(4) for _ in range(40)]) == 4
    pool.define_worker_functions(COUNTS, names=["most_coroutines"], at_most=2)
    assert max(pool.map("most_coroutines", [2] * 40, chunk_size=10)) == 2


def test_a_limit_does_not_hold_up_other_functions(make_pool: Any, door: Any) -> None:
    pool = make_pool(2, "def quick(x): return x")
    pool.define_worker_function(
        worker_func="def waits(path):\n"
        "    import socket\n"
        "    with socket.socket(socket.AF_UNIX) as s:\n"
        "        s.connect(path); s.sendall(b'1\\n'); s.recv(1)",
        at_most=1,
    )
    calls = [pool.call.waits(door.path) for _ in range(3)]
    door.wait()
    assert list(pool.map("quick", range(100))) == list(range(100))
    assert [call.done() for call in calls] == [False] * 3
    pool.cancel_all()


def test_the_decorator_takes_a_limit_and_the_getters_tell_it(make_pool: Any) -> None:
    pool = make_pool(1)

    def fetch(x: int) -> int:
        return x

    assert pool.function(at_most=3, retries=2, retry_on=(ConnectionError, "HTTPError"))(fetch) is fetch
    (info,) = pool.get_remote_functions()[:1]
    assert (info.at_most, info.retries, info.retry_on) == (3, 2, ("ConnectionError", "HTTPError"))
    made: dict[str, Any] = {}
    exec(pool.export(), made)
    with made["build_pool"]() as again:
        (other,) = [each for each in again.get_remote_functions() if each.name == "fetch"]
    assert (other.at_most, other.retries, other.retry_on) == (3, 2, ("ConnectionError", "HTTPError"))


def test_a_limit_is_a_positive_whole_number(make_pool: Any) -> None:
    pool = make_pool(1)
    with pytest.raises(OptionError, match="at_most takes a positive whole number, not 0"):
        pool.define_worker_function(worker_func="def f(): pass", at_most=0)


# -- retries of errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tries", "tries_async"])
def test_a_call_runs_again_after_a_declared_error_or_one_of_its_subclasses(
    pool: Any, folder: Any, name: str
) -> None:
    again = pool.call[name].options(retries=2, retry_on=(ConnectionError,))
    assert again(str(folder), 5).result() == 5
    assert attempts(folder) == 3


def test_the_last_error_is_raised_when_the_retries_are_used_up(pool: Any, folder: Any) -> None:
    again = pool.call.tries.options(retries=2, retry_on=ConnectionError)
    with pytest.raises(ConnectionResetError, match="attempt 2"):
        again(str(folder), times=9).result()
    assert attempts(folder) == 3


def test_another_error_ends_the_call_at_once(pool: Any, folder: Any) -> None:
    with pytest.raises(ConnectionResetError, match="attempt 0"):
        pool.call.tries.options(retries=2, retry_on=(ValueError, KeyError))(str(folder)).result()
    with pytest.raises(ConnectionResetError, match="attempt 1"):
        pool.call.tries.options(retries=2)(str(folder)).result()


def test_a_class_of_the_cell_is_declared_by_its_name(pool: Any, folder: Any) -> None:
    assert pool.call.busy.options(retries=2, retry_on="Busy")(str(folder)).result() == 0


def test_a_declaration_with_the_function_holds_for_its_calls_and_maps(make_pool: Any, folder: Any) -> None:
    pool = make_pool(2)
    pool.configure(**QUICKLY)
    pool.define_worker_functions(FAILS_AT_FIRST, retries=2, retry_on=OSError)
    assert pool.call.tries(str(folder), 100).result() == 100
    assert list(pool.map("tries", [str(folder)] * 20, range(20))) == list(range(20))
    assert attempts(folder) == 3 * 21


@pytest.mark.parametrize("on_error", ["raise", "return", "skip"])
@pytest.mark.parametrize("chunk_size", [1, 7, None])
@pytest.mark.parametrize("ordered", [True, False])
def test_only_the_items_of_a_map_run_again_that_have_failed(
    make_pool: Any, folder: Any, on_error: str, chunk_size: int | None, ordered: bool
) -> None:
    pool = make_pool(
        2,
        """
import os
def third_fails(path, x):
    try:
        os.close(os.open(f"{path}/{x}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        if x % 3:
            raise ValueError(f"{x} runs again")
        return x
    if x % 3 == 0:
        raise OSError(x)
    return x
""",
    )
    pool.configure(**QUICKLY)
    options = {"retries": 1, "retry_on": OSError, "chunk_size": chunk_size, "ordered": ordered}
    results = pool.map("third_fails", [str(folder)] * 30, range(30), on_error=on_error, **options)
    values = list(results)
    assert (values if ordered else sorted(values)) == list(range(30))
    assert results.error_count == 0


def test_an_item_that_fails_for_good_ends_the_map_with_what_was_computed(pool: Any, folder: Any) -> None:
    times = [1, 1, 9, 1]
    with pytest.raises(ConnectionResetError, match="attempt 2") as caught:
        list(pool.map("tries", [str(folder)] * 4, range(4), times, retries=2, retry_on=OSError, chunk_size=4))
    assert caught.value.partial == {0: 0, 1: 1}
    assert "in item 2: tries(" in caught.value.__notes__[0]


def test_an_item_that_fails_for_good_stands_in_its_place(pool: Any, folder: Any) -> None:
    arguments = [str(folder)] * 4, range(4), [1, 1, 9, 1]
    results = pool.map("tries", *arguments, retries=2, retry_on=OSError, chunk_size=4, on_error="return")
    values = list(results)
    assert [value for value in values if not isinstance(value, BaseException)] == [0, 1, 3]
    assert isinstance(values[2], ConnectionResetError)
    assert "in item 2: tries(" in values[2].__notes__[0]
    assert list(results.errors) == [2]


def test_an_item_that_runs_again_draws_the_same_numbers(pool: Any, folder: Any) -> None:
    source = "def draws(x): return float(context.rng.random())"
    again = source.replace("return", "tries(folder_of_tries, x, 1); return")
    pool.define_worker_function(worker_func=source)
    pool.seed(42)
    expected = list(pool.map("draws", range(8)))
    pool.define_worker_constant(name="folder_of_tries", value=str(folder))
    pool.define_worker_function(worker_func=again)
    pool.seed(42)
    assert list(pool.map("draws", range(8), chunk_size=4, retries=1, retry_on=OSError)) == expected


def test_items_run_again_also_of_a_map_that_is_awaited(pool: Any, folder: Any) -> None:
    async def values() -> Any:
        return await pool.map("tries", [str(folder)] * 5, range(5), retries=2, retry_on=OSError, chunk_size=5)

    assert asyncio.run(values()) == list(range(5))


@pytest.mark.parametrize("wrong", [5, (int,), ["not a name"], (OSError, 3)])
def test_retry_on_takes_classes_of_errors_or_their_names(make_pool: Any, wrong: Any) -> None:
    pool = make_pool(1, "def f(): pass")
    with pytest.raises(OptionError, match="retry_on takes"):
        pool.call.f.options(retries=1, retry_on=wrong)


def test_retry_on_without_retries_is_refused_in_a_definition(make_pool: Any) -> None:
    pool = make_pool(1)
    with pytest.raises(OptionError, match="retries=N says how often"):
        pool.define_worker_function(worker_func="def f(): pass", retry_on=OSError)
