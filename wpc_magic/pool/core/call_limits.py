"""How many calls of a function workers hold at once at most, and the calls that wait for that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from .call_queue import CallQueue
from .calls import Call
from .registry import Kind, Record
from .state import State

__all__ = ["CallLimits"]


class CallLimits:
    """Holds calls back of functions that have as many at workers as they may have.

    A call that is held back is in no queue, so those behind it go on. What workers hold is counted when it is
    asked for: there is nothing that a death, a replacement or a revoked call could leave wrong.

    Parameters
    ----------
    state : State
        The shared state of the core.

    Attributes
    ----------
    held : dict
        The calls that are held back, in order, by function; empty if there is none.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.held: dict[str, CallQueue] = {}

    def __iter__(self) -> Iterator[Call]:
        return (call for calls in self.held.values() for call in calls)

    def __len__(self) -> int:
        return sum(map(len, self.held.values()))

    def room(self, name: str, at_most: int) -> int:
        """Return how many more calls of a function workers may hold."""
        slots = self._state.processes()
        return at_most - sum(call.name == name for slot in slots for call in slot.sent.values())

    def holds(self, record: Record, call: Call) -> bool:
        """Hold a call back if its function has as many calls at workers as it may have; return whether."""
        if record.at_most is None or self.room(record.name, record.at_most) > 0:
            return False
        calls = self.held.get(record.name)
        if calls is None:
            calls = self.held[record.name] = CallQueue()
            calls.rank()
        calls.append(call)
        return True

    def free(self) -> list[Call]:
        """Return the calls that need not be held back any more; they are held no longer.

        A call for one worker takes no room from others: that worker may be busy for long.
        """
        freed: list[Call] = []
        for name in list(self.held):
            calls = self.held[name]
            room = self._room_now(name, len(calls))
            while room > 0 and calls:
                freed.append(calls.popleft())
                room -= freed[-1].options.worker_id is None
            if not calls:
                del self.held[name]
        return freed

    def _room_now(self, name: str, all_of_them: int) -> int:
        """Return how many calls fit; all do if there is no limit any more, or they will be refused."""
        registry = self._state.registry
        record = registry.records.get(name)
        if record is None or record.kind is not Kind.FUNCTION or record.at_most is None:
            return all_of_them
        return all_of_them if registry.missing(name) is not None else self.room(name, record.at_most)

    def needlessly_held(self, queued: Iterable[Call]) -> Call | None:
        """Return a call that is held back, although calls of its function that were queued leave room for it.

        An invariant is that there is none.
        """
        queued_of = Counter(call.name for call in queued)
        for name, calls in self.held.items():
            record = self._state.registry.records.get(name)
            if record is None or record.at_most is None or self.room(name, record.at_most) > queued_of[name]:
                return calls.head
        return None

    def discard(self, call: Call) -> None:
        """Remove a call if it is held back."""
        calls = self.held.get(call.name)
        if calls is not None:
            calls.discard(call)
            if not calls:
                del self.held[call.name]

    def clear(self) -> None:
        """Remove all calls."""
        self.held.clear()
