"""Functions that are called without being registered: by value, never stale, under their own names."""

from __future__ import annotations

import asyncio
import functools
import gc
import math
import operator
import re
import threading
import weakref
from types import FunctionType
from typing import Any

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pool.conftest import PATIENCE_S
from wpc_magic.pool import CallOptions, WorkerProcedureCall
from wpc_magic.pool.blanks import BlankFunction, take_blank
from wpc_magic.pool.captured import take_snapshot
from wpc_magic.pool.driver.held_functions import HeldFunctions
from wpc_magic.pool.errors import (
    ArgumentsNotSerializableError,
    CallTimeoutError,
    NestedCallError,
    OptionError,
    WorkerCrashedError,
)
from wpc_magic.pool.wire.blanks import blank_found
from wpc_magic.pool.wire.codec import decode, encode_whole
from wpc_magic.pool.wire.limits import MAX_HELD, MAX_HELD_SIZE, MAX_PAYLOAD


@pytest.fixture(scope="module")
def pool():
    with WorkerProcedureCall() as pool:
        pool.start_workers(1)
        yield pool


@pytest.fixture
def pool_of_its_own():
    """A pool for a test that uses shared memory, which is kept until the pool ends."""
    with WorkerProcedureCall() as pool:
        pool.start_workers(1)
        yield pool


def run(pool, function, /, *args, **kwargs):
    return pool.submit_function(function, args, kwargs).result(PATIENCE_S)


def of_the_notebook(source: str, **names: Any) -> dict[str, Any]:
    """Run a source as a cell of a notebook, whose functions cannot be imported; return its names."""
    names["__name__"] = "__main__"
    exec(source, names)
    return names


# -- what is called -------------------------------------------------------------------------------------

CALLABLES: dict[str, tuple[Any, tuple[Any, ...], Any]] = {
    "lambda": (lambda x: x + 1, (1,), 2),
    "a builtin": (math.sqrt, (4.0,), 2.0),
    "a class": (complex, (1, 2), 1 + 2j),
    "a method of a builtin type": (str.upper, ("a",), "A"),
    "a bound method": ("a-b".split, ("-",), ["a", "b"]),
    "partial of a builtin": (functools.partial(pow, 2), (5,), 32),
    "partial of a lambda": (functools.partial(lambda x, y: x - y, y=1), (3,), 2),
    "itemgetter": (operator.itemgetter(1), ("ab",), "b"),
    "a function of a module": (math.gcd, (4, 6), 2),
    "a ufunc": (np.sqrt, (4.0,), 2.0),
    "cached": (functools.lru_cache(lambda x: x + 1).__wrapped__, (1,), 2),
}


@pytest.mark.parametrize("case", CALLABLES)
def test_any_callable_that_can_be_pickled_runs(pool, case):
    function, args, expected = CALLABLES[case]
    assert [run(pool, function, *args) for _ in range(3)] == [expected] * 3


def test_keyword_arguments_may_have_any_name(pool):
    assert run(pool, lambda **names: sorted(names), function=1, args=2, self=3) == [
        "args",
        "function",
        "self",
    ]


def test_a_coroutine_function_runs_on_the_loop_of_the_worker(pool):
    async def slowly(x):
        await asyncio.sleep(0)
        return x

    futures = [pool.submit_function(slowly, (n,)) for n in range(5)]
    assert [future.result(PATIENCE_S) for future in futures] == list(range(5))


def test_functions_that_call_each_other_and_themselves_come_along(pool):
    names = of_the_notebook(
        "def is_even(n): return n == 0 or is_odd(n - 1)\n"
        "def is_odd(n): return n != 0 and is_even(n - 1)\n"
        "def factorial(n): return n * factorial(n - 1) if n else 1\n"
    )
    assert run(pool, names["is_even"], 10) is True
    assert run(pool, names["factorial"], 5) == 120


def test_what_cannot_be_pickled_is_refused_and_named(pool):
    lock = threading.Lock()

    def work():
        return lock

    with pytest.raises(ArgumentsNotSerializableError, match=r"work.*its variable lock.*lock"):
        pool.submit_function(work)
    with pytest.raises(ArgumentsNotSerializableError, match=r"args\[0\] is a _thread.lock"):
        pool.submit_function(print, (lock,))


def test_a_function_that_cannot_be_unpickled_fails_its_calls_and_no_other(pool):
    class Bad:
        def __reduce__(self):
            return operator.truediv, (1, 0)

        def __call__(self):
            raise AssertionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            run(pool, Bad())
    assert run(pool, lambda: 7) == 7


