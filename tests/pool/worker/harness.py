"""A worker process driven directly by a test: no pool, only the two channels."""

import hashlib
import os
import select
import sys
import textwrap
import time
from typing import Any

from tests.pool.conftest import exits
from wpc_magic.pool.engines.process import WorkerProcess
from wpc_magic.pool.wire import protocol
from wpc_magic.pool.wire.channel import Channel, frame
from wpc_magic.pool.wire.codec import decode, encode, pack
from wpc_magic.pool.worker.failure import rebuild_exception

DEADLINE_S = 60.0


def cell(source: str, *needs: str) -> protocol.Cell:
    """Return a source as a cell."""
    source = textwrap.dedent(source)
    mark = hashlib.sha1(source.encode()).hexdigest()[:16]
    return protocol.Cell(f"wpc_cell_{mark}", source, f"/wpc/cell-{mark}.py", needs, needs, "")


class Failed(Exception):
    """A call ended with this failure."""

    def __init__(self, failure: protocol.Failure) -> None:
        super().__init__(f"{failure.name}: {failure.message}\n{failure.stack}")
        self.failure = failure

    @property
    def error(self) -> BaseException:
        """The exception as the caller gets it."""
        return rebuild_exception(self.failure)


class WorkerHarness:
    """Sends frames to a worker and waits for its answers, each time with a deadline."""

    def __init__(self, **environ: str) -> None:
        self.process = WorkerProcess.start(environ={**os.environ, **environ})
        self.calls = Channel(self.process.call)
        self.control = Channel(self.process.control)
        self.pid = self.process.pid
        self.seq = 0
        self.epoch = 0
        self.names: dict[str, protocol.Function] = {}
        self.keys = 0
        self.outcomes: dict[int, Any] = {}  # a value, or a Failed
        self.ran: dict[int, int] = {}
        self.messages: list[Any] = []  # of both channels
        self.began: list[int] = []
        self.printed = ""
        self.by_call: dict[tuple[int, str], str] = {}
        self.send_message(protocol.Setup(3, "pool", sys.path, b"key", b""))

    # -- to the worker ---------------------------------------------------------------------------------

    def send_message(self, message: Any, channel: Channel | None = None) -> None:
        """Send a message, on the call channel by default."""
        (channel or self.calls).send(frame(protocol.MESSAGE, 0, 0, 0, pack(message)))

    def install(self, *records: Any, base: int | None = None, removed: tuple[str, ...] = ()) -> int:
        """Install records as a new epoch, wait until that is done, and return its number."""
        epoch = self.send_install(*records, base=base, removed=removed)
        answer = self.expect(protocol.Installed | protocol.Refused)
        assert answer.epoch == epoch
        if isinstance(answer, protocol.Refused):
            raise Failed(answer.failure)
        self.epoch = epoch
        return epoch

    def send_install(self, *records: Any, base: int | None = None, removed: tuple[str, ...] = ()) -> int:
        """Send the message of `install`, and return the epoch's number."""
        epoch = max(self.epoch, base or 0) + 1
        self.send_message(protocol.Install(epoch, self.epoch if base is None else base, records, removed, ()))
        return epoch

    def functions(self, source: str, *names: str, needs: tuple[str, ...] = ()) -> tuple[Any, ...]:
        """Return the functions of a cell as records."""
        made = cell(source, *needs)
        return tuple(self.function(name, "cell", cell=made, path=name) for name in names)

    def function(self, name: str, how: str, **rest: Any) -> protocol.Function:
        """Return a function's record, with a new key."""
        self.keys += 1
        fields = {"cell": None, "path": "", "payload": b"", "needs": (), **rest}
        made = protocol.Function(name, self.keys, how, **fields)
        self.names[name] = made
        return made

    def define(self, source: str, *names: str, needs: tuple[str, ...] = ()) -> int:
        """Install functions of one cell, by default all that it defines."""
        if not names:
            names = tuple(
                line.removeprefix("async ").removeprefix("def ").partition("(")[0]
                for line in textwrap.dedent(source).splitlines()
                if line.startswith(("def ", "async def "))
            )
        return self.install(*self.functions(source, *names, needs=needs))

    def send(self, name: str, *args: Any, epoch: int | None = None, **kwargs: Any) -> int:
        """Send a call, and return its number."""
        return self.send_frame(protocol.CALL, name, (args, kwargs), epoch)

    def send_chunk(self, name: str, items: list[tuple[Any, ...]], whole: bool = False) -> int:
        """Send a chunk of calls, and return its number."""
        columns = tuple(map(list, zip(*items, strict=True))) or ([],)
        return self.send_frame(protocol.WHOLE_CHUNK if whole else protocol.CHUNK, name, columns, None)

    def send_frame(self, kind: int, name: str, what: Any, epoch: int | None) -> int:
        """Send a call's frame."""
        self.seq += 1
        body, buffers = encode(what)
        at = self.epoch if epoch is None else epoch
        self.calls.send(frame(kind, at, self.names[name].key, self.seq, body, buffers))
        return self.seq

    # -- from the worker -------------------------------------------------------------------------------

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call, wait, and return the value or raise `Failed`."""
        return self.outcome(self.send(name, *args, **kwargs))

    def error(self, name: str, *args: Any) -> BaseException:
        """Call, and return the exception that it ended with."""
        try:
            value = self.call(name, *args)
        except Failed as failed:
            return failed.error
        raise AssertionError(f"{name} returned {value!r}")

    def outcome(self, seq: int) -> Any:
        """Wait for an answer."""
        self.until(lambda: seq in self.outcomes)
        outcome = self.outcomes[seq]
        if isinstance(outcome, Failed):
            raise outcome
        return outcome

    def expect(self, kind: Any) -> Any:
        """Wait for a message of that type, and remove it from `messages`."""

        def found() -> bool:
            return any(isinstance(message, kind) for message in self.messages)

        self.until(found)
        message = next(message for message in self.messages if isinstance(message, kind))
        self.messages.remove(message)
        return message

    def wait_event(self, name: str) -> protocol.Event:
        """Wait for an event of that name."""
        self.until(lambda: any(isinstance(m, protocol.Event) and m.name == name for m in self.messages))
        return next(m for m in self.messages if isinstance(m, protocol.Event) and m.name == name)

    def request(self, message: Any, kind: Any) -> Any:
        """Send a message on the control channel, and wait for the answer."""
        self.send_message(message, self.control)
        return self.expect(kind)

    def until(self, condition: Any) -> None:
        """Read until a condition is true."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            if self.calls.eof and self.control.eof:
                raise AssertionError(f"the worker has exited: {self.process.reap()}\n{self.stderr()}")
            self.pump(deadline)

    def pump(self, deadline: float) -> None:
        """Wait until something can be read or written, and read and write it."""
        channels = [c for c in (self.calls, self.control) if not c.eof]
        left = deadline - time.monotonic()
        readable, writable, _ = select.select(channels, [c for c in channels if c.outbox], [], max(left, 0))
        assert readable or writable, f"nothing within {DEADLINE_S} s\n{self.stderr()}"
        for channel in writable:
            channel.flush()
        for channel in readable:
            for received in channel.read():
                self.handle(received)

    def handle(self, received: Any) -> None:
        """Record a received frame."""
        kind, _, target, seq, body, buffers = received
        if kind == protocol.VALUE:
            assert seq not in self.outcomes, "a second answer"
            self.outcomes[seq], self.ran[seq] = decode(body, buffers), target
        elif kind == protocol.ERROR:
            assert seq not in self.outcomes, "a second answer"
            self.outcomes[seq] = Failed(decode(body))
        elif kind == protocol.BEGAN:
            self.began.append(seq)
        else:
            message = decode(body)
            self.messages.append(message)
            if isinstance(message, protocol.Printed):
                self.printed += message.text
                key = message.seq, message.stream
                self.by_call[key] = self.by_call.get(key, "") + message.text

    # -- its exit -------------------------------------------------------------------------------------

    def shut_down(self) -> int:
        """Request shutdown, and return the exit code."""
        self.send_message(protocol.Shutdown(), self.control)
        return self.wait_exit()

    def wait_exit(self) -> int:
        """Wait until the worker has exited, read the remaining frames, and return the exit code."""
        assert exits(self.process, DEADLINE_S), f"still there after {DEADLINE_S} s\n{self.stderr()}"
        deadline = time.monotonic() + 1
        while not self.calls.eof and select.select([self.calls], [], [], 0)[0]:
            self.pump(deadline)
        return self.process.reap()

    def stderr(self) -> str:
        """Return what the worker has written to descriptor 2 since the last call."""
        text = b""
        try:
            while part := os.read(self.process.stderr_fd, 65536):
                text += part
        except BlockingIOError:
            pass
        return text.decode(errors="replace")

    def close(self) -> None:
        """Kill the worker."""
        self.process.kill()
        self.process.reap()
        self.process.close()
