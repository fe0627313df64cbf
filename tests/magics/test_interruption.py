"""The report to an interrupted cell, at once and later."""

from __future__ import annotations

from typing import Any

from wpc_magic.magics.interruption import Interruptions
from wpc_magic.pool.core.events import WorkerEvent

CELL = {"msg_id": "the cell"}


class Pool:
    """A pool in which a cell has two calls at workers and one in the queue."""

    def __init__(self) -> None:
        self.cancelled = {"the cell": 0}
        self.at_workers = {"the cell": ["call-1", "call-2"]}

    def calls_at_workers(self, origin: Any) -> list[str]:
        return self.at_workers.get(origin["msg_id"], [])

    def cancel_all(self, origin: Any) -> int:
        self.cancelled[origin["msg_id"]] = self.cancelled_count_of(origin) + 3
        return 3

    def cancelled_count_of(self, origin: Any) -> int:
        return self.cancelled.get(origin["msg_id"], 0)


class StatusLine:
    def __init__(self, origin: Any, text: str) -> None:
        self.origin, self.texts = origin, [text]

    def change(self, text: str) -> None:
        self.texts.append(text)


class Cells:
    """Records the status lines of cells."""

    def __init__(self) -> None:
        self.pool, self.lines = Pool(), list[StatusLine]()
        self.interruptions = Interruptions(self.pool, self.show)  # type: ignore[arg-type]

    def show(self, origin: Any, text: str) -> Any:
        self.lines.append(StatusLine(origin, text))
        return self.lines[-1]

    def happens(self, call: str, worker_id: int = 1, name: str = "call_ended_by_force") -> None:
        self.interruptions.on_event(WorkerEvent("event-1", worker_id, "parent", name, "warn", "now", call))


def test_it_is_told_how_many_calls_were_cancelled() -> None:
    cells = Cells()
    cells.interruptions.stop_calls(CELL)
    assert [(line.origin, line.texts) for line in cells.lines] == [(CELL, ["interrupted: 3 calls cancelled"])]


def test_a_cell_that_is_interrupted_twice_is_told_of_each_call_once() -> None:
    cells = Cells()
    cells.interruptions.stop_calls(CELL)
    cells.pool.cancel_all = lambda origin: 0  # type: ignore[method-assign]
    cells.interruptions.stop_calls(CELL)
    assert [line.texts for line in cells.lines] == [["interrupted: 3 calls cancelled"]]


def test_a_cell_without_calls_is_told_nothing() -> None:
    cells = Cells()
    cells.interruptions.stop_calls(None)
    assert cells.lines == []


def test_a_cell_is_told_of_the_calls_that_its_own_tasks_have_cancelled_before() -> None:
    cells = Cells()
    cells.pool.cancelled["the cell"] = 1
    cells.interruptions.stop_calls(CELL)
    assert [line.texts for line in cells.lines] == [["interrupted: 4 calls cancelled"]]


def test_a_cell_is_not_told_of_the_calls_that_others_have_cancelled() -> None:
    cells = Cells()
    cells.pool.cancelled["another cell"] = 5
    cells.interruptions.stop_calls(CELL)
    assert [line.texts for line in cells.lines] == [["interrupted: 3 calls cancelled"]]


def test_its_line_is_changed_when_its_calls_cost_workers() -> None:
    cells = Cells()
    cells.interruptions.stop_calls(CELL)
    cells.happens("call-1", 1)
    cells.happens("call-2", 3)
    assert cells.lines[0].texts[1:] == [
        "interrupted: 3 calls cancelled, 1 worker replaced",
        "interrupted: 3 calls cancelled, 2 workers replaced",
    ]


def test_a_worker_that_ran_two_of_its_calls_counts_once() -> None:
    cells = Cells()
    cells.interruptions.stop_calls(CELL)
    cells.happens("call-1", 2)
    cells.happens("call-2", 2)
    assert cells.lines[0].texts[-1] == "interrupted: 3 calls cancelled, 1 worker replaced"


def test_what_happens_to_other_calls_changes_nothing() -> None:
    cells = Cells()
    cells.interruptions.stop_calls(CELL)
    cells.happens("call-9")
    cells.happens("call-1", name="call_timed_out")
    assert len(cells.lines[0].texts) == 1


def test_a_worker_may_be_replaced_before_the_line_is_there() -> None:
    cells = Cells()
    shown = cells.show

    def show_late(origin: Any, text: str) -> Any:
        cells.happens("call-1")
        return shown(origin, text)

    cells.interruptions = Interruptions(cells.pool, show_late)  # type: ignore[arg-type]
    cells.interruptions.stop_calls(CELL)
    assert cells.lines[0].texts[-1] == "interrupted: 3 calls cancelled, 1 worker replaced"


def test_each_cell_has_its_own_line_while_its_calls_have_not_ended() -> None:
    cells = Cells()
    cells.interruptions.stop_calls(CELL)
    cells.pool.at_workers["another cell"] = ["call-5"]
    cells.interruptions.stop_calls({"msg_id": "another cell"})
    cells.happens("call-1")
    first, second = cells.lines
    assert first.texts[-1] == "interrupted: 3 calls cancelled, 1 worker replaced"
    assert second.texts == ["interrupted: 3 calls cancelled"]


def test_a_call_may_be_gone_and_its_cell_interrupted_again_before_its_event_comes() -> None:
    #  the wait of the cell is interrupted  -> its call is cancelled
    #  the worker is replaced               -> no worker has the call; the event is yet to be sent
    #  the cell ends by the same interrupt  -> its calls are cancelled again, if there are any
    cells = Cells()
    cells.interruptions.stop_calls(CELL)
    cells.pool.at_workers["the cell"] = []
    cells.pool.cancel_all = lambda origin: 0  # type: ignore[method-assign]
    cells.interruptions.stop_calls(CELL)
    cells.happens("call-1")
    assert [line.texts for line in cells.lines] == [
        ["interrupted: 3 calls cancelled", "interrupted: 3 calls cancelled, 1 worker replaced"]
    ]
