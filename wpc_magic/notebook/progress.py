"""Shows how far long waits are, under the cell that waits, four times a second.

::

    a thread waits ──> Waiters, WaitEvent, a map ──┐  after 2 s, then every 0.25 s, in that thread
    an event loop waits ──> its own timer ─────────┴──> Progress ──> the area of the cell
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import ref

from wpc_magic.pool.futures import CallFuture
from wpc_magic.pool.interrupts.hold import HeldInterrupts
from wpc_magic.pool.wait_events import WaitEvent

from .progress_area import KernelArea, TerminalArea, make_area
from .progress_lines import Line, call_text, end_of_call, end_of_calls, end_of_map, of_calls, of_map

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["AUTO_S", "Progress"]

AUTO_S = 2.0
"""How long a wait takes before it is shown, in seconds, if the setting does not say otherwise."""

INTERVAL_S = 0.25
_NEVER_S = 3600.0
_MAX_ENDED = 5  # lines of waits that are over


class Progress:
    """The pool's observer of waits in one shell.

    Parameters
    ----------
    shell : InteractiveShell
        The shell.
    origin : callable
        Returns the origin in the current thread and task.
    after_s : float or None
        How long a wait takes before it is shown; None: nothing is shown.
    """

    def __init__(
        self, shell: InteractiveShell, origin: Callable[[], Any], after_s: float | None = AUTO_S
    ) -> None:
        self.after_s = after_s
        self._shell = shell
        self._origin = origin
        self._lock = threading.RLock()
        self._waits: dict[Any, _Wait] = {}  # those that are shown, by what is waited for
        self._all_shown: list[Shown] = []  # of cells with such waits, and of the last one
        self._left_early: list[Any] = []  # whose calls have not all ended
        self._awaits: dict[Any, list[_Await]] = {}  # by event loop

    # -- called by the pool, where it waits -------------------------------------------------------------

    def pause_s(self, waiting: Any) -> float:
        """Return after how many seconds to call `look`."""
        after_s = self.after_s
        chunks = getattr(waiting, "part_of", None)
        if after_s is None or (chunks is not None and chunks.is_shown):
            return _NEVER_S
        wait = self._waits.get(waiting if chunks is None else chunks) if self._waits else None
        if wait is not None:
            return max(0.0, wait.due_s - time.monotonic())
        return after_s if chunks is None else max(0.0, chunks.began_s + after_s - time.monotonic())

    def look(self, waiting: Any) -> None:
        """Show the wait for a call, a map, or several calls."""
        chunks = getattr(waiting, "part_of", None)
        if self.after_s is not None and not (chunks is not None and chunks.is_shown):
            self._show(waiting if chunks is None else chunks)

    def left(self, waiting: Any) -> None:
        """Show how the wait for a call, or for several, has ended; a map has other calls."""
        if not self._waits or getattr(waiting, "part_of", None) is not None:
            return
        is_over = waiting.is_over() if isinstance(waiting, WaitEvent) else waiting.ended
        if not is_over and waiting in self._waits:
            # `as_completed` may wait for the others; and what is interrupted is cancelled when its cell ends.
            self._left_early.append(waiting)
        else:
            self._end(waiting)

    def map_went_on(self, results: Any) -> None:
        """Show how far a map is, if it is shown and it is time."""
        wait = self._waits.get(results) if self._waits else None
        if wait is not None and time.monotonic() >= wait.due_s:
            self._show(results)

    def map_ended(self, results: Any) -> None:
        """Show how a map has ended."""
        if self._waits:
            self._end(results)

    def awaited(self, future: CallFuture, loop: Any, waiter: Any) -> None:
        """Look at the future after a while, in the loop's thread; one timer serves all waits of a loop."""
        after_s = self.after_s
        if after_s is None:
            return
        awaits = self._awaits.get(loop)
        if awaits is None:
            for closed in [each for each in self._awaits if each.is_closed()]:
                del self._awaits[closed]
            awaits = self._awaits[loop] = []
            loop.call_later(min(self.pause_s(future), after_s), self._tick, loop)
        awaits.append(_Await(ref(future), waiter, copy_context(), time.monotonic()))

    # -- event loops ------------------------------------------------------------------------------------

    def _tick(self, loop: Any) -> None:
        known = self._awaits.get(loop, [])
        awaits = [each for each in known if not each.waiter.done()]
        if not awaits:
            self._awaits.pop(loop, None)
            return
        self._awaits[loop] = awaits
        pause, began = AUTO_S, not self._waits
        for each in awaits:
            future = each.future()
            if future is None:
                continue
            if self._due_in_s(each, future) <= 0:
                is_new = future.part_of is None and future not in self._waits
                each.context.run(self.look, future)
                if is_new:
                    each.waiter.add_done_callback(partial(self._await_ended, future))
            pause = min(pause, self._due_in_s(each, future))
        if began and self._waits and len(known) > len(awaits):
            origins = [each.context.run(self._origin) for each in known if each.waiter.done()]
            for shown in self._all_shown:
                shown.add_early(origins.count(shown.origin))
        loop.call_later(max(0.02, pause), self._tick, loop)

    def _due_in_s(self, each: _Await, future: CallFuture) -> float:
        if future.part_of is not None or future in self._waits:
            return self.pause_s(future)
        return each.began_s + self.pause_s(future) - time.monotonic()

    def _await_ended(self, future: CallFuture, waiter: Any) -> None:
        self.left(future)

    # -- what is shown ----------------------------------------------------------------------------------

    def _show(self, waiting: Any) -> None:
        # Held back: an interrupt must not leave the lock, or half of a message.
        with HeldInterrupts(), self._lock:
            wait = self._waits.get(waiting)
            if waiting in self._left_early:
                self._left_early.remove(waiting)
            if wait is None:
                while self._left_early:
                    self._end(self._left_early.pop())
                wait = self._waits[waiting] = _Wait(waiting, time.monotonic() - (self.after_s or 0.0))
                wait.shown = self._shown_at(self._origin())
                wait.shown.add(wait)
            wait.due_s = time.monotonic() + INTERVAL_S
            wait.shown.draw()

    def _shown_at(self, origin: Any) -> Shown:
        for shown in self._all_shown:
            if shown.origin == origin:
                return shown
        self._all_shown = [shown for shown in self._all_shown if shown.waits]
        self._all_shown.append(Shown(origin, make_area(self._shell, origin)))
        return self._all_shown[-1]

    def _end(self, waiting: Any) -> None:
        with HeldInterrupts(), self._lock:
            wait = self._waits.pop(waiting, None)
            if wait is not None:
                wait.shown.remove(wait)
                wait.shown.draw(at_once=True)

    def end_cell(self) -> None:
        """Show how waits have ended whose calls have not: nobody goes on waiting for them."""
        while self._left_early:
            self._end(self._left_early.pop())
        for waiting, wait in list(self._waits.items()):
            # The loop of a terminal runs in a cell only; and a stream that a loop has left tells nobody.
            if isinstance(wait.shown.area, TerminalArea) or getattr(waiting, "has_ended", False):
                self._end(waiting)

    def make_room(self, text: str = "\n") -> None:
        """Make room for text in a terminal: called before it is written."""
        if self._waits:
            with HeldInterrupts(), self._lock:
                for shown in self._all_shown:
                    if isinstance(shown.area, TerminalArea):
                        shown.area.make_room(text)


