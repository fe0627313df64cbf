"""Exceptions on their way from a worker: themselves where they can be pickled, and as text in any case.

Loaded with the first failure.
"""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Any

from wpc_magic.pool.errors import RemoteError
from wpc_magic.pool.wire.codec import decode, encode_whole
from wpc_magic.pool.wire.protocol import Failure
from wpc_magic.pool.worker.cells import show_sources

__all__ = ["describe", "revive"]

_PACKAGE = __name__.partition(".")[0] + "."
_FRAMES = (
    40  # of each end of a long traceback; pickle follows it link by link, and gives up after some hundreds
)
_SHOWN = 200_000  # characters of a message or a stack, no more


def _is_ours(tb: TracebackType) -> bool:
    name = tb.tb_frame.f_globals.get("__name__")
    return isinstance(name, str) and name.startswith(_PACKAGE)


def _trim(error: BaseException) -> None:
    """Take our own frames off both ends of the traceback."""
    tb = error.__traceback__
    while tb is not None and _is_ours(tb):
        tb = tb.tb_next
    error.__traceback__ = tb
    last = None
    while tb is not None:
        if not _is_ours(tb):
            last = tb
        tb = tb.tb_next
    if last is not None:
        last.tb_next = None


def _shorten(error: BaseException | None) -> None:
    """Take the middle out of long tracebacks: of this error, and of those that led to it."""
    seen: set[int] = set()
    rest = [error]
    while rest:
        error = rest.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        rest += error.__cause__, error.__context__
        links = []
        tb = error.__traceback__
        while tb is not None:
            links.append(tb)
            tb = tb.tb_next
        if len(links) > 2 * _FRAMES:
            links[_FRAMES - 1].tb_next = links[-_FRAMES]


def _qualified(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _text(ask: Any, *args: Any) -> str:
    try:
        text = str.__str__(ask(*args))
    except BaseException as error:  # a user's __str__ may do anything
        return f"<{type(error).__name__} while it was written as text>"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ... and {len(text) - _SHOWN} more characters"


def describe(error: BaseException, note: str = "", *, itself: bool = True) -> Failure:
    """Return an exception as what can travel.

    Parameters
    ----------
    error : BaseException
        With its traceback, causes and attributes.
    note : str
        Added for the reader: which item of a chunk it was.
    itself : bool
        Whether to pickle it, too.
    """
    _trim(error)
    show_sources()
    stack = _text(lambda: "".join(traceback.format_exception(error)))
    pickled = _pickle(error) if itself else None
    return Failure(pickled, _text(_qualified, type(error)), _text(str, error), stack, note)


def _pickle(error: BaseException) -> bytes | None:
    """Pickle the exception with its tracebacks; return None where that cannot be, or cannot be undone.

    It is undone here to see: what hurts in this process (it may even end it) must not in the pool's.
    """
    try:
        from tblib import pickling_support

        _shorten(error)
        pickling_support.install(error)
        pickled = encode_whole(error)
        return pickled if type(decode(pickled)) is type(error) else None
    except BaseException:
        return None


def revive(failure: Failure) -> BaseException:
    """Return the exception of a failure: itself, or a `RemoteError` that tells of it.

    Runs the unpickling of a user's class, so only the thread that asks for the outcome may call it.
    """
    if failure.pickled is not None:
        try:
            error = decode(failure.pickled)
            if isinstance(error, BaseException):
                return error
        except KeyboardInterrupt:
            raise  # more likely the user's own
        except BaseException:
            pass
    return RemoteError(failure.name, failure.message, failure.stack)
