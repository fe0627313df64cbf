"""Connections to a host process over which one block is given, or brought."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable

from . import messages
from .kept_blocks import KeptBlocks

__all__ = ["Carriers"]

_PIECE = 1 << 20


class Carriers:
    """Serves the connections of other hosts, and of the pool, that carry one block each.

    Parameters
    ----------
    selector : selectors.BaseSelector
        Calls what is registered with it.
    kept : KeptBlocks
        The blocks.
    """

    def __init__(self, selector: selectors.BaseSelector, kept: KeptBlocks) -> None:
        self._selector = selector
        self._kept = kept
        self._early: list[tuple[socket.socket, int, int]] = []  # for blocks of which nothing is known yet
        self._scratch = memoryview(bytearray(_PIECE))

    def accept(self, sock: socket.socket, what: int, number: int) -> None:
        """Serve a connection, now or when the pool has told what it is about."""
        self._early.append((sock, what, number))
        self.look()

    def look(self) -> None:
        """Begin with those of which the pool has told meanwhile."""
        early, self._early = self._early, []
        for sock, what, number in early:
            if not self._kept.is_known(number):
                self._early.append((sock, what, number))
            elif what == messages.TAKE:
                self._take(sock, number)
            else:
                self._give(sock, number)

    @property
    def waits(self) -> bool:
        """Whether `look` is to be called soon."""
        return bool(self._early)

    def _give(self, sock: socket.socket, number: int) -> None:
        try:
            fd, size = self._kept.given(number)
        except OSError:
            sock.close()
            return
        offset = 0

        def send() -> None:
            nonlocal offset
            try:
                count = os.sendfile(sock.fileno(), fd, offset, size - offset)
            except BlockingIOError:
                return
            except OSError:  # nobody wants it any more
                count = 0
            offset += count
            if not count or offset == size:
                self._end(sock)
                os.close(fd)

        self._watch(sock, selectors.EVENT_WRITE, send)

    def _take(self, sock: socket.socket, number: int) -> None:
        offset = 0

        def receive() -> None:
            nonlocal offset
            try:
                count = sock.recv_into(self._scratch)
            except BlockingIOError:
                return
            except OSError:
                count = 0
            if count and self._kept.bring(number, self._scratch[:count], offset):
                offset += count
                return
            self._kept.brought(number, offset)
            self._end(sock)

        self._watch(sock, selectors.EVENT_READ, receive)

    def _watch(self, sock: socket.socket, events: int, do: Callable[[], None]) -> None:
        self._selector.register(sock, events, do)

    def _end(self, sock: socket.socket) -> None:
        self._selector.unregister(sock)
        sock.close()
