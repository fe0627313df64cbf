"""A single call: its value, its error, its options, and why it may be refused."""

from __future__ import annotations

import concurrent.futures
import itertools
import os
import pickle
import signal
import threading
import traceback
from typing import Any

import pytest

from tests.pool.conftest import learn
from wpc_magic.pool import CallFuture, WorkerProcedureCall
from wpc_magic.pool.errors import (
    ArgumentsNotSerializableError,
    CallTimeoutError,
    FunctionNotDefinedError,
    NestedCallError,
    NotRunningError,
    NoWorkerError,
    OptionError,
    QueueTimeoutError,
    RemoteError,
    RequirementMissingError,
    SaturatedError,
    WorkerCrashedError,
)

FUNCTIONS = """
import math
from dataclasses import dataclass

_later = []


def echo(*args, **kwargs):
    return args, kwargs


def add(a, b=2, *, c=3):
    return a + b + c


@dataclass
class Point:
    x: int
    y: int


def point(x, y):
    return Point(x, y)


def norm(p):
    assert isinstance(p, Point)
    return math.hypot(p.x, p.y)


class Odd(Exception):
    def __init__(self, number, reason):
        super().__init__(number, reason)
        self.number = number
        self.color = "red"


def fails(number):
    try:
        {}["nothing"]
    except KeyError as error:
        problem = Odd(number, "it is odd")
        problem.color = "blue"
        problem.add_note("a note of the function's")
        raise problem from error


def handles(number):
    try:
        raise ValueError("first")
    except ValueError:
        raise TypeError("second")


class Bound(Exception):
    def __init__(self, lock):
        super().__init__("it holds a lock")
        self.lock = lock


def fails_with_a_lock():
    import threading
    raise Bound(threading.Lock())


class TwoArguments(Exception):
    "Its constructor takes two arguments, and it remembers one."
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def fails_with_two_arguments():
    raise TwoArguments("one", "two")


def rebuild(at_home, message):
    import os
    if os.getpid() != at_home:
        raise ZeroDivisionError("only in the worker that made it")
    return Homebody(message)


class Homebody(Exception):
    def __reduce__(self):
        import os
        return rebuild, (os.getpid(), *self.args)


def fails_and_does_not_unpickle_here():
    raise Homebody("at home")


class Unloadable(Exception):
    def __reduce__(self):
        return divmod, (1, 0)


def fails_and_does_not_unpickle_anywhere():
    raise Unloadable("lost")


def returns_a_lock():
    import threading
    return threading.Lock()


class Trap:
    def __reduce__(self):
        return divmod, (1, 0)


def returns_a_trap():
    return Trap()


def exits():
    raise SystemExit(3)


def ends_the_iteration():
    raise StopIteration("nothing more")


def makes_a_function(n):
    def plus(x):
        return x + n
    return plus


def applies(function, x):
    return function(x)


def pid():
    import os
    return os.getpid()


def calls_the_pool(pool):
    return pool.call.pid()


async def gathers(n):
    import asyncio
    return sum(await asyncio.gather(*(asyncio.sleep(0, i) for i in range(n))))
"""


# Once both are known to be quick, calls of `quick` are prefetched behind a blocked call of `turns`.
TAKES_TURNS = """
def quick(n): return n
def turns(door): return held(door) if door else None
"""


@pytest.fixture(scope="module", autouse=True)
def functions(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(FUNCTIONS)


# -- values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -(2**70), 1.5, "ä\0\ud800", b"\0", (1, (2,)), [1, [2]], {"a": {1: None}}, {1, 2}, ...],
)
def test_a_value_comes_back_as_it_went(pool: WorkerProcedureCall, value: Any) -> None:
    assert pool.call.echo(value, k=value).result() == ((value,), {"k": value})


def test_positional_and_keyword_arguments_arrive_where_they_belong(pool: WorkerProcedureCall) -> None:
    assert pool.call.add(1).result() == 6
    assert pool.call.add(1, 1, c=1).result() == 3
    assert pool.call.add(b=0, a=1).result() == 4


