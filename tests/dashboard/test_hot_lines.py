"""The lines where time goes: how samples are counted, and when they are taken."""

from __future__ import annotations

import gc
import json
import linecache
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dashboard.fakes import FakePool
from wpc_magic.dashboard import sampling
from wpc_magic.dashboard.hot_lines import MOST_FUNCTIONS, MOST_LINES, HotLines
from wpc_magic.dashboard.load import LoadSeries
from wpc_magic.dashboard.panels import Panels
from wpc_magic.dashboard.sampling import HotPanel
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.driver.sampling import StackSample

LIBRARY = "/env/lib/python3.12/site-packages/numpy/linalg.py"

frames = st.lists(
    st.tuples(st.sampled_from(["fit.py", LIBRARY]), st.integers(1, 30), st.just("f")), min_size=1
)
samples = st.builds(
    StackSample, st.just(1), st.sampled_from("abcdefghijkl"), st.integers(1, 20), frames.map(tuple)
)


def hot(*found: StackSample) -> HotLines:
    counted = HotLines()
    for each in found:
        counted.add(each)
    return counted


@given(st.lists(samples, max_size=60))
def test_each_sample_counts_for_one_line_and_what_is_sent_is_bounded(found: list[StackSample]) -> None:
    rows = hot(*found).rows()
    assert len(rows) <= MOST_FUNCTIONS
    weights = {row["function"]: sum(s.weight for s in found if s.function == row["function"]) for row in rows}
    for row in rows:
        assert row["samples"] == weights[row["function"]]
        assert len(row["lines"]) == min(len(row["lines"]) + row["others"], MOST_LINES)
        total = sum(line["here"] for line in row["lines"])
        assert total <= 1.01
        assert row["others"] or abs(total - 1) < 0.01
        assert all(0 <= line["here"] <= line["below"] <= 1 for line in row["lines"])
    assert [row["samples"] for row in rows] == sorted((row["samples"] for row in rows), reverse=True)
    assert json.loads(json.dumps(rows)) == rows


def test_what_a_library_does_counts_for_the_line_that_calls_it() -> None:
    (fit,) = hot(StackSample(1, "fit", 1, (("fit.py", 3, "fit"), (LIBRARY, 99, "svd")))).rows()
    assert [(line["path"], line["line"], line["here"]) for line in fit["lines"]] == [("fit.py", 3, 1.0)]
    (library,) = hot(StackSample(1, "svd", 1, ((LIBRARY, 9, "svd"), (LIBRARY, 99, "inner")))).rows()
    assert [line["line"] for line in library["lines"]] == [99]  # there is no line of the user


def test_a_function_that_calls_itself_is_counted_once() -> None:
    (down,) = hot(StackSample(1, "down", 2, (("d.py", 3, "down"),) * 50)).rows()
    assert [(line["here"], line["below"]) for line in down["lines"]] == [(1.0, 1.0)]


def test_rare_lines_are_forgotten_when_there_are_too_many() -> None:
    counted = hot(*(StackSample(1, "fit", 5, (("hot.py", 1, "fit"),)) for _ in range(3)))
    for number in range(10_000):
        counted.add(StackSample(1, f"f{number % 3}", 1, (("made.py", number, "f"),)))
    rows = counted.rows()
    assert sum(len(row["lines"]) + row["others"] for row in rows) <= 2000
    fit = next(row for row in rows if row["function"] == "fit")
    assert fit["lines"][0]["here"] == 1.0
    assert counted.samples == 10_015


# -- when samples are taken -------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Sample as fast as it goes, and leave no thread."""
    monkeypatch.setattr(sampling, "PERIOD_S", 0.001)
    yield
    for thread in threads():
        thread.join(30)
    assert threads() == []


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "wpc-dashboard-samples"]


def read_until(panel: Any, pool: Any, is_good: Any) -> dict[str, Any]:
    """Read a panel until it shows what is wanted."""
    while True:
        panel.forget()
        found: dict[str, Any] = panel.read(pool)["hot"]
        if is_good(found):
            return found


def hottest(found: dict[str, Any]) -> tuple[str, str] | None:
    """Return the function that was found most, and the source of its hottest line."""
    for each in found["functions"]:
        return each["function"], each["lines"][0]["source"]
    return None


