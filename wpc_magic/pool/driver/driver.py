"""The driver: the I/O around the core, which joins it to the channels, the processes and the clock.

::

       caller's thread                   "wpc-driver" thread                     worker process
    ┌──────────────────────┐    ┌───────────────────────────────────┐    ┌───────────────────────────┐
    │ Driver.submit        │    │ DriverThread                      │    │                           │
    │   │  result() await  │    │ timers    exits (pidfd)           │    │                           │
    │   │     ^       ^    │    │   │  Inbox    Engine              │    │                           │
    │   v     │       │    │    │   v    ^         ^                │    │                           │
    │ ┌────────────── Core: all decisions, under one lock ────────┐ │    │                           │
    │ └─┬───────────────────────────────┬─────────────────────────┘ │    │                           │
    │   v  EffectRunner, Outbox: calls  v  EffectRunner, Outbox:    │    │                           │
    │   │                               │  definitions, pings, kills│    │                           │
    │   ├─── call channel ──────────────┴───────────────────────────┼──> │ main thread: reads, runs, │
    │   │                                                           │    │ answers                   │
    │ read by Waiters, EventWaits, CallbackReader, or the Poller <──┼─── │                           │
    │                                          control channel <────┼──> │ control thread: pings,    │
    └──────────────────────┘    └───────────────────────────────────┘    │ revokes, stops, stacks    │
                                                                         └───────────────────────────┘

One blocking call costs seven system calls here (send, poll, recv, and four to hold SIGINT back and let it
through again; four more for each other signal that has a handler in Python) and two in the worker (recv,
send), and one wake-up on each side. Its arguments and its value are copied into a socket and out of it; large
ones once, into a block, and not out of it. The driver's thread takes no part in it.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ..core.call_place import CallPlace, place_of
from ..core.calls import Call
from ..core.core import Core
from ..core.slots import slot_of
from ..core.stream_calls import paused_streams
from ..engines.engine import Engine, WorkerEnvironment
from ..errors import NestedCallError, PoolStateError, SaturatedError, StartError, WpcError
from ..future_driver import WaitObserver
from ..futures import CallFuture
from ..interrupts.hold import HeldInterrupts, find_handlers, hold, restore
from ..interrupts.stack import ensure_step_room
from ..options import PoolOptions
from .changes import Changes
from .condition import time_left
from .inbox import settle
from .parts import Parts
from .room import RoomQueue
from .state_lock import StepInProgressError
from .streams import send_credit
from .thread import DriverThread

__all__ = ["Driver", "WorkerEnvironment"]

_LEEWAY_S = 1.0
"""How much later than its time a stop may be, on a busy machine, before a start that hangs is left behind."""


class Driver:
    """Runs one pool.

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
    parts : Parts
        What the driver is made of.
    core : Core
        The decisions; used under `lock` only.
    condition, output, stacks, memory, listeners, unsettled, failures : object
        As in `Parts`.
    changes : Changes
        Changes the definitions.
    """

    def __init__(self, name: str, options: PoolOptions, engine: Engine) -> None:
        parts = self.parts = Parts(name, options, engine)
        self.name = name
        self.lock = parts.lock
        self.core = parts.core
        self.condition, self.output, self.stacks = parts.condition, parts.output, parts.stacks
        self.memory, self.listeners, self.unsettled = parts.memory, parts.listeners, parts.unsettled
        self.failures = parts.failures
        self._state, self._dispatcher = parts.core.state, parts.core.dispatcher
        self._apply = parts.effects.apply
        self._thread = DriverThread(parts, self._refuse)
        self.changes = Changes(
            self.core, self.condition, self.memory, self.locked_core, self.reading, self.output.finish
        )
        self.wait: Callable[[CallFuture, float | None], None] = parts.waiters.wait
        self.wait_for_event, self.wait_in_loop = parts.event_waits.wait, parts.waiters.wait_in_loop
        self.ensure_read, self.poll_reserved = parts.waiters.ensure_read, parts.waiters.poll_reserved
        self.is_shown = parts.waiters.is_shown
        self.call_soon = parts.callbacks.post
        self.drop: Callable[[Any], object] = self._thread.given_up.append
        self.attach, self.pass_on = parts.passing.attach, parts.passing.pass_on
        self.cancel_unwanted, self.keep = parts.passing.cancel_unwanted, parts.memory.keep
        self.abandon, self.give_up = self._thread.stop_soon, self._thread.cancel_soon
        self.refusal: PoolStateError | None = None  # why it cannot be used any more
        self.is_fork = False  # of the process that made the pool: no answer arrives here
        self._room = RoomQueue(self.condition, self._dispatcher, self._apply, self.check, parts.unsettled)
        _drivers.add(self)

    @property
    def observer(self) -> WaitObserver | None:
        """What is told of long waits; without one, waiting costs nothing more."""
        return self.parts.waiters.observer

    @observer.setter
    def observer(self, observer: WaitObserver | None) -> None:
        waiters = self.parts.waiters
        waiters.observer = observer
        self.wait = waiters.wait if observer is None else waiters.wait_observed

    # -- start and stop ---------------------------------------------------------------------------------

    def start(self, count: int, worker_environment: WorkerEnvironment) -> None:
        """Start the workers, and return at once.

        Raises
        ------
        PoolStateError
            If they are running.
        StartError
            If this process has no descriptor, or no thread, left for them.
        """
        find_handlers()
        self.check()
        engine = self.parts.engine
        engine.open()
        try:
            with self.lock:
                self.check()
                self.core.supervisor.start(count, time.monotonic())
                self.parts.worker_environment = worker_environment
                try:
                    # It lives as long as the workers: on Linux they end with the thread that started them.
                    self._thread.start()
                except StartError as error:
                    self._undo_start(str(error))
                    raise
                self._apply()
        except StartError:
            engine.close()
            raise

    def _undo_start(self, why: str) -> None:
        """Tell the core that none of the processes was started. Under the lock."""
        self.core.supervisor.stop(time.monotonic())
        self._apply()
        for spawn in self.parts.effects.take_spawns():
            self.core.supervisor.spawn_failed(spawn.slot, spawn.incarnation, why, time.monotonic())
        self._apply()

    def begin_stop(self) -> threading.Thread | None:
        """Begin to stop the workers; return the thread that ends when everything is closed.

        None: nothing is to be waited for; so in a fork, and in a finalizer that interrupts a step.
        """
        if self.is_fork:
            return None
        if self.lock.is_owned():
            self.lock.do_after(self._begin_stop)
            return None
        with self.lock:
            return self._begin_stop()

    def _begin_stop(self) -> threading.Thread | None:
        if self.lock.torn is None:  # else everything is being ended anyway
            self.core.supervisor.stop(time.monotonic())
            self._apply()
        self.parts.poller.wake()
        return self._thread.thread

    def stop(self) -> None:
        """Stop the workers, and return when their processes have exited and everything is closed."""
        deadline = self._stop_deadline()
        thread = self.begin_stop()
        if thread is not None and thread is not threading.current_thread():
            while not self.condition.wait_for(self._ended(thread), time_left(deadline) + _LEEWAY_S):
                if self._is_starting():
                    break
            self._close_callbacks(thread)
            self.output.finish(deadline)  # at the exit of the interpreter, no thread can be started for it
            self.condition.wait_for(self._callbacks_ended, time_left(deadline), failed=True)

    async def stop_async(self) -> None:
        """Stop the workers, and let the event loop run meanwhile."""
        deadline = self._stop_deadline()
        thread = self.begin_stop()
        if thread is not None:
            while not await self.condition.wait_for_async(
                self._ended(thread), time_left(deadline) + _LEEWAY_S
            ):
                if self._is_starting():
                    break
            self._close_callbacks(thread)
            await self.condition.wait_for_async(self._callbacks_ended, time_left(deadline), failed=True)

    def _stop_deadline(self) -> float:
        return time.monotonic() + self._state.options.stop_timeout_ms / 1000

    def _ended(self, thread: threading.Thread) -> Callable[[], bool]:
        return lambda: self._thread.thread is not thread

    def _is_starting(self) -> bool:
        """Whether the thread hangs in the start of a process, whose disk does not answer."""
        with self.lock:
            return any(slot.starting for slot in self._state.processes())

    def _close_callbacks(self, thread: threading.Thread) -> None:
        left = [f"process {process.pid}" for process in self.parts.left_behind if process.poll() is None]
        self.parts.left_behind.clear()
        if self._thread.thread is not thread:
            thread.join()  # it has closed everything
        else:
            left.append("one that is being started")
        if left:
            logging.getLogger("wpc_magic").error(
                "the pool %s has stopped, and the system could not end %s", self.name, ", ".join(left)
            )
        for callbacks in self.parts.callback_threads:
            callbacks.close()

    def _callbacks_ended(self) -> bool:
        """Whether other people's code has done with what happened up to the stop. It may never have."""
        return not any(callbacks.is_busy for callbacks in self.parts.callback_threads)

    def drain(self, timeout: float | None) -> None:
        """Refuse new calls, and return when the last has ended, or after `timeout` seconds."""
        with HeldInterrupts():  # so that it is undone for certain
            try:
                self.condition.wait_for(self._drained, timeout)
            except BaseException:
                self._undrain()
                raise

    async def drain_async(self, timeout: float | None) -> None:
        """Drain as `drain` does, and let the event loop run meanwhile."""
        try:
            await self.condition.wait_for_async(self._drained, timeout)
        except BaseException:
            self._undrain()
            raise

    def _undrain(self) -> None:
        """Accept calls again: the caller that wanted to stop the pool was interrupted."""
        with self.locked_core() as (core, _):
            core.state.draining = False

    def _drained(self) -> bool:
        """Refuse new calls; return whether the last has ended. Under the lock."""
        state = self.core.state
        if state.phase not in ("starting", "running"):
            return True
        state.draining = True
        dispatcher = self.core.dispatcher
        # Who drains may be the one for whom a stream waits.
        return not dispatcher.queued.count and dispatcher.in_flight.count <= paused_streams(
            dispatcher.in_flight.calls()
        )

    def after_fork(self) -> None:
        """Close everything in a fork of the process that made the pool: nothing of it acts there any more.

        What is still called there, by finalizers or at the exit, must neither write to a descriptor, whose
        number may belong to another file by then, nor tell anybody that calls or workers have ended.
        """
        self.refusal = NestedCallError("this pool belongs to the process that this one was forked from")
        self.is_fork = True
        parts = self.parts
        parts.after_fork()
        self._thread.thread = None
        for link in parts.links.values():
            link.after_fork()
        parts.links.clear()

    def _refuse(self, error: PoolStateError) -> None:
        self.refusal = error

    def check(self) -> None:
        """Refuse to work in a fork, or after the driver's thread has failed.

        Raises
        ------
        PoolStateError
        """
        if self.refusal is not None:
            raise self.refusal.with_traceback(None)

    # -- access to the core -----------------------------------------------------------------------------

    @contextmanager
    def locked_core(self) -> Iterator[tuple[Core, float]]:
        """Yield the core and the time, under the lock; the effects are performed at the end."""
        self.check()  # first: in a fork
        with self.lock:
            self.check()
            yield self.core, time.monotonic()
            self._apply()

    @contextmanager
    def reading(self) -> Iterator[Core]:
        """Yield the core under the lock, to whoever changes nothing: what is raised there does no harm."""
        self.check()
        with self.lock.reading():
            self.check()
            yield self.core

    def configure(self, options: PoolOptions) -> None:
        """Change the options, here and in the workers."""
        with self.locked_core() as (core, now):
            before, core.state.options = core.state.options, options
            core.replication.options_changed(before, now)
            core.supervisor.spares.check(now)
            core.state.events.resize(options.event_history)
            core.state.history.resize(options.call_history)
            blocks = before.block_memory_mb, before.blocks_in
            if self._thread.thread is not None and blocks != (options.block_memory_mb, options.blocks_in):
                self.parts.configure_memory()
                for link in self.parts.links.values():
                    self._thread.send_block_options(link)
            if options.spin_us != before.spin_us:
                for link in self.parts.links.values():
                    link.spinning.set_limit(self.parts.look_ns(link.process))

    def facts(self, anew: bool = True) -> dict[int, Any]:
        """Return what the system reports of each worker process, now or the last time. Under the lock."""
        links, is_serving = self.parts.links.values(), self.core.state.is_serving
        return {link.slot.id: link.facts(anew) for link in links if is_serving(link.slot)}

    def host_of(self, worker_id: int | None) -> str:
        """Return the machine of a worker; empty: this one, or it is not known any more."""
        with self.lock.reading():
            hosts = [link.process.host for link in self.parts.links.values() if link.slot.id == worker_id]
        return hosts[0] if hosts else ""

    # -- calls ------------------------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """Make a call; see `Dispatcher.submit` for what it raises."""
        # `with lock` and what it does, inlined: this is the hot path.
        ensure_step_room()
        lock, future = self.lock, call.future
        held = hold()
        if not lock.acquire(False) or lock.busy:
            try:
                lock.enter_contended(held)
            except StepInProgressError:
                self._submit_after(call)
                return
        lock.busy = True
        try:
            if self.refusal is not None:
                raise self.refusal.with_traceback(None)
            self.unsettled.add(future)
            self._dispatcher.submit(call, time.monotonic())
            self._apply()
            return
        except BaseException as error:
            self.unsettled.discard(future)
            lock.tear(error)
            if type(error) is not SaturatedError or self._state.options.saturation != "wait":
                raise
        finally:
            lock.busy = False
            lock.release()
            if lock.requests:
                lock.do_requests()
            restore(held)
        self._room.submit(call)

    def use_submit(self, submit: Callable[[Call], None] | None) -> None:
        """Have another function make the calls, which calls the method; None: the method itself."""
        self.__dict__.pop("submit", None)
        if submit is not None:
            self.__dict__["submit"] = submit

    def _submit_after(self, call: Call) -> None:
        """Make a call as soon as the step in progress has ended; what that would raise ends its future."""

        def submit() -> None:
            self.unsettled.add(call.future)
            try:
                self.check()
                self._dispatcher.submit(call, time.monotonic())
            except WpcError as error:
                call.ended = True
                settle(call, error)
            self._apply()

        self.lock.do_after(submit)

    def cancel(self, future: CallFuture) -> bool:
        """Cancel the call and stop its work; return whether it had not ended yet."""
        try:
            with self.locked_core() as (core, now):
                return core.dispatcher.cancel(future.call, now)
        except StepInProgressError:
            self.lock.do_after(lambda: self._cancel(future.call))
            return not future.ended

    def _cancel(self, call: Call) -> None:
        self._dispatcher.cancel(call, time.monotonic())
        self._apply()

    def cancel_all(self, which: Callable[[Call], bool]) -> int:
        """Cancel the calls for which `which` is true; return how many."""
        with self.reading() as core:
            calls = [*core.dispatcher.queued, *core.dispatcher.in_flight.calls()]
        chosen = {id(call) for call in calls if which(call)}  # without the lock: it may run a user's code
        with self.locked_core() as (core, now):
            return core.dispatcher.cancel_all(lambda call: id(call) in chosen, now)

    def has_begun(self, future: CallFuture) -> bool:
        """Return whether the call runs."""
        try:
            with self.reading() as core:
                slot = slot_of(future.call)
                return slot is not None and core.state.has_begun(slot, future.call)
        except StepInProgressError:
            return False

    def place_of(self, future: CallFuture) -> CallPlace | None:
        """Return where the call is; None: it has ended."""
        with self.reading() as core:
            if future.call.ended:
                return None
            return place_of(future.call, core.state, core.dispatcher, time.monotonic())

    def credit(self, future: CallFuture, taken: int) -> None:
        """Tell the worker of a stream how many of its items were taken."""
        parts, call = self.parts, future.call
        try:
            with self.locked_core():
                send_credit(call, taken, parts.links, parts.outbox)
        except StepInProgressError:
            self.lock.do_after(lambda: send_credit(call, taken, parts.links, parts.outbox))

    def finish_output(self) -> None:
        """Return when what functions have printed until now is shown."""
        output = self.output
        if (output.waiting or output.deliverer) and not self.lock.is_owned():
            output.finish()

    def ensure_polled(self) -> None:
        """Have all channels polled, although no thread waits at them."""
        if self.parts.poller.has_parked:
            self.parts.poller.reclaim_all_soon()


# -- exit and fork of this process ----------------------------------------------------------------------

_drivers: weakref.WeakSet[Driver] = weakref.WeakSet()


def _stop_all() -> None:
    drivers = list(_drivers)
    for driver in drivers:
        driver.begin_stop()  # all of them at once: each may take its time
    for driver in drivers:
        driver.stop()


def _after_fork_all() -> None:
    for driver in list(_drivers):
        driver.after_fork()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_all)
