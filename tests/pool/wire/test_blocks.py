"""Blocks of shared memory: leased, reused, private to the receiver, and never left behind."""

from __future__ import annotations

import errno
import gc
import os
import socket
from collections import deque
from collections.abc import Iterator

import numpy as np
import pytest

from wpc_magic.pool.wire.block_receiver import Receiver, ShortageError
from wpc_magic.pool.wire.block_ref import MAX_PARTS, BlockRef
from wpc_magic.pool.wire.block_sender import Sender
from wpc_magic.pool.wire.block_store import BlockStore
from wpc_magic.pool.wire.blocks import MIN_BLOCK_SIZE, PERMANENT_LEASES, Block, Placed

LARGE = 2 << 20  # is mapped
MEDIUM = 256 << 10  # is copied by the receiver


class Pair:
    """A sender and a receiver in one process."""

    def __init__(self, in_memory: bool = True) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.store = BlockStore(64 << 20, in_memory)
        self.sender = Sender(self.ours)
        self.receiver = Receiver(self.theirs)

    def send(self, *buffers: bytes) -> list[memoryview]:
        """Send buffers, and return the received views."""
        return self.receiver.fetch(self.put(*buffers))

    def put(self, *buffers: bytes):
        block = self.store.put(buffers)
        assert block is not None
        ref = self.sender.send(block)
        block.release()  # as at the end of the call
        assert ref is not None
        return ref

    def deliver_releases(self) -> None:
        """Deliver the receiver's releases to the sender."""
        self.sender.released(self.receiver.releases())

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


def free_blocks(store: BlockStore) -> int:
    return len(store._free)


