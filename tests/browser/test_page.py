"""The front end in a browser, over a fake pool: what it draws, what it sends, and what it costs."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.bare import BarePage
from tests.browser.lab import TIMEOUT_S, until
from tests.dashboard.fakes import FakePool
from tests.dashboard.test_details import ended
from wpc_magic.pool.core.events import ErrorInfo
from wpc_magic.pool.core.snapshot import FunctionInfo, LeavingProcess
from wpc_magic.pool.core.stats import FunctionStats
from wpc_magic.pool.driver.sampling import StackSample
from wpc_magic.pool.inspection import BlockMemory
from wpc_magic.pool.statistics import FunctionStatistics

pytestmark = [pytest.mark.browser]
expect.set_options(timeout=TIMEOUT_S * 1000)

EVIL = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"

CALL = {
    "ended_at": 1000.0,
    "worker": 2,
    "ran_s": 0.25,
    "state": "failed",
    "items": 0,
    "arguments": "(37)",
    "error": EVIL,
}

ACCESSIBILITY = Path(__file__).with_name("accessibility.js")

Show = Callable[..., BarePage]


@pytest.fixture
def show(browser: Browser) -> Iterator[Show]:
    """Show a pool in a page."""
    shown: list[BarePage] = []

    def show_(pool: FakePool, **options: int) -> BarePage:
        shown.append(BarePage(browser, pool, **options))
        return shown[-1]

    yield show_
    for page in shown:
        page.close()
    assert [page.errors for page in shown if page.errors] == []


def run(pool: FakePool, worker: int, call: str = "simulate #85", seconds: float = 3.0) -> None:
    pool.change_worker(worker, current_call=call, running_s=seconds, call_ids=(f"call-{call.split('#')[1]}",))


def test_an_error_of_a_function_is_among_the_errors(show: Show):
    pool = FakePool()
    pool.emit("worker_ready", 1)
    pool.emit("call_retry_scheduled", 1, "warn")
    pool.emit("call_execution_failed", 2, "warn", error=ErrorInfo("ValueError", EVIL))
    page = show(pool)
    lines = page.root.locator(".wpc-log li")
    expect(lines).to_have_count(3)
    page.button("Errors only").click()
    expect(lines).to_have_count(1)
    expect(lines).to_contain_text(f"ValueError: {EVIL}")
    page.button("Warnings and errors").click()
    expect(lines).to_have_count(2)
    pool.emit("worker_ready", 1)
    pool.emit("call_timed_out", 1, "warn")
    page.show()
    expect(lines).to_have_count(3)
    page.root.get_by_label("Events of a worker").select_option("Worker 2")
    expect(lines).to_have_count(1)
    page.root.get_by_label("Events of a worker").select_option("All workers")
    page.root.get_by_label("Events that contain a text").fill("TIMED")
    expect(lines).to_have_count(1)
    page.root.get_by_label("Events that contain a text").fill("nothing like it")
    expect(page.root.get_by_text("No event fits.")).to_be_visible()
    # Several errors are announced in one sentence.
    news = page.root.locator(".wpc-events [role=status]")
    expect(news).to_have_text("2 errors, the last: call_timed_out, worker 1")
    assert page.page.evaluate("window.hacked") is None


def test_a_log_that_is_paused_stands_still_and_loses_nothing(show: Show):
    pool = FakePool()
    pool.emit("first")
    page = show(pool)
    lines = page.root.locator(".wpc-log li")
    page.button("Pause the log").click()
    for _ in range(3):
        pool.emit("later")
    page.show()
    expect(lines).to_have_count(1)
    page.button("Go on (3)").click()
    expect(lines).to_have_count(4)


def test_what_has_not_arrived_is_sent_again_in_order_and_what_has_is_not(show: Show):
    page = show(FakePool())
    page.reply()
    page.page.clock.install(time=0)
    page.page.clock.pause_at(1000)
    page.button("One worker more").click()
    page.button("Restart worker 2").click()
    repeated = "() => model.repeated.splice(0).map((each) => each.action)"
    for ms in (250, 500, 1000):  # less and less often
        page.page.clock.run_for(ms - 10)
        assert page.page.evaluate(repeated) == []
        page.page.clock.run_for(10)
        assert page.page.evaluate(repeated) == ["scale", "restart"]
    expect(page.root.locator(".wpc-notice")).to_have_text(
        "3 workers, restart of worker 2: queued until the cell ends"
    )
    first, second = page.sent("scale")[0], page.sent("restart")[0]
    assert (first["from"], first["nth"] + 1) == (second["from"], second["nth"])
    page.reply(acked={first["from"]: first["nth"]})
    expect(page.root.locator(".wpc-notice")).to_have_text("Restart of worker 2: queued until the cell ends")
    page.page.clock.run_for(2000)
    assert page.page.evaluate(repeated) == ["restart"]
    page.reply()
    expect(page.root.locator(".wpc-notice")).to_be_hidden()
    page.page.clock.run_for(100_000)
    assert page.page.evaluate(repeated) == []


def test_the_restart_of_a_busy_worker_is_asked_about_and_an_idle_one_is_restarted(show: Show):
    pool = FakePool()
    run(pool, 1)
    page = show(pool)
    page.button("Restart worker 2").click()
    (request,) = page.sent("restart")
    assert (request["number"], request["drain"]) == (2, True)
    page.button("Restart worker 1").click()
    question = page.root.get_by_role("group", name="Restart worker 1?")
    expect(question).to_contain_text("Worker 1 runs simulate #85.")
    expect(question.get_by_role("button").first).to_be_focused()  # the one that does the least harm
    page.page.keyboard.press("Escape")
    expect(question).to_have_count(0)
    expect(page.button("Restart worker 1")).to_be_focused()
    for choice, drain in (("Wait for it", True), ("End it", False)):
        page.button("Restart worker 1").click()
        question.get_by_text(choice).click()
        assert page.sent("restart")[-1]["drain"] is drain
        expect(question).to_have_count(0)
    page.button("Restart worker 1").click()
    pool.change_worker(1, current_call=None, running_s=None)
    page.show()
    expect(question).to_have_count(0)  # the call has ended
    assert len(page.sent("restart")) == 3


def test_both_processes_are_shown_until_the_old_one_has_ended_its_call(show: Show):
    pool = FakePool()
    old = LeavingProcess(7, 4600, "simulate #85", 12.0, ("call-85",))
    pool.change_worker(1, pid=4700, leaving=(old,))
    page = show(pool)
    page.show()
    expect(page.worker(1).locator(".wpc-pid")).to_have_text("4700")
    expect(page.worker(1).locator(".wpc-call")).to_have_text("")
    leaving = page.root.locator(".wpc-leaving")
    expect(leaving).to_contain_text("Old process 4600 of worker 1: it finishes simulate #85")
    expect(leaving.locator(".wpc-leaving-time")).to_have_text("12 s")
    leaving.get_by_role("button").click()
    assert page.sent("stop_call")[0]["text"] == "call-85"
    pool.change_worker(1, leaving=())
    page.show()
    expect(leaving).to_have_count(0)


def test_workers_of_a_cluster_stand_under_their_hosts(show: Show, shots: Path):
    pool = FakePool(5)
    for number, host in ((1, "node-10"), (2, "node-2"), (3, "node-10"), (4, EVIL), (5, "")):
        pool.change_worker(number, host=host)
    pool.change_worker(5, health_state="starting", pid=None)
    run(pool, 3)
    for dark, width in ((False, 1100), (True, 1100), (False, 520)):
        page = show(pool, width=width, dark=dark)
        page.show()
        page.screenshot(shots / f"hosts-{width}-{'dark' if dark else 'light'}.png")
    page = show(pool)
    page.show()
    rows = page.root.locator(".wpc-workers tbody tr")

    def order() -> list[str]:
        return rows.evaluate_all("(all) => all.map((row) => row.dataset.host ?? row.dataset.worker)")

    assert order() == [EVIL, "4", "node-2", "2", "node-10", "1", "3", "", "5"]
    expect(rows.nth(4)).to_have_text("node-102 workers · 1 busy")
    expect(rows.nth(7)).to_contain_text("On no machine yet")
    page.button("Restart worker 2").focus()
    pool.change_worker(1, pid=None, health_state="restarting", host="")
    pool.change_worker(4, host="node-2")
    page.show()
    expect(page.root.locator('tr[data-worker="1"]')).to_contain_text("restarting")
    assert order() == ["node-2", "2", "4", "node-10", "1", "3", "", "5"]
    expect(page.button("Restart worker 2")).to_be_focused()
    assert page.page.evaluate("window.hacked") is None


def test_a_worker_that_is_opened_shows_its_stack_calls_log_and_environment(show: Show, shots: Path):
    page = show(FakePool())
    page.button("Worker 2: its stack").click()
    (request,) = page.sent("stack")
    assert request["number"] == 2
    page.reply(replies=[{"id": request["id"], "stack": f"line 1 {EVIL}"}])
    stack = page.root.get_by_label("Stack of worker 2", exact=True)
    expect(stack).to_have_text(f"line 1 {EVIL}")
    (request,) = page.sent("worker")
    worker = {
        "facts": [["Python", f"3.11 {EVIL}"], ["OMP_NUM_THREADS", "2"]],
        "calls": [{"number": 7, "function": "fit", **CALL}],
        "output": [{"at": "", "call": "#7", "text": f"a {EVIL}"}, {"at": "", "call": "", "text": "b"}],
        "events": [{"at": "2026-01-02T03:04:05+00:00", "call": "", "text": f"worker_ready {EVIL}"}],
    }
    page.reply(replies=[{"id": request["id"], "worker": worker}])
    details = page.root.locator(".wpc-worker-details")
    expect(page.root.get_by_label("What worker 2 has printed last")).to_have_text(f"#7 │ a {EVIL}\nb")
    expect(details.locator(".wpc-calls li")).to_contain_text(["fit #7 ·", f"worker_ready {EVIL}"])
    expect(details.locator(".wpc-facts")).to_have_text(f"Python3.11 {EVIL}OMP_NUM_THREADS2")
    assert page.page.evaluate(ACCESSIBILITY.read_text()) == []
    assert page.page.evaluate("window.hacked") is None
    page.screenshot(shots / "page-worker.png")
    page.button("Worker 2: its stack").click()
    expect(stack).to_have_count(0)


@pytest.mark.parametrize("width", [520, 700, 1100])
def test_nothing_is_cut_at_any_width(show: Show, width: int):
    pool = FakePool(3)
    run(pool, 1)
    pool.change_worker(2, done=1234567, failed=12, waiting=34, memory_bytes=2**33, cpu_percent=100.0)
    pool.change_worker(3, health_state="restarting", pid=None, restart_in_s=14.0)
    page = show(pool, width=width)
    page.show(1.0)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    # A worker's numbers stand beside each other, below 880 px on a card.
    cards = page.page.evaluate("getComputedStyle(document.querySelector('.wpc-worker')).display")
    assert cards == ("grid" if width < 880 else "table-row")
    cut = """() => [...document.querySelectorAll('.wpc-worker > *, thead th')]
        .filter((cell) => cell.offsetParent && cell.scrollWidth > cell.clientWidth + 1
            && getComputedStyle(cell).overflowX !== 'visible').map((cell) => cell.className)"""
    assert page.page.evaluate(cut) == []
    # A row that looks like a card is still a row to a screen reader.
    expect(page.root.get_by_role("row", name="restarting")).to_have_count(1)


def test_what_has_not_changed_is_not_drawn_again(show: Show):
    pool = FakePool(4)
    page = show(pool)
    page.show(1.0)
    page.page.evaluate(
        """() => {
            window.changes = [];
            const name = ({ target }) => (target.closest ? target : target.parentElement).className;
            window.observer = new MutationObserver((all) => changes.push(...all.map(name)));
            observer.observe(document.querySelector('.wpc-dashboard'),
                { subtree: true, childList: true, characterData: true, attributes: true });
        }"""
    )
    pool.change_worker(3, done=1)
    page.show(0.0)
    page.page.wait_for_function("() => changes.length")
    assert page.page.evaluate("changes.every((each) => each.includes('wpc-done'))")
    page.page.evaluate("() => { changes.length = 0; }")
    pool.change(failed=1)
    page.show(0.0)
    page.page.wait_for_function("() => changes.length")
    assert page.page.evaluate("changes.length") <= 2  # a number, and that it is not zero


def test_a_page_that_is_hidden_draws_nothing_and_says_so(show: Show):
    pool = FakePool()
    page = show(pool)
    assert [each["visible"] for each in page.sent("watch")] == [True]
    done = page.worker(1).locator(".wpc-done")
    page.page.evaluate(
        "() => { document.querySelector('main').style.display = 'none'; }"
    )  # as a collapsed output
    page.page.wait_for_function("() => model.sent.at(-1).visible === false")
    pool.change_worker(1, done=5)
    page.show()
    assert done.text_content() == "0"
    page.page.evaluate("() => { document.querySelector('main').style.display = ''; }")
    expect(done).to_have_text("5")
    assert [each["visible"] for each in page.sent("watch")] == [True, False, True]


@pytest.mark.parametrize("dark", [False, True])
def test_everything_has_a_name_and_enough_contrast(show: Show, shots: Path, dark: bool):
    pool = FakePool(3)
    pool.change(done=12_345, failed=3)
    run(pool, 1)
    pool.change_worker(1, leaving=(LeavingProcess(7, 4600, "wait #80", 12.0, ("call-80",)),), failed=1)
    pool.change_worker(2, health_state="failed", pid=None, restarts=3)
    pool.change_worker(3, health_state="restarting", pid=None, restart_in_s=9.0)
    pool.emit("worker_ready", 1)
    pool.emit("call_retry_scheduled", 1, "warn", correlation_id="call-80")
    pool.emit("worker_exited", 2, "error", details={"reason": "killed by SIGKILL"})
    page = show(pool, dark=dark)
    page.show(1.0)
    page.button("Restart worker 1").click()
    page.button("Worker 1: its stack").click()
    page.button("Stop all workers").click()
    assert page.page.evaluate(ACCESSIBILITY.read_text()) == []
    page.screenshot(shots / f"page-{'dark' if dark else 'light'}.png")


def test_the_slow_function_is_on_top_and_shows_its_source_and_its_calls(show: Show):
    pool = FakePool()
    pool.functions.append(FunctionInfo("fit", "(n)", "0" * 40, 2, revision=3))
    pool.counted += [
        FunctionStatistics("quick", {"done": 900}, (0,) * 20 + (900,), calls=900),
        FunctionStatistics("fit", {"done": 9, "failed": 3}, (0,) * 31 + (12,), calls=2, items=10),
    ]
    error = ErrorInfo("KeyError", EVIL)
    pool.emit("call_execution_failed", 1, "warn", error=error, details={"function": "fit"})
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
    call = {"number": 7, "function": "fit", **CALL}
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
    assert page.page.evaluate(ACCESSIBILITY.read_text()) == []
    assert page.page.evaluate("window.hacked") is None


def test_the_timeline_shows_idle_gaps_and_failures_and_opens_calls_from_the_keyboard(show: Show, shots: Path):
    pool = FakePool()
    run(pool, 1, "fit #3", seconds=2.0)
    now, fit = time.monotonic(), FunctionStats("fit", 1)
    rows: list[tuple[object, ...]] = [
        (1, fit, 1, now - 50, 15_000_000_000, now - 35),
        (2, fit, 1, now - 50, 30_000_000_000, now - 5, 0, 0, "failed", "KeyError: 3"),
    ]
    pool.recent = (rows, 1, now, pool.recent[3])
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
    pool.recent = ([(4, fit, 2, now, 1_000_000, time.monotonic())], 1, time.monotonic(), pool.recent[3])
    page.show(2.0)  # it is added to what was there
    area.press(".")
    expect(text).to_contain_text("fit #")
    assert page.page.evaluate("model.get('frame').timeline.bars.length") == 3
    assert page.page.evaluate(ACCESSIBILITY.read_text()) == []
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
    assert page.page.evaluate(ACCESSIBILITY.read_text()) == []
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
    assert page.page.evaluate(ACCESSIBILITY.read_text()) == []
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
    assert page.page.evaluate(ACCESSIBILITY.read_text()) == []
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
