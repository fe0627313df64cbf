"""The front end in a browser, over a fake pool: the panels below the workers."""

from __future__ import annotations

import dataclasses
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.bare import ACCESSIBILITY, EVIL, FAILED_CALL, Show, let_run, run
from tests.browser.lab import TIMEOUT_S, until
from tests.dashboard.fakes import FakePool
from tests.dashboard.test_details import ended
from wpc_magic.pool.core.snapshot import FunctionInfo
from wpc_magic.pool.core.stats import FunctionStats
from wpc_magic.pool.driver.sampling import StackSample
from wpc_magic.pool.inspection import BlockMemory
from wpc_magic.pool.statistics import FunctionStatistics

pytestmark = [pytest.mark.browser]
expect.set_options(timeout=TIMEOUT_S * 1000)


def test_the_slow_function_is_on_top_and_shows_its_source_and_its_calls(show: Show):
    pool = FakePool()
    pool.functions.append(FunctionInfo("fit", "(n)", "0" * 40, 2, revision=3))
    pool.counted += [
        FunctionStatistics(
            "quick", {"done": 900}, (0,) * 20 + (900,), calls=900, sums_s=(0.0,) * 20 + (0.7,)
        ),
        FunctionStatistics(
            "fit",
            {"done": 9, "failed": 3},
            (0,) * 31 + (12,),
            calls=2,
            items=10,
            sums_s=(0.0,) * 31 + (19.3,),
            last_error=f"KeyError: {EVIL}",
        ),
    ]
    page = show(pool)
    page.tab("Functions")
    assert page.sent("watch")[-1]["panel"] == "Functions"
    page.feed.panels.want(["Functions"])
    page.show()
    names = page.root.locator("tbody .wpc-open")
    expect(page.root.locator(".wpc-function .wpc-open")).to_have_text(["fit", "quick"])
    fit = page.root.locator('tr[data-function="fit"]')
    expected = {"calls": "2", "items": "10", "failed": "3", "p50": "1.61 s", "version": "3"}
    for column, text in expected.items():
        expect(fit.locator(f".wpc-f-{column}")).to_have_text(text)
    expect(fit.locator(".wpc-f-last_error")).to_have_text(f"KeyError: {EVIL}")
    page.root.get_by_role("button", name="Calls", exact=True).click()
    expect(page.root.locator(".wpc-function .wpc-open")).to_have_text(["quick", "fit"])
    expect(page.root.locator("[aria-sort=descending]")).to_have_text("Calls")
    names.filter(has_text="fit").click()
    (request,) = page.sent("function")
    call = {"number": 7, "function": "fit", **FAILED_CALL}
    reply = {"id": request["id"], "source": f"def fit(n): {EVIL}", "needs": ["np"], "calls": [call]}
    page.reply(replies=[reply])
    expect(page.root.get_by_label("Source of fit")).to_have_text(f"def fit(n): {EVIL}")
    expect(page.root.locator(".wpc-calls li")).to_contain_text(f"worker 2 · 250 ms · failed · (37) · {EVIL}")
    page.tab("Registry")
    row = {"kind": "constant", "name": EVIL, "what": "int", "needs": [], "nbytes": 5_120}
    rows = [{**row, "broken": "", "holders": [1, 2, 3, 7], "stale": True}]
    (request,) = page.sent("registry")
    broken = {**rows[0], "name": "bad", "broken": "no module", "stale": False}
    page.reply(replies=[{"id": request["id"], "rows": [*rows, broken]}])
    table = page.root.get_by_role("table", name="Definitions")
    expect(table.get_by_role("row")).to_have_count(3)
    expect(table).to_contain_text(EVIL)
    expect(table).to_contain_text("5 kB1–3, 7")
    expect(table.get_by_text("stale: the notebook has another value")).to_have_count(1)
    expect(table).to_contain_text("broken: no module")
    pool.emit("definition_changed", 0)
    page.show()
    page.page.wait_for_function("() => model.sent.filter((each) => each.action === 'registry').length === 2")
    assert page.page.evaluate(ACCESSIBILITY) == []
    assert page.page.evaluate("window.hacked") is None