def test_a_wrong_number_of_arguments_is_a_type_error_at_once(pool: WorkerProcedureCall) -> None:
    with pytest.raises(TypeError, match=r"add\(\) missing 1 required argument: 'a'"):
        pool.call.add()


def test_the_names_of_options_and_of_the_call_are_free_for_the_functions_own_arguments(
    pool: WorkerProcedureCall,
) -> None:
    names = {"name": 1, "self": 2, "timeout_ms": 3, "args": 4, "options": 5, "worker_id": 6}
    assert pool.call.echo(**names).result() == ((), names)


def test_a_call_by_key_is_the_same_as_by_attribute(pool: WorkerProcedureCall) -> None:
    assert pool.call["add"](1).result() == 6


def test_objects_of_a_cells_class_are_of_that_class_everywhere(pool: WorkerProcedureCall) -> None:
    point = pool.call.point(3, 4).result()
    other = pool.call.point.options(worker_id=2)(3, 4).result()
    assert type(point) is type(other) is pool.local_module("point").Point
    assert point == other
    assert pool.call.norm(point).result() == 5


def test_functions_travel_both_ways(pool: WorkerProcedureCall) -> None:
    plus = pool.call.makes_a_function(10).result()
    assert plus(1) == 11
    assert pool.call.applies(plus, 2).result() == 12
    assert pool.call.applies(lambda x: x * 2, 2).result() == 4


def test_what_is_a_class_of_this_file_travels(pool: WorkerProcedureCall) -> None:
    class Local:
        def __init__(self, x: int) -> None:
            self.x = x

    (came,), _ = pool.call.echo(Local(7)).result()
    assert came.x == 7


def test_arguments_are_copies(pool: WorkerProcedureCall) -> None:
    items = [1]
    future = pool.call.echo(items)
    items.append(2)
    assert future.result() == (([1],), {})


def test_a_coroutine_function_is_awaited_in_the_worker(pool: WorkerProcedureCall) -> None:
    assert pool.call.gathers(10).result() == 45


def test_thousands_of_calls_each_come_back_with_their_own_value(pool: WorkerProcedureCall) -> None:
    futures = [pool.call.add(n) for n in range(3000)]
    assert [future.result() for future in futures] == [n + 5 for n in range(3000)]


def test_threads_may_call_at_the_same_time(pool: WorkerProcedureCall) -> None:
    def many(start: int) -> list[int]:
        return [pool.call.add(n).result() for n in range(start, start + 200)]

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        found = list(threads.map(many, range(0, 1600, 200)))
    assert list(itertools.chain.from_iterable(found)) == [n + 5 for n in range(1600)]


# -- errors ---------------------------------------------------------------------------------------------


def test_an_error_comes_back_as_its_class_with_arguments_attributes_cause_and_notes(
    pool: WorkerProcedureCall,
) -> None:
    odd = pool.local_module("fails").Odd
    with pytest.raises(odd) as caught:
        pool.call.fails(3).result()
    error = caught.value
    assert type(error) is odd
    assert error.args == (3, "it is odd")
    assert (error.number, error.color) == (3, "blue")
    assert type(error.__cause__) is KeyError
    assert error.__cause__.args == ("nothing",)
    assert error.__notes__[0] == "a note of the function's"


def test_an_error_says_which_call_and_which_worker(pool: WorkerProcedureCall) -> None:
    future = pool.call.fails.options(worker_id=2)(1)
    error = future.exception()
    assert f"in fails(1) #{future.call_id} on worker 2" in error.__notes__


def test_an_error_keeps_what_it_was_raised_while_handling(pool: WorkerProcedureCall) -> None:
    error = pool.call.handles(1).exception()
    assert isinstance(error, TypeError)
    assert isinstance(error.__context__, ValueError)


