"""The dashboard in a real JupyterLab, over a real pool."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.bare import EVIL
from tests.browser.lab import TIMEOUT_S, Lab, Notebook, until

pytestmark = [pytest.mark.browser, pytest.mark.slow]
expect.set_options(timeout=TIMEOUT_S * 1000)

Open = Callable[..., Notebook]

# `until` keeps a cell busy until a file exists, so that the test observes what happens while it runs.
START = """
import pathlib, time
def until(name):
    while not pathlib.Path(name).exists():
        time.sleep(0.02)
%load_ext wpc_magic
%wpc_start -n 2
%wpc_dashboard"""


@pytest.fixture(scope="module")
def busy(lab: Lab, browser: Browser) -> Iterator[Notebook]:
    """A notebook of which a cell runs all the time. Each test leaves two workers."""
    cell = "print('the cell', 'runs')\nuntil('end of all')\nprint('it has', 'ended')"
    name = lab.write("busy.ipynb", [START, cell])
    notebook = Notebook(browser.new_page(viewport={"width": 1200, "height": 1000}), lab, name).open()
    notebook.run_all()
    notebook.output("the cell runs")
    yield notebook
    assert "it has ended" not in notebook.outputs()
    notebook.touch("end of all")
    notebook.output("it has ended")
    print(notebook.outputs(), *notebook.errors, sep="\n")
    notebook.close()
    assert notebook.errors == []


def test_a_killed_worker_goes_and_comes_back_while_a_cell_runs(busy: Notebook):
    worker = busy.worker(1)
    expect(worker).to_have_attribute("data-state", "ready")
    expect(busy.worker(2)).to_have_attribute("data-state", "ready")
    before = busy.pid(1)
    os.kill(int(before), signal.SIGKILL)
    expect(busy.event("worker_exited").last).to_contain_text("SIGKILL")
    expect(busy.event("worker_restart_completed")).to_have_count(1)
    expect(worker).to_have_attribute("data-state", "ready")
    busy.pid(1, other_than=before)
    expect(worker.locator(".wpc-restarts")).to_have_text("1")


def test_the_restart_button_restarts_a_worker_also_while_a_cell_runs(busy: Notebook):
    before = busy.pid(2)
    busy.button("Restart worker 2").click()
    expect(busy.event("worker_recycled")).to_contain_text("worker 2")
    expect(busy.worker(2)).to_have_attribute("data-state", "ready")
    busy.pid(2, other_than=before)
    expect(busy.button("Restart worker 2")).to_be_focused()  # its node was reused
    expect(busy.dashboard.locator(".wpc-notice")).to_be_hidden()


def test_scaling_and_stopping_asks_only_before_it_stops_also_while_a_cell_runs(busy: Notebook):
    busy.button("One worker more").click()
    expect(busy.worker(3)).to_have_attribute("data-state", "ready")
    expect(busy.dashboard.locator(".wpc-size")).to_have_text("3")
    busy.button("One worker fewer").click()
    expect(busy.worker(3)).to_have_count(0)
    busy.button("Stop all workers").click()
    expect(busy.button("Keep running: do not stop")).to_be_focused()
    busy.page.keyboard.press("Escape")
    expect(busy.button("Stop all workers")).to_be_focused()
    expect(busy.worker(1)).to_have_attribute("data-state", "ready")
    busy.button("Stop all workers").click()
    busy.button("Yes, stop all workers").click()
    expect(busy.dashboard.locator(".wpc-pool-state")).to_have_text("stopped")
    busy.button("Start the workers").click()
    expect(busy.worker(2)).to_have_attribute("data-state", "ready")


def test_the_restart_of_a_busy_worker_asks_and_shows_both_processes_until_the_call_has_ended(
    open_notebook: Open,
):
    notebook = open_notebook(
        START,
        "%%wpc_function\nimport pathlib, time\n"
        "def hold(name):\n    while not pathlib.Path(name).exists():\n        time.sleep(0.02)\n"
        "    return 'held'",
        "here = str(pathlib.Path('release').resolve())\n"
        "first, second = (wpc.call.hold.options(worker_id=n)(here) for n in (1, 2))\n"
        "print('the cell', 'runs')\n"
        "second.exception()\n"
        "print('the second:', type(second.exception()).__name__)\n"
        "print('the first:', first.result())",
    )
    notebook.run_all()
    notebook.output("the cell runs")
    for number in (1, 2):  # a button asks only if it shows a call
        expect(notebook.worker(number).locator(".wpc-call")).to_contain_text("hold #")
    before = notebook.pid(1)
    notebook.button("Restart worker 1").click()
    notebook.button("Wait for it: restart worker 1 when its call has ended").click()
    old = notebook.dashboard.locator(".wpc-leaving")
    expect(old).to_contain_text(f"Old process {before} of worker 1: it finishes hold #")
    expect(notebook.worker(1).locator(".wpc-call")).to_have_text("")
    notebook.pid(1, other_than=before)
    notebook.button("Restart worker 2").click()
    notebook.button("End it: restart worker 2 now, its call fails").click()
    notebook.output("the second: WorkerReplacedError")
    notebook.touch("release")
    notebook.output("the first: held")
    expect(old).to_have_count(0)
    assert notebook.errors == []


def test_a_click_that_waits_behind_a_cell_says_so_and_gets_through_where_its_repetition_does(
    open_notebook: Open,
):
    # As in ipykernel 6.31, and before a page has a subshell: its messages go to the main thread, which is
    # busy with the cell.
    notebook = open_notebook(
        START,
        "comm = wpc.dashboard().comm\n"
        "comm._reply_subshell_for = lambda data, default: None\n"
        "print('the cell', 'runs')\nuntil('subshell')\n"
        "comm._reply_subshell_for = lambda data, default: default\nuntil('end')",
        "comm._reply_subshell_for = lambda data, default: None\nprint('another cell', 'runs')\nuntil('last')",
    )
    notebook.run_all()
    notebook.output("the cell runs")
    notice, restarts = notebook.dashboard.locator(".wpc-notice"), notebook.event("worker_recycled")
    notebook.button("Restart worker 1").click()
    expect(notice).to_have_text("Restart of worker 1: queued until the cell ends")
    notebook.touch("subshell")
    expect(notice).to_be_hidden()
    expect(restarts).to_have_count(1)
    notebook.touch("end")
    notebook.output("another cell runs")
    notebook.button("Restart worker 2").click()
    expect(notice).to_have_text("Restart of worker 2: queued until the cell ends")
    notebook.touch("last")
    expect(notice).to_be_hidden()
    expect(restarts).to_have_count(2)  # those that waited behind the first cell have changed nothing
    expect(restarts.last).to_contain_text("worker 2")


def test_a_notebook_that_is_opened_without_its_kernel_shows_the_last_frame_and_its_errors_were_text(
    open_notebook: Open,
):
    notebook = open_notebook(
        "%load_ext wpc_magic",
        # It is not executed until the first worker starts, which reports why it fails.
        f'%%wpc_function\nraise ValueError("""{EVIL}""")\ndef f():\n    return 1',
        START,
        "wpc.restart_worker(2)\nwpc.wait_until_ready()\n"
        "wpc.submit_function(divmod, (7, 2)).result()\n%wpc_stop",
    )
    notebook.run_all()
    expect(notebook.dashboard.locator(".wpc-pool-state")).to_have_text("stopped")
    expect(notebook.event("control_command_failed").first).to_contain_text(EVIL)
    notebook.button("Errors only").click()
    expect(notebook.event("worker_spawned").first).to_be_hidden()
    expect(notebook.event("control_command_failed").first).to_be_visible()
    expect(notebook.dashboard.locator("script, img")).to_have_count(0)
    fallback = notebook.page.locator("[class^=wpc-fallback-]")
    expect(fallback).to_contain_text("wpc stopped")  # the last frame, not the first one
    expect(fallback).to_be_hidden()
    notebook.save()
    notebook.shutdown()
    notebook.open(kernel=False)
    expect(notebook.dashboard).to_have_count(0)
    expect(fallback).to_be_visible()
    expect(fallback).to_contain_text("worker_recycled")
    expect(fallback.locator("script, img")).to_have_count(0)
    expect(fallback.locator("svg")).to_be_visible()
    expect(notebook.page.get_by_text("model not found")).to_be_hidden()
    assert notebook.page.evaluate("window.hacked") is None


def sample_hot_lines(notebook: Notebook) -> None:
    """Sample until the line is found at which `measure` waits."""
    dashboard = notebook.dashboard
    dashboard.get_by_role("tab", name="Hot lines").click()
    notebook.button("Start to sample").click()
    lines = dashboard.get_by_role("table", name="Hot lines of measure")
    expect(lines).to_contain_text(re.compile(r"measure, Cell In\[2\], line 5\s*time\.sleep\(0\.02\)"))
    notebook.button("Stop to sample").click()
    expect(notebook.button("Start to sample")).to_be_visible()


def test_it_answers_what_people_ask_and_is_photographed_in_both_themes(open_notebook: Open, shots: Path):
    notebook = open_notebook(
        START,
        "%%wpc_function\nimport os, pathlib, time\n"
        "def measure(name):\n    while not pathlib.Path(name).exists():\n        time.sleep(0.02)\n"
        "def crash():\n    os._exit(3)\n"
        "def slow(n):\n    time.sleep(0.3)\n    return n\n"
        "def quick(n):\n    return 1 / n",
        "here = str(pathlib.Path('end').resolve())\n"
        "wpc.call.crash.options(worker_id=2)().exception()\n"
        "list(wpc.call.slow.map(range(4), chunk_size=2))\n"
        "[wpc.call.quick(n).exception() for n in range(200)]\n"
        "items = wpc.map('quick', range(12), chunk_size=1, on_error='skip')\n"
        "seven = [next(items) for _ in range(7)]\n"
        "calls = [wpc.call.measure(here) for _ in range(4)]\nprint('under', 'way')\n"
        "until('end')",
    )
    notebook.run_all()
    notebook.output("under way")
    dashboard = notebook.dashboard
    dashboard.scroll_into_view_if_needed()  # the cells below may have pushed it away: then nothing is sent
    expect(notebook.worker(1).locator(".wpc-call")).to_contain_text("measure")
    expect(notebook.worker(1).locator(".wpc-for")).to_have_text(re.compile("[1-9] s"))
    expect(notebook.event("worker_restart_completed")).to_be_visible()
    expect(notebook.worker(2).locator(".wpc-cpu")).to_have_text(re.compile("[0-9]+ %"))
    # All of it while the cell runs. Which function is slow? Which one failed, and at what?
    dashboard.get_by_role("tab", name="Functions").click()
    expect(dashboard.locator(".wpc-function .wpc-open").first).to_have_text("slow")
    slow, quick = (dashboard.locator(f'tr[data-function="{name}"]') for name in ("slow", "quick"))
    expect(slow.locator(".wpc-f-items")).to_have_text("4")
    expect(quick.locator(".wpc-f-calls")).to_have_text("200")
    expect(quick.locator(".wpc-f-failed")).to_have_text("2")
    expect(quick.locator(".wpc-f-last_error")).to_have_text("ZeroDivisionError: division by zero")
    quick.get_by_role("button").click()
    expect(dashboard.get_by_label("Source of quick")).to_contain_text("return 1 / n")
    # How far are maps and cells in the background, and how are they stopped?
    dashboard.get_by_role("tab", name="Running").click()
    going = dashboard.get_by_role("list", name="Maps").get_by_role("listitem")
    expect(going).to_have_count(1)
    expect(going).to_contain_text(re.compile("quick.*8 of 12 items.* a second.* left.*1 failed"))
    expect(going.get_by_role("progressbar")).to_have_attribute("value", "8")
    assert going.get_by_role("progressbar").bounding_box()["width"] > 100
    measured = dashboard.get_by_role("list", name="Cells, and calls").get_by_role("listitem")
    expect(measured).to_have_count(2)
    expect(measured.first).to_contain_text(re.compile("measure #[0-9]+.*on worker [12] for [0-9]"))
    notebook.screenshot(shots / "dashboard-running.png")
    notebook.button("Stop map 2 over quick").click()
    expect(going).to_have_count(0)
    expect(measured).to_have_count(2)
    # Which lines take the time?
    sample_hot_lines(notebook)
    notebook.screenshot(shots / "dashboard-hot.png")
    # What does the registry hold, and where do workers idle?
    dashboard.get_by_role("tab", name="Registry").click()
    expect(dashboard.get_by_role("table", name="Definitions")).to_contain_text("slow(n)")
    dashboard.get_by_role("tab", name="Load").click()
    expect(dashboard.locator('[data-chart="Busy workers"] .wpc-chart-latest')).to_have_text("2")
    dashboard.get_by_role("tab", name="Timeline").click()
    shares = dashboard.get_by_label("How busy each worker was").locator("li")
    expect(shares).to_have_count(2)
    dashboard.get_by_role("group", name="Calls of each worker over time").press(".")
    expect(dashboard.locator(".wpc-timeline-text")).to_contain_text("measure #")
    for theme in ("JupyterLab Light", "JupyterLab Dark"):
        notebook.theme(theme)
        path = shots / f"dashboard-{theme.split()[1].lower()}.png"
        notebook.screenshot(path)
        assert path.stat().st_size > 10_000
    notebook.touch("end")
    assert notebook.errors == []


def test_what_fails_grows_idles_and_waits_is_read_from_the_page_while_a_cell_runs(
    open_notebook: Open, shots: Path
):
    notebook = open_notebook(
        START,
        "%%wpc_function\nimport pathlib, time\nKEPT = []\n"
        "def grow(name):\n    while not pathlib.Path(name).exists():\n"
        "        if len(KEPT) < 60:\n            KEPT.append(b'x' * 2_000_000)\n        time.sleep(0.2)\n"
        "def fails(text):\n    print(text)\n    raise ValueError(text)\n"
        "def never():\n    pass",
        f'EVIL = """{EVIL}"""\n'
        "wpc.define_worker_constant(name='SEED', value=1)\nSEED = 2\n"
        "here = str(pathlib.Path('release').resolve())\n"
        "wpc.call.fails.options(worker_id=2)(EVIL).exception()\n"
        "calls = [wpc.call.grow.options(worker_id=1)(here)]\nprint('under', 'way')\n"
        "until('second')\n"
        "calls.append(wpc.call.grow.options(worker_id=2)(here))\n"
        "get_ipython().run_cell_magic('wpc_cell', '', '6 * 7')\n"
        "calls += [wpc.call.never() for _ in range(3)]\n"
        "until('end')",
    )
    notebook.run_all()
    notebook.output("under way")
    dashboard = notebook.dashboard
    # Which arguments failed?
    dashboard.get_by_role("tab", name="Functions").click()
    dashboard.locator('tr[data-function="fails"]').get_by_role("button").click()
    failed = dashboard.locator(".wpc-function-details .wpc-calls li")
    expect(failed).to_contain_text("failed")
    assert failed.inner_text().count(EVIL[:20]) == 2  # in its arguments, and in its error
    # What has a worker printed, and what does it run with?
    notebook.button("Worker 2: its stack").click()
    expect(dashboard.get_by_label("What worker 2 has printed last")).to_contain_text(EVIL)
    expect(dashboard.locator('[data-fact="OMP_NUM_THREADS"]')).to_be_visible()
    notebook.screenshot(shots / "dashboard-worker.png")
    notebook.button("Worker 2: its stack").click()
    # Whose memory grows, and who idles?
    dashboard.get_by_role("tab", name="Load").click()
    line = dashboard.locator('[data-chart="Worker 1"] path')

    def grown() -> bool:
        points = (line.get_attribute("d") or "M0 0").removeprefix("M").split("L")
        heights = [float(point.split()[1]) for point in points]
        return heights[-1] < heights[0] - 10  # the page counts from the top

    until(lambda: line.count() == 1 and grown(), "the line goes up")
    dashboard.get_by_role("tab", name="Timeline").click()
    shares = dashboard.get_by_label("How busy each worker was").locator("li")
    expect(shares).to_contain_text([re.compile(r"Worker 1: ([5-9]\d|100) %"), re.compile(r"Worker 2: \d %")])
    # Which constant is stale?
    dashboard.get_by_role("tab", name="Registry").click()
    constant = dashboard.get_by_role("table", name="Definitions").get_by_role("row", name="SEED")
    expect(constant).to_contain_text("stale: the notebook has another value")
    expect(constant).to_contain_text("1–2")
    # What waits, and how is it cancelled?
    notebook.touch("second")
    expect(dashboard.locator('[data-total="queued"] dd')).to_have_text("4")
    dashboard.get_by_role("tab", name="Running").click()
    waiting = (
        dashboard.get_by_role("list", name="Cells, and calls")
        .get_by_role("listitem")
        .filter(has_text="Cell In[")
    )
    expect(waiting).to_contain_text("queued")
    notebook.screenshot(shots / "dashboard-queued.png")
    waiting.get_by_role("button").click()
    expect(waiting).to_have_count(0)
    notebook.button("Cancel the calls that are queued: clear queue").click()
    dashboard.get_by_text("Cancel them").click()
    expect(dashboard.locator('[data-total="queued"] dd')).to_have_text("0")
    # The pool stops when what runs has ended.
    notebook.button("Stop all workers").click()
    dashboard.get_by_text("When all have ended").click()
    expect(dashboard.locator(".wpc-pool-state")).to_have_text("draining")
    notebook.touch("release")
    expect(dashboard.locator(".wpc-pool-state")).to_have_text("stopped")
    assert notebook.page.evaluate("window.hacked") is None
    assert notebook.dashboard.locator("script, img").count() == 0
    notebook.touch("end")
    assert notebook.errors == []
