"""Every message between the pool and a worker, both directions.

What is sent for every call is a bare frame (see `channel`), because each microsecond counts there. Everything
else is a small immutable type, pickled into a frame of kind `MESSAGE`. A worker has three channels:

=================  ==========================================  ============================================
channel            pool -> worker                              worker -> pool
=================  ==========================================  ============================================
call channel       `CALL`, `CHUNK`, `WHOLE_CHUNK`, `STREAM`,   `VALUE`, `ERROR`, `BEGAN`, `RELEASE`, `RESENT`,
(main thread)      `RELEASE`; `Setup`, `Blocks`, `LogLevels`,  `ITEMS`; `Installed`, `Refused`, `Printed`,
                   `Install`, `Forget`, `Activate`,            `Shown`, `Warned`, `Logged`, `Event`,
                   `HoldFunction`, `KeepValue`, `Trace`,       `Progress`, `Tainted`
                   `Shutdown`
control channel    `Ping`, `Revoke`, `Interrupt`, `Shutdown`,  `Pong`, `Revoked`, `StackTaken`
(control thread)   `TakeStack`, `Trim`, `Resend`, `Credit`,    `Described`
                   `LogLevels`, `Describe`
block channel      descriptors (see `blocks`)                  descriptors (see `blocks`)
(main thread)
=================  ==========================================  ============================================

Both ends run the same version of this package, so the protocol has no version number.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from wpc_magic.pool.wire.named_tuple import NamedTuple

__all__ = [
    "BEGAN",
    "CALL",
    "CHUNK",
    "CHUNKS",
    "ERROR",
    "IN_BODY",
    "ITEMS",
    "KEY_BITS",
    "MESSAGE",
    "RELEASE",
    "RESENT",
    "STREAM",
    "TRACED",
    "VALUE",
    "WHOLE_CHUNK",
    "Activate",
    "Blocks",
    "Cell",
    "Constant",
    "Credit",
    "Dependency",
    "Describe",
    "Described",
    "Event",
    "Failure",
    "Forget",
    "FromWorker",
    "Function",
    "HoldFunction",
    "Install",
    "Installed",
    "Interrupt",
    "KeepValue",
    "LogLevels",
    "Logged",
    "Number",
    "Ping",
    "Pong",
    "Printed",
    "Progress",
    "Refused",
    "Resend",
    "Resource",
    "Revoke",
    "Revoked",
    "Setup",
    "SetupCell",
    "Shared",
    "Shown",
    "Shutdown",
    "Stack",
    "StackTaken",
    "Tainted",
    "TakeStack",
    "ToWorker",
    "Trace",
    "Trim",
    "Warned",
]

# Kinds of frames. `seq` numbers the calls that are sent to one worker, from 1.
MESSAGE = 1  # body: one of the types below
CALL = 2  # target: the function's key; epoch: of the registry; body: (args, kwargs)
CHUNK = 3  # as CALL, body: see `chunk_arguments`; answered with (values, failures by position)
# target: its run time, nanoseconds; body: the value; epoch: of a chunk, how many items have failed. Of one
# that ends with the first that fails: how many have ended then, and 0 if none has failed.
VALUE = 4
ERROR = 5  # target: its run time, nanoseconds; body: a Failure
BEGAN = 6  # target: the monotonic clock, nanoseconds; only for coroutines: for the rest see `status_page`
RELEASE = 7  # body: the leases of blocks that are no longer used, 8 bytes each
WHOLE_CHUNK = 8  # as CHUNK, but a failure does not end it
RESENT = 9  # target: a lease; the one buffer: what is in its block; sent by the control thread
STREAM = 10  # as CALL, above KEY_BITS of target: the buffer; answered when the stream has ended
ITEMS = 11  # target: how many items; epoch: 0, or 1 + the `taken` at which it pauses; body: see `items`
CHUNKS = (CHUNK, WHOLE_CHUNK)

KEY_BITS = 40
"""The key of a function takes so many bits of a frame's `target` at most."""


ANY_VALUE = "*"
"""Stands among the inputs of a cell for every dependency and constant: it looks up names that it computes."""


class Cell(NamedTuple):
    """Source for workers: a notebook cell, or the text of one function. It becomes a module there."""

    module: str  # the module's name, derived from the hash of the source
    source: str
    filename: str  # stable: the same for the same source
    needs: tuple[str, ...]  # names that the registry provides
    inputs: tuple[str, ...]  # names that are read while it is loaded; see `ANY_VALUE`
    file: str  # the script or module that it was taken from; empty: a cell has no file


