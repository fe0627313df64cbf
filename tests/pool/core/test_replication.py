"""Replication of the registry: a change is installed on all workers or on none."""

from __future__ import annotations

import pytest

from tests.pool.core.harness import World
from wpc_magic.pool.core.registry import Kind
from wpc_magic.pool.errors import InstallError, OptionError, RequirementMissingError

ALL = {1, 2, 3, 4}


def make(count=2, **options):
    world = World(count, **options)
    world.define("f")
    world.answer_all([world.submit("f")])  # so that the epoch of `f` is already active
    return world


def revision(world, name="f"):
    return world.core.state.registry.records[name].revision


def held(world):
    return [slot.installed_epoch for slot in world.core.state.slots.values()]


def install(world, number):
    """Let one worker install what it was sent, and the pool read its answer."""
    worker = world.workers[number]
    worker.step()
    world.read(worker)


def run_one(world, call):
    world.answer_all([call])
    return world.ended[call.id]


# -- all or nothing ---------------------------------------------------------------------------------------


def test_a_definition_takes_effect_in_one_step_when_the_last_free_worker_has_it():
    world = make(2)
    rollout = world.propose(world.record("f"))
    install(world, 1)
    assert not rollout.decided
    assert revision(world) == 1
    install(world, 2)
    assert rollout.committed
    assert revision(world) == 2
    assert held(world) == [world.core.state.registry.epoch] * 2


def test_calls_run_the_old_definition_until_the_new_one_is_in_force():
    world = make(2)
    world.propose(world.record("f"))
    install(world, 1)
    calls = [world.submit("f") for _ in range(2)]  # one is sent to the worker that already has the new one
    assert sorted(world.where(call) for call in calls) == [1, 2]
    world.run()
    assert [call.record.revision for call in calls] == [1, 1]
    assert world.rollout.committed
    world.answer_all()
    later = world.submit("f")
    assert run_one(world, later) is True
    assert later.record.revision == 2


def test_one_refusal_aborts_it_everywhere_and_the_old_one_stays():
    world = make(3)
    world.poison["f"] = {2}
    rollout = world.propose(world.record("f"))
    world.run()
    assert (rollout.committed, rollout.refused_by, rollout.reason) == (False, 2, "its reason")
    assert revision(world) == 1
    assert all(rollout.change.epoch not in worker.epochs for worker in world.workers.values())
    assert all(slot.installing == [] for slot in world.core.state.slots.values())
    calls = [world.submit("f") for _ in range(3)]
    world.answer_all()
    assert [call.record.revision for call in calls] == [1, 1, 1]


def test_the_answer_to_an_aborted_change_is_ignored():
    world = make(2)
    world.poison["f"] = {1}
    world.propose(world.record("f"))
    install(world, 1)
    assert world.rollout.refused_by == 1
    world.poison.clear()
    install(world, 2)
    assert held(world) == [world.core.state.registry.epoch] * 2
    world.define("f")
    assert revision(world) == 2


def test_definitions_of_all_kinds_switch_together():
    world = make(2)
    rollout = world.propose(world.record("K", Kind.CONSTANT), world.record("g", needs=("K",)))
    world.run()
    assert rollout.committed
    assert run_one(world, world.submit("g")) is True


def test_a_name_of_another_kind_is_refused_before_anything_is_sent():
    world = make(1)
    with pytest.raises(OptionError, match="'f' is a function already"):
        world.core.propose([world.record("f", Kind.CONSTANT)], (), world.now)
    assert not world.core.state.effects
    assert not world.slot(1).installing


def test_a_change_is_reported_once_with_its_details():
    world = make(2)
    world.names()
    world.propose(world.record("g"), removed=("f",))
    world.run()
    (event,) = world.events
    assert event.event_name == "definition_changed"
    assert (event.details["defined"], event.details["removed"]) == (["g"], ["f"])


def test_what_was_undefined_is_removed_everywhere():
    world = make(2)
    world.propose(removed=("f",))
    world.run()
    assert all("f" not in worker.epochs[max(worker.epochs)] for worker in world.workers.values())


def test_the_run_time_statistics_of_a_revision_are_removed_with_it():
    world = make(1)
    old = world.core.state.registry.records["f"].key
    late = world.submit("f")
    world.run()
    assert old in world.core.state.stats
    world.define("f")
    assert old not in world.core.state.stats
    world.answer(late)
    assert old not in world.core.state.stats


# -- without workers, with new ones -----------------------------------------------------------------------


