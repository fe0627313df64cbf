"""Streams that are late: what counts is the time in which they run, not that in which they are paused."""

from __future__ import annotations

import gc
from typing import Any

from tests.pool.core.harness import World, make
from wpc_magic.pool.core.stream_calls import StreamCall, paused_streams
from wpc_magic.pool.errors import CallTimeoutError
from wpc_magic.pool.options import CallOptions


def begin(world: World, **options: Any) -> StreamCall:
    """Submit a stream, and have it begin."""
    call = StreamCall(next(world._ids), "f", b"", options=CallOptions(**options))
    world.core.dispatcher.submit(call, world.now)
    world.calls[call.id] = call
    world.apply()
    world.run()
    return call


def items(world: World, call: StreamCall, count: int, paused: bool = False) -> None:
    call.items_arrived(count, 1 + call.credited if paused else 0, world.now)


def credit(world: World, call: StreamCall) -> None:
    call.items_taken(call.received, world.now)
    world.apply()


def error_of(world: World, call: StreamCall) -> str:
    error = world.ended[call.id]
    assert isinstance(error, CallTimeoutError)
    return str(error)


def test_a_stream_that_is_paused_does_not_refer_to_itself():
    world = make(1)
    call = begin(world, item_timeout_ms=1_000)
    items(world, call, 3, paused=True)
    world.run_for(2.0)
    assert call.on_resume is not None
    found = gc.get_referents(call.on_resume)
    found += gc.get_referents(*found)
    assert all(each is not call for each in gc.get_referents(*found))


def test_an_item_in_time_gives_the_next_one_its_own():
    world = make(1)
    call = begin(world, item_timeout_ms=1_000)
    for _ in range(20):
        world.run_for(0.9)
        items(world, call, 1)
    assert not call.ended
    world.run_for(1.1)
    assert error_of(world, call) == f"{call} gave no item for more than 1000 ms on worker 1, and was stopped"


def test_a_pause_of_any_length_does_not_count_for_an_item():
    world = make(1)
    call = begin(world, item_timeout_ms=1_000)
    items(world, call, 3, paused=True)
    assert paused_streams([call]) == 1
    world.run_for(100.0)
    assert not call.ended
    credit(world, call)
    world.run_for(0.9)
    assert not call.ended
    world.run_for(0.2)
    assert "no item for more than 1000 ms" in error_of(world, call)


def test_pauses_do_not_count_for_the_whole():
    world = make(1)
    call = begin(world, timeout_ms=3_000)
    for _ in range(4):
        world.run_for(0.7)
        items(world, call, 1, paused=True)
        world.run_for(50.0)
        credit(world, call)
    assert not call.ended
    world.run_for(0.3)
    assert error_of(world, call) == f"{call} ran for more than 3000 ms on worker 1, and was stopped"


def test_both_limits_hold():
    world = make(1)
    call = begin(world, timeout_ms=3_000, item_timeout_ms=2_000)
    for _ in range(3):
        world.run_for(0.9)
        items(world, call, 1)
    world.run_for(0.4)
    assert "ran for more than 3000 ms" in error_of(world, call)


def test_a_pause_that_was_ended_before_it_was_heard_of_is_none():
    #  worker                     pool
    #  pauses, knows of 0 taken
    #                             tells it that 2 were taken
    #                             reads that it has paused, knowing of 0
    world = make(1)
    call = begin(world, item_timeout_ms=1_000)
    items(world, call, 2)
    known = call.credited
    call.items_taken(2, world.now)
    call.items_arrived(0, 1 + known, world.now)
    assert not call.paused_at
    world.run_for(1.1)
    assert call.ended


def test_a_stream_has_its_worker_for_itself():
    world = make(1)
    call = begin(world)
    quick = [world.submit("quick") for _ in range(3)]
    world.run()
    assert [world.where(each) for each in quick] == [None, None, None]
    world.answer(call)
    world.answer_all()
    assert all(each.ended for each in quick)


def test_a_stream_may_run_again_until_its_first_item_arrives():
    world = make(1)
    call = begin(world, retries=2)
    assert call.retries == 2
    items(world, call, 1)
    assert call.retries == 0
