"""Whatever is raised at any instruction of the pool, each call ends once, no lock stays, the pool answers.

The instruction is chosen, not awaited: `Anywhere` counts those that the main thread executes in the pool.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import gc
import signal
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.pool.anywhere import Anywhere
from tests.pool.conftest import PATIENCE_S, run
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.driver.output import OutputQueue, OutputText
from wpc_magic.pool.driver.state_lock import StepInProgressError
from wpc_magic.pool.errors import PoolStateError, PoolStoppedError
from wpc_magic.pool.interrupts.hold import HeldInterrupts, find_handlers

FUNCTIONS = "def double(x): return 2 * x"


class Raised(BaseException):
    """What the handlers of this module raise; no `Exception`, which pickling would take for its own."""


def a_call(pool: WorkerProcedureCall) -> None:
    assert pool.call.double(21).result() == 42


def several_calls(pool: WorkerProcedureCall) -> None:
    futures = [pool.call.double(n) for n in range(8)]
    assert [future.result() for future in futures] == [2 * n for n in range(8)]


def a_wait_for_several(pool: WorkerProcedureCall) -> None:
    concurrent.futures.wait([pool.call.double(n) for n in range(4)])


def cancels(pool: WorkerProcedureCall) -> None:
    pool.call.double(1).cancel()
    pool.call.double(2)
    pool.cancel_all()


def a_map(pool: WorkerProcedureCall) -> None:
    assert list(pool.map("double", range(5))) == [0, 2, 4, 6, 8]


def a_broadcast(pool: WorkerProcedureCall) -> None:
    assert {future.result() for future in pool.broadcast("double", 3).values()} == {6}


def a_snapshot(pool: WorkerProcedureCall) -> None:
    pool.snapshot()
    pool.events()


def an_await(pool: WorkerProcedureCall) -> None:
    async def main() -> list[int]:
        return [await pool.call.double(7), *await asyncio.gather(*map(pool.call.double, range(2)))]

    assert asyncio.run(main()) == [14, 0, 2]


def a_definition(pool: WorkerProcedureCall) -> None:
    pool.define_worker_function(worker_func="def other(x): return x")


ACTS = [
    a_call,
    several_calls,
    a_wait_for_several,
    cancels,
    a_map,
    a_broadcast,
    a_snapshot,
    an_await,
    a_definition,
]


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerProcedureCall]:
    pool = WorkerProcedureCall()
    pool.define_worker_functions(FUNCTIONS)
    pool.start_workers(2)
    yield pool
    pool.stop_workers()


@pytest.fixture
def handler() -> Iterator[Callable[..., None]]:
    """Sets handlers of signals, which are as before after the test."""
    before: dict[int, Any] = {}

    def set_handler(signum: int, handler: Callable[[int, Any], object]) -> None:
        before.setdefault(signum, signal.signal(signum, handler))

    yield set_handler
    for signum, each in before.items():
        signal.signal(signum, each)
    find_handlers()


def assert_in_order(pool: WorkerProcedureCall) -> None:
    """The pool answers, and nothing is left of earlier calls: none in flight, no lock, no waiter."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        assert pool.call.double(1).result() == 2
        snapshot = pool.snapshot()
        if not (snapshot.in_flight or snapshot.queued):
            break
        assert time.monotonic() < deadline, snapshot
    driver = pool._driver
    assert not driver.unsettled
    assert driver.lock.torn is None
    assert not driver.lock.is_owned()
    assert not any(link.owner for link in driver.parts.links.values())


# -- signal handlers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", ACTS)
def test_a_handler_that_raises_at_any_instruction(
    act: Callable[..., None], workers: WorkerProcedureCall, handler: Any
) -> None:
    def on_signal(signum: int, frame: Any) -> None:
        handled.append(signum)
        raise Raised

    handler(signal.SIGALRM, on_signal)
    handled: list[int] = []
    raised = reached = 0
    anywhere = Anywhere()
    for point in anywhere.points(lambda: act(workers), 150):
        try:
            with anywhere.at(point, lambda: signal.raise_signal(signal.SIGALRM)):
                act(workers)
        except Raised:
            raised += 1
        reached += anywhere.count >= point
        assert signal.getsignal(signal.SIGALRM) is on_signal
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        assert workers.call.double(point).result() == 2 * point
    assert len(handled) == reached > 5, "each signal is handled once, held back or not"
    assert raised
    assert_in_order(workers)


SAYS = """numbers = []
def says(n):
    numbers.append(n)
    print("said", n)
def said(): return numbers
"""


