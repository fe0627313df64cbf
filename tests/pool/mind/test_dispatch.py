"""Which worker runs which call, and when; who waits, who is taken back, who is told what."""

from __future__ import annotations

import pytest

from tests.pool.mind.harness import World
from wpc_magic.pool.errors import (
    CallTimeoutError,
    FunctionNotDefinedError,
    NotRunningError,
    NoWorkerError,
    OptionError,
    PoolStoppedError,
    QueueTimeoutError,
    RequirementMissingError,
    SaturatedError,
    WorkerCrashedError,
    WorkerReplacedError,
)
from wpc_magic.pool.mind import effects
from wpc_magic.pool.mind.registry import Kind
from wpc_magic.pool.mind.scheduler import ASYNC_DEPTH

A_LOOK_S = 0.004  # a little more than after what time a worker counts as stuck


def make(count=1, **options):
    """A world with `f` of which nothing is known, `quick`, and the coroutine `wait`."""
    world = World(count, **options)
    world.define("f")
    world.define("quick")
    world.define("wait", is_async=True)
    world.learn("quick")
    world.began.clear()
    return world


def ids(calls):
    return [call.id for call in calls]


def begun(world):
    return [number for number, _ in world.began]


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


def test_quick_calls_are_sent_ahead_but_not_without_end():
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
    world.submit("f")  # goes on all the time
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


def test_a_plain_call_runs_beside_long_lived_coroutines():
    world = make(1)
    long_lived = [world.submit("wait") for _ in range(3)]
    world.run()
    plain = world.submit("f")
    world.run()
    assert world.workers[1].plain == (plain.seq, plain)
    world.answer(plain)
    assert world.ended[plain.id] is True
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


# -- sent ahead, but not stuck ----------------------------------------------------------------------------


def stuck(world):
    """Have calls wait on worker 1 behind one that turns out slow, while worker 2 runs out of work."""
    calls = [world.submit("quick") for _ in range(6)]
    first, second = world.workers[1], world.workers[2]
    while first.plain is None:
        first.step()
    while second.can_step:
        second.step()
        second.answer(second.page[0], ran_s=1e-5)
        while second.out:
            world.read(second)
    return calls, [call for call in calls if call.slot is first.slot]


def test_what_waits_behind_a_call_that_turns_out_slow_runs_where_there_is_room():
    world = make(2)
    calls, waiting = stuck(world)
    slow, behind = waiting[0], waiting[1:]
    assert behind
    world.advance(A_LOOK_S)
    world.answer_all(behind, ran_s=1e-5)
    assert all(world.ended[call.id] is True for call in behind)
    assert {slot for number, slot in world.began if number in ids(behind)} == {2}
    assert begun(world)[-len(behind) :] == ids(behind), "their order is kept"
    assert slow.id not in world.ended
    world.answer(slow)
    assert all(world.runs[call.id] == 1 for call in calls)


def test_nothing_more_is_sent_behind_a_worker_that_is_stuck_until_it_answers():
    world = make(2)
    _, waiting = stuck(world)
    world.advance(A_LOOK_S)
    world.run()
    more = [world.submit("quick") for _ in range(4)]
    assert {world.where(call) for call in more} == {2}
    world.answer(waiting[0], ran_s=1e-5)
    world.answer_all(ran_s=1e-5)
    assert {world.where(world.submit("quick")) for _ in range(2)} == {1, 2}


def test_a_worker_that_makes_steps_keeps_its_calls():
    world = make(2)
    _, waiting = stuck(world)
    first = world.workers[1]
    first.answer(waiting[0].seq, ran_s=1e-5)
    first.step()  # on to the next, before the look
    world.advance(A_LOOK_S)
    assert not first.orders
    world.advance(A_LOOK_S)
    assert [type(order) for order in first.orders] == [effects.SendRevoke]


def test_a_call_that_begins_before_it_is_given_up_runs_where_it_is():
    world = make(2)
    _, waiting = stuck(world)
    world.advance(A_LOOK_S)
    first = world.workers[1]
    first.answer(waiting[0].seq, ran_s=1e-5)
    first.step()  # the race: the order to give it up is on its way
    world.answer_all(ran_s=1e-5)
    assert dict(world.began)[waiting[1].id] == 1
    assert all(times == 1 for times in world.runs.values())
    assert all(outcome is True for outcome in world.ended.values())


def test_calls_are_asked_back_once_while_a_worker_does_not_listen():
    world = make(2)
    stuck(world)
    world.workers[1].hangs = True
    world.advance(0.5)
    assert len(world.workers[1].orders) == 1
    assert world.core.state.timers.next_due > world.now + 0.1, "nobody looks again and again"


