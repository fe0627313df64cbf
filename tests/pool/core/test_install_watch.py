"""How long an installation may take: it depends on who waits, and on whether it makes progress."""

from __future__ import annotations

import pytest

from tests.pool.core.harness import World
from wpc_magic.pool.core.registry import Kind
from wpc_magic.pool.errors import InstallError, RequirementMissingError

LIMIT_MS = 1000


def make(count=1, **options):
    options = {"start_timeout_ms": LIMIT_MS, "control_timeout_ms": LIMIT_MS, **options}
    world = World(**options)
    world.propose(world.record("f"))
    if count:
        world.start(count)
        world.run()
        world.answer_all([world.submit("f")])
        world.names()
    return world


def slow(world, worker, name="big"):
    """Let a worker install a definition, and neither end nor pause."""
    worker.hangs = True
    world.installing[worker.incarnation] = name
    world.works.add(worker.incarnation)
    return worker


def starting(**options):
    """A world with one worker that takes long to load `big`, which was defined before the start."""
    world = make(0, **options)
    world.propose(world.record("big"))
    world.start(1)
    return world, slow(world, world.spawn())


def set_aside(**options):
    """A world in which `big` has been set aside, because workers took too long twice."""
    world, worker = starting(**options)
    for _ in range(2):
        world.works.clear()
        world.advance(2.0)
        assert worker.killed
        world.die(worker)
        world.advance(6.0)
        worker = slow(world, world.spawn())
    worker.hangs = False
    world.installing.clear()
    world.run()
    assert world.states() == ["ready"]
    return world


# -- at the start -----------------------------------------------------------------------------------------


def test_a_start_that_makes_progress_may_take_longer_than_its_option_while_nothing_waits():
    world, worker = starting()
    world.advance(5.0)
    assert not worker.killed
    worker.hangs = False
    world.run()
    assert world.states() == ["ready"]
    world.answer_all([world.submit("big")])


def test_a_slow_start_is_reported_once_with_the_definition_and_the_option():
    world, _ = starting()
    world.advance(5.0)
    (event,) = [each for each in world.events if each.event_name == "worker_installs_slowly"]
    assert event.details == {"definition": "big", "option": "start_timeout_ms", "limit_ms": LIMIT_MS}
    assert event.severity == "warn"


def test_a_start_that_goes_from_one_definition_to_the_next_makes_progress():
    world, worker = starting()
    world.works.clear()
    for n in range(20):
        world.installing[worker.incarnation] = f"part_{n}"
        world.advance(0.25)
    assert not worker.killed


def test_a_start_that_makes_no_progress_ends_with_its_option():
    world, worker = starting()
    world.works.clear()
    world.advance(0.9)
    assert not worker.killed
    world.advance(0.2)
    assert worker.killed
    assert world.slot(1).start_error == (
        "was not ready in 1000 ms: it took longer than start_timeout_ms=1000 to install big"
    )


def test_a_start_for_which_a_call_waits_ends_with_its_option():
    world, worker = starting()
    world.advance(2.0)
    call = world.submit("f")
    world.advance(0.6)
    assert worker.killed
    world.installing.clear()
    world.answer_all([call])
    world.run_for(1.0)
    world.answer_all([call])
    assert world.ended[call.id] is True


def test_a_start_is_not_what_a_call_waits_for_that_another_worker_can_run():
    world = make(1)
    world.submit("f")
    world.run()
    world.resize(2)
    worker = slow(world, world.spawn())
    waits = world.submit("f")
    world.advance(5.0)
    assert world.where(waits) is None
    assert not worker.killed
    world.submit("f", worker_id=2)  # this one waits for it
    world.advance(0.6)
    assert worker.killed


def test_a_replacement_that_starts_slowly_keeps_nobody_waiting():
    world = make(1)
    world.restart(1, drain=True)
    worker = slow(world, world.spawn())
    for _ in range(5):
        world.submit("f")
    world.advance(5.0)
    assert not worker.killed


def test_a_start_without_an_end_ends_after_ten_times_its_option():
    world, worker = starting()
    world.advance(9.9)
    assert not worker.killed
    world.advance(0.2)
    assert worker.killed


def test_a_longer_time_applies_to_a_start_that_is_under_way():
    world, worker = starting()
    world.submit("f")
    world.configure(start_timeout_ms=60_000)
    world.advance(50.0)
    assert not worker.killed


# -- what has taken too long ------------------------------------------------------------------------------


def test_a_definition_that_took_too_long_names_the_option_and_the_time():
    world = set_aside()
    words = (
        "no worker could install big: it took longer than start_timeout_ms=1000 to install; "
        r"to try it again with more time: configure\(start_timeout_ms=6000\)"
    )
    with pytest.raises(RequirementMissingError, match=words):
        world.submit("big")


