"""An engine of workers that are not there: each is two connections, and one process answers for all of them.

The client's side is that of a worker on a cluster (`RemoteProcess`), with its memory and its descriptors. The
other side reads each call, and answers it at once; so what is measured is the client.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import Mock

from wpc_magic.pool.engines.dask import messages
from wpc_magic.pool.engines.dask.process import Clock, RemoteProcess
from wpc_magic.pool.engines.engine import Came, Process, WorkerEnvironment
from wpc_magic.pool.errors import StartError
from wpc_magic.pool.wire import protocol
from wpc_magic.pool.wire.channel import Channel, frame
from wpc_magic.pool.wire.codec import decode, encode, pack
from wpc_magic.pool.worker.chunks import run_chunk

__all__ = ["FUNCTIONS", "SimulatedEngine"]

MEGABYTE = 1 << 20
FUNCTIONS: dict[str, Callable[..., Any]] = {
    "nothing": lambda *args: None,
    "increment": lambda x: x + 1,
    "megabyte": lambda: bytes(MEGABYTE),
    "wait": lambda: None,
    "later": lambda *args: None,
}
"""What is answered. Functions of these names are defined in the pool, and their code never runs."""

_LOOK_S = 0.01  # how often the host process of a cluster tells what status pages show
_SLOTS_A_HOST = 8


# -- in the client --------------------------------------------------------------------------------------


class SimulatedEngine:
    """Starts workers that are not there; see `engine.Engine`."""

    name = "simulated"
    shares_memory = copies_blocks = False

    def __init__(self) -> None:
        self.clock = Clock()
        # The host that a process is on, as far as that is needed.
        self._host = Mock(clock=self.clock, is_relayed=False, address="simulated", offers={})
        self._host.post, self._host.closed = self.post, self.closed
        self._processes: dict[int, RemoteProcess] = {}
        self._answering: subprocess.Popen[bytes] | None = None
        self._count = 0

    def capacity(self, memory: int = 0) -> int:
        return _SLOTS_A_HOST

    def open(self) -> None:
        if self._answering is not None:
            return
        command = [sys.executable, "-m", __spec__.name]
        self._answering = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._answering.stdout is not None
        self._port = int(self._answering.stdout.readline())
        self._events = self._dial(messages.EVENTS, 0)
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _dial(self, what: int, key: int) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(messages.hello(b"", what, key))
        return sock

    def _read(self) -> None:
        """Show what status pages show, as the thread of Dask's event loop does."""
        received = bytearray()
        with contextlib.suppress(OSError):
            while data := self._events.recv(1 << 18):
                received += data
                for _, _, theirs, pages in messages.unpack(received):
                    self.clock.heard(theirs, time.monotonic_ns())
                    for key, page, installing in pages:
                        if (process := self._processes.get(key)) is not None:
                            process.show(page, installing)

    def start(self, environment: WorkerEnvironment, came: Came, replaces: Process | None = None) -> None:
        self._count = key = self._count + 1
        host = f"host-{(key - 1) // _SLOTS_A_HOST + 1}"
        try:
            channels = self._dial(messages.CALL, key), self._dial(messages.CONTROL, key)
            process = RemoteProcess(key, key, host, self._host, channels, [])
            process.lend = process.adopt = None  # everything travels through the channels
        except OSError as error:
            came(StartError(f"a worker could not be started: {error}"))
            return
        self._processes[key] = process
        came(process)

    def post(self, what: str, key: int, *rest: Any) -> None:
        """Take what is asked of a process: only to be killed."""
        if what in ("kill", "signal") and (process := self._processes.get(key)) is not None:
            process.exited(messages.Exit(0, True, 0, None))

    def closed(self, key: int) -> None:
        self._processes.pop(key, None)

    def differences(self) -> str:
        return ""

    def give_up_starts(self) -> None:
        pass

    def close(self) -> None:
        if self._answering is not None:
            process, self._answering = self._answering, None
            self._events.shutdown(socket.SHUT_RDWR)
            self._reading.join()
            self._events.close()
            process.communicate()  # it ends with its stdin

    def after_fork(self) -> None:
        self._answering = None


# -- in the process that answers ------------------------------------------------------------------------


