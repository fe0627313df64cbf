"""The measure of scale, in small: that its workers, which are simulated, do what those of a cluster do."""

from tests.benchmarks.scale import ROWS, measure, pool_of


def test_simulated_workers_answer_as_real_ones_do():
    with pool_of(0, 3) as pool:
        found = measure(pool, 3, quick=True)
        assert [worker.host for worker in pool.snapshot().workers] == ["host-1"] * 3
    assert found.keys() == ROWS.keys()
    assert found["chunks"] > 0