# -- never stale ----------------------------------------------------------------------------------------


def test_a_changed_global_closure_or_default_is_seen_by_the_next_call(pool):
    names = of_the_notebook(
        "def helper(): return FACTOR\n"
        "def work(x, more=1, *, plus=0): return (x * helper() + more + plus, OTHER)\n",
        FACTOR=2,
        OTHER="a",
    )
    work = names["work"]
    assert run(pool, work, 10) == (21, "a")
    names["FACTOR"] = 3
    assert run(pool, work, 10) == (31, "a")
    names["OTHER"] = "b"
    assert run(pool, work, 10) == (31, "b")
    work.__defaults__ = (5,)
    assert run(pool, work, 10) == (35, "b")
    work.__kwdefaults__["plus"] = 100
    assert run(pool, work, 10) == (135, "b")
    exec("def helper(): return 0", names)
    assert run(pool, work, 10) == (105, "b")
    work.__code__ = (lambda x, more, *, plus: "other").__code__
    assert run(pool, work, 10) == "other"
    n = 1
    closure = lambda: n  # noqa: E731
    assert run(pool, closure) == 1
    n = 2
    assert run(pool, closure) == 2


def test_a_global_that_appears_or_goes_is_seen(pool):
    names = of_the_notebook("def work(): return len('abc')\n")
    assert run(pool, names["work"]) == 3
    names["len"] = lambda text: "mine"
    assert run(pool, names["work"]) == "mine"
    del names["len"]
    assert run(pool, names["work"]) == 3


def test_what_is_changed_in_place_is_seen_and_not_shared_between_calls(pool):
    taken: list[int] = []

    def work(x):
        taken.append(x)
        return taken

    assert run(pool, work, 1) == [1]
    assert run(pool, work, 2) == [2]
    taken.append(0)
    assert run(pool, work, 3) == [0, 3]


def test_an_array_is_taken_along_as_it_is_when_the_call_is_made(pool_of_its_own):
    grid = np.zeros(20_000)
    total = lambda: float(grid.sum())  # noqa: E731
    assert run(pool_of_its_own, total) == 0.0
    grid[:] = 1
    assert run(pool_of_its_own, total) == 20_000.0


SELF_CHANGING = {
    "a global": ("COUNT = 0\ndef work():\n    global COUNT\n    COUNT += 1\n    return COUNT", 1),
    "globals()": ("def work():\n    globals()['N'] = globals().get('N', 0) + 1\n    return N", 1),
    "an attribute of itself": ("def work():\n    work.n = getattr(work, 'n', 0) + 1\n    return work.n", 1),
    "setattr": ("def work():\n    setattr(work, 'n', getattr(work, 'n', 0) + 1)\n    return work.n", 1),
    "its own dict": (
        "def work():\n    work.__dict__['n'] = work.__dict__.get('n', 0) + 1\n    return work.n",
        1,
    ),
    "a default": ("def work(seen=[]):\n    seen.append(1)\n    return len(seen)", 1),
    "a class": ("class Box: n = 0\ndef work():\n    Box.n += 1\n    return Box.n", 1),
    "a helper": ("N = 0\ndef more():\n    global N\n    N += 1\ndef work():\n    more()\n    return N", 1),
    "a closure": (
        "def make():\n    n = 0\n    def work():\n        nonlocal n\n        n += 1\n        return n\n"
        "    return work\nwork = make()",
        1,
    ),
    "an inner function": (
        "def make():\n    n = 0\n    def work():\n        def more():\n            nonlocal n\n"
        "            n += 1\n        more()\n        return n\n    return work\nwork = make()",
        1,
    ),
}


@pytest.mark.parametrize("case", SELF_CHANGING)
def test_a_function_that_changes_what_it_takes_along_starts_afresh_in_each_call(pool, case):
    source, expected = SELF_CHANGING[case]
    work = of_the_notebook(source)["work"]
    assert [run(pool, work) for _ in range(3)] == [expected] * 3


def test_a_module_of_a_package_that_is_imported_later_comes_along():
    import sys
    import xml

    parse = lambda: xml.dom.pulldom  # noqa: E731
    saved = {name: sys.modules.pop(name) for name in list(sys.modules) if name.startswith("xml.dom")}
    try:
        snapshot = take_snapshot(parse)
        assert snapshot.matches(parse)
        import xml.dom.pulldom

        assert not snapshot.matches(parse)
    finally:
        sys.modules.update(saved)


