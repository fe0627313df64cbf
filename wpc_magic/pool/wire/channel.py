"""Frames over a stream socket.

A frame is a header, the sizes of its buffers, a body, and the buffers::

    | kind u8 | flags u8 | buffers u16 | epoch u32 | target u64 | seq u64 | size u64 |
    | sizes u64... | body | buffers... |

`size` counts everything after the header. Each buffer is read directly into memory of its own, so that an
array on top of it is aligned, writable, and does not keep its neighbours alive. Pages are committed only as
bytes arrive, because a size may be wrong.

With the flag `_IN_BLOCK` the buffers are in blocks (see `blocks`), and the frame contains a `BlockRef`::

    | header | number of blocks u64 | lease, size, exclusive u64... | block, offset, size u64... | body |
"""

from __future__ import annotations

import _socket
import errno
import mmap
import struct
from collections import deque
from itertools import islice

from wpc_magic.pool.wire.block_ref import BlockRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias

__all__ = [
    "LOST",
    "NO_SIGPIPE",
    "BadFrame",
    "Channel",
    "Frame",
    "Reader",
    "block_frame",
    "frame",
    "send_all",
    "without_sigpipe",
]

LOST = frozenset(
    getattr(errno, name)
    for name in (
        "ECONNABORTED",
        "ECONNRESET",
        "EHOSTDOWN",
        "EHOSTUNREACH",
        "ENETDOWN",
        "ENETRESET",
        "ENETUNREACH",
        "EPIPE",
        "ETIMEDOUT",
    )
    if hasattr(errno, name)
)
"""The errors of a connection that has ended, be it by a process, a machine or the network between."""

HEADER = struct.Struct("<BBHIQQQ")
_SIZE = HEADER.size
_READ = 65536
_MAX_JOINED = 32768  # bytes; up to this size a copy is cheaper than a second element of the `sendmsg` vector
_MAX_PIECES = 64  # for one system call
_KINDS = 11
_IN_BLOCK = 1
_MAX_BLOCKS = 1 << 16
_MAX_SIZE = 1 << 40  # no valid frame is larger
_MAPPED = 1 << 25  # bytes; from this size on, `malloc` maps new pages each time as well
_EMPTY = memoryview(b"")

NO_SIGPIPE: int = getattr(_socket, "MSG_NOSIGNAL", 0)
"""A flag of every send: a program may have SIGPIPE at its default, and must not end with a worker.

Systems without it have an option of the socket, which `without_sigpipe` sets.
"""
_SO_NOSIGPIPE = 0x1022  # <sys/socket.h> of macOS, which Python does not define

Bytes = bytes | bytearray | memoryview
Frame: TypeAlias = "tuple[int, int, int, int, Any, Sequence[Any] | BlockRef]"
"""kind, epoch, target, seq, body, buffers"""


class BadFrame(Exception):
    """The received bytes are not a valid frame."""


def frame(
    kind: int, epoch: int, target: int, seq: int, body: bytes, buffers: Sequence[memoryview] = ()
) -> list[Bytes]:
    """Return a frame as pieces to send, in order.

    Parameters
    ----------
    kind, epoch, target, seq : int
        The header's fields.
    body : bytes
        The pickled part.
    buffers : sequence of memoryview
        Flat views of bytes that follow the body unchanged.
    """
    if not buffers:
        head = HEADER.pack(kind, 0, 0, epoch, target, seq, len(body))
        return [head + body] if len(body) <= _MAX_JOINED else [head, body]
    sizes = [len(buffer) for buffer in buffers]
    table = struct.pack(f"<{len(sizes)}Q", *sizes)
    head = HEADER.pack(kind, 0, len(sizes), epoch, target, seq, len(table) + len(body) + sum(sizes))
    return [head + table, body, *buffers]


def block_frame(kind: int, epoch: int, target: int, seq: int, body: bytes, ref: BlockRef) -> list[Bytes]:
    """Return a frame whose buffers are in a block; see `frame`."""
    flat = [number for three in (*ref.parts, *ref.spans) for number in three]
    table = struct.pack(f"<{1 + len(flat)}Q", len(ref.parts), *flat)
    head = HEADER.pack(kind, _IN_BLOCK, len(ref.spans), epoch, target, seq, len(table) + len(body))
    return [head + table + body]


