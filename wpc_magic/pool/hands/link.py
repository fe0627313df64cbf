"""The pool's side of one worker process: its channels, who reads them, and what it wrote last."""

from __future__ import annotations

import codecs
import os
import select
from typing import TYPE_CHECKING, Any

import psutil

from ..mind.core import ProcessFacts
from ..mind.slots import Slot
from ..process import WorkerProcess
from ..wire.blocks import Receiver, Sender
from ..wire.channel import Channel
from .texts import LastWords

if TYPE_CHECKING:
    from ..futures import CallFuture

__all__ = ["Link"]

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096


class Link:
    """What the driver holds of one worker process.

    Attributes
    ----------
    slot : Slot
        The seat that it fills.
    life : int
        The number of the process in the pool.
    call, control : Channel
        Its channels.
    sender, receiver : Sender, Receiver
        Shared memory, to it and from it.
    owner : CallFuture or None
        What the thread waits for that reads the call channel now.
    expected : dict
        The future, if any, for which its maker is expected to come and wait here. Whoever takes it out, in
        one step, decides: that thread, and it may wait; or another one, and it may not.
    loops : dict
        Event loops that read the call channel now, and how many futures wait for it there.
    watched : bool
        Whether the driver's thread reads the call channel.
    call_mask, control_mask : int
        What the selector has been told of the channels.
    left : bool
        Whether the driver's thread leaves it alone for a while.
    touched, seen : int
        How often somebody has waited here; and how often when the driver's thread looked last.
    torn : int
        How many times in a row half a frame was found on the control channel.
    lost : bool
        Whether it cannot be talked to any more, and its process is being ended.
    dead : bool
        Whether the process is gone.
    last_words : LastWords
        What its calls have printed last.
    """

    def __init__(self, process: WorkerProcess, slot: Slot) -> None:
        self.process = process
        self.slot = slot
        self.life = slot.life
        self.call = Channel(process.call)
        self.sender = Sender(process.blocks)
        self.receiver = Receiver(process.blocks)
        self.control = Channel(process.control)
        self.owner: CallFuture | None = None
        self.expected: dict[CallFuture, CallFuture] = {}
        self.loops: dict[Any, int] = {}
        self.watched = self.left = False
        self.call_mask = self.control_mask = 0
        self.touched = self.seen = self.torn = 0
        self.lost = self.dead = False
        self.last_words = LastWords()
        self._decoders = [codecs.getincrementaldecoder("utf-8")("replace") for _ in range(2)]
        self._usage: psutil.Process | None = None
        self._wake_in, self._wake_out = _waker()
        self.call_fd = self.call.fileno()
        self.poller = select.poll()
        self.poller.register(self.call_fd, select.POLLIN)
        self.poller.register(self._wake_in, select.POLLIN)

    def expect(self, future: CallFuture) -> None:
        """Let who made a call wait here without asking again. Under the driver's lock."""
        self.owner = future
        future.wake_by(self.wake)
        future.expected_at = self
        self.expected[future] = future

    def expect_not(self) -> None:
        """Expect nobody any more. Under the driver's lock."""
        try:
            future, _ = self.expected.popitem()
        except KeyError:
            return
        future.expected_at = None
        future.wake_not_by(self.wake)
        self.owner = None

    def running(self) -> tuple[int, float]:
        """Return what the status page says: the call begun last, and since when in seconds (0: not yet)."""
        seq, since_ns = self.process.page.running()
        return seq, since_ns / 1e9

    def wake(self) -> None:
        """Wake the thread that waits at the call channel."""
        try:
            os.write(self._wake_out, b"\1\0\0\0\0\0\0\0")
        except BlockingIOError:  # it has been woken very often, and will see it
            pass

    def clear_wake(self) -> None:
        """Forget that somebody was woken."""
        try:
            os.read(self._wake_in, 4096)
        except BlockingIOError:
            pass

    def read_pipe(self, fd: int) -> str | None:
        """Return what the process has written to its descriptor 1 or 2 itself; None at its end."""
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return ""
        except OSError:
            data = b""
        text = self._decoders[fd == self.process.stderr_fd].decode(data, final=not data)
        return text if data or text else None

    def facts(self) -> ProcessFacts:
        """Ask the machine about the process."""
        try:
            if self._usage is None:
                self._usage = psutil.Process(self.process.pid)
            with self._usage.oneshot():
                return ProcessFacts(self._usage.memory_info().rss, self._usage.cpu_percent(None))
        except (psutil.Error, OSError):  # it is gone; or no descriptor is left to look with
            return ProcessFacts(None, None)

    def own_memory(self) -> int | None:
        """Return how much memory is the process's own, in bytes: without shared blocks and files.

        None where that cannot be told at this moment.
        """
        try:
            with open(f"/proc/{self.process.pid}/statm", "rb") as file:
                resident, shared = file.read().split()[1:3]
            return (int(resident) - int(shared)) * _PAGE
        except FileNotFoundError:  # a system that keeps no such files
            return self.facts().memory_bytes
        except OSError:  # no descriptor is left to look with
            return None

    def disown(self) -> None:
        """Close everything in a fork of the process that it belongs to."""
        self.process.disown()
        self.receiver.kept.disown()
        self.close()

    def close(self) -> None:
        """Close everything; the process is gone, and nobody waits here."""
        self.sender.close()
        self.receiver.close()
        self.process.close()
        self.call.close()
        self.control.close()
        for fd in {self._wake_in, self._wake_out}:
            os.close(fd)


def _waker() -> tuple[int, int]:
    """Return two descriptors: what is written to the second can be read from the first."""
    if hasattr(os, "eventfd"):
        fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        return fd, fd
    ends = os.pipe()
    for fd in ends:
        os.set_blocking(fd, False)
    return ends
