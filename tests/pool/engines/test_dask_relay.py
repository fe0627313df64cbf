"""What carries bytes over a connection of Dask: in order, to the end, and with bounded buffers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from wpc_magic.pool.engines.dask import relay
from wpc_magic.pool.engines.dask.relay import pump

LIMIT_S = 120
LARGE = 40 << 20
BUFFERS = 16 << 20
"""More than what the system keeps in the buffers of two sockets."""


class EndlessComm:
    """A connection that takes everything at once, as those of Dask do, and counts what was not read."""

    def __init__(self) -> None:
        self.arriving: asyncio.Queue[Any] = asyncio.Queue()
        self.other: EndlessComm
        self.held = self.most_held = 0
        self.is_closed = False

    async def write(self, message: dict[str, Any]) -> None:
        if self.is_closed or self.other.is_closed:
            raise OSError("closed")
        self.held += len(message.get("data", b""))
        self.most_held = max(self.most_held, self.held)
        self.other.arriving.put_nowait(message)

    async def read(self) -> Any:
        message = await self.arriving.get()
        if message is None:
            raise OSError("closed")
        self.other.held -= len(message.get("data", b""))
        return message

    def abort(self) -> None:
        self.is_closed = True
        self.other.arriving.put_nowait(None)
        self.arriving.put_nowait(None)


class Relayed:
    """Two sockets with a relay between them: the pool's, and the worker's."""

    def __init__(self) -> None:
        self.comms = near, far = EndlessComm(), EndlessComm()
        near.other, far.other = far, near
        self.pool, near_end = socket.socketpair()
        self.worker, far_end = socket.socketpair()
        for sock in (self.pool, near_end, self.worker, far_end):
            sock.setblocking(False)
        self.received = asyncio.Event()
        self.pumps = [
            asyncio.ensure_future(pump(near, near_end, self.received)),
            asyncio.ensure_future(pump(far, far_end)),
        ]

    async def close(self) -> None:
        self.pool.close()
        self.worker.close()
        await asyncio.wait_for(asyncio.gather(*self.pumps), LIMIT_S)


def run(test: Any) -> None:
    async def limited() -> None:
        await asyncio.wait_for(test, LIMIT_S)

    asyncio.run(limited())


async def take(sock: socket.socket, size: int) -> bytes:
    """Read so many bytes."""
    loop, taken = asyncio.get_running_loop(), bytearray()
    while len(taken) < size:
        data = await loop.sock_recv(sock, 1 << 20)
        assert data, "the connection has ended"
        taken += data
    return bytes(taken)


async def offer(sock: socket.socket, size: int) -> int:
    """Write without anybody reading, until nothing is taken any more; return how much was."""
    offered, data = 0, bytes(1 << 18)
    refused = 0
    while (
        offered < size and refused < 50
    ):  # all tasks are in this thread: each turn lets them do what they can
        try:
            offered += sock.send(data)
            refused = 0
        except BlockingIOError:
            refused += 1
        for _ in range(5):
            await asyncio.sleep(0)
    return offered


def test_a_pool_that_does_not_read_makes_the_worker_wait_and_no_buffer_grow() -> None:
    async def test() -> None:
        relayed = Relayed()
        near, far = relayed.comms
        offered = await offer(relayed.worker, 10 * LARGE)
        assert offered < 2 * relay._WINDOW + BUFFERS
        assert far.most_held <= relay._WINDOW + relay._CHUNK

        # When it reads, everything comes, and no more is kept on the way.
        sending = asyncio.ensure_future(asyncio.get_running_loop().sock_sendall(relayed.worker, b"y" * LARGE))
        taken = await take(relayed.pool, offered + LARGE)
        await sending
        assert taken[offered:] == b"y" * LARGE
        assert max(near.most_held, far.most_held) <= relay._WINDOW + relay._CHUNK
        await relayed.close()

    run(test())


def test_two_ends_that_send_before_they_read_do_not_wait_for_each_other() -> None:
    async def test() -> None:
        relayed = Relayed()
        loop = asyncio.get_running_loop()
        # The worker sends all of its answer before it reads any more, and the pool reads meanwhile.
        to_worker = asyncio.ensure_future(loop.sock_sendall(relayed.pool, b"a" * LARGE))
        to_pool = asyncio.ensure_future(loop.sock_sendall(relayed.worker, b"b" * LARGE))
        assert await take(relayed.pool, LARGE) == b"b" * LARGE
        await to_pool
        assert not to_worker.done()
        assert await take(relayed.worker, LARGE) == b"a" * LARGE
        await to_worker
        assert all(comm.most_held <= relay._WINDOW + relay._CHUNK for comm in relayed.comms)
        await relayed.close()

    run(test())


def test_what_was_sent_before_an_end_arrives_before_it() -> None:
    async def test() -> None:
        relayed = Relayed()
        loop = asyncio.get_running_loop()
        sending = asyncio.ensure_future(loop.sock_sendall(relayed.worker, b"z" * LARGE))
        sending.add_done_callback(lambda _: relayed.worker.close())
        assert await take(relayed.pool, LARGE) == b"z" * LARGE
        assert await loop.sock_recv(relayed.pool, 1) == b""
        await relayed.received.wait()
        await relayed.close()

    run(test())


def test_a_connection_that_is_lost_ends_both_ends_after_what_has_arrived() -> None:
    async def test() -> None:
        relayed = Relayed()
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(relayed.worker, b"last")
        assert await take(relayed.pool, 4) == b"last"
        for comm in relayed.comms:
            comm.abort()
        assert await loop.sock_recv(relayed.pool, 1) == b""
        with contextlib.suppress(OSError):
            assert await loop.sock_recv(relayed.worker, 1) == b""
        await relayed.close()

    run(test())
