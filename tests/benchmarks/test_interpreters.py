"""Contestants of newer Pythons, with stand-ins for these: this Python, given what they have."""

import os
import sys

import pytest

from tests.benchmarks import interpreters, report
from tests.benchmarks.bench import QUICK, Bench, Measure
from tests.benchmarks.contestants import NAMES, NEWER, PEERS, TITLES, US
from tests.benchmarks.measures import arrays, calls
from tests.benchmarks.timing import Outcome

STAND_IN = """
import concurrent.futures, sys
concurrent.futures.InterpreterPoolExecutor = concurrent.futures.ThreadPoolExecutor
sys._is_gil_enabled = lambda: False
sys.modules["numpy"] = None
"""

BURST = Measure(
    "burst",
    calls.burst,
    ["burst", "burst.calls"],
    who=NEWER,
    workers=2,
    quick={"count": 50, "limit_s": 1.0},
)
ARRAYS = next(measure for measure in arrays.MEASURES if "array.echo" in measure.keys)


@pytest.fixture
def path(tmp_path, monkeypatch):
    """The only folder of commands, without any."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.fixture
def stand_ins(path, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(STAND_IN)
    for name in ("python3.14", "python3.13t"):
        command = path / name
        command.write_text(
            f'#!/bin/sh\nPYTHONPATH="{tmp_path}:$PYTHONPATH" exec {os.path.realpath(sys.executable)} "$@"\n'
        )
        command.chmod(0o755)
    return path


@pytest.fixture
def bench():
    made = []

    def make():
        made.append(Bench(QUICK))
        return made[-1]

    yield make
    for each in made:
        each.close()


without_newer = pytest.mark.skipif(
    bool({*interpreters.find().values()} & {sys.executable}), reason="this Python is as new itself"
)


@without_newer
def test_contestants_whose_python_is_not_there_have_no_rows(path, bench):
    (path / "python3.14").write_text("#!/bin/sh\nexit 127\n")  # as the shims of version managers do
    (path / "python3.14").chmod(0o755)
    run = bench()
    run.run([BURST])
    assert run.results == {"burst": {}, "burst.calls": {}}
    assert run.versions == {}


@without_newer
def test_contestants_run_in_the_python_that_has_what_they_need(stand_ins, bench):
    run = bench()
    run.run([BURST])
    assert set(run.versions) == set(NEWER)
    for outcome in run.results["burst"].values():
        assert outcome.error is None
        assert len(outcome.values) == QUICK.rounds
    assert [outcome.values[0] for outcome in run.results["burst.calls"].values()] == [50, 50]


@without_newer
def test_what_their_python_has_not_is_no_failure(stand_ins, bench):
    run = bench()
    run.run(
        [
            Measure(
                ARRAYS.name, ARRAYS.run, ["array.echo"], who=["free_threads"], workers=1, quick=ARRAYS.quick
            )
        ]
    )
    about = {"when": "", "machine": "", "load": "", "rounds": 3, "quick": True, "versions": run.versions}
    assert f"| {TITLES['free_threads']} | n/a: import of numpy halted" in report.markdown(run.results, about)


@pytest.mark.leaves(reason="matplotlib keeps the fonts open that it has read")
def test_the_plot_has_room_for_them_only_where_they_were_measured(tmp_path):
    found = {key: {US: Outcome([1.0]), PEERS[0]: Outcome([2.0])} for key in ("call", "map")}
    report.plot(found, tmp_path / "without.svg")
    found["call"][NEWER[0]] = Outcome([3.0])
    report.plot(found, tmp_path / "with.svg")
    without, has = ((tmp_path / f"{name}.svg").read_text() for name in ("without", "with"))
    assert not [name for name in NEWER if f"<!-- {TITLES[name]} -->" in without]
    assert [name for name in NEWER if f"<!-- {TITLES[name]} -->" in has] == [NEWER[0]]


def test_no_verdict_depends_on_which_python_is_installed_beside_this_one():
    assert not {*NEWER} & {*PEERS}
    assert {*NEWER} < {*NAMES}
