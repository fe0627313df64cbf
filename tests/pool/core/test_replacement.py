"""Processes are replaced by new ones; idle workers are scaled to zero, and calls wake them."""

from __future__ import annotations

import pytest

from tests.pool.core.harness import World, make
from wpc_magic.pool.errors import MemoryLimitError, NoWorkerError, WorkerCrashedError

# -- replacement ------------------------------------------------------------------------------------------


def test_calls_go_to_the_old_one_until_the_new_one_is_ready():
    world = make()
    old = world.slot(1)
    world.restart(1, drain=True)
    before = world.submit("f")
    assert before.slot is old
    world.run()
    after = world.submit("f")
    assert after.slot is world.slot(1) is not old
    assert old.incarnation in world.core.state.leaving
    world.answer_all()
    assert world.ended == {1: True, before.id: True, after.id: True}
    assert not world.core.state.leaving
    assert world.names() == [
        "worker_spawned",
        "worker_ready",
        "worker_recycled",
        "worker_exited",
    ]


def test_queued_calls_that_are_pinned_to_that_worker_run_in_the_new_one():
    world = make()
    held = world.submit("f", worker_id=1)
    queued = world.submit("f", worker_id=1)
    world.run()
    world.restart(1, drain=True)
    world.run()
    assert held.slot is not queued.slot is world.slot(1)


def test_a_pinned_call_that_the_old_one_did_not_run_runs_in_the_new_one():
    world = make()
    calls = [world.submit("quick", worker_id=1) for _ in range(2)]
    world.workers[1].step()
    old = world.workers[1]
    world.restart(1, drain=True)
    old.hangs = True
    world.run()
    world.die(old)
    world.run()
    assert isinstance(world.ended[calls[0].id], WorkerCrashedError)
    assert list(world.workers[1].running.values()) == [calls[1]]
    assert world.slot(1).deaths == 0


def test_a_pinned_call_is_not_retried_if_the_new_one_has_failed_for_good():
    world = World(2, max_restarts_per_worker=0)
    world.define("f", retries=1)
    call = world.submit("f", worker_id=1)
    world.run()
    old = world.workers[1]
    world.restart(1, drain=True)
    world.run()
    world.die(1)
    assert world.states() == ["failed", "ready"]
    world.die(old)
    assert isinstance(world.ended[call.id], NoWorkerError)


def test_several_are_replaced_one_after_another():
    world = make(5)
    for number in range(1, 6):
        world.restart(number, drain=True)
    seen = []
    while world.spawns:
        seen.append([spawn.slot for spawn in world.spawns])
        assert world.states() == ["ready"] * 5
        assert not world.core.is_settled()
        worker = world.spawn()
        worker.step()
        world.read(worker)
    world.run()
    assert seen == [[1], [2], [3], [4], [5]]
    assert world.core.is_settled()
    assert [slot.incarnation for slot in world.core.state.slots.values()] == [6, 7, 8, 9, 10]


def test_a_new_one_replaces_an_old_one_that_dies_at_once():
    world = make()
    world.restart(1, drain=True)
    new = world.core.state.incoming[1]
    world.die(1)
    assert world.slot(1) is new
    assert world.states() == ["restarting"]
    world.run()
    assert world.states() == ["ready"]
    assert (world.slot(1).deaths, world.slot(1).restarts) == (1, 1)


def test_a_new_one_that_does_not_start_is_retried_and_then_abandoned():
    world = make(max_restarts_per_worker=2)
    old = world.slot(1)
    world.restart(1, drain=True)
    for delay_s in (0.1, 0.2):
        world.spawn(why="no memory")
        assert not world.core.is_settled()
        world.advance(delay_s)
    world.spawn(why="no memory")
    assert world.core.is_settled()
    assert world.slot(1) is old
    assert (old.state.value, old.deaths) == ("ready", 0)
    (failure,) = world.core.supervisor.replacements.take_failures()
    assert "worker 1 goes on" in failure
    assert world.core.supervisor.replacements.take_failures() == []


def test_a_restart_starts_over_if_a_replacement_is_starting_already():
    world = make()
    world.restart(1, drain=True)
    first = world.core.state.incoming[1]
    world.spawn()
    world.restart(1, drain=True)
    assert world.core.state.incoming[1] is not first
    world.run()
    assert first.incarnation not in world.processes
    assert world.slot(1).restarts == 1


def test_a_rollout_does_not_wait_for_a_process_that_was_replaced():
    world = make()
    world.restart(1, drain=True)
    world.spawn()
    old, new = world.workers[1], world.processes[world.core.state.incoming[1].incarnation]
    old.hangs = True
    rollout = world.propose(world.record("g"))
    assert rollout.pending == {old.incarnation}
    new.step()
    world.read(new)
    assert rollout.committed
    world.run()
    call = world.submit("g")
    assert call.slot is new.slot
    world.answer_all([call])


def test_the_answer_of_the_old_one_to_a_change_is_not_taken_for_that_of_the_new_one():
    world = make(2)
    old = world.workers[1]
    world.restart(1, drain=True)
    world.spawn()
    new = world.processes[world.core.state.incoming[1].incarnation]
    world.workers[2].hangs = True
    rollout = world.propose(world.record("g"))
    old.step()
    world.read(old)
    new.step()
    world.read(new)
    assert world.slot(1) is new.slot
    world.workers[2].hangs = False
    world.run()
    assert rollout.committed
    assert [call.slot.installed_epoch for call in (world.submit("g"), world.submit("g"))] == [
        rollout.change.epoch
    ] * 2


# -- recycling --------------------------------------------------------------------------------------------


