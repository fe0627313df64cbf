"""The lifecycle of the workers: starting, monitoring, restarting and stopping them."""

from __future__ import annotations

import pytest

from tests.pool.core.harness import World, make
from wpc_magic.pool.core import effects
from wpc_magic.pool.errors import (
    CallTimeoutError,
    NotRunningError,
    NoWorkerError,
    OptionError,
    PoolStateError,
    PoolStoppedError,
    WorkerCrashedError,
    WorkerReplacedError,
)


def crash(world, number=1):
    """Let a worker die, and restart if it may."""
    world.die(number)
    world.run_for(world.core.state.options.restart_max_delay_ms / 1000)


# -- starting ---------------------------------------------------------------------------------------------


def test_all_workers_are_started_at_once():
    world = World()
    world.start(3)
    assert [spawn.slot for spawn in world.spawns] == [1, 2, 3]
    assert world.core.state.phase == "starting"
    assert not world.core.is_settled()
    world.run()
    assert world.core.state.phase == "running"
    assert world.core.is_settled()


def test_a_start_that_waits_for_a_place_is_no_death_and_not_awaited_beside_a_ready_worker():
    world = World()
    world.start(2)
    for spawn in world.spawns:
        world.core.supervisor.start_waits(spawn.slot, spawn.incarnation, "no room")
    world.core.supervisor.start_waits(1, 99, "another process")
    world.apply()
    assert world.names() == [
        "health(starting)",
        "health(starting)",
        "worker_start_waits",
        "worker_start_waits",
    ]
    assert not world.core.is_settled(), "no worker is ready"
    worker = world.spawn()
    worker.step()
    world.read(worker)
    world.advance(0.5)
    assert world.core.state.phase == "running"
    assert world.core.is_settled()
    assert world.states() == ["ready", "starting"]
    assert world.slot(2).deaths == 0
    world.run()
    assert world.states() == ["ready", "ready"]


def test_the_events_of_a_start_come_in_this_order():
    world = World()
    world.start(1)
    world.run()
    assert world.names() == ["health(starting)", "worker_spawned", "worker_ready", "health(ready)"]


def test_a_pool_that_runs_cannot_be_started():
    world = World(1)
    with pytest.raises(PoolStateError, match="the workers are running already"):
        world.start(1)
    world.stop()
    with pytest.raises(PoolStateError, match="the workers are stopping already"):
        world.start(1)


def test_a_worker_is_ready_only_when_it_holds_the_definitions():
    world = World()
    world.propose(world.record("f"))
    world.start(1)
    worker = world.spawn()
    assert world.states() == ["starting"]
    worker.step()
    world.read(worker)
    assert world.states() == ["ready"]


def test_a_worker_that_does_not_become_ready_in_time_is_ended_and_that_counts():
    world = World(start_timeout_ms=3000)
    world.start(1)
    world.spawn().hangs = True
    world.advance(3.1)
    assert world.workers[1].killed
    assert "worker_error" in world.names()
    world.run()
    assert world.slot(1).deaths == 1
    assert world.states() == ["restarting"]
    assert world.core.state.phase == "running", "the start is over, successful or not"
    world.run_for(1.0)
    assert world.states() == ["ready"]


def test_a_worker_that_is_ready_in_time_is_left_alone_later():
    world = World(1, start_timeout_ms=3000)
    world.run_for(10.0)
    assert world.states() == ["ready"]
    assert world.slot(1).incarnation == 1


def test_a_process_that_cannot_be_started_is_tried_again_until_the_budget_is_spent():
    world = World(max_restarts_per_worker=2)
    world.start(1)
    for _ in range(3):
        world.spawn(why="no memory")
        world.advance(1.0)
    assert world.spawns == []
    assert world.states() == ["failed"]
    assert world.names() == [
        "health(starting)",
        "health(restarting)",
        "worker_exited",
        "worker_restart_scheduled",
        "worker_exited",
        "worker_restart_failed",
        "worker_restart_scheduled",
        "worker_exited",
        "worker_restart_failed",
        "worker_restart_exhausted",
        "health(failed)",
    ]
    assert world.core.is_settled()


# -- crashes ----------------------------------------------------------------------------------------------


