"""How long a call takes in a worker, where that time goes, and how long it takes here."""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wpc_magic.dashboard.table import Table
from wpc_magic.pool.core.durations import shown_us
from wpc_magic.pool.options import CallOptions
from wpc_magic.pool.streams import ResultStream
from wpc_magic.pool.wire.codec import decode, encode

from .tables import plural, size_text

if TYPE_CHECKING:
    from wpc_magic.pool import WorkerProcedureCall

__all__ = ["CallTime", "time_call", "timing_table"]

_ENOUGH_S = 0.3
_MOST = 100


@dataclasses.dataclass(frozen=True, slots=True)
class CallTime:
    """Where the time of one call went, in seconds.

    Parameters
    ----------
    serialise_s : float
        To pickle the arguments.
    queue_s : float or None
        From then on until the function began in the worker: the wait for one, and the way there; None: not
        known, it is in `return_s`.
    run_s : float
        What the function took in the worker.
    return_s : float
        From its end until the value is here.
    """

    serialise_s: float
    queue_s: float | None
    run_s: float
    return_s: float

    @property
    def total_s(self) -> float:
        """All of it together."""
        return self.serialise_s + (self.queue_s or 0.0) + self.run_s + self.return_s


def time_call(
    pool: WorkerProcedureCall,
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    count: int | None = None,
    worker_id: int | None = None,
) -> Table:
    """Time a call, and return a table of where its time goes.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool, whose workers run.
    name : str
        The function.
    args, kwargs : sequence, mapping
        Its arguments.
    count : int, optional
        How many times it is called, there and here. By default for about 0.3 s, at most 100 times; and twice
        if it takes less than 1 s.
    worker_id : int, optional
        The worker.
    """
    __tracebackhide__ = True
    options = CallOptions(worker_id=worker_id, cache=False)
    there = _repeated(lambda: _time_there(pool, name, tuple(args), dict(kwargs), options), count)
    body, buffers = encode((tuple(args), dict(kwargs)))
    sent = len(body) + sum(each.nbytes for each in buffers)
    try:
        function = pool.local_function(name)
        here = _repeated(lambda: _time_here(function, body, buffers), count)
        why = ""
    except Exception as error:
        here, why = [], " ".join(f"{type(error).__name__}: {error}".splitlines()[0].split())
    call = sorted(there, key=lambda each: each.total_s)[len(there) // 2]
    here_s = sorted(here)[len(here) // 2] if here else None
    return timing_table(name, call, here_s, why, sent, len(there))


def timing_table(
    name: str, call: CallTime, here_s: float | None, why: str = "", sent: int = 0, count: int = 1
) -> Table:
    """Return the table of a call's time.

    Parameters
    ----------
    name : str
        The function.
    call : CallTime
        Its time in a worker.
    here_s : float or None
        Its time here, in seconds; None: it cannot run here.
    why : str
        Why it cannot.
    sent : int
        The size of the arguments, in bytes.
    count : int
        Of how many calls this is the median.

    Examples
    --------
    >>> timing_table("fit", CallTime(0.001, 0.004, 0.9, 0.095), 0.8, sent=2048)
    fit: 1.0 s in a worker, 800 ms here; 10 % of it is overhead
               in a worker  share    here
    ─────────  ───────────  ─────  ──────
    serialise       1.0 ms    0 %
    queue           4.0 ms    0 %
    run             900 ms   90 %  800 ms
    return           95 ms   10 %
    total            1.0 s  100 %  800 ms
    """
    total_s = call.total_s
    parts: list[tuple[str, float | None]] = [
        ("serialise", call.serialise_s),
        ("queue", call.queue_s),
        ("run", call.run_s),
        ("return" if call.queue_s is not None else "queue and return", call.return_s),
        ("total", total_s),
    ]
    here = "" if here_s is None else shown_us(here_s)
    rows = [
        (part, shown_us(took), f"{round(100 * took / total_s)} %", here if part in ("run", "total") else "")
        for part, took in parts
        if took is not None
    ]
    return Table(("", "in a worker", "share", "here"), rows, _verdict(name, call, here_s, why, sent, count))


def _verdict(name: str, call: CallTime, here_s: float | None, why: str, sent: int, count: int) -> str:
    total_s = call.total_s
    said = f"{name}: {shown_us(total_s)} in a worker"
    said += f", it cannot run here ({why})" if here_s is None else f", {shown_us(here_s)} here"
    overhead_s = total_s - call.run_s
    if sent > 1 << 20:
        said += f"; {size_text(sent)} is sent"
    if call.queue_s is not None and call.queue_s > max(0.01, 0.5 * total_s):
        is_large = sent > 1 << 20
        said += f"; it mostly waits for a worker{', or is on the way there' * is_large}"
    elif overhead_s > call.run_s:
        said += "; sending costs more than the work: use wpc.map or %wpc_map for many"
    else:
        said += f"; {round(100 * overhead_s / total_s)} % of it is overhead"
    return said if count == 1 else f"{said} (the median of {plural(count, 'call')})"


def _repeated(run: Callable[[], Any], count: int | None) -> list[Any]:
    """Return what several runs return; the first of many is left out: it may have imported something."""
    __tracebackhide__ = True
    if count is not None:
        return [run() for _ in range(count)]
    began = time.monotonic()
    found = [run()]
    first_s = time.monotonic() - began
    while (len(found) == 1 and first_s < 1) or (time.monotonic() - began < _ENOUGH_S and len(found) <= _MOST):
        found.append(run())
    return found[1:] or found


def _time_there(
    pool: WorkerProcedureCall,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: CallOptions,
) -> CallTime:
    __tracebackhide__ = True
    before_s = time.monotonic()
    encode((args, kwargs))
    serialise_s = time.monotonic() - before_s
    made_s = time.monotonic()
    answer = pool.submit(name, args, kwargs, options)
    try:
        answer.result()
    except KeyboardInterrupt:
        answer.cancel()
        raise
    ended_s = time.monotonic()
    future = answer.items.future if isinstance(answer, ResultStream) else answer
    run_s = future.ran_s
    began_s = pool.began_s(future, made_s, ended_s)
    rest_s = max(0.0, ended_s - made_s - serialise_s - run_s)
    if began_s is None:
        return CallTime(serialise_s, None, run_s, rest_s)
    queue_s = min(rest_s, max(0.0, began_s - made_s - serialise_s))
    return CallTime(serialise_s, queue_s, run_s, rest_s - queue_s)


async def _taken(items: AsyncIterable[Any]) -> None:
    async for _ in items:
        pass


def _time_here(function: Callable[..., Any], body: bytes, buffers: Sequence[Any]) -> float:
    __tracebackhide__ = True
    args, kwargs = decode(body, [bytearray(each) for each in buffers])  # copies, as a worker has
    before_s = time.perf_counter()
    value = function(*args, **kwargs)
    if inspect.iscoroutine(value):
        from wpc_magic.pool.run_here import run_coroutine  # it loads asyncio

        run_coroutine(value)
    elif inspect.isgenerator(value):
        for _ in value:
            pass
    elif inspect.isasyncgen(value):
        from wpc_magic.pool.run_here import run_coroutine

        run_coroutine(_taken(value))
    return time.perf_counter() - before_s
