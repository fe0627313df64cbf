"""Pickles of large values, in pieces: large bytes in them are copied once on each side, and never joined.

Pickle 5 puts arrays apart, but not large bytes, bytearrays and strided arrays: these stand in the middle of
the pickle. A pickler that writes to a file hands each of them over as it is, and an unpickler that reads from
one asks for it as a whole.
"""

from __future__ import annotations

from _pickle import Pickler, Unpickler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = ["Pieces", "read_pieces", "write_pieces"]

APART = 1 << 16
"""Pieces of fewer bytes are joined."""


class Pieces:
    """A pickle: what is small joined in one text, what is large apart.

    Attributes
    ----------
    body : bytes
        What is small, in order.
    large : list of (int, bytes-like)
        What is large, and before which byte of the body it stands.
    """

    __slots__ = ("_length", "_small", "large")

    def __init__(self) -> None:
        self._small: list[Any] = []
        self._length = 0
        self.large: list[tuple[int, Any]] = []

    def write(self, piece: Any) -> int:
        """Take the next piece; the pickler calls this."""
        size = len(piece)
        if size < APART:
            self._small.append(bytes(piece))
            self._length += size
        else:
            self.large.append((self._length, piece))
        return size

    @property
    def body(self) -> bytes:
        """What is small, in order."""
        return b"".join(self._small)


def write_pieces(value: object, apart: Callable[[Any], bool], pickler: Any = Pickler) -> Pieces:
    """Pickle a value into pieces.

    Parameters
    ----------
    value : object
        Anything that the pickler takes.
    apart : callable
        As ``buffer_callback`` of `pickle.Pickler`.
    pickler : type
        The kind of pickler.
    """
    pieces = Pieces()
    pickler(pieces, 5, buffer_callback=apart).dump(value)
    return pieces


class _Source:
    """A file over a body, and large pieces at their places in it."""

    __slots__ = ("_at", "_piece", "_pieces")

    def __init__(self, body: Any, large: Sequence[tuple[int, Any]]) -> None:
        whole, start = memoryview(body), 0
        pieces = []
        for place, piece in large:
            pieces += [whole[start:place], memoryview(piece)]
            start = place
        self._pieces = iter([*pieces, whole[start:]])
        self._piece: Any = b""
        self._at = 0

    def _next(self, size: int) -> Any:
        """Return up to `size` bytes that stand together; none at the end."""
        while self._at == len(self._piece):
            self._piece, self._at = next(self._pieces, None), 0
            if self._piece is None:
                self._piece = b""
                return b""
        start, self._at = self._at, min(self._at + size, len(self._piece))
        return self._piece[start : self._at]

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
    """Return the value of a pickle that is in pieces.

    Parameters
    ----------
    body : bytes-like
        What is small.
    large : sequence of (int, bytes-like)
        What is large, and before which byte of the body it stands.
    buffers : sequence of bytes-like
        What pickle itself has put apart.

    Examples
    --------
    >>> pieces = write_pieces(["a", b"x" * 100_000], lambda buffer: True)
    >>> len(pieces.body) < 100, [(place, len(piece)) for place, piece in pieces.large]
    (True, [(23, 100000)])
    >>> read_pieces(pieces.body, pieces.large, []) == ["a", b"x" * 100_000]
    True
    """
    return Unpickler(_Source(body, large), buffers=buffers).load()