@pytest.mark.parametrize("size", [MIN_BLOCK_SIZE, MEDIUM, LARGE, 3 * LARGE + 1])
def test_buffers_arrive_as_they_were_sent(pair: Pair, size: int) -> None:
    first, second = os.urandom(size), os.urandom(size // 2 + 1)
    assert [bytes(view) for view in pair.send(first, second)] == [first, second]


def test_buffers_lie_at_multiples_of_a_cache_line(pair: Pair) -> None:
    ref = pair.put(b"a" * 1001, b"b" * LARGE, b"c" * 7, b"d" * 9)
    assert [offset % 64 for _, offset, _ in ref.spans] == [0, 0, 0, 0]
    pair.receiver.fetch(ref)


def test_small_buffers_are_not_put_in_a_block(pair: Pair) -> None:
    assert pair.store.put([b"x" * (MIN_BLOCK_SIZE - 64)]) is None


def test_what_a_receiver_writes_stays_private_if_others_need_the_block(pair: Pair) -> None:
    block = pair.store.put([b"\1" * LARGE])
    assert block is not None
    once = pair.sender.send(block, exclusive=False)
    again = pair.sender.send(block, exclusive=False)
    assert once is not None
    assert again is not None
    (mine,) = pair.receiver.fetch(once)
    mine[:] = b"\2" * LARGE
    (other,) = pair.receiver.fetch(again)
    assert bytes(other) == b"\1" * LARGE
    block.release()


def test_an_exclusive_block_is_written_to_directly(pair: Pair) -> None:
    block = pair.store.put([b"\1" * LARGE])
    assert block is not None
    ref = pair.sender.send(block)
    assert ref is not None
    (view,) = pair.receiver.fetch(ref)
    view[:] = b"\2" * LARGE
    assert bytes(block.share()[0]) == b"\2" * LARGE
    block.release()


def test_a_block_is_reused_only_after_the_last_view_of_it_is_freed(pair: Pair) -> None:
    (view,) = pair.send(b"\1" * LARGE)
    array = np.frombuffer(view, "u1")[::2]  # keeps the mapping alive through views of views
    del view
    gc.collect()
    pair.deliver_releases()
    assert free_blocks(pair.store) == 0
    pair.send(b"\2" * LARGE)
    assert (array == 1).all()
    del array
    pair.deliver_releases()
    assert free_blocks(pair.store) == 2


def test_a_free_block_is_reused(pair: Pair) -> None:
    for _ in range(5):
        pair.send(b"\1" * LARGE)
        pair.deliver_releases()
    assert free_blocks(pair.store) == 1
    assert pair.store.total < 2 * LARGE


def test_a_copy_is_released_at_once_although_it_is_kept(pair: Pair) -> None:
    (view,) = pair.send(b"\1" * MEDIUM)
    pair.deliver_releases()
    assert free_blocks(pair.store) == 1
    pair.send(b"\2" * MEDIUM)
    assert bytes(view) == b"\1" * MEDIUM


def test_what_nobody_needs_is_released_when_it_is_dropped(pair: Pair) -> None:
    pair.receiver.drop(pair.put(b"\1" * LARGE))
    pair.deliver_releases()
    assert free_blocks(pair.store) == 1


def test_a_block_waits_for_its_call_and_for_every_receiver(pair: Pair) -> None:
    block = pair.store.put([b"\1" * LARGE])
    assert block is not None
    ref = pair.sender.send(block)
    assert ref is not None
    pair.receiver.fetch(ref)
    pair.deliver_releases()
    assert free_blocks(pair.store) == 0  # the call may have to be resent
    block.release()
    assert free_blocks(pair.store) == 1


def test_a_receiver_that_has_exited_holds_nothing(pair: Pair) -> None:
    pair.put(b"\1" * LARGE)
    pair.sender.close()
    assert pair.store.total == 0  # what it has started may still have the block mapped
    pair.receiver.close()


def test_leases_are_found_whatever_the_order(pair: Pair) -> None:
    refs = [pair.put(bytes([n]) * LARGE) for n in range(4)]
    for n in (2, 0, 3, 1):
        (view,) = pair.receiver.fetch(refs[n])
        assert view[0] == n


def test_a_missing_descriptor_is_an_error_and_not_a_wait(pair: Pair) -> None:
    ref = pair.put(b"\1" * LARGE)
    with pytest.raises(OSError, match="unavailable"):
        pair.receiver.fetch(ref._replace(parts=((ref.parts[0][0] + 1, LARGE, 1),)))


def test_the_limit_is_kept_and_free_blocks_make_room(pair: Pair) -> None:
    pair.store.limit = 3 * LARGE
    kept = [pair.store.put([b"x" * LARGE]), pair.store.put([b"x" * LARGE])]
    assert pair.store.put([b"x" * (2 * LARGE)]) is None
    for block in kept:
        assert block is not None
        block.release()
    block = pair.store.put([b"x" * (2 * LARGE + LARGE // 2)])
    assert block is not None
    assert pair.store.total <= pair.store.limit
    block.release()


def test_what_there_is_no_room_for_goes_through_the_socket(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(fd: int, data: object, offset: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", write)
        assert pair.store.put([b"x" * LARGE]) is None
    assert pair.store.total == 0
    assert [bytes(view) for view in pair.send(b"x" * LARGE)] == [b"x" * LARGE]


def test_a_released_block_is_closed_if_the_limit_has_been_lowered(pair: Pair) -> None:
    block = pair.store.put([b"x" * LARGE])
    assert block is not None
    pair.store.limit = LARGE - 1
    block.release()
    assert (pair.store.total, free_blocks(pair.store)) == (0, 0)


def test_two_threads_may_ask_for_the_releases(pair: Pair) -> None:
    class Raced(deque[int]):
        """A queue whose last item another thread takes just after this one has found it non-empty."""

        def __bool__(self) -> bool:
            return True

    pair.receiver._released = Raced([7])
    assert pair.receiver.releases() == (7).to_bytes(8, "little")
    assert pair.receiver.releases() == b""


def test_unused_blocks_are_freed(pair: Pair) -> None:
    pair.send(b"x" * LARGE)
    pair.deliver_releases()
    pair.store.trim(3600.0)
    assert free_blocks(pair.store) == 1
    pair.store.trim(0.0)
    assert (free_blocks(pair.store), pair.store.total) == (0, 0)


def test_when_no_descriptor_can_be_passed_the_block_is_not_lost(pair: Pair) -> None:
    block = pair.store.put([b"x" * LARGE])
    assert block is not None
    while pair.sender.send(block) is not None:
        pass
    assert [bytes(view) for view in block.copies()] == [b"x" * LARGE]
    block.release()
    pair.sender.close()
    assert pair.store.total == 0


def test_nothing_is_copied_for_a_receiver_that_has_exited(pair: Pair) -> None:
    block = pair.store.put([b"x" * LARGE])
    assert block is not None
    pair.theirs.close()
    assert pair.sender.send(block) is not None
    block.release()
    pair.sender.close()
    assert pair.store.total == 0


def test_a_constant_is_shared_and_read_only(pair: Pair) -> None:
    block = Placed.alone(Block(LARGE, pair.store.in_memory), [b"\1" * LARGE])
    ref = pair.sender.send(block, PERMANENT_LEASES + 1)
    assert ref is not None
    (view,) = pair.receiver.share(ref)
    assert view.readonly
    assert bytes(view) == b"\1" * LARGE
    assert [bytes(each) for each in block.share()] == [b"\1" * LARGE]
    assert pair.receiver.releases() == b""
    block.release()
    assert view[0] == 1  # an existing mapping stays valid


def test_a_constant_that_was_sent_twice_and_mapped_once_leaves_no_descriptor(pair: Pair) -> None:
    block = Placed.alone(Block(LARGE, pair.store.in_memory), [b"\1" * LARGE])
    first = pair.sender.send(block, PERMANENT_LEASES + 1)
    pair.put(b"\2" * LARGE)
    pair.sender.send(block, PERMANENT_LEASES + 1)
    last = pair.put(b"\3" * LARGE)
    pair.receiver.fetch(last)
    assert first is not None
    pair.receiver.share(first)
    block.release()


# -- a buffer that many calls have ----------------------------------------------------------------------


def contents(placed: Placed) -> list[bytes]:
    return [bytes(copy) for copy in placed.copies()]


def test_a_buffer_that_lies_in_a_block_already_is_not_placed_again(pair: Pair) -> None:
    array = np.full(LARGE, 1, np.uint8)
    placed = [pair.store.place([memoryview(array)]) for _ in range(10)]
    assert all(each is not None and contents(each) == [array.tobytes()] for each in placed)
    assert pair.store.total < 2 * LARGE
    for each in placed:
        assert each is not None
        each.release()
    assert free_blocks(pair.store) == 1


def test_what_was_changed_since_is_placed_anew(pair: Pair) -> None:
    array = np.full(LARGE, 1, np.uint8)
    placed = []
    for n in range(5):
        array[-1] = n
        placed.append(pair.store.place([memoryview(array)]))
    assert [contents(each)[0][-1] for each in placed if each is not None] == list(range(5))
    for each in placed:
        assert each is not None
        each.release()


def test_of_several_buffers_those_are_placed_that_are_new(pair: Pair) -> None:
    common, read_only = np.full(LARGE, 1, np.uint8), b"r" * LARGE
    placed, sent = [], []
    for n in range(4):
        own = np.full(MEDIUM, 10 + n, np.uint8)
        buffers = [own, common, memoryview(read_only), np.full(LARGE // 2, n, np.uint8)]
        placed.append(pair.store.place([memoryview(buffer) for buffer in buffers]))
        sent.append([bytes(memoryview(buffer)) for buffer in buffers])
    assert [contents(each) for each in placed if each is not None] == sent
    assert pair.store.total < 8 * LARGE
    for each, buffers in zip(placed, sent, strict=True):
        assert each is not None
        ref = pair.sender.send(each)
        assert ref is not None
        assert [bytes(view) for view in pair.receiver.fetch(ref)] == buffers
        each.release()
    pair.deliver_releases()
    assert free_blocks(pair.store) == 4


def test_a_receiver_may_not_write_to_what_another_call_has_too(pair: Pair) -> None:
    array = np.full(LARGE, 1, np.uint8)
    one, two = (pair.store.place([memoryview(array)]) for _ in range(2))
    assert one is not None
    assert two is not None
    for placed in (one, two):
        ref = pair.sender.send(placed)
        assert ref is not None
        (view,) = pair.receiver.fetch(ref)
        assert bytes(view) == array.tobytes()
        view[:] = b"\2" * LARGE
        placed.release()


def test_nothing_is_looked_for_in_a_block_that_its_receiver_may_write_to(pair: Pair) -> None:
    array = np.full(LARGE, 1, np.uint8)
    first = pair.store.place([memoryview(array)])
    assert first is not None
    ref = pair.sender.send(first)
    assert ref is not None
    (view,) = pair.receiver.fetch(ref)
    others = [pair.store.place([memoryview(array)]) for _ in range(3)]
    view[:] = b"\2" * LARGE
    assert all(each is not None and contents(each) == [array.tobytes()] for each in others)
    assert pair.store.total < 3 * LARGE, "the others share one"
    for each in (first, *others):
        assert each is not None
        each.release()


def test_what_is_looked_for_is_forgotten_with_its_block(pair: Pair) -> None:
    for n in range(3):
        placed = pair.store.place([memoryview(np.full(LARGE, n, np.uint8))])
        assert placed is not None
        placed.release()
    assert pair.store._placed == {}


# -- room and descriptors -------------------------------------------------------------------------------


def allocated(fd: int) -> int:
    return os.fstat(fd).st_blocks * 512


def test_all_of_a_block_is_reserved_before_it_is_written_to_through_a_mapping(pair: Pair) -> None:
    size = MIN_BLOCK_SIZE + 1  # the block is larger
    placed = pair.store.put([b"x" * size])
    assert placed is not None
    (block,) = placed.blocks
    assert block.size > size
    assert allocated(block.fd) >= block.size
    placed.release()


def test_a_store_uses_a_part_of_the_descriptors_and_what_exceeds_it_goes_through_the_socket(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wpc_magic.pool.wire.block_store.descriptor_limit", lambda: 12)
    placed = [pair.store.put([b"x" * MEDIUM]) for _ in range(5)]
    assert [each is not None for each in placed] == [True, True, True, False, False]
    assert placed[0] is not None
    placed[0].release()
    placed[0] = pair.store.put([b"x" * (8 * MEDIUM)])  # the free one is too small, and makes room
    assert placed[0] is not None
    for each in placed[:3]:
        assert each is not None
        each.release()


def test_what_is_mapped_beyond_the_descriptors_that_may_be_kept_is_private_from_the_start(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wpc_magic.pool.wire.block_receiver.may_keep", lambda: False)
    before = len(os.listdir("/proc/self/fd"))
    placed = pair.store.put([b"\1" * LARGE])
    assert placed is not None
    ref = pair.sender.send(placed)
    assert ref is not None
    (view,) = pair.receiver.fetch(ref)
    assert len(os.listdir("/proc/self/fd")) == before + 1, "the sender's"
    view[:] = b"\2" * LARGE
    assert contents(placed) == [b"\1" * LARGE]
    placed.release()


def test_a_reference_to_more_than_a_block_has_is_an_error_and_not_a_fault(pair: Pair) -> None:
    for size, alone in ((8 * LARGE, 1), (8 * LARGE, 0), (1 << 45, 1)):
        ref = pair.put(b"\1" * LARGE)
        lease = ref.parts[0][0]
        with pytest.raises(OSError, match="shorter"):
            pair.receiver.fetch(ref._replace(parts=((lease, size, alone),), spans=((0, 0, size),)))


def test_of_several_blocks_none_is_left_where_one_cannot_be_received(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = np.full(LARGE, 1, np.uint8)
    first = pair.store.place([memoryview(common)])
    placed = pair.store.place([memoryview(common), memoryview(b"x" * LARGE)])
    assert first is not None
    assert placed is not None
    ref = pair.sender.send(placed)
    assert ref is not None
    before = len(os.listdir("/proc/self/fd"))
    pair.receiver._receive()
    os.close(pair.receiver._fds.pop(ref.parts[0][0]))
    pair.receiver._fds[ref.parts[0][0]] = -1  # there was room for the second only
    with pytest.raises(ShortageError) as raised:
        pair.receiver.fetch(ref)
    assert len(os.listdir("/proc/self/fd")) == before
    assert raised.value.lease == ref.parts[0][0]
    pair.receiver.release(raised.value.lease)
    placed.release()
    first.release()
    pair.deliver_releases()
    assert free_blocks(pair.store) == 2


def test_more_descriptors_than_a_message_may_have_are_closed(pair: Pair) -> None:
    before = len(os.listdir("/proc/self/fd"))
    numbers = (1).to_bytes(8, "little")
    socket.send_fds(pair.ours, [numbers], [0] * (MAX_PARTS + 20))
    with pytest.raises(ShortageError):
        pair.receiver.fetch(BlockRef(((1, LARGE, 1),), ((0, 0, 8),)))
    socket.send_fds(pair.ours, [numbers], [0] * 3)
    with pytest.raises(ConnectionError):
        pair.receiver.fetch(BlockRef(((1, LARGE, 1),), ((0, 0, 8),)))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_block_that_is_dropped_in_a_fork_closes_no_file_that_has_its_number_there() -> None:
    block = Block(1 << 16)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            number = block.fd
            os.dup2(0, number)  # it is closed, as by programs that become daemons, and used again
            del block
            os.fstat(number)
            code = 7
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    os.fstat(block.fd)
    block.close()
