"""The proxy of these tests does to connections what it says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.proxy import Proxy

PATIENCE_S = 60.0


def _echo(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:  # it is closed
            return
        with connection:
            try:
                while piece := connection.recv(1 << 16):
                    connection.sendall(piece)
            except OSError:
                pass


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy to a port that sends back what it gets, of one connection after another."""
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_echo, args=(listener,))
    thread.start()
    with Proxy(listener.getsockname()) as proxy:
        yield proxy
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


@pytest.fixture
def connection(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(proxy.address, PATIENCE_S) as connection:
        yield connection


def received(connection: socket.socket, size: int) -> bytes:
    """Return what arrives: so many bytes, or fewer and an end of file."""
    found = b""
    while len(found) < size and (piece := connection.recv(size - len(found))):
        found += piece
    return found


def test_all_bytes_pass_in_both_directions(proxy: Proxy, connection: socket.socket) -> None:
    sent = bytes(range(256)) * 10_000
    thread = threading.Thread(target=connection.sendall, args=(sent,))
    thread.start()
    assert received(connection, len(sent)) == sent
    thread.join()
    assert (proxy.forwarded, proxy.connections) == (2 * len(sent), 1)


def test_an_end_of_file_passes(connection: socket.socket) -> None:
    connection.sendall(b"last")
    connection.shutdown(socket.SHUT_WR)
    assert received(connection, 100) == b"last"


def test_a_silent_one_holds_bytes_and_ends_back_until_it_is_healed(
    proxy: Proxy, connection: socket.socket
) -> None:
    connection.sendall(b"one")
    assert received(connection, 3) == b"one"
    proxy.go_silent()
    connection.sendall(b"two")
    connection.shutdown(socket.SHUT_WR)
    assert (proxy.forwarded, proxy.connections) == (6, 1)
    proxy.heal()
    assert received(connection, 100) == b"two"


def test_a_deaf_one_takes_bytes_and_forwards_none(proxy: Proxy, connection: socket.socket) -> None:
    proxy.go_deaf()
    connection.sendall(b"lost")
    connection.shutdown(socket.SHUT_WR)
    assert received(connection, 100) == b""
    assert proxy.forwarded == 0


def test_a_slow_one_forwards_all_in_the_end(proxy: Proxy, connection: socket.socket) -> None:
    proxy.slow_down(0.02)
    connection.sendall(b"late")
    assert received(connection, 4) == b"late"


def test_it_cuts_after_so_many_bytes(proxy: Proxy, connection: socket.socket) -> None:
    proxy.cut(after=6)
    connection.sendall(b"four")
    assert received(connection, 100) == b"fo"


def test_a_hard_cut_is_a_reset(proxy: Proxy, connection: socket.socket) -> None:
    connection.sendall(b"one")
    assert received(connection, 3) == b"one"
    proxy.cut(hard=True)
    with pytest.raises(ConnectionResetError):
        received(connection, 1)


def test_a_cut_one_takes_no_new_connections_until_it_is_healed(proxy: Proxy) -> None:
    proxy.cut()
    with socket.create_connection(proxy.address, PATIENCE_S) as connection:
        assert received(connection, 1) == b""
    proxy.heal()
    with socket.create_connection(proxy.address, PATIENCE_S) as connection:
        connection.sendall(b"again")
        assert received(connection, 5) == b"again"
