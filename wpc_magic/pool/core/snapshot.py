"""Immutable snapshots of the pool for display: JSON-serializable, and safe to keep."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..frames import frame_of

__all__ = [
    "ConstantInfo",
    "DependencyInfo",
    "FunctionInfo",
    "LeavingProcess",
    "PoolSnapshot",
    "ResourceInfo",
    "SetupInfo",
    "SharedInfo",
    "UploadInfo",
    "WorkerHealth",
    "WorkerSnapshot",
]


@dataclasses.dataclass(frozen=True, slots=True)
class FunctionInfo:
    """A registered function, as `get_remote_functions` returns it.

    Parameters
    ----------
    name : str
        Its name in ``wpc.call``.
    parameter_signature : str
        Its parameters as text: ``"(n, scale=1.0)"``.
    function_hash_sha1 : str
        SHA-1 of its source, with line endings normalised and surrounding whitespace stripped.
    installed_worker_count : int
        How many workers have this revision installed.
    revision : int
        How many times the name has been defined, from 1.
    requires : tuple of str
        The dependencies, constants and functions that it needs.
    is_async : bool
        Whether it is an ``async def``.
    doc : str
        The first line of its docstring.
    timeout_ms, retries, retry_on, at_most, resources : object
        The options in its definition; None: not given.
    cache : bool
        Whether its values are stored on disk.
    broken : str or None
        Why no worker could install it: calls that need it are refused. None: it is in force.
    captured : tuple of str
        The requirements that its definition has taken from variables.
    doctests : int or None
        How many doctests of its cell have passed before it was defined; None: they were not run.
    is_generator : bool
        Whether it is known to yield: its calls are streams.
    """

    name: str
    parameter_signature: str
    function_hash_sha1: str
    installed_worker_count: int
    revision: int = 1
    requires: tuple[str, ...] = ()
    is_async: bool = False
    doc: str = ""
    timeout_ms: int | None = None
    retries: int | None = None
    retry_on: tuple[str, ...] | None = None
    at_most: int | None = None
    resources: Mapping[str, float] | None = None
    cache: bool = False
    broken: str | None = None
    captured: tuple[str, ...] = ()
    doctests: int | None = None
    is_generator: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class DependencyInfo:
    """A registered dependency, as `get_worker_dependencies` returns it.

    Parameters
    ----------
    alias : str
        The name by which functions refer to it.
    module_specifier : str
        The module: ``"os.path"``.
    export_name : str or None
        The attribute of the module that the alias refers to; None: the module itself.
    is_default_export : bool
        Whether the alias refers to the attribute that has the name of the module's last component.
    installed_worker_count : int
        How many workers have it installed.
    broken : str or None
        Why no worker could install it; None: it is in force.
    """

    alias: str
    module_specifier: str
    export_name: str | None
    is_default_export: bool
    installed_worker_count: int
    broken: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class ConstantInfo:
    """A registered constant, as `get_worker_constants` returns it; without its value.

    Parameters
    ----------
    name : str
        The name by which functions refer to it.
    installed_worker_count : int
        How many workers have it installed.
    type_name : str
        The type of its value.
    nbytes : int
        The size of its pickled value, in bytes.
    broken : str or None
        Why no worker could install it; None: it is in force.
    shared_kinds : tuple of str
        The types in it that are not read-only in workers: the calls of a worker share them.
    """

    name: str
    installed_worker_count: int
    type_name: str = ""
    nbytes: int = 0
    broken: str | None = None
    shared_kinds: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class ResourceInfo:
    """A registered resource, as `get_worker_resources` returns it; without the object.

    Parameters
    ----------
    name : str
        The name by which functions refer to it.
    installed_worker_count : int
        How many workers have its definition installed; each makes the object when it needs it.
    made_by : str
        What makes it, as text: ``"load_model()"``.
    requires : tuple of str
        The dependencies, constants, functions and resources that it is made with.
    eager : bool
        Whether it is made before the first call that needs it.
    timeout_ms : int or None
        How long to make, check or close it may take; None: any time.
    is_closed, is_checked : bool
        Whether it is closed at the end, and checked before each use.
    is_async : bool
        Whether an ``async def`` makes it.
    revision : int
        How many times the name has been defined, from 1.
    broken : str or None
        Why no worker could install it: calls that need it are refused. None: it is in force.
    """

    name: str
    installed_worker_count: int
    made_by: str = ""
    requires: tuple[str, ...] = ()
    eager: bool = False
    timeout_ms: int | None = None
    is_closed: bool = False
    is_checked: bool = False
    is_async: bool = False
    revision: int = 1
    broken: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SharedInfo:
    """A shared object, as `get_shared_objects` returns it; without its value.

    Parameters
    ----------
    name : str
        The name by which functions refer to it.
    kind : {"array", "counter", "queue"}
        What it is.
    installed_worker_count : int
        How many workers have its memory mapped.
    nbytes : int
        The size of its memory, in bytes. `block_memory_mb` does not limit it.
    shape : tuple of int
        Of an array; of a queue how many items it takes.
    dtype : str
        The data type of an array; else empty.
    revision : int
        How many times the name has been defined, from 1.
    broken : str or None
        Why no worker could open it; None: it is in force.
    """

    name: str
    kind: str
    installed_worker_count: int
    nbytes: int = 0
    shape: tuple[int, ...] = ()
    dtype: str = ""
    revision: int = 1
    broken: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class SetupInfo:
    """The setup of workers, as `get_worker_setup` returns it.

    Parameters
    ----------
    names : tuple of str
        The names that it gives to all cells.
    source : str
        Its text.
    hash_sha1 : str
        SHA-1 of that, as of a function's.
    installed_worker_count : int
        How many workers have run it.
    revision : int
        How many times a setup has been defined, from 1.
    broken : str or None
        Why no worker could run it: all calls are refused. None: it is in force.
    """

    names: tuple[str, ...]
    source: str
    hash_sha1: str
    installed_worker_count: int
    revision: int = 1
    broken: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class UploadInfo:
    """An uploaded module, as `get_uploads` returns it.

    Parameters
    ----------
    name : str
        The name by which functions import it.
    brings : tuple of str
        The other local modules that came along, since it imports them.
    path : str
        Its file here, or the folder of the package.
    nbytes : int
        The size of all files.
    digest : str
        The SHA-256 of the files: the same as long as they are the same.
    """

    name: str
    brings: tuple[str, ...]
    path: str
    nbytes: int
    digest: str


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerHealth:
    """The health of a slot, as `get_worker_health_states` returns it.

    Parameters
    ----------
    worker_id : int
        The slot, from 1.
    health_state : str
        ``starting``, ``ready``, ``degraded``, ``restarting``, ``resting``, ``stopped`` or ``failed``.
    pending_call_count : int
        Calls sent to it and not answered.
    pending_control_count : int
        Definitions sent to it and not answered.
    restart_attempt : int
        Consecutive deaths; 0 after a call that ended well, or a stable run.
    """

    worker_id: int
    health_state: str
    pending_call_count: int
    pending_control_count: int
    restart_attempt: int


class LeavingProcess(NamedTuple):
    """A process that another one has replaced, and that finishes its calls.

    Parameters
    ----------
    incarnation : int
        Which process of the pool it is.
    pid : int or None
        Its process; None: it has exited.
    current_call : str or None
        As in `WorkerSnapshot`.
    running_s : float or None
        For how long that call has run, in seconds.
    call_ids : tuple of str
        The ids of the calls that it has begun: ``("call-12",)``.
    """

    incarnation: int
    pid: int | None = None
    current_call: str | None = None
    running_s: float | None = None
    call_ids: tuple[str, ...] = ()


class WorkerSnapshot(NamedTuple):
    """One worker at one point in time.

    Parameters
    ----------
    worker_id : int
        The slot, from 1.
    health_state : str
        As in `WorkerHealth`.
    pid : int or None
        Its process.
    current_call : str or None
        The function that it runs now, with the number of the call: ``"simulate #12"``; of a stream whose
        caller is behind, ``"numbers #3 (paused)"``.
    running_s : float or None
        For how long that call has run, in seconds.
    waiting : int
        Prefetched and pinned calls that have not begun.
    done, failed, cancelled : int
        Its calls, and items of maps, that ended with a value, with an error, and that were cancelled.
    restarts : int
        How many times the slot was restarted.
    memory_bytes : int or None
        Resident memory of the process.
    cpu_percent : float or None
        CPU use since the previous snapshot; 100 is one core.
    restart_in_s : float or None
        Seconds until a scheduled restart.
    host : str
        The machine of the process, on a cluster; empty: this one.
    waits_for : str
        Why its process is not started yet, on a cluster that has no place for it; empty: it does not wait.
    call_ids : tuple of str
        The ids of the calls that its process has begun: ``("call-12",)``.
    leaving : tuple of LeavingProcess
        The processes that it has replaced, and that have not exited.
    """

    worker_id: int
    health_state: str
    pid: int | None = None
    current_call: str | None = None
    running_s: float | None = None
    waiting: int = 0
    done: int = 0
    failed: int = 0
    restarts: int = 0
    memory_bytes: int | None = None
    cpu_percent: float | None = None
    restart_in_s: float | None = None
    cancelled: int = 0
    call_ids: tuple[str, ...] = ()
    leaving: tuple[LeavingProcess, ...] = ()
    host: str = ""
    waits_for: str = ""


@dataclasses.dataclass(frozen=True, slots=True, repr=False)
class PoolSnapshot:
    """The whole pool at one point in time.

    Parameters
    ----------
    name : str
        The pool's name, ``"wpc"``.
    state : {"stopped", "starting", "running", "stopping"}
        What the pool as a whole is doing.
    workers : tuple of WorkerSnapshot
        By slot number.
    queued : int
        Calls that were not yet sent to a worker.
    dependent : int
        Those of them that wait for the values of other calls.
    in_flight : int
        Calls sent to a worker and not answered.
    done, failed, cancelled : int
        Calls, and items of maps, that ended with a value, with an error, and that were cancelled, since the
        pool was created.
    calls, items : int
        The same by what they were: single calls, and items of maps, which have ended in whatever way.
    functions, dependencies, constants, setup, resources, shared : int
        How many are registered; of setups there is one, or none.
    epoch : int
        The revision of the registry as a whole.
    events : int
        How many events were emitted.
    spare_workers : int
        Processes that are ready to take the place of a worker that dies.
    """

    name: str
    state: str
    workers: tuple[WorkerSnapshot, ...] = ()
    queued: int = 0
    in_flight: int = 0
    done: int = 0
    failed: int = 0
    functions: int = 0
    dependencies: int = 0
    constants: int = 0
    setup: int = 0
    resources: int = 0
    shared: int = 0
    epoch: int = 0
    events: int = 0
    dependent: int = 0
    calls: int = 0
    items: int = 0
    cancelled: int = 0
    spare_workers: int = 0

    def __repr__(self) -> str:
        waiting = f" ({self.dependent} wait for values)" if self.dependent else ""
        cancelled = f", {self.cancelled} cancelled" if self.cancelled else ""
        return (
            f"<PoolSnapshot {self.name}: {self.state}, {len(self.workers)} workers, "
            f"{self.queued} queued{waiting}, "
            f"{self.in_flight} in flight, {self.done} done, {self.failed} failed{cancelled}>"
        )

    def to_pandas(self) -> Any:
        """Return the workers as a DataFrame, a row each.

        Raises
        ------
        ImportError
            If pandas is not installed.
        """
        return frame_of(self.workers, WorkerSnapshot)

    def as_dict(self) -> dict[str, Any]:
        """Return the snapshot as JSON-serializable data."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**plain, "workers": tuple(_plain(worker) for worker in self.workers)}


def _plain(worker: WorkerSnapshot) -> dict[str, Any]:
    return {**worker._asdict(), "leaving": tuple(process._asdict() for process in worker.leaving)}