def _split_block_ref(count: int, data: Any) -> tuple[Any, BlockRef]:
    """Split what follows the header of a block frame into the body and the reference to its buffers."""
    (blocks,) = struct.unpack_from("<Q", data)
    end = 8 + 24 * (blocks + count)
    if not 0 < blocks <= _MAX_BLOCKS or end > len(data):
        raise BadFrame(f"{count} buffers in {blocks} blocks, in {len(data)} bytes")
    flat = struct.unpack_from(f"<{3 * (blocks + count)}Q", data, 8)
    parts = tuple([flat[n : n + 3] for n in range(0, 3 * blocks, 3)])
    spans = tuple([flat[n : n + 3] for n in range(3 * blocks, len(flat), 3)])
    for part, offset, length in spans:
        if part >= blocks or offset + length > parts[part][1]:
            raise BadFrame("buffers beyond the end of a block")
    return data[end:], BlockRef(parts, spans)


class Reader:
    """Reads frames from a socket, with one system call per `read`.

    Parameters
    ----------
    sock : socket.socket
        Blocking or not: `read` makes one ``recv`` and so blocks, or not, as the socket does.

    Attributes
    ----------
    eof : bool
        Whether the other end has closed the connection.
    """

    __slots__ = ("_buffers", "_head", "_sizes", "_surplus", "_tail", "_unfilled", "eof", "sock")

    def __init__(self, sock: _socket.socket) -> None:
        self.sock = sock
        self.eof = False
        self._tail = b""  # the beginning of a frame
        self._head: tuple[int, ...] | None = None  # of the large frame that is being read
        self._buffers: list[Any] = []
        self._sizes: deque[int] = deque()  # of its buffers that are not allocated yet
        self._unfilled = _EMPTY  # the part of the last buffer that is still to be read
        self._surplus = 0  # bytes that were received after the end of that frame

    @property
    def is_torn(self) -> bool:
        """Whether a frame has been received in part."""
        return bool(self._tail or self._unfilled)

    def read(self) -> list[Frame]:
        """Read once, and return the frames that are now complete (often one, sometimes none).

        Raises
        ------
        BlockingIOError
            If the socket is non-blocking and no data is available.
        BadFrame
            If the data is not a valid frame. The channel is unusable from then on.
        """
        try:
            if self._unfilled:
                return self._fill()
            data = self.sock.recv(_READ)
        except OSError as error:
            if error.errno not in LOST:
                raise
            data = b""
        if not data:
            self.eof = True
            return []
        if not self._tail and len(data) >= _SIZE:  # most often: one small frame, and all of it
            kind, flags, count, epoch, target, seq, size = HEADER.unpack_from(data)
            if size == len(data) - _SIZE and not (flags or count) and 1 <= kind <= _KINDS:
                return [(kind, epoch, target, seq, data[_SIZE:], ())]
        return self._parse(self._tail + data if self._tail else data)

    def _parse(self, data: bytes) -> list[Frame]:
        frames: list[Frame] = []
        offset, end = 0, len(data)
        while end - offset >= _SIZE:
            kind, flags, count, epoch, target, seq, size = HEADER.unpack_from(data, offset)
            start = offset + _SIZE
            min_size = 8 + 24 * count if flags else 8 * count
            if flags > _IN_BLOCK or not 1 <= kind <= _KINDS or not min_size <= size <= _MAX_SIZE:
                raise BadFrame(f"kind {kind}, flags {flags}, {count} buffers, {size} bytes")
            if flags or not count:
                if end - start >= size:
                    offset = start + size
                    body = data[start:offset]
                    frames.append(
                        (kind, epoch, target, seq, *(_split_block_ref(count, body) if flags else (body, ())))
                    )
                    continue
                if size <= _READ:
                    break  # a small, incomplete frame: the next read completes it
            elif 8 * count > end - start:
                break  # buffers can be allocated only when the table of sizes is complete
            head = (kind, epoch, target, seq, count if flags else -1)
            self._begin(head, 0 if flags else count, size, memoryview(data)[start:])
            offset = end - self._surplus
            if self._unfilled:
                break
            frames.append(self._finish())
        self._tail = data[offset:]
        return frames

    def _begin(self, head: tuple[int, ...], count: int, size: int, data: memoryview) -> None:
        """Allocate memory for a large frame, and fill it from `data`; `_surplus` counts what remains."""
        sizes = struct.unpack_from(f"<{count}Q", data)
        body = size - count * 8 - sum(sizes)
        if body < 0:
            raise BadFrame(f"buffers of {sum(sizes)} bytes in a frame of {size}")
        data = data[count * 8 :]
        self._head = head
        self._sizes = deque((body, *sizes))
        self._advance(0)
        while self._unfilled and data:
            n = min(len(self._unfilled), len(data))
            self._unfilled[:n] = data[:n]
            data = data[n:]
            self._advance(n)
        self._surplus = len(data)

    def _advance(self, n: int) -> None:
        """Account for `n` more bytes, and allocate memory for the next ones."""
        self._unfilled = self._unfilled[n:]
        while not self._unfilled and self._sizes:
            buffer = _allocate(self._sizes.popleft())
            self._buffers.append(buffer)
            self._unfilled = memoryview(buffer)

    def _fill(self) -> list[Frame]:
        n = self.sock.recv_into(self._unfilled)
        if not n:
            self.eof = True
            return []
        self._advance(n)
        return [] if self._unfilled else [self._finish()]

    def _finish(self) -> Frame:
        assert self._head is not None
        kind, epoch, target, seq, spans = self._head
        body, *buffers = self._buffers
        self._head, self._buffers = None, []
        self._unfilled = _EMPTY  # also an empty view keeps the memory
        if spans >= 0:
            return kind, epoch, target, seq, *_split_block_ref(spans, body)
        return kind, epoch, target, seq, body, buffers


