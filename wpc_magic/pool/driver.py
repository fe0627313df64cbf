"""The hands of the pool: they join the mind, the channels, the processes and the clock.

::

       caller's thread                   "wpc-driver" thread                     worker process
    ┌──────────────────────┐    ┌───────────────────────────────────┐    ┌───────────────────────────┐
    │ submit               │    │ tick          exits (pidfd)       │    │                           │
    │   │  result() await  │    │   │  Inbox    Popen               │    │                           │
    │   v     ^       ^    │    │   v    ^         ^                │    │                           │
    │ ┌─────────────── Core: all decisions, under one lock ───────┐ │    │                           │
    │ └─┬────────────────────────────────┬────────────────────────┘ │    │                           │
    │   v  Outbox: calls                 v  Outbox: definitions,    │    │                           │
    │   │                                │  revokes, pings, kills   │    │                           │
    │   ├─── call channel ───────────────┴──────────────────────────┼──> │ main thread: reads, runs, │
    │   │                                                           │    │ answers                   │
    │ Waiters <── who waits reads ──────────── else Watch reads <───┼─── │                           │
    │                                          control channel <────┼──> │ control thread: pings,    │
    └──────────────────────┘    └───────────────────────────────────┘    │ revokes, stops, stacks    │
                                                                         └───────────────────────────┘

One blocking call costs seven system calls here (send, poll, recv, and four to hold SIGINT back and let it
through again) and two in the worker (recv, send), and one wake-up on each side. Its arguments and its value
are copied into a socket and out of it; large ones once, into a block, and not out of it. The driver's thread
takes no part in it.
"""

from __future__ import annotations

import atexit
import logging
import os
import random
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, NamedTuple

from .errors import NestedCallError, PoolStateError, PoolStoppedError, SaturatedError, StartError
from .futures import CallFuture
from .hands.callbacks import Callbacks
from .hands.changes import Changes
from .hands.crash import OutOfMemory, crash_of
from .hands.gates import Gates
from .hands.inbox import Inbox, settle
from .hands.link import Link
from .hands.memory import Memory
from .hands.outbox import Outbox
from .hands.stacks import Stacks
from .hands.texts import Texts
from .hands.waiters import Waiters
from .hands.watch import Watch
from .interrupts import Interrupts, free, hold
from .mind import effects
from .mind.calls import Call
from .mind.core import Core
from .options import PoolOptions
from .process import WorkerProcess
from .wire import protocol

__all__ = ["Driver", "Surroundings"]


_TIDY_S = 1.0


class Surroundings(NamedTuple):
    """What workers take over from this process.

    Parameters
    ----------
    environ : mapping
        The environment.
    cwd : str
        The working directory.
    path : list of str
        ``sys.path``.
    """

    environ: Mapping[str, str]
    cwd: str
    path: list[str]


