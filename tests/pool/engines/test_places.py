"""How places for workers are found, with a scheduler that answers as a test wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from wpc_magic.pool.engines.dask import places
from wpc_magic.pool.engines.dask.places import Place, Places


class Task:
    """What `Client.submit` returns: it never ends."""

    status = "pending"

    async def result(self) -> None:
        await asyncio.Event().wait()


class Cluster:
    """A client, and its scheduler, which counts time in questions.

    Parameters
    ----------
    threads : dict
        The threads of each Dask worker.
    """

    status = "running"

    def __init__(self, threads: dict[str, int]) -> None:
        self.scheduler = self
        self.scheduler_comm: Any = None
        self.threads = threads
        self.given: dict[str, list[str]] = {address: [] for address in threads}
        self.submitted: list[str] = []
        self.allowed: list[list[str] | None] = []
        self.asked = asyncio.Event()

    def submit(self, hold: Any, *, key: str, workers: list[str] | None, **options: Any) -> Task:
        self.submitted.append(key)
        self.allowed.append(workers)
        return Task()

    async def identity(self, n_workers: int) -> dict[str, Any]:
        self.asked.set()
        return {"workers": {address: self.worker(address) for address in self.threads}}

    def worker(self, address: str) -> dict[str, Any]:
        metrics: dict[str, Any] = {}  # as before its next heartbeat
        told = {"memory_limit": 0, "resources": {}, "status": "running", "metrics": metrics}
        return {**told, "nthreads": self.threads[address]}

    async def processing(self, workers: None) -> dict[str, list[str]]:
        return self.given

    async def get_task_status(self, keys: list[str]) -> dict[str, str | None]:
        given = [key for tasks in self.given.values() for key in tasks]
        return {key: "processing" if key in given else None for key in keys}

    async def rounds(self, count: int) -> None:
        """Let so many questions be asked."""
        for _ in range(count):
            self.asked.clear()
            await self.asked.wait()


class Search:
    """The search for one place, which runs."""

    def __init__(self, cluster: Cluster) -> None:
        self.places = Places(cluster, "pool", "", (), {})
        self.waits = 0
        self.task = asyncio.ensure_future(self.places.find(0, self._waits))

    def _waits(self) -> None:
        self.waits += 1

    def report(self, key: str, address: str) -> None:
        self.places._on_report((0, {"token": key.removeprefix("wpc-slot-"), "address": address}))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_SOON_S", 0.001)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


@pytest.mark.parametrize("is_given", [False, True], ids=["of the scheduler", "of the Dask worker"])
def test_a_task_that_is_slow_to_begin_is_awaited_and_nobody_says_that_there_is_no_place(
    is_given: bool,
) -> None:
    async def test() -> None:
        cluster = Cluster({"a": 2, "b": 2})
        search = Search(cluster)
        await cluster.rounds(3)
        (key,) = cluster.submitted
        if is_given:
            cluster.given["a"].append(key)
        await cluster.rounds(10)
        search.report(key, "a")
        place = await search.task
        assert isinstance(place, Place)
        assert place.address == "a"
        assert cluster.submitted == [key]
        assert search.waits == 0

    run(test())


def test_a_task_behind_others_is_given_up_when_another_dask_worker_has_room() -> None:
    async def test() -> None:
        cluster = Cluster({"a": 1})
        search = Search(cluster)
        await cluster.rounds(3)
        (first,) = cluster.submitted
        cluster.given["a"] += ["of somebody else", first]
        cluster.threads["b"] = 1
        while len(cluster.submitted) == 1:
            await cluster.rounds(1)
        search.report(cluster.submitted[-1], "b")
        assert (await search.task).address == "b"

    run(test())


def test_a_dask_worker_that_begins_nothing_for_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        cluster = Cluster({"a": 1, "b": 1})
        search = Search(cluster)
        await cluster.rounds(3)
        (first,) = cluster.submitted
        cluster.given["a"].append(first)
        await cluster.rounds(3)
        assert len(cluster.submitted) == 1
        monkeypatch.setattr(places, "_SLOW_S", 0.0)
        while len(cluster.submitted) == 1:
            await cluster.rounds(1)
        assert cluster.allowed[1] == ["b"]
        search.report(cluster.submitted[1], "b")
        assert (await search.task).address == "b"

    run(test())


def test_it_is_said_once_that_there_is_no_place() -> None:
    async def test() -> None:
        cluster = Cluster({})
        search = Search(cluster)
        while not search.waits:
            await cluster.rounds(1)
        await cluster.rounds(5)
        assert search.waits == 1
        search.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await search.task

    run(test())
