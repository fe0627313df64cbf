"""Frames and patches."""

from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.dashboard.fakes import FakePool
from wpc_magic.dashboard.meter import Reading
from wpc_magic.dashboard.view import EMPTY, KEPT_EVENTS, Frame, apply, diff, frame_of
from wpc_magic.pool.core.events import ErrorInfo
from wpc_magic.pool.core.snapshot import LeavingProcess, PoolSnapshot, WorkerSnapshot


def frame(pool: FakePool, now: float = 100.0, last: Frame | None = None) -> Frame:
    return frame_of(pool.snapshot(), pool.events(), now, last=last)


def test_a_frame_is_plain_data():
    pool = FakePool()
    pool.emit("worker_exited", error=ErrorInfo("ValueError", "no"), details={"exitcode": -9})
    assert json.loads(json.dumps(frame(pool))) == frame(pool)


def test_a_frame_holds_the_totals_and_what_the_meter_shows():
    pool = FakePool(1)
    pool.change(queued=3, in_flight=2, done=10, failed=1, functions=4)
    shown = frame_of(pool.snapshot(), [], 0.0, readings={1: Reading("48 MB", 30)})
    assert shown["pool"]["queued"] == 3
    assert shown["pool"]["functions"] == 4
    assert (shown["workers"][0]["memory"], shown["workers"][0]["cpu"]) == ("48 MB", 30)


def test_a_call_that_goes_on_changes_nothing():
    pool = FakePool(1)
    pool.change_worker(1, current_call="simulate #12", running_s=2.0)
    first = frame(pool, now=100.0)
    assert first["workers"][0]["since"] == 98.0
    pool.change_worker(1, running_s=7.04)  # indistinguishable from 7.0
    assert diff(first, frame(pool, now=105.0, last=first)) is None


def test_the_next_call_begins_when_it_begins():
    pool = FakePool(1)
    pool.change_worker(1, current_call="simulate #12", running_s=0.05)
    first = frame(pool, now=100.0)
    pool.change_worker(1, current_call="simulate #13", running_s=0.05)
    second = frame(pool, now=100.1, last=first)
    assert diff(first, second) == {"workers": [{"id": 1, "call": "simulate #13", "since": 100.05}]}


def test_the_same_call_in_a_new_process_begins_anew():
    pool = FakePool(1)
    pool.change_worker(1, current_call="simulate #12", running_s=0.3)
    first = frame(pool, now=100.0)
    pool.change_worker(1, pid=5000, running_s=0.0)
    assert frame(pool, now=100.1, last=first)["workers"][0]["since"] == 100.1


def test_the_time_of_the_next_start_stays_while_it_comes_nearer():
    pool = FakePool(1)
    pool.change_worker(1, health_state="restarting", pid=None, restart_in_s=5.0)
    first = frame(pool, now=100.0)
    pool.change_worker(1, restart_in_s=2.02)
    assert diff(first, frame(pool, now=103.0, last=first)) is None
    assert first["workers"][0]["back_at"] == 105.0


def test_a_process_that_leaves_is_shown_as_long_as_it_is_there():
    pool = FakePool(1)
    pool.change_worker(1, leaving=(LeavingProcess(3, 4600, "simulate #12", 2.0, ("call-12",)),))
    first = frame(pool, now=100.0)
    assert first["workers"][0]["leaving"] == [
        {"n": 3, "pid": 4600, "call": "simulate #12", "since": 98.0, "call_ids": ["call-12"]}
    ]
    pool.change_worker(1, leaving=(LeavingProcess(3, 4600, "simulate #12", 7.01, ("call-12",)),))
    assert diff(first, frame(pool, now=105.0, last=first)) is None
    pool.change_worker(1, leaving=())
    assert diff(first, frame(pool, now=106.0, last=first)) == {"workers": [{"id": 1, "leaving": []}]}


def test_a_worker_stays_with_its_host_until_its_next_process_has_another_one_or_there_is_no_place_for_it():
    pool = FakePool(1)
    last, waits = EMPTY, "no thread is free"
    shown = []
    for pid, host, why in ((5, "node-2", ""), (None, "", ""), (None, "", waits), (7, "node-3", "")):
        pool.change_worker(1, pid=pid, host=host, waits_for=why)
        last = frame(pool, last=last)
        shown.append((last["workers"][0]["host"], last["workers"][0]["waits"]))
    assert shown == [("node-2", ""), ("node-2", ""), ("", waits), ("node-3", "")]


def test_only_a_call_that_takes_its_time_can_be_stopped():
    pool = FakePool(2)
    pool.change_worker(1, current_call="f #1", running_s=0.1, call_ids=("call-1",))
    pool.change_worker(2, current_call="f #2", running_s=1.5, call_ids=("call-2",))
    assert [row["call_ids"] for row in frame(pool)["workers"]] == [[], ["call-2"]]


