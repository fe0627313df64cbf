"""Who calls, defines, and disturbs in a soak: each a thread with dice of its own."""

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

__all__ = ["Stage", "cast"]

_MOST_WORKERS = 4
_KINDS = {
    "echoes": 30, "naps": 10, "spins": 10, "fails": 5, "says": 5, "flips": 3, "makes": 3, "versioned": 10,
    "reads_constant": 5, "awaits": 10, "awaits_and_spins": 4, "swallows": 0.1, "dies": 0.15,
}  # fmt: skip
_DEEDS = {"kill": 6, "restart": 2, "drain": 2, "resize": 3, "cancel_all": 1, "check": 6, "other_pool": 1}
_KEPT = 6  # large arrays that a caller keeps for a while, to see whether anybody writes to them


class Stage:
    """What all actors share.

    Attributes
    ----------
    defined, newest : int
        The latest revision of `versioned` whose definition has returned, and the latest that was begun.
    round, newest_round : int
        The same of the constant.
    definitions : int
        How many there were.
    """

    def __init__(self, pool: WorkerProcedureCall, is_over: Callable[[], bool]) -> None:
        self.pool = pool
        self.ledger = Ledger()
        self.is_over = is_over
        self.defined = self.newest = 0
        self.round = self.newest_round = 0
        self.definitions = 0


def _revision(stage: Stage, least: int) -> Callable[[Any], bool]:
    return lambda value: value in {revision % 50 for revision in range(least, stage.newest + 1)}


def _round(stage: Stage, least: int) -> Callable[[Any], bool]:
    return lambda value: len(set(value)) == 1 and least <= value[0] <= stage.newest_round


class Caller:
    """Makes calls of every kind, a few at a time, and stops some."""

    def __init__(self, stage: Stage, dice: random.Random) -> None:
        self.stage, self.dice = stage, dice
        self.pool, self.ledger = stage.pool, stage.ledger
        self._kept: deque[tuple[Any, int]] = deque(maxlen=_KEPT)

    def entry(self) -> Entry | None:
        """Make one call of a random kind, under random options."""
        dice, stage = self.dice, self.stage
        (what,) = dice.choices(list(_KINDS), list(_KINDS.values()))
        entry = Entry(self.ledger, what, is_async=what.startswith("awaits"))
        number = entry.number
        entry.right = lambda value: value == number
        args: tuple[Any, ...] = (number,)
        if what == "naps":
            args = number, dice.randrange(1, 12)
        elif what == "spins":
            args = number, dice.randrange(1, 100_000)
        elif what.startswith("awaits"):
            args = number, dice.randrange(1, 8)
        elif what == "flips":
            array = np.frombuffer(dice.randbytes(1000) * dice.choice((1, 200, 3000)), np.uint8).copy()
            wanted = array ^ np.uint8(number % 256)
            entry.right, args = self._array(wanted), (number, array)
        elif what == "makes":
            size = dice.choice((1000, 300_000, 3_000_000))
            entry.right, args = self._array(np.full(size, number % 251, np.uint8)), (number, size)
        elif what == "versioned":
            entry.right, args = _revision(stage, stage.defined), ()
        elif what == "reads_constant":
            entry.right, args = _round(stage, stage.round), ()
        elif what == "dies":
            entry.dies = True
            self.ledger.spans.begin(DEATH)
        elif what == "swallows":
            self.ledger.spans.begin(FORCE)  # and never over: its worker is ended some time after its call
        options: dict[str, Any] = {}
        if what == "swallows" or dice.random() < 0.04:
            options["timeout_ms"], entry.timeout = dice.randrange(1, 20), True
        if dice.random() < 0.02:
            options["queue_timeout_ms"], entry.queue_timeout = dice.randrange(1, 50), True
        if dice.random() < 0.05 and what not in ("dies", "swallows"):
            options["retries"] = 3
        procedure = self.pool.call[what].options(**options) if options else self.pool.call[what]
        return entry if self.ledger.make(entry, lambda: procedure(*args)) else None

    def _array(self, wanted: Any) -> Callable[[Any], bool]:
        check = zlib.crc32(wanted)

        def right(value: Any) -> bool:
            if value.nbytes > 1 << 18:
                self._kept.append((value, check))
            return zlib.crc32(value) == check

        return right

    def is_whole(self) -> None:
        """See whether anybody has written to what was returned before."""
        if any(zlib.crc32(value) != check for value, check in self._kept):
            self.ledger.note("an array that was returned has changed afterwards")

    def judge(self, entry: Entry) -> None:
        self.ledger.judge(entry)
        if entry.dies:
            self.ledger.spans.end(DEATH)
        if entry.what == "says" and not entry.future.cancelled() and entry.future.exception(0) is None:
            said = f"said {entry.number}\n"
            if said not in self.ledger.said:
                self.ledger.note(f"{entry} has returned, and what it printed is not there")
            self.ledger.said.discard(said)

    def run(self) -> None:
        """Call from a thread, until the time is over."""
        dice = self.dice
        while not self.stage.is_over():
            batch = [e for _ in range(dice.choice((1, 1, 2, 5, 20))) if (e := self.entry()) is not None]
            for entry in batch:
                if dice.random() < 0.08:
                    entry.cancel()
            if dice.random() < 0.2:
                wait([entry.future for entry in batch], dice.random() * 0.02, FIRST_COMPLETED)
                for entry in batch:
                    if dice.random() < 0.2:
                        entry.cancel()
            dice.shuffle(batch)
            for entry in batch:
                self.judge(entry)
            self.is_whole()
        self._kept.clear()

    async def run_async(self) -> None:
        """Call from an event loop, until the time is over."""
        dice = self.dice
        while not self.stage.is_over():
            batch = [e for _ in range(dice.choice((1, 2, 8))) if (e := self.entry()) is not None]
            tasks = [asyncio.ensure_future(_wait(entry)) for entry in batch]
            if dice.random() < 0.3:
                await asyncio.sleep(dice.random() * 0.01)
                for entry, task in zip(batch, tasks, strict=True):
                    if dice.random() < 0.3:
                        entry.stopped = True
                        task.cancel()
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), PATIENCE_S)
            for entry in batch:
                self.judge(entry)
            self.is_whole()
        self._kept.clear()


