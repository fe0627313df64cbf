"""One seat of the pool, and the process that fills it now."""

from __future__ import annotations

from collections import deque

from .calls import Call
from .lifecycle import SlotState

__all__ = ["Slot"]


class Slot:
    """A seat that outlives the processes that fill it.

    Attributes
    ----------
    id : int
        Its number, from 1: the user's ``worker_id``.
    state : SlotState
        Its health.
    life : int
        Which process fills it: its number in the pool, from 1, so that news of another is told apart.
    pid : int or None
        The process, from when it has been started until it is gone.
    starting : bool
        Whether its process is being started, and has no number yet.
    held : int
        The newest epoch that the process holds; 0: none yet.
    installing : list of int
        Epochs that were sent and not answered, in order.
    withdrawn : list of int
        Epochs that were sent and not answered, and whose answers mean nothing any more.
    sent : dict
        Calls that were sent and not answered, by their number there.
    next_seq : int
        The number of the next call.
    plain : int
        How many of `sent` are not coroutines.
    epoch : int
        The epoch of `sent`.
    full : bool
        Whether it holds a call that no other may wait behind.
    ending : set of int
        The coroutines among `sent` that were stopped; it takes no calls until they have ended.
    ahead : bool
        Whether calls may wait there behind a plain one.
    asked_back : int
        Up to which number the calls that wait there have been asked back.
    pinned : deque
        Queued calls that no other slot may run.
    deaths : int
        Deaths in a row that are not forgotten.
    ready_since : float
        When it became ready, in seconds; 0: not yet.
    asked : float
        Since when it has been asked for a sign of life, and has not given one; 0: it has.
    restart_at : float
        When it will be filled again; 0: not planned.
    restarts, done, failed : int
        How often it was filled again; calls that ended with a value, and otherwise.
    replacing : str
        Why the pool is ending its process, to fill it again at once; empty: it is not.
    given_up : str
        Why the pool has ended its process, which did not become ready; that counts as a death.
    drains : bool
        Whether it takes no more calls, and its process ends with the last that it has.
    retired : bool
        Whether it goes away with its process.
    why : str
        Why that is; for one that comes, why it takes another's place.
    most : int
        The number of the call with which it has had as many as one process may have; 0: no limit.
    idle_since : float
        Since when it has been seen to be idle; 0: not looked at.
    seen_seq : int
        `next_seq` at that look.
    failures : int
        How often in a row a process could not be started that was to take its place.
    spare_until : float
        Until when its place is not taken for a limit, since that has failed.
    """

    __slots__ = (
        "ahead",
        "asked",
        "asked_back",
        "deaths",
        "done",
        "drains",
        "ending",
        "epoch",
        "failed",
        "failures",
        "full",
        "given_up",
        "held",
        "id",
        "idle_since",
        "installing",
        "life",
        "most",
        "next_seq",
        "pid",
        "pinned",
        "plain",
        "ready_since",
        "replacing",
        "restart_at",
        "restarts",
        "retired",
        "seen_seq",
        "sent",
        "spare_until",
        "starting",
        "state",
        "why",
        "withdrawn",
    )

    def __init__(self, id: int) -> None:
        self.id = id
        self.state = SlotState.STOPPED
        self.life = 0
        self.pid: int | None = None
        self.pinned: deque[Call] = deque()
        self.deaths = 0
        self.restarts = 0
        self.done = 0
        self.failed = 0
        self.retired = False
        self.why = ""
        self.restart_at = 0.0
        self.empty()

    def empty(self) -> None:
        """Forget what belonged to a process."""
        self.pid = None
        self.starting = False
        self.held = 0
        self.installing: list[int] = []
        self.withdrawn: list[int] = []
        self.sent: dict[int, Call] = {}
        self.next_seq = 1
        self.plain = 0
        self.epoch = 0
        self.full = False
        self.ending: set[int] = set()
        self.ahead = False
        self.asked_back = 0
        self.ready_since = 0.0
        self.asked = 0.0
        self.replacing = ""
        self.given_up = ""
        self.drains = False
        self.most = 0
        self.idle_since = 0.0
        self.seen_seq = 1
        self.failures = 0
        self.spare_until = 0.0

    def __repr__(self) -> str:
        return f"<slot {self.id}: {self.state.value}, life {self.life}, {len(self.sent)} sent>"
