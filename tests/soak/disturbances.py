"""What disturbs the program around a pool: handlers of signals that raise, recursion, forks, finalizers."""

from __future__ import annotations

import atexit
import gc
import os
import random
import signal
import sys
import tempfile
import threading
import warnings
import zlib
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import wait
from contextlib import suppress
from typing import Any

import numpy as np

from wpc_magic.pool.errors import DefinitionError, WpcError

from .actors import State, pause
from .ledger import PATIENCE_S, Entry

__all__ = ["FinalizerOwner", "MainThread"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGUSR1)
_ACTIONS = {"call": 20, "map": 3, "definition": 1, "recursion": 3, "fork": 1}
_EXCUSED: Counter[str] = Counter()  # whatever has happened since the beginning may have ended such a call


class Raised(BaseException):
    """What the handlers of signals raise."""


class MainThread:
    """Uses the pool from the main thread, where handlers raise at any time; recurses, and forks.

    A call whose future was lost to an exception before anyone had it still ends in its worker; the soak
    checks at its end that none is left.
    """

    def __init__(self, state: State, rng: random.Random) -> None:
        self.state, self.rng = state, rng
        self.pool, self.ledger = state.pool, state.ledger
        self.raised = 0
        self._armed = False
        self._kept: deque[tuple[Any, int]] = deque(maxlen=3)

    def run(self) -> None:
        """Act until the end of the run."""
        before = {number: signal.signal(number, self._on_signal) for number in _SIGNALS}
        hook, sys.unraisablehook = sys.unraisablehook, _show_unraisable
        sender = threading.Thread(target=self._send, name="sender of signals")
        sender.start()
        try:
            while not self.state.is_over():
                (action,) = self.rng.choices(list(_ACTIONS), list(_ACTIONS.values()))
                getattr(self, f"_{action}")()
        finally:
            sender.join()
            for number, handler in before.items():
                signal.signal(number, handler)
            sys.unraisablehook = hook
            self._kept.clear()

    def _send(self) -> None:
        rng = random.Random(self.rng.random())
        while not self.state.is_over():
            pause(rng.random() ** 3 * 0.02)
            os.kill(os.getpid(), rng.choice(_SIGNALS))

    def _on_signal(self, number: int, frame: object) -> None:
        if self._armed:
            self._armed = False  # the next one raises after this one was handled
            self.raised += 1
            raise Raised(number)

    def _disturbed(self, act: Callable[[], object]) -> bool:
        """Do something during which handlers raise; return whether none did."""
        try:
            try:
                self._armed = True
                act()
            finally:
                self._armed = False
        except Raised:
            return False
        return True

    def _call(self) -> None:
        entries: list[Entry] = []
        size = self.rng.choice((0, 0, 0, 300_000))

        def act() -> None:
            for _ in range(5):
                entry = Entry(self.ledger, "makes" if size else "echoes")
                entry.is_expected = _equal_to(entry.number, size)
                args = (entry.number, size) if size else (entry.number,)
                future = self.pool.call[entry.what](*args)
                entry.future = future
                entries.append(entry)
                wait([future], 0.001)
                with suppress(Exception):  # it is judged below
                    future.result(PATIENCE_S)

        self._disturbed(act)
        for entry in entries:
            self.ledger.add(1)
            self.ledger.judge(entry)
            if entry.what == "makes" and not entry.future.cancelled() and entry.future.exception() is None:
                value = entry.future.result()
                self._kept.append((value, zlib.crc32(value)))

    def _map(self) -> None:
        found: list[int] = []
        expected = [x * x for x in range(500)]
        entry = Entry(self.ledger, "map")
        try:
            self._disturbed(lambda: found.extend(self.pool.call.squares.map(range(500), chunk_size=20)))
        except Exception as error:
            self.ledger.add(1)
            self.ledger.judge(entry, error=error)
        else:
            if found != expected[: len(found)]:
                self.ledger.note(f"a map that was disturbed gave {found[:20]} ...")

    def _definition(self) -> None:
        number = self.rng.randrange(1000)
        source = f"def of_main(): return {number}"
        with suppress(DefinitionError):  # a worker that is killed meanwhile refuses it
            self._disturbed(lambda: self.pool.define_worker_functions(source))

    def _recursion(self) -> None:
        def descend(depth: int) -> Any:
            return descend(depth - 1) if depth else self.pool.call.echoes(1).result(PATIENCE_S)

        room = sys.getrecursionlimit() - len(_frames())
        with suppress(Exception):  # RecursionError, mostly
            self._disturbed(lambda: descend(room - self.rng.randrange(120)))

    def _fork(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the process has threads, on purpose
            pid = os.fork()
        if not pid:
            code = 1
            try:
                code = self._in_child()
            except BaseException as error:
                os.write(2, f"in a forked child: {error!r}\n".encode())
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        if status:
            self.ledger.note(f"a forked child ended with status {status:#x}")
        if any(zlib.crc32(value) != check for value, check in self._kept):
            self.ledger.note("a forked child has changed an array of this process")

    def _in_child(self) -> int:
        """Write to what the parent has, ask the pool, and run what runs at exit; nothing may come of it."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(int(PATIENCE_S))  # ends a child that hangs
        for value, _ in self._kept:
            value[:] = 1
        refused = 0
        try:
            self.pool.call.echoes(1)
        except WpcError:
            refused = 1
        with tempfile.TemporaryFile(buffering=0) as file:
            gc.collect()
            atexit._run_exitfuncs()
            return 0 if refused and not file.tell() and not file.read() else 1


class FinalizerOwner:
    """Makes garbage in cycles whose finalizers ask the pool, in whatever thread the collector runs."""

    def __init__(self, state: State, rng: random.Random) -> None:
        self.state, self.rng = state, rng
        self._futures: deque[Any] = deque()

    def run(self) -> None:
        """Act until the end of the run."""
        while not self.state.is_over():
            for _ in range(self.rng.randrange(10)):
                _Garbage(self.state.pool, self._futures)
            if self.rng.random() < 0.1:
                gc.collect()
            pause(self.rng.random() * 0.01)
            self._judge()
        gc.collect()
        self._judge()

    def _judge(self) -> None:
        ledger = self.state.ledger
        while self._futures:
            entry = Entry(ledger, "echoes")
            entry.finished_before = _EXCUSED
            entry.future = self._futures.popleft()
            entry.is_expected = lambda value: value == 5
            ledger.add(1)
            ledger.judge(entry)


class _Garbage:
    def __init__(self, pool: Any, futures: deque[Any]) -> None:
        self.pool, self.futures, self.myself = pool, futures, self
        self.block = np.empty(10)

    def __del__(self) -> None:
        with suppress(WpcError):  # in a forked child, or inside of a step of the pool
            self.pool.get_worker_health_states()
            self.futures.append(self.pool.call.echoes(5))


def _show_unraisable(unraisable: Any) -> None:
    """Show what a finalizer has raised, except by a handler of a signal, or for want of stack."""
    if unraisable.exc_type not in (Raised, RecursionError):
        sys.__unraisablehook__(unraisable)


def _equal_to(number: int, size: int) -> Callable[[Any], bool]:
    if not size:
        return lambda value: value == number
    return lambda value: value.nbytes == size and bool((value == number % 251).all())


def _frames() -> list[Any]:
    frames, frame = [], sys._getframe()
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return frames
