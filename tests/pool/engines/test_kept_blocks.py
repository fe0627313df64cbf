"""The copies of blocks that a host keeps."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress

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
            patch.setattr(kept_blocks, "memory_left", lambda: 1_000)
        else:
            patch.setattr(kept_blocks._Copy, "write", _no_room)
        ours.sendall(block(1, b"a" * 3_000) + lend(1, 10))
        assert host.receive()
    ours.sendall(block(2, b"b" * 500) + lend(2, 11))
    assert host.receive()
    assert host.lent == {10: b"", 11: b"b" * 500}
    assert host.kept.count == 1


def given(number: int) -> bytes:
    return messages.pack(("bring", number, 3_000)) + lend(number, 10 * number)


def test_what_is_brought_from_another_host_is_lent_when_all_of_it_is_there(
    ends: tuple[socket.socket, Host],
) -> None:
    ours, host = ends
    ours.sendall(given(1) + given(2) + given(3) + free(3))
    assert host.receive()
    assert host.lent == {}
    assert not host.kept.is_known(4)
    for number in (1, 2):
        assert host.kept.bring(number, memoryview(b"a" * 2_000), 0)
        with pytest.raises(OSError, match="No such file"):
            host.kept.given(number)
    assert not host.kept.bring(3, memoryview(b"a"), 0), "it is not needed any more"
    assert not host.kept.bring(1, memoryview(b"a" * 2_000), 2_000), "it is more than was said"
    assert host.kept.bring(1, memoryview(b"b" * 1_000), 2_000)
    host.kept.brought(1, 3_000)
    host.kept.brought(2, 2_000)  # the other host is lost
    host.kept.brought(3, 0)
    ours.sendall(lend(1, 11) + lend(2, 21))
    assert host.receive()
    whole = b"a" * 2_000 + b"b" * 1_000
    assert host.lent == {10: whole, 11: whole, 20: b"", 21: b""}
    fd, size = host.kept.given(1)
    assert os.pread(fd, 5_000, 0) == whole
    assert size == 3_000
    os.close(fd)


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="it counts files by names that only memfd has")
def test_values_of_which_the_pool_has_not_heard_go_with_their_worker(
    ends: tuple[socket.socket, Host],
) -> None:
    ours, host = ends
    values = [_file(b"%d" % number) for number in range(4)]
    for call, fd in enumerate(values[:3]):
        host.kept.arrived(7, call, fd)
    ours.sendall(messages.pack(("adopt", 1, 7, 0, 1)) + lend(1, 10) + messages.pack(("forget", 0, 7)))
    assert host.receive()
    host.kept.arrived(7, 3, values[3])
    host.kept.arrived(7, 4, -1)
    ours.sendall(messages.pack(("adopt", 2, 7, 3, 1)) + lend(2, 20) + lend(1, 11))
    assert host.receive()
    assert host.lent == {10: b"0", 11: b"0", 20: b""}
    assert _files() == 1
    ours.sendall(free(1))
    assert host.receive()
    assert not host.kept.has_free, "a worker may have forked, and still see it"


def _file(data: bytes) -> int:
    fd = os.memfd_create("value-of-a-test")
    os.write(fd, data)
    return fd


def _files() -> int:
    count = 0
    for each in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            count += os.readlink(f"/proc/self/fd/{each}").startswith("/memfd:value-of-a-test")
    return count


def _no_room(*_: object) -> None:
    raise OSError(28, "No space left on device")