def test_lines_are_shown_with_their_source_as_long_as_somebody_samples(tmp_path: Path) -> None:
    path = tmp_path / "models" / "fit.py"
    path.parent.mkdir()
    path.write_text("def fit():\n    <script>slow()\n" + "x" * 1000)
    pool = FakePool()
    pool.samples = [StackSample(1, "fit", 1, ((str(path), 2, "_wpc_cell_3"), (LIBRARY, 1, "svd")))]
    panel = HotPanel()
    assert panel.read(pool) == {"hot": {"sampling": False, "samples": None, "functions": []}}
    assert panel.read(pool) == {}
    panel.start(pool)
    assert panel.is_sampling
    found = read_until(panel, pool, lambda found: found["functions"])
    (line,) = found["functions"][0]["lines"]
    assert (line["name"], line["file"], line["line"]) == ("Cell In[3]", "models/fit.py", 2)
    assert line["source"] == "<script>slow()"
    panel.stop()
    stopped = read_until(panel, pool, lambda found: not found["sampling"])
    assert stopped["functions"]  # what was counted stays
    path.write_text("a\n" + "x" * 1000)
    source = read_until(panel, pool, lambda found: True)["functions"][0]["lines"][0]["source"]
    assert len(source) == 160


def test_code_without_a_file_is_shown_without_a_line_of_other_such_code(monkeypatch: Any) -> None:
    monkeypatch.setitem(linecache.cache, "<string>", (1, None, ["a line of this process\n"], "<string>"))
    pool = FakePool()
    pool.samples = [StackSample(1, "fit", 1, (("<string>", 1, "f"),))]
    panel = HotPanel()
    panel.start(pool)
    (line,) = read_until(panel, pool, lambda found: found["functions"])["functions"][0]["lines"]
    assert (line["file"], line["source"]) == ("<string>", "")
    panel.stop()


def test_sampling_ends_with_the_pool_and_says_so() -> None:
    pool, ended = FakePool(), threading.Event()
    panel = HotPanel(ended.set)
    panel.start(pool)
    pool.stop_workers()
    assert ended.wait(30)
    assert not panel.is_sampling


def test_sampling_does_not_keep_a_pool_alive() -> None:
    pool, ended = FakePool(), threading.Event()
    gone = weakref.ref(pool)
    panel = HotPanel(ended.set)
    panel.start(pool)
    del pool
    assert ended.wait(30)
    gc.collect()
    assert gone() is None


def test_sampling_ends_by_itself_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "LONGEST_S", 0.02)
    ended = threading.Event()
    panel = HotPanel(ended.set)
    panel.start(FakePool())
    assert ended.wait(30)
    assert not panel.is_sampling


def test_who_starts_again_begins_anew() -> None:
    pool, panel = FakePool(), HotPanel()
    pool.samples = [StackSample(1, "old", 1, (("a.py", 1, "old"),))]
    panel.start(pool)
    read_until(panel, pool, lambda found: found["functions"])
    pool.samples = [StackSample(1, "new", 1, (("a.py", 1, "new"),))]
    panel.start(pool)
    found = read_until(panel, pool, lambda found: found["functions"])
    assert [each["function"] for each in found["functions"]] == ["new"]
    panel.stop()


def test_nothing_is_sampled_that_nobody_looks_at() -> None:
    pool, panels = FakePool(), Panels(LoadSeries())
    panels.sample(pool, start=True)
    assert threads() == []
    panels.want(["Hot lines"])
    panels.sample(pool, start=True)
    assert len(threads()) == 1
    assert panels.read(pool, 1e9)["hot"]["sampling"]
    panels.want(["Events"])
    for thread in threads():
        thread.join(30)
    panels.want(["Hot lines"])
    assert not panels.read(pool, 1e9 + 5)["hot"]["sampling"]


def test_a_real_pool_shows_the_line_that_takes_the_time() -> None:
    with WorkerProcedureCall() as pool:
        source = "import time\ndef slow(n):\n    quick = n + 1\n    time.sleep(60)\n    return quick\n"
        pool.define_worker_function(name="slow", worker_func=source)
        pool.start_workers(1)
        future = pool.call.slow(1)
        panel = HotPanel()
        panel.start(pool)
        read_until(panel, pool, lambda found: hottest(found) == ("slow", "time.sleep(60)"))
        panel.stop()
        future.cancel()