def test_the_last_call_that_a_process_may_run_starts_its_replacement():
    world = World(1, max_calls_per_worker=3)
    world.define("f")
    for _ in range(2):
        world.answer_all([world.submit("f")])
    assert not world.core.state.incoming
    call = world.submit("f")
    assert list(world.core.state.incoming) == [1]
    world.answer_all([call])
    assert world.slot(1).next_seq == 1
    (event,) = [event for event in world.events if event.event_name == "worker_recycled"]
    assert event.details["reason"] == "it was sent 3 calls (max_calls_per_worker=3)"


def test_a_restarted_process_is_not_recycled_for_the_calls_of_the_one_before_it():
    world = World(1, max_calls_per_worker=2)
    world.define("f")
    world.answer_all([world.submit("f")])
    world.submit("f")
    world.spawn(why="no memory")
    world.advance(0.1)
    world.spawn(why="no memory")  # the next attempt is in 0.2 s
    world.die(1)
    world.advance(0.1)
    world.run()
    assert world.states() == ["ready"]
    world.run_for(20.0)
    assert "worker_recycled" not in world.names()


def test_a_requested_restart_is_completed_by_a_restart_after_a_death():
    world = make(2)
    world.restart(1, drain=True)
    world.restart(2, drain=True)  # it waits for the first
    world.die(2)
    world.advance(0.1)
    while len(world.spawns) > 1:  # the replacement of the first has not started yet
        world.spawn(world.spawns[1])
    world.run()
    assert world.core.is_settled()
    assert world.names(2).count("worker_spawned") == 1


def test_a_limit_that_is_set_later_holds_from_the_next_check_on():
    world = make()
    for _ in range(3):
        world.answer_all([world.submit("f")])
    state = world.core.state
    state.options = state.options.replace({"max_calls_per_worker": 2})
    world.run_for(10.0)
    assert world.names().count("worker_recycled") == 1


def test_a_process_that_has_run_nothing_is_not_recycled_for_its_memory():
    world = make(2, max_memory_per_worker_mb=100)
    world.die(2)
    world.run_for(1.0)
    assert (world.slot(1).next_seq > 1, world.slot(2).next_seq) == (True, 1)
    for worker in world.processes.values():
        world.memory[worker.incarnation] = 101
    world.run_for(10.0)
    assert [event.worker_id for event in world.events if event.event_name == "worker_recycled"] == [1]


def test_a_failed_recycling_is_not_retried_at_once():
    world = World(1, max_calls_per_worker=2, max_restarts_per_worker=0, restart_stable_after_ms=60_000)
    world.define("f")
    world.answer_all([world.submit("f")])
    call = world.submit("f")
    world.spawn(why="no memory")
    world.answer_all([call])
    world.run_for(50.0)
    assert world.names().count("worker_recycle_failed") == 1
    world.run_for(20.0)
    assert world.names().count("worker_recycled") == 1


def test_calls_that_run_end_with_a_worker_that_has_too_much_and_those_behind_run_elsewhere():
    world = make(hard_memory_per_worker_mb=100)
    first, second = world.submit("quick", retries=1), world.submit("quick")
    world.workers[1].step()
    world.memory[world.workers[1].incarnation] = 101
    world.advance(1.0)
    with pytest.raises(MemoryLimitError, match=r"quick #\d+ ended with worker 1: it had 101 MiB in use"):
        raise world.ended[first.id]
    world.answer_all([second])
    assert world.ended[second.id] is True
    assert world.slot(1).deaths == 0


# -- scaling to zero --------------------------------------------------------------------------------------


def test_idle_workers_are_stopped_from_the_highest_number_down_to_min_workers():
    world = make(4, idle_timeout_ms=20_000, min_workers=2)
    world.run_for(19.0)
    assert world.states() == ["ready"] * 4
    world.run_for(30.0)
    assert world.states() == ["ready", "ready", "resting", "resting"]
    assert world.core.is_settled()


def test_a_busy_worker_is_not_stopped():
    world = make(2, idle_timeout_ms=5_000)
    world.submit("f", worker_id=2)
    world.run_for(30.0)
    assert world.states() == ["resting", "ready"]


def test_as_many_wake_as_calls_wait():
    world = make(4, idle_timeout_ms=5_000)
    world.run_for(30.0)
    calls = [world.submit("f") for _ in range(3)]
    assert world.states() == ["ready", "starting", "starting", "resting"]
    world.run()
    assert [world.where(call) for call in calls] == [1, 2, 3]


def test_as_many_wake_as_min_workers_requires():
    world = make(4, idle_timeout_ms=5_000, max_restarts_per_worker=0)
    world.run_for(30.0)
    assert world.states() == ["ready", "resting", "resting", "resting"]
    state = world.core.state
    state.options = state.options.replace({"min_workers": 2})
    world.run_for(30.0)
    assert world.states() == ["ready", "ready", "resting", "resting"]
    world.die(1)
    world.run_for(30.0)
    assert world.states() == ["failed", "ready", "ready", "resting"]


def test_another_one_wakes_if_the_first_does_not_start():
    world = make(3, idle_timeout_ms=5_000, min_workers=0, restart_base_delay_ms=5_000)
    world.run_for(30.0)
    call = world.submit("f")
    world.spawn(why="no memory")
    assert world.states() == ["restarting", "starting", "resting"]
    world.answer_all([call])
    assert world.ended[call.id] is True


def test_a_resting_worker_can_be_removed_and_gets_what_was_defined_meanwhile():
    world = make(3, idle_timeout_ms=5_000)
    world.run_for(30.0)
    world.resize(2)
    assert world.states() == ["ready", "resting"]
    world.define("g")
    call = world.submit("g", worker_id=2)
    world.answer_all([call])
    assert world.ended[call.id] is True
