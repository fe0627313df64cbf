"""The whole of a soak: a warm-up, a picture, everything at once for a time, and another picture."""

from __future__ import annotations

import threading
import time
import traceback
from collections import Counter
from typing import Any

import numpy as np

from wpc_magic import WorkerProcedureCall

from . import picture, work
from .actors import Stage, cast
from .ledger import PATIENCE_S

WORKERS = 3  # when a picture is taken
_WARM_S = 5.0
_CALLERS = 3
_REST_S = 30.0  # memory that nobody uses is given back after some seconds
_IDLE_S = 9.0  # the same, at the usual pace
_LOOK_S = 1.0
_BAD_EVENTS = {"malformed_worker_message", "unknown_worker_message", "worker_restart_exhausted",
               "malformed_parent_message", "malformed_control_request", "uncaught_exception",
               "unhandled_rejection"}  # fmt: skip


class Soak:
    """One soak.

    Parameters
    ----------
    seed : int
        What decides what every thread does.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.events: Counter[str] = Counter()
        self.pool = pool = WorkerProcedureCall(
            restart_base_delay_ms=1,
            restart_max_delay_ms=50,
            restart_jitter_ms=0,
            max_restarts_per_worker=1_000_000,
            interrupt_grace_ms=500,
            start_timeout_ms=60_000,
            control_timeout_ms=60_000,
            heartbeat_interval_ms=250,  # workers give back memory when they are asked for a sign of life
        )
        pool.on_worker_event(listener=lambda event: self.events.update([event.event_name]))
        pool.define_worker_functions(work.PLAIN)
        pool.define_worker_functions(work.versioned(0))
        pool.define_worker_functions(work.MENDED)
        pool.define_worker_constant(name="ROUND", value=(0, np.zeros(10, np.int64)))
        pool.define_worker_functions(work.CONSTANT)
        self._until = 0.0
        self.stage = Stage(pool, lambda: time.monotonic() >= self._until or bool(self.ledger.wrong))
        self.ledger = self.stage.ledger
        pool.output_sink = lambda output: self.ledger.said.update(output.text.splitlines(keepends=True))

    def run(self, seconds: float) -> list[str]:
        """Run for a time; return what is wrong, and print what there was."""
        wrong = self.ledger.wrong
        self.pool.start_workers(WORKERS)
        try:
            warm_s = min(_WARM_S, seconds / 3)
            self._act(warm_s, "warm-up")
            if not wrong:  # a pool that has lost a call may never come to rest
                before = self._rest(None)
                print(f"after the warm-up: {before}", flush=True)
                self._act(seconds - warm_s, "soak")
            if not wrong:
                after = self._rest(before)
                print(f"at the end:        {after}", flush=True)
                wrong += after.more_than(before)
        finally:
            self.pool.stop_workers()
        self.ledger.check_totals()
        wrong += [f"{self.events[name]} × the event {name}" for name in _BAD_EVENTS & set(self.events)]
        self._tell()
        return wrong

    def _act(self, seconds: float, part: str) -> None:
        """Have everybody act for a time."""
        self._until = time.monotonic() + seconds
        threads = []
        for name, act in cast(self.stage, f"{self.seed} {part}", _CALLERS):
            threads.append(threading.Thread(target=self._guard, args=(name, act), name=name))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _guard(self, name: str, act: Any) -> None:
        try:
            act()
        except BaseException:
            self.ledger.note(f"the {name} failed: {traceback.format_exc()}")

    def _rest(self, before: picture.Picture | None) -> picture.Picture:
        """Let the pool come to rest, in the same state each time; return a picture of it."""
        pool, stage = self.pool, self.stage
        pool.resize(WORKERS)
        pool.wait_until_ready()
        stage.round = stage.newest_round = stage.newest_round + 1
        pool.define_worker_constant(name="ROUND", value=(stage.round, np.full(10, stage.round)))
        pool.restart_workers()
        pool.wait_until_ready()
        for _ in range(3):  # what a worker needs once, it has after that
            for name, *args in (("says", 0), ("awaits", 0, 1), ("makes", 0, 3_000_000), ("reads_constant",)):
                for future in pool.broadcast(name, *args).values():
                    future.result(PATIENCE_S)
            for future in pool.broadcast("flips", 0, np.zeros(3_000_000, np.uint8)).values():
                future.result(PATIENCE_S)
        del future
        self.ledger.said.clear()
        until = time.monotonic() + (_REST_S if before is not None else _IDLE_S)
        while True:
            threading.Event().wait(_LOOK_S)
            now = picture.take(pool)
            if time.monotonic() >= until or (before is not None and not now.more_than(before)):
                return now

    def _tell(self) -> None:
        ledger = self.ledger
        ended = ", ".join(f"{count} {name}" for name, count in ledger.ended.most_common())
        print(f"{ledger.made} calls ended: {ended}")
        print(f"{self.stage.definitions} definitions; events: {dict(self.events.most_common())}", flush=True)
