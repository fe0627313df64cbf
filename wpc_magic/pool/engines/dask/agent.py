"""What runs in a Dask worker: a plugin that starts a host process, and tells the tasks of slots when to end.

It travels as this text (`shipped`), to machines that need not have the package. So it uses nothing of it but
what travels with the plugin, as text, too: its helpers.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from types import SimpleNamespace
from typing import Any

__all__ = ["keeper", "plugin", "shipped"]

_REBUILD = "(exec(source, made := {'__name__': 'wpc_agent'}), made[maker](**settings))[1]"
_STATUS = "worker-status-change"
_UNCLAIMED_S = 60.0
_LOOK_S = 0.05
_NOTICE_S = 0.5
_SLOTS = "wpc-slot"  # as in `holds`
_SLOT_S = 5.0  # so long adaptive clusters give a task a thread by default
_PATIENCE_S = 5.0


def shipped(maker: str, source: str, settings: dict[str, Any]) -> tuple[Any, ...]:
    """Return what `__reduce__` returns for an object that is made by the source of this module elsewhere."""
    return eval, (_REBUILD, {"source": source, "maker": maker, "settings": settings})


def plugin(pool: str, helpers: list[str], source: str) -> Any:
    """Return the plugin of one pool.

    Parameters
    ----------
    pool : str
        What the pool is called on the cluster.
    helpers : list of str
        The sources of `relay`, `host_start`, `archive.place` and `versions.versions_here`.
    source : str
        That of this module.
    """
    from distributed.diagnostics.plugin import WorkerPlugin

    class AgentPlugin(WorkerPlugin):  # type: ignore[misc]  # its types are not read
        agent: Agent
        name = f"wpc-{pool}"

        def __reduce__(self) -> tuple[Any, ...]:
            return shipped("plugin", source, {"pool": pool, "helpers": helpers, "source": source})

        async def setup(self, worker: Any) -> None:
            self.agent = Agent(pool, helpers, worker)

        async def teardown(self, worker: Any) -> None:
            await self.agent.close()

    return AgentPlugin()


def keeper(pool: str, client: str, forget_s: float, source: str) -> Any:
    """Return what one pool has in the scheduler, as long as its client is connected.

    An adaptive cluster keeps the Dask workers where slots are, since nobody knows when these end, and grows
    by the number of slots. And what the pool has in the cluster goes `forget_s` after its client has.

    Parameters
    ----------
    pool : str
        What the pool is called on the cluster.
    client : str
        What its client is called there.
    forget_s : float
        How long that may be away, in seconds.
    source : str
        That of this module.
    """
    from distributed.diagnostics.plugin import SchedulerPlugin

    class Keeper(SchedulerPlugin):  # type: ignore[misc]  # its types are not read
        name = f"wpc-{pool}"
        idempotent = True

        def __reduce__(self) -> tuple[Any, ...]:
            settings = {"pool": pool, "client": client, "forget_s": forget_s, "source": source}
            return shipped("keeper", source, settings)

        def valid_workers_downscaling(self, scheduler: Any, workers: list[Any]) -> list[Any]:
            return [
                worker for worker in workers if all(task.prefix.name != _SLOTS for task in worker.processing)
            ]

        def transition(self, key: Any, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
            # Else adaptive clusters take these tasks for short ones, of which a thread can run many.
            if finish in ("processing", "queued", "no-worker") and str(key).startswith(_SLOTS):
                prefix = self.scheduler.task_prefixes.get(_SLOTS)
                if prefix is not None:
                    prefix.duration_average = _SLOT_S

        async def start(self, scheduler: Any) -> None:
            self.scheduler = scheduler

        def remove_client(self, scheduler: Any, client: str) -> None:
            if client == owner:
                asyncio.get_running_loop().call_later(forget_s, self._forget_soon, scheduler)

        def _forget_soon(self, scheduler: Any) -> None:
            if owner not in scheduler.clients:
                self._forgetting = asyncio.ensure_future(self._forget(scheduler))

        async def _forget(self, scheduler: Any) -> None:
            if self.name in scheduler.worker_plugins:
                await scheduler.unregister_worker_plugin(None, self.name)
            if self.name in scheduler.plugins:
                await scheduler.unregister_scheduler_plugin(self.name)

    owner = client
    return Keeper()


class Agent:
    """Serves one pool in one Dask worker."""

    def __init__(self, pool: str, helpers: list[str], worker: Any) -> None:
        self._pool = pool
        self._helpers = _loaded(helpers)
        self._worker = worker
        self._released: dict[str, threading.Event] = {}
        self._claimed: set[str] = set()
        self._ends: dict[int, asyncio.Event] = {}
        self._comms: dict[int, Any] = {}
        self._telling: set[asyncio.Task[None]] = set()
        self._leaving = False
        self._carrying: set[asyncio.Future[None]] = set()
        self._ports: dict[int, tuple[str, int]] = {}
        self._doors = {
            f"wpc-open-{pool}": self.open,
            f"wpc-relay-{pool}": self.relay,
            f"wpc-release-{pool}": self.release,
        }
        worker.handlers.update(self._doors)
        self._listeners = _listeners_to_status(worker)
        self._listeners.add(self._status_changed)

    def _status_changed(self, status: str) -> None:
        """Tell the pools when Dask announces that this Dask worker is to end; it may take that back."""
        self._leaving = status == "closing_gracefully"
        if self._leaving:
            for comm in self._comms.values():
                telling = asyncio.ensure_future(_tell(comm, {"leaves": True}))
                self._telling.add(telling)
                telling.add_done_callback(self._telling.discard)

    async def close(self) -> None:
        """End everything that was started here; after an announcement, when the pool has done with it."""
        self._listeners.discard(self._status_changed)
        while self._leaving and self._comms:
            await asyncio.sleep(_LOOK_S)
        for door in self._doors:
            self._worker.handlers.pop(door, None)
        for event in list(self._released.values()):
            event.set()
        for end in list(self._ends.values()):
            end.set()
        for carrying in list(self._carrying):
            carrying.cancel()

    def hold(self, token: str) -> None:
        """Return when the slot is over. In a thread of the Dask worker."""
        event = self._released.setdefault(token, threading.Event())
        self._worker.log_event(f"wpc-{self._pool}", {"token": token, "address": self._worker.address})
        try:
            # Nobody comes for it if the pool has ended meanwhile.
            if event.wait(_UNCLAIMED_S) or token not in self._claimed:
                return
            event.wait()
        finally:
            self._released.pop(token, None)
            self._claimed.discard(token)

    async def open(self, comm: Any, digest: str, releases: list[str], silence_s: float) -> Any:
        """Start a host process, and keep it as long as the pool keeps this connection.

        First it tells what this machine runs: the pool may refuse that.
        """
        from distributed.core import Status

        tokens: set[str] = set()
        stream = getattr(comm, "stream", None)
        if stream is not None:  # Dask gives silence half a minute
            self._helpers.keep_alive(stream.socket, silence_s)
        try:
            folder = os.path.join(self._worker.local_directory, "wpc-magic")
            placed = os.path.join(folder, digest[:32])
            versions = await asyncio.to_thread(self._helpers.versions_here, releases)
            needs = not os.path.isdir(placed)
            await comm.write({"versions": versions, "needs": needs})
            archive = (await comm.read())["data"]
            if needs:
                placed = await asyncio.to_thread(self._helpers.place, digest, bytes(archive), folder)
            certificates = self._helpers.certificates_of(self._worker)
            is_open = certificates is not None or self._worker.address.startswith("tcp://")
            bind = self._worker.ip if is_open else "127.0.0.1"
            process, answer = await asyncio.to_thread(
                self._helpers.start_host, placed, bind, folder, silence_s, certificates
            )
        except OSError as error:
            with contextlib.suppress(OSError):
                await comm.write({"error": f"{type(error).__name__}: {error}"})
            return Status.dont_reply
        end = self._ends[process.pid] = asyncio.Event()
        self._comms[process.pid] = comm
        self._ports[process.pid] = bind, answer["port"]
        noticing = asyncio.ensure_future(_notice_end(process, end))
        try:
            await comm.write({**answer, "resources": dict(self._worker.state.total_resources)})
            await self._serve(comm, tokens, end)
        finally:
            noticing.cancel()
            assert process.stdin is not None
            process.stdin.close()  # so it kills its workers, and exits
            self._ends.pop(process.pid, None)
            del self._comms[process.pid]
            self._ports.pop(process.pid, None)
            for token in tokens:
                self._release(token)
            await asyncio.to_thread(self._helpers.await_end, process)
        with contextlib.suppress(OSError):
            await comm.write({"ended": True})
        return Status.dont_reply

    async def _serve(self, comm: Any, tokens: set[str], end: asyncio.Event) -> None:
        """Take and release tokens, until either side ends it."""
        ended = asyncio.ensure_future(end.wait())
        if self._leaving:
            await comm.write({"leaves": True})
        try:
            while True:
                reading = asyncio.ensure_future(comm.read())
                await asyncio.wait({reading, ended}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    reading.cancel()
                    return
                try:
                    message = reading.result()
                except OSError:  # the pool has ended, or the network
                    return
                if "claim" in message:
                    tokens.add(message["claim"])
                    self._claimed.add(message["claim"])
                elif "carry" in message:
                    carrying = asyncio.ensure_future(self._carry(**message["carry"]))
                    self._carrying.add(carrying)
                    carrying.add_done_callback(self._carrying.discard)
                elif "release" in message:
                    tokens.discard(message["release"])
                    self._release(message["release"])
                else:
                    return
        finally:
            ended.cancel()

    async def release(self, comm: Any, token: str) -> Any:
        """Take back the place of a slot that does not start here after all."""
        from distributed.core import Status

        self._release(token)
        return Status.dont_reply

    def _release(self, token: str) -> None:
        event = self._released.get(token)
        if event is not None:
            event.set()

    async def relay(self, comm: Any, process: int) -> Any:
        """Carry a connection to a host process of this agent, for a pool that cannot reach its port."""
        from distributed.core import Status

        port = self._ports.get(process)
        if port is None:  # it has ended meanwhile
            comm.abort()
            return Status.dont_reply
        sock = socket.create_connection(port, _PATIENCE_S)  # on this machine: at once, or not
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await self._helpers.pump(comm, sock)
        return Status.dont_reply

    async def _carry(
        self, address: str, source: int, give: bytes, door: tuple[str, int], take: bytes
    ) -> None:
        """Bring a block from another host: its agent relays what its host process gives to the one here.

        Parameters
        ----------
        address : str
            The address of the other Dask worker.
        source : int
            The process id of the host process there.
        door : tuple
            Host and port of the host process here.
        give, take : bytes
            What connections to them begin with.
        """
        from distributed.comm import connect

        loop = asyncio.get_running_loop()
        with socket.create_connection((door[0], door[1]), _PATIENCE_S) as sock:
            sock.setblocking(False)
            with contextlib.suppress(OSError):  # it notices that the block does not come
                await loop.sock_sendall(sock, bytes(take))
                comm = await connect(address, **self._worker.connection_args)
                await comm.write({"op": f"wpc-relay-{self._pool}", "process": source, "reply": False})
                await comm.write({"data": bytes(give)})
                await self._helpers.pump(comm, sock)


def _loaded(sources: list[str]) -> SimpleNamespace:
    """Return what some sources define."""
    names: dict[str, Any] = {"__name__": "wpc_agent"}
    for source in sources:
        exec(source, names)
    return SimpleNamespace(**names)


def _listeners_to_status(worker: Any) -> set[Any]:
    """Return who is told of each status that the scheduler gives a Dask worker: the agents of all pools."""
    change = worker.stream_handlers[_STATUS]
    listeners: set[Any] | None = getattr(change, "wpc_listeners", None)
    if listeners is None:
        listeners = set()

        def changed(status: str, **more: Any) -> None:
            change(status=status, **more)
            for listener in list(listeners):
                listener(status)

        changed.wpc_listeners = listeners  # type: ignore[attr-defined]
        worker.stream_handlers[_STATUS] = changed
    return listeners


async def _notice_end(process: Any, end: asyncio.Event) -> None:
    """Set an event when a process has exited by itself."""
    while process.poll() is None:
        await asyncio.sleep(_NOTICE_S)
    end.set()


async def _tell(comm: Any, message: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        await comm.write(message)
