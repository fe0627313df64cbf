"""The current stacks of a worker: of its threads, and of its suspended coroutines.

The control thread takes them while the other threads run. It takes only names and numbers: importing a module
or reading a file would take long beside a busy main thread.
"""

from __future__ import annotations

import sys
import threading
import time

from wpc_magic.pool.wire.native import Int, Long, c_function
from wpc_magic.pool.wire.protocol import Stack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType
    from typing import Any

    from wpc_magic.pool.worker.tasks import Tasks

__all__ = ["take_call_stacks", "take_stacks"]

_FRAMES = 40  # kept at each end of a deep stack
_MAX_COROUTINES = 100
_SPREAD_NS = 5_000_000  # within which a sample is taken
_SHORT_INTERVAL_S = 0.00001
_PR_SET_TIMERSLACK = 29  # <linux/prctl.h>

_prctl = c_function("prctl", Int, Int, Long) if sys.platform == "linux" else None


def take_stacks(main: int, seq: int, tasks: Tasks | None) -> tuple[Stack, ...]:
    """Return the stacks of all threads but this one, the main thread's first, and of coroutines.

    Parameters
    ----------
    main : int
        The identifier of the main thread.
    seq : int
        The call that it runs; 0: none.
    tasks : Tasks or None
        The coroutines of calls.
    """
    frames = sys._current_frames()
    loops: list[Any] = [] if tasks is None else [tasks.loop]
    run_forever = _run_forever_code()
    # Immediately, in one expression: a thread that continues leaves the frames seen here.
    walked = {ident: _walk(frame, run_forever, loops) for ident, frame in frames.items()}
    del frames
    stacks = [Stack("main", "", seq, *walked.pop(main, ((), 0)))]
    walked.pop(threading.get_ident(), None)
    names = {thread.ident: _plain_str(thread.name) for thread in threading.enumerate()}
    stacks += [Stack("thread", names.get(ident, ""), 0, *stack) for ident, stack in walked.items()]
    try:
        stacks += _coroutines(loops, tasks)
    except Exception:  # a user-defined task class may do anything
        pass
    return tuple(stacks)


def take_call_stacks(main: int, running: Callable[[], int], tasks: Tasks | None) -> tuple[Stack, ...]:
    """Return the stacks of the calls that run, at a random moment: for samples, many times a second.

    Parameters
    ----------
    main : int
        The identifier of the main thread.
    running : callable
        Returns the call that it runs; 0: none.
    tasks : Tasks or None
        The coroutines of calls.
    """
    # This thread is given the interpreter when the main thread releases it, or after the switch interval. So
    # a function that sleeps, or computes in C, each millisecond would always be found there, and never at its
    # Python code. Therefore: a time that does not follow from that of the request, and a short interval.
    # Linux makes that longer by 50 µs if it is not told otherwise: of a function that released the
    # interpreter each 100 µs, for 3 % of its time, 70 % of the samples were there, and are 3 % now.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(_SHORT_INTERVAL_S)
    short = sys.getswitchinterval()
    if _prctl is not None:
        _prctl(_PR_SET_TIMERSLACK, 1)  # of this thread, in ns
    try:
        time.sleep(time.monotonic_ns() % _SPREAD_NS / 1e9)
        walked = _walk(sys._current_frames().get(main), None, [])
        seq = running()
    finally:
        if sys.getswitchinterval() == short:  # else a function has set it meanwhile
            sys.setswitchinterval(interval)
        if _prctl is not None:
            _prctl(_PR_SET_TIMERSLACK, 0)  # the default
    stacks = [Stack("main", "", seq, *walked)] if seq else []
    if tasks is not None:
        try:
            stacks += [stack for stack in _coroutines([tasks.loop], tasks) if stack.seq]
        except Exception:  # a user-defined task class may do anything
            pass
    return tuple(stacks)


def _run_forever_code() -> Any:
    events = sys.modules.get("asyncio.base_events")
    try:
        return events.BaseEventLoop.run_forever.__code__  # type: ignore[union-attr]
    except AttributeError:  # it is not loaded, or not completely
        return None


def _walk(at: FrameType | None, run_forever: Any, loops: list[Any]) -> tuple[tuple[Any, ...], int]:
    """Return a stack's frames, and how many are left out; collect the event loops that run in it."""
    frames = []
    while at is not None:
        code = at.f_code
        frames.append((code.co_filename, at.f_lineno or 0, code.co_name))
        if code is run_forever:
            loop = at.f_locals.get("self")
            if loop is not None and loop not in loops:
                loops.append(loop)
        at = at.f_back
    frames.reverse()
    return _shortened(frames)


def _shortened(frames: list[Any]) -> tuple[tuple[Any, ...], int]:
    left_out = len(frames) - 2 * _FRAMES
    if left_out <= 0:
        return tuple(frames), 0
    return (*frames[:_FRAMES], *frames[-_FRAMES:]), left_out


def _coroutines(loops: list[Any], tasks: Tasks | None) -> list[Stack]:
    if not loops:
        return []
    asyncio = sys.modules["asyncio.tasks"]
    suspended = []
    for loop in loops:
        current = asyncio.current_task(loop)  # it is on the stack of its thread
        for task in asyncio.all_tasks(loop):
            if task is not current:
                seq = 0 if tasks is None else tasks.seq_of(task)
                suspended.append((seq, _plain_str(task.get_name()), task.get_coro()))
    suspended.sort(key=lambda each: (not each[0], each[0], len(each[1]), each[1]))
    stacks = [
        Stack("coroutine", name, seq, *_shortened(list(_await_chain(coro))))
        for seq, name, coro in suspended[:_MAX_COROUTINES]
    ]
    if len(suspended) > _MAX_COROUTINES:
        stacks.append(Stack("coroutine", f"... and {len(suspended) - _MAX_COROUTINES} more", 0, (), 0))
    return stacks


def _await_chain(coro: Any) -> Iterator[tuple[str, int, str]]:
    """Yield the frames of a coroutine, of the one that it awaits, and so on."""
    while coro is not None:
        frame = _first_attribute(coro, "cr_frame", "gi_frame", "ag_frame")
        if frame is not None:
            code = frame.f_code
            yield code.co_filename, frame.f_lineno or 0, code.co_name
        coro = _first_attribute(coro, "cr_await", "gi_yieldfrom", "ag_await")


def _plain_str(name: Any) -> str:
    """Return a name as an exact str: a user-defined subclass could not be unpickled by the pool."""
    return str.__str__(name) if isinstance(name, str) else ""


def _first_attribute(thing: Any, *names: str) -> Any:
    return next((value for name in names if (value := getattr(thing, name, None)) is not None), None)
