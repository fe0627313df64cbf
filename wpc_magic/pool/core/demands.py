"""The calls that ask for resources of a machine, what each machine offers, and what of it is in use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from ..checks import shown_amounts
from ..errors import NoWorkerError
from .call_queue import CallQueue
from .calls import Call
from .lifecycle import LOST
from .slots import Slot
from .state import State

__all__ = ["Demands"]

_Kind: TypeAlias = tuple[int, tuple[tuple[str, float], ...]]
_ROUNDING = 1e-9


class Demands:
    """Queues calls that ask for resources: by what they ask for, so that none waits for what another asks.

    What is in use is counted when it is asked for, as in `CallLimits`: a call uses what it has asked for from
    when it is sent to a worker until its work has ended there.

    Parameters
    ----------
    state : State
        The shared state of the core.

    Attributes
    ----------
    queues : dict
        The queues that have calls, and perhaps some that had.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.queues: dict[_Kind, CallQueue] = {}

    def __iter__(self) -> Iterator[Call]:
        return (call for queue in self.queues.values() for call in queue)

    def queue_of(self, call: Call) -> CallQueue:
        """Return the queue of a call that asks for resources."""
        kind = _kind_of(call)
        queue = self.queues.get(kind)
        if queue is None:
            queue = self.queues[kind] = CallQueue()
        return queue

    def drop_empty(self) -> None:
        """Forget the queues that have no calls."""
        self.queues = {kind: queue for kind, queue in self.queues.items() if queue}

    def discard(self, call: Call) -> None:
        """Remove a call if it is in a queue."""
        if call.options.resources and (queue := self.queues.get(_kind_of(call))) is not None:
            queue.discard(call)

    def wait_for(self, slot: Slot) -> bool:
        """Whether calls are queued that a slot might run."""
        return any(queue and number in (0, slot.id) for (number, _), queue in self.queues.items())

    def pinned_to(self, number: int) -> list[Call]:
        """Return the calls that only the slot of this number may run."""
        return [call for call in self if call.options.worker_id == number]

    def count_pinned(self) -> int:
        """Return how many calls only one slot may run."""
        return sum(len(queue) for (number, _), queue in self.queues.items() if number)

    # -- what machines offer ----------------------------------------------------------------------------

    def offered_at(self, slot: Slot) -> Mapping[str, float] | None:
        """Return what the machine of a slot offers; None: that is not known yet."""
        declared: Mapping[str, float] | None = self._state.options.host_resources
        if declared is not None:
            return declared
        return None if slot.pid is None else slot.offers

    def has_room(self, slot: Slot, call: Call) -> bool:
        """Whether the machine of a slot has what a call asks for, and as much of it is not in use."""
        wanted = call.options.resources or {}
        left = dict(self.offered_at(slot) or {})
        for other in self._state.processes():
            if other.pid is not None and other.place == slot.place:
                for sent in other.sent.values():
                    for name, amount in (sent.options.resources or {}).items():
                        if name in left:
                            left[name] -= amount
        return all(left.get(name, 0.0) >= amount - _ROUNDING for name, amount in wanted.items())

    def refusal(self, call: Call) -> NoWorkerError | None:
        """Return why no worker can run a call, for what it asks for; None: one can, or may yet."""
        wanted = call.options.resources
        if not wanted:
            return None
        slots = [slot for slot in self._state.slots.values() if slot.state not in LOST and not slot.retired]
        number = call.options.worker_id
        offers = [self.offered_at(slot) for slot in slots if number in (None, slot.id)]
        if not offers or any(offer is None or _is_enough(offer, wanted) for offer in offers):
            return None
        offered = " or ".join(sorted({shown_amounts(offer) for offer in offers if offer})) or "nothing"
        who = "no worker has that" if number is None else f"worker {number} does not have that"
        return NoWorkerError(
            f"{call} asks for {shown_amounts(wanted)}, and {who}: machines here offer {offered}. "
            "The option host_resources says what is there; of a Dask worker, its own option resources does"
        )


def _kind_of(call: Call) -> _Kind:
    wanted = call.options.resources or {}
    return call.options.worker_id or 0, tuple(sorted(wanted.items()))


def _is_enough(offer: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    return all(offer.get(name, 0.0) >= amount - _ROUNDING for name, amount in wanted.items())
