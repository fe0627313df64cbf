"""Random walks over the core: in any sequence of events, no guarantee is violated.

One walk is a Hypothesis state machine, which shrinks what it finds; each of its examples uses few kinds of
steps. The other draws weighted random steps, and so reaches states that are further from the start.

After every step `World.apply` tests the numbered invariants of `Core`. The workers of the harness refuse to
begin a call without its epoch, and the harness refuses a second end. The other guarantees are tested here.
"""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.pool.core.harness import FOREVER_S, FakeWorker, World
from wpc_magic.pool.core.registry import Kind
from wpc_magic.pool.core.room import Room
from wpc_magic.pool.errors import (
    CallRefusedError,
    CallTimeoutError,
    NotRunningError,
    OptionError,
    PoolStateError,
    PoolStoppedError,
    QueueTimeoutError,
    WorkerCrashedError,
    WorkerReplacedError,
)

NAMES = ("quick", "slow", "wait", "wait_too")  # the last two are coroutines
RAN_S = {"quick": 1e-5, "slow": 1.0, "wait": 0.5, "wait_too": 1e-4}
THINGS = ("np", "SEED")
OFFERS = [  # the places of slots by their numbers, and what is there
    {},
    {1: ("a", {"GPU": 1}), 2: ("b", {"GPU": 2})},
    {1: ("a", {"GPU": 2}), 2: ("a", {"GPU": 2}), 3: ("b", {})},
]
LIMITS = {"max_calls_per_worker": 6, "max_memory_per_worker_mb": 100, "hard_memory_per_worker_mb": 200}

positions = st.integers(0, 30)  # an index into the existing items, modulo their number


