"""Frozen pictures of the pool for display: JSON-able, and safe to keep."""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = [
    "ConstantInfo",
    "DependencyInfo",
    "FunctionInfo",
    "PoolSnapshot",
    "WorkerHealth",
    "WorkerSnapshot",
]


@dataclasses.dataclass(frozen=True, slots=True)
class FunctionInfo:
    """A registered function, as `get_remote_functions` tells it.

    Parameters
    ----------
    name : str
        Its name in ``wpc.call``.
    parameter_signature : str
        Its parameters as text: ``"(n, scale=1.0)"``.
    function_hash_sha1 : str
        SHA-1 of its source, with line ends normalised and outer white space trimmed.
    installed_worker_count : int
        How many workers hold this revision.
    revision : int
        How many times the name has been defined, from 1.
    requires : tuple of str
        The dependencies, constants and functions that it needs.
    is_async : bool
        Whether it is an ``async def``.
    doc : str
        The first line of its docstring.
    timeout_ms, retries : int or None
        The options that it was defined with.
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


@dataclasses.dataclass(frozen=True, slots=True)
class DependencyInfo:
    """A registered dependency, as `get_worker_dependencies` tells it.

    Parameters
    ----------
    alias : str
        The name by which functions reach it.
    module_specifier : str
        The module: ``"os.path"``.
    export_name : str or None
        The object of the module that the alias stands for; None: the module itself.
    is_default_export : bool
        Whether the alias stands for the object that is named like the module's last part.
    installed_worker_count : int
        How many workers hold it.
    """

    alias: str
    module_specifier: str
    export_name: str | None
    is_default_export: bool
    installed_worker_count: int


@dataclasses.dataclass(frozen=True, slots=True)
class ConstantInfo:
    """A registered constant, as `get_worker_constants` tells it; without its value.

    Parameters
    ----------
    name : str
        The name by which functions reach it.
    installed_worker_count : int
        How many workers hold it.
    type_name : str
        The type of its value.
    nbytes : int
        The size of its pickled value, in bytes.
    """

    name: str
    installed_worker_count: int
    type_name: str = ""
    nbytes: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerHealth:
    """The health of a slot, as `get_worker_health_states` tells it.

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
        Deaths in a row that are not forgotten.
    """

    worker_id: int
    health_state: str
    pending_call_count: int
    pending_control_count: int
    restart_attempt: int


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerSnapshot:
    """One worker at one moment.

    Parameters
    ----------
    worker_id : int
        The slot, from 1.
    health_state : str
        As in `WorkerHealth`.
    pid : int or None
        Its process.
    current_call : str or None
        The function that it runs now, with its call: ``"simulate #12"``.
    running_s : float or None
        For how long it has run that, in seconds.
    waiting : int
        Calls sent ahead to it that have not begun.
    done, failed : int
        Calls of this slot that ended with a value, and otherwise.
    restarts : int
        How many times the slot was filled again.
    memory_bytes : int or None
        Resident memory of the process.
    cpu_percent : float or None
        Processor use since the snapshot before, 100 for one core.
    restart_in_s : float or None
        Seconds until the next start, for a slot that waits for it.
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


@dataclasses.dataclass(frozen=True, slots=True)
class PoolSnapshot:
    """The whole pool at one moment.

    Parameters
    ----------
    name : str
        The pool's name, ``"wpc"``.
    state : {"stopped", "starting", "running", "stopping"}
        What the pool as a whole is doing.
    workers : tuple of WorkerSnapshot
        By slot number.
    queued : int
        Calls that no worker has been given yet.
    in_flight : int
        Calls that a worker has been given and has not answered.
    done, failed : int
        Calls that ended with a value, and otherwise, since the pool was made.
    functions, dependencies, constants : int
        How many are registered.
    epoch : int
        The revision of the registry as a whole.
    events : int
        How many events there have been.
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
    epoch: int = 0
    events: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return the picture as plain data that JSON can carry."""
        return dataclasses.asdict(self)
