"""Cells of functions in tracebacks: ``Cell In[2], line 21``, numbered as the editor shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["RunningCell", "as_in_editor"]


def as_in_editor(cell: str, whole: str) -> str:
    r"""Return the body of a cell magic with as many lines above it as in the whole cell.

    Examples
    --------
    >>> as_in_editor("def f(): pass\n", "\n%%wpc_function\ndef f(): pass")
    '\n\ndef f(): pass\n'
    """
    above, found, _ = whole.partition(cell.rstrip("\n"))
    return "\n" * above.count("\n") + cell if found else cell


class RunningCell:
    """The cell that a shell runs now.

    Parameters
    ----------
    shell : InteractiveShell
        The shell.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell: Any = shell  # IPython is mostly untyped
        self._info: Any = None

    def begin(self, info: Any) -> None:
        """Record that a cell begins, or, with None, that none runs."""
        self._info = info

    @property
    def text(self) -> str:
        """The text of the cell; empty if none runs."""
        return str(getattr(self._info, "raw_cell", ""))

    @property
    def number(self) -> int:
        """The number of the cell, as in ``In [2]``."""
        shell = self._shell
        if getattr(self._info, "store_history", False):
            # Not `execution_count`: some versions of IPython count it up before the cell runs, others after.
            return len(shell.history_manager.input_hist_parsed) - 1
        return int(shell.execution_count)

    def take(self, filename: str) -> None:
        """Have IPython show a file of workers as this cell."""
        numbers = getattr(self._shell.compile, "_filename_map", None)  # by the name of the file
        if isinstance(numbers, dict):
            numbers[filename] = self.number
