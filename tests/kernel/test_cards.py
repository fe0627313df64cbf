"""A future as a cell's last line is a card that follows its call."""

from __future__ import annotations

import re

import pytest

from tests.kernel.kernels import Cell, Gate, Kernel

pytestmark = pytest.mark.kernel


@pytest.fixture
def calling(started: Kernel, gate: Gate) -> Kernel:
    waits = f"def waits(x):\n    {gate.wait}\n    return x / 2\n"
    started.good(f"%%wpc_function\n{waits}\ndef half(x):\n    return x / 2\n")
    return started


def states(cell: Cell) -> list[str]:
    """Return what has been shown, one after another."""
    kinds = ("display_data", "update_display_data")
    return [content["data"]["text/plain"] for kind, content in cell.messages if kind in kinds]


def ids(cell: Cell) -> set[str]:
    kinds = ("display_data", "update_display_data")
    return {content["transient"]["display_id"] for kind, content in cell.messages if kind in kinds}


def test_a_card_follows_the_call_until_it_has_ended(calling: Kernel, gate: Gate) -> None:
    cell = calling.good("wpc.call.waits(3)")
    assert [kind for kind, _ in cell.messages if kind == "execute_result"] == []
    calling.until(lambda: "running on worker" in states(cell)[-1])
    gate.open()
    calling.until(lambda: "finished" in states(cell)[-1])
    assert re.fullmatch(r"<CallFuture waits\(3\) #\d+: finished( in .+)? → 1\.5>", states(cell)[-1])
    assert len(ids(cell)) == 1
    last = [content["data"]["text/html"] for kind, content in cell.messages if kind == "update_display_data"][
        -1
    ]
    assert last.startswith('<div class="wpc-card"><code>waits(3) #')
    assert "→ 1.5</div>" in last
    assert calling.evaluate("_.result()") == 1.5


def test_a_card_tells_the_error_and_nobody_else_does(calling: Kernel) -> None:
    cell = calling.good("wpc.call.half('x')")
    calling.until(lambda: "failed" in states(cell)[-1])
    assert "TypeError: unsupported operand" in states(cell)[-1]
    calling.good("_ = __ = ___ = None; Out.clear()")
    calling.good("1")
    assert cell.stream("stderr") == ""


def test_a_card_of_a_cancelled_call_says_so(calling: Kernel) -> None:
    cell = calling.good("kept = wpc.call.waits(1); kept")
    calling.good("kept.cancel()")
    calling.until(lambda: states(cell)[-1].endswith("cancelled>"))


def test_a_semicolon_shows_nothing_and_a_list_shows_one_line_each(calling: Kernel) -> None:
    assert calling.good("wpc.call.half(1);").messages[1:] == []
    shown = calling.good("fs = [wpc.call.half(1)]; fs[0].result(); fs").value
    assert re.fullmatch(r"\[<CallFuture half #\d+: finished → float>\]", shown)


VIEW = "application/vnd.jupyter.widget-view+json"


def offered(kernel: Kernel, code: str) -> tuple[Cell, str]:
    """Run a cell until a button is offered to pages; return the cell, and the comm of the button."""
    before = len(kernel.received)
    cell = kernel.good(code)
    kernel.until(lambda: "comm_open" in [kind for _, kind, _ in kernel.received[before:]])
    opened = [content["comm_id"] for _, kind, content in kernel.received[before:] if kind == "comm_open"]
    return cell, str(opened[0])


def is_closed(kernel: Kernel, comm: str) -> bool:
    return ("comm_close", comm) in [(kind, content.get("comm_id")) for _, kind, content in kernel.received]


def acts(kernel: Kernel, comm: str, action: str) -> None:
    """Do what a page does."""
    kernel.send_to_widget(
        comm, method="custom", content={"action": action, "from": f"page, {action}", "nth": 1}
    )


def views(cell: Cell) -> list[bool]:
    """Return what was shown besides the card, one after another: whether it was a button."""
    kinds = ("display_data", "update_display_data")
    shown = [content["data"] for kind, content in cell.messages if kind in kinds]
    return [VIEW in data for data in shown if not data["text/plain"]]


def test_a_card_has_a_button_that_stops_the_call_and_goes_with_it(calling: Kernel) -> None:
    cell, comm = offered(calling, "wpc.call.waits(1)")
    for _ in range(2):  # a page says so more than once
        acts(calling, comm, "ready")
    calling.until(lambda: views(cell))
    calling.until(lambda: "<style" in last_html(cell))
    acts(calling, comm, "stop")
    calling.until(lambda: len(views(cell)) == 2)
    assert views(cell) == [True, False], "shown, and emptied"
    calling.until(lambda: is_closed(calling, comm))
    assert last_html(cell).endswith(" cancelled</div>")
    assert calling.evaluate("_.cancelled()") is True
    messages = [parent for parent, kind, _ in calling.received if kind.startswith("comm_")]
    assert set(messages) == {""}, "of no cell: nbconvert saves no widget"


def last_html(cell: Cell) -> str:
    """Return the last state of the card."""
    kinds = ("display_data", "update_display_data")
    shown = [content["data"].get("text/html", "") for kind, content in cell.messages if kind in kinds]
    return str([html for html in shown if html][-1])


def test_where_no_page_answers_there_is_no_button_but_what_to_type(calling: Kernel, gate: Gate) -> None:
    cell, comm = offered(calling, "wpc.call.waits(1)")
    calling.until(
        lambda: re.search(r"running on worker \d .*Out\[\d+\]\.cancel\(\) stops it", states(cell)[-1])
    )
    gate.open()
    calling.until(lambda: "finished" in states(cell)[-1])
    assert "stops it" not in states(cell)[-1]
    calling.until(lambda: is_closed(calling, comm))
    acts(calling, comm, "ready")
    calling.good("1")
    assert views(cell) == []
    assert len(ids(cell)) == 1


def test_a_background_cell_has_a_button(calling: Kernel, gate: Gate) -> None:
    cell, comm = offered(calling, f"%%wpc_cell\n{gate.wait}")
    acts(calling, comm, "ready")
    calling.until(lambda: True in views(cell))
    acts(calling, comm, "stop")
    calling.until(lambda: views(cell)[-1] is False)
    calling.until(lambda: re.fullmatch(r"<Cell In\[\d+\]: cancelled>", cell.displayed[0]))