def test_the_remote_traceback_shows_the_failing_lines_of_error_and_cause(pool: WorkerProcedureCall) -> None:
    error = pool.call.fails(3).exception()
    text = "".join(traceback.format_exception(error))
    assert "raise problem from error" in text
    assert '{}["nothing"]' in text
    assert "direct cause" in text
    line = 1 + FUNCTIONS[: FUNCTIONS.index("raise problem from error")].count("\n")
    assert f", line {line}, in fails" in text
    assert "runtime.py" not in text, "no frame of ours in the worker is shown"
    assert "server.py" not in text


def test_the_traceback_does_not_grow_when_one_asks_again(pool: WorkerProcedureCall) -> None:
    future = pool.call.fails(3)
    depths = []
    for _ in range(3):
        try:
            future.result()
        except Exception as error:
            depths.append(len(traceback.extract_tb(error.__traceback__)))
    assert len(set(depths)) == 1


def test_an_error_that_holds_what_cannot_be_pickled_comes_as_a_remote_error(
    pool: WorkerProcedureCall,
) -> None:
    with pytest.raises(RemoteError) as caught:
        pool.call.fails_with_a_lock().result()
    error = caught.value
    assert error.name.endswith(".Bound")
    assert error.message == "it holds a lock"
    assert "raise Bound(threading.Lock())" in error.stack
    assert pickle.loads(pickle.dumps(error)).args == error.args


def test_an_error_that_does_not_unpickle_comes_as_a_remote_error_and_harms_nobody(
    pool: WorkerProcedureCall,
) -> None:
    with pytest.raises(RemoteError, match="at home"):
        pool.call.fails_and_does_not_unpickle_here().result()
    with pytest.raises(RemoteError, match="lost"):
        pool.call.fails_and_does_not_unpickle_anywhere().result()
    assert pool.call.add(1).result() == 6


def test_an_error_whose_constructor_takes_other_arguments_still_comes_as_its_class(
    pool: WorkerProcedureCall,
) -> None:
    error = pool.call.fails_with_two_arguments().exception()
    assert type(error) is pool.local_module("echo").TwoArguments
    assert str(error) == "one and two"


def test_a_value_that_cannot_be_pickled_fails_its_call_and_says_so(pool: WorkerProcedureCall) -> None:
    with pytest.raises(TypeError, match="cannot pickle") as caught:
        pool.call.returns_a_lock().result()
    assert any("the value that it returned (lock)" in note for note in caught.value.__notes__)
    assert pool.call.add(1).result() == 6


def test_a_value_that_does_not_unpickle_fails_its_call_alone(pool: WorkerProcedureCall) -> None:
    future = pool.call.returns_a_trap()
    with pytest.raises(ZeroDivisionError) as caught:
        future.result()
    assert any(str(future.call) in note for note in caught.value.__notes__)
    assert pool.call.add(1).result() == 6


def test_arguments_that_do_not_unpickle_fail_their_call_alone(pool: WorkerProcedureCall) -> None:
    with pytest.raises(ZeroDivisionError):
        pool.call.echo(pool.local_module("add").Trap()).result()
    assert pool.call.add(1).result() == 6


@pytest.mark.parametrize(("name", "kind"), [("exits", SystemExit), ("ends_the_iteration", StopIteration)])
def test_what_would_end_a_program_or_a_loop_is_just_the_calls_error(
    pool: WorkerProcedureCall, name: str, kind: type[BaseException]
) -> None:
    assert type(pool.call[name]().exception()) is kind
    assert pool.call.add(1).result() == 6


def test_a_very_deep_recursion_is_an_error_as_any_other(pool: WorkerProcedureCall) -> None:
    pool.define_worker_function(worker_func="def deep(n): return deep(n + 1)")
    error = pool.call.deep(0).exception()
    assert isinstance(error, RecursionError)
    assert pool.call.add(1).result() == 6


# -- refused calls, in the order of the original --------------------------------------------------------


