"""Calls that are cancelled, run too long, or wait too long."""

from __future__ import annotations

import pytest

from tests.pool.core.harness import World, begun, ids, make
from wpc_magic.pool.core import effects
from wpc_magic.pool.errors import (
    CallTimeoutError,
    QueueTimeoutError,
    WorkerReplacedError,
)

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


def test_queued_calls_that_are_cancelled_leave_the_queue_at_once_wherever_they_are():
    world = make(1)
    world.submit("f")
    queued = [world.submit("f", worker_id=n % 2) for n in range(10)]
    world.run()
    for call in (*queued[2:5], queued[8], queued[0], queued[1]):
        assert world.cancel(call)
    left = [queued[5], queued[6], queued[7], queued[9]]
    assert sorted(ids(world.core.dispatcher.queued)) == ids(left)
    world.answer_all()
    assert sorted(begun(world)[1:]) == ids(left)


def test_the_timers_of_cancelled_calls_are_gone_with_the_next_heartbeat():
    world = make(1)
    world.submit("f")
    queued = [world.submit("f", queue_timeout_ms=3_600_000) for _ in range(2000)]
    for call in queued:
        assert world.cancel(call)
    world.run_for(10.0)
    assert not [timer for timer in world.core.state.timers.due if timer[3] in queued]


def test_a_call_that_runs_is_cancelled_at_once_and_its_worker_goes_on():
    world = make(1)
    call = world.submit("f")
    world.run()
    assert world.cancel(call)
    assert world.ended[call.id] is None
    world.run()
    world.answer_all([world.submit("f")])
    assert world.slot(1).incarnation == 1, "the same worker"


def test_a_call_that_does_not_end_when_it_is_cancelled_has_its_worker_ended_after_the_grace():
    world = make(1, interrupt_grace_ms=500)
    call = world.submit("f")
    world.run()
    world.workers[1].interruptible = False
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
    world.workers[1].control_inbox.clear()
    assert world.cancel(behind)
    world.workers[1].control_inbox.clear()  # C code holds the GIL there: nothing is revoked for now
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
    world.workers[slot.id].interruptible = False
    world.cancel(first)
    world.run()
    assert slot.full
    assert list(slot.sent.values()) == [first]
    assert all(call.slot is not slot for call in behind)


def test_nothing_begins_on_a_worker_whose_coroutine_was_stopped_and_has_not_ended():
    world = make(1, interrupt_grace_ms=500)
    stopped = world.submit("wait")
    world.run()
    world.workers[1].interruptible = False
    world.cancel(stopped)
    world.run()
    later = [world.submit("f"), world.submit("wait"), world.submit("f", worker_id=1)]
    world.run()
    assert [world.where(call) for call in later] == [None] * 3
    world.advance(0.6)
    world.answer_all(later)
    assert [world.ended[call.id] for call in later] == [True] * 3


def test_what_waits_behind_a_coroutine_that_was_stopped_goes_on_when_it_has_ended():
    world = make(1, interrupt_grace_ms=500)
    stopped = world.submit("wait")
    world.run()
    world.cancel(stopped)
    later = world.submit("f")
    assert world.where(later) is None
    world.run()
    world.answer(later)
    assert world.slot(1).incarnation == 1, "the same worker"


def test_a_coroutine_that_a_synchronous_call_blocks_does_not_cost_that_call_its_worker():
    world = make(1, interrupt_grace_ms=500)
    stopped = world.submit("wait")
    world.run()
    synchronous = world.submit("f")
    world.run()
    assert synchronous.id in begun(world)
    world.cancel(stopped)
    world.workers[1].control_inbox.clear()  # the event loop is blocked
    world.advance(5.0)
    assert not world.workers[1].killed
    world.answer(synchronous)
    assert world.ended[synchronous.id] is True
    world.advance(0.6)
    assert world.workers[1].killed, "now the coroutine itself does not end"


