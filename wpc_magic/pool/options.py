"""The options of a pool and of a call: frozen, and checked when they are made."""

from __future__ import annotations

import dataclasses
import difflib
import keyword
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from .checks import check_count, check_flag, shown
from .checks import check_whole as _whole
from .errors import OptionError

__all__ = ["CallOptions", "PoolOptions", "check_count", "check_name", "did_you_mean"]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known word nearest to `word`, or an empty text.

    Examples
    --------
    >>> did_you_mean("cout", ["count", "timeout"])
    " Did you mean 'count'?"
    >>> did_you_mean("zebra", ["count"])
    ''
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


def check_name(name: object, what: str) -> str:
    """Return `name` if it can be the name of a definition.

    Parameters
    ----------
    name : object
        A Python identifier that is no keyword. Names in double underscores, and the names that every
        function is given (``wpc_import``, ``wpc_constant``, ``context``), are kept for the pool.
    what : str
        What is named, for the error: ``"function name"``.

    Raises
    ------
    OptionError
        If it cannot.

    Examples
    --------
    >>> check_name("simulate", "function name")
    'simulate'
    """
    if not isinstance(name, str):
        raise OptionError(f"{what} must be a text, not {type(name).__name__}")
    if not name.isidentifier() or keyword.iskeyword(name):
        shown = name if len(name) <= 60 else name[:57] + "..."
        raise OptionError(
            f"{what} {shown!r} is not a Python name: letters, digits and underscores; no keyword, no "
            f"digit first"
        )
    if name in RESERVED or (name.startswith("__") and name.endswith("__")):
        raise OptionError(f"{what} {name!r} is kept for the pool itself; choose another name")
    return name


RESERVED = frozenset({"wpc_import", "wpc_constant", "context"})
"""Names that every function finds in its globals."""


def _choice(name: str, value: object, one: str, other: str) -> None:
    if not isinstance(value, str) or value not in (one, other):
        raise OptionError(f"{name} takes {one!r} or {other!r}, not {shown(value)}")


class _Checked:
    """What both kinds of options share: making changed copies from keywords, with one clear error."""

    def replace(self, changes: Mapping[str, Any]) -> Any:
        """Return a copy with some options changed.

        Raises
        ------
        OptionError
            If an option is unknown, or does not take that value.
        """
        known = [field.name for field in dataclasses.fields(self)]  # type: ignore[arg-type]
        if not isinstance(changes, Mapping):
            raise OptionError(f"changes takes a mapping of options to values, not {shown(changes)}")
        for name in changes:
            if not isinstance(name, str):
                raise OptionError(f"an option in changes is a text, not {shown(name)}")
            if name not in known:
                raise OptionError(
                    f"unknown option {shown(name)}.{did_you_mean(name, known)} "
                    f"The options are: {', '.join(known)}"
                )
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]