def test_refusals_come_in_the_originals_order(make_pool: Any, door: Any) -> None:
    pool = make_pool(0, max_pending_calls_per_worker=1)
    lock = threading.Lock()  # cannot be pickled
    with pytest.raises(NotRunningError):  # before: not defined, not serialisable
        pool.call.nothing(lock)
    pool.start_workers(1)
    with pytest.raises(FunctionNotDefinedError):  # before: not serialisable
        pool.call.nothing(lock)
    pool.define_worker_function(worker_func="def needy(x): return wpc_constant('LATER')")
    pool.call.held(door.path)
    door.wait()
    with pytest.raises(ArgumentsNotSerializableError):  # before: something missing, saturated
        pool.call.needy(lock)
    with pytest.raises(RequirementMissingError, match="LATER"):  # before: saturated
        pool.call.needy(1)
    with pytest.raises(SaturatedError):
        pool.call.held(door.path)


def test_calls_are_refused_for_want_of_workers_before_saturation(make_pool: Any) -> None:
    pool = make_pool(
        1, "def dies(): import os; os._exit(3)", restart_on_failure=False, max_pending_calls_per_worker=1
    )
    with pytest.raises(WorkerCrashedError):
        pool.call.dies().result()
    pool.define_worker_function(worker_func="def needy(x): return wpc_constant('LATER')")
    with pytest.raises(RequirementMissingError):
        pool.call.needy(1)
    with pytest.raises(NoWorkerError):
        pool.call.held("nowhere")


def test_calls_are_refused_while_the_pool_drains_and_after_it_has_stopped(make_pool: Any, door: Any) -> None:
    pool = make_pool(1)
    future = pool.call.held(door.path, "ended")
    visit = door.wait()
    stopping = threading.Thread(target=pool.stop_workers, kwargs={"drain": True})
    stopping.start()

    def call_until_refused() -> None:
        while True:  # until the other thread has begun to drain
            pool.call.held(door.path).cancel()

    with pytest.raises(NotRunningError):
        call_until_refused()
    visit.let_go()
    stopping.join()
    assert future.result() == "ended"
    with pytest.raises(NotRunningError, match="stopped; start them first"):
        pool.call.held(door.path)


def test_what_was_queued_when_its_function_is_undefined_ends_with_that(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, "def other(): return 1")
    pool.call.held(door.path)
    visit = door.wait()
    future = pool.call.other()
    pool.undefine_worker_function(name="other")
    visit.let_go()
    assert isinstance(future.exception(), FunctionNotDefinedError)


def test_a_misspelled_function_is_named_with_the_nearest(pool: WorkerProcedureCall) -> None:
    with pytest.raises(
        FunctionNotDefinedError, match=r"no function 'gather' is defined. Did you mean 'gathers'\?"
    ):
        pool.call.gather(1)


def test_a_call_that_was_refused_leaves_no_trace(pool: WorkerProcedureCall) -> None:
    before = pool.snapshot()
    with pytest.raises(ArgumentsNotSerializableError, match="arguments of add"):
        pool.call.add(threading.Lock())
    after = pool.snapshot()
    assert (after.queued, after.failed) == (before.queued, before.failed)


# -- options --------------------------------------------------------------------------------------------


def test_a_call_runs_on_the_worker_that_it_names(pool: WorkerProcedureCall) -> None:
    pids = {worker.worker_id: worker.pid for worker in pool.snapshot().workers}
    futures = [(n, pool.call.pid.options(worker_id=n)()) for n in (1, 2) * 20]
    assert [future.result() for _, future in futures] == [pids[n] for n, _ in futures]


def test_a_call_for_one_worker_waits_for_it_while_another_idles(pool: WorkerProcedureCall, door: Any) -> None:
    pool.call.held.options(worker_id=1)(door.path)
    visit = door.wait()
    future = pool.call.pid.options(worker_id=1)()
    assert pool.call.pid().result() != visit.pid
    assert not future.done()
    visit.let_go()
    assert future.result() == visit.pid