def test_all_calls_are_cancelled_that_are_meant_and_no_others():
    world = make(1)
    calls = [world.submit("f") for _ in range(5)]
    world.run()
    meant = calls[::2]
    assert world.core.dispatcher.cancel_all(lambda call: call in meant, world.now) == 3
    world.apply()
    world.run()
    world.answer_all(calls[1::2])
    assert [world.ended[call.id] for call in calls] == [None, True, None, True, None]


def test_a_prefetched_call_is_cancelled_and_the_others_run():
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
    world.workers[1].step()  # the request to revoke it arrives too late
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


# -- timeouts ---------------------------------------------------------------------------------------------


def test_a_call_that_runs_too_long_fails_at_once_and_is_interrupted():
    world = make(1, call_timeout_ms=1000)
    call = world.submit("f")
    world.run()
    world.advance(1.001)
    assert type(world.ended[call.id]) is CallTimeoutError
    world.run()
    assert not world.workers[1].killed
    world.answer_all([world.submit("f")])
    assert world.slot(1).incarnation == 1, "the same worker"


def test_a_call_that_runs_too_long_and_does_not_end_is_stopped_with_its_worker():
    world = make(1, call_timeout_ms=1000, interrupt_grace_ms=200)
    call = world.submit("f")
    world.run()
    world.workers[1].interruptible = False
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


def test_the_stack_is_requested_before_a_call_that_runs_too_long_is_stopped():
    world = make(1, call_timeout_ms=1000)
    call = world.submit("f")
    world.run()
    world.core.tick(world.now + 1.001)
    asked = [effect for effect in world.core.state.effects if not isinstance(effect, effects.Notify)]
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
    world.workers[1].status_page = (world.workers[1].status_page[0], 0.0)  # its function has not begun
    world.advance(3.9)  # it takes a second to notice
    assert call.id not in world.ended, "modules may be imported meanwhile"
    world.advance(0.2)
    with pytest.raises(CallTimeoutError, match=r"arguments of f #\d+ were not unpickled in time on worker 1"):
        raise world.ended[call.id]


def test_the_time_of_a_function_runs_from_its_first_instruction_however_long_its_arguments_took():
    world = make(1, call_timeout_ms=1000, control_timeout_ms=3000)
    call = world.submit("f")
    world.run()
    seq = world.workers[1].status_page[0]
    world.workers[1].status_page = (seq, 0.0)
    world.advance(3.5)
    world.workers[1].status_page = (seq, world.now)
    world.advance(0.9)
    assert call.id not in world.ended
    world.advance(0.2)
    with pytest.raises(CallTimeoutError, match="ran for more than 1000 ms"):
        raise world.ended[call.id]


@pytest.mark.parametrize(
    ("pool", "function", "call", "limit_s"),
    [(500, None, None, 0.5), (500, 300, None, 0.3), (500, 300, 700, 0.7), (None, 300, None, 0.3)],
)
def test_the_timeout_of_the_call_overrides_the_functions_and_that_the_pools(pool, function, call, limit_s):
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
    world.workers[1].interruptible = False
    world.advance(0.6)
    world.run()
    assert type(world.ended[guilty.id]) is CallTimeoutError
    world.advance(1.0)
    world.run()
    with pytest.raises(WorkerReplacedError, match=f"ended with worker 1: {guilty} was to end"):
        raise world.ended[neighbour.id]


def test_the_answer_of_a_call_that_was_stopped_is_dropped():
    world = make(1, call_timeout_ms=500)
    call = world.submit("f")
    world.run()
    world.advance(0.6)
    world.workers[1].answer(call.seq)
    world.run()
    assert type(world.ended[call.id]) is CallTimeoutError
    assert world.core.state.call_counts.total().failed == 1


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
    assert waiting.id not in world.ended, "the worker may have begun it: the pool waits for its answer"
    world.run()
    assert isinstance(world.ended[waiting.id], QueueTimeoutError)
    world.answer_all()
    assert world.ended[slow.id] is True
    assert world.runs[waiting.id] == 0


def test_a_call_that_goes_back_to_the_queue_keeps_its_queue_timeout():
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
