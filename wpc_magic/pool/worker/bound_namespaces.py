"""All namespaces of a worker, in which the names of one epoch are bound."""

from __future__ import annotations

import builtins

from wpc_magic.pool.worker.namespaces import Namespace
from wpc_magic.pool.worker.rich_output import display

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import KeysView, Mapping
    from typing import Any

    from wpc_magic.pool.worker.namespaces import Binding

__all__ = ["BoundNamespaces"]


class BoundNamespaces:
    """The namespaces of cells and functions, and the builtins of cells.

    Cells find the names of the registry among their globals. Those of dropped modules find them among the
    builtins: methods of old objects read the same state as all others.

    Attributes
    ----------
    builtins : Namespace
        What every cell has as its builtins.
    """

    def __init__(self) -> None:
        found = {"display": display, **vars(builtins)}  # a notebook has its own
        self.builtins = Namespace("builtins", found, (), vars(builtins), open_to_all=True)
        self._namespaces: dict[str, Namespace] = {}
        self._new: list[Namespace] = []  # which are bound fully with the next epoch
        self._bound: dict[str, Binding] = {}  # in all others

    def get(self, name: str) -> Namespace | None:
        """Return a namespace by its name; None if it is not here."""
        return self._namespaces.get(name)

    def names(self) -> KeysView[str]:
        """Return the names of all namespaces."""
        return self._namespaces.keys()

    def add(self, namespace: Namespace) -> Namespace:
        """Add a namespace; its names are bound with the next epoch."""
        self._namespaces[namespace.name] = namespace
        self._new.append(namespace)
        return namespace

    def drop(self, name: str, release: bool) -> None:
        """Drop a namespace, and release its names if nobody else may read them."""
        namespace = self._namespaces.pop(name)
        self._new = [each for each in self._new if each is not namespace]
        if release:
            namespace.release(self._bound)

    def bind(self, names: Mapping[str, Binding]) -> None:
        """Bind names in all namespaces that were bound before."""
        before = self._bound
        changes: dict[str, Binding | None] = {n: b for n, b in names.items() if before.get(n) is not b}
        changes.update(dict.fromkeys(before.keys() - names.keys()))
        if changes:
            self.update(changes)
            self._bound = dict(names)

    def bind_all(self, names: Mapping[str, Binding]) -> None:
        """Bind names in all namespaces, also those added since `settle`."""
        self.bind(names)
        for namespace in self._new:
            namespace.bind(names)

    def settle(self) -> None:
        """Count those that were added as bound."""
        self._new.clear()

    def update(self, changes: Mapping[str, Any]) -> None:
        """Bind the names that have changed, in all namespaces; None: the registry has the name no more."""
        for namespace in (self.builtins, *self._namespaces.values()):
            namespace.update(changes)