@pytest.mark.parametrize("option", ["start_timeout_ms", "control_timeout_ms"])
def test_a_definition_that_took_too_long_is_tried_again_when_an_option_changes(option):
    world = set_aside()
    world.configure(**{option: 60_000})
    world.run()
    world.answer_all([world.submit("big")])
    assert world.core.installed_count(world.core.state.registry.records["big"]) == 1


def test_another_option_tries_nothing_again():
    world = set_aside()
    world.configure(stop_timeout_ms=60_000)
    assert world.core.state.registry.records["big"].broken is not None


def test_a_definition_that_is_broken_otherwise_is_not_tried_again():
    world = make(0)
    world.poison["bad"] = {1}
    world.propose(world.record("bad"))
    world.start(1)
    world.run()
    world.configure(start_timeout_ms=60_000)
    assert world.core.state.registry.records["bad"].broken is not None


@pytest.mark.parametrize("ends", ["committed", "refused"])
def test_what_took_too_long_is_tried_again_after_the_change_that_is_under_way(ends):
    world = set_aside()
    rollout = world.propose(world.record("g"))
    world.configure(start_timeout_ms=60_000)
    if ends == "refused":
        world.poison["g"] = {1}
    world.run()
    assert rollout.committed == (ends == "committed")
    world.answer_all([world.submit("big")])


def test_what_took_too_long_is_tried_again_by_workers_that_start_later():
    world = set_aside()
    world.stop()
    world.run()
    world.configure(start_timeout_ms=60_000)
    world.start(1)
    world.run()
    world.answer_all([world.submit("big")])


def test_the_functions_of_one_cell_are_set_aside_together():
    world = make(0)
    from wpc_magic.pool.core.registry import CellText

    cell = CellText("cell_1", "cell_1", (), 10, None)
    world.propose(world.record("big", cell=cell), world.record("other", cell=cell))
    world.start(1)
    for _ in range(2):
        worker = slow(world, world.spawn())
        world.works.clear()
        world.advance(2.0)
        world.die(worker)
        world.advance(6.0)
    broken = [name for name, record in world.core.state.registry.records.items() if record.broken]
    assert broken == ["big", "other"]


# -- in a worker that serves ------------------------------------------------------------------------------


def behind():
    """A world whose only worker takes long over a definition that is in force."""
    world = make(1)
    busy = world.submit("f")
    world.run()
    assert world.propose(world.record("big")).committed
    world.answer(busy)
    return world, slow(world, world.workers[1])


def test_a_worker_that_catches_up_may_take_longer_than_its_option_while_nothing_waits():
    world, worker = behind()
    world.advance(5.0)
    assert not worker.killed
    worker.hangs = False
    world.run()
    world.answer_all([world.submit("big")])


def test_a_worker_that_catches_up_too_slowly_for_a_call_is_replaced_and_says_why():
    world, worker = behind()
    world.submit("f")
    world.advance(2.1)
    assert worker.killed
    assert "to install big" in world.slot(1).replace_reason


def test_a_worker_that_catches_up_has_the_time_of_a_start_too():
    world, worker = behind()
    world.configure(start_timeout_ms=60_000)
    world.submit("f")
    world.advance(9.0)
    assert not worker.killed


def test_a_worker_that_catches_up_too_slowly_for_the_next_change_is_replaced():
    world, worker = behind()
    world.advance(3.0)
    assert world.core.replication.is_catching_up(), "so the next change waits"
    world.advance(0.6)
    assert worker.killed
    assert not world.core.replication.is_catching_up()


def test_a_definition_that_takes_too_long_in_a_worker_that_serves_is_set_aside_as_well():
    world, worker = behind()
    world.submit("f")
    for _ in range(2):
        world.advance(2.1)
        assert worker.killed
        world.die(worker)
        world.advance(6.0)
        worker = slow(world, world.spawn())
    worker.hangs = False
    world.installing.clear()
    world.answer_all()
    assert "took longer than" in world.core.state.registry.records["big"].broken


def test_who_defines_something_waits_no_longer_than_the_option_and_is_told_of_it():
    world = make(1)
    worker = slow(world, world.workers[1])
    rollout = world.propose(world.record("K", Kind.CONSTANT))
    world.advance(1.1)
    assert worker.killed
    more = r"with more time: configure\(control_timeout_ms=6000\)"
    words = f"it took longer than control_timeout_ms=1000 to install big; {more}"
    with pytest.raises(InstallError, match=words):
        raise rollout.reason


def test_a_worker_that_goes_on_with_what_another_has_refused_gets_no_more_time():
    world = make(2)
    world.poison["g"] = {1}
    worker = slow(world, world.workers[2], "g")
    world.propose(world.record("g"))
    world.workers[1].step()
    world.read(world.workers[1])
    assert world.rollout.refused_by == 1
    world.advance(1.1)
    assert worker.killed
