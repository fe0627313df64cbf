"""Calls that wait for the values of others: when they are queued, and how they end before that."""

from __future__ import annotations

import pytest

from tests.pool.core.harness import begun, make
from wpc_magic.pool.core.call_place import place_of
from wpc_magic.pool.errors import (
    FunctionNotDefinedError,
    NoWorkerError,
    PoolStoppedError,
    QueueTimeoutError,
    SaturatedError,
)


def place(world, call):
    return str(place_of(call, world.core.state, world.core.dispatcher, world.now))


def test_it_is_sent_when_the_last_value_is_there():
    world = make(2)
    first, also = world.submit("f"), world.submit("f")
    call = world.submit("f", after=[first, also])
    world.run()
    world.answer(first)
    assert call.id not in world.sent
    assert world.core.dispatcher.queued.count == 1
    world.answer(also)
    world.answer_all()
    assert world.ended[call.id] is True
    assert world.core.dispatcher.queued.count == 0


def test_a_worker_that_is_idle_takes_other_calls_meanwhile():
    world = make(2)
    first = world.submit("f")
    call = world.submit("f", after=[first])
    other = world.submit("f")
    world.run()
    assert begun(world)[-2:] == [first.id, other.id]
    world.answer_all()
    assert begun(world)[-1] == call.id


def test_it_goes_ahead_of_what_was_queued_so_that_values_do_not_pile_up():
    world = make(1)
    firsts = [world.submit("f") for _ in range(6)]
    calls = [world.submit("f", after=[each]) for each in firsts]
    world.answer_all()
    order = begun(world)
    for call, later in zip(calls, firsts[2:], strict=False):  # the next one has been sent with the answer
        assert order.index(call.id) < order.index(later.id)


def test_it_says_what_it_waits_for():
    world = make(1)
    firsts = [world.submit("f") for _ in range(3)]
    call = world.submit("f", after=firsts)
    assert place(world, call) == f"waits for {firsts[0]} and 2 more"
    snapshot = world.core.snapshot("wpc", world.now, {})
    assert (snapshot.queued, snapshot.dependent) == (3, 1)


@pytest.mark.parametrize("ok", [False, True])
def test_it_ends_as_one_ends_that_it_waits_for(ok):
    world = make(1)
    first, also = world.submit("f"), world.submit("f")
    call = world.submit("f", after=[also, first])
    last = world.submit("f", after=[call])
    world.run()
    if ok:
        world.cancel(first)
        assert world.ended[call.id] is world.ended[last.id] is None
    else:
        world.answer(first, ok=False)
        assert world.ended[call.id] is world.ended[last.id] is False
    assert also.id not in world.ended
    assert world.core.dispatcher.queued.count == 1 - (not ok)
    assert not world.let_go


def test_one_that_is_cancelled_lets_go_of_what_it_waits_for():
    world = make(1)
    first = world.submit("f")
    call = world.submit("f", after=[first])
    assert world.cancel(call)
    assert world.let_go == [(call.id, True)]
    world.answer_all()
    assert world.ended == {**world.ended, first.id: True, call.id: None}


def test_its_queue_timeout_counts_from_when_it_is_queued():
    world = make(1)
    first = world.submit("f")
    call = world.submit("f", after=[first], queue_timeout_ms=100)
    world.run()
    world.advance(10.0)
    assert call.id not in world.ended
    blocks = world.submit("f", worker_id=1)
    world.answer(first)
    world.run()
    assert world.where(blocks) or world.where(call)
    world.advance(1.0)
    world.answer_all()
    assert isinstance(world.ended[call.id], QueueTimeoutError) or world.ended[call.id] is True


def test_it_is_admitted_when_it_is_made():
    world = make(1, max_pending_calls_per_worker=2)
    first = world.submit("f")
    world.submit("f", after=[first])
    with pytest.raises(SaturatedError):
        world.submit("f", after=[first])
    with pytest.raises(FunctionNotDefinedError):
        world.submit("unknown", after=[first])


def test_it_ends_if_its_function_is_gone_when_it_could_run():
    world = make(1)
    first = world.submit("f")
    call = world.submit("quick", after=[first])
    world.run()
    world.propose(removed=("quick",))
    world.answer_all()
    assert isinstance(world.ended[call.id], FunctionNotDefinedError)


def test_it_ends_with_the_pool():
    world = make(1)
    call = world.submit("f", after=[world.submit("f")])
    world.stop()
    assert isinstance(world.ended[call.id], PoolStoppedError)
    assert world.let_go == [(call.id, False)]


def test_it_ends_with_the_only_worker_that_may_run_it():
    world = make(2)
    first = world.submit("f", worker_id=1)
    call = world.submit("f", after=[first], worker_id=2)
    world.resize(1)
    assert isinstance(world.ended[call.id], NoWorkerError)
    world.answer_all()
    assert world.ended[first.id] is True
