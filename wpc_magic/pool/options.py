"""The options of a pool and of a call: frozen, and validated when they are created."""

from __future__ import annotations

import dataclasses
import difflib
import keyword
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from .checks import (
    MAX_WHOLE,
    check_count,
    check_flag,
    check_text,
    error_names,
    read_amounts,
    read_variables,
    shown,
)
from .checks import check_whole as _whole
from .errors import OptionError

__all__ = [
    "ANONYMOUS",
    "PRIVATE",
    "SETUP",
    "CallOptions",
    "FunctionOptions",
    "PoolOptions",
    "check_choice",
    "check_count",
    "check_name",
    "did_you_mean",
    "listed_names",
    "shown_name",
]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the known word closest to `word`, or an empty string.

    Examples
    --------
    >>> did_you_mean("cout", ["count", "timeout"])
    " Did you mean 'count'?"
    >>> did_you_mean("zebra", ["count"])
    ''
    """
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


PRIVATE = "_wpc_"
"""How the names of definitions begin that are nobody's but the pool's own: no list shows them."""


ANONYMOUS = f"{PRIVATE}:"
"""How the names of functions begin that are not registered; a number follows, and what they are called."""

SETUP = "the setup"
"""The name of the setup of workers among all definitions; no other one can have it."""


def shown_name(name: str) -> str:
    """Return what a function is called in messages.

    Examples
    --------
    >>> shown_name("simulate"), shown_name("_wpc_cell_3"), shown_name("_wpc_cell_3_2")
    ('simulate', 'Cell In[3]', 'Cell In[3]')
    >>> shown_name("_wpc_test_1_read_file"), shown_name("_wpc_:7:<lambda>")
    ('doctests of read_file', '<lambda>')
    >>> shown_name("_wpc_resource_make_my_model")
    'my_model'
    """
    if not name.startswith(PRIVATE):
        return name
    if name.startswith(ANONYMOUS):
        return name.split(":", 2)[2]
    if name.startswith(f"{PRIVATE}resource_"):
        return name.split("_", 4)[4]
    if name.startswith(f"{PRIVATE}test_"):
        return f"doctests of {name.split('_', 4)[4]}"
    return f"Cell In[{name.split('_')[3]}]" if name.startswith(f"{PRIVATE}cell_") else name


def listed_names(names: Iterable[str]) -> list[str]:
    """Return the names of definitions that users have made, without the pool's own.

    Examples
    --------
    >>> listed_names(["simulate", "_wpc_cell_3"])
    ['simulate']
    """
    return [name for name in names if not name.startswith(PRIVATE)]


def check_name(name: object, what: str) -> str:
    """Return `name` if it is a valid name of a definition.

    Parameters
    ----------
    name : object
        A Python identifier that is not a keyword. Names in double underscores, and the names that are
        injected into every function (``wpc_import``, ``wpc_constant``, ``context``), are reserved.
    what : str
        What is named, for the error: ``"function name"``.

    Raises
    ------
    OptionError
        If it is not.

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
"""Names that are injected into the globals of every function."""


def check_choice(name: str, value: object, *choices: str) -> None:
    """Check that a value is one of several words.

    Raises
    ------
    OptionError
        If it is not.
    """
    if not isinstance(value, str) or value not in choices:
        *most, last = map(repr, choices)
        raise OptionError(f"{name} takes {', '.join(most)} or {last}, not {shown(value)}")


