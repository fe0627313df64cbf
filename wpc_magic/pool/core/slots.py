"""One slot of the pool, and the process that fills it now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from .call_queue import CallQueue
from .calls import Call
from .lifecycle import SlotState
from .tally import Tally

__all__ = ["Slot", "slot_of"]


class Slot:
    """A place for a worker, which outlives the processes that fill it.

    Attributes
    ----------
    id : int
        Its number, from 1: the user's ``worker_id``.
    state : SlotState
        Its health.
    incarnation : int
        Which process fills it: its number in the pool, from 1, so that late messages of others are ignored.
    pid : int or None
        The process, from its start until it has exited.
    starting : bool
        Whether its process is being started, and has no `pid` yet.
    waits_for : str
        Why its process cannot be started yet: there is no place for it. Empty: nothing is known.
    host : str
        The machine of its process; empty: this one.
    place : str
        What `offers` is shared by: the processes of one place. A machine may have several places.
    offers : mapping
        What its place offers to calls that ask for resources.
    installed_epoch : int
        The newest epoch that the process has installed; 0: none yet.
    installing : list of int
        Epochs that were sent and not acknowledged, in order.
    aborted : list of int
        Epochs of aborted rollouts that were sent and not acknowledged; their answers are ignored.
    sent : dict
        Calls that were sent and not answered, by sequence number.
    next_seq : int
        The sequence number of the next call.
    sync_count : int
        How many of `sent` are not coroutines.
    epoch : int
        The epoch of `sent`.
    full : bool
        Whether it holds a call behind which no other may be prefetched.
    cancelling : set of int
        The coroutines among `sent` that were cancelled; no calls are dispatched to it until they have ended.
    has_prefetched : bool
        Whether calls may wait there behind a synchronous one.
    revoked_up_to : int
        The highest sequence number up to which waiting calls were revoked.
    pinned : deque
        Queued calls that no other slot may run.
    deaths : int
        Consecutive deaths while it started or was idle: too many take it out of service.
    crashes : int
        Consecutive deaths while it ran a call: these only delay the next process.
    done_at_death : int
        `tally.done` at its last death: more since then means that a call has ended well, and both counts of
        deaths are stale.
    ready_since : float
        When it became ready, in seconds; 0: not yet.
    pinged_at : float
        When the unanswered ping was sent; 0: there is none.
    restart_at : float
        When it restarts; 0: no restart is scheduled.
    restarts : int
        Number of restarts.
    tally : Tally
        How the calls that it had have ended.
    replace_reason : str
        Why the pool is stopping its process, to start another at once; empty: it is not.
    killed : bool
        Whether its process was killed, and has not exited.
    killed_since : float
        Since when that is known, in seconds; 0: not checked.
    start_error : str
        Why the pool killed its process, which did not become ready; that counts as a death.
    timed_out : str
        The option whose time its process has exceeded, if `start_error` says so.
    depth : int
        How many calls as the last one it may hold at once; 0: that was a coroutine, or there was none.
    draining : bool
        Whether it takes no more calls, and its process is stopped after the last that it has.
    retired : bool
        Whether it is removed when its process exits.
    reason : str
        Why it is retired; for an incoming slot, why it replaces another.
    call_limit : int
        The sequence number of the last call that its process may get; 0: no limit.
    idle_since : float
        Since when it has been found idle; 0: not checked.
    idle_seq : int
        `next_seq` at that check.
    start_failures : int
        Consecutive failed starts of its replacement.
    no_recycle_until : float
        Until when it is not recycled for a limit, because its replacement failed to start.
    """

    __slots__ = (
        "aborted",
        "call_limit",
        "cancelling",
        "crashes",
        "deaths",
        "depth",
        "done_at_death",
        "draining",
        "epoch",
        "full",
        "has_prefetched",
        "host",
        "id",
        "idle_seq",
        "idle_since",
        "incarnation",
        "installed_epoch",
        "installing",
        "killed",
        "killed_since",
        "next_seq",
        "no_recycle_until",
        "offers",
        "pid",
        "pinged_at",
        "pinned",
        "place",
        "ready_since",
        "reason",
        "replace_reason",
        "restart_at",
        "restarts",
        "retired",
        "revoked_up_to",
        "sent",
        "start_error",
        "start_failures",
        "starting",
        "state",
        "sync_count",
        "tally",
        "timed_out",
        "waits_for",
    )

    def __init__(self, id: int) -> None:
        self.id = id
        self.state = SlotState.STOPPED
        self.incarnation = 0
        self.pid: int | None = None
        self.pinned = CallQueue()
        self.deaths = 0
        self.crashes = 0
        self.done_at_death = 0
        self.restarts = 0
        self.tally = Tally()
        self.retired = False
        self.reason = ""
        self.restart_at = 0.0
        self.reset()

    def reset(self) -> None:
        """Clear what belonged to a process."""
        self.pid = None
        self.starting = False
        self.waits_for = self.host = self.place = ""
        self.offers: Mapping[str, float] = {}
        self.installed_epoch = 0
        self.installing: list[int] = []
        self.aborted: list[int] = []
        self.sent: dict[int, Call] = {}
        self.next_seq = 1
        self.sync_count = 0
        self.epoch = 0
        self.full = False
        self.cancelling: set[int] = set()
        self.has_prefetched = False
        self.depth = 0
        self.revoked_up_to = 0
        self.ready_since = 0.0
        self.pinged_at = 0.0
        self.replace_reason = ""
        self.killed = False
        self.killed_since = 0.0
        self.start_error = ""
        self.timed_out = ""
        self.draining = False
        self.call_limit = 0
        self.idle_since = 0.0
        self.idle_seq = 1
        self.start_failures = 0
        self.no_recycle_until = 0.0

    @property
    def attempts(self) -> int:
        """How many times in a row it has died, without a call that ended well in between."""
        return 0 if self.tally.done != self.done_at_death else self.deaths + self.crashes

    def forget_deaths(self) -> None:
        """Start over, with all of its restarts, and without a delay before the next."""
        self.deaths = self.crashes = 0

    def __repr__(self) -> str:
        return f"<slot {self.id}: {self.state.value}, incarnation {self.incarnation}, {len(self.sent)} sent>"


def slot_of(call: Call) -> Slot | None:
    """Return the slot that has a call now; None while it is queued, and after its end."""
    return cast("Slot | None", call.slot)
