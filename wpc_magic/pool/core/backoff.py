"""The delay before a worker is restarted or a call retried, and the restart limit."""

from __future__ import annotations

from ..options import PoolOptions

__all__ = ["backoff_s", "crash_delay_s", "restart_delay_s"]


def restart_delay_s(attempt: int, options: PoolOptions, random: float) -> float | None:
    """Return the delay before a restart, in seconds; None: do not restart. See `backoff_s`.

    Parameters
    ----------
    attempt : int
        The consecutive deaths at start or while idle, this one included; from 1.
    options : PoolOptions
        The pool's options.
    random : float
        In [0, 1).

    Examples
    --------
    >>> options = PoolOptions(restart_jitter_ms=0)
    >>> [restart_delay_s(k, options, 0.5) for k in (1, 2, 3, 4)]
    [0.1, 0.2, 0.4, None]
    """
    if not options.restart_on_failure or attempt > options.max_restarts_per_worker:
        return None
    return backoff_s(attempt, options, random)


def crash_delay_s(attempt: int, options: PoolOptions, random: float) -> float | None:
    """Return the delay before a restart after a death while a call ran; None: do not restart.

    Such a death is the call's: the worker could start, and could run calls. So there is no limit, and the
    first replacement comes at once; only those that follow without a call that ended well in between wait.

    Parameters
    ----------
    attempt : int
        The consecutive deaths while a call ran, this one included; from 1.
    options : PoolOptions
        The pool's options.
    random : float
        In [0, 1).

    Examples
    --------
    >>> options = PoolOptions(restart_jitter_ms=0, max_restarts_per_worker=0)
    >>> [crash_delay_s(k, options, 0.5) for k in (1, 2, 3, 99)]
    [0.0, 0.1, 0.2, 5.0]
    """
    if not options.restart_on_failure:
        return None
    return backoff_s(attempt - 1, options, random) if attempt > 1 else 0.0


def backoff_s(attempt: int, options: PoolOptions, random: float) -> float:
    """Return the delay before a retry, in seconds.

    ``min(base * 2**(attempt - 1), max) + random * jitter``, and never more than ``max``: capped exponential
    backoff with jitter, as in the original.

    Parameters
    ----------
    attempt : int
        How often it has failed; from 1.
    options : PoolOptions
        The pool's options.
    random : float
        In [0, 1).
    """
    cap = options.restart_max_delay_ms
    # The exponent is bounded so that a large `attempt` does not compute a huge integer before the cap.
    delay = min(options.restart_base_delay_ms * 2 ** min(attempt - 1, 40), cap)
    return float(min(delay + random * options.restart_jitter_ms, cap)) / 1000
