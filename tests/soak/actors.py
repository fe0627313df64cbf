"""The actors of a soak, which call, define and inject faults: each a thread with its own random source."""

from __future__ import annotations

import asyncio
import os
import random
import select
import signal
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from typing import Any

import numpy as np

from wpc_magic import WorkerProcedureCall
from wpc_magic.pool.errors import DefinitionError

from . import work
from .ledger import BREAK, CANCEL_ALL, DEATH, FORCE, KILL, PATIENCE_S, RESIZE, RESTART, Entry, Ledger

__all__ = ["State", "make_actors", "pause"]

_MOST_WORKERS = 4
_KINDS = {
    "echoes": 30, "naps": 10, "spins": 10, "fails": 5, "says": 5, "flips": 3, "makes": 3, "versioned": 10,
    "reads_constant": 5, "awaits": 10, "awaits_and_spins": 4, "swallows": 0.1, "dies": 0.15,
}  # fmt: skip
_ACTIONS = {"kill": 6, "restart": 2, "drain": 2, "resize": 3, "cancel_all": 1, "check": 6, "other_pool": 1}
_KEPT = 6  # large arrays that a caller keeps for a while, to check that they are not overwritten


class State:
    """State that all actors share.

    Attributes
    ----------
    defined, newest : int
        The latest revision of `versioned` that was committed, and the latest that was proposed.
    round, newest_round : int
        The same of the constant.
    definitions : int
        The number of definitions.
    """

    def __init__(self, pool: WorkerProcedureCall, is_over: Callable[[], bool]) -> None:
        self.pool = pool
        self.ledger = Ledger()
        self.is_over = is_over
        self.defined = self.newest = 0
        self.round = self.newest_round = 0
        self.definitions = 0


def _revision(state: State, least: int) -> Callable[[Any], bool]:
    return lambda value: value in {revision % 50 for revision in range(least, state.newest + 1)}


def _round(state: State, least: int) -> Callable[[Any], bool]:
    return lambda value: len(set(value)) == 1 and least <= value[0] <= state.newest_round


class Caller:
    """Makes calls of every kind, in small batches, and cancels some."""

    def __init__(self, state: State, rng: random.Random) -> None:
        self.state, self.rng = state, rng
        self.pool, self.ledger = state.pool, state.ledger
        self._kept: deque[tuple[Any, int]] = deque(maxlen=_KEPT)

    def entry(self) -> Entry | None:
        """Make one call of a random kind, under random options."""
        rng, state = self.rng, self.state
        (what,) = rng.choices(list(_KINDS), list(_KINDS.values()))
        entry = Entry(self.ledger, what, is_async=what.startswith("awaits"))
        number = entry.number
        entry.is_expected = lambda value: value == number
        args: tuple[Any, ...] = (number,)
        if what == "naps":
            args = number, rng.randrange(1, 12)
        elif what == "spins":
            args = number, rng.randrange(1, 100_000)
        elif what.startswith("awaits"):
            args = number, rng.randrange(1, 8)
        elif what == "flips":
            array = np.frombuffer(rng.randbytes(1000) * rng.choice((1, 200, 3000)), np.uint8).copy()
            expected = array ^ np.uint8(number % 256)
            entry.is_expected, args = self._array(expected), (number, array)
        elif what == "makes":
            size = rng.choice((1000, 300_000, 3_000_000))
            entry.is_expected, args = self._array(np.full(size, number % 251, np.uint8)), (number, size)
        elif what == "versioned":
            entry.is_expected, args = _revision(state, state.defined), ()
        elif what == "reads_constant":
            entry.is_expected, args = _round(state, state.round), ()
        elif what == "dies":
            entry.dies = True
            self.ledger.spans.begin(DEATH)
        elif what == "swallows":
            self.ledger.spans.begin(FORCE)  # never finished: its worker is killed some time after its call
        options: dict[str, Any] = {}
        if what == "swallows" or rng.random() < 0.04:
            options["timeout_ms"], entry.timeout = rng.randrange(1, 20), True
        if rng.random() < 0.02:
            options["queue_timeout_ms"], entry.queue_timeout = rng.randrange(1, 50), True
        if rng.random() < 0.05 and what not in ("dies", "swallows"):
            options["retries"] = 3
        procedure = self.pool.call[what].options(**options) if options else self.pool.call[what]
        return entry if self.ledger.make(entry, lambda: procedure(*args)) else None

    def _array(self, expected: Any) -> Callable[[Any], bool]:
        check = zlib.crc32(expected)

        def is_expected(value: Any) -> bool:
            if value.nbytes > 1 << 18:
                self._kept.append((value, check))
            return zlib.crc32(value) == check

        return is_expected

    def check_kept(self) -> None:
        """Check that values returned earlier were not overwritten."""
        if any(zlib.crc32(value) != check for value, check in self._kept):
            self.ledger.note("an array that was returned has changed afterwards")

    def judge(self, entry: Entry) -> None:
        self.ledger.judge(entry)
        if entry.dies:
            self.ledger.spans.end(DEATH)
        has_said = entry.what == "says" and not entry.future.cancelled() and not entry.future.exception(0)
        if has_said and not self.ledger.was_said(f"said {entry.number}\n"):
            self.ledger.note(f"{entry} has returned, and what it printed is not there")

    def run(self) -> None:
        """Call from a thread, until the end of the run."""
        rng = self.rng
        while not self.state.is_over():
            batch = [e for _ in range(rng.choice((1, 1, 2, 5, 20))) if (e := self.entry()) is not None]
            for entry in batch:
                if rng.random() < 0.08:
                    entry.cancel()
            if rng.random() < 0.2:
                wait([entry.future for entry in batch], rng.random() * 0.02, FIRST_COMPLETED)
                for entry in batch:
                    if rng.random() < 0.2:
                        entry.cancel()
            rng.shuffle(batch)
            for entry in batch:
                self.judge(entry)
            self.check_kept()
        self._kept.clear()

    async def run_async(self) -> None:
        """Call from an event loop, until the end of the run."""
        rng = self.rng
        while not self.state.is_over():
            batch = [e for _ in range(rng.choice((1, 2, 8))) if (e := self.entry()) is not None]
            tasks = [asyncio.ensure_future(_wait(entry)) for entry in batch]
            if rng.random() < 0.3:
                await asyncio.sleep(rng.random() * 0.01)
                for entry, task in zip(batch, tasks, strict=True):
                    if rng.random() < 0.3:
                        entry.task_cancelled = True
                        task.cancel()
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE_S)
            for entry in batch:
                self.judge(entry)
            self.check_kept()
        self._kept.clear()