class Function(NamedTuple):
    """One revision of a function."""

    name: str
    key: int  # unique to this revision
    how: str  # "cell": `path` in the module of `cell`; "module": in module `payload`; "pickle": by value
    cell: Cell | None
    path: str
    payload: bytes
    needs: tuple[str, ...]  # for "pickle": names that the registry provides; else those that it requires


class Dependency(NamedTuple):
    """A module, or an object that it exports."""

    name: str
    module: str
    export: str | None
    fresh: bool  # whether a worker refuses it that has imported what was edited since


class Constant(NamedTuple):
    """A value that every worker holds."""

    name: str
    payload: bytes
    buffers: Any  # a tuple of bytes, or a `BlockRef`: its descriptor is sent on the block channel


class Resource(NamedTuple):
    """An object that every worker makes for itself."""

    name: str
    make: str  # the function that makes it
    close: str  # the function that closes it; empty: none
    check: str  # the function that tells whether it still works; empty: none
    eager: bool  # whether it is made when it is installed, and not for the first call that needs it
    timeout_ms: int  # how long to make, check or close it may take; 0: any time


class Shared(NamedTuple):
    """An object that all processes read and write in place; see `shared`."""

    name: str
    kind: str  # "array", "counter", "queue"
    number: int  # of its region
    size: int  # of that, in bytes
    about: Any  # of an array: its shape, and its pickled data type
    buffers: Any  # a `BlockRef`, whose descriptor is sent on the block channel; or a path where it is opened


class SetupCell(NamedTuple):
    """Code that a worker runs before anything else."""

    name: str
    cell: Cell
    provides: tuple[str, ...]  # the names that it gives to all cells


class Setup(NamedTuple):
    """The first message: what the worker takes over from the parent process."""

    worker_id: int
    pool: str
    path: list[str]
    authkey: bytes  # of `multiprocessing`
    initializer: bytes  # (function, arguments), to be called before the first call; empty: none

    def __repr__(self) -> str:
        return f"Setup(worker_id={self.worker_id}, pool={self.pool!r}, path={self.path!r}, authkey=...)"


class Number(NamedTuple):
    """A worker that was a spare has another number; it answers that it has the epoch, unless that is 0."""

    worker_id: int
    epoch: int


class Blocks(NamedTuple):
    """The options of shared memory."""

    limit: int  # bytes
    in_memory: bool  # otherwise in temporary files
    come_later: bool  # whether a frame may arrive before the descriptors that it refers to


class LogLevels(NamedTuple):
    """Which log records the parent process wants, also later, when they are changed there."""

    levels: dict[str, int]  # of the loggers that have one of their own, by name; "": the root logger
    disabled: int  # what `logging.disable` was given


class Install(NamedTuple):
    """Apply a change to the definitions of epoch `base`, and keep the result as epoch `epoch` beside it."""

    epoch: int
    base: int
    records: tuple[Any, ...]  # SetupCell | Function | Dependency | Constant | Resource | Shared
    removed: tuple[str, ...]
    cells: tuple[Cell, ...]  # texts of which objects may exist, besides those of the records


class Forget(NamedTuple):
    """Discard an epoch that another worker has refused."""

    epoch: int


class Activate(NamedTuple):
    """Switch to an epoch, since it is in force: what only earlier ones have is closed."""

    epoch: int


TRACED = 1 << (KEY_BITS - 1)
"""This bit of `target` says that a `Trace` came before the call."""

IN_BODY = 0
"""The target of a call whose function is in the body of its frame, before the arguments."""


class Trace(NamedTuple):
    """What travels with the next call: the context of the trace that it belongs to."""

    name: str  # of the call's span
    carrier: dict[str, str]


class KeepValue(NamedTuple):
    """The value of a call that comes next is to stay on the machine of the worker, as far as it is large."""

    seq: int


class HoldFunction(NamedTuple):
    """Hold an anonymous function for calls that have its key as target, in any epoch."""

    key: int
    payload: bytes
    dropped: tuple[int, ...]  # keys of those for which no more calls come
    is_blank: bool  # whether its calls have IN_BODY as target, and fill it; see `blanks`


class Shutdown(NamedTuple):
    """Shut down."""


class Ping(NamedTuple):
    """Request a heartbeat: a `Pong`."""

    token: int


