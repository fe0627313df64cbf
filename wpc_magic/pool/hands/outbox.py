"""What goes to the workers: calls, definitions, and orders."""

from __future__ import annotations

from typing import Any

from ..futures import CallFuture
from ..mind import effects
from ..mind.calls import Call
from ..mind.core import Core
from ..mind.registry import Change
from ..wire import protocol
from ..wire.channel import frame, placed_frame
from ..wire.codec import pack
from .link import Link
from .watch import Watch

__all__ = ["Outbox"]

_JOINED = 1 << 16
"""Frames of up to this many bytes together are sent at once."""


class Outbox:
    """Sends what the mind wants sent. All methods are called under the driver's lock.

    Parameters
    ----------
    core : Core
        Whose effects these are.
    watch : Watch
        Told of what did not fit, and of channels that somebody has to read now.
    links : dict
        The links by the lives of their processes.
    """

    def __init__(self, core: Core, watch: Watch, links: dict[int, Link]) -> None:
        self._core = core
        self._watch = watch
        self._links = links
        self._encoded: tuple[Any, list[Any]] = (None, [])  # the change that was sent last: all workers get it

    def send_calls(self) -> None:
        """Send the calls that the mind has given to workers."""
        state = self._core.state
        if len(state.sends) == 1:
            slot, call = state.sends.pop()
            link = self._links[slot.life]
            self._send(link, _call_frame(link, call), call.future)
            return
        sends, state.sends = state.sends, []
        joined: dict[int, list[Any]] = {}
        for slot, call in sends:
            joined.setdefault(slot.life, []).extend(_call_frame(self._links[slot.life], call))
        for life, pieces in joined.items():
            if sum(map(len, pieces)) <= _JOINED:
                pieces = [b"".join(pieces)]
            self._send(self._links[life], pieces)

    def _send(self, link: Link, pieces: list[Any], maker: CallFuture | None = None) -> None:
        if link.dead:
            return
        if link.expected:
            link.expect_not()  # with two calls there, somebody has to look
        if not link.call.send(pieces):
            self._watch.call(link, link.watched)
        if link.watched or link.owner is not None or link.loops:
            return
        # Who makes a call most likely comes and waits for it here. Where that is not so, somebody must look.
        awaited = self._core.dispatch.is_awaited(link.slot)  # by calls that are queued
        if maker is None or len(link.slot.sent) > 1 or awaited or maker.is_awaited:
            self._watch.take_back(link)
        else:
            link.expect(maker)
            if not link.left:
                self._watch.leave(link)

    def order(self, link: Link, effect: effects.Effect) -> None:
        """Do an effect that concerns one worker."""
        match effect:
            case effects.Kill():
                link.process.kill()
            case effects.SendInstall(_, _, change):
                self._send(link, self._install_frame(link, change))
            case effects.SendForget(_, _, epoch):
                self.tell(link, protocol.Forget(epoch))
            case effects.SendRevoke(_, _, seqs):
                self._control(link, protocol.Revoke(seqs))
            case effects.SendInterrupt(_, _, seq):
                self._control(link, protocol.Interrupt(seq))
            case effects.SendPing():
                self._control(link, protocol.Ping(0))
                if link.receiver.has_news:
                    self._send(link, _news_frame(link))
            case effects.SendLeave(_, _, interrupt):
                if interrupt:
                    self._control(link, protocol.Leave())
                self.tell(link, protocol.Leave())

    def _install_frame(self, link: Link, change: Change) -> list[Any]:
        """Pass the memory of constants on, and return the frame that tells of the change."""
        # So many descriptors may be under way and no more: the memory of the rest is sent another way.
        rest = {
            record.name: record.wire._replace(buffers=tuple(map(bytes, record.block.share())))
            for record in change.records
            if record.block is not None and link.sender.send(record.block, record.wire.buffers.lease) is None
        }
        if not rest and self._encoded[0] == change[:2]:
            return self._encoded[1]
        records = tuple(rest.get(record.name, record.wire) for record in change.records)
        pieces = _message_frame(protocol.Install(change.epoch, change.base, records, change.removed))
        if not rest:
            self._encoded = change[:2], pieces
        return pieces

    def tell(self, link: Link, message: protocol.ToWorker) -> None:
        """Send a message to the worker's main thread."""
        self._send(link, _message_frame(message))

    def trim(self, link: Link) -> None:
        """Have the worker keep no memory for later."""
        if link.receiver.has_news:
            self._send(link, _news_frame(link))
        self._control(link, protocol.Trim())

    def ask_stack(self, link: Link, token: int) -> None:
        """Ask a worker what it does."""
        self._control(link, protocol.TakeStack(token))

    def _control(self, link: Link, message: protocol.ToWorker) -> None:
        if not link.dead and not link.control.send(_message_frame(message)):
            self._watch.control(link)


def _call_frame(link: Link, call: Call) -> list[Any]:
    assert call.record is not None
    kind = protocol.CHUNK if call.items else protocol.CALL
    about = kind, call.epoch, call.record.key, call.seq, call.body
    if call.block is None:
        pieces = frame(*about, call.buffers)
    else:
        placed = link.sender.send(call.block, exclusive=not call.retries)
        pieces = frame(*about, call.block.copies()) if placed is None else placed_frame(*about, placed)
    return [*_news_frame(link), *pieces] if link.receiver.has_news else pieces


def _news_frame(link: Link) -> list[Any]:
    return frame(protocol.RELEASE, 0, 0, 0, link.receiver.news())


def _message_frame(message: protocol.ToWorker) -> list[Any]:
    return frame(protocol.MESSAGE, 0, 0, 0, pack(message))