def test_a_definition_without_workers_takes_effect_at_once_and_reaches_those_that_start():
    world = World()
    assert world.propose(world.record("f")).committed
    world.start(2)
    world.run()
    assert run_one(world, world.submit("f")) is True


def test_a_definition_made_while_workers_start_reaches_them_before_they_are_ready():
    world = World()
    world.start(2)
    world.spawn()
    assert world.propose(world.record("f")).committed
    world.run()
    assert world.states() == ["ready", "ready"]
    assert all("f" in worker.epochs[max(worker.epochs)] for worker in world.workers.values())


def test_definitions_survive_a_stop_and_a_start():
    world = make(2)
    world.stop()
    world.run()
    world.start(1)
    world.run()
    assert run_one(world, world.submit("f")) is True


def test_a_worker_that_becomes_ready_while_a_change_is_under_way_gets_it_as_soon_as_it_is_decided():
    world = make(1)
    world.resize(2)
    worker = world.spawn()
    rollout = world.propose(world.record("f"))
    install(world, 2)  # the epoch that was current when it started
    assert world.states() == ["ready", "ready"]
    assert 2 not in rollout.pending
    install(world, 1)
    assert rollout.committed
    assert [kind for kind, *_ in worker.inbox] == ["install"]
    world.run()
    assert held(world) == [world.core.state.registry.epoch] * 2


def test_a_degraded_worker_takes_part_in_a_rollout_and_never_lags_behind():
    world = make(2, unresponsive_after_ms=1500, control_timeout_ms=60_000)
    world.workers[1].hangs = True
    for _ in range(8):
        world.advance(1.0)
        world.run()
    assert world.states() == ["degraded", "ready"]
    rollout = world.propose(world.record("f"))
    world.run()
    assert not rollout.decided
    world.workers[1].hangs = False
    world.run()
    assert rollout.committed
    assert world.states() == ["ready", "ready"]


# -- busy workers -----------------------------------------------------------------------------------------


def test_a_busy_worker_is_not_waited_for_and_gets_no_new_calls_before_it_has_installed():
    world = make(2)
    busy = world.submit("f")
    world.run()
    number = busy.slot.id
    rollout = world.propose(world.record("f"))
    world.run()
    assert rollout.committed
    calls = [world.submit("f") for _ in range(2)]
    assert [world.where(call) for call in calls] == [3 - number, None]
    world.answer(busy)
    world.run()
    assert world.where(calls[1]) == number
    assert busy.record.revision == 1
    assert calls[1].record.revision == 2


def test_a_definition_with_only_busy_workers_takes_effect_at_once():
    world = make(2)
    busy = [world.submit("f") for _ in range(2)]
    world.run()
    assert world.propose(world.record("f")).committed
    queued = world.submit("f")
    world.answer_all()
    assert queued.record.revision == 2
    assert [world.ended[call.id] for call in [*busy, queued]] == [True] * 3


def test_a_worker_that_is_not_busy_any_more_is_behind_until_it_has_installed():
    world = make(1)
    busy = world.submit("f")
    world.run()
    assert world.propose(world.record("f")).committed
    behind = world.core.replication.is_catching_up
    assert not behind(), "its call may run forever"
    world.answer(busy)
    assert behind()
    install(world, 1)
    assert not behind()


def test_the_next_change_does_not_wait_for_a_worker_that_is_being_replaced():
    world = make(1)
    busy = world.submit("f")
    world.run()
    world.propose(world.record("f"))
    world.answer(busy)
    world.restart(1)
    assert not world.core.replication.is_catching_up()


def test_a_busy_worker_catches_up_with_many_changes_in_order():
    world = make(1)
    busy = world.submit("f")
    world.run()
    for _ in range(4):
        world.propose(world.record("f"))
    world.propose(world.record("g"))
    world.propose(removed=("g",))
    world.answer(busy)
    world.run()
    assert held(world) == [world.core.state.registry.epoch]
    assert run_one(world, world.submit("f")) is True


def test_a_busy_worker_that_refuses_in_time_aborts_the_change():
    world = make(2)
    busy = world.submit("f", worker_id=1)
    world.run()
    world.poison["f"] = {1}
    rollout = world.propose(world.record("f"))
    world.answer(busy)
    install(world, 1)
    assert rollout.refused_by == 1
    world.run()
    assert revision(world) == 1
    assert not world.workers[1].killed


