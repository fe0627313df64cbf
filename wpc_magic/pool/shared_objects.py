"""The part of the public interface that makes objects which all processes of a pool read and write."""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Mapping
from typing import Any

from .checks import check_whole, shown
from .core.registry import Kind, Record
from .core.snapshot import SharedInfo
from .definitions import Definitions
from .errors import DefinitionError, OptionError, RequirementMissingError
from .interrupts.hold import HeldInterrupts
from .listing import Listing
from .options import check_name
from .shared.counter import SharedCounter
from .shared.holding import set_guard
from .shared.queue import SharedQueue, queue_state
from .shared.region import HEADER_SIZE, STATE, Region
from .wire import protocol
from .wire.codec import pack
from .worker.shared_objects import bind

__all__ = ["SharedObjects"]

_MISSING: Any = object()
_LARGEST_COUNT = 1 << 63


class SharedObjects(Definitions):
    """The methods of a pool for objects that all its processes read and write in place."""

    def shared(self, name: str, value: Any = _MISSING) -> Any:
        r"""Put an array into memory that the program and all workers read and write in place.

        Functions find it by its name; it may also be an argument, or a value, and is not copied then. Its
        ``lock`` keeps others out who take it: ``with grid.lock:``, in coroutines ``async with grid.lock:``. A
        lock is freed when the block ends, and at the latest when the call ends, fails, is stopped, or its
        worker dies; then the next holder finds in ``grid.lock.abandoned`` where that was.

        The values outlast workers, also all of them. The name defined anew is another array; whoever still
        has the old one keeps that.

        Parameters
        ----------
        name : str
            The name in functions.
        value : array
            What it is in the beginning, copied: a NumPy array without Python objects, or what becomes one.
            Without it, the array of that name, as it is now, is returned.

        Returns
        -------
        SharedArray
            A NumPy array over the same memory, for this process.

        Raises
        ------
        OptionError
            If the name is invalid, or the value is no array of plain numbers or records.
        DefinitionError
            If there is no room for it.
        RequirementMissingError
            If no value is given, and there is no shared object of that name.

        Examples
        --------
        >>> import numpy as np
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     grid = pool.shared("grid", np.zeros(3))
        ...     source = "def fill(i):\n    with grid.lock:\n        grid[i] += i"
        ...     _ = pool.define_worker_function(worker_func=source)
        ...     _ = pool.start_workers(2)
        ...     _ = pool.map("fill", [0, 1, 2, 2]).result()
        ...     grid.tolist()
        [0.0, 1.0, 4.0]
        """
        if value is _MISSING:
            return self._shared_here(name)
        check_name(name, "shared array's name")
        try:
            import numpy as np
        except ModuleNotFoundError:
            raise OptionError("a shared array needs NumPy. Type: pip install numpy") from None
        try:
            given = np.asarray(value)
            array = np.ascontiguousarray(given).reshape(given.shape)
        except Exception as error:
            raise OptionError(f"value takes an array, not {shown(value)}") from error
        if array.dtype.hasobject or isinstance(value, (str, bytes, dict, set)):
            raise OptionError(
                f"value takes an array of numbers, or of text of a fixed length, since Python objects cannot "
                f"be in shared memory; not {shown(value)}"
            )
        about = array.shape, pack(array.dtype)
        data = array.reshape(-1).view(np.uint8).data if array.size and array.dtype.itemsize else b""
        info = SharedInfo(name, "array", 0, array.nbytes, array.shape, str(array.dtype))
        return self._define_shared(info, {}, data, array.nbytes, about)

    def shared_counter(self, name: str, value: int = 0) -> SharedCounter:
        """Make a whole number that all processes of the pool count with: ``done.add(1)`` in functions.

        Parameters
        ----------
        name : str
            The name in functions.
        value : int
            Where it begins.

        Returns
        -------
        SharedCounter
            The same counter, for this process.
        """
        check_name(name, "shared counter's name")
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not -_LARGEST_COUNT <= value < _LARGEST_COUNT:
            raise OptionError(f"value takes a whole number of 64 bits, not {shown(value)}")
        state = {STATE: value % (1 << 64)}
        counter: SharedCounter = self._define_shared(SharedInfo(name, "counter", 0, 8), state, b"", 8)
        return counter

    def shared_queue(self, name: str, *, maxsize: int = 1_000, max_bytes: int = 1 << 20) -> SharedQueue:
        """Make a queue that all processes of the pool put in and take out of, as of `queue.Queue`.

        Parameters
        ----------
        name : str
            The name in functions.
        maxsize : int
            How many items it takes; then `put` waits.
        max_bytes : int
            How many bytes the pickled items may have together, and 8 for each.

        Returns
        -------
        SharedQueue
            The same queue, for this process.
        """
        check_name(name, "shared queue's name")
        check_whole("maxsize", maxsize, 1)
        check_whole("max_bytes", max_bytes, 16)
        info = SharedInfo(name, "queue", 0, max_bytes, (maxsize,))
        queue: SharedQueue = self._define_shared(info, queue_state(maxsize), b"", max_bytes)
        return queue

    def undefine_shared(self, *, name: str) -> None:
        """Remove a shared object; its memory is freed when nobody has it any more.

        Raises
        ------
        RequirementMissingError
            If there is none of that name.
        """
        self._remove(name, Kind.SHARED, RequirementMissingError)

    def get_shared_objects(self) -> list[SharedInfo]:
        """Return the description of each shared object, sorted by name."""
        return Listing(self._infos(Kind.SHARED), "shared object")

    def _shared_here(self, name: str) -> Any:
        record = self._record(name, Kind.SHARED, RequirementMissingError)
        return bind(record.wire, record.block.region).value

    def _define_shared(
        self, info: SharedInfo, state: Mapping[int, int], data: Any, nbytes: int, about: Any = None
    ) -> Any:
        engine = self._driver.parts.engine
        if not engine.shares_memory:
            raise DefinitionError(
                f"{info.name} would be in the shared memory of this machine, which workers of "
                f'engine="{engine.name}" do not have; give it to calls as an argument, or define a constant'
            )
        size = HEADER_SIZE + max(nbytes, 1)
        words = bytearray(HEADER_SIZE)
        for word, value in state.items():
            struct.pack_into("<Q" if sys.byteorder == "little" else ">Q", words, 8 * word, value)
        number = int.from_bytes(os.urandom(8), "little") | 1
        try:
            placed, where = self._driver.changes.put_shared([memoryview(words), data], size)
            placed.region = Region(number, info.name, placed.blocks[0].fd, size, placed.blocks[0])
        except OSError as error:
            raise DefinitionError(
                f"there is no room for {info.name} ({size:,} bytes) in shared memory: {error}"
            ) from error
        wire = protocol.Shared(info.name, info.kind, number, size, about, where)
        self._change([Record(info.name, Kind.SHARED, wire, info, block=placed, content=number)])
        return self._shared_here(info.name)


set_guard(HeldInterrupts)
