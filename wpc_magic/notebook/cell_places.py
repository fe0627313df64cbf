"""Places in cells of functions, in texts from workers: ``Cell In[2], line 3``, as in tracebacks."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["with_cell_numbers"]

_PLACE = re.compile(r'File "(<ipython-wpc> [^"\n]*)"(?=, line \d)')


def with_cell_numbers(text: str, shell: Any, running: int | None = None) -> str:
    """Return a text with the numbers of cells in the place of the files that workers take them for.

    Parameters
    ----------
    text : str
        A text with tracebacks or stacks.
    shell : InteractiveShell
        It knows the number of each cell.
    running : int, optional
        The number of the cell that runs, which was refused: of one that is not known.

    Examples
    --------
    >>> with_cell_numbers('File "<ipython-wpc> fit-1a2b", line 3, in fit', None, running=2)
    'Cell In[2], line 3, in fit'
    """
    numbers = getattr(getattr(shell, "compile", None), "_filename_map", None)  # as IPython's own tracebacks

    def place(found: re.Match[str]) -> str:
        number = numbers.get(found[1], running) if isinstance(numbers, dict) else running
        return found[0] if number is None else f"Cell In[{number}]"

    return _PLACE.sub(place, text)
