"""The static view of the dashboard."""

from __future__ import annotations

import pytest

from tests.dashboard.fakes import FakePool
from tests.dashboard.test_table import EVIL, Reader
from wpc_magic.dashboard import StaticView, open_dashboard
from wpc_magic.dashboard.static_view import elapsed_text, take_static_view
from wpc_magic.pool.core.events import ErrorInfo
from wpc_magic.pool.core.snapshot import LeavingProcess


def test_without_a_kernel_the_dashboard_is_a_table_of_text():
    pool = FakePool(2)
    pool.change(done=5, functions=1)
    pool.change_worker(
        2, current_call="simulate #12", running_s=3.21, memory_bytes=48 * 2**20, cpu_percent=99.6
    )
    pool.emit("worker_ready", 1, details={"pid": 4701})
    shown = open_dashboard(pool)
    assert isinstance(shown, StaticView)
    lines = repr(shown).splitlines()
    assert lines[0].startswith(
        "wpc running · 0 queued · 0 in flight · 5 done · 0 failed · 1 function · 0 dep"
    )
    assert lines[4].split() == (
        ["2", "ready", "4702", "simulate", "#12", "3.2", "s", "0", "0", "0", "0", "48", "MB", "100", "%"]
    )
    assert "worker_ready" in lines[-3]
    assert lines[-1] == "This stands still. Live in IPython, also in a terminal: %wpc_status --watch"
    assert pool.listeners == 0


def test_resources_and_shared_objects_are_counted_where_there_are_any():
    pool = FakePool(1)
    assert "0 resources" not in repr(take_static_view(pool))
    pool.change(resources=1, shared=2)
    assert "0 constants · 1 resource · 2 shared · " in repr(take_static_view(pool))


def test_spare_workers_are_counted_where_there_are_any():
    pool = FakePool(1)
    assert "spare" not in repr(take_static_view(pool))
    pool.change(spare_workers=1)
    assert "1 spare worker ·" in repr(take_static_view(pool)).replace("\n", " ·")
    pool.change(spare_workers=2)
    assert "2 spare workers" in repr(take_static_view(pool))


def test_a_static_view_counts_down_to_the_next_start():
    pool = FakePool(1)
    pool.change_worker(1, health_state="restarting", pid=None, restart_in_s=4.0)
    assert "restarting in 4 s" in repr(take_static_view(pool))


def test_a_process_that_leaves_has_a_line_of_its_own():
    pool = FakePool(1)
    pool.change_worker(1, leaving=(LeavingProcess(1, 4600, "fit #3", 2.0, ("call-3",)),))
    assert repr(take_static_view(pool)).splitlines()[-3].split() == [
        *("1", "leaving", "4600", "fit", "#3", "2.0", "s")
    ]


def test_workers_of_a_cluster_stand_by_host():
    pool = FakePool(3)
    for number, host in ((1, "node-2"), (2, "node-1"), (3, "node-2")):
        pool.change_worker(number, host=host)
    table = take_static_view(pool).tables()[0]
    assert table.columns[-1] == "host"
    assert [(row[-1], row[0]) for row in table.rows] == [("node-1", 2), ("node-2", 1), ("node-2", 3)]


def test_a_pool_without_workers_says_so():
    text = repr(take_static_view(FakePool(0)))
    assert "No worker runs.\n\nThis stands still." in text
    assert len(text.splitlines()) == 3


def test_nothing_of_a_static_view_is_html():
    pool = FakePool(1, name=EVIL)
    pool.change_worker(1, current_call=EVIL, running_s=1.0)
    pool.emit(EVIL, error=ErrorInfo(EVIL, EVIL))
    read = Reader(take_static_view(pool)._repr_html_())
    assert not {"script", "img"} & set(read.tags)
    assert EVIL in read.texts
    assert f"{EVIL}: {EVIL}" in read.texts


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((-1.0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s")),
        *((3599.0, "59 min 59 s"), (3600.0, "1 h 00 min"), (90_000.0, "25 h 00 min")),
    ],
)
def test_a_time_is_read_at_a_glance(seconds: float, text: str):
    assert elapsed_text(seconds) == text
