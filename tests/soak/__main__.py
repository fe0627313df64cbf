"""Everything at once, at random: ``python -m tests.soak --seconds 600 [--seed N]``.

The seed determines the actions of each thread and their order, but not how the threads interleave.
"""

from __future__ import annotations

import argparse
import random
import sys

from .soak import Soak


def main() -> int:
    """Run, and print the result."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="for how long; 60 if it is not said")
    parser.add_argument("--seed", type=int, help="of a run that is to be repeated")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    print(f"seed {seed}", flush=True)
    wrong = Soak(seed).run(arguments.seconds)
    for each in wrong:
        print(f"WRONG: {each}")
    verdict = "failed" if wrong else "all is well"
    print(f"{verdict}; again: python -m tests.soak --seconds {arguments.seconds:g} --seed {seed}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