def test_the_events_of_a_crash_come_in_the_order_of_the_original():
    world = make(1)
    world.die(1, -11, "was killed by SIGSEGV")
    world.run_for(0.2)
    assert world.names() == [
        "health(restarting)",
        "worker_exited",
        "worker_restart_scheduled",
        "worker_spawned",
        "worker_ready",
        "health(ready)",
        "worker_restart_completed",
    ]


def test_the_events_of_a_crash_say_how_it_died_and_when_it_comes_back():
    world = make(1)
    world.die(1, -11, "was killed by SIGSEGV")
    world.run_for(0.2)
    told = {event.event_name: event for event in world.events}
    assert told["worker_exited"].details == {"exitcode": -11, "reason": "was killed by SIGSEGV"}
    assert told["worker_exited"].severity == "error"
    assert told["worker_restart_scheduled"].details == {"attempt": 1, "delay_ms": 100}
    assert told["worker_restart_completed"].details == {"attempt": 1}


def test_event_numbers_only_rise():
    world = make(2)
    crash(world)
    numbers = [event.event_id for event in world.core.state.events.latest()]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == len(numbers)


def test_the_delay_grows_with_each_death_in_a_row():
    world = make(1)
    for delay_s in (0.1, 0.2, 0.4):
        world.die(1)
        assert world.slot(1).restart_at - world.now == pytest.approx(delay_s)
        world.advance(delay_s - 0.01)
        assert not world.spawns
        world.advance(0.02)
        world.run()
        assert world.states() == ["ready"]


def test_the_random_source_lengthens_the_delay_by_at_most_the_jitter():
    world = make(1, restart_jitter_ms=100)
    world.random = 0.5
    world.die(1)
    assert world.slot(1).restart_at - world.now == pytest.approx(0.15)


def test_consecutive_deaths_use_up_the_budget_and_a_restart_brings_the_worker_back():
    world = make(1)
    for _ in range(3):
        crash(world)
    world.names()
    world.die(1)
    assert world.names() == [
        "health(restarting)",
        "worker_exited",
        "worker_restart_exhausted",
        "health(failed)",
    ]
    world.run_for(60.0)
    assert world.states() == ["failed"]
    world.names()
    world.restart(1)
    world.run()
    assert world.names() == [
        "health(restarting)",
        "worker_spawned",
        "worker_ready",
        "health(ready)",
        "worker_restart_completed",
    ]
    world.answer_all([world.submit("f")])
    assert world.slot(1).deaths == 0


def test_the_details_of_a_crash_are_in_the_errors_of_the_calls_that_had_begun():
    world = make(1)
    begun, behind = world.submit("quick"), world.submit("quick")
    world.workers[1].step()
    told = []

    def about(call):
        told.append(call)
        return {"signal": "SIGSEGV", "output": f"from {call.name}"}

    world.core.supervisor.died(1, 1, -11, "was killed by SIGSEGV", world.now, about)
    del world.processes[1]
    world.apply()
    error = world.ended[begun.id]
    assert (error.worker_id, error.exitcode, error.signal) == (1, -11, "SIGSEGV")
    assert str(error).endswith("was killed by SIGSEGV\n\nThe last that it printed:\nfrom quick")
    assert told == [begun]
    assert behind.id not in world.ended


def run_and_die(world, number=1):
    """Let a worker die while it runs a call."""
    call = world.submit("f", worker_id=number)
    world.run()
    world.die(number, -11, "was killed by SIGSEGV")
    assert isinstance(world.ended[call.id], WorkerCrashedError)


def test_a_death_while_a_call_ran_uses_up_no_restart():
    world = make(1, max_restarts_per_worker=0)
    for _ in range(20):
        run_and_die(world)
        world.run_for(6.0)
    assert world.states() == ["ready"]
    assert "worker_restart_exhausted" not in world.names()


def test_of_sixty_calls_ten_kill_their_worker_and_fifty_have_their_value():
    world = make(2)
    calls = [world.submit("f") for _ in range(60)]
    deadly = set(calls[5::6])
    while len(world.ended) < 60 + 1:  # and the call of `make`
        world.run()
        for worker in list(world.workers.values()):
            if worker.sync_call and worker.sync_call[1] in deadly:
                world.die(worker, -11, "was killed by SIGSEGV")
            elif worker.sync_call:
                world.answer(worker.sync_call[1])
        world.advance(0.1)
    ends = [world.ended[call.id] for call in calls]
    assert [isinstance(end, WorkerCrashedError) for end in ends] == [call in deadly for call in calls]
    assert ends.count(True) == 50
    world.run_for(6.0)
    assert world.states() == ["ready", "ready"]


