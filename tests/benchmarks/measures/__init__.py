"""All measures, by theme, in the order of the run."""

from __future__ import annotations

from ..bench import Measure
from . import (
    arrays,
    callbacks,
    calls,
    clusters,
    constants,
    definitions,
    displays,
    growth,
    lifecycle,
    mapping,
    pages,
    pipelines,
    plugged_in,
    steps,
    streams,
)

__all__ = ["ALL"]

ALL: list[Measure] = [
    # One worker, then two: consecutive measures share an open pool.
    *calls.ONE_WORKER,
    *arrays.MEASURES,
    *calls.TWO_WORKERS,
    *callbacks.MEASURES,
    *mapping.MEASURES,
    *plugged_in.MEASURES,
    *pipelines.MEASURES,
    *calls.OWN,
    *streams.MEASURES,
    *lifecycle.MEASURES,
    *definitions.MEASURES,
    *constants.MEASURES,
    *growth.MEASURES,
    *clusters.MEASURES,
    *displays.MEASURES,
    *pages.MEASURES,
    *steps.MEASURES,
]
