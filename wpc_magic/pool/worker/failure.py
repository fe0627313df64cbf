"""Exceptions that a worker sends: pickled where that is possible, and as text in any case.

Imported for the first failure.
"""

from __future__ import annotations

import builtins
import copyreg
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

from wpc_magic.pool.errors import RemoteError, qualified_name
from wpc_magic.pool.wire.codec import decode, encode_whole
from wpc_magic.pool.wire.protocol import Failure
from wpc_magic.pool.worker.cells import show_sources
from wpc_magic.pool.worker.secrets import has_secrets, is_in, without_secrets

__all__ = ["describe", "rebuild_exception"]

_OURS = (__name__.partition(".")[0] + ".", "cloudpickle.")  # the serializer is called by us
_FRAMES = 40  # kept at each end of a long traceback, which pickle follows recursively, to a limited depth
_MAX_TEXT = 200_000  # characters of a message or a stack


def _is_ours(tb: TracebackType) -> bool:
    name = tb.tb_frame.f_globals.get("__name__")
    return isinstance(name, str) and name.startswith(_OURS)


def _trim(error: BaseException) -> None:
    """Remove our own frames from both ends of the traceback."""
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
    """Remove the middle of long tracebacks: of this exception, its causes and its contexts."""
    seen: set[int] = set()
    stack = [error]
    while stack:
        error = stack.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        stack += error.__cause__, error.__context__
        links = []
        tb = error.__traceback__
        while tb is not None:
            links.append(tb)
            tb = tb.tb_next
        if len(links) > 2 * _FRAMES:
            links[_FRAMES - 1].tb_next = links[-_FRAMES]


def _mask(error: BaseException | None) -> None:
    """Take credentials out of the texts of an exception, of its causes and its contexts."""
    seen: set[int] = set()
    stack = [error]
    while stack:
        error = stack.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        stack += error.__cause__, error.__context__
        try:
            error.args = tuple(_masked(each) for each in error.args)
            for name, value in list(vars(error).items()):
                if isinstance(value, BaseException):
                    stack.append(value)
                elif type(value) is str or name == "__notes__":
                    setattr(error, name, _masked(value))
        except Exception:  # a class of somebody's own; what remains is masked as text
            pass


def _masked(value: Any) -> Any:
    if type(value) is list:
        return [_masked(each) for each in value]
    return without_secrets(value) if type(value) is str else value


def _text(function: Any, *args: Any) -> str:
    try:
        text = str.__str__(function(*args))
    except BaseException as error:  # __str__ may be user code, and do anything
        return f"<{type(error).__name__} while it was written as text>"
    if has_secrets():
        text = without_secrets(text)
    if len(text) <= _MAX_TEXT:
        return text
    return f"{text[:_MAX_TEXT]} ... and {len(text) - _MAX_TEXT} more characters"


def describe(error: BaseException, note: str = "", *, include_exception: bool = True) -> Failure:
    """Return an exception in a form that can be sent.

    Parameters
    ----------
    error : BaseException
        The exception, with its traceback, causes and attributes.
    note : str
        A note for the reader, such as which item of a chunk has failed.
    include_exception : bool
        Whether to include the pickled exception.
    """
    _trim(error)
    if has_secrets():
        _mask(error)
    show_sources()
    stack = _text(lambda: "".join(traceback.format_exception(error)))
    pickled = _pickle(error) if include_exception else None
    kinds = tuple(_text(qualified_name, kind) for kind in type(error).__mro__[:-1])
    return Failure(pickled, kinds[0], _text(str, error), stack, note, kinds)


def _is_by_arguments(kind: type[BaseException]) -> bool:
    """Return whether a class makes its attributes from its arguments, in C: `tblib` would lose them."""
    return (
        kind.__reduce__ is BaseException.__reduce__
        and type(kind.__init__) is type(BaseException.__init__)
        and kind.__init__ is not BaseException.__init__
    )


_BY_ARGUMENTS = [
    kind
    for kind in vars(builtins).values()
    if isinstance(kind, type) and issubclass(kind, BaseException) and _is_by_arguments(kind)
]
"""``SyntaxError``, ``UnicodeDecodeError`` and the like."""


def _reduce(error: BaseException) -> tuple[Any, ...]:
    from tblib.pickling_support import unpickle_exception

    links = error.__cause__, error.__traceback__, error.__context__, error.__suppress_context__
    notes = getattr(error, "__notes__", None)
    return unpickle_exception, (type(error), error.args, *links, notes), error.__dict__ or None


def _pickle(error: BaseException) -> bytes | None:
    """Pickle the exception with its tracebacks; return None if it cannot be pickled or unpickled.

    It is unpickled here as a test: what does harm (it may even end the process) must not reach the pool.
    """
    try:
        from tblib import pickling_support

        _shorten(error)
        pickling_support.install(error)
        for kind in (type(error), *_BY_ARGUMENTS):
            if _is_by_arguments(kind):
                copyreg.pickle(kind, _reduce)
        pickled = encode_whole(error)
        if has_secrets() and is_in(pickled):  # in something else than a text of it
            return None
        return pickled if type(decode(pickled)) is type(error) else None
    except BaseException:
        return None


def _unpickled(pickled: bytes) -> Iterator[Any]:
    """Yield what is unpickled.

    The frames of a traceback are made here, by calls. Each has the frame of its caller behind it, up to that
    of a generator, which has nobody's when it has yielded. Otherwise the error would keep all the variables
    of whoever asks for it, and be kept by them.
    """
    yield decode(pickled)


def rebuild_exception(failure: Failure) -> BaseException:
    """Return the exception of a failure: the unpickled one, or a `RemoteError` that describes it.

    Unpickling runs user code, so only the thread that requests the outcome may call this.
    """
    if failure.pickled is not None:
        try:
            error = next(_unpickled(failure.pickled))
            try:
                if isinstance(error, BaseException):
                    return error
            finally:
                del error  # on Python 3.12, the frames of its traceback refer to this one all the same
        except KeyboardInterrupt:
            raise  # more likely to come from the user's keyboard than from the exception
        except BaseException:
            pass
    return RemoteError(failure.name, failure.message, failure.stack)
