"""Traces in the format of Chrome: what Perfetto's reader asks of them, and what is in them."""

from __future__ import annotations

import itertools
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pool.conftest import PATIENCE_S
from wpc_magic.pool.chrome_trace import trace_of
from wpc_magic.pool.core.ended_calls import EndedCall, PoolHistory, WorkerProcess
from wpc_magic.pool.core.events import WorkerEvent
from wpc_magic.pool.errors import OptionError

DEFINITIONS = """
def odd(n):
    if n % 2 == 0:
        raise ValueError(f"{n} is <even>")
    return n

async def both(n):
    import asyncio
    await asyncio.sleep(0.01)
"""


def check(trace: Any) -> None:
    """Check what Perfetto's reader of JSON asks: it leaves out what it does not understand."""
    assert isinstance(trace["traceEvents"], list)
    slices = defaultdict(list)
    for event in trace["traceEvents"]:
        assert event["ph"] in "XMiC"
        assert isinstance(event["name"], str)
        for key in ("pid", "tid"):
            assert type(event[key]) is int
            assert 0 <= event[key] < 2**32
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "process_sort_index", "thread_name")
            assert event["args"]
            continue
        assert math.isfinite(event["ts"])
        assert event["ts"] >= 0
        if event["ph"] == "X":
            assert math.isfinite(event["dur"])
            assert event["dur"] >= 0
            slices[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
        elif event["ph"] == "i":
            assert event["s"] in ("g", "p", "t")
        else:
            assert all(type(value) in (int, float) for value in event["args"].values())
    for of_thread in slices.values():  # they are to be nested; ours follow each other
        ordered = sorted(of_thread)
        assert all(one[1] <= next_[0] + 1e-6 for one, next_ in itertools.pairwise(ordered))


calls = st.builds(
    lambda number, lane, queued, waits, runs, state: EndedCall(
        number, "f", 1, lane, 40 + lane, lane, state, queued, queued, queued + waits, queued + waits + runs
    ),
    st.integers(1, 50),
    st.integers(1, 3),
    st.floats(1e9, 1e9 + 100),
    st.floats(0, 10),
    st.sampled_from([0.0, 1e-6, 0.01, 1.0, 30.0]),
    st.sampled_from(["done", "failed", "cancelled", "retried"]),
)


@given(st.lists(calls, max_size=40))
def test_whatever_has_run_a_trace_keeps_to_the_rules_and_has_each_call(found: list[EndedCall]) -> None:
    processes = tuple(WorkerProcess(n, n, 40 + n, 1e9, 1e9 + 200 if n == 2 else None) for n in (1, 2, 3))
    trace = trace_of(PoolHistory(tuple(found), processes), pid=42)  # one of theirs, used again
    check(json.loads(json.dumps(trace)))
    slices = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    assert sorted(event["args"]["call"] for event in slices) == sorted(call.number for call in found)
    assert all(0 <= event["args"]["waited_ms"] <= 10_001 for event in slices)


def test_what_happened_is_there_too() -> None:
    event = WorkerEvent("e", 1, "parent", "worker_exited", "error", "2026-01-02T03:04:05.500+00:00")
    trace = trace_of(PoolHistory(), [event])
    check(trace)
    assert [each["name"] for each in trace["traceEvents"] if each["ph"] == "i"] == ["worker_exited"]
    assert trace["otherData"]["pool"] == "wpc"


def test_a_pool_writes_what_it_has_run_with_a_lane_for_each_process(make_pool: Any, tmp_path: Path) -> None:
    pool = make_pool(1, DEFINITIONS)
    pool.call.odd(3).result(PATIENCE_S)
    pool.call.odd(2).exception(PATIENCE_S)
    for future in [pool.call.both(n) for n in range(3)]:
        future.result(PATIENCE_S)
    pool.restart_worker(1)
    pool.wait_until_ready()
    pool.call.odd(5).result(PATIENCE_S)
    path = pool.trace(tmp_path / "run.json")
    assert path == str(tmp_path / "run.json")
    trace = json.loads(Path(path).read_text(encoding="utf-8"))
    check(trace)
    events = trace["traceEvents"]
    slices = [(event["name"], event["cat"]) for event in events if event["ph"] == "X"]
    assert sorted(slices) == [
        *[("both", "done")] * 3,
        ("odd", "done"),
        ("odd", "done"),
        ("odd", "failed"),
    ]
    assert len({event["pid"] for event in events if event["ph"] == "X"}) == 2, "it was replaced"
    (failed,) = [event for event in events if event.get("cat") == "failed"]
    assert failed["args"]["error"] == "ValueError: 2 is <even>"
    assert failed["args"]["arguments"] == "(2)"
    names = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert names[0] == "wpc (pool)"
    assert names[1].startswith("worker 1, process ")
    assert {event["name"] for event in events if event["ph"] == "C"} == {"calls that wait"}


def test_a_file_that_cannot_be_written_says_so(make_pool: Any, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"path is no file that can be written to: .*No such file"):
        make_pool(0).trace(tmp_path / "nowhere" / "run.json")
