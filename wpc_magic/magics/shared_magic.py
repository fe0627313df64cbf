"""The magic of what all workers have in common."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from IPython.core.magic import magics_class

from .base import PoolMagics
from .boundary import magic
from .messages import DefinitionMessage, Message
from .options import Option, Positional
from .parsing import UsageMistake, parse_constant

if TYPE_CHECKING:
    from wpc_magic.dashboard.table import Table

    from .shared import SharedCommands

__all__ = ["SharedMagics"]

_LIMITS = ("maxsize", "max_bytes")


@magics_class
class SharedMagics(PoolMagics):
    """The magic for shared arrays, counters and queues."""

    shared: SharedCommands

    @magic(
        Option("-d --delete", "Remove these names; who has such an object keeps it."),
        Option("--counter", "Make a whole number that all count with; it begins at the value, or at 0."),
        Option("--queue", "Make a queue that all put in and take out of."),
        Option("--maxsize", "With --queue: how many items it takes; 1000 without it.", "number"),
        Option("--max-bytes", "With --queue: how many bytes its items may have; 1 MB without it.", "number"),
        words=Positional(
            "what", "The name; its value, if it is no variable.", "code", completes="shared", python=True
        ),
        scope=True,
    )
    def wpc_shared(self, line: Namespace, local_ns: dict[str, Any] | None = None) -> Message | Table:
        """Share an array, a counter or a queue, which the notebook and all workers change in place.

        The name is bound in the notebook, too. ``with grid.lock:`` keeps others out. Without a word they are
        listed. Examples::

            %wpc_shared grid = np.zeros((2, 3))
            %wpc_shared table
            %wpc_shared --counter done
            %wpc_shared --queue todo --maxsize 100
            %wpc_shared -d grid
        """
        example = "grid = np.zeros(10)"
        what = parse_constant(
            line.what, delete=line.delete, magic="wpc_shared", kind="shared object", example=example
        )
        limits = {name: value for name in _LIMITS if (value := getattr(line, name)) is not None}
        if limits and not line.queue:
            raise UsageMistake(f"--{next(iter(limits)).replace('_', '-')} is for --queue")
        if line.delete + line.counter + line.queue > 1:
            raise UsageMistake("-d, --counter and --queue do not go together")
        if line.delete:
            return self.shared.remove(what)
        if line.counter:
            return self._bound(self.shared.make_counter(what, self.names(local_ns)))
        if line.queue:
            return self._bound(self.shared.make_queue(what, limits))
        if what.name is None:
            return self.shared.show()
        return self._bound(self.shared.make_array(what, self.names(local_ns)))

    def _bound(self, made: DefinitionMessage) -> Message:
        self.shell.push(dict(made.names))
        return made
