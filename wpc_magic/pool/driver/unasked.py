"""Errors of calls that nobody asks for: told when the last reference to the future is gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["UnaskedError", "one_line"]

_MAX_LENGTH = 100  # characters of a message


class UnaskedError:
    """Belongs to the future of a call that has failed, and goes with it.

    Only a call that fails has one, so those that end well pay nothing for it.

    Parameters
    ----------
    tell : callable
        Called with this object when it is freed, unless somebody has asked for the error. It must not block:
        that may happen anywhere.
    call : str
        The call.
    name : str
        Its function.
    origin : object
        Where the call was made.
    error : str
        The error in one line.
    is_awaited : bool
        Whether something waited for the call when it failed, and so will ask.
    """

    __slots__ = ("__weakref__", "_tell", "call", "error", "is_awaited", "name", "origin")

    def __init__(
        self,
        tell: Callable[[UnaskedError], object],
        call: str,
        name: str,
        origin: Any,
        error: str,
        is_awaited: bool,
    ) -> None:
        self._tell: Callable[[UnaskedError], object] | None = tell
        self.call = call
        self.name = name
        self.origin = origin
        self.error = error
        self.is_awaited = is_awaited

    def asked(self) -> None:
        """Tell nothing: somebody has asked for the error."""
        self._tell = None

    def tell(self) -> None:
        """Tell it, if nobody has asked until now, and it was not told."""
        tell, self._tell = self._tell, None
        if tell is not None:
            tell(self)

    def __del__(self) -> None:
        self.tell()


def one_line(kind: str, message: str) -> str:
    r"""Return an error in one line.

    Examples
    --------
    >>> one_line("wpc_cell_1f.NoDate", "no date\nin row 3")
    'NoDate: no date in row 3'
    """
    name, text = kind.rpartition(".")[2], " ".join(message.split())
    if len(text) > _MAX_LENGTH:
        text = text[: _MAX_LENGTH - 1] + "…"
    return f"{name}: {text}" if text else name
