"""Frames over a stream socket.

A frame is a header, the sizes of its buffers, a body, and the buffers::

    | kind u8 | flags u8 | buffers u16 | epoch u32 | target u64 | seq u64 | size u64 |
    | sizes u64... | body | buffers... |

`size` counts everything behind the header. A buffer is read straight into memory of its own, so that an
array on top of it is aligned, writable, and not tied to the life of its neighbours. No memory is used before
its bytes are here: a size may lie.

With the flag `PLACED` the buffers are in a block (see `blocks`), and the frame only says where::

    | header | lease u64 | block's size u64 | exclusive u64 | offset u64, size u64, ... | body |
"""

from __future__ import annotations

import mmap
import struct
from collections import deque
from itertools import islice

from wpc_magic.pool.wire.placed import Placed

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import socket
    from collections.abc import Sequence
    from typing import Any, TypeAlias

__all__ = ["BadFrame", "Channel", "Frame", "Reader", "frame", "placed_frame", "send_all"]

HEADER = struct.Struct("<BBHIQQQ")
_SIZE = HEADER.size
_READ = 65536
_JOIN = 32768  # up to here, one copy is cheaper than a second entry for the kernel to walk
_AT_ONCE = 64  # pieces for one system call
_KINDS = 7
_PLACED = 1
_PLACED_HEAD = 24
_MOST = 1 << 40  # no honest frame is this large
_MAPPED = 1 << 25  # from here on, `malloc` maps new pages each time as well
_NOTHING = memoryview(b"")

Bytes = bytes | bytearray | memoryview
Frame: TypeAlias = "tuple[int, int, int, int, Any, Sequence[Any] | Placed]"
"""kind, epoch, target, seq, body, buffers"""


