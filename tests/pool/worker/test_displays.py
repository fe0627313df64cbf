"""Mime bundles of objects, as a worker makes them without IPython."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from IPython.core.formatters import DisplayFormatter

from wpc_magic.pool.worker import displays
from wpc_magic.pool.worker.displays import bundle_of
from wpc_magic.pool.worker.import_hooks import when_imported


class Plain:
    def __repr__(self) -> str:
        return "plain"


class Whole(Plain):
    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        return {"text/html": "<i>whole</i>", "text/x-own": 1}, {"text/html": {"isolated": True}}

    def _repr_html_(self) -> str:
        raise AssertionError("the bundle has it")


class Many(Plain):
    def _repr_html_(self) -> tuple[str, dict[str, int]]:
        return "<i>many</i>", {"width": 3}

    def _repr_markdown_(self) -> None:
        return None

    def _repr_latex_(self) -> str:
        raise NotImplementedError

    def _repr_json_(self) -> dict[str, list[int]]:
        return {"a": [1]}


class AnyName(Plain):
    def __getattr__(self, name: str) -> Any:
        return lambda *args, **named: "anything"


@pytest.mark.parametrize("thing", [1, "text", Plain(), Whole(), Many(), AnyName(), Plain, Many, {"a": 1}])
def test_a_bundle_is_what_ipython_makes(thing: Any) -> None:
    formatter = DisplayFormatter()
    formatter.active_types = formatter.format_types
    data, metadata = formatter.format(thing)
    if isinstance(thing, type):  # IPython's own text of a class has its module
        assert set(bundle_of(thing)[0]) == set(data)
    else:
        assert bundle_of(thing) == (data, metadata)


def test_a_representation_that_fails_is_shown_and_the_others_stay(capsys: pytest.CaptureFixture[str]) -> None:
    class Bad(Plain):
        def _repr_html_(self) -> str:
            raise ValueError("no table")

    assert bundle_of(Bad()) == ({"text/plain": "plain"}, {})
    assert "ValueError: no table" in capsys.readouterr().err


def test_types_can_be_chosen() -> None:
    assert bundle_of(Many(), include=["text/html"])[0] == {"text/html": "<i>many</i>"}
    assert set(bundle_of(Many(), exclude=["text/html"])[0]) == {"text/plain", "application/json"}


def test_an_object_that_displays_itself_has_no_bundle() -> None:
    class Itself:
        shown = 0

        def _ipython_display_(self) -> None:
            self.shown += 1

    thing = Itself()
    assert bundle_of(thing) == ({}, {})
    assert thing.shown == 1


def test_an_update_needs_an_id() -> None:
    with pytest.raises(TypeError, match="display_id required"):
        displays.display(1, update=True)


def test_a_worker_sends_plain_data(worker: Any) -> None:
    worker.define(
        """
        import numpy as np
        def f():
            data = {1: np.float64(0.5), "x": np.arange(2), "y": (b"\\x00", None, True)}
            display({"a/b": data, "t": "\\ud83d"}, raw=True, metadata={"a/b": {"k": np.int64(3)}})
        """
    )
    worker.call("f")
    (shown,) = [each for each in worker.messages if type(each).__name__ == "Shown"]
    assert shown.content == {
        "data": {"a/b": {"1": 0.5, "x": [0, 1], "y": ["AA==", None, True]}, "t": "\\ud83d"},
        "metadata": {"a/b": {"k": 3}},
        "transient": {},
    }


def test_a_hook_runs_right_after_the_module_and_is_gone_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hooked_by_a_test.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.meta_path)
    found: list[Any] = []
    when_imported("hooked_by_a_test", lambda module: found.append((module.__name__, module.value)))
    module = importlib.import_module("hooked_by_a_test")
    assert found == [("hooked_by_a_test", 1)]
    assert module.__loader__ is module.__spec__.loader
    assert type(module.__loader__).__module__ != when_imported.__module__
    when_imported("hooked_by_a_test", found.append)
    assert found[1:] == [module]
    assert sys.meta_path == before
    del sys.modules["hooked_by_a_test"]
