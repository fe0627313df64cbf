"""The engines that the contract suite runs on, each as a place where pools are made."""

from __future__ import annotations

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol

from tests.pool.engines.clusters import Scheduler, dask_worker

__all__ = ["ENGINES", "Place"]


class Place(Protocol):
    """Where the workers of pools live.

    Attributes
    ----------
    options : mapping
        What a pool is made with to have its workers there; all of it can be written as Python.
    shares_memory : bool
        Whether workers map the memory of this process.
    """

    options: dict[str, Any]
    shares_memory: bool

    def close(self) -> None: ...


class Local:
    """This machine, as it is without any option."""

    options: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it
    shares_memory = True

    def close(self) -> None:
        pass


class Dask:
    """A cluster as one starts it by hand: a scheduler, and two workers with room for eight slots in all."""

    shares_memory = False

    def __init__(self) -> None:
        from distributed import Client

        with ExitStack() as undo:
            folder = Path(tempfile.mkdtemp(prefix="dask-"))
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            scheduler = Scheduler(folder)
            undo.callback(scheduler.end)
            for number in (1, 2):
                own = folder / str(number)
                own.mkdir()
                undo.enter_context(dask_worker(own, scheduler.file, threads=4))
            with Client(scheduler_file=str(scheduler.file), set_as_default=False) as client:
                client.wait_for_workers(2, timeout=60)
            self.options = {"engine": "dask", "address": json.loads(scheduler.file.read_text())["address"]}
            self._ends = undo.pop_all()

    def close(self) -> None:
        self._ends.close()


ENGINES: dict[str, Callable[[], Place]] = {"local": Local}
if importlib.util.find_spec("distributed"):
    ENGINES["dask"] = Dask
