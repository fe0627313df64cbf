"""A function with a limit has no more calls at workers, and does not hold up the others."""

from __future__ import annotations

import pytest

from tests.pool.core.harness import FOREVER_S, begun, ids, make
from wpc_magic.pool.errors import FunctionNotDefinedError, NoWorkerError, PoolStoppedError, QueueTimeoutError


def limited(count=3, at_most=2, is_async=False, **options):
    world = make(count, **options)
    world.define("db", at_most=at_most, is_async=is_async)
    return world


def at_workers(world, name="db"):
    return sum(call.name == name for slot in world.core.state.processes() for call in slot.sent.values())


@pytest.mark.parametrize("is_async", [False, True])
def test_workers_hold_no_more_calls_of_a_function_than_its_limit(is_async):
    world = limited(is_async=is_async)
    calls = [world.submit("db") for _ in range(9)]
    most = 0
    for call in calls:
        world.run()
        most = max(most, at_workers(world))
        world.answer(call)
    assert most == 2
    assert set(world.ended.values()) == {True}


def test_what_waits_for_a_limit_does_not_hold_up_other_functions():
    world = limited()
    calls = [world.submit("db") for _ in range(9)]
    other = world.submit("f")
    assert world.where(other) is not None
    assert [world.where(call) is not None for call in calls] == [True, True] + [False] * 7


def test_calls_that_wait_for_a_limit_keep_their_order_among_all():
    world = limited(1, at_most=1)
    first = world.submit("db")
    world.run()
    waits, other, last = world.submit("db"), world.submit("f"), world.submit("db")
    world.answer_all()
    assert begun(world) == ids([first, waits, other, last])


def test_calls_that_wait_for_a_limit_have_priorities():
    world = limited(2, at_most=1)
    first = world.submit("db")
    low, high = world.submit("db"), world.submit("db", priority=1)
    world.answer_all()
    assert begun(world) == ids([first, high, low])


def test_a_quick_function_with_a_limit_is_not_sent_ahead():
    world = limited(2, at_most=2)
    world.learn("db", 1e-5)
    for _ in range(5):
        world.submit("db")
    assert at_workers(world) == 2
    assert sorted(len(slot.sent) for slot in world.core.state.slots.values()) == [1, 1]


def test_a_cancelled_call_counts_until_its_work_has_ended():
    world = limited(3, at_most=1)
    running, waits = world.submit("db"), world.submit("db")
    world.run()
    world.workers[1].interruptible = False
    assert world.cancel(running)
    assert world.where(waits) is None
    world.run_for(2.0)  # its worker is killed, and replaced
    assert world.where(waits) is not None


def test_a_worker_that_dies_makes_room():
    world = limited(3, at_most=1)
    running, waits = world.submit("db"), world.submit("db")
    world.run()
    world.die(world.where(running))
    assert world.where(waits) is not None


def test_calls_that_wait_for_a_limit_can_be_cancelled():
    world = limited(3, at_most=1)
    running, second, third = (world.submit("db") for _ in range(3))
    assert world.cancel(second)
    world.answer_all()
    assert [world.ended[call.id] for call in (running, second, third)] == [True, None, True]


def test_calls_that_wait_for_a_limit_may_expire_or_end_with_the_pool():
    world = limited(3, at_most=1)
    world.submit("db")
    expires, stops = world.submit("db", queue_timeout_ms=100), world.submit("db")
    world.run()
    world.advance(0.2)
    assert isinstance(world.ended[expires.id], QueueTimeoutError)
    world.stop()
    assert isinstance(world.ended[stops.id], PoolStoppedError)


def test_calls_that_wait_for_a_limit_are_refused_if_the_function_is_undefined():
    world = limited(3, at_most=1)
    world.submit("db")
    waits = [world.submit("db") for _ in range(3)]
    world.run()
    world.propose(removed=("db",))
    world.run()
    world.answer_all()
    assert {type(world.ended[call.id]) for call in waits} == {FunctionNotDefinedError}


@pytest.mark.parametrize(("at_most", "expected"), [(None, 3), (2, 2), (1, 1)])
def test_a_new_limit_holds_for_calls_that_wait(at_most, expected):
    world = limited(4, at_most=1)
    world.submit("db")
    for _ in range(2):
        world.submit("db")
    world.run()
    world.define("db", at_most=at_most)
    world.advance(1.0)
    world.run()
    assert at_workers(world) == expected


def test_a_call_for_one_worker_that_waits_for_a_limit_ends_when_that_is_removed():
    world = limited(2, at_most=1)
    world.submit("db", worker_id=1)
    waits = world.submit("db", worker_id=2)
    world.run()
    world.resize(1)
    assert isinstance(world.ended[waits.id], NoWorkerError)


def test_a_call_for_a_busy_worker_does_not_take_the_place_of_others():
    world = limited(2, at_most=1)
    running, busy = world.submit("db", worker_id=1), world.submit("f", worker_id=2)
    pinned, free = world.submit("db", worker_id=2), world.submit("db")
    world.run()
    world.answer(running)
    assert world.where(pinned) is None
    assert world.where(free) == 1
    world.answer_all([busy, free])
    world.answer_all()
    assert world.ended[pinned.id] is True


def test_a_limited_call_wakes_a_resting_worker_when_it_may_run():
    world = limited(2, at_most=1, idle_timeout_ms=1000, min_workers=1)
    world.run_for(10.0)
    assert "resting" in world.states()
    calls = [world.submit("db") for _ in range(3)]
    world.answer_all()
    world.advance(FOREVER_S)
    assert {world.ended[call.id] for call in calls} == {True}


def test_a_limit_that_is_lifted_sends_nothing_to_a_worker_that_has_not_installed_that():
    world = limited(1, at_most=1)
    world.learn("db", 1e-5)
    running, waits = world.submit("db"), world.submit("db")
    world.run()
    world.propose(world.record("db"))
    assert world.where(waits) is None
    world.answer(running)
    world.answer_all()
    assert world.ended[waits.id] is True