class _Options:
    """The base of both kinds of options: copies with changes, and one clear error for a wrong one."""

    def replace(self, changes: Mapping[str, Any]) -> Any:
        """Return a copy with some options changed.

        Raises
        ------
        OptionError
            If an option is unknown or has an invalid value.
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
class PoolOptions(_Options):
    """How a pool behaves. Times are in milliseconds.

    Parameters
    ----------
    call_timeout_ms : int or None
        How long a call may run, counted from the function's first instruction. None: as long as it takes.
    queue_timeout_ms : int or None
        How long a call may wait before it begins.
    control_timeout_ms : int
        How long a worker may take to install a definition, while somebody waits for it.
    start_timeout_ms : int
        How long a worker may take from its start until it is ready, while a call waits for it. As long as
        nothing waits and it makes progress, such as loading a big model, each of these two may be exceeded
        tenfold.
    interrupt_grace_ms : int
        How long a call that was stopped may take to clean up, before its worker is killed.
    stop_timeout_ms : int
        How long stopping may take; workers that are still running are killed before it expires.
    restart_on_failure : bool
        Whether the slot of a dead worker is filled again.
    max_restarts_per_worker : int
        How many deaths in a row a slot may have, while it starts or is idle, before it is `failed`. A death
        while a call runs is that call's, and does not count.
    restart_base_delay_ms : int
        The delay before the first restart; before restart k it is ``min(base * 2**(k - 1), max)`` plus a
        random part, and never more than the maximum. After a death while a call ran, the first comes at once.
    restart_max_delay_ms : int
        The longest delay before a restart.
    restart_jitter_ms : int
        How large the random part of that delay may be.
    restart_stable_after_ms : int
        A worker that has been ready for this long, or has ended a call well, has its earlier deaths
        forgotten.
    max_calls_per_worker : int or None
        After so many calls a worker is recycled: another process replaces it. The old one continues until the
        new one is ready, so it may run a few more; none is lost, and no restart is used up. The items of a
        map that are sent together are one call.
    max_memory_per_worker_mb : int or None
        A worker that uses more MiB is recycled in the same way. Checked with every heartbeat. Only memory of
        its own counts: shared blocks (large arguments, results and constants) and files do not.
    hard_memory_per_worker_mb : int or None
        A worker that uses more MiB while a call runs is killed at once, and the call fails with
        `MemoryLimitError`; it is not retried. Checked every `heartbeat_interval_ms`, so a call may exceed it
        briefly. The system's own limits (``RLIMIT_AS`` and the like) are worse: they count what is only
        reserved, which libraries do in gigabytes, and not what is in use. A Dask worker with a memory limit
        gets no more workers than that has room for.
    idle_timeout_ms : int or None
        A worker that has been idle for so long is stopped, and its slot is `resting` until a call needs it.
        Checked with the heartbeats.
    min_workers : int
        How many workers stay ready at least, even if idle; 0: none.
    max_pending_calls_per_worker : int or None
        With a number, at most that many calls times the workers may be pending (queued and running).
    saturation : {"error", "wait"}
        Whether a call beyond `max_pending_calls_per_worker` is refused, or waits for room.
    heartbeat_interval_ms : int
        How often each worker is pinged; a quarter as often while no worker runs anything.
    unresponsive_after_ms : int
        A worker silent for this long is `degraded` until it answers.
    threads_per_worker : int or None
        How many threads BLAS, OpenMP, Numba, Polars and DuckDB may use in a worker. None: the usable cores
        (by affinity, and the quota of the control groups) divided by the workers.
    host_resources : mapping or None
        What each machine offers to calls that ask for `resources`: ``{"GPU": 2}``, or as text ``"GPU=2"``.
        None: on a Dask cluster what each Dask worker offers, and here nothing.
    reconnect_ms : int
        How long nothing may be heard of a machine of a cluster: then it is lost, what was sent there fails,
        and its workers end. A network that comes back before costs nothing, unless it resets connections.
        Dask's own ``distributed.comm.timeouts.tcp``, 30 s, is a limit, too.
    working_folder : str or None
        The working directory of workers, on their machines; ``~`` is their home. None: that of this process,
        on a cluster that of the Dask worker. It applies from the next start on, as the next one does.
    environment : mapping or None
        Environment variables of workers, ``{"NAME": "value"}``, besides those of this process, on a cluster
        of the Dask worker. Limits of threads among them count.
    block_memory_mb : int or None
        How much shared memory this process, and each worker, may keep for large arguments and results, in
        MiB; the rest is sent through a socket. None: a quarter of the memory that this process may use: the
        machine's, or what its control groups allow.
    blocks_in : {"memory", "file"}
        Whether shared memory is anonymous memory (Linux), or an unlinked temporary file as on other systems.
    keep_failed_arguments_mb : int
        How large the arguments of a failed call may be, in MiB, to be kept for `replay` and ``%wpc_debug``;
        those of the last 16 are. 0: none.
    spin_us : int
        For how many microseconds a thread in `result`, and an idle worker, look at shared memory before they
        sleep, as long as that turns out to be clearly quicker. Only for functions that take less than about
        60 µs, and on this machine, if it has two cores for this process. 0: they sleep at once.
    start_method : {"spawn", "template"}
        How workers of this machine are started. ``"spawn"``: each by a new interpreter, which imports what it
        needs. ``"template"`` (Linux): by a fork of one process that has imported it already.
    spare_workers : int
        How many more processes of this machine are started, with everything installed, to take the place of a
        worker that dies, which then serves at once; at most as many as workers. They run no calls before,
        and their ``context.worker_id`` is 0 until then. None is kept where memory is short: less left than
        twice what the largest worker uses.
    cache_folder : str or None
        The folder of the results cache, which several pools may share. None: ``wpc_magic/results`` in the
        user's folder for caches.
    cache_limit_mb : int
        How large it may become, in MiB; then what was used least recently is removed.
    event_history : int
        How many events are kept for late listeners.
    call_history : int
        How many calls that have ended are kept, for `history`, the dashboard and reports: when they ran and
        how they have ended, not their values. 0: none.

    Raises
    ------
    OptionError
        If a value is invalid.

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
    host_resources: Any = None
    reconnect_ms: int = 15_000
    working_folder: str | None = None
    environment: Mapping[str, str] | None = None
    block_memory_mb: int | None = None
    blocks_in: Literal["memory", "file"] = "memory"
    keep_failed_arguments_mb: int = 1
    spin_us: int = 50
    start_method: Literal["spawn", "template"] = "spawn"
    spare_workers: int = 0
    cache_folder: str | None = None
    cache_limit_mb: int = 1_024
    event_history: int = 1_000
    call_history: int = 10_000

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
            "reconnect_ms",
            "cache_limit_mb",
            "event_history",
        ):
            _whole(name, getattr(self, name), 1)
        for name in (
            "max_restarts_per_worker",
            "restart_jitter_ms",
            "min_workers",
            "spare_workers",
            "keep_failed_arguments_mb",
            "spin_us",
            "call_history",
        ):
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
        if self.host_resources is not None:
            object.__setattr__(self, "host_resources", read_amounts("host_resources", self.host_resources))
        if self.working_folder is not None:
            check_text("working_folder", self.working_folder)
        if self.environment is not None:
            object.__setattr__(self, "environment", read_variables("environment", self.environment))
        if self.cache_folder is not None:
            check_text("cache_folder", self.cache_folder)
        check_flag("restart_on_failure", self.restart_on_failure)
        check_choice("blocks_in", self.blocks_in, "memory", "file")
        check_choice("start_method", self.start_method, "spawn", "template")
        check_choice("saturation", self.saturation, "error", "wait")


