"""The implementation of ``%%wpc_setup``, without IPython."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wpc_magic.pool.source.draft import look_in

from .messages import Message
from .parsing import UsageMistake
from .tables import plural

if TYPE_CHECKING:
    from wpc_magic.pool import WorkerProcedureCall

__all__ = ["SetupCommands"]

_NONE = "no setup is defined; %%wpc_setup, and code under it, defines one"


class SetupCommands:
    """Defines, shows and removes the setup of workers.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    """

    def __init__(self, pool: WorkerProcedureCall) -> None:
        self._pool = pool

    def define(self, source: str, namespace: Mapping[str, Any]) -> Message:
        """Define the setup; for an unknown name, `namespace` says what to write in it."""
        before = self._processes()
        info = self._pool.define_worker_setup(source, look=look_in(namespace))
        if not self._pool.is_running:
            text = "each worker that starts runs the setup first"
        else:
            text = f"the setup has run in {plural(info.installed_worker_count, 'worker')}"
            if before != self._processes():
                text += ", which were replaced for it, one after another"
        names = f" · names in every cell: {', '.join(info.names)}" if info.names else ""
        return Message(text + names)

    def show(self) -> Message:
        """Return the text of the setup."""
        info = self._pool.get_worker_setup()
        if info is None:
            return Message(_NONE)
        broken = [f"no worker could run it: {info.broken}"] if info.broken else []
        return Message("\n".join([info.source.strip("\n"), *broken]))

    def remove(self) -> Message:
        """Remove the setup."""
        if self._pool.get_worker_setup() is None:
            raise UsageMistake(_NONE)
        self._pool.undefine_worker_setup()
        replaced = "; the workers were replaced, one after another" if self._pool.is_running else ""
        return Message(f"the setup is removed{replaced}")

    def _processes(self) -> list[int | None]:
        return [worker.pid for worker in self._pool.snapshot().workers]
