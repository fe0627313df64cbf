"""The parts of one pool's driver, each made and connected to the others."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ..core.calls import Call
from ..core.core import Core
from ..core.room import Room
from ..engines.engine import Engine, Process, WorkerEnvironment
from ..engines.oom_kills import OomKills
from ..futures import CallFuture
from ..machine import memory_left
from ..options import PoolOptions
from .arguments import arguments_of
from .arrivals import Arrivals
from .callback_reader import CallbackReader
from .callbacks import Callbacks
from .cell_loads import CellLoads
from .condition import PoolCondition
from .effect_runner import EffectRunner
from .event_waits import EventWaits
from .failures import Failures
from .inbox import Inbox
from .link import Link
from .log_levels import LogLevelSender
from .memory import Memory
from .outbox import Outbox
from .output import OutputQueue
from .poller import Poller
from .stacks import StackRequests
from .state_lock import StateLock
from .template_modules import template_modules
from .value_passing import ValuePassing
from .waiters import Waiters

__all__ = ["Parts"]

_MAX_NOTIFICATIONS = 10_000
"""How many events wait for listeners while one of them blocks. `events` returns the latest in any case."""


class Parts:
    """The parts of one driver.

    Parameters
    ----------
    name : str
        The pool's name.
    options : PoolOptions
        The pool's options.
    engine : Engine
        Where workers live.

    Attributes
    ----------
    engine : Engine
        As above; it may become another one while the workers are stopped.
    lock : StateLock
        Protects the core and the state of all parts.
    unsettled : set of CallFuture
        The futures of calls that were made and have not ended: whatever happens, they have to.
    core : Core
        The decisions; used under `lock` only.
    cell_loads : CellLoads
        Numbers what is loaded in workers.
    failures : Failures
        The calls that have failed last.
    links : dict of Link
        The worker processes, by incarnation.
    poller, inbox, outbox : Poller, Inbox, Outbox
        Which channels are polled; what is received; what is sent.
    effects : EffectRunner
        Performs what the core decides.
    passing : ValuePassing
        Passes values to the calls that wait for them.
    condition, waiters, event_waits, callback_reader : PoolCondition, Waiters, EventWaits, CallbackReader
        Threads and event loops that wait for the pool, for a call, or for several, and that of the callbacks.
    stacks : StackRequests
        Stacks that were requested of workers.
    memory : Memory
        The shared memory of this process.
    output : OutputQueue
        What functions have printed.
    callbacks, listener_thread, output_thread : Callbacks
        Threads that call other people's code: done-callbacks, listeners, and the output sink. One that blocks
        does not hold the others up.
    listeners : dict
        The listeners for events, by number.
    left_behind : list of Process
        The processes that the system could not end in time.
    log_levels : LogLevelSender
        Tells workers which log records this process wants.
    initializer : bytes
        What each worker calls before its first call, as in `protocol.Setup`.
    worker_environment : WorkerEnvironment
        What the next worker inherits.
    have_two_cores : bool
        Whether this process and a worker may run at the same time, all the time.
    oom_kills : OomKills
        Whether the system has killed processes for want of memory.
    """

    def __init__(self, name: str, options: PoolOptions, engine: Engine) -> None:
        self.name = name
        self.engine = engine
        self.lock = StateLock()
        self.unsettled: set[CallFuture] = set()
        self.cell_loads = CellLoads()
        self.core = Core(
            options,
            timestamp=_now_as_text,
            random=random.random,
            running=self._running,
            installing=self._installing,
            prepares=self._prepares,
            load_again=self.cell_loads.load_again,
            cpu_s=self._cpu_s,
            arguments=lambda call: arguments_of(call.body, call.items),
            clock=time.monotonic,
        )
        measures = self.core.state.measures
        measures.resident, measures.nbytes, measures.in_map = self._resident, _nbytes, _in_map
        self.core.state.room_for_spares = self._room_for_spares
        self.failures = Failures(self.core.state)
        self.links: dict[int, Link] = {}
        self.listeners: dict[int, Callable[[Any], object]] = {}
        self.left_behind: list[Process] = []
        self.worker_environment = WorkerEnvironment({}, "", [])
        self.initializer = b""
        self.memory = Memory()
        self.oom_kills = OomKills([])
        self.have_two_cores = False
        self.listener_thread = Callbacks("wpc-listeners", self._notify, _MAX_NOTIFICATIONS)
        self.output_thread = Callbacks("wpc-texts", self._notify)
        self.output = OutputQueue(self.output_thread.post)
        self.poller = Poller()
        self.outbox = Outbox(self.core, self.poller, self.links)
        self.stacks = StackRequests(self.core, self.outbox, self.links)
        self.log_levels = LogLevelSender(self)
        arrivals = Arrivals(self.core.state, self.output)
        self.inbox = Inbox(
            self.core, self.poller, arrivals, self.stacks.answered, self.stacks.described, self.failures
        )
        self.effects = EffectRunner(self)
        self.waiters = Waiters(
            self.lock, self.links, self.poller, self.inbox, self.output, self.effects.apply
        )
        self.callback_reader = CallbackReader(
            self.waiters,
            self.poller,
            self.inbox,
            self.output,
            self.effects.apply,
            self.core.dispatcher.is_awaited,
        )
        self.callbacks = Callbacks("wpc-callbacks", self._notify, posted=self.callback_reader)
        self.passing = ValuePassing(
            self.lock, self.core, self.memory, self.unsettled, self.effects.apply, self.callbacks.post
        )
        self.condition = PoolCondition(self.lock, self.effects.apply)
        self.event_waits = EventWaits(
            self.waiters, self.links, self.poller, self.inbox, self.output, self.effects.apply
        )

    def environment(self) -> WorkerEnvironment:
        """Return what the next worker inherits, and how it is to be started. Under the lock."""
        state = self.core.state
        method = state.options.start_method
        if method == "spawn":
            return self.worker_environment
        return self.worker_environment._replace(
            start_method=method,
            modules=template_modules(state.registry.records.values()),
            import_s=state.options.start_timeout_ms / 1000,
        )

    def drop(self, link: Link) -> None:
        """Let go of a process: it has exited, or is left behind. Under the lock."""
        link.dead = True
        self.stacks.lost(link)
        self.poller.remove(link)
        self.links.pop(link.incarnation, None)
        link.vacate()
        if link.owner is not None:
            link.wake()
        self.waiters.close(link)

    def process_of(self, slot: int) -> Process | None:
        """Return the process that a slot has now, if it is alive. Under the lock."""
        for link in self.links.values():
            if link.slot.id == slot and not link.dead and link.process.poll() is None:
                return link.process
        return None

    def look_ns(self, process: Process) -> int:
        """Return how long whoever waits for a process may look at its status page; see `Spinning`."""
        if not process.shares_page or not self.have_two_cores:
            return 0
        return 1000 * self.core.state.options.spin_us

    def configure_memory(self) -> None:
        """Apply the options of shared memory. Under the lock."""
        self.memory.configure(self.core.state.options)
        self.memory.store.keeps_contents = self.engine.copies_blocks
        if not (self.engine.shares_memory or self.engine.copies_blocks):
            self.memory.store.limit = 0  # arguments travel through the channels

    @property
    def callback_threads(self) -> tuple[Callbacks, ...]:
        """The threads that call other people's code."""
        return self.output_thread, self.listener_thread, self.callbacks

    def _notify(self) -> None:
        with self.lock:
            self.condition.notify_all()

    def after_fork(self) -> None:
        """Forget all threads, in a fork: the locks that they held, who waits, and who is to be told."""
        self.lock.reset()
        self.unsettled.clear()
        self.condition.waiters.clear()
        self.listeners.clear()
        for callbacks in self.callback_threads:
            callbacks.forget()
        self.output.after_fork()
        self.memory.store.after_fork()
        self.poller.after_fork()
        self.engine.after_fork()

    def _running(self, incarnation: int) -> tuple[int, float]:
        link = self.links.get(incarnation)
        return (0, 0.0) if link is None else link.running()

    def _installing(self, incarnation: int) -> str:
        link = self.links.get(incarnation)
        return "" if link is None else link.process.page.installing()

    def _prepares(self, incarnation: int) -> bool:
        link = self.links.get(incarnation)
        return link is not None and link.process.page.prepares()

    def _room_for_spares(self) -> Room | None:
        if not self.engine.shares_memory:  # the workers are on other machines
            return None
        largest = max((link.process.usage.private_memory() or 0 for link in self.links.values()), default=0)
        return Room(memory_left(), largest)

    def _cpu_s(self, incarnation: int) -> float:
        link = self.links.get(incarnation)
        return 0.0 if link is None else link.process.usage.cpu_s()

    def _resident(self, incarnation: int) -> int:
        link = self.links.get(incarnation)
        return 0 if link is None else int(link.process.page.resident())


def _in_map(call: Call, ran_s: float) -> None:
    """Tell a map that a chunk of it took long."""
    future = call.future
    chunks = None if future is None else future.part_of  # None: it has ended before, cancelled for example
    if chunks is not None:
        chunks.ran_slowly(future, ran_s)


def _nbytes(call: Call) -> int:
    """Return the size of the arguments of a call, in bytes."""
    blocks = () if call.block is None else call.block.spans
    return int(len(call.body) + sum(each.nbytes for each in call.buffers) + sum(size for *_, size in blocks))


def _now_as_text() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
