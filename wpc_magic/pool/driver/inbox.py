"""Messages from the workers: read, validated, and passed to the core."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..core.calls import Call
from ..core.core import Core
from ..core.events import ErrorInfo
from ..core.retries import Raised
from ..core.stats import MEASURED_NS
from ..errors import CallError
from ..options import shown_name
from ..wire import protocol
from ..wire.block_receiver import ShortageError
from ..wire.block_ref import BlockRef
from ..wire.channel import BadFrame, Channel, Frame, frame
from ..wire.codec import pack
from ..wire.held_value import LentBuffers
from ..wire.protocol import ERROR, VALUE
from ..wire.status_page import ANSWERED
from ..wire.validation import BadMessage, read_failure, read_message
from .arrivals import Arrivals
from .failures import Failures
from .link import Link
from .poller import Poller
from .streams import take_items

_ANSWERS = (VALUE, ERROR)
_PIPE_READS = 32  # of 64 KiB; a pipe of Linux holds that once, and at most 1 MiB

__all__ = ["Inbox", "settle"]


class Inbox:
    """Reads and handles the messages of workers. All methods are called under the driver's lock.

    Parameters
    ----------
    core : Core
        Is notified of what arrived.
    poller : Poller
        Stops polling a worker that is disconnected.
    arrivals : Arrivals
        Takes what functions print and show.
    stacks : callable
        Takes the token of a request for stacks, and the stacks.
    described : callable
        Takes the token of a request for what a process runs with, and the answer.
    failures : Failures
        Keeps the calls that fail.
    """

    def __init__(
        self,
        core: Core,
        poller: Poller,
        arrivals: Arrivals,
        stacks: Callable[[int, tuple[Any, ...]], object],
        described: Callable[[int, protocol.Described], object],
        failures: Failures,
    ) -> None:
        self._core = core
        self._answered = core.supervisor.dispatcher.answered  # saves lookups for every call
        self._poller = poller
        self._arrivals = arrivals
        self._stacks = stacks
        self._described = described
        self._failures = failures

    def read_call(self, link: Link) -> bool:
        """Read once from a call channel, and handle what arrived; return whether there was anything."""
        return self._read(link, link.call, self._handle_frames)

    def read_control(self, link: Link) -> bool:
        """Read once from a control channel, and handle what arrived; return whether there was anything."""
        return self._read(link, link.control, self._handle_control_frames)

    def _read(self, link: Link, channel: Channel, handle: Callable[[Link, list[Frame]], None]) -> bool:
        ended = link.dead or channel.eof
        if ended:
            return False
        try:
            frames = channel.read()
            if channel.eof:
                self.disconnect(link)
                return False
            handle(link, frames)
        except BlockingIOError:
            return False
        except (BadFrame, BadMessage) as error:
            self._malformed(link, str(error))
            return False
        return True

    def _handle_frames(self, link: Link, frames: list[Frame]) -> None:
        now = time.monotonic()
        slot, answered = link.slot, self._answered
        for kind, state, target, seq, body, sent in frames:
            if kind == VALUE and not sent:  # which most of them are: what follows, for these
                call = answered(slot, seq, target, True, now, None, state)
                if slot.draining:
                    self._core.supervisor.shut_down_if_drained(slot, now)
                if call is not None:
                    if target > MEASURED_NS:
                        self._core.state.history.returned(call.id, len(body))
                    settle(call, (VALUE, body, (), slot.id, target))
            elif kind in _ANSWERS:
                self._handle_answer(link, (kind, state, target, seq, body, sent), now)
            elif kind == protocol.ITEMS:
                take_items(link, self._core, (target, seq, body, sent), state, now)
            elif kind == protocol.BEGAN:
                self._core.dispatcher.began(link.slot, seq, link.process.local_ns(target) / 1e9, now)
            elif kind == protocol.RELEASE:
                if len(body) % 8:
                    raise BadMessage(f"{len(body)} bytes of leases")
                link.sender.released(body)
            elif kind == protocol.MESSAGE:
                self._handle(link, body, now)
            elif kind == protocol.RESENT:
                self._handle_frames(link, [self._resent(link, target, seq, sent)])
            else:
                self._unknown(link, f"a frame of kind {kind}")

    def _handle_answer(self, link: Link, answer: Frame, now: float) -> None:
        """Handle an answer that has failed, or whose value has large buffers."""
        kind, state, target, seq, body, buffers = answer
        slot, lost = link.slot, None
        if buffers and isinstance(buffers, BlockRef):
            try:
                buffers = link.receiver.fetch(buffers)  # dropping them releases the worker's leases
            except ShortageError as error:
                if error.lease:
                    self._ask_again(link, answer, error.lease)
                    return
                lost = error
            except OSError as error:
                raise BadMessage(str(error)) from None
        # Before the call is removed: if the failure is malformed, the call must end with its worker.
        if kind == VALUE:
            failure = None
            call = self._answered(slot, seq, target, True, now, None, state)
        else:
            failure = read_failure(body)
            raised = Raised(failure.kinds, _error_info(failure))
            call = self._answered(slot, seq, target, False, now, raised)
        if slot.draining:
            self._core.supervisor.shut_down_if_drained(slot, now)
        if call is None:
            return
        if target > MEASURED_NS and failure is None:
            self._core.state.history.returned(call.id, len(body) + _nbytes(buffers))
        if failure is not None:
            self._emit_failure(link, call, failure)
        settle(call, (kind, body, buffers, slot.id, target) if lost is None else _lost(call, lost))

    def _ask_again(self, link: Link, answer: Frame, lease: int) -> None:
        """Ask for the contents of a block, and keep the answer that it belongs to until they arrive.

        This process had no descriptor left to receive it. Until then the call has not ended for the core.
        """
        seq = answer[3]
        link.awaited[seq] = answer
        request = frame(protocol.MESSAGE, 0, 0, 0, pack(protocol.Resend(lease, seq)))
        if not link.control.send(request):
            self._poller.control(link)

    def _resent(self, link: Link, lease: int, seq: int, buffers: Any) -> Frame:
        """Return the frame of an answer, given the contents of its block."""
        kind, state, target, _, body, ref = link.awaited.pop(seq, (0, 0, 0, 0, b"", ()))
        if not isinstance(ref, BlockRef) or len(buffers) != 1 or (lease, len(buffers[0])) != ref.parts[0][:2]:
            raise BadMessage(f"the contents of a block for call {seq}, and not what was asked for")
        link.receiver.release(lease)
        whole = memoryview(buffers[0])
        return (
            kind,
            state,
            target,
            seq,
            body,
            [whole[offset : offset + size] for _, offset, size in ref.spans],
        )

    def _handle_control_frames(self, link: Link, frames: list[Frame]) -> None:
        """Handle frames of a control channel: any of them counts as a heartbeat."""
        now = time.monotonic()
        self._core.supervisor.pong_received(link.slot, now)
        for one in frames:
            if one[0] != protocol.MESSAGE:
                raise BadMessage(f"a frame of kind {one[0]} on the control channel")
            self._handle(link, one[4], now)

    def read_pipe(self, link: Link, stream: str) -> bool:
        """Read once from a worker's stdout or stderr pipe; return whether there was anything."""
        process = link.process
        fd = process.stdout_fd if stream == "stdout" else process.stderr_fd
        text = link.read_pipe(fd)
        if text is None:
            self._poller.remove_pipe(fd)
        elif text:
            call = link.slot.sent.get(link.running()[0])
            self._arrivals.print(link, call, stream, text)
        return bool(text)

    def read_all(self, link: Link) -> None:
        """Read everything that a worker wrote before it exited."""
        for read in (self.read_call, self.read_control):
            while read(link):
                pass
        for stream in ("stdout", "stderr"):
            # No more than a pipe holds: an orphan of the worker may write to it forever.
            for _ in range(_PIPE_READS):
                if not self.read_pipe(link, stream):
                    break

    def _handle(self, link: Link, body: Any, now: float) -> None:
        message = read_message(body)
        slot, core = link.slot, self._core
        match message:
            case protocol.Printed() | protocol.Shown() | protocol.Warned() | protocol.Logged():
                self._arrivals.take(link, message)
            case protocol.Progress(seq):
                call = slot.sent.get(seq)
                if call is not None and call.future is not None:
                    call.future.progress = message
            case protocol.Installed(epoch):
                if not slot.ready_since:
                    core.supervisor.identified(slot, link.process.worker_pid)
                core.supervisor.installed(slot, epoch, now)
            case protocol.Refused(epoch, failure, definition):
                core.replication.refused(slot, epoch, definition, _error_info(failure), failure, now)
            case protocol.Revoked(seqs):
                if any(self._runs(link, seq) for seq in seqs):
                    raise BadMessage(f"{message}, and that has begun")  # it must not run twice
                moved = [call for seq in seqs if (call := slot.sent.get(seq)) is not None]
                core.supervisor.revoked(slot, seqs, now)
                if link.owner is not None and link.owner.call in moved:
                    link.wake()  # it waits for the channel of a worker that will not answer
            case protocol.Event(name, severity, seq, failure, details):
                call = slot.sent.get(seq)
                core.state.emit(
                    slot.id,
                    name,
                    severity,  # type: ignore[arg-type]  # the worker sends one of the three
                    source="worker",
                    correlation_id=call.correlation_id if call is not None else None,
                    error=_error_info(failure) if failure is not None else None,
                    details=details,
                )
            case protocol.StackTaken(token, stacks):
                self._stacks(token, stacks)
            case protocol.Described(token):
                self._described(token, message)
            case protocol.Tainted(seq, what):
                core.dispatcher.tainted(slot, seq, what)
            case protocol.Pong():
                pass  # reading it was the heartbeat
            case _:
                self._unknown(link, type(message).__name__)

    def _runs(self, link: Link, seq: int) -> bool:
        call = link.slot.sent.get(seq)
        return call is not None and (bool(call.began_s) or seq == link.running()[0])

    def _emit_failure(self, link: Link, call: Call, failure: protocol.Failure) -> None:
        self._failures.keep(call, link.slot.id, failure.name, failure.message)
        self._core.state.emit(
            link.slot.id,
            "call_execution_failed",
            "warn",
            source="worker",
            correlation_id=call.correlation_id,
            error=_error_info(failure),
            details={"function": shown_name(call.name)},
        )

    def check_torn_frames(self, link: Link) -> None:
        """Kill a worker whose answers do not arrive: after a torn frame, what follows is read as its rest."""
        if link.lost:
            return
        seq = link.process.page.words[ANSWERED]  # written after the answer was sent, so it can be read
        if seq in link.slot.sent and seq not in link.awaited:
            while self.read_call(link):
                pass
            if seq in link.slot.sent and seq not in link.awaited and not link.lost:
                self._malformed(link, f"the answer to call {seq} has been swallowed")
        link.torn = link.torn + 1 if link.control.is_torn else 0
        if link.torn > 1 and not link.lost:
            self._malformed(link, "half a frame on the control channel")

    def _unknown(self, link: Link, what: str) -> None:
        self._core.state.emit(link.slot.id, "unknown_worker_message", "warn", details={"type": what})

    def _malformed(self, link: Link, what: str) -> None:
        """Kill a worker that sends malformed data, and read nothing more from it."""
        link.call.eof = link.control.eof = True
        link.malformed = what
        self._core.state.emit(link.slot.id, "malformed_worker_message", "error", details={"reason": what})
        self.disconnect(link)

    def disconnect(self, link: Link) -> None:
        """Kill a worker that cannot be reached any more; it counts as dead once its process has exited."""
        if not link.lost:
            self._poller.remove_channels(link)
            link.lost = True
            link.poll_set.unregister(link.call_fd)
            link.process.kill()


def _nbytes(buffers: Any) -> int:
    return buffers.nbytes if isinstance(buffers, LentBuffers) else sum(map(len, buffers))


def settle(call: Call, answer: Any) -> None:
    """Settle the future of a call, and release what the call holds: the two refer to each other."""
    future, call.future = call.future, None
    if call.block is not None:
        call.block.release()
        call.block = None
    call.body, call.buffers = b"", ()
    future.settle(answer)


def _lost(call: Call, error: ShortageError) -> CallError:
    return CallError(f"{call} has ended, but its value could not be received: {error}")


def _error_info(failure: protocol.Failure) -> ErrorInfo:
    return ErrorInfo(failure.name, failure.message, failure.stack)
