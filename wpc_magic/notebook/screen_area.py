"""Lines at the end of a terminal that rewrite themselves."""

from __future__ import annotations

import shutil
import sys
import threading
from typing import Any

from wpc_magic.dashboard.table import truncated

__all__ = ["ScreenArea"]


class ScreenArea:
    """Lines at the end of a terminal that rewrite themselves.

    Parameters
    ----------
    stream : text stream, optional
        The terminal; by default ``sys.stdout`` as it is then.

    Notes
    -----
    The cursor stays behind the last line. What is longer than the screen is cut: a line that wraps, or
    scrolls out of the screen, could not be rewritten.
    """

    def __init__(self, stream: Any = None) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._height = 0  # how many lines are on the screen now, at the end
        self._begins_line = True  # nothing else stands in the first of them

    @property
    def is_terminal(self) -> bool:
        """Whether lines can be rewritten there."""
        try:
            return bool((self._stream or sys.stdout).isatty())
        except (OSError, ValueError, AttributeError):  # it was closed, or is something else
            return False

    def show(self, text: str, is_last: bool = False) -> None:
        """Replace what is shown; `is_last`: it stays, and the next text begins below it."""
        size = shutil.get_terminal_size()
        lines = text.splitlines() or [""]
        if len(lines) >= size.lines:
            kept = max(1, size.lines - 2)
            lines = [*lines[:kept], f"… {len(lines) - kept} lines more"]
        lines = [truncated(line, max(1, size.columns - 1)) for line in lines]
        with self._lock:
            before = self._to_the_first() if self._begins_line else "\n"
            self._height, self._begins_line = 0 if is_last else len(lines), True
            # Each line is cleared behind its text, and not before it: the screen does not flicker.
            self._write(before + "\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J" + "\n" * is_last)

    def make_room(self, text: str) -> None:
        """Remove the lines, since `text` is about to be written; the next `show` brings them again."""
        with self._lock:
            if self._height:
                self._write(self._to_the_first() + "\x1b[J")
                self._height = 0
            self._begins_line = text.endswith("\n")

    def _to_the_first(self) -> str:
        return "\r" + (f"\x1b[{self._height - 1}A" if self._height > 1 else "")

    def _write(self, text: str) -> None:
        stream = self._stream or sys.stdout
        try:
            stream.write(text)
            stream.flush()
        except (OSError, ValueError):  # it was closed
            pass
