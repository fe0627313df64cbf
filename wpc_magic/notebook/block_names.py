"""Names the worker above each block of text, where several workers print under one cell."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

__all__ = ["BlockNames"]

_ORIGINS = 64


class BlockNames:
    r"""Knows which worker has printed last under each of the last cells.

    Examples
    --------
    >>> from wpc_magic.pool.driver.output import OutputText
    >>> names = BlockNames()
    >>> texts = [OutputText(text, "a cell", "stdout", worker, 7, True)
    ...     for worker, text in [(1, "a\n"), (1, "b"), (2, "c\n")]]
    >>> print("".join(map(names.named, texts)), end="")
    [worker 1]
    a
    b
    [worker 2]
    c
    """

    def __init__(self) -> None:
        self._last: OrderedDict[Any, tuple[int, bool]] = OrderedDict()

    def named(self, output: Any) -> str:
        """Return the text of an `OutputText`, under the name of its worker if a block begins."""
        text: str = output.text
        origin = output.origin
        key = origin.get("msg_id") if isinstance(origin, dict) else id(origin)
        known = self._last.get(key)
        side_by_side = getattr(output, "side_by_side", False)
        if known is None and not side_by_side:
            return text
        before, in_line = known or (0, False)
        worker_id = output.worker_id if side_by_side is not None else 0
        if worker_id == 0:
            text = in_line * "\n" + text
        elif before != worker_id:
            if (
                "\r" in text and "\n" not in text
            ):  # a line that is written again and again, such as a progress bar
                return text
            text = f"{in_line * chr(10)}[worker {worker_id}]\n{text}"
        self._last[key] = worker_id, not text.endswith("\n")
        self._last.move_to_end(key)
        if len(self._last) > _ORIGINS:
            self._last.popitem(last=False)
        return text
