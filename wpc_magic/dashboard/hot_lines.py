"""The lines where time goes, per function: counted from samples of stacks; pure.

A sample counts for one line, the innermost of the user's own code: what a library does counts for the line
that calls it. Beside it stands for how many samples a line was anywhere on the stack.
"""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple, TypedDict

from wpc_magic.pool.options import shown_name

if TYPE_CHECKING:
    from wpc_magic.pool.driver.sampling import StackSample

__all__ = ["MOST_FUNCTIONS", "MOST_LINES", "HotFunction", "HotLine", "HotLines", "is_library"]

MOST_FUNCTIONS = 8
"""How many functions are shown."""

MOST_LINES = 8
"""How many lines of each."""

_MOST_KEPT = 2000  # lines of all functions that are counted; when there are more, the rarer half is forgotten

_STANDARD = sysconfig.get_paths()["stdlib"]
_LIBRARY = re.compile(r"[\\/](?:site|dist)-packages[\\/]|[\\/]lib[\\/]python3\.\d+[\\/]|^<frozen ")


class _Line(NamedTuple):
    file: str
    line: int
    name: str


class HotLine(TypedDict):
    """A line of the code that a function runs."""

    path: str  # of the file
    file: str  # how that is shown
    line: int
    name: str  # the function in which it is
    here: (
        float  # the share of its function's samples at this line, and in the libraries that it calls; 0 to 1
    )
    below: float  # the same with all that it calls
    source: str


class HotFunction(TypedDict):
    """A function, and the lines at which it was found, the hottest first."""

    function: str
    samples: int
    share: float  # of all samples, from 0 to 1
    lines: list[HotLine]
    others: int  # lines that are not shown


class _Function:
    def __init__(self) -> None:
        self.samples = 0
        self.lines: dict[_Line, list[int]] = {}  # how many samples here, and below

    def count(self, frames: Iterable[_Line], at: _Line, weight: int) -> None:
        self.samples += weight
        for line in {*frames, at}:  # once, however often a function calls itself
            counts = self.lines.setdefault(line, [0, 0])
            counts[0] += weight * (line == at)
            counts[1] += weight


class HotLines:
    """Counts samples.

    Examples
    --------
    >>> from wpc_magic.pool.driver.sampling import StackSample
    >>> hot = HotLines()
    >>> for line in (3, 3, 3, 4):
    ...     hot.add(StackSample(1, "fit", 1, (("fit.py", 9, "fit"), ("fit.py", line, "step"))))
    >>> (fit,) = hot.rows()
    >>> [(line["name"], line["line"], line["here"], line["below"]) for line in fit["lines"]]
    [('step', 3, 0.75, 0.75), ('step', 4, 0.25, 0.25), ('fit', 9, 0.0, 1.0)]
    """

    def __init__(self) -> None:
        self.samples = 0
        self._functions: dict[str, _Function] = {}

    def add(self, sample: StackSample) -> None:
        """Count a sample."""
        if not sample.frames:
            return
        frames = [_Line(*frame) for frame in sample.frames]
        own = [frame for frame in frames if not is_library(frame.file)] or frames[-1:]
        self.samples += sample.weight
        self._functions.setdefault(sample.function, _Function()).count(own, own[-1], sample.weight)
        if sum(len(each.lines) for each in self._functions.values()) > _MOST_KEPT:
            self._forget_rare()

    def _forget_rare(self) -> None:
        counts = (count for each in self._functions.values() for _, count in each.lines.values())
        least = sorted(counts, reverse=True)[_MOST_KEPT // 2]
        for name, each in list(self._functions.items()):
            each.lines = {line: count for line, count in each.lines.items() if count[1] > least}
            if not each.lines:
                del self._functions[name]

    def rows(self) -> list[HotFunction]:
        """Return the functions that were found most, the first first; `file` and `source` are empty."""
        ordered = sorted(self._functions.items(), key=lambda item: (-item[1].samples, item[0]))
        return [
            HotFunction(
                function=name,
                samples=each.samples,
                share=_share(each.samples, self.samples),
                lines=_lines(each),
                others=max(0, len(each.lines) - MOST_LINES),
            )
            for name, each in ordered[:MOST_FUNCTIONS]
        ]


def _lines(function: _Function) -> list[HotLine]:
    ordered = sorted(function.lines.items(), key=lambda item: (-item[1][0], -item[1][1], item[0]))
    return [
        HotLine(
            path=line.file,
            file="",
            line=line.line,
            name=shown_name(line.name),
            here=_share(here, function.samples),
            below=_share(below, function.samples),
            source="",
        )
        for line, (here, below) in ordered[:MOST_LINES]
    ]


def is_library(file: str) -> bool:
    """Tell whether a file is of Python or of an installed package, here or on another machine.

    Examples
    --------
    >>> is_library("/opt/env/lib/python3.12/site-packages/numpy/linalg.py"), is_library("/home/me/fit.py")
    (True, False)
    """
    return file.startswith(_STANDARD) or _LIBRARY.search(file) is not None


def _share(part: int, whole: int) -> float:
    return round(part / whole, 3) if whole else 0.0