def test_a_module_that_is_to_be_pickled_by_value_from_now_on_is():
    import tests.pool.anywhere as module

    work = lambda: module  # noqa: E731
    snapshot = take_snapshot(work)
    assert snapshot.matches(work)
    cloudpickle.register_pickle_by_value(module)
    try:
        assert not snapshot.matches(work)
        assert take_snapshot(work) is None
    finally:
        cloudpickle.unregister_pickle_by_value(module)


VALUES = st.one_of(
    st.integers(),
    st.text(max_size=3),
    st.none(),
    st.tuples(st.integers()),
    st.lists(st.integers(), max_size=2),
)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["A", "B"]), VALUES),
    st.tuples(
        st.sampled_from(["delete A", "defaults", "keyword", "attribute", "closure", "inner", "code"]), VALUES
    ),
    st.tuples(st.sampled_from(["helper", "swap", "append", "wrap", "nothing", "recursive"]), VALUES),
)

WORLD = """
def helper(): return (A, B)
def make(c):
    d = c
    def work(x=None, *, k=None):
        return [A if 'A' in NAMES else 'no A', B, c, helper(), x, k, getattr(ME(), 'note', None), inner()]
    def inner(): return [d]
    def assign(value):
        nonlocal c
        c = value
    def assign_inner(value):
        nonlocal d
        d = value
    return work, assign, assign_inner
"""


@settings(max_examples=150, deadline=None)
@given(steps=st.lists(STEPS, max_size=8))
def test_whatever_changes_the_kept_pickle_of_a_function_gives_what_the_function_gives(steps):
    """As in the pool: a pickle is used as long as its snapshot matches. The function itself is the judge."""
    names = of_the_notebook(WORLD, A=1, B=2)
    names["NAMES"] = names["ME"] = None  # set below, fixed: what is taken along is named in the code
    names["ME"] = of_the_notebook("def ME(): return None")["ME"]
    names["NAMES"] = ("A",)
    work, assign, assign_inner = names["make"](0)
    kept: tuple[Any, bytes] | None = None
    blanks: list[BlankFunction] = []
    for what, value in [("nothing", None), *steps]:
        match what:
            case "A" | "B":
                names[what] = value
                names["NAMES"] = ("A",) if what == "A" else names["NAMES"]
            case "delete A":
                names.pop("A", None)
                names["NAMES"] = ()
                names["helper"] = of_the_notebook("def helper(): return B", B=value)["helper"]
            case "defaults":
                work.__defaults__ = (value,)
            case "keyword":
                work.__kwdefaults__ = {"k": value}
            case "attribute":
                work.note = value
                names["ME"] = FunctionType(names["ME"].__code__, names)
            case "closure":
                assign(value)
            case "inner":
                assign_inner(value)
            case "code":
                work.__code__ = work.__code__.replace(co_name=f"work_{len(str(value))}")
            case "helper":
                names["helper"] = of_the_notebook("def helper(): return V", V=value)["helper"]
            case "swap":
                names["A"], names["B"] = names["B"], names.get("A")
                names["NAMES"] = ("A",)
            case "append":
                if isinstance(names.get("B"), list):
                    names["B"].append(value)
            case "wrap":
                names["helper"] = functools.wraps(names["helper"])(
                    of_the_notebook("def f(): return (f.__wrapped__(), 1)")["f"]
                )
                names["helper"].__globals__["f"] = names["helper"]
            case "recursive":
                names["helper"].__globals__["again"] = names["helper"]
        if kept is None or not kept[0].matches(work):
            snapshot = take_snapshot(work)
            pickled = cloudpickle.dumps(work)
            kept = None if snapshot is None else (snapshot, pickled)
        else:
            pickled = kept[1]
        assert cloudpickle.loads(pickled)() == work()
        assert as_it_is_sent(work, blanks)() == work()


def as_it_is_sent(function: Any, blanks: list[BlankFunction]) -> Any:
    """Return a function as it arrives where the last blank that matches is used, and else a new one."""
    if not blanks or not blanks[-1].matches(function):
        blank = take_blank(function)
        if blank is None:
            return function
        blanks.append(blank)
    filled = blanks[-1].fill(function, 1)
    if filled is None:
        return function
    with blank_found(1, blanks[-1].payload):
        return decode(encode_whole(filled))


