"""How the pool reaches a host process: directly, with TLS where the cluster has it, or by relay."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

from . import messages
from .relay import pump
from .silence import keep_alive

__all__ = ["Route"]

_DIAL_S = 3.0
_RELAY_S = 2.0


class Route:
    """Makes the connections of one pool to one host process. All of it runs in the client's event loop.

    Parameters
    ----------
    client : distributed.Client
        The cluster.
    pool : str
        What the pool is called there.
    address : str
        The address of the Dask worker.
    told : dict
        What its agent has told of the host process: where that listens, and the secret.
    silence_s : float
        How long nothing may be heard of the host, in seconds.

    Attributes
    ----------
    context : ssl.SSLContext or None
        The certificates for direct connections; None: they are not encrypted, or there are none.
    is_relayed : bool
        Whether everything goes through the Dask worker.
    """

    def __init__(self, client: Any, pool: str, address: str, told: dict[str, Any], silence_s: float) -> None:
        self._client, self._pool, self._address = client, pool, address
        self._told = told
        self._silence_s = silence_s
        self._loop = asyncio.get_running_loop()
        self._relays: dict[int, list[tuple[asyncio.Task[None], asyncio.Event]]] = {}
        self._brief: set[asyncio.Task[None]] = set()  # relays that end by themselves
        self.context: Any = client.connection_args.get("ssl_context") if told["is_secure"] else None
        self.is_relayed = self.context is None and not address.startswith(("tcp://", "inproc://"))

    def relay(self) -> None:
        """Have all connections go through the Dask worker from now on."""
        self.is_relayed, self.context = True, None

    def hello(self, what: int, key: int) -> bytes:
        """Return what a connection for one purpose begins with."""
        return messages.hello(self._told["secret"], what, key)

    async def dial(self, what: int, key: int) -> socket.socket:
        """Return a connection for one purpose, whose handshake is still to come if there is a `context`.

        Raises
        ------
        OSError
            If the host process cannot be reached.
        """
        # Values are fetched where the host process has no TLS of its own: through Dask, which has.
        is_secure = self.context is not None and what != messages.GIVE
        hello = self.hello(what | (messages.SECURE if is_secure else 0), key)
        if is_secure or not (self.is_relayed or self.context is not None):
            return await self._dial_directly(hello)
        return await self._dial_by_relay(hello, what, key)

    async def _dial_directly(self, hello: bytes) -> socket.socket:
        bind, port = self._told["bind"], self._told["port"]
        family = socket.AF_INET6 if ":" in bind else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            await asyncio.wait_for(self._loop.sock_connect(sock, (bind, port)), _DIAL_S)
            keep_alive(sock, self._silence_s)
            await self._loop.sock_sendall(sock, hello)
        except BaseException as error:
            sock.close()
            if isinstance(error, TimeoutError):
                raise OSError(f"nothing answers at {bind}:{port}") from None
            raise
        return sock

    async def _dial_by_relay(self, hello: bytes, what: int, key: int) -> socket.socket:
        from distributed.comm import connect

        comm = await connect(self._address, **self._client.connection_args)
        await comm.write({"op": f"wpc-relay-{self._pool}", "process": self._told["pid"], "reply": False})
        ours, theirs = socket.socketpair()
        for sock in (ours, theirs):
            sock.setblocking(False)
        received = asyncio.Event()
        relay = asyncio.ensure_future(pump(comm, theirs, received))
        if what == messages.GIVE:
            self._brief.add(relay)
            relay.add_done_callback(self._brief.discard)
        else:
            self._relays.setdefault(key, []).append((relay, received))
        await self._loop.sock_sendall(ours, hello)
        return ours

    async def fetch(self, number: int, size: int) -> bytearray:
        """Return the contents of a block that is there, which come over a connection of their own.

        Raises
        ------
        OSError
            If it is not there, or the host process cannot be reached.
        """
        contents = bytearray(size)
        left = memoryview(contents)
        with contextlib.closing(await self.dial(messages.GIVE, number)) as sock:
            while left:
                count = await self._loop.sock_recv_into(sock, left)
                if not count:
                    raise OSError("the connection has ended")
                left = left[count:]
        return contents

    def has_relays(self, key: int) -> bool:
        """Whether the connections of a worker process go by relay."""
        return key in self._relays

    async def all_received(self, key: int) -> None:
        """Wait until all has been received that a worker process has sent, unless that takes too long."""
        relays = self._relays.get(key, ())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(each.wait() for _, each in relays)), _RELAY_S)

    def end_relays(self, key: int) -> None:
        """End the relays of a worker process."""
        for relay, _ in self._relays.pop(key, ()):
            relay.cancel()

    async def close(self) -> None:
        """End all relays."""
        relays = [*self._brief, *(each for some in self._relays.values() for each, _ in some)]
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
