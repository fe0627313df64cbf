"""The implementation of ``%%wpc_resource``, without IPython."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wpc_magic.pool.source.draft import look_in

from .messages import Message
from .parsing import UsageMistake
from .tables import resource_table

if TYPE_CHECKING:
    from wpc_magic.dashboard.table import Table

    from .session import Session

__all__ = ["ResourceCommands"]

_EXAMPLE = "Type for example: %%wpc_resource db"


class ResourceCommands:
    """Defines, lists and removes resources.

    Parameters
    ----------
    session : Session
        What the magics share.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pool = session.pool

    def define(
        self,
        source: str,
        names: Sequence[str],
        eager: bool,
        timeout_ms: int | None,
        namespace: Mapping[str, Any],
    ) -> Message:
        """Define a resource; for an unknown name, `namespace` says what to type."""
        if len(names) != 1:
            raise UsageMistake(f"a resource has one name. {_EXAMPLE}")
        info = self._pool.define_worker_resource(
            names[0], source, eager=eager, timeout_ms=timeout_ms, look=look_in(namespace)
        )
        parts = [f"{info.name} registered{self._session.coverage(info.installed_worker_count)}"]
        if not info.eager:
            parts.append("each makes it for the first call that needs it")
        elif info.installed_worker_count:
            parts.append("each has made it")
        else:
            parts.append("each worker makes it when it starts")
        if info.requires:
            parts.append("needs " + ", ".join(info.requires))
        return Message(" · ".join(parts))

    def show(self, names: Sequence[str]) -> Message | Table:
        """Return the table of the resources, or the texts of those that are named."""
        if not names:
            return resource_table(self._pool.get_worker_resources())
        return Message("\n\n".join(self._text(name) for name in names))

    def _text(self, name: str) -> str:
        self._session.check_known(name, self._session.resource_names(), "resource")
        return self._pool.resource_source(name).strip("\n") or f"{name} was made of a function without a text"

    def remove(self, names: Sequence[str]) -> Message:
        """Remove resources, which closes them."""
        if not names:
            raise UsageMistake("name what is to be removed. Type: %wpc_resource -d NAME")
        known = self._session.resource_names()
        for name in names:
            self._session.remove(name, known, "resource", self._pool.undefine_worker_resource, "name")
        return Message(f"{', '.join(names)} removed")
