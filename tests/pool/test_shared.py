"""Shared arrays, counters and queues: memory that all processes of a pool write in place, and its locks."""

from __future__ import annotations

import asyncio
import copy
import os
import pickle
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.pool.conftest import HELD, PATIENCE_S, Begun, Door, pids, run
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import (
    CallTimeoutError,
    DefinitionError,
    OptionError,
    RequirementMissingError,
    SharedLockError,
    WorkerCrashedError,
)

SOURCE = """
def add(i):
    with grid.lock:
        grid[i % 4] += 1

def total(array):
    return type(array).__name__, float(array.sum())

def fill(array, value):
    array[:] = value

def whole():
    return grid

def half():
    return grid[2:], grid * 2, float(grid[0])

def held_by(door):
    with grid.lock:
        held(door)

def takes_and_fails():
    grid.lock.acquire()
    raise ValueError("its own")

def takes_and_returns():
    grid.lock.acquire()
    done.lock.acquire()

def takes_if(i):
    taken = grid.lock.acquire(timeout=0)
    if i == 1:
        raise ValueError("its own")
    return taken, grid.lock.abandoned

def takes_and_dies():
    import os
    grid.lock.acquire()
    grid[0] = 99
    os._exit(1)

def takes_and_hangs(path):
    grid.lock.acquire()
    with open(path, "w") as pipe:
        pipe.write("x")
    while True:
        pass

def waits(path=None):
    if path is not None:
        with open(path, "w") as pipe:
            pipe.write("x")
    with grid.lock:
        return grid.lock.abandoned

def nested():
    with grid.lock, grid.lock:
        inside = grid.lock.locked(), "worker" in grid.lock.holder
    return inside, grid.lock.locked()

def waits_for_a_second():
    return grid.lock.acquire(timeout=0.01)

def both(door, first, second):
    locks = {"grid": grid.lock, "done": done.lock}
    with locks[first]:
        held(door)
        with locks[second]:
            return "both"

async def in_turn(n):
    import asyncio
    async with grid.lock:
        before = float(grid[0])
        await asyncio.sleep(0)
        grid[0] = before + 1

async def leaves_it(n):
    await grid.lock.acquire_async()

async def holds_it(door_path):
    import asyncio
    async with grid.lock:
        reader, writer = await asyncio.open_unix_connection(door_path)
        writer.write(b"1\\n")
        await reader.read(1)
        writer.close()

def count(n):
    done.add()

def counted():
    return done.value, int(done)

def put(item):
    todo.put(item)

def get():
    return todo.get()

def try_get():
    return todo.get(timeout=0.01)

async def get_later():
    return await todo.get_async()

def dies_in_the_middle():
    import os
    type(todo)._change = lambda *state: os._exit(1)
    todo.put("half")

def has(module):
    import sys
    return module in sys.modules

def yields():
    grid.lock.acquire()
    yield 1
    yield 2
"""


def _define(pool: WorkerProcedureCall) -> None:
    pool.shared("grid", np.zeros(4))
    pool.shared_counter("done")
    pool.shared_queue("todo", maxsize=4, max_bytes=1000)
    pool.define_worker_functions(HELD + SOURCE)


@pytest.fixture(scope="module")
def common() -> Iterator[WorkerProcedureCall]:
    """Two workers shared by the tests of this module: none of these may kill one, or define anything."""
    with WorkerProcedureCall(interrupt_grace_ms=60_000) as pool:
        _define(pool)
        pool.start_workers(2)
        for future in pool.broadcast("add", 0).values():
            future.result()
        yield pool


@pytest.fixture
def two(common: WorkerProcedureCall) -> WorkerProcedureCall:
    """The same, with everything empty."""
    with common.shared("grid").lock:  # which forgets that the last holder did not release it
        common.shared("grid")[:] = 0
    common.shared("done").value = 0
    while len(common.shared("todo")):
        common.shared("todo").get()
    return common


