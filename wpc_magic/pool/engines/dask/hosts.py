"""The pool's side of one host: its connection to the agent, and to the host process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from ...errors import StartError
from ..archive import own_package
from ..engine import WorkerEnvironment
from ..versions import COMPARED, Versions, check_versions, own_versions
from . import messages
from .conversations import Conversation
from .copies import HostCopies
from .process import Clock, RemoteProcess
from .routes import Route
from .streams import secured, secured_channels

if TYPE_CHECKING:
    from ...wire.tls import Session

__all__ = ["Host", "LostError"]

_OPEN_S = 30.0  # it unpacks the package, and starts Python
_DIRECTLY_S = 10.0
_GREETING_S = 10.0
_PATIENCE_S = 5.0


class LostError(Exception):
    """The host cannot be reached, or not any more."""


class Host:
    """One Dask worker, and the host process there. All of it runs in the client's event loop.

    Parameters
    ----------
    client : distributed.Client
        The cluster.
    pool : str
        What the pool is called there.
    address : str
        The address of the Dask worker.
    silence_s : float
        How long nothing may be heard of the host, in seconds: then it is lost.
    on_lost : callable
        Given this, called when the host is lost.
    on_leaves : callable
        Given this, called when Dask has announced that the Dask worker is to end.

    Attributes
    ----------
    name : str
        What the machine is called.
    clock : Clock
        The host's clock.
    copies : HostCopies
        The copies of blocks that it keeps.
    is_relayed : bool
        Whether everything goes through the Dask worker.
    is_leaving : bool
        Whether the Dask worker is to end.
    versions : Versions or None
        What the machine runs.
    offers : mapping
        The resources of the Dask worker, as amounts by name.
    """

    def __init__(
        self,
        client: Any,
        pool: str,
        address: str,
        silence_s: float,
        on_lost: Callable[[Host], object],
        on_leaves: Callable[[Host], object],
    ) -> None:
        self.address = address
        self.name = address
        self.clock = Clock()
        self.copies = HostCopies(self)
        self.is_relayed = False
        self.versions: Versions | None = None
        self.offers: Mapping[str, float] = {}
        self._client, self._pool = client, pool
        self._silence_s = silence_s
        self._on_lost, self._on_leaves = on_lost, on_leaves
        self.is_leaving = False
        self._loop = asyncio.get_running_loop()
        self._comm: Any = None
        self._conversation: Conversation | None = None
        self._route: Route
        self._told: dict[str, Any] = {}
        self._door = "", 0
        self._pid = os.getpid()
        self._processes: dict[int, RemoteProcess] = {}
        self._tokens: dict[int, Any] = {}
        self._starting: dict[int, tuple[asyncio.Future[RemoteProcess], list[socket.socket]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._uploaded: set[str] = set()
        self._over = asyncio.Event()  # the agent has ended the host process
        self._is_lost = self._closing = False

    # -- connecting -------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Have the agent start a host process, and connect to it.

        Raises
        ------
        LostError
            If the Dask worker, or the process, cannot be reached.
        StartError
            If the process cannot be started there.
        """
        try:
            told = await asyncio.wait_for(self._ask_agent(), _OPEN_S)
        except OSError as error:
            if self._comm is not None:
                self._comm.abort()
            why = f"it does not answer in {_OPEN_S:g} s" if isinstance(error, TimeoutError) else error
            raise LostError(f"{self.address} cannot be reached: {why}") from error
        if "error" in told:
            raise StartError(f"no worker can be started at {self.address}: {told['error']}")
        self._told = told
        self.offers = told["resources"]
        self._door = told["bind"], told["port"]  # as its Dask worker reaches it
        self._begin(self._watch())
        try:
            await self._connect()
        except OSError as error:
            await self.close()
            raise LostError(f"the host process at {self.address} cannot be reached: {error}") from error

    async def _ask_agent(self) -> dict[str, Any]:
        """Have the agent start a host process; return what it tells of that."""
        from distributed.comm import connect

        self._comm = await connect(self.address, **self._client.connection_args)
        package = own_package()
        asked = {"digest": package.digest, "releases": list(COMPARED), "silence_s": self._silence_s}
        await self._comm.write({"op": f"wpc-open-{self._pool}", **asked, "reply": False})
        told = await self._comm.read()
        self._check_versions(told["versions"])
        await self._comm.write({"data": package.data if told["needs"] else b""})
        answer: dict[str, Any] = await self._comm.read()
        return answer

    def _check_versions(self, told: Any) -> None:
        """Keep what the machine runs.

        Raises
        ------
        StartError
            If it cannot run what this process sends.
        """
        implementation, python, machine, releases = told
        self.versions = Versions(implementation, tuple(python), machine, releases)
        try:
            check_versions(own_versions(), {self.address: self.versions})
        except StartError:
            self._comm.abort()
            raise

    async def _connect(self) -> None:
        """Connect to the host process: directly if its answer shows that this is possible, else by relay."""
        route = self._route = Route(self._client, self._pool, self.address, self._told, self._silence_s)
        try:
            await self._greet(_GREETING_S if route.is_relayed else _DIRECTLY_S)
        except OSError:
            if route.is_relayed:
                raise
            route.relay()
            await self._greet(_GREETING_S)
        self.is_relayed = route.is_relayed
        sock = await route.dial(messages.BLOCKS, 0)
        self._begin(self._send_blocks(sock, await self._session(sock, _GREETING_S)))

    async def _session(self, sock: socket.socket, limit_s: float) -> Session | None:
        """Return the TLS of a new connection, if it is to have that."""
        context = self._route.context
        return None if context is None else await secured(sock, context, limit_s)

    async def _greet(self, limit_s: float) -> None:
        """Begin the conversation with the host process."""
        sock = await self._route.dial(messages.EVENTS, 0)
        try:
            conversation = Conversation(sock, await self._session(sock, limit_s), self._handle)
        except BaseException:
            sock.close()
            raise
        reading = asyncio.ensure_future(self._listen(conversation))
        try:
            self.name = await asyncio.wait_for(conversation.greeted, limit_s)
        except (TimeoutError, OSError) as error:
            reading.cancel()
            conversation.close()
            raise OSError(f"it does not answer ({error})") from None
        self._conversation = conversation
        self._keep(reading)
        self._begin(self._notice_silence(conversation))
        self._begin(conversation.write())

    # -- blocks ------------------------------------------------------------------------------------------

    async def _send_blocks(self, sock: socket.socket, session: Session | None) -> None:
        with contextlib.closing(sock):
            await self.copies.send_to(sock, session)
        self._lose("is lost: the connection to it has ended")

    def carry(self, source: Host, there: int, here: int) -> None:
        """Have the agent bring a block from another host, over a connection of Dask between the two."""
        told = {
            "address": source.address,
            "source": source._told["pid"],
            "give": source._route.hello(messages.GIVE, there),
            "door": self._door,
            "take": self._route.hello(messages.TAKE, here),
        }
        self._begin(self._tell_agent({"carry": told}))

    def fetch(self, number: int, size: int) -> bytearray:
        """Return the contents of a block that is there. In a thread that may wait.

        Raises
        ------
        OSError
            If it is not there, or the host cannot be reached.
        """
        if self._pid != os.getpid():
            raise OSError("a fork of the program has no connection to it")
        try:
            fetched = asyncio.run_coroutine_threadsafe(self._route.fetch(number, size), self._loop)
        except RuntimeError as error:  # the loop is closed
            raise OSError(str(error)) from error
        try:
            return fetched.result()
        except BaseException:
            fetched.cancel()
            raise

    # -- processes --------------------------------------------------------------------------------------

    async def start(self, key: int, token: Any, environment: WorkerEnvironment) -> RemoteProcess:
        """Start a worker process.

        Parameters
        ----------
        key : int
            Its number among those of the pool.
        token : str
            That of its place, which is free again when this process, and another one there, are closed.
        environment : WorkerEnvironment
            What it is to inherit, as far as that can be.

        Raises
        ------
        LostError, StartError
        """
        if self._is_lost:
            raise LostError(f"{self.name} is lost")
        self._tokens[key] = token
        started: asyncio.Future[RemoteProcess] = self._loop.create_future()
        ends: list[socket.socket] = []
        self._starting[key] = started, ends
        try:
            await self._comm.write({"claim": token})
            for what in (messages.CALL, messages.CONTROL):
                ends.append(await self._route.dial(what, key))
            for archive in environment.uploads:
                if archive.digest not in self._uploaded:  # once a host
                    self._uploaded.add(archive.digest)
                    self._send(("upload", archive.digest, archive.data))
            uploads = [archive.digest for archive in environment.uploads]
            asked = dict(environment.asked)
            start = messages.Start(key, list(environment.path), asked, uploads, environment.folder)
            self._send(("start", start))
            process = await started
            if self._route.context is not None:
                process.call, process.control = await secured_channels(ends, self._route.context)
            return process
        except BaseException as error:
            for end in ends:  # the end of the control channel ends the process
                end.close()
            if (closed := self._processes.get(key)) is not None:
                closed.close()
            self._forget(key)
            if isinstance(error, OSError):
                raise LostError(f"{self.name} cannot be reached: {error}") from error
            raise
        finally:
            del self._starting[key]

    def processes(self) -> list[RemoteProcess]:
        """Return the processes there that the driver has not closed."""
        return list(self._processes.values())

    @property
    def is_idle(self) -> bool:
        """Whether there is no process, and none is being started."""
        return not self._processes and not self._starting

    def post(self, *message: Any) -> None:
        """Send a message to the host process; any thread may call this."""
        assert self._conversation is not None
        self.soon(self._conversation.send, messages.pack(message))

    def closed(self, key: int) -> None:
        """Free the place of a process that the driver has closed; any thread may call this."""
        self.soon(self._forget, key)

    def soon(self, do: Callable[..., object], *args: Any) -> None:
        """Have a function called in the client's event loop; any thread may call this."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and so are all connections
            self._loop.call_soon_threadsafe(do, *args)

    def _forget(self, key: int) -> None:
        process = self._processes.pop(key, None)
        if process is not None:
            self.copies.forget(key)
        if process is not None and process.poll() is None:
            self._send(("kill", key))
        token = self._tokens.pop(key, None)
        self._route.end_relays(key)
        if token is not None and token not in self._tokens.values() and not self._is_lost:
            self._begin(self._tell_agent({"release": token}))
        if self.is_leaving and not self._closing:
            self._on_leaves(self)

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._keep(asyncio.ensure_future(coroutine))

    def _keep(self, task: asyncio.Task[None]) -> None:
        """Keep a task, which is cancelled at the end."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell_agent(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # `_watch` notices, too
            await self._comm.write(message)

    # -- what it tells ----------------------------------------------------------------------------------

    def _send(self, message: tuple[Any, ...]) -> None:
        assert self._conversation is not None
        self._conversation.send(messages.pack(message))

    async def _listen(self, conversation: Conversation) -> None:
        try:
            await conversation.read()
        finally:
            if self._conversation is conversation:
                self._lose("is lost: the connection to it has ended")

    async def _notice_silence(self, conversation: Conversation) -> None:
        """Lose the host when nothing was heard of it for long."""
        await conversation.silence(self._silence_s)
        self._lose(f"is lost: nothing was heard of it for {self._silence_s:g} s")

    async def _handle(self, what: str, key: Any, *rest: Any) -> None:
        if what == "pages":
            self.clock.heard(rest[0], time.monotonic_ns())
            for number, page, installing in rest[1]:
                if (process := self._processes.get(number)) is not None:
                    process.show(page, installing)
        elif what == "facts":
            for number, facts in rest[0]:
                if (process := self._processes.get(number)) is not None:
                    process.usage.facts = facts
        elif what in ("started", "failed"):
            self._started(key, what, *rest)
        elif (process := self._processes.get(key)) is not None:
            if what == "output":
                await process.feed(*rest)
            elif what == "dump":
                process.dump.arrived(*rest)
            elif what == "exit":
                if self._route.has_relays(key):
                    self._begin(self._exited(process, rest[0]))
                else:
                    process.exited(rest[0])

    async def _exited(self, process: RemoteProcess, told: messages.Exit) -> None:
        """Have the driver notice an exit when all is there that the process has sent, which goes by relay."""
        await self._route.all_received(process.key)
        process.exited(told)

    def _started(self, key: int, what: str, *rest: Any) -> None:
        starting, ends = self._starting.get(key, (None, []))
        if starting is None or starting.done():
            return
        if what == "failed":
            starting.set_exception(StartError(f"at {self.name}: {rest[0]}"))
            return
        try:
            process = RemoteProcess(key, rest[0], self.name, self, (ends[0], ends[1]), rest[1])
        except OSError as error:
            starting.set_exception(StartError(f"a worker could not be started: {error}"))
            return
        self._processes[key] = process  # now: the next message may be about it
        starting.set_result(process)

    async def _watch(self) -> None:
        """Notice the end of the connection to the agent, which is that of the host process."""
        with contextlib.suppress(OSError):
            while "ended" not in (told := await self._comm.read()):
                if "leaves" in told:
                    self.is_leaving = True
                    self._on_leaves(self)
        self._over.set()
        self._lose("is lost: its Dask worker has ended, or cannot be reached")

    def _lose(self, why: str) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        self.copies.close()
        for starting, _ in self._starting.values():
            if not starting.done():
                starting.set_exception(LostError(f"{self.name} {why}"))
        for process in list(self._processes.values()):
            process.lose(why)
        if not self._closing:
            self._on_lost(self)

    async def close(self) -> None:
        """End the host process, and what runs there; return when that has happened, or cannot be known."""
        self._closing = True
        if self._comm is not None:
            await self._tell_agent({"end": True})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), _PATIENCE_S)
        self._lose("was closed")
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._route.close()
        if self._conversation is not None:
            self._conversation.close()
        if self._comm is not None:
            self._comm.abort()
