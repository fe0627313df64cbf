"""The pool's side of the copies of blocks that one host keeps: what was sent there, and is to be."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections import deque
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from ...wire.blocks import Block
from . import messages

__all__ = ["HostCopies"]


class HostCopies:
    """The copies of the blocks of one pool that a host keeps, each of which travels there once.

    Any thread may call `lend` and `free`; the rest runs in the client's event loop.

    Parameters
    ----------
    soon : callable
        Has a function called in that loop.
    """

    def __init__(self, soon: Callable[[Callable[[], object]], object]) -> None:
        self._soon = soon
        self._numbers = itertools.count(1)
        self._blocks: WeakValueDictionary[int, Block] = WeakValueDictionary()
        self._contents: dict[int, memoryview] = {}  # of what was not sent yet
        self._unsent: deque[bytes | int] = deque()  # messages, and the numbers of contents
        self._wake = asyncio.Event()
        self._is_closed = False

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
        if self._is_closed:
            return  # and so has the process ended
        if block.copies is None:
            block.copies = {}
        number = block.copies.get(self)
        if number is None:
            self._contents[number := next(self._numbers)] = contents = block.contents()
            block.copies[self] = number
            self._blocks[number] = block
            self._post(messages.pack(("block", number, block.size, len(contents))), number)
        self._post(messages.pack(("lend", number, key, lease)))

    def free(self, number: int, is_retired: bool) -> None:
        """Have a copy freed, whose memory must not be used again if it is retired."""
        if not self._is_closed:
            self._post(messages.pack(("free", number, is_retired)))

    def _post(self, *unsent: bytes | int) -> None:
        self._unsent.extend(unsent)
        self._soon(self._wake.set)

    async def send_to(self, sock: socket.socket) -> None:
        """Send what there is, and is going to be, until the connection has ended."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while True:
                while self._unsent:
                    each: Any = self._unsent.popleft()
                    if isinstance(each, int):
                        each = self._contents.pop(each)
                    await loop.sock_sendall(sock, each)
                    del each  # it may be a whole block
                self._wake.clear()
                if not self._unsent:
                    await self._wake.wait()

    def close(self) -> None:
        """Forget everything: the host is lost."""
        self._is_closed = True
        self._unsent.clear()
        self._contents.clear()
        for block in list(self._blocks.values()):
            if block.copies is not None:
                block.copies.pop(self, None)
