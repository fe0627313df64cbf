"""The shared objects of a pool in a worker: loaded with the first of them."""

from __future__ import annotations

import os

from wpc_magic.pool.shared.array import open_array
from wpc_magic.pool.shared.counter import SharedCounter
from wpc_magic.pool.shared.holding import HELD, set_calls
from wpc_magic.pool.shared.lock import release_of
from wpc_magic.pool.shared.queue import SharedQueue
from wpc_magic.pool.shared.region import Region
from wpc_magic.pool.shared.waiting import wait
from wpc_magic.pool.worker.namespaces import NeededBinding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wpc_magic.pool.wire.protocol import Shared
    from wpc_magic.pool.worker.context import Context
    from wpc_magic.pool.worker.interruption import Interruption
    from wpc_magic.pool.worker.namespaces import Binding
    from wpc_magic.pool.worker.output import Output
    from wpc_magic.pool.worker.shared_memory import SharedBuffers

__all__ = ["SharedObjects", "bind"]


class SharedObjects:
    """Opens shared objects, and frees the locks that a call has not released.

    Parameters
    ----------
    shared : SharedBuffers
        Receives their memory.
    output : Output
        Knows which call runs, and calls what is to be done at its end.
    interruption : Interruption
        Is told where a call that waits may be interrupted.
    context : Context
        Knows the number of this worker.
    """

    def __init__(
        self, shared: SharedBuffers, output: Output, interruption: Interruption, context: Context
    ) -> None:
        self._context = context
        self._shared = shared
        self._output = output
        self._has_held = False
        interruption.waits = (wait.__code__,)
        set_calls(self)

    def open(self, record: Shared) -> Binding:
        """Return the binding of a shared object that the pool has sent."""
        return bind(record, Region(record.number, record.name, self._descriptor(record), record.size))

    def _descriptor(self, record: Shared) -> int:
        if not isinstance(record.buffers, str):
            return self._shared.descriptor(record.buffers)
        return os.open(record.buffers, os.O_RDWR | os.O_CLOEXEC)

    # -- as `shared.holding.Calls` ----------------------------------------------------------------------

    @property
    def worker_id(self) -> int:
        """The slot of this worker, of which it has another one if it was a spare."""
        return self._context.worker_id

    def current(self) -> int:
        """Return the call whose code runs in this thread; 0: none."""
        return self._output.current_call()

    def first_hold(self) -> None:
        """Have the end of each call, and of each item of a chunk, free the locks that are left."""
        if not self._has_held:
            self._has_held = True
            self._output.endings.append(_end)
            self._output.item_endings.append(_end)


def _end(call: int) -> None:
    if HELD:
        release_of(call)


def bind(record: Shared, region: Region) -> Binding:
    """Return the binding of a shared object in this process, given its memory."""
    if record.kind == "counter":
        return NeededBinding(record, lambda: SharedCounter(region))
    if record.kind == "queue":
        return NeededBinding(record, lambda: SharedQueue(region))
    shape, dtype = record.about
    return NeededBinding(record, lambda: open_array(region, shape, _dtype(dtype)))


def _dtype(about: Any) -> Any:
    from wpc_magic.pool.wire.codec import decode

    return decode(about)
