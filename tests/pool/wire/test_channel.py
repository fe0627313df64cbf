"""Frames over a socket, however they are split and delayed."""

import _socket
import contextlib
import errno
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wpc_magic.pool.wire.channel import HEADER, BadFrame, Channel, Reader, frame, send_all

U64 = st.integers(0, 2**64 - 1)
FRAMES = st.lists(
    st.tuples(
        st.integers(1, 6),
        st.integers(0, 2**32 - 1),
        U64,
        U64,
        st.binary(max_size=40) | st.integers(30_000, 140_000).map(bytes),
        st.lists(st.binary(max_size=20) | st.integers(60_000, 90_000).map(bytes), max_size=4),
    ),
    max_size=5,
)


@contextlib.contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, two = socket.socketpair()
    with one, two:
        one.settimeout(20)
        two.settimeout(20)
        yield one, two


def flat(one):
    kind, epoch, target, seq, body, buffers = one
    return kind, epoch, target, seq, bytes(body), [bytes(buffer) for buffer in buffers]


def pieces(one):
    return frame(*one[:5], [memoryview(buffer) for buffer in one[5]])


class SplitSocket:
    """A socket that returns its data in parts of the given sizes."""

    def __init__(self, data: bytes, sizes) -> None:
        self.data = memoryview(data)
        self.sizes = iter(sizes)

    def recv(self, most: int) -> bytes:
        n = min(most, next(self.sizes, most), len(self.data))
        part, self.data = bytes(self.data[:n]), self.data[n:]
        return part

    def recv_into(self, buffer) -> int:
        part = self.recv(len(buffer))
        buffer[: len(part)] = part
        return len(part)


def read_all(sock):
    reader = Reader(sock)
    frames = []
    while not reader.eof:
        frames += reader.read()
    return frames


@settings(max_examples=150)
@given(FRAMES, st.lists(st.integers(1, 70_000), max_size=30))
def test_frames_survive_being_cut_anywhere(frames, sizes):
    data = b"".join(bytes(piece) for one in frames for piece in pieces(one))
    assert [flat(one) for one in read_all(SplitSocket(data, sizes))] == frames


def test_frames_survive_being_cut_at_every_byte():
    frames = [
        (2, 1, 5, 7, b"body", []),
        (4, 0, 1, 8, b"x", [b"abc", b"", b"z" * 70_000]),
        (1, 0, 0, 0, b"", []),
    ]
    data = b"".join(bytes(piece) for one in frames for piece in pieces(one))
    small = b"".join(bytes(piece) for one in frames[::2] for piece in pieces(one))
    assert [flat(one) for one in read_all(SplitSocket(small, [1] * len(small)))] == frames[::2]
    for at in range(1, 200):
        assert [flat(one) for one in read_all(SplitSocket(data, [at, 1, 1, 1]))] == frames


def test_an_incomplete_frame_is_not_returned():
    data = b"".join(bytes(piece) for piece in pieces((4, 0, 0, 1, b"x" * 200_000, [])))
    assert read_all(SplitSocket(data[:-1], [])) == []


@pytest.mark.parametrize(
    "head",
    [
        (0, 0, 0, 0, 0, 0, 0),
        (99, 0, 0, 0, 0, 0, 0),
        (1, 64, 0, 0, 0, 0, 0),
        (1, 0, 3, 0, 0, 0, 23),
        (1, 0, 0, 0, 0, 0, 1 << 41),
        (1, 0, 0, 0, 0, 0, 1 << 40),
    ],
)
def test_bytes_that_are_not_a_frame_are_rejected(head):
    with pytest.raises(BadFrame):
        read_all(SplitSocket(HEADER.pack(*head) + bytes(1000), []))


def test_buffers_larger_than_their_frame_are_rejected():
    with pytest.raises(BadFrame, match="buffers of"):
        read_all(
            SplitSocket(HEADER.pack(1, 0, 1, 0, 0, 0, 20) + (1000).to_bytes(8, "little") + bytes(12), [])
        )


def test_a_buffer_is_memory_of_its_own_that_can_be_written_to():
    data = b"".join(bytes(piece) for piece in pieces((4, 0, 0, 1, b"body", [b"a" * 100, b"b" * 100])))
    ((*_, buffers),) = read_all(SplitSocket(data, []))
    buffers[0][:] = b"c" * 100
    assert bytes(buffers[1]) == b"b" * 100


def test_a_frame_crosses_a_socket_with_more_buffers_than_one_call_takes():
    buffers = [memoryview(bytes([n % 250]) * (n % 7)) for n in range(3000)]
    with pair() as (one, two):
        thread = threading.Thread(target=send_all, args=(one, frame(4, 0, 0, 1, b"body", buffers)))
        thread.start()
        reader = Reader(two)
        frames = []
        while not frames:
            frames = reader.read()
        thread.join(20)
    assert flat(frames[0])[5] == [bytes(buffer) for buffer in buffers]


def test_a_reader_needs_no_more_than_a_bare_socket():
    one, two = _socket.socketpair()
    send_all(one, frame(2, 1, 2, 3, b"body"))
    assert [flat(f) for f in Reader(two).read()] == [(2, 1, 2, 3, b"body", [])]
    one.close()
    two.close()


@pytest.mark.parametrize("number", [errno.ECONNRESET, errno.ETIMEDOUT, errno.EHOSTUNREACH])
def test_a_network_that_fails_is_the_end_of_the_connection(number: int) -> None:
    class Broken:
        def recv(self, size: int) -> bytes:
            raise OSError(number, os.strerror(number))

    reader = Reader(Broken())
    assert reader.read() == []
    assert reader.eof


