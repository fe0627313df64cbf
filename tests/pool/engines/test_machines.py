"""Machines of a cluster that run something else than this one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.pool.engines.clusters import local_cluster
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.engines import versions
from wpc_magic.pool.engines.dask import engine, hosts
from wpc_magic.pool.engines.versions import Versions, VersionsWarning
from wpc_magic.pool.errors import StartError

pytestmark = pytest.mark.leaves(reason="a client of Dask keeps connections for later")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with local_cluster(workers=1, threads=2) as client:
        yield client


@pytest.fixture
def pool(client: Any) -> Iterator[WorkerProcedureCall]:
    pool = WorkerProcedureCall(engine="dask", client=client, max_restarts_per_worker=0)
    pool.define_worker_functions("def double(x): return 2 * x")
    yield pool
    pool.stop_workers()


def pretend(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Have this process think that it runs something else."""
    here = Versions(*versions.versions_here(["cloudpickle"]))
    for module in (engine, hosts):
        monkeypatch.setattr(module, "own_versions", lambda: here._replace(**changes))


def test_another_minor_version_of_python_refuses_the_start_with_the_table(
    pool: WorkerProcedureCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, python=(3, 9, 1))
    with pytest.raises(StartError) as info:
        pool.start_workers(1)
    assert "must run cpython 3.9, as this process does: functions cannot travel otherwise" in str(info.value)
    assert str(info.value).splitlines()[-1].startswith("Python  3.9.1")
    assert not pool.is_running


def test_other_releases_are_told_once_with_the_table(
    pool: WorkerProcedureCall, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, releases={"cloudpickle": "2.0.0", "not-there": "1.0"})
    with pytest.warns(VersionsWarning, match="the machines of the cluster run other versions") as caught:
        pool.start_workers(1)
    assert [line.split()[:2] for line in str(caught[0].message).splitlines()[2:]] == [
        ["cloudpickle", "2.0.0"],
        ["not-there", "1.0"],
    ]
    assert caught[0].filename == __file__
    assert pool.call.double(2).result() == 4
    pool.restart_workers()
    pool.wait_until_ready()  # nothing is told again: warnings are errors
