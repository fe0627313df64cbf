"""The widget, without a page."""

from __future__ import annotations

import gc
import itertools
import pathlib
import re
import threading
import time
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import comm
import ipywidgets
import pytest
from comm.base_comm import BaseComm
from IPython.core.events import EventManager, available_events
from ipywidgets.widgets.widget import _instances

from tests.dashboard.fakes import FakePool
from tests.dashboard.test_table import EVIL, Reader
from wpc_magic.dashboard import Dashboard, open_dashboard
from wpc_magic.dashboard.page import STATIC, front_end, joined_styles
from wpc_magic.dashboard.static_fallback import MAX_AGE_S, PICTURE_AGE_S, StaticFallback
from wpc_magic.notebook import page_modules
from wpc_magic.pool.core.stats import FunctionStats
from wpc_magic.pool.driver.sampling import StackSample

pages = itertools.count()

VIEW = "application/vnd.jupyter.widget-view+json"


class FakeComm(BaseComm):
    """A comm that records what is sent."""

    opened: list[FakeComm]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.sent: list[tuple[str, dict[str, Any]]] = []
        self.arrived = threading.Condition()
        super().__init__(*args, **kwargs)
        self.opened.append(self)

    def publish_msg(self, msg_type: str, data: Any = None, *args: Any, **keys: Any) -> None:
        with self.arrived:
            self.sent.append((msg_type, data or {}))
            self.arrived.notify_all()

    def wait_for(self, fits: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the first patch that fits."""

        def found() -> Any:
            patches = (data["state"].get("patch", {}) for _, data in self.sent if "state" in data)
            return next((patch for patch in patches if fits(patch)), None)

        with self.arrived:
            patch: dict[str, Any] = self.arrived.wait_for(found, timeout=30)
        assert patch, "no patch fits"
        return patch

    def wait_for_patch(self, key: str) -> dict[str, Any]:
        return self.wait_for(lambda patch: key in patch)


class SubshellComm(FakeComm):
    """A comm of ipykernel 7.4."""

    def _reply_subshell_for(self, data: Any, default: Any) -> Any:
        return None


class Shell:
    """A shell in a kernel that records what is displayed, and what is sent."""

    def __init__(self) -> None:
        self.shown: list[tuple[Any, ...]] = []
        self.sent: list[Any] = []
        self.display_pub = types.SimpleNamespace(publish=self._publish)
        session = types.SimpleNamespace(send=lambda *args, **keys: self.sent.append((args, keys)))
        self.kernel = types.SimpleNamespace(session=session, iopub_socket=None)
        self.events = EventManager(self, available_events)

    def _publish(self, data: Any, metadata: Any = None, **keys: Any) -> None:
        self.shown.append((data, keys))


@pytest.fixture(autouse=True)
def comms(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[FakeComm]]:
    """Every comm that was opened; all are closed at the end."""
    FakeComm.opened = []
    before = set(_instances)
    monkeypatch.setattr(comm, "create_comm", FakeComm)
    yield FakeComm.opened
    for name in set(_instances) - before:
        if isinstance(_instances.get(name), Dashboard):
            _instances[name].close()
    assert set(_instances) == before


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Shell:
    shell = Shell()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    return shell


def test_in_a_kernel_the_dashboard_is_one_widget_for_each_pool(shell: Shell):
    pool, other = FakePool(), FakePool()
    dashboard = open_dashboard(pool)
    assert isinstance(dashboard, ipywidgets.DOMWidget)
    assert open_dashboard(pool) is dashboard
    assert open_dashboard(other) is not dashboard
    assert len([thread for thread in threading.enumerate() if thread.name == "wpc-dashboard"]) == 2


def test_after_it_was_closed_a_new_one_is_opened(shell: Shell):
    pool = FakePool()
    first = open_dashboard(pool)
    assert isinstance(first, Dashboard)
    first.close()
    assert open_dashboard(pool) is not first


def test_a_page_is_given_the_whole_frame_once_and_then_what_changes(comms: list[FakeComm]):
    pool = FakePool(2)
    dashboard = Dashboard(pool)
    (state,) = [
        data["state"] for each in comms for kind, data in each.sent if "_esm" in data.get("state", {})
    ]
    assert [row["id"] for row in state["frame"]["workers"]] == [1, 2]
    pool.change(done=1)
    pool.emit("worker_ready")
    patch = dashboard.comm.wait_for_patch("pool")
    assert patch["pool"] == {"done": 1}
    assert all("frame" not in data["state"] for _, data in dashboard.comm.sent[1:])


def test_a_page_that_opens_later_is_given_the_frame_of_that_moment(comms: list[FakeComm]):
    pool = FakePool(2)
    dashboard = Dashboard(pool)
    pool.emit("worker_ready")
    patch = dashboard.comm.wait_for_patch("events")
    state = dashboard.get_state()["frame"]
    assert state["events"][-1]["name"] == "worker_ready"
    assert state["seq"] == patch["seq"]


def test_a_click_reaches_the_pool(comms: list[FakeComm]):
    pool = FakePool(2)
    dashboard = Dashboard(pool)
    click(dashboard, {"from": "page", "nth": 1, "id": "click-1", "action": "scale", "number": 3})
    assert dashboard.comm.wait_for_patch("acked")["acked"] == {"page": 1}
    assert dashboard.comm.wait_for_patch("workers")["workers"][0]["id"] == 3


@pytest.mark.parametrize(
    "content", [None, "stop", ["stop"], {"action": "exec"}, {"id": "a", "action": "restart"}]
)
def test_nonsense_from_a_page_is_dropped(content: Any):
    pool = FakePool()
    click(Dashboard(pool), content)
    pool.wait_for_polls(2)
    assert pool.requested == []


def test_a_page_that_missed_a_patch_is_sent_everything():
    pool = FakePool(2)
    dashboard = Dashboard(pool)
    click(dashboard, {"action": "sync", "seq": -1})
    assert len(dashboard.comm.wait_for_patch("full")["full"]["workers"]) == 2


def test_a_page_that_is_up_to_date_is_sent_no_frame(comms: list[FakeComm]):
    dashboard = Dashboard(FakePool())
    click(dashboard, {"action": "sync", "seq": 0})
    assert "full" not in dashboard.comm.wait_for_patch("acked")


def test_a_click_that_arrives_again_is_acknowledged_again_and_done_once(comms: list[FakeComm]):
    pool = FakePool(2)
    dashboard = Dashboard(pool)
    first, second = (
        {"from": "page", "nth": n, "id": f"click-{n}", "action": "restart", "number": n} for n in (1, 2)
    )
    click(dashboard, second)  # the first waits behind a cell
    click(dashboard, first)
    click(dashboard, second)
    dashboard.comm.wait_for(lambda patch: patch.get("acked") == {"page": 2})
    click(dashboard, first)  # the cell has ended
    click(dashboard, {"from": "page", "nth": 3, "id": "click-3", "action": "scale", "number": 3})
    dashboard.comm.wait_for(lambda patch: patch.get("acked") == {"page": 3})
    dashboard.comm.wait_for(lambda patch: 3 in [row["id"] for row in patch.get("workers", ())])
    assert pool.requested == [("restart", 1), ("restart", 2), ("resize", 3)]


def click(dashboard: Dashboard, content: Any) -> None:
    """Send a message as a page does: each is the first of another one, unless it says so."""
    if isinstance(content, dict):
        content = {"from": f"page {next(pages)}", "nth": 1, **content}
    message = {"content": {"data": {"method": "custom", "content": content}}, "buffers": []}
    dashboard.comm.handle_msg(message)


def test_clicks_keep_to_the_thread_that_the_page_chose(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(comm, "create_comm", SubshellComm)
    dashboard = Dashboard(FakePool())
    assert dashboard.comm._reply_subshell_for({}, "the page's") == "the page's"


def test_a_kernel_without_that_choice_is_left_alone():
    assert not hasattr(Dashboard(FakePool()).comm, "_reply_subshell_for")


def test_closing_ends_the_thread_the_listener_and_every_comm(comms: list[FakeComm]):
    pool = FakePool()
    dashboard = Dashboard(pool)
    dashboard.close()
    dashboard.close()
    assert pool.listeners == 0
    assert "wpc-dashboard" not in {thread.name for thread in threading.enumerate()}
    assert all(each.sent[-1][0] == "comm_close" for each in comms)


def test_a_dashboard_does_not_keep_its_pool(shell: Shell):
    pool = FakePool()
    open_dashboard(pool)
    gone = weakref.ref(pool)
    del pool
    for thread in threading.enumerate():
        if thread.name == "wpc-dashboard":
            thread.join(30)
    gc.collect()
    assert gone() is None


# -- the static fallback --------------------------------------------------------------------------------


def test_its_text_is_short_and_the_same_in_every_run():
    assert repr(Dashboard(FakePool())) == repr(Dashboard(FakePool(3))) == "<dashboard of wpc>"


def test_its_bundle_has_the_widget_and_the_frame_as_html():
    pool = FakePool(1)
    pool.emit(EVIL)
    bundle = Dashboard(pool)._repr_mimebundle_()
    assert bundle is not None
    assert set(bundle[0]) == {"text/plain", "text/html", VIEW}
    assert EVIL in Reader(bundle[0]["text/html"]).texts


def test_it_displays_itself_and_below_what_stays(shell: Shell):
    dashboard = Dashboard(FakePool(1))
    dashboard._ipython_display_()
    (live, _), (fallback, keys) = shell.shown
    assert set(live) == {"text/plain", VIEW}
    assert fallback["text/plain"] == "<last frame of wpc>"
    assert f"wpc-fallback-{keys['transient']['display_id']}" in fallback["text/html"]
    assert dashboard._state()["fallback"] == keys["transient"]["display_id"]


def test_what_stays_has_the_timeline_as_a_picture_which_is_taken_less_often(shell: Shell):
    taken: list[str] = []

    def picture() -> str:
        taken.append(f"<svg>{len(taken)}</svg>")
        return taken[-1]

    frame = Dashboard(FakePool(1))._feed.latest[0]
    fallback = StaticFallback(None, "wpc", picture)
    assert "<svg>0</svg>" in fallback.bundle(frame, 100.0)["text/html"]
    assert "<svg>0</svg>" in fallback.bundle(frame, 101.0)["text/html"]
    assert "<svg>1</svg>" in fallback.bundle(frame, 100.0 + PICTURE_AGE_S)["text/html"]
    assert "<svg>2</svg>" in fallback.bundle(frame, 101.0 + PICTURE_AGE_S, last=True)["text/html"]


def test_the_picture_is_that_of_what_has_run():
    now, stats = time.monotonic(), FunctionStats(EVIL, 1)
    pool = FakePool(1)
    dashboard = Dashboard(pool)
    assert "<svg" not in dashboard._fallback.bundle(dashboard._feed.latest[0], 100.0)["text/html"]
    pool.recent = ([(1, stats, 1, now - 9, 5_000_000_000, now - 1)], 1, now, pool.recent[3])
    shown = dashboard._fallback.bundle(dashboard._feed.latest[0], 200.0)["text/html"]
    assert "<svg" in shown
    assert "script" not in Reader(shown).tags


def test_what_stays_is_replaced_now_and_then_and_only_if_it_differs(shell: Shell):
    pool = FakePool(1)
    dashboard = Dashboard(pool)
    fallback, now = dashboard._fallback, 1000.0
    frame = dashboard._feed.latest[0]
    fallback.update(frame, now)
    assert shell.sent == []  # it was not displayed yet
    fallback.bundle(frame, now)
    other: Any = {**frame, "pool": {**frame["pool"], "done": 1}}
    fallback.update(other, now + MAX_AGE_S - 0.1)
    fallback.update(frame, now + MAX_AGE_S)
    assert shell.sent == []
    fallback.update(other, now + MAX_AGE_S)
    ((args, keys),) = shell.sent
    assert args[1] == "update_display_data"
    assert "1 done" in args[2]["data"]["text/html"]
    assert args[2]["transient"] == {"display_id": fallback.id}
    assert keys["parent"] == {}


def test_memory_and_processor_alone_change_no_notebook(shell: Shell):
    dashboard = Dashboard(FakePool(1))
    frame = dashboard._feed.latest[0]
    dashboard._fallback.bundle(frame, 0.0)
    warmer: Any = {**frame, "workers": [{**frame["workers"][0], "cpu": 99, "memory": "1 GB"}]}
    dashboard._fallback.update(warmer, 1000.0, last=True)
    assert shell.sent == []


def test_the_last_frame_of_all_stays(shell: Shell):
    pool = FakePool(1)
    dashboard = Dashboard(pool)
    dashboard._ipython_display_()
    pool.emit("worker_ready")
    dashboard.comm.wait_for_patch("events")
    dashboard.close()
    assert "worker_ready" in shell.sent[-1][0][2]["data"]["text/html"]


def watch(dashboard: Dashboard, view: Any, visible: Any, panel: Any = "Events") -> None:
    """Say whether a view is visible, as a page does in a subshell: not in the main thread."""
    thread = threading.Thread(
        target=click,
        args=(dashboard, {"action": "watch", "view": view, "visible": visible, "panel": panel}),
    )
    thread.start()
    thread.join(30)


def test_nothing_is_sent_while_no_view_is_visible():
    dashboard = Dashboard(FakePool())
    watch(dashboard, "a", True)
    watch(dashboard, "b", True)
    watch(dashboard, "a", False)
    assert not dashboard._feed._hidden
    watch(dashboard, "b", False)
    assert dashboard._feed._hidden
    watch(dashboard, "b", True)
    assert not dashboard._feed._hidden


def test_where_a_page_is_heard_between_cells_only_everything_is_sent_while_one_runs(shell: Shell):
    """As with ipykernel 6: messages arrive in the main thread, which a cell keeps busy."""
    dashboard = Dashboard(FakePool())
    hidden = {"action": "watch", "view": "a", "visible": False, "panel": "Events"}
    click(dashboard, hidden)
    assert dashboard._feed._hidden
    shell.events.trigger("pre_run_cell", None)
    assert not dashboard._feed._hidden
    shell.events.trigger("post_run_cell", None)
    assert dashboard._feed._hidden
    click(dashboard, {**hidden, "visible": True})
    shell.events.trigger("pre_run_cell", None)
    shell.events.trigger("post_run_cell", None)
    assert not dashboard._feed._hidden
    dashboard.close()
    assert not any(shell.events.callbacks.values()), "nothing is left there"


def test_only_the_panel_that_a_view_shows_is_read():
    pool = FakePool()
    dashboard = Dashboard(pool)
    watch(dashboard, "a", True, "Events")
    assert dashboard._feed.panels.read(pool, 0.0) == {}
    watch(dashboard, "b", True, "Functions")
    assert dashboard.comm.wait_for_patch("functions")["functions"] == []
    watch(dashboard, "b", False, "Functions")
    assert dashboard._feed.panels.read(pool, 1e9) == {}


@pytest.mark.parametrize(("view", "visible"), [(1, False), (None, False), ("a", 0), ("a", None)])
def test_nonsense_about_a_view_hides_nothing(view: Any, visible: Any):
    dashboard = Dashboard(FakePool())
    watch(dashboard, view, visible)
    assert not dashboard._feed._hidden


# -- the files of the front end -------------------------------------------------------------------------


SHARED = pathlib.Path(page_modules.__file__).parent / "static" / "outbox.js"


def test_the_page_never_writes_html():
    for path in (*STATIC.glob("*.js"), *SHARED.parent.glob("*.js")):
        for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "import("):
            assert word not in path.read_text(), path.name


def test_the_modules_are_joined_in_the_order_of_their_imports():
    module = front_end()
    begins = re.findall(r"^const (\w+_js) = \(\(\) => \{$", module, re.MULTILINE)
    files = (*STATIC.glob("*.js"), SHARED)
    assert {path.name.replace(".", "_") for path in files} == {*begins, "dashboard_js"}
    for name in begins:
        used = re.findall(rf"^const \{{.*\}} = {name};$", module, re.MULTILINE)
        assert used, f"{name} is not used"
        assert module.index(used[0]) > module.index(f"const {name} = ")
    # What is imported is exported, and nothing is left of either but the one that the widget needs.
    assert re.findall(r"^(?:import|export).*", module, re.MULTILINE) == [
        "export default { initialize, render };"
    ]


def test_every_style_sheet_is_joined():
    assert all(path.read_text() in joined_styles() for path in STATIC.glob("*.css"))


def test_hot_lines_are_sampled_from_a_click_until_the_panel_is_left_or_the_dashboard_closed(
    comms: list[FakeComm],
):
    def sampling() -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each.name == "wpc-dashboard-samples"]

    pool = FakePool(2)
    pool.samples = [StackSample(1, "fit", 1, (("fit.py", 3, "fit"),))]
    dashboard = Dashboard(pool)

    def send(**content: Any) -> None:
        click(dashboard, content)

    send(action="sample", id="a", number=1)  # it is not shown
    while dashboard._feed._requests.busy:
        pass
    assert sampling() == []
    send(action="watch", view="v", visible=True, panel="Hot lines")
    send(action="sample", id="b", number=1)
    dashboard.comm.wait_for_patch("hot")
    (first,) = until_some(sampling)
    send(action="watch", view="v", visible=True, panel="Events")
    first.join(30)
    assert not first.is_alive()
    send(action="watch", view="v", visible=True, panel="Hot lines")
    send(action="sample", id="c", number=1)
    (second,) = until_some(sampling)
    dashboard.close()
    second.join(30)
    assert not second.is_alive()


def until_some(find: Callable[[], list[Any]]) -> list[Any]:
    """Return what there is as soon as there is something."""
    while not (found := find()):
        pass
    return found
