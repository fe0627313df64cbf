"""The dashboard's own thread: looks at the pool, and tells what changed.

::

    page ── click ──> ask() ── errands' thread ──> pool
                        │                           │ events: wake()      snapshot()
                        └── taken ──> "wpc-dashboard" <───────────────────────┘
                                         │ at most ten a second, none while nothing changes
                                         └── show(message) ──> the widget's trait ──> page

The thread ends by itself when the pool has stopped and there is nothing to do; an event, or a click, starts
it again. So a pool that is stopped leaves no thread, and one that is started again is seen.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from .meter import Meter
from .requests import Errands, Request, perform
from .view import EMPTY, Frame, diff, frame_of

__all__ = ["FRAME_S", "IDLE_S", "Feed"]

FRAME_S = 0.1
"""The shortest time between two frames, in seconds."""

IDLE_S = 0.25
"""How often a pool is looked at in which nothing happens: calls begin without an event."""

_STILL_LOOKS = 10  # so many looks without news, and the pool counts as idle


class Feed:
    """Follows one pool.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool; it is not kept alive.
    show : callable
        Takes a message for the page, always in the feed's own thread. A message has ``seq``, which counts up
        by one, ``now``, the kernel's time, and what is new: see `Patch`, and ``taken`` with the ids of the
        requests that have arrived, ``notice`` with the line to show, ``whole`` with a complete frame.
    looked : callable, optional
        Called after each look, in that thread too, with whether it is the last one for now.
    clock : callable
        Tells the time, in seconds of the epoch.

    Notes
    -----
    Nothing is told before `follow`; until then `latest` holds the pool as it was.
    """

    def __init__(
        self,
        pool: Any,
        show: Callable[[dict[str, Any]], None],
        looked: Callable[[bool], None] | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = weakref.ref(pool)
        self._show = show
        self._looked = looked
        self._clock = clock
        self._meter = Meter()
        self._errands = Errands(self._do)
        self._events_seen = -1
        self._notice = ""  # what the next frame says
        self._taken: deque[str] = deque()
        self._resend = False
        self._latest: tuple[Frame, int, str] = (EMPTY, 0, "")  # in one, so that no reader sees half of it
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._listener: Any = None
        self._latest = (self._look_at(pool), 0, "")

    @property
    def latest(self) -> tuple[Frame, int, str]:
        """The last frame, its number, and the line about the last request that failed."""
        return self._latest

    # -- for other threads ------------------------------------------------------------------------------

    def follow(self) -> None:
        """Begin to tell what changes."""
        pool = self._pool()
        if pool is not None and self._listener is None:
            self._listener = pool.on_worker_event(listener=self._heard)
        self.wake()

    def wake(self) -> None:
        """Have the pool looked at now."""
        self._wake.set()
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="wpc-dashboard", daemon=True)
                self._thread.start()

    def ask(self, request: Request) -> None:
        """Take a request: it is acknowledged at once, and done in its turn."""
        if self._closed.is_set():
            return
        self._taken.append(request.id)
        self._notice = ""  # what went wrong before is read
        self._errands.add(request)
        self.wake()

    def resend(self) -> None:
        """Send a whole frame: a page has missed something."""
        self._resend = True
        self.wake()

    def close(self) -> None:
        """End the thread, and listen no more."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._errands.clear()
        self._wake.set()
        pool = self._pool()
        if pool is not None and self._listener is not None:
            pool.off_worker_event(listener_id=self._listener)
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _heard(self, event: Any) -> None:
        self.wake()

    def _do(self, request: Request) -> None:
        pool = self._pool()
        try:
            if pool is not None:
                perform(pool, request)
        except Exception as error:  # whatever it is, the one who clicked is to see it
            self._notice = f"Could not {_asked(request)}: {error or type(error).__name__}"
        del pool
        self.wake()

    # -- the thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        looks = 0  # without news
        while not self._closed.is_set():
            self._wake.clear()  # before the look: what happens while it lasts causes another one
            try:
                looks = 0 if self.step() else looks + 1
                quiet = looks > _STILL_LOOKS
                resting = quiet and self._is_at_rest()
                if self._looked is not None:
                    self._looked(resting)
            except Exception:  # the kernel is shutting down: there is nobody to show it to
                break
            if resting and self._leaves():
                return
            self._closed.wait(FRAME_S)
            self._wake.wait(IDLE_S - FRAME_S if quiet else 0)
        with self._lock:
            self._thread = None

    def _is_at_rest(self) -> bool:
        """Tell whether nothing can happen of which no event would tell."""
        return self._latest[0]["pool"]["state"] in ("stopped", "gone") and not self._errands.busy

    def _leaves(self) -> bool:
        with self._lock:
            if self._wake.is_set():  # somebody relied on this thread a moment ago
                return False
            self._thread = None
            return True

    def step(self) -> bool:
        """Look at the pool, show what is new, and tell whether anything was."""
        pool = self._pool()
        frame = self._latest[0]
        try:
            frame = _without_pool(frame) if pool is None else self._look_at(pool)
        except Exception as error:  # of the pool's; the dashboard is the last to break
            self._notice = f"Could not look at the pool: {error or type(error).__name__}"
        del pool  # it is not kept alive by a page
        return self._send(frame)

    def _look_at(self, pool: Any) -> Frame:
        last, now = self._latest[0], self._clock()
        snapshot = pool.snapshot()
        events: Any = ()
        if snapshot.events != self._events_seen:
            events = pool.events()
            self._events_seen = snapshot.events
        readings = self._meter.read(snapshot, now)
        return frame_of(snapshot, events, now, readings=readings, last=last)

    def _send(self, frame: Frame) -> bool:
        last, seq, said = self._latest
        message: dict[str, Any] = diff(last, frame) or {}
        if self._notice != said:
            said = message["notice"] = self._notice
        if self._resend:
            self._resend = False
            message = {"whole": {**frame, "notice": said}}
        if self._taken:
            message["taken"] = [self._taken.popleft() for _ in range(len(self._taken))]
        if not message:
            return False
        self._latest = (frame, seq + 1, said)
        self._show({"seq": seq + 1, "now": round(self._clock(), 3), **message})
        return True


def _asked(request: Request) -> str:
    return {
        "restart": f"restart worker {request.number}",
        "scale": f"scale to {request.number}",
        "start": "start the workers",
        "stop": "stop the workers",
    }[request.action]


def _without_pool(frame: Frame) -> Frame:
    """Return what is left to see of a pool that was dropped."""
    return Frame(pool={**frame["pool"], "state": "gone"}, workers=[], events=frame["events"])