def test_the_timeline_shows_idle_gaps_and_failures_and_opens_calls_from_the_keyboard(show: Show, shots: Path):
    pool = FakePool()
    run(pool, 1, "fit #3", seconds=2.0)
    let_run(pool, 1)
    page = show(pool)
    page.tab("Timeline")
    assert page.sent("watch")[-1]["panel"] == "Timeline"
    page.feed.panels.want(["Timeline"])
    page.show()
    shares = page.root.get_by_label("How busy each worker was").locator("li")
    expect(shares).to_contain_text([re.compile(r"Worker 1: ([5-9]\d|100) %"), "Worker 2: 0 %"])
    area = page.root.get_by_role("group", name="Calls of each worker over time")
    text = page.root.locator(".wpc-timeline-text")
    area.press(".")
    expect(text).to_contain_text("fit #3 · worker 1")
    expect(text).to_contain_text("runs")
    page.button("Stop call fit #3").click()
    assert page.sent("stop_call")[0]["text"] == "call-3"
    area.press(",")
    expect(text).to_have_text(re.compile(r"fit #2 · worker 1 · .* · 30 s · failed"))
    (request,) = page.sent("call")
    assert request["number"] == 2
    call = ended(2, "fit", state="failed", error=EVIL)
    reply = {"id": request["id"], "call": {**dataclasses.asdict(call), "worker": 2, "arguments": EVIL}}
    page.reply(replies=[reply])
    details = page.root.locator(".wpc-call-details")
    for said in (EVIL, "%wpc_debug #2", "2, process 4702", "after 500 ms"):
        expect(details).to_contain_text(said)
    page.screenshot(shots / "page-timeline.png")
    area.press("+")  # who moves does not follow the present any more
    expect(page.button("Now: follow the present")).to_have_attribute("aria-pressed", "true")
    area.press("ArrowLeft")
    expect(page.button("Now: follow the present")).to_have_attribute("aria-pressed", "false")
    area.press("End")
    expect(page.button("Now: follow the present")).to_have_attribute("aria-pressed", "true")
    area.press("Escape")
    expect(details).to_be_empty()
    box = area.bounding_box()
    assert box is not None
    page.page.mouse.move(box["x"] + box["width"] - 40, box["y"] + 10)
    expect(text).to_contain_text("fit #")
    now = time.monotonic()
    pool.recent = ([(4, FunctionStats("fit", 1), 2, now, 1_000_000, now)], 1, now, pool.recent[3])
    page.show(2.0)  # it is added to what was there
    area.press(".")
    expect(text).to_contain_text("fit #")
    assert page.page.evaluate("model.get('frame').timeline.bars.length") == 3
    assert page.page.evaluate(ACCESSIBILITY) == []
    assert page.page.evaluate("window.hacked") is None


def test_the_load_shows_the_queue_and_the_memory_that_grows(show: Show, shots: Path):
    pool = FakePool(2)
    page = show(pool)
    for second in range(30):
        memory = 50_000_000 + 10_000_000 * second
        pool.change_worker(1, memory_bytes=memory)
        pool.change_worker(2, memory_bytes=50_000_000)
        pool.change(calls=second * 20, queued=90 - second)
        pool.blocks = BlockMemory(2**25, 2**26, 160 << 20, 2**31)
        page.show(1.0)
    page.tab("Load")
    page.feed.panels.want(["Load"])
    page.show(1.0)
    page.show(1.0)  # what came since is added
    shared = ("Shared memory in use", "32 MB", "160 MB of 2.0 GB")
    for name, latest, peak in (("Queued", "61", "90"), ("Worker 1", "324 MB", "324 MB"), shared):
        chart = page.root.locator(f'[data-chart="{name}"]')
        expect(chart.locator(".wpc-chart-latest")).to_have_text(latest)
        expect(chart.locator(".wpc-chart-peak")).to_have_text(peak)
    # The one that grows goes up to the right, the other is level.
    path = "document.querySelector('[data-chart=\"Worker %d\"] path').getAttribute('d')"
    heights = [
        [float(point.split()[1]) for point in page.page.evaluate(path % worker).lstrip("M").split("L")]
        for worker in (1, 2)
    ]
    assert heights[0] == sorted(heights[0], reverse=True)
    assert len(set(heights[0])) > 20
    assert len(set(heights[1])) == 1
    assert page.page.evaluate(ACCESSIBILITY) == []
    page.screenshot(shots / "page-load.png")


