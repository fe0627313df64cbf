"""Values that nothing shows: neither their repr nor the bytes of their pickle has them as they are."""

from __future__ import annotations

import os
import pickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Hidden"]


class Hidden:
    """A value with credentials in it: a log, a traceback with variables, or a dump does not show them.

    This is no encryption: whoever has the object has the value.

    Parameters
    ----------
    value : object
        What can be pickled.

    Examples
    --------
    >>> hidden = Hidden("sesame")
    >>> hidden, hidden.reveal(), b"sesame" in pickle.dumps(hidden)
    (<hidden>, 'sesame', False)
    """

    __slots__ = ("_key", "_mixed")

    def __init__(self, value: Any) -> None:
        plain = pickle.dumps(value)
        self._key = os.urandom(len(plain))
        self._mixed = _mix(plain, self._key)

    def reveal(self) -> Any:
        """Return the value."""
        return pickle.loads(_mix(self._mixed, self._key))

    def __repr__(self) -> str:
        return "<hidden>"


def _mix(one: bytes, other: bytes) -> bytes:
    return bytes(a ^ b for a, b in zip(one, other, strict=True))
