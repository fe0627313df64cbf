"""The report: one page that needs nothing else, in which everything from users is text."""

from __future__ import annotations

import html.parser
from pathlib import Path
from typing import Any

import pytest

from wpc_magic.dashboard.report import report_html
from wpc_magic.dashboard.timeline import LaneRow, Timeline
from wpc_magic.dashboard.timeline_svg import timeline_svg
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.core.ended_calls import EndedCall, PoolHistory, WorkerProcess
from wpc_magic.pool.core.events import ErrorInfo, WorkerEvent
from wpc_magic.pool.core.snapshot import PoolSnapshot
from wpc_magic.pool.errors import OptionError

EVIL = "</title></text><script>alert('x')</script><img src=x onerror=y>\"'&"
TAGS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "section",
        "h1",
        "h2",
        "p",
        "ul",
        "li",
        "div",
    ),
    *("figure", "figcaption", "span", "svg", "rect", "line", "path", "text"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td"),
}
VOID = {"meta"}


class Page(html.parser.HTMLParser):
    """What a browser makes of a page: its tags, its attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text: list[str] = []
        self.headings: list[str] = []
        self.feed(page)
        assert self.open == [], "every tag is closed"

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def is_harmless(page: Page) -> bool:
    return page.tags <= TAGS and not any(
        name.startswith("on") or name in ("src", "href") for name in page.attributes
    )


def test_everything_from_users_is_text() -> None:
    call = EndedCall(
        *(7, EVIL, 1, 1, 4711, 1, "failed", 100.0, 100.0, 101.0, 102.0), error=EVIL, arguments=f"({EVIL})"
    )
    history = PoolHistory((call,), (WorkerProcess(1, 1, 4711, 100.0, 103.0, EVIL),))
    event = WorkerEvent(
        *("event-1", 1, "worker", EVIL, "warn", EVIL, EVIL), ErrorInfo(EVIL, EVIL), {EVIL: EVIL}
    )
    lane = LaneRow(n=1, worker=1, pid=4711, start=100.0, end=103.0, reason=EVIL)
    timeline = Timeline(
        base=100.0,
        since=0.0,
        until=5.0,
        resolution=0.1,
        functions=[EVIL],
        lanes=[lane],
        bars=[(1, 1.0, 1.0, 0, 1, 1, 0, 1.0, 7), (1, 2.0, 0.5, 0, 9, 1, 3, 0.2, 0)],
    )
    row: Any = {
        "name": EVIL,
        "version": 1,
        "calls": 1,
        "items": 0,
        "failed": 1,
        "cancelled": 0,
        "share": 1.0,
        "p50": 0.1,
        "p95": 0.1,
        "p99": None,
        "last_error": EVIL,
    }
    text = report_html(PoolSnapshot(EVIL, "running"), history, [row], [event], [EVIL], timeline, 200.0)
    page = Page(text)
    assert is_harmless(page), (page.tags - TAGS, page.attributes)
    assert page.headings == ["Timeline", "Functions", "Failures", "Workers", "What stands out", "Events"]
    assert sum("<script>" in each for each in page.text) >= 10, "it is all there to be read"


def test_a_timeline_without_anything_is_a_picture_too() -> None:
    empty = Timeline(base=0.0, since=0.0, until=0.0, resolution=0.1, functions=[], lanes=[], bars=[])
    assert Page(timeline_svg(empty)).tags <= TAGS


@pytest.mark.parametrize("span", [1e-4, 0.02, 1.0, 59.0, 3600.0, 1e6])
def test_the_ticks_are_some_and_not_many(span: float) -> None:
    seen = Timeline(base=1e9 + 0.3, since=0.0, until=span, resolution=0.1, functions=[], lanes=[], bars=[])
    assert timeline_svg(seen, str).count("<line") <= 32


def test_a_pool_writes_its_report(tmp_path: Path) -> None:
    with WorkerProcedureCall() as pool:
        pool.define_worker_functions("def odd(n):\n    if n % 2 == 0: raise ValueError(n)\n    return n")
        pool.start_workers(1)
        pool.call.odd(3).result()
        pool.call.odd(2).exception()
        list(pool.map("odd", [1, 3, 5], chunk_size=3))
        path = pool.report(tmp_path / "run.html")
        with pytest.raises(OptionError, match="path is no file that can be written to"):
            pool.report(tmp_path)
    page = Page(Path(path).read_text(encoding="utf-8"))
    assert is_harmless(page)
    said = " ".join(page.text)
    for what in (
        "2 calls · 3 items of maps · 1 failed",
        "odd(2) #2",
        "ValueError: 2",
        "worker_ready",
        "odd #1, ",
    ):
        assert what in said, what
    assert not {"script", "link", "img"} & page.tags
