"""Calls of a higher priority are sent first, and a queue without priorities is as it was."""

from __future__ import annotations

import random

from tests.pool.core.harness import begun, ids, make
from wpc_magic.pool.core.call_queue import CallQueue
from wpc_magic.pool.core.calls import Call
from wpc_magic.pool.options import CallOptions


def calls_of(*priorities):
    return [Call(n, "f", b"", options=CallOptions(priority=p)) for n, p in enumerate(priorities, 1)]


def test_the_highest_priority_is_first_and_equal_ones_are_in_the_order_of_the_calls():
    world = make(1)
    running = world.submit("f")
    made = {p: [world.submit("f", priority=p) for _ in range(2)] for p in (None, 5, -1, 9)}
    made[None].append(world.submit("f"))
    world.answer_all()
    assert begun(world) == ids([running, *made[9], *made[5], *made[None], *made[-1]])


def test_a_plain_call_goes_ahead_of_what_waits_with_a_negative_priority():
    world = make(1)
    running = world.submit("f")
    later, plain = world.submit("f", priority=-1), world.submit("f")
    world.answer_all()
    assert begun(world) == ids([running, plain, later])


def test_a_call_that_comes_first_is_sent_at_once_where_those_behind_it_do_not_fit():
    world = make(1)
    world.submit("quick")
    slow = world.submit("f", priority=-1)  # does not fit behind another
    urgent, plain = world.submit("quick", priority=1), world.submit("quick")
    assert [world.where(call) for call in (slow, urgent, plain)] == [None, 1, 1]


def test_calls_for_one_worker_have_priorities_among_themselves():
    world = make(2)
    running = [world.submit("f", worker_id=2)]
    low, high = (world.submit("f", worker_id=2, priority=p) for p in (1, 2))
    world.answer_all()
    assert begun(world) == ids([*running, high, low])


def test_a_call_that_returns_to_the_queue_has_its_old_place():
    world = make(2, restart_base_delay_ms=100)
    other, first = world.submit("f"), world.submit("f", retries=1, priority=1)
    later, urgent = world.submit("f", priority=1), world.submit("f", priority=2)
    world.run()
    world.die(2)
    world.answer(other)  # so the urgent one begins
    world.advance(0.2)
    world.answer_all()
    assert begun(world) == ids([other, first, urgent, first, later])


def test_a_chunk_of_a_map_has_the_priority_of_the_map():
    world = make(1)
    running = world.submit("f")
    low, high = world.submit("f", items=10), world.submit("f", items=10, priority=1)
    world.answer_all()
    assert begun(world) == ids([running, high, low])


def test_cancelled_calls_leave_a_ranked_queue_in_one_step_and_do_not_fill_it():
    queue = CallQueue()
    queue.rank()
    calls = calls_of(*[n % 3 for n in range(10_000)])
    for call in calls:
        queue.append(call)
    for call in calls[:-10]:
        queue.discard(call)
    assert list(queue) == sorted(calls[-10:], key=lambda call: (-call.options.priority, call.id))
    assert len(queue.ranks) < 100


def test_a_queue_is_plain_again_when_the_last_call_with_a_priority_has_left_it_empty():
    for leave in ("popleft", "discard", "clear"):
        queue, calls = CallQueue(), calls_of(3)
        queue.append(calls[0])
        queue.rank()
        getattr(queue, leave)(*(calls if leave == "discard" else ()))
        assert type(queue) is CallQueue
        assert not queue
        assert not vars(queue)


def test_a_ranked_queue_is_a_sorted_list_whatever_is_done_to_it():
    rng = random.Random(3)
    queue, model, made = CallQueue(), [], 0
    for _ in range(3000):
        act = rng.choice(["append", "append", "appendleft", "popleft", "discard", "rank"])
        if act in ("append", "appendleft"):
            made += 1
            call = Call(made, "f", b"", options=CallOptions(priority=rng.choice([None, -1, 0, 1])))
            queue.rank()
            first = getattr(queue, act)(call)
            model.append(call)
            model.sort(key=lambda each: (-(each.options.priority or 0), each.id))
            assert act == "appendleft" or first == (model[0] is call)
        elif model and act == "popleft":
            assert queue.popleft() is model.pop(0)
        elif model and act == "discard":
            queue.discard(model.pop(rng.randrange(len(model))))
        elif model:
            queue.rank()
        assert len(queue) == len(model)
        if model:
            assert queue.head is model[0]
    assert list(queue) == model
