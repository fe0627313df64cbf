"""What the core has decided, performed: the effects that it returns, in order."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from ..core import effects
from ..core.core import Core
from ..engines.engine import Process
from ..errors import WorkerLostError
from .callbacks import Callbacks
from .condition import PoolCondition
from .failures import Failures
from .inbox import Inbox, settle
from .link import Link
from .outbox import Outbox
from .poller import Poller
from .stacks import StackRequests
from .value_passing import ValuePassing

__all__ = ["EffectRunner"]


class Performers(Protocol):
    """The parts of a driver that perform effects; see `Parts`."""

    core: Core
    links: dict[int, Link]
    listeners: dict[int, Callable[[Any], object]]
    listener_thread: Callbacks
    left_behind: list[Process]
    condition: PoolCondition
    failures: Failures
    inbox: Inbox
    outbox: Outbox
    passing: ValuePassing
    poller: Poller
    stacks: StackRequests

    def drop(self, link: Link) -> None:
        """Let go of a process."""


class EffectRunner:
    """Performs effects. All methods are called under the driver's lock.

    Parameters
    ----------
    parts : Performers
        Who performs them.

    Attributes
    ----------
    spawns : list of Spawn
        Processes to start. The driver's thread takes them out: a start takes milliseconds, so it happens
        without the lock.
    all_stopped : bool
        Whether the last worker has exited.
    """

    def __init__(self, parts: Performers) -> None:
        self._parts = parts
        self._state = parts.core.state
        self._due = self._state.timers.due  # saves a lookup for every call
        self._outbox, self._poller = parts.outbox, parts.poller
        self.spawns: list[effects.Spawn] = []
        self.all_stopped = False

    def apply(self) -> None:
        """Perform all effects, wake the driver's thread for the next timer, and notify those who wait."""
        state = self._state
        if state.sends:
            self._outbox.send_calls()
        while state.effects:
            performing, state.effects = state.effects, []
            for effect in performing:
                self._perform(effect)
            if state.sends:
                self._outbox.send_calls()
        due = self._due
        if due and due[0][0] < self._poller.wakes_at:
            self._poller.wake_before(due[0][0])
        condition = self._parts.condition
        if condition.waiters:
            condition.notify_all()

    def take_spawns(self) -> list[effects.Spawn]:
        """Return the processes to start, each once."""
        spawns, self.spawns = self.spawns, []
        return spawns

    def _perform(self, effect: effects.Effect) -> None:
        parts = self._parts
        match effect:
            case effects.Notify(event):
                for listener in list(parts.listeners.values()):
                    parts.listener_thread.post(listener, event)
            case effects.Finish(call, error):
                if isinstance(error, WorkerLostError):
                    parts.failures.keep(call, None, type(error).__name__, str(error.args[0]))
                settle(call, error)
            case effects.Inherit(call, answer):
                settle(call, answer)
            case effects.LetGo(call, cancels):
                parts.passing.let_go(call, cancels)
            case effects.FinishWithStack():
                error = effect.error
                parts.failures.keep(effect.call, effect.slot, type(error).__name__, str(error.args[0]))
                parts.stacks.finish(effect)
            case effects.Spawn():
                self.spawns.append(effect)
                self._poller.wake()
            case effects.AllStopped():
                self.all_stopped = True
                self._poller.wake()
            case effects.LeaveBehind(_, incarnation):
                link = parts.links.get(incarnation)
                if link is not None:
                    parts.left_behind.append(link.process)
                    link.process.wait_in_thread(lambda: None)  # it is reaped when it does exit
                    parts.drop(link)
            case effects.MeasureMemory(_, incarnation):
                link = parts.links.get(incarnation)
                nbytes = None if link is None else link.process.usage.private_memory()
                if link is not None and nbytes is not None:
                    recycling = parts.core.supervisor.recycling
                    recycling.memory_measured(link.slot, nbytes, time.monotonic())
            case _:
                link = parts.links.get(effect.incarnation)
                if link is not None:
                    self._outbox.perform(link, effect)
                    if type(effect) is effects.SendPing:
                        parts.inbox.check_torn_frames(link)