@dataclasses.dataclass(frozen=True, slots=True)
class PoolOptions(_Checked):
    """How a pool behaves. Times are in milliseconds.

    Parameters
    ----------
    call_timeout_ms : int or None
        How long a call may run, counted from the function's first instruction. None: as long as it takes.
    queue_timeout_ms : int or None
        How long a call may wait before it begins.
    control_timeout_ms : int
        How long a worker may take to install a definition.
    start_timeout_ms : int
        How long a worker may take from its start until it is ready.
    interrupt_grace_ms : int
        How long a call that was stopped may take to clean up, before its worker is ended by force.
    stop_timeout_ms : int
        How long stopping may take; workers that are still there are ended by force before it is over.
    restart_on_failure : bool
        Whether a dead worker's slot is filled again.
    max_restarts_per_worker : int
        How many deaths in a row a slot may have before it is `failed`.
    restart_base_delay_ms, restart_max_delay_ms, restart_jitter_ms : int
        The delay before restart k is ``min(base * 2**(k - 1), max)`` plus a random part up to the jitter,
        and never more than the maximum.
    restart_stable_after_ms : int
        A worker that has been ready for this long has its earlier deaths forgotten.
    max_calls_per_worker : int or None
        After so many calls a worker is recycled: another process takes its place. The old one goes on until
        the new one is ready, so it may have a few more; none is lost, and no restart is used up. The items of
        a map that travel together are one call.
    max_memory_per_worker_mb : int or None
        A worker that has more MiB in use is recycled in the same way. Looked at with every sign of life that
        it is asked for. What counts is memory of its own: shared blocks (large arguments, results and
        constants) and files do not.
    hard_memory_per_worker_mb : int or None
        A worker that has more MiB in use while a call runs is ended at once, and the call fails with
        `MemoryLimitError`; it is not tried again. Looked at every `heartbeat_interval_ms`, so a call may have
        more for a moment. The system's own limits (``RLIMIT_AS`` and the like) would do worse: they count
        what is only reserved, which libraries do in gigabytes, and not what is in use.
    idle_timeout_ms : int or None
        A worker that has had nothing to do for so long goes, and its slot is `resting` until a call needs it.
        Looked at with the signs of life.
    min_workers : int
        How many workers are ready at least, however idle; 0: none.
    max_pending_calls_per_worker : int or None
        With a number, at most that many calls times the workers may be pending (queued and running).
    saturation : {"error", "wait"}
        Whether a call beyond that limit is refused, or waits for room.
    heartbeat_interval_ms : int
        How often each worker is asked for a sign of life; a quarter as often while none runs anything.
    unresponsive_after_ms : int
        A worker silent for this long is `degraded` until it answers.
    threads_per_worker : int or None
        What BLAS and OpenMP libraries in a worker may use. None: the usable cores divided by the workers.
    block_memory_mb : int or None
        How much shared memory this process, and each worker, may keep for large arguments and results, in
        MiB; what is more goes through a socket. None: a quarter of the machine's memory.
    blocks_in : {"memory", "file"}
        Whether that memory is nameless memory (Linux), or an unlinked temporary file as on other systems.
    event_history : int
        How many events are kept for late listeners.

    Raises
    ------
    OptionError
        If a value is not of the kind named here.

    Examples
    --------
    >>> PoolOptions(max_restarts_per_worker=0).restart_base_delay_ms
    100
    """

    call_timeout_ms: int | None = None
    queue_timeout_ms: int | None = None
    control_timeout_ms: int = 10_000
    start_timeout_ms: int = 10_000
    interrupt_grace_ms: int = 1_000
    stop_timeout_ms: int = 2_000
    restart_on_failure: bool = True
    max_restarts_per_worker: int = 3
    restart_base_delay_ms: int = 100
    restart_max_delay_ms: int = 5_000
    restart_jitter_ms: int = 100
    restart_stable_after_ms: int = 60_000
    max_calls_per_worker: int | None = None
    max_memory_per_worker_mb: int | None = None
    hard_memory_per_worker_mb: int | None = None
    idle_timeout_ms: int | None = None
    min_workers: int = 1
    max_pending_calls_per_worker: int | None = None
    saturation: Literal["error", "wait"] = "error"
    heartbeat_interval_ms: int = 1_000
    unresponsive_after_ms: int = 5_000
    threads_per_worker: int | None = None
    block_memory_mb: int | None = None
    blocks_in: Literal["memory", "file"] = "memory"
    event_history: int = 1_000

    def __post_init__(self) -> None:
        for name in (
            "control_timeout_ms",
            "start_timeout_ms",
            "interrupt_grace_ms",
            "stop_timeout_ms",
            "restart_base_delay_ms",
            "restart_max_delay_ms",
            "restart_stable_after_ms",
            "heartbeat_interval_ms",
            "unresponsive_after_ms",
            "event_history",
        ):
            _whole(name, getattr(self, name), 1)
        for name in ("max_restarts_per_worker", "restart_jitter_ms", "min_workers"):
            _whole(name, getattr(self, name), 0)
        for name in (
            "call_timeout_ms",
            "queue_timeout_ms",
            "max_calls_per_worker",
            "max_memory_per_worker_mb",
            "hard_memory_per_worker_mb",
            "idle_timeout_ms",
            "max_pending_calls_per_worker",
            "threads_per_worker",
            "block_memory_mb",
        ):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), 1)
        check_flag("restart_on_failure", self.restart_on_failure)
        _choice("blocks_in", self.blocks_in, "memory", "file")
        _choice("saturation", self.saturation, "error", "wait")


@dataclasses.dataclass(frozen=True, slots=True)
class CallOptions(_Checked):
    """How one call, or every call of one function, is made.

    Parameters
    ----------
    timeout_ms : int or None
        How long it may run, in milliseconds from the function's first instruction. None: what the pool says.
        Unpickling its arguments may take as long before that, or `control_timeout_ms` where that is longer.
    queue_timeout_ms : int or None
        How long it may wait before it begins, in milliseconds. None: what the pool says.
    worker_id : int or None
        The slot that must run it. None: any.
    retries : int or None
        How many times it may run again after its worker has died under it, each time after a delay as before
        a restart; never after an error of its own. Only for functions that are safe to run twice. None: what
        its function says, else not at all.
    """

    timeout_ms: int | None = None
    queue_timeout_ms: int | None = None
    worker_id: int | None = None
    retries: int | None = None

    def __post_init__(self) -> None:
        for name in ("timeout_ms", "queue_timeout_ms", "worker_id"):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), 1)
        if self.retries is not None:
            _whole("retries", self.retries, 0)
