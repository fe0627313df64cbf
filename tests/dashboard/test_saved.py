"""What a saved notebook shows of the dashboard where there is no kernel, and no page that runs anything."""

from __future__ import annotations

import time
import types
from typing import Any

import nbformat
from nbconvert import HTMLExporter

from tests.dashboard.fakes import FakePool
from tests.dashboard.test_table import EVIL
from wpc_magic.dashboard.live_timeline import take_timeline
from wpc_magic.dashboard.static_fallback import StaticFallback
from wpc_magic.dashboard.timeline_svg import timeline_svg
from wpc_magic.dashboard.view import frame_of
from wpc_magic.pool.core.stats import FunctionStats


def test_nbconvert_shows_the_last_frame_with_the_timeline_as_a_picture() -> None:
    pool, now = FakePool(2), time.monotonic()
    pool.change(done=2, failed=1)
    pool.emit("worker_exited", 2, "error", details={"reason": EVIL})
    fit = FunctionStats("fit", 1)
    rows: list[Any] = [
        (1, fit, 1, now - 50, 15_000_000_000, now - 35),
        (2, fit, 2, now - 50, 30_000_000_000, now - 5, 0, 0, "failed", EVIL),
    ]
    pool.recent = (rows, 1, now, pool.recent[3])
    kernel = types.SimpleNamespace()
    fallback = StaticFallback(kernel, "wpc", lambda: timeline_svg(take_timeline(pool)))
    bundle = fallback.bundle(frame_of(pool.snapshot(), pool.events(), time.time()), time.time())
    cell = nbformat.v4.new_code_cell("%wpc_dashboard")
    cell.outputs = [nbformat.v4.new_output("display_data", bundle)]
    page, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    shown = page[page.index("wpc-fallback-") :]
    assert "2 done · 1 failed" in shown
    assert "worker_exited" in shown
    assert "<svg" in shown
    assert ">fit" in shown
    assert EVIL not in shown
