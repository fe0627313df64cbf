"""A table that is shown again and again in its place."""

from __future__ import annotations

import sys
import threading

import pytest

from tests.magics.conftest import Loaded
from tests.notebook.test_progress_area import Tty
from wpc_magic.magics import watching


def test_where_the_output_is_no_terminal_it_is_shown_once_and_says_so(loaded: Loaded) -> None:
    loaded.run("%wpc_start 2")
    assert "Shown once, and not live: the output is no terminal." in loaded.run("%wpc_status --watch")


def test_ctrl_c_ends_it_quietly_and_it_says_that_it_stands_still(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded.run("%wpc_start 2")
    screen, sleeps = Tty(), iter([None, None, KeyboardInterrupt])

    def sleep(_: float) -> None:
        if (error := next(sleeps)) is not None:
            raise error

    monkeypatch.setattr(watching.time, "sleep", sleep)
    monkeypatch.setattr(sys, "stdout", screen)
    assert loaded.magic("wpc_status --watch") is None
    shown = screen.getvalue()
    assert shown.count("Live; Ctrl-C ends this, and nothing else.") == 3
    assert "no longer live." in shown.splitlines()[-1]


def test_it_ends_when_the_workers_are_stopped(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded.run("%wpc_start 2")
    screen = Tty()
    monkeypatch.setattr(watching.time, "sleep", lambda _: setattr(loaded.pool, "workers", 0))
    monkeypatch.setattr(sys, "stdout", screen)
    assert loaded.magic("wpc_status --watch") is None
    assert screen.getvalue().count("Live;") == 1
    assert "No worker runs" in screen.getvalue()


def test_what_workers_print_meanwhile_stands_above_it(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded.run("%wpc_start 2")
    screen, sink = Tty(), loaded.pool.output_sink
    before = sink.before_write

    def sleep(_: float) -> None:
        sink.before_write("printed\n")
        screen.write("printed\n")
        loaded.pool.workers = 0

    monkeypatch.setattr(watching.time, "sleep", sleep)
    monkeypatch.setattr(sys, "stdout", screen)
    loaded.magic("wpc_status --watch")
    assert "A\x1b[Jprinted\n\r" in screen.getvalue()
    assert sink.before_write == before


def test_a_thread_that_no_interrupt_reaches_shows_it_once(loaded: Loaded) -> None:
    loaded.run("%wpc_start 2")
    seen: list[str] = []
    thread = threading.Thread(target=lambda: seen.append(repr(loaded.magic("wpc_status --watch"))))
    thread.start()
    thread.join(60)
    assert "reach the main thread only." in seen[0]