class Walk(RuleBasedStateMachine):
    """The pool, its workers, and its users."""

    world: World

    @initialize(
        count=st.integers(1, 3),
        restarts=st.sampled_from([0, 0, 1, 4]),
        stable_s=st.sampled_from([1, 60]),
        call_timeout_ms=st.sampled_from([None, None, 3000]),
        queue_timeout_ms=st.sampled_from([None, None, 4000]),
        most=st.sampled_from([None, None, None, 4]),
        knows=st.sampled_from([True, True, True, False]),
        recycles=st.sampled_from([False, True]),
        idle_ms=st.sampled_from([None, 1500]),
        min_workers=st.sampled_from([0, 1, 2]),
        offers=st.sampled_from(OFFERS),
        spares=st.sampled_from([0, 0, 1, 2]),
    )
    def begin(
        self,
        count,
        restarts,
        stable_s,
        call_timeout_ms,
        queue_timeout_ms,
        most,
        knows,
        recycles,
        idle_ms,
        min_workers,
        offers,
        spares,
    ):
        self.world = World(
            **(LIMITS if recycles else {}),
            idle_timeout_ms=idle_ms,
            min_workers=min_workers,
            max_restarts_per_worker=restarts,
            restart_stable_after_ms=stable_s * 1000,
            call_timeout_ms=call_timeout_ms,
            queue_timeout_ms=queue_timeout_ms,
            max_pending_calls_per_worker=most,
            spare_workers=spares,
        )
        self.world.offers = offers
        self.retries = {}  # by function: the most retries that any of its revisions allowed
        for name in NAMES:
            self.world.propose(self._function(name, ()))
        self.world.start(count)
        if knows:  # start later: all workers are ready, and run times are known
            for name in NAMES:
                self.world.learn(name, RAN_S[name])

    def _function(self, name, needs, **options):
        return self.world.record(name, is_async=name.startswith("wait"), needs=needs, **options)

    def _worker(self, position):
        workers = list(self.world.processes.values())
        return workers[position % len(workers)]

    @property
    def _state(self):
        return self.world.core.state

    @property
    def _phase(self):
        return self._state.phase

    # -- users ------------------------------------------------------------------------------------------

    @rule(
        name=st.sampled_from([*NAMES, "quick"]),
        times=st.sampled_from([1, 1, 3, 6]),
        items=st.sampled_from([0, 0, 0, 0, 3]),
        worker_id=st.sampled_from([None, None, None, None, 1, 2]),
        retries=st.sampled_from([0, 0, 0, 1, 2]),
        timeout_ms=st.sampled_from([None, None, None, 500]),
        queue_timeout_ms=st.sampled_from([None, None, None, 100]),
        priority=st.sampled_from([None, None, None, None, None, 1, -1]),
        retry_on=st.sampled_from([None, None, "OSError"]),
        resources=st.sampled_from([None, None, None, None, None, {"GPU": 1}, {"GPU": 2}]),
    )
    def call(self, name, times, **options):
        for _ in range(times):
            try:
                self.world.submit(name, **options)
            except (CallRefusedError, NotRunningError, OptionError):
                assert not self._state.sends, "a refused call has no effect"
                self.world.apply()

    @precondition(lambda self: self.world.calls)
    @rule(
        name=st.sampled_from(NAMES),
        first=positions,
        count=st.sampled_from([1, 1, 2]),
        worker_id=st.sampled_from([None, None, None, 1, 2]),
        queue_timeout_ms=st.sampled_from([None, None, None, 100]),
    )
    def call_with_values(self, name, first, count, **options):
        calls = self._running_calls() or list(self.world.calls.values())
        after = [calls[(first + n) % len(calls)] for n in range(count)]
        try:
            self.world.submit(name, after=after, **options)
        except (CallRefusedError, NotRunningError, OptionError):
            self.world.apply()

    @precondition(lambda self: self._running_calls())
    @rule(position=positions)
    def cancel_one(self, position):
        calls = self._running_calls()
        call = calls[position % len(calls)]
        if self.world.cancel(call):
            assert self.world.ended[call.id] is None

    def _running_calls(self):
        world = self.world
        return [call for call in world.calls.values() if call.id not in world.ended]

    def _may_propose(self):
        return self.world.rollout is None or self.world.rollout.decided

    @rule(
        names=st.sets(st.sampled_from(NAMES), min_size=1, max_size=2),
        needs=st.sets(st.sampled_from(THINGS), max_size=1),
        retries=st.sampled_from([0, 0, 1]),
        at_most=st.sampled_from([None, None, None, 1, 2]),
        inputs=st.sets(st.sampled_from([*NAMES, *THINGS]), max_size=2),
        poison=st.sampled_from([None, None, None, {1}, {2, 3}, set(range(20))]),
    )
    def define(self, names, needs, retries, at_most, inputs, poison):
        if self._may_propose():
            for name in names:
                self.world.poison[name] = poison or set()
            self.retries |= {name: max(retries, self.retries.get(name, 0)) for name in names}
            # Cells that read each other while they are loaded are refused by the workers, whatever their age.
            below = NAMES[: min(NAMES.index(name) for name in names)]
            inputs = inputs & {*below, *THINGS}
            cell = self.world.cell("cell", *sorted(inputs)) if inputs else None
            records = [
                self._function(name, tuple(sorted(needs)), retries=retries, at_most=at_most, cell=cell)
                for name in sorted(names)
            ]
            self.world.propose(*records)

    @rule(
        name=st.sampled_from(THINGS),
        value=st.integers(0, 2),
        poison=st.sampled_from([None, None, None, {1}, set(range(20))]),
    )
    def define_thing(self, name, value, poison):
        if self._may_propose():
            self.world.poison[name] = poison or set()
            self.world.propose(self.world.record(name, Kind.CONSTANT, content=value))

    @rule(name=st.sampled_from([*NAMES, *THINGS]))
    def undefine(self, name):
        if self._may_propose() and name in self._state.registry.records:
            self.world.propose(removed=(name,))

    @precondition(lambda self: self.world.rollout is not None and not self.world.rollout.decided)
    @rule()
    def abort_the_definition(self):
        self.world.abort()
        assert self.world.rollout.decided

    @precondition(lambda self: self._phase != "stopped")
    @rule(count=st.integers(1, 5))
    def resize(self, count):
        try:
            self.world.resize(count)
        except NotRunningError:
            assert self._phase == "stopping"

    @precondition(lambda self: self._phase != "stopped")
    @rule(number=st.integers(1, 4), drain=st.booleans())
    def restart(self, number, drain):
        try:
            incarnation = self.world.restart(number, drain)
        except (OptionError, NotRunningError):
            return
        assert incarnation <= self.world.slot(number).incarnation

    @precondition(lambda self: self._phase != "stopped")
    @rule(really=st.sampled_from([False, False, False, True]))
    def stop(self, really):
        if really:
            self.world.stop()
            assert not self._running_calls()

    @precondition(lambda self: self._phase != "running")
    @rule(count=st.integers(1, 3))
    def start(self, count):
        try:
            self.world.start(count)
        except PoolStateError:
            assert self._phase != "stopped"

    # -- the operating system ---------------------------------------------------------------------------

    @precondition(lambda self: self.world.spawns)
    @rule(position=positions, fails=st.sampled_from([False, False, False, False, True]))
    def spawn(self, position, fails):
        spawns = self.world.spawns
        self.world.spawn(spawns[position % len(spawns)], "no memory" if fails else "")

    @precondition(lambda self: self.world.processes)
    @rule(position=positions)
    def die(self, position):
        self.world.die(self._worker(position))

    @precondition(lambda self: self.world.processes)
    @rule(position=positions)
    def leave(self, position):
        """Announce that the machine of a worker is about to go."""
        self.world.leave(self._worker(position))

    @precondition(lambda self: any(w.killed or w.exiting for w in self.world.processes.values()))
    @rule()
    def exit_as_requested(self):
        for worker in list(self.world.processes.values()):
            if worker.killed or worker.exiting:
                self.world.die(worker)

    @precondition(lambda self: self._phase != "stopped")
    @rule(seconds=st.sampled_from([0.001, 0.004, 0.004, 0.1, 0.6, 3.0, 11.0]))
    def pass_time(self, seconds):
        self.world.advance(seconds)

    @rule(mebibytes=st.sampled_from([0, 100, 10_000]))
    def have_memory_left(self, mebibytes):
        self.world.room = Room(mebibytes << 20, 64 << 20)

    @precondition(lambda self: self.world.processes)
    @rule(position=positions, megabytes=st.sampled_from([0, 150, 300]))
    def use_memory(self, position, megabytes):
        self.world.memory[self._worker(position).incarnation] = megabytes

    @precondition(lambda self: self.world.processes)
    @rule(position=positions)
    def toggle_hang(self, position):
        worker = self._worker(position)
        worker.hangs = not worker.hangs

    @precondition(lambda self: self.world.processes)
    @rule(position=positions, name=st.sampled_from([*NAMES, *THINGS]), works=st.booleans())
    def install_slowly(self, position, name, works):
        """Let a worker, if it installs something, be at one definition for long."""
        worker = self._worker(position)
        if worker.slot.installing:
            worker.hangs = True
            self.world.installing[worker.incarnation] = name
            if works:
                self.world.works.add(worker.incarnation)

    @rule(start_ms=st.sampled_from([500, 10_000]), control_ms=st.sampled_from([10_000, 20_000]))
    def change_timeouts(self, start_ms, control_ms):
        self.world.configure(start_timeout_ms=start_ms, control_timeout_ms=control_ms)

    @precondition(lambda self: self.world.processes)
    @rule(position=positions)
    def ignore_interrupts(self, position):
        self._worker(position).interruptible = False

    @precondition(lambda self: self.world.processes)
    @rule(position=positions)
    def repeat_stale_messages(self, position):
        """Report what no current process could report: it must change nothing."""
        world = self.world
        worker = self._worker(position)
        slot, incarnation = worker.slot, worker.incarnation
        before = (slot.state, slot.incarnation, dict(slot.sent), slot.installed_epoch, list(slot.installing))
        supervisor = world.core.supervisor
        supervisor.died(slot.id, -1, -9, "was killed", world.now)
        supervisor.spawned(slot.id, -1, 1, world.now)
        supervisor.spawned(slot.id, incarnation, 1, world.now)
        supervisor.spawn_failed(slot.id, incarnation, "no memory", world.now)
        assert supervisor.answered(slot, 10_000, 1, True, world.now) is None
        supervisor.revoked(slot, (10_000,), world.now)
        supervisor.installed(slot, 10_000, world.now)
        assert before == (slot.state, slot.incarnation, slot.sent, slot.installed_epoch, slot.installing)
        world.apply()

    # -- the workers ------------------------------------------------------------------------------------

    def _some(self, position, able) -> FakeWorker | None:
        workers = [w for w in self.world.processes.values() if not w.killed and not w.hangs and able(w)]
        return workers[position % len(workers)] if workers else None

    @precondition(lambda self: any(w.can_step for w in self.world.processes.values()))
    @rule(position=positions, times=st.sampled_from([1, 3, 20]))
    def step(self, position, times):
        worker = self._some(position, lambda w: w.can_step)
        while worker is not None and worker.can_step and times:
            worker.step()
            times -= 1

    @precondition(lambda self: any(w.control_inbox for w in self.world.processes.values()))
    @rule(position=positions)
    def step_control(self, position):
        worker = self._some(position, lambda w: w.control_inbox)
        if worker is not None:
            worker.step_control()

    @precondition(lambda self: any(w.running for w in self.world.processes.values()))
    @rule(position=positions, which=positions, ok=st.sampled_from([True, True, False]))
    def answer(self, position, which, ok):
        worker = self._some(position, lambda w: w.running)
        if worker is not None:
            seq = sorted(worker.running)[which % len(worker.running)]
            worker.answer(seq, ok, RAN_S[worker.running[seq].name])

    @precondition(lambda self: any(w.out for w in self.world.processes.values()))
    @rule(position=positions, times=st.sampled_from([1, 3, 20]))
    def read(self, position, times):
        worker = self._some(position, lambda w: w.out)
        while worker is not None and worker.out and times:
            self.world.read(worker)
            times -= 1

    @precondition(lambda self: any(w.control_out for w in self.world.processes.values()))
    @rule(position=positions)
    def read_control(self, position):
        worker = self._some(position, lambda w: w.control_out)
        if worker is not None:
            self.world.read_control(worker)

    @rule(answers=st.booleans())
    def run_all(self, answers):
        if answers:
            self._answer_all()
        else:
            self.world.run()

    def _answer_all(self):
        while True:
            self.world.run()
            runs = [w for w in self.world.processes.values() if w.running and not w.hangs and not w.killed]
            if not runs:
                return
            seq = min(runs[0].running)
            runs[0].answer(seq, True, RAN_S[runs[0].running[seq].name])

    # -- guarantees -------------------------------------------------------------------------------------

    @invariant()
    def guarantees_hold(self):
        world = self.world
        world.core.snapshot("wpc", world.now, {})
        world.core.health()
        for number, times in world.runs.items():
            call = world.calls[number]
            allowed = call.options.retries or self.retries.get(call.name, 0)
            assert times <= 1 + allowed, f"{call} ran {times} times"
        for number, outcome in world.ended.items():
            if number in world.inherited:
                assert not world.runs[number], "what it waited for has failed"
            elif isinstance(outcome, WorkerCrashedError | WorkerReplacedError):
                assert world.runs[number], "a call that never began does not fail with its worker"
            elif outcome is True or outcome is False or type(outcome) is CallTimeoutError:
                assert world.runs[number]
            elif isinstance(outcome, QueueTimeoutError):
                assert not world.runs[number]

    def teardown(self):
        if not hasattr(self, "world"):
            return
        world = self.world
        for worker in world.processes.values():
            worker.hangs = False
        if len(world.calls) % 2:
            world.stop()
            self._answer_all()
            world.advance(FOREVER_S)
            self._answer_all()
            assert world.all_stopped
            assert self._phase == "stopped"
            assert not world.processes
        else:
            self._run_out()
        assert sorted(world.ended) == sorted(world.calls), "every call has ended"
        if not any(isinstance(outcome, PoolStoppedError) for outcome in world.ended.values()):
            assert world.core.dispatcher.queued.count == 0
        assert not self._running_calls()

    def _run_out(self):
        """Run until all is settled, without a stop."""
        world = self.world
        for _ in range(50):
            self._answer_all()
            world.advance(1.0)
        self._answer_all()
        assert world.rollout is None or world.rollout.decided
        assert world.core.is_settled()
        assert self._phase in ("running", "stopped")
        assert not self._state.incoming
        assert not self._state.leaving
        for slot in self._state.slots.values():
            assert slot.state.value in ("ready", "failed", "stopped", "resting")
            if slot.state.value == "ready":
                assert slot.installed_epoch == self._state.registry.epoch
                assert not slot.sent
                assert not slot.full


TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=int(os.environ.get("WALK_EXAMPLES", "150")),
    stateful_step_count=int(os.environ.get("WALK_STEPS", "60")),
    derandomize="WALK_EXAMPLES" not in os.environ,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate, Phase.shrink],
)

# -- weighted random walks --------------------------------------------------------------------------------


def any_of(*values):
    return lambda rng: rng.choice(values)


def a_position(rng):
    return rng.randrange(30)


def names_of(rng):
    return set(rng.sample(NAMES, rng.randint(1, 2)))


def inputs_of(rng):
    return set(rng.sample([*NAMES, *THINGS], rng.choice([0, 0, 1, 2])))


AT = {"position": a_position}
POISON = any_of(None, None, None, {1}, {2, 3}, set(range(20)))
STEPS = {  # the weight and the arguments of each step
    "call": (
        9,
        {
            "name": any_of(*NAMES, "quick", "quick"),
            "times": any_of(1, 2, 6),
            "items": any_of(0, 0, 0, 0, 0, 3),
            "worker_id": any_of(None, None, None, None, 1, 2),
            "retries": any_of(0, 0, 0, 1, 2),
            "timeout_ms": any_of(None, None, None, None, 500),
            "queue_timeout_ms": any_of(None, None, None, None, 100),
            "priority": any_of(None, None, None, None, None, 1, -1),
            "retry_on": any_of(None, None, "OSError"),
            "resources": any_of(None, None, None, None, None, {"GPU": 1}, {"GPU": 2}),
        },
    ),
    "call_with_values": (
        4,
        {
            "name": any_of(*NAMES),
            "first": a_position,
            "count": any_of(1, 2),
            "worker_id": any_of(None, None, None, 1, 2),
            "queue_timeout_ms": any_of(None, None, None, 100),
        },
    ),
    "cancel_one": (3, AT),
    "define": (
        4,
        {
            "names": names_of,
            "needs": any_of((), (), (), (), THINGS),
            "retries": any_of(0, 1),
            "at_most": any_of(None, None, None, 1, 2),
            "inputs": inputs_of,
            "poison": POISON,
        },
    ),
    "define_thing": (2, {"name": any_of(*THINGS), "value": any_of(0, 1, 2), "poison": POISON}),
    "undefine": (1, {"name": any_of(*NAMES, *THINGS)}),
    "abort_the_definition": (1, {}),
    "resize": (2, {"count": any_of(1, 2, 3, 4)}),
    "restart": (3, {"number": any_of(1, 2, 3), "drain": any_of(True, False)}),
    "stop": (1, {"really": any_of(*[False] * 4, True)}),
    "start": (2, {"count": any_of(1, 2, 3)}),
    "spawn": (10, AT | {"fails": any_of(*[False] * 9, True)}),
    "die": (4, AT),
    "leave": (2, AT),
    "exit_as_requested": (6, {}),
    "pass_time": (8, {"seconds": any_of(0.001, 0.004, 0.004, 0.004, 0.1, 0.6, 3.0, 11.0)}),
    "have_memory_left": (1, {"mebibytes": any_of(0, 100, 10_000)}),
    "use_memory": (1, AT | {"megabytes": any_of(0, 150, 300)}),
    "toggle_hang": (1, AT),
    "ignore_interrupts": (1, AT),
    "install_slowly": (2, AT | {"name": any_of(*NAMES, *THINGS), "works": any_of(True, False)}),
    "change_timeouts": (1, {"start_ms": any_of(500, 10_000), "control_ms": any_of(10_000, 20_000)}),
    "repeat_stale_messages": (1, AT),
    "step": (25, AT | {"times": any_of(1, 1, 3)}),
    "step_control": (12, AT),
    "answer": (14, AT | {"which": a_position, "ok": any_of(True, True, False)}),
    "read": (25, AT | {"times": any_of(1, 1, 3, 20)}),
    "read_control": (12, AT),
    "run_all": (1, {"answers": any_of(True, False)}),
}


