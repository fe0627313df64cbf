"""Which worker runs which call, and when; which calls are queued, revoked, or refused."""

from __future__ import annotations

import pytest

from tests.pool.core.harness import World, begun, ids, make
from wpc_magic.pool.core import effects
from wpc_magic.pool.core.prefetch import ASYNC_DEPTH
from wpc_magic.pool.core.registry import Kind
from wpc_magic.pool.errors import (
    FunctionNotDefinedError,
    NotRunningError,
    NoWorkerError,
    OptionError,
    RequirementMissingError,
    SaturatedError,
    WorkerCrashedError,
)

CHECK_S = 0.004  # a little more than the time after which a worker counts as stalled


# -- the queue --------------------------------------------------------------------------------------------


def test_calls_are_sent_in_the_order_in_which_they_were_made():
    world = make(3)
    world.sent.clear()
    calls = [world.submit("f") for _ in range(20)]
    world.answer_all()
    assert world.sent == ids(calls)
    assert set(world.ended.values()) == {True}


def test_a_quick_call_does_not_overtake_a_slow_one_in_the_queue():
    world = make(1)
    calls = [world.submit(name) for name in ("f", "f", "quick", "wait")]
    world.answer_all()
    assert begun(world) == ids(calls)


def test_an_unknown_function_is_sent_one_call_at_a_time():
    world = make(1)
    calls = [world.submit("f") for _ in range(3)]
    assert [world.where(call) for call in calls] == [1, None, None]
    world.run()
    world.answer(calls[0])
    assert [world.where(call) for call in calls] == [None, 1, None]


def test_quick_calls_are_prefetched_up_to_a_limit():
    world = make(1)
    calls = [world.submit("quick") for _ in range(100)]
    assert sum(call.slot is not None for call in calls) == 64
    world.answer_all(ran_s=1e-5)
    assert begun(world) == ids(calls)


def test_a_chunk_is_as_slow_as_its_items_together():
    world = make(1)
    chunks = [world.submit("quick", items=1000) for _ in range(2)]
    assert [world.where(call) for call in chunks] == [1, None]


def test_nothing_is_sent_behind_a_slow_call():
    world = make(1)
    slow, quick, coroutine = world.submit("f"), world.submit("quick"), world.submit("wait")
    assert [world.where(call) for call in (slow, quick, coroutine)] == [1, None, None]


def test_equally_loaded_workers_take_turns():
    world = make(4)
    world.submit("f")  # runs all the time
    world.run()
    before = len(world.began)
    for _ in range(9):
        world.answer_all([world.submit("f")])
    slots = [slot for _, slot in world.began[before:]]
    assert slots[:3] * 3 == slots
    assert len(set(slots)) == 3


def test_calls_one_after_another_stay_on_the_worker_that_is_warm():
    world = make(3)
    for _ in range(9):
        world.answer_all([world.submit("f")])
    assert len({slot for _, slot in world.began}) == 1


def test_the_least_loaded_worker_takes_the_next_call():
    world = make(2)
    world.submit("quick", worker_id=1)
    world.submit("quick", worker_id=1)
    calls = [world.submit("quick") for _ in range(2)]
    assert [world.where(call) for call in calls] == [2, 2]


# -- coroutines -------------------------------------------------------------------------------------------


def test_coroutines_share_a_worker_and_end_in_any_order():
    world = make(1)
    calls = [world.submit("wait") for _ in range(3)]
    world.run()
    assert list(world.workers[1].running.values()) == calls
    for call in (calls[1], calls[2], calls[0]):
        world.answer(call)
    assert list(world.ended.items())[-3:] == [(calls[n].id, True) for n in (1, 2, 0)]


def test_coroutines_are_spread_over_the_workers():
    world = make(2)
    calls = [world.submit("wait") for _ in range(4)]
    assert sorted(world.where(call) for call in calls) == [1, 1, 2, 2]


def test_coroutines_on_one_worker_are_limited():
    world = make(1)
    calls = [world.submit("wait") for _ in range(ASYNC_DEPTH + 1)]
    assert sum(call.slot is not None for call in calls) == ASYNC_DEPTH
    world.answer_all()
    assert begun(world) == ids(calls)