def test_what_is_queued_is_cancelled_and_the_pool_drained_after_a_question(show: Show):
    pool = FakePool()
    run(pool, 1)
    pool.queued = [("call-90", "_wpc_cell_4")]
    page = show(pool)
    expect(page.button("Cancel the calls that are queued: clear queue")).to_be_hidden()
    pool.change(queued=1200)
    page.show()
    page.button("Cancel the calls that are queued: clear queue").click()
    question = page.root.get_by_role("group", name="Cancel the queued calls?")
    expect(question).to_contain_text("Cancel the 1,200 queued calls? What runs goes on.")
    expect(page.button("Keep them: do not cancel the queued calls")).to_be_focused()
    assert page.page.evaluate(ACCESSIBILITY) == []
    page.page.keyboard.press("Escape")
    expect(question).to_be_hidden()
    page.button("Cancel the calls that are queued: clear queue").click()
    question.get_by_text("Cancel them").click()
    assert len(page.sent("clear")) == 1
    page.tab("Running")
    page.feed.panels.want(["Running"])
    page.show()
    waiting = page.root.locator('[data-call="call-90"]')
    expect(waiting).to_contain_text("Cell In[4]queued")
    assert page.page.evaluate(ACCESSIBILITY) == []
    page.button("Stop Cell In[4]").click()
    assert page.sent("stop_call")[0]["text"] == "call-90"
    page.button("Stop all workers").click()
    page.root.get_by_text("When all have ended").click()
    assert (len(page.sent("drain")), page.sent("stop")) == (1, [])


@pytest.mark.parametrize(("width", "dark"), [(1100, True), (520, False)])
def test_hot_lines_are_sampled_when_asked_and_shown_as_text(
    show: Show, shots: Path, tmp_path: Path, width: int, dark: bool
):
    path = tmp_path / "fit.py"
    path.write_text(f"def fit():\n    load()\n    solve({EVIL!r})\n")
    pool = FakePool()
    stacks = [((str(path), 2, "fit"), (str(path), 1, EVIL))] * 3 + [((str(path), 3, "fit"),)]
    pool.samples = [StackSample(1, name, 1, stack) for name in ("fit", EVIL) for stack in stacks]
    page = show(pool, width=width, dark=dark)
    page.tab("Hot lines")
    page.feed.panels.want(["Hot lines"])
    expect(page.root.get_by_text("Which lines take the time?")).to_be_visible()
    page.button("Start to sample").click()
    assert page.sent("sample")[0]["number"] == 1
    page.feed.panels.sample(pool, start=True)
    lines = page.root.get_by_role("table", name="Hot lines of fit").locator("tbody tr")
    until(lambda: page.show() or lines.count() == 3, "the lines are shown")
    expect(lines.nth(0)).to_contain_text(f"75 %75 %{EVIL}, {tmp_path.name}/fit.py, line 1def fit():")
    expect(lines.nth(1)).to_contain_text("25 %25 %fit")
    expect(lines.nth(2)).to_contain_text("75 %fit")
    expect(lines.nth(1)).to_contain_text(EVIL)
    page.button("Stop to sample").click()
    assert page.sent("sample")[1]["number"] == 0
    page.feed.panels.sample(pool, start=False)
    until(lambda: page.show() or page.button("Start to sample").count() == 1, "it has ended")
    assert page.page.evaluate(ACCESSIBILITY) == []
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.page.evaluate("window.hacked") is None
    page.screenshot(shots / f"page-hot-{'dark' if dark else 'light'}.png")


def test_panels_are_chosen_with_the_keyboard(show: Show):
    page = show(FakePool())
    page.root.get_by_role("tab", name="Events").focus()
    page.page.keyboard.press("ArrowLeft")
    expect(page.root.get_by_role("tab", name="Registry")).to_be_focused()
    expect(page.root.get_by_role("tabpanel")).to_have_count(1)
    page.page.keyboard.press("Home")
    expect(page.root.get_by_role("tab", name="Events")).to_have_attribute("aria-selected", "true")
    expect(page.root.locator(".wpc-log")).to_have_count(1)
