"""Everything at once, at random: ``python -m tests.soak --seconds 600 [--seed N]``.

A seed decides what each thread does, in order; how the threads interleave it does not.
"""

from __future__ import annotations

import argparse
import random
import sys

from .soak import Soak


def main() -> int:
    """Run, and say how it was."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long; 60 if it is not said")
    parser.add_argument("--seed", type=int, help="of a run that is to be repeated")
    asked = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed
    print(f"seed {seed}", flush=True)
    wrong = Soak(seed).run(asked.seconds)
    for each in wrong:
        print(f"WRONG: {each}")
    verdict = "failed" if wrong else "all is well"
    print(f"{verdict}; again: python -m tests.soak --seconds {asked.seconds:g} --seed {seed}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
