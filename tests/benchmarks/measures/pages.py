"""What the dashboard costs a browser, and a kernel: in a JupyterLab, with Chromium on a core of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..bench import Measure
from ..contestants import US
from ..timing import Failed

__all__ = ["MEASURES"]

PANELS = ("Events", "Timeline", "Running", "Functions", "Hot lines", "Load")
_LIMIT_S = 300.0  # twice what it takes here
_SETTLE_S = 1.5  # what a page does when a panel is opened, or hidden, is over by then

# A thread of the kernel answers what is asked through files, so that no message of this disturbs the page.
_SETUP = """
import json, os, pathlib, threading, time
os.sched_setaffinity(0, {cores})
%load_ext wpc_magic
%wpc_start -n {workers}
get_ipython().run_cell_magic("wpc_function", "", '''
import time
def nap(seconds):
    time.sleep(seconds)
def noop():
    pass
''')
def keep_busy():
    while not pathlib.Path("rest").exists():
        for future in [wpc.call.nap(0.01) for _ in range(4 * {workers})]:
            future.result()
def burst(calls):
    began = time.perf_counter()
    for future in [wpc.call.noop() for _ in range(calls)]:
        future.result()
    return (time.perf_counter() - began) / calls
def used(name):
    found = [each.ident for each in threading.enumerate() if each.name == name]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(each)) for each in found)
def note(calls):
    return {{"feed": used("wpc-dashboard"), "iopub": used("IOPub"), "frames": dashboard._feed.latest[1],
             "burst": burst(calls) if calls else 0.0}}
def answer():
    count = 0
    while not pathlib.Path("end").exists():
        asked = pathlib.Path(f"ask-{{count}}")
        if asked.exists():
            pathlib.Path("unfinished").write_text(json.dumps(note(int(asked.read_text()))))
            pathlib.Path("unfinished").rename(f"told-{{count}}")
            count += 1
        time.sleep(0.02)
