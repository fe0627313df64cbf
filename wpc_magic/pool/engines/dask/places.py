"""Where on the cluster slots are: for each, a task that Dask places, and that takes a thread there."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, NamedTuple, TypeVar

from ...errors import StartError
from .holds import SLOTS, hold

__all__ = ["Place", "Places"]

_LEFT_OUT_S = 5.0
_PAUSE_S = 0.2
_SOON_S = 2.0
_UNHEARD_S = 60.0  # how long a scheduler may take until it comes to a task
_SLOW_S = 10.0  # how long a Dask worker may take to begin a task that it has a thread for
_LOOKS = 15  # how often somebody looks whether there is a place that is only slow to come
_PATIENCE_S = 5.0

_T = TypeVar("_T")


class Place(NamedTuple):
    """A place for one worker.

    Parameters
    ----------
    token : str
        What its task is known by.
    address : str
        The Dask worker.
    task : distributed.Future
        The task: it ends when nobody refers to it.
    """

    token: str
    address: str
    task: Any


class _Search:
    """What is looked for.

    Parameters
    ----------
    memory : int
        As `Places.find` has it.

    Attributes
    ----------
    key : str
        The key of the latest task.
    """

    def __init__(self, memory: int) -> None:
        self.memory = memory
        self.key = ""


class Places:
    """Finds places for the workers of one pool. All of it runs in the client's event loop.

    Parameters
    ----------
    client : distributed.Client
        The cluster.
    pool : str
        What the pool is called there.
    source : str
        That of `holds`.
    plugins : tuple of WorkerPlugin and SchedulerPlugin
        What each Dask worker, and the scheduler, has to have.
    resources : mapping
        What each slot takes of the resources of a Dask worker.
    """

    def __init__(
        self, client: Any, pool: str, source: str, plugins: tuple[Any, ...], resources: Mapping[str, float]
    ) -> None:
        self._client = client
        self._pool = pool
        self._source = source
        self._plugins = plugins
        self._resources = dict(resources)
        self._numbers = itertools.count(1)
        self._reported: dict[str, asyncio.Future[str]] = {}
        self._left_out: dict[str, float] = {}
        self._used: weakref.WeakKeyDictionary[Any, str] = weakref.WeakKeyDictionary()  # by task
        self._giving: set[asyncio.Future[None]] = set()
        self._asking: dict[str, asyncio.Future[Any]] = {}
        self._registered: Any = None
        self._registering = asyncio.Lock()
        self._one_by_one = asyncio.Lock()

    async def ensure_registered(self) -> None:
        """Have the scheduler know the plugin: another one, after a restart, does not.

        Raises
        ------
        StartError
            If the client is closed.
        """
        client = self._client
        async with self._registering:
            while client.status != "running":
                if client.status in ("closing", "closed"):
                    raise StartError("the client of the Dask cluster is closed")
                await asyncio.sleep(_PAUSE_S)
            scheduler = client.scheduler_comm
            if scheduler is self._registered:
                return
            client.subscribe_topic(f"wpc-{self._pool}", self._on_report)
            for plugin in self._plugins:
                await client.register_plugin(plugin, name=f"wpc-{self._pool}")
            self._registered = scheduler

    def _on_report(self, event: Any) -> None:
        told = event[1]
        reported = self._reported.get(told["token"])
        if reported is None:  # it comes too late
            self.give_back(Place(told["token"], told["address"], None))
        elif not reported.done():
            reported.set_result(told["address"])

    def give_back(self, place: Place) -> None:
        """Have the task of a place that is not used end now: by itself it waits a while for its slot."""
        giving = asyncio.ensure_future(self._give_back(place))
        self._giving.add(giving)
        giving.add_done_callback(self._giving.discard)

    async def _give_back(self, place: Place) -> None:
        from distributed.comm import connect

        with contextlib.suppress(OSError):
            comm = await connect(place.address, **self._client.connection_args)
            await comm.write({"op": f"wpc-release-{self._pool}", "token": place.token, "reply": False})
            await comm.close()

    async def find(self, memory: int, waits: Callable[[], object]) -> Place:
        """Return a place, as soon as the cluster has one.

        Parameters
        ----------
        memory : int
            How much each worker may use, in bytes: a Dask worker gets no more of this pool's than its limit
            has room for. 0: nobody has said.
        waits : callable
            Called if there is none for a while.

        Raises
        ------
        StartError
            If the cluster refuses the task.
        """
        search = _Search(memory)
        telling = asyncio.ensure_future(self._tell_if_none(search, waits))
        try:
            if not memory:
                return await self._find(search)
            async with (
                self._one_by_one
            ):  # Dask counts threads and resources of those under way, and no memory
                return await self._find(search)
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)  # where the client is closed, it may fail

    async def _tell_if_none(self, search: _Search, waits: Callable[[], object]) -> None:
        """Call `waits` when there is no place: a machine that is slow has one."""
        for _ in range(_LOOKS):
            await asyncio.sleep(_SOON_S)
            known = await self._known(search.memory)
            if not self._free(known) and await self._given(search.key, known) is None:
                break
        waits()

    async def _given(self, key: str, known: dict[str, Any]) -> str | None:
        """Return the Dask worker that has been given a task, and has a thread for it; None: none has.

        Empty: the scheduler has not come to this task yet.
        """
        state, given = await self._ask(self._ask_for_tasks)
        if not key or key not in state:
            return None
        if state[key] is None:
            return ""
        for address, keys in given.items():
            if key in keys and address in known:
                slots = sum(str(each).startswith(SLOTS) for each in keys)
                offered = known[address]["resources"]
                has_all = all(offered.get(name, 0) >= slots * need for name, need in self._resources.items())
                return address if len(keys) <= known[address]["nthreads"] and has_all else None
        return None

    async def _ask_for_tasks(self) -> tuple[dict[str, Any], dict[str, list[str]]]:
        scheduler = self._client.scheduler
        try:
            state = await scheduler.get_task_status(keys=[f"{SLOTS}-{token}" for token in self._reported])
            return state, await scheduler.processing(workers=None)
        except OSError:
            return {}, {}

    async def _ask_for_workers(self) -> dict[str, Any]:
        try:
            return dict((await self._client.scheduler.identity(n_workers=-1))["workers"])
        except OSError:
            return {}

    async def _ask(self, question: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Return what the scheduler answers; those who ask at the same time get the same answer."""
        asking = self._asking.get(question.__name__)
        if asking is None or asking.done():
            asking = self._asking[question.__name__] = asyncio.ensure_future(question())
        answer: _T = await asyncio.shield(asking)
        return answer

    async def _find(self, search: _Search) -> Place:
        memory = search.memory
        while True:
            try:
                await self.ensure_registered()
            except OSError:  # the scheduler has gone meanwhile
                await asyncio.sleep(_PAUSE_S)
                continue
            allowed = await self._allowed(memory)
            if allowed == []:
                await asyncio.sleep(_PAUSE_S)
                continue
            place = await self._try(allowed, search)
            if place is not None:
                return place
            await asyncio.sleep(_PAUSE_S)

    async def _allowed(self, memory: int) -> list[str] | None:
        """Return the Dask workers that may take a slot, those with room if there are any; None: all."""
        now = time.monotonic()
        self._left_out = {each: until for each, until in self._left_out.items() if until > now}
        known = await self._known(memory)
        if free := self._free(known):
            return free
        return list(known) if self._left_out or memory else None

    async def _known(self, memory: int) -> dict[str, Any]:
        """Return the Dask workers that may take a slot, now or when they have room."""
        known = await self._ask(self._ask_for_workers)
        used = Counter(self._used.values())
        return {
            address: worker
            for address, worker in known.items()
            if address not in self._left_out and _has_memory(worker, (used[address] + 1) * memory)
        }

    def _free(self, known: dict[str, Any]) -> list[str]:
        """Return the Dask workers that have room for a slot, as far as the scheduler has heard."""
        used = Counter(self._used.values())
        return [address for address, worker in known.items() if self._has_room(worker, used[address])]

    def _has_room(self, worker: dict[str, Any], used: int) -> bool:
        """Whether a Dask worker has room for one slot more than those that this pool has there."""
        counts = worker["metrics"].get("task_counts", {})
        busy = sum(counts.get(each, 0) for each in ("executing", "ready", "constrained"))
        offered = worker["resources"]
        return (
            worker["status"] == "running"
            and worker["nthreads"] > max(busy, used)
            and all(offered.get(name, 0) >= (used + 1) * need for name, need in self._resources.items())
        )

    async def _try(self, allowed: list[str] | None, search: _Search) -> Place | None:
        token = f"{self._pool}-{next(self._numbers)}"
        search.key = f"{SLOTS}-{token}"
        reported = self._reported[token] = asyncio.get_running_loop().create_future()
        task = self._client.submit(
            hold(self._pool, token, self._source),
            key=search.key,
            workers=allowed,
            resources=self._resources or None,
            retries=0,
            pure=False,
        )
        ended = asyncio.ensure_future(task.result())
        began = time.monotonic()
        try:
            while not (reported.done() or ended.done()):
                await asyncio.wait({reported, ended}, return_when=asyncio.FIRST_COMPLETED, timeout=_SOON_S)
                if reported.done() or ended.done():
                    break
                known = await self._known(search.memory)
                took = time.monotonic() - began
                given = await self._given(search.key, known)
                if given is not None:
                    # It takes a while where many start at once, or a task has the GIL. To try elsewhere, and
                    # give back what comes too late, would have slow machines start nothing at all.
                    known.pop(given, None)
                    if took < (_SLOW_S if given else _UNHEARD_S) or not self._free(known):
                        continue
                    self.leave_out(given)
                    break
                # Later, those are allowed again that are left out now. And Dask has given it to a worker at
                # once, whether that had a thread free or not: there it would wait, also when others have one.
                if (allowed is not None and took > _LEFT_OUT_S) or self._free(known):
                    break
            if reported.done():
                self._used[task] = reported.result()
                return Place(token, reported.result(), task)
            if not ended.done():
                return None
            error = ended.exception()
            if task.status == "error" and not isinstance(error, OSError):
                raise StartError(f"the Dask cluster has refused a slot: {error}")
            return None
        finally:
            search.key = ""
            del self._reported[token]
            ended.add_done_callback(lambda done: done.cancelled() or done.exception())
            ended.cancel()

    def leave_out(self, address: str) -> None:
        """Use no place of a Dask worker for a while: it cannot be reached, or has just been lost."""
        self._left_out[address] = time.monotonic() + _LEFT_OUT_S

    async def close(self) -> None:
        """Take the plugin away, unless the scheduler is gone."""
        client = self._client
        if self._giving:
            await asyncio.wait(self._giving, timeout=_PATIENCE_S)
        if client.status == "running":
            client.unsubscribe_topic(f"wpc-{self._pool}")
            for unregister in (client.unregister_worker_plugin, client.unregister_scheduler_plugin):
                await asyncio.wait_for(unregister(f"wpc-{self._pool}"), _PATIENCE_S)


def _has_memory(worker: dict[str, Any], memory: int) -> bool:
    """Whether the limit of a Dask worker is no less than so many bytes; 0: it has none."""
    limit: int = worker["memory_limit"]
    return not limit or limit >= memory
