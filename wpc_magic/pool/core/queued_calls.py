"""The calls that have not been sent to a worker: in a queue, or held back until something has happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..errors import NoWorkerError
from .call_limits import CallLimits
from .call_queue import CallQueue
from .calls import Call
from .demands import Demands
from .dependent_calls import DependentCall
from .dependents import Dependents
from .history import shortened
from .lifecycle import LOST
from .retries import Raised, Retries
from .slots import Slot, slot_of
from .state import State

__all__ = ["QueuedCalls"]


class QueuedCalls:
    """Keeps each call that no worker holds in exactly one place, and ends it there.

    The places are the shared queue, the queue of the only slot that may run a call, those of calls that ask
    for resources of a machine, and those that hold calls back: for a limit of their function, for a retry, or
    for the values of others. What leaves for a worker is up to the dispatcher.

    Parameters
    ----------
    state : State
        The shared state of the core.
    retry_due : callable
        Given a call and the time, called when a call that has waited for a retry may run.
    complete : callable
        Given a call and the time, called when a call has all values that it has waited for.

    Attributes
    ----------
    count : int
        How many there are. Whoever takes one from `shared`, or from the queue of a slot, counts it out.
    shared : CallQueue
        Those that any slot may run now; those for one slot are in `Slot.pinned`.
    demands : Demands
        Those that ask for resources of a machine.
    limits : CallLimits
        Those whose function has as many calls at workers as it may have.
    retries : Retries
        Those that have failed, and run again after a delay.
    dependents : Dependents
        Those that wait for the values of others.
    """

    def __init__(
        self,
        state: State,
        retry_due: Callable[[Call, float], None],
        complete: Callable[[Call, float], None],
    ) -> None:
        self._state = state
        self.count = 0
        self.shared = CallQueue()
        self.demands = Demands(state)
        self.limits = CallLimits(state)
        self.retries = Retries(state, retry_due)
        self.dependents = Dependents(state, complete)

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Call]:
        yield from self.shared
        for slot in self._state.slots.values():
            yield from slot.pinned
        yield from self.demands
        yield from self.limits
        yield from self.retries.calls.values()
        yield from self.dependents.calls.values()

    def is_awaited(self, slot: Slot) -> bool:
        """Whether calls are queued that this slot may run."""
        return bool(self.shared or slot.pinned or self.demands.queues)

    def unpinned(self) -> int:
        """Return how many calls are queued that any slot may run now."""
        pinned = sum(len(slot.pinned) for slot in self._state.slots.values()) + self.demands.count_pinned()
        held = len(self.limits) + len(self.retries.calls) + len(self.dependents.calls)
        return self.count - pinned - held

    def queue_of(self, call: Call) -> tuple[CallQueue, Slot | None]:
        """Return the queue of a call, and the slot that this belongs to; None: any slot may run its calls."""
        pinned = self._state.slots.get(call.options.worker_id or 0)
        if call.options.resources:
            return self.demands.queue_of(call), pinned
        return (self.shared if pinned is None else pinned.pinned), pinned

    # -- a call comes back ------------------------------------------------------------------------------

    def put_back(self, call: Call) -> None:
        """Put a call that is counted at the head of its queue."""
        queue, _ = self.queue_of(call)
        if call.options.priority:
            queue.rank()
        queue.appendleft(call)

    def take_back(self, call: Call) -> None:
        """Queue a call that was sent and did not end, at the head; or end it, if it cannot run any more."""
        pinned = self._unassign(call)
        if call.ended:
            return
        if call.expired is not None and not call.attempts:
            self._state.finish(call, call.expired)
        elif pinned is not None and _is_lost(pinned):
            self._state.finish(call, _worker_lost(call, pinned))
        else:
            self.count += 1
            self.put_back(call)

    def retry(self, call: Call, now: float, raised: Raised | None = None) -> None:
        """Run a call again after a delay, because its worker died while running it, or for what it raised."""
        call.attempts += 1
        self._state.note(call, "retried", "" if raised is None else shortened(raised.info))
        pinned = self._unassign(call)
        if pinned is not None and _is_lost(pinned):
            self._state.finish(call, _worker_lost(call, pinned))
        else:
            self.count += 1
            self.retries.wait(call, now, raised)

    def _unassign(self, call: Call) -> Slot | None:
        """Detach a call from its slot; return the only slot that may run it, if there is only one.

        That is the slot of this number which serves now: the process may have been replaced meanwhile.
        """
        slot, call.slot, call.began_s = slot_of(call), None, 0.0
        return None if slot is None or call.options.worker_id is None else self._state.successor(slot)

    # -- a call ends here -------------------------------------------------------------------------------

    def end(self, call: Call, error: Exception | None) -> bool:
        """End a queued call; return whether what waited behind it may fit where it did not.

        Without an error, it is cancelled.
        """
        queue, _ = self.queue_of(call)
        # Others of its function may have been held back for it.
        was_first = bool(queue) and (queue.head is call or (call.name in self.limits.held and call in queue))
        queue.discard(call)
        self._end_held(call, error, cancels=True)
        return was_first

    def inherit(self, call: DependentCall, answer: Any) -> None:
        """End a call as one has ended that it waits for; see `Dependents.inherit`."""
        if self.dependents.inherit(call, answer):
            self.count -= 1

    def fail_all(self, error: type[Exception], why: str) -> None:
        """End every queued call with an error."""
        calls = list(self)
        self.shared.clear()
        self.demands.queues.clear()
        for slot in self._state.slots.values():
            slot.pinned.clear()
        for call in calls:
            self._end_held(call, error(f"{call} {why}"), cancels=False)

    def fail_if_unusable(self) -> None:
        """End every queued call if no slot is left that could ever run one."""
        if self.count and not self._state.usable():
            why = "was queued when the last worker was lost; restart_workers() starts them again, "
            self.fail_all(NoWorkerError, f"{why}as %wpc_restart does")

    def fail_pinned(self, slot: Slot) -> None:
        """End the calls that only this slot may run, because it does not come back."""
        held = (*self.retries.calls.values(), *self.limits, *self.dependents.calls.values())
        later = [call for call in held if call.options.worker_id == slot.id]
        for call in (*slot.pinned, *self.demands.pinned_to(slot.id), *later):
            self._end_held(call, _worker_lost(call, slot), cancels=False)
        slot.pinned.clear()

    def fail_impossible(self) -> bool:
        """End the calls that ask for what no worker has any more; return whether there was one."""
        found = False
        for queue in list(self.demands.queues.values()):
            if queue and self.demands.refusal(queue.head) is not None:
                found = True
                for call in list(queue):
                    self._end_held(call, self.demands.refusal(call), cancels=False)
        return found

    def _end_held(self, call: Call, error: Exception | None, cancels: bool) -> None:
        """End a call wherever it may be held back; see `LetGo` for `cancels`."""
        self.limits.discard(call)
        self.demands.discard(call)
        self.retries.calls.pop(call.id, None)
        self.count -= 1
        self.dependents.drop(call, cancels)
        self._state.finish(call, error)

    def clear(self) -> None:
        """Start over after the pool has stopped."""
        self.shared.clear()
        self.demands.queues.clear()
        self.limits.clear()


def _is_lost(slot: Slot) -> bool:
    """Whether a slot will run nothing more."""
    return slot.retired or slot.state in LOST


def _worker_lost(call: Call, slot: Slot) -> NoWorkerError:
    if slot.retired:
        return NoWorkerError(f"{call} was for worker {slot.id}, which is gone")
    return NoWorkerError(
        f"{call} was for worker {slot.id}, which is {slot.state.value}; "
        f"restart_worker({slot.id}) starts it again, as %wpc_restart {slot.id} does"
    )