def test_a_worker_that_does_not_exist_is_named_with_those_that_do(pool: WorkerProcedureCall) -> None:
    with pytest.raises(OptionError, match="worker_id=7: there is no such worker; there are 1, 2"):
        pool.call.pid.options(worker_id=7)()


def test_a_call_for_a_worker_that_has_failed_says_how_to_bring_it_back(make_pool: Any) -> None:
    pool = make_pool(2, "def dies(): import os; os._exit(3)", restart_on_failure=False)
    pool.call.dies.options(worker_id=2)().exception()
    with pytest.raises(NoWorkerError, match=r"worker 2 is failed; restart_worker\(2\).*%wpc_restart 2"):
        pool.call.held.options(worker_id=2)("nowhere")


def test_a_queue_time_out_ends_a_call_that_has_not_begun_and_only_that(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, "def other(): return 1")
    first = pool.call.held.options(queue_timeout_ms=1500)(door.path, "ended")
    visit = door.wait()  # else a busy machine might take longer to begin it
    with pytest.raises(QueueTimeoutError, match="waited for more than 1500 ms, and did not run"):
        pool.call.other.options(queue_timeout_ms=1500)().result()
    visit.let_go()
    assert first.result() == "ended", "the time in the queue is over once it has begun"
    assert pool.call.other().result() == 1


def test_a_queue_time_out_holds_for_what_was_sent_ahead(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, TAKES_TURNS)
    learn(pool, "quick", "turns")
    slow = pool.call.turns(door.path)
    visit = door.wait()
    late = pool.call.quick.options(queue_timeout_ms=50)(1)
    assert pool.snapshot().in_flight == 2
    assert isinstance(late.exception(), QueueTimeoutError)
    visit.let_go()
    assert slow.result() is None


@pytest.mark.parametrize("by", ["pool", "function", "call"])
def test_a_time_out_of_the_pool_the_function_or_the_call_ends_the_work(
    make_pool: Any, door: Any, by: str, listen: Any
) -> None:
    pool = make_pool(1, "def quick(): return 1", **({"call_timeout_ms": 1000} if by == "pool" else {}))
    if by == "function":
        pool.define_worker_function(worker_func=pool.call.held.source, timeout_ms=1000)
    listener = listen(pool)
    call = pool.call.held.options(timeout_ms=1000) if by == "call" else pool.call.held
    future = call(door.path)
    visit = door.wait()
    with pytest.raises(CallTimeoutError, match=r"held #\d+ ran for more than 1000 ms on worker 1"):
        future.result()
    visit.wait_until_gone()
    event = listener.until("call_timed_out")[-1]
    assert event.correlation_id == f"call-{future.call_id}"
    pool.wait_until_ready()
    assert pool.call.quick().result() == 1
    assert pool.get_worker_health_states()[0].restart_attempt == 0, "it does not count against the budget"


def test_the_nearest_time_out_counts(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, call_timeout_ms=1)
    pool.define_worker_function(worker_func=pool.call.held.source, timeout_ms=60_000)
    future = pool.call.held(door.path, "ended")
    door.wait().let_go()
    assert future.result() == "ended"


def test_a_time_out_counts_from_the_first_instruction(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, TAKES_TURNS)
    learn(pool, "quick", "turns")
    pool.call.turns(door.path)
    visit = door.wait()
    future = pool.call.quick.options(timeout_ms=1)(1)
    with pytest.raises(QueueTimeoutError):  # much later than 1 ms
        pool.call.quick.options(queue_timeout_ms=30)(2).result()
    assert pool.snapshot().in_flight == 2, "it was sent, and has not begun"
    assert not future.done()
    visit.let_go()
    concurrent.futures.wait([future])


