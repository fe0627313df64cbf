"""What is told of the death of a worker."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..wire.page import PEAK
from .seen import Seen, parse_dump

if TYPE_CHECKING:
    from ..mind.calls import Call
    from .link import Link

__all__ = ["Crash", "OutOfMemory", "crash_of"]

_FRESH_S = 5.0


class OutOfMemory:
    """Whether the system has ended a process lately because memory ran out.

    It counts such ends for the whole machine, and for the control group of this process and its workers.

    Parameters
    ----------
    files : sequence of Path, optional
        Where it tells the counts; by default those of this machine.
    """

    def __init__(self, files: Sequence[Path] | None = None) -> None:
        self._files = _counters() if files is None else files
        self._old = self._young = self._read()
        self._young_at = 0.0

    def look(self, now: float) -> None:
        """Forget what was some seconds ago. Called now and then.

        The counts are compared with those of the time before last: of a death, we may hear a while later.
        """
        if now - self._young_at >= _FRESH_S:
            self._old, self._young, self._young_at = self._young, self._read(), now

    def struck(self) -> bool | None:
        """Return whether it has done so in the last seconds; None: the system does not tell."""
        now = self._read()
        if not now:
            return None
        return any(count > self._old.get(file, count) for file, count in now.items())

    def _read(self) -> dict[Path, int]:
        found = {}
        for file in self._files:
            try:
                lines = file.read_text().splitlines()
            except (OSError, ValueError):
                continue
            for word, _, count in (line.partition(" ") for line in lines):
                if word == "oom_kill" and count.strip().isdecimal():
                    found[file] = int(count)
        return found


def _counters() -> list[Path]:
    files = [Path("/proc/vmstat")]
    try:
        groups = Path("/proc/self/cgroup").read_text().splitlines()
    except (OSError, ValueError):
        return files
    for group in groups:
        _, kinds, path = group.split(":", 2)
        if kinds == "memory":
            root, name = Path("/sys/fs/cgroup/memory"), "memory.oom_control"
        elif not kinds:
            root, name = Path("/sys/fs/cgroup"), "memory.events"
        else:
            continue
        # In a container, the path may be that of the machine outside, and the group is the root here.
        places = [root / path.lstrip("/") / name, root / name]
        files += [place for place in places if place.exists()][:1]
    return files


class Crash(NamedTuple):
    """How a worker died.

    Parameters
    ----------
    how : str
        The end of a sentence: ``"was killed by SIGSEGV"``.
    about : callable
        Given a call that ended with it, returns what its `WorkerCrashedError` tells besides.
    """

    how: str
    about: Callable[[Call], Mapping[str, Any]]


def crash_of(link: Link, exitcode: int, out_of_memory: OutOfMemory) -> Crash:
    """Return how the worker of a link died; everything that it had written has been read.

    Parameters
    ----------
    link : Link
        The link, not closed yet.
    exitcode : int
        Minus the signal's number where a signal ended it.
    out_of_memory : OutOfMemory
        Asked where it was SIGKILL.
    """
    name = _signal_name(exitcode)
    memory = max(link.process.peak_bytes, link.process.page.words[PEAK]) or None
    how = f"was killed by {name}" if name else f"exited with code {exitcode}"
    if name == "SIGKILL":
        struck = out_of_memory.struck()
        if struck:
            how += ", most likely by the system: memory had run out"
            if memory:
                how += f", of which it had up to {memory / (1 << 20):,.0f} MB"
        elif struck is None:
            how += " (by somebody, or by the system because memory ran out)"
    why, stacks = parse_dump(link.process.dump.read())
    stack: object = ""
    if why:  # else it is an answer to somebody who has asked what it does
        stack = Seen(why, stacks)

    def about(call: Call) -> Mapping[str, Any]:
        output = link.last_words.of(call.id)
        return {"signal": name, "stack": stack, "output": output, "memory_bytes": memory}

    return Crash(how, about)


def _signal_name(exitcode: int) -> str | None:
    if exitcode >= 0:
        return None
    try:
        return signal.Signals(-exitcode).name
    except ValueError:
        return f"signal {-exitcode}"
