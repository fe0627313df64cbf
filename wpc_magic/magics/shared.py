"""The implementation of ``%wpc_shared``, without IPython."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wpc_magic.pool.shared.region import region_of

from .evaluation import constant_value
from .messages import DefinitionMessage, Message
from .parsing import ConstantLine, UsageMistake
from .tables import shared_kind, shared_table, size_text

if TYPE_CHECKING:
    from wpc_magic.dashboard.table import Table

    from .session import Session

__all__ = ["SharedCommands"]

_MISSING: Any = object()


class SharedCommands:
    """Makes, lists and removes arrays, counters and queues that all workers have in common.

    Parameters
    ----------
    session : Session
        What the magics share.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pool = session.pool

    def make_array(self, line: ConstantLine, namespace: dict[str, Any]) -> DefinitionMessage:
        """Share an array: the value of an expression, or of the variable of that name.

        A name that is shared already, without a value, is what the notebook has from now on by that name.
        """
        name = self._name(line)
        if line.expression is None and name in self._session.shared_names():
            return self._bind(name, namespace)
        value = constant_value(name, line.expression, namespace, "wpc_shared")
        return self._made(name, self._pool.shared(name, value))

    def make_counter(self, line: ConstantLine, namespace: dict[str, Any]) -> DefinitionMessage:
        """Make a counter, which begins at the value of the expression, or at 0."""
        name = self._name(line)
        value = 0 if line.expression is None else constant_value(name, line.expression, namespace)
        return self._made(name, self._pool.shared_counter(name, value))

    def make_queue(self, line: ConstantLine, limits: Mapping[str, int]) -> DefinitionMessage:
        """Make a queue; its limits are those of `shared_queue`."""
        name = self._name(line)
        if line.expression is not None:
            raise UsageMistake(
                f"a queue begins empty. Type for example: %wpc_shared --queue {name} --maxsize 100"
            )
        return self._made(name, self._pool.shared_queue(name, **limits))

    def _name(self, line: ConstantLine) -> str:
        if line.name is None:
            raise UsageMistake("no name is given. Type for example: %wpc_shared --counter done")
        return line.name

    def _made(self, name: str, made: Any) -> DefinitionMessage:
        (info,) = [each for each in self._pool.get_shared_objects() if each.name == name]
        text = f"{name} ({shared_kind(info)}, {size_text(info.nbytes)}) registered"
        coverage = self._session.coverage(info.installed_worker_count)
        return DefinitionMessage(f"{text}{coverage} · {name} here is the same", {name: made})

    def _bind(self, name: str, namespace: Mapping[str, Any]) -> DefinitionMessage:
        there, here = self._pool.shared(name), namespace.get(name, _MISSING)
        if here is not _MISSING and region_of(here) is not region_of(there):
            raise UsageMistake(
                f"{name} is shared already, and {name} here is something else. "
                f"To share that instead type: %wpc_shared {name} = {name}"
            )
        (info,) = [each for each in self._pool.get_shared_objects() if each.name == name]
        return DefinitionMessage(f"{name} here is what all share: {shared_kind(info)}", {name: there})

    def show(self) -> Table:
        """Return the table of what is shared, with how counters and queues stand."""
        infos = self._pool.get_shared_objects()
        return shared_table(
            infos, {info.name: self._pool.shared(info.name) for info in infos if info.kind != "array"}
        )

    def remove(self, line: ConstantLine) -> Message:
        """Remove shared objects; who has one keeps it."""
        known = self._session.shared_names()
        for name in line.delete:
            self._session.remove(name, known, "shared object", self._pool.undefine_shared, "name")
        return Message(f"{', '.join(line.delete)} removed")
