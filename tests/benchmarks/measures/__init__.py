"""What is measured, by theme, in the order of the run."""

from __future__ import annotations

from ..bench import Measure
from . import arrays, calls, constants, definitions, growth, lifecycle, mapping, steps

__all__ = ["ALL"]

ALL: list[Measure] = [
    # One worker, then two: neighbours share what is open.
    *calls.ONE_WORKER,
    *arrays.MEASURES,
    *calls.TWO_WORKERS,
    *mapping.MEASURES,
    *calls.OWN,
    *lifecycle.MEASURES,
    *definitions.MEASURES,
    *constants.MEASURES,
    *growth.MEASURES,
    *steps.MEASURES,
]
