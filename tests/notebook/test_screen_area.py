"""Lines of a terminal that rewrite themselves."""

from __future__ import annotations

import io
import os
import shutil

import pytest

from tests.notebook.test_progress_area import Tty
from wpc_magic.notebook.screen_area import ScreenArea

EL, ED = "\x1b[K", "\x1b[J"  # clears the rest of the line, the rest of the screen


@pytest.fixture(autouse=True)
def _size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_, **__: os.terminal_size((20, 6)))


def test_lines_rewrite_themselves_and_the_last_ones_stay() -> None:
    screen = Tty()
    area = ScreenArea(screen)
    area.show("one\ntwo")
    area.show("three")
    area.show("end\nof it", is_last=True)
    assert screen.getvalue() == f"\rone{EL}\ntwo{EL}{ED}" + f"\r\x1b[1Athree{EL}{ED}" + (
        f"\rend{EL}\nof it{EL}{ED}\n"
    )


def test_they_make_room_for_text_and_do_not_write_over_half_a_line() -> None:
    screen = Tty()
    area = ScreenArea(screen)
    area.show("one\ntwo")
    area.make_room("whole\n")
    screen.write("whole\n")
    area.show("one\ntwo")
    area.make_room("half")
    screen.write("half")
    area.show("end", is_last=True)
    room = f"\rone{EL}\ntwo{EL}{ED}\r\x1b[1A{ED}"
    assert screen.getvalue() == f"{room}whole\n{room}half\nend{EL}{ED}\n"


def test_what_is_larger_than_the_screen_is_cut() -> None:
    screen = Tty()
    ScreenArea(screen).show("\n".join(["x" * 50] * 9), is_last=True)
    lines = screen.getvalue().replace(EL, "").replace(ED, "").lstrip("\r").splitlines()
    assert lines == ["x" * 18 + "…"] * 4 + ["… 5 lines more"]


def test_a_file_is_no_terminal_and_one_that_is_closed_breaks_nothing() -> None:
    assert not ScreenArea(io.StringIO()).is_terminal
    screen = Tty()
    area = ScreenArea(screen)
    assert area.is_terminal
    area.show("one\ntwo")
    screen.close()
    area.make_room("text")
    area.show("end", is_last=True)
