"""How a call's time is told."""

from __future__ import annotations

import pytest

from wpc_magic.magics.insight_tables import InsightReport
from wpc_magic.magics.timing import CallTime, timing_table
from wpc_magic.pool.core.insights import FunctionInsight, Insights, MapInsight, SlowCall


def test_the_parts_of_a_call_are_its_total() -> None:
    table = timing_table("fit", CallTime(0.001, 0.004, 0.9, 0.095), 0.8)
    assert [row[0] for row in table.rows] == ["serialise", "queue", "run", "return", "total"]
    assert table.rows[-1] == ("total", "1.0 s", "100 %", "800 ms")
    assert [row[3] for row in table.rows[:3]] == ["", "", "800 ms"]


@pytest.mark.parametrize(
    ("call", "here_s", "said"),
    [
        (
            CallTime(0.001, 0.004, 0.9, 0.095),
            0.8,
            "f: 1.0 s in a worker, 800 ms here; 10 % of it is overhead",
        ),
        (CallTime(1e-5, 1e-4, 3e-6, 1e-4), 3e-6, "sending costs more than the work: use wpc.map or %wpc_map"),
        (CallTime(1e-5, 3.0, 1.0, 1e-4), 1.0, "it mostly waits for a worker"),
        (CallTime(1e-5, None, 1.0, 0.01), None, "f: 1.0 s in a worker, it cannot run here (ValueError: no)"),
    ],
)
def test_a_line_says_what_it_comes_to(call: CallTime, here_s: float | None, said: str) -> None:
    assert said in timing_table("f", call, here_s, "ValueError: no").caption


def test_where_the_beginning_is_not_known_the_wait_and_the_way_back_are_one() -> None:
    rows = timing_table("f", CallTime(0.1, None, 0.5, 0.4), 0.5).rows
    assert [row[0] for row in rows] == ["serialise", "run", "queue and return", "total"]


def test_a_large_argument_is_told() -> None:
    assert "12.0 MB is sent" in timing_table("f", CallTime(1, 1, 9, 1), 9.0, sent=12 << 20).caption


def test_insights_are_advice_and_tables_in_text_and_html() -> None:
    slow = SlowCall("fit #58", "('<b>')", 12.0, 2)
    seen = FunctionInsight(
        "fit", 60, 1, 0, 0.4, 25.0, 14.0, {1: 7.0, 2: 14.0}, 2048, 60, (slow,), is_async=False
    )
    insights = Insights((seen,), (MapInsight("fit", 60, 1, 14.0, 25.0, 2, 12.0, 37),), ("look <here>",))
    shown = InsightReport(insights)
    text, html = repr(shown), shown._repr_html_()
    assert text.startswith("→ look <here>\n")
    assert "fit('<b>') #58: 12.0 s" in text
    assert "item 37: 12.0 s" in text
    assert [line.split() for line in text.splitlines() if line.startswith("fit            1")] == [
        ["fit", "1", "50", "%", "50", "%"]
    ]
    assert "look &lt;here&gt;" in html
    assert "<b>" not in html
    assert html.count("<table") == 3
