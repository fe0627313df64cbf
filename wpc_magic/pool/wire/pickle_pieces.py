"""Pickles of large values, in pieces: large bytes in them are copied once on each side, and never joined.

Pickle 5 passes arrays out of band, but not large bytes, bytearrays and strided arrays: these stay in the
middle of the pickle. A pickler that writes to a file passes each of them to `write` without copying it, and
an unpickler that reads from a file requests it with one `read`.
"""

from __future__ import annotations

from _pickle import Pickler, Unpickler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = ["Pieces", "read_pieces", "write_pieces"]

MIN_OUT_OF_BAND = 1 << 16
"""Pieces of fewer bytes stay in the body."""


class Pieces:
    """A file that a pickle is written to: it joins small pieces, and keeps large ones separate.

    Attributes
    ----------
    body : bytes
        The small pieces, joined in order.
    large : list of (int, bytes-like)
        Each large piece, with its offset in the body: it belongs before that byte.
    """

    __slots__ = ("_length", "_small", "large")

    def __init__(self) -> None:
        self._small: list[Any] = []
        self._length = 0
        self.large: list[tuple[int, Any]] = []

    def write(self, piece: Any) -> int:
        """Add the next piece; called by the pickler."""
        size = len(piece)
        if size < MIN_OUT_OF_BAND:
            self._small.append(bytes(piece))
            self._length += size
        else:
            self.large.append((self._length, piece))
        return size

    @property
    def body(self) -> bytes:
        """The small pieces, joined in order."""
        return b"".join(self._small)


def write_pieces(value: object, buffer_callback: Callable[[Any], bool], pickler: Any = Pickler) -> Pieces:
    """Pickle a value into pieces.

    Parameters
    ----------
    value : object
        Any value that the pickler supports.
    buffer_callback : callable
        As in `pickle.Pickler`.
    pickler : type
        The class of the pickler.
    """
    pieces = Pieces()
    pickler(pieces, 5, buffer_callback=buffer_callback).dump(value)
    return pieces


class _Source:
    """A file that reads a body with large pieces inserted at their offsets."""

    __slots__ = ("_offset", "_piece", "_pieces")

    def __init__(self, body: Any, large: Sequence[tuple[int, Any]]) -> None:
        whole, start = memoryview(body), 0
        pieces = []
        for offset, piece in large:
            pieces += [whole[start:offset], memoryview(piece)]
            start = offset
        self._pieces = iter([*pieces, whole[start:]])
        self._piece: Any = b""
        self._offset = 0

    def _next(self, size: int) -> Any:
        """Return up to `size` contiguous bytes; none at the end."""
        while self._offset == len(self._piece):
            self._piece, self._offset = next(self._pieces, None), 0
            if self._piece is None:
                self._piece = b""
                return b""
        start, self._offset = self._offset, min(self._offset + size, len(self._piece))
        return self._piece[start : self._offset]

    def read(self, size: int) -> bytes:
        part = self._next(size)
        if len(part) == size:
            return bytes(part)
        parts = []
        while len(part):
            parts.append(part)
            size -= len(part)
            part = self._next(size) if size else b""
        return b"".join(parts)

    def readinto(self, buffer: Any) -> int:
        done = 0
        while done < len(buffer):
            part = self._next(len(buffer) - done)
            if not len(part):
                break
            buffer[done : done + len(part)] = part
            done += len(part)
        return done

    def readline(self) -> bytes:
        line: list[bytes] = []
        while not line or line[-1] not in (b"\n", b""):
            line.append(self.read(1))
        return b"".join(line)


def read_pieces(body: Any, large: Sequence[tuple[int, Any]], buffers: Sequence[Any]) -> Any:
    """Return the value of a pickle in pieces.

    Parameters
    ----------
    body : bytes-like
        The small pieces, joined.
    large : sequence of (int, bytes-like)
        Each large piece, with its offset in the body.
    buffers : sequence of bytes-like
        The out-of-band buffers of pickle itself.

    Examples
    --------
    >>> pieces = write_pieces(["a", b"x" * 100_000], lambda buffer: True)
    >>> len(pieces.body) < 100, [(offset, len(piece)) for offset, piece in pieces.large]
    (True, [(23, 100000)])
    >>> read_pieces(pieces.body, pieces.large, []) == ["a", b"x" * 100_000]
    True
    """
    return Unpickler(_Source(body, large), buffers=buffers).load()