def test_retries_run_a_call_again_when_its_worker_has_died(make_pool: Any, folder: Any) -> None:
    pool = make_pool(
        1,
        """
def dies_at_first(path):
    import os
    with open(path, "ab") as file:
        file.write(b"x")
    if os.path.getsize(path) < 3:
        os._exit(1)
    return os.path.getsize(path)
""",
    )
    path = str(folder / "runs")
    assert isinstance(pool.call.dies_at_first(path).exception(), WorkerCrashedError)
    assert pool.call.dies_at_first.options(retries=2)(path).result() == 3


def test_a_saturated_pool_refuses_and_has_room_again(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, max_pending_calls_per_worker=2)
    futures = [pool.call.held(door.path, n) for n in range(2)]
    with pytest.raises(SaturatedError, match="max_pending_calls_per_worker=2"):
        pool.call.held(door.path)
    for _ in range(2):
        door.wait().let_go()
    assert [future.result() for future in futures] == [0, 1]
    future = pool.call.held(door.path, 2)
    door.wait().let_go()
    assert future.result() == 2


def test_a_saturated_pool_that_shall_wait_takes_the_call_when_there_is_room(
    make_pool: Any, door: Any
) -> None:
    pool = make_pool(1, max_pending_calls_per_worker=1, saturation="wait")
    pool.call.held(door.path, "first")
    visit = door.wait()
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(lambda: pool.call.held(door.path, "second").result())
        assert pool.snapshot().in_flight == 1
        visit.let_go()
        door.wait().let_go()
        assert waiting.result() == "second"


def test_who_waits_for_room_is_told_when_the_pool_stops(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, max_pending_calls_per_worker=1, saturation="wait")
    pool.call.held(door.path)
    door.wait()
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(lambda: pool.call.held(door.path))
        pool.stop_workers()
        assert isinstance(waiting.exception(), NotRunningError)


def wait_until_waiting(pool: WorkerProcedureCall, count: int) -> None:
    """Return when so many threads wait for room."""
    queue = pool._driver._room
    assert pool._driver.condition.wait_for(lambda: len(queue._waiting) == count, 60.0)


