"""The front end as people have it: high contrast, keyboard only, no motion, from right to left, for long."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.bare import ACCESSIBILITY, Show, busy_pool
from tests.browser.lab import TIMEOUT_S
from tests.dashboard.fakes import FakePool

pytestmark = [pytest.mark.browser]
expect.set_options(timeout=TIMEOUT_S * 1000)

COLOURS = """() => {
    const of = (found, name) => getComputedStyle(document.querySelector(found))[name];
    return {
        page: of('.wpc-dashboard', 'backgroundColor'),
        busy: of('tr[data-worker="1"] .wpc-dot', 'backgroundColor'),
        idle: of('tr[data-worker="2"] .wpc-dot', 'backgroundColor'),
        ring: of('tr[data-worker="2"] .wpc-dot', 'borderTopColor'),
        bar: of('tr[data-worker="1"] .wpc-bar', 'backgroundColor'),
        chosen: of('.wpc-tab[aria-selected="true"]', 'borderBottomColor'),
        other: of('.wpc-tab[aria-selected="false"]', 'borderBottomColor'),
        swatch: of('.wpc-swatch', 'backgroundColor'),
    };
}"""
# How many pixels of the canvas are exactly of the system's colour for text.
INK = """() => {
    const canvas = document.querySelector('.wpc-canvas');
    const probe = document.createElement('canvas').getContext('2d');
    probe.fillStyle = 'CanvasText';
    probe.fillRect(0, 0, 1, 1);
    const wanted = new Uint32Array(probe.getImageData(0, 0, 1, 1).data.buffer)[0];
    const all = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer;
    return new Uint32Array(all).filter((each) => each === wanted).length;
}"""


@pytest.mark.parametrize("dark", [False, True])
def test_in_high_contrast_everything_is_in_the_systems_colours_and_nothing_is_lost(show: Show, dark: bool):
    pool = busy_pool()
    scheme = "dark" if dark else "light"
    page = show(pool, dark=dark, forced_colors="active", color_scheme=scheme)
    page.tab("Timeline")
    page.feed.panels.want(["Timeline"])
    page.show(1.0)
    expect(page.root.locator(".wpc-legend")).to_contain_text("fit")
    seen = page.page.evaluate(COLOURS)
    nothing = "rgba(0, 0, 0, 0)"
    assert seen["busy"] not in (seen["page"], nothing), "a worker that works is not one that waits"
    assert seen["idle"] == nothing
    assert seen["ring"] not in (seen["page"], nothing)
    assert seen["bar"] not in (seen["page"], nothing)
    assert seen["chosen"] != seen["other"]
    assert seen["swatch"] not in (seen["page"], nothing)
    page.page.wait_for_function(f"() => ({INK})() > 50")
    assert page.page.evaluate(ACCESSIBILITY) == []


def test_nothing_moves_by_itself_least_of_all_where_motion_is_reduced(show: Show):
    pool = busy_pool()
    page = show(pool, reduced_motion="reduce")
    page.tab("Timeline")
    page.feed.panels.want(["Timeline"])
    for done in range(3):
        pool.change_worker(1, done=done)
        page.show(1.0)
    moving = """() => [...document.querySelectorAll('.wpc-dashboard, .wpc-dashboard *')].filter((node) => {
        const { animationName, transitionDuration, scrollBehavior } = getComputedStyle(node);
        return animationName !== 'none' || parseFloat(transitionDuration) || scrollBehavior === 'smooth';
    }).length + document.getAnimations().length"""
    assert page.page.evaluate(moving) == 0


@pytest.mark.parametrize("width", [520, 1100])
def test_where_text_runs_from_right_to_left_so_does_the_page_and_time_to_the_right(show: Show, width: int):
    page = show(busy_pool(), width=width, direction="rtl")
    page.tab("Timeline")
    page.feed.panels.want(["Timeline"])
    page.show(1.0)
    expect(page.root.locator(".wpc-legend")).to_contain_text("fit")
    where = """() => {
        const at = (found) => document.querySelector(found).getBoundingClientRect();
        const style = (found) => getComputedStyle(document.querySelector(found));
        return {
            overflow: document.documentElement.scrollWidth - innerWidth,
            name: at('.wpc-name').right, controls: at('.wpc-controls').left,
            dot: at('tr[data-worker="1"] .wpc-dot').left - at('tr[data-worker="1"] .wpc-state').left,
            time: style('.wpc-timeline-area').direction,
            bar: parseFloat(style('tr[data-worker="1"] .wpc-bar').transformOrigin),
        };
    }"""
    seen = page.page.evaluate(where)
    assert seen["overflow"] <= 0
    assert seen["name"] > width - 40, "the name begins at the right"
    assert seen["controls"] < 40
    assert seen["dot"] > 20, "a mark stands before its word"
    assert seen["time"] == "ltr"
    assert seen["bar"] > 10, "a bar grows from the right"


def test_everything_can_be_done_with_the_keyboard_alone_and_it_is_seen_where_one_is(show: Show):
    page = show(busy_pool())
    page.tab("Timeline")
    page.feed.panels.want(["Timeline"])
    page.show(1.0)
    page.page.evaluate("() => document.body.prepend(document.createElement('button'))")
    page.page.locator("body > button").focus()
    focused = """() => {
        const { activeElement: node } = document;
        if (!node.closest('.wpc-dashboard')) return null;
        const { outlineStyle, outlineWidth } = getComputedStyle(node);
        const name = node.getAttribute('aria-label') ?? node.textContent.trim();
        return [name, outlineStyle, parseFloat(outlineWidth)];
    }"""
    page.page.keyboard.press("Tab")
    names = []
    while (seen := page.page.evaluate(focused)) is not None and len(names) < 60:
        name, style, outline = seen
        assert style != "none", name
        assert outline >= 1, name
        names.append(name)
        page.page.keyboard.press("Tab")
    for name in (
        "One worker fewer",
        "One worker more",
        "Stop all workers",
        "Worker 1: its stack",
        "Restart worker 3",
    ):
        assert names.count(name) == 1, names
    assert names.count("Timeline") == 1, "the tabs are one stop, and arrows lead to the others"
    assert any(name.startswith("Calls of each worker over time") for name in names)
    page.button("Stop all workers").focus()
    page.page.keyboard.press("Enter")  # asks, and Enter does the least harm then
    expect(page.button("Keep running: do not stop")).to_be_focused()
    page.page.keyboard.press("Escape")
    expect(page.button("Stop all workers")).to_be_focused()
    assert page.sent("stop") == []
    page.button("Worker 1: its stack").focus()
    page.page.keyboard.press("Enter")
    page.page.wait_for_function("() => model.sent.some((each) => each.action === 'stack')")


# A frame all 22.5 seconds: all workers have other calls, and there are 200 events, bars and samples.
REPLAY = """([first, last]) => {
    const workers = [...Array(16).keys()].map((n) => n + 1), bar = [...Array(48).keys()];
    window.base ??= model.get('frame').now;
    window.number ??= 0;
    for (let n = first; n < last; n += 1) {
        const now = base + 22.5 * n;
        const event = () => ({
            n: (number += 1), id: `event-${number}`, at: new Date(1000 * now).toISOString(),
            worker: number % 16 + 1, severity: 'warn', level: number % 10 ? 'warn' : 'error',
            name: 'call_execution_failed', call: `call-${number}`,
            text: `ValueError: ${number} ${'x'.repeat(100)}`,
        });
        const lanes = workers.map((id) => (
            { n: id, worker: id, pid: 4700 + id, start: base, end: null, reason: '' }));
        const bars = workers.flatMap((id) => bar.map((i) => [id, i * 0.45, 0.4, i % 7, 30, 0, 0, 0.38, 0]));
        const memory = workers.map((id) => ({ worker: id, pid: 4700 + id, peak: 5e7, bytes: [4e7 + n % 9] }));
        const sample = { at: now, queued: n, in_flight: 16, busy: 16, workers: 16, rate: n, failed: 1 };
        model.set('patch', {
            seq: model.get('frame').seq + 1, now,
            pool: { calls: 1000 * n, done: 1000 * n, failed: 10 * n },
            workers: workers.map((id) => (
                { id, call: `simulate #${16 * n + id}`, since: now, done: 60 * n, failed: n })),
            events: [...Array(200).keys()].map(event),
            timeline_more: {
                base: now, since: 0, until: 22.5, resolution: 0.4, functions: [...'abcdefg'], lanes, bars },
            load_more: { samples: [sample], memory },
        });
    }
}"""


def test_thirty_minutes_of_events_take_no_more_memory_of_a_page_than_ten(show: Show):
    page = show(FakePool(16))
    session = page.page.context.new_cdp_session(page.page)
    session.send("Performance.enable")

    def used() -> dict[str, float]:
        for _ in range(2):  # what a finalizer lets go of is collected the next time
            session.send("HeapProfiler.collectGarbage")
        metrics = session.send("Performance.getMetrics")["metrics"]
        return {each["name"]: each["value"] for each in metrics}

    def replay(first: int, last: int) -> None:
        """Replay frames, with each panel open in its turn; at the end, the log is."""
        quarter = (last - first) // 4
        for n, panel in enumerate(("Timeline", "Load", "Running", "Events")):
            page.tab(panel)
            page.page.evaluate(REPLAY, [first + n * quarter, first + (n + 1) * quarter])

    page.reply(full={**page.feed.latest[0], "notice": ""}, load={"samples": [], "memory": []})
    replay(0, 60)  # more than a log, a timeline and a chart keep
    before = used()
    replay(60, 140)
    after = used()
    assert page.page.evaluate("number") == 140 * 200
    assert page.page.evaluate("model.get('frame').events.length") == 200
    assert page.page.evaluate("model.get('frame').timeline.bars.length") == 20_000
    grown = {name: after[name] - before[name] for name in ("JSHeapUsedSize", "JSEventListeners", "Nodes")}
    assert grown["JSHeapUsedSize"] < 4_000_000, grown
    assert grown["JSEventListeners"] < 100, grown
    assert grown["Nodes"] < 5_000, grown
