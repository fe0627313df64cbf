"""The pool's side of the copies of blocks that one host keeps: what was sent there, and is to be."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

from ...errors import WorkerLostError
from ...wire.block_ref import BlockRef
from ...wire.blocks import Block
from ...wire.held_value import LentBuffers
from . import messages
from .far_values import FarBlock, FarValue

if TYPE_CHECKING:
    from ...wire.tls import Session

__all__ = ["HostCopies"]


class Owner(Protocol):
    """The host; see `hosts.Host`."""

    name: str

    def soon(self, do: Callable[..., object], *args: Any) -> None:
        """Have a function called in the client's event loop; any thread may call this."""

    def carry(self, source: Any, there: int, here: int) -> None:
        """Have a block brought from another host. In the loop."""

    def fetch(self, number: int, size: int) -> bytearray:
        """Return the contents of a block. In a thread that may wait."""


class HostCopies:
    """The blocks of one pool that a host has: copies, each of which travels there once, and values.

    Any thread may call what is public; the rest runs in the client's event loop.

    Parameters
    ----------
    owner : Owner
        The host.

    Attributes
    ----------
    owner : Owner
        As above.
    lost : str
        Why the host has none of them any more; empty: it has.
    """

    def __init__(self, owner: Owner) -> None:
        self.owner = owner
        self.lost = ""
        self._numbers = itertools.count(1)
        self._blocks: WeakValueDictionary[int, Block] = WeakValueDictionary()
        self._contents: dict[int, memoryview] = {}  # of what was not sent yet
        self._unsent: deque[bytes | int] = deque()  # messages, and the numbers of contents
        self._wake = asyncio.Event()

    def lend(self, key: int, block: Block, lease: int) -> None:
        """Have a worker process get the descriptor of a copy; the first one there has the copy made.

        Parameters
        ----------
        key : int
            The number of the process.
        block : Block
            The block. Nobody writes to it until `free` was called.
        lease : int
            The number that the worker knows the lease by.
        """
        if self.lost:
            return  # and so has the process ended
        if block.copies is None:
            block.copies = {}
        number = block.copies.get(self)
        if number is None and isinstance(block, FarBlock):
            number = self._bring(block)
        elif number is None:
            self._contents[number := next(self._numbers)] = contents = block.contents()
            block.copies[self] = number
            self._blocks[number] = block
            self._post(messages.pack(("block", number, block.size, len(contents))), number)
        self._post(messages.pack(("lend", number, key, lease)))

    def _bring(self, block: FarBlock) -> int:
        """Have the host get a copy of what another one has."""
        assert block.copies is not None
        number = block.copies[self] = next(self._numbers)
        self._blocks[number] = block
        self._post(messages.pack(("bring", number, block.size)))
        origin: Any = block.origin
        self.owner.soon(self.owner.carry, origin.owner, block.number, number)
        return number

    def adopt(self, key: int, ref: BlockRef) -> LentBuffers:
        """Return what stands for the buffers of a value that a worker process has left with the host."""
        ((lease, size, _),) = ref.parts
        number = next(self._numbers)
        self._post(messages.pack(("adopt", number, key, lease, size)))
        return FarValue(FarBlock(self, number, size), ref).lent()

    def forget(self, key: int) -> None:
        """Have the values freed that a process has left there, and of which nobody has heard."""
        if not self.lost:
            self._post(messages.pack(("forget", 0, key)))

    def fetch(self, number: int, size: int) -> bytearray:
        """Return the contents of a block that the host has.

        Raises
        ------
        WorkerLostError
            If it has it not any more.
        """
        if self.lost:
            raise WorkerLostError(self.lost)
        try:
            return self.owner.fetch(number, size)
        except OSError as error:
            raise WorkerLostError(
                self.lost or f"{self.owner.name} does not give the value: {error}"
            ) from error

    def free(self, number: int, is_retired: bool) -> None:
        """Have a copy freed, whose memory must not be used again if it is retired."""
        if not self.lost:
            self._post(messages.pack(("free", number, is_retired)))

    def _post(self, *unsent: bytes | int) -> None:
        self._unsent.extend(unsent)
        self.owner.soon(self._wake.set)

    async def send_to(self, sock: socket.socket, session: Session | None) -> None:
        """Send what there is, and is going to be, until the connection has ended.

        Parameters
        ----------
        sock : socket.socket
            The connection.
        session : Session or None
            Its TLS; None: it has none.
        """
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while True:
                while self._unsent:
                    each: Any = self._unsent.popleft()
                    if isinstance(each, int):
                        each = self._contents.pop(each)
                    for piece in (each,) if session is None else session.seal(each):
                        await loop.sock_sendall(sock, piece)
                    piece = each = None  # it may be a whole block
                self._wake.clear()
                if not self._unsent:
                    await self._wake.wait()

    def close(self) -> None:
        """Forget everything: the host is lost."""
        self.lost = f"the value was kept on {self.owner.name}, which is lost"
        self._unsent.clear()
        self._contents.clear()
        for block in list(self._blocks.values()):
            if block.copies is not None:
                block.copies.pop(self, None)
