"""How much of the machine this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

import psutil

from . import control_groups
from .control_groups import cpu_quota, memory_limit, memory_used_percent

__all__ = ["have_two_cores", "memory_left", "usable_cores", "usable_memory", "used_percent"]

_ROOT = Path("/")


def usable_cores(root: Path = _ROOT) -> int:
    """Return the number of cores that this process may use, by its affinity and its control groups.

    A quota of one and a half processors counts as two.

    Parameters
    ----------
    root : Path
        The folder that stands for ``/``.
    """
    if hasattr(os, "process_cpu_count"):  # Python 3.13; it knows the interpreter's own option, too
        count = os.process_cpu_count() or 1
    elif hasattr(os, "sched_getaffinity"):
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    quota = cpu_quota(root)
    return count if quota is None else max(1, min(count, math.ceil(quota)))


def have_two_cores(root: Path = _ROOT) -> bool:
    """Return whether two processes may use a core each, all the time.

    Parameters
    ----------
    root : Path
        The folder that stands for ``/``.
    """
    quota = cpu_quota(root)
    return usable_cores(root) > 1 and (quota is None or quota >= 2)


def usable_memory(root: Path = _ROOT) -> int:
    """Return how much memory this process may use, in bytes.

    Parameters
    ----------
    root : Path
        The folder that stands for ``/``.
    """
    total, limit = psutil.virtual_memory().total, memory_limit(root)
    return total if limit is None else min(total, limit)


def memory_left(root: Path = _ROOT) -> int:
    """Return how much more memory this process may use, in bytes; 0 if that is not known.

    Parameters
    ----------
    root : Path
        The folder that stands for ``/``.
    """
    try:
        available = psutil.virtual_memory().available
    except OSError:  # no file descriptor is left
        return 0
    limit = control_groups.memory_left(root)
    return available if limit is None else min(available, limit)


def used_percent(root: Path = _ROOT) -> float:
    """Return how much memory is in use, of that of the machine or of a control group, in percent.

    Parameters
    ----------
    root : Path
        The folder that stands for ``/``.
    """
    try:
        machine = psutil.virtual_memory().percent
    except OSError:  # no file descriptor is left
        machine = 0.0
    return max(machine, memory_used_percent(root))