@settings(max_examples=25, deadline=None)
@given(values=st.lists(VALUES, max_size=6))
def test_a_worker_gives_what_the_function_gives_here(pool, values):
    names = of_the_notebook("def helper(): return V\ndef work(x): return (x, helper(), D())", V=0)
    for n, value in enumerate(values):
        names["V"] = value
        exec(f"def D(): return {n // 2}", names)
        assert run(pool, names["work"], n) == names["work"](n)


# -- sent once ------------------------------------------------------------------------------------------


def held(pool) -> int:
    return sum(1 for name in pool._driver.core.state.registry.records if name.startswith("_wpc_:"))


def test_a_function_is_sent_to_a_worker_once_and_again_only_if_it_has_changed(pool, monkeypatch):
    told = []
    before_call = HeldFunctions.before_call
    monkeypatch.setattr(
        HeldFunctions,
        "before_call",
        lambda self, record: told.append(before_call(self, record)) or told[-1],
    )
    n = 1
    work = lambda: n  # noqa: E731
    assert [run(pool, work) for _ in range(3)] == [1] * 3
    assert [message is not None for message in told] == [True, False, False]
    n = 2
    assert [run(pool, work) for _ in range(2)] == [2] * 2
    n = 1  # the worker still has that
    assert run(pool, work) == 1
    assert [message is not None for message in told[3:]] == [True, False, False]


def test_the_same_lambda_made_anew_for_each_call_is_sent_once(pool):
    assert len({pool._anonymous.name_of(lambda x: x + 12_345) for _ in range(5)}) == 1
    sent = [pool._anonymous.for_call(lambda x: x + 12_346) for _ in range(5)]
    assert len({name for name, _ in sent}) == 1
    assert {with_call for _, with_call in sent} == {None}


def test_lambdas_that_differ_in_their_values_are_sent_once_and_called_with_their_own(pool, monkeypatch):
    told = []
    before_call = HeldFunctions.before_call
    monkeypatch.setattr(
        HeldFunctions,
        "before_call",
        lambda self, record: told.append(before_call(self, record)) or told[-1],
    )

    def scaled(x, by=2, *, plus=0):
        return x * by + plus

    def make(n):
        return lambda x: (x, n, scaled(n, 3))

    def make_keyword(n):
        def work(x, *, n=n):
            return x, n

        return work

    made = {
        "a default": (lambda n: lambda x, n=n: (x, n, math.sqrt(n)), lambda n: (1, n, math.sqrt(n))),
        "a closure": (make, lambda n: (1, n, 3 * n)),
        "a keyword": (make_keyword, lambda n: (1, n)),
        "a list": (lambda n: lambda x, seen=[n]: seen.append(x) or seen, lambda n: [n, 1]),
        "a partial": (lambda n: functools.partial(scaled, by=n, plus=1), lambda n: n + 1),
        "a named one": (lambda n: lambda x, f=(abs, math.floor)[n % 2]: f(-x), lambda n: (1, -1)[n % 2]),
    }
    for what, (each, expected) in made.items():
        told.clear()
        futures = [pool.submit_function(each(n), (1,)) for n in range(20)]
        assert [future.result(PATIENCE_S) for future in futures] == [expected(n) for n in range(20)], what
        # The first one is held as any function, before it is known that others follow.
        assert len([message for message in told if message is not None]) <= 2, what


def test_one_function_that_is_filled_with_other_values_each_time_never_has_the_former_ones(pool):
    n = 0
    work = lambda: n  # noqa: E731
    for n in [*range(5), *range(5)]:
        assert run(pool, work) == n
    for values in ([1], [1, 2], {"a": 1}, (1, [2])):
        n = values
        assert run(pool, work) == values
    large = "x" * 100_000
    n = large
    assert run(pool, work) == large
    n = 7
    assert run(pool, work) == 7


def test_functions_that_are_filled_await_yield_and_fail_as_others_do(pool):
    def make(n):
        async def wait(x):
            await asyncio.sleep(0)
            return x + n

        def count(x):
            yield from range(x, x + n)

        def divide(x):
            return x / n

        return wait, count, divide

    for n in (2, 0, 0):
        wait, count, divide = make(n)
        assert run(pool, wait, 1) == 1 + n
        stream = pool.submit_function(count, (5,), None, CallOptions(buffer=2))
        assert stream.result(PATIENCE_S) == [5, 6][:n]
        future = pool.submit_function(divide, (1,))
        if n:
            assert future.result(PATIENCE_S) == 1 / n
            continue
        error = future.exception(PATIENCE_S)
        assert error.__notes__ == [f"in divide(1) #{future.call_id} on worker 1"]
        assert pool.failed_call(error).args == (1,)
        with pytest.raises(ZeroDivisionError):
            pool.replay(error)


