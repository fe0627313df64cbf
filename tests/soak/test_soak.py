"""A short soak with a fixed seed, and the ledger itself, which has to detect errors."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.soak.ledger import CANCEL_ALL, KILL, RESTART, Entry, Ledger
from tests.soak.resources import TOLERANCES, Usage
from wpc_magic.pool.errors import CallTimeoutError, WorkerCrashedError, WorkerReplacedError

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_every_call_of_a_soak_ends_once_and_rightly_and_nothing_grows() -> None:
    program = [sys.executable, "-m", "tests.soak", "--seconds", "10", "--seed", "1"]
    run = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=170)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    (made,) = re.findall(r"^(\d+) calls ended", run.stdout, re.MULTILINE)
    assert int(made) > 100
    assert "all is well; again: python -m tests.soak --seconds 10 --seed 1" in run.stdout


class Ended:
    """A completed future."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome

    def result(self, timeout: float) -> Any:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


def judged(outcome: Any, *, during: str = "", what: str = "echoes", **about: Any) -> list[str]:
    """Return the errors of the ledger for a call with a given outcome; 7 is expected."""
    ledger = Ledger()
    entry = Entry(ledger, what)
    entry.is_expected = lambda value: value == 7
    for name, value in about.items():
        setattr(entry, name, value)
    ledger.make(entry, lambda: Ended(outcome))
    if during:
        with ledger.spans.doing(during):
            pass
    ledger.judge(entry)
    ledger.check_totals()
    return ledger.wrong


CRASH, REPLACED, LATE = (
    WorkerCrashedError("it died"),
    WorkerReplacedError("it was ended"),
    CallTimeoutError("late"),
)


@pytest.mark.parametrize(
    ("outcome", "about"),
    [
        (7, {}),
        (CRASH, {"during": KILL}),
        (CRASH, {"dies": True}),
        (REPLACED, {"during": RESTART}),
        (LATE, {"timeout": True}),
        (ValueError(1), {"what": "fails"}),
    ],
)
def test_the_ledger_lets_pass_what_fits(outcome: Any, about: dict[str, Any]) -> None:
    assert judged(outcome, **about) == []


@pytest.mark.parametrize(
    ("outcome", "about"),
    [
        (8, {}),
        (7, {"cancelled": True}),
        (7, {"dies": True}),
        (CRASH, {}),
        (CRASH, {"during": RESTART}),
        (REPLACED, {"during": KILL}),
        (LATE, {"during": CANCEL_ALL}),
        (ValueError(1), {}),
        (ValueError(2), {"what": "fails"}),
        (TimeoutError("it has not ended"), {}),
    ],
)
def test_the_ledger_sees_what_does_not_fit(outcome: Any, about: dict[str, Any]) -> None:
    assert judged(outcome, **about)[0].startswith(about.get("what", "echoes"))


def test_the_ledger_sees_a_call_that_is_missing() -> None:
    ledger = Ledger()
    ledger.make(Entry(ledger, "echoes"), lambda: Ended(1))
    ledger.check_totals()
    assert ledger.wrong == ["1 calls were made, and 0 have ended"]


def test_what_was_over_before_a_call_was_made_excuses_nothing() -> None:
    ledger = Ledger()
    with ledger.spans.doing(KILL):
        pass
    entry = Entry(ledger, "echoes")
    ledger.make(entry, lambda: Ended(CRASH))
    ledger.judge(entry)
    assert len(ledger.wrong) == 1


@pytest.mark.parametrize("name", TOLERANCES)
def test_growing_usage_is_detected(name: str) -> None:
    before = Usage(dict.fromkeys(TOLERANCES, 5))
    allowed = Usage({**before.counts, name: 5 + TOLERANCES[name]})
    assert allowed.more_than(before) == []
    assert len(Usage({**before.counts, name: 6 + TOLERANCES[name]}).more_than(before)) == 1
