"""The lifecycle of the workers: starting, monitoring, restarting and stopping them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..errors import OptionError, PoolStateError, PoolStoppedError
from .calls import Call
from .deaths import Deaths, no_details
from .dispatcher import Dispatcher
from .effects import AllStopped, Kill, LeaveBehind, SendShutdown, Spawn
from .heartbeat import Heartbeat
from .idle import IdleScaling
from .lifecycle import ALIVE, SlotState, Trigger
from .recycling import Recycling
from .replacement import RESTART_REQUESTED, Replacements
from .replication import Replication
from .retries import Raised
from .slots import Slot
from .spares import Spares
from .state import State

__all__ = ["Supervisor"]

_GRACEFUL_SHARE = 0.6
"""The share of the stop timeout after which processes are killed."""
_DEATH_S = 0.4
"""How long a process that was killed has to exit at least, on a busy machine."""
_HERE: Mapping[str, Any] = {}


class Supervisor:
    """Starts, monitors, restarts and stops the workers of a pool.

    Parameters
    ----------
    state : State
        The shared state of the core.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.dispatcher = Dispatcher(
            state,
            self.replace,
            lambda slot: self.recycling.call_limit_reached(slot),
            lambda: self.idle_scaling.wake(),
        )
        self.replication = Replication(state, self.dispatcher, self.replace, self._fail_start)
        self.replacements = Replacements(
            state, self.dispatcher, self.replication, self._spawn, self.shut_down_if_drained
        )
        self.recycling = Recycling(
            state, self.replacements.request, self.replace, self.dispatcher.update_load
        )
        self.idle_scaling = IdleScaling(state, self.dispatcher, self.replacements, self._spawn)
        self.spares = Spares(state, self.replication, self._spawn)
        self._deaths = Deaths(
            state, self.dispatcher, self.replication, self.replacements, self.spares, self._spawn
        )
        self._heartbeat = Heartbeat(state, self.dispatcher, self.replace, self._on_beat)
        self.pong_received = self._heartbeat.pong_received

    # -- the pool as a whole ----------------------------------------------------------------------------

    def start(self, count: int, now: float) -> None:
        """Create the slots, and start a process for each.

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
            self._add_slot()
        self._heartbeat.beat(now)

    def _on_beat(self, now: float) -> None:
        """Check what has no timer of its own."""
        self._check_killed(now)
        self.recycling.check(now)
        self.idle_scaling.check(now)
        self.spares.check(now)
        self._state.timers.drop_ended(self.dispatcher.queued.count + self.dispatcher.in_flight.count)

    def _add_slot(self) -> None:
        slot = Slot(max(self._state.slots, default=0) + 1)
        self._state.slots[slot.id] = slot
        self._state.transition(slot, Trigger.START)
        self._spawn(slot)

    def stop(self, now: float) -> None:
        """End every call and every process; kill those that are alive after most of the stop timeout."""
        state = self._state
        if state.phase in ("stopped", "stopping"):
            return
        state.phase = "stopping"
        state.draining = False
        self.dispatcher.queued.fail_all(PoolStoppedError, "was queued when the pool was stopped")
        self.replacements.clear("the pool was stopped")
        self.spares.clear("the pool was stopped")
        state.resting.clear()
        for slot in state.processes():
            for call in self.dispatcher.in_flight.take(slot):
                if not call.ended:
                    why = f"{call} had not ended on worker {slot.id} when the pool was stopped"
                    state.finish(call, PoolStoppedError(why))
            slot.restart_at = 0.0
            state.transition(slot, Trigger.STOP)
            self.dispatcher.update_load(slot)
            if slot.pid is not None:
                state.effects.append(SendShutdown(slot.id, slot.incarnation, True))
            self.replication.lost(slot, "", now)
        limit_s = state.options.stop_timeout_ms / 1000
        state.timers.call_at(now + _GRACEFUL_SHARE * limit_s, self._kill_all)
        self._check_stopped()

    def _kill_all(self, now: float) -> None:
        state = self._state
        if state.phase == "stopping":
            for slot in state.processes():
                self._kill(slot, slot.incarnation)
            time_left = (1 - _GRACEFUL_SHARE) * state.options.stop_timeout_ms / 1000
            self._await_deaths(now + max(_DEATH_S, time_left), 0, now)

    def _await_deaths(self, until: float, count: int, now: float) -> None:
        """Go on without the processes that the system could not end in time, once no other one exits."""
        state = self._state
        left = [slot for slot in state.processes() if slot.pid is not None]
        if now >= until and len(left) == count:
            for slot in left:
                self._leave_behind(slot, now)
        if state.phase == "stopping":
            state.timers.call_at(
                min(now + _DEATH_S / 2, max(until, now + _DEATH_S / 4)),
                lambda now: self._await_deaths(until, len(left), now),
            )

    def _leave_behind(self, slot: Slot, now: float) -> None:
        """Go on without a process that does not exit: it is frozen, or its disk does not answer."""
        state = self._state
        state.emit(slot.id, "worker_left_behind", "error", details={"pid": slot.pid})
        state.effects.append(LeaveBehind(slot.id, slot.incarnation))
        why = f"could not be ended by the system (process {slot.pid}), and is left behind"
        self._exited(slot, None, why, now, no_details)

    def _check_killed(self, now: float) -> None:
        """Go on without processes that have not exited for a while after they were killed."""
        for slot in self._state.processes():
            if slot.killed and slot.pid is not None:
                slot.killed_since = slot.killed_since or now
                if now - slot.killed_since > self._state.options.stop_timeout_ms / 1000:
                    self._leave_behind(slot, now)

    def _check_stopped(self) -> None:
        state = self._state
        if state.phase == "stopping" and not any(
            slot.pid is not None or slot.starting for slot in state.processes()
        ):
            state.phase = "stopped"
            state.timers.clear()
            self.dispatcher.reset()
            state.effects.append(AllStopped())

    def resize(self, count: int, now: float) -> None:
        """Add slots, or retire those with the highest numbers: each is removed when its last call has ended.

        Raises
        ------
        NotRunningError
            If the workers are not running.
        """
        state = self._state
        self._require_running()
        staying = sorted(number for number, slot in state.slots.items() if not slot.retired)
        for _ in range(count - len(staying)):
            self._add_slot()
        for number in staying[count:]:
            slot = state.slots[number]
            slot.retired = True
            slot.reason = "the pool was made smaller"
            self.replacements.cancel(number, slot.reason)
            self.dispatcher.queued.fail_pinned(slot)
            self._drain(slot, now)
            if slot.pid is None and not slot.starting:
                self._remove_slot(slot)
        if state.resting:
            self.idle_scaling.wake()
        self.dispatcher.queued.fail_if_unusable()
        self._check_running()

    def _require_running(self) -> None:
        if self._state.phase in ("stopped", "stopping"):
            raise self._state.not_running()

    def _remove_slot(self, slot: Slot) -> None:
        if slot.state is not SlotState.STOPPED:
            self._state.transition(slot, Trigger.STOP)
        slot.restart_at = 0.0  # its timer still runs, and must not start a process
        self._state.resting.discard(slot.id)
        del self._state.slots[slot.id]

    def find(self, number: int) -> Slot:
        """Return the slot of that number.

        Raises
        ------
        NotRunningError, OptionError
        """
        self._require_running()
        slot = self._state.slots.get(number)
        if slot is None or slot.retired:
            known = ", ".join(str(each) for each in sorted(self._state.slots))
            raise OptionError(f"there is no worker {number}; there are {known}")
        return slot

    # -- one worker -------------------------------------------------------------------------------------

    def restart(self, number: int, drain: bool, now: float) -> int:
        """Start a new process for a slot, also for one that has failed.

        Parameters
        ----------
        number : int
            The slot's number.
        drain : bool
            Whether the old process finishes its calls, after the new one is ready; else it is killed at once.

        Returns
        -------
        int
            The incarnation of the old process: that of the new one is higher.

        Raises
        ------
        NotRunningError, OptionError
        """
        state = self._state
        slot = self.find(number)
        incarnation = slot.incarnation
        slot.forget_deaths()
        self.spares.clear(RESTART_REQUESTED)  # they may have started before whatever this restart is for
        if slot.state is SlotState.FAILED:
            state.transition(slot, Trigger.REVIVED)
            self._spawn(slot)
        elif slot.restart_at:
            self._spawn(slot)
        elif slot.state is SlotState.RESTING:
            pass  # it starts when it is needed
        elif drain and slot.state in ALIVE:
            # A replacement that is starting already may have started before whatever this restart is for.
            self.replacements.cancel(number, RESTART_REQUESTED)
            self.replacements.request(slot, RESTART_REQUESTED)
        else:
            self.replacements.cancel(number, RESTART_REQUESTED)
            self.replace(slot, RESTART_REQUESTED)
        return incarnation

    def _drain(self, slot: Slot, now: float) -> None:
        """Stop dispatching to a slot, and shut its process down when its last call has ended."""
        slot.draining = True
        self.dispatcher.update_load(slot)
        self.shut_down_if_drained(slot, now)

    def shut_down_if_drained(self, slot: Slot, now: float) -> None:
        """Shut a draining process down, once its last call has ended."""
        if slot.draining and not slot.sent and slot.pid is not None and not slot.replace_reason:
            slot.replace_reason = slot.reason
            self._state.effects.append(SendShutdown(slot.id, slot.incarnation, False))
            incarnation = slot.incarnation
            due = now + self._state.options.stop_timeout_ms / 1000
            self._state.timers.call_at(due, lambda _: self._kill(slot, incarnation))

    def _kill(self, slot: Slot, incarnation: int) -> None:
        if slot.incarnation == incarnation and slot.pid is not None:
            slot.killed = True
            self._state.effects.append(Kill(slot.id, incarnation))

    def replace(self, slot: Slot, why: str) -> None:
        """Kill a slot's process, to start another at once; that does not count as a death.

        A process that is still being started is killed as soon as it exists.
        """
        if not slot.replace_reason or slot.draining:
            slot.replace_reason = why
            slot.draining = False
            self.dispatcher.update_load(slot)
        self._kill(slot, slot.incarnation)

    def _spawn(self, slot: Slot) -> None:
        slot.reset()
        self._state.incarnations += 1
        slot.incarnation = self._state.incarnations
        slot.call_limit = self._state.options.max_calls_per_worker or 0
        slot.restart_at = 0.0
        slot.starting = True
        self._state.effects.append(Spawn(slot.id, slot.incarnation))

    def start_waits(self, number: int, incarnation: int, why: str) -> None:
        """Record that a process cannot be started yet: that is no failure, and no death."""
        slot = self._state.find_process(number, incarnation)
        if slot is not None and slot.starting and not slot.waits_for:
            slot.waits_for = why
            self._state.emit(number, "worker_start_waits", details={"reason": why})
            self._check_running()

    def spawned(
        self,
        number: int,
        incarnation: int,
        pid: int,
        now: float,
        host: Mapping[str, Any] = _HERE,
        place: str = "",
    ) -> bool:
        """Record that a process has been started; return False if it is no longer needed.

        Parameters
        ----------
        host : mapping
            For the event, if it is on another machine: ``host``, its name, and more: ``resources``, what it
            offers to calls.
        place : str
            What it is offered by; see `Slot.place`.
        """
        state = self._state
        slot = state.find_process(number, incarnation)
        if slot is None or not slot.starting:
            return False
        slot.starting = False
        slot.waits_for = ""
        slot.pid, slot.host, slot.place = pid, host.get("host", ""), place
        slot.offers = host.get("resources", {})
        state.history.process_started(incarnation, number, pid, now)
        is_spare = {"spare": True} if incarnation in state.spares else {}
        state.emit(number, "worker_spawned", details={"pid": pid, **host, **is_spare})
        if state.phase == "stopping" or slot.retired or slot.replace_reason:
            self._kill(slot, incarnation)
            return True
        self.replication.install_all(slot, now)
        self.replication.watch_start(slot, now)
        return True

    def leaves(self, number: int, incarnation: int, why: str, now: float) -> None:
        """Start another process for a slot whose machine is about to go; this one finishes its calls."""
        state = self._state
        slot = state.live_slot(number, incarnation)
        if slot is None or slot.retired or slot.replace_reason or state.phase not in ("starting", "running"):
            return
        if incarnation in state.spares:
            self.spares.end(slot, why)
            return
        state.emit(number, "worker_leaves", details={"reason": why, "pid": slot.pid, "host": slot.host})
        self.replacements.cancel(number, why)  # it may be on the same machine
        if not state.is_serving(slot):
            self.replacements.request(state.slots[number], RESTART_REQUESTED)
            return
        new = Slot(number)
        self.replacements.replace_by(new, slot, why, now)
        if new.state in ALIVE:
            state.transition(new, Trigger.DIES)
        self._spawn(new)
        self.dispatcher.dispatch(now)

    def identified(self, slot: Slot, pid: int) -> None:
        """Record the process id that a worker has told: a script may have started it."""
        if slot.pid is not None:
            if slot.pid != pid:
                self._state.history.process_started(slot.incarnation, slot.id, pid, 0.0)
            slot.pid = pid

    def spawn_failed(self, number: int, incarnation: int, why: str, now: float) -> None:
        """Record that no process could be started."""
        slot = self._state.find_process(number, incarnation)
        if slot is not None and slot.starting:
            slot.starting = False
            self._exited(slot, None, why, now, no_details)

    def _fail_start(self, slot: Slot, why: str) -> None:
        """Kill a process that does not become ready; that counts as a death."""
        slot.start_error = why
        self._state.emit(slot.id, "worker_error", "error", details={"reason": why})
        self._kill(slot, slot.incarnation)

    def answered(
        self,
        slot: Slot,
        seq: int,
        ran_ns: int,
        ok: bool,
        now: float,
        raised: Raised | None = None,
        failed: int = 0,
    ) -> Call | None:
        """Record a worker's answer; see `Dispatcher.answered`."""
        call = self.dispatcher.answered(slot, seq, ran_ns, ok, now, raised, failed)
        if slot.draining:
            self.shut_down_if_drained(slot, now)
        return call

    def revoked(self, slot: Slot, seqs: tuple[int, ...], now: float) -> None:
        """Put calls back that a worker will not run; see `Dispatcher.revoked`."""
        self.dispatcher.revoked(slot, seqs, now)
        if slot.draining:
            self.shut_down_if_drained(slot, now)

    def installed(self, slot: Slot, epoch: int, now: float) -> None:
        """Record that a worker has installed an epoch: a new worker is ready once it has the current one."""
        state = self._state
        if not self.replication.installed(slot, epoch, now) or slot.replace_reason:
            return
        if state.incoming.get(slot.id) is slot:
            self.replacements.take_over(slot, now)
        elif slot.incarnation in state.spares:
            self.spares.ready(slot, now)
            return
        elif not slot.ready_since and state.phase in ("starting", "running"):
            again = slot.state is SlotState.RESTARTING
            slot.ready_since = now
            state.emit(slot.id, "worker_ready", source="worker", details={"pid": slot.pid})
            state.transition(slot, Trigger.READY)
            if again:
                slot.restarts += 1
                state.emit(slot.id, "worker_restart_completed", details={"attempt": slot.attempts})
            self._check_running()
            self.spares.check(now)
        self.dispatcher.refill(slot, now)

    def _check_running(self) -> None:
        state = self._state
        if state.phase == "starting" and not any(
            slot.state is SlotState.STARTING and not slot.waits_for for slot in state.slots.values()
        ):
            state.phase = "running"

    # -- a process exits --------------------------------------------------------------------------------

    def died(
        self,
        number: int,
        incarnation: int,
        exitcode: int | None,
        report: str,
        now: float,
        about: Callable[[Call], Mapping[str, Any]] = no_details,
    ) -> None:
        """Record that a process has exited, after everything that it wrote has been read.

        Parameters
        ----------
        exitcode : int or None
            Its exit code; the negated signal number if a signal killed it.
        report : str
            How it ended, for people.
        about : callable
            Given a call that ends with it, returns further details for its `WorkerCrashedError`.
        """
        slot = self._state.live_slot(number, incarnation)
        if slot is not None:
            self._exited(slot, exitcode, report, now, about)

    def _exited(
        self,
        slot: Slot,
        exitcode: int | None,
        report: str,
        now: float,
        about: Callable[[Call], Mapping[str, Any]],
    ) -> None:
        self._deaths.handle(slot, exitcode, report, now, about)
        if slot.retired and self._state.is_serving(slot):
            self._remove_slot(slot)
        if self._state.resting:
            self.idle_scaling.wake()
        self._check_stopped()
        self._check_running()
        self.spares.check(now)
