"""The benchmark's own arithmetic. No pool is started, and nothing is timed."""

import itertools
import json
import subprocess
import sys

import pytest

from tests.benchmarks import report, targets, timing
from tests.benchmarks.contestants import NAMES, NEWER, PEERS, TITLES, US
from tests.benchmarks.targets import Target, best_peer, judge, peer_ratio, verdict
from tests.benchmarks.timing import Failed, Outcome, Spread, batch, fitting_count, ratio, take_turns

ABOUT = {
    "when": "2026-01-01",
    "machine": "a machine",
    "load": "0, 0, 0",
    "rounds": 3,
    "quick": True,
    "versions": {"wpc": "0.1"},
}


def results(**medians):
    """Results of `call`: three turns each, a tenth below and above the median; a text is an error."""
    return {
        "call": {
            name: Outcome(error=m) if isinstance(m, str) else Outcome([m, m * 0.9, m * 1.1])
            for name, m in medians.items()
        }
    }


def of_nothing(results):
    raise AssertionError


def turns(names, rounds, turn, budget_s=1e9, costs=None):
    """Take turns with a clock on which each turn takes a given time."""
    now = itertools.count()
    if costs is None:
        return take_turns(names, rounds, turn, ["key"], budget_s=budget_s, clock=lambda: next(now))
    spent = 0.0

    def costly(name):
        nonlocal spent
        spent += costs[name]
        return turn(name)

    return take_turns(names, rounds, costly, ["key"], budget_s=budget_s, clock=lambda: spent)


# -- turns --------------------------------------------------------------------------------------------------


def test_everybody_has_a_turn_before_anybody_has_the_next():
    order = []
    outcomes = turns("ABC", 3, lambda name: order.append(name) or {"key": float(len(order))})
    assert "".join(order) == "ABCABCABC"
    assert outcomes["key"]["B"].values == [2.0, 5.0, 8.0]


def test_who_fails_says_why_keeps_what_it_had_and_spoils_nothing():
    order = []

    def turn(name):
        order.append(name)
        if name == "B" and len(order) > 3:
            raise Failed("it broke")
        return {"key": 1.0}

    outcomes = turns("ABC", 3, turn)["key"]
    assert "".join(order) == "ABCABCAC"
    assert outcomes["B"] == Outcome([1.0], "it broke")
    assert outcomes["A"] == outcomes["C"] == Outcome([1.0] * 3)


def test_any_other_exception_is_a_fault_of_the_benchmark():
    def turn(name):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        turns("A", 3, turn)


def test_the_slow_have_fewer_turns_but_at_least_one():
    outcomes = turns(
        "ABC", 5, lambda name: {"key": 1.0}, budget_s=10.0, costs={"A": 1.0, "B": 4.0, "C": 99.0}
    )
    assert {name: len(o.values) for name, o in outcomes["key"].items()} == {"A": 5, "B": 2, "C": 1}


def test_everybody_has_the_least_number_of_turns():
    turn = {"key": 1.0}
    outcomes = take_turns(
        "A", 5, lambda name: turn, ["key"], budget_s=0.5, least=3, clock=itertools.count().__next__
    )
    assert outcomes["key"]["A"].values == [1.0] * 3


def test_who_is_to_have_all_turns_has_them_however_slow():
    turn = {"key": 1.0}
    outcomes = take_turns(
        "AB", 3, lambda name: turn, ["key"], budget_s=0.5, never_fewer="A", clock=itertools.count().__next__
    )
    assert {name: len(o.values) for name, o in outcomes["key"].items()} == {"A": 3, "B": 1}


# -- numbers ------------------------------------------------------------------------------------------------


def test_a_spread_is_the_median_and_the_extremes():
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)
    assert Spread.of([4.0, 1.0]).median == 2.5
    assert Outcome().spread is None


def test_a_ratio_is_taken_turn_by_turn():
    # The machine was ten times slower in the second turn, for both.
    assert ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == Spread(2.0, 2.0, 2.0, 3)


def test_a_ratio_with_fewer_turns_is_that_of_the_medians():
    assert ratio([4.0], [1.0, 2.0, 4.0]) == Spread(2.0, 1.0, 4.0, 1)


def test_a_batch_checks_every_value():
    assert batch(lambda: None, None, 5, 10.0) > 0
    values = iter([None, None, 1])
    with pytest.raises(Failed, match="wrong result: 1, not None"):
        batch(lambda: next(values), None, 5, 10.0)


def test_a_batch_ends_at_its_limit_but_not_before_ten_calls():
    calls = itertools.count()
    batch(lambda: (next(calls), None)[1], None, 10**9, 0.0)
    assert next(calls) == 10


@pytest.mark.parametrize(("each_s", "count"), [(1e-6, 20_000), (1e-3, 5_000), (60.0, 1), (0.0, 20_000)])
def test_as_many_are_made_as_fit(each_s, count):
    assert fitting_count(20_000, each_s, 5.0) == count


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.5, "0.5"), (99.94, "99.9"), (123.4, "123"), (12_345, "12,300"), (65_000, "65,000")],
)
def test_numbers_have_three_digits_that_count(value, text):
    assert report.number(value) == text


# -- verdicts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"), [(1.0, "dream"), (1.35, "dream"), (1.36, "met"), (1.7, "met"), (1.71, "missed")]
)
def test_a_value_that_should_be_small(value, expected):
    assert verdict(Target("", of_nothing, 1.7, 1.35), value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(10.0, "dream"), (9.9, "met"), (5.0, "met"), (4.9, "missed")]
)
def test_a_value_that_should_be_large(value, expected):
    assert verdict(Target("", of_nothing, 5, 10, at_most=False), value) == expected


