"""Diagnosis of a worker's death: signal, exit code, stack, and whether the OOM killer did it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..control_groups import control_groups
from ..wire.status_page import PEAK
from .stack_report import StackReport, parse_dump

if TYPE_CHECKING:
    from ..core.calls import Call
    from .link import Link

__all__ = ["Crash", "OomKills", "crash_of"]

_FRESH_S = 5.0


class OomKills:
    """Whether the kernel's OOM killer has killed a process recently.

    The kernel counts OOM kills for the whole machine, and for the cgroup of this process and its workers.

    Parameters
    ----------
    files : sequence of Path, optional
        The files with the counters; by default those of this machine.
    """

    def __init__(self, files: Sequence[Path] | None = None) -> None:
        self._files = _counters() if files is None else files
        self._previous = self._current = self._read()
        self._current_at = 0.0

    def refresh(self, now: float) -> None:
        """Update the baseline every few seconds. Called periodically.

        Counts are compared with the last baseline but one, because a death may be noticed some time later.
        """
        if now - self._current_at >= _FRESH_S:
            self._previous, self._current, self._current_at = self._current, self._read(), now

    def happened_recently(self) -> bool | None:
        """Return whether there was an OOM kill in the last seconds; None: there are no counters."""
        now = self._read()
        if not now:
            return None
        return any(count > self._previous.get(file, count) for file, count in now.items())

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
    own = control_groups("memory")[:1]
    names = {1: "memory.oom_control", 2: "memory.events"}
    return [Path("/proc/vmstat"), *(group.folder / names[group.version] for group in own)]


class Crash(NamedTuple):
    """How a worker died.

    Parameters
    ----------
    reason : str
        The end of a sentence: ``"was killed by SIGSEGV"``.
    details_of : callable
        Given a call that the worker held, returns further attributes of its `WorkerCrashedError`.
    """

    reason: str
    details_of: Callable[[Call], Mapping[str, Any]]


def crash_of(link: Link, exitcode: int | None, oom_kills: OomKills) -> Crash:
    """Return how the worker of a link died. Call it when everything that the worker wrote has been read.

    Parameters
    ----------
    link : Link
        The link, not closed yet.
    exitcode : int or None
        The exit code; minus the signal's number if a signal killed it. None: unknown.
    oom_kills : OomKills
        Consulted if the signal was SIGKILL.
    """
    name = _signal_name(exitcode)
    memory = max(link.process.peak_bytes, link.process.page.words[PEAK]) or None
    if name:
        reason = f"was killed by {name}"
    elif exitcode is not None:
        reason = f"exited with code {exitcode}"
    else:
        reason = "exited, its code is unknown (this program ignores SIGCHLD, or waits for every child)"
    if name == "SIGKILL":
        happened_recently = oom_kills.happened_recently()
        if happened_recently:
            reason += ", most likely by the system: memory had run out"
            if memory:
                reason += f", of which it had up to {memory / (1 << 20):,.0f} MB"
        elif happened_recently is None:
            reason += " (by somebody, or by the system because memory ran out)"
    why, stacks = parse_dump(link.process.dump.read())
    stack: object = ""
    if why:  # else the dump answers a request for stacks
        stack = StackReport(why, stacks)

    def details_of(call: Call) -> Mapping[str, Any]:
        output = link.recent_output.of(call.id)
        return {"signal": name, "stack": stack, "output": output, "memory_bytes": memory}

    return Crash(reason, details_of)


def _signal_name(exitcode: int | None) -> str | None:
    if exitcode is None or exitcode >= 0:
        return None
    try:
        return signal.Signals(-exitcode).name
    except ValueError:
        return f"signal {-exitcode}"
