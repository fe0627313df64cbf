"""Versions of the machines of a cluster, compared with those of this process."""

from __future__ import annotations

import platform

import pytest

from wpc_magic.pool.engines.versions import (
    Difference,
    Versions,
    check_versions,
    compare,
    format_table,
    own_versions,
)
from wpc_magic.pool.errors import StartError

HERE = Versions("cpython", (3, 12, 4), "Linux x86_64", {"cloudpickle": "3.1.0", "numpy": "2.1.0"})


def test_this_process_says_what_it_runs() -> None:
    here = own_versions()
    assert here.implementation == platform.python_implementation().lower()
    assert ".".join(map(str, here.python)) == platform.python_version()
    assert {"cloudpickle", "psutil", "tblib"} <= here.releases.keys()
    assert check_versions(here, {"a": here}) == ""


def test_a_patch_of_python_a_processor_and_releases_are_told_and_refuse_nothing() -> None:
    other = Versions("cpython", (3, 12, 9), "Linux aarch64", {"numpy": "1.26.4", "pandas": "2.2.0"})
    assert compare(HERE, {"a": HERE, "b": other}) == [
        Difference("Python", "3.12.4", {"b": "3.12.9"}),
        Difference("machine", "Linux x86_64", {"b": "Linux aarch64"}),
        Difference("cloudpickle", "3.1.0", {"b": "none"}),
        Difference("numpy", "2.1.0", {"b": "1.26.4"}),
    ]
    assert check_versions(HERE, {"a": HERE, "b": other}).splitlines() == [
        "             here          b",
        "Python       3.12.4        3.12.9",
        "machine      Linux x86_64  Linux aarch64",
        "cloudpickle  3.1.0         none",
        "numpy        2.1.0         1.26.4",
    ]


@pytest.mark.parametrize(
    ("other", "shown"),
    [
        (HERE._replace(python=(3, 11, 4)), "3.11.4"),
        (HERE._replace(python=(4, 12, 4)), "4.12.4"),
        (HERE._replace(implementation="pypy"), "pypy 3.12.4"),
    ],
)
def test_another_minor_version_of_python_is_refused_in_one_line_and_the_table(
    other: Versions, shown: str
) -> None:
    with pytest.raises(StartError) as info:
        check_versions(HERE, {"a": HERE, "b": other, "c": HERE._replace(python=(3, 12, 5))})
    first, head, row = str(info.value).splitlines()
    assert first == "b must run cpython 3.12, as this process does: functions cannot travel otherwise"
    assert head.split() == ["here", "b", "c"]
    assert row.split("  ")[0] == "Python"
    assert shown in row


def test_machines_that_differ_in_the_same_way_share_a_column() -> None:
    old = {"numpy": "1.26.4"}
    there = {f"old-{n}": old["numpy"] for n in range(5)} | {"bare": "none"}
    assert format_table([Difference("numpy", "2.1.0", there)]).splitlines() == [
        "       here   old-0 and 4 more  bare",
        "numpy  2.1.0  1.26.4            none",
    ]


def test_of_many_ways_to_differ_the_most_frequent_are_shown() -> None:
    there = {f"{patch}-{n}": f"3.12.{patch}" for patch in range(10, 17) for n in range(patch)}
    shown = format_table([Difference("Python", "3.12.4", there)])
    assert "16-0 and 15 more" in shown
    assert "3.12.12" not in shown
    assert shown.endswith(f"… and {10 + 11 + 12} machines that differ in other ways")


def test_without_differences_there_is_no_table() -> None:
    assert compare(HERE, {}) == []
    assert (
        check_versions(HERE, {"a": HERE, "b": HERE._replace(releases=HERE.releases | {"extra": "1"})}) == ""
    )
