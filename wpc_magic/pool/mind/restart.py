"""When a dead worker comes back, and when no more."""

from __future__ import annotations

from ..options import PoolOptions

__all__ = ["backoff_s", "restart_delay_s"]


def restart_delay_s(attempt: int, options: PoolOptions, dice: float) -> float | None:
    """Return the delay before a restart, in seconds; None if there is to be none. See `backoff_s`.

    Parameters
    ----------
    attempt : int
        The deaths in a row that are not forgotten, this one included; from 1.
    options : PoolOptions
        The pool's.
    dice : float
        From 0 up to 1.

    Examples
    --------
    >>> options = PoolOptions(restart_jitter_ms=0)
    >>> [restart_delay_s(k, options, 0.5) for k in (1, 2, 3, 4)]
    [0.1, 0.2, 0.4, None]
    """
    if not options.restart_on_failure or attempt > options.max_restarts_per_worker:
        return None
    return backoff_s(attempt, options, dice)


def backoff_s(attempt: int, options: PoolOptions, dice: float) -> float:
    """Return how long to wait before something is tried again, in seconds.

    ``min(base * 2**(attempt - 1), max) + dice * jitter``, and never more than ``max``: capped exponential
    backoff with jitter, as in the original.

    Parameters
    ----------
    attempt : int
        How often it has failed; from 1.
    options : PoolOptions
        The pool's.
    dice : float
        From 0 up to 1.
    """
    most = options.restart_max_delay_ms
    # The exponent is bounded so that a large attempt makes no huge number on its way to the cap.
    delay = min(options.restart_base_delay_ms * 2 ** min(attempt - 1, 40), most)
    return float(min(delay + dice * options.restart_jitter_ms, most)) / 1000
