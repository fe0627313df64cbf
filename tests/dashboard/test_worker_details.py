"""A worker, opened."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

import pytest

from tests.dashboard.fakes import FakePool
from tests.dashboard.test_details import ended
from tests.pool.test_stacks import stop
from wpc_magic.dashboard.worker_details import worker_details
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.core.ended_calls import PoolHistory
from wpc_magic.pool.errors import NotRunningError, OptionError
from wpc_magic.pool.wire.protocol import Described


def test_it_shows_the_last_calls_lines_and_events_of_that_worker_and_what_it_runs_with() -> None:
    pool = FakePool()
    pool.runs_with = Described(1, "3.11, python", "", (("TZ", "UTC"),), (("numpy", "2.0"), ("x", "1")))
    pool.output = [(7, "one\ntw"), (7, "o\n"), (8, "x" * 1000), *((None, f"{n}\n") for n in range(100))]
    pool.ended = PoolHistory(tuple(map(ended, range(30))))
    for n in range(20):
        pool.emit("worker_ready", 2)
        pool.emit("worker_exited", 1, "error", details={"reason": f"killed {n}"})
    details = worker_details(pool, 2)
    assert details["facts"] == [
        ("Python", "3.11, python"),
        ("Folder", "it is gone"),
        ("Packages", "numpy 2.0, x 1"),
        ("TZ", "UTC"),
    ]
    assert [call["number"] for call in details["calls"]] == [*range(29, 19, -1)]
    assert [line["text"] for line in details["output"]] == [str(n) for n in range(60, 100)]
    assert [line["text"] for line in details["events"]] == ["worker_ready"] * 15
    assert json.loads(json.dumps(details["output"])) == details["output"]
    assert worker_details(pool, 1)["events"][-1]["text"] == "worker_exited reason=killed 19"
    pool.output = [(8, "x" * 1000)]
    assert len(worker_details(pool, 2)["output"][0]["text"]) == 500


def test_a_real_worker_says_what_it_runs_with_and_keeps_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_SECRET_TOKEN", "hidden")
    monkeypatch.setenv("OTHER", "hidden")
    monkeypatch.setenv("MPLBACKEND", "see://me:hidden@host")
    with WorkerProcedureCall() as pool:
        pool.output_sink = lambda output: None
        pool.define_worker_function(
            name="says", worker_func="def says(x):\n    print('says', x)\n    return x"
        )
        pool.start_workers(1, threads_per_worker=3)
        assert pool.call.says(5).result() == 5
        details: Any = worker_details(pool, 1)
        while not (details["output"] and details["facts"]):  # what is printed comes with a message of its own
            details = worker_details(pool, 1)
        facts = dict(details["facts"])
        assert facts["OMP_NUM_THREADS"] == "3"
        assert facts["Folder"] == os.getcwd()
        assert facts["MPLBACKEND"] == "see://***@host"
        assert "wpc_magic" in facts["Packages"]
        assert "hidden" not in str(details)
        assert details["output"] == [{"at": "", "call": "#1", "text": "says 5"}]
        assert [call["function"] for call in details["calls"]] == ["says"]
        assert "worker_ready" in [line["text"].split()[0] for line in details["events"]]
        with pytest.raises(OptionError):
            pool.worker_details(7)
        (worker,) = pool.snapshot().workers
        assert worker.pid is not None
        stop(worker.pid)
        try:
            assert pool.worker_details(1, timeout_ms=1).runs_with is None
        finally:
            os.kill(worker.pid, signal.SIGCONT)
        assert pool.worker_details(1, timeout_ms=60_000).runs_with is not None
    with pytest.raises(NotRunningError):
        pool.worker_details(1)
