"""The dashboard's own thread: polls the pool, and sends what changed.

::

    page ── click ──> submit() ── request thread ──> pool
                        │                              │ events: wake()      snapshot()
                        └── acked ──> "wpc-dashboard" <──────────────────────────┘
                                         │ at most ten a second, four while calls are short; none while
                                         │ nothing changes, or no page looks
                                         └── show(message) ──> the widget ──> page

The thread exits when the pool has stopped and no request is pending; an event, or a click, starts it again.
So a stopped pool leaves no thread, and a restart of the pool is noticed.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from .load import LoadSeries
from .meter import Meter
from .panels import Panels
from .requests import Request, RequestQueue, perform
from .view import EMPTY, Frame, diff, frame_of

__all__ = ["FRAME_S", "HIDDEN_S", "IDLE_S", "STEADY_S", "Feed"]

FRAME_S = 0.1
"""The shortest time between two frames, in seconds."""

STEADY_S = 0.25
"""The same while everything changes all the time: nobody reads ten numbers a second."""

HIDDEN_S = 5.0
"""The poll interval while no page looks, in seconds: for what a page is given that looks again."""

IDLE_S = 0.25
"""The poll interval for an idle pool, in seconds: polling is needed since calls begin without an event."""

_STEADY_POLLS = 4  # after so many polls with a change each, everything changes all the time
_IDLE_POLLS = 10  # after so many polls without a change, the pool counts as idle


class Feed:
    """Follows one pool.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool; it is not kept alive.
    show : callable
        Sends a message to the page, always in the feed's own thread. A message has ``seq``, which counts up
        by one, ``now``, the kernel's time, and the changes: see `Patch`, and ``acked`` with how many
        messages of each sender have arrived, ``replies`` with what requests asked for, ``notice`` with the
        line to show, ``full`` with a complete frame; and what `Panels` has read.
    on_poll : callable, optional
        Called after each poll, in that thread too, with whether it is the last one for now; while no page
        looks, only after the first poll, and the last.
    clock : callable
        Returns the time, in seconds of the epoch.

    Attributes
    ----------
    panels : Panels
        What is sent beside the frame, while it is looked at.

    Notes
    -----
    Nothing is sent before `follow`; until then `latest` holds the initial state of the pool.
    """

    def __init__(
        self,
        pool: Any,
        show: Callable[[dict[str, Any]], None],
        on_poll: Callable[[bool], None] | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pool = weakref.ref(pool)
        self._show = show
        self._on_poll = on_poll
        self._clock = clock
        self._meter = Meter()
        self._load = LoadSeries()
        self.panels = Panels(self._load, self.wake)
        self._requests = RequestQueue(self._perform)
        self._drains = RequestQueue(self._perform)  # they take long, and others must not wait for them
        self._events_seen = -1
        self._notice = ""  # for the next frame
        self._acked: deque[tuple[str, int]] = deque()
        self._replies: deque[dict[str, Any]] = deque()
        self._resend = False
        self._hidden = False
        self._latest: tuple[Frame, int, str] = (EMPTY, 0, "")  # one tuple: replaced atomically
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._listener: Any = None
        self._latest = (self._poll(pool), 0, "")

    @property
    def latest(self) -> tuple[Frame, int, str]:
        """The last frame, its number, and the line about the last request that failed."""
        return self._latest

    # -- for other threads ------------------------------------------------------------------------------

    def follow(self) -> None:
        """Subscribe to the pool, and begin to send changes."""
        pool = self._pool()
        if pool is not None and self._listener is None:
            self._listener = pool.on_worker_event(listener=self._on_event)
        self.wake()

    def wake(self) -> None:
        """Poll the pool now."""
        self._wake.set()
        with self._lock:
            if self._thread is None and not self._closed.is_set():
                self._thread = threading.Thread(target=self._run, name="wpc-dashboard", daemon=True)
                self._thread.start()

    def submit(self, request: Request) -> None:
        """Queue a request: it is performed in its turn."""
        if self._closed.is_set():
            return
        self.hide(False)
        self._notice = ""  # the user has seen the last error
        (self._drains if request.action == "drain" else self._requests).add(request)
        self.wake()

    def acknowledge(self, sender: str, count: int) -> None:
        """Say that so many messages of a sender have arrived, also while no page looks: that may be one."""
        self._acked.append((sender, count))
        self.wake()

    def resend(self) -> None:
        """Send a full frame: a page has missed a message."""
        self._resend = True
        self.panels.forget()
        self.wake()

    def hide(self, hidden: bool) -> None:
        """Send nothing while no page looks; then, send a full frame."""
        if hidden != self._hidden:
            self._hidden = hidden
            if not hidden:
                self.resend()

    def close(self) -> None:
        """Stop the thread, and unsubscribe from the pool."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._requests.clear()
        self._drains.clear()
        self.panels.close()
        self._wake.set()
        pool = self._pool()
        if pool is not None and self._listener is not None:
            pool.off_worker_event(listener_id=self._listener)
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _on_event(self, event: Any) -> None:
        if not self._hidden or self._thread is None:
            self.wake()

    def _perform(self, request: Request) -> None:
        pool = self._pool()
        try:
            if pool is not None and request.action == "sample":
                self.panels.sample(pool, start=request.number > 0)
            elif pool is not None and (reply := perform(pool, request)) is not None:
                self._replies.append({"id": request.id, **reply})
        except Exception as error:  # any error is shown to the user who clicked
            self._notice = f"Could not {_described(request)}: {error or type(error).__name__}"
        del pool
        self.wake()

    # -- the thread -------------------------------------------------------------------------------------

    def _run(self) -> None:
        unchanged = changed = 0  # polls in a row
        was_hidden = False
        while not self._closed.is_set():
            self._wake.clear()  # before the poll: a wake-up during it causes another one
            try:
                unchanged, changed = (0, changed + 1) if self.step() else (unchanged + 1, 0)
                hidden = self._hidden
                idle = unchanged > _IDLE_POLLS or hidden
                last = idle and not self._needs_polling()
                if self._on_poll is not None and (last or not (hidden and was_hidden)):
                    self._on_poll(last)
                was_hidden = hidden
            except Exception:  # the kernel is shutting down: no page is connected
                break
            if last and self._try_exit():
                return
            self._closed.wait(STEADY_S if changed > _STEADY_POLLS else FRAME_S)
            if self._hidden:
                self._wake.wait(HIDDEN_S)
            elif idle:
                self._wake.wait(IDLE_S - FRAME_S)
        with self._lock:
            self._thread = None

    def _needs_polling(self) -> bool:
        """Return whether the pool can change without an event."""
        return (
            self._latest[0]["pool"]["state"] not in ("stopped", "gone")
            or self._requests.busy
            or self._drains.busy
        )

    def _try_exit(self) -> bool:
        with self._lock:
            if self._wake.is_set():  # a caller of `wake` relies on this thread
                return False
            self._thread = None
            return True

    def step(self) -> bool:
        """Poll the pool, send the changes, and return whether there were any."""
        pool = self._pool()
        frame, panels = self._latest[0], {}
        try:
            frame = _without_pool(frame) if pool is None else self._poll(pool)
            if pool is not None and not self._hidden:
                panels = self.panels.read(pool, self._clock())
        except Exception as error:  # an error of the pool must not break the dashboard
            self._notice = f"Could not look at the pool: {error or type(error).__name__}"
        del pool  # so that this thread does not keep it alive
        return self._send(frame, panels)

    def _poll(self, pool: Any) -> Frame:
        last, now = self._latest[0], self._clock()
        measure = self._meter.is_due(now)  # to ask the system for each worker is most of the work
        snapshot = pool.snapshot(measure=measure)
        events: Any = ()
        if snapshot.events != self._events_seen:
            events = pool.events()
            self._events_seen = snapshot.events
        readings = self._meter.read(snapshot, now, measure)
        if measure:  # else the memory of workers is that of the last time
            self._load.add(snapshot, now, lambda: pool.block_memory().used)
        frame = frame_of(snapshot, events, now, readings=readings, last=last)
        if snapshot.state == "running" and self._drains.busy:
            frame["pool"]["state"] = "draining"
        return frame

    def _send(self, frame: Frame, panels: dict[str, Any]) -> bool:
        last, seq, notice = self._latest
        message: dict[str, Any] = {}
        is_hidden = self._hidden
        if not is_hidden:
            message = diff(last, frame) or {}
            if self._notice != notice:
                notice = message["notice"] = self._notice
            if self._resend:
                self._resend = False
                message = {"full": {**frame, "notice": notice}}
            message |= panels
            if self._replies:
                message["replies"] = [self._replies.popleft() for _ in range(len(self._replies))]
        if self._acked:
            message["acked"] = dict(self._acked.popleft() for _ in range(len(self._acked)))
        if message:
            self._latest = (frame, seq + 1, notice)
            self._show({"seq": seq + 1, "now": round(self._clock(), 3), **message})
        elif is_hidden:  # what the notebook saves, and a new page is given
            self._latest = (frame, seq, notice)
        return bool(message)


def _described(request: Request) -> str:
    return {
        "restart": f"restart worker {request.number}",
        "sample": "sample the hot lines",
        "scale": f"scale to {request.number}",
        "stack": f"take the stack of worker {request.number}",
        "start": "start the workers",
        "clear": "cancel the queued calls",
        "drain": "stop the workers when their calls have ended",
        "stop": "stop the workers",
        "stop_call": f"stop {request.text}",
        "stop_map": f"stop map {request.number}",
        "worker": f"look at worker {request.number}",
        "call": f"look at call {request.number}",
        "function": f"look at {request.text}",
        "registry": "look at the registry",
    }[request.action]


def _without_pool(frame: Frame) -> Frame:
    """Return the frame of a pool that was garbage-collected."""
    return Frame(pool={**frame["pool"], "state": "gone"}, workers=[], events=frame["events"])
