"""The end of a worker, or of the pool: which calls fail, and which run again."""

from __future__ import annotations

import pytest

from tests.pool.core.harness import World, begun, ids, make
from wpc_magic.pool.errors import (
    NoWorkerError,
    PoolStoppedError,
    WorkerCrashedError,
)

# -- crashes and retries ----------------------------------------------------------------------------------


def test_a_crash_costs_the_call_that_ran_and_the_others_run_elsewhere_in_order():
    world = make(2)
    calls = [world.submit("quick") for _ in range(6)]
    queued = world.submit("f")
    world.workers[1].step()
    mine = [call for call in calls if world.where(call) == 1]
    world.die(1, -11, "was killed by SIGSEGV\n\nmore")
    with pytest.raises(WorkerCrashedError, match="ended with worker 1, which was killed by SIGSEGV") as error:
        raise world.ended[mine[0].id]
    assert (error.value.worker_id, error.value.exitcode) == (1, -11)
    world.answer_all(ran_s=1e-5)
    survivors = [call for call in [*calls, queued] if call is not mine[0]]
    assert all(world.ended[call.id] is True for call in survivors)
    order = begun(world)
    assert [number for number in order if number in ids(mine)] == ids(mine)
    assert world.sent[-1] == queued.id, "prefetched calls come before queued ones"


def test_all_coroutines_that_ran_on_a_worker_end_with_it():
    world = make(1)
    ran = [world.submit("wait") for _ in range(2)]
    world.run()
    waits = world.submit("wait")
    world.die(1)
    assert all(isinstance(world.ended[call.id], WorkerCrashedError) for call in ran)
    world.advance(0.2)
    world.answer_all()
    assert world.ended[waits.id] is True


def test_an_answer_that_was_written_before_the_death_is_not_lost():
    world = make(1)
    call = world.submit("f")
    world.run()
    world.workers[1].answer(call.seq)
    world.die(1)
    assert world.ended[call.id] is True


def test_the_answers_of_a_worker_that_is_being_replaced_still_count():
    world = make(1)
    call = world.submit("f")
    world.run()
    world.restart(1)
    world.workers[1].answer(call.seq)
    world.run()
    assert world.ended[call.id] is True


@pytest.mark.parametrize(
    ("retries", "deaths", "value"), [(0, 1, False), (1, 1, True), (1, 2, False), (2, 2, True)]
)
@pytest.mark.parametrize("of_the_function", [True, False])
def test_a_call_runs_again_as_often_as_its_retries_allow_and_no_more(retries, deaths, value, of_the_function):
    world = World(1, max_restarts_per_worker=9)
    world.define("f", **({"retries": retries} if of_the_function else {}))
    call = world.submit("f", **({} if of_the_function else {"retries": retries}))
    for _ in range(deaths):
        world.run()
        world.die(1)
        world.advance(6.0)
    world.answer_all()
    assert world.runs[call.id] == min(deaths, retries) + (1 if value else 1 if deaths > retries else 0)
    assert (world.ended[call.id] is True) == value
    if not value:
        assert isinstance(world.ended[call.id], WorkerCrashedError)


def test_retries_of_zero_for_a_call_override_those_of_its_function():
    world = make(1)
    world.define("f", retries=2)
    call = world.submit("f", retries=0)
    world.run()
    world.die(1)
    assert isinstance(world.ended[call.id], WorkerCrashedError)


def test_an_error_of_the_function_itself_is_never_retried():
    world = World(1)
    world.define("f", retries=3)
    call = world.submit("f")
    world.run()
    world.answer(call, ok=False)
    assert world.ended[call.id] is False
    assert world.runs[call.id] == 1


def test_a_call_that_is_retried_waits_longer_each_time():
    options = {"restart_base_delay_ms": 100, "restart_max_delay_ms": 300, "restart_jitter_ms": 0}
    world = make(4, max_restarts_per_worker=9, **options)
    call = world.submit("f", retries=3)
    for delay in (0.1, 0.2, 0.3):
        world.run()
        world.die(world.where(call))
        world.advance(delay - 0.001)
        assert world.where(call) is None
        world.advance(0.002)
        assert world.where(call) is not None
    assert world.names().count("call_retry_scheduled") == 3


def test_others_run_while_a_call_waits_for_a_retry():
    world = make(2, restart_base_delay_ms=1000)
    again = world.submit("f", retries=1)
    world.run()
    world.die(world.where(again))
    later = world.submit("f")
    world.run()
    world.answer(later)
    assert world.ended[later.id] is True
    assert again.id not in world.ended
    assert world.core.dispatcher.queued.count == 1
    world.advance(2.2)
    world.answer_all()
    assert world.ended[again.id] is True


def test_a_call_that_waits_for_a_retry_can_be_cancelled():
    world = make(2)
    call = world.submit("f", retries=1)
    world.run()
    world.die(world.where(call))
    assert world.cancel(call)
    assert world.core.dispatcher.queued.count == 0
    world.advance(6.0)
    world.answer_all()
    assert (world.runs[call.id], world.ended[call.id]) == (1, None)


def test_a_call_that_waits_for_a_retry_ends_with_the_pool():
    world = make(2)
    call = world.submit("f", retries=1)
    world.run()
    world.die(world.where(call))
    world.stop()
    assert isinstance(world.ended[call.id], PoolStoppedError)


def test_a_call_that_waits_for_a_retry_on_one_worker_ends_when_that_is_removed():
    world = make(2, restart_base_delay_ms=1000)
    call = world.submit("f", retries=1, worker_id=2)
    world.run()
    world.die(2)
    world.resize(1)
    assert isinstance(world.ended[call.id], NoWorkerError)


def test_a_call_that_kills_every_worker_does_not_use_up_their_restarts():
    world = make(2, max_restarts_per_worker=2)
    call = world.submit("f", retries=20)
    for _ in range(21):
        world.run()
        world.die(world.where(call))
        world.advance(6.0)
    world.run()
    assert isinstance(world.ended[call.id], WorkerCrashedError)
    assert world.states() == ["ready", "ready"]
    assert world.names().count("worker_restart_exhausted") == 0


def test_calls_requeued_from_a_retired_worker_fail_if_no_other_is_left():
    world = make(2, max_restarts_per_worker=0)
    calls = [world.submit("quick") for _ in range(4)]
    mine = [call for call in calls if world.where(call) == 2]
    world.workers[2].step()
    world.die(1)
    world.resize(1)
    world.die(2)
    assert isinstance(world.ended[mine[0].id], WorkerCrashedError)
    assert all(isinstance(world.ended[call.id], NoWorkerError) for call in mine[1:])
    assert world.core.dispatcher.queued.count == 0


def test_queued_calls_fail_when_the_last_worker_that_could_run_them_is_retired():
    world = make(2, max_restarts_per_worker=0)
    world.die(1)
    running, queued = world.submit("f"), world.submit("f")
    world.run()
    world.resize(1)  # worker 1 has failed, and worker 2 is retired
    assert isinstance(world.ended[queued.id], NoWorkerError)
    world.answer(running)
    assert world.ended[running.id] is True


def test_every_call_ends_when_the_pool_stops():
    world = make(2)
    calls = [world.submit(name) for name in ("f", "wait", "quick", "f", "f")]
    calls.append(world.submit("f", worker_id=1))
    world.run()
    world.stop()
    assert all(isinstance(world.ended[call.id], PoolStoppedError) for call in calls)
    world.run()
    assert world.all_stopped
    assert world.core.dispatcher.in_flight.count == world.core.dispatcher.queued.count == 0
