"""What a pool and its template process say to each other, one packet each; see `worker.template`."""

from __future__ import annotations

import _socket
import os
import pickle

from wpc_magic.pool.wire.block_ref import FD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Sequence
    from typing import NamedTuple
else:
    from wpc_magic.pool.wire.named_tuple import NamedTuple

__all__ = ["Begin", "Fork", "Forked", "Import", "Imported", "Outdated", "Refused", "receive", "send"]

_MAX_PACKET = 1 << 17  # bytes
_MAX_FDS = 8
_CLOEXEC: int = getattr(_socket, "MSG_CMSG_CLOEXEC", 0)
_NO_SIGPIPE: int = getattr(_socket, "MSG_NOSIGNAL", 0)


class Begin(NamedTuple):
    """The first message: the ``sys.path`` with which modules are imported."""

    path: list[str]


class Import(NamedTuple):
    """Import a module; the answer is `Imported`."""

    module: str


class Imported(NamedTuple):
    """What has become of an import."""

    why_not: str  # why the module has to be left to the workers; empty: it is imported
    is_spoilt: bool  # whether the template is of no use any more


class Fork(NamedTuple):
    """Start a worker, with the descriptors that come along; the answer is one of the following."""


class Forked(NamedTuple):
    """A worker was started."""

    pid: int


class Outdated(NamedTuple):
    """No worker was started: a file was edited after it had been imported."""

    path: str


class Refused(NamedTuple):
    """No worker was started."""

    why: str


def send(sock: socket, message: object, fds: Sequence[int] = ()) -> None:
    """Send a message, with descriptors.

    Raises
    ------
    OSError
        If nobody receives it, or it is too long.
    """
    rights = b"".join(FD.pack(fd) for fd in fds)
    ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else []
    sock.sendmsg([pickle.dumps(message)], ancillary, _NO_SIGPIPE)


def receive(sock: socket) -> tuple[object, list[int]]:
    """Return the next message, and the descriptors that came with it.

    Raises
    ------
    EOFError
        If there is nobody any more.
    OSError
        If it cannot be received: a time-out, say.
    """
    data, rights, _, _ = sock.recvmsg(_MAX_PACKET, _socket.CMSG_LEN(FD.size * _MAX_FDS), _CLOEXEC)
    fds = [fd for _, _, packed in rights for (fd,) in FD.iter_unpack(packed)]
    try:
        if not data:
            raise EOFError
        return pickle.loads(data), fds
    except BaseException:
        for fd in fds:
            os.close(fd)
        raise
