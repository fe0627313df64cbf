"""Dask clusters for tests: on this machine, small, and without a dashboard."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.far_network import FarNetwork
from tests.proxy import Proxy

__all__ = ["Scheduler", "dask_worker", "free_port", "local_cluster", "proxied_hosts"]

_QUIET = {"DASK_DISTRIBUTED__ADMIN__LOG_FORMAT": "%(message)s", "DASK_LOGGING__DISTRIBUTED": "error"}


@contextlib.contextmanager
def local_cluster(workers: int = 2, threads: int = 2, **options: Any) -> Iterator[Any]:
    """Yield a client of a cluster whose workers are processes."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            processes=True,
            dashboard_address=":0",
            silence_logs=50,
            **options,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


@contextlib.contextmanager
def proxied_hosts() -> Iterator[list[Proxy]]:
    """Yield what lies between pools and the hosts that they reach from now on, in that order."""
    from wpc_magic.pool.engines.dask.hosts import Host

    with contextlib.ExitStack() as closes, pytest.MonkeyPatch.context() as patch:
        proxies: list[Proxy] = []
        connect = Host._connect

        async def connect_through_a_proxy(host: Host) -> None:
            proxy = closes.enter_context(Proxy((host._told["bind"], host._told["port"])))
            proxies.append(proxy)
            host._told = {**host._told, "bind": proxy.address[0], "port": proxy.address[1]}
            await connect(host)

        patch.setattr(Host, "_connect", connect_through_a_proxy)
        yield proxies


def free_port() -> int:
    """Return a port that is free now, and that the system gives to nobody who asks for any.

    A scheduler that is started again needs the same one. Meanwhile clients try to reach it: from a port that
    the system chooses, which must not be that very one.
    """
    for port in random.sample(range(20_000, 30_000), 1_000):
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


class Scheduler:
    """A scheduler in a process of its own, as ``dask scheduler`` starts it.

    Parameters
    ----------
    folder : Path
        Where it writes the file with its address, and its log.
    port : int
        Where it listens; 0: anywhere.
    far : FarNetwork, optional
        Where it runs.
    """

    def __init__(self, folder: Path, port: int = 0, far: FarNetwork | None = None) -> None:
        self.file = folder / "scheduler.json"
        self._folder = folder
        more = ["--port", str(port), "--scheduler-file", str(self.file)]
        self.process = _dask(folder, "scheduler", *more, far=far)

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def dask_worker(
    folder: Path, file: Path, threads: int = 1, *more: str, far: FarNetwork | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start ``dask worker``, with `more` options; end it at the end of the block."""
    arguments = ["--nthreads", str(threads), "--no-nanny", "--scheduler-file", str(file), "--no-dashboard"]
    process = _dask(folder, "worker", *arguments, "--local-directory", str(folder), *more, far=far)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _dask(folder: Path, *arguments: str, far: FarNetwork | None) -> subprocess.Popen[bytes]:
    with open(folder / "log.txt", "ab") as log:
        return subprocess.Popen(
            [
                *(far.inside if far else ()),
                sys.executable,
                "-m",
                "distributed.cli.dask_" + arguments[0],
                *arguments[1:],
                "--host",
                far.address if far else "127.0.0.1",
            ],
            stdout=log,
            stderr=log,
            env={**os.environ, **_QUIET},
            start_new_session=True,
        )
