"""Which slot a call is sent to."""

from __future__ import annotations

from .calls import Call
from .demands import Demands
from .in_flight import InFlight
from .lifecycle import SlotState
from .loads import CoroutineLoads
from .prefetch import ASYNC_DEPTH, prefetch_depth
from .registry import Record
from .slots import Slot
from .state import State

__all__ = ["Placement"]


class Placement:
    """Chooses a slot for each call.

    Parameters
    ----------
    state : State
        The shared state of the core.
    demands : Demands
        What machines offer.
    in_flight : InFlight
        The calls that slots hold, and the loads of slots, which are kept here.
    """

    def __init__(self, state: State, demands: Demands, in_flight: InFlight) -> None:
        self._state = state
        self._demands = demands
        self._in_flight = in_flight

    def choose(self, record: Record, call: Call, pinned: Slot | None) -> Slot | None:
        """Return the slot that a call can be sent to now, or None.

        Parameters
        ----------
        record : Record
            The call's function.
        call : Call
            The call.
        pinned : Slot or None
            The only slot that may run it, if there is only one.
        """
        if call.options.resources:
            slots = self._state.slots.values() if pinned is None else (pinned,)
            able = [s for s in slots if self.fits(s, record, call) and self._demands.has_room(s, call)]
            return min(able, key=lambda slot: len(slot.sent), default=None)
        if pinned is not None:
            return pinned if self.fits(pinned, record, call) else None
        if record.is_async:
            return self._least_crowded()
        return self.next_slot(self.prefetch_depth(record, call))

    def next_slot(self, depth: int) -> Slot | None:
        """Return the slot with the fewest calls below `depth`; among equals, the least recently used.

        But if no call is in flight, calls are made one after another: then it is the slot that ran the latest
        one, because its memory is still in the processor's cache.
        """
        in_flight = self._in_flight
        latest = in_flight.latest
        if not in_flight.count and latest is not None and latest in in_flight.loads.of:
            return latest
        return in_flight.loads.least_loaded(depth)

    def _least_crowded(self) -> Slot | None:
        """Return the slot for a coroutine: it shares a worker with others, so all calls there count."""
        in_flight = self._in_flight
        loads, latest = in_flight.loads, in_flight.latest
        if not isinstance(loads, CoroutineLoads):
            in_flight.loads = loads = CoroutineLoads(loads, lambda slot: len(slot.sent))
        if not in_flight.count and latest is not None and latest in loads.of:
            return latest
        return loads.least_crowded(ASYNC_DEPTH)

    def fits(self, slot: Slot, record: Record, call: Call) -> bool:
        """Whether a slot has room for a call."""
        if not self._is_open(slot) or slot.full:
            return False
        if call.options.resources:
            return True  # also behind quick calls: where these never end, it would wait for ever
        return (len(slot.sent) if record.is_async else slot.sync_count) < self.prefetch_depth(record, call)

    def is_idle(self, slot: Slot) -> bool:
        """Whether a slot would run a synchronous call at once."""
        return self._is_open(slot) and not slot.sync_count

    def _is_open(self, slot: Slot) -> bool:
        """Whether calls may be sent to a slot, unless it is full."""
        return (
            slot.state is SlotState.READY
            and slot.installed_epoch == self._state.registry.epoch
            # Else a coroutine of an earlier epoch would block the call in the worker: the two do not mix.
            and (slot.epoch == slot.installed_epoch or not slot.sent)
            and not slot.draining
            and not slot.replace_reason
            and not slot.cancelling
        )

    def prefetch_depth(self, record: Record, call: Call) -> int:
        """Return how many calls like this one a slot may hold at once."""
        if not record.is_async and (call.is_stream or call.options.resources):
            return 1  # its caller may leave it paused, and what is behind it; what it uses is not shared
        stats = self._state.stats.get(record.key)
        mean = None if stats is None else stats.mean_s
        if mean is not None and call.items:
            mean *= call.items
        return prefetch_depth(mean, record.is_async)

    def update_load(self, slot: Slot) -> None:
        """Enter how many calls a slot holds, or remove the slot if none may be sent to it."""
        if slot.full or not self._is_open(slot):
            self._in_flight.loads.drop(slot)
        else:
            self._in_flight.loads.put(slot, slot.sync_count)

    def offered(self) -> list[Slot]:
        """Return the slots that calls may be sent to."""
        return self._in_flight.loads.slots()
