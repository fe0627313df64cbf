"""What the parts of the core share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from ..errors import CallTimeoutError, NotRunningError
from ..options import PoolOptions
from .calls import Call
from .effects import Effect, Finish, FinishWithStack, SendRevoke, Tell
from .events import ErrorInfo, EventRing, Severity, WorkerEvent
from .lifecycle import LOST, Cause, move
from .registry import Registry
from .slots import Slot
from .stats import FunctionStats
from .timers import Timers

__all__ = ["Phase", "State"]

Phase = Literal["stopped", "starting", "running", "stopping"]


class State:
    """Everything that is known of the pool.

    Parameters
    ----------
    options : PoolOptions
        The pool's.
    stamp : callable
        Returns the time for an event, as text.
    dice : callable
        Returns a number from 0 up to 1.
    running : callable
        Given a process by its life, returns what its status page says: the number of the call begun last,
        and since when in seconds (0: not at its first instruction).
    installing : callable
        Given a process's life, returns the definition that it is installing, or was last.

    Attributes
    ----------
    phase : {"stopped", "starting", "running", "stopping"}
        What the pool as a whole is doing.
    draining : bool
        Whether new calls are refused, because the pool stops when the last one has ended.
    slots : dict
        The slots that serve, by number.
    incoming : dict
        By number: processes that are to take the place of one that serves, as slots of their own.
    leaving : dict
        By life: slots whose place has been taken, until their process is gone. They end the calls that they
        hold, and get no more.
    resting : set of int
        The slots without a process, because there was nothing to do; the next call that needs one wakes it.
    lives : int
        How many processes were wanted so far: each has a number of its own, which is the slot's `life`.
    effects : list of Effect
        What the driver has to do; it takes them out.
    sends : list of (Slot, Call)
        Calls to send. They are kept apart from the effects because there are very many.
    """

    def __init__(
        self,
        options: PoolOptions,
        stamp: Callable[[], str],
        dice: Callable[[], float],
        running: Callable[[int], tuple[int, float]],
        installing: Callable[[int], str],
    ) -> None:
        self._options = options
        self.dice = dice
        self.running = running
        self.installing = installing
        self.phase: Phase = "stopped"
        self.draining = False
        self.slots: dict[int, Slot] = {}
        self.incoming: dict[int, Slot] = {}
        self.leaving: dict[int, Slot] = {}
        self.resting: set[int] = set()
        self.lives = 0
        self.registry = Registry()
        self.stats: dict[int, FunctionStats] = {}  # by the key of a revision
        self.timers = Timers()
        self.events = EventRing(options.event_history)
        self.effects: list[Effect] = []
        self.sends: list[tuple[Slot, Call]] = []
        self.done = 0
        self.failed = 0
        self.cancelled = 0  # of those
        self._stamp = stamp

    @property
    def options(self) -> PoolOptions:
        """The pool's options in force."""
        return self._options

    @options.setter
    def options(self, options: PoolOptions) -> None:
        self._options = options
        self.registry.quick.clear()

    def emit(
        self,
        slot: int,
        name: str,
        severity: Severity = "info",
        *,
        source: Literal["worker", "parent"] = "parent",
        correlation_id: str | None = None,
        error: ErrorInfo | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep an event, and have listeners told."""
        number = f"event-{self.events.total + 1:06d}"
        event = WorkerEvent(
            number, slot, source, name, severity, self._stamp(), correlation_id, error, details or {}
        )
        self.events.append(event)
        self.effects.append(Tell(event))

    def move(self, slot: Slot, cause: Cause) -> None:
        """Change the health of a slot by the table, and tell if it serves and is in another state now."""
        before, slot.state = slot.state, move(slot.state, cause)
        if slot.state is not before and self.serves(slot):
            details = {"from": before.value, "to": slot.state.value}
            severity: Severity = "error" if slot.state.value == "failed" else "info"
            self.emit(slot.id, "worker_health_state_changed", severity, details=details)

    def processes(self) -> list[Slot]:
        """Return all slots that have a process, or may have one: those that serve, come, and leave."""
        return [*self.slots.values(), *self.incoming.values(), *self.leaving.values()]

    def serves(self, slot: Slot) -> bool:
        """Whether it is the one that calls for its number go to."""
        return self.slots.get(slot.id) is slot

    def heir(self, slot: Slot) -> Slot:
        """Return the slot that calls for its number go to; itself if there is none."""
        return self.slots.get(slot.id, slot)

    def of_life(self, number: int, life: int) -> Slot | None:
        """Return the slot that this process fills, or is started for; None: nobody wants it any more."""
        for slot in (self.slots.get(number), self.incoming.get(number), self.leaving.get(life)):
            if slot is not None and slot.life == life:
                return slot
        return None

    def alive(self, number: int, life: int) -> Slot | None:
        """Return the slot if that process still fills it."""
        slot = self.of_life(number, life)
        return slot if slot is not None and slot.pid is not None else None

    def usable(self) -> bool:
        """Whether any slot can run calls, now or later."""
        return any(slot.state not in LOST and not slot.retired for slot in self.slots.values())

    def not_running(self) -> NotRunningError:
        """Return the error for who asks for what only running workers can do."""
        return NotRunningError(
            f"the workers are {self.phase}; start them first: start_workers() or %wpc_start"
        )

    def has_begun(self, slot: Slot, call: Call) -> bool:
        """Tell whether a worker has begun a call that it holds; calls begin in the order of their numbers."""
        return bool(call.began_s) or self.running(slot.life)[0] >= call.seq

    def revoke(self, slot: Slot, seqs: Iterable[int]) -> None:
        """Ask a worker to give up calls that have not begun."""
        self.effects.append(SendRevoke(slot.id, slot.life, tuple(seqs)))

    def finish(self, call: Call, error: BaseException | None) -> None:
        """End a call without a value."""
        self._end(call)
        self.cancelled += error is None
        self.effects.append(Finish(call, error))

    def finish_with_stack(self, call: Call, slot: Slot, error: CallTimeoutError) -> None:
        """End a call that runs, with an error that tells where it was."""
        self._end(call)
        self.effects.append(FinishWithStack(slot.id, slot.life, call, error))

    def _end(self, call: Call) -> None:
        call.ended = True
        call.slot = None
        self.failed += 1