class Driver:
    """Runs one pool.

    Parameters
    ----------
    name : str
        The pool's.
    options : PoolOptions
        The pool's.

    Attributes
    ----------
    core : Core
        The mind; touch it under `lock` only.
    gates : Gates
        For who waits for a change of the pool.
    waiters : Waiters
        For who waits for a call.
    texts : Texts
        What functions print.
    stacks : Stacks
        For who asks what workers do; under `lock` only, too.
    listeners : dict
        Who is told of events, by number.
    surroundings : Surroundings
        What the next worker takes over.
    changes : Changes
        For who changes definitions.
    memory : Memory
        The shared memory of this process.
    """

    def __init__(self, name: str, options: PoolOptions) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.core = Core(
            options,
            stamp=_now_as_text,
            dice=random.random,
            running=self._running,
            installing=self._installing,
        )
        self._state, self._dispatch = self.core.state, self.core.dispatch
        self.texts = Texts()
        self.listeners: dict[int, Callable[[Any], object]] = {}
        self.surroundings = Surroundings({}, "", [])
        self.memory = Memory()
        self._out_of_memory = OutOfMemory([])
        self._tidy_at = 0.0
        self._links: dict[int, Link] = {}
        self._watch = Watch(
            {
                "call": self._on_call,
                "control": self._on_control,
                "stdout": lambda link: self._on_pipe(link, "stdout"),
                "stderr": lambda link: self._on_pipe(link, "stderr"),
                "exit": self._on_exit,
            }
        )
        self._outbox = Outbox(self.core, self._watch, self._links)
        self.stacks = Stacks(self.core, self._outbox, self._links)
        self._inbox = Inbox(self.core, self._watch, self.texts, self.stacks.taken)
        self.gates = Gates(self.lock, self._apply)
        self.changes = Changes(self.core, self.gates, self.memory, self.deciding, self.texts.finish)
        self.waiters = Waiters(self.lock, self._links, self._watch, self._inbox, self.texts, self._apply)
        self._callbacks = Callbacks("wpc-callbacks")
        self._shows = Callbacks("wpc-texts")
        self._spawns: list[effects.Spawn] = []
        self._thread: threading.Thread | None = None
        self._over = False  # whether the last worker is gone
        self._abandoned = False
        self._refusal: PoolStateError | None = None  # why it cannot be used any more
        self._given_up: deque[CallFuture] = deque()
        _drivers.add(self)

    # -- the life of the pool ---------------------------------------------------------------------------

    def start(self, count: int, surroundings: Surroundings) -> None:
        """Start the workers, and return at once.

        Raises
        ------
        PoolStateError
            If they are running.
        StartError
            If this process has no descriptor, or no thread, left for them.
        """
        with Interrupts(), self.lock:
            self.core.supervisor.start(count, time.monotonic())
            self.surroundings = surroundings
            self._over = False
            # It lives as long as the workers: on Linux they end with the thread that started them.
            thread = threading.Thread(target=self._run, name="wpc-driver", daemon=True)
            try:
                self.memory.set_up(self._state.options)
                self._out_of_memory = OutOfMemory()
                self._watch.open()
                thread.start()  # its first step waits for the lock
            except (OSError, RuntimeError) as error:
                self._watch.close()
                why = f"the workers could not be started: {error}"
                self._undo_start(why)
                raise StartError(why) from error
            self._thread = thread
            self._apply()

    def _undo_start(self, why: str) -> None:
        """Have the mind know that none of the processes was started. Under the lock."""
        self.core.supervisor.stop(time.monotonic())
        self._apply()
        spawns, self._spawns = self._spawns, []
        for spawn in spawns:
            self.core.supervisor.not_spawned(spawn.slot, spawn.life, why, time.monotonic())
        self._apply()

    def begin_stop(self) -> threading.Thread | None:
        """Begin to stop the workers; return the thread that ends when everything is gone."""
        with Interrupts(), self.lock:
            self.core.supervisor.stop(time.monotonic())
            self._apply()
            self._watch.wake()
            return self._thread

    def stop(self) -> None:
        """Stop the workers, and return when everything is gone."""
        thread = self.begin_stop()
        if thread is not None and thread is not threading.current_thread():
            self.gates.wait_for(lambda: self._thread is not thread)
            self._end_stop(thread)

    async def stop_async(self) -> None:
        """Stop the workers, and let the event loop run meanwhile."""
        thread = self.begin_stop()
        if thread is not None:
            await self.gates.wait_for_async(lambda: self._thread is not thread)
            self._end_stop(thread)

    def _end_stop(self, thread: threading.Thread) -> None:
        thread.join()  # it has let go of everything
        self._shows.close()
        self._callbacks.close()

    def drain(self, timeout: float | None) -> None:
        """Refuse new calls, and return when the last has ended, or the time (in seconds) is over."""
        try:
            self.gates.wait_for(self._drained, timeout)
        except BaseException:
            self._undrain()
            raise

    async def drain_async(self, timeout: float | None) -> None:
        """Drain as `drain` does, and let the event loop run meanwhile."""
        try:
            await self.gates.wait_for_async(self._drained, timeout)
        except BaseException:
            self._undrain()
            raise

    def _undrain(self) -> None:
        """Take calls again: who wanted to stop the pool was interrupted, and nobody would stop it now."""
        with self.deciding() as (core, _):
            core.state.draining = False

    def _drained(self) -> bool:
        """Refuse new calls; return whether the last has ended. Under the lock."""
        state = self.core.state
        if state.phase not in ("starting", "running"):
            return True
        state.draining = True
        return not self.core.dispatch.queued and not self.core.dispatch.in_flight

    def abandon(self) -> None:
        """Have everything stopped, and wait for nothing: nobody can reach the pool any more.

        A finalizer calls this in any thread, perhaps in one that holds the lock; so it only leaves a word.
        """
        self._abandoned = True
        self._watch.wake()

    def disown(self) -> None:
        """Let go of everything, in a fork of the process that made the pool."""
        self._refusal = NestedCallError("this pool belongs to the process that this one was forked from")
        # Another thread may have had an old one, and is not here to release it.
        self.lock = self.gates.lock = self.waiters.lock = threading.Lock()
        self._shows.forget()
        self.texts.disown()
        self.memory.store.disown()
        self._callbacks.forget()
        self._thread = None
        for link in self._links.values():
            link.disown()
        self._links.clear()

    def check(self) -> None:
        """Refuse to work in a fork, or after a fault of our own.

        Raises
        ------
        PoolStateError
        """
        if self._refusal is not None:
            raise self._refusal.with_traceback(None)

    # -- asking the mind, and telling it ----------------------------------------------------------------

    @contextmanager
    def deciding(self) -> Iterator[tuple[Core, float]]:
        """Give the mind and the time, under the lock; what it wants done is done at the end."""
        self.check()
        with Interrupts(), self.lock:
            yield self.core, time.monotonic()
            self._apply()

    def configure(self, options: PoolOptions) -> None:
        """Put options into force, here and in the workers."""
        with self.deciding() as (core, _):
            before, core.state.options = core.state.options, options
            core.state.events.resize(options.event_history)
            blocks = before.block_memory_mb, before.blocks_in
            if self._thread is not None and blocks != (options.block_memory_mb, options.blocks_in):
                self.memory.set_up(options)
                for link in self._links.values():
                    self._tell_of_blocks(link)

    def _tell_of_blocks(self, link: Link) -> None:
        store = self.memory.store
        self._outbox.tell(link, protocol.Blocks(store.limit, store.in_memory))

    def facts(self) -> dict[int, Any]:
        """Return what the machine says of each worker. Under the lock."""
        serves = self.core.state.serves
        return {link.slot.id: link.facts() for link in self._links.values() if serves(link.slot)}

    # -- calls ------------------------------------------------------------------------------------------

    def submit(self, call: Call) -> None:
        """Make a call; see `Dispatch.submit` for what it raises."""
        # Written out, since this is the way of every call: see `Interrupts`.
        handler = hold()
        try:
            self.lock.acquire()
            try:
                if self._refusal is not None:
                    raise self._refusal.with_traceback(None)
                self._dispatch.submit(call, time.monotonic())
                self._apply()
                return
            except SaturatedError:
                if self._state.options.saturation != "wait":
                    raise
            finally:
                self.lock.release()
        finally:
            free(handler)
        self._submit_when_there_is_room(call)

    def _submit_when_there_is_room(self, call: Call) -> None:

        def submit() -> bool:
            self.core.dispatch.check(call.name)
            if not self.core.dispatch.has_room():
                return False
            self.core.dispatch.submit(call, time.monotonic())
            return True

        self.check()
        self.gates.wait_for(submit)

    def cancel(self, future: CallFuture) -> bool:
        """End the call, and its work; return whether there was something to end."""
        with self.deciding() as (core, now):
            return core.dispatch.cancel(future.call, now)

    def cancel_all(self, which: Callable[[Call], bool]) -> int:
        """End the calls that are wanted; return how many."""
        with self.deciding() as (core, now):
            return core.dispatch.cancel_all(which, now)

    def give_up(self, futures: Iterable[CallFuture]) -> None:
        """Have calls cancelled. A finalizer may call this, as `abandon`."""
        self._given_up.extend(futures)
        self._watch.wake()

    def has_begun(self, future: CallFuture) -> bool:
        """Return whether the call runs."""
        with self.deciding() as (core, _):
            slot = future.call.slot
            return slot is not None and core.dispatch.has_begun(slot, future.call)

    def wait(self, future: CallFuture, timeout: float | None) -> None:
        """Return when the future has ended, or the time is over."""
        self.waiters.wait(future, timeout)

    def wait_in_loop(self, future: CallFuture, loop: Any) -> Any:
        """Return an asyncio future that ends with this one."""
        return self.waiters.wait_in_loop(future, loop)

    def watch(self) -> None:
        """See to it that answers are read although nobody waits at a channel."""
        if self._watch.leaves_any:
            self._watch.ask_for_all()

    def call_soon(self, function: Callable[..., object], *args: object) -> None:
        """Call a function in the thread of the callbacks."""
        self._callbacks.post(function, *args)

    # -- the driver's thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._over:
                with self.lock:
                    seconds = self._before_sleep()
                    spawns, self._spawns = self._spawns, []
                self._show_texts()
                for spawn in spawns:
                    self._spawn(spawn)
                if not spawns:
                    self._watch.sleep(seconds)
        except BaseException as error:
            self._collapse(error)
        finally:
            with self.lock:
                self._watch.close()
                self.memory.close()
                self._thread = None
                if self._refusal is None:
                    self.gates.open()
                else:
                    self.gates.refuse(self._refusal)

    def _collapse(self, error: BaseException) -> None:
        """End everything, since this thread cannot go on: a fault of ours, but nobody waits for ever."""
        logging.getLogger("wpc_magic").critical("the pool's own thread has failed", exc_info=error)
        why = f"the pool {self.name} has failed, and was ended: {type(error).__name__}: {error}"
        with self.lock:
            state, dispatch = self._state, self._dispatch
            for call in [*dispatch.waiting(), *dispatch.at_workers()]:
                if call.future is not None and not call.ended:
                    call.ended = True
                    settle(call, PoolStoppedError(f"{call} has not ended: {why}"))
            state.phase = "stopped"
            links = list(self._links.values())
            self._links.clear()
            for link in links:
                link.process.kill()
                link.process.reap()
                link.dead = True
                self.stacks.lost(link)
                link.expect_not()
                if link.owner is not None:
                    link.wake()
                self._watch.drop(link)
                self.waiters.close(link)
            # At last: who waits for a call is to be told of that call's end.
            self._refusal = PoolStateError(f"{why}; make a new one")

    def _before_sleep(self) -> float | None:
        """Do what is due; return for how long there is nothing to do, in seconds."""
        now = time.monotonic()
        if self._abandoned:
            self._abandoned = False
            self.core.supervisor.stop(now)
        self.core.tick(now)
        while self._given_up:
            self.core.dispatch.cancel(self._given_up.popleft().call, now)
        self._apply()
        if now >= self._tidy_at:
            self._tidy_at = now + _TIDY_S
            self._out_of_memory.look(now)
            for link in self.memory.tidy(list(self._links.values())):
                self._outbox.trim(link)
        due = self._state.timers.next_due
        waits = [] if due is None else [max(0.0, due - now)]
        again = self._watch.revisit()
        if again is not None:
            waits.append(again)
        if self._over or self._spawns:
            waits.append(0.0)
        seconds = min(waits, default=None)
        self._watch.sleeps_until = float("inf") if seconds is None else now + seconds
        return seconds

    def _spawn(self, spawn: effects.Spawn) -> None:
        """Start a process; it takes milliseconds, so without the lock."""
        around = self.surroundings
        why = ""
        process = None
        try:
            process = WorkerProcess.start(environ=around.environ, cwd=around.cwd)
        except StartError as error:
            why = str(error)
        with self.lock:
            now = time.monotonic()
            slot = self.core.state.of_life(spawn.slot, spawn.life)
            if process is None:
                self.core.supervisor.not_spawned(spawn.slot, spawn.life, why, now)
            elif slot is None:
                process.kill()
                process.reap()
                process.close()
            else:
                link = self._links[slot.life] = Link(process, slot)
                self._watch.add(link)
                self._outbox.tell(link, protocol.Setup(slot.id, self.name, around.path))
                self._tell_of_blocks(link)
                self.core.supervisor.spawned(slot.id, slot.life, process.pid, now)
            self._apply()

    def _show_texts(self) -> None:
        """Have texts shown in another thread: a sink may wait for a call, and this one reads its answer."""
        if self.texts.waiting:
            self._shows.post(self.texts.deliver)

    def _on_call(self, link: Link) -> None:
        with self.lock:
            if link.dead or link.lost:
                return
            if link.call.outbox and link.call.flush():
                self._watch.call(link, link.watched)
            if link.watched:
                self._inbox.read_call(link)
            self._apply()
        self._show_texts()

    def _on_control(self, link: Link) -> None:
        with self.lock:
            if link.dead or link.lost:
                return
            if link.control.outbox and link.control.flush():
                self._watch.control(link)
            self._inbox.read_control(link)
            self._apply()
        self._show_texts()

    def _on_pipe(self, link: Link, stream: str) -> None:
        with self.lock:
            if not link.dead:
                self._inbox.read_pipe(link, stream)
        self._show_texts()

    def _on_exit(self, link: Link) -> None:
        with self.lock:
            exitcode = link.process.poll()
            if link.dead or exitcode is None:
                return
            self._inbox.read_all(link)
            link.dead = True
            how, about = crash_of(link, exitcode, self._out_of_memory)
            self.core.supervisor.died(link.slot.id, link.life, exitcode, how, time.monotonic(), about)
            self.stacks.lost(link)
            self._watch.drop(link)
            self._links.pop(link.life, None)
            self._apply()
            link.expect_not()
            if link.owner is not None:
                link.wake()
            self.waiters.close(link)
        self._show_texts()

    # -- what the mind wants done -----------------------------------------------------------------------

    def _apply(self) -> None:
        """Do what the mind wants done. Under the lock."""
        state = self._state
        while state.sends or state.effects:
            if state.sends:
                self._outbox.send_calls()
            if state.effects:
                doing, state.effects = state.effects, []
                for effect in doing:
                    self._do(effect)
        due = state.timers.due
        if due and due[0][0] < self._watch.sleeps_until:
            self._watch.wake_by(due[0][0])
        if self.gates.closed:
            self.gates.open()

    def _do(self, effect: effects.Effect) -> None:
        match effect:
            case effects.Tell(event):
                for listener in list(self.listeners.values()):
                    self._callbacks.post(listener, event)
            case effects.Finish(call, error):
                settle(call, error)
            case effects.FinishWithStack():
                self.stacks.finish(effect)
            case effects.Spawn():
                self._spawns.append(effect)
                self._watch.wake()
            case effects.End():
                self._over = True
                self._watch.wake()
            case effects.Weigh(_, life):
                link = self._links.get(life)
                nbytes = None if link is None else link.own_memory()
                if link is not None and nbytes is not None:
                    self.core.supervisor.recycling.weighed(link.slot, nbytes, time.monotonic())
            case _:
                link = self._links.get(effect.life)
                if link is not None:
                    self._outbox.order(link, effect)
                    if type(effect) is effects.SendPing:
                        self._inbox.look_for_lost(link)

    def _running(self, life: int) -> tuple[int, float]:
        link = self._links.get(life)
        return (0, 0.0) if link is None else link.running()

    def _installing(self, life: int) -> str:
        link = self._links.get(life)
        return "" if link is None else link.process.page.installing()


def _now_as_text() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# -- the end of this process, and its forks ---------------------------------------------------------------

_drivers: weakref.WeakSet[Driver] = weakref.WeakSet()


def _stop_all() -> None:
    for driver in list(_drivers):
        driver.stop()


def _disown_all() -> None:
    for driver in list(_drivers):
        driver.disown()


atexit.register(_stop_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disown_all)
