"""A worker process on a host, and what the pool knows of it."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from ..process import WorkerProcess
from .messages import Exit

__all__ = ["HostedWorker"]


class HostedWorker:
    """A worker process, and what the pool knows of it.

    Parameters
    ----------
    key : int
        Its number among those of the pool.
    process : WorkerProcess
        The process.

    Attributes
    ----------
    dump_until : float
        Until when its dump is looked at.
    ended : Exit or None
        How it has ended; None: it has not.
    forget_at : float
        When it is forgotten after that, whether the pool has received all or not.
    blocks_ended : bool
        Whether no more values come from it.
    pipes : dict
        The numbers of its stdout and stderr, by descriptor.
    """

    def __init__(self, key: int, process: WorkerProcess) -> None:
        self.key = key
        self.process = process
        self.dump_until = 0.0
        self.ended: Exit | None = None
        self.forget_at = 0.0
        self.blocks_ended = False
        self.pipes = {process.stdout_fd: 0, process.stderr_fd: 1}
        self._page: tuple[bytes, str] = b"", ""
        self._dump_generation = self._dump_size = 0
        self._unlent: list[tuple[int, int]] = []  # leases, and descriptors of blocks

    def lend(self, lease: int, fd: int) -> None:
        """Pass the descriptor of a block to it, now or when there is room for it."""
        if self._unlent or not self.process.lend_descriptor(lease, fd):
            self._unlent.append((lease, os.dup(fd)))

    def lend_rest(self) -> None:
        """Pass what there was no room for, as far as there is now."""
        while self._unlent and self.process.lend_descriptor(*self._unlent[0]):
            os.close(self._unlent.pop(0)[1])

    def new_page(self) -> tuple[int, bytes, str] | None:
        """Return what its status page shows, if that has changed."""
        page = self.process.page
        seen = page.copy(), page.installing()
        if seen == self._page:
            return None
        self._page = seen
        return self.key, *seen

    def clear_dump(self, generation: int) -> None:
        """Clear its dump; what is written to it from now on is of this generation."""
        self.process.dump.clear()
        self._dump_generation, self._dump_size = generation, 0

    def new_dump(self) -> tuple[int, str] | None:
        """Return the generation and the text of its dump, if that has grown."""
        dump = self.process.dump
        size = os.fstat(dump.fd).st_size
        if size == self._dump_size:
            return None
        self._dump_size = size
        return self._dump_generation, dump.read()

    def facts(self) -> tuple[int, Any]:
        """Return what it uses."""
        usage = self.process.usage
        return self.key, (*usage.memory_and_cpu(), usage.cpu_s(), usage.private_memory(), usage.status())

    def end_sending(self) -> None:
        """End what it has sent, all of which must be there before the pool learns of its end."""
        for sock in (self.process.call, self.process.control):
            try:
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass

    @property
    def is_received(self) -> bool:
        """Whether the machine of the pool has received all that it had sent."""
        import fcntl
        import termios

        for sock in (self.process.call, self.process.control):
            unsent = bytearray(4)
            try:
                fcntl.ioctl(sock, termios.TIOCOUTQ, unsent)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
            if any(unsent):
                return False
        return True

    def close(self) -> None:
        """Close everything."""
        for _, fd in self._unlent:
            os.close(fd)
        self.process.close()
