"""A spare worker takes the place of one that has died."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.pool.conftest import children, pids
from wpc_magic.pool.errors import WorkerCrashedError

FUNCTIONS = """
import os

def who(): return os.getpid(), context.worker_id
def dies(): os._exit(7)
"""


@pytest.fixture(params=["spawn", "template"])
def pool(request: pytest.FixtureRequest, make_pool: Any, listen: Any) -> Iterator[Any]:
    """A pool of two workers with a spare that is ready; `listener` is its listener."""
    pool = make_pool(0, FUNCTIONS, spare_workers=1, start_method=request.param)
    pool.shared_counter("count")
    pool.define_worker_functions("def holder():\n    with count.lock:\n        return count.lock.holder")
    pool.listener = listen(pool)
    pool.start_workers(2)
    pool.spare = pool.listener.until("spare_worker_ready")[-1].details["pid"]
    yield pool
    pool.undefine_shared(name="count")  # pytest keeps the pool until the test is over


def test_a_spare_serves_in_the_place_of_a_worker_that_has_died_and_another_one_is_started(pool: Any) -> None:
    before = pids(pool)
    assert pool.spare not in before.values()
    assert pool.snapshot().spare_workers == 1
    pool.define_worker_functions("def later(): return 'defined later'")
    with pytest.raises(WorkerCrashedError):
        pool.call.dies.options(worker_id=2)().result()
    assert pool.call.who.options(worker_id=2)().result() == (pool.spare, 2)
    assert pool.call.later.options(worker_id=2)().result() == "defined later"
    assert pids(pool) == {1: before[1], 2: pool.spare}
    assert pool.listener.until("spare_worker_ready")[-1].details["pid"] not in (*before.values(), pool.spare)
    pool.stop_workers()
    assert not [child for child in children() if child.pid in before.values()]


def test_a_lock_that_was_a_spare_s_is_held_by_a_worker_of_its_new_number(pool: Any) -> None:
    with pytest.raises(WorkerCrashedError):
        pool.call.dies.options(worker_id=1)().result()
    assert pool.call.holder.options(worker_id=1)().result().startswith(f"worker 1 (process {pool.spare}")
