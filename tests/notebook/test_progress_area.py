"""The line of a terminal that rewrites itself."""

from __future__ import annotations

import io

from wpc_magic.notebook.progress_area import TerminalArea
from wpc_magic.notebook.progress_lines import Line


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


CLEAR = "\r\x1b[K"


def test_a_line_rewrites_itself_and_the_last_one_stays() -> None:
    screen = Tty()
    area = TerminalArea(screen)
    area.show([Line("one")], is_last=False)
    area.show([Line("two"), Line("its part", 0.5)], is_last=False)
    area.show([Line("end")], is_last=True)
    assert screen.getvalue() == f"{CLEAR}one{CLEAR}two │ ██████████░░░░░░░░░░ its part{CLEAR}end\n"


def test_it_makes_room_for_text_and_does_not_write_over_half_a_line() -> None:
    screen = Tty()
    area = TerminalArea(screen)
    area.show([Line("one")], is_last=False)
    area.make_room("whole\n")
    screen.write("whole\n")
    area.show([Line("two")], is_last=False)
    area.make_room("half")
    screen.write("half")
    area.show([Line("end")], is_last=True)
    assert screen.getvalue() == f"{CLEAR}one{CLEAR}whole\n{CLEAR}two{CLEAR}half\nend\n"


def test_a_long_line_is_cut_so_that_it_stays_one() -> None:
    screen = Tty()
    TerminalArea(screen).show([Line("x" * 5000)], is_last=False)
    assert len(screen.getvalue()) < 1000


def test_what_is_no_terminal_gets_the_last_line_only() -> None:
    screen = io.StringIO()
    area = TerminalArea(screen)
    area.show([Line("one")], is_last=False)
    area.show([Line("end")], is_last=True)
    assert screen.getvalue() == "end\n"


def test_a_terminal_that_is_closed_breaks_nothing() -> None:
    screen = Tty()
    area = TerminalArea(screen)
    area.show([Line("one")], is_last=False)
    screen.close()
    area.make_room("text")
    area.show([Line("end")], is_last=True)
