"""What was done to each call of a soak, and whether it has ended as it may."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from wpc_magic.pool.errors import (
    CallTimeoutError,
    NoWorkerError,
    OptionError,
    QueueTimeoutError,
    WorkerCrashedError,
    WorkerReplacedError,
)

PATIENCE_S = 60.0  # a call that takes longer is lost

# What may be done to calls from outside, while they run or wait.
KILL, RESTART, RESIZE, CANCEL_ALL = "kill", "restart", "resize", "cancel_all"
# What harms coroutines alone, because they share a worker with the culprit.
DEATH, FORCE, BREAK = "death", "force", "break"


class Spans:
    """How often each thing was begun, and was over: what happened in the life of a call is a difference."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: Counter[str] = Counter()
        self._over: Counter[str] = Counter()

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        self.begin(what)
        try:
            yield
        finally:
            self.end(what)

    def begin(self, what: str) -> None:
        with self._lock:
            self._begun[what] += 1

    def end(self, what: str) -> None:
        with self._lock:
            self._over[what] += 1

    def over(self) -> Counter[str]:
        with self._lock:
            return Counter(self._over)

    def since(self, over: Counter[str]) -> set[str]:
        """Return what went on at any time since `over` was asked for."""
        with self._lock:
            return {what for what, count in self._begun.items() if count > over[what]}

    def count(self, what: str) -> int:
        with self._lock:
            return self._begun[what]


class Entry:
    """One call, from before it is made until it has been judged."""

    def __init__(self, ledger: Ledger, what: str, *, is_async: bool = False, pinned: bool = False) -> None:
        self.number = next(ledger.numbers)
        self.what = what
        self.is_async = is_async
        self.pinned = pinned
        self.over = ledger.spans.over()
        self.stopped = False  # whether the task that awaits it was cancelled
        self.took = False  # whether somebody who cancelled it was told that it is
        self.timeout = self.queue_timeout = False
        self.dies = False
        self.future: Any = None
        self.right: Callable[[Any], bool] = lambda value: True

    def __repr__(self) -> str:
        about = [name for name in ("is_async", "pinned", "stopped", "took", "timeout") if getattr(self, name)]
        return f"{self.what} {self.number}{about or ''} ({self.future!r})"

    def cancel(self) -> None:
        self.took = bool(self.future.cancel())


class Ledger:
    """Counts what became of calls, and keeps what is wrong."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self.spans = Spans()
        self.made = 0
        self.ended: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.crashed_plain = self.replaced_plain = 0
        self.said: set[str] = set()  # what functions have printed, and nobody has asked for
        self._lock = threading.Lock()

    def note(self, text: str) -> None:
        """Note that something is wrong."""
        with self._lock:
            self.wrong.append(text)

    def make(self, entry: Entry, call: Callable[[], Any]) -> bool:
        """Make a call; return whether it was accepted."""
        try:
            entry.future = call()
        except (NoWorkerError, OptionError) as error:
            if not (entry.pinned and self.spans.since(entry.over) & {RESIZE, KILL, RESTART}):
                self.note(f"{entry} was refused: {error!r}")
            return False
        self.add(1)
        return True

    def add(self, count: int) -> None:
        """Count calls that were made."""
        with self._lock:
            self.made += count

    def judge(self, entry: Entry, value: Any = None, error: BaseException | None = None) -> None:
        """Wait until a call has ended, and see whether it has ended as it may."""
        if value is None and error is None:
            try:
                value = entry.future.result(PATIENCE_S)
            except BaseException as caught:
                error = caught
        name = "value" if error is None else type(error).__name__
        if error is None:
            fits = entry.right(value) and not entry.took and not entry.dies
        else:
            fits = self._fits(entry, error)
        with self._lock:
            self.ended[name] += 1
            if not entry.is_async and not entry.dies:
                self.crashed_plain += isinstance(error, WorkerCrashedError)
                self.replaced_plain += isinstance(error, WorkerReplacedError)
        if not fits:
            happened = sorted(self.spans.since(entry.over))
            shown = repr(value)[:100] if error is None else repr(error)[:300]
            self.note(f"{entry} ended with {name} {shown}; meanwhile: {happened or 'nothing'}")

    def _fits(self, entry: Entry, error: BaseException) -> bool:
        happened = self.spans.since(entry.over)
        if isinstance(error, CancelledError):
            return entry.took or entry.stopped or CANCEL_ALL in happened
        if isinstance(error, QueueTimeoutError):
            return entry.queue_timeout
        if isinstance(error, CallTimeoutError):
            return entry.timeout
        if isinstance(error, WorkerCrashedError):
            return entry.dies or KILL in happened or (entry.is_async and DEATH in happened)
        if isinstance(error, WorkerReplacedError):
            return RESTART in happened or (entry.is_async and bool(happened & {FORCE, BREAK}))
        if isinstance(error, NoWorkerError):
            return entry.pinned and bool(happened & {RESIZE, KILL})
        return entry.what == "fails" and type(error) is ValueError and error.args == (entry.number,)

    def check_totals(self) -> None:
        """Compare how many have ended with how many were made, and how many a kill may cost at most."""
        if self.made != sum(self.ended.values()):
            self.note(f"{self.made} calls were made, and {sum(self.ended.values())} have ended")
        for what, found in ((KILL, self.crashed_plain), (RESTART, self.replaced_plain)):
            if found > self.spans.count(what):
                self.note(f"{self.spans.count(what)} × {what} has cost {found} plain calls: one each at most")
