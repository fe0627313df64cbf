"""Time in which the pool itself did not run is no call's, and no worker's."""

from __future__ import annotations

import pytest

from tests.pool.core.harness import World, make
from wpc_magic.pool.errors import CallTimeoutError, QueueTimeoutError


def pause(world: World, seconds: float) -> None:
    """Let time pass in which no timer is looked at."""
    world.now += seconds
    world.core.paused(seconds, world.now)
    world.apply()


def test_a_call_has_its_time_although_the_pool_paused_while_it_ran() -> None:
    world = make(1)
    call = world.submit("f", timeout_ms=1500)
    world.run_for(1.0)
    pause(world, 60.0)
    world.run_for(0.4)
    assert call.id not in world.ended
    world.run_for(0.2)
    assert isinstance(world.ended[call.id], CallTimeoutError)


def test_a_call_that_began_after_a_pause_has_no_more_than_its_time() -> None:
    world = make(1)
    first, call = world.submit("f"), world.submit("f", timeout_ms=1500)
    world.run()
    pause(world, 60.0)
    world.answer(first)
    world.run_for(1.4)
    assert call.id not in world.ended
    world.run_for(0.2)
    assert isinstance(world.ended[call.id], CallTimeoutError)


def test_a_queued_call_has_its_time_although_the_pool_paused() -> None:
    world = make(1)
    world.submit("f")
    call = world.submit("f", queue_timeout_ms=1500)
    world.run_for(1.0)
    pause(world, 60.0)
    world.run_for(0.4)
    assert call.id not in world.ended
    world.run_for(0.2)
    assert isinstance(world.ended[call.id], QueueTimeoutError)


def test_no_worker_is_taken_for_silent_because_the_pool_paused() -> None:
    world = make(1, heartbeat_interval_ms=1000, unresponsive_after_ms=5000)
    world.workers[1].hangs = True
    world.run_for(4.5)
    pause(world, 60.0)
    assert world.states() == ["ready"]
    world.run_for(6.0)
    assert world.states() == ["degraded"]


def test_a_call_that_is_to_end_has_its_grace_although_the_pool_paused() -> None:
    world = make(1, interrupt_grace_ms=500)
    call = world.submit("f")
    world.run()
    world.workers[1].interruptible = False
    world.cancel(call)
    world.run()
    pause(world, 60.0)
    world.advance(0.4)
    assert not world.workers[1].killed
    world.advance(0.2)
    assert world.workers[1].killed


@pytest.mark.parametrize("option", ["timeout_ms", "queue_timeout_ms"])
def test_the_pool_looks_at_the_clock_while_a_call_with_a_timeout_is_pending_and_no_longer(
    option: str,
) -> None:
    world = make(1, heartbeat_interval_ms=60_000)
    world.run_for(1.0)
    timers = world.core.state.timers
    assert timers.next_due > world.now + 1.0
    call = world.submit("f", **{option: 3_600_000})
    for _ in range(10):
        assert timers.next_due <= world.now + 0.25
        world.run_for(1.0)
    world.answer(call)
    world.run_for(1.0)
    assert timers.next_due > world.now + 1.0