def test_a_busy_worker_that_refuses_late_is_replaced():
    world = make(2)
    busy = world.submit("f", worker_id=1)
    world.run()
    world.poison["f"] = {1}
    rollout = world.propose(world.record("f"))
    world.run()
    assert rollout.committed
    world.answer(busy)
    world.names()
    install(world, 1)
    assert world.workers[1].killed
    assert world.names()[0] == "control_command_failed"
    world.poison.clear()
    world.run()
    assert held(world) == [world.core.state.registry.epoch] * 2
    assert world.slot(1).deaths == 0


def test_a_definition_that_other_workers_hold_does_not_break_by_one_that_cannot_install_it():
    world = make(2, max_restarts_per_worker=2)
    busy = world.submit("f", worker_id=1)
    world.run()
    world.poison["f"] = {1}
    world.propose(world.record("f"))
    world.run()
    world.answer(busy)
    world.run_for(20.0)
    assert world.states() == ["failed", "ready"]
    assert world.core.state.registry.records["f"].broken is None
    assert run_one(world, world.submit("f")) is True


def test_a_late_refusal_during_the_next_change_is_no_refusal_of_that_one():
    world = make(2)
    busy = world.submit("f", worker_id=1)
    world.run()
    world.poison["g"] = {1}
    world.propose(world.record("g"))
    world.run()
    assert world.rollout.committed
    world.poison["slow"] = set()
    rollout = world.propose(world.record("slow"))
    world.answer(busy)
    world.workers[1].step()  # refuses `g`
    world.workers[1].step()  # and so cannot build on it
    while world.workers[1].out:
        world.read(world.workers[1])
    assert not rollout.decided
    world.poison.clear()
    world.run()
    assert rollout.committed
    assert held(world) == [world.core.state.registry.epoch] * 2


def test_a_worker_that_lags_catches_up_when_the_next_change_is_aborted():
    world = make(2)
    busy = world.submit("f", worker_id=1)
    world.run()
    world.poison["g"] = {1}
    world.propose(world.record("g"))
    world.run()
    rollout = world.propose(world.record("h"))
    world.answer(busy)
    install(world, 1)
    world.abort()
    assert rollout.refused_by == 0
    world.poison.clear()
    world.run()
    assert held(world) == [world.core.state.registry.epoch] * 2
    assert world.core.is_settled()


# -- failures during a rollout ----------------------------------------------------------------------------


def test_a_worker_that_takes_too_long_aborts_the_change_and_is_replaced():
    world = make(2, control_timeout_ms=3000)
    world.workers[1].hangs = True
    rollout = world.propose(world.record("f"))
    world.run()
    world.advance(2.9)
    assert not rollout.decided
    world.advance(0.2)
    assert rollout.refused_by == 1
    with pytest.raises(InstallError, match="it took longer than control_timeout_ms=3000"):
        raise rollout.reason
    world.run()
    assert world.states() == ["ready", "ready"]
    assert revision(world) == 1
    assert held(world) == [world.core.state.registry.epoch] * 2


def test_a_busy_worker_that_takes_too_long_over_an_aborted_change_is_replaced():
    world = make(2, control_timeout_ms=3000, stop_timeout_ms=60_000)
    call = world.submit("f", worker_id=1)
    world.run()
    rollout = world.propose(world.record("f"))
    world.die(2)
    assert rollout.refused_by == 2
    world.advance(30.0)
    assert not world.workers[1].killed, "the call takes the time, not the installation"
    world.answer(call)
    world.workers[1].hangs = True
    behind = world.submit("f", worker_id=1)
    world.advance(6.1)
    assert world.workers[1].killed
    world.answer_all([behind])
    assert world.ended[behind.id] is True


def test_a_busy_worker_that_takes_too_long_over_what_is_in_force_is_replaced():
    world = make(1, control_timeout_ms=3000)
    call = world.submit("f")
    world.run()
    assert world.propose(world.record("f")).committed
    world.advance(30.0)
    world.answer(call)
    world.workers[1].hangs = True
    world.advance(6.1)
    assert world.workers[1].killed
    world.answer_all([world.submit("f")])


def test_the_timeout_of_a_decided_change_does_not_affect_the_next_one():
    world = make(1, control_timeout_ms=3000)
    world.define("f")
    world.advance(2.0)
    world.workers[1].hangs = True
    rollout = world.propose(world.record("f"))
    world.advance(1.5)
    assert not rollout.decided


def test_a_worker_that_dies_while_it_installs_refuses():
    world = make(2)
    rollout = world.propose(world.record("f"))
    world.die(1, -11, "was killed by SIGSEGV")
    assert rollout.refused_by == 1
    with pytest.raises(InstallError, match="the worker died while it installed it: it was killed by SIGSEGV"):
        raise rollout.reason
    world.advance(0.2)
    world.run()
    assert revision(world) == 1
    assert held(world) == [world.core.state.registry.epoch] * 2


