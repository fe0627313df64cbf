"""What the pool and the process on a host tell each other: tuples, one after the other on one connection."""

from __future__ import annotations

import hmac
import pickle
import struct
from typing import Any, NamedTuple

__all__ = [
    "BLOCKS",
    "CALL",
    "CONTROL",
    "EVENTS",
    "GIVE",
    "HELLO_SIZE",
    "LENGTH",
    "SECURE",
    "TAKE",
    "Exit",
    "Start",
    "hello",
    "pack",
    "read_hello",
    "unpack",
    "unpack_first",
]

_PURPOSE = struct.Struct("<BQ")
HELLO_SIZE = _PURPOSE.size + 32
EVENTS, CALL, CONTROL, BLOCKS = 0, 1, 2, 3
"""What a connection is for."""
GIVE, TAKE = 4, 5
"""To fetch a copy of a block, and to bring one: then in place of the worker, the number of the copy."""
SECURE = 16
"""Is added to that if a TLS handshake follows."""

LENGTH = struct.Struct("<I")


class Start(NamedTuple):
    """What a worker process is started with.

    Parameters
    ----------
    key : int
        Its number among those of the pool.
    path : list of str
        The ``sys.path`` of the pool: what of it exists there comes after that of the host.
    environ : dict
        Environment variables, if some were asked for.
    uploads : list of str
        The digests of the archives whose modules come before all others. They were sent before.
    folder : str or None
        The working directory there; None: that of the Dask worker.
    """

    key: int
    path: list[str]
    environ: dict[str, str]
    uploads: list[str]
    folder: str | None


class Exit(NamedTuple):
    """How a worker process has ended.

    Parameters
    ----------
    exitcode : int
        The exit code; minus the number of a signal.
    is_exit_known : bool
        Whether it is its own.
    peak_bytes : int
        Its peak memory, in bytes; 0: unknown.
    oom_killed : bool or None
        Whether memory had run out there; None: unknown.
    """

    exitcode: int
    is_exit_known: bool
    peak_bytes: int
    oom_killed: bool | None


def hello(secret: bytes, what: int, key: int) -> bytes:
    """Return what a connection to a host process begins with, which shows who makes it, and for what.

    The secret itself is not in it: a handshake may follow, and who reads this can use it for nothing else.

    Parameters
    ----------
    secret : bytes
        What only the pool and the host process know.
    what, key : int
        What the connection is for, and for which worker.

    Examples
    --------
    >>> read_hello(b"secret", hello(b"secret", CALL, 7))
    (1, 7)
    >>> read_hello(b"secret", hello(b"guess", CALL, 7)) is None
    True
    """
    purpose = _PURPOSE.pack(what, key)
    return purpose + hmac.digest(secret, purpose, "sha256")


def read_hello(secret: bytes, data: bytes) -> tuple[int, int] | None:
    """Return what a connection is for, and for which worker; None: it is not the pool that makes it."""
    if len(data) != HELLO_SIZE:
        return None
    what, key = _PURPOSE.unpack_from(data)
    return (what, key) if hmac.compare_digest(data, hello(secret, what, key)) else None


def pack(message: tuple[Any, ...]) -> bytes:
    """Return a message as it is sent.

    Examples
    --------
    >>> unpack(bytearray(pack(("kill", 1)) + pack(("kill", 2))[:9]))
    [('kill', 1)]
    """
    body = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def unpack(received: bytearray) -> list[tuple[Any, ...]]:
    """Take the messages out of what was received that are there in full."""
    messages = []
    while (message := unpack_first(received)) is not None:
        messages.append(message)
    return messages


def unpack_first(received: bytearray) -> tuple[Any, ...] | None:
    """Take the first message out of what was received; None: it is not there in full."""
    if len(received) < LENGTH.size:
        return None
    end = LENGTH.size + LENGTH.unpack_from(received)[0]
    if len(received) < end:
        return None
    message: tuple[Any, ...] = pickle.loads(received[LENGTH.size : end])
    del received[:end]
    return message