def test_a_blank_that_a_worker_has_dropped_is_sent_again(pool):
    make = lambda n: lambda: n  # noqa: E731
    assert [run(pool, make(n)) for n in range(3)] == [0, 1, 2]
    futures = [
        pool.submit_function(of_the_notebook(f"def work(): return {n}")["work"]) for n in range(MAX_HELD + 2)
    ]
    assert [future.result(PATIENCE_S) for future in futures] == [*range(MAX_HELD + 2)]
    assert [run(pool, make(n)) for n in range(3)] == [0, 1, 2]


def test_a_worker_holds_a_bounded_number_of_functions_and_gets_back_what_it_has_dropped(pool):
    functions = [
        of_the_notebook(f"def work(x): return (x, {n}, {'1' * 50!r})")["work"] for n in range(MAX_HELD + 20)
    ]
    for _ in range(2):
        futures = [pool.submit_function(function, (n,)) for n, function in enumerate(functions)]
        assert [future.result(PATIENCE_S)[:2] for future in futures] == [
            (n, n) for n in range(len(functions))
        ]


def test_what_a_worker_is_told_to_drop_is_what_was_called_longest_ago():
    from wpc_magic.pool.core.registry import Kind, Record

    def record(key: int, size: int) -> Record:
        return Record(f"_wpc_:{key}:f", Kind.FUNCTION, b"x" * size, None, key=key, revision=0)

    held = HeldFunctions()
    big = MAX_HELD_SIZE // 4
    first = [record(key, big) for key in range(1, 5)]
    for each in first:
        assert held.before_call(each).dropped == ()
    assert held.before_call(first[0]) is None
    assert held.before_call(record(5, big)).dropped == (2,)
    assert held.before_call(record(6, 2 * big)).dropped == (3, 4)
    assert held.before_call(first[0]) is None


def test_a_function_with_a_large_constant_is_sent_with_each_call(pool_of_its_own):
    large = "x" * (MAX_PAYLOAD + 1)
    work = lambda: len(large)  # noqa: E731
    assert [run(pool_of_its_own, work) for _ in range(2)] == [len(large)] * 2
    assert not pool_of_its_own._anonymous.name_of(work).is_held


def test_a_worker_that_is_replaced_has_the_function_again():
    with WorkerProcedureCall() as pool:
        pool.start_workers(1)
        work = lambda: 5  # noqa: E731
        assert run(pool, work) == 5
        pool.restart_workers()
        pool.wait_until_ready()
        assert run(pool, work) == 5


def test_nothing_is_kept_of_functions_that_are_gone(pool):
    work = lambda: 1  # noqa: E731
    run(pool, work)
    before = held(pool)
    for n in range(150):
        assert run(pool, of_the_notebook(f"def work(): return {n}")["work"]) == n
    gc.collect()
    run(pool, lambda: 2)
    assert held(pool) <= before + 66  # the last 64 may come again


def test_a_function_that_was_called_is_freed_as_soon_as_nobody_refers_to_it(pool):
    def make():
        def work(n):
            return work(n - 1) if n else 0

        return work

    work = make()
    assert run(pool, work, 2) == 0
    ref = weakref.ref(work)
    del work
    gc.collect()
    assert ref() is None


# -- its name -------------------------------------------------------------------------------------------


def test_errors_events_and_futures_name_the_function_and_not_what_dispatches_it(pool):
    def inverse(x):
        return 1 / x

    future = pool.submit_function(inverse, (0,))
    error = future.exception(PATIENCE_S)
    assert future.name == "inverse"
    assert str(future.call).startswith("inverse #")
    assert error.__notes__ == [f"in inverse(0) #{future.call_id} on worker 1"]
    event = pool.events()[-1]
    assert (event.event_name, event.details["function"]) == ("call_execution_failed", "inverse")
    with pytest.raises(ZeroDivisionError):
        pool.replay(error)


def test_a_label_takes_the_place_of_the_name(pool):
    future = pool.submit_function(lambda: 1 / 0, label="the third step")
    assert future.name == "the third step"
    assert future.exception(PATIENCE_S).__notes__[0].startswith("in the third step() #")


