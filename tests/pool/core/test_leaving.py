"""A machine that is about to go: its workers finish their calls, and others take their slots."""

from __future__ import annotations

from tests.pool.core.harness import make


def test_a_worker_that_leaves_finishes_its_calls_and_gets_no_more():
    world = make(2)
    running = world.submit("f")
    world.run()
    old = world.worker_of(running)
    number = old.slot.id
    world.leave(old)
    later = world.submit("f")
    pinned = world.submit("f", worker_id=number)
    assert world.where(later) not in (None, number)
    assert world.where(pinned) is None
    assert sorted(world.states()) == ["ready", "restarting"]
    world.answer(running)
    world.answer_all()
    assert set(world.ended.values()) == {True}
    assert old.incarnation not in world.processes
    assert world.where(pinned) is None
    assert world.slot(number).restarts == 1
    assert "worker_leaves" in world.names(number)


def test_one_that_is_idle_or_starts_leaves_at_once():
    world = make(1)
    old = world.workers[1]
    world.leave(old)
    starting = world.spawn()
    world.leave(starting)
    world.leave(starting)
    world.run()
    assert not {old.incarnation, starting.incarnation} & world.processes.keys()
    assert world.states() == ["ready"]
    assert world.slot().deaths == 0


def test_a_replacement_that_starts_where_the_machine_goes_is_started_once_more():
    world = make(1)
    world.restart(1, drain=True)
    new = world.spawn()
    assert new is not None
    world.leave(new)
    world.run()
    assert new.incarnation not in world.processes
    assert world.states() == ["ready"]
    assert len(world.processes) == 1


def test_a_slot_that_leaves_with_the_machine_that_a_replacement_of_it_is_on_starts_anew():
    world = make(1)
    old = world.workers[1]
    world.restart(1, drain=True)
    new = world.spawn()
    assert new is not None
    world.leave(old)
    world.run()
    assert not {old.incarnation, new.incarnation} & world.processes.keys()
    assert world.states() == ["ready"]


def test_what_was_retired_already_is_left_alone():
    world = make(2)
    running = world.submit("f", worker_id=2)
    world.run()
    world.resize(1)
    world.leave(2)
    assert not world.spawns
    world.answer(running)
    world.run()
    assert list(world.core.state.slots) == [1]
