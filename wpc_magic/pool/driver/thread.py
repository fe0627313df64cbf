"""The driver's thread: it polls idle channels, starts processes, notices exits, and runs timers."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ..core import effects
from ..core.slots import Slot
from ..engines.engine import Note, Process, Waits
from ..engines.oom_kills import OomKills
from ..engines.process import own_authkey
from ..errors import PoolStateError, StartError
from ..futures import CallFuture
from ..interrupts.hold import find_handlers
from ..machine import have_two_cores
from ..wire import protocol
from .collapse import collapse
from .crash import crash_of
from .link import Link
from .parts import Parts

__all__ = ["DriverThread"]

_TRIM_S = 1.0
_LOOK_S = 0.05  # for signal handlers: it takes as long as half a call
_PAUSE_S = 0.1  # later than that by itself, the thread of a busy machine is seldom
_CATCH_UP_READS = 100  # of 64 KiB and more; a worker may write without an end


class DriverThread:
    """The background thread of one pool; it lives as long as the workers.

    Parameters
    ----------
    parts : Parts
        What it works with.
    fail : callable
        Given an error, has the pool refuse everything from now on: this thread cannot go on.

    Attributes
    ----------
    thread : threading.Thread or None
        The thread while it runs.
    given_up : deque
        What has a `call` that is to be cancelled.
    """

    def __init__(self, parts: Parts, fail: Callable[[PoolStateError], object]) -> None:
        self._parts = parts
        self._core, self._poller, self._effects = parts.core, parts.poller, parts.effects
        self._refuse = fail
        parts.lock.on_torn = self._torn
        self.thread: threading.Thread | None = None
        self._failure: str | None = None
        self._trim_at = 0.0
        self._abandoned = False
        self._prepared_epoch = 0  # for which the engine is ready
        self.given_up: deque[Any] = deque()
        self._leaving: deque[tuple[Process, str]] = deque()
        self._started: deque[tuple[effects.Spawn, Process | StartError | Waits | Note]] = deque()
        self._poller.handlers = {
            "call": self._on_call,
            "control": self._on_control,
            "stdout": lambda link: self._on_pipe(link, "stdout"),
            "stderr": lambda link: self._on_pipe(link, "stderr"),
            "exit": self._on_exit,
        }

    def start(self) -> None:
        """Start the thread; its first step waits for the lock. Under the lock.

        Raises
        ------
        StartError
            If this process has no descriptor, memory, or thread left for it; then nothing has changed.
        """
        parts = self._parts
        self._effects.all_stopped = False
        thread = threading.Thread(target=self._run, name="wpc-driver", daemon=True)
        try:
            parts.engine.on_leave = self._leaves
            parts.configure_memory()
            parts.oom_kills = OomKills()
            parts.have_two_cores = have_two_cores()
            self._poller.open()
            thread.start()
        except (OSError, RuntimeError) as error:
            self._poller.close()
            raise StartError(f"the workers could not be started: {error}") from error
        self.thread = thread

    def stop_soon(self) -> None:
        """Stop the workers without waiting: nobody can reach the pool any more.

        A finalizer calls this in any thread, perhaps in one that holds the lock; so it only sets a flag.
        """
        self._abandoned = True
        self._poller.wake()

    def cancel_soon(self, futures: Iterable[CallFuture]) -> None:
        """Cancel calls without waiting. A finalizer may call this, as `stop_soon`."""
        self.given_up.extend(futures)
        self._poller.wake()

    def send_block_options(self, link: Link) -> None:
        """Send a worker the options of shared memory. Under the lock."""
        store = self._parts.memory.store
        limit = 0 if link.process.blocks is None else store.limit
        come_later = link.process.lend is not None
        self._parts.outbox.send(link, protocol.Blocks(limit, store.in_memory, come_later))

    def _run(self) -> None:
        parts = self._parts
        try:
            next_look = 0.0
            while not self._effects.all_stopped:
                now = time.monotonic()
                if now >= next_look:
                    find_handlers()
                    next_look = now + _LOOK_S
                with parts.lock:
                    if parts.lock.torn is not None:
                        raise parts.lock.torn
                    seconds = self._run_due()
                    spawns = self._effects.take_spawns()
                    stopping = self._core.state.phase == "stopping"
                self._deliver_output()
                if stopping:
                    parts.engine.give_up_starts()
                if self._started:
                    self._take_in()
                if self._leaving:
                    self._let_leave()
                for spawn in spawns:
                    self._spawn(spawn)
                if (
                    not (spawns or self._started or self._leaving)
                    and (late := self._poller.sleep(seconds)) > _PAUSE_S
                ):
                    self._catch_up(late)
        except BaseException as error:
            # Not here: a handler of the log is other people's code, which may block.
            parts.callbacks.post(_log_failure, error)
            self._torn(error)
            with parts.lock:
                collapse(parts, str(self._failure))
        finally:
            self._close_engine()
            with parts.lock:
                self._poller.close()
                parts.memory.close()
                self.thread = None
                if self._failure is None:
                    parts.condition.notify_all()
                else:  # last: a waiter for a call must get that call's own error
                    parts.condition.fail(PoolStateError(f"{self._failure}; make a new one"))

    def _close_engine(self) -> None:
        """Let the engine free what it holds: without the lock, since it may wait for other machines."""
        self._parts.engine.close()
        while self._started:  # after a failure
            _, started = self._started.popleft()
            if not isinstance(started, StartError | Waits | Note):
                started.end()
                started.close()

    def _torn(self, error: BaseException) -> None:
        """Refuse everything, and have this thread end it: a step was stopped halfway. Under the lock."""
        if self._failure is None:
            why = f"{type(error).__name__}: {error}"
            self._failure = f"the pool {self._parts.name} has failed, and was ended: {why}"
            self._refuse(PoolStateError(f"{self._failure}; make a new one"))
            self._poller.wake()

    def _catch_up(self, seconds: float) -> None:
        """Read what workers have written while this process did not run, before any timer is looked at.

        Also what waiting threads would read: they have not run, either.
        """
        parts = self._parts
        with parts.lock:
            for link in list(parts.links.values()):
                for read in (parts.inbox.read_call, parts.inbox.read_control):
                    for _ in range(_CATCH_UP_READS):
                        if not read(link):
                            break
            self._core.paused(seconds, time.monotonic())
            self._effects.apply()
        self._deliver_output()

    def _run_due(self) -> float | None:
        """Run due timers and requests; return the time until the next one, in seconds."""
        parts = self._parts
        now = time.monotonic()
        if self._abandoned:
            self._abandoned = False
            self._core.supervisor.stop(now)
        self._core.tick(now)
        while self.given_up:  # the last first, as in `Dispatcher.cancel_all`
            self._core.dispatcher.cancel(self.given_up.pop().call, now)
        self._effects.apply()
        state = self._core.state
        if state.options.start_method == "template" and state.registry.epoch != self._prepared_epoch:
            self._prepared_epoch = state.registry.epoch
            parts.engine.prepare(parts.environment())
        if now >= self._trim_at:
            self._trim_at = now + _TRIM_S
            parts.oom_kills.refresh(now)
            for link in parts.memory.trim_idle(list(parts.links.values())):
                parts.outbox.trim(link)
        due = parts.core.state.timers.next_due
        waits = [] if due is None else [max(0.0, due - now)]
        again = self._poller.reclaim_parked()
        if again is not None:
            waits.append(again)
        if self._effects.all_stopped or self._effects.spawns:
            waits.append(0.0)
        seconds = min(waits, default=None)
        self._poller.wakes_at = float("inf") if seconds is None else now + seconds
        return seconds

    def _spawn(self, spawn: effects.Spawn) -> None:
        """Have the engine start a process, without the lock: that takes milliseconds, or longer."""
        parts = self._parts
        with parts.lock:
            if self._core.state.phase == "stopping":  # there may be many more, and a stop has its time
                self._spawn_failed(spawn, "the pool was stopped")
                self._effects.apply()
                return
            replaces = parts.process_of(spawn.slot)
            environment = parts.environment()
        parts.engine.start(environment, partial(self._came, spawn), replaces)
        self._take_in()

    def _came(self, spawn: effects.Spawn, started: Process | StartError | Waits | Note) -> None:
        """Note what has become of a start; any thread may call this."""
        self._started.append((spawn, started))
        if threading.current_thread() is not self.thread:
            self._poller.wake()

    def _take_in(self) -> None:
        """Take in the processes that have been started since the last time."""
        while self._started:
            spawn, started = self._started.popleft()
            with self._parts.lock:
                if isinstance(started, StartError):
                    self._spawn_failed(spawn, str(started))
                elif isinstance(started, Waits):
                    self._core.supervisor.start_waits(spawn.slot, spawn.incarnation, started.why)
                elif isinstance(started, Note):
                    self._core.state.emit(spawn.slot, started.event, "warn", details=started.details)
                else:
                    self._spawned(spawn, started)
                self._effects.apply()

    def _leaves(self, process: Process, why: str) -> None:
        """Note that the machine of a process is about to go; any thread may call this."""
        self._leaving.append((process, why))
        if threading.current_thread() is not self.thread:
            self._poller.wake()

    def _let_leave(self) -> None:
        """Have the processes leave whose machines are about to go. All that have come were taken in."""
        while self._leaving:
            process, why = self._leaving.popleft()
            with self._parts.lock:
                for link in list(self._parts.links.values()):
                    if link.process is process:
                        now = time.monotonic()
                        self._core.supervisor.leaves(link.slot.id, link.incarnation, why, now)
                self._effects.apply()

    def _spawn_failed(self, spawn: effects.Spawn, why: str) -> None:
        self._core.supervisor.spawn_failed(spawn.slot, spawn.incarnation, why, time.monotonic())

    def _spawned(self, spawn: effects.Spawn, process: Process) -> None:
        """Connect a process, and tell it what it is. Under the lock."""
        parts = self._parts
        slot = self._core.state.find_process(spawn.slot, spawn.incarnation)
        if slot is None:
            process.end()
            process.close()
            return
        try:
            link = self._connect(process, slot)
        except OSError as error:
            self._spawn_failed(spawn, f"a worker could not be started: {error}")
            return
        path = parts.worker_environment.path if process.path is None else process.path
        authkey = b"" if process.host else own_authkey()
        parts.outbox.send(link, protocol.Setup(slot.id, parts.name, path, authkey, parts.initializer))
        self.send_block_options(link)
        parts.log_levels.send_to(link)
        self._core.supervisor.spawned(
            slot.id,
            slot.incarnation,
            process.pid,
            time.monotonic(),
            _about_host(process),
            process.place_name,
        )

    def _connect(self, process: Process, slot: Slot) -> Link:
        """Return the link of a new process, which is polled from now on. Under the lock.

        Raises
        ------
        OSError
            If no descriptor is left for it; then the process has ended, and nothing of it is left.
        """
        try:
            link = Link(process, slot, self._parts.look_ns(process))
        except OSError:
            process.end()
            process.close()
            raise
        try:
            self._poller.add(link)
        except OSError:
            process.end()
            self._poller.remove(link)
            link.close()
            raise
        self._parts.links[slot.incarnation] = link
        return link

    def _deliver_output(self) -> None:
        """Call the output sink in another thread: it may wait for a call, whose answer this thread reads."""
        self._parts.output.deliver_soon()

    def _on_call(self, link: Link) -> None:
        parts = self._parts
        with parts.lock:
            if link.dead or link.lost or parts.lock.torn is not None:
                return
            if link.call.outbox and link.call.flush():
                self._poller.call(link, link.polled)
            if link.polled:
                posted, was_lone = parts.callbacks.count, len(link.slot.sent) == 1
                parts.inbox.read_call(link)
                if parts.callbacks.count != posted:
                    parts.callback_reader.offer(link, was_lone and not link.slot.sent)
            self._effects.apply()
        self._deliver_output()

    def _on_control(self, link: Link) -> None:
        parts = self._parts
        with parts.lock:
            if link.dead or link.lost or parts.lock.torn is not None:
                return
            if link.control.outbox and link.control.flush():
                self._poller.control(link)
            parts.inbox.read_control(link)
            self._effects.apply()
        self._deliver_output()

    def _on_pipe(self, link: Link, stream: str) -> None:
        parts = self._parts
        with parts.lock:
            if not link.dead:
                parts.inbox.read_pipe(link, stream)
        self._deliver_output()

    def _on_exit(self, link: Link) -> None:
        parts = self._parts
        with parts.lock:
            exitcode = link.process.poll()
            if link.dead or exitcode is None:
                return
            parts.inbox.read_all(link)
            link.dead = True
            known = exitcode if link.process.is_exit_known else None
            reason, details_of = crash_of(link, known, parts.oom_kills)
            self._core.supervisor.died(
                link.slot.id, link.incarnation, known, reason, time.monotonic(), details_of
            )
            parts.drop(link)
            self._effects.apply()
        self._deliver_output()


def _about_host(process: Process) -> dict[str, Any]:
    """Return what an event says of the machine of a process; nothing if it is this one."""
    if not process.host:
        return {}
    about: dict[str, Any] = {"host": process.host}
    if process.is_relayed:
        about["relayed"] = True
    if process.offers:
        about["resources"] = dict(process.offers)
    return about


def _log_failure(error: BaseException) -> None:
    logging.getLogger("wpc_magic").critical("the pool's own thread has failed", exc_info=error)
