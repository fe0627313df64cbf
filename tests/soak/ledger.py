"""Records what happened during each call of a soak, and checks whether its outcome is allowed."""

from __future__ import annotations

import itertools
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from wpc_magic.pool.errors import (
    CallTimeoutError,
    NoWorkerError,
    OptionError,
    QueueTimeoutError,
    RequirementMissingError,
    WorkerCrashedError,
    WorkerReplacedError,
)

PATIENCE_S = 60.0  # a call that takes longer counts as lost

# Faults and operations that may affect calls while they run or wait.
KILL, RESTART, RESIZE, CANCEL_ALL = "kill", "restart", "resize", "cancel_all"
# Faults that affect only coroutines, because they share a worker with the faulty call.
DEATH, FORCE, BREAK = "death", "force", "break"


class Spans:
    """Counts how often each operation began and finished: what overlapped with a call is a difference."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: Counter[str] = Counter()
        self._finished: Counter[str] = Counter()

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
            self._finished[what] += 1

    def finished(self) -> Counter[str]:
        with self._lock:
            return Counter(self._finished)

    def since(self, finished: Counter[str]) -> set[str]:
        """Return the operations that were in progress at any time since `finished` was taken."""
        with self._lock:
            return {what for what, count in self._begun.items() if count > finished[what]}

    def count(self, what: str) -> int:
        with self._lock:
            return self._begun[what]


class Entry:
    """One call, from before its submission until its outcome is checked."""

    def __init__(self, ledger: Ledger, what: str, *, is_async: bool = False, pinned: bool = False) -> None:
        self.number = next(ledger.numbers)
        self.what = what
        self.is_async = is_async
        self.pinned = pinned
        self.finished_before = ledger.spans.finished()
        self.task_cancelled = False  # whether the task that awaits it was cancelled
        self.cancelled = False  # whether `Future.cancel` returned True
        self.timeout = self.queue_timeout = False
        self.dies = False
        self.future: Any = None
        self.is_expected: Callable[[Any], bool] = lambda value: True

    def __repr__(self) -> str:
        about = [
            name
            for name in ("is_async", "pinned", "task_cancelled", "cancelled", "timeout")
            if getattr(self, name)
        ]
        return f"{self.what} {self.number}{about or ''} ({self.future!r})"

    def cancel(self) -> None:
        self.cancelled = bool(self.future.cancel())


class Ledger:
    """Counts the outcomes of calls, and collects errors."""

    def __init__(self) -> None:
        self.numbers = itertools.count(1)
        self.spans = Spans()
        self.made = 0
        self.ended: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.crashed_sync = self.replaced_sync = 0
        self.texts: deque[Any] = deque()  # what the sink was given
        self.said: set[str] = set()  # its lines that no caller has checked yet
        self._lock = threading.Lock()

    def was_said(self, line: str) -> bool:
        """Return whether a function has printed a line; once."""
        with self._lock:
            while self.texts:
                self.said.update(self.texts.popleft().text.splitlines(keepends=True))
            found = line in self.said
            self.said.discard(line)
            return found

    def note(self, text: str) -> None:
        """Record an error."""
        with self._lock:
            self.wrong.append(text)

    def make(self, entry: Entry, call: Callable[[], Any]) -> bool:
        """Submit a call; return whether it was accepted."""
        try:
            entry.future = call()
        except (NoWorkerError, OptionError) as error:
            if not (entry.pinned and self.spans.since(entry.finished_before) & {RESIZE, KILL, RESTART}):
                self.note(f"{entry} was refused: {error!r}")
            return False
        except RequirementMissingError as error:
            # A constant that no worker could install, as those were killed meanwhile: until it is set again.
            if "killed by SIGKILL" not in str(error):
                self.note(f"{entry} was refused: {error!r}")
            return False
        self.add(1)
        return True

    def add(self, count: int) -> None:
        """Count submitted calls."""
        with self._lock:
            self.made += count

    def judge(self, entry: Entry, value: Any = None, error: BaseException | None = None) -> None:
        """Wait for the outcome of a call, and check whether it is allowed."""
        if value is None and error is None:
            try:
                value = entry.future.result(PATIENCE_S)
            except BaseException as caught:
                error = caught
        name = "value" if error is None else type(error).__name__
        if error is None:
            allowed = entry.is_expected(value) and not entry.cancelled and not entry.dies
        else:
            allowed = self._is_allowed(entry, error)
        with self._lock:
            self.ended[name] += 1
            if not entry.is_async and not entry.dies:
                self.crashed_sync += isinstance(error, WorkerCrashedError)
                self.replaced_sync += isinstance(error, WorkerReplacedError)
        if not allowed:
            happened = sorted(self.spans.since(entry.finished_before))
            shown = repr(value)[:100] if error is None else repr(error)[:300]
            self.note(f"{entry} ended with {name} {shown}; meanwhile: {happened or 'nothing'}")

    def _is_allowed(self, entry: Entry, error: BaseException) -> bool:
        happened = self.spans.since(entry.finished_before)
        if isinstance(error, CancelledError):
            return entry.cancelled or entry.task_cancelled or CANCEL_ALL in happened
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
        if isinstance(error, RequirementMissingError):
            # As it must be: a definition is set aside if workers were killed again and again at it.
            return "was killed by SIGKILL" in str(error) and self.spans.count(KILL) > 1
        return entry.what == "fails" and type(error) is ValueError and error.args == (entry.number,)

    def check_totals(self) -> None:
        """Compare the numbers of submitted and ended calls, and check how many calls a fault has failed."""
        if self.made != sum(self.ended.values()):
            self.note(f"{self.made} calls were made, and {sum(self.ended.values())} have ended")
        for what, found in ((KILL, self.crashed_sync), (RESTART, self.replaced_sync)):
            if found > self.spans.count(what):
                self.note(
                    f"{self.spans.count(what)} × {what} failed {found} synchronous calls: one each at most"
                )
