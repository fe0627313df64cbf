"""What the dashboard costs the kernel, and what a cell in the background takes."""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from ..bench import Measure
from ..contestants import US
from ..timing import Failed

__all__ = ["MEASURES"]

_BUSY_WORKERS = 16
_NAP_S = 0.01


class _Page:
    """Takes what a dashboard sends, as JSON, as a comm does."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, message: dict[str, Any]) -> None:
        self.sizes.append(len(json.dumps(message)))


def frames(contestant: Any, seconds: float) -> dict[str, float]:
    """The processor time and the size of a frame while all workers have calls of 10 ms; frames a second."""
    contestant.open(_BUSY_WORKERS)
    pool, page, stop = contestant.pool, _Page(), threading.Event()
    pool.wait_until_ready(timeout_ms=60_000)
    feeder = threading.Thread(target=_keep_busy, args=(pool, stop))
    feeder.start()
    feed = _timed_feed()(pool, page)
    feed.follow()
    time.sleep(1.5)  # noqa: TID251 - the first frames, which follow each other sooner, have the whole state
    before, began = (len(feed.used), len(page.sizes)), time.perf_counter()
    time.sleep(seconds)  # noqa: TID251 - it is the measure
    used, sizes, took = feed.used[before[0] :], page.sizes[before[1] :], time.perf_counter() - began
    feed.panels.want(["Timeline"])
    time.sleep(1.5)  # noqa: TID251 - the first has all of it
    with_timeline = len(page.sizes)
    time.sleep(seconds)  # noqa: TID251 - it is the measure
    of_timeline = page.sizes[with_timeline:]
    feed.close()
    stop.set()
    feeder.join()
    contestant.close()
    if min(len(sizes), len(of_timeline)) < 3:
        raise Failed(f"{len(sizes)} and {len(of_timeline)} frames")
    return {
        "dashboard.cpu": statistics.mean(used),
        "dashboard.bytes": statistics.mean(sizes),
        "dashboard.bytes.timeline": statistics.mean(of_timeline),
        "dashboard.frames": len(sizes) / took,
    }


def _timed_feed() -> Any:
    from wpc_magic.dashboard.feed import Feed

    class TimedFeed(Feed):
        """A feed that notes the processor time of each frame."""

        def __init__(self, *args: Any) -> None:
            self.used: list[float] = []
            super().__init__(*args)

        def step(self) -> bool:
            began = time.thread_time()
            found = super().step()
            self.used.append(time.thread_time() - began)
            return found

    return TimedFeed


def _keep_busy(pool: Any, stop: threading.Event) -> None:
    while not stop.is_set():
        for future in [pool.call.nap(_NAP_S) for _ in range(4 * _BUSY_WORKERS)]:
            future.result()


def throughput(contestant: Any, calls: int, turns: int) -> dict[str, float]:
    """A burst of no-op calls without a dashboard, and with one that is open; turn by turn."""
    feed_of = _timed_feed()
    contestant.open(2)
    pool = contestant.pool
    pool.wait_until_ready(timeout_ms=60_000)
    _burst(pool, calls)
    closed, opened = [], []
    for _ in range(turns):
        closed.append(_burst(pool, calls))
        feed = feed_of(pool, _Page())
        feed.follow()
        opened.append(_burst(pool, calls))
        feed.close()
    contestant.close()
    return {
        "dashboard.closed": statistics.median(closed),
        "dashboard.open": statistics.median(opened),
    }


def _burst(pool: Any, calls: int) -> float:
    began = time.perf_counter()
    for future in [pool.call.noop() for _ in range(calls)]:
        future.result()
    return (time.perf_counter() - began) / calls


def background_cell(contestant: Any, count: int) -> dict[str, float]:
    """From a cell that is run in the background until its variable is there."""
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            run: Callable[[str], Any] = shell.run_cell
            run("%load_ext wpc_magic\n%wpc_start -n 1")
            times = []
            for n in range(count + 3):
                began = time.perf_counter()
                run(f"%%wpc_cell -o x\nx = {n}")
                run("%wpc_wait x")
                times.append(time.perf_counter() - began)
                if shell.user_ns.get("x") != n:
                    raise Failed(f"x is {shell.user_ns.get('x')}, not {n}")
            run("%unload_ext wpc_magic")
    finally:
        InteractiveShell.clear_instance()
    return {"background.cell": statistics.median(times[3:])}


MEASURES = [
    Measure(
        "dashboard-frames",
        frames,
        ["dashboard.cpu", "dashboard.bytes", "dashboard.bytes.timeline", "dashboard.frames"],
        who=[US],
        full={"seconds": 10.0},
        quick={"seconds": 3.0},
        rounds=3,
    ),
    Measure(
        "dashboard-throughput",
        throughput,
        ["dashboard.closed", "dashboard.open"],
        who=[US],
        full={"calls": 40_000, "turns": 7},
        quick={"calls": 10_000, "turns": 3},
        rounds=3,
    ),
    Measure(
        "background-cell",
        background_cell,
        ["background.cell"],
        who=[US],
        full={"count": 50},
        quick={"count": 10},
        rounds=3,
    ),
]