@pytest.fixture
def own(make_pool: Callable[..., WorkerProcedureCall]) -> Iterator[WorkerProcedureCall]:
    """A pool of one test, with as many workers."""
    pool = make_pool(0)
    _define(pool)
    pool.start_workers(2)
    yield pool
    for info in pool.get_shared_objects():  # pytest keeps the pool until the test is over
        pool.undefine_shared(name=info.name)


# -- arrays ---------------------------------------------------------------------------------------------


def test_all_workers_and_the_program_write_one_array_in_place(two: Any) -> None:
    grid = two.shared("grid")
    grid[3] = 10
    two.map("add", range(400), chunk_size=7).result()
    assert grid.tolist() == [100, 100, 100, 110]


def test_as_an_argument_and_as_a_value_it_is_not_copied(two: Any) -> None:
    grid = two.shared("grid")
    assert two.call.total(grid).result(PATIENCE_S) == ("SharedArray", 0.0)
    two.call.fill(grid[1:3], 5).result(PATIENCE_S)
    assert grid.tolist() == [0, 5, 5, 0]
    two.call.fill(grid.reshape(2, 2).T[1], 7).result(PATIENCE_S)
    assert grid.tolist() == [0, 7, 5, 7]
    whole = two.call.whole().result(PATIENCE_S)
    whole[0] = 1
    assert grid[0] == 1
    tail, twice, first = two.call.half().result(PATIENCE_S)
    tail[:] = 0
    assert (grid.tolist(), twice.tolist(), first) == ([1, 7, 0, 0], [2, 14, 10, 14], 1.0)


def test_what_is_computed_from_it_is_a_plain_array_and_has_no_lock(two: Any) -> None:
    grid = two.shared("grid")
    for plain in (grid + 1, grid.copy(), copy.deepcopy(grid), grid[[0, 1]], np.sqrt(grid), np.array(grid)):
        assert type(plain) is np.ndarray
    assert type(grid.sum()) is np.float64
    grid += 1
    assert type(grid) is type(two.shared("grid"))
    assert grid[1:].lock == grid.lock
    copied = grid.astype(int)
    assert not hasattr(copied, "lock")
    assert pickle.loads(pickle.dumps(copied)).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize(
    "value",
    [
        np.zeros((0, 3)),
        np.array(3.5),
        np.array([1, 2], dtype="datetime64[D]"),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.asfortranarray(np.arange(6).reshape(2, 3)),
        np.arange(10)[::3],
        np.array(["a", "bc"]),
        [[1, 2], [3, 4]],
        np.ma.masked_array([1, 2], [0, 0]).data,
    ],
    ids=repr,
)
def test_any_array_of_plain_data_can_be_shared(value: Any) -> None:
    pool = WorkerProcedureCall()
    shared = pool.shared("a", value)
    assert shared.dtype == np.asarray(value).dtype
    assert shared.shape == np.shape(value)
    assert shared.tolist() == np.asarray(value).tolist()
    shared.lock.acquire()
    shared.lock.release()


@pytest.mark.parametrize(
    "value",
    [None, "text", {1: 2}, np.array([None, 1]), object(), [[1], [2, 3]]],
    ids=lambda value: type(value).__name__,
)
def test_what_holds_objects_is_refused(value: Any) -> None:
    with pytest.raises(OptionError):
        WorkerProcedureCall().shared("a", value)


def test_more_than_there_is_room_for_is_refused_and_changes_nothing() -> None:
    pool = WorkerProcedureCall()
    pool.shared_counter("done", 3)
    with pytest.raises(DefinitionError, match="no room"):
        pool.shared_queue("done2", max_bytes=10**12)
    with pytest.raises(OptionError, match="is a shared object already"):
        pool.define_worker_constant(name="done", value=1)
    assert [info.name for info in pool.get_shared_objects()] == ["done"]


def test_the_values_outlast_deaths_and_a_stop_of_the_pool(own: Any) -> None:
    grid = own.shared("grid")
    with pytest.raises(WorkerCrashedError):
        own.call.takes_and_dies().result(PATIENCE_S)
    own.stop_workers()
    own.start_workers(1)
    own.call.add(1).result(PATIENCE_S)
    assert grid.tolist() == [99, 1, 0, 0]