def test_coroutines_that_wait_behind_a_slow_call_are_taken_back_too():
    world = make(2)
    world.submit("f", worker_id=2)
    slow = world.submit("quick", worker_id=1)
    behind = [world.submit("wait") for _ in range(2)]
    world.run()
    assert {world.where(call) for call in behind} == {1}
    other = next(iter(world.workers[2].running.values()))
    world.answer(other)
    world.advance(A_LOOK_S)
    world.run()
    assert {world.worker_of(call).slot.id for call in behind} == {2}
    assert slow.id not in world.ended


def test_pinned_calls_are_not_asked_back_since_no_other_worker_may_run_them():
    world = make(2)
    calls = [world.submit("quick", worker_id=1) for _ in range(3)]
    world.workers[1].step()
    world.answer_all([world.submit("quick", worker_id=2)], ran_s=1e-5)
    world.advance(1.0)
    assert not any(isinstance(order, effects.SendRevoke) for order in world.workers[1].orders)
    assert {world.where(call) for call in calls} <= {1, None}


def test_workers_are_looked_after_again_when_the_pool_has_stopped_in_between():
    world = make(2)
    stuck(world)
    world.stop()
    world.run()
    world.start(2)
    world.run()
    world.learn("quick")
    world.began.clear()
    _, waiting = stuck(world)
    world.advance(A_LOOK_S)
    world.answer_all(waiting[1:], ran_s=1e-5)
    assert all(world.ended[call.id] is True for call in waiting[1:])


def test_a_worker_whose_slow_call_was_taken_back_before_it_began_takes_calls_again():
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
    awaited = world.core.dispatch.is_awaited
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
    assert not world.core.dispatch.has_room()
    with pytest.raises(SaturatedError, match="4 calls are pending, which is the limit of"):
        world.submit("f")
    world.run()
    world.answer(calls[0])
    assert world.core.dispatch.has_room()
    world.submit("f")


def test_when_nobody_is_left_that_is_said_rather_than_that_the_pool_is_full():
    world = make(1, max_pending_calls_per_worker=1, max_restarts_per_worker=0)
    world.resize(2)
    world.run()
    world.submit("wait", worker_id=2)
    world.submit("wait", worker_id=2)
    world.run()
    world.resize(1)  # worker 2 goes when its calls have ended
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


# -- cancelling -------------------------------------------------------------------------------------------


def test_a_queued_call_is_cancelled_and_never_runs():
    world = make(1)
    running, queued, last = (world.submit("f") for _ in range(3))
    world.run()
    assert world.cancel(queued)
    assert not world.cancel(queued)
    assert world.ended[queued.id] is None
    world.answer_all()
    assert begun(world) == ids([running, last])


def test_a_call_that_runs_is_cancelled_at_once_and_its_worker_goes_on():
    world = make(1)
    call = world.submit("f")
    world.run()
    assert world.cancel(call)
    assert world.ended[call.id] is None
    world.run()
    world.answer_all([world.submit("f")])
    assert world.slot(1).life == 1, "the same worker"


def test_a_call_that_does_not_end_when_it_is_cancelled_has_its_worker_ended_after_the_grace():
    world = make(1, interrupt_grace_ms=500)
    call = world.submit("f")
    world.run()
    world.workers[1].obeys = False
    assert world.cancel(call)
    world.run()
    world.advance(0.499)
    assert not world.workers[1].killed
    world.advance(0.002)
    assert world.workers[1].killed
    world.answer_all([world.submit("f")])
    assert world.slot(1).deaths == 0, "it does not count against the budget"


def test_a_queued_call_that_is_cancelled_never_costs_the_worker_of_another():
    world = make(1, interrupt_grace_ms=500)
    world.submit("quick")
    behind = world.submit("quick")
    world.run()
    world.workers[1].orders.clear()
    assert world.cancel(behind)
    world.workers[1].orders.clear()  # C code holds the GIL there: nothing is given up for now
    world.advance(2.0)
    assert not world.workers[1].killed


def test_what_was_sent_behind_a_call_that_is_stopped_runs_elsewhere():
    world = make(2)
    calls = [world.submit("quick") for _ in range(6)]
    world.run()
    first = calls[0]
    slot = first.slot
    behind = [call for call in calls[1:] if call.slot is slot]
    assert behind
    world.workers[slot.id].obeys = False
    world.cancel(first)
    world.run()
    assert slot.full
    assert list(slot.sent.values()) == [first]
    assert all(call.slot is not slot for call in behind)


