"""What the definitions of a pool have in common, whatever their kind: how they are read and changed."""

from __future__ import annotations

import dataclasses
import importlib.machinery
import importlib.util
import os
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .checks import check_text, shown
from .core.core import Core
from .core.registry import Kind, Record
from .drift import SimpleConstants
from .driver.driver import Driver
from .errors import (
    InstallError,
    StartError,
)
from .local import LocalDefinitions
from .options import did_you_mean
from .source.missing import Fix, python_line
from .wire import protocol
from .worker.failure import rebuild_exception
from .worker.module_files import is_local

__all__ = ["Definitions"]


class Definitions:
    """The methods of a pool that its functions, dependencies and constants have in common.

    Parameters
    ----------
    driver : Driver
        Does the I/O of the pool.
    name : str
        The name of the pool in messages.

    Attributes
    ----------
    describe_fix : callable
        Returns the line to type that fixes a refused definition, given a `Fix`.
    local : LocalDefinitions
        The same definitions in this process.
    """

    def __init__(self, driver: Driver, name: str) -> None:
        self._driver = driver
        self.name = name
        self.describe_fix: Callable[[Fix], str] = python_line
        self.when_cell_added: Callable[[str], object] = len
        self._local: LocalDefinitions = LocalDefinitions(
            driver.changes.since, driver.changes.buffers, driver.changes.cells_in_use
        )
        self._simple = SimpleConstants()
        self._captured: set[str] = set()  # what was defined because functions need it; see `Capture`

    def _changed(self) -> None:
        """Is called after every change."""
        raise NotImplementedError

    def _replace_workers(self) -> None:
        """Replace all running workers, one after another, and return when that is done."""
        raise NotImplementedError

    def _reload(self, module: str) -> None:
        """Replace the workers, since they may have imported the module, one after another."""
        try:
            self._replace_workers()
        except StartError as error:
            raise InstallError(
                f"{module} could not be imported anew, the old one goes on: {error}"
            ) from error

    def _known(self) -> set[str]:
        with self._driver.reading() as core:
            return core.state.registry.names()

    def defined_names(self) -> set[str]:
        """Return all names that functions in the workers can use."""
        return self._known()

    def _infos(self, kind: Kind) -> list[Any]:
        with self._driver.reading() as core:
            return [_info(core, record) for record in core.state.registry.of_kind(kind)]

    def _info_of(self, name: str) -> Any:
        with self._driver.reading() as core:
            return _info(core, core.state.registry.records[name])

    def _remove(self, name: str, kind: Kind, error: type[Exception]) -> None:
        self._record(name, kind, error)
        self._change([], [name])

    def _record(self, name: str, kind: Kind, error: type[Exception]) -> Record:
        check_text("alias" if kind is Kind.DEPENDENCY else "name", name)
        with self._driver.reading() as core:
            record = core.state.registry.records.get(name)
            known = [each.name for each in core.state.registry.of_kind(kind)]
        if record is None or record.kind is not kind:
            raise error(f"no {kind.value} {shown(name)} is defined.{did_you_mean(name, known)}")
        return record

    def _change(self, records: list[Record], removed: Sequence[str] = (), what: str = "") -> None:
        """Roll out a change to all workers, or to none; `what` it is called in an error."""
        self._driver.check()
        rollout = self._driver.changes.make(records, removed)
        if _is_stale(rollout.reason):
            # A worker has imported a module that was edited since then. Its replacement has not.
            self._reload(", ".join(record.name for record in records))
            rollout = self._driver.changes.make(records, removed)
        self._changed()
        if rollout.committed:
            self._captured.difference_update(removed, (record.name for record in records))
            return
        names = what or ", ".join([*(record.name for record in records), *removed])
        host = self._driver.host_of(rollout.refused_by)
        where = f"worker {rollout.refused_by}" + (f" on {host}" if host else "")
        raise _install_error(
            f"{where} could not install {names}",
            rollout.reason,
            lambda module: self._what_mends(module, names, bool(host)),
        )

    def _what_mends(self, module: str, names: str, is_elsewhere: bool) -> str:
        """Return what helps a worker that does not find a module which is here; empty: it is not here."""
        folder = _folder_of(module)
        if not folder:
            return ""
        if not is_elsewhere:
            restart = self.describe_fix(Fix("restart", names))
            return f"It is in {folder}, where workers that have started before do not look. Type: {restart}"
        if not is_local(folder + os.sep):
            return "It is installed here, and not there"
        upload = self.describe_fix(Fix("upload", module.partition(".")[0]))
        return f"It is in {folder} here, and not there. Type: {upload}"


def _is_stale(reason: object) -> bool:
    return isinstance(reason, protocol.Failure) and reason.name.endswith(".StaleModuleError")


def _info(core: Core, record: Record) -> Any:
    """Return what the getters return about a definition, with the fields that change over time."""
    installed = core.installed_count(record)
    if record.kind is Kind.FUNCTION:
        about = record.about.info
        return dataclasses.replace(
            about,
            installed_worker_count=installed,
            revision=record.revision,
            broken=record.broken,
        )
    about = record.about.info if record.kind is Kind.RESOURCE else record.about
    has_revision = record.kind in (Kind.SETUP, Kind.RESOURCE, Kind.SHARED)
    changes = {"revision": record.revision} if has_revision else {}
    return dataclasses.replace(about, installed_worker_count=installed, broken=record.broken, **changes)


def _install_error(what: str, reason: object, what_mends: Callable[[str], str]) -> InstallError:
    """Return the error for a refused definition; its cause is the worker's exception, if there is one.

    `what_mends` is asked for what helps where a module is missing.
    """
    if not isinstance(reason, protocol.Failure):
        return InstallError(f"{what}: {reason}")
    message = f"{what}: {reason.name}: {reason.message}"
    cause = rebuild_exception(reason)
    if isinstance(cause, ModuleNotFoundError) and (mends := what_mends(cause.name or "")):
        message += f". {mends}"
    stack = reason.stack
    if cause.__traceback__ is not None:  # this process has the source lines of the cell
        stack = "".join(traceback.format_exception(cause))
    if "\n" in stack.strip():  # otherwise it only repeats the message
        message += f"\n\nIn the worker:\n{stack.rstrip()}"
    error = InstallError(message)
    error.__cause__ = cause
    return error


def _folder_of(module: str) -> str:
    """Return the folder on ``sys.path`` where this process finds a module; empty if there is none."""
    spec = importlib.machinery.PathFinder.find_spec(module.partition(".")[0]) if module else None
    if spec is None:
        return ""
    origin = spec.origin if spec.has_location else None
    found = Path(origin) if origin else Path(*list(spec.submodule_search_locations or [])[:1])
    return str(found.parent.parent if found.name == "__init__.py" else found.parent)
