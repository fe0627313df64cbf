"""Which line a warning is about: the one that has called the package, however deep in it the warning is."""

from __future__ import annotations

import os
import sys

__all__ = ["level_outside"]

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep


def level_outside() -> int:
    """Return the `stacklevel` by which who calls this warns of the line that has called the package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_code.co_filename.startswith(_PACKAGE) and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    return level
