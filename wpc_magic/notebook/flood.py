"""Limits how much text goes to a front end: a server drops what comes beyond 1 MB/s, and a browser stalls."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Flood", "Text"]

LIMIT = 500_000
"""How much text is shown in one window, in bytes."""
WINDOW_S = 1.0
_LAST = 2000  # characters of what was left out that are shown all the same: the end says how it went
_LAST_LINES = 5


class Text(NamedTuple):
    """Text for one stream of one cell."""

    origin: Any
    stream: str
    text: str


class Flood:
    r"""Lets through as much text as a front end takes; of the rest it says how many lines they were.

    Parameters
    ----------
    limit : int
        How many bytes one window takes.
    clock : callable
        Returns the time in seconds.

    Examples
    --------
    >>> flood = Flood(limit=20, clock=lambda: 0.0)
    >>> [text.text for text in flood.admit(Text("a cell", "stdout", "12345678\n" * 1000))]
    ['12345678\n12345678\n']
    >>> [text.text.splitlines()[:2] for text in flood.take()]
    [['… 993 more lines', '12345678']]
    """

    def __init__(self, limit: int = LIMIT, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = self._left = limit
        self._clock = clock
        self._ends = 0.0  # of the window
        self._gaps: dict[tuple[Any, str], _Gap] = {}
        self._lock = threading.Lock()

    def admit(self, text: Text) -> list[Text]:
        """Return the texts that are to be shown now, given the next one."""
        with self._lock:
            shown: list[Text] = []
            now = self._clock()
            if now >= self._ends:
                shown = self._take()
                self._left, self._ends = self._limit, now + WINDOW_S
            key = _key(text.origin), text.stream
            gap, size = self._gaps.get(key), _size(text.text)
            if gap is None and size <= self._left:
                self._left -= size
                shown.append(text)
                return shown
            rest = text.text
            if gap is None:
                head, rest = _split(rest, self._left)
                self._left = 0
                gap = self._gaps[key] = _Gap(text, in_line=bool(head) and not head.endswith("\n"))
                if head:
                    shown.append(text._replace(text=head))
            gap.add(rest)
            return shown

    @property
    def due_s(self) -> float | None:
        """How soon something that was left out is to be taken, in seconds; None: nothing was left out."""
        return max(0.0, self._ends - self._clock()) if self._gaps else None

    def take(self) -> list[Text]:
        """Return what stands for the texts that were left out."""
        with self._lock:
            return self._take()

    def _take(self) -> list[Text]:
        gaps, self._gaps = self._gaps, {}
        return [gap.as_text() for gap in gaps.values()]


class _Gap:
    """Stands for texts that were left out; `in_line`: what was shown before them ended within a line."""

    def __init__(self, first: Text, in_line: bool) -> None:
        self._first = first
        self._in_line = in_line
        self._size = self._lines = 0
        self._last = ""

    def add(self, text: str) -> None:
        self._size += len(text)
        self._lines += text.count("\n")
        self._last = (self._last + text[-_LAST:])[-_LAST:]

    def as_text(self) -> Text:
        last = self._last
        if self._size > len(last) and "\n" in last:
            last = last[last.index("\n") + 1 :]  # whole lines
        last = "".join(last.splitlines(keepends=True)[-_LAST_LINES:])
        lines, left_out = self._lines - last.count("\n"), self._size - len(last)
        if not left_out:
            return self._first._replace(text=last)
        what = f"{lines:,} more line{'s' * (lines > 1)}" if lines else f"{left_out:,} more characters"
        return self._first._replace(text=f"{self._in_line * chr(10)}… {what}\n{last}")


def _key(origin: Any) -> Any:
    return origin.get("msg_id") if isinstance(origin, dict) else id(origin)


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _split(text: str, size: int) -> tuple[str, str]:
    """Split a text after the lines that fit, or within the first one."""
    if not text.isascii():
        size //= 4
    end = text.rfind("\n", 0, max(size, 0)) + 1 or max(size, 0)
    return text[:end], text[end:]
