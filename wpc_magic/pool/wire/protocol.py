"""Every message between the pool and a worker, both directions.

What is sent for each call is a bare frame (see `channel`), because it is counted in microseconds. All the
rest is a small immutable type, pickled into a frame of kind `MESSAGE`. A worker has three channels:

=================  ==========================================  ============================================
channel            pool -> worker                              worker -> pool
=================  ==========================================  ============================================
call channel       `CALL`, `CHUNK`, `RELEASE`; `Setup`,        `VALUE`, `ERROR`, `BEGAN`, `RELEASE`;
(main thread)      `Blocks`, `Install`, `Forget`, `Leave`      `Installed`, `Refused`, `Printed`, `Noticed`,
                                                               `Stained`
control channel    `Ping`, `Revoke`, `Interrupt`, `Leave`,     `Pong`, `GivenUp`, `StackTaken`
(control thread)   `TakeStack`, `Trim`
block channel      descriptors (see `blocks`)                  descriptors
(main thread)
=================  ==========================================  ============================================

Both ends hold the same version of this package, so nothing here is numbered.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from wpc_magic.pool.wire.record import NamedTuple

__all__ = [
    "BEGAN",
    "CALL",
    "CHUNK",
    "ERROR",
    "MESSAGE",
    "RELEASE",
    "VALUE",
    "Blocks",
    "Cell",
    "Constant",
    "Dependency",
    "Failure",
    "Forget",
    "FromWorker",
    "Function",
    "GivenUp",
    "Install",
    "Installed",
    "Interrupt",
    "Leave",
    "Noticed",
    "Ping",
    "Pong",
    "Printed",
    "Refused",
    "Revoke",
    "Setup",
    "Stack",
    "StackTaken",
    "Stained",
    "TakeStack",
    "ToWorker",
    "Trim",
]

# Kinds of frames. `seq` numbers the calls that one worker was sent, from 1.
MESSAGE = 1  # body: one of the types below
CALL = 2  # target: the function's key; epoch: of the registry; body: (args, kwargs)
CHUNK = 3  # as CALL, body: a tuple of lists, one a parameter; answered with (values, Failure or None)
VALUE = 4  # target: nanoseconds that it ran; body: the value
ERROR = 5  # target: nanoseconds that it ran; body: a Failure
BEGAN = 6  # target: the monotonic clock, nanoseconds; for coroutines only: the page tells of the rest
RELEASE = 7  # body: the leases that are not needed any more, 8 bytes each


class Cell(NamedTuple):
    """Source that travels: a notebook cell, or the text of one function. It becomes a module."""

    module: str  # the module's name, made from the hash of the source
    source: str
    filename: str  # stable: the same for the same source
    needs: tuple[str, ...]  # names that the registry gives it


class Function(NamedTuple):
    """A function, in one revision."""

    name: str
    key: int  # unique to this revision
    how: str  # "cell": `path` in the module of `cell`; "module": in module `payload`; "pickle": by value
    cell: Cell | None
    path: str
    payload: bytes
    needs: tuple[str, ...]  # for "pickle": names that the registry gives it


class Dependency(NamedTuple):
    """A module, or an object of one."""

    name: str
    module: str
    export: str | None
    reload: int  # counts the wishes to read the module's file again


class Constant(NamedTuple):
    """A value that every worker holds."""

    name: str
    payload: bytes
    buffers: Any  # a tuple of bytes, or a `Placed`: then a descriptor was sent along


class Setup(NamedTuple):
    """The first message: what the worker takes over from the pool's process."""

    worker_id: int
    pool: str
    path: list[str]


class Blocks(NamedTuple):
    """How the worker may use shared memory."""

    limit: int  # bytes
    in_memory: bool  # or in temporary files


class Install(NamedTuple):
    """Add to the definitions of epoch `base`, and hold the outcome as epoch `epoch` beside it."""

    epoch: int
    base: int
    records: tuple[Any, ...]  # Function | Dependency | Constant
    removed: tuple[str, ...]


class Forget(NamedTuple):
    """Drop an epoch that another worker has refused."""

    epoch: int


class Leave(NamedTuple):
    """End now."""


class Ping(NamedTuple):
    """Ask for a sign of life."""

    token: int


class Trim(NamedTuple):
    """Keep no memory for later: the machine has none left."""


class Revoke(NamedTuple):
    """Take these calls back, where they have not begun."""

    seqs: tuple[int, ...]


class Interrupt(NamedTuple):
    """End this call, if it has begun and not ended."""

    seq: int


class TakeStack(NamedTuple):
    """Tell what runs at this moment."""

    token: int


class Failure(NamedTuple):
    """An exception on its way: itself where it can be pickled, and as text in any case."""

    pickled: bytes | None
    name: str
    message: str
    stack: str
    note: str  # which item of a chunk it was, and the like


class Installed(NamedTuple):
    """The worker holds that epoch."""

    epoch: int


class Refused(NamedTuple):
    """The worker could not install that epoch, and holds nothing of it."""

    epoch: int
    failure: Failure
    definition: str  # the one at fault; empty: not known


class Printed(NamedTuple):
    """Text that a function wrote to its standard output or error."""

    seq: int
    stream: str
    text: str


class Noticed(NamedTuple):
    """Something that listeners want to hear of."""

    name: str
    severity: str
    seq: int
    failure: Failure | None
    details: dict[str, Any]


class Stained(NamedTuple):
    """The worker may not be trusted with more calls: ending this one has torn something."""

    seq: int
    what: str


class Pong(NamedTuple):
    """The answer to a ping."""

    token: int


class GivenUp(NamedTuple):
    """These calls have not begun here, and never will."""

    seqs: tuple[int, ...]


class Stack(NamedTuple):
    """Where one thread or coroutine is, without source lines: whoever shows it reads the same files."""

    kind: str  # "main", "thread", "coroutine"
    name: str  # of the thread, or the task
    seq: int  # the call that it works for; 0: none, or not known
    frames: tuple[tuple[str, int, str], ...]  # file, line, function; the innermost last
    left_out: int  # how many frames are not told, in the middle


class StackTaken(NamedTuple):
    """The answer to `TakeStack`; the main thread comes first."""

    token: int
    stacks: tuple[Stack, ...]


ToWorker = Setup | Blocks | Install | Forget | Leave | Ping | Trim | Revoke | Interrupt | TakeStack
FromWorker = Installed | Refused | Printed | Noticed | Pong | GivenUp | Stained | StackTaken