def test_other_errors_of_a_socket_are_raised() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0.001)
        with pytest.raises(TimeoutError):
            Reader(ours).read()
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        Reader(ours).read()


def test_the_end_of_the_other_side_is_detected():
    with pair() as (one, two):
        send_all(one, frame(2, 1, 2, 3, b"body"))
        one.close()
        reader = Reader(two)
        assert len(reader.read()) == 1
        assert reader.read() == []
        assert reader.eof


# -- the pool's end --------------------------------------------------------------------------------------


@contextlib.contextmanager
def channels():
    with pair() as (one, two):
        ends = Channel(one), Channel(two)
        yield ends
        for end in ends:
            end.close()


def pump(*ends, until):
    """Read and write on all ends, as a pool does, until a condition holds."""
    got = {end: [] for end in ends}
    while not until(got):
        readable, writable, _ = select.select(ends, [end for end in ends if end.outbox], [], 20)
        assert readable or writable, "no progress"
        for end in writable:
            end.flush()
        for end in readable:
            got[end] += end.read()
    return got


def test_a_small_frame_goes_out_at_once():
    with channels() as (one, two):
        assert one.send(frame(2, 0, 0, 1, b"body")) is True
        assert not one.outbox
        assert len(two.read()) == 1
        with pytest.raises(BlockingIOError):
            two.read()


def test_64_mb_each_way_at_once_do_not_deadlock():
    body = bytes(64 * 1024 * 1024)
    with channels() as (one, two):
        for end in (one, two):
            assert end.send(frame(4, 0, 0, 1, b"x", [memoryview(body)])) is False
            assert end.send(frame(4, 0, 0, 2, body)) is False
        got = pump(one, two, until=lambda got: all(len(frames) == 2 for frames in got.values()))
        for frames in got.values():
            assert [one[3] for one in frames] == [1, 2]
            assert len(frames[0][5][0]) == len(frames[1][4]) == len(body)
        assert not one.outbox
        assert not two.outbox


def test_queued_data_keeps_its_order_and_is_a_copy():
    with channels() as (one, two):
        array = bytearray(b"a") * 2_000_000
        one.send(frame(4, 0, 0, 1, b"x", [memoryview(array)]))
        one.send(frame(4, 0, 0, 2, b"x", [memoryview(array)]))
        one.send(frame(2, 0, 0, 3, b"small"))
        array[:] = b"b" * len(array)
        got = pump(one, two, until=lambda got: len(got[two]) == 3)[two]
        assert [f[3] for f in got] == [1, 2, 3]
        assert all(set(f[5][0]) == {ord("a")} for f in got[:2])


def test_queued_bytes_are_not_copied():
    with channels() as (one, _):
        body = bytes(2_000_000)
        one.send(frame(4, 0, 0, 1, body))
        assert one.outbox[-1].obj is body


def test_sending_to_a_closed_end_reports_that_nothing_is_left_to_send():
    with channels() as (one, two):
        one.send(frame(4, 0, 0, 1, bytes(2_000_000)))
        two.close()
        assert one.flush() is True
        assert not one.outbox
        assert one.send(frame(2, 0, 0, 1, b"x")) is True
        assert one.send(frame(4, 0, 0, 1, bytes(100_000))) is True


def test_a_channel_can_be_closed_twice_in_the_middle_of_a_frame():
    with channels() as (one, two):
        one.send(frame(4, 0, 0, 1, bytes(2_000_000)))
        two.read()
        for _ in range(2):
            one.close()
            two.close()


@pytest.mark.parametrize("buffers", [[], [bytes(1 << 25)]], ids=["body", "buffer"])
def test_the_memory_of_a_large_frame_is_not_kept_by_its_reader(buffers):
    with pair() as (one, two):
        reader = Reader(two)
        sender = threading.Thread(
            target=send_all, args=(one, frame(1, 2, 3, 4, bytes(1 << 25), [memoryview(b) for b in buffers]))
        )
        sender.start()
        frames = []
        while not frames:
            frames = reader.read()
        sender.join()
        *_, body, received = frames.pop()
        memory = received[0] if buffers else body
        memory.close()  # a mapping refuses while there is a view of it


SIGPIPE = """
import os, signal, socket
from wpc_magic.pool.wire.block_sender import Sender
from wpc_magic.pool.wire.block_store import BlockStore
from wpc_magic.pool.wire.channel import Channel, frame, send_all
signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # as in programs that are to end with `| head`
small, large = frame(1, 0, 0, 0, b"x"), frame(1, 0, 0, 0, b"x", [memoryview(bytes(100_000))])
for pieces in (small, large):
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    theirs.close()
    assert channel.send(pieces)
    assert channel.send(pieces)
    channel.close()
    ours, theirs = socket.socketpair()
    theirs.close()
    try:
        send_all(ours, pieces)
    except BrokenPipeError:
        print("an error")
    ours.close()
ours, theirs = socket.socketpair()
theirs.close()
placed = BlockStore(1 << 20).put([bytes(1 << 18)])
assert Sender(ours).send(placed) is not None
print("goes on")
"""


def test_the_end_of_a_worker_ends_no_program_that_has_sigpipe_at_its_default() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGPIPE], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout.split("\n"), done.stderr) == (["an error", "an error", "goes on", ""], "")