def test_a_synchronous_call_runs_beside_long_lived_coroutines():
    world = make(1)
    long_lived = [world.submit("wait") for _ in range(3)]
    world.run()
    synchronous = world.submit("f")
    world.run()
    assert world.workers[1].sync_call == (synchronous.seq, synchronous)
    world.answer(synchronous)
    assert world.ended[synchronous.id] is True
    assert not any(call.id in world.ended for call in long_lived)


def test_coroutines_of_an_epoch_before_do_not_hold_up_new_calls_while_another_worker_is_free():
    world = make(2)
    old = world.submit("wait", worker_id=1)
    world.run()
    world.define("f")
    calls = [world.submit("f") for _ in range(2)]
    world.run()
    assert world.worker_of(calls[0]).slot.id == 2
    assert world.where(calls[1]) is None
    world.answer(old)
    world.run()
    assert world.worker_of(calls[1]).slot.id == 1


# -- prefetching and work stealing ------------------------------------------------------------------------


def stall(world):
    """Let calls wait on worker 1 behind one that turns out slow, while worker 2 becomes idle."""
    calls = [world.submit("quick") for _ in range(6)]
    first, second = world.workers[1], world.workers[2]
    while first.sync_call is None:
        first.step()
    while second.can_step:
        second.step()
        second.answer(second.status_page[0], ran_s=1e-5)
        while second.out:
            world.read(second)
    return calls, [call for call in calls if call.slot is first.slot]


def test_what_waits_behind_a_call_that_turns_out_slow_runs_where_there_is_room():
    world = make(2)
    calls, waiting = stall(world)
    slow, behind = waiting[0], waiting[1:]
    assert behind
    world.advance(CHECK_S)
    world.answer_all(behind, ran_s=1e-5)
    assert all(world.ended[call.id] is True for call in behind)
    assert {slot for number, slot in world.began if number in ids(behind)} == {2}
    assert begun(world)[-len(behind) :] == ids(behind), "their order is kept"
    assert slow.id not in world.ended
    world.answer(slow)
    assert all(world.runs[call.id] == 1 for call in calls)


def test_nothing_more_is_sent_to_a_stalled_worker_until_it_answers():
    world = make(2)
    _, waiting = stall(world)
    world.advance(CHECK_S)
    world.run()
    more = [world.submit("quick") for _ in range(4)]
    assert {world.where(call) for call in more} == {2}
    world.answer(waiting[0], ran_s=1e-5)
    world.answer_all(ran_s=1e-5)
    assert {world.where(world.submit("quick")) for _ in range(2)} == {1, 2}


def test_calls_that_are_long_on_their_way_do_not_go_to_and_fro_for_ever():
    world = make(2)
    calls = [world.submit("quick") for _ in range(6)]
    for call in calls:
        if world.where(call) == 2:
            world.workers[2].step()
            world.answer(call, ran_s=1e-5)
    revoked = []
    for _ in range(20):  # no worker has read a call when the next check comes
        world.advance(CHECK_S)
        revoked.append(sum(len(worker.control_inbox) for worker in world.workers.values()))
        for worker in world.workers.values():
            while worker.control_inbox:
                worker.step_control()
                world.read_control(worker)
    assert revoked[0] == 1
    assert revoked[-10:] == [0] * 10
    world.answer_all(ran_s=1e-5)
    assert all(world.ended[call.id] is True for call in calls)


def test_a_worker_that_makes_progress_keeps_its_calls():
    world = make(2)
    _, waiting = stall(world)
    first = world.workers[1]
    first.answer(waiting[0].seq, ran_s=1e-5)
    first.step()  # it begins the next call before the check
    world.advance(CHECK_S)
    assert not first.control_inbox
    world.advance(CHECK_S)
    assert [type(order) for order in first.control_inbox] == [effects.SendRevoke]


def test_a_call_that_begins_before_it_is_revoked_runs_where_it_is():
    world = make(2)
    _, waiting = stall(world)
    world.advance(CHECK_S)
    first = world.workers[1]
    first.answer(waiting[0].seq, ran_s=1e-5)
    first.step()  # the race: the request to revoke it is on its way
    world.answer_all(ran_s=1e-5)
    assert dict(world.began)[waiting[1].id] == 1
    assert all(times == 1 for times in world.runs.values())
    assert all(outcome is True for outcome in world.ended.values())


def test_calls_are_revoked_once_while_a_worker_does_not_react():
    world = make(2)
    stall(world)
    world.workers[1].hangs = True
    world.advance(0.5)
    assert len(world.workers[1].control_inbox) == 1
    assert world.core.state.timers.next_due > world.now + 0.1, "no check is repeated at short intervals"


