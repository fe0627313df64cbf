"""Futures of values that stay with the pool until they are fetched."""

from __future__ import annotations

from typing import Any

from .errors import PoolStoppedError
from .futures import CallFuture
from .outcomes import decoded_value
from .passed_answers import held_answer
from .wire import protocol

__all__ = ["KeptFuture"]


class KeptFuture(CallFuture):
    """The future of a call whose value the pool keeps: ``wpc.call.NAME.remote(...)``.

    Each `result` fetches a copy, and nothing of it is kept here. The value goes to other calls as it lies, in
    shared memory if it is large. It is freed when this future is; when the pool stops, it is lost. It is not
    lost when the worker dies that has made it. On a cluster, what is large of it stays on the machine of that
    worker, and is lost with it.
    """

    def settle(self, answer: Any) -> None:
        """End the future; see `CallFuture.settle`."""
        if type(answer) is tuple and answer[0] == protocol.VALUE:
            answer = held_answer(answer)
            self._driver.keep(self)
        super().settle(answer)

    def lose(self) -> None:
        """Let go of the value: the pool has stopped. Under the driver's lock."""
        answer = self._answer
        if type(answer) is tuple and answer[0] == protocol.VALUE:
            self._answer = PoolStoppedError(
                f"the value of {self.call} was kept by the pool, which has stopped since; "
                f"fetch it with result() before"
            )

    def _settled(self) -> tuple[bool, Any]:
        answer = self._answer
        if type(answer) is tuple and answer[0] == protocol.VALUE:
            self._ran_ns = answer[4]
            return decoded_value(self.call, answer)
        try:
            return super()._settled()
        finally:  # frames of the error have this one behind them
            del self, answer

    @property
    def state(self) -> str:
        """How it stands, in words: ``"kept by the pool, 8.0 MB"``. The value is not unpickled for it."""
        answer = self._answer
        if self.ended and type(answer) is tuple and answer[0] == protocol.VALUE:
            nbytes = answer[2].held.nbytes if answer[2] else len(answer[1])
            return f"kept by the pool, {_size(nbytes)}"
        return super().state


def _size(nbytes: int) -> str:
    """Return a number of bytes as text.

    Examples
    --------
    >>> _size(24), _size(200_000_000)
    ('24 bytes', '200.0 MB')
    """
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if nbytes >= size:
            return f"{nbytes / size:.1f} {unit}"
    return f"{nbytes} bytes"