def test_a_worker_that_has_installed_and_dies_then_refuses_nothing():
    world = make(2)
    rollout = world.propose(world.record("f"))
    install(world, 1)
    world.die(1)
    assert not rollout.decided
    install(world, 2)
    assert rollout.committed
    world.advance(0.2)
    world.run()
    assert held(world) == [world.core.state.registry.epoch] * 2


def test_a_process_holds_nothing_that_its_predecessor_had_installed():
    world = make(2)
    world.propose(world.record("f"))
    install(world, 1)
    world.die(1)
    world.advance(0.2)
    world.spawn()
    install(world, 2)
    assert world.rollout.committed
    assert world.slot(1).installed_epoch == 0
    world.run()
    assert held(world) == [world.core.state.registry.epoch] * 2


def test_a_worker_that_the_pool_stops_meanwhile_refuses_nothing():
    world = make(2)
    rollout = world.propose(world.record("f"))
    world.restart(1)
    world.run()
    assert rollout.committed
    assert held(world) == [world.core.state.registry.epoch] * 2


def test_the_crash_of_a_busy_worker_does_not_decide():
    world = make(2)
    world.submit("f", worker_id=1)
    world.run()
    rollout = world.propose(world.record("f"))
    world.die(1)
    assert not rollout.decided
    world.run()
    assert rollout.committed


def test_a_change_is_aborted_when_its_caller_no_longer_waits():
    world = make(2)
    rollout = world.propose(world.record("f"))
    install(world, 1)
    world.abort()
    with pytest.raises(InstallError, match="it was interrupted"):
        raise rollout.reason
    world.run()
    assert revision(world) == 1
    assert all(rollout.change.epoch not in worker.epochs for worker in world.workers.values())
    world.define("f")


def test_a_worker_that_goes_on_installing_what_was_interrupted_is_replaced():
    world = make(2, interrupt_grace_ms=1000)
    world.workers[1].hangs = True
    world.propose(world.record("f"))
    install(world, 2)
    first, second = world.workers[1], world.workers[2]
    world.abort()
    call = world.submit("f", worker_id=1)
    world.advance(0.9)
    assert not first.killed
    world.advance(0.2)
    world.run()
    assert first.killed
    assert not second.killed
    world.answer(call)
    assert world.ended[call.id] is True
    assert world.states() == ["ready", "ready"]


def test_an_abort_after_the_decision_changes_nothing():
    world = make(2)
    rollout = world.propose(world.record("f"))
    world.run()
    world.abort()
    assert rollout.committed
    assert revision(world) == 2


def test_a_change_that_is_under_way_when_the_pool_stops_is_decided():
    world = make(2)
    rollout = world.propose(world.record("f"))
    world.stop()
    assert rollout.decided
    world.run()
    assert world.all_stopped


# -- definitions that no worker could try -----------------------------------------------------------------


def test_a_definition_that_no_worker_can_install_at_the_start_fails_only_its_own_calls():
    world = World()
    world.propose(world.record("f"))
    world.propose(world.record("bad"), world.record("needy", needs=("bad",)))
    world.poison["bad"] = ALL
    world.start(2)
    world.run()
    assert world.states() == ["ready", "ready"]
    assert run_one(world, world.submit("f")) is True
    with pytest.raises(RequirementMissingError, match="no worker could install bad: ImportError: no such"):
        world.submit("bad")
    with pytest.raises(RequirementMissingError, match="needy needs 'bad', which no worker could install"):
        world.submit("needy")
    assert world.core.installed_count(world.core.state.registry.records["bad"]) == 0
    assert world.core.installed_count(world.core.state.registry.records["f"]) == 2


def test_several_definitions_that_cannot_be_installed_are_marked_broken_one_after_the_other():
    world = World()
    world.propose(*(world.record(name) for name in ("a", "b", "c", "f")))
    world.poison |= {"a": ALL, "b": ALL, "c": ALL}
    world.start(3)
    world.run()
    assert world.states() == ["ready"] * 3
    assert run_one(world, world.submit("f")) is True
    assert [r.name for r in world.core.state.registry.of_kind(Kind.FUNCTION) if r.broken] == ["a", "b", "c"]


def test_a_broken_definition_is_fixed_by_defining_it_again():
    world = World()
    world.propose(world.record("bad"))
    world.poison["bad"] = ALL
    world.start(2)
    world.run()
    world.poison.clear()
    world.define("bad")
    assert run_one(world, world.submit("bad")) is True
    assert world.core.installed_count(world.core.state.registry.records["bad"]) == 2