def test_coroutines_that_wait_behind_a_slow_call_are_revoked_too():
    world = make(2)
    world.submit("f", worker_id=2)
    slow = world.submit("quick", worker_id=1)
    behind = [world.submit("wait") for _ in range(2)]
    world.run()
    assert {world.where(call) for call in behind} == {1}
    other = next(iter(world.workers[2].running.values()))
    world.answer(other)
    world.advance(CHECK_S)
    world.run()
    assert {world.worker_of(call).slot.id for call in behind} == {2}
    assert slow.id not in world.ended


def test_pinned_calls_are_not_revoked_since_no_other_worker_may_run_them():
    world = make(2)
    calls = [world.submit("quick", worker_id=1) for _ in range(3)]
    world.workers[1].step()
    world.answer_all([world.submit("quick", worker_id=2)], ran_s=1e-5)
    world.advance(1.0)
    assert not any(isinstance(order, effects.SendRevoke) for order in world.workers[1].control_inbox)
    assert {world.where(call) for call in calls} <= {1, None}


def test_stalled_workers_are_detected_again_after_a_stop_and_a_start():
    world = make(2)
    stall(world)
    world.stop()
    world.run()
    world.start(2)
    world.run()
    world.learn("quick")
    world.began.clear()
    _, waiting = stall(world)
    world.advance(CHECK_S)
    world.answer_all(waiting[1:], ran_s=1e-5)
    assert all(world.ended[call.id] is True for call in waiting[1:])


def test_a_worker_whose_slow_call_was_revoked_before_it_began_takes_calls_again():
    world = make(1)
    call = world.submit("f")
    assert world.cancel(call)  # the worker has not read it yet
    world.run()
    assert world.runs[call.id] == 0
    follower = world.submit("f")
    world.run()
    world.answer(follower)
    assert world.ended == world.ended | {call.id: None, follower.id: True}


# -- pinned -----------------------------------------------------------------------------------------------


def test_a_pinned_call_waits_for_its_worker_though_others_idle():
    world = make(2)
    calls = [world.submit("f", worker_id=1) for _ in range(3)]
    other = world.submit("f")
    world.run()
    assert world.worker_of(other).slot.id == 2
    assert [world.where(call) for call in calls] == [1, None, None]
    world.answer_all()
    assert [slot for number, slot in world.began if number in ids(calls)] == [1, 1, 1]
    assert [number for number in begun(world) if number in ids(calls)] == ids(calls)


@pytest.mark.parametrize("number", [3, 99])
def test_a_call_for_a_worker_that_is_not_there_is_refused(number):
    with pytest.raises(OptionError, match=f"worker_id={number}: there is no such worker; there are 1, 2"):
        make(2).submit("f", worker_id=number)


def test_a_call_for_a_worker_that_has_failed_is_refused():
    world = make(2, max_restarts_per_worker=0)
    world.die(1)
    with pytest.raises(NoWorkerError, match=r"worker 1 is failed; restart_worker\(1\) starts it"):
        world.submit("f", worker_id=1)
    world.answer_all([world.submit("f")])


def test_the_answer_of_a_worker_is_awaited_by_calls_that_it_may_run_and_by_no_others():
    world = make(2)
    awaited = world.core.dispatcher.is_awaited
    first, second = (world.core.state.slots[number] for number in (1, 2))
    world.submit("f", worker_id=1)
    assert (awaited(first), awaited(second)) == (False, False)
    world.submit("f", worker_id=1)
    assert (awaited(first), awaited(second)) == (True, False)
    world.submit("f")
    world.submit("f")
    assert (awaited(first), awaited(second)) == (True, True)


def test_pinned_calls_wait_while_their_worker_restarts():
    world = make(2)
    world.die(1)
    call = world.submit("f", worker_id=1)
    assert world.where(call) is None
    world.advance(0.2)
    world.answer_all()
    assert world.ended[call.id] is True
    assert world.began == [(call.id, 1)]