def test_a_target_that_is_only_a_must_or_only_a_dream_or_neither():
    assert verdict(Target("", of_nothing, 1.5), 1.0) == "met"
    assert verdict(Target("", of_nothing, None, 1.5), 2.0) == "below the dream"
    assert verdict(Target("", of_nothing, None, 1.5), 1.0) == "dream"
    assert verdict(Target("", of_nothing), 2.0) == "for the record"


def test_the_verdicts_come_from_the_ratios():
    judged = judge(results(wpc=10.0, limit=8.0, executor=60.0, mp_pool=20.0, loky_pool="it broke"))
    found = {row.target.what: row for row in judged}
    first = found["blocking no-op call, 1 worker, against a bare Pipe ping-pong"]
    assert (first.verdict, first.spread.median) == ("dream", 1.25)
    assert found["… faster than `ProcessPoolExecutor`"].verdict == "met"
    assert found["… faster than `Pool.apply`"].verdict == "missed"
    assert found["… faster than loky"].verdict == "not measured"
    assert found["… faster than loky"].note == "loky: it broke"


def test_what_was_not_asked_for_is_left_out():
    assert judge({}) == []
    assert all("call" in row.target.what or "faster" in row.target.what for row in judge(results(wpc=1.0)))


def test_the_best_peer_is_neither_we_nor_the_limit_nor_one_that_failed():
    found = results(wpc=1.0, limit=0.5, executor=5.0, mp_pool=3.0, loky_pool="it broke")
    assert best_peer(found, "call") == "mp_pool"
    assert peer_ratio(found, "call", "mp_pool").median == pytest.approx(3.0)
    with pytest.raises(Failed, match="no peer"):
        best_peer(results(wpc=1.0), "call")


# -- the report ---------------------------------------------------------------------------------------------


def test_the_table_names_whoever_failed():
    text = report.markdown(
        results(wpc=1e-5, limit=1e-5, mp_pool=2e-5, loky_pool="no answer within 40 s"), ABOUT
    )
    assert "| loky | failed: no answer within 40 s |" in text
    assert "| **wpc_magic** | 10 µs | 9–11 | 1 | 0.5 |" in text


def test_the_report_says_how_long_the_run_took_if_it_was_noted():
    text = report.markdown({}, {**ABOUT, "minutes": 12.34})
    assert text.startswith("2026-01-01: a quick run, with short batches, which took 12.3 minutes. a machine;")
    assert report.markdown({}, ABOUT).startswith("2026-01-01: a quick run, with short batches. a machine;")


def test_the_table_says_who_had_fewer_turns():
    found = results(wpc=1e-5, limit=1e-5)
    found["call"]["mp_pool"] = Outcome([2e-5])
    assert "| multiprocessing.Pool | 20 µs | 20–20 n=1 |" in report.markdown(found, ABOUT)


def test_the_table_says_whose_numbers_are_of_fewer_calls_or_items():
    found = {"map": results(wpc=0.1, mpire_pool=1.0)["call"]}
    found["map.items"] = {"wpc": Outcome([200_000.0]), "mpire_pool": Outcome([20_000.0])}
    text = report.markdown(found, ABOUT)
    assert "| mpire | 1,000 ms | 900–1,100 from 20,000 items |" in text
    assert "from 200,000" not in text


def test_each_line_of_a_table_has_as_many_cells_as_its_head():
    text = report.markdown(results(wpc=1e-5, limit=1e-5, mp_pool=2e-5, loky_pool="a | b"), ABOUT)
    tables = itertools.groupby(text.splitlines(), key=lambda line: line.startswith("|"))
    for is_table, lines in tables:
        assert not is_table or len({line.count("|") for line in lines}) == 1


def test_json_gives_the_same_results_back():
    found = results(wpc=1.0, limit=0.8, executor="it broke")
    data = json.loads(json.dumps(report.as_json(found, ABOUT)))
    assert report.from_json(data) == found
    assert data["targets"][0]["verdict"] == "dream"


@pytest.mark.leaves(reason="matplotlib keeps the fonts open that it has read")
def test_the_plot_shows_everybody_also_those_that_failed(tmp_path):
    found = results(wpc=1e-5, limit=8e-6, executor=6e-5, mp_pool="it broke")
    found["map"] = found["call"]
    report.plot(found, tmp_path / "a.svg")
    report.plot(found, tmp_path / "b.svg")
    drawing = (tmp_path / "a.svg").read_text()
    assert all(f"<!-- {TITLES[name]} -->" in drawing for name in (US, *PEERS))
    assert "<!-- failed -->" in drawing
    assert (tmp_path / "b.svg").read_text() == drawing


# -- the rest -----------------------------------------------------------------------------------------------


def test_everybody_is_a_peer_or_ours_or_the_limit_or_of_another_python():
    assert {"limit", US, *PEERS, *NEWER} == set(NAMES)
    assert len({target.what for target in targets.TARGETS}) == len(targets.TARGETS)


def test_nothing_is_imported_that_is_only_installed_for_the_benchmark():
    peers = [
        "loky",
        "pebble",
        "mpire",
        "ipyparallel",
        "distributed",
        "dask",
        "ray",
        "joblib",
        "numpy",
        "matplotlib",
        "wpc_magic",
    ]
    code = (
        "import sys, tests.benchmarks.measures, tests.benchmarks.report\n"
        f"print(*(set({peers!r}) & set(sys.modules)))"
    )
    root = timing.__file__.rpartition("/tests/")[0]
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True
    )
    assert loaded.stdout.split() == []
