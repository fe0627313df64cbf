"""A call that raises what it is retried on runs again after a delay; any other error ends it."""

from __future__ import annotations

import pytest

from tests.pool.core.harness import World, make
from wpc_magic.pool.errors import WorkerCrashedError


@pytest.mark.parametrize(
    ("retries", "retry_on", "failures", "value"),
    [
        (2, "OSError", 2, True),
        (2, "OSError", 3, False),
        (2, "FileNotFoundError", 1, True),
        (2, "ConnectionError", 1, False),
        (0, "OSError", 1, False),
        (2, None, 1, False),
    ],
)
@pytest.mark.parametrize("of_the_function", [True, False])
def test_a_declared_error_is_retried_as_often_as_declared(
    retries, retry_on, failures, value, of_the_function
):
    world = World(2, restart_base_delay_ms=100)
    options = {"retries": retries, "retry_on": retry_on}
    world.define("f", **(options if of_the_function else {}))
    call = world.submit("f", **({} if of_the_function else options))
    for _ in range(failures):
        world.run()
        if call.id not in world.ended:
            world.answer(call, ok=False)
            world.advance(6.0)
    world.answer_all()
    assert world.ended[call.id] is value
    assert world.runs[call.id] == (failures + 1 if value else 1 + (retries if failures > 1 else 0))


def test_it_waits_longer_each_time_and_the_event_has_the_error():
    world = make(1, restart_base_delay_ms=100, restart_max_delay_ms=300)
    call = world.submit("f", retries=3, retry_on="OSError")
    for delay in (0.1, 0.2, 0.3):
        world.run()
        world.answer(call, ok=False)
        world.advance(delay - 0.001)
        assert world.where(call) is None
        world.advance(0.002)
        assert world.where(call) == 1
    events = [event for event in world.events if event.event_name == "call_retry_scheduled"]
    assert [event.details["attempt"] for event in events] == [2, 3, 4]
    assert all(event.error is not None for event in events)


def test_deaths_and_errors_count_together():
    world = make(2, restart_base_delay_ms=100)
    call = world.submit("f", retries=1, retry_on="OSError")
    world.run()
    world.answer(call, ok=False)
    world.advance(1.0)
    world.run()
    world.die(world.where(call))
    assert isinstance(world.ended[call.id], WorkerCrashedError)


def test_a_cancelled_call_is_not_retried_for_the_error_of_its_end():
    world = make(1)
    call = world.submit("f", retries=3, retry_on="OSError")
    world.run()
    world.cancel(call)
    world.run()
    world.advance(6.0)
    world.answer_all()
    assert (world.ended[call.id], world.runs[call.id]) == (None, 1)


def test_a_retry_of_a_limited_function_waits_for_its_limit_as_any_call():
    world = make(2, restart_base_delay_ms=100)
    world.define("db", at_most=1, retries=2, retry_on="OSError")
    first, second = world.submit("db"), world.submit("db")
    world.run()
    world.answer(first, ok=False)
    assert world.where(second) is not None
    world.advance(1.0)
    assert world.where(first) is None
    world.answer_all()
    assert [world.ended[call.id] for call in (first, second)] == [True, True]
