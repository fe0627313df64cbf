"""The copies of blocks that a host keeps."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from wpc_magic.pool.engines.dask import kept_blocks, messages
from wpc_magic.pool.engines.dask.kept_blocks import KeptBlocks

Lent = dict[int, bytes]


class Host:
    """Keeps blocks, and what was lent of them, by lease."""

    def __init__(self, sock: socket.socket) -> None:
        self.lent: Lent = {}
        self.sock = sock
        self.kept = KeptBlocks(self._lend)

    def _lend(self, key: int, lease: int, fd: int) -> None:
        self.lent[lease] = os.pread(fd, 1 << 20, 0)

    def receive(self) -> bool:
        """Receive until there is nothing; return whether the connection is open."""
        while self.kept.receive(self.sock):
            try:
                self.sock.recv(1, socket.MSG_PEEK)
            except BlockingIOError:
                return True
        return False


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, Host]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        host = Host(theirs)
        yield ours, host
        host.kept.close()


def block(number: int, contents: bytes, size: int = 0) -> bytes:
    return messages.pack(("block", number, size or len(contents), len(contents))) + contents


def lend(number: int, lease: int) -> bytes:
    return messages.pack(("lend", number, 1, lease))


def free(number: int, is_retired: bool = False) -> bytes:
    return messages.pack(("free", number, is_retired))


@pytest.mark.parametrize("size", [1, 7, 100, 5_000])
def test_blocks_arrive_in_pieces_of_any_size(ends: tuple[socket.socket, Host], size: int) -> None:
    ours, host = ends
    sent = block(1, b"a" * 3_000) + lend(1, 10) + block(2, b"b" * 2_000) + lend(2, 11) + lend(1, 12)
    for start in range(0, len(sent), size):
        ours.sendall(sent[start : start + size])
        assert host.receive()
    assert host.lent == {10: b"a" * 3_000, 11: b"b" * 2_000, 12: b"a" * 3_000}
    ours.close()
    assert not host.receive()


def test_memory_is_used_again_unless_it_is_retired(ends: tuple[socket.socket, Host]) -> None:
    ours, host = ends
    ours.sendall(block(1, b"a" * 3_000, 4_096) + free(1) + block(2, b"b" * 1_500, 4_096) + lend(2, 20))
    assert host.receive()
    assert host.lent.pop(20)[:3_000] == b"b" * 1_500 + b"a" * 1_500
    assert (host.kept.count, host.kept.has_free) == (1, False)
    ours.sendall(free(2, True) + block(3, b"c", 4_096) + lend(3, 21))
    assert host.receive()
    assert host.lent == {21: b"c".ljust(4_096, b"\0")}
    ours.sendall(free(3) + free(3) + free(99))
    assert host.receive()
    assert (host.kept.count, host.kept.has_free) == (0, True)
    host.kept.trim(float("inf"))
    assert not host.kept.has_free


@pytest.mark.parametrize("when", ["before", "while it is filled"])
def test_where_no_memory_is_left_nothing_is_lent_and_the_rest_goes_on(
    ends: tuple[socket.socket, Host], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    ours, host = ends
    with monkeypatch.context() as patch:
        if when == "before":
            patch.setattr(kept_blocks, "usable_memory", lambda: 1_000)
        else:
            patch.setattr(kept_blocks._Copy, "write", _no_room)
        ours.sendall(block(1, b"a" * 3_000) + lend(1, 10))
        assert host.receive()
    ours.sendall(block(2, b"b" * 500) + lend(2, 11))
    assert host.receive()
    assert host.lent == {10: b"", 11: b"b" * 500}
    assert host.kept.count == 1


def _no_room(*_: object) -> None:
    raise OSError(28, "No space left on device")
