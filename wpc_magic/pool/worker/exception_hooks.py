"""Hooks for uncaught exceptions: they become events, and do not end the worker."""

from __future__ import annotations

import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Emit: TypeAlias = Callable[[str, BaseException | None, dict[str, Any]], None]

__all__ = ["install_exception_hooks", "loop_exception_handler"]


def install_exception_hooks(emit: Emit) -> None:
    """Pass uncaught exceptions of threads and finalizers to `emit`, and print them, too.

    Parameters
    ----------
    emit : callable
        Called with the event's name, the exception and details.
    """

    def uncaught(kind: type[BaseException], error: BaseException, tb: Any) -> None:
        emit("uncaught_exception", error, {})
        sys.__excepthook__(kind, error, tb)

    def in_thread(args: Any) -> None:
        if args.exc_type is not SystemExit:
            name = args.thread.name if args.thread is not None else ""
            emit("uncaught_exception", args.exc_value, {"thread": name})
        threading.__excepthook__(args)

    def unraisable(args: Any) -> None:
        emit("uncaught_exception", args.exc_value, {"where": _where(args)})
        sys.__unraisablehook__(args)

    sys.excepthook = uncaught
    threading.excepthook = in_thread
    sys.unraisablehook = unraisable


def _where(args: Any) -> str:
    try:
        return f"{args.err_msg or 'Exception ignored in'}: {args.object!r}"[:200]
    except BaseException:  # __repr__ is user code, and may do anything
        return "Exception ignored"


def loop_exception_handler(emit: Emit) -> Callable[[Any, dict[str, Any]], None]:
    """Return an exception handler for an event loop that passes each exception to `emit`."""

    def handle(loop: Any, context: dict[str, Any]) -> None:
        emit("unhandled_rejection", context.get("exception"), {"message": str(context.get("message", ""))})

    return handle
