"""Something happens at a chosen instruction of the pool: in the middle of anything that it does."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

POOL = "wpc_magic/pool/"


class Anywhere:
    """Counts the instructions of this thread that are the pool's own, and does something at one of them.

    Parameters
    ----------
    only : callable, optional
        Given the name of its file, whether an instruction counts.

    Attributes
    ----------
    count : int
        How many there were.
    """

    def __init__(self, only: Callable[[str], bool] = lambda file: True) -> None:
        self._only = only
        self.count = 0
        self._at = 0
        self._what: Callable[[], object] = lambda: None

    @contextlib.contextmanager
    def at(self, number: int, what: Callable[[], object]) -> Iterator[None]:
        """Call `what` before the instruction of that number; what it raises is raised there."""
        self.count, self._at, self._what = 0, number, what
        before = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # without this before it, Python 3.12 traces only lines
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(before)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        if POOL not in frame.f_code.co_filename:
            return None
        frame.f_trace = self._step  # in Python 3.13 the next line does nothing for a frame without it
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode" and self._only(frame.f_code.co_filename):
            self.count += 1
            if self.count == self._at:
                self._what()
        return self._step

    def points(self, act: Callable[[], object], most: int) -> range:
        """Return at most about `most` numbers, spread over all the instructions of an act."""
        for _ in range(2):  # the first time is longer: what is made once is made then
            with self.at(-1, lambda: None):
                act()
        total = self.count * 11 // 10  # it is not the same way each time
        return range(1, total, max(1, total // most))
