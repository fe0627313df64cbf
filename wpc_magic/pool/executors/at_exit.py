"""What executors have to do when the interpreter exits."""

from __future__ import annotations

import threading
import weakref
from typing import Any

__all__ = ["EXIT"]


class _Exit:
    """Whether the interpreter exits. What was submitted by then still runs, as with other executors.

    Attributes
    ----------
    has_begun : bool
        Whether it exits.
    executors : set
        Those that have workers of their own.
    """

    def __init__(self) -> None:
        self.has_begun = False
        self.executors: weakref.WeakSet[Any] = weakref.WeakSet()

    def begin(self) -> None:
        """Finish all that executors have to do."""
        self.has_begun = True
        for executor in list(self.executors):
            executor.shutdown()


EXIT = _Exit()
# Before the threads of the program are waited for: one of them may wait for a call.
threading._register_atexit(EXIT.begin)  # type: ignore[attr-defined]