class BadFrame(Exception):
    """The bytes that came are no frame."""


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
        Flat views of bytes that follow it as they are.
    """
    if not buffers:
        head = HEADER.pack(kind, 0, 0, epoch, target, seq, len(body))
        return [head + body] if len(body) <= _JOIN else [head, body]
    sizes = [len(buffer) for buffer in buffers]
    table = struct.pack(f"<{len(sizes)}Q", *sizes)
    head = HEADER.pack(kind, 0, len(sizes), epoch, target, seq, len(table) + len(body) + sum(sizes))
    return [head + table, body, *buffers]


def placed_frame(kind: int, epoch: int, target: int, seq: int, body: bytes, placed: Placed) -> list[Bytes]:
    """Return a frame whose buffers are in a block; see `frame`."""
    flat = [number for span in placed.spans for number in span]
    table = struct.pack(f"<{3 + len(flat)}Q", placed.lease, placed.size, placed.exclusive, *flat)
    head = HEADER.pack(kind, _PLACED, len(placed.spans), epoch, target, seq, len(table) + len(body))
    return [head + table + body]


def _take_placed(count: int, data: Any) -> tuple[Any, Placed]:
    """Cut what follows the header of a placed frame into the body, and where its buffers are."""
    lease, size, exclusive, *flat = struct.unpack_from(f"<{3 + 2 * count}Q", data)
    spans = tuple(zip(flat[::2], flat[1::2], strict=True))
    placed = Placed(lease, size, exclusive, spans)
    if any(offset + length > size for offset, length in spans):
        raise BadFrame(f"buffers beyond the end of a block of {size} bytes")
    return data[_PLACED_HEAD + 16 * count :], placed


class Reader:
    """Turns what comes from a socket into frames; one system call each time it is asked.

    Parameters
    ----------
    sock : socket.socket
        Blocking or not: `read` makes one ``recv`` and so blocks, or not, as the socket does.

    Attributes
    ----------
    eof : bool
        Whether the other end is gone.
    """

    __slots__ = ("_buffers", "_head", "_sizes", "_spill", "_tail", "_wanted", "eof", "sock")

    def __init__(self, sock: _socket.socket) -> None:
        self.sock = sock
        self.eof = False
        self._tail = b""  # the beginning of a frame
        self._head: tuple[int, ...] | None = None  # of the frame that is being filled
        self._buffers: list[Any] = []
        self._sizes: deque[int] = deque()  # of its buffers that have no memory yet
        self._wanted = _NOTHING  # memory still to fill: the rest of the last buffer
        self._spill = 0  # bytes that came behind the frame that was begun

    @property
    def is_torn(self) -> bool:
        """Whether a frame has come in part."""
        return bool(self._tail or self._wanted)

    def read(self) -> list[Frame]:
        """Read once, and return the frames that are complete now (often one, sometimes none).

        Raises
        ------
        BlockingIOError
            If the socket does not block and holds nothing.
        BadFrame
            If what came is no frame. The channel cannot be used any more.
        """
        try:
            if self._wanted:
                return self._fill()
            data = self.sock.recv(_READ)
        except (ConnectionResetError, BrokenPipeError):
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
            least = _PLACED_HEAD + 16 * count if flags else 8 * count
            if flags > _PLACED or not 1 <= kind <= _KINDS or not least <= size <= _MOST:
                raise BadFrame(f"kind {kind}, flags {flags}, {count} buffers, {size} bytes")
            if flags or not count:
                if end - start >= size:
                    offset = start + size
                    body = data[start:offset]
                    frames.append(
                        (kind, epoch, target, seq, *(_take_placed(count, body) if flags else (body, ())))
                    )
                    continue
                if size <= _READ:
                    break  # a small frame that is not all here: the next read completes it
            elif 8 * count > end - start:
                break  # as long as its table of sizes is not here, nothing can be laid out
            head = (kind, epoch, target, seq, count if flags else -1)
            self._begin(head, 0 if flags else count, size, memoryview(data)[start:])
            offset = end - self._spill
            if self._wanted:
                break
            frames.append(self._finish())
        self._tail = data[offset:]
        return frames

    def _begin(self, head: tuple[int, ...], count: int, size: int, data: memoryview) -> None:
        """Lay out memory for a large frame, and fill it with what is here; the rest is `_spill`."""
        sizes = struct.unpack_from(f"<{count}Q", data)
        body = size - count * 8 - sum(sizes)
        if body < 0:
            raise BadFrame(f"buffers of {sum(sizes)} bytes in a frame of {size}")
        data = data[count * 8 :]
        self._head = head
        self._sizes = deque((body, *sizes))
        self._advance(0)
        while self._wanted and data:
            n = min(len(self._wanted), len(data))
            self._wanted[:n] = data[:n]
            data = data[n:]
            self._advance(n)
        self._spill = len(data)

    def _advance(self, n: int) -> None:
        """Note that `n` bytes more are here, and have memory for those that come next."""
        self._wanted = self._wanted[n:]
        while not self._wanted and self._sizes:
            buffer = _memory(self._sizes.popleft())
            self._buffers.append(buffer)
            self._wanted = memoryview(buffer)

    def _fill(self) -> list[Frame]:
        n = self.sock.recv_into(self._wanted)
        if not n:
            self.eof = True
            return []
        self._advance(n)
        return [] if self._wanted else [self._finish()]

    def _finish(self) -> Frame:
        assert self._head is not None
        kind, epoch, target, seq, placed = self._head
        body, *buffers = self._buffers
        self._head, self._buffers = None, []
        if placed >= 0:
            return kind, epoch, target, seq, *_take_placed(placed, body)
        return kind, epoch, target, seq, body, buffers


def _memory(size: int) -> Any:
    """Return memory to be filled; the pages of large memory are made only then."""
    try:
        if size < _MAPPED:
            return bytearray(size)
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except (MemoryError, OSError):
        raise BadFrame(f"there is no memory for {size} bytes") from None


def send_all(sock: _socket.socket, pieces: list[Bytes]) -> None:
    """Send pieces on a socket that blocks."""
    if len(pieces) == 1:
        sock.sendall(pieces[0])
        return
    left = deque(memoryview(piece) for piece in pieces)
    while left:
        _skip(left, sock.sendmsg(list(islice(left, _AT_ONCE))))


def _skip(left: deque[memoryview], sent: int) -> None:
    """Drop `sent` bytes from the front, and pieces of no bytes with them."""
    while left and sent >= len(left[0]):
        sent -= len(left.popleft())
    if sent:
        left[0] = left[0][sent:]


def _kept(piece: memoryview) -> memoryview:
    return piece if type(piece.obj) is bytes else memoryview(bytes(piece))


class Channel(Reader):
    """The pool's end of a channel: never blocks, and keeps what does not fit in an outbox.

    Notes
    -----
    If both ends blocked in ``send``, two large values that cross would stop both for ever.

    What is kept is a copy wherever it is not of `bytes`: the caller may change an array as soon as `send`
    has returned.
    """

    __slots__ = ("outbox",)

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        sock.setblocking(False)
        self.outbox: deque[memoryview] = deque()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self.sock.fileno()

    def send(self, pieces: list[Bytes]) -> bool:
        """Send what fits, keep the rest; return whether everything is out."""
        if self.outbox:
            self.outbox.extend(_kept(memoryview(piece)) for piece in pieces)
            return False
        if len(pieces) == 1:
            piece = pieces[0]
            try:
                sent = self.sock.send(piece)
            except BlockingIOError:
                sent = 0
            except OSError:  # the worker is gone; its death is noticed elsewhere
                return True
            if sent == len(piece):
                return True
            self.outbox.append(_kept(memoryview(piece)[sent:]))
            return False
        self.outbox.extend(map(memoryview, pieces))
        if self.flush():
            return True
        self.outbox = deque(map(_kept, self.outbox))
        return False

    def flush(self) -> bool:
        """Send from the outbox; return whether it is empty now."""
        try:
            while self.outbox:
                _skip(self.outbox, self.sock.sendmsg(list(islice(self.outbox, _AT_ONCE))))
        except BlockingIOError:
            return False
        except OSError:
            self.outbox.clear()
        return True

    def close(self) -> None:
        """Close the socket, and drop what was not sent."""
        self.outbox.clear()
        self._wanted = _NOTHING
        self.sock.close()
