"""The control thread: it listens while the main thread works.

It answers pings, takes calls back, interrupts, takes stacks; it never imports and never unpickles what a
user made.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import threading

from wpc_magic.pool.wire import dump, protocol
from wpc_magic.pool.wire.channel import Frame, Reader, frame, send_all
from wpc_magic.pool.wire.codec import decode, pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket  # without its Python half, which `socket.socket` adds
    from typing import NoReturn

    from wpc_magic.pool.worker.server import Server

__all__ = ["Control", "die", "end_now"]

_REPEAT_S = 0.05  # one interrupt may be swallowed (by a `__del__`, say), so it is repeated
_BROKEN = 70  # the exit code for "an internal error" (sysexits.h)


class Control:
    """Serves the control channel in a thread of its own.

    Parameters
    ----------
    sock : socket
        The control channel; it blocks.
    server : Server
        What it controls.
    """

    def __init__(self, sock: socket, server: Server) -> None:
        self._sock = sock
        self._reader = Reader(sock)
        self._server = server
        self._main = threading.get_ident()

    def start(self) -> None:
        """Start the thread. Called by the main thread."""
        threading.Thread(target=self._run, name="wpc-control", daemon=True).start()

    def _run(self) -> None:
        if dump.SIGNAL:
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [dump.SIGNAL])  # see `__main__`
        try:
            while True:
                try:
                    frames = self._reader.read()
                except TimeoutError:  # only set while something is to be interrupted
                    if self._server.is_interrupting():
                        self._interrupt()
                    else:
                        self._sock.settimeout(None)
                    continue
                if self._reader.eof:
                    end_now()
                for one in frames:
                    self._handle(one)
        except BaseException as error:
            die(f"the control channel cannot be served any more: {type(error).__name__}: {error}")

    def _handle(self, one: Frame) -> None:
        try:
            message = decode(one[4])
        except Exception as error:
            message = error
        if isinstance(message, protocol.Ping):
            self._tell(protocol.Pong(message.token))
            self._server.note_memory()
            self._server.tidy()
        elif isinstance(message, protocol.Trim):
            self._server.tidy(0.0)
        elif isinstance(message, protocol.Revoke):
            self._tell(protocol.GivenUp(self._server.revoke(message.seqs)))
        elif isinstance(message, protocol.TakeStack):
            self._tell(protocol.StackTaken(message.token, self._server.stacks(self._main)))
        elif isinstance(message, protocol.Interrupt):
            self._server.interrupt(message.seq)
            self._sock.settimeout(_REPEAT_S)
            self._interrupt()
        elif isinstance(message, protocol.Leave):
            self._server.leave()
            self._sock.settimeout(_REPEAT_S)
            self._interrupt()
        else:
            self._server.notice("malformed_control_request", None, {"what": repr(message)[:200]})

    def _interrupt(self) -> None:
        _signal.pthread_kill(self._main, _signal.SIGINT)

    def _tell(self, message: protocol.FromWorker) -> None:
        try:
            send_all(self._sock, frame(protocol.MESSAGE, 0, 0, 0, pack(message)))
        except OSError:
            end_now()


def end_now() -> NoReturn:
    """End this process and those that it started: the pool is gone."""
    try:
        os.killpg(0, _signal.SIGKILL)
    finally:
        os._exit(_BROKEN)


def die(why: str) -> NoReturn:
    """End this process, and say why on descriptor 2: it cannot serve, and nothing else would tell."""
    try:
        os.write(2, f"wpc_magic: {why}\n".encode(errors="backslashreplace"))
    finally:
        os._exit(_BROKEN)
