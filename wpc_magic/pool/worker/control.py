"""The control thread: it serves the control channel while the main thread runs calls.

It answers pings, revokes calls, interrupts calls and takes stacks. It never imports a module and never
unpickles user data.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import threading

from wpc_magic.pool.wire import fault_dump, protocol
from wpc_magic.pool.wire.channel import frame, send_all
from wpc_magic.pool.wire.codec import decode, pack
from wpc_magic.pool.worker.environment import describe
from wpc_magic.pool.worker.own_memory import note_memory
from wpc_magic.pool.worker.rich_output import set_log_levels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from wpc_magic.pool.wire.channel import Frame, Reader
    from wpc_magic.pool.worker.server import Server

__all__ = ["Control", "die", "kill_process_group"]

_REPEAT_S = 0.05  # an interrupt is repeated, because user code (such as `__del__`) may swallow one
_EX_SOFTWARE = 70  # the exit code for "an internal error" (sysexits.h)


class Control:
    """Serves the control channel in its own thread.

    Parameters
    ----------
    reader : Reader
        Reads the control channel, whose socket is in blocking mode.
    server : Server
        The server of the call channel.
    """

    def __init__(self, reader: Reader, server: Server) -> None:
        self._sock = reader.sock
        self._reader = reader
        self._server = server
        self._main = threading.get_ident()

    def start(self) -> None:
        """Start the thread. Called by the main thread."""
        threading.Thread(target=self._run, name="wpc-control", daemon=True).start()

    def _run(self) -> None:
        if fault_dump.SIGNAL:
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [fault_dump.SIGNAL])  # see `__main__`
        try:
            while True:
                try:
                    frames = self._reader.read()
                except TimeoutError:  # the socket has a timeout only while an interrupt is pending
                    if self._server.interruption.pending():
                        self._send_sigint()
                    else:
                        self._sock.settimeout(None)
                    continue
                if self._reader.eof:
                    kill_process_group()
                for received in frames:
                    self._handle(received)
        except BaseException as error:
            die(f"the control channel cannot be served any more: {type(error).__name__}: {error}")

    def _handle(self, received: Frame) -> None:
        try:
            message = decode(received[4])
        except Exception as error:
            message = error
        if isinstance(message, protocol.Ping):
            self._send(protocol.Pong(message.token))
            note_memory(self._server.words)
            self._server.trim_idle()
        elif isinstance(message, protocol.Trim):
            self._server.trim_idle(0.0)
        elif isinstance(message, protocol.Revoke):
            self._send(protocol.Revoked(self._server.revoke(message.seqs)))
        elif isinstance(message, protocol.Credit):
            self._server.streams.credit(message)
        elif isinstance(message, protocol.Resend):
            self._server.resend(message)
        elif isinstance(message, protocol.LogLevels):
            set_log_levels(message)
        elif isinstance(message, protocol.TakeStack):
            take = self._server.call_stacks if message.of_calls else self._server.stacks
            self._send(protocol.StackTaken(message.token, take(self._main)))
        elif isinstance(message, protocol.Describe):
            self._send(describe(message.token))
        elif isinstance(message, protocol.Interrupt):
            self._server.interruption.request(message.seq)
            self._sock.settimeout(_REPEAT_S)
            self._send_sigint()
        elif isinstance(message, protocol.Shutdown):
            self._server.shut_down()
            self._sock.settimeout(_REPEAT_S)
            self._send_sigint()
        else:
            self._server.outgoing.emit("malformed_control_request", None, {"what": repr(message)[:200]})

    def _send_sigint(self) -> None:
        _signal.pthread_kill(self._main, _signal.SIGINT)

    def _send(self, message: protocol.FromWorker) -> None:
        try:
            send_all(self._sock, frame(protocol.MESSAGE, 0, 0, 0, pack(message)))
        except OSError:
            kill_process_group()


def kill_process_group() -> NoReturn:
    """Kill this process and those that it has started, because the pool has exited."""
    try:
        os.killpg(0, _signal.SIGKILL)
    finally:
        os._exit(_EX_SOFTWARE)


def die(why: str) -> NoReturn:
    """Exit after writing the reason to descriptor 2: this process has no other way left to report it."""
    try:
        os.write(2, f"wpc_magic: {why}\n".encode(errors="backslashreplace"))
    finally:
        os._exit(_EX_SOFTWARE)
