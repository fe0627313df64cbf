"""The control groups that this process is in, and the limits that they set: of a container, a service, a job.

Linux has two versions, which may be mounted side by side; each limit holds for a group and for all below it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "ControlGroup",
    "control_groups",
    "cpu_quota",
    "memory_left",
    "memory_limit",
    "memory_used_percent",
]

_ROOT = Path("/")
_UNLIMITED = 1 << 60  # version 1 writes a number for it


class ControlGroup(NamedTuple):
    """One control group.

    Parameters
    ----------
    folder : Path
        Where its files are.
    version : int
        1 or 2; the files of the two have other names.
    """

    folder: Path
    version: int

    def read(self, name: str) -> str:
        """Return the text of one of its files; empty if there is none."""
        return _read(self.folder / name)


def control_groups(controller: str, root: Path = _ROOT) -> list[ControlGroup]:
    """Return the control group of this process, and those above it, for one controller; innermost first.

    Parameters
    ----------
    controller : str
        As in version 1: ``"cpu"``, ``"memory"``.
    root : Path
        The folder that stands for ``/``.
    """
    mounts = [_Mount.of(line) for line in _read(root / "proc/self/mountinfo").splitlines()]
    found: list[ControlGroup] = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        version = 1 if controllers else 2
        for mount in mounts:
            if mount is not None and mount.holds(controller, version):
                found += _upwards(mount, path, version, root)
                break
    return found


def _upwards(mount: _Mount, path: str, version: int, root: Path) -> list[ControlGroup]:
    top = root / mount.point.lstrip("/")
    # In a container, the path may be that on the host, of which only a part is mounted, or nothing.
    inner = path.removeprefix(mount.root.rstrip("/"))
    folder = top / inner.lstrip("/") if ".." not in inner and (inner != path or mount.root == "/") else top
    if not folder.is_dir():
        folder = top
    groups = [ControlGroup(folder, version)]
    while folder != top:
        folder = folder.parent
        groups.append(ControlGroup(folder, version))
    return groups


class _Mount(NamedTuple):
    root: str
    point: str
    kind: str
    options: str

    @classmethod
    def of(cls, line: str) -> _Mount | None:
        """Read a line of ``mountinfo``."""
        before, _, after = line.partition(" - ")
        where, what = before.split(" "), after.split(" ")
        if len(where) < 5 or len(what) < 3 or not what[0].startswith("cgroup"):
            return None
        return cls(_unescaped(where[3]), _unescaped(where[4]), what[0], what[2])

    def holds(self, controller: str, version: int) -> bool:
        if version == 2:
            return self.kind == "cgroup2"
        return self.kind == "cgroup" and controller in self.options.split(",")


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # not Linux, not mounted, or hidden
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None  # "max" and -1: no limit


# -- limits ---------------------------------------------------------------------------------------------


def cpu_quota(root: Path = _ROOT) -> float | None:
    """Return how many processors the groups of this process may use together; None: all.

    Parameters
    ----------
    root : Path
        The folder that stands for ``/``.
    """
    quotas = []
    for group in control_groups("cpu", root):
        if group.version == 2:
            words = [*group.read("cpu.max").split(), "", ""]
        else:
            words = [group.read("cpu.cfs_quota_us"), group.read("cpu.cfs_period_us")]
        quota, period = _number(words[0]), _number(words[1])
        if quota and period:
            quotas.append(quota / period)
    return min(quotas, default=None)


def memory_limit(root: Path = _ROOT) -> int | None:
    """Return how much memory the groups of this process may use, in bytes; None: all.

    Parameters
    ----------
    root : Path
        The folder that stands for ``/``.
    """
    return min((limit for _, limit in _memory_limits(root)), default=None)


def memory_used_percent(root: Path = _ROOT) -> float:
    """Return how much of what they may use the groups of this process do, in percent of the fullest.

    What the system can take back at once, files that were read, does not count.

    Parameters
    ----------
    root : Path
        The folder that stands for ``/``.
    """
    return max((100 * used / limit for used, limit in _memory_used(root) if limit), default=0.0)


def memory_left(root: Path = _ROOT) -> int | None:
    """Return how much more memory the groups of this process may use, in bytes; None: all.

    Parameters
    ----------
    root : Path
        The folder that stands for ``/``.
    """
    return min((max(0, limit - used) for used, limit in _memory_used(root)), default=None)


def _memory_used(root: Path) -> list[tuple[int, int]]:
    """Return how much each group uses that has a limit, and the limit."""
    found = []
    for group, limit in _memory_limits(root):
        used = _number(group.read("memory.current" if group.version == 2 else "memory.usage_in_bytes"))
        word = "inactive_file" if group.version == 2 else "total_inactive_file"
        files = re.search(rf"(?m)^{word} (\d+)$", group.read("memory.stat"))
        if used is not None:
            found.append((used - (int(files[1]) if files else 0), limit))
    return found


def _memory_limits(root: Path) -> list[tuple[ControlGroup, int]]:
    found = []
    for group in control_groups("memory", root):
        limit = _number(group.read("memory.max" if group.version == 2 else "memory.limit_in_bytes"))
        if limit is not None and limit < _UNLIMITED:
            found.append((group, limit))
    return found
