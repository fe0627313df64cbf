"""What is said of waits, as text and as HTML."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from wpc_magic.notebook import progress_lines
from wpc_magic.notebook.progress_lines import Line, as_html, as_text
from wpc_magic.pool.core.call_place import CallPlace
from wpc_magic.pool.core.calls import Call
from wpc_magic.pool.core.insights import MapInsight
from wpc_magic.pool.wire.codec import encode
from wpc_magic.pool.wire.protocol import Progress


def future(*args: Any, **fields: Any) -> Any:
    call = Call(58, "nap", encode((args, {}))[0])
    known: dict[str, Any] = {
        "call": call,
        "name": "nap",
        "place": CallPlace(2, 5.2, 0),
        "progress": None,
        "ended": False,
        "cancelled": lambda: False,
        "ran_s": 0.0,
    }
    return SimpleNamespace(**known | fields)


def a_map(done: int, total: int | None, failed: int = 0, **fields: Any) -> Any:
    known: dict[str, Any] = {
        "name": "nap",
        "done": done - failed,
        "total": total,
        "failures": SimpleNamespace(count=failed),
        "began_s": 100.0,
        "ran_s": 0.0,
        "worker_count": 2,
        "stopped_by": None,
        "in_flight": list,
        "seen": lambda now: MapInsight("nap", done, failed, now - 100.0, 0.0, 2),
    }
    return SimpleNamespace(**known | fields)


def test_a_map_shows_items_speed_time_left_and_failures() -> None:
    (line,) = progress_lines.of_map(a_map(212, 500, 3), 121.4)
    assert line == Line("item 212/500 · 9.9/s · 29 s left · 3 failed", 0.424)
    assert as_text([line]) == "████████░░░░░░░░░░░░ item 212/500 · 9.9/s · 29 s left · 3 failed"


def test_a_map_of_unknown_length_has_no_bar() -> None:
    assert progress_lines.of_map(a_map(1200, None), 110.0) == [Line("item 1,200 · 120/s")]


def test_a_map_without_a_result_says_what_it_waits_for() -> None:
    (line,) = progress_lines.of_map(a_map(0, 5, in_flight=lambda: [future(8)]), 105.0)
    assert line == Line("item 0/5 · nap runs on worker 2 for 5 s", 0.0)


@pytest.mark.parametrize(
    ("results", "text"),
    [
        (a_map(500, 500, ran_s=98.8), "500 items in 50.4 s · workers 98 % busy"),
        (a_map(1, 1, ran_s=50.4), "1 item in 50.4 s · workers 50 % busy"),
        (a_map(500, 500, ran_s=5000.0), "500 items in 50.4 s"),
        (a_map(500, 500, 3, ran_s=98.8), "500 items in 50.4 s · workers 98 % busy · 3 failed"),
        (a_map(211, 500, stopped_by=KeyboardInterrupt()), "stopped after 211 of 500 items in 50.4 s"),
        (a_map(211, 500, 1, stopped_by=ValueError()), "failed after 211 of 500 items in 50.4 s · 1 failed"),
        (a_map(211, 500), "stopped after 211 of 500 items in 50.4 s"),
    ],
)
def test_the_end_of_a_map_is_one_line(results: Any, text: str) -> None:
    assert progress_lines.end_of_map(results, 150.4) == Line(text)


def test_a_map_that_one_item_kept_says_which_unless_it_was_stopped() -> None:
    seen = MapInsight("nap", 60, 0, 14.0, 20.0, 2, slowest_s=12.0, slowest_item=37)
    kept = {"ran_s": 20.0, "seen": lambda now: seen}
    line = progress_lines.end_of_map(a_map(60, 60, **kept), 114.0)
    assert line == Line("60 items in 14.0 s · workers 71 % busy · one item took 12 of 14 s: item 37")
    stopped = progress_lines.end_of_map(a_map(50, 60, stopped_by=ValueError(), **kept), 114.0)
    assert "item 37" not in stopped.text


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (CallPlace(2, 5.2, 0), "nap(8) runs on worker 2 for 5 s"),
        (CallPlace(None, None, 12), "nap(8) is queued behind 12 calls"),
        (CallPlace(2, None, 1), "nap(8) is queued for worker 2 behind 1 call"),
        (None, "nap(8) ends"),
    ],
)
def test_a_call_shows_what_it_waits_for(place: CallPlace | None, text: str) -> None:
    assert progress_lines.of_calls([future(8, place=place)], 1) == [Line(text)]


def test_several_calls_are_counted() -> None:
    futures = [future(8), future(8, place=CallPlace(None, None, 3))]
    assert progress_lines.of_calls(futures, 8) == [Line("6 of 8 calls done · 1 running · 1 queued", 0.75)]
    assert progress_lines.end_of_calls(8, 8, 12.34) == Line("8 calls in 12.3 s")
    assert progress_lines.end_of_calls(7, 8, 200) == Line("7 of 8 calls done after 3 min 20 s")


def test_what_a_function_says_is_a_line_of_its_own() -> None:
    said = Progress(1, 40, 100, "training  the\nmodel")
    assert progress_lines.of_calls([future(8, progress=said)], 1)[1:] == [
        Line("training the model 40/100 · worker 2", 0.4)
    ]
    (_, line) = progress_lines.of_calls([future(8, progress=Progress(1, 40, None, ""))], 1)
    assert line == Line("40 · worker 2")


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"ended": True, "ran_s": 8.04}, "nap(8) took 8.0 s"),
        ({"ended": True, "cancelled": lambda: True}, "nap(8) was stopped after 3.0 s"),
        ({}, "nap(8) goes on"),
    ],
)
def test_the_end_of_a_call_is_one_line(fields: dict[str, Any], text: str) -> None:
    assert progress_lines.end_of_call(future(8, **fields), "nap(8)", 3.0) == Line(text)


def test_a_long_call_is_shortened() -> None:
    assert len(progress_lines.call_text(future("x" * 500))) == 60


def test_html_is_static_and_escaped() -> None:
    shown = as_html([Line("<b>item</b> 1/4", 0.25), Line("done")])
    assert '<progress value="0.250" max="1"' in shown
    assert "&lt;b&gt;item&lt;/b&gt; 1/4" in shown
    assert "<script" not in shown
    assert shown.count("<progress") == 1