def test_the_first_process_after_a_crash_comes_at_once_and_the_next_wait_until_a_call_ends_well():
    world = make(1, restart_base_delay_ms=100)
    delays = []

    def die_and_come_back():
        world.names()
        run_and_die(world)
        (event,) = [each for each in world.events if each.event_name == "worker_restart_scheduled"]
        delays.append((event.details["attempt"], event.details["delay_ms"]))
        world.run_for(6.0)

    for _ in range(3):
        die_and_come_back()
    world.answer_all([world.submit("f")])
    assert world.core.health()[0].restart_attempt == 0
    for _ in range(2):
        die_and_come_back()
    assert delays == [(1, 0), (2, 100), (3, 200), (1, 0), (2, 100)]


def test_a_call_that_fails_by_an_error_of_its_own_did_not_end_well():
    world = make(1)
    run_and_die(world)
    world.run()
    call = world.submit("f")
    world.run()
    world.answer(call, ok=False)
    run_and_die(world)
    assert world.slot(1).restart_at > world.now


def test_a_worker_that_dies_idle_between_calls_that_end_well_stays_in_service():
    world = make(1, max_restarts_per_worker=1)
    for _ in range(5):
        crash(world)
        world.answer_all([world.submit("f")])
    assert world.states() == ["ready"]


def test_a_worker_that_cannot_start_after_a_crash_uses_up_its_restarts():
    world = make(1, max_restarts_per_worker=1)
    run_and_die(world)
    for _ in range(2):
        world.spawn(why="no memory")
        world.advance(6.0)
    assert world.states() == ["failed"]


def test_a_crash_while_restarts_are_switched_off_takes_the_slot_out_of_service():
    world = make(2, restart_on_failure=False)
    run_and_die(world)
    assert world.states() == ["failed", "ready"]


def test_what_is_refused_or_ended_because_workers_have_failed_says_what_starts_them_again():
    world = make(2, restart_on_failure=False)
    running = world.submit("f", worker_id=2)
    queued = [world.submit("f"), world.submit("f", worker_id=2)]
    world.die(1)
    world.run()
    world.die(2)
    assert isinstance(world.ended[running.id], WorkerCrashedError)
    for call, words in zip(
        queued, ["was queued when the last", "was for worker 2, which is failed"], strict=True
    ):
        with pytest.raises(NoWorkerError, match=f"{words}.*%wpc_restart"):
            raise world.ended[call.id]
    with pytest.raises(NoWorkerError, match=r"restart_workers\(\) starts them again, as %wpc_restart does"):
        world.submit("f")
    with pytest.raises(NoWorkerError, match=r"restart_worker\(1\) starts it again, as %wpc_restart 1 does"):
        world.submit("f", worker_id=1)


def test_the_exit_of_a_worker_names_the_call_that_it_ran_its_function_and_its_arguments():
    world = make(1)
    world.arguments["f"] = "(3, 'a')"
    world.names()
    run_and_die(world)
    (event,) = [each for each in world.events if each.event_name == "worker_exited"]
    assert event.details == {
        "exitcode": -11,
        "reason": "was killed by SIGSEGV",
        "call": "f #2",
        "function": "f",
        "arguments": "(3, 'a')",
    }
    assert event.correlation_id == "call-2"
    assert world.ended[2].arguments == "(3, 'a')"
    assert world.ended[2].__notes__ == ["it was called with (3, 'a')"]


def test_the_exit_of_a_worker_names_the_other_coroutines_that_it_ran():
    world = make(1)
    for _ in range(3):
        world.submit("wait")
    world.run()
    world.die(1)
    (event,) = [each for each in world.events if each.event_name == "worker_exited"]
    assert (event.details["call"], event.details["other_calls"]) == ("wait #2", ["wait #3", "wait #4"])