async def _wait(entry: Entry) -> Any:
    return await entry.future


class Mapper:
    """Maps and broadcasts."""

    def __init__(self, stage: Stage, dice: random.Random) -> None:
        self.stage, self.dice = stage, dice
        self.pool, self.ledger = stage.pool, stage.ledger

    def run(self) -> None:
        while not self.stage.is_over():
            self.dice.choice(
                (self.map, self.map, self.map_that_fails, self.map_that_is_left, self.broadcast)
            )()

    def map(self) -> None:
        count = self.dice.choice((1, 10, 1000, 20_000))
        size = self.dice.choice((None, 1 + count // 7))
        ordered = self.dice.random() < 0.7
        entry = Entry(self.ledger, "map of squares")
        wanted = [x * x for x in range(count)]
        entry.right = lambda found: (found if ordered else sorted(found)) == wanted
        self._judge(
            entry, lambda: list(self.pool.call.squares.map(range(count), chunk_size=size, ordered=ordered))
        )

    def map_that_fails(self) -> None:
        entry = Entry(self.ledger, "map that fails")
        entry.right = lambda found: found == list(range(13))

        def take() -> list[int]:
            found = []
            try:
                for value in self.pool.call.stumbles.map(range(100), chunk_size=self.dice.choice((1, 5, 40))):
                    found.append(value)
            except ValueError as error:
                if error.args != (13,):
                    raise
            return found

        self._judge(entry, take)

    def map_that_is_left(self) -> None:
        entry = Entry(self.ledger, "map that is left")
        entry.right = lambda found: found == [0, 1, 4]

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

        # A slot that goes in the middle of it refuses its call; those before it run, unknown to anybody.
        if self.ledger.make(entry, call):
            entries = [
                entry,
                *(Entry(self.ledger, "broadcast", pinned=True) for _ in range(len(futures) - 1)),
            ]
            self.ledger.made += len(futures) - 1
            for each, future in zip(entries, futures.values(), strict=True):
                each.over, each.future = entry.over, future
                each.right = lambda value: value == number
                self.ledger.judge(each)


class Definer:
    """Defines anew, one after another: a function, a constant, and one that no worker can install."""

    def __init__(self, stage: Stage, dice: random.Random) -> None:
        self.stage, self.dice = stage, dice
        self.pool, self.ledger = stage.pool, stage.ledger

    def run(self) -> None:
        while not self.stage.is_over():
            roll = self.dice.random()
            if roll < 0.5:
                self.function()
            elif roll < 0.97:
                self.constant()
            else:
                self.broken()
            self.stage.definitions += 1
            _pause(self.dice.random() * 0.1)

    def _define(self, define: Callable[[], object]) -> bool:
        over = self.ledger.spans.over()
        try:
            define()
        except DefinitionError as error:
            if not self.ledger.spans.since(over) & {KILL, RESTART, RESIZE}:
                self.ledger.note(f"a definition was refused: {error!r}")
            return False
        return True

    def function(self) -> None:
        stage = self.stage
        revision = stage.newest + 1
        stage.newest = revision
        if self._define(lambda: self.pool.define_worker_functions(work.versioned(revision))):
            stage.defined = revision

    def constant(self) -> None:
        stage = self.stage
        number = stage.newest_round + 1
        stage.newest_round = number
        size = self.dice.choice((10, 100_000))
        value = (number, np.full(size, number, np.int64))
        if self._define(lambda: self.pool.define_worker_constant(name="ROUND", value=value)):
            stage.round = number

    def broken(self) -> None:
        with self.ledger.spans.doing(BREAK):
            try:
                # Accepted only where all workers are busy; those then refuse it, and are replaced.
                self.pool.define_worker_functions(work.BROKEN)
            except DefinitionError:
                pass
            self._define(lambda: self.pool.define_worker_functions(work.MENDED))
            self.pool.wait_until_ready()


class Disturber:
    """Kills, restarts, resizes, stops everything, makes a second pool, tests the invariants."""

    def __init__(self, stage: Stage, dice: random.Random) -> None:
        self.stage, self.dice = stage, dice
        self.pool, self.spans = stage.pool, stage.ledger.spans

    def run(self) -> None:
        while not self.stage.is_over():
            _pause(self.dice.random() * 0.3)
            (deed,) = self.dice.choices(list(_DEEDS), list(_DEEDS.values()))
            getattr(self, f"_{deed}")()

    def _worker(self) -> Any:
        return self.dice.choice(self.pool.snapshot().workers)

    def _kill(self) -> None:
        pid = self._worker().pid
        with self.spans.doing(KILL):
            try:
                fd = os.pidfd_open(pid or -1)
            except OSError:  # it is on its way already
                return
            try:
                # By the descriptor, so that it cannot be another process that has got the number since.
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                gone = select.poll()
                gone.register(fd, select.POLLIN)
                if not gone.poll(PATIENCE_S * 1000):
                    self.stage.ledger.note(f"process {pid} does not end")
            finally:
                os.close(fd)

    def _restart(self) -> None:
        with self.spans.doing(RESTART):
            self._restart_one(False)

    def _drain(self) -> None:
        self._restart_one(True)

    def _restart_one(self, drain: bool) -> None:
        workers = [each.worker_id for each in self.pool.get_worker_health_states()]
        self.pool.restart_worker(self.dice.choice(workers), drain=drain)

    def _resize(self) -> None:
        with self.spans.doing(RESIZE):
            self.pool.resize(self.dice.randrange(1, _MOST_WORKERS + 1))

    def _cancel_all(self) -> None:
        with self.spans.doing(CANCEL_ALL):
            self.pool.cancel_all()

    def _check(self) -> None:
        with self.pool._driver.lock:
            try:
                self.pool._driver.core.check()
            except AssertionError as error:
                self.stage.ledger.note(f"an invariant: {error}")

    def _other_pool(self) -> None:
        with WorkerProcedureCall(name="other") as other:
            other.define_worker_functions("def triple(x): return 3 * x")
            other.start_workers(1)
            if other.call.triple(14).result(PATIENCE_S) != 42:
                self.stage.ledger.note("another pool computes wrongly")


def _pause(seconds: float) -> None:
    """Let time go by; nothing is expected to have happened by its end."""
    select.select([], [], [], seconds)


def cast(stage: Stage, seed: str, callers: int) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield the actors by name; the dice of each depend on the seed and its name alone."""

    def dice(name: str) -> random.Random:
        return random.Random(f"{seed} {name}")

    for n in range(callers):
        yield f"caller {n}", Caller(stage, dice(f"caller {n}")).run
    loop = Caller(stage, dice("event loop"))
    yield "event loop", lambda: asyncio.run(loop.run_async())
    yield "mapper", Mapper(stage, dice("mapper")).run
    yield "definer", Definer(stage, dice("definer")).run
    yield "disturber", Disturber(stage, dice("disturber")).run
