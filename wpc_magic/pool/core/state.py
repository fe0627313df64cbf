"""The state that the components of the core share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from ..errors import CallTimeoutError, NotRunningError, PoolStoppedError
from ..options import PoolOptions, listed_names, shown_name
from .call_counts import CallCounts
from .calls import Call
from .effects import Effect, Finish, FinishWithStack, Inherit, Notify, SendRevoke
from .events import ErrorInfo, EventRing, Severity, WorkerEvent
from .history import CallHistory, shortened
from .lifecycle import LOST, Trigger, transition
from .measures import Measures
from .pauses import Pauses
from .registry import Record, Registry
from .room import Room
from .slots import Slot, slot_of
from .stats import FunctionStats
from .timers import Timers

__all__ = ["Phase", "State"]

Phase = Literal["stopped", "starting", "running", "stopping"]


class State:
    """Everything that the core knows about the pool.

    Parameters
    ----------
    options : PoolOptions
        The pool's options.
    timestamp : callable
        Returns the timestamp for an event, as text.
    random : callable
        The random source: returns a float in [0, 1).
    running : callable
        Given an incarnation, returns what its status page says: the sequence number of the call that began
        last, and when its function started, in seconds (0: not yet).
    installing : callable
        Given an incarnation, returns the definition that it is installing, or installed last.
    load_again : callable
        Given all functions of a cell, returns them as of a cell that is loaded again.
    cpu_s : callable
        Given an incarnation, returns how much processor time its process has used, in seconds.
    arguments : callable
        Given a call, returns its arguments as text, shortened; empty: they are not known.
    prepares : callable
        Given an incarnation, whether it makes, checks or closes a resource.
    clock : callable
        Returns the time, in seconds; asked only for calls that end without an answer.

    Attributes
    ----------
    phase : {"stopped", "starting", "running", "stopping"}
        What the pool as a whole is doing.
    draining : bool
        Whether new calls are refused, because the pool stops when the last one ends.
    slots : dict
        The slots that serve, by number.
    incoming : dict
        By number: replacements of serving slots, each a slot of its own, until it is ready.
    leaving : dict
        By incarnation: replaced slots, until their process exits. They finish the calls that they have, and
        get no more.
    spares : dict
        By incarnation: slots without a number, whose processes wait to take the place of one that dies.
    room_for_spares : callable
        Returns how much memory there is for them; None: there are none where the workers are.
    resting : set of int
        The slots that were scaled to zero because they were idle; the next call that needs one wakes it.
    measures : Measures
        What is measured of calls that are not quick.
    call_counts : CallCounts
        Counts each call where it ends.
    history : CallHistory
        The calls that have ended last.
    incarnations : int
        How many processes were requested so far: the number of the latest is its slot's `incarnation`.
    effects : list of Effect
        What the driver has to do, in order; the driver empties the list.
    pauses : Pauses
        When the pool itself did not run.
    sends : list of (Slot, Call)
        Calls to send. They are kept apart from the effects because they are by far the most frequent.
    """

    def __init__(
        self,
        options: PoolOptions,
        timestamp: Callable[[], str],
        random: Callable[[], float],
        running: Callable[[int], tuple[int, float]],
        installing: Callable[[int], str],
        load_again: Callable[[list[Record]], Iterable[Record]],
        cpu_s: Callable[[int], float],
        arguments: Callable[[Call], str],
        prepares: Callable[[int], bool] = lambda incarnation: False,
        clock: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._options = options
        self.random = random
        self.running = running
        self.installing = installing
        self.cpu_s = cpu_s
        self.arguments = arguments
        self.prepares = prepares
        self._clock = clock
        self.phase: Phase = "stopped"
        self.draining = False
        self.slots: dict[int, Slot] = {}
        self.incoming: dict[int, Slot] = {}
        self.leaving: dict[int, Slot] = {}
        self.spares: dict[int, Slot] = {}
        self.room_for_spares: Callable[[], Room | None] = lambda: None
        self.resting: set[int] = set()
        self.incarnations = 0
        self.registry = Registry(load_again)
        self.call_counts = CallCounts()
        self.history = CallHistory(options.call_history)
        self.measures = Measures(arguments, self.history.oldest)
        self.stats = self.call_counts.stats
        self.timers = Timers()
        self.pauses = Pauses()
        self.events = EventRing(options.event_history)
        self.effects: list[Effect] = []
        self.sends: list[tuple[Slot, Call]] = []
        self._timestamp = timestamp

    @property
    def options(self) -> PoolOptions:
        """The current options of the pool."""
        return self._options

    @options.setter
    def options(self, options: PoolOptions) -> None:
        self._options = options
        self.registry.fast_path.clear()

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
        """Record an event, and notify listeners."""
        number = f"event-{self.events.total + 1:06d}"
        event = WorkerEvent(
            number, slot, source, name, severity, self._timestamp(), correlation_id, error, details or {}
        )
        self.events.append(event)
        self.effects.append(Notify(event))

    def call_details(self, call: Call) -> dict[str, Any]:
        """Return what the details of an event say about a call."""
        details = {"call": str(call), "function": shown_name(call.name)}
        arguments = self.arguments(call)
        return {**details, "arguments": arguments} if arguments else details

    def emit_definitions(
        self, defined: Iterable[str], removed: Iterable[str], details: Mapping[str, Any]
    ) -> None:
        """Emit which definitions have changed; nothing, where these are only the pool's own."""
        names = {"defined": listed_names(defined), "removed": listed_names(removed)}
        if any(names.values()) or len(details) > 1:
            self.emit(0, "definition_changed", details={**names, **details})

    def transition(self, slot: Slot, trigger: Trigger) -> None:
        """Change the health of a slot by the table; emit an event if it serves and its state has changed."""
        before, slot.state = slot.state, transition(slot.state, trigger)
        if slot.state is not before and self.is_serving(slot):
            details = {"from": before.value, "to": slot.state.value}
            severity: Severity = "error" if slot.state.value == "failed" else "info"
            self.emit(slot.id, "worker_health_state_changed", severity, details=details)

    def processes(self) -> list[Slot]:
        """Return all slots that have a process, or may have one: serving, incoming, leaving, and spare."""
        others = self.incoming, self.leaving, self.spares
        return [*self.slots.values(), *(slot for each in others for slot in each.values())]

    def is_serving(self, slot: Slot) -> bool:
        """Whether calls for its number go to this slot."""
        return self.slots.get(slot.id) is slot

    def successor(self, slot: Slot) -> Slot:
        """Return the slot that calls for its number go to now; itself if there is none."""
        return self.slots.get(slot.id, slot)

    def find_process(self, number: int, incarnation: int) -> Slot | None:
        """Return the slot that this process fills, or is started for; None: it is no longer needed."""
        for slot in (
            self.slots.get(number),
            self.incoming.get(number),
            self.leaving.get(incarnation),
            self.spares.get(incarnation),
        ):
            if slot is not None and slot.incarnation == incarnation:
                return slot
        return None

    def live_slot(self, number: int, incarnation: int) -> Slot | None:
        """Return the slot if that process still runs in it."""
        slot = self.find_process(number, incarnation)
        return slot if slot is not None and slot.pid is not None else None

    def usable(self) -> bool:
        """Whether any slot can run calls, now or later."""
        return any(slot.state not in LOST and not slot.retired for slot in self.slots.values())

    def not_running(self) -> NotRunningError:
        """Return the error for a request that needs running workers."""
        return NotRunningError(
            f"the workers are {self.phase}; start them first: start_workers() or %wpc_start"
        )

    def has_begun(self, slot: Slot, call: Call) -> bool:
        """Whether a worker has begun a call that it holds; calls begin in the order of their numbers."""
        return bool(call.began_s) or self.running(slot.incarnation)[0] >= call.seq

    def revoke(self, slot: Slot, seqs: Iterable[int]) -> None:
        """Ask a worker to revoke calls that have not begun."""
        self.effects.append(SendRevoke(slot.id, slot.incarnation, tuple(seqs)))

    def finish(self, call: Call, error: BaseException | None) -> None:
        """End a call without a value."""
        self._end(call, error)
        self.effects.append(Finish(call, error))

    def inherit(self, call: Call, answer: Any) -> None:
        """End a call with what another one has ended with."""
        self._end(call, PoolStoppedError())
        self.effects.append(Inherit(call, answer))

    def finish_with_stack(self, call: Call, slot: Slot, error: CallTimeoutError) -> None:
        """End a running call, with an error that includes its worker's stack."""
        self._end(call, error)
        self.effects.append(FinishWithStack(slot.id, slot.incarnation, call, error))

    def _end(self, call: Call, error: BaseException | None) -> None:
        outcome = self.call_counts.ended(call, error, self.registry)
        self.note(call, outcome, shortened(error))
        call.ended = True
        call.slot = None

    def note(self, call: Call, outcome: str, error: str) -> None:
        """Note that a call, or one run of it, has ended without an answer that counts."""
        slot, now, began = slot_of(call), self._clock(), 0.0
        stats = self.call_counts.of_call(call, self.registry)
        if slot is not None:
            seq, since = self.running(slot.incarnation)
            began = call.began_s or (since if seq == call.seq else 0.0)
        ran_ns = round(max(0.0, now - began) * 1e9) if began else -1
        self.history.add(call, stats, slot.incarnation if slot else 0, ran_ns, now, outcome, error=error)
        if error and outcome != "retried":
            stats.last_error = error

    def answered(
        self,
        slot: Slot,
        call: Call,
        stats: FunctionStats,
        ran_ns: int,
        now: float,
        ok: bool,
        raised: ErrorInfo | None,
        failed: int,
    ) -> None:
        """Count and note a call that ends with an answer of its worker; see `Dispatcher.answered`.

        `raised` is what it has raised.
        """
        self.call_counts.answered(slot, stats, call.items, ok, failed, call.keeps_going)
        error = "" if raised is None else shortened(raised)
        if error:
            stats.last_error = error
        failed_items = (min(failed, call.items) if call.keeps_going else 1) if failed and ok else 0
        outcome = "done" if ok and not failed_items else "failed"
        self.history.add(
            call,
            stats,
            slot.incarnation,
            ran_ns,
            now,
            outcome,
            failed_items=failed_items,
            error=error,
        )
