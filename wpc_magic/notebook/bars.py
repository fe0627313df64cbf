"""Lines that are written again and again, such as progress bars, of several workers under one cell.

A carriage return goes back to the beginning of the last line, which another worker has written. So each
worker's line is a display of its own, which is updated.
"""

from __future__ import annotations

import uuid
from collections import OrderedDict
from typing import Any

from wpc_magic.pool.driver.output import OutputDisplay, OutputText, escaped

__all__ = ["Bars"]

_KEPT = 256
_MOVES_UP = "\x1b[A"  # a bar among several of one worker


class Bars:
    r"""Takes such lines out of the text of workers.

    Examples
    --------
    >>> bars = Bars()
    >>> def take(text):
    ...     displays, rest = bars.take(OutputText(text, "a cell", "stderr", 1, 7, True))
    ...     return [(each.kind, each.text) for each in displays], rest
    >>> take("plain\n")
    ([], 'plain\n')
    >>> take("\r 10 %")
    ([('display_data', ' 10 %\n')], '')
    >>> take("\r 20 %\r 30 %")
    ([('update_display_data', ' 30 %\n')], '')
    >>> take("\r100 %\nplain\n")
    ([('update_display_data', '100 %\n')], 'plain\n')
    """

    def __init__(self) -> None:
        self._lines: OrderedDict[Any, tuple[str, str]] = OrderedDict()  # the id of the display, and the line

    def take(self, output: OutputText) -> tuple[list[OutputDisplay], str]:
        """Return what is to be displayed, and the text that is no such line."""
        origin, rest = output.origin, output.text
        cell = origin.get("msg_id") if isinstance(origin, dict) else id(origin)
        key = cell, output.worker_id, output.stream
        displays: list[OutputDisplay] = []
        while rest and _MOVES_UP not in rest:
            known = self._lines.get(key)
            if known is None and not (output.side_by_side and rest.startswith("\r")):
                break
            line, end, rest = rest.partition("\n")
            displays.append(self._update(key, known, line, output))
            if end:
                del self._lines[key]
        return displays, rest

    def _update(
        self, key: Any, known: tuple[str, str] | None, line: str, output: OutputText
    ) -> OutputDisplay:
        display_id, before = known or (uuid.uuid4().hex, "")
        line = before + line
        shown = next((part for part in reversed(line.split("\r")) if part), "").rstrip()
        self._lines[key] = display_id, f"{shown}\r" if line.endswith("\r") else shown
        if len(self._lines) > _KEPT:
            self._lines.popitem(last=False)
        content = {
            "data": {"text/plain": escaped(shown)},
            "metadata": {},
            "transient": {"display_id": display_id},
        }
        kind = "display_data" if known is None else "update_display_data"
        return OutputDisplay(f"{shown}\n", *output[1:5], kind, content)
