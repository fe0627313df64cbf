"""What the driver asks of an engine, and of each process that an engine starts for it.

The driver starts no process itself. An engine does, here (`LocalEngine`) or elsewhere, and what it hands over
has the same face: two channels, two pipes, a status page, and what can be asked and done with signals.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

from ..errors import StartError
from ..wire.block_ref import BlockRef
from ..wire.blocks import Block
from ..wire.channel import Channel
from ..wire.status_page import StatusPage
from .archive import Archive

__all__ = ["Came", "Dump", "Engine", "Measured", "Note", "Process", "Waits", "WorkerEnvironment"]


class WorkerEnvironment(NamedTuple):
    """What workers inherit from the parent process.

    Parameters
    ----------
    environ : mapping
        The environment variables.
    cwd : str
        The working directory.
    path : list of str
        ``sys.path``.
    uploads : tuple of Archive
        Modules of this machine, for those that do not have them: each is unpacked once on a machine, and its
        folder is the first in ``sys.path``.
    asked : mapping
        Those of the variables that the options ask for.
    folder : str or None
        The working directory if the options ask for one, as they name it.
    reconnect_ms : int
        How long nothing may be heard of another machine, in milliseconds.
    memory : int
        How much each worker may use, in bytes; 0: nobody has said.
    start_method : {"spawn", "template"}
        How workers of this machine are started.
    modules : tuple of str
        What a template imports, in this order.
    import_s : float
        How long one of them may take, in seconds; and the template itself.
    """

    environ: Mapping[str, str]
    cwd: str
    path: list[str]
    uploads: tuple[Archive, ...] = ()
    asked: Mapping[str, str] = {}
    folder: str | None = None
    reconnect_ms: int = 15_000
    memory: int = 0
    start_method: str = "spawn"
    modules: tuple[str, ...] = ()
    import_s: float = 10.0


class Measured(Protocol):
    """What a process uses; see `Usage`."""

    def memory_and_cpu(self) -> tuple[int | None, float | None]:
        """Return its resident memory, in bytes, and its CPU usage; 100 is one core."""

    def cpu_s(self) -> float:
        """Return how much processor time it has used, in seconds."""

    def private_memory(self) -> int | None:
        """Return its private memory, in bytes."""

    def status(self) -> str:
        """Return what the system says that it does."""


class Dump(Protocol):
    """What the `faulthandler` of a process has written; see `FaultDump`."""

    def clear(self) -> None:
        """Discard it."""

    def read(self) -> str:
        """Return what was written since the last `clear`."""


class Process(Protocol):
    """One worker process. All methods are thread-safe, and none blocks.

    Attributes
    ----------
    pid : int
        Its process id, on its own machine.
    host : str
        What its machine is called; empty: this one.
    blocks : socket.socket or None
        The pool's end of the channel of shared memory; None: it shares none with this process.
    lend : callable or None
        Has it get the descriptor of a copy of a block, on its own machine, which keeps that; see `FarSender`.
        None: `blocks` are shared, or nothing is.
    adopt : callable or None
        Returns what stands for the buffers of a value that stays on its machine, given their reference. None:
        all values are sent.
    stdout_fd, stderr_fd : int
        What it writes to its stdout and stderr can be read there, without blocking.
    sentinel_fd : int
        Becomes readable when `poll` returns the exit code; -1: use `wait_in_thread`.
    page : StatusPage
        What it publishes about itself. After it has exited: which calls have begun at most.
    dump : Dump
        What its `faulthandler` writes.
    usage : Measured
        What it uses.
    peak_bytes : int
        Its peak memory, in bytes, known once it has exited; 0: unknown.
    is_exit_known : bool
        Whether the exit code is its own.
    place_name : str
        What it shares with the processes that share `offers`.
    offers : mapping
        What is there for calls that ask for resources, as amounts by name.
    is_relayed : bool
        Whether its channels go through other processes, and so take longer.
    shares_page : bool
        Whether it and this process have the same memory as `page`.
    lost : str
        Why nobody knows how it has ended: ``"is lost: ..."``, with its machine. Empty: it is known.
    oom_killed : bool or None
        Whether memory had run out on its machine when it was killed; None: the pool is to look here.
    path : list of str or None
        The ``sys.path`` that it is to have; None: that of the pool.
    started_ns : int
        When it was started, in nanoseconds since the epoch.
    """

    pid: int
    host: str
    place_name: str
    offers: Mapping[str, float]
    is_relayed: bool
    shares_page: bool
    blocks: socket.socket | None
    lend: Callable[[Block, int], object] | None
    adopt: Callable[[BlockRef], Any] | None
    stdout_fd: int
    stderr_fd: int
    sentinel_fd: int
    page: StatusPage
    peak_bytes: int
    is_exit_known: bool
    lost: str
    oom_killed: bool | None
    path: list[str] | None
    started_ns: int

    @property
    def call(self) -> socket.socket | Channel:
        """The pool's end of its call channel."""

    @property
    def control(self) -> socket.socket | Channel:
        """The pool's end of its control channel."""

    @property
    def dump(self) -> Dump:
        """What its `faulthandler` writes."""

    @property
    def usage(self) -> Measured:
        """What it uses."""

    @property
    def worker_pid(self) -> int:
        """The process id of the worker itself."""

    def local_ns(self, ns: int) -> int:
        """Return a time of its monotonic clock as one of ours, in nanoseconds."""

    def signal(self, signum: int) -> bool:
        """Send a signal to it; return False if it has ended."""

    def kill(self) -> None:
        """Kill it, with all that it has started."""

    def poll(self) -> int | None:
        """Return the exit code if it has exited (minus the number of a signal), else None."""

    def end(self) -> None:
        """Kill it; nobody asks about it any more."""

    def wait_in_thread(self, ended: Callable[[], None]) -> None:
        """Wait in a new thread until it has exited, and call `ended` there."""

    def after_fork(self) -> None:
        """Take back what other threads may hold, in a fork."""

    def close(self) -> None:
        """Close everything."""