def test_old_deaths_are_forgotten_after_a_stable_time():
    world = make(1, restart_stable_after_ms=5000)
    for _ in range(10):
        world.die(1)
        assert world.slot(1).deaths == 1
        world.run_for(0.2)
        world.run_for(5.0)
    assert world.states() == ["ready"]


def test_a_death_before_the_stable_time_is_not_forgotten():
    world = make(1, restart_stable_after_ms=5000)
    world.die(1)
    world.run_for(4.0)
    world.die(1)
    assert world.slot(1).deaths == 2


def test_nothing_is_restarted_if_that_is_switched_off():
    world = make(2, restart_on_failure=False)
    world.die(1)
    world.run_for(10.0)
    assert world.states() == ["failed", "ready"]


def test_the_death_of_a_worker_that_restarts_is_reported_as_a_failed_restart():
    world = make(1)
    world.die(1)
    world.advance(0.2)
    world.spawn()
    world.names()
    world.die(1)
    assert world.names() == ["worker_exited", "worker_restart_failed", "worker_restart_scheduled"]
    assert world.slot(1).deaths == 2


def test_messages_about_an_earlier_process_change_nothing():
    world = make(1)
    incarnation = world.slot(1).incarnation
    crash(world)
    world.names()
    supervisor = world.core.supervisor
    supervisor.died(1, incarnation, -9, "was killed", world.now)
    supervisor.spawn_failed(1, incarnation, "no memory", world.now)
    assert not supervisor.spawned(1, incarnation, 7, world.now)
    assert not supervisor.spawned(1, incarnation + 1, 7, world.now), "it has been started already"
    assert not supervisor.spawned(99, 1, 7, world.now)
    assert world.core.slot(1, incarnation) is None
    assert world.core.slot(1, incarnation + 1) is world.slot(1)
    world.apply()
    assert world.names() == []


# -- restarting on request --------------------------------------------------------------------------------


def test_a_restart_ends_the_call_that_runs_and_does_not_count_as_a_death():
    world = make(1)
    calls = [world.submit("quick") for _ in range(3)]
    world.workers[1].step()
    incarnation = world.restart(1)
    assert world.submit("quick").slot is None, "a worker that is being replaced takes no calls"
    world.answer_all(ran_s=1e-5)
    with pytest.raises(WorkerReplacedError, match="ended with worker 1: it was asked to restart"):
        raise world.ended[calls[0].id]
    assert all(world.ended[call.id] is True for call in calls[1:])
    assert (world.slot(1).incarnation, world.slot(1).deaths, world.slot(1).restarts) == (
        incarnation + 1,
        0,
        1,
    )


def test_a_restart_with_drain_loses_no_call():
    world = make(2)
    calls = [world.submit("quick") for _ in range(6)]
    world.restart(1, drain=True)
    world.restart(2, drain=True)
    later = world.submit("quick")
    assert not world.core.is_settled()
    world.answer_all(ran_s=1e-5)
    assert all(world.ended[call.id] is True for call in [*calls, later])
    assert [slot.incarnation for slot in world.core.state.slots.values()] == [3, 4]
    assert world.core.is_settled()


def test_a_worker_that_drains_and_does_not_exit_is_killed():
    world = make(1, stop_timeout_ms=1000)
    call = world.submit("f")
    world.run()
    old = world.workers[1]
    world.restart(1, drain=True)
    world.run()
    world.answer(call)
    old.hangs = True
    world.advance(1.1)
    assert old.killed
    world.run()
    assert list(world.processes.values()) == [world.workers[1]]
    assert world.slot(1).incarnation == 2


def test_a_restart_without_drain_overrules_one_with():
    world = make(1)
    call = world.submit("f")
    world.run()
    world.restart(1, drain=True)
    world.restart(1)
    world.run()
    assert isinstance(world.ended[call.id], WorkerReplacedError)
    assert world.states() == ["ready"]


def test_a_worker_that_waits_for_its_restart_is_started_at_once():
    world = make(1)
    world.die(1)
    world.restart(1)
    assert [spawn.slot for spawn in world.spawns] == [1]
    world.run_for(1.0)
    assert world.slot(1).incarnation == 2, "the timer of the delay starts no other"


def test_the_delay_of_an_earlier_death_does_not_shorten_that_of_the_next():
    world = make(1)
    world.die(1)
    world.restart(1)
    world.run()
    world.advance(0.05)
    world.die(1)
    world.advance(0.09)
    assert not world.spawns
    world.advance(0.02)
    assert world.spawns


