"""How a call has ended badly: described for the pool, and let go here."""

from __future__ import annotations

import sys
from types import AsyncGeneratorType, GeneratorType

from wpc_magic.pool.wire.lazy_import import interpreter_path_first
from wpc_magic.pool.wire.protocol import Failure

__all__ = ["describe", "described_end", "let_go", "unsendable"]

_FAILURE = "wpc_magic.pool.worker.failure"
_PACKAGE = __name__.partition(".")[0] + "."
_SUSPENDABLE = 0x2A0  # flags of the code of generators and coroutines, whose frames may still be needed


def described_end(error: BaseException, note: str = "") -> Failure:
    """Describe the exception with which a call has ended, and let go what the call has used."""
    failure = describe(error, note)  # it removes our frames
    let_go(error)
    return failure


def unsendable(value: object, error: BaseException, what: str = "the value that it returned") -> str:
    """Return a note on a value that cannot be pickled, which names the part of it that is to blame."""
    if type(value) in (GeneratorType, AsyncGeneratorType):
        return (
            f"{what} is a generator, which cannot leave its worker: a function that itself has `yield` in it "
            f"streams its items, as does one called with options(buffer=...), and list() sends all at once"
        )
    note = f"{what} ({type(value).__name__}) cannot be sent"
    if not isinstance(error, Exception):  # no fault of a part: something ends the call, or the process
        return note
    try:
        from wpc_magic.pool.wire.unpicklable import find_unpicklable

        found = find_unpicklable(value, "value")
    except (
        BaseException
    ):  # the value's own code may raise anything; and memory may be short, also for an import
        found = ""
    return note if not found or found.startswith("value is ") else f"{note}: {found}"


def let_go(error: BaseException) -> None:
    """Clear the frames of a call that has ended.

    One that has the exception in a variable would keep all of them until the collector comes.
    """
    tb = error.__traceback__
    while tb is not None and str(tb.tb_frame.f_globals.get("__name__")).startswith(_PACKAGE):
        tb = tb.tb_next
    first = tb  # has ended in any case
    while tb is not None:
        if tb is first or not tb.tb_frame.f_code.co_flags & _SUSPENDABLE:
            try:
                tb.tb_frame.clear()
            except RuntimeError:  # it is running: ours
                pass
        tb = tb.tb_next


def describe(error: BaseException, note: str = "", *, include_exception: bool = True) -> Failure:
    """Describe an exception as `failure.describe` does, which is imported for the first one."""
    try:
        if _FAILURE not in sys.modules:
            with interpreter_path_first:
                __import__(_FAILURE)
        from wpc_magic.pool.worker import failure

        return failure.describe(error, note, include_exception=include_exception)
    except BaseException:  # such as MemoryError
        return Failure(None, type(error).__name__, "", "", note, ())
