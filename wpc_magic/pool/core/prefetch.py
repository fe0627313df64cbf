"""How many calls of a function may be prefetched to one worker."""

from __future__ import annotations

__all__ = ["ASYNC_DEPTH", "MAX_DEPTH", "MAX_DEPTH_S", "QUICK_DEPTH", "prefetch_depth"]

ASYNC_DEPTH = 256
"""How many coroutines may run concurrently on one worker."""

_PREFETCH_S = 0.002  # prefetched calls should keep a worker busy for about this long
MAX_DEPTH = 64
"""How many calls of a synchronous function a worker may have at once, at most."""
MAX_DEPTH_S = _PREFETCH_S / MAX_DEPTH
"""Up to this mean run time it may have as many, in seconds."""
QUICK_DEPTH = MAX_DEPTH // 2
"""So many it may have if a call takes about as long as sleep and waking: 60 µs."""


def prefetch_depth(mean_s: float | None, is_async: bool) -> int:
    """Return how many calls of a function a worker may have at once.

    Calls of quick functions are prefetched, so that the worker never waits for the pipe; those of slow and
    unmeasured functions are sent one at a time, so that none waits behind another while a worker is idle.

    Parameters
    ----------
    mean_s : float or None
        The mean run time of one call, in seconds; None: unknown.
    is_async : bool
        Whether its calls are coroutines.

    Examples
    --------
    >>> [prefetch_depth(mean_s, False) for mean_s in (None, 0.00001, 0.0005, 1.0)]
    [1, 64, 4, 1]
    """
    if is_async:
        return ASYNC_DEPTH
    if mean_s is None:
        return 1
    return max(1, int(_PREFETCH_S / max(mean_s, MAX_DEPTH_S)))
