"""The front end in a page of its own, over a fake pool: no server, no kernel, and so no waiting for them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Locator

from tests.dashboard.fakes import FakeClock, FakePool
from wpc_magic.dashboard.feed import Feed
from wpc_magic.dashboard.page import front_end, joined_styles
from wpc_magic.pool.core.stats import FunctionStats

# The part of a widget's model that the front end uses. What it sends is kept for the test.
MODEL = """
class Model {
  constructor(state) { this.state = state; this.listeners = {}; this.sent = []; this.repeated = []; }
  get(name) { return this.state[name]; }
  set(name, value) {
    this.state[name] = value;
    (this.listeners[`change:${name}`] ?? []).forEach((each) => each());
  }
  on(event, listener) { (this.listeners[event] ??= []).push(listener); }
  off(event, listener) { this.listeners[event] = this.listeners[event].filter((each) => each !== listener); }
  send(message) {
    const known = this.sent.some((each) => each.from === message.from && each.nth === message.nth);
    (known ? this.repeated : this.sent).push(message);
  }
}
window.open_ = (frame) => {
  window.model = new Model({ frame, patch: {} });
  dashboard.initialize({ model });
  window.close_ = dashboard.render({ model, el: document.body.firstElementChild });
};
"""

HTML = """<!doctype html><html lang="en"><head><title>Dashboard</title><style>{styles}</style></head>
<body data-jp-theme-light="{light}" style="margin: 0; background: {background}"><main></main></body></html>"""


class BarePage:
    """The dashboard of a fake pool.

    Parameters
    ----------
    browser : Browser
        The browser.
    pool : FakePool
        The pool.
    width : int
        The width of the page.
    dark : bool
        Whether the theme is dark.
    direction : str
        That of the page: ``"rtl"`` where text runs from right to left.
    **emulated : object
        What else the page emulates: ``forced_colors``, ``reduced_motion``.
    """

    def __init__(
        self,
        browser: Browser,
        pool: FakePool,
        width: int = 1100,
        dark: bool = False,
        direction: str = "ltr",
        **emulated: Any,
    ) -> None:
        self.pool, self.clock = pool, FakeClock(time.time())
        self.feed = Feed(pool, self._receive, clock=self.clock)
        size: Any = {"width": width, "height": 900}
        self.page = browser.new_page(viewport=size, device_scale_factor=1.5, **emulated)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        colours = (
            {"light": "false", "background": "#111"} if dark else {"light": "true", "background": "#fff"}
        )
        self.page.set_content(HTML.format(styles=joined_styles() + (DARK if dark else ""), **colours))
        module = front_end().replace("export default", "window.dashboard =")
        self.page.evaluate("(direction) => { document.documentElement.dir = direction; }", direction)
        self.page.add_script_tag(content=module + MODEL, type="module")
        self.page.wait_for_function("() => window.open_")
        frame, seq, notice = self.feed.latest
        state = {**frame, "seq": seq, "now": self.clock(), "notice": notice, "fallback": "none"}
        self.page.evaluate("(state) => open_(state)", json.loads(json.dumps(state)))

    def _receive(self, message: dict[str, Any]) -> None:
        self.page.evaluate("(patch) => model.set('patch', patch)", json.loads(json.dumps(message)))

    def show(self, seconds: float = 0.1) -> None:
        """Let the page show what the pool is now."""
        self.clock.advance(seconds)
        self.feed.step()

    def reply(self, **message: Any) -> None:
        """Send something else than a frame, and that what the page has sent has arrived."""
        _, seq, _ = self.feed.latest
        acked = self.page.evaluate("Object.fromEntries(model.sent.map(({ from, nth }) => [from, nth]))")
        self._receive({"seq": seq, "now": self.clock(), "acked": acked, **message})

    def sent(self, action: str) -> list[dict[str, Any]]:
        """Return what the page has sent with this action."""
        found = self.page.evaluate("(action) => model.sent.filter((each) => each.action === action)", action)
        return [{key: value for key, value in each.items() if key != "action"} for each in found]

    @property
    def root(self) -> Locator:
        return self.page.locator(".wpc-dashboard")

    def worker(self, number: int) -> Locator:
        """The row of a worker."""
        return self.root.locator(f'tr[data-worker="{number}"]')

    def button(self, help_: str) -> Locator:
        return self.root.get_by_role("button", name=help_, exact=True)

    def tab(self, name: str) -> None:
        """Show a panel."""
        self.root.get_by_role("tab", name=name, exact=True).click()

    def screenshot(self, path: Path) -> None:
        """Take a screenshot of the dashboard."""
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written here: Playwright would start threads for it that live as long as Playwright.
        path.write_bytes(self.root.screenshot(animations="disabled"))

    def close(self) -> None:
        """Close the view, and the page."""
        self.feed.close()
        self.page.evaluate("() => close_()")
        self.page.close()


DARK = "body { --jp-layout-color0: #111; --jp-layout-color1: #212121; --jp-ui-font-color0: #fff; }"

EVIL = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"

FAILED_CALL = {
    "ended_at": 1000.0,
    "worker": 2,
    "ran_s": 0.25,
    "state": "failed",
    "items": 0,
    "arguments": "(37)",
    "error": EVIL,
}
"""What the kernel tells of a call."""

ACCESSIBILITY = Path(__file__).with_name("accessibility.js").read_text()
"""Returns what somebody who does not see everything, or has no mouse, would miss in a page."""

Show = Callable[..., BarePage]


def run(pool: FakePool, worker: int, call: str = "simulate #85", seconds: float = 3.0) -> None:
    """Let a worker run a call."""
    pool.change_worker(worker, current_call=call, running_s=seconds, call_ids=(f"call-{call.split('#')[1]}",))


def let_run(pool: FakePool, ended: int) -> None:
    """Let a pool have two calls of `fit` behind it: one on worker 1, and one that failed."""
    now, fit = time.monotonic(), FunctionStats("fit", 1)
    rows: list[tuple[object, ...]] = [
        (1, fit, 1, now - 50, 15_000_000_000, now - 35),
        (2, fit, ended, now - 50, 30_000_000_000, now - 5, 0, 0, "failed", "KeyError: 3"),
    ]
    pool.recent = (rows, 1, now, pool.recent[3])


def busy_pool() -> FakePool:
    """Return a pool whose first worker is busy, with a call that has failed."""
    pool = FakePool(3)
    run(pool, 1, "fit #3")
    pool.change_worker(1, cpu_percent=100.0)
    pool.change_worker(3, failed=1)
    pool.emit("worker_exited", 2, "error", details={"reason": "killed by SIGKILL"})
    let_run(pool, 2)
    return pool
