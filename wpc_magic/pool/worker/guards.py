"""Last-resort hooks: what nobody catches becomes an event, and does not end the worker."""

from __future__ import annotations

import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias

    Notice: TypeAlias = Callable[[str, BaseException | None, dict[str, Any]], None]

__all__ = ["install_guards", "loop_guard"]


def install_guards(notice: Notice) -> None:
    """Send uncaught exceptions of threads and finalizers to `notice`; they are printed as well.

    Parameters
    ----------
    notice : callable
        Given the event's name, the exception and details.
    """

    def uncaught(kind: type[BaseException], error: BaseException, tb: Any) -> None:
        notice("uncaught_exception", error, {})
        sys.__excepthook__(kind, error, tb)

    def in_thread(args: Any) -> None:
        if args.exc_type is not SystemExit:
            name = args.thread.name if args.thread is not None else ""
            notice("uncaught_exception", args.exc_value, {"thread": name})
        threading.__excepthook__(args)

    def unraisable(args: Any) -> None:
        notice("uncaught_exception", args.exc_value, {"where": _where(args)})
        sys.__unraisablehook__(args)

    sys.excepthook = uncaught
    threading.excepthook = in_thread
    sys.unraisablehook = unraisable


def _where(args: Any) -> str:
    try:
        return f"{args.err_msg or 'Exception ignored in'}: {args.object!r}"[:200]
    except BaseException:  # a user's __repr__ may do anything
        return "Exception ignored"


def loop_guard(notice: Notice) -> Callable[[Any, dict[str, Any]], None]:
    """Return an event loop's exception handler that sends what it is given to `notice`."""

    def handle(loop: Any, about: dict[str, Any]) -> None:
        notice("unhandled_rejection", about.get("exception"), {"message": str(about.get("message", ""))})

    return handle
