"""Local modules that have changed are imported anew by the workers, while ``%autoreload`` is on."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from wpc_magic.pool.errors import WpcError
from wpc_magic.pool.worker.module_files import is_local, version

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from wpc_magic.pool import WorkerProcedureCall

__all__ = ["ChangedModules"]

_Versions = dict[str, tuple[int, int] | None]


class ChangedModules:
    """Watches the files of local dependencies, and defines those again whose files have changed.

    A worker that has imported an older version refuses that definition and is replaced, as it always is; one
    that has not goes on.

    Parameters
    ----------
    shell : InteractiveShell
        The shell, in which ``%autoreload`` may be on.
    pool : WorkerProcedureCall
        The pool.
    """

    def __init__(self, shell: InteractiveShell, pool: WorkerProcedureCall) -> None:
        self._shell: Any = shell  # IPython is mostly untyped
        self._pool = pool
        self._seen: dict[str, _Versions] = {}  # by the modules that workers may have imported

    def begin_cell(self) -> None:
        """Have the workers import anew what has changed, before the cell makes calls."""
        reloader = self._reloader()
        if reloader is None or not self._pool.is_running:
            return
        changed = {}
        for module, seen in self._seen.items():
            if _is_watched(module, reloader):
                now = _versions(_files_of(module))
                paths = [path for path in {**seen, **now} if seen.get(path, now.get(path)) != now.get(path)]
                self._seen[module] = now
                if paths:
                    changed[module] = paths[0]
        if changed:
            try:
                reloader.check()  # the notebook's own modules first: functions are taken from these
            except Exception:  # which it tells by itself, for each module
                pass
            self._define_again(changed)

    def end_cell(self) -> None:
        """Take note of the modules that the cell has made dependencies."""
        if not self._pool.is_running:
            self._seen.clear()
            return
        modules = self._modules()
        for module in modules - self._seen.keys():
            self._seen[module] = _versions(_files_of(module))
        for module in self._seen.keys() - modules:
            del self._seen[module]

    def _reloader(self) -> Any:
        """Return what ``%autoreload`` works with; None if it is off."""
        magics = self._shell.magics_manager.registry.get("AutoreloadMagics")
        reloader = getattr(magics, "_reloader", None)
        return reloader if getattr(reloader, "enabled", False) else None

    def _modules(self) -> set[str]:
        found = {each.module_specifier for each in self._pool.get_worker_dependencies()}
        return found | set(self._pool.referenced_modules().values())

    def _define_again(self, changed: dict[str, str]) -> None:
        pool = self._pool
        before = {worker.pid for worker in pool.snapshot().workers}
        try:
            for each in pool.get_worker_dependencies():
                if each.module_specifier in changed:
                    pool.import_again(each.alias)
            for name, module in pool.referenced_modules().items():
                if module in changed:
                    pool.refer_again(name)
        except WpcError as error:
            sys.stdout.write(f"{error}\n")
            return
        if {worker.pid for worker in pool.snapshot().workers} != before:
            files = ", ".join(sorted({os.path.basename(path) for path in changed.values()}))
            modules = ", ".join(sorted(changed))
            sys.stdout.write(f"changed: {files} · new workers import {modules} anew\n")


def _is_watched(module: str, reloader: Any) -> bool:
    """Return whether ``%autoreload`` reloads a module: all of them, or those of ``%aimport``."""
    if module in getattr(reloader, "skip_modules", ()):
        return False
    return bool(getattr(reloader, "check_all", True)) or module in getattr(reloader, "modules", ())


def _versions(paths: Iterable[str]) -> _Versions:
    return {path: version(path) for path in paths}


def _files_of(module: str) -> Iterator[str]:
    """Yield the files that a local module may consist of: those beside it, or those of its package."""
    top = module.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return
    folders = list((spec and spec.submodule_search_locations) or [])
    if folders:
        for folder in folders:
            if is_local(folder + os.sep):
                for parent, _, names in os.walk(folder):
                    yield from (os.path.join(parent, name) for name in names if name.endswith(".py"))
    elif spec is not None and spec.origin is not None and spec.has_location and is_local(spec.origin):
        with os.scandir(os.path.dirname(spec.origin) or ".") as found:
            yield from (entry.path for entry in found if entry.name.endswith(".py"))
    else:
        return
    # What they import in turn may lie elsewhere; here it is known if the notebook has imported it, too.
    for other in list(sys.modules.values()):
        file = getattr(other, "__file__", None)
        if isinstance(file, str) and file.endswith(".py") and is_local(file):
            yield file
