"""How long a worker may take to install definitions: for as long as nothing waits for it.

A big model or a large package may take longer to load than `start_timeout_ms` or `control_timeout_ms`. To
kill the worker then gains nothing if nothing waits: the next process would have to load it again. So these
options limit how long others wait. A worker that has exceeded one is killed

- if something waits for it: a call that no ready worker could run, or the next change of the definitions;
- if it makes no progress: it is neither at another definition than before, nor has it used the processor. To
  ask for more, such as reading or receiving something, would need another source for each system, and who
  reads a large file, or decompresses what arrives, also uses the processor. A process that only answers pings
  uses far less than the share that counts here;
- at last, after a multiple of the time, whatever it does: else a loop without an end at the top of a cell
  would hold everyone who waits until the workers are ready.

While a worker makes a resource, no time passes here: that has a limit of its own, or none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..options import PoolOptions, shown_name
from .dispatcher import Dispatcher
from .lifecycle import ALIVE, SlotState
from .slots import Slot
from .state import State
from .timers import Endable

__all__ = ["TIMEOUTS", "InstallWatch", "limit_s", "took_too_long"]

TIMEOUTS = ("start_timeout_ms", "control_timeout_ms")
"""The options that limit an installation."""

_AT_MOST = 10
"""An installation ends after this many times its limit."""
_LEAST_SHARE = 0.01
"""The share of one processor that counts as progress."""


def limit_s(options: PoolOptions, option: str) -> float:
    """Return the value of an option in seconds."""
    milliseconds: int = getattr(options, option)
    return milliseconds / 1000


def took_too_long(options: PoolOptions, option: str, name: str) -> str:
    """Return that an installation took too long, with the option and its value.

    Examples
    --------
    >>> took_too_long(PoolOptions(), "start_timeout_ms", "big_model")
    'it took longer than start_timeout_ms=10000 to install big_model'
    """
    return f"it took longer than {option}={getattr(options, option)} to install{name and ' ' + name}"


class _Sample(NamedTuple):
    """What a worker was at, and what it had used."""

    at: float
    name: str
    cpu_s: float


class InstallWatch:
    """Decides when a worker that installs definitions is killed.

    Parameters
    ----------
    state : State
        The shared state of the core.
    dispatcher : Dispatcher
        Knows which calls wait.

    Attributes
    ----------
    change_waits : bool
        Whether a change of the definitions waits until workers have caught up.
    """

    def __init__(self, state: State, dispatcher: Dispatcher) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self.change_waits = False

    def watch(
        self,
        slot: Slot,
        option: str,
        is_installing: Callable[[], bool],
        is_vain: Callable[[], bool],
        give_up: Callable[[str, float], object],
        now: float,
        work: Endable | None = None,
    ) -> None:
        """Watch a worker that installs something, and nothing else, from now on.

        Parameters
        ----------
        slot : Slot
            The slot of the worker.
        option : str
            The option that limits it; a change of its value applies at once.
        is_installing : callable
            Whether it still does.
        is_vain : callable
            Whether that is of no use any more: then it gets no more time than the option says.
        give_up : callable
            Given the option that was exceeded and the time, kills the worker.
        now : float
            In seconds.
        work : Endable, optional
            What is installed, if it is known when that has ended.
        """
        incarnation, began = slot.incarnation, now
        last: _Sample | None = None  # most have ended before the first check, and reading costs 40 us
        reported = False

        def check(now: float) -> None:
            nonlocal began, last, reported
            if slot.incarnation != incarnation or not is_installing():
                return
            if self._state.prepares(incarnation) and not is_vain():
                began = now
            limit = limit_s(self._state.options, option)
            before, last = last, self._sample(slot, now)
            took = now - began - self._state.pauses.since(began)
            if took >= 0.999 * limit:  # a sum of two halves is not always the whole
                is_useful = (before is None or _has_progressed(before, last)) and not is_vain()
                exceeded = self._exceeded(slot, option, took, is_useful)
                if exceeded:
                    give_up(exceeded, now)
                    return
                if not reported:
                    reported = True
                    self._report(slot, option)
            self._state.timers.call_at(now + limit / 2, check, work)

        self._state.timers.call_at(now + limit_s(self._state.options, option) / 2, check, work)

    def _sample(self, slot: Slot, now: float) -> _Sample:
        state, incarnation = self._state, slot.incarnation
        return _Sample(now, state.installing(incarnation), state.cpu_s(incarnation))

    def _exceeded(self, slot: Slot, option: str, took: float, is_useful: bool) -> str:
        """Return the option by which a worker is killed now; empty: it goes on."""
        options = self._state.options
        if not is_useful or took >= _AT_MOST * limit_s(options, option):
            return option
        # Another process would have this time for the same: to kill this one before gains nothing.
        longest = max(option, "start_timeout_ms", key=lambda each: limit_s(options, each))
        return longest if took >= limit_s(options, longest) and self._is_waited_for(slot) else ""

    def _is_waited_for(self, slot: Slot) -> bool:
        """Whether something waits for this worker, which no other could do."""
        state = self._state
        if self.change_waits and slot.state in ALIVE:
            return True
        if not state.is_serving(slot):
            return False
        if slot.pinned or self._dispatcher.queued.demands.pinned_to(slot.id):
            return True
        return self._dispatcher.queued.unpinned() > 0 and not any(
            other.state is SlotState.READY and other.installed_epoch == state.registry.epoch
            for other in state.slots.values()
        )

    def _report(self, slot: Slot, option: str) -> None:
        state = self._state
        details = {
            "definition": shown_name(state.installing(slot.incarnation)),
            "option": option,
            "limit_ms": getattr(state.options, option),
        }
        state.emit(slot.id, "worker_installs_slowly", "warn", details=details)


def _has_progressed(before: _Sample, now: _Sample) -> bool:
    used = now.cpu_s - before.cpu_s
    return now.name != before.name or (used > 0 and used >= _LEAST_SHARE * (now.at - before.at))
