"""Something to do once a module is imported, without importing it."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

__all__ = ["when_imported"]

_waiting: dict[str, list[Callable[[ModuleType], object]]] = {}


def when_imported(name: str, action: Callable[[ModuleType], object]) -> None:
    """Call `action` with a module: now if it is loaded, else right after its code has run.

    Parameters
    ----------
    name : str
        The module's full name.
    action : callable
        What it raises is raised by the import.
    """
    module = sys.modules.get(name)
    if module is not None:
        action(module)
        return
    if not _waiting:
        sys.meta_path.insert(0, _Finder)
    _waiting.setdefault(name, []).append(action)


class _Finder:
    """A `sys.meta_path` finder that has the others find a module, and announces when it is loaded."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        if name not in _waiting:
            return None
        for finder in list(sys.meta_path):
            find: Any = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if finder is not _Finder and find is not None else None
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader:
    """Loads one module by its own loader, and calls what waits for it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        for action in _waiting.pop(module.__name__, ()):
            action(module)
        if not _waiting and _Finder in sys.meta_path:
            sys.meta_path.remove(_Finder)
