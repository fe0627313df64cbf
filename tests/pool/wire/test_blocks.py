"""Shared memory without names: leased, used again, private to who receives it, and never left behind."""

from __future__ import annotations

import errno
import gc
import os
import socket
from collections import deque
from collections.abc import Iterator

import numpy as np
import pytest

from wpc_magic.pool.wire.blocks import FOREVER, LEAST, Block, Receiver, Sender, Store

LARGE = 2 << 20  # is mapped
MEDIUM = 256 << 10  # is copied by who receives it


class Pair:
    """A sender and a receiver in one process."""

    def __init__(self, in_memory: bool = True) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.store = Store(64 << 20, in_memory)
        self.sender = Sender(self.ours)
        self.receiver = Receiver(self.theirs)

    def send(self, *buffers: bytes) -> list[memoryview]:
        """Send buffers, and return what arrives."""
        return self.receiver.fetch(self.place(*buffers)).map()

    def place(self, *buffers: bytes):
        block = self.store.place(buffers)
        assert block is not None
        placed = self.sender.send(block)
        block.let_go()  # as when the call has ended
        assert placed is not None
        return placed

    def tell(self) -> None:
        """Bring the receiver's news to the sender."""
        self.sender.released(self.receiver.news())

    def close(self) -> None:
        self.sender.close()
        self.receiver.close()
        self.store.trim(0.0)
        self.ours.close()
        self.theirs.close()


