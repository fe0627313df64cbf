"""What one function may change in the process, and the next one must find as it was.

These are the handler of SIGINT, by which calls are interrupted, and the streams that show what functions
print. What else a function changes in the process stays: who sets up a worker (its folder, its locale, a
timer) means that.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["ProcessState"]

_SIGINT = int(_signal.SIGINT)


class ProcessState:
    """The state of this process while a pool's functions run.

    Parameters
    ----------
    on_sigint : callable
        The handler of SIGINT.
    stdout, stderr : object
        The streams of these names.
    """

    def __init__(self, on_sigint: Callable[..., Any], stdout: Any, stderr: Any) -> None:
        self._on_sigint = on_sigint
        self._stdout = stdout
        self._stderr = stderr

    def is_changed(self) -> bool:
        """Whether it is not as `restore` leaves it. The hot path of each call asks."""
        return (
            _signal.getsignal(_SIGINT) is not self._on_sigint
            or sys.stdout is not self._stdout
            or sys.stderr is not self._stderr
        )

    def restore(self) -> None:
        """Set it, in the main thread."""
        _signal.signal(_SIGINT, self._on_sigint)
        sys.stdout, sys.stderr = self._stdout, self._stderr