class _Worker:
    """What answers in the place of one worker."""

    def __init__(self, key: int) -> None:
        self.key = key
        self.page = [0] * 8
        self.shown = [0] * 8
        self.functions: dict[int, str] = {}

    def calls(self, channel: Channel, received: list[Any]) -> None:
        """Answer what has come through the call channel."""
        answers: list[Any] = []
        for kind, _, target, seq, body, buffers in received:
            if kind == protocol.MESSAGE:
                message = decode(body)
                if type(message) is protocol.Install:
                    self.functions.update({each.key: each.name for each in message.records})
                    answers += frame(protocol.MESSAGE, 0, 0, 0, pack(protocol.Installed(message.epoch)))
                elif type(message) is protocol.Shutdown:
                    channel.eof = True
            elif kind != protocol.RELEASE:
                self.page[0], self.page[1] = seq, time.monotonic_ns()
                answers += self._answer(kind, self.functions[target], seq, body, buffers)
        if answers:
            channel.send(answers)

    def _answer(self, kind: int, name: str, seq: int, body: Any, buffers: Any) -> list[Any]:
        if name == "wait":  # until it is interrupted
            return []
        if kind == protocol.CALL and name == "nothing":
            value: tuple[bytes, Any] = _NOTHING
        elif kind == protocol.CALL:
            args, kwargs = decode(body, buffers)
            value = encode(FUNCTIONS[name](*args, **kwargs))
        else:
            value = encode(run_chunk(FUNCTIONS[name], decode(body, buffers), lambda: None, True))
        return frame(protocol.VALUE, 0, 1000, seq, *value)

    def control(self, channel: Channel, received: list[Any]) -> None:
        """Answer what has come through the control channel."""
        for one in received:
            message = decode(one[4])
            if type(message) is protocol.Ping:
                channel.send(frame(protocol.MESSAGE, 0, 0, 0, pack(protocol.Pong(message.token))))
            elif type(message) is protocol.Revoke:
                channel.send(frame(protocol.MESSAGE, 0, 0, 0, pack(protocol.Revoked(()))))
            elif type(message) is protocol.Shutdown:
                channel.eof = True


_NOTHING = encode(None)


class _Answering:
    def __init__(self) -> None:
        self._workers: dict[int, _Worker] = {}
        self._events: socket.socket | None = None
        self._looked = 0.0
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(sys.stdin, selectors.EVENT_READ, lambda _: sys.exit())

    def serve(self) -> None:
        sys.stdout.write(f"{self._listener.getsockname()[1]}\n")
        sys.stdout.flush()
        while True:
            for key, mask in self._selector.select(_LOOK_S):
                key.data(mask)
            now = time.monotonic()
            if now - self._looked >= _LOOK_S:
                self._looked = now
                self._tell_pages()

    def _accept(self, _: int) -> None:
        sock, _ = self._listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        purpose = messages.read_hello(b"", sock.recv(messages.HELLO_SIZE, socket.MSG_WAITALL))
        if purpose is None:
            sock.close()
            return
        what, key = purpose
        if what == messages.EVENTS:
            self._events = sock
            return
        worker = self._workers.setdefault(key, _Worker(key))
        channel = Channel(sock)
        handle = worker.calls if what == messages.CALL else worker.control
        self._selector.register(sock, selectors.EVENT_READ, lambda mask: self._ready(channel, handle, mask))

    def _ready(self, channel: Channel, handle: Callable[[Channel, list[Any]], None], mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            channel.flush()
        if mask & selectors.EVENT_READ:
            try:
                handle(channel, channel.read())
            except BlockingIOError:
                pass
            except OSError as error:
                if error.errno not in (errno.ECONNRESET, errno.EPIPE):
                    raise
                channel.eof = True
        registered = self._selector.get_key(channel.sock)
        if channel.eof:
            self._selector.unregister(channel.sock)
            channel.close()
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.outbox else 0)
        if events != registered.events:
            self._selector.modify(channel.sock, events, registered.data)

    def _tell_pages(self) -> None:
        pages = []
        for worker in self._workers.values():
            if worker.page != worker.shown:
                worker.shown = list(worker.page)
                pages.append(
                    (worker.key, b"".join(word.to_bytes(8, sys.byteorder) for word in worker.page), "")
                )
        if pages and self._events is not None:
            self._events.sendall(messages.pack(("pages", 0, time.monotonic_ns(), pages)))


if __name__ == "__main__":
    _Answering().serve()