@pytest.fixture(params=["memory", "file"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    pair = Pair(request.param == "memory")
    yield pair
    pair.close()


def free_blocks(store: Store) -> int:
    return len(store._free)


@pytest.mark.parametrize("size", [LEAST, MEDIUM, LARGE, 3 * LARGE + 1])
def test_buffers_arrive_as_they_were_sent(pair: Pair, size: int) -> None:
    first, second = os.urandom(size), os.urandom(size // 2 + 1)
    assert [bytes(view) for view in pair.send(first, second)] == [first, second]


def test_buffers_lie_at_multiples_of_a_cache_line(pair: Pair) -> None:
    placed = pair.place(b"a" * 1001, b"b" * LARGE, b"c" * 7, b"d" * 9)
    assert [offset % 64 for offset, _ in placed.spans] == [0, 0, 0, 0]
    pair.receiver.fetch(placed).map()


def test_little_is_not_placed(pair: Pair) -> None:
    assert pair.store.place([b"x" * (LEAST - 64)]) is None


def test_what_a_receiver_writes_stays_its_own_where_others_need_the_block(pair: Pair) -> None:
    block = pair.store.place([b"\1" * LARGE])
    assert block is not None
    once = pair.sender.send(block, exclusive=False)
    again = pair.sender.send(block, exclusive=False)
    assert once is not None
    assert again is not None
    (mine,) = pair.receiver.fetch(once).map()
    mine[:] = b"\2" * LARGE
    (other,) = pair.receiver.fetch(again).map()
    assert bytes(other) == b"\1" * LARGE
    block.let_go()


def test_an_exclusive_block_is_written_to_as_it_is(pair: Pair) -> None:
    block = pair.store.place([b"\1" * LARGE])
    assert block is not None
    placed = pair.sender.send(block)
    assert placed is not None
    (view,) = pair.receiver.fetch(placed).map()
    view[:] = b"\2" * LARGE
    assert bytes(block.share()[0]) == b"\2" * LARGE
    block.let_go()


def test_a_block_is_used_again_only_after_the_last_view_of_it_is_gone(pair: Pair) -> None:
    (view,) = pair.send(b"\1" * LARGE)
    array = np.frombuffer(view, "u1")[::2]  # holds the mapping through views of views
    del view
    gc.collect()
    pair.tell()
    assert free_blocks(pair.store) == 0
    pair.send(b"\2" * LARGE)
    assert (array == 1).all()
    del array
    pair.tell()
    assert free_blocks(pair.store) == 2


def test_a_block_that_is_free_is_used_again(pair: Pair) -> None:
    for _ in range(5):
        pair.send(b"\1" * LARGE)
        pair.tell()
    assert free_blocks(pair.store) == 1
    assert pair.store.total < 2 * LARGE


def test_a_copy_is_released_at_once_although_it_is_kept(pair: Pair) -> None:
    (view,) = pair.send(b"\1" * MEDIUM)
    pair.tell()
    assert free_blocks(pair.store) == 1
    pair.send(b"\2" * MEDIUM)
    assert bytes(view) == b"\1" * MEDIUM


def test_what_is_never_mapped_is_released_when_it_is_dropped(pair: Pair) -> None:
    pair.receiver.fetch(pair.place(b"\1" * LARGE))
    pair.tell()
    assert free_blocks(pair.store) == 1


def test_a_block_waits_for_its_call_and_for_every_receiver(pair: Pair) -> None:
    block = pair.store.place([b"\1" * LARGE])
    assert block is not None
    placed = pair.sender.send(block)
    assert placed is not None
    pair.receiver.fetch(placed).map()
    pair.tell()
    assert free_blocks(pair.store) == 0  # the call may have to be sent again
    block.let_go()
    assert free_blocks(pair.store) == 1


def test_a_receiver_that_is_gone_holds_nothing(pair: Pair) -> None:
    pair.place(b"\1" * LARGE)
    pair.sender.close()
    assert free_blocks(pair.store) == 1
    pair.receiver.close()


def test_leases_are_found_whatever_the_order(pair: Pair) -> None:
    placed = [pair.place(bytes([n]) * LARGE) for n in range(4)]
    for n in (2, 0, 3, 1):
        (view,) = pair.receiver.fetch(placed[n]).map()
        assert view[0] == n


def test_mapping_twice_gives_the_same_memory(pair: Pair) -> None:
    unmapped = pair.receiver.fetch(pair.place(b"\1" * LARGE))
    (one,) = unmapped.map()
    (two,) = unmapped.map()
    one[0] = 7
    assert two[0] == 7


def test_a_missing_descriptor_is_an_error_and_not_a_wait(pair: Pair) -> None:
    placed = pair.place(b"\1" * LARGE)
    with pytest.raises(OSError, match="unavailable"):
        pair.receiver.fetch(placed._replace(lease=placed.lease + 1))


def test_the_limit_is_kept_and_free_blocks_make_room(pair: Pair) -> None:
    pair.store.limit = 3 * LARGE
    kept = [pair.store.place([b"x" * LARGE]), pair.store.place([b"x" * LARGE])]
    assert pair.store.place([b"x" * (2 * LARGE)]) is None
    for block in kept:
        assert block is not None
        block.let_go()
    block = pair.store.place([b"x" * (2 * LARGE + LARGE // 2)])
    assert block is not None
    assert pair.store.total <= pair.store.limit
    block.let_go()


def test_what_there_is_no_room_for_is_sent_another_way(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(fd: int, data: object, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", write)
        assert pair.store.place([b"x" * LARGE]) is None
    assert pair.store.total == 0
    assert [bytes(view) for view in pair.send(b"x" * LARGE)] == [b"x" * LARGE]


def test_a_block_goes_when_it_is_free_where_the_limit_is_lower_by_then(pair: Pair) -> None:
    block = pair.store.place([b"x" * LARGE])
    assert block is not None
    pair.store.limit = LARGE - 1
    block.let_go()
    assert (pair.store.total, free_blocks(pair.store)) == (0, 0)


def test_two_threads_may_ask_for_the_news(pair: Pair) -> None:
    class Looked(deque[int]):
        """The last is taken by another thread, just after this one has seen that there is one."""

        def __bool__(self) -> bool:
            return True

    pair.receiver._released = Looked([7])
    assert pair.receiver.news() == (7).to_bytes(8, "little")
    assert pair.receiver.news() == b""


def test_blocks_that_nobody_uses_are_given_back(pair: Pair) -> None:
    pair.send(b"x" * LARGE)
    pair.tell()
    pair.store.trim(3600.0)
    assert free_blocks(pair.store) == 1
    pair.store.trim(0.0)
    assert (free_blocks(pair.store), pair.store.total) == (0, 0)


def test_when_no_descriptor_can_be_passed_the_block_is_not_lost(pair: Pair) -> None:
    block = pair.store.place([b"x" * LARGE])
    assert block is not None
    while pair.sender.send(block) is not None:
        pass
    assert [bytes(view) for view in block.copies()] == [b"x" * LARGE]
    block.let_go()
    pair.sender.close()
    assert free_blocks(pair.store) == 1


def test_nothing_is_copied_for_a_receiver_that_is_gone(pair: Pair) -> None:
    block = pair.store.place([b"x" * LARGE])
    assert block is not None
    pair.theirs.close()
    assert pair.sender.send(block) is not None
    block.let_go()
    pair.sender.close()
    assert free_blocks(pair.store) == 1


def test_a_constant_is_shared_and_read_only(pair: Pair) -> None:
    block = Block(LARGE, pair.store.in_memory)
    block.fill([b"\1" * LARGE])
    placed = pair.sender.send(block, FOREVER + 1)
    assert placed is not None
    (view,) = pair.receiver.fetch(placed).share()
    assert view.readonly
    assert bytes(view) == b"\1" * LARGE
    assert [bytes(each) for each in block.share()] == [b"\1" * LARGE]
    assert pair.receiver.news() == b""
    block.close()
    assert view[0] == 1  # who has mapped it keeps it


def test_a_constant_that_was_sent_twice_and_mapped_once_leaves_no_descriptor(pair: Pair) -> None:
    block = Block(LARGE, pair.store.in_memory)
    block.fill([b"\1" * LARGE])
    first = pair.sender.send(block, FOREVER + 1)
    pair.place(b"\2" * LARGE)
    pair.sender.send(block, FOREVER + 1)
    last = pair.place(b"\3" * LARGE)
    pair.receiver.fetch(last).map()
    assert first is not None
    pair.receiver.fetch(first).share()
    block.close()
