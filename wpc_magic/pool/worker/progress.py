"""How far a function is: ``context.progress(done, total, text)``, told to the pool a few times a second."""

from __future__ import annotations

import time

from wpc_magic.pool.wire.protocol import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ProgressReports", "no_progress"]

_INTERVAL_S = 0.1
_ENDED = float("inf")  # in the place of a time: the last report was of the end
_MAX_CALLS = 1_000
_MAX_TEXT = 200  # characters


def no_progress(done: float, total: float | None = None, text: str = "") -> None:
    """Check the arguments, and do nothing: outside of a worker nobody is told."""
    _checked(done, total)


class ProgressReports:
    """Sends what functions report: the first and the last report of a call, and at most ten a second between.

    Parameters
    ----------
    send : callable
        Called with a `Progress`.
    current_call : callable
        Returns the number of the call whose code is running; 0: none.
    """

    def __init__(self, send: Callable[[Progress], object], current_call: Callable[[], int]) -> None:
        self._send = send
        self._current_call = current_call
        self._sent_at: dict[int, float] = {}

    def __call__(self, done: float, total: float | None = None, text: str = "") -> None:
        """Report that `done` of `total` are done, for those who wait for this call.

        Parameters
        ----------
        done, total : float
            How much is done, and of how much; None: that is not known.
        text : str
            What is being done.
        """
        done, total = _checked(done, total)
        seq, now = self._current_call(), time.monotonic()
        is_last = total is not None and done >= total
        before = self._sent_at.get(seq, 0.0)
        if not seq or (before == _ENDED if is_last else now - before < _INTERVAL_S and before != _ENDED):
            return
        if len(self._sent_at) > _MAX_CALLS:
            self._sent_at.clear()
        self._sent_at[seq] = _ENDED if is_last else now
        self._send(Progress(seq, done, total, str(text)[:_MAX_TEXT]))


def _checked(done: float, total: float | None) -> tuple[float, float | None]:
    """Return both as numbers of Python."""
    try:
        return _number(done), None if total is None else _number(total)
    except (TypeError, ValueError):
        raise TypeError(
            f"context.progress takes numbers, not {type(done).__name__} and {type(total).__name__}. "
            f"Type: context.progress(done, total, 'text')"
        ) from None


def _number(value: float) -> float:
    return value if type(value) is int else float(value)
