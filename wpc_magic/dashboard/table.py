"""A small table, shown as HTML in a notebook and as text in a terminal."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["Table", "truncated"]

MAX_WIDTH = 100
"""The maximum width of one cell in a terminal, in columns; a notebook wraps instead."""

# Only CSS that survives sanitizing in an untrusted notebook, and no colours: the page's theme provides them.
_LEFT = "text-align: left; vertical-align: top"
_RIGHT = "text-align: right; vertical-align: top; white-space: nowrap; font-variant-numeric: tabular-nums"


class Table:
    """Rows under named columns.

    Parameters
    ----------
    columns : sequence of str
        The names of the columns.
    rows : sequence of sequence
        The cells of each row, shown by `str`. A column of numbers is aligned to the right.
    caption : str
        A line above the table; a table without rows is shown as its caption alone.

    Examples
    --------
    >>> Table(["worker", "state"], [[1, "ready"], [12, "failed"]], caption="wpc running")
    wpc running
    worker  state
    ──────  ──────
         1  ready
        12  failed
    """

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], caption: str = "") -> None:
        self.columns = columns
        self.rows = rows
        self.caption = caption

    def __repr__(self) -> str:
        if not self.rows:
            return _printable(self.caption) or "(empty)"
        numeric = self._numeric_columns()
        cells = [[truncated(_printable(str(cell))) for cell in row] for row in [self.columns, *self.rows]]
        widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
        lines = [self._line(row, widths, numeric) for row in cells]
        lines.insert(1, "  ".join("─" * width for width in widths))
        return "\n".join([_printable(self.caption), *lines] if self.caption else lines)

    @staticmethod
    def _line(cells: Iterable[str], widths: Iterable[int], numeric: Iterable[bool]) -> str:
        padded = (
            " " * (width - _width(cell)) + cell if is_numeric else cell + " " * (width - _width(cell))
            for cell, width, is_numeric in zip(cells, widths, numeric, strict=True)
        )
        return "  ".join(padded).rstrip()

    def _repr_html_(self) -> str:
        caption = html.escape(self.caption)
        if not self.rows:
            return f"<p>{caption or '(empty)'}</p>"
        styles = [_RIGHT if is_numeric else _LEFT for is_numeric in self._numeric_columns()]
        head = "".join(
            f'<th scope="col" style="{style}">{html.escape(name)}</th>'
            for name, style in zip(self.columns, styles, strict=True)
        )
        body = "\n".join(
            "<tr>"
            + "".join(
                f'<td style="{style}">{html.escape(str(cell))}</td>'
                for cell, style in zip(row, styles, strict=True)
            )
            + "</tr>"
            for row in self.rows
        )
        above = f'<caption style="{_LEFT}">{caption}</caption>\n' if caption else ""
        return (
            f'<table class="wpc-table">\n{above}<thead><tr>{head}</tr></thead>\n'
            f"<tbody>\n{body}\n</tbody>\n</table>"
        )

    def _numeric_columns(self) -> list[bool]:
        """Return for each column whether it is numeric: its cells are numbers or empty, with a number."""
        return [
            any(map(_is_number, column)) and all(_is_number(cell) or cell == "" for cell in column)
            for column in zip(*self.rows, strict=True)
        ]


_NUMBER = re.compile(r"\d+(\.\d+)?( (%|µs|ms|s|min|h|B|kB|MB|GB)( \d+ (s|min))?)?")


def _is_number(cell: Any) -> bool:
    """Return whether a cell is a number, or the text of a number with a unit."""
    if isinstance(cell, int | float):
        return not isinstance(cell, bool)
    return _NUMBER.fullmatch(str(cell)) is not None


def _printable(text: str) -> str:
    r"""Return one line, with control characters escaped so that a terminal does not interpret them.

    Examples
    --------
    >>> print(_printable("two\nlines \x1b[31mred"))
    two lines \x1b[31mred
    """
    return "".join(
        char if char.isprintable() else " " if char in "\n\r\t" else ascii(char)[1:-1] for char in text
    )


def _width(text: str) -> int:
    """Return the width of a text in terminal columns."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def truncated(text: str, width: int = MAX_WIDTH) -> str:
    """Return a text of at most so many terminal columns.

    Examples
    --------
    >>> truncated("simulate", 5), truncated("四半期", 5)
    ('simu…', '四半…')
    """
    if _width(text) <= width:
        return text
    text = text[:width]
    while _width(text) > width - 1:
        text = text[:-1]
    return text + "…"
