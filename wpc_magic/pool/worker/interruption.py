"""Interrupting the running call: the control thread requests it, and SIGINT carries it to the main thread.

A signal handler is the only way to raise an exception in code that runs. Ours raises only while user code
runs, and only at a point where no frame of ours would be torn.
"""

from __future__ import annotations

import sys
from _weakref import ref  # which `weakref` has from there

from wpc_magic.pool.errors import CallInterrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType

    from wpc_magic.pool.worker.tasks import Tasks

__all__ = ["Interruption"]

_PACKAGE = __name__.partition(".")[0] + "."
_SHARED = _PACKAGE + "pool.shared."
_RUNS_TESTS = "wpc_magic.pool.worker.doctests"
"""Runs between the server and the user's code, and may be interrupted anywhere."""
_MAX_CONTEXTS = 100  # how far a chain of exceptions is followed


class Interruption:
    """Raises `CallInterrupted` in the call that is to be interrupted.

    Parameters
    ----------
    running : callable
        Returns the number of the call that began last, if it is not answered yet; 0: it is.
    shutting_down : callable
        Whether the worker shuts down, which interrupts whichever call runs.
    taint : callable
        Called with the number of the call and the reason, if an interrupt leaves the process unusable.
    callers : tuple of code
        Our functions that call user code; the frames above theirs are the user's.
    resumers : tuple of code
        Those of them in which nothing may be raised: they call it again and again.

    Attributes
    ----------
    armed : bool
        Whether the main thread runs a synchronous function of the user.
    expired : bool
        Whether that makes, checks or closes a resource, and has exceeded the time that it may take.
    sheltered : bool
        Whether nothing else may interrupt it.
    tasks : Tasks or None
        The coroutines of calls, once there are any.
    waits : tuple of code
        Functions of ours in which a call waits for others, and may be interrupted.
    stop_stream : callable
        Given the number of a call, has it end if it is a stream.
    """

    def __init__(
        self,
        running: Callable[[], int],
        shutting_down: Callable[[], bool],
        taint: Callable[[int, str], object],
        callers: tuple[CodeType, ...],
        resumers: tuple[CodeType, ...] = (),
    ) -> None:
        self.armed = False
        self.expired = False
        self.sheltered = False
        self.tasks: Tasks | None = None
        self.waits: tuple[CodeType, ...] = ()
        self.stop_stream: Callable[[int], object] = lambda seq: None
        self._running = running
        self._shutting_down = shutting_down
        self._taint = taint
        self._callers = (*callers, *resumers)
        self._resumers = resumers
        self._requested: set[int] = set()  # calls
        # The last one, in the running call. Not itself: its traceback holds all that the function held.
        self._raised: ref[CallInterrupted] | None = None

    def request(self, seq: int) -> None:
        """Interrupt a call; the control thread, which calls this, then sends SIGINT while `pending`."""
        self._requested.add(seq)
        if self.tasks is not None:
            self.tasks.cancel_soon(seq)
        self.stop_stream(seq)

    def is_requested(self, seq: int) -> bool:
        """Whether a call is to be interrupted."""
        return seq in self._requested

    def add_callers(self, codes: tuple[CodeType, ...]) -> None:
        """Add codes that call the user's functions."""
        self._callers = (*self._callers, *codes)

    def pending(self) -> bool:
        """Whether a call that is to be interrupted still runs. Called by the control thread."""
        running, tasks = self._running(), self.tasks
        for seq in list(self._requested):
            if seq != running and (tasks is None or not tasks.has(seq)):
                self._requested.discard(seq)  # it has ended, or was revoked
        return self._shutting_down() or bool(self._requested)

    def on_signal(self, signum: int, at: FrameType | None) -> None:
        """Interrupt the running call if that was requested; the handler of SIGINT.

        The notebook's stop button and a terminal's Ctrl-C may send the same signal: alone it does nothing.
        While a frame of ours is above the user's (it prints, say), the next signal interrupts instead. While
        the function cleans up after an interrupt, in a ``finally`` or an ``__exit__``, it is not interrupted
        again: the pool limits how long that may take. A coroutine whose loop has cancelled it, or has closed
        its generator, cleans up in the same way.
        """
        if not self._may_raise(at) or self._is_cleaning_up():
            return
        if _is_importing(at):
            seq = self._running() if self.armed or self.tasks is None else self.tasks.current_by_context()
            self._taint(seq, "an import was interrupted")
        why = "the pool is stopping" if self._shutting_down() else "the call was ended from outside"
        raise self._remembered(CallInterrupted(why))

    def _remembered(self, error: CallInterrupted) -> CallInterrupted:
        self._raised = ref(error)
        if not self.armed and self.tasks is not None:
            self.tasks.note_interrupted(error)
        return error

    def _may_raise(self, at: FrameType | None) -> bool:
        if self.waits and at is not None and at.f_code in self.waits:
            at = _caller_of_wait(at)
        if self.armed and (self.expired or self._is_to_end()):
            if at is not None and at.f_code in self._resumers:
                return False
            while at is not None and at.f_code not in self._callers:
                name = str(at.f_globals.get("__name__", ""))
                if name.startswith(_PACKAGE) and name != _RUNS_TESTS:
                    return False
                at = at.f_back
            return True
        if self.tasks is None or self.tasks.current_by_context() not in self._requested:
            return False
        # A step of its coroutine, or of a task that it has created, keeps the loop from cancelling it.
        name = str(at.f_globals.get("__name__", "")) if at is not None else ""
        return not name.startswith((_PACKAGE, "asyncio."))

    def _is_to_end(self) -> bool:
        return not self.sheltered and (self._shutting_down() or self._running() in self._requested)

    def expire(self) -> None:
        """Interrupt what exceeds its time; who calls this then sends SIGINT until it has ended."""
        self._raised = None
        self.expired = True

    def _is_cleaning_up(self) -> bool:
        """Whether user code is handling the exception that was raised last, or that ends its coroutine."""
        raised = self._raised() if self._raised is not None else None
        tasks = None if self.armed else self.tasks
        if raised is None and tasks is None:
            return False
        error, depth = sys.exc_info()[1], 0
        while error is not None and depth < _MAX_CONTEXTS:
            if error is raised or (tasks is not None and tasks.is_ended_by(error)):
                return True
            error, depth = error.__context__, depth + 1
        return False


def _caller_of_wait(at: FrameType | None) -> FrameType | None:
    """Return the frame of the user that waits for a shared object."""
    while at is not None and str(at.f_globals.get("__name__", "")).startswith(_SHARED):
        at = at.f_back
    return at


def _is_importing(at: FrameType | None) -> bool:
    """Whether a module is being imported: after an interrupt it might never be imported completely."""
    while at is not None:
        if at.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        at = at.f_back
    return False
