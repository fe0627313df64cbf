"""The measures of clusters, with stand-ins for Dask, Ray and the pool, which run everything at once."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.benchmarks import work
from tests.benchmarks.measures import clusters

SIZES = {"calls": 10, "burst": 20, "items": 30, "rounds": 1, "limit_s": 0.01}


class Client:
    """Dask's client."""

    def submit(self, function: Callable[..., Any], *args: Any, pure: bool) -> Any:
        assert not pure
        return function(*args)

    def map(self, function: Callable[..., Any], items: range, pure: bool) -> list[Any]:
        return [self.submit(function, item, pure=pure) for item in items]

    def gather(self, futures: list[Any]) -> list[Any]:
        return list(futures)


class Pool:
    """Our pool."""

    class _Calls:
        def __getitem__(self, name: str) -> Callable[..., Any]:
            return lambda *args: SimpleNamespace(result=lambda: getattr(work, name)(*args))

    call = _Calls()

    def map(self, name: str, items: range) -> Iterator[Any]:
        return map(getattr(work, name), items)


class Ray(ModuleType):
    """Ray, which is initialized once, and shut down."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.__spec__ = ModuleSpec("ray", None)
        self.said: list[str] = []

    def init(self, num_cpus: int, **options: Any) -> None:
        self.said.append(f"init {num_cpus}")

    def shutdown(self) -> None:
        self.said.append("shutdown")

    def remote(self, function: Callable[..., Any]) -> Any:
        return SimpleNamespace(remote=function)

    def get(self, references: list[Any]) -> list[Any]:
        return list(references)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Have clusters and pools be stand-ins; return with which options pools were opened."""
    opened: list[dict[str, Any]] = []

    @contextlib.contextmanager
    def pool(contestant: Any, **options: Any) -> Iterator[Pool]:
        opened.append(options)
        yield Pool()

    monkeypatch.setattr(clusters, "_cluster", lambda: contextlib.nullcontext(Client()))
    monkeypatch.setattr(clusters, "_pool", pool)
    return opened


def rows_of(name: str) -> set[str]:
    (measure,) = (each for each in clusters.MEASURES if each.name == name)
    return set(measure.keys)


def test_our_pool_on_dask_is_beside_tasks_of_dask_and_a_local_pool(opened: list[dict[str, Any]]) -> None:
    found = clusters.on_dask(None, **SIZES)
    assert set(found) == rows_of("dask")
    assert all(took > 0 for took in found.values())
    assert [each.get("engine") for each in opened] == ["dask", None]


def test_our_pool_on_dask_is_beside_tasks_of_ray(
    opened: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = Ray()
    monkeypatch.setitem(sys.modules, "ray", ray)
    found = clusters.on_ray(None, **SIZES)
    assert set(found) == rows_of("ray")
    assert all(took > 0 for took in found.values())
    assert ray.said == [f"init {clusters.WORKERS}", "shutdown"]
    assert [each.get("engine") for each in opened] == ["dask"]