def _allocate(size: int) -> Any:
    """Return writable memory; if it is large, its pages are committed only as they are filled."""
    try:
        if size < _MAPPED:
            return bytearray(size)
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (MemoryError, OSError):
        raise BadFrame(f"there is no memory for {size} bytes") from None


def without_sigpipe(sock: _socket.socket) -> None:
    """Have no write to a socket raise SIGPIPE, on systems where that is an option of the socket."""
    if not NO_SIGPIPE:
        try:
            sock.setsockopt(_socket.SOL_SOCKET, _SO_NOSIGPIPE, 1)
        except OSError:
            pass  # the system does not have that either


def send_all(sock: _socket.socket, pieces: list[Bytes]) -> None:
    """Send pieces on a blocking socket."""
    if len(pieces) == 1:
        sock.sendall(pieces[0], NO_SIGPIPE)
        return
    left = deque(memoryview(piece) for piece in pieces)
    while left:
        _skip(left, sock.sendmsg(list(islice(left, _MAX_PIECES)), (), NO_SIGPIPE))


def _skip(left: deque[memoryview], sent: int) -> None:
    """Remove `sent` bytes from the front, and the empty pieces that follow them."""
    while left and sent >= len(left[0]):
        sent -= len(left.popleft())
    if sent:
        left[0] = left[0][sent:]


def _detached(piece: memoryview) -> memoryview:
    """Return a piece that the caller cannot change any more: a copy, unless it is a view of `bytes`."""
    return piece if type(piece.obj) is bytes else memoryview(bytes(piece))


class Channel(Reader):
    """The pool's end of a channel: never blocks, and queues unsent data in an outbox.

    Notes
    -----
    If both ends blocked in ``send``, two large values sent in opposite directions would deadlock.

    Queued data is copied unless it is `bytes`: the caller may change an array as soon as `send` has returned.
    """

    __slots__ = ("outbox",)

    def __init__(self, sock: _socket.socket) -> None:
        super().__init__(sock)
        without_sigpipe(sock)
        sock.setblocking(False)
        self.outbox: deque[memoryview] = deque()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.sock.fileno()

    def send(self, pieces: list[Bytes]) -> bool:
        """Send what fits into the socket's buffer, queue the rest; return whether everything was sent."""
        if self.outbox:
            self.outbox.extend(_detached(memoryview(piece)) for piece in pieces)
            return False
        if len(pieces) == 1:
            piece = pieces[0]
            try:
                sent = self.sock.send(piece, NO_SIGPIPE)
            except BlockingIOError:
                sent = 0
            except OSError:  # the worker has exited; that is handled elsewhere
                return True
            if sent == len(piece):
                return True
            self.outbox.append(_detached(memoryview(piece)[sent:]))
            return False
        self.outbox.extend(map(memoryview, pieces))
        if self.flush():
            return True
        self.outbox = deque(map(_detached, self.outbox))
        return False

    def flush(self) -> bool:
        """Send from the outbox; return whether it is now empty."""
        try:
            while self.outbox:
                _skip(self.outbox, self.sock.sendmsg(list(islice(self.outbox, _MAX_PIECES)), (), NO_SIGPIPE))
        except BlockingIOError:
            return False
        except OSError:
            self.outbox.clear()
        return True

    def close(self) -> None:
        """Close the socket, and discard unsent data."""
        self.outbox.clear()
        self._unfilled = _EMPTY
        self.sock.close()
