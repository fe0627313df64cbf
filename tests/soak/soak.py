"""The soak test: a warm-up, a measurement, everything at once for a time, and another measurement."""

from __future__ import annotations

import random
import threading
import time
import traceback
from collections import Counter
from typing import Any

import numpy as np

from wpc_magic import WorkerProcedureCall
from wpc_magic.pool.errors import InstallError

from . import resources, work
from .actors import State, make_actors
from .disturbances import FinalizerOwner, MainThread
from .ledger import PATIENCE_S

WORKERS = 3  # during a measurement
_WARM_S = 5.0
_CALLERS = 3
_MOST_IDLE_S = 30.0  # unused memory is released after some seconds
_IDLE_S = 9.0  # the same, in the usual case
_POLL_S = 1.0
_BAD_EVENTS = {"malformed_worker_message", "unknown_worker_message", "worker_restart_exhausted",
               "malformed_parent_message", "malformed_control_request", "uncaught_exception",
               "unhandled_rejection"}  # fmt: skip


class Soak:
    """One run.

    Parameters
    ----------
    seed : int
        Determines the actions of every thread.
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
            heartbeat_interval_ms=250,  # workers release memory when they are pinged
        )
        pool.on_worker_event(listener=lambda event: self.events.update([event.event_name]))
        pool.define_worker_functions(work.PLAIN)
        pool.define_worker_functions(work.versioned(0))
        pool.define_worker_functions(work.MENDED)
        pool.define_worker_constant(name="ROUND", value=(0, np.zeros(10, np.int64)))
        pool.define_worker_functions(work.CONSTANT)
        self._until = 0.0
        self.state = State(pool, lambda: time.monotonic() >= self._until or bool(self.ledger.wrong))
        self.ledger = self.state.ledger
        pool.output_sink = self.ledger.texts.append  # in C: no handler of a signal stops it halfway

    def run(self, seconds: float) -> list[str]:
        """Run for a time; return the errors, and print a summary."""
        wrong = self.ledger.wrong
        self.pool.start_workers(WORKERS)
        try:
            warm_s = min(_WARM_S, seconds / 3)
            self._act(warm_s, "warm-up")
            if not wrong:  # a pool that has lost a call may never become idle
                before = self._measure_idle(None)
                print(f"after the warm-up: {before}", flush=True)
                self._act(seconds - warm_s, "soak")
            if not wrong:
                after = self._measure_idle(before)
                print(f"at the end:        {after}", flush=True)
                wrong += after.more_than(before)
        finally:
            self.pool.stop_workers()
        self.ledger.check_totals()
        wrong += [f"{self.events[name]} × the event {name}" for name in _BAD_EVENTS & set(self.events)]
        self._print_summary()
        return wrong

    def _act(self, seconds: float, part: str) -> None:
        """Run all actors for a time."""
        self._until = time.monotonic() + seconds
        threads = []
        for name, act in make_actors(self.state, f"{self.seed} {part}", _CALLERS):
            threads.append(threading.Thread(target=self._guard, args=(name, act), name=name))
        rng = random.Random(f"{self.seed} {part} disturbances")
        owner = FinalizerOwner(self.state, rng)
        threads.append(
            threading.Thread(target=self._guard, args=("finalizers", owner.run), name="finalizers")
        )
        for thread in threads:
            thread.start()
        self._guard("main thread", MainThread(self.state, rng).run)
        for thread in threads:
            thread.join()
        if not self.ledger.wrong:
            self._check_that_no_call_is_left()

    def _check_that_no_call_is_left(self) -> None:
        """Calls whose futures were lost to an exception end as well."""
        until = time.monotonic() + PATIENCE_S
        while any(state.pending_call_count for state in self.pool.get_worker_health_states()):
            if time.monotonic() > until:
                self.ledger.note(f"calls are left: {self.pool.get_worker_health_states()}")
                return
            threading.Event().wait(_POLL_S)

    def _guard(self, name: str, act: Any) -> None:
        try:
            act()
        except BaseException:
            self.ledger.note(f"the {name} failed: {traceback.format_exc()}")

    def _measure_idle(self, before: resources.Usage | None) -> resources.Usage:
        """Bring the pool to the same idle state each time; return its resource usage."""
        pool, state = self.pool, self.state
        pool.resize(WORKERS)
        pool.wait_until_ready()
        state.round = state.newest_round = state.newest_round + 1
        value = state.round, np.full(10, state.round)
        try:
            pool.define_worker_constant(name="ROUND", value=value)
        except InstallError as error:
            if "was killed by SIGKILL" not in str(error):
                raise
            pool.wait_until_ready()  # an actor's last kill was seen only now, and no more follow
            pool.define_worker_constant(name="ROUND", value=value)
        pool.restart_workers()
        pool.wait_until_ready()
        for _ in range(3):  # so that one-time allocations of a worker are made
            for name, *args in (("says", 0), ("awaits", 0, 1), ("makes", 0, 3_000_000), ("reads_constant",)):
                for future in pool.broadcast(name, *args).values():
                    future.result(PATIENCE_S)
            for future in pool.broadcast("flips", 0, np.zeros(3_000_000, np.uint8)).values():
                future.result(PATIENCE_S)
        del future
        self.ledger.texts.clear()
        self.ledger.said.clear()
        until = time.monotonic() + (_MOST_IDLE_S if before is not None else _IDLE_S)
        while True:
            threading.Event().wait(_POLL_S)
            now = resources.measure(pool)
            if time.monotonic() >= until or (before is not None and not now.more_than(before)):
                return now

    def _print_summary(self) -> None:
        ledger = self.ledger
        ended = ", ".join(f"{count} {name}" for name, count in ledger.ended.most_common())
        print(f"{ledger.made} calls ended: {ended}")
        print(f"{self.state.definitions} definitions; events: {dict(self.events.most_common())}", flush=True)