def random_walk(seed, steps):
    rng = random.Random(seed)
    walk = Walk()
    walk.begin(
        count=rng.randint(1, 3),
        restarts=rng.choice([0, 1, 4]),
        stable_s=rng.choice([1, 60]),
        call_timeout_ms=rng.choice([None, None, 3000]),
        queue_timeout_ms=rng.choice([None, None, 4000]),
        most=rng.choice([None, None, None, 4]),
        knows=rng.random() < 0.8,
        recycles=rng.random() < 0.5,
        idle_ms=rng.choice([None, 1500]),
        min_workers=rng.choice([0, 1, 2]),
        offers=rng.choice(OFFERS),
        spares=rng.choice([0, 0, 1, 2]),
    )
    names, weights = list(STEPS), [weight for weight, _ in STEPS.values()]
    for name in rng.choices(names, weights, k=steps):
        step = getattr(walk, name)
        preconditions = step.hypothesis_stateful_rule.preconditions
        if all(condition(walk) for condition in preconditions):
            step(**{key: draw(rng) for key, draw in STEPS[name][1].items()})
            walk.guarantees_hold()
    walk.teardown()


@pytest.mark.parametrize("start", [1000 * n for n in range(int(os.environ.get("WALK_RANDOM", "8")))])
def test_a_random_walk_violates_no_guarantee(start):
    for seed in range(start, start + 25):
        try:
            random_walk(seed, 400)
        except BaseException as error:
            error.add_note(f"random_walk({seed}, 400)")
            raise


def test_the_random_walk_knows_every_step():
    rules = {name for name in dir(Walk) if hasattr(getattr(Walk, name), "hypothesis_stateful_rule")}
    assert rules == set(STEPS)
