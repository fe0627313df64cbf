"""What a pool tells of its workers, its shared memory and its queue."""

from __future__ import annotations

from typing import Any

from tests.pool.conftest import Door


def test_what_is_queued_is_named_and_cancelled_and_what_runs_goes_on(make_pool: Any, door: Door) -> None:
    pool = make_pool(1)
    running = pool.call.held(door.path, 5)
    visit = door.wait()
    ahead = [pool.call.held(door.path) for _ in range(3)]
    queued = [id_ for id_, name in pool.queued_calls() if name == "held"]
    assert set(queued) <= {f"call-{future.call_id}" for future in ahead}
    assert pool.cancel_queued() == len(queued)
    assert pool.queued_calls() == []
    cancelled = [future for future in ahead if f"call-{future.call_id}" in queued]
    assert all(future.cancelled() for future in cancelled)
    for future in ahead:
        future.cancel()
    visit.let_go()
    assert running.result() == 5


def test_large_arguments_take_shared_memory_and_the_peak_stays(make_pool: Any) -> None:
    pool = make_pool(1, "def size(data):\n    return len(data)\n", block_memory_mb=64)
    before = pool.block_memory()
    assert (before.used, before.total, before.peak, before.limit) == (0, 0, 0, 64 << 20)
    assert pool.call.size(bytearray(8 << 20)).result() == 8 << 20
    after = pool.block_memory()
    assert after.peak >= 8 << 20
    assert after.used <= after.total <= after.peak


def test_who_holds_a_definition_is_known_and_whether_it_lies_in_memory_once(make_pool: Any) -> None:
    pool = make_pool(2, "def half(x):\n    return x / 2\n")
    pool.define_worker_constant(name="SEED", value=42)
    pool.define_worker_constant(name="DATA", value=bytearray(1 << 20))
    held = pool.holders()
    assert held["half"].workers == [1, 2]
    assert (held["SEED"].is_shared, held["DATA"].is_shared) == (False, True)
