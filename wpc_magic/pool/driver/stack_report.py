"""The stacks of a worker at one moment, formatted with source lines."""

from __future__ import annotations

import linecache
import os
import re
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..nameless import NAMELESS
from ..wire.protocol import Stack

__all__ = ["Frame", "StackReport", "format_stacks", "parse_dump", "user_frames"]

Frame = tuple[str, int, str]
"""File, line and function."""

# The package as this process has it, and as machines of a cluster are given it (`engines.dask.agent`).
_PACKAGE = re.compile(
    re.escape(str(Path(__file__).resolve().parents[2]) + os.sep) + r"|.*/wpc-magic/[0-9a-f]{32}/wpc_magic/"
)
_TASKS = os.sep + os.path.join("pool", "worker", "tasks.py")
_THREAD = re.compile(r"^(Current thread|Thread) 0x\w+ ?(?:\[(.*)\] )?\(most recent call first\):$")
_FRAME = re.compile(r'^  File "(.*)", line (\d+|\?\?\?) in (.*)$')
_ESCAPE = re.compile(r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}")


class StackReport:
    """What a worker was doing at one moment. Source lines are read lazily, when the text is used.

    So this is not done in the driver's thread, because a file may be slow to read.

    Parameters
    ----------
    head : str
        A summary in one line, without the stacks.
    stacks : sequence of Stack
        The stacks of its threads and coroutines.
    names : mapping
        The names of the calls, by sequence number.
    """

    def __init__(
        self, head: str, stacks: Sequence[Stack] = (), names: Mapping[int, str] | None = None
    ) -> None:
        self._head = head
        self._stacks, self._names = stacks, names or {}
        self._text: str | None = None

    @property
    def stacks(self) -> str:
        """The stacks; empty if there are none, or none with user code."""
        if self._text is None:
            self._text = format_stacks(self._stacks, self._names)
            self._stacks = ()
        return self._text

    def __str__(self) -> str:
        return f"{self._head}:\n{self.stacks}" if self.stacks else self._head


def format_stacks(stacks: Sequence[Stack], names: Mapping[int, str]) -> str:
    """Return stacks as text, without the frames of the pool itself.

    Parameters
    ----------
    stacks : sequence of Stack
        The stacks, the main thread's first.
    names : mapping
        The names of the calls, by sequence number.
    """
    parts: list[str] = []
    for stack in stacks:
        frames = user_frames(stack)
        if frames is None or not (frames or stack.kind == "coroutine"):
            continue
        if stack.kind == "main" and parts:
            parts.append("in the main thread:")
        elif stack.kind == "thread":
            parts.append(f"in thread {stack.name!r}:" if stack.name else "in another thread:")
        elif stack.kind == "coroutine" and not stack.frames:
            parts.append(stack.name)
        elif stack.kind == "coroutine":
            name = names.get(stack.seq)
            parts.append(f"in {name}, which waits:" if name else f"in the task {stack.name!r}, which waits:")
        parts.append(_format_shortened(frames, stack.left_out))
    return "\n".join(part for part in parts if part)


def user_frames(stack: Stack) -> list[Frame] | None:
    """Return the frames of user code, and of what it calls; None: the thread belongs to the pool."""
    frames = list(stack.frames)
    if stack.kind == "thread":
        while frames and os.path.basename(frames[0][0]) == "threading.py":
            del frames[0]  # the bootstrap of every thread
        if frames and _PACKAGE.match(frames[0][0]):
            return None
    if stack.kind == "main":
        if frames and frames[0][0] == "<string>":
            del frames[0]  # the worker's bootstrap code
        loops = [n for n, (file, *_) in enumerate(frames) if _PACKAGE.match(file) and file.endswith(_TASKS)]
        if loops:
            rest = frames[loops[-1] + 1 :]
            while rest and _is_event_loop(rest[0][0]):
                del rest[0]
            frames = rest
    return [
        frame
        for frame in frames
        if not _PACKAGE.match(frame[0]) and not frame[0].startswith("<frozen importlib")
    ]


def _is_event_loop(file: str) -> bool:
    folder, name = os.path.split(file)
    return os.path.basename(folder) == "asyncio" or name == "selectors.py"


def _format_shortened(frames: Sequence[Frame], left_out: int) -> str:
    for file in {file for file, _, _ in frames}:
        linecache.checkcache(file)
    half = len(frames) // 2 if left_out else 0
    parts = [_format(frames[:half]), f"  ... and {left_out} more" if left_out else "", _format(frames[half:])]
    return "\n".join(part for part in parts if part)


def _format(frames: Sequence[Frame]) -> str:
    # Such a text of a worker is none of this process: no line of it is known here.
    summary = traceback.StackSummary.from_list(
        [(*frame, "" if frame[0] in NAMELESS else None) for frame in frames]
    )
    return "".join(summary.format()).rstrip("\n")


def parse_dump(text: str) -> tuple[str, list[Stack]]:
    """Parse the output of `faulthandler`; return the line with the reason (of a crash), and the stacks.

    The main thread is last in the dump, and first in the result, after the thread that crashed, if any.
    """
    why = ""
    threads: list[tuple[str, str, list[Frame]]] = []
    found: list[Frame] | None = None
    for line in text.split("\n"):
        if line.startswith("Fatal Python error: "):
            why, threads, found = line, [], None
        elif thread := _THREAD.match(line):
            found = []
            threads.append((thread[1], thread[2] or "", found))
        elif found is not None and (frame := _FRAME.match(line)):
            number = int(frame[2]) if frame[2].isdecimal() else 0
            found.insert(0, (_unescape(frame[1]), number, _unescape(frame[3])))
        elif line and not line.startswith(" "):
            found = None  # other lines of a crash report
    stacks = [Stack("thread", name, 0, tuple(frames), 0) for _, name, frames in threads]
    if stacks:
        stacks.insert(0, stacks.pop()._replace(kind="main", name=""))
    for n, (which, _, _) in enumerate(threads[:-1], 1):
        if why and which == "Current thread":
            stacks.insert(0, stacks.pop(n))
    return why, stacks


def _unescape(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[0][2:], 16)), text)