def test_what_functions_print_is_given_to_the_sink_once_although_handlers_raise(
    make_pool: Any, handler: Any
) -> None:
    def on_signal(signum: int, frame: Any) -> None:
        raise Raised

    pool = make_pool(1, SAYS)
    texts: deque[Any] = deque()
    pool.output_sink = texts.append
    handler(signal.SIGALRM, on_signal)
    anywhere = Anywhere()
    for point in anywhere.points(lambda: pool.call.says(0).result(), 200):
        with (
            contextlib.suppress(Raised),
            anywhere.at(point, lambda: signal.raise_signal(signal.SIGALRM)),
        ):
            pool.call.says(point).result()
    numbers = pool.call.said().result()
    lines = "".join(text.text for text in texts).splitlines()
    assert sorted(lines) == sorted(f"said {n}" for n in numbers)
    assert len(numbers) > 100


def test_a_text_is_given_once_whatever_instruction_of_its_delivery_a_handler_raises_at(handler: Any) -> None:
    def on_signal(signum: int, frame: Any) -> None:
        raise Raised

    handler(signal.SIGALRM, on_signal)
    find_handlers()
    texts: list[Any] = []
    queue = OutputQueue(lambda function: False)
    queue.sink = texts.append
    number = 0

    def deliver() -> None:
        with HeldInterrupts() as interrupts:
            queue.deliver_here(interrupts)

    def say() -> None:
        nonlocal number
        number += 1
        queue.add(OutputText(f"{number}\n", None, "stdout", 0, None))

    anywhere = Anywhere(lambda file: file.endswith("/driver/output.py"))
    points = anywhere.points(lambda: (say(), deliver()), 10_000)
    raised = 0
    for point in points:
        say()
        try:
            with anywhere.at(point, lambda: signal.raise_signal(signal.SIGALRM)):
                deliver()
        except Raised:
            raised += 1
        deliver()  # what was not delivered
    assert [text.text for text in texts] == [f"{n}\n" for n in range(1, number + 1)]
    assert raised > 100


def test_the_exit_of_a_handler_is_not_taken_for_an_error_of_the_sink(make_pool: Any, handler: Any) -> None:
    pool = make_pool(1, SAYS)
    pool.output_sink = lambda _: signal.raise_signal(signal.SIGTERM)
    handler(signal.SIGTERM, lambda *_: sys.exit(7))
    with pytest.raises(SystemExit):
        pool.call.says(1).result()
    pool.output_sink = None
    assert pool.call.said().result() == [1]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1", "SIGQUIT", "SIGVTALRM"])
def test_a_handler_of_any_signal_is_held_back(name: str, workers: WorkerProcedureCall, handler: Any) -> None:
    def on_signal(signum: int, frame: Any) -> None:
        handled.append(workers._driver.lock.is_owned())
        assert frame is not None
        raise Raised

    handled: list[bool] = []
    signum = getattr(signal, name)
    handler(signum, on_signal)
    find_handlers()  # the driver's thread does, whenever it wakes up
    anywhere = Anywhere()
    for point in anywhere.points(lambda: a_call(workers), 40):
        try:
            with anywhere.at(point, lambda: signal.raise_signal(signum)):
                a_call(workers)
        except Raised:
            pass
    assert len(handled) > 5
    assert not any(handled)
    assert_in_order(workers)


def test_a_handler_that_stops_the_pool_and_exits_does_so_at_any_instruction(
    make_pool: Any, handler: Any
) -> None:
    pool = make_pool(1, FUNCTIONS)

    def on_signal(signum: int, frame: Any) -> None:
        pool.stop_workers()
        sys.exit(7)

    handler(signal.SIGTERM, on_signal)
    exits = 0
    anywhere = Anywhere()
    for point in anywhere.points(lambda: a_call(pool), 12):
        with anywhere.at(point, lambda: signal.raise_signal(signal.SIGTERM)):
            try:
                a_call(pool)
            except SystemExit:
                exits += 1
        pool.stop_workers()
        pool.start_workers(1)
    assert exits
    assert_in_order(pool)


TERMINATED = """
import os, signal, sys, threading
from wpc_magic.pool import WorkerProcedureCall
pool = WorkerProcedureCall()
pool.define_worker_functions("def double(x): return 2 * x")
pool.start_workers(2)

def on_signal(signum, frame):
    pool.stop_workers()
    sys.exit(7)

signal.signal(signal.SIGTERM, on_signal)
for n in range(50):
    pool.call.double(n).result()
threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGTERM)).start()
while True:
    pool.call.double(1).result()
"""


def test_a_program_that_is_terminated_among_its_calls_ends_as_its_handler_says() -> None:
    for _ in range(3):
        done = run(TERMINATED)
        assert (done.returncode, done.stderr) == (7, "")


