"""What a page asks for when something is opened."""

from __future__ import annotations

import json

from tests.dashboard.fakes import FakePool
from wpc_magic.dashboard.details import function_details, registry_rows
from wpc_magic.dashboard.requests import Request, perform
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.core.ended_calls import EndedCall, PoolHistory
from wpc_magic.pool.core.snapshot import ConstantInfo, FunctionInfo
from wpc_magic.pool.inspection import Holders


def ended(number: int, function: str = "fit", state: str = "done", error: str = "") -> EndedCall:
    at = 1000.0 + number
    return EndedCall(number, function, 1, 2, 4702, 1, state, at, at, at, at + 0.5, error=error)  # type: ignore[arg-type]


def test_an_opened_function_shows_its_source_what_it_needs_and_its_last_calls():
    pool = FakePool()
    pool.functions.append(FunctionInfo("fit", "(n)", "0" * 40, 2, requires=("np", "SEED")))
    failed = ended(31, state="failed", error="KeyError: 3")
    pool.ended = PoolHistory((*map(ended, range(30)), ended(30, "other"), failed))
    details = function_details(pool, "fit")
    assert (details["source"], details["needs"]) == ("def fit(): ...", ["np", "SEED"])
    assert [call["number"] for call in details["calls"]] == [31, *range(29, 10, -1)]
    latest = details["calls"][0]
    assert (latest["state"], latest["error"], latest["ran_s"]) == ("failed", "KeyError: 3", 0.5)
    assert json.loads(json.dumps(details)) == details
    assert perform(pool, Request("a", "function", text="fit")) == details


def test_a_function_that_is_gone_has_its_calls_only():
    pool = FakePool()
    pool.ended = PoolHistory((ended(1, "gone"),))
    details = function_details(pool, "gone")
    assert (details["source"], details["needs"], len(details["calls"])) == ("", [], 1)


def test_the_registry_is_shown_without_values_and_nothing_is_endless():
    pool = FakePool()
    pool.functions.append(FunctionInfo("fit", "(n)", "0" * 40, 2, requires=("np",), broken="x" * 10_000))
    pool.constants.append(ConstantInfo("SEED", 2, "int", 5))
    rows = registry_rows(pool)
    assert [(row["kind"], row["name"], row["what"], row["nbytes"]) for row in rows] == [
        ("function", "fit", "fit(n)", None),
        ("dependency", "np", "numpy", None),
        ("dependency", "path", "os.path", None),
        ("constant", "SEED", "int, in each worker", 5),
        ("resource", "model", "load_model()", None),
        ("shared", "grid", "array of float64 (10,)", 80),
    ]
    assert len(rows[0]["broken"]) == 300
    assert json.loads(json.dumps(rows)) == rows


def test_the_registry_says_who_holds_what_and_which_constant_is_stale():
    pool = FakePool()
    pool.constants += [ConstantInfo("SEED", 2, "int", 5), ConstantInfo("DATA", 1, "ndarray", 10**9)]
    pool.held = {"np": Holders([1, 2], False), "SEED": Holders([1, 2], False), "DATA": Holders([2], True)}
    rows = {row["name"]: row for row in registry_rows(pool, {"SEED": 6})}
    assert (rows["np"]["holders"], rows["path"]["holders"]) == ([1, 2], [])
    assert (rows["DATA"]["what"], rows["DATA"]["holders"]) == ("ndarray, in memory once", [2])
    assert rows["SEED"]["what"] == "int, in each worker"
    assert [name for name, row in rows.items() if row["stale"]] == ["SEED"]


def test_a_real_pool_answers_what_a_page_asks_for():
    with WorkerProcedureCall() as pool:
        pool.define_worker_function(name="half", worker_func="def half(x): return x / 2")
        pool.define_worker_constant(name="SEED", value=42)
        pool.start_workers(1)
        pool.call.half(4).result()
        pool.call.half("x").exception()
        details = function_details(pool, "half")
        assert details["source"].strip() == "def half(x): return x / 2"
        assert [call["state"] for call in details["calls"]] == ["failed", "done"]
        rows = registry_rows(pool, {"SEED": 43})
        assert [(row["kind"], row["name"], row["holders"], row["stale"]) for row in rows] == [
            ("function", "half", [1], False),
            ("constant", "SEED", [1], True),
        ]
