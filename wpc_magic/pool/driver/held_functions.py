"""The anonymous functions that one worker holds: the pool tells it which, the ones called last."""

from __future__ import annotations

from collections import OrderedDict

from ..core.registry import Record
from ..wire.blanks import Blank
from ..wire.limits import MAX_HELD, MAX_HELD_SIZE
from ..wire.protocol import HoldFunction

__all__ = ["HeldFunctions"]


class HeldFunctions:
    """What one worker has been told to hold. The worker is told in the channel of its calls, and so in order.

    Examples
    --------
    >>> from ..core.registry import Kind
    >>> held = HeldFunctions()
    >>> double = Record("_wpc_:1:double", Kind.FUNCTION, b"...", None, key=1)
    >>> held.before_call(double), held.before_call(double)
    (HoldFunction(key=1, payload=b'...', dropped=(), is_blank=False), None)
    """

    def __init__(self) -> None:
        self._sizes: OrderedDict[int, int] = OrderedDict()  # by key; the one called last is last
        self._size = 0

    def before_call(self, record: Record) -> HoldFunction | None:
        """Return what the worker has to be told before a call of a function; None: it holds it."""
        key, payload = record.key, record.wire
        if key in self._sizes:
            self._sizes.move_to_end(key)
            return None
        self._sizes[key] = len(payload)
        self._size += len(payload)
        dropped = []
        while len(self._sizes) > MAX_HELD or (self._size > MAX_HELD_SIZE and len(self._sizes) > 1):
            old, size = self._sizes.popitem(last=False)
            self._size -= size
            dropped.append(old)
        return HoldFunction(key, bytes(payload), tuple(dropped), type(payload) is Blank)