async def _wait(entry: Entry) -> Any:
    return await entry.future


class Mapper:
    """Maps and broadcasts."""

    def __init__(self, state: State, rng: random.Random) -> None:
        self.state, self.rng = state, rng
        self.pool, self.ledger = state.pool, state.ledger

    def run(self) -> None:
        while not self.state.is_over():
            self.rng.choice(
                (self.map, self.map, self.map_that_fails, self.map_that_is_closed_early, self.broadcast)
            )()

    def map(self) -> None:
        count = self.rng.choice((1, 10, 1000, 20_000))
        size = self.rng.choice((None, 1 + count // 7))
        ordered = self.rng.random() < 0.7
        entry = Entry(self.ledger, "map of squares")
        expected = [x * x for x in range(count)]
        entry.is_expected = lambda found: (found if ordered else sorted(found)) == expected
        self._judge(
            entry, lambda: list(self.pool.call.squares.map(range(count), chunk_size=size, ordered=ordered))
        )

    def map_that_fails(self) -> None:
        entry = Entry(self.ledger, "map that fails")
        entry.is_expected = lambda found: found == list(range(13))

        def take() -> list[int]:
            found = []
            try:
                for value in self.pool.call.stumbles.map(range(100), chunk_size=self.rng.choice((1, 5, 40))):
                    found.append(value)
            except ValueError as error:
                if error.args != (13,):
                    raise
            return found

        self._judge(entry, take)

    def map_that_is_closed_early(self) -> None:
        entry = Entry(self.ledger, "map that is closed early")
        entry.is_expected = lambda found: found == [0, 1, 4]

        def take() -> list[int]:
            with self.pool.call.squares.map(range(1_000_000_000), chunk_size=3) as results:
                return [next(results) for _ in range(3)]

        self._judge(entry, take)

    def _judge(self, entry: Entry, take: Callable[[], Any]) -> None:
        value = error = None
        try:
            value = take()
        except Exception as caught:
            error = caught
        self.ledger.add(1)
        self.ledger.judge(entry, value, error)

    def broadcast(self) -> None:
        entry = Entry(self.ledger, "broadcast", pinned=True)
        number = entry.number
        futures: dict[int, Any] = {}

        def call() -> Any:
            futures.update(self.pool.broadcast("echoes", number))
            return next(iter(futures.values()))

        # If a slot is removed meanwhile, its call is rejected; those before it run, but are not recorded.
        if self.ledger.make(entry, call):
            entries = [
                entry,
                *(Entry(self.ledger, "broadcast", pinned=True) for _ in range(len(futures) - 1)),
            ]
            self.ledger.made += len(futures) - 1
            for each, future in zip(entries, futures.values(), strict=True):
                each.finished_before, each.future = entry.finished_before, future
                each.is_expected = lambda value: value == number
                self.ledger.judge(each)


class Definer:
    """Redefines, one after another: a function, a constant, and a function that no worker can install."""

    def __init__(self, state: State, rng: random.Random) -> None:
        self.state, self.rng = state, rng
        self.pool, self.ledger = state.pool, state.ledger

    def run(self) -> None:
        while not self.state.is_over():
            roll = self.rng.random()
            if roll < 0.5:
                self.function()
            elif roll < 0.97:
                self.constant()
            else:
                self.broken()
            self.state.definitions += 1
            pause(self.rng.random() * 0.1)

    def _define(self, define: Callable[[], object]) -> bool:
        finished = self.ledger.spans.finished()
        try:
            define()
        except DefinitionError as error:
            if not self.ledger.spans.since(finished) & {KILL, RESTART, RESIZE}:
                self.ledger.note(f"a definition was refused: {error!r}")
            return False
        return True

    def function(self) -> None:
        state = self.state
        revision = state.newest + 1
        state.newest = revision
        if self._define(lambda: self.pool.define_worker_functions(work.versioned(revision))):
            state.defined = revision

    def constant(self) -> None:
        state = self.state
        number = state.newest_round + 1
        state.newest_round = number
        size = self.rng.choice((10, 100_000))
        value = (number, np.full(size, number, np.int64))
        if self._define(lambda: self.pool.define_worker_constant(name="ROUND", value=value)):
            state.round = number

    def broken(self) -> None:
        with self.ledger.spans.doing(BREAK):
            try:
                # Accepted only if all workers are busy; they later fail to install it, and are replaced.
                self.pool.define_worker_functions(work.BROKEN)
            except DefinitionError:
                pass
            self._define(lambda: self.pool.define_worker_functions(work.MENDED))
            self.pool.wait_until_ready()


class FaultInjector:
    """Kills, restarts, resizes, cancels everything, makes a second pool, checks the invariants."""

    def __init__(self, state: State, rng: random.Random) -> None:
        self.state, self.rng = state, rng
        self.pool, self.spans = state.pool, state.ledger.spans

    def run(self) -> None:
        while not self.state.is_over():
            pause(self.rng.random() * 0.3)
            (action,) = self.rng.choices(list(_ACTIONS), list(_ACTIONS.values()))
            getattr(self, f"_{action}")()

    def _worker(self) -> Any:
        return self.rng.choice(self.pool.snapshot().workers)

    def _kill(self) -> None:
        pid = self._worker().pid
        with self.spans.doing(KILL):
            try:
                fd = os.pidfd_open(pid or -1)
            except OSError:  # it has exited already
                return
            try:
                # By pidfd, since the pid may have been reused.
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                exited = select.poll()
                exited.register(fd, select.POLLIN)
                if not exited.poll(PATIENCE_S * 1000):
                    self.state.ledger.note(f"process {pid} does not end")
            finally:
                os.close(fd)

    def _restart(self) -> None:
        with self.spans.doing(RESTART):
            self._restart_one(False)

    def _drain(self) -> None:
        self._restart_one(True)

    def _restart_one(self, drain: bool) -> None:
        workers = [each.worker_id for each in self.pool.get_worker_health_states()]
        self.pool.restart_worker(self.rng.choice(workers), drain=drain)

    def _resize(self) -> None:
        with self.spans.doing(RESIZE):
            self.pool.resize(self.rng.randrange(1, _MOST_WORKERS + 1))

    def _cancel_all(self) -> None:
        with self.spans.doing(CANCEL_ALL):
            self.pool.cancel_all()

    def _check(self) -> None:
        with self.pool._driver.lock:
            try:
                self.pool._driver.core.check()
            except AssertionError as error:
                self.state.ledger.note(f"an invariant: {error}")

    def _other_pool(self) -> None:
        with WorkerProcedureCall(name="other") as other:
            other.define_worker_functions("def triple(x): return 3 * x")
            other.start_workers(1)
            if other.call.triple(14).result(PATIENCE_S) != 42:
                self.state.ledger.note("another pool computes wrongly")


def pause(seconds: float) -> None:
    """Sleep; no event is expected at its end."""
    select.select([], [], [], seconds)


def make_actors(state: State, seed: str, callers: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the actors by name; the random source of each depends only on the seed and on its name."""

    def rng(name: str) -> random.Random:
        return random.Random(f"{seed} {name}")

    for n in range(callers):
        yield f"caller {n}", Caller(state, rng(f"caller {n}")).run
    loop = Caller(state, rng("event loop"))
    yield "event loop", lambda: asyncio.run(loop.run_async())
    yield "mapper", Mapper(state, rng("mapper")).run
    yield "definer", Definer(state, rng("definer")).run
    yield "fault injector", FaultInjector(state, rng("fault injector")).run
