"""What goes on: how far each map is, how one is stopped from elsewhere, and which calls run."""

from __future__ import annotations

import gc
from concurrent.futures import CancelledError, wait
from typing import Any

import pytest

from wpc_magic.pool.maps.running import RunningMap


def test_a_map_says_how_far_it_is_until_its_caller_has_all(make_pool: Any, door: Any) -> None:
    pool = make_pool(1)
    results = pool.map("held", [door.path] * 3, range(3), chunk_size=1)
    visit = door.wait()
    (seen,) = pool.running_maps()
    assert seen == RunningMap(1, "held", total=3, sent=3, in_flight=3)
    assert (seen.rate, seen.left_s) == (None, None)
    visit.let_go()
    assert next(results) == 0
    (seen,) = pool.running_maps()
    assert (seen.done, seen.failed, seen.in_flight) == (1, 0, 2)
    assert seen.running_s is not None
    assert seen.rate is not None
    assert seen.left_s == pytest.approx(2 / seen.rate)
    for _ in range(2):
        door.wait().let_go()
    assert list(results) == [1, 2]
    assert pool.running_maps() == []


def test_the_items_of_a_generator_have_no_total_and_those_that_fail_are_told(make_pool: Any) -> None:
    pool = make_pool(1, "def odd(n):\n    if n % 2 == 0: raise ValueError(n)\n    return n")
    results = pool.map("odd", (n for n in range(10_000)), on_error="skip")
    next(results)
    (seen,) = pool.running_maps()
    assert (seen.total, seen.failed > 0, seen.left_s) == (None, True, None)
    assert seen.sent >= seen.done + seen.failed
    del results
    gc.collect()
    assert pool.running_maps() == [], "a map that nobody has any more is over"


def test_a_map_is_stopped_from_elsewhere_and_no_other(make_pool: Any, door: Any) -> None:
    pool = make_pool(1)
    results = pool.map("held", [door.path], on_error="return")
    door.wait()
    others = pool.map("held", [door.path], ["the other"])
    assert pool.stop_map(1)
    assert [seen.number for seen in pool.running_maps()] == [2]
    assert not pool.stop_map(1), "it does not go on any more"
    with pytest.raises(CancelledError):
        next(results)
    door.wait().let_go()
    assert list(others) == ["the other"]
    assert not pool.stop_map(2)


def test_a_map_that_is_stopped_when_nothing_of_it_runs_does_not_look_complete(make_pool: Any) -> None:
    pool = make_pool(1, "def same(n):\n    return n")
    results = pool.map("same", range(10_000), chunk_size=1)
    wait(results._chunks.in_flight())
    (seen,) = pool.running_maps()
    assert 0 < seen.sent < 10_000
    assert pool.stop_map(1)
    received: list[int] = []
    with pytest.raises(CancelledError, match="the map over same was stopped"):
        received.extend(results)
    assert received == list(range(seen.sent))


def test_what_workers_have_begun_is_told_with_how_far_it_says_that_it_is(make_pool: Any, door: Any) -> None:
    pool = make_pool(2, "def fit(door):\n    context.progress(3, 8, 'epoch')\n    held(door)")
    call = pool.call.fit.options(worker_id=2)(door.path)
    visits = [door.wait()]
    results = pool.map("held", [door.path])
    visits.append(door.wait())
    of_map, fit = pool.running_calls()
    assert (of_map.name, of_map.worker_id, of_map.items) == ("held", 1, 1)
    assert (fit.name, fit.worker_id, fit.items, fit.id) == ("fit", 2, 0, f"call-{call.call_id}")
    assert fit.running_s >= 0
    for visit in visits:
        visit.let_go()
    assert results.result() == [None]
    assert call.result() is None
    assert pool.running_calls() == []
