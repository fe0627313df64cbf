"""The implementation of ``%wpc_cache``, without IPython."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wpc_magic.dashboard.table import Table

from .messages import Message
from .parsing import UsageMistake
from .tables import plural, size_text

if TYPE_CHECKING:
    from wpc_magic.pool import WorkerProcedureCall

__all__ = ["cache_command"]


def cache_command(pool: WorkerProcedureCall, names: Sequence[str], delete: bool) -> Message | Table:
    """List what the results cache of a pool holds, or clear it.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    names : sequence of str
        The functions to clear; none: all.
    delete : bool
        Whether it is cleared.

    Raises
    ------
    UsageMistake
        If there are names, but nothing is to be cleared.
    """
    if delete:
        removed = pool.clear_cached_results(*names)
        count, size = sum(each.entries for each in removed), sum(each.size for each in removed)
        return Message(f"{plural(count, 'stored value')} removed ({size_text(size)})")
    if names:
        raise UsageMistake(f"names are for removing. Type: %wpc_cache -d {' '.join(names)}")
    rows = [(each.name, each.entries, size_text(each.size), each.hits) for each in pool.get_cached_results()]
    empty = "Nothing is stored: %%wpc_function --cache stores the values of functions."
    return Table(("function", "entries", "size", "hits"), rows, caption="" if rows else empty)
