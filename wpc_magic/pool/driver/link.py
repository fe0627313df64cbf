"""The pool's end of one worker process: its channels, who polls them, and its recent output."""

from __future__ import annotations

import codecs
import os
import select
import socket
from typing import TYPE_CHECKING, Any, Protocol

from ..core.core import ProcessFacts
from ..core.slots import Slot
from ..core.spinning import Spinning
from ..engines.engine import Process
from ..wire.block_receiver import Receiver
from ..wire.block_sender import Sender
from ..wire.channel import Channel, Frame
from ..wire.far_sender import FarSender
from ..wire.unshared import UnsharedReceiver, UnsharedSender
from .held_functions import HeldFunctions
from .output import RecentOutput
from .waker import open_waker

if TYPE_CHECKING:
    from ..futures import CallFuture

__all__ = ["ChannelReader", "Link"]


class ChannelReader(Protocol):
    """Who reads a call channel, and gives it to whoever wants it; see `CallbackReader`."""

    def keeps(self, link: Link) -> bool:
        """Return whether it reads the answer to a call that was just sent. Under the driver's lock."""

    def give_up(self, link: Link) -> None:
        """Let go of a channel. Under the driver's lock."""


class Link:
    """The driver's resources for one worker process.

    Parameters
    ----------
    process : Process
        The process.
    slot : Slot
        Its slot.
    look_ns : int
        See `Spinning`.

    Attributes
    ----------
    slot : Slot
        The slot that the process serves.
    incarnation : int
        The unique number of the process in the pool.
    call, control : Channel
        Its channels.
    sender, receiver : Sender, Receiver
        Shared memory, to the worker and from it.
    owner : CallFuture, WaitEvent, ChannelReader or None
        What the thread waits for that reads the call channel now.
    reader : ChannelReader or None
        The owner, if it is one that gives the channel to whoever wants it.
    lone_callbacks : int
        How often in a row the driver's thread has read the answer to an only call, and a callback waited.
    reserved : dict
        The future, if any, whose submitter is expected to wait here soon. It is popped in one atomic step: if
        the submitter pops it, it may wait; if another thread does, it may not.
    loops : dict
        Event loops that read the call channel now, and how many futures wait in each.
    polled : bool
        Whether the driver's thread reads the call channel.
    call_mask, control_mask : int
        The event masks that are registered with the selector.
    parked : bool
        Whether nobody polls the call channel for a moment, since the next waiter is likely to come.
    touched, touched_at_check : int
        How often a waiter has used the channel: in total, and up to the last check by the driver's thread.
    malformed : str
        What of its data was malformed, for which it was killed; empty: nothing.
    torn : int
        How many times in a row a torn frame was found on the control channel.
    awaited : dict
        Of values whose blocks were lost here: the frame of each, by its call's number; see `Inbox`.
    lost : bool
        Whether the connection is lost, and the process is being killed.
    dead : bool
        Whether the process has exited.
    recent_output : RecentOutput
        The last output of its calls.
    spinning : Spinning
        Whether the next thread that waits here for a quick call looks at the status page first.
    words : memoryview
        The words of the status page.
    held_functions : HeldFunctions
        The anonymous functions that it holds.
    """

    def __init__(self, process: Process, slot: Slot, look_ns: int = 0) -> None:
        self._wake_in, self._wake_out = open_waker()  # first, since it may fail
        self.process = process
        self.slot = slot
        self.incarnation = slot.incarnation
        self.call = _channel(process.call)
        blocks = process.blocks
        self.sender = _sender(process)
        self.receiver = UnsharedReceiver(process.adopt) if blocks is None else Receiver(blocks)
        self.control = _channel(process.control)
        self.owner: Any = None
        self.reader: ChannelReader | None = None
        self.lone_callbacks = 0
        self.reserved: dict[CallFuture, CallFuture] = {}
        self.loops: dict[Any, int] = {}
        self.polled = self.parked = False
        self.call_mask = self.control_mask = 0
        self.touched = self.touched_at_check = self.torn = 0
        self.malformed = ""
        self.awaited: dict[int, Frame] = {}
        self.lost = self.dead = False
        self.spinning = Spinning(look_ns)
        self.words = process.page.words
        self.recent_output = RecentOutput()
        self.held_functions = HeldFunctions()
        self._facts: ProcessFacts | None = None
        self._decoders = [codecs.getincrementaldecoder("utf-8")("replace") for _ in range(2)]
        self.call_fd = self.call.fileno()
        self.poll_set = select.poll()
        self.register(self.poll_set)

    def register(self, poll_set: Any) -> None:
        """Add to a set of descriptors what is read when an answer arrives, or `wake` was called."""
        poll_set.register(self.call_fd, select.POLLIN)
        poll_set.register(self._wake_in, select.POLLIN)

    def reserve(self, future: CallFuture) -> None:
        """Let the submitter of a call wait here without the lock. Call this under the driver's lock."""
        self.owner = future
        future.add_waker(self.wake)
        future.reserved_at = self
        self.reserved[future] = future

    def vacate(self) -> None:
        """Cancel the reservation, if any, and take the channel from the reader. Under the driver's lock."""
        try:
            future, _ = self.reserved.popitem()
        except KeyError:
            if self.reader is not None:
                self.reader.give_up(self)
            return
        future.reserved_at = None
        future.remove_waker(self.wake)
        self.owner = None

    def running(self) -> tuple[int, float]:
        """Return from the status page: the call begun last, and its start time in seconds (0: none yet)."""
        seq, since_ns = self.process.page.running()
        return seq, since_ns / 1e9

    def wake(self) -> None:
        """Wake the thread that waits for the call channel."""
        try:
            os.write(self._wake_out, b"\1\0\0\0\0\0\0\0")
        except OSError:  # many wake-ups are pending already; or it is closed, and nobody waits
            pass

    def clear_wake(self) -> None:
        """Consume the pending wake-ups."""
        try:
            os.read(self._wake_in, 4096)
        except BlockingIOError:
            pass

    def read_pipe(self, fd: int) -> str | None:
        """Return what the process has written to its stdout or stderr pipe; None at the end of file."""
        try:
            data = os.read(fd, 1 << 16)
        except BlockingIOError:
            return ""
        except OSError:
            data = b""
        text = self._decoders[fd == self.process.stderr_fd].decode(data, final=not data)
        return text if data or text else None

    def facts(self, anew: bool = True) -> ProcessFacts:
        """Return the memory and the CPU usage of the process: as it is now, or as it was the last time."""
        if anew or self._facts is None:
            self._facts = ProcessFacts(*self.process.usage.memory_and_cpu())
        return self._facts

    def after_fork(self) -> None:
        """Close everything, in a fork of the parent process."""
        self.process.after_fork()
        self.receiver.cache.after_fork()
        self.close()

    def close(self) -> None:
        """Close everything; the process has exited, and no thread is waiting here."""
        self.sender.close()
        self.receiver.close()
        self.process.close()
        self.call.close()
        self.control.close()
        fds, self._wake_in, self._wake_out = {self._wake_in, self._wake_out}, -1, -1
        for fd in fds:
            os.close(fd)


def _channel(end: socket.socket | Channel) -> Channel:
    return end if isinstance(end, Channel) else Channel(end)


def _sender(process: Process) -> Sender:
    """Return what passes blocks to a process."""
    if process.blocks is not None:
        return Sender(process.blocks)
    return UnsharedSender() if process.lend is None else FarSender(process.lend)
