"""What an error says of its call, and the call run again in this process."""

from __future__ import annotations

import asyncio
import pickle
import threading
import traceback
from typing import Any

import pytest

from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import (
    ArgumentsNotSerializableError,
    CallTimeoutError,
    DefinitionError,
    OptionError,
    WorkerCrashedError,
)

FUNCTIONS = """
import asyncio
import os


def bad(rows, *, scale=1):
    return [int(row) * scale for row in rows]


def first(values):
    raise ValueError(values[0])


def changes(values):
    values.append(1)
    raise ValueError("changed")


def dies(x):
    os._exit(3)


async def waits(rows):
    await asyncio.sleep(0)
    count = len(rows)
    return 1 / count


def spins(x):
    while True:
        pass
"""


@pytest.fixture
def wpc(make_pool: Any) -> WorkerProcedureCall:
    pool: WorkerProcedureCall = make_pool(1, FUNCTIONS)
    return pool


def notes(error: BaseException | None) -> list[str]:
    assert error is not None
    return error.__notes__


def test_a_note_names_the_arguments_of_the_call(wpc: WorkerProcedureCall) -> None:
    future = wpc.call.bad(["1", "x"], scale=2)
    assert notes(future.exception()) == [f"in bad(['1', 'x'], scale=2) #{future.call_id} on worker 1"]


def test_long_arguments_are_shortened(wpc: WorkerProcedureCall) -> None:
    (note,) = notes(wpc.call.bad(["1" * 10_000, "x"]).exception())
    assert len(note) < 300


def test_the_item_of_a_map_is_named_with_its_arguments(wpc: WorkerProcedureCall) -> None:
    for size in (1, 2, 10):
        with pytest.raises(ValueError, match="invalid literal") as caught:
            list(wpc.map("bad", [["1"], ["2"], ["x"], ["4"]], chunk_size=size))
        assert notes(caught.value)[0].startswith("in item 2: bad(['x']) #")
        assert wpc.failed_call(caught.value).args == (["x"],)


def test_a_note_says_the_revision_and_that_the_function_was_defined_again(wpc: WorkerProcedureCall) -> None:
    wpc.define_worker_function(worker_func="def bad(rows): return 1 / len(rows)")
    future = wpc.call.bad([])
    assert notes(future.exception()) == [f"in bad([]) #{future.call_id} (revision 2) on worker 1"]
    future = wpc.call.bad([])
    while not future.done():
        wpc.call.bad([1]).result()
    wpc.define_worker_function(worker_func="def bad(rows): return 0")
    assert notes(future.exception())[-1] == "bad has been defined again since"
    with pytest.raises(ZeroDivisionError):
        wpc.replay(future)
    assert wpc.call.bad([]).result() == 0


def test_a_call_that_timed_out_names_its_arguments_too(wpc: WorkerProcedureCall) -> None:
    future = wpc.call.spins.options(timeout_ms=50)(37)
    error = future.exception()
    assert isinstance(error, CallTimeoutError)
    assert notes(error) == [f"in spins(37) #{future.call_id}"]


def test_a_failed_call_is_run_again_here(wpc: WorkerProcedureCall) -> None:
    error = wpc.call.bad(["1", "x"]).exception()
    assert error is not None
    future = wpc.call.changes([0])
    assert future.exception() is not None
    for which in (error, error.wpc_call_id):  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match="'x'"):
            wpc.replay(which)
    for _ in range(2):  # with a copy of its arguments each time
        assert wpc.failed_call().args == ([0],)
        with pytest.raises(ValueError, match="changed"):
            wpc.replay(future)


def test_an_async_call_is_run_again_to_its_end_also_while_a_loop_runs(wpc: WorkerProcedureCall) -> None:
    error = wpc.call.waits([]).exception()
    for run in (wpc.replay, in_a_loop(wpc.replay)):
        with pytest.raises(ZeroDivisionError) as caught:
            run(error)
        frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
        assert frames[-1].f_locals["count"] == 0
        assert [frame.f_code.co_name for frame in frames[-3:]] == ["run_coroutine", "caught", "waits"]


def in_a_loop(function: Any) -> Any:
    async def main(*args: Any) -> Any:
        before = asyncio.current_task()
        try:
            return function(*args)
        finally:
            assert asyncio.current_task() is before
            await asyncio.sleep(0)

    return lambda *args: asyncio.run(main(*args))


def test_a_crash_can_be_run_again(wpc: WorkerProcedureCall) -> None:
    error = wpc.call.dies(5).exception()
    assert isinstance(error, WorkerCrashedError)
    assert notes(error) == ["it was called with (5)"]
    assert wpc.failed_call(error).args == (5,)


