"""What a worker did at one moment, as text with source lines."""

from __future__ import annotations

import linecache
import os
import re
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..wire.protocol import Stack

__all__ = ["Seen", "parse_dump", "show"]

Frame = tuple[str, int, str]

_OURS = str(Path(__file__).resolve().parents[2]) + os.sep
_TASKS = os.path.join("pool", "worker", "tasks.py")
_THREAD = re.compile(r"^(Current thread|Thread) 0x\w+ ?(?:\[(.*)\] )?\(most recent call first\):$")
_FRAME = re.compile(r'^  File "(.*)", line (\d+|\?\?\?) in (.*)$')
_ESCAPED = re.compile(r"\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8}")


class Seen:
    """What a worker did at one moment. Source lines are read when the text is asked for, and then only.

    So that is not done in the thread of the driver: a file may be slow to read.

    Parameters
    ----------
    head : str
        What is known without the stacks.
    stacks : sequence of Stack
        Where its threads and coroutines were.
    names : mapping
        What the calls are named, by their numbers there.
    """

    def __init__(
        self, head: str, stacks: Sequence[Stack] = (), names: Mapping[int, str] | None = None
    ) -> None:
        self._head = head
        self._stacks, self._names = stacks, names or {}
        self._text: str | None = None

    @property
    def stacks(self) -> str:
        """The stacks; empty where there are none, or none with anything of the user's."""
        if self._text is None:
            self._text = show(self._stacks, self._names)
            self._stacks = ()
        return self._text

    def __str__(self) -> str:
        return f"{self._head}:\n{self.stacks}" if self.stacks else self._head


def show(stacks: Sequence[Stack], names: Mapping[int, str]) -> str:
    """Return stacks as text; what is the pool's own in them is left out.

    Parameters
    ----------
    stacks : sequence of Stack
        The main thread's first.
    names : mapping
        What calls are named.
    """
    parts: list[str] = []
    for stack in stacks:
        frames = _users(stack)
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
        parts.append(_lines(frames, stack.left_out))
    return "\n".join(part for part in parts if part)


def _users(stack: Stack) -> list[Frame] | None:
    """Return the frames of the user's code, and of what that calls; None: the thread is one of ours."""
    frames = list(stack.frames)
    if stack.kind == "thread":
        while frames and os.path.basename(frames[0][0]) == "threading.py":
            del frames[0]  # how every thread begins
        if frames and frames[0][0].startswith(_OURS):
            return None
    if stack.kind == "main":
        if frames and frames[0][0] == "<string>":
            del frames[0]  # the line that starts a worker
        loops = [n for n, frame in enumerate(frames) if frame[0] == _OURS + _TASKS]
        if loops:
            rest = frames[loops[-1] + 1 :]
            while rest and _runs_a_loop(rest[0][0]):
                del rest[0]
            frames = rest
    return [
        frame
        for frame in frames
        if not frame[0].startswith(_OURS) and not frame[0].startswith("<frozen importlib")
    ]


def _runs_a_loop(file: str) -> bool:
    folder, name = os.path.split(file)
    return os.path.basename(folder) == "asyncio" or name == "selectors.py"


def _lines(frames: Sequence[Frame], left_out: int) -> str:
    for file in {file for file, _, _ in frames}:
        linecache.checkcache(file)
    half = len(frames) // 2 if left_out else 0
    parts = [_format(frames[:half]), f"  ... and {left_out} more" if left_out else "", _format(frames[half:])]
    return "\n".join(part for part in parts if part)


def _format(frames: Sequence[Frame]) -> str:
    summary = traceback.StackSummary.from_list([(*frame, None) for frame in frames])
    return "".join(summary.format()).rstrip("\n")


def parse_dump(text: str) -> tuple[str, list[Stack]]:
    """Read what `faulthandler` has written; return the line that says why (of a crash), and the stacks.

    The main thread is the last there, and comes first here; before it, only a thread that has crashed.
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
            found.insert(0, (_unescaped(frame[1]), number, _unescaped(frame[3])))
        elif line and not line.startswith(" "):
            found = None  # what else is told of a crash
    stacks = [Stack("thread", name, 0, tuple(frames), 0) for _, name, frames in threads]
    if stacks:
        stacks.insert(0, stacks.pop()._replace(kind="main", name=""))
    for n, (which, _, _) in enumerate(threads[:-1], 1):
        if why and which == "Current thread":
            stacks.insert(0, stacks.pop(n))
    return why, stacks


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[0][2:], 16)), text)