def test_defined_anew_it_is_another_array_for_all_at_once(own: Any) -> None:
    old = own.shared("grid")
    new = own.shared("grid", np.ones(4))
    own.call.add(0).result(PATIENCE_S)
    assert (old[0], new[0]) == (0, 2)
    assert own.get_shared_objects()[1].revision == 2
    with pytest.raises(RequirementMissingError, match="was undefined or defined anew"):
        own.call.total(old).result(PATIENCE_S)
    own.undefine_shared(name="grid")
    with pytest.raises(RequirementMissingError, match="needs 'grid'"):
        own.call.add(0).result(PATIENCE_S)
    with pytest.raises(RequirementMissingError, match="no shared object 'gird' is defined"):
        own.shared("gird")
    assert new.sum() == 5


def test_a_worker_that_starts_later_maps_the_same_memory(own: Any) -> None:
    own.resize(3)
    own.wait_until_ready()
    assert {info.installed_worker_count for info in own.get_shared_objects()} == {3}
    own.shared("grid")[:] = 1
    sums = own.broadcast("total", own.shared("grid"))
    assert [sums[n].result(PATIENCE_S) for n in (1, 2, 3)] == [("SharedArray", 4.0)] * 3


def test_the_descriptor_is_opened_by_its_path_where_it_cannot_be_sent(
    own: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wpc_magic.pool.wire.block_sender import Sender

    send = Sender.send
    monkeypatch.setattr(
        Sender, "send", lambda self, placed, lease=0, exclusive=True: None if lease else send(self, placed)
    )
    grid = own.shared("grid", np.zeros(4))
    own.map("add", range(40)).result()
    assert grid.tolist() == [10] * 4


def test_numpy_is_imported_only_where_code_names_an_array(make_pool: Any) -> None:
    pool = make_pool(1)
    pool.shared("grid", np.zeros(4))
    pool.shared_counter("done")
    pool.define_worker_functions(
        "def has(module): import sys; return module in sys.modules\ndef n(): return done.add()"
    )
    assert pool.call.n().result(PATIENCE_S) == 1
    assert not pool.call.has("numpy").result(PATIENCE_S)
    pool.define_worker_function(worker_func="def first(): return float(grid[0])")
    assert pool.call.first().result(PATIENCE_S) == 0
    assert pool.call.has("numpy").result(PATIENCE_S)


def test_without_numpy_an_array_is_refused_with_what_to_type(
    make_pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(0)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(OptionError, match=r"a shared array needs NumPy\. Type: pip install numpy$"):
        pool.shared("grid", [0.0])
    assert pool.shared_counter("done").add() == 1


def test_a_fork_of_the_program_writes_the_same_memory_and_holds_none_of_its_locks() -> None:
    program = """
import os, numpy as np
from wpc_magic.pool import WorkerProcedureCall
pool = WorkerProcedureCall()
grid = pool.shared("grid", np.zeros(2))
grid.lock.acquire()
child = os.fork()
if not child:
    grid[0] = 1 + grid.lock.acquire(timeout=0)
    os._exit(0)
os.waitpid(child, 0)
print(grid.tolist(), grid.lock.locked())
with grid.lock:
    pass
grid.lock.release()
child = os.fork()
if not child:
    grid.lock.acquire()
    os._exit(0)
os.waitpid(child, 0)
print(grid.lock.acquire(timeout=1), bool(grid.lock.abandoned))
"""
    assert run(program).stdout.splitlines() == ["[1.0, 0.0] True", "True True"]


def test_a_function_that_runs_here_finds_them_too() -> None:
    program = """
import numpy as np
from wpc_magic.pool import WorkerProcedureCall
pool = WorkerProcedureCall()
grid = pool.shared("grid", np.zeros(4))
pool.define_worker_function(worker_func="def add(i):\\n    with grid.lock:\\n        grid[i] += 1")
pool.call.add.local(2)
print(grid.tolist(), grid.lock.locked())
"""
    assert run(program).stdout == "[0.0, 0.0, 1.0, 0.0] False\n"


# -- locks ----------------------------------------------------------------------------------------------


def test_a_lock_is_free_after_a_call_that_failed_while_it_held_it(two: Any) -> None:
    lock = two.shared("grid").lock
    with pytest.raises(ValueError, match="its own"):
        two.call.takes_and_fails().result(PATIENCE_S)
    assert not lock.locked()
    two.call.takes_and_returns().result(PATIENCE_S)
    assert not lock.locked()
    assert not two.shared("done").lock.locked()
    assert two.call.waits().result(PATIENCE_S).startswith("a call of worker ")
    assert two.call.waits().result(PATIENCE_S) == ""
    for _ in two.call.yields():
        pass
    assert not lock.locked()


def test_a_lock_is_free_after_an_item_of_a_map_and_after_a_coroutine(two: Any) -> None:
    results = two.map("takes_if", range(3), chunk_size=3, on_error="return").result()
    assert results[0] == (True, "")
    assert results[2][0] is True
    assert results[2][1].startswith("a call of worker ")
    two.call.leaves_it(1).result(PATIENCE_S)
    assert not two.shared("grid").lock.locked()


def test_a_lock_is_free_after_its_worker_has_died_and_the_next_holder_knows(own: Any) -> None:
    grid = own.shared("grid")
    with pytest.raises(WorkerCrashedError):
        own.call.takes_and_dies().result(PATIENCE_S)
    with grid.lock:
        assert grid.lock.abandoned.startswith("worker ")
        assert grid[0] == 99
    with grid.lock:
        assert grid.lock.abandoned == ""


def test_a_lock_is_free_after_a_time_out_or_a_cancel_of_its_call(two: Any, begun: Begun) -> None:
    with pytest.raises(CallTimeoutError):
        two.call.takes_and_hangs.options(timeout_ms=100)(os.devnull).result(PATIENCE_S)
    assert two.shared("grid").lock.acquire(timeout=PATIENCE_S)
    two.shared("grid").lock.release()
    hanging = two.call.takes_and_hangs(begun.path)
    begun.wait()
    hanging.cancel()
    assert two.shared("grid").lock.acquire(timeout=PATIENCE_S)
    two.shared("grid").lock.release()


def test_a_call_that_waits_for_a_lock_is_stopped_softly(two: Any, begun: Begun) -> None:
    before = pids(two)
    with two.shared("grid").lock:
        with pytest.raises(CallTimeoutError):
            two.call.waits.options(timeout_ms=100)().result(PATIENCE_S)
        waiting = two.call.waits(begun.path)
        begun.wait()
        waiting.cancel()
    assert two.call.waits().result(PATIENCE_S) == ""
    assert pids(two) == before


def test_a_lock_excludes_other_processes_until_it_is_released(two: Any, door: Door) -> None:
    lock = two.shared("grid").lock
    call = two.call.held_by(door.path)
    visit = door.wait()
    assert lock.locked()
    assert lock.holder.startswith("worker ")
    assert not lock.acquire(blocking=False)
    assert not lock.acquire(timeout=0.01)
    assert not two.call.waits_for_a_second().result(PATIENCE_S)
    visit.let_go()
    call.result(PATIENCE_S)
    assert lock.acquire()
    assert lock.holder == f"the program (process {os.getpid()})"
    lock.release()
    assert repr(lock) == "<lock of grid: free>"


def test_who_holds_a_lock_may_take_it_again_and_nobody_else_may_release_it(two: Any) -> None:
    assert two.call.nested().result(PATIENCE_S) == ((True, True), False)
    lock = two.shared("grid").lock
    with pytest.raises(SharedLockError, match="not held here"):
        lock.release()
    with lock:
        seen: list[Any] = []

        def other() -> None:
            seen.append(lock.acquire(timeout=0))
            with pytest.raises(SharedLockError):
                lock.release()

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(PATIENCE_S)
        assert seen == [False]
        assert lock.locked()


def test_coroutines_of_one_worker_take_a_lock_in_turn(two: Any) -> None:
    grid = two.shared("grid")
    futures = [two.call.in_turn(n) for n in range(20)]
    for future in futures:
        future.result(PATIENCE_S)
    assert grid[0] == 20


def test_a_function_is_told_that_a_coroutine_of_its_own_worker_holds_the_lock(
    make_pool: Any, door: Door
) -> None:
    pool = make_pool(0)
    _define(pool)
    pool.start_workers(1)
    holding = pool.call.holds_it(door.path)
    visit = door.wait()
    with pytest.raises(SharedLockError, match="async with"):
        pool.call.waits().result(PATIENCE_S)
    visit.let_go()
    holding.result(PATIENCE_S)
    assert pool.call.waits().result(PATIENCE_S) == ""


def test_of_two_calls_that_wait_for_each_other_one_is_told_and_the_other_goes_on(
    two: Any, door: Door
) -> None:
    one, other = two.call.both(door.path, "grid", "done"), two.call.both(door.path, "done", "grid")
    visits = [door.wait(), door.wait()]
    for visit in visits:
        visit.let_go()
    ends = [one.exception(PATIENCE_S), other.exception(PATIENCE_S)]
    failed = [error for error in ends if error is not None]
    assert len(failed) == 1
    assert isinstance(failed[0], SharedLockError)
    assert "in the same order" in str(failed[0])


def test_a_lock_in_the_program_is_awaited_without_holding_up_its_loop(two: Any, door: Door) -> None:
    lock = two.shared("grid").lock

    async def main() -> None:
        holding = two.call.held_by(door.path)
        visit = await asyncio.to_thread(door.wait)
        assert not await lock.acquire_async(timeout=0.01)
        asyncio.get_running_loop().call_soon(visit.let_go)
        async with lock:
            assert lock.holder.startswith("the program")
        await holding

    asyncio.run(main())


def test_the_stop_button_ends_a_wait_in_the_program_and_leaves_no_lock_behind(two: Any, door: Door) -> None:
    lock = two.shared("grid").lock
    call = two.call.held_by(door.path)
    visit = door.wait()
    main, interrupted = threading.main_thread().ident, threading.Event()

    def waits() -> bool:
        """Return whether the main thread is in a function of the pool."""
        frame = sys._current_frames().get(main or 0)
        while frame is not None and "wpc_magic/pool/" not in frame.f_code.co_filename:
            frame = frame.f_back
        return frame is not None

    def interrupt() -> None:
        while not waits():
            pass
        signal.pthread_kill(main or 0, signal.SIGINT)
        while not interrupted.wait(1):  # Python misses one that arrives just before it begins to wait
            signal.pthread_kill(main or 0, signal.SIGINT)

    thread = threading.Thread(target=interrupt)

    def acquire() -> None:
        thread.start()
        try:
            lock.acquire(timeout=PATIENCE_S)
        finally:
            interrupted.set()

    with pytest.raises(KeyboardInterrupt):
        acquire()
    thread.join()
    visit.let_go()
    call.result(PATIENCE_S)
    assert two.call.waits().result(PATIENCE_S) == ""


# -- counters and queues --------------------------------------------------------------------------------


def test_a_counter_counts_what_all_workers_do(two: Any) -> None:
    done = two.shared("done")
    two.map("count", range(1000), chunk_size=3).result()
    assert (done.value, int(done), repr(done)) == (1000, 1000, "<shared counter done: 1000>")
    done.value = -5
    assert done.add(-1) == -6
    assert two.call.counted().result(PATIENCE_S) == (-6, -6)
    done.value = (1 << 63) - 1
    with pytest.raises(OverflowError):
        done.add()
    with pytest.raises(TypeError):
        done.add(1.5)
    assert done.value == (1 << 63) - 1
    assert not done.lock.locked()


def test_a_queue_passes_items_between_processes_in_order(two: Any) -> None:
    todo = two.shared("todo")
    for item in ("a", {"b": np.arange(3).tolist()}, None):
        two.call.put(item).result(PATIENCE_S)
    assert (len(todo), todo.full(), todo.empty(), bool(todo)) == (3, False, False, True)
    assert two.call.get().result(PATIENCE_S) == "a"
    assert [todo.get(), todo.get()] == [{"b": [0, 1, 2]}, None]
    with pytest.raises(queue.Empty):
        todo.get_nowait()
    with pytest.raises(queue.Empty):
        two.call.try_get().result(PATIENCE_S)


def test_a_queue_is_bounded_and_who_waits_goes_on_when_there_is_room(two: Any) -> None:
    todo = two.shared("todo")
    for n in range(4):
        todo.put(n)
    with pytest.raises(queue.Full):
        todo.put(4, timeout=0.01)
    waiting = two.call.put(4)
    assert [todo.get() for _ in range(5)] == [0, 1, 2, 3, 4]
    waiting.result(PATIENCE_S)
    later, sync = two.call.get_later(), two.call.get()
    todo.put("x")
    todo.put("y")
    assert {later.result(PATIENCE_S), sync.result(PATIENCE_S)} == {"x", "y"}
    with pytest.raises(ValueError, match="max_bytes"):
        todo.put(b"x" * 2000)
    for n in range(50):  # round and round
        todo.put(bytes([n]) * 300)
        todo.put(n)
        assert (todo.get(), todo.get()) == (bytes([n]) * 300, n)
    todo.put(b"x" * 600)
    with pytest.raises(queue.Full):
        todo.put_nowait(b"x" * 600)


def test_a_death_in_the_middle_of_a_change_leaves_the_queue_as_it_was(own: Any) -> None:
    todo = own.shared("todo")
    todo.put("before")
    with pytest.raises(WorkerCrashedError):
        own.call.dies_in_the_middle().result(PATIENCE_S)
    todo.put("after")
    assert [todo.get(), todo.get(), len(todo)] == ["before", "after", 0]
    assert not todo.lock.locked()


def test_waiting_for_a_queue_whose_lock_is_held_here_is_refused(two: Any) -> None:
    todo = two.shared("todo")
    with todo.lock, pytest.raises(SharedLockError, match="would never end"):
        todo.get()


def test_calls_can_have_counters_queues_and_locks_as_arguments(make_pool: Any) -> None:
    pool = make_pool(0)
    done, todo = pool.shared_counter("done"), pool.shared_queue("todo")
    pool.define_worker_functions(
        "def use(done, todo, lock):\n    with lock:\n        todo.put(done.add())\n    return done"
    )
    pool.start_workers(1)
    assert pool.call.use(done, todo, done.lock).result(PATIENCE_S).value == 1
    assert todo.get() == 1


def test_functions_that_are_not_registered_use_them_too(two: Any) -> None:
    done = two.shared("done")
    assert two.submit_function(lambda: done.add(2), (), {}).result(PATIENCE_S) == 2


def test_snapshots_count_them_and_an_export_has_what_is_in_them(two: Any) -> None:
    grid, done = two.shared("grid"), two.shared("done")
    grid[1] = 7
    done.add(3)
    two.shared("todo").put(1)
    assert two.snapshot().shared == 3
    assert repr(two.get_shared_objects()) == "<3 shared objects: done, grid, todo>"
    made: dict[str, Any] = {}
    exec(two.export(), made)
    pool = made["build_pool"]()
    assert pool.shared("grid").tolist() == [0, 7, 0, 0]
    assert pool.shared("done").value == 3
    assert (len(pool.shared("todo")), pool.shared("todo").maxsize, pool.shared("todo").max_bytes) == (
        0,
        4,
        1000,
    )
    pool.start_workers(1)
    pool.call.add(0).result(PATIENCE_S)
    pool.stop_workers()
    assert (pool.shared("grid")[0], grid[0]) == (1, 0)
