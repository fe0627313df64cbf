"""PyYAML in a worker: it asks for the exact type of a value, so it has to be told of read-only containers."""

from __future__ import annotations

from wpc_magic.pool.wire.lazy_import import INTERPRETER_PATH
from wpc_magic.pool.worker.import_hooks import when_imported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["teach_yaml"]

_taught = False


def teach_yaml(kinds: Mapping[type, type]) -> None:
    """Make PyYAML write read-only containers as the plain ones, in a worker, also if it is imported later.

    Parameters
    ----------
    kinds : mapping
        The read-only types by the plain ones.
    """
    global _taught
    if _taught or not INTERPRETER_PATH:  # empty: this is no worker
        return
    _taught = True
    when_imported("yaml.representer", lambda module: _register(module, kinds))


def _register(module: Any, kinds: Mapping[type, type]) -> None:
    for name in ("SafeRepresenter", "Representer"):
        representer = getattr(module, name, None)
        known = getattr(representer, "yaml_representers", {})
        for plain, kind in kinds.items():
            if representer is not None and plain in known:
                representer.add_representer(kind, known[plain])