def test_an_answer_wakes_no_more_threads_than_there_is_room_for(
    make_pool: Any, door: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(1, "def quick(): pass", max_pending_calls_per_worker=1, saturation="wait")
    dispatcher = pool._driver.core.dispatcher
    check, looks = dispatcher.check, itertools.count()
    pool.call.held(door.path)
    visit = door.wait()
    monkeypatch.setattr(dispatcher, "check", lambda name: (next(looks), check(name))[1])
    with concurrent.futures.ThreadPoolExecutor(50) as threads:
        waiting = [threads.submit(pool.call.quick) for _ in range(50)]
        wait_until_waiting(pool, 50)
        visit.let_go()
        for each in waiting:
            each.result().result()
    assert next(looks) <= 200, "each has looked when it came, and when it was woken"


def test_an_interrupted_thread_that_waits_for_room_leaves_its_place_to_the_next(
    make_pool: Any, door: Any
) -> None:
    pool = make_pool(1, max_pending_calls_per_worker=1, saturation="wait")
    pool.call.held(door.path)
    visit = door.wait()
    with concurrent.futures.ThreadPoolExecutor(2) as threads:

        def interrupt() -> Any:
            wait_until_waiting(pool, 1)  # the main thread
            behind = threads.submit(pool.call.held, door.path, "behind")
            wait_until_waiting(pool, 2)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            return behind

        interrupting = threads.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            pool.call.held(door.path)
        visit.let_go()
        door.wait().let_go()
        assert interrupting.result().result().result() == "behind"


def test_a_thread_that_finds_its_function_gone_leaves_its_place_to_the_next(
    make_pool: Any, door: Any
) -> None:
    pool = make_pool(1, "def goes(): pass", max_pending_calls_per_worker=1, saturation="wait")
    pool.call.held(door.path)
    visit = door.wait()
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        first = threads.submit(pool.call.goes)
        wait_until_waiting(pool, 1)
        second = threads.submit(pool.call.held, door.path, "second")
        wait_until_waiting(pool, 2)
        pool.undefine_worker_function(name="goes")
        visit.let_go()
        door.wait().let_go()
        assert isinstance(first.exception(), FunctionNotDefinedError)
        assert second.result().result() == "second"


def test_all_that_wait_for_room_go_on_when_the_limit_is_lifted(make_pool: Any, door: Any) -> None:
    pool = make_pool(1, max_pending_calls_per_worker=1, saturation="wait")
    pool.call.held(door.path)
    door.wait()
    with concurrent.futures.ThreadPoolExecutor(5) as threads:
        waiting = [threads.submit(pool.call.held, door.path) for _ in range(5)]
        wait_until_waiting(pool, 5)
        pool.configure(max_pending_calls_per_worker=None)
        assert all(isinstance(each.result(60), CallFuture) for each in waiting)


# -- broadcast, local, nested calls --------------------------------------------------------------------


def test_a_broadcast_runs_once_in_every_worker(pool: WorkerProcedureCall) -> None:
    found = pool.broadcast("pid")
    assert {n: future.result() for n, future in found.items()} == {
        worker.worker_id: worker.pid for worker in pool.snapshot().workers
    }


def test_a_broadcast_takes_arguments(pool: WorkerProcedureCall) -> None:
    assert [future.result() for future in pool.broadcast("add", 1, c=0).values()] == [3, 3]
    found = pool.broadcast("echo", name=1, self=2)
    assert [future.result() for future in found.values()] == [((), {"name": 1, "self": 2})] * 2


def test_a_broadcast_of_what_is_not_defined_is_refused(pool: WorkerProcedureCall) -> None:
    with pytest.raises(FunctionNotDefinedError):
        pool.broadcast("nothing")


def test_a_broadcast_to_stopped_workers_is_refused(make_pool: Any) -> None:
    with pytest.raises(NotRunningError):
        make_pool(0).broadcast("held", "nowhere")


def test_local_runs_the_function_in_this_process(pool: WorkerProcedureCall) -> None:
    assert pool.call.pid.local() == os.getpid()
    assert pool.call.add.local(1, c=0) == 3
    with pytest.raises(pool.local_module("fails").Odd) as caught:
        pool.call.fails.local(1)
    assert type(caught.value.__cause__) is KeyError


def test_local_sees_the_definitions_that_are_in_force(make_pool: Any) -> None:
    pool = make_pool(0)
    pool.define_worker_constant(name="K", value=1)
    pool.define_worker_function(worker_func="def inner(): return K")
    pool.define_worker_function(worker_func="def outer(): return inner() + wpc_constant('K')")
    assert pool.call.outer.local() == 2
    pool.define_worker_constant(name="K", value=10)
    assert pool.call.outer.local() == 20


def test_sending_the_pool_into_a_worker_is_refused_with_advice(pool: WorkerProcedureCall) -> None:
    for inside in (pool, pool.call, pool.call.add):
        with pytest.raises(NestedCallError, match="registered functions call each other by their names"):
            pool.call.calls_the_pool(inside)
    assert pool.call.add(1).result() == 6


def test_a_function_that_calls_the_pool_is_refused_at_its_definition(pool: WorkerProcedureCall) -> None:
    from wpc_magic.pool.errors import UnknownNameError

    with pytest.raises(UnknownNameError, match=r"not wpc\.call\.f\(x\)"):
        pool.define_worker_function(worker_func="def nested(): return wpc.call.pid()")


def test_a_registered_function_tells_its_signature_and_docstring(pool: WorkerProcedureCall) -> None:
    import inspect

    assert str(inspect.signature(pool.call.add)) == "(a, b=2, *, c=3)"
    assert pool.call.held.__doc__ == "Report that it has started, wait to be released, return the value."
    assert repr(pool.call.add) == "<registered function add(a, b=2, *, c=3)>"
    assert "add" in dir(pool.call)
    assert "return a + b + c" in pool.call.add.source