@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize("spawned", [False, True])
def test_a_worker_that_starts_can_be_restarted_and_is_of_use_afterwards(spawned, drain):
    world = World(max_restarts_per_worker=0)
    world.propose(world.record("f"))
    world.start(1)
    if spawned:
        world.spawn()
    incarnation = world.restart(1, drain)
    world.run()
    assert world.slot(1).incarnation == incarnation + 1
    assert world.states() == ["ready"]
    assert world.core.is_settled()
    world.answer_all([world.submit("f")])
    assert world.slot(1).deaths == 0


def test_a_worker_that_is_being_replaced_does_not_become_ready():
    world = World()
    world.start(1)
    worker = world.spawn()
    worker.step()
    world.restart(1)
    world.names()
    world.read(worker)
    assert world.states() == ["starting"]
    assert world.names() == []


def test_a_worker_that_does_not_exist_cannot_be_restarted():
    world = make(2)
    with pytest.raises(OptionError, match="there is no worker 3; there are 1, 2"):
        world.restart(3)
    world.stop()
    with pytest.raises(NotRunningError, match="the workers are stopping"):
        world.restart(1)


# -- resizing ---------------------------------------------------------------------------------------------


def test_new_slots_are_filled_and_take_calls():
    world = make(1)
    world.resize(3)
    world.run()
    calls = [world.submit("f") for _ in range(3)]
    assert sorted(world.where(call) for call in calls) == [1, 2, 3]


def test_the_highest_slots_are_removed_when_their_last_call_has_ended():
    world = make(3)
    calls = [world.submit("f") for _ in range(3)]
    world.run()
    world.resize(1)
    assert [state.worker_id for state in world.core.health()] == [1]
    assert not world.core.is_settled()
    more = world.submit("f")
    assert world.where(more) is None
    world.answer_all()
    assert all(world.ended[call.id] is True for call in [*calls, more])
    assert list(world.core.state.slots) == [1]
    assert world.core.is_settled()


def test_a_retired_slot_is_not_restarted_when_its_worker_dies():
    world = make(2)
    world.submit("f", worker_id=2)
    world.run()
    world.resize(1)
    world.die(2)
    world.run_for(10.0)
    assert list(world.core.state.slots) == [1]


def test_slots_whose_worker_is_starting_are_removed_too():
    world = make(1)
    world.resize(3)
    world.spawn()
    world.resize(1)
    world.run()
    assert list(world.core.state.slots) == [1]
    assert list(world.workers) == [1]


def test_the_number_of_a_slot_that_waited_for_its_restart_can_be_used_again():
    world = make(2)
    world.die(2)
    world.resize(1)
    world.resize(2)
    world.run_for(10.0)
    assert sorted(world.workers) == [1, 2]
    assert world.states() == ["ready", "ready"]


def test_a_retired_slot_keeps_its_number_to_itself():
    world = make(2)
    call = world.submit("f", worker_id=2)
    world.run()
    world.resize(1)
    world.resize(2)
    world.run()
    assert sorted(world.core.state.slots) == [1, 2, 3]
    world.answer(call)
    world.run()
    assert sorted(world.core.state.slots) == [1, 3]


def test_a_stopped_pool_cannot_be_resized():
    with pytest.raises(NotRunningError, match="the workers are stopped"):
        World().resize(2)


# -- heartbeats -------------------------------------------------------------------------------------------


def test_every_worker_is_pinged():
    world = make(2, heartbeat_interval_ms=500)
    world.run()
    world.advance(2.0)
    for worker in world.workers.values():
        assert [type(order) for order in worker.control_inbox] == [effects.SendPing]


def test_workers_are_pinged_more_often_while_any_of_them_runs_a_call():
    world = make(2, heartbeat_interval_ms=500)
    world.submit("f")
    world.run()
    world.run_for(4.0)
    world.apply()
    for worker in world.workers.values():
        worker.control_inbox.clear()
    world.advance(0.5)
    for worker in world.workers.values():
        assert [type(order) for order in worker.control_inbox] == [effects.SendPing]


