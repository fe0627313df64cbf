"""Messages to the workers: calls, definitions, and control messages."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ..core import effects
from ..core.calls import Call
from ..core.core import Core
from ..core.registry import Change, Record
from ..futures import CallFuture
from ..wire import protocol
from ..wire.blanks import Blank
from ..wire.channel import block_frame, frame
from ..wire.codec import pack
from ..wire.status_page import SENT
from .link import Link
from .poller import Poller

__all__ = ["Outbox", "anonymous_target", "call_frame", "message_frame"]

_MAX_COALESCED = 1 << 16
"""Frames of up to this many bytes in total are coalesced into one send."""


class Outbox:
    """Sends what the core has decided to send. All methods are called under the driver's lock.

    Parameters
    ----------
    core : Core
        The source of the effects.
    poller : Poller
        Is notified of what did not fit into a socket, and of channels that must be polled now.
    links : dict
        The links, by incarnation.

    Attributes
    ----------
    call_frame : callable
        Returns the frame of a call, in pieces.
    """

    def __init__(self, core: Core, poller: Poller, links: dict[int, Link]) -> None:
        self._core = core
        self._poller = poller
        self._links = links
        self.call_frame: Callable[[Link, Call], list[Any]] = call_frame
        self._encoded: tuple[Any, list[Any]] = (None, [])  # the last change, encoded once for all workers

    def send_calls(self) -> None:
        """Send the calls that the core has dispatched."""
        state = self._core.state
        if len(state.sends) == 1:
            slot, call = state.sends.pop()
            link = self._links[slot.incarnation]
            self._send(link, self.call_frame(link, call), call.future)
            return
        sends, state.sends = state.sends, []
        frames: dict[int, list[Any]] = {}
        for slot, call in sends:
            frames.setdefault(slot.incarnation, []).extend(
                self.call_frame(self._links[slot.incarnation], call)
            )
        for incarnation, pieces in frames.items():
            if sum(map(len, pieces)) <= _MAX_COALESCED:
                pieces = [b"".join(pieces)]
            self._send(self._links[incarnation], pieces)

    def _send(self, link: Link, pieces: list[Any], submitted: CallFuture | None = None) -> None:
        if link.dead:
            return
        if link.reserved:
            link.vacate()  # with two calls, the channel must be polled
        if not link.call.send(pieces):
            self._poller.call(link, link.polled)
        if link.spinning.look_ns:  # then the worker may look for it, too; after the call, which is there then
            link.words[SENT] = link.slot.next_seq - 1
        if link.polled or link.owner is not None or link.loops:
            if link.reader is None or link.reader.keeps(link):
                return
            link.vacate()
        # Most likely the submitter will wait for the call here. Otherwise the channel must be polled now.
        awaited = self._core.dispatcher.is_awaited(link.slot)  # by queued calls
        if submitted is None or len(link.slot.sent) > 1 or awaited or submitted.is_awaited:
            self._poller.reclaim(link)
        else:
            link.reserve(submitted)
            if not link.parked:
                self._poller.park(link)

    def perform(self, link: Link, effect: effects.Effect) -> None:
        """Perform an effect that concerns one worker."""
        match effect:
            case effects.Kill():
                link.process.kill()
            case effects.SendInstall(_, _, change):
                self._send(link, self._install_frame(link, change))
            case effects.SendForget(_, _, epoch):
                self.send(link, protocol.Forget(epoch))
            case effects.SendActivate(_, _, epoch):
                self.send(link, protocol.Activate(epoch))
            case effects.SendNumber(number, _, epoch):
                self.send(link, protocol.Number(number, epoch))
            case effects.SendRevoke(_, _, seqs):
                self._control(link, protocol.Revoke(seqs))
            case effects.SendInterrupt(_, _, seq):
                self._control(link, protocol.Interrupt(seq))
            case effects.SendPing():
                self._control(link, protocol.Ping(0))
                if link.receiver.has_releases and any(call.is_stream for call in link.slot.sent.values()):
                    self.credit(link, 0, 0)  # the call channel is not read while a stream runs
                elif link.receiver.has_releases:
                    self._send(link, _release_frame(link))
            case effects.SendShutdown(_, _, interrupt):
                if interrupt:
                    self._control(link, protocol.Shutdown())
                self.send(link, protocol.Shutdown())

    def _install_frame(self, link: Link, change: Change) -> list[Any]:
        """Send the blocks of constants, and return the frame of the change."""
        # The kernel limits the descriptors in flight: the other blocks are sent inline, as bytes.
        inline = {
            record.name: _without_descriptor(record)
            for record in change.records
            if record.block is not None
            and link.sender.send(record.block, record.wire.buffers.parts[0][0]) is None
        }
        if not inline and self._encoded[0] == change[:2]:
            return self._encoded[1]
        records = tuple(inline.get(record.name, record.wire) for record in change.records)
        pieces = message_frame(protocol.Install(*change[:2], records, change.removed, change.cells))
        if not inline:
            self._encoded = change[:2], pieces
        return pieces

    def send(self, link: Link, message: protocol.ToWorker) -> None:
        """Send a message to the worker's main thread."""
        self._send(link, message_frame(message))

    def set_log_levels(self, link: Link, levels: protocol.LogLevels) -> None:
        """Send a worker which log records are wanted: now, even if it is busy, and before its next call."""
        self._control(link, levels)
        self.send(link, levels)

    def trim(self, link: Link) -> None:
        """Make the worker free its unused memory."""
        if link.receiver.has_releases:
            self._send(link, _release_frame(link))
        self._control(link, protocol.Trim())

    def credit(self, link: Link, seq: int, taken: int) -> None:
        """Tell the worker of a stream how many items were taken, and which blocks it may use again."""
        self._control(link, protocol.Credit(seq, taken, link.receiver.releases()))

    def request_stack(self, link: Link, token: int, of_calls: bool = False) -> None:
        """Request the stacks of a worker; `of_calls`: only those of the calls that it runs."""
        self._control(link, protocol.TakeStack(token, of_calls))

    def request_description(self, link: Link, token: int) -> None:
        """Request what the process of a worker runs with."""
        self._control(link, protocol.Describe(token))

    def _control(self, link: Link, message: protocol.ToWorker) -> None:
        if not link.dead and not link.control.send(message_frame(message)):
            self._poller.control(link)


