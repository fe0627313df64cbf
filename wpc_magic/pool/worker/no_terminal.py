"""Questions to the user that a function asks in a worker, where nobody can answer: an error at once.

``input()``, ``getpass`` and ``pdb`` read lines of ``sys.stdin``; ``breakpoint()`` has a hook.
"""

from __future__ import annotations

import io
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any, NoReturn

__all__ = ["refuse_questions"]


def refuse_questions(name_of: Callable[[CodeType], str], call: Callable[[], str]) -> None:
    """Replace ``sys.stdin`` and ``sys.breakpointhook``.

    Parameters
    ----------
    name_of : callable
        Returns the name of the registered function that has a code; empty: none has.
    call : callable
        Returns what stands before a function's name when it is called: ``"wpc.call"``.
    """

    def refuse(what: str) -> NoReturn:
        line = f"{call()}.{_running(name_of) or 'NAME'}.local(...)"
        raise RuntimeError(
            f"{what}: a worker has no terminal, and variables stay in the worker. "
            f"Type: %wpc_debug, which runs the call again here; or call {line}"
        )

    def on_breakpoint(*args: Any, **named: Any) -> Any:
        if os.environ.get("PYTHONBREAKPOINT"):  # a debugger that was chosen knows how to be reached
            return sys.__breakpointhook__(*args, **named)
        refuse("breakpoint() stops here")

    sys.breakpointhook = on_breakpoint
    sys.stdin = _NoInput(sys.stdin, lambda: refuse("input is asked for"))


def _running(name_of: Callable[[CodeType], str]) -> str:
    """Return the name of the registered function that this thread runs: the outermost of the stack."""
    frame: Any = sys._getframe(1)
    found = ""
    while frame is not None:
        found = name_of(frame.f_code) or found
        frame = frame.f_back
    return found


class _NoInput(io.TextIOBase):
    """An empty input, which refuses to be asked for a line."""

    def __init__(self, original: Any, refuse: Callable[[], NoReturn]) -> None:
        self.mode = "r"
        self.name = "<stdin>"
        self.buffer = original.buffer
        self._refuse = refuse

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "strict"

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> str:
        return ""

    def readline(self, size: int = -1) -> str:  # type: ignore[override]
        self._refuse()

    def readlines(self, hint: int = -1) -> list[str]:  # type: ignore[override]
        return []

    def __next__(self) -> str:  # type: ignore[override]
        raise StopIteration

    def fileno(self) -> int:
        return int(self.buffer.fileno())

    def close(self) -> None:
        """Do nothing: all calls of this worker share it."""