def test_a_silent_worker_is_degraded_gets_no_calls_and_is_ready_again_when_it_answers():
    world = make(2, unresponsive_after_ms=1500)
    world.workers[1].hangs = True
    world.run_for(8.0)
    assert world.names() == ["worker_unresponsive", "health(degraded)"]
    calls = [world.submit("f") for _ in range(2)]
    assert [world.where(call) for call in calls] == [2, None]
    world.workers[1].hangs = False
    world.run()
    assert world.names() == ["health(ready)"]
    assert [world.where(call) for call in calls] == [2, 1]


def test_a_silent_worker_that_runs_nothing_is_replaced_when_a_call_waits_for_it():
    world = make(1, unresponsive_after_ms=1500)
    world.workers[1].hangs = True
    world.run_for(8.0)
    assert world.states() == ["degraded"], "no call waits"
    call = world.submit("f")
    world.run_for(2.0)
    world.answer_all()
    assert world.ended[call.id] is True
    assert world.runs[call.id] == 1
    assert world.slot().deaths == 0


def test_a_silent_worker_that_runs_a_call_is_left_to_it():
    world = make(1, unresponsive_after_ms=1500)
    world.submit("f")
    world.run()
    worker = world.workers[1]
    worker.hangs = True
    behind = world.submit("f")
    world.run_for(60.0)
    assert world.workers[1] is worker
    assert not worker.killed
    assert behind.id not in world.ended


def test_a_worker_that_runs_a_long_call_and_answers_pings_stays_ready():
    world = make(1)
    world.submit("f")
    world.run_for(60.0)
    assert world.states() == ["ready"]
    assert world.names() == []


def test_a_degraded_worker_that_dies_comes_back():
    world = make(1, unresponsive_after_ms=1500)
    world.workers[1].hangs = True
    world.run_for(4.0)
    crash(world)
    assert world.states() == ["ready"]


def test_heartbeats_are_not_doubled_by_a_stop_and_a_start():
    world = make(1)
    world.stop()
    world.run()
    world.start(1)
    world.run()
    world.advance(4.0)
    assert len(world.workers[1].control_inbox) == 1


# -- stopping ---------------------------------------------------------------------------------------------


def test_a_stop_first_requests_a_shutdown_and_is_over_when_the_last_process_has_exited():
    world = make(2)
    world.stop()
    assert not any(worker.killed for worker in world.workers.values())
    world.workers[1].step_control()
    world.die(1, 0, "left")
    assert not world.all_stopped
    world.run()
    assert world.all_stopped
    assert world.core.state.phase == "stopped"


def test_a_stop_is_reported_once_for_each_worker():
    world = make(2)
    world.stop()
    world.run()
    assert world.names(1) == ["health(stopped)", "worker_exited"]
    assert {event.severity for event in world.core.state.events.latest()[-2:]} == {"info"}


def test_workers_that_do_not_exit_are_killed_before_the_timeout_expires():
    world = make(2, stop_timeout_ms=2000)
    for worker in world.workers.values():
        worker.hangs = True
    world.stop()
    world.advance(1.0)
    assert not any(worker.killed for worker in world.workers.values())
    world.advance(0.5)
    assert all(worker.killed for worker in world.workers.values())


def test_stopping_twice_or_when_stopped_does_nothing():
    world = make(1)
    world.stop()
    world.stop()
    world.run()
    world.stop()
    assert world.names().count("worker_exited") == 1


def test_a_pool_that_was_stopped_starts_anew():
    world = make(3)
    world.stop()
    world.run()
    world.start(1)
    world.run()
    world.answer_all([world.submit("f")])
    assert world.states() == ["ready"]


def _starting(world):
    world.resize(4)
    world.spawn()


def _restarting(world):
    world.die(1)


def _draining(world):
    world.submit("f", worker_id=1)
    world.run()
    world.restart(1, drain=True)


def _shrinking(world):
    for _ in range(3):
        world.submit("f")
    world.run()
    world.resize(1)


def _defining(world):
    world.propose(world.record("f"))


def _revoking(world):
    for _ in range(9):
        world.submit("quick")
    world.workers[1].step()
    world.cancel(world.submit("quick"))


def _timing_out(world):
    world.submit("f", timeout_ms=10)
    world.run()
    world.advance(0.1)


