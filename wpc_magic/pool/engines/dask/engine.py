"""The engine: it starts worker processes on the workers of a Dask cluster."""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import itertools
import os
import secrets
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from ...errors import OptionError, StartError
from .. import archive
from ..engine import Came, Process, Waits, WorkerEnvironment
from ..versions import Versions, check_versions, own_versions, versions_here

__all__ = ["DaskEngine"]

_TIMEOUT_S = 30.0
_FORGET_S = 15.0
_CLOSE_S = 15.0
_CLOSE_CLIENT_S = 2.0
_TRIES = 10
_LEAVES = "its Dask worker is to end"

_T = TypeVar("_T")


class DaskEngine:
    """Starts workers on a Dask cluster that somebody runs.

    Parameters
    ----------
    client : distributed.Client, optional
        A client of the cluster. It is not closed with the pool.
    address : str, optional
        The address of the scheduler: ``"tcp://10.0.0.1:8786"``.
    scheduler_file : str, optional
        The file with that address which the scheduler has written.
    resources : mapping, optional
        What each worker takes of the resources of its Dask worker: ``{"GPU": 1}``.

    Raises
    ------
    OptionError
        Unless exactly one of the first three is given.
    """

    name = "dask"
    shares_memory = False
    copies_blocks = True

    def __init__(
        self,
        *,
        client: Any = None,
        address: str | None = None,
        scheduler_file: str | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> None:
        given = [each for each in (client, address, scheduler_file) if each is not None]
        if len(given) != 1:
            raise OptionError(
                'engine="dask" needs one of client=, address= and scheduler_file=, '
                f"{'not more' if given else 'to know its cluster'}"
            )
        self._given, self._address, self._file = client, address, scheduler_file
        self._resources = dict(resources or {})
        self._client: Any = None
        self._places: Any = None
        self._hosts: dict[str, asyncio.Future[Any]] = {}
        self._versions: dict[str, Versions] = {}
        self._closing: set[asyncio.Future[None]] = set()
        self.on_leave: Callable[[Process, str], object] = lambda process, why: None
        self._starts: dict[int, Future[None]] = {}
        self._keys = itertools.count(1)
        self._pid = 0

    # -- in other threads -------------------------------------------------------------------------------

    def capacity(self, memory: int = 0) -> int:
        """Return for how many workers the cluster has threads, and what each takes besides; at least 1."""
        self.open()
        workers: dict[str, Any] = self._run(self._workers(), _TIMEOUT_S)
        return max(1, sum(self._room_of(worker, memory) for worker in workers.values()))

    async def _workers(self) -> Any:
        return (await self._client.scheduler.identity(n_workers=-1))["workers"]

    def _room_of(self, worker: dict[str, Any], memory: int) -> int:
        offered = worker["resources"]
        most = [int(offered.get(name, 0) / need) for name, need in self._resources.items() if need > 0]
        if memory and worker["memory_limit"]:  # 0: there is none
            most.append(worker["memory_limit"] // memory)
        threads: int = worker["nthreads"]
        return min([threads, *most])

    def open(self) -> None:
        """Connect to the cluster, and have each of its workers get the agent.

        Raises
        ------
        StartError
            If the package `distributed` is missing, or the cluster cannot be reached.
        """
        if self._places is not None:
            return
        if importlib.util.find_spec("distributed") is None:
            raise StartError("engine=\"dask\" needs distributed: pip install 'wpc-magic[dask]'")
        self._client = self._given or self._connect()
        self._pid = os.getpid()
        try:
            if self._client.status != "running":
                raise StartError("the client of the Dask cluster is not connected")
            if self._client.asynchronous:
                raise StartError('engine="dask" needs a client that was made without asynchronous=True')
            self._run(self._open(), _TIMEOUT_S)
        except BaseException:
            self._close_client()
            raise

    def _connect(self) -> Any:
        from distributed import Client

        try:
            return Client(self._address, scheduler_file=self._file, set_as_default=False)
        except (OSError, ValueError, TypeError) as error:
            where = self._address or self._file
            raise StartError(f"no Dask scheduler can be reached at {where}: {error}") from error

    async def _open(self) -> None:
        from . import agent, holds, host_start, relay, silence
        from .places import Places

        source = inspect.getsource(agent)
        pool = secrets.token_hex(6)
        # Any Python reads these, also one that is refused then.
        annotated = "from __future__ import annotations\n\n"
        helpers = [annotated + inspect.getsource(each) for each in (archive.place, versions_here)]
        helpers += [inspect.getsource(each) for each in (relay, host_start, silence)]
        plugin = agent.plugin(pool, helpers, source)
        keeper = agent.keeper(pool, self._client.id, _FORGET_S, source)
        places = Places(self._client, pool, inspect.getsource(holds), (plugin, keeper), self._resources)
        await places.ensure_registered()
        self._pool, self._places = pool, places

    def prepare(self, environment: WorkerEnvironment) -> None:
        """Do nothing: there are no templates on other machines."""

    def differences(self) -> str:
        """Return the table of what machines run that is not what runs here; empty: there is nothing."""
        return check_versions(own_versions(), dict(self._versions))

    def start(self, environment: WorkerEnvironment, came: Came, replaces: Process | None = None) -> None:
        """Start a process as soon as the cluster has a place for it: at once if it replaces another one."""
        key = next(self._keys)
        place = getattr(replaces, "place", None)
        self._starts[key] = self._submit(self._bring_up(key, environment, came, place))

    def give_up_starts(self) -> None:
        """End the starts that wait."""
        for start in list(self._starts.values()):
            start.cancel()

    def close(self) -> None:
        """Take everything away from the cluster; close the client, unless it was given."""
        if self._places is None:
            return
        try:
            self._run(self._close(), _CLOSE_S)
        except StartError:
            pass  # the cluster is out of reach, where it ends by itself what is left
        finally:
            self._places = None
            self._close_client()

    def _close_client(self) -> None:
        client, self._client = self._client, None
        if client is not None and client is not self._given:
            client.close(timeout=_CLOSE_CLIENT_S)

    def after_fork(self) -> None:
        """Forget everything, in a fork: its threads are not there."""
        self._places = self._client = None
        self._starts.clear()

    def _submit(self, coroutine: Coroutine[Any, Any, _T]) -> Future[_T]:
        return asyncio.run_coroutine_threadsafe(coroutine, self._client.loop.asyncio_loop)

    def _run(self, coroutine: Coroutine[Any, Any, _T], timeout_s: float) -> _T:
        """Run a coroutine in the client's loop, and wait for it.

        Raises
        ------
        StartError
            If the cluster does not answer in time, or cannot be reached.
        """
        try:
            submitted = self._submit(coroutine)
        except RuntimeError as error:  # the loop is closed
            coroutine.close()
            raise StartError(f"the client of the Dask cluster is closed ({error})") from error
        try:
            return submitted.result(timeout_s)
        except TimeoutError as error:
            submitted.cancel()
            raise StartError(f"the Dask cluster does not answer within {timeout_s:.0f} s") from error
        except OSError as error:
            raise StartError(f"the Dask cluster cannot be reached: {error}") from error

    # -- in the client's loop ---------------------------------------------------------------------------

    async def _bring_up(self, key: int, environment: WorkerEnvironment, came: Came, shared: Any) -> None:
        """Start a process, in a place that it shares with the one that it replaces if there is one."""
        from .hosts import LostError

        result: Any = StartError("the pool was stopped")
        place: Any = None
        silence_s, memory = environment.reconnect_ms / 1000, environment.memory
        try:
            for _ in range(_TRIES):
                if shared is not None:
                    # There may be no other one: the other process leaves when this one is ready.
                    shared, in_use = None, shared
                    try:
                        host = await self._host(in_use.address, silence_s)
                        if host.is_leaving:
                            continue
                        process = await host.start(key, in_use.token, environment)
                    except LostError:
                        continue
                    process.place, result = in_use, process
                    return
                place = await self._places.find(memory, lambda: came(Waits(_no_place(memory))))
                try:
                    host = await self._host(place.address, silence_s)
                    process = await host.start(key, place.token, environment)
                except LostError as error:
                    # No death of a worker: the next place is most likely another one.
                    self._places.leave_out(place.address)
                    self._places.give_back(place)
                    place = None
                    result = StartError(str(error))
                    continue
                process.place, place = place, None  # Dask keeps the task as long as somebody refers to it
                result = process
                return
        except StartError as error:
            result = error
        except OSError as error:
            result = StartError(f"the Dask cluster cannot be reached: {error}")
        finally:
            if place is not None:
                self._places.give_back(place)
            self._starts.pop(key, None)
            came(result)
            if not isinstance(result, StartError) and host.is_leaving:
                self.on_leave(result, _LEAVES)

    async def _host(self, address: str, silence_s: float) -> Any:
        """Return the host at an address, which is opened for the first slot there."""
        from .hosts import Host

        opening = self._hosts.get(address)
        if opening is None:

            async def open_it() -> Host:
                host = Host(self._client, self._pool, address, silence_s, self._lost, self._leaves)
                await host.open()
                if host.versions is not None:
                    self._versions[host.name] = host.versions
                return host

            opening = self._hosts[address] = asyncio.ensure_future(open_it())
        try:
            return await asyncio.shield(opening)
        except BaseException:
            if opening.done() and self._hosts.get(address) is opening:
                del self._hosts[address]
            raise

    def _lost(self, host: Any) -> None:
        self._hosts.pop(host.address, None)
        self._places.leave_out(host.address)
        self._close_soon(host)

    def _leaves(self, host: Any) -> None:
        """Have the processes of a host leave whose Dask worker is to end; close it after the last of them."""
        if host.is_idle:
            if self._hosts.pop(host.address, None) is not None:
                self._close_soon(host)
            return
        for process in host.processes():
            self.on_leave(process, _LEAVES)

    def _close_soon(self, host: Any) -> None:
        closing = asyncio.ensure_future(host.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _close(self) -> None:
        opened = await asyncio.gather(*self._hosts.values(), return_exceptions=True)
        self._hosts.clear()
        hosts = [host for host in opened if not isinstance(host, BaseException)]
        await asyncio.gather(*(host.close() for host in hosts), return_exceptions=True)
        await self._places.close()


def _no_place(memory: int) -> str:
    what = f", and {memory >> 20} MiB (hard_memory_per_worker_mb) of its memory limit" if memory else ""
    return f"no worker of the Dask cluster has a thread that is free{what}"