def _without_descriptor(record: Record) -> Any:
    """Return what is sent where no descriptor can be: the buffers, or the path of a shared object."""
    if type(record.wire) is protocol.Shared:
        return record.wire._replace(buffers=f"/proc/{os.getpid()}/fd/{record.block.blocks[0].fd}")
    return record.wire._replace(buffers=tuple(map(bytes, record.block.share())))


def call_frame(link: Link, call: Call, target: int | None = None) -> list[Any]:
    """Return the frame of a call, in pieces; without `target`, that of its function."""
    if target is None:
        record = call.record
        assert record is not None
        if not record.revision:
            return _anonymous_frame(link, call, record)
        target = record.key
    if call.items:
        kind = protocol.WHOLE_CHUNK if call.keeps_going else protocol.CHUNK
    elif call.is_stream:
        kind = protocol.STREAM
        target += call.buffer << protocol.KEY_BITS  # type: ignore[attr-defined]
    else:
        kind = protocol.CALL
    if call.block is None:
        pieces = frame(kind, call.epoch, target, call.seq, call.body, call.buffers)
    else:
        header = kind, call.epoch, target, call.seq, call.body
        ref = link.sender.send(call.block, exclusive=not call.retries)
        pieces = frame(*header, call.block.copies()) if ref is None else block_frame(*header, ref)
    if call.options.keep and link.process.adopt is not None:
        pieces = [*message_frame(protocol.KeepValue(call.seq)), *pieces]
    return [*_release_frame(link), *pieces] if link.receiver.has_releases else pieces


def _anonymous_frame(link: Link, call: Call, record: Record) -> list[Any]:
    """Return the frame of a call of a function that is not registered, after that of the function itself."""
    target, before = anonymous_target(link, record)
    return [*before, *call_frame(link, call, target)]


def anonymous_target(link: Link, record: Record) -> tuple[int, list[Any]]:
    """Return the target of a call of a function that is not registered, and what has to be sent before it."""
    if record.wire is None:
        return protocol.IN_BODY, []
    message = link.held_functions.before_call(record)
    target = protocol.IN_BODY if type(record.wire) is Blank else record.key
    return target, [] if message is None else message_frame(message)


def _release_frame(link: Link) -> list[Any]:
    return frame(protocol.RELEASE, 0, 0, 0, link.receiver.releases())


def message_frame(message: protocol.ToWorker) -> list[Any]:
    """Return the frame of a message, in pieces."""
    return frame(protocol.MESSAGE, 0, 0, 0, pack(message))
