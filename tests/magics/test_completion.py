"""Completions of the Tab key."""

from __future__ import annotations

from typing import Any

import pytest
from IPython.core.completer import provisionalcompleter

from tests.magics.conftest import Loaded

FUNCTIONS = "%%wpc_function\ndef simulate(n): ...\ndef sum_up(n): ...\n"


def completions(loaded: Loaded, text: str) -> set[str]:
    """Return the completed lines."""
    with provisionalcompleter():
        found = loaded.shell.Completer.completions(text, len(text))
        return {text[: each.start] + each.text for each in found}


@pytest.fixture
def registered(loaded: Loaded) -> Loaded:
    loaded.run(FUNCTIONS)
    loaded.run("%wpc_dep numpy as np\n%wpc_const SEED 42\n%wpc_start -n 3")
    return loaded


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("%wpc_start --call-t", {"%wpc_start --call-timeout-ms"}),
        ("%wpc_sta", {"%wpc_start", "%wpc_status"}),
        ("%%wpc_function --h", {"%%wpc_function --here"}),
        ("%%wpc_function simulate --re", {"%%wpc_function simulate --retries"}),
        ("%wpc_call sim", {"%wpc_call simulate"}),
        ("x = %wpc_call sim", {"x = %wpc_call simulate"}),
        ("%wpc_call --worker ", {f"%wpc_call --worker {n}" for n in (1, 2, 3)}),
        ("%wpc_call --worker 2 su", {"%wpc_call --worker 2 sum_up"}),
        ("%wpc_map s", {"%wpc_map simulate", "%wpc_map sum_up"}),
        ("%wpc_dep -d ", {"%wpc_dep -d np"}),
        ("%wpc_dep jso", {"%wpc_dep json"}),
        ("%wpc_dep from json import JSONEnc", {"%wpc_dep from json import JSONEncoder"}),
        ("%wpc_dep os.pa", {"%wpc_dep os.path"}),
        ("%wpc_dep xml.dom.mini", {"%wpc_dep xml.dom.minidom"}),
        ("%wpc_dep import xml.dom.mini", {"%wpc_dep import xml.dom.minidom"}),
        ("%wpc_dep from xml.dom.mini", {"%wpc_dep from xml.dom.minidom"}),
        ("%wpc_dep path os.pa", {"%wpc_dep path os.path"}),
        ("wpc.map('si", {"wpc.map('simulate"}),
        ('x = list(wpc.map( "s', {'x = list(wpc.map( "simulate', 'x = list(wpc.map( "sum_up'}),
        ("wpc.submit('su", {"wpc.submit('sum_up"}),
        ("wpc.broadcast('si", {"wpc.broadcast('simulate"}),
        ("wpc.call['si", {"wpc.call['simulate"}),
        ("wpc.undefine_worker_constant(name='S", {"wpc.undefine_worker_constant(name='SEED"}),
        ("wpc.undefine_worker_dependency(alias='n", {"wpc.undefine_worker_dependency(alias='np"}),
        ("%wpc_const -d S", {"%wpc_const -d SEED"}),
        ("%wpc_undef si", {"%wpc_undef simulate"}),
        ("%wpc_functions su", {"%wpc_functions sum_up"}),
        ("%wpc_events --severity w", {"%wpc_events --severity warn"}),
        ("%wpc_stack ", {"%wpc_stack 1", "%wpc_stack 2", "%wpc_stack 3"}),
        ("%wpc_restart ", {"%wpc_restart 1", "%wpc_restart 2", "%wpc_restart 3", "%wpc_restart --force"}),
        ("wpc.call.sim", {"wpc.call.simulate"}),
        ("print(wpc.call.su", {"print(wpc.call.sum_up"}),
    ],
)
def test_the_tab_key_offers(registered: Loaded, text: str, expected: set[str]) -> None:
    assert expected <= completions(registered, text)


def test_an_option_that_is_there_is_not_offered_again(registered: Loaded) -> None:
    assert "%wpc_start --count 2 --count" not in completions(registered, "%wpc_start --count 2 --co")


def test_code_on_a_line_is_completed_as_code(registered: Loaded) -> None:
    registered.run("simmering = 1")
    assert "%wpc_call simulate(simmering" in completions(registered, "%wpc_call simulate(sim")
    assert "%wpc_const SEED = simmering" in completions(registered, "%wpc_const SEED = sim")


def test_other_lines_are_left_alone(registered: Loaded) -> None:
    matcher: Any = registered.shell.Completer.custom_matchers[-1]
    for text in ("import wpc_x ", "%time sim", "wpc_nothing sim", "", "other.call.sim", "other.map('si"):
        context = type("Context", (), {"text_until_cursor": text})
        assert matcher(context)["completions"] == []


def test_a_pool_that_fails_does_not_break_the_tab_key(
    registered: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise RuntimeError("stopped at this moment")

    monkeypatch.setattr(registered.pool, "get_remote_functions", fail)
    assert "wpc.call.simulate" not in completions(registered, "%wpc_call sim")
