"""What comes from the workers: read, understood, and told to the mind."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..mind.calls import Call
from ..mind.core import Core
from ..mind.events import ErrorInfo
from ..wire import protocol
from ..wire.channel import BadFrame, Channel, Frame
from ..wire.page import ANSWERED
from ..wire.placed import Placed
from ..wire.protocol import ERROR, VALUE
from ..wire.received import BadMessage, read_failure, read_message
from .link import Link
from .texts import OutputText, Texts
from .watch import Watch

_ANSWERS = (VALUE, ERROR)
_PIPE_READS = 32  # of 64 KiB; a pipe of Linux holds that once, and at most 1 MiB

__all__ = ["Inbox", "settle"]


class Inbox:
    """Takes what workers send. All methods are called under the driver's lock.

    Parameters
    ----------
    core : Core
        Who is told.
    watch : Watch
        Where a worker that cannot be talked to is taken out.
    texts : Texts
        Where what functions print goes.
    stacks : callable
        Given the token of a request and stacks, hands them on.
    """

    def __init__(
        self, core: Core, watch: Watch, texts: Texts, stacks: Callable[[int, tuple[Any, ...]], object]
    ) -> None:
        self._core = core
        self._watch = watch
        self._texts = texts
        self._stacks = stacks

    def read_call(self, link: Link) -> bool:
        """Read once from a call channel, and take what has come; return whether there was anything."""
        return self._read(link, link.call, self._take_frames)

    def read_control(self, link: Link) -> bool:
        """Read once from a control channel, and take what has come; return whether there was anything."""
        return self._read(link, link.control, self._take_signs)

    def _read(self, link: Link, channel: Channel, take: Callable[[Link, list[Frame]], None]) -> bool:
        over = link.dead or channel.eof
        if over:
            return False
        try:
            frames = channel.read()
            if channel.eof:
                self.lose(link)
                return False
            take(link, frames)
        except BlockingIOError:
            return False
        except (BadFrame, BadMessage) as error:
            self._malformed(link, str(error))
            return False
        return True

    def _take_frames(self, link: Link, frames: list[Frame]) -> None:
        now = time.monotonic()
        slot, supervisor = link.slot, self._core.supervisor
        answered = supervisor.dispatch.answered
        for kind, _, target, seq, body, sent in frames:
            if kind in _ANSWERS:
                buffers: Any = sent
                if buffers and isinstance(buffers, Placed):
                    try:
                        buffers = link.receiver.fetch(buffers)  # dropped, it tells the worker that it may go
                    except OSError as error:
                        raise BadMessage(str(error)) from None
                # Before the call leaves the books: should this be nonsense, it ends with its worker.
                failure = read_failure(body) if kind == ERROR else None
                call = answered(slot, seq, target, kind == VALUE, now)
                if slot.drains:
                    supervisor.leave_if_empty(slot, now)
                if call is not None:
                    if failure is not None:
                        self._tell_failure(link, call, failure)
                    settle(call, (kind, body, buffers, slot.id))
            elif kind == protocol.BEGAN:
                self._core.dispatch.began(link.slot, seq, target / 1e9, now)
            elif kind == protocol.RELEASE:
                if len(body) % 8:
                    raise BadMessage(f"{len(body)} bytes of leases")
                link.sender.released(body)
            elif kind == protocol.MESSAGE:
                self._take(link, body, now)
            else:
                self._unknown(link, f"a frame of kind {kind}")

    def _take_signs(self, link: Link, frames: list[Frame]) -> None:
        """Take what came on a control channel: whatever it is, it is a sign of life."""
        now = time.monotonic()
        self._core.supervisor.heard(link.slot, now)
        for one in frames:
            if one[0] != protocol.MESSAGE:
                raise BadMessage(f"a frame of kind {one[0]} on the control channel")
            self._take(link, one[4], now)

    def read_pipe(self, link: Link, stream: str) -> bool:
        """Read once what a worker has written to a descriptor itself; return whether there was anything."""
        process = link.process
        fd = process.stdout_fd if stream == "stdout" else process.stderr_fd
        text = link.read_pipe(fd)
        if text is None:
            self._watch.drop_pipe(fd)
        elif text:
            call = link.slot.sent.get(link.running()[0])
            self._print(link, call, stream, text)
        return bool(text)

    def read_all(self, link: Link) -> None:
        """Read everything that a worker had written before its end."""
        for read in (self.read_call, self.read_control):
            while read(link):
                pass
        for stream in ("stdout", "stderr"):
            # No more than a pipe holds: a process that it has left behind may go on writing for ever.
            for _ in range(_PIPE_READS):
                if not self.read_pipe(link, stream):
                    break

    def _take(self, link: Link, body: Any, now: float) -> None:
        message = read_message(body)
        slot, core = link.slot, self._core
        match message:
            case protocol.Printed(seq, stream, text):
                self._print(link, slot.sent.get(seq), stream, text)
            case protocol.Installed(epoch):
                core.supervisor.installed(slot, epoch, now)
            case protocol.Refused(epoch, failure, definition):
                core.definitions.refused(slot, epoch, definition, _about(failure), failure, now)
            case protocol.GivenUp(seqs):
                if any(self._runs(link, seq) for seq in seqs):
                    raise BadMessage(f"{message}, and that has begun")  # it must not run twice
                moved = [call.future for seq in seqs if (call := slot.sent.get(seq)) is not None]
                core.supervisor.given_up(slot, seqs, now)
                for future in moved:
                    if future is not None and future is link.owner:
                        link.wake()  # it waits at the channel of a worker that will not answer
            case protocol.Noticed(name, severity, seq, failure, details):
                call = slot.sent.get(seq)
                core.state.emit(
                    slot.id,
                    name,
                    severity,  # type: ignore[arg-type]  # the worker says one of the three
                    source="worker",
                    correlation_id=call.correlation_id if call is not None else None,
                    error=_about(failure) if failure is not None else None,
                    details=details,
                )
            case protocol.StackTaken(token, stacks):
                self._stacks(token, stacks)
            case protocol.Stained(seq, what):
                core.dispatch.stained(slot, seq, what)
            case protocol.Pong():
                pass  # reading it was the sign of life
            case _:
                self._unknown(link, type(message).__name__)

    def _runs(self, link: Link, seq: int) -> bool:
        call = link.slot.sent.get(seq)
        return call is not None and (bool(call.began_s) or seq == link.running()[0])

    def _tell_failure(self, link: Link, call: Call, failure: protocol.Failure) -> None:
        self._core.state.emit(
            link.slot.id,
            "call_execution_failed",
            "warn",
            source="worker",
            correlation_id=call.correlation_id,
            error=_about(failure),
            details={"function": call.name},
        )

    def _print(self, link: Link, call: Call | None, stream: str, text: str) -> None:
        origin, number = (None, None) if call is None else (call.origin, call.id)
        self._texts.add(OutputText(text, origin, stream, link.slot.id, number))
        link.last_words.add(number, text)

    def look_for_lost(self, link: Link) -> None:
        """End a worker whose answers do not arrive: all that follows half a frame is taken for its rest."""
        if link.lost:
            return
        seq = link.process.page.words[ANSWERED]  # written when the answer was in the socket, so it is there
        if seq in link.slot.sent:
            while self.read_call(link):
                pass
            if seq in link.slot.sent and not link.lost:
                self._malformed(link, f"the answer to call {seq} has been swallowed")
        link.torn = link.torn + 1 if link.control.is_torn else 0
        if link.torn > 1 and not link.lost:
            self._malformed(link, "half a frame on the control channel")

    def _unknown(self, link: Link, what: str) -> None:
        self._core.state.emit(link.slot.id, "unknown_worker_message", "warn", details={"type": what})

    def _malformed(self, link: Link, what: str) -> None:
        """End a worker that sends what is no message, and read nothing more of it."""
        link.call.eof = link.control.eof = True
        self._core.state.emit(link.slot.id, "malformed_worker_message", "error", details={"reason": what})
        self.lose(link)

    def lose(self, link: Link) -> None:
        """End a worker that cannot be talked to; the end of its process decides when it is dead."""
        if not link.lost:
            self._watch.drop_channels(link)
            link.lost = True
            link.poller.unregister(link.call_fd)
            link.process.kill()


def settle(call: Call, answer: Any) -> None:
    """End the future of a call, and let go of what the call holds: the two refer to each other."""
    future, call.future = call.future, None
    if call.block is not None:
        call.block.let_go()
        call.block = None
    call.body, call.buffers = b"", ()
    future.settle(answer)


def _about(failure: protocol.Failure) -> ErrorInfo:
    return ErrorInfo(failure.name, failure.message, failure.stack)
