"""Replication of the registry: a change is installed on all workers or on none."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..errors import InstallError
from ..options import PoolOptions, listed_names, shown_name
from .dispatcher import Dispatcher
from .effects import SendActivate, SendForget, SendInstall
from .events import ErrorInfo
from .install_watch import TIMEOUTS, InstallWatch, limit_s, took_too_long
from .lifecycle import ALIVE, SlotState
from .poison import PoisonDefinitions
from .registry import Change, Record
from .rollout import Rollout
from .slots import Slot
from .state import State

__all__ = ["Replication"]


class _Deadline:
    """Until when workers may vote."""

    __slots__ = ("ended",)

    def __init__(self) -> None:
        self.ended = False


class _Installation:
    """One epoch that one worker installs."""

    __slots__ = ("_epoch", "_incarnation", "_slot")

    def __init__(self, slot: Slot, epoch: int) -> None:
        self._slot, self._incarnation, self._epoch = slot, slot.incarnation, epoch

    @property
    def ended(self) -> bool:
        """Whether the worker has answered, or is another one."""
        slot, epoch = self._slot, self._epoch
        return slot.incarnation != self._incarnation or not (
            epoch in slot.installing or epoch in slot.aborted
        )


class Replication:
    """The registry, and each worker's copy of it.

    At most one rollout is in progress: the driver ensures that.

    Parameters
    ----------
    state : State
        The shared state of the core.
    dispatcher : Dispatcher
        Dispatches after a commit, because the epoch of a slot decides whether it may take calls.
    replace : callable
        Given a slot and a reason, kills its process and starts another.
    fail_start : callable
        Kills a process that cannot become ready, which counts as a death.
    """

    def __init__(
        self,
        state: State,
        dispatcher: Dispatcher,
        replace: Callable[[Slot, str], None],
        fail_start: Callable[[Slot, str], None],
    ) -> None:
        self._state = state
        self._dispatcher = dispatcher
        self._replace = replace
        self._fail_start = fail_start
        self._poison = PoisonDefinitions(state)
        self._watch = InstallWatch(state, dispatcher)
        self._rollout: Rollout | None = None
        self._deadline = _Deadline()  # of its votes
        self._retry_is_due = False  # of what has taken too long, after the rollout in progress

    # -- rollout ----------------------------------------------------------------------------------------

    def is_catching_up(self) -> bool:
        """Whether a worker without calls still installs the current epoch: the next change waits for it.

        Rollouts do not wait for this worker. So a loop of definitions could outrun all workers, and none
        would ever reach the current epoch and take a call.
        """
        self._watch.change_waits = any(
            slot.state in ALIVE and slot.installing and not (slot.sent or slot.replace_reason or slot.retired)
            for slot in self._state.slots.values()
        )
        return self._watch.change_waits

    def propose(self, records: Iterable[Record], removed: Iterable[str], now: float) -> Rollout:
        """Send a change to the workers, which install it beside the current epoch; return its rollout.

        If no worker is idle, it is committed at once: a busy worker installs it when its calls have ended,
        and gets no calls of the new epoch before.

        Raises
        ------
        OptionError
            If a name already refers to another kind.
        """
        state = self._state
        change = state.registry.propose(records, removed)
        candidates = [
            s for s in state.slots.values() if s.state in ALIVE and not s.replace_reason and not s.retired
        ]
        free = [s.incarnation for s in candidates if not s.sent and not s.installing]
        rollout = self._rollout = Rollout(change, free)
        for slot in candidates:
            self._install(slot, change, now)
        if free:
            due = now + state.options.control_timeout_ms / 1000
            # By its number: a reference to the change would keep the memory of its constants alive.
            epoch, self._deadline = change.epoch, _Deadline()
            state.timers.call_at(due, lambda now: self._install_timed_out(epoch, now), self._deadline)
        else:
            self._commit(rollout, now)
        return rollout

    def _install(self, slot: Slot, change: Change, now: float) -> None:
        slot.installing.append(change.epoch)
        self._state.effects.append(SendInstall(slot.id, slot.incarnation, change))
        if slot.ready_since:  # else its start timeout applies
            self._watch_install(slot, change.epoch, slot.next_seq, now)

    def _watch_install(self, slot: Slot, epoch: int, seq: int, now: float) -> None:
        """Replace a worker that takes too long to install, also if the change was aborted or is committed.

        Parameters
        ----------
        seq : int
            The sequence number of the first call after the installation.
        """
        state, option, work = self._state, "control_timeout_ms", _Installation(slot, epoch)

        def begin(now: float) -> None:
            if work.ended:
                return
            if any(number < seq for number in slot.sent):  # it runs earlier calls, which may take any time
                state.timers.call_at(now + limit_s(state.options, option), begin, work)
            else:
                self._watch.watch(
                    slot,
                    option,
                    lambda: not work.ended,
                    lambda: epoch in slot.aborted,
                    lambda exceeded, now: self._give_up_install(slot, epoch, exceeded, now),
                    now,
                    work,
                )

        begin(now)

    def _give_up_install(self, slot: Slot, epoch: int, option: str, now: float) -> None:
        rollout, name = self._rollout, self._state.installing(slot.incarnation)
        is_in_force = epoch not in slot.aborted and (rollout is None or epoch != rollout.change.epoch)
        culprit = self._poison.worker_died(slot, False) if is_in_force else ""
        self._replace(slot, took_too_long(self._state.options, option, name))
        if culprit:
            self._set_aside(slot, culprit, option, now)

    def watch_start(self, slot: Slot, now: float) -> None:
        """Fail the start of a worker that takes too long to become ready."""

        def give_up(option: str, now: float) -> None:
            options, name = self._state.options, self._state.installing(slot.incarnation)
            slot.timed_out = option
            why = took_too_long(options, option, name) if name else f"that is {option}"
            self._fail_start(slot, f"was not ready in {getattr(options, option)} ms: {why}")

        def is_starting() -> bool:
            return slot.pid is not None and not slot.ready_since and not slot.replace_reason

        self._watch.watch(slot, "start_timeout_ms", is_starting, lambda: False, give_up, now)

    def _install_timed_out(self, epoch: int, now: float) -> None:
        rollout = self._rollout
        if rollout is None or rollout.change.epoch != epoch:
            return
        options, option = self._state.options, "control_timeout_ms"
        pending = [s for s in self._state.slots.values() if s.incarnation in rollout.pending]
        if any(self._state.prepares(slot.incarnation) for slot in pending):
            due = now + limit_s(options, option)
            self._state.timers.call_at(due, lambda now: self._install_timed_out(epoch, now), self._deadline)
            return
        for slot in pending:
            why = took_too_long(options, option, self._state.installing(slot.incarnation))
            rollout.refuse(slot.id, InstallError(f"{why}; with more time: {_more(options, option)}"))
            self._replace(slot, why)
        self._decide(now)

    def abort(self, rollout: Rollout, now: float) -> None:
        """Abort a rollout that is in progress: its caller no longer waits for it."""
        if rollout is not self._rollout:
            return
        waiting = [
            s for s in self._state.slots.values() if s.incarnation in rollout.pending and s.ready_since
        ]
        rollout.refuse(0, InstallError("it was interrupted"))
        self._decide(now)
        for slot in waiting:
            self._schedule_install_kill(slot, rollout.change.epoch, slot.incarnation, now)

    def _schedule_install_kill(self, slot: Slot, epoch: int, incarnation: int, now: float) -> None:
        """Replace a worker that goes on installing an aborted change, because calls wait behind it."""

        def check(now: float) -> None:
            if slot.incarnation == incarnation and epoch in slot.aborted:
                self._replace(slot, "it went on installing a definition that was interrupted")

        self._state.timers.call_at(now + self._state.options.interrupt_grace_ms / 1000, check)

    def _decide(self, now: float) -> None:
        rollout = self._rollout
        if rollout is None or not rollout.settled:
            return
        if rollout.refused_by is None:
            self._commit(rollout, now)
            return
        self._rollout, self._deadline.ended = None, True
        epoch = rollout.change.epoch
        for slot in self._state.slots.values():
            if epoch in slot.installing or slot.incarnation in rollout.holders:
                self._state.effects.append(SendForget(slot.id, slot.incarnation, epoch))
            if epoch in slot.installing:
                slot.installing.remove(epoch)
                slot.aborted.append(epoch)  # its answer is ignored
        if self._retry_is_due:
            self._retry_timed_out(now)

    def _commit(self, rollout: Rollout, now: float) -> None:
        self._rollout, self._deadline.ended = None, True
        rollout.committed = True
        state, change = self._state, rollout.change
        reloaded = self._carry_stats(change)
        had_resources = bool(state.registry.resources)
        state.registry.commit(change)
        defined = [record.name for record in change.records if record.name not in reloaded]
        details: dict[str, Any] = {"epoch": change.epoch}
        if listed_names(reloaded):  # their cells are loaded again, since these read what has changed
            details["reloaded"] = listed_names(reloaded)
        if state.registry.dropped_texts:
            details["dropped_cells"] = state.registry.dropped_texts
        state.emit_definitions(defined, change.removed, details)
        for slot in state.slots.values():
            if slot.incarnation in rollout.holders:
                slot.installed_epoch = change.epoch
                self._poison.clear(change.epoch)
                self._activate(slot, had_resources)
            self.catch_up(slot, now)
        for slot in state.spares.values():
            self.catch_up(slot, now)
        self._dispatcher.dispatch(now)
        if self._retry_is_due:
            self._retry_timed_out(now)

    def _activate(self, slot: Slot, had_resources: bool = False) -> None:
        """Have a worker close the resources that are no longer in force, also if no call follows."""
        if had_resources or self._state.registry.resources:
            self._state.effects.append(SendActivate(slot.id, slot.incarnation, slot.installed_epoch))

    def _carry_stats(self, change: Change) -> list[str]:
        """Drop the statistics of what a change replaces; return the functions that are only loaded again."""
        records, counts = self._state.registry.records, self._state.call_counts
        reloaded = []
        for name in change.removed:
            if name in records:
                counts.removed(records[name])
        for record in change.records:
            old = records.get(record.name)
            if old is not None and record.revision == old.revision and record.broken is None:
                reloaded.append(record.name)
                counts.carried(old, record)
            elif old is not None:
                counts.removed(old)
        return reloaded

    def catch_up(self, slot: Slot, now: float) -> bool:
        """Send a worker what it lacks, unless that was sent; return whether it is up to date."""
        registry = self._state.registry
        if slot.installed_epoch == registry.epoch:
            return True
        if slot.installed_epoch and not slot.installing and not slot.replace_reason and not slot.retired:
            self._install(slot, registry.since(slot.installed_epoch), now)
        return False

    # -- answers of workers -----------------------------------------------------------------------------

    def install_all(self, slot: Slot, now: float) -> None:
        """Send a new worker all definitions."""
        self._install(slot, self._state.registry.since(0), now)

    def _answered(self, slot: Slot, epoch: int) -> bool:
        """Record an answer; return whether it is still awaited."""
        if epoch in slot.aborted:
            slot.aborted.remove(epoch)
        return epoch in slot.installing

    def installed(self, slot: Slot, epoch: int, now: float) -> bool:
        """Record that a worker has installed an epoch; return whether it is up to date."""
        if self._answered(slot, epoch):  # else it was aborted meanwhile
            slot.installing.remove(epoch)
            rollout = self._rollout
            if rollout is not None and epoch == rollout.change.epoch:
                rollout.accept(slot.incarnation)
                self._decide(now)
            else:
                slot.installed_epoch = epoch
                self._poison.clear(epoch)
                self._activate(slot)
        return self.catch_up(slot, now)

    def refused(
        self, slot: Slot, epoch: int, culprit: str, error: ErrorInfo, reason: Any, now: float
    ) -> None:
        """Record that a worker could not install an epoch.

        Parameters
        ----------
        culprit : str
            The definition at fault; empty: unknown.
        error : ErrorInfo
            Why, as text.
        reason : object
            Why, for the caller that proposed the change; opaque here.
        """
        if not self._answered(slot, epoch) or slot.replace_reason or slot.state is SlotState.STOPPED:
            return
        slot.installing.remove(epoch)
        rollout = self._rollout
        if rollout is not None and epoch == rollout.change.epoch:
            rollout.refuse(slot.id, reason)
            self._decide(now)
        elif slot.retired and slot.installed_epoch:
            pass  # it gets no more calls, so it may finish those that it has
        elif slot.installed_epoch:
            self._refused_late(slot, epoch, culprit, error, now)
        else:
            self._refused_at_start(slot, epoch, culprit, error, now)

    def _refused_late(self, slot: Slot, epoch: int, culprit: str, error: ErrorInfo, now: float) -> None:
        """Replace a worker that could not install the current epoch: it was busy during the rollout."""
        if epoch < self._state.registry.epoch and not slot.installing:
            self.catch_up(slot, now)  # a later change may have fixed it
            return
        self._report_refusal(slot, epoch, culprit, error)
        self._replace(slot, "it could not install a definition that is in force")

    def _refused_at_start(self, slot: Slot, epoch: int, culprit: str, error: ErrorInfo, now: float) -> None:
        """Mark a definition that no worker can install as broken, or fail the start of this worker.

        The definition was committed while no worker could try it. It stays registered, as broken.
        """
        registry = self._state.registry
        if epoch < registry.epoch:
            self.install_all(slot, now)
            return
        self._report_refusal(slot, epoch, culprit, error)
        if culprit in registry.records and not self._poison.is_installed(culprit):
            self._mark_broken([culprit], f"{error.name}: {error.message}", now)
            self.install_all(slot, now)
        else:
            self._fail_start(slot, "could not install the definitions")

    def _quarantine(self, slot: Slot, culprit: str, why: str, now: float, option: str = "") -> None:
        self._report_refusal(slot, self._state.registry.epoch, culprit, ErrorInfo("InstallError", why))
        # A cell is loaded as a whole: its other functions would be at fault next.
        self._mark_broken(self._state.registry.in_cell_of(culprit), why, now, option)

    def _set_aside(self, slot: Slot, culprit: str, option: str, now: float) -> None:
        """Mark a definition as broken that takes too long, until the option is changed."""
        options = self._state.options
        more = _more(options, option)
        why = f"{took_too_long(options, option, '')}; to try it again with more time: {more}"
        self._quarantine(slot, culprit, why, now, option)

    def options_changed(self, before: PoolOptions, now: float) -> None:
        """Try definitions again that took too long, if an option has changed that limits this."""
        options = self._state.options
        if any(getattr(before, option) != getattr(options, option) for option in TIMEOUTS):
            if self._rollout is None:
                self._retry_timed_out(now)
            else:  # which builds on the current epoch
                self._retry_is_due = True

    def _retry_timed_out(self, now: float) -> None:
        self._retry_is_due = False
        state = self._state
        change = state.registry.mend_timed_out()
        if change is None:
            return
        state.registry.commit(change)
        state.emit_definitions([record.name for record in change.records], (), {"epoch": change.epoch})
        for slot in state.processes():
            self.catch_up(slot, now)
        self._dispatcher.dispatch(now)

    def _mark_broken(self, culprits: Iterable[str], why: str, now: float, option: str = "") -> None:
        """Mark definitions as broken that no worker can install.

        No worker has them installed. So no rollout is in progress that this commit would invalidate, because
        the workers that a rollout waits for have the whole current epoch.
        """
        registry = self._state.registry
        registry.commit(registry.mark_broken(culprits, why, option))
        for other in self._state.processes():
            self.catch_up(other, now)

    def _report_refusal(self, slot: Slot, epoch: int, culprit: str, error: ErrorInfo) -> None:
        details = {"epoch": epoch, "definition": shown_name(culprit)}
        self._state.emit(
            slot.id, "control_command_failed", "error", source="worker", error=error, details=details
        )

    def lost(self, slot: Slot, report: str, now: float, by_others: bool = False) -> None:
        """Record that a worker has exited; a death during an installation is a refusal.

        Parameters
        ----------
        report : str
            How it died; empty if the pool stopped it.
        by_others : bool
            Whether it may have been killed from outside.
        """
        if report and slot.installing:
            culprit = self._poison.worker_died(slot, by_others)
            if culprit and slot.timed_out:
                self._set_aside(slot, culprit, slot.timed_out, now)
            elif culprit:
                self._quarantine(slot, culprit, f"workers die while they install it: the last {report}", now)
        rollout = self._rollout
        if rollout is None:
            return
        if report and slot.incarnation in rollout.pending and rollout.change.epoch in slot.installing:
            rollout.refuse(slot.id, InstallError(f"the worker died while it installed it: it {report}"))
        else:
            rollout.lose(slot.incarnation)
        self._decide(now)

    def pending(self) -> list[int]:
        """Return the incarnations whose votes the current rollout waits for."""
        return sorted(self._rollout.pending) if self._rollout is not None else []


def _more(options: PoolOptions, option: str) -> str:
    """Return what gives an installation much more time."""
    value = 6 * getattr(options, option)
    return f"configure({option}={value}) or %wpc_start --{option.replace('_', '-')} {value}"