def test_large_arguments_are_kept_up_to_the_limit(wpc: WorkerProcedureCall) -> None:
    wpc.configure(keep_failed_arguments_mb=1)
    for size, kept in ((300_000, True), (2_000_000, False)):
        error = wpc.call.first(["x" * 10, b"y" * size]).exception()
        assert error is not None
        if kept:
            assert wpc.failed_call(error).args == (["x" * 10, b"y" * size],)
        else:
            with pytest.raises(OptionError, match="up to 1 MB each"):
                wpc.replay(error)
    wpc.configure(keep_failed_arguments_mb=0)
    error = wpc.call.bad(["x"]).exception()
    assert notes(error)[0].startswith("in bad(['x']) #")
    with pytest.raises(OptionError, match="are not kept"):
        wpc.replay(error)


def test_only_the_last_failures_are_kept(wpc: WorkerProcedureCall) -> None:
    errors = [wpc.call.bad(["x"]).exception() for _ in range(20)]
    with pytest.raises(OptionError, match=r"bad #\d+ is none of the last 16 that failed.* \(ValueError: inv"):
        wpc.replay(errors[0])
    with pytest.raises(ValueError, match="invalid literal"):
        wpc.replay(errors[-1])


def test_the_history_says_how_a_call_has_ended_that_cannot_be_run_again(wpc: WorkerProcedureCall) -> None:
    good = wpc.call.bad([])
    assert good.result() == []
    with pytest.raises(OptionError, match=f"bad #{good.call_id} has not failed"):
        wpc.failed_call(good)
    with pytest.raises(OptionError, match="call #99999 is none of the last that failed"):
        wpc.failed_call(99999)
    replay = wpc.failed_call(wpc.call.bad(["x"]).exception())
    assert replay.ended is not None
    assert replay.ended.error.startswith("ValueError: invalid literal")
    assert replay.ended.worker_id == 1
    wpc.configure(call_history=0)
    assert wpc.failed_call().ended is None


def test_what_is_no_failed_call_is_refused_in_one_line(wpc: WorkerProcedureCall) -> None:
    with pytest.raises(OptionError, match="no call has failed"):
        wpc.replay()
    with pytest.raises(OptionError, match="is no error of a call"):
        wpc.replay(ValueError("mine"))
    assert wpc.call.bad([]).result() == []
    with pytest.raises(OptionError, match="no call has failed"):
        wpc.replay()


def test_an_error_with_its_notes_can_be_pickled(wpc: WorkerProcedureCall) -> None:
    error = wpc.call.bad(["x"]).exception()
    again = pickle.loads(pickle.dumps(error))
    assert again.__notes__ == notes(error)


class Holder:
    """Something with an attribute."""

    def __init__(self, held: Any) -> None:
        self.model = held


def test_what_cannot_be_sent_is_named_with_its_place(wpc: WorkerProcedureCall) -> None:
    lock = threading.Lock()
    wpc.define_worker_function(worker_func="def takes(rows, value=None): return value")
    for call, what in (
        (lambda: wpc.call.takes([1], Holder({"lock": lock})), "value.model['lock'] is a _thread.lock"),
        (lambda: wpc.call.takes([0, (1, lock)]), "rows[1][1] is a _thread.lock"),
    ):
        with pytest.raises(ArgumentsNotSerializableError) as caught:
            call()
        assert str(caught.value) == f"the arguments of takes cannot be sent to a worker: {what}"
    with pytest.raises(ArgumentsNotSerializableError, match=r"rows is a _thread\.lock"):
        list(wpc.map("takes", [1, lock], chunk_size=2))
    with pytest.raises(DefinitionError, match=r"cannot be sent to workers: C\.model is a _thread\.lock"):
        wpc.define_worker_constant(name="C", value=Holder(lock))


def test_a_value_that_cannot_be_sent_back_is_named_with_its_place_and_without_the_serializer(
    wpc: WorkerProcedureCall,
) -> None:
    wpc.define_worker_function(
        worker_func="def locks(n):\n    import threading\n    return {'a': [n, threading.Lock()]}\n"
    )
    for error in (
        wpc.call.locks(1).exception(),
        _raised(lambda: list(wpc.map("locks", [1, 2], chunk_size=2))),
    ):
        assert notes(error)[0] == (
            "the value that it returned (dict) cannot be sent: value['a'][1] is a _thread.lock"
        )
        assert "cloudpickle" not in "".join(traceback.format_exception(error))


def _raised(run: Any) -> BaseException:
    with pytest.raises(TypeError) as caught:
        run()
    return caught.value