@pytest.mark.parametrize("how", ["fails", "goes"])
def test_pinned_calls_end_with_a_worker_that_does_not_come_back(how):
    world = make(2, max_restarts_per_worker=0)
    sent = [world.submit("quick", worker_id=2) for _ in range(2)]
    queued = [world.submit("f", worker_id=2) for _ in range(2)]
    world.workers[2].step()
    if how == "goes":
        world.resize(1)
    world.die(2)
    if how == "fails":
        world.spawn()
        world.die(2)
    assert isinstance(world.ended[sent[0].id], WorkerCrashedError)
    for call in (sent[1], *queued):
        assert isinstance(world.ended[call.id], NoWorkerError)
        assert world.runs[call.id] == 0


# -- what is refused --------------------------------------------------------------------------------------


def test_refusals_come_in_the_order_of_the_original():
    world = World()
    with pytest.raises(NotRunningError, match="the workers are stopped; start them first"):
        world.submit("nothing")
    world.start(1)
    world.run()
    with pytest.raises(FunctionNotDefinedError, match="no function 'nothing' is defined"):
        world.submit("nothing")
    world.define("f", needs=("K",))
    with pytest.raises(RequirementMissingError, match="f needs 'K', which is not defined"):
        world.submit("f")
    world.propose(world.record("K", Kind.CONSTANT))
    world.run()
    world.answer_all([world.submit("f")])
    with pytest.raises(FunctionNotDefinedError, match="'K' is a constant, not a function"):
        world.submit("K")


def test_a_misspelt_name_is_answered_with_the_near_one():
    world = make(1)
    with pytest.raises(FunctionNotDefinedError, match="Did you mean 'quick'"):
        world.submit("qiuck")


def test_a_call_is_refused_only_when_every_slot_has_failed():
    world = make(2, max_restarts_per_worker=0)
    world.die(1)
    assert world.where(world.submit("f")) == 2
    waiting = world.submit("f")
    world.die(2)
    assert isinstance(world.ended[waiting.id], NoWorkerError)
    with pytest.raises(NoWorkerError, match="every one is stopped or failed"):
        world.submit("f")


def test_calls_made_while_workers_start_are_run_when_they_are_ready():
    world = World()
    world.propose(world.record("f"))
    world.start(2)
    calls = [world.submit("f") for _ in range(3)]
    assert [world.where(call) for call in calls] == [None] * 3
    world.answer_all()
    assert begun(world) == ids(calls)


def test_more_than_the_limit_are_refused_until_one_has_ended():
    world = make(2, max_pending_calls_per_worker=2)
    calls = [world.submit("f") for _ in range(4)]
    assert not world.core.dispatcher.has_room()
    with pytest.raises(SaturatedError, match="4 calls are pending, which is the limit of"):
        world.submit("f")
    world.run()
    world.answer(calls[0])
    assert world.core.dispatcher.has_room()
    world.submit("f")


def test_that_no_worker_is_left_is_reported_rather_than_that_the_pool_is_full():
    world = make(1, max_pending_calls_per_worker=1, max_restarts_per_worker=0)
    world.resize(2)
    world.run()
    world.submit("wait", worker_id=2)
    world.submit("wait", worker_id=2)
    world.run()
    world.resize(1)  # worker 2 is removed when its calls have ended
    world.die(1)
    with pytest.raises(NoWorkerError):
        world.submit("f")


def test_a_draining_pool_takes_no_new_calls_and_ends_those_it_has():
    world = make(1)
    calls = [world.submit("f") for _ in range(3)]
    world.core.state.draining = True
    with pytest.raises(NotRunningError, match="the workers stop as soon as"):
        world.submit("f")
    world.answer_all()
    assert [world.ended[call.id] for call in calls] == [True] * 3


def test_a_queued_call_whose_function_goes_away_ends_and_says_so():
    world = make(1)
    running, queued = world.submit("f"), world.submit("f")
    world.run()
    world.propose(removed=("f",))
    world.run()
    world.answer(running)
    world.run()
    assert world.ended[running.id] is True
    assert isinstance(world.ended[queued.id], FunctionNotDefinedError)
    assert world.runs[queued.id] == 0


def test_a_queued_call_whose_requirement_goes_away_ends_and_names_it():
    world = make(1)
    world.propose(world.record("K", Kind.CONSTANT))
    world.run()
    world.define("g", needs=("K",))
    world.submit("f")
    queued = world.submit("g")
    world.run()
    world.propose(removed=("K",))
    world.answer_all()
    with pytest.raises(RequirementMissingError, match="g needs 'K'"):
        raise world.ended[queued.id]
