"""What a call costs the core does not grow with the number of workers."""

from __future__ import annotations

import sys

import pytest

from tests.pool.core.harness import make
from wpc_magic.pool.core.calls import NO_OPTIONS, Call
from wpc_magic.pool.core.dependent_calls import DependentCall

FEW, MANY = 4, 100


def steps_of(work):
    """Return how many functions of the core are called while something is done."""
    count = 0

    def called(frame, event, argument):
        nonlocal count
        count += event == "call"

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def answered(world, *calls):
    dispatcher = world.core.dispatcher
    for call in calls:
        assert call.slot is not None
        dispatcher.answered(call.slot, call.seq, 10**9 if call.name == "f" else 1000, True, world.now)
    world.core.state.sends.clear()


def submitted(world, name, number):
    call = Call(number, name, b"")
    world.core.dispatcher.submit(call, world.now)
    return call


def one_call(world, name):
    return steps_of(lambda: answered(world, submitted(world, name, 1001)))


def some_calls(world, name):
    return steps_of(lambda: answered(world, *(submitted(world, name, 2001 + n) for n in range(10))))


def queued_calls(world, name):
    """Those that wait are cancelled, the first one first."""
    sent = [submitted(world, name, 3001 + n) for n in range(len(world.core.state.slots))]
    waiting = [submitted(world, name, 4001 + n) for n in range(10)]
    assert not any(call.slot for call in waiting)
    cost = steps_of(lambda: [world.core.dispatcher.cancel(call, world.now) for call in waiting])
    answered(world, *sent)
    return cost


def dependent_call(world, name):
    """The last argument of one is there."""
    dispatcher = world.core.dispatcher
    call = DependentCall(5001, name, b"", {0: "another"}, NO_OPTIONS)
    dispatcher.submit(call, world.now)
    assert dispatcher.queued.dependents.arrived(call, 0)
    cost = steps_of(lambda: dispatcher.queued.dependents.release(call, world.now))
    answered(world, call)
    return cost


@pytest.mark.parametrize(
    ("work", "name"),
    [(work, name) for work in (one_call, some_calls, dependent_call) for name in ("f", "quick", "wait")]
    + [(queued_calls, "f")],
)
def test_a_call_costs_as_much_with_many_workers_as_with_few(work, name):
    def cost(count):
        world = make(count)
        work(world, name)  # what is made once is made
        return work(world, name)

    few, many = cost(FEW), cost(MANY)
    assert 0 < many <= 1.3 * few + 10, f"{few} steps with {FEW} workers, {many} with {MANY}"
