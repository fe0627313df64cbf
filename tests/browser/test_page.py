"""The front end in a browser, over a fake pool: what it draws, what it sends, and what it costs."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.bare import ACCESSIBILITY, EVIL, FAILED_CALL, Show, run
from tests.browser.lab import TIMEOUT_S
from tests.dashboard.fakes import FakePool
from wpc_magic.pool.core.events import ErrorInfo
from wpc_magic.pool.core.snapshot import LeavingProcess

pytestmark = [pytest.mark.browser]
expect.set_options(timeout=TIMEOUT_S * 1000)


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
    repeated = "() => model.repeated.splice(0).map((each) => each.action)"
    page.page.evaluate(repeated)  # what it had sent at its start, if the reply took long
    page.button("One worker more").click()
    page.button("Restart worker 2").click()
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
    pool.change_worker(5, health_state="starting", pid=None, waits_for=f"no thread {EVIL} is free")
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
    expect(rows.nth(8)).to_contain_text(f"Waits: no thread {EVIL} is free")
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
        "calls": [{"number": 7, "function": "fit", **FAILED_CALL}],
        "output": [{"at": "", "call": "#7", "text": f"a {EVIL}"}, {"at": "", "call": "", "text": "b"}],
        "events": [{"at": "2026-01-02T03:04:05+00:00", "call": "", "text": f"worker_ready {EVIL}"}],
    }
    page.reply(replies=[{"id": request["id"], "worker": worker}])
    details = page.root.locator(".wpc-worker-details")
    expect(page.root.get_by_label("What worker 2 has printed last")).to_have_text(f"#7 │ a {EVIL}\nb")
    expect(details.locator(".wpc-calls li")).to_contain_text(["fit #7 ·", f"worker_ready {EVIL}"])
    expect(details.locator(".wpc-facts")).to_have_text(f"Python3.11 {EVIL}OMP_NUM_THREADS2")
    assert page.page.evaluate(ACCESSIBILITY) == []
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
    assert page.page.evaluate(ACCESSIBILITY) == []
    page.screenshot(shots / f"page-{'dark' if dark else 'light'}.png")