class _Await(NamedTuple):
    """An event loop that waits for a call."""

    future: ref[CallFuture]
    waiter: Any
    context: Context
    began_s: float


class _Wait:
    """One wait that is shown."""

    shown: Shown

    def __init__(self, waiting: Any, began_s: float) -> None:
        self.waiting = waiting
        self.began_s = began_s
        self.due_s = 0.0

    @property
    def is_map(self) -> bool:
        """Whether it is a map."""
        return not isinstance(self.waiting, CallFuture | WaitEvent)

    @property
    def futures(self) -> list[CallFuture]:
        """The calls that are waited for, if it is no map."""
        if isinstance(self.waiting, CallFuture):
            return [self.waiting]
        if isinstance(self.waiting, WaitEvent):
            return [future for each in self.waiting.futures if (future := each()) is not None]
        return []


class Shown:
    """What is shown of the waits of one cell.

    Parameters
    ----------
    origin : object
        The cell's origin.
    area : KernelArea or TerminalArea
        Where it is shown.
    """

    def __init__(self, origin: Any, area: KernelArea | TerminalArea) -> None:
        self.origin = origin
        self.area = area
        self.waits: list[_Wait] = []
        self._ended: deque[Line] = deque(maxlen=_MAX_ENDED)
        self._drawn_s = 0.0
        self._calls: list[CallFuture] = []  # those that are waited for at the same time
        self._calls_began_s = 0.0
        self._early = 0
        self._call_text = ""

    def add(self, wait: _Wait) -> None:
        """Show a wait, too."""
        if not any(not each.is_map for each in self.waits):
            self._calls, self._early, self._calls_began_s = [], 0, wait.began_s
        self.waits.append(wait)
        self._calls += wait.futures
        if len(self._calls) == 1:
            self._call_text = call_text(self._calls[0])

    def add_early(self, count: int) -> None:
        """Count calls that ended before the others, which were waited for at the same time, were shown."""
        if len(self._calls) > 1:
            self._early += count

    def remove(self, wait: _Wait) -> None:
        """Show how a wait has ended."""
        self.waits.remove(wait)
        now = time.monotonic()
        if wait.is_map:
            self._ended.append(end_of_map(wait.waiting, now))
        elif len(self._calls) == 1:
            self._ended.append(end_of_call(self._calls[0], self._call_text, now - wait.began_s))
        elif all(each.is_map for each in self.waits):
            done = self._early + sum(future.ended for future in self._calls)
            count = self._early + len(self._calls)
            self._ended.append(end_of_calls(done, count, now - self._calls_began_s))

    def draw(self, at_once: bool = False) -> None:
        """Show all waits of the cell as they are now."""
        now = time.monotonic()
        if not at_once and now - self._drawn_s < 0.9 * INTERVAL_S:
            return
        self._drawn_s = now
        try:
            self.area.show([*self._ended, *self._live(now)], is_last=not self.waits)
        except Exception:  # a broken display must not break a wait
            pass

    def _live(self, now: float) -> list[Line]:
        lines: list[Line] = []
        for wait in self.waits:
            if wait.is_map:
                lines += of_map(wait.waiting, now)
        if any(not wait.is_map for wait in self.waits):
            going_on = [each for each in self._calls if not each.ended]
            lines += of_calls(going_on, self._early + len(self._calls))
        return lines
