"""Warnings in a worker: each is sent to the pool, which shows it once, whichever worker it comes from."""

from __future__ import annotations

import threading
import warnings

from wpc_magic.pool.wire.protocol import Warned
from wpc_magic.pool.worker.cells import PREFIX, show_sources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from wpc_magic.pool.worker.output import Output

__all__ = ["hook_warnings"]


def hook_warnings(output: Output) -> None:
    """Send what `warnings` would write to standard error.

    Parameters
    ----------
    output : Output
        Takes the warnings.
    """
    write = warnings.showwarning

    def showwarning(
        message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None
    ) -> None:
        if file is not None:
            write(message, category, filename, lineno, file, line)
            return
        show_sources()
        text = warnings.formatwarning(message, category, filename, lineno, line)
        output.post(Warned(output.current_call(), text))
        if warn_again not in output.endings:
            output.endings.append(warn_again)

    def warn_again(seq: int) -> None:
        """Forget what was warned of: the next call may be of another cell, which shows its own warnings."""
        output.endings.remove(warn_again)
        with warnings.catch_warnings():  # entering it clears what modules remember
            pass

    warnings.showwarning = showwarning
    # As a notebook does for the code of its cells. `filterwarnings` would import `re` for it, at each start.
    shown: Any = ("default", None, DeprecationWarning, _CellModules, 0)
    hidden: Any = ("ignore", _ForkBesideOurs, DeprecationWarning, None, 0)
    for each in (shown, hidden):
        warnings.filters.insert(0, each)  # type: ignore[attr-defined]


class _CellModules:
    """Stands for a pattern that matches the modules of cells."""

    pattern = PREFIX  # scikit-learn has its own threads filter warnings as this one does

    @staticmethod
    def match(name: str) -> bool:
        return name.startswith(PREFIX)


class _ForkBesideOurs:
    """Stands for a pattern that matches Python 3.12's warning of a fork where all other threads are ours.

    These hold nothing that a fork needs: functions fork in workers as they do in a program without threads.
    """

    pattern = r"This process \(pid=\d+\) is multi-threaded"

    @staticmethod
    def match(text: str) -> bool:
        if not text.startswith("This process (pid=") or "is multi-threaded" not in text:
            return False
        main = threading.main_thread()
        return all(each is main or each.name.startswith("wpc-") for each in threading.enumerate())
