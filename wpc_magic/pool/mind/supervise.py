"""The life of the workers: started, watched, replaced, ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import (
    OptionError,
    PoolStateError,
    PoolStoppedError,
    WorkerCrashedError,
    WorkerReplacedError,
)
from .calls import Call
from .define import Definitions
from .dispatch import Dispatch
from .effects import End, Kill, SendLeave, Spawn
from .heartbeat import Heartbeat
from .lifecycle import ALIVE, Cause, SlotState
from .overlap import ASKED, Overlap
from .recycle import Recycling
from .rest import Rest
from .restart import restart_delay_s
from .slots import Slot
from .state import State

__all__ = ["Supervisor"]

_SOFTLY = 0.6
"""The part of the time for stopping after which force is used."""


_KILLED = -9
"""The exit code where SIGKILL has ended a process: somebody has, or the system for want of memory."""


def _nothing(call: Call) -> Mapping[str, Any]:
    return {}


class Supervisor:
    """The slots of a pool.

    Parameters
    ----------
    state : State
        What the parts of the core share.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.dispatch = Dispatch(
            state, self.replace, lambda slot: self.recycling.spent(slot), lambda: self.rest.wake()
        )
        self.definitions = Definitions(state, self.dispatch, self.replace, self._give_up_start)
        self.overlap = Overlap(state, self.dispatch, self.definitions, self._spawn, self.leave_if_empty)
        self.recycling = Recycling(state, self.overlap.ask, self.replace)
        self.rest = Rest(state, self.dispatch, self.overlap, self._spawn)
        self._heartbeat = Heartbeat(state, self.dispatch, self.replace, self._look)
        self.heard = self._heartbeat.heard

    # -- the pool as a whole ----------------------------------------------------------------------------

    def start(self, count: int, now: float) -> None:
        """Make slots and have each filled.

        Raises
        ------
        PoolStateError
            If the pool is not stopped.
        """
        state = self._state
        if state.phase != "stopped":
            raise PoolStateError(f"the workers are {state.phase} already")
        state.phase = "starting"
        state.slots.clear()
        state.resting.clear()
        for _ in range(count):
            self._add()
        self._heartbeat.beat(now)

    def _look(self, now: float) -> None:
        """Look after what has no moment of its own."""
        self.recycling.look(now)
        self.rest.look(now)

    def _add(self) -> None:
        slot = Slot(max(self._state.slots, default=0) + 1)
        self._state.slots[slot.id] = slot
        self._state.move(slot, Cause.START)
        self._spawn(slot)

    def stop(self, now: float) -> None:
        """End every call and every process: softly at first, by force when most of the time is over."""
        state = self._state
        if state.phase in ("stopped", "stopping"):
            return
        state.phase = "stopping"
        state.draining = False
        self.dispatch.fail_queued(PoolStoppedError, "was queued when the pool was stopped")
        self.overlap.clear("the pool was stopped")
        state.resting.clear()
        for slot in state.processes():
            for call in self.dispatch.lose(slot):
                if not call.ended:
                    slot.failed += 1
                    why = f"{call} had not ended on worker {slot.id} when the pool was stopped"
                    state.finish(call, PoolStoppedError(why))
            slot.restart_at = 0.0
            state.move(slot, Cause.STOP)
            self.dispatch.close(slot)
            if slot.pid is not None:
                state.effects.append(SendLeave(slot.id, slot.life, True))
            self.definitions.lost(slot, "", now)
        state.timers.at(now + _SOFTLY * state.options.stop_timeout_ms / 1000, self._by_force)
        self._stopped_if_empty()

    def _by_force(self, now: float) -> None:
        if self._state.phase == "stopping":
            for slot in self._state.processes():
                if slot.pid is not None:
                    self._state.effects.append(Kill(slot.id, slot.life))

    def _stopped_if_empty(self) -> None:
        state = self._state
        if state.phase == "stopping" and not any(
            slot.pid is not None or slot.starting for slot in state.processes()
        ):
            state.phase = "stopped"
            state.timers.clear()
            self.dispatch.forget()
            state.effects.append(End())

    def resize(self, count: int, now: float) -> None:
        """Add slots, or have those with the highest numbers go away when their last call has ended.

        Raises
        ------
        NotRunningError
            If the workers are not running.
        """
        state = self._state
        self._must_run()
        staying = sorted(number for number, slot in state.slots.items() if not slot.retired)
        for _ in range(count - len(staying)):
            self._add()
        for number in staying[count:]:
            slot = state.slots[number]
            slot.retired = True
            slot.why = "the pool was made smaller"
            self.overlap.drop(number, slot.why)
            self.dispatch.fail_pinned(slot)
            self._drain(slot, now)
            if slot.pid is None and not slot.starting:
                self._remove(slot)
        if state.resting:
            self.rest.wake()
        self.dispatch.fail_if_lost()
        self._is_ready_now()

    def _must_run(self) -> None:
        if self._state.phase in ("stopped", "stopping"):
            raise self._state.not_running()

    def _remove(self, slot: Slot) -> None:
        if slot.state is not SlotState.STOPPED:
            self._state.move(slot, Cause.STOP)
        slot.restart_at = 0.0  # its timer is still there, and another slot may get its number
        self._state.resting.discard(slot.id)
        del self._state.slots[slot.id]

    def find(self, number: int) -> Slot:
        """Return the slot of that number.

        Raises
        ------
        NotRunningError, OptionError
        """
        self._must_run()
        slot = self._state.slots.get(number)
        if slot is None or slot.retired:
            there = ", ".join(str(each) for each in sorted(self._state.slots))
            raise OptionError(f"there is no worker {number}; there are {there}")
        return slot

    # -- one worker -------------------------------------------------------------------------------------

    def restart(self, number: int, drain: bool, now: float) -> int:
        """Have a slot filled by a new process; bring back one that has failed.

        Parameters
        ----------
        number : int
            The slot's.
        drain : bool
            Whether the new process is ready first, and the old one ends the calls that it has; else that is
            ended at once.

        Returns
        -------
        int
            The life of the process that is replaced: the new one's is higher.

        Raises
        ------
        NotRunningError, OptionError
        """
        state = self._state
        slot = self.find(number)
        life = slot.life
        slot.deaths = 0
        if slot.state is SlotState.FAILED:
            state.move(slot, Cause.REVIVED)
            self._spawn(slot)
        elif slot.restart_at:
            self._spawn(slot)
        elif slot.state is SlotState.RESTING:
            pass  # it starts when it is needed
        elif drain and slot.state in ALIVE:
            self.overlap.drop(number, ASKED)  # one that comes may have begun before what the restart is for
            self.overlap.ask(slot, ASKED)
        else:
            self.overlap.drop(number, ASKED)
            self.replace(slot, ASKED)
        return life

    def _drain(self, slot: Slot, now: float) -> None:
        """Give a slot no more calls, and end its process with the last that it has."""
        slot.drains = True
        self.dispatch.close(slot)
        self.leave_if_empty(slot, now)

    def leave_if_empty(self, slot: Slot, now: float) -> None:
        """Have a process that takes no more calls end, once its last has ended."""
        if slot.drains and not slot.sent and slot.pid is not None and not slot.replacing:
            slot.replacing = slot.why
            self._state.effects.append(SendLeave(slot.id, slot.life, False))
            life = slot.life
            due = now + self._state.options.stop_timeout_ms / 1000
            self._state.timers.at(due, lambda _: self._kill(slot, life))

    def _kill(self, slot: Slot, life: int) -> None:
        if slot.life == life and slot.pid is not None:
            self._state.effects.append(Kill(slot.id, life))

    def replace(self, slot: Slot, why: str) -> None:
        """End a slot's process by force, to fill the slot again at once; its budget of restarts stays.

        A process that is being started yet is ended as soon as it is there.
        """
        if not slot.replacing or slot.drains:
            slot.replacing = why
            slot.drains = False
            self.dispatch.close(slot)
        self._kill(slot, slot.life)

    def _spawn(self, slot: Slot) -> None:
        slot.empty()
        self._state.lives += 1
        slot.life = self._state.lives
        slot.most = self._state.options.max_calls_per_worker or 0
        slot.restart_at = 0.0
        slot.starting = True
        self._state.effects.append(Spawn(slot.id, slot.life))

    def spawned(self, number: int, life: int, pid: int, now: float) -> bool:
        """Note that a process has been started; return False if nobody wants it any more."""
        state = self._state
        slot = state.of_life(number, life)
        if slot is None or not slot.starting:
            return False
        slot.starting = False
        slot.pid = pid
        state.emit(number, "worker_spawned", details={"pid": pid})
        if state.phase == "stopping" or slot.retired or slot.replacing:
            self._kill(slot, life)
            return True
        self.definitions.first_install(slot, now)
        due = now + state.options.start_timeout_ms / 1000
        state.timers.at(due, lambda _: self._too_slow(slot, life))
        return True

    def not_spawned(self, number: int, life: int, why: str, now: float) -> None:
        """Note that no process could be started."""
        slot = self._state.of_life(number, life)
        if slot is not None and slot.starting:
            slot.starting = False
            self._died(slot, None, why, now)

    def _too_slow(self, slot: Slot, life: int) -> None:
        if slot.life == life and slot.pid is not None and not slot.ready_since:
            self._give_up_start(slot, f"was not ready in {self._state.options.start_timeout_ms} ms")

    def _give_up_start(self, slot: Slot, why: str) -> None:
        """End a process that does not become ready; that counts as a death."""
        slot.given_up = why
        self._state.emit(slot.id, "worker_error", "error", details={"reason": why})
        self._kill(slot, slot.life)

    def answered(self, slot: Slot, seq: int, ran_ns: int, ok: bool, now: float) -> Call | None:
        """Note the end of a call; see `Dispatch.answered`."""
        call = self.dispatch.answered(slot, seq, ran_ns, ok, now)
        if slot.drains:
            self.leave_if_empty(slot, now)
        return call

    def given_up(self, slot: Slot, seqs: tuple[int, ...], now: float) -> None:
        """Note that calls were taken back; see `Dispatch.given_up`."""
        self.dispatch.given_up(slot, seqs, now)
        if slot.drains:
            self.leave_if_empty(slot, now)

    def installed(self, slot: Slot, epoch: int, now: float) -> None:
        """Note that a worker holds an epoch: a new one is ready with the first that is in force."""
        state = self._state
        if not self.definitions.installed(slot, epoch, now) or slot.replacing:
            return
        if state.incoming.get(slot.id) is slot:
            self.overlap.take_over(slot, now)
        elif not slot.ready_since and state.phase in ("starting", "running"):
            again = slot.state is SlotState.RESTARTING
            slot.ready_since = now
            state.emit(slot.id, "worker_ready", source="worker", details={"pid": slot.pid})
            state.move(slot, Cause.READY)
            if again:
                slot.restarts += 1
                state.emit(slot.id, "worker_restart_completed", details={"attempt": slot.deaths})
            self._is_ready_now()
        self.dispatch.room_at(slot, now)

    def _is_ready_now(self) -> None:
        state = self._state
        if state.phase == "starting" and not any(
            slot.state is SlotState.STARTING for slot in state.slots.values()
        ):
            state.phase = "running"

    # -- a death ----------------------------------------------------------------------------------------

    def died(
        self,
        number: int,
        life: int,
        exitcode: int | None,
        report: str,
        now: float,
        about: Callable[[Call], Mapping[str, Any]] = _nothing,
    ) -> None:
        """Note that a process is gone, after all that it had written has been read.

        Parameters
        ----------
        exitcode : int or None
            Its exit code; minus the signal's number where a signal ended it.
        report : str
            How it ended, for people.
        about : callable
            Given a call that ends with it, returns what else its `WorkerCrashedError` tells.
        """
        slot = self._state.alive(number, life)
        if slot is not None:
            self._died(slot, exitcode, report, now, about)

    def _died(
        self,
        slot: Slot,
        exitcode: int | None,
        report: str,
        now: float,
        about: Callable[[Call], Mapping[str, Any]] = _nothing,
    ) -> None:
        state = self._state
        begun = state.running(slot.life)[0] if slot.pid is not None else 0
        calls = self.dispatch.lose(slot)
        why, asked = slot.replacing, bool(slot.replacing)
        going = state.phase == "stopping" or slot.retired
        report = slot.given_up or report
        was_ready = bool(slot.ready_since)
        if was_ready and now - slot.ready_since >= state.options.restart_stable_after_ms / 1000:
            slot.deaths = 0
        failed_again = not was_ready and not asked and slot.state is SlotState.RESTARTING
        serves = state.serves(slot)
        if not going and serves:
            state.move(slot, Cause.DIES)
        reason = why or ("stopped" if going else report)
        details = {"exitcode": exitcode, "reason": reason}
        state.emit(slot.id, "worker_exited", "info" if asked or going else "error", details=details)
        if failed_again and not going:
            details = {"attempt": slot.deaths, "reason": reason}
            state.emit(slot.id, "worker_restart_failed", "error", details=details)
        by_others = exitcode == _KILLED and not slot.given_up
        self.definitions.lost(slot, "" if asked or going else report, now, by_others)
        slot.empty()

        def crashed(call: Call) -> WorkerCrashedError:
            message = f"{call} ended with worker {slot.id}, which {report}"
            return WorkerCrashedError(message, slot.id, exitcode, **about(call))

        had_begun = [call for call in calls if call.began_s or call.seq <= begun]
        for call in had_begun:
            if not call.ended and not self._ends_with(call, slot, why, crashed):
                self.dispatch.retry(call, now)
        # Before it is known whether the slot comes back: that ends them.
        self.dispatch.queue_again([c for c in calls if not c.began_s and c.seq > begun], now)
        poisoned = any(call.crashes > 1 for call in had_begun)
        if not serves and slot.retired:
            self.overlap.gone(slot)
        elif not serves:
            self.overlap.failed(slot, reason, now)
        elif not going:
            self._plan(slot, asked, poisoned, now)
        elif slot.retired:
            self._remove(slot)
        if state.resting:
            self.rest.wake()
        self._stopped_if_empty()
        self._is_ready_now()

    def _ends_with(
        self, call: Call, slot: Slot, why: str, crashed: Callable[[Call], WorkerCrashedError]
    ) -> bool:
        """End a call that had begun on a worker that is gone, unless it may run again; return whether."""
        call.crashes += 1
        if call.crashes <= call.retries:
            return False
        slot.failed += 1
        replaced = f"{call} ended with worker {slot.id}: {why}"
        self._state.finish(call, WorkerReplacedError(replaced) if why else crashed(call))
        return True

    def _plan(self, slot: Slot, asked: bool, poisoned: bool, now: float) -> None:
        """Plan when a slot is filled again.

        Where the call was to blame, which has brought another worker down before, that does not count
        against the slot: else a call with many retries could take every slot out of service.
        """
        state = self._state
        delay: float | None = 0.0
        if not asked:
            if not poisoned:
                slot.deaths += 1
            delay = restart_delay_s(max(1, slot.deaths), state.options, state.dice())
        if delay is None:
            details = {
                "deaths": slot.deaths,
                "max_restarts_per_worker": state.options.max_restarts_per_worker,
            }
            state.emit(slot.id, "worker_restart_exhausted", "error", details=details)
            state.move(slot, Cause.EXHAUSTED)
            self.overlap.drop(slot.id, "the slot has failed")
            self.dispatch.fail_pinned(slot)
            self.dispatch.fail_if_lost()
            return
        details = {"attempt": slot.deaths, "delay_ms": round(delay * 1000)}
        state.emit(slot.id, "worker_restart_scheduled", details=details)
        self.overlap.renewed(slot.id)
        if self.overlap.promote(slot):
            return
        if not delay:
            self._spawn(slot)
            return
        slot.restart_at = now + delay
        life = slot.life
        state.timers.at(slot.restart_at, lambda now: self._again(slot, life, now))

    def _again(self, slot: Slot, life: int, now: float) -> None:
        if slot.life == life and slot.restart_at and self._state.phase in ("starting", "running"):
            self._spawn(slot)
