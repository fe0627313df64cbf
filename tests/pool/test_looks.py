"""Looks at shared memory before sleep: whatever they see, or miss, calls have the right ends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from wpc_magic import WorkerProcedureCall
from wpc_magic.pool.core.spinning import Spinning
from wpc_magic.pool.errors import OptionError
from wpc_magic.pool.wire.status_page import ANSWERED, LOOK, SENT

SOURCE = """
def double(x):
    return 2 * x

def waits(path):
    import os, time
    while not os.path.exists(path):
        time.sleep(0.001)
    return "done"
"""


class AlwaysLooks(Spinning):
    """Has each wait begin with a look, and does something when it has ended."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        super().__init__(50_000)
        self.look_ns = 50_000
        self.seen: list[bool] = []
        self._then = then

    def waited(self, ns: int, in_time: bool) -> None:
        self.seen.append(in_time)
        self._then()


@pytest.fixture
def any_function_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wpc_magic.pool.driver.waiters.QUICK_DEPTH", 1)


def link_of(pool: WorkerProcedureCall) -> Any:
    return next(iter(pool._driver.parts.links.values()))


@pytest.mark.usefixtures("any_function_is_quick")
def test_calls_have_their_values_when_both_sides_always_look(
    make_pool: Callable[..., WorkerProcedureCall],
) -> None:
    pool = make_pool(1, SOURCE)
    link = link_of(pool)
    link.spinning = AlwaysLooks()
    assert [pool.call.double(n).result() for n in range(300)] == [2 * n for n in range(300)]
    assert link.words[SENT] == link.words[ANSWERED] == 300
    assert link.spinning.seen
    assert link.words[LOOK] == 50_000


@pytest.mark.usefixtures("any_function_is_quick")
def test_a_look_that_sees_what_is_not_there_only_delays(
    make_pool: Callable[..., WorkerProcedureCall], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(1, SOURCE)
    # Else the driver's thread may take over before this one comes to wait.
    monkeypatch.setattr(pool._driver.parts.poller, "reclaim_parked", lambda: None)
    link, gate = link_of(pool), tmp_path / "gate"
    pool.call.double(3).result()
    link.spinning = looks = AlwaysLooks(gate.touch)  # only after the look there is something to read
    call = pool.call.waits(str(gate))
    link.words[ANSWERED] = call.call.seq
    assert call.result() == "done"
    assert looks.seen == [True]
    assert pool.call.double(4).result() == 8


def test_no_worker_looks_while_it_is_not_allowed(make_pool: Callable[..., WorkerProcedureCall]) -> None:
    pool = make_pool(1, SOURCE, spin_us=0)
    link = link_of(pool)
    for n in range(100):
        pool.call.double(n).result()
    assert (link.spinning.look_ns, link.words[LOOK], link.words[SENT]) == (0, 0, 0)


def test_how_long_looks_take_can_be_changed_while_workers_run(
    make_pool: Callable[..., WorkerProcedureCall], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(1, SOURCE, spin_us=0)
    link, parts = link_of(pool), pool._driver.parts
    monkeypatch.setattr(parts, "have_two_cores", True)
    assert parts.look_ns(link.process) == 0
    pool.configure(spin_us=20)
    assert parts.look_ns(link.process) == 20_000
    monkeypatch.setattr(parts, "have_two_cores", False)
    assert parts.look_ns(link.process) == 0


def test_the_option_is_a_whole_number() -> None:
    for wrong in (-1, 0.5, "50", None):
        with pytest.raises(OptionError, match="spin_us"):
            WorkerProcedureCall(spin_us=wrong)  # type: ignore[arg-type]
