"""The calls that slots hold: sent to a worker, and not answered."""

from __future__ import annotations

from collections.abc import Callable

from .calls import Call
from .loads import Loads
from .registry import Record
from .slots import Slot
from .state import State

__all__ = ["InFlight"]


class InFlight:
    """Gives calls to slots, and keeps count of them.

    Parameters
    ----------
    state : State
        The shared state of the core.
    call_limit_reached : callable
        Given a slot, called when the last call that its process may run was sent to it.

    Attributes
    ----------
    count : int
        How many calls all slots hold.
    prefetching : int
        How many slots may hold calls that wait behind another.
    latest : Slot or None
        The slot that the latest call was sent to.
    loads : Loads
        The open slots that are not full, by how many synchronous calls they hold; see `Placement`.
    """

    __slots__ = ("_on_call_limit", "_state", "count", "latest", "loads", "prefetching")

    def __init__(self, state: State, call_limit_reached: Callable[[Slot], None]) -> None:
        self._state = state
        self._on_call_limit = call_limit_reached
        self.count = self.prefetching = 0
        self.latest: Slot | None = None
        self.loads: Loads[Slot] = Loads()

    def send(self, slot: Slot, call: Call, record: Record, depth: int) -> None:
        """Give a call to a slot that has room for it.

        Parameters
        ----------
        slot : Slot
            The slot.
        call : Call
            The call.
        record : Record
            Its function, as it is now.
        depth : int
            How many calls like this one the slot may hold at once.
        """
        state = self._state
        call.record = record
        call.slot = slot
        call.epoch = slot.epoch = state.registry.epoch
        call.seq = seq = slot.next_seq
        slot.next_seq = seq + 1
        sent = slot.sent
        sent[seq] = call
        self.latest = slot
        self.count += 1
        if record.is_async:
            slot.depth = 0
        else:
            slot.depth = depth
            slot.sync_count += 1
            if depth == 1:
                slot.full = True
        if len(sent) > 1 and slot.sync_count and not slot.has_prefetched:
            slot.has_prefetched = True
            self.prefetching += 1
        if slot.full:  # it was open until now
            self.loads.drop(slot)
        else:
            self.loads.put(slot, slot.sync_count)
        state.sends.append((slot, call))
        if seq == slot.call_limit:
            self._on_call_limit(slot)

    def release(self, slot: Slot, record: Record) -> None:
        """Update the counts after a call that the worker will not run was removed from `sent`.

        For one that was answered, `Dispatcher.answered` does it, which runs for every call.
        """
        self.count -= 1
        if not record.is_async:
            slot.sync_count -= 1
            if not slot.sync_count:
                slot.full = False  # also if all that it held was revoked before it began
        if slot.has_prefetched and (not slot.sync_count or len(slot.sent) < 2):
            slot.has_prefetched = False
            self.prefetching -= 1

    def take(self, slot: Slot) -> list[Call]:
        """Remove all calls from a slot whose process has exited or will not answer; return them in order."""
        calls = list(slot.sent.values())
        # Its last answer may just have made room for calls that have not been written to it yet.
        self._state.sends = [send for send in self._state.sends if send[0] is not slot]
        self.count -= len(calls)
        self.prefetching -= slot.has_prefetched
        slot.sent.clear()
        slot.cancelling.clear()
        slot.sync_count = 0
        slot.has_prefetched = slot.full = False
        self.loads.drop(slot)
        return calls

    def calls(self) -> list[Call]:
        """Return the calls that workers hold, including ended ones whose work still goes on."""
        return [call for slot in self._state.processes() for call in slot.sent.values()]
