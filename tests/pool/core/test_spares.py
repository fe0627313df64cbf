"""Spare workers wait with everything installed, and take the place of one that has died."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.pool.core.harness import FakeWorker, World
from wpc_magic.pool.core.room import Room
from wpc_magic.pool.errors import WorkerCrashedError


def world_of(count: int = 2, spares: int = 1, **options: object) -> World:
    world = World(spare_workers=spares, **options)
    world.propose(world.record("f"))
    world.start(count)
    world.run()
    return world


def spares_of(world: World) -> list[FakeWorker]:
    return [world.processes[number] for number in world.core.state.spares if number in world.processes]


def reasons(world: World, name: str) -> list[str]:
    return [event.details["reason"] for event in world.events if event.event_name == name]


def test_spares_are_started_once_all_workers_are_ready_and_count_as_no_workers():
    world = World(spare_workers=2)
    world.start(2)
    world.spawn()
    world.spawn()
    assert not world.spawns
    world.run()
    assert len(world.workers) == 2
    assert len(spares_of(world)) == 2
    snapshot = world.core.snapshot("wpc", world.now, {})
    assert (len(snapshot.workers), snapshot.spare_workers) == (2, 2)


def test_there_are_no_more_spares_than_workers_and_one_is_started_after_the_other():
    world = World(spare_workers=10**9)
    world.start(2)
    world.run()
    assert len(spares_of(world)) == 2
    world.resize(1)
    world.advance(5)
    world.run()
    assert len(spares_of(world)) == 1
    names = [event.event_name for event in world.events if event.worker_id == 0]
    assert names[:4] == ["worker_spawned", "spare_worker_ready"] * 2


def test_no_call_goes_to_a_spare():
    world = world_of(1)
    calls = [world.submit("f") for _ in range(3)]
    world.run()
    assert [world.where(call) for call in calls] == [1, None, None]


def test_a_spare_takes_the_place_of_a_worker_that_dies_without_a_start():
    world = world_of()
    (spare,) = spares_of(world)
    call = world.submit("f", worker_id=2)
    world.run()
    world.die(2)
    assert isinstance(world.ended[call.id], WorkerCrashedError)
    assert not world.spawns, "the next spare is started after that one is ready"
    assert world.workers[2] is spare
    again = world.submit("f", worker_id=2)
    spare.step()
    assert spare.number == 2
    world.read(spare)
    assert world.where(again) == 2
    world.run()
    assert spare.running == {again.seq: again}
    assert len(spares_of(world)) == 1
    assert world.slot(2).restarts == 1


def test_a_spare_that_still_starts_takes_the_place_and_is_ready_there():
    world = World(spare_workers=1)
    world.propose(world.record("f"))
    world.start(1)
    world.spawn()
    worker = world.workers[1]
    worker.step()
    world.read(worker)
    spare = world.spawn()
    assert spare is not None
    call = world.submit("f")
    worker.step()
    world.die(1)
    assert isinstance(world.ended[call.id], WorkerCrashedError)
    assert not world.spawns
    assert world.slot(1).state.value == "restarting"
    world.run()
    assert world.workers[1] is spare
    assert spare.number == 1
    assert world.slot(1).state.value == "ready"


def test_a_spare_takes_the_place_of_an_idle_worker_at_once_but_not_of_one_after_the_other():
    world = world_of(1)
    world.die(1)
    world.run()
    assert len(world.workers) == 1
    world.die(1)
    world.run()
    assert not world.workers
    assert world.slot(1).restart_at - world.now == pytest.approx(0.2)
    world.advance(0.3)
    world.run()
    assert len(world.workers) == 1


def test_a_spare_installs_what_is_defined_later():
    world = world_of(1)
    world.propose(world.record("g"))
    world.run()
    (spare,) = spares_of(world)
    world.die(1)
    call = world.submit("g")
    world.run()
    assert spare.running == {call.seq: call}


def test_a_definition_that_comes_while_a_spare_takes_a_place_is_there_before_the_next_call():
    world = world_of(1)
    (spare,) = spares_of(world)
    world.die(1)
    world.propose(world.record("f"))
    call = world.submit("f")
    world.run()
    assert spare.running == {call.seq: call}  # the harness checks its epoch


def test_a_worker_that_is_ended_by_the_pool_is_replaced_by_a_spare_too():
    world = world_of(1, call_timeout_ms=1000, interrupt_grace_ms=10)
    (spare,) = spares_of(world)
    world.workers[1].interruptible = False
    world.submit("f")
    world.run()
    world.advance(1.1)
    world.run()
    assert world.workers[1] is spare


@pytest.mark.parametrize("drain", [False, True])
def test_a_restart_takes_no_spare_since_it_may_be_older_than_what_the_restart_is_for(drain):
    world = world_of(1)
    (spare,) = spares_of(world)
    world.restart(1, drain)
    world.run()
    assert world.workers[1] is not spare
    assert spare.incarnation not in world.processes
    (other,) = spares_of(world)
    assert other.incarnation > spare.incarnation


def test_a_spare_that_dies_is_replaced_after_a_delay_and_ever_later_if_none_starts():
    world = world_of(1, max_restarts_per_worker=1, restart_base_delay_ms=100, restart_stable_after_ms=5000)
    world.die(spares_of(world)[0])
    assert not world.spawns
    world.advance(0.1)
    world.spawn(why="no memory")
    assert not world.spawns
    world.advance(4.9)
    assert not world.spawns
    world.advance(0.2)
    world.run()
    assert len(spares_of(world)) == 1
    assert len(world.workers) == 1
    assert world.slot(1).deaths == 0


def test_where_memory_is_short_there_is_no_spare_and_an_event_says_so_once():
    world = World(spare_workers=1)
    world.room = Room(100 << 20, 80 << 20)
    world.start(1)
    world.run()
    world.advance(10)
    assert not world.core.state.spares
    assert reasons(world, "spare_worker_waits") == [
        "memory is short: 100 MiB are left, and the largest worker has 80 MiB"
    ]
    world.room = Room(1 << 30, 80 << 20)
    world.advance(5)
    world.run()
    assert len(spares_of(world)) == 1


def test_a_spare_gives_its_memory_back_when_that_becomes_short():
    world = world_of(1)
    (spare,) = spares_of(world)
    world.room = Room(50 << 20, 80 << 20)
    world.advance(5)
    assert spare.killed
    world.run()
    assert not world.core.state.spares
    assert "memory is short" in reasons(world, "worker_exited")[-1]


def without_the_option(world: World) -> None:
    world.configure(spare_workers=0)


def without_restarts(world: World) -> None:
    world.configure(restart_on_failure=False)


@pytest.mark.parametrize("change", [without_the_option, without_restarts])
def test_spares_end_when_they_are_not_wanted_any_more(change: Callable[[World], None]):
    world = world_of(1)
    change(world)
    world.run()
    assert not world.core.state.spares
    assert len(world.processes) == 1


def test_there_is_no_spare_where_the_workers_are_on_other_machines():
    world = World(spare_workers=1)
    world.room = None
    world.start(1)
    world.run()
    world.advance(10)
    assert len(world.processes) == 1


def test_a_stop_ends_spares_also_those_that_are_being_started():
    world = World(2, spare_workers=2)
    world.die(spares_of(world)[0])
    world.advance(0.2)
    assert len(world.spawns) == 1
    assert len(spares_of(world)) == 1
    world.stop()
    world.run()
    assert world.all_stopped
    assert not world.processes