class Waits(NamedTuple):
    """What is told of a start for which there is no place now; the process, or an error, comes later."""

    why: str


class Note(NamedTuple):
    """What is told beside a start: an event, with its details."""

    event: str
    details: Mapping[str, object]


Came: TypeAlias = Callable[[Process | StartError | Waits | Note], None]


class Engine(Protocol):
    """Where workers live.

    Attributes
    ----------
    name : str
        What it is called in options and messages.
    shares_memory : bool
        Whether its processes can share memory with this one.
    copies_blocks : bool
        Whether its machines keep copies of blocks, so that their contents travel once to each.
    on_leave : callable
        Called by any thread, also more than once, with a process whose machine is about to go, and why. The
        driver sets it.
    """

    name: str
    shares_memory: bool
    copies_blocks: bool
    on_leave: Callable[[Process, str], object]

    def capacity(self, memory: int = 0) -> int:
        """Return how many workers a start without a number creates.

        Parameters
        ----------
        memory : int
            How much each of them may use, in bytes; 0: nobody has said.

        Raises
        ------
        StartError
            If it cannot be reached.
        """

    def open(self) -> None:
        """Get ready for starts; called by whoever starts the workers, before the first of them.

        Raises
        ------
        StartError
            If it cannot be reached.
        """

    def start(self, environment: WorkerEnvironment, came: Came, replaces: Process | None = None) -> None:
        """Start a process, now or when there is a place for it. In the driver's thread.

        Parameters
        ----------
        environment : WorkerEnvironment
            What it inherits.
        came : callable
            Is given the process, or why there is none: once, by any thread, also before this returns. Before
            that it may be told that the start waits, and given notes.
        replaces : Process, optional
            The one whose place it takes over: that goes on until this one is ready, and then ends.
        """

    def prepare(self, environment: WorkerEnvironment) -> None:
        """Get ready for starts that may come, since what they inherit has changed. In the driver's thread."""

    def differences(self) -> str:
        """Return the table of what its machines run that is not what runs here; empty: there is nothing."""

    def give_up_starts(self) -> None:
        """End the starts that wait: each gets a `StartError` soon. In the driver's thread."""

    def close(self) -> None:
        """Free what the engine holds: all processes have exited. In the driver's thread."""

    def after_fork(self) -> None:
        """Forget everything, in a fork of this process."""
