"""A port at which functions report what they do, and wait until they may go on."""

from __future__ import annotations

import contextlib
import socket

__all__ = ["AT_A_GATE", "PATIENCE_S", "Gate", "Visit"]

PATIENCE_S = 60.0  # a test that waits longer has failed; no test asserts a duration

AT_A_GATE = '''
def held(gate, value=None):
    """Report at the gate, wait until it lets this call pass, and return the value."""
    import socket
    with socket.create_connection(gate) as visit:
        visit.sendall(f"{value}\\n".encode())
        visit.recv(1)
    return value

def tell(gate, text):
    """Report at the gate, and go on."""
    import socket
    with socket.create_connection(gate) as visit:
        visit.sendall(f"{text}\\n".encode())
'''
"""A network is what all engines have in common, so a gate is a port and no file."""


class Visit:
    """One function at the gate.

    Attributes
    ----------
    text : str
        What it has reported.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(PATIENCE_S)
        self._connection = connection
        with connection.makefile("r") as lines:
            self.text = lines.readline().rstrip("\n")

    def let_go(self) -> None:
        """Let it pass; it may be gone."""
        with contextlib.suppress(OSError):
            self._connection.sendall(b"\n")
        self._connection.close()

    def wait_until_gone(self) -> None:
        """Wait until its process has ended, or at least its function."""
        with contextlib.suppress(ConnectionResetError):
            assert self._connection.recv(1) == b""
        self._connection.close()


class Gate:
    """The port; its `address` is the argument of functions."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self._listener.settimeout(PATIENCE_S)
        self.address: tuple[str, int] = self._listener.getsockname()
        self._visits: list[Visit] = []

    def wait(self) -> Visit:
        """Wait for the next function."""
        visit = Visit(self._listener.accept()[0])
        self._visits.append(visit)
        return visit

    def told(self, count: int) -> list[str]:
        """Wait for so many reports, and return them."""
        return [self.wait().text for _ in range(count)]

    def is_quiet(self) -> bool:
        """Whether nothing has come that nobody has waited for. What was sent before is here by now."""
        self._listener.settimeout(0)
        try:
            self._visits.append(Visit(self._listener.accept()[0]))
        except BlockingIOError:
            return True
        finally:
            self._listener.settimeout(PATIENCE_S)
        return False

    def close(self) -> None:
        """Let everything pass, and refuse what comes later."""
        while self._visits:
            self._visits.pop().let_go()
        self._listener.close()
