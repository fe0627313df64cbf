"""Calls that ask for resources go where these are offered, and use no more at once than there is."""

from __future__ import annotations

import pytest

from tests.pool.core.harness import World, begun, ids, make
from wpc_magic.pool.errors import NoWorkerError, WorkerCrashedError


def cluster(**places: tuple[str, dict[str, float]]) -> World:
    """Return a pool of three workers, with what the places of some offer: ``slot_1=("a", {"GPU": 1})``."""
    world = World()
    world.offers = {int(slot.removeprefix("slot_")): place for slot, place in places.items()}
    world.start(3)
    world.run()
    for name in ("f", "g"):
        world.define(name)
    world.run()
    return world


GPU = {"GPU": 1.0}


def test_a_call_goes_only_to_where_its_resources_are():
    world = cluster(slot_1=("a", {}), slot_2=("b", GPU), slot_3=("a", {}))
    calls = [world.submit("f", resources=GPU) for _ in range(4)]
    others = [world.submit("f") for _ in range(2)]
    world.answer_all()
    assert set(world.ended.values()) == {True}
    assert {slot for call, slot in world.began if call in ids(calls)} == {2}
    assert {slot for call, slot in world.began if call in ids(others)} == {1, 3}


def test_the_workers_of_one_place_use_no_more_together_than_it_offers():
    world = cluster(slot_1=("a", {"GPU": 2}), slot_2=("a", {"GPU": 2}), slot_3=("a", {"GPU": 2}))
    calls = [world.submit("f", resources={"GPU": 1}) for _ in range(3)]
    half = world.submit("f", resources={"GPU": 0.5})
    assert [world.where(call) is not None for call in calls] == [True, True, False]
    assert world.where(half) is None
    world.run()
    world.answer(calls[0])
    assert world.where(calls[2]) is not None
    world.run()
    world.answer(calls[1])
    assert world.where(half) is not None


def test_what_waits_for_resources_does_not_hold_up_the_others():
    world = cluster(slot_1=("a", {"GPU": 1, "disk": 1}), slot_2=("b", {}), slot_3=("b", {}))
    first, waits = world.submit("f", resources=GPU), world.submit("f", resources=GPU)
    other = world.submit("f")
    assert world.where(first) is not None
    assert world.where(waits) is None
    assert world.where(other) is not None


def test_it_goes_behind_quick_calls_that_never_end():
    world = cluster(slot_1=("a", GPU), slot_2=("b", {}), slot_3=("b", {}))
    world.learn("f", 1e-5)
    for _ in range(400):
        world.submit("f")
    asks = world.submit("g", resources=GPU)
    while world.where(asks) is None:
        world.run()
        running = [call for worker in world.workers.values() for call in worker.running.values()]
        world.submit("f")
        world.answer(running[0], ran_s=1e-5)
    assert world.core.dispatcher.queued.count > 100


def test_a_function_may_ask_for_all_its_calls_and_a_call_may_ask_for_nothing():
    world = cluster(slot_1=("a", {}), slot_2=("a", {}), slot_3=("b", GPU))
    world.define("f", resources=GPU)
    call = world.submit("f")
    assert world.core.state.slots[3].sent
    assert call.options.resources == GPU
    free = world.submit("f", resources={})
    assert free.slot is not None
    assert free.slot.id != 3


def test_what_nobody_offers_is_refused_and_the_error_says_what_is_offered():
    world = cluster(slot_1=("a", GPU), slot_2=("b", {"disk": 2.5}), slot_3=("b", {"disk": 2.5}))
    with pytest.raises(NoWorkerError, match=r"GPU=2, and no worker has that: .* GPU=1 or disk=2.5\. "):
        world.submit("f", resources={"GPU": 2})
    with pytest.raises(NoWorkerError, match=r"worker 2 does not have that: .* offer disk=2.5\. "):
        world.submit("f", resources=GPU, worker_id=2)
    assert world.where(world.submit("f", resources=GPU, worker_id=1)) is not None


def test_an_option_declares_what_is_here():
    world = make(2, host_resources={"GPU": 1})
    calls = [world.submit("f", resources="GPU=1") for _ in range(2)]
    assert [world.where(call) is not None for call in calls] == [True, False]
    world.answer_all()
    assert set(world.ended.values()) == {True}
    with pytest.raises(NoWorkerError, match="asks for GPU=2"):
        world.submit("f", resources="GPU=2")


def test_a_call_waits_for_a_worker_that_may_have_it_and_ends_when_it_has_not():
    world = World()
    world.offers = {1: ("a", {})}
    world.propose(world.record("f"))
    world.start(1)
    call = world.submit("f", resources=GPU)
    assert call.id not in world.ended
    world.run()
    assert "machines here offer nothing" in str(world.ended[call.id])


def test_calls_that_wait_end_when_the_machine_that_they_need_comes_back_without_it():
    world = cluster(slot_1=("a", GPU), slot_2=("b", {}), slot_3=("b", {}))
    first, waits = world.submit("f", resources=GPU), world.submit("f", resources=GPU)
    pinned = world.submit("f", resources=GPU, worker_id=1)
    world.run()
    world.offers = {}
    world.die(1)
    assert waits.id not in world.ended
    world.run()
    assert isinstance(world.ended[first.id], WorkerCrashedError)
    assert isinstance(world.ended[waits.id], NoWorkerError)
    assert isinstance(world.ended[pinned.id], NoWorkerError)


def test_priorities_hold_among_those_that_ask_for_the_same():
    world = cluster(slot_1=("a", GPU), slot_2=("b", {}), slot_3=("b", {}))
    first = world.submit("f", resources=GPU)
    low, high = world.submit("f", resources=GPU), world.submit("f", resources=GPU, priority=1)
    world.answer_all()
    assert begun(world) == ids([first, high, low])


def test_a_cancelled_call_uses_its_resources_until_its_work_has_ended():
    world = cluster(slot_1=("a", GPU), slot_2=("a", GPU), slot_3=("b", {}))
    running, waits = world.submit("f", resources=GPU), world.submit("f", resources=GPU)
    world.run()
    assert world.cancel(running)
    assert world.where(waits) is None
    world.run()
    assert world.where(waits) is not None