def test_arguments_and_function_of_a_failed_call_are_kept_also_where_they_are_sent_together(pool):
    taken = [0]

    def work(x):
        return x / taken[0]

    error = pool.submit_function(work, (1,)).exception(PATIENCE_S)
    with pytest.raises(ZeroDivisionError):
        pool.replay(error)
    assert pool.failed_call(error).args == (1,)


def test_functions_of_the_same_code_have_statistics_together(pool):
    def work(x, y):
        return x + y

    for n in range(3):
        assert run(pool, functools.partial(work, n), 1) == n + 1
    name = pool._anonymous.name_of(functools.partial(work, 7))
    assert pool._driver.core.state.stats[name.record.key].tally.done == 3
    assert pool.mean_s(name) is not None


def test_it_is_in_no_list_and_in_no_snapshot(pool):
    run(pool, lambda: 1)
    assert pool.get_remote_functions() == []
    assert pool.snapshot().functions == 0
    assert dir(pool.call) == []


def test_a_registered_function_of_the_same_name_is_another_one():
    with WorkerProcedureCall() as pool:
        pool.define_worker_function(name="work", worker_func="def work(): return 'registered'")
        pool.start_workers(1)

        def work():
            return "anonymous"

        assert [run(pool, work), pool.call.work().result(PATIENCE_S), run(pool, work)] == [
            "anonymous",
            "registered",
            "anonymous",
        ]


# -- ends -----------------------------------------------------------------------------------------------


def test_a_registered_function_is_called_as_such_and_elsewhere_the_error_says_how():
    with WorkerProcedureCall() as pool:
        pool.define_worker_functions("def double(x, by=2): return x * by")
        pool.start_workers(1)
        double = pool.call.double
        assert pool.submit_function(double, (3,), {"by": 5}).result() == 15
        assert pool.map_function(double, [1, 2], kwargs={"by": 3}, chunk_size=1).result() == [3, 6]
        assert pool.submit_function(double.options(worker_id=1), (3,)).result() == 6
        other = WorkerProcedureCall()
        with pytest.raises(OptionError, match="belongs to another pool"):
            other.submit_function(double, (3,))
        told = r"the registered function double cannot be sent: .* here that is pool\.call\.double\(\.\.\.\)"
        with pool.executor() as executor:
            error = executor.submit(double, 3).exception()
            assert re.match(told, str(error))
            assert not hasattr(error, "__notes__")
            with pytest.raises(NestedCallError, match=told):
                list(executor.map(double, [3]))
        with pytest.raises(NestedCallError, match=told):
            pool.submit_function(functools.partial(double, 3))


def test_a_timeout_ends_it_and_a_crash_costs_only_itself():
    with WorkerProcedureCall() as pool:
        pool.start_workers(1)

        def spin():
            while True:
                pass

        with pytest.raises(CallTimeoutError, match="spin #1"):
            pool.submit_function(spin, options=CallOptions(timeout_ms=200)).result(PATIENCE_S)

        def die():
            import os

            os._exit(3)

        futures = [pool.submit_function(each) for each in (lambda: 1, die, lambda: 2)]
        assert futures[0].result(PATIENCE_S) == 1
        with pytest.raises(WorkerCrashedError, match="die #"):
            futures[1].result(PATIENCE_S)
        assert futures[2].result(PATIENCE_S) == 2


# -- maps -----------------------------------------------------------------------------------------------


def test_a_map_over_a_function_is_in_order_in_chunks_and_names_the_item_that_fails(pool):
    assert pool.map_function(lambda x: x * x, range(500)).result() == [n * n for n in range(500)]
    assert pool.map_function(pow, [2, 3], [3, 2], chunk_size=2).result() == [8, 9]
    with pytest.raises(ZeroDivisionError) as caught:
        pool.map_function(lambda x: 1 / x, [1, 0], chunk_size=2).result()
    assert "in item 1: <lambda>(0) #" in caught.value.__notes__[0]


def test_a_map_uses_the_function_as_it_was_when_the_map_began(pool_of_its_own):
    scale = np.ones(20_000)
    taken = [1]

    def work(x):
        return x * taken[0] * float(scale.mean())

    results = pool_of_its_own.map_function(work, range(40), chunk_size=1)
    first = next(results)
    taken[0] = 100
    scale[:] = 100
    assert [first, *results] == [float(n) for n in range(40)]
