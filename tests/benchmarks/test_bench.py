"""The run, with a measure that takes longer than it may."""

from tests.benchmarks.bench import QUICK, Bench, Measure
from tests.benchmarks.contestants import US
from tests.benchmarks.measures import calls


def test_a_turn_ends_at_the_limit_of_its_measure():
    bench = Bench(QUICK)
    try:
        # It takes a second, and may take forty in a quick run.
        bench.run([Measure("fairness", calls.fairness, ["fairness"], who=[US], limit_s=0.01)])
        assert bench.results["fairness"][US].values == []
        assert bench.results["fairness"][US].error == "no answer within 0 s"
    finally:
        bench.close()