def test_all_calls_are_cancelled_that_are_meant_and_no_others():
    world = make(1)
    calls = [world.submit("f") for _ in range(5)]
    world.run()
    meant = calls[::2]
    assert world.core.dispatch.cancel_all(lambda call: call in meant, world.now) == 3
    world.apply()
    world.run()
    world.answer_all(calls[1::2])
    assert [world.ended[call.id] for call in calls] == [None, True, None, True, None]


def test_a_call_that_was_sent_ahead_is_cancelled_and_the_others_run():
    world = make(1)
    calls = [world.submit("quick") for _ in range(3)]
    world.workers[1].step()
    assert world.cancel(calls[1])
    world.answer_all(ran_s=1e-5)
    assert begun(world) == ids([calls[0], calls[2]])
    assert [world.ended[call.id] for call in calls] == [True, None, True]


def test_a_cancelled_call_that_began_all_the_same_has_its_answer_dropped():
    world = make(1)
    call = world.submit("f")
    assert world.cancel(call)
    world.workers[1].step()  # the order to give it up comes too late
    world.answer_all()
    assert world.ended[call.id] is None
    world.answer_all([world.submit("f")])


def test_what_was_queued_behind_a_cancelled_call_goes_where_there_is_room():
    world = make(2)
    world.submit("wait", worker_id=1)
    world.answer_all([world.submit("quick", worker_id=2)], ran_s=1e-5)
    running = [world.submit("quick") for _ in range(2)]
    first, second = world.submit("f"), world.submit("quick")
    world.run()
    assert (world.where(first), world.where(second)) == (None, None)
    world.cancel(first)
    world.advance(0.0)
    assert world.where(second) is not None
    assert not any(call.id in world.ended for call in running)


# -- time -------------------------------------------------------------------------------------------------


def test_a_call_that_runs_too_long_fails_at_once_and_is_stopped_softly():
    world = make(1, call_timeout_ms=1000)
    call = world.submit("f")
    world.run()
    world.advance(1.001)
    assert type(world.ended[call.id]) is CallTimeoutError
    world.run()
    assert not world.workers[1].killed
    world.answer_all([world.submit("f")])
    assert world.slot(1).life == 1, "the same worker"


def test_a_call_that_runs_too_long_and_does_not_end_is_stopped_with_its_worker():
    world = make(1, call_timeout_ms=1000, interrupt_grace_ms=200)
    call = world.submit("f")
    world.run()
    world.workers[1].obeys = False
    world.advance(0.999)
    assert call.id not in world.ended
    world.advance(0.002)
    with pytest.raises(CallTimeoutError, match=r"f #\d+ ran for more than 1000 ms on worker 1"):
        raise world.ended[call.id]
    assert "call_timed_out" in world.names()
    assert not world.workers[1].killed
    world.run()
    world.advance(0.2)
    assert world.workers[1].killed
    (event,) = [event for event in world.events if event.event_name == "call_ended_by_force"]
    assert (event.worker_id, event.correlation_id) == (1, call.correlation_id)
    assert event.details == {"function": "f", "interrupt_grace_ms": 200}
    world.answer_all([world.submit("f")])
    assert world.slot(1).deaths == 0, "it does not count against the budget"


def test_a_worker_is_asked_where_it_is_before_a_call_that_runs_too_long_is_stopped():
    world = make(1, call_timeout_ms=1000)
    call = world.submit("f")
    world.run()
    world.core.tick(world.now + 1.001)
    asked = [effect for effect in world.core.state.effects if not isinstance(effect, effects.Tell)]
    assert [type(effect) for effect in asked] == [
        effects.FinishWithStack,
        effects.SendRevoke,
        effects.SendInterrupt,
    ]
    assert asked[0][:3] == (1, 1, call)
    assert call.ended
    world.apply()


def test_the_time_runs_from_the_first_instruction_and_not_from_the_queue():
    world = make(1, call_timeout_ms=1000)
    calls = [world.submit("quick") for _ in range(2)]
    world.run()
    world.advance(0.9)
    world.answer(calls[0])
    world.run()
    world.advance(0.9)
    assert calls[1].id not in world.ended
    world.advance(0.2)
    assert type(world.ended[calls[1].id]) is CallTimeoutError


def test_a_worker_that_has_not_begun_a_call_is_not_stopped_for_it():
    world = make(1, call_timeout_ms=1000)
    call = world.submit("f")
    world.advance(30.0)
    assert call.id not in world.ended
    world.answer_all()
    assert world.ended[call.id] is True