@dataclasses.dataclass(frozen=True, slots=True)
class CallOptions(_Options):
    """The options of one call, or of every call of one function.

    Parameters
    ----------
    timeout_ms : int or None
        How long it may run, in milliseconds from the function's first instruction. None: the pool's option.
        Unpickling its arguments may take as long before that, or `control_timeout_ms` if that is longer.
    queue_timeout_ms : int or None
        How long it may wait before it begins, in milliseconds. None: the pool's option. If it waits for the
        values of other calls, it counts from when the last of them is there.
    worker_id : int or None
        The slot that must run it. None: any.
    retries : int or None
        How many times it may run again after its worker died while it ran, each time after a delay as before
        a restart; after an error of its own only if that is among `retry_on`. Only for functions that are
        safe to run twice. None: the function's option, by default not at all.
    buffer : int or None
        How many items a stream may be ahead of its caller: then it is paused. None: 1,000, or what comes to
        16 MiB. With a number, also a function streams that is not known to yield, such as a decorated one.
    item_timeout_ms : int or None
        How long a stream may run from one item to the next, in milliseconds. The same as for `buffer` holds.
        Neither here nor for `timeout_ms` counts how long it is paused.
    retry_on : exception class, or sequence of these
        The errors of the function after which it runs again, as often as `retries` says; also their names,
        as text. It is kept as the names. Of a map, only the items run again that have failed; a stream does
        not. None: the function's option, by default no error.
    priority : int or None
        Calls that wait are sent by priority, the highest first, and those of one priority in the order in
        which they were made. It may be negative. None: 0.
    keep : bool
        Whether the value stays with the pool, and is fetched anew by each ``result()``, until the future is
        dropped. Not for maps and streams.
    cache : bool or None
        Whether the value is stored on disk, and a later call of the same function with the same arguments has
        it from there, also after a restart of this process. None: the function's option, by default not. It
        needs joblib (``wpc_magic[cache]``).
    resources : mapping or None
        What it needs of its machine, ``{"GPU": 1}``, or as text ``"GPU=1"``: it runs only where that is
        offered, and the calls of this pool use no more of it at once there. See `host_resources` of
        `PoolOptions`. None: the function's option, by default nothing.
    """

    timeout_ms: int | None = None
    queue_timeout_ms: int | None = None
    worker_id: int | None = None
    retries: int | None = None
    buffer: int | None = None
    item_timeout_ms: int | None = None
    retry_on: Any = None
    priority: int | None = None
    keep: bool = False
    cache: bool | None = None
    resources: Any = None

    @property
    def is_for_stream(self) -> bool:
        """Whether a call with these options is a stream, whatever its function is."""
        return self.buffer is not None or self.item_timeout_ms is not None

    def __post_init__(self) -> None:
        for name in ("timeout_ms", "queue_timeout_ms", "worker_id", "buffer", "item_timeout_ms"):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), 1)
        if self.retries is not None:
            _whole("retries", self.retries, 0)
        if self.retry_on is not None:
            object.__setattr__(self, "retry_on", error_names("retry_on", self.retry_on))
        if self.priority is not None:
            _whole("priority", self.priority, -MAX_WHOLE)
        check_flag("keep", self.keep)
        if self.cache is not None:
            check_flag("cache", self.cache)
        if self.resources is not None:
            object.__setattr__(self, "resources", read_amounts("resources", self.resources))


@dataclasses.dataclass(frozen=True, slots=True)
class FunctionOptions(CallOptions):
    """The options of a function: those of its calls, and what holds for all of them together.

    Parameters
    ----------
    timeout_ms, queue_timeout_ms, worker_id, retries, retry_on, priority, cache, resources : object
        As in `CallOptions`.
    at_most : int or None
        How many of its calls workers hold at once at most, in the whole pool; also of coroutines. The others
        wait, and calls of other functions go past them. None: there is no limit.
    """

    at_most: int | None = None

    def __post_init__(self) -> None:
        CallOptions.__post_init__(self)
        if self.at_most is not None:
            _whole("at_most", self.at_most, 1)
        if self.retry_on and not self.retries:
            raise OptionError("retry_on says after which errors a call runs again; retries=N says how often")
