"""Ten thousand stops at random times, and a ledger of the outcome of each call.

Threads and an event loop make calls and stop most of them: by cancelling the call, its task or all calls, or
by a timeout. The functions do what interrupts are known to break: imports, ``finally``, ``__del__``, C code,
a step of a coroutine, the transition between two calls. Each call has a number, and the workers log what they
observe of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import pytest

from tests.pool.conftest import PATIENCE_S
from wpc_magic import WorkerProcedureCall
from wpc_magic.pool.errors import CallTimeoutError, WorkerReplacedError

STOPS = 10_000
WORKERS = 2
SEEDS = {"threads": (1, 2), "loop": 3}

SOURCE = '''
import asyncio, hashlib, importlib, os, re, signal, sys, threading, time, weakref, zlib
from wpc_magic.pool.errors import CallInterrupted

LOCK, RLOCK, CONDITION = threading.Lock(), threading.RLock(), threading.Condition()
DATA = bytes(range(256)) * 4096
HANDLER = signal.getsignal(signal.SIGINT)
LOG = os.open(PATH, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def _record(what, n):
    os.write(LOG, f"{what} {n} {os.getpid()}\\n".encode())

class Slow:
    def __del__(self):
        _spins(0, 1)

def _spins(n, size):
    for i in range(size * 40_000):
        pass

def _cleans_up(n, size):
    try:
        _spins(n, size)
    finally:
        _spins(n, 1)
        _record("cleaned", n)

def _deletes(n, size):
    for _ in range(size):
        Slow()
    _spins(n, size)

def _sleeps(n, size):
    time.sleep(size / 100)

def _sums(n, size):
    sum(range(size * 150_000))

def _matches(n, size):
    re.match("(a+)+$", "a" * (13 + size) + "b")

def _hashes(n, size):
    hashlib.sha256(DATA * 4 * size).digest()

def _compresses(n, size):
    zlib.compress(DATA[: size << 17])

def _imports(n, size):
    importlib.import_module(f"fresh_{n}")

def _returns(n, size):
    pass

def plain(n, body, size):
    try:
        _record("begin", n)
        with LOCK, RLOCK, CONDITION:
            globals()[body](n, size)
        return n
    except CallInterrupted:
        _record("hit", n)
        raise
    finally:
        _record("end", n)

async def coroutine(n, body, size):
    try:
        _record("begins", n)
        for step in range(size):
            await asyncio.sleep(step % 3 / 200)
            globals()[body](n, 1)
        return n
    except (CallInterrupted, asyncio.CancelledError):
        _record("hits", n)
        raise

def probe(n):
    """Return what is wrong with this worker: nothing."""
    wrong = []
    if LOCK.locked() or not RLOCK.acquire(blocking=False) or not CONDITION.acquire(blocking=False):
        wrong.append("a lock is held")
    else:
        RLOCK.release(), CONDITION.release()
    if importlib.import_module(f"fresh_{n}").DONE != n:
        wrong.append("a module is torn")
    torn = [m for m in sys.modules.values() if getattr(getattr(m, "__spec__", None), "_initializing", False)]
    if torn or sys.modules.keys() & {"fresh_torn"}:
        wrong.append(f"imports that never ended: {torn}")
    # Locks by thread; since Python 3.12, weak references to lists of them.
    blocking = importlib._bootstrap._blocking_on
    blocking = getattr(blocking, "data", blocking)
    if any(each() if isinstance(each, weakref.ref) else each for each in blocking.values()):
        wrong.append("a module's lock is waited for")
    if signal.getsignal(signal.SIGINT) is not HANDLER:
        wrong.append("the handler has changed")
    if sys.exc_info() != (None, None, None):
        wrong.append("an exception is being handled")
    if re.sub("a+", "b", "caat") != "cbt" or zlib.decompress(zlib.compress(DATA)) != DATA:
        wrong.append("C code is broken")
    return os.getpid(), wrong
'''
FRESH = "total = 0\nfor i in range(30_000):\n    total += i\nimport {other}\nDONE = {n}\n"
PLAIN = {
    "_sleeps": 40, "_spins": 8, "_cleans_up": 8, "_deletes": 1, "_sums": 4, "_matches": 6, "_hashes": 8,
    "_compresses": 6, "_returns": 4, "_imports": 1,
}  # fmt: skip
STEPS = {"_spins": 1, "_sums": 1, "_returns": 12, "_hashes": 1}
WAYS = {"cancel": 15, "timeout": 3, "leave": 1}


class Entry:
    """One call: how it is stopped, and its future."""

    def __init__(self, n: int, way: str, plain: bool, all_over: int, future: Any) -> None:
        self.n, self.way, self.plain = n, way, plain
        self.all_over = all_over  # how many `cancel_all` had returned before it was made
        self.future = future
        self.accepted = False  # what `cancel` has returned
        self.callbacks = 0  # how often its callback was called; -1: it has none

    def __repr__(self) -> str:
        return f"{'plain' if self.plain else 'coroutine'} call {self.n} ({self.way})"


class Ledger:
    """How each call was stopped, its outcome, and which outcomes are wrong."""

    def __init__(self, pool: WorkerProcedureCall, folder: Path) -> None:
        self.pool, self.folder = pool, folder
        self.stops = 0
        self.wrong: list[str] = []
        self.outcomes: Counter[str] = Counter()
        self.entries: list[Entry] = []
        self._numbers = itertools.count(1)
        self._all_begun = self._all_over = 0  # calls of `cancel_all`
        self._lock = threading.Lock()

    @property
    def is_over(self) -> bool:
        return self.stops >= STOPS or bool(self.wrong)

    def fresh(self, n: int) -> None:
        """Write a module that no worker has imported yet."""
        other = f"fresh_{n}_too"
        (self.folder / f"fresh_{n}.py").write_text(FRESH.format(other=other, n=n))
        (self.folder / f"{other}.py").write_text("DONE = sum(n for n in range(10_000))\n")

    def make(self, rng: random.Random, plain: bool = True, ways: Any = WAYS) -> Entry:
        """Make a call."""
        n = next(self._numbers)
        (way,) = rng.choices(*zip(*ways.items(), strict=True))
        (body,) = rng.choices(*zip(*(PLAIN if plain else STEPS).items(), strict=True))
        procedure = self.pool.call.plain if plain else self.pool.call.coroutine
        if way == "timeout":
            procedure = procedure.options(timeout_ms=rng.randrange(1, 5))
        if body == "_imports":
            self.fresh(n)
        size = rng.randrange(1, 6) if way != "leave" else 1
        entry = Entry(n, way, plain, self._all_over, procedure(n, body, size))
        if rng.random() < 0.2:
            entry.future.add_done_callback(lambda _: self._count(entry))
        else:
            entry.callbacks = -1
        with self._lock:
            self.entries.append(entry)
        return entry

    def _count(self, entry: Entry) -> None:
        entry.callbacks += 1

    def cancel_all(self) -> None:
        with self._lock:
            self._all_begun += 1
        self.pool.cancel_all()
        with self._lock:
            self._all_over += 1

    def judge(self, entry: Entry) -> None:
        """Wait until a call has ended, and record whether its outcome is allowed."""
        try:
            outcome: Any = entry.future.result(PATIENCE_S)
            right = outcome == entry.n and not entry.accepted
            what = "value"
        except CancelledError as error:
            outcome, what = error, "cancelled"
            right = entry.accepted or entry.way == "task" or self._all_begun > entry.all_over
        except CallTimeoutError as error:
            outcome, what = error, "timed out"
            right = entry.way == "timeout"
        except WorkerReplacedError as error:
            # Its worker was tainted by another call, stopped in an import. Only coroutines run beside that.
            outcome, what = error, "replaced"
            right = not entry.plain
        except BaseException as error:
            outcome, what, right = error, "error", False
        with self._lock:
            self.outcomes[what] += 1
            self.stops += what in ("cancelled", "timed out")
            if not right:
                self.wrong.append(f"{entry} ended with {what}: {outcome!r}")

    def probe(self) -> set[int]:
        """Check that no worker is damaged; return their process ids."""
        number = next(self._numbers)
        self.fresh(number)
        pids = set()
        for future in self.pool.broadcast("probe", number).values():
            pid, wrong = future.result(PATIENCE_S)
            pids.add(pid)
            self.wrong += [f"worker {pid}: {what}" for what in wrong]
        return pids

    def check_log(self, lines: list[str]) -> Counter[str]:
        """Compare the ledger with the log of the workers; return how often each event was logged."""
        seen = [(what, int(n), int(pid)) for what, n, pid in map(str.split, lines)]
        for entry in self.entries:
            if entry.callbacks not in (-1, 1):
                self.wrong.append(f"{entry} called its callback {entry.callbacks} times")
        known = {entry.n: entry for entry in self.entries}
        for n, count in Counter(n for what, n, _ in seen if what in ("begin", "begins")).items():
            if count != 1:
                self.wrong.append(f"{known[n]} began {count} times")
        for what, n, _ in seen:
            if what in ("hit", "hits") and not self._may_be_hit(known[n]):
                self.wrong.append(f"{known[n]} saw an interrupt that was not for it")
        runs = {}  # the log lines of a synchronous call are contiguous
        for pid in {pid for _, _, pid in seen}:
            plain = [n for what, n, by in seen if by == pid and what in ("begin", "hit", "cleaned", "end")]
            for n, _ in itertools.groupby(n for n in plain if known[n].plain):
                if n in runs:
                    self.wrong.append(f"{known[n]} was seen in the middle of another one")
                runs[n] = pid
        return Counter(what for what, _, _ in seen)

    def _may_be_hit(self, entry: Entry) -> bool:
        # A call may have returned before it was stopped: then there was nothing to interrupt.
        return entry.future.cancelled() or isinstance(
            entry.future.exception(0), CallTimeoutError | WorkerReplacedError
        )


def wait_at_most(future: Any, seconds: float) -> None:
    """Wait until the call ends, or for that long."""
    with contextlib.suppress(TimeoutError, CancelledError):
        future.exception(seconds)


def stop_from_thread(ledger: Ledger, seed: int) -> None:
    """Make synchronous calls, a few at a time, and stop most of them."""
    rng = random.Random(seed)
    while not ledger.is_over:
        batch = [ledger.make(rng) for _ in range(rng.choice((1, 1, 1, 1, 1, 1, 2, 5)))]
        waits, first = rng.random() < 0.9, batch[0].future
        while waits and not (first.running() or first.done()):
            wait_at_most(first, 0.0005)
        wait_at_most(batch[rng.randrange(len(batch))].future, rng.random() * 0.002)
        for entry in rng.sample(batch, len(batch)):
            if entry.way == "cancel":
                entry.accepted = entry.future.cancel()
        if rng.random() < 0.02:
            ledger.cancel_all()
        for entry in batch:
            ledger.judge(entry)


async def stop_from_loop(ledger: Ledger, seed: int) -> None:
    """Await coroutines of workers, and some synchronous calls, in tasks that are cancelled."""
    rng = random.Random(seed)

    async def wait(entry: Entry) -> Any:
        return await entry.future

    while not ledger.is_over:
        ways = {"task": 8, "cancel": 4, "timeout": 1, "leave": 1}
        batch = [ledger.make(rng, rng.random() < 0.2, ways) for _ in range(rng.randrange(1, 9))]
        tasks = [asyncio.create_task(wait(entry)) for entry in batch]
        await asyncio.sleep(rng.random() * 0.006)
        for entry, task in rng.sample(list(zip(batch, tasks, strict=True)), len(batch)):
            if entry.way == "task":
                task.cancel()
            elif entry.way == "cancel":
                entry.accepted = entry.future.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for entry in batch:
            ledger.judge(entry)


def in_thread(ledger: Ledger, work: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        except BaseException as error:
            ledger.wrong.append(f"the test itself: {error!r}")
            raise

    thread = threading.Thread(target=run)
    thread.start()
    return thread


@pytest.mark.slow
def test_ten_thousand_stops_end_what_they_are_meant_for_and_nothing_else(
    make_pool: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(folder))
    log = folder / "log"
    pool = make_pool(0, f"PATH = {str(log)!r}\n" + SOURCE, interrupt_grace_ms=60_000, event_history=100_000)
    pool.output_sink = lambda output: None  # an interrupt in a `__del__` is printed
    pool.start_workers(WORKERS)
    ledger = Ledger(pool, folder)

    threads = [
        in_thread(ledger, lambda seed=seed: stop_from_thread(ledger, seed)) for seed in SEEDS["threads"]
    ]
    threads.append(in_thread(ledger, lambda: asyncio.run(stop_from_loop(ledger, SEEDS["loop"]))))
    for thread in threads:
        thread.join()
    assert ledger.wrong == []

    pool.wait_until_ready()
    assert len(ledger.probe()) == WORKERS
    seen = ledger.check_log(log.read_text().splitlines())
    assert ledger.wrong == []
    exits = Counter(e.details["reason"] for e in pool.events() if e.event_name == "worker_exited")
    assert set(exits) <= {"an import was interrupted"}
    with pool._driver.lock:
        pool._driver.core.check()
    hits = seen["hit"] + seen["hits"]
    print(
        f"\n{len(ledger.entries)} calls, {ledger.stops} stopped; {hits} stops hit running code "
        f"({seen['hits']} coroutines), {sum(exits.values())} of them an import; {dict(ledger.outcomes)}"
    )
    assert hits > STOPS / 10