def _degraded(world):
    world.workers[1].hangs = True
    world.run_for(10.0)


def _all_of_it(world):
    for way in (_defining, _revoking, _restarting, _starting, _shrinking):
        way(world)


@pytest.mark.parametrize(
    "under_way",
    [
        _starting,
        _restarting,
        _draining,
        _shrinking,
        _defining,
        _revoking,
        _timing_out,
        _degraded,
        _all_of_it,
    ],
)
def test_a_stop_ends_everything_whatever_is_under_way(under_way):
    world = make(3)
    under_way(world)
    world.stop()
    assert sorted(world.ended) == sorted(world.calls)
    world.advance(3.0)
    world.run()
    assert world.all_stopped
    assert not world.workers
    assert world.core.state.timers.next_due is None
    assert world.rollout is None or world.rollout.decided
    world.start(2)
    world.run()
    world.answer_all([world.submit("f")])


def test_a_worker_that_starts_after_the_stop_is_killed_at_once():
    world = World()
    world.start(2)
    world.stop()
    assert not world.all_stopped
    for _ in range(2):
        world.spawn()
    assert all(worker.killed for worker in world.workers.values())
    world.run()
    assert world.all_stopped


def test_a_process_that_cannot_be_started_does_not_hold_up_the_stop():
    world = World()
    world.start(1)
    world.stop()
    world.spawn(why="no memory")
    assert world.all_stopped


def test_a_stop_fails_the_calls_that_ran_and_those_that_waited():
    world = make(1)
    running, queued = world.submit("f"), world.submit("f")
    world.run()
    world.stop()
    with pytest.raises(PoolStoppedError, match="had not ended on worker 1 when the pool was stopped"):
        raise world.ended[running.id]
    with pytest.raises(PoolStoppedError, match="was queued when the pool was stopped"):
        raise world.ended[queued.id]


def test_an_answer_after_the_stop_is_dropped():
    world = make(1)
    call = world.submit("f")
    world.run()
    world.stop()
    world.workers[1].answer(call.seq)
    world.run()
    assert isinstance(world.ended[call.id], PoolStoppedError)


def test_no_call_is_sent_to_the_room_that_the_last_answer_of_a_dead_worker_made():
    world = make()
    first, second = world.submit(), world.submit()
    world.run()
    worker = world.worker_of(first)
    worker.answer(first.seq, True, 1.0)  # written, and not read when it dies
    assert world.where(second) is None
    world.die(worker.slot.id)
    assert world.ended[first.id] is True
    assert world.where(second) is None
    crash_delay_s = world.core.state.options.restart_max_delay_ms / 1000
    world.run_for(crash_delay_s)
    assert world.worker_of(second).running


# -- what the system cannot end ---------------------------------------------------------------------------


def test_a_stop_goes_on_in_its_time_without_a_process_that_does_not_exit_and_says_which():
    world = make(2, stop_timeout_ms=2000)
    stuck = world.workers[1]
    stuck.hangs, stuck.killable = True, False
    world.stop()
    world.run_for(1.9)
    assert not world.all_stopped
    world.run_for(0.5)
    assert world.all_stopped
    assert world.left == [stuck.pid]
    left = [event.details for event in world.events if event.event_name == "worker_left_behind"]
    assert left == [{"pid": stuck.pid}]
    world.start(2)
    world.run()
    world.answer_all([world.submit("f"), world.submit("f")])


def test_a_stop_leaves_no_process_behind_while_others_still_exit():
    world = make(5, stop_timeout_ms=1000)
    for worker in world.workers.values():
        worker.hangs, worker.killable = True, False
    world.stop()
    while world.processes:
        world.run_for(0.2)
        world.die(next(iter(world.processes.values())))
    assert world.all_stopped
    assert world.left == []


def test_a_slot_comes_back_whose_process_was_killed_and_does_not_exit():
    world = make(1, interrupt_grace_ms=100)
    stuck = world.workers[1]
    call = world.submit("f", timeout_ms=100)
    world.run()
    stuck.interruptible, stuck.killable = False, False
    stuck.hangs = True
    world.run_for(20.0)
    assert isinstance(world.ended[call.id], CallTimeoutError)
    assert world.left == [stuck.pid]
    world.answer_all([world.submit("f")])
