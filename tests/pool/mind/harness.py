"""The mind without hands: a clock that is moved, workers that are played, and a ledger of what ended how.

`World` stands where the driver stands: it consumes what the mind wants done, and tells it the news.
`FakeWorker` does what a worker's two threads do with what they read, one message at a time, when told to.
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any

from wpc_magic.pool.mind import effects
from wpc_magic.pool.mind.calls import NO_OPTIONS, Call
from wpc_magic.pool.mind.core import Core
from wpc_magic.pool.mind.events import ErrorInfo, WorkerEvent
from wpc_magic.pool.mind.registry import Change, Kind, Record
from wpc_magic.pool.mind.rollout import Rollout
from wpc_magic.pool.mind.slots import Slot
from wpc_magic.pool.options import CallOptions, PoolOptions

FAILURE = ErrorInfo("ImportError", "no such module")
FOREVER_S = 10_000.0  # for what must happen at last, whenever


class FakeWorker:
    """One process: it holds epochs, runs plain calls one at a time, and coroutines side by side."""

    obeys = True  # whether a call ends that is interrupted

    def __init__(self, world: World, slot: Slot, pid: int) -> None:
        self.world = world
        self.slot = slot
        self.life = slot.life
        self.pid = pid
        self.inbox: deque[tuple[Any, ...]] = deque()  # the call channel
        self.orders: deque[effects.Effect] = deque()  # the control channel
        self.out: deque[tuple[Any, ...]] = deque()  # written, and not read by the pool
        self.said: deque[tuple[Any, ...]] = deque()  # the same on the control channel
        self.epochs: dict[int, dict[str, Record]] = {0: {}}
        self.active = 0
        self.page = (0, 0.0)
        self.plain: tuple[int, Call] | None = None  # the plain call that runs now
        self.coroutines: dict[int, Call] = {}
        self.revoked: set[int] = set()
        self.hangs = False  # whether it makes no step, and answers no ping
        self.killed = False
        self.leaving = False

    def __repr__(self) -> str:
        return f"<worker {self.slot.id}, life {self.life}>"

    @property
    def running(self) -> dict[int, Call]:
        """What it runs now, by number."""
        return dict([self.plain] if self.plain else []) | self.coroutines

    @property
    def can_step(self) -> bool:
        if self.killed or self.hangs or self.leaving or self.plain or not self.inbox:
            return False
        kind, _, *rest = self.inbox[0]
        if kind == "call" and rest[0] not in self.revoked:
            return rest[1] == self.active or not self.coroutines  # it waits for those of the epoch before
        return True

    def step(self) -> None:
        """Do with its main thread what the next message says."""
        assert self.can_step
        kind, what, *rest = self.inbox.popleft()
        if kind == "call":
            self._begin(what, *rest)
        elif kind == "install":
            self._install(what)
        elif kind == "forget":
            if what != self.active:
                self.epochs.pop(what, None)
        else:
            self.leaving = True

    def _begin(self, call: Call, seq: int, epoch: int, record: Record) -> None:
        if seq in self.revoked:
            return
        assert epoch in self.epochs, f"{call} came to {self}, which lacks its epoch {epoch}"
        assert self.epochs[epoch].get(record.name) is record, f"{call} came to {self} in another revision"
        assert all(need in self.epochs[epoch] for need in record.needs), f"{call} lacks what it needs"
        assert seq > self.page[0], "calls begin in the order of their numbers"
        for old in [number for number in self.epochs if number < epoch]:
            del self.epochs[old]
        self.active = epoch
        self.page = (seq, self.world.now)
        self.world.runs[call.id] += 1
        self.world.began.append((call.id, self.slot.id))
        if record.is_async:
            self.coroutines[seq] = call
            self.out.append(("began", seq, self.world.now))
        else:
            self.plain = (seq, call)

    def _install(self, change: Change) -> None:
        culprits = [record.name for record in change.records if record.name in self.world.poison]
        if change.base not in self.epochs:
            self.world.without_base += 1
            self.out.append(("refused", change.epoch, ""))
        elif culprits and self.slot.id in self.world.poison[culprits[0]]:
            self.out.append(("refused", change.epoch, culprits[0]))
        elif self.slot.id in self.world.poison.get("", ()):  # for a reason that it cannot name
            self.out.append(("refused", change.epoch, ""))
        else:
            names = dict(self.epochs[change.base])
            for name in change.removed:
                names.pop(name, None)
            self.epochs[change.epoch] = names | {record.name: record for record in change.records}
            self.out.append(("installed", change.epoch))

    def obey(self) -> None:
        """Do with its control thread what the next order says."""
        order = self.orders.popleft()
        if isinstance(order, effects.SendPing):
            self.said.append(("pong",))
        elif isinstance(order, effects.SendRevoke):
            given_up = tuple(n for n in order.seqs if n > self.page[0] and n not in self.revoked)
            self.revoked.update(given_up)
            self.said.append(("given up", given_up))
        elif isinstance(order, effects.SendInterrupt):
            if self.obeys and order.seq in [*(self.plain or ())[:1], *self.coroutines]:
                self.answer(order.seq, ok=False)
        else:
            self.leaving = True

    def answer(self, seq: int, ok: bool = True, ran_s: float = 0.0) -> None:
        """Have a call that it runs end."""
        if self.plain is not None and self.plain[0] == seq:
            self.plain = None
        else:
            del self.coroutines[seq]
        self.out.append(("answer", seq, ok, int(ran_s * 1e9)))


class World:
    """The driver's part, and everything that a test wants to know.

    Attributes
    ----------
    processes : dict
        The processes that live now, by life.
    spawns : list
        Processes that are to be started, and are not yet.
    poison : dict
        By the name of a definition: the slots whose workers refuse to install it.
    ended : dict
        By the number of a call: True for a value, False for its own error, else the pool's error, or None
        where it was cancelled.
    runs : Counter
        By the number of a call: how often its function has begun.
    began : list
        Calls, and the slots that they began at, in order.
    sent : list
        Calls in the order in which they were sent.
    """

    def __init__(self, count: int = 0, **options: Any) -> None:
        options = {"restart_jitter_ms": 0, **options}
        self.now = 1000.0
        self.core = Core(
            PoolOptions(**options),
            stamp=self._stamp,
            dice=lambda: self.dice,
            running=self._page,
            installing=lambda life: self.at_definition.get(life, ""),
        )
        self.dice = 0.0
        self.at_definition: dict[int, str] = {}  # what a process is installing, by life, where that matters
        self.processes: dict[int, FakeWorker] = {}
        self.memory: dict[int, int] = {}  # in MiB, by life, where that matters
        self.spawns: list[effects.Spawn] = []
        self.poison: dict[str, set[int]] = {}
        self.calls: dict[int, Call] = {}
        self.ended: dict[int, Any] = {}
        self.runs: Counter[int] = Counter()
        self.began: list[tuple[int, int]] = []
        self.sent: list[int] = []
        self.events: list[WorkerEvent] = []
        self.without_base = 0
        self.rollout: Rollout | None = None
        self.over = True
        self._ids = itertools.count(1)
        self._keys = itertools.count(1)
        self._pids = itertools.count(100)
        if count:
            self.start(count)
            self.run()

    def _stamp(self) -> str:
        return f"t+{self.now:.3f}"

    def _page(self, life: int) -> tuple[int, float]:
        return self.processes[life].page if life in self.processes else (0, 0.0)

    @property
    def workers(self) -> dict[int, FakeWorker]:
        """The processes that serve, by slot."""
        serves = self.core.state.serves
        return {worker.slot.id: worker for worker in self.processes.values() if serves(worker.slot)}

    # -- what the mind wants done -----------------------------------------------------------------------

    def apply(self) -> None:
        """Do what the mind wants done, as the driver does: calls first, then the rest in order."""
        state = self.core.state
        while state.sends or state.effects:
            sends, state.sends = state.sends, []
            for slot, call in sends:
                worker = self.processes[slot.life]
                assert worker.slot is slot
                assert call.slot is slot
                self.sent.append(call.id)
                worker.inbox.append(("call", call, call.seq, call.epoch, call.record))
            doing, state.effects = state.effects, []
            for effect in doing:
                self._do(effect)
        self.core.check()

    def _do(self, effect: effects.Effect) -> None:
        match effect:
            case effects.Tell(event):
                self.events.append(event)
            case effects.Finish(call, error) | effects.FinishWithStack(_, _, call, error):
                self._end(call, error)
            case effects.Spawn(_, life):
                assert life not in self.processes, f"{life} would be of two processes"
                self.spawns.append(effect)
            case effects.Weigh(_, life):
                worker = self.processes.get(life)
                if worker is not None:
                    nbytes = self.memory.get(life, 0) << 20
                    self.core.supervisor.recycling.weighed(worker.slot, nbytes, self.now)
            case effects.End():
                assert not self.processes
                assert not self.spawns
                self.over = True
            case _:
                worker = self.processes.get(effect.life)
                if worker is not None:
                    self._order(worker, effect)

    def _order(self, worker: FakeWorker, effect: effects.Effect) -> None:
        match effect:
            case effects.Kill():
                worker.killed = True
            case effects.SendInstall(_, _, change):
                worker.inbox.append(("install", change))
            case effects.SendForget(_, _, epoch):
                worker.inbox.append(("forget", epoch))
            case effects.SendLeave(_, _, interrupt):
                if interrupt:
                    worker.orders.append(effect)
                worker.inbox.append(("leave", None))
            case effects.SendRevoke() | effects.SendInterrupt() | effects.SendPing():
                worker.orders.append(effect)

    def _end(self, call: Call, outcome: Any) -> None:
        assert call.id not in self.ended, f"{call} ends twice: {self.ended[call.id]!r}, {outcome!r}"
        self.ended[call.id] = outcome

    # -- the news ---------------------------------------------------------------------------------------

    def start(self, count: int) -> None:
        self.core.supervisor.start(count, self.now)
        self.over = False
        self.apply()

    def stop(self) -> None:
        self.core.supervisor.stop(self.now)
        self.apply()

    def resize(self, count: int) -> None:
        self.core.supervisor.resize(count, self.now)
        self.apply()

    def restart(self, number: int, drain: bool = False) -> int:
        life = self.core.supervisor.restart(number, drain, self.now)
        self.apply()
        return life

    def spawn(self, effect: effects.Spawn | None = None, why: str = "") -> FakeWorker | None:
        """Start the next process that is to be started; with `why`, fail to."""
        effect = effect or self.spawns[0]
        self.spawns.remove(effect)
        worker = None
        if why:
            self.core.supervisor.not_spawned(effect.slot, effect.life, why, self.now)
        else:
            slot = self.core.state.of_life(effect.slot, effect.life)
            if slot is not None:
                worker = self.processes[slot.life] = FakeWorker(self, slot, next(self._pids))
                self.core.supervisor.spawned(slot.id, slot.life, worker.pid, self.now)
        self.apply()
        return worker

    def die(self, who: int | FakeWorker, exitcode: int = -9, report: str = "was killed by SIGKILL") -> None:
        """Have a process end, given itself or its slot's number; what it wrote is read first, in one go."""
        worker = self.workers[who] if isinstance(who, int) else who
        while worker.out:
            self._read(worker)
        while worker.said:
            self._hear(worker)
        self.core.supervisor.died(worker.slot.id, worker.life, exitcode, report, self.now)
        del self.processes[worker.life]
        self.apply()

    def read(self, worker: FakeWorker) -> None:
        """Read one message from a call channel."""
        self._read(worker)
        self.apply()

    def _read(self, worker: FakeWorker) -> None:
        kind, *rest = worker.out.popleft()
        if kind == "answer":
            seq, ok, ran_ns = rest
            call = self.core.supervisor.answered(worker.slot, seq, ran_ns, ok, self.now)
            if call is not None:
                self._end(call, ok)
        elif kind == "began":
            self.core.dispatch.began(worker.slot, *rest, self.now)
        elif kind == "installed":
            self.core.supervisor.installed(worker.slot, *rest, self.now)
        else:
            epoch, culprit = rest
            self.core.definitions.refused(worker.slot, epoch, culprit, FAILURE, "its reason", self.now)

    def hear(self, worker: FakeWorker) -> None:
        """Read one message from a control channel."""
        self._hear(worker)
        self.apply()

    def _hear(self, worker: FakeWorker) -> None:
        kind, *rest = worker.said.popleft()
        self.core.supervisor.heard(worker.slot, self.now)
        if kind == "given up":
            self.core.supervisor.given_up(worker.slot, *rest, self.now)

    def advance(self, seconds: float) -> None:
        """Move the clock; everything that is due on the way happens at its moment."""
        target = self.now + seconds
        timers = self.core.state.timers
        while timers.next_due is not None and timers.next_due <= target:
            self.now = max(self.now, timers.next_due)
            self.core.tick(self.now)
            self.apply()
        self.now = target

    # -- calls ------------------------------------------------------------------------------------------

    def submit(self, name: str = "f", *, items: int = 0, **options: Any) -> Call:
        options = {key: value for key, value in options.items() if value or (key == "retries" and value == 0)}
        made_with = CallOptions(**options) if options else NO_OPTIONS  # as the pool does: it is quicker
        call = Call(next(self._ids), name, b"", items=items, options=made_with)
        self.core.dispatch.submit(call, self.now)
        self.calls[call.id] = call
        self.apply()
        return call

    def cancel(self, call: Call) -> bool:
        over = self.core.dispatch.cancel(call, self.now)
        self.apply()
        return over

    def answer(self, call: Call, ok: bool = True, ran_s: float = 1.0) -> None:
        """Have a call that runs end, and the pool read it."""
        worker = self.worker_of(call)
        worker.answer(call.seq, ok, ran_s)
        while worker.out:
            self.read(worker)

    def worker_of(self, call: Call) -> FakeWorker:
        """Return the worker that runs a call."""
        return next(worker for worker in self.processes.values() if call in worker.running.values())

    def where(self, call: Call) -> int | None:
        """Return the slot that has a call; None: it is queued, or has ended."""
        return None if call.slot is None else call.slot.id

    # -- definitions ------------------------------------------------------------------------------------

    def record(self, name: str = "f", kind: Kind = Kind.FUNCTION, **more: Any) -> Record:
        options = {key: more.pop(key) for key in ("timeout_ms", "queue_timeout_ms", "retries") if key in more}
        key = next(self._keys) if kind is Kind.FUNCTION else 0
        return Record(name, kind, None, None, key=key, options=CallOptions(**options), **more)

    def propose(self, *records: Record, removed: tuple[str, ...] = ()) -> Rollout:
        """Ask for a change, and do nothing more."""
        assert self.rollout is None or self.rollout.over, "one change at a time"
        self.rollout = self.core.propose(records, removed, self.now)
        self.apply()
        return self.rollout

    def withdraw(self) -> None:
        assert self.rollout is not None
        self.core.definitions.withdraw(self.rollout, self.now)
        self.apply()

    def define(self, name: str = "f", **more: Any) -> Record:
        """Define a function, and let all workers that are free install it."""
        record = self.record(name, **more)
        rollout = self.propose(record)
        self.run()
        assert rollout.done, rollout.reason
        return self.core.state.registry.records[record.name]

    def learn(self, name: str = "f", ran_s: float = 1e-5) -> None:
        """Have the mind know how long a function takes."""
        self.answer_all([self.submit(name)], ran_s)

    # -- letting things go on ---------------------------------------------------------------------------

    def run(self) -> None:
        """Let every process start, read, obey and be read, until all wait for calls to end."""
        while self._one_round():
            pass

    def live(self, seconds: float) -> None:
        """Let that time pass, and everything go on meanwhile."""
        target = self.now + seconds
        while self.now < target:
            self.run()
            self.advance(min(0.5, target - self.now))
        self.run()

    def _one_round(self) -> bool:
        if self.spawns:
            self.spawn()
            return True
        for worker in list(self.processes.values()):
            if worker.killed or worker.leaving:
                self.die(worker, -9 if worker.killed else 0, "was killed" if worker.killed else "left")
            elif worker.hangs:
                continue
            elif worker.orders:
                worker.obey()
            elif worker.said:
                self.hear(worker)
            elif worker.out:
                self.read(worker)
            elif worker.can_step:
                worker.step()
            else:
                continue
            return True
        return False

    def answer_all(self, calls: list[Call] | None = None, ran_s: float = 1.0) -> None:
        """Let everything go on, and answer calls (all, if none are named) until none is left that runs."""
        while True:
            self.run()
            running = [call for worker in self.processes.values() for call in worker.running.values()]
            mine = [call for call in running if calls is None or call in calls]
            if not mine:
                return
            worker = self.worker_of(mine[0])
            seq = next(number for number, call in worker.running.items() if call is mine[0])
            worker.answer(seq, True, ran_s)

    # -- what was seen ----------------------------------------------------------------------------------

    def slot(self, number: int = 1) -> Slot:
        return self.core.state.slots[number]

    def states(self) -> list[str]:
        return [slot.state.value for slot in self.core.state.slots.values()]

    def names(self, worker_id: int | None = None) -> list[str]:
        """Return the names of events, health with its state, since the last time."""
        found = [
            f"health({event.details['to']})"
            if event.event_name == "worker_health_state_changed"
            else event.event_name
            for event in self.events
            if worker_id is None or event.worker_id == worker_id
        ]
        self.events.clear()
        return found


def make(count: int = 1, **options: Any) -> World:
    """Return a world with `f` of which nothing is known, `quick`, and the coroutine `wait`."""
    world = World(count, **options)
    world.define("f")
    world.define("quick")
    world.define("wait", is_async=True)
    world.learn("quick")
    world.began.clear()
    world.events.clear()
    return world


def ids(calls: Iterable[Call]) -> list[int]:
    return [call.id for call in calls]


def begun(world: World) -> list[int]:
    """Return the calls that have begun, in order."""
    return [number for number, _ in world.began]