dashboard = wpc.dashboard()
threading.Thread(target=answer, daemon=True).start()
if {busy}: threading.Thread(target=keep_busy, daemon=True).start()
%wpc_dashboard
"""


class _Session:
    """A notebook with the dashboard, and its kernel.

    Parameters
    ----------
    lab, browser, notebook : object
        Of `tests.browser.lab`.
    """

    def __init__(self, lab: Any, browser: Any, notebook: Any) -> None:
        import psutil

        self.notebook = notebook
        self._root: Path = lab.root
        self._asked = 0
        own = psutil.Process().children(recursive=True)
        self._renderers = [each for each in own if "--type=renderer" in " ".join(each.cmdline())]

    def ask(self, calls: int = 0) -> dict[str, float]:
        """Return what the kernel has used so far, and what a call took of as many as are asked for."""
        count, self._asked = self._asked, self._asked + 1
        unfinished = self._root / "asked"
        unfinished.write_text(str(calls))
        unfinished.rename(self._root / f"ask-{count}")
        told = self._root / f"told-{count}"
        deadline = time.monotonic() + 60
        while not told.exists():
            if time.monotonic() > deadline:
                raise Failed(f"the kernel does not answer: {self.notebook.outputs()}")
            time.sleep(0.02)  # noqa: TID251 - the kernel is another process
        found: dict[str, float] = json.loads(told.read_text())
        return found

    def browser_used(self) -> float:
        """Return the processor time of the processes that draw pages, in seconds."""
        return sum(sum(each.cpu_times()[:2]) for each in self._renderers if each.is_running())

    def show(self, visible: bool) -> None:
        """Show the dashboard, or collapse its output; the page tells the kernel."""
        display = "" if visible else "none"
        self.notebook.dashboard.evaluate(f"(root) => {{ root.parentElement.style.display = '{display}'; }}")
        time.sleep(_SETTLE_S)  # noqa: TID251 - until all is drawn

    def over(self, seconds: float) -> dict[str, float]:
        """Return what the browser and the kernel use in some seconds."""
        before, used, began = self.ask(), self.browser_used(), time.perf_counter()
        time.sleep(seconds)  # noqa: TID251 - it is the measure
        took, used, after = time.perf_counter() - began, self.browser_used() - used, self.ask()
        found = {name: after[name] - before[name] for name in ("feed", "iopub", "frames")}
        return {**found, "share": used / took, "rate": found["frames"] / took}


@contextlib.contextmanager
def _session(workers: int, busy: bool) -> Iterator[_Session]:
    try:
        from tests.browser.lab import CHROMIUM, Lab, Notebook, chromium
    except ImportError as error:
        raise Failed(f"n/a: {error.name} is not installed") from None
    if not Path(CHROMIUM).exists():
        raise Failed("n/a: Chromium is not installed")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Failed("one core only")
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    os.sched_setaffinity(0, {cores[-1]})  # the server and the browser get it from here
    lab = None
    try:
        lab = Lab(folder)
        lab.wait_until_up()
        name = lab.write("costs.ipynb", [_SETUP.format(cores={*cores[:-1]}, workers=workers, busy=busy)])
        with chromium() as browser:
            page = browser.new_page(viewport={"width": 1200, "height": 1000})
            notebook = Notebook(page, lab, name).open()
            notebook.run_all()
            notebook.worker(workers).wait_for()
            notebook.dashboard.scroll_into_view_if_needed()
            yield _Session(lab, browser, notebook)
            for each in ("rest", "end"):
                notebook.touch(each)
            notebook.close()
    finally:
        if lab is not None:
            lab.close()
        shutil.rmtree(folder, ignore_errors=True)
        os.sched_setaffinity(0, cores)


def page(contestant: Any, seconds: float, panels: tuple[str, ...] = PANELS) -> dict[str, float]:
    """The share of a core that a page takes while it shows each panel, beyond what it takes hidden."""
    costs: dict[str, dict[str, float]] = {}
    with _session(16, busy=True) as session:
        for panel in panels:
            session.notebook.dashboard.get_by_role("tab", name=panel, exact=True).click()
            if panel == "Hot lines":
                session.notebook.button("Start to sample").click()
            session.show(True)
            costs[panel] = session.over(seconds)
            session.show(False)
            hidden = session.over(seconds)
            if hidden["frames"]:
                raise Failed(f"{hidden['frames']:.0f} frames while it is hidden")
            costs[panel]["share"] -= hidden["share"]
            session.show(True)
    first, others = costs[panels[0]], [costs[panel]["share"] for panel in panels[1:]]
    return {
        "page.share": first["share"],
        "page.share.others": max(others),
        "page.cpu": (first["feed"] + first["iopub"]) / max(first["frames"], 1),
    }


def page_throughput(contestant: Any, calls: int, turns: int) -> dict[str, float]:
    """A burst of no-op calls to a worker on the kernel's core, with the dashboard shown, and hidden."""
    with _session(1, busy=False) as session:
        session.ask(calls)
        took: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(turns):
            for visible in (turn % 2 == 0, turn % 2 == 1):
                session.show(visible)
                took[visible].append(session.ask(calls)["burst"])
    return {"page.open": statistics.median(took[True]), "page.closed": statistics.median(took[False])}


MEASURES: list[Measure] = [
    Measure(
        "dashboard-page",
        page,
        ["page.share", "page.share.others", "page.cpu"],
        who=[US],
        full={"seconds": 5.0},
        quick={"seconds": 1.0, "panels": PANELS[:2]},
        rounds=1,
        limit_s=_LIMIT_S,
    ),
    Measure(
        "dashboard-page-throughput",
        page_throughput,
        ["page.open", "page.closed"],
        who=[US],
        full={"calls": 50_000, "turns": 8},
        quick={"calls": 20_000, "turns": 2},
        rounds=1,
        limit_s=_LIMIT_S,
    ),
]
