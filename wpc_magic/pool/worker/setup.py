"""The setup in a worker: code that it has run before anything else, whose names all cells find."""

from __future__ import annotations

from wpc_magic.pool.wire.protocol import SetupCell
from wpc_magic.pool.worker.namespaces import Binding

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

    from wpc_magic.pool.worker.namespaces import Namespace

__all__ = ["add_setup", "drop_setup", "provide"]

_HELD = "__wpc_setup__"
"""The name of its module among the names of an epoch."""


def add_setup(names: dict[str, Binding], record: SetupCell, module: Any, namespace: Namespace) -> None:
    """Add a setup that has run to the names of an epoch."""
    names[_HELD] = Binding(record, module, namespace)
    provide(names)


def drop_setup(names: dict[str, Binding], removed: Collection[str]) -> None:
    """Drop the setup of an epoch, and what it provides, if it is among the removed definitions."""
    held = names.get(_HELD)
    if held is None or held.record.name not in removed:
        return
    for name in [name for name, binding in names.items() if type(binding.record) is SetupCell]:
        del names[name]


def provide(names: dict[str, Binding]) -> None:
    """Add what the setup provides, where no definition has that name."""
    held = names.get(_HELD)
    if held is None:
        return
    assert held.namespace is not None
    own = held.namespace.own
    for name in held.record.provides:
        if name in own and name not in names:
            names[name] = Binding(held.record, own[name])
