"""The core without I/O: a simulated clock, simulated workers, and a record of how each call ended.

`World` replaces the driver: it executes the core's effects, and reports what happened to the core.
`FakeWorker` simulates a worker's two threads: each handles one message per step, when a test requests it.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence
from typing import Any

from wpc_magic.pool.core import effects
from wpc_magic.pool.core.calls import NO_OPTIONS, Call
from wpc_magic.pool.core.core import Core
from wpc_magic.pool.core.dependent_calls import DependentCall
from wpc_magic.pool.core.events import ErrorInfo, WorkerEvent
from wpc_magic.pool.core.registry import CellText, Change, Kind, Record
from wpc_magic.pool.core.retries import Raised
from wpc_magic.pool.core.rollout import Rollout
from wpc_magic.pool.core.room import Room
from wpc_magic.pool.core.slots import Slot
from wpc_magic.pool.options import CallOptions, PoolOptions

FAILURE = ErrorInfo("ImportError", "no such module")
FOREVER_S = 10_000.0  # for what must happen eventually


class FakeWorker:
    """One process: it keeps epochs, runs synchronous calls one at a time, and coroutines concurrently."""

    interruptible = True  # whether an interrupted call ends

    def __init__(self, world: World, slot: Slot, pid: int) -> None:
        self.world = world
        self.slot = slot
        self.incarnation = slot.incarnation
        self.number = slot.id  # as it was told
        self.pid = pid
        self.inbox: deque[tuple[Any, ...]] = deque()  # the call channel
        self.control_inbox: deque[effects.Effect] = deque()  # the control channel
        self.out: deque[tuple[Any, ...]] = deque()  # the call channel: written, and not read by the pool
        self.control_out: deque[tuple[Any, ...]] = deque()  # the same for the control channel
        self.epochs: dict[int, dict[str, Record]] = {0: {}}
        self.modules: dict[str, Any] = {}  # what each cell has read when it was loaded here
        self.active = 0
        self.status_page = (0, 0.0)
        self.sync_call: tuple[int, Call] | None = None  # the synchronous call that runs now
        self.coroutines: dict[int, Call] = {}
        self.revoked: set[int] = set()
        self.hangs = False  # whether it neither steps nor answers pings
        self.killed = False
        self.killable = True  # else the system cannot end it
        self.exiting = False

    def __repr__(self) -> str:
        return f"<worker {self.slot.id}, incarnation {self.incarnation}>"

    @property
    def running(self) -> dict[int, Call]:
        """The calls that it runs now, by sequence number."""
        return dict([self.sync_call] if self.sync_call else []) | self.coroutines

    @property
    def can_step(self) -> bool:
        if self.killed or self.hangs or self.exiting or self.sync_call or not self.inbox:
            return False
        kind, _, *rest = self.inbox[0]
        if kind == "call" and rest[0] not in self.revoked:
            return rest[1] == self.active or not self.coroutines  # else it waits for those of the old epoch
        return True

    def step(self) -> None:
        """Handle the next message of the call channel, as its main thread does."""
        assert self.can_step
        kind, what, *rest = self.inbox.popleft()
        if kind == "call":
            self._begin(what, *rest)
        elif kind == "install":
            self._install(what)
        elif kind == "number":
            self.number, epoch = what
            if epoch:
                self.out.append(("installed", epoch))
        elif kind == "forget":
            if what != self.active:
                self.epochs.pop(what, None)
        else:
            self.exiting = True

    def _begin(self, call: Call, seq: int, epoch: int, record: Record) -> None:
        if seq in self.revoked:
            return
        assert self.number == self.slot.id, f"{call} runs in {self}, which is told that it is {self.number}"
        assert epoch in self.epochs, f"{call} was sent to {self}, which lacks its epoch {epoch}"
        assert self.epochs[epoch].get(record.name) is record, f"{call} was sent to {self} in another revision"
        assert all(need in self.epochs[epoch] for need in record.needs), f"{call} lacks what it needs"
        names = self.epochs[epoch]
        assert state_of(names, record.name, self.modules) == state_of(names, record.name, {}), (
            f"{self} answers {call} otherwise than a worker that starts now"
        )
        assert seq > self.status_page[0], "calls begin in the order of their numbers"
        for old in [number for number in self.epochs if number < epoch]:
            del self.epochs[old]
        self.active = epoch
        self.status_page = (seq, self.world.now)
        self.world.runs[call.id] += 1
        self.world.began.append((call.id, self.slot.id))
        if record.is_async:
            self.coroutines[seq] = call
            self.out.append(("began", seq, self.world.now))
        else:
            self.sync_call = (seq, call)

    def _install(self, change: Change) -> None:
        culprits = [record.name for record in change.records if record.name in self.world.poison]
        if change.base not in self.epochs:
            self.world.without_base += 1
            self.out.append(("refused", change.epoch, ""))
        elif culprits and self.slot.id in self.world.poison[culprits[0]]:
            self.out.append(("refused", change.epoch, culprits[0]))
        elif self.slot.id in self.world.poison.get("", ()):  # at an unknown definition
            self.out.append(("refused", change.epoch, ""))
        else:
            names = dict(self.epochs[change.base])
            for name in change.removed:
                names.pop(name, None)
            names |= {record.name: record for record in change.records}
            self.epochs[change.epoch] = names
            for record in change.records:
                if record.cell is not None:
                    load(record.cell, names, self.modules)
            self.out.append(("installed", change.epoch))

    def step_control(self) -> None:
        """Handle the next message of the control channel, as its control thread does."""
        message = self.control_inbox.popleft()
        if isinstance(message, effects.SendPing):
            self.control_out.append(("pong",))
        elif isinstance(message, effects.SendRevoke):
            revoked = tuple(n for n in message.seqs if n > self.status_page[0] and n not in self.revoked)
            self.revoked.update(revoked)
            self.control_out.append(("revoked", revoked))
        elif isinstance(message, effects.SendInterrupt):
            if self.interruptible and message.seq in [*(self.sync_call or ())[:1], *self.coroutines]:
                self.answer(message.seq, ok=False)
        else:
            self.exiting = True

    def answer(self, seq: int, ok: bool = True, ran_s: float = 0.0) -> None:
        """End a call that it runs."""
        if self.sync_call is not None and self.sync_call[0] == seq:
            self.sync_call = None
        else:
            del self.coroutines[seq]
        self.out.append(("answer", seq, ok, int(ran_s * 1e9)))


def load(cell: CellText, names: dict[str, Record], modules: dict[str, Any]) -> Any:
    """Load a cell once; return what it reads meanwhile."""
    if cell.module not in modules:
        modules[cell.module] = None  # in a circle
        modules[cell.module] = [(name, state_of(names, name, modules)) for name in cell.inputs]
    return modules[cell.module]


def state_of(
    names: dict[str, Record], name: str, modules: dict[str, Any], above: tuple[str, ...] = ()
) -> Any:
    """Return everything that an answer of a function depends on, or the value of a constant."""
    record = names.get(name)
    if record is None or name in above:
        return None
    if record.kind is Kind.CONSTANT:
        return record.content
    needs = [(need, state_of(names, need, modules, (*above, name))) for need in record.needs]
    if record.cell is None:
        return record.key, needs
    return record.cell.key, load(record.cell, names, modules), needs


class World:
    """The driver's role, and everything that tests observe.

    Attributes
    ----------
    processes : dict
        The running processes, by incarnation.
    spawns : list
        Requested processes that were not started yet.
    poison : dict
        By the name of a definition: the slots whose workers refuse to install it.
    ended : dict
        By call id: True for a value, False for an error of the function, else the pool's error, or None if it
        was cancelled.
    runs : Counter
        By call id: how often its function has begun.
    began : list
        Call ids, and the slots on which they began, in order.
    sent : list
        Call ids in the order in which they were sent.
    inherited : set
        The ids of calls that ended as one that they waited for.
    let_go : list
        The ids of calls that ended otherwise while they waited for others, and whether these are cancelled.
    """

    def __init__(self, count: int = 0, **options: Any) -> None:
        options = {"restart_jitter_ms": 0, **options}
        self.now = 1000.0
        self.core = Core(
            PoolOptions(**options),
            timestamp=self._timestamp,
            random=lambda: self.random,
            running=self._page,
            installing=lambda incarnation: self.installing.get(incarnation, ""),
            cpu_s=lambda incarnation: self.now if incarnation in self.works else 0.0,
            arguments=lambda call: self.arguments.get(call.name, ""),
            load_again=self._loaded_again,
            clock=lambda: self.now,
        )
        self.room: Room | None = Room(1 << 40, 0)  # for spare workers; set by tests
        self.core.state.room_for_spares = lambda: self.room
        self.random = 0.0
        self.installing: dict[int, str] = {}  # the definition being installed, by incarnation; set by tests
        self.works: set[int] = set()  # incarnations that use the processor all the time; set by tests
        self.arguments: dict[str, str] = {}  # of calls, as text, by function; set by tests
        self.raises = ("FileNotFoundError", "OSError", "Exception")  # what functions raise; set by tests
        self.processes: dict[int, FakeWorker] = {}
        self.offers: dict[int, tuple[str, dict[str, float]]] = {}  # the place, by slot number; set by tests
        self.left: list[int] = []  # the pids of processes that were left behind
        self.memory: dict[int, int] = {}  # in MiB, by incarnation; set by tests
        self.spawns: list[effects.Spawn] = []
        self.poison: dict[str, set[int]] = {}
        self.calls: dict[int, Call] = {}
        self.ended: dict[int, Any] = {}
        self.waiting: defaultdict[int, list[tuple[Call, int]]] = defaultdict(list)  # for a call, by its id
        self.passing: deque[tuple[Call, int, Any]] = deque()
        self.inherited: set[int] = set()
        self.let_go: list[tuple[int, bool]] = []
        self.runs: Counter[int] = Counter()
        self.began: list[tuple[int, int]] = []
        self.sent: list[int] = []
        self.events: list[WorkerEvent] = []
        self.without_base = 0
        self.rollout: Rollout | None = None
        self.all_stopped = True
        self._ids = itertools.count(1)
        self._keys = itertools.count(1)
        self._pids = itertools.count(100)
        if count:
            self.start(count)
            self.run()

    def _timestamp(self) -> str:
        return f"t+{self.now:.3f}"

    def _page(self, incarnation: int) -> tuple[int, float]:
        return self.processes[incarnation].status_page if incarnation in self.processes else (0, 0.0)

    @property
    def workers(self) -> dict[int, FakeWorker]:
        """The processes of the serving slots, by slot number."""
        serves = self.core.state.is_serving
        return {worker.slot.id: worker for worker in self.processes.values() if serves(worker.slot)}

    # -- effects ----------------------------------------------------------------------------------------

    def apply(self) -> None:
        """Execute the core's effects as the driver does: calls first, then the rest in order."""
        state = self.core.state
        while state.sends or state.effects or self.passing:
            if not state.sends and not state.effects:
                self._pass_on(*self.passing.popleft())
            sends, state.sends = state.sends, []
            for slot, call in sends:
                worker = self.processes[slot.incarnation]
                assert worker.slot is slot
                assert call.slot is slot
                self.sent.append(call.id)
                worker.inbox.append(("call", call, call.seq, call.epoch, call.record))
            for _, call in sends:
                most = call.record.at_most
                held = sum(
                    each.name == call.name for slot in state.processes() for each in slot.sent.values()
                )
                assert most is None or held <= most, f"{held} calls of {call.name}, which may have {most}"
                used = sum(
                    (each.options.resources or {}).get("GPU", 0)
                    for other in state.processes()
                    if other.place == slot.place
                    for each in other.sent.values()
                )
                most = (state.options.host_resources or slot.offers).get("GPU", 0)
                assert not call.options.resources or used <= most, f"{used} of {most} are used"
            doing, state.effects = state.effects, []
            for effect in doing:
                self._execute(effect)
        self.core.check()
        total = self.core.state.call_counts.total()
        ended = sum(self.calls[number].items or 1 for number in self.ended)
        assert total.calls + total.items == ended, f"{ended} have ended, and {total.calls} are counted"

    def _pass_on(self, call: Any, number: int, outcome: Any) -> None:
        """Pass what a call has ended with to one that waits for it."""
        queued = self.core.dispatcher.queued
        if call.ended:
            return
        if outcome is not True:
            self.inherited.add(call.id)
            queued.inherit(call, outcome)
        elif queued.dependents.arrived(call, number):
            queued.dependents.release(call, self.now)

    def _execute(self, effect: effects.Effect) -> None:
        match effect:
            case effects.Inherit(call, answer):
                self._end(call, answer)
            case effects.LetGo(call, cancels):
                self.let_go.append((call.id, cancels))
            case effects.Notify(event):
                self.events.append(event)
            case effects.Finish(call, error) | effects.FinishWithStack(_, _, call, error):
                self._end(call, error)
            case effects.Spawn(_, incarnation):
                assert incarnation not in self.processes, (
                    f"incarnation {incarnation} would have two processes"
                )
                self.spawns.append(effect)
            case effects.MeasureMemory(_, incarnation):
                worker = self.processes.get(incarnation)
                if worker is not None:
                    nbytes = self.memory.get(incarnation, 0) << 20
                    self.core.supervisor.recycling.memory_measured(worker.slot, nbytes, self.now)
            case effects.LeaveBehind(_, incarnation):
                self.left.append(self.processes.pop(incarnation).pid)
            case effects.AllStopped():
                assert not self.processes
                assert not self.spawns
                self.all_stopped = True
            case _:
                worker = self.processes.get(effect.incarnation)
                if worker is not None:
                    self._send(worker, effect)

    def _send(self, worker: FakeWorker, effect: effects.Effect) -> None:
        match effect:
            case effects.Kill():
                worker.killed = True
            case effects.SendInstall(_, _, change):
                worker.inbox.append(("install", change))
            case effects.SendNumber(number, _, epoch):
                worker.inbox.append(("number", (number, epoch)))
            case effects.SendForget(_, _, epoch):
                worker.inbox.append(("forget", epoch))
            case effects.SendShutdown(_, _, interrupt):
                if interrupt:
                    worker.control_inbox.append(effect)
                worker.inbox.append(("shutdown", None))
            case effects.SendRevoke() | effects.SendInterrupt() | effects.SendPing():
                worker.control_inbox.append(effect)

    def _end(self, call: Call, outcome: Any) -> None:
        assert call.id not in self.ended, f"{call} ends twice: {self.ended[call.id]!r}, {outcome!r}"
        self.ended[call.id] = outcome
        self.passing += [(each, number, outcome) for each, number in self.waiting.pop(call.id, ())]

    # -- what happens -----------------------------------------------------------------------------------

    def start(self, count: int) -> None:
        self.core.supervisor.start(count, self.now)
        self.all_stopped = False
        self.apply()

    def stop(self) -> None:
        self.core.supervisor.stop(self.now)
        self.apply()

    def resize(self, count: int) -> None:
        self.core.supervisor.resize(count, self.now)
        self.apply()

    def configure(self, **options: Any) -> None:
        state = self.core.state
        before, state.options = state.options, state.options.replace(options)
        self.core.replication.options_changed(before, self.now)
        self.core.supervisor.spares.check(self.now)
        self.apply()

    def restart(self, number: int, drain: bool = False) -> int:
        incarnation = self.core.supervisor.restart(number, drain, self.now)
        self.apply()
        return incarnation

    def spawn(self, effect: effects.Spawn | None = None, why: str = "") -> FakeWorker | None:
        """Start the next requested process; fail to start it if `why` is given."""
        effect = effect or self.spawns[0]
        self.spawns.remove(effect)
        worker = None
        if why:
            self.core.supervisor.spawn_failed(effect.slot, effect.incarnation, why, self.now)
        else:
            slot = self.core.state.find_process(effect.slot, effect.incarnation)
            if slot is not None:
                worker = self.processes[slot.incarnation] = FakeWorker(self, slot, next(self._pids))
                place, offers = self.offers.get(slot.id, ("", {}))
                host = {"host": place, "resources": offers} if place else {}
                supervisor = self.core.supervisor
                supervisor.spawned(slot.id, slot.incarnation, worker.pid, self.now, host, place)
        self.apply()
        return worker

    def die(self, who: int | FakeWorker, exitcode: int = -9, report: str = "was killed by SIGKILL") -> None:
        """End a process, given by itself or by its slot's number; all that it wrote is read first."""
        worker = self.workers[who] if isinstance(who, int) else who
        while worker.out:
            self._read(worker)
        while worker.control_out:
            self._read_control(worker)
        self.core.supervisor.died(worker.slot.id, worker.incarnation, exitcode, report, self.now)
        del self.processes[worker.incarnation]
        self.apply()

    def leave(self, who: int | FakeWorker) -> None:
        """Announce that the machine of a process, or of that of a slot, is about to go."""
        worker = self.workers[who] if isinstance(who, int) else who
        self.core.supervisor.leaves(worker.slot.id, worker.incarnation, "it is to end", self.now)
        self.apply()

    def read(self, worker: FakeWorker) -> None:
        """Read one message from a call channel."""
        self._read(worker)
        self.apply()

    def _read(self, worker: FakeWorker) -> None:
        kind, *rest = worker.out.popleft()
        if kind == "answer":
            seq, ok, ran_ns = rest
            raised = None if ok else Raised(self.raises, FAILURE)
            call = self.core.supervisor.answered(worker.slot, seq, ran_ns, ok, self.now, raised)
            if call is not None:
                self._end(call, ok)
        elif kind == "began":
            self.core.dispatcher.began(worker.slot, *rest, self.now)
        elif kind == "installed":
            self.core.supervisor.installed(worker.slot, *rest, self.now)
        else:
            epoch, culprit = rest
            self.core.replication.refused(worker.slot, epoch, culprit, FAILURE, "its reason", self.now)

    def read_control(self, worker: FakeWorker) -> None:
        """Read one message from a control channel."""
        self._read_control(worker)
        self.apply()

    def _read_control(self, worker: FakeWorker) -> None:
        kind, *rest = worker.control_out.popleft()
        self.core.supervisor.pong_received(worker.slot, self.now)
        if kind == "revoked":
            self.core.supervisor.revoked(worker.slot, *rest, self.now)

    def advance(self, seconds: float) -> None:
        """Advance the clock; timers fire at their due times."""
        target = self.now + seconds
        timers = self.core.state.timers
        while timers.next_due is not None and timers.next_due <= target:
            self.now = max(self.now, timers.next_due)
            self.core.tick(self.now)
            self.apply()
        self.now = target

    # -- calls ------------------------------------------------------------------------------------------

    def submit(self, name: str = "f", *, items: int = 0, after: Sequence[Call] = (), **options: Any) -> Call:
        """Submit a call; one that waits for the values of others, if there are some in `after`."""
        options = {
            key: value
            for key, value in options.items()
            if value or (key in ("retries", "resources") and value is not None)
        }
        made_with = CallOptions(**options) if options else NO_OPTIONS  # as the pool does, for speed
        call = Call(next(self._ids), name, b"", items=items, options=made_with)
        if after:
            awaited = {number: str(each) for number, each in enumerate(after)}
            call = DependentCall(call.id, name, b"", awaited, made_with, items=items)
        self.core.dispatcher.submit(call, self.now)
        self.calls[call.id] = call
        for number, each in enumerate(after):
            if each.id in self.ended:
                self.passing.append((call, number, self.ended[each.id]))
            else:
                self.waiting[each.id].append((call, number))
        self.apply()
        return call

    def cancel(self, call: Call) -> bool:
        over = self.core.dispatcher.cancel(call, self.now)
        self.apply()
        return over

    def answer(self, call: Call, ok: bool = True, ran_s: float = 1.0) -> None:
        """End a running call, and let the pool read the answer."""
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
        known = [field.name for field in dataclasses.fields(CallOptions)]
        options = {key: more.pop(key) for key in known if key in more}
        key = next(self._keys) if kind is Kind.FUNCTION else 0
        return Record(name, kind, None, None, key=key, options=CallOptions(**options), **more)

    def propose(self, *records: Record, removed: tuple[str, ...] = ()) -> Rollout:
        """Propose a change, and do nothing more."""
        assert self.rollout is None or self.rollout.decided, "one change at a time"
        self.rollout = self.core.propose(records, removed, self.now)
        self.apply()
        return self.rollout

    def cell(self, name: str, *inputs: str) -> CellText:
        """Return a new cell that reads these names while it is loaded."""
        key = f"{name}-{next(self._keys)}"
        return CellText(key, key, inputs, 1, None)

    def _loaded_again(self, functions: list[Record]) -> list[Record]:
        assert functions[0].cell is not None
        cell = functions[0].cell._replace(module=f"{functions[0].cell.key}-{next(self._keys)}")
        return [dataclasses.replace(each, key=next(self._keys), cell=cell, broken=None) for each in functions]

    def abort(self) -> None:
        assert self.rollout is not None
        self.core.replication.abort(self.rollout, self.now)
        self.apply()

    def define(self, name: str = "f", **more: Any) -> Record:
        """Define a function, and let all idle workers install it."""
        record = self.record(name, **more)
        rollout = self.propose(record)
        self.run()
        assert rollout.committed, rollout.reason
        return self.core.state.registry.records[record.name]

    def learn(self, name: str = "f", ran_s: float = 1e-5) -> None:
        """Run a function once, so that the core knows its run time."""
        self.answer_all([self.submit(name)], ran_s)

    # -- running the simulation -------------------------------------------------------------------------

    def run(self) -> None:
        """Start all processes, and exchange all messages, until only running calls are left."""
        while self._one_round():
            pass

    def run_for(self, seconds: float) -> None:
        """Advance the clock by `seconds`, and run everything meanwhile."""
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
            if (worker.killed and worker.killable) or worker.exiting:
                self.die(worker, -9 if worker.killed else 0, "was killed" if worker.killed else "left")
            elif worker.hangs:
                continue
            elif worker.control_inbox:
                worker.step_control()
            elif worker.control_out:
                self.read_control(worker)
            elif worker.out:
                self.read(worker)
            elif worker.can_step:
                worker.step()
            else:
                continue
            return True
        return False

    def answer_all(self, calls: list[Call] | None = None, ran_s: float = 1.0) -> None:
        """Run everything, and answer calls (all, if none are given) until none of them runs."""
        while True:
            self.run()
            running = [call for worker in self.processes.values() for call in worker.running.values()]
            mine = [call for call in running if calls is None or call in calls]
            if not mine:
                return
            worker = self.worker_of(mine[0])
            seq = next(number for number, call in worker.running.items() if call is mine[0])
            worker.answer(seq, True, ran_s)

    # -- observation ------------------------------------------------------------------------------------

    def slot(self, number: int = 1) -> Slot:
        return self.core.state.slots[number]

    def states(self) -> list[str]:
        return [slot.state.value for slot in self.core.state.slots.values()]

    def names(self, worker_id: int | None = None) -> list[str]:
        """Return the names of the events since the previous request, with the state for health events."""
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
    """Return a world with `f`, whose run time is unknown, the short `quick`, and the coroutine `wait`."""
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
    """Return the ids of the calls that have begun, in order."""
    return [number for number, _ in world.began]