def test_arguments_that_are_unpickled_for_ever_are_stopped_too():
    world = make(1, call_timeout_ms=1000, control_timeout_ms=3000)
    call = world.submit("f")
    world.run()
    world.workers[1].page = (world.workers[1].page[0], 0.0)  # it has begun, and not its function
    world.advance(3.9)  # it takes a second to notice
    assert call.id not in world.ended, "modules may be imported meanwhile"
    world.advance(0.2)
    with pytest.raises(CallTimeoutError, match=r"arguments of f #\d+ were not unpickled in time on worker 1"):
        raise world.ended[call.id]


def test_the_time_of_a_function_runs_from_its_first_instruction_however_long_its_arguments_took():
    world = make(1, call_timeout_ms=1000, control_timeout_ms=3000)
    call = world.submit("f")
    world.run()
    seq = world.workers[1].page[0]
    world.workers[1].page = (seq, 0.0)
    world.advance(3.5)
    world.workers[1].page = (seq, world.now)
    world.advance(0.9)
    assert call.id not in world.ended
    world.advance(0.2)
    with pytest.raises(CallTimeoutError, match="ran for more than 1000 ms"):
        raise world.ended[call.id]


@pytest.mark.parametrize(
    ("pool", "function", "call", "limit_s"),
    [(500, None, None, 0.5), (500, 300, None, 0.3), (500, 300, 700, 0.7), (None, 300, None, 0.3)],
)
def test_the_time_out_of_the_call_comes_before_the_functions_and_that_before_the_pools(
    pool, function, call, limit_s
):
    world = World(1, call_timeout_ms=pool)
    world.define("f", timeout_ms=function)
    made = world.submit("f", **({"timeout_ms": call} if call else {}))
    world.run()
    world.advance(limit_s - 0.01)
    assert made.id not in world.ended
    world.advance(0.02)
    assert type(world.ended[made.id]) is CallTimeoutError


def test_calls_behind_one_that_is_stopped_run_elsewhere_and_in_order():
    world = make(1, call_timeout_ms=1000)
    calls = [world.submit("quick") for _ in range(4)]
    world.workers[1].step()
    world.advance(1.1)
    world.answer_all(ran_s=1e-5)
    assert begun(world) == ids(calls)
    assert [world.ended[call.id] for call in calls[1:]] == [True] * 3


def test_a_coroutine_that_is_stopped_and_ends_leaves_its_neighbours_alone():
    world = make(1)
    guilty = world.submit("wait", timeout_ms=500)
    neighbour = world.submit("wait")
    world.run()
    world.advance(0.6)
    world.run()
    assert type(world.ended[guilty.id]) is CallTimeoutError
    world.answer(neighbour)
    assert world.ended[neighbour.id] is True


def test_a_coroutine_that_does_not_end_takes_its_neighbours_with_it_and_says_whose_fault_it_was():
    world = make(1)
    guilty = world.submit("wait", timeout_ms=500)
    neighbour = world.submit("wait")
    world.run()
    world.workers[1].obeys = False
    world.advance(0.6)
    world.run()
    assert type(world.ended[guilty.id]) is CallTimeoutError
    world.advance(1.0)
    world.run()
    with pytest.raises(WorkerReplacedError, match=f"ended with worker 1: {guilty} was to end"):
        raise world.ended[neighbour.id]


def test_the_answer_of_a_call_that_was_stopped_comes_to_nobody():
    world = make(1, call_timeout_ms=500)
    call = world.submit("f")
    world.run()
    world.advance(0.6)
    world.workers[1].answer(call.seq)
    world.run()
    assert type(world.ended[call.id]) is CallTimeoutError
    assert world.core.state.failed == 1


def test_a_call_that_waits_too_long_in_the_queue_does_not_run():
    world = make(1)
    running = world.submit("f", queue_timeout_ms=100)
    queued = world.submit("f", queue_timeout_ms=100)
    world.run()
    world.advance(0.11)
    with pytest.raises(QueueTimeoutError, match="waited for more than 100 ms, and did not run"):
        raise world.ended[queued.id]
    world.answer_all()
    assert world.ended[running.id] is True
    assert world.runs[queued.id] == 0


@pytest.mark.parametrize("name", ["quick", "wait"])
def test_a_call_that_waits_too_long_behind_another_on_a_worker_does_not_run(name):
    world = make(1, queue_timeout_ms=100)
    slow = world.submit("quick")
    waiting = world.submit(name)
    assert world.where(waiting) == 1
    world.workers[1].step()
    world.advance(0.11)
    assert waiting.id not in world.ended, "the worker may have begun it: it has to say so"
    world.run()
    assert isinstance(world.ended[waiting.id], QueueTimeoutError)
    world.answer_all()
    assert world.ended[slow.id] is True
    assert world.runs[waiting.id] == 0


