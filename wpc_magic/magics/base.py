"""What the magics of all modules have in common: the session, the notebook's names, and how they answer."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from IPython.core.magic import Magics, magics_class

from wpc_magic.pool.errors import DefinitionError

from .parsing import parse_names

if TYPE_CHECKING:
    from .session import Session

__all__ = ["PoolMagics", "with_those_of_its_bases"]

Kind = TypeVar("Kind", bound=type[Magics])


@magics_class
class PoolMagics(Magics):
    """The base class of magics, each module of which is a class of its own.

    Attributes
    ----------
    session : Session
        What the magics do, without IPython.
    flush_output : callable
        Called after each magic: sends the workers' output to the cell.
    running_cell : callable
        Returns the text of the cell that runs.
    cell_number : callable
        Returns its number.
    """

    quiet: Any  # a setting
    shell: Any  # IPython is mostly untyped
    session: Session
    flush_output: Callable[[], None]
    running_cell: Callable[[], str] = staticmethod(str)
    cell_number: Callable[[], int]

    def names(self, local_ns: dict[str, Any] | None) -> dict[str, Any]:
        """Return the namespace for code on a magic's line; `local_ns` is that of an enclosing function."""
        user_ns: dict[str, Any] = self.shell.user_ns
        return user_ns if local_ns is None or local_ns is user_ns else {**user_ns, **local_ns}

    def running_number(self, error: Exception) -> int | None:
        """Return the number of the cell that runs, if an error is about its text; else None."""
        return self.cell_number() if isinstance(error, DefinitionError) else None

    def print_message(self, text: str) -> None:
        """Print the message of a magic."""
        if not self.quiet:
            sys.stdout.write(text + "\n")

    def store(self, name: str | None, value: Any) -> Any:
        """Return the value to show, or store it in a variable and show nothing."""
        if name is None:
            return value
        (name,) = parse_names(name, "%wpc_call -o result simulate(10)")
        self.shell.push({name: value})
        return None


def with_those_of_its_bases(kind: Kind) -> Kind:
    """Have a class of magics register those of its base classes, too; IPython takes the class's own only."""
    tables = [vars(each)["magics"] for each in reversed(kind.__mro__) if "magics" in vars(each)]
    kind.magics = {
        where: {name: run for table in tables for name, run in table.get(where, {}).items()}
        for where in ("line", "cell")
    }
    return kind