def test_a_handler_that_replaces_itself_while_the_program_waits_stays_replaced(
    make_pool: Any, door: Any, handler: Any
) -> None:
    pool = make_pool(1)
    heard: list[str] = []
    first_heard, second_heard = threading.Event(), threading.Event()

    def first(signum: int, frame: Any) -> None:
        heard.append("first")
        signal.signal(signal.SIGINT, second)
        first_heard.set()

    def second(signum: int, frame: Any) -> None:
        heard.append("second")
        second_heard.set()

    handler(signal.SIGINT, first)
    future = pool.call.held(door.path, "ended")
    visit = door.wait()
    main = threading.main_thread().ident

    def press_twice() -> None:
        for event in (first_heard, second_heard):
            signal.pthread_kill(main, signal.SIGINT)
            while not event.wait(1):  # Python misses one that arrives just before it begins to wait
                signal.pthread_kill(main, signal.SIGINT)
        visit.let_go()

    thread = threading.Thread(target=press_twice)
    thread.start()
    assert future.result() == "ended"
    thread.join()
    assert heard[0] == "first"
    assert heard[1:] == ["second"] * (len(heard) - 1) != []
    assert signal.getsignal(signal.SIGINT) is second


# -- the stack -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("act", [a_call, several_calls, cancels, a_map, a_snapshot, a_wait_for_several])
def test_a_recursion_that_uses_the_pool_at_every_depth(
    act: Callable[..., None], workers: WorkerProcedureCall
) -> None:
    def deeper(levels: int) -> None:
        if levels:
            deeper(levels - 1)
        else:
            act(workers)

    act(workers)
    outcomes = []
    here = len(list(frames()))
    for levels in range(sys.getrecursionlimit() - here - 120, sys.getrecursionlimit() - here):
        try:
            deeper(levels)
            outcomes.append(True)
        except RecursionError:
            outcomes.append(False)
    assert outcomes[0]
    assert not outcomes[-1]
    assert_in_order(workers)


def frames() -> Iterator[Any]:
    frame: Any = sys._getframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


# -- finalizers ------------------------------------------------------------------------------------------


class Finalized:
    """Calls a function when it is collected."""

    def __init__(self, function: Callable[[], object], in_cycle: bool = False) -> None:
        self._function = function
        self._cycle = self if in_cycle else None

    def __del__(self) -> None:
        self._function()


def test_a_finalizer_makes_and_cancels_calls_at_any_instruction(workers: WorkerProcedureCall) -> None:
    made = []

    def use() -> None:
        made.append((len(made), workers.call.double(len(made))))
        workers.call.double(1).cancel()

    anywhere = Anywhere()
    for act in (a_call, several_calls, a_map):
        for point in anywhere.points(lambda act=act: act(workers), 150):  # type: ignore[misc]
            with anywhere.at(point, lambda: Finalized(use)):
                act(workers)
    assert len(made) > 300
    assert [future.result() for _, future in made] == [2 * n for n, _ in made]
    assert_in_order(workers)


def test_a_finalizer_that_waits_amid_a_step_is_refused_and_elsewhere_gets_its_value(
    workers: WorkerProcedureCall,
) -> None:
    outcomes: list[Any] = []

    def use() -> None:
        try:
            outcomes.append(workers.call.double(4).result())
        except StepInProgressError as error:
            outcomes.append(type(error))

    anywhere = Anywhere()
    for point in anywhere.points(lambda: a_call(workers), 200):
        with anywhere.at(point, lambda: weakref.finalize(Finalized(int), use)):
            a_call(workers)
    assert set(outcomes) == {8, StepInProgressError}
    assert_in_order(workers)


def test_a_finalizer_that_waits_where_its_thread_owns_the_lock_of_a_future_is_refused(
    make_pool: Any, door: Any
) -> None:
    """The driver's thread waits for that lock, while it holds the one for which the finalizer would wait."""
    pool = make_pool(1, "def double(x): return 2 * x")
    future = pool.call.held(door.path, 1)
    visit = door.wait()
    with future._condition:
        visit.let_go()
        deadline = time.monotonic() + PATIENCE_S
        while future._answer is None:  # it is set before those who wait for it are notified
            assert time.monotonic() < deadline
        with pytest.raises(StepInProgressError):
            pool.snapshot()
        later = pool.call.double(2)
    assert (future.result(), later.result()) == (1, 4)


def test_a_finalizer_amid_a_step_stops_the_pool(make_pool: Any) -> None:
    pool = make_pool(1, FUNCTIONS)
    with pool._driver.lock:
        pool.stop_workers()
        assert pool.is_running, "not before the step has ended"
    pool.stop_workers()  # waits
    pool.start_workers(1)
    assert_in_order(pool)