def test_the_error_of_a_function_is_an_error_to_who_looks_and_keeps_its_severity():
    pool = FakePool()
    pool.emit("call_execution_failed", severity="warn")
    pool.emit("call_retry_scheduled", severity="warn")
    assert [(row["severity"], row["level"]) for row in frame(pool)["events"]] == [
        ("warn", "error"),
        ("warn", "warn"),
    ]


def test_only_the_fields_that_changed_are_in_a_patch():
    pool = FakePool(3)
    first = frame(pool)
    pool.change(done=1)
    pool.change_worker(2, done=1, waiting=2)
    assert diff(first, frame(pool, last=first)) == {
        "pool": {"done": 1},
        "workers": [{"id": 2, "waiting": 2, "done": 1}],
    }


def test_a_worker_that_was_removed_is_named():
    pool = FakePool(3)
    first = frame(pool)
    pool.resize(2)
    assert diff(first, frame(pool, last=first)) == {"removed": [3]}


def test_only_new_events_are_in_a_patch_and_their_numbers_go_on():
    pool = FakePool()
    pool.emit("worker_spawned")
    first = frame(pool)
    pool.emit("worker_ready", 2, "warn", correlation_id="call-3", details={"pid": 7})
    patch = diff(first, frame(pool, last=first))
    assert patch is not None
    (row,) = patch["events"]
    assert (row["n"], row["worker"], row["severity"], row["name"]) == (2, 2, "warn", "worker_ready")
    assert (row["call"], row["text"]) == ("call-3", "pid=7")


def test_events_that_were_not_asked_for_again_stay():
    pool = FakePool()
    pool.emit("worker_spawned")
    first = frame(pool)
    assert frame_of(pool.snapshot(), [], 101.0, last=first)["events"] == first["events"]


def test_a_frame_keeps_the_latest_events_only():
    pool = FakePool()
    for _ in range(KEPT_EVENTS + 5):
        pool.emit("worker_spawned")
    first = frame(pool)
    assert len(first["events"]) == KEPT_EVENTS
    for _ in range(3):
        pool.emit("worker_ready")
    second = frame(pool, last=first)
    assert len(second["events"]) == KEPT_EVENTS
    assert [row["name"] for row in second["events"][-4:]] == ["worker_spawned"] + ["worker_ready"] * 3
    assert second["events"][-1]["n"] == first["events"][-1]["n"] + 3


def test_events_of_which_all_are_new_to_the_ring_are_all_shown():
    pool = FakePool()
    pool.emit("worker_spawned")
    first = frame(pool)
    pool._events.clear()  # the history was overwritten between two polls
    pool.emit("worker_ready")
    assert [row["name"] for row in frame(pool, last=first)["events"]] == ["worker_spawned", "worker_ready"]


def test_an_event_says_its_error_and_its_details_in_one_line_that_is_not_endless():
    pool = FakePool()
    pool.emit(
        "moved", error=ErrorInfo("KeyError", "k" * 10_000), details={"from": "ready", "to": "failed", "x": 1}
    )
    text = frame(pool)["events"][0]["text"]
    assert text.startswith("ready → failed · KeyError: kkk")
    assert len(text) == 600


def test_details_that_say_nothing_are_left_out():
    pool = FakePool()
    pool.emit("definition_changed", 0, details={"defined": ["f", "g"], "removed": [], "x": None, "n": 0})
    assert frame(pool)["events"][0]["text"] == "defined=f, g · n=0"


workers = st.builds(
    lambda *args, **fields: WorkerSnapshot(*args, **fields),  # whose other fields are not to be made up
    st.integers(1, 4),
    st.sampled_from(["ready", "restarting", "failed"]),
    st.sampled_from([None, 11, 12]),
    st.sampled_from([None, "f #1", "f #2"]),
    st.sampled_from([None, 0.1, 3.0]),
    done=st.integers(0, 2),
    restart_in_s=st.sampled_from([None, 1.0]),
)
snapshots = st.builds(
    PoolSnapshot,
    st.just("wpc"),
    st.sampled_from(["running", "stopped"]),
    st.lists(workers, max_size=4, unique_by=lambda worker: worker.worker_id).map(
        lambda them: tuple(sorted(them, key=lambda worker: worker.worker_id))
    ),
    queued=st.integers(0, 3),
)


@given(st.lists(st.tuples(snapshots, st.integers(0, 3)), max_size=8))
def test_a_page_that_applies_every_patch_shows_what_a_new_page_would(steps: list[Any]):
    pool, page, last = FakePool(), EMPTY, EMPTY
    for at, (snapshot, events) in enumerate(steps):
        pool.change(**{field.name: getattr(snapshot, field.name) for field in dataclasses.fields(snapshot)})
        for _ in range(events):
            pool.emit("something")
        now = frame(pool, now=100.0 + at, last=last)
        untouched = copy.deepcopy(page)
        patch = diff(last, now)
        if patch is None:
            assert now == last
        else:
            shown = apply(page, json.loads(json.dumps(patch)))
            assert page == untouched
            page = shown
        last = now
        assert page == last
