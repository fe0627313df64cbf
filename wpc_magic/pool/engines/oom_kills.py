"""Whether the system has killed processes of this machine because memory had run out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..control_groups import control_groups

__all__ = ["OomKills"]

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