def test_a_call_that_goes_back_to_the_queue_still_has_its_time_for_waiting():
    world = make(1, queue_timeout_ms=1000, restart_base_delay_ms=5000, restart_max_delay_ms=5000)
    call = world.submit("f")
    world.die(1)  # before it began
    world.advance(1.1)
    assert isinstance(world.ended[call.id], QueueTimeoutError)


def test_a_call_that_began_in_time_may_wait_to_be_run_again():
    world = make(1, queue_timeout_ms=1000, restart_base_delay_ms=5000, restart_max_delay_ms=5000)
    call = world.submit("f", retries=1)
    world.run()
    world.die(1)
    world.advance(5.1)
    world.answer_all()
    assert world.ended[call.id] is True


def test_what_was_queued_behind_a_call_that_waited_too_long_goes_where_there_is_room():
    world = make(1)
    world.submit("quick")
    world.submit("f", queue_timeout_ms=100)
    last = world.submit("wait")
    world.workers[1].step()
    assert world.where(last) is None
    world.advance(0.11)
    assert world.where(last) == 1


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
    assert order[-1] == queued.id, "what had been sent is before what was queued"


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


def test_the_answers_of_a_worker_that_was_told_to_go_still_count():
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
def test_a_call_runs_again_as_often_as_was_said_and_no_more(retries, deaths, value, of_the_function):
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


def test_an_error_of_the_function_itself_is_never_tried_again():
    world = World(1)
    world.define("f", retries=3)
    call = world.submit("f")
    world.run()
    world.answer(call, ok=False)
    assert world.ended[call.id] is False
    assert world.runs[call.id] == 1


def test_a_call_that_is_tried_again_waits_longer_each_time():
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


def test_others_run_while_a_call_waits_to_be_tried_again():
    world = make(2, restart_base_delay_ms=1000)
    again = world.submit("f", retries=1)
    world.run()
    world.die(world.where(again))
    later = world.submit("f")
    world.run()
    world.answer(later)
    assert world.ended[later.id] is True
    assert again.id not in world.ended
    assert world.core.dispatch.queued == 1
    world.advance(2.2)
    world.answer_all()
    assert world.ended[again.id] is True


def test_a_call_that_waits_to_be_tried_again_can_be_cancelled():
    world = make(2)
    call = world.submit("f", retries=1)
    world.run()
    world.die(world.where(call))
    assert world.cancel(call)
    assert world.core.dispatch.queued == 0
    world.advance(6.0)
    world.answer_all()
    assert (world.runs[call.id], world.ended[call.id]) == (1, None)


def test_a_call_that_waits_to_be_tried_again_ends_with_the_pool():
    world = make(2)
    call = world.submit("f", retries=1)
    world.run()
    world.die(world.where(call))
    world.stop()
    assert isinstance(world.ended[call.id], PoolStoppedError)


def test_a_call_that_waits_to_be_tried_again_on_one_worker_ends_when_that_goes():
    world = make(2, restart_base_delay_ms=1000)
    call = world.submit("f", retries=1, worker_id=2)
    world.run()
    world.die(2)
    world.resize(1)
    assert isinstance(world.ended[call.id], NoWorkerError)


def test_a_call_that_brings_down_every_worker_does_not_cost_the_pool_its_workers():
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


def test_calls_taken_back_from_a_worker_on_its_way_out_end_if_nobody_else_is_left():
    world = make(2, max_restarts_per_worker=0)
    calls = [world.submit("quick") for _ in range(4)]
    mine = [call for call in calls if world.where(call) == 2]
    world.workers[2].step()
    world.die(1)
    world.resize(1)
    world.die(2)
    assert isinstance(world.ended[mine[0].id], WorkerCrashedError)
    assert all(isinstance(world.ended[call.id], NoWorkerError) for call in mine[1:])
    assert world.core.dispatch.queued == 0


def test_queued_calls_end_when_the_last_worker_that_could_run_them_is_sent_away():
    world = make(2, max_restarts_per_worker=0)
    world.die(1)
    running, queued = world.submit("f"), world.submit("f")
    world.run()
    world.resize(1)  # worker 1 has failed, and worker 2 goes
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
    assert world.over
    assert world.core.dispatch.in_flight == world.core.dispatch.queued == 0
