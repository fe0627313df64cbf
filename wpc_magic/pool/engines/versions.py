"""What the machines of a cluster run, compared with this one: Python, the system, releases of packages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..errors import StartError

__all__ = [
    "COMPARED",
    "Difference",
    "Versions",
    "VersionsWarning",
    "check_versions",
    "compare",
    "format_table",
    "own_versions",
    "versions_here",
]

COMPARED = (
    "cloudpickle",
    "distributed",
    "joblib",
    "numpy",
    "pandas",
    "polars",
    "psutil",
    "pyarrow",
    "scipy",
    "scikit-learn",
    "tblib",
)
"""The releases whose objects travel often, or that carry them."""

_NONE = "none"
_MAX_COLUMNS = 4


class VersionsWarning(UserWarning):
    """Machines of a cluster run something else than this one; the text is a table of it."""


class Versions(NamedTuple):
    """What one machine runs.

    Parameters
    ----------
    implementation : str
        Of Python: ``"cpython"``.
    python : tuple of int
        The version of Python: ``(3, 12, 4)``.
    machine : str
        The system and the processor: ``"Linux x86_64"``.
    releases : mapping
        The version of each release that is installed, by its name.
    """

    implementation: str
    python: tuple[int, int, int]
    machine: str
    releases: Mapping[str, str]


class Difference(NamedTuple):
    """Something that is not the same on all machines.

    Parameters
    ----------
    what : str
        ``"Python"``, ``"machine"``, or the name of a release.
    here : str
        What this process has.
    there : mapping
        What each machine has that has something else, by its name.
    refuses : bool
        Whether objects cannot travel between them.
    """

    what: str
    here: str
    there: Mapping[str, str]
    refuses: bool = False


def own_versions() -> Versions:
    """Return what this process runs."""
    return Versions(*versions_here(COMPARED))


def versions_here(releases: Iterable[str]) -> tuple[str, tuple[int, int, int], str, dict[str, str]]:
    """Return the fields of `Versions` of the process that runs this.

    Parameters
    ----------
    releases : iterable of str
        Which releases to look for.

    Examples
    --------
    >>> Versions(*versions_here(["cloudpickle", "no-such-thing"])).releases.keys()
    dict_keys(['cloudpickle'])
    """
    # It uses nothing of this module: by this function a machine without the package is asked.
    import importlib.metadata
    import platform
    import sys

    found = {}
    for name in releases:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    machine = f"{platform.system()} {platform.machine()}"
    return sys.implementation.name, sys.version_info[:3], machine, found


def compare(here: Versions, hosts: Mapping[str, Versions]) -> list[Difference]:
    """Return what is not the same everywhere; what is only installed on the other machines does not count.

    Parameters
    ----------
    here : Versions
        What this process runs.
    hosts : mapping
        What the machines of the cluster run, by their names.

    Examples
    --------
    >>> here = Versions("cpython", (3, 12, 4), "Linux x86_64", {"numpy": "2.1.0"})
    >>> compare(here, {"a": here, "b": here._replace(releases={})})
    [Difference(what='numpy', here='2.1.0', there={'b': 'none'}, refuses=False)]
    """
    python = {name: _python(host) for name, host in hosts.items() if _python(host) != _python(here)}
    refuses = any(_language(hosts[name]) != _language(here) for name in python)
    machine = {name: host.machine for name, host in hosts.items() if host.machine != here.machine}
    found = [
        Difference("Python", _python(here), python, refuses),
        Difference("machine", here.machine, machine),
    ]
    for release, version in sorted(here.releases.items()):
        there = {name: host.releases.get(release, _NONE) for name, host in hosts.items()}
        other = {name: has for name, has in there.items() if has != version}
        found.append(Difference(release, version, other))
    return [difference for difference in found if difference.there]


def format_table(differences: Iterable[Difference]) -> str:
    """Return differences as a table; machines that differ in the same way share a column.

    Examples
    --------
    >>> print(format_table([Difference("numpy", "2.1.0", {"a": "1.26.4", "b": "1.26.4", "c": "none"})]))
           here   a, b    c
    numpy  2.1.0  1.26.4  none
    """
    rows = list(differences)
    names = sorted({name for row in rows for name in row.there})
    columns: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        columns.setdefault(tuple(row.there.get(name, row.here) for row in rows), []).append(name)
    shown = sorted(columns.items(), key=lambda column: -len(column[1]))
    left_out = shown[_MAX_COLUMNS:]
    lines = [["", "here", *(_names(each) for _, each in shown[:_MAX_COLUMNS])]]
    for index, row in enumerate(rows):
        lines.append([row.what, row.here, *(column[index] for column, _ in shown[:_MAX_COLUMNS])])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    more = sum(len(each) for _, each in left_out)
    return f"{text}\n… and {more} machines that differ in other ways" if more else text


def check_versions(here: Versions, hosts: Mapping[str, Versions]) -> str:
    """Return the table of what is not the same everywhere; empty: all is.

    Raises
    ------
    StartError
        If a machine has another minor version of Python: what is pickled here, it may not be able to read.
    """
    differences = compare(here, hosts)
    if not differences:
        return ""
    table = format_table(differences)
    if not any(difference.refuses for difference in differences):
        return table
    wrong = sorted(name for name, host in hosts.items() if _language(host) != _language(here))
    wanted = f"{here.implementation} {here.python[0]}.{here.python[1]}"
    raise StartError(
        f"{_names(wrong)} must run {wanted}, as this process does: functions cannot travel otherwise\n{table}"
    )


def _python(versions: Versions) -> str:
    number = ".".join(map(str, versions.python))
    return number if versions.implementation == "cpython" else f"{versions.implementation} {number}"


def _language(versions: Versions) -> tuple[object, ...]:
    """Return what has to be the same for code to travel."""
    return versions.implementation, *versions.python[:2]


def _names(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} and {len(names) - 1} more"