def test_finalizers_of_two_threads_amid_steps_of_two_pools_do_not_wait_for_each_other(make_pool: Any) -> None:
    pools = [make_pool(1, FUNCTIONS) for _ in range(2)]
    both = threading.Barrier(2)

    def work(mine: Any, other: Any) -> Any:
        with mine._driver.lock:
            both.wait(PATIENCE_S)
            future = other.call.double(4)  # as a finalizer would that the collector runs now
            both.wait(PATIENCE_S)
        return future.result()

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        assert list(threads.map(work, pools, reversed(pools))) == [8, 8]
    for pool in pools:
        assert_in_order(pool)


def test_finalizers_use_the_pool_while_the_collector_runs_at_every_allocation(
    workers: WorkerProcedureCall,
) -> None:
    made = []
    before = gc.get_threshold()
    gc.set_threshold(1, 1, 1)  # what was imported is frozen: see `leaks`
    try:
        for n in range(300):
            Finalized(lambda: made.append((len(made), workers.call.double(len(made)))), in_cycle=True)
            assert workers.call.double(n).result() == 2 * n
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert len(made) == 300
    assert [future.result() for _, future in made] == [2 * n for n, _ in made]
    assert_in_order(workers)


# -- memory, and errors of our own -----------------------------------------------------------------------


def raise_memory_error() -> None:
    raise MemoryError


def attempt(act: Callable[[], object]) -> BaseException | None:
    """Return what is raised."""
    try:
        act()
    except BaseException as error:
        return error
    return None


@pytest.mark.parametrize("part", range(8))
def test_a_step_that_is_stopped_halfway_ends_the_pool_with_every_call(
    part: int, make_pool: Any, door: Any, logged: Any
) -> None:
    pool = make_pool(2, FUNCTIONS)
    for _ in range(20):
        a_call(pool)
    # Not in the few instructions around a step that need no memory: they hold and release the lock.
    amid = ("/core/", "effect_runner", "outbox", "poller", "channel")
    anywhere = Anywhere(lambda file: pool._driver.lock.is_owned() and any(part in file for part in amid))
    held, awaited = pool.call.held(door.path), pool.call.held(door.path)
    visits = [door.wait(), door.wait()]
    queued = pool.call.double(1)
    points = anywhere.points(lambda: pool.call.double(2).cancel(), 8)
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(awaited.exception)
        with anywhere.at(points[part], raise_memory_error):
            raised = attempt(lambda: pool.call.double(2).cancel())
        if raised is None:
            visits[1].let_go()  # so that the test fails, and does not hang
        outcome = waiting.result()
    assert isinstance(raised, MemoryError)
    assert isinstance(outcome, PoolStoppedError)
    for future in (held, queued):
        error = future.exception()
        assert isinstance(error, PoolStoppedError)
        assert "MemoryError" in str(error)
    assert pool._driver.unsettled == set()
    with pytest.raises(PoolStateError, match="make a new one"):
        pool.call.double(1)
    for visit in visits:
        visit.wait_until_gone()
    pool.stop_workers()
    record = logged()
    assert record.levelname == "CRITICAL"
    assert record.getMessage().endswith("\nMemoryError")  # nothing else was stopped by what was left halfway


def test_effects_that_nobody_has_begun_to_perform_are_those_of_calls_that_have_ended(
    make_pool: Any, door: Any, logged: Any
) -> None:
    pool = make_pool(1, FUNCTIONS)
    held = pool.call.held(door.path)
    visit = door.wait()
    queued = pool.call.double(1)
    lock, state = pool._driver.lock, pool._driver.core.state
    anywhere = Anywhere(lambda file: lock.is_owned() and "effect_runner" in file and bool(state.effects))
    with anywhere.at(1, raise_memory_error), pytest.raises(MemoryError):
        queued.cancel()
    assert {type(future.exception()) for future in (held, queued)} == {PoolStoppedError}
    visit.wait_until_gone()
    pool.stop_workers()
    assert logged().getMessage().endswith("\nMemoryError")


def test_effects_that_were_taken_and_not_performed_end_their_calls(
    make_pool: Any, door: Any, logged: Any
) -> None:
    pool = make_pool(1, FUNCTIONS)
    held = pool.call.held(door.path)
    visit = door.wait()
    queued = pool.call.double(1)

    def fails(now: float) -> None:
        core.state.effects.append(object())  # performing it fails, and the next one was taken along with it
        core.dispatcher.cancel(queued.call, now)

    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(future.exception) for future in (held, queued)]
        with pool._driver.locked_core() as (core, now):
            core.state.timers.call_at(now, fails)
        assert {type(each.result()) for each in waiting} == {PoolStoppedError}
    visit.wait_until_gone()
    pool.stop_workers()
    assert logged().levelname == "CRITICAL"