def test_queued_calls_of_a_definition_that_turns_out_broken_fail_with_the_reason():
    world = World()
    world.propose(world.record("bad"))
    world.poison["bad"] = ALL
    world.start(1)
    call = world.submit("bad")
    world.run()
    assert isinstance(world.ended[call.id], RequirementMissingError)


def test_a_start_that_meets_a_broken_definition_while_a_change_is_under_way_ends_well():
    world = World(1)
    world.poison["bad"] = {2}
    world.define("f")
    world.resize(2)
    world.spawn()
    world.propose(world.record("bad"))
    install(world, 1)
    assert world.rollout.committed
    rollout = world.propose(world.record("f"))
    world.workers[2].step()
    world.read(world.workers[2])
    world.run()
    assert rollout.committed
    world.run_for(20.0)
    assert world.states() == ["ready", "failed"], "the first has it installed, so the second is at fault"
    assert run_one(world, world.submit("f")) is True


def test_a_worker_that_refuses_at_its_start_and_names_no_definition_uses_up_its_restarts():
    world = make(1, max_restarts_per_worker=2)
    world.poison[""] = {1}
    world.restart(1)
    world.names()
    world.run_for(5.0)
    assert world.states() == ["failed"]
    assert world.names(1).count("control_command_failed") == 3
    world.poison.clear()
    world.restart(1)
    world.run()
    assert run_one(world, world.submit("f")) is True


# -- poison definitions -----------------------------------------------------------------------------------


def die_at(world, name, exitcode=1):
    """Start the process of slot 1, and let it die while it installs a definition."""
    world.spawn()
    worker = world.workers[1]
    world.installing[worker.incarnation] = name
    world.die(1, exitcode, f"ended with {exitcode}")
    world.advance(6.0)


def accepted_untried(name, **options):
    """A world whose worker starts with a definition that was committed while no worker could try it."""
    world = World(1, max_restarts_per_worker=9, **options)
    world.stop()
    world.run()
    world.define(name)
    world.start(1)
    return world


def test_a_definition_that_killed_two_starting_workers_is_marked_broken():
    world = World(1, max_restarts_per_worker=9)
    world.define("good")
    world.stop()
    world.run()
    world.define("bad")
    world.start(1)
    die_at(world, "bad")
    assert world.core.state.registry.records["bad"].broken is None, "one may be an external kill"
    die_at(world, "bad")
    world.run()
    assert "workers die while they install it" in world.core.state.registry.records["bad"].broken
    assert world.states() == ["ready"]
    with pytest.raises(RequirementMissingError, match="no worker could install bad"):
        world.submit("bad")
    call = world.submit("good")
    world.answer_all()
    assert world.ended[call.id] is True
    world.define("bad")  # again, without the fault
    world.submit("bad")


def test_a_definition_during_which_workers_were_killed_is_marked_broken_after_the_third():
    world = accepted_untried("bad")
    for _ in range(2):
        die_at(world, "bad", -9)
        assert world.core.state.registry.records["bad"].broken is None, "both may be external kills"
    die_at(world, "bad", -9)
    assert "the last ended with -9" in world.core.state.registry.records["bad"].broken


def test_deaths_at_a_definition_that_was_installed_in_between_are_not_added_up():
    world = accepted_untried("fine")
    for _ in range(3):
        die_at(world, "fine")
        world.run()
        assert world.states() == ["ready"]
        world.die(1)
        world.advance(6.0)
    assert world.core.state.registry.records["fine"].broken is None


def test_a_start_timeout_at_a_definition_does_not_count_as_an_external_kill():
    world = accepted_untried("endless", start_timeout_ms=1000)
    for _ in range(2):
        world.spawn()
        world.installing[world.workers[1].incarnation] = "endless"
        world.advance(1.5)
        world.die(1)
        world.advance(6.0)
    broken = world.core.state.registry.records["endless"].broken
    assert broken == (
        "it took longer than start_timeout_ms=1000 to install; "
        "to try it again with more time: configure(start_timeout_ms=6000) "
        "or %wpc_start --start-timeout-ms 6000"
    )


def test_a_definition_that_some_worker_holds_is_never_at_fault():
    world = World(2, max_restarts_per_worker=9)
    world.define("fine")
    world.die(1)
    world.advance(6.0)
    for _ in range(3):
        die_at(world, "fine")
    world.run()
    assert world.core.state.registry.records["fine"].broken is None