class Trim(NamedTuple):
    """Free cached memory, because the machine is short of it."""


class Revoke(NamedTuple):
    """Return those of these calls that have not begun."""

    seqs: tuple[int, ...]


class Interrupt(NamedTuple):
    """Interrupt this call if it is running."""

    seq: int


class Resend(NamedTuple):
    """Send what is in the block of a call's value through the call channel: its descriptor was lost."""

    lease: int
    seq: int


class Credit(NamedTuple):
    """The caller of a stream has taken so many of its items."""

    seq: int
    taken: int  # in all; 0: unknown, the message only releases blocks
    releases: bytes  # as the body of RELEASE: while a stream runs, the call channel is not read


class TakeStack(NamedTuple):
    """Request the stacks of all threads and coroutines."""

    token: int
    of_calls: bool  # only those of the calls that run: the main thread, and the coroutines of calls


class Describe(NamedTuple):
    """Request what the process runs with."""

    token: int


class Described(NamedTuple):
    """The answer to `Describe`."""

    token: int
    python: str
    folder: str  # the working directory; empty: it is gone
    variables: tuple[tuple[str, str], ...]  # of the environment: chosen ones, none of them secret
    packages: tuple[tuple[str, str], ...]  # those that are loaded, and their versions


class Failure(NamedTuple):
    """A serialized exception: a pickle of it where that is possible, and always its text."""

    pickled: bytes | None
    name: str
    message: str
    stack: str
    note: str  # for example which item of a chunk has failed
    kinds: tuple[str, ...]  # the names of its class, and of those that this inherits from


class Installed(NamedTuple):
    """The worker has installed this epoch."""

    epoch: int


class Refused(NamedTuple):
    """The worker could not install this epoch, and has discarded it."""

    epoch: int
    failure: Failure
    definition: str  # the one that has failed; empty: unknown


class Printed(NamedTuple):
    """Text that a function wrote to its standard output or error."""

    seq: int
    stream: str
    text: str


class Shown(NamedTuple):
    """What a function has displayed besides text, or that it has cleared what it had displayed."""

    seq: int
    kind: str  # "display_data", "update_display_data", "clear_output": as the messages of Jupyter
    content: dict[str, Any]  # of such a message; plain data, images as base64 text


class Warned(NamedTuple):
    """A warning, as text, which the parent process shows once."""

    seq: int
    text: str


class Logged(NamedTuple):
    """A log record that nothing in the worker has shown."""

    seq: int
    record: dict[str, Any]  # its attributes that are plain data


class Progress(NamedTuple):
    """How far a function says that it is; `total` is None if it does not know."""

    seq: int
    done: float
    total: float | None
    text: str


class Event(NamedTuple):
    """An event for the listeners of the pool."""

    name: str
    severity: str
    seq: int
    failure: Failure | None
    details: dict[str, Any]


class Tainted(NamedTuple):
    """The worker must not run more calls: interrupting this one has left it in an inconsistent state."""

    seq: int
    what: str


class Pong(NamedTuple):
    """The answer to `Ping`."""

    token: int


class Revoked(NamedTuple):
    """The answer to `Revoke`: these calls have not begun, and will not run in this worker."""

    seqs: tuple[int, ...]


class Stack(NamedTuple):
    """The stack of one thread or coroutine, without source lines: the parent process reads the same files."""

    kind: str  # "main", "thread", "coroutine"
    name: str  # of the thread or task
    seq: int  # the call that it belongs to; 0: none, or unknown
    frames: tuple[tuple[str, int, str], ...]  # file, line, function; the innermost last
    left_out: int  # how many frames are omitted, in the middle


class StackTaken(NamedTuple):
    """The answer to `TakeStack`; the main thread is first, unless only those of calls are requested."""

    token: int
    stacks: tuple[Stack, ...]


ToWorker = (
    Setup
    | Number
    | Blocks
    | LogLevels
    | Install
    | Forget
    | Activate
    | HoldFunction
    | KeepValue
    | Trace
    | Shutdown
    | Ping
    | Trim
    | Revoke
    | Interrupt
    | TakeStack
    | Describe
    | Resend
    | Credit
)
FromWorker = (
    Installed
    | Refused
    | Printed
    | Shown
    | Warned
    | Logged
    | Progress
    | Event
    | Pong
    | Revoked
    | Tainted
    | StackTaken
    | Described
)
