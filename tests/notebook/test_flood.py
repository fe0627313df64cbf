"""How much text goes to a front end, by a clock that the test sets."""

from __future__ import annotations

from wpc_magic.notebook.flood import Flood, Text

LINES = [f"line {n:03}\n" for n in range(1000)]  # of 9 bytes


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def texts(flood: Flood, *given: str, stream: str = "stdout") -> list[str]:
    return [shown.text for each in given for shown in flood.admit(Text({"msg_id": "A"}, stream, each))]


def test_what_fits_passes_unchanged_and_each_window_has_room_again() -> None:
    clock = Clock()
    flood = Flood(900, clock)
    for _ in range(3):
        assert texts(flood, *LINES[:100]) == LINES[:100]
        assert flood.due_s is None
        clock.now += 1


def test_what_does_not_fit_is_counted_and_its_end_is_shown_with_the_next_window() -> None:
    clock = Clock()
    flood = Flood(900, clock)
    assert texts(flood, *LINES) == LINES[:100]
    assert flood.due_s == 1.0
    clock.now += 1
    assert texts(flood, "more\n") == ["… 895 more lines\n" + "".join(LINES[-5:]), "more\n"]
    assert flood.take() == []


def test_a_large_text_is_cut_after_a_line_and_a_long_line_within() -> None:
    flood = Flood(900, Clock())
    assert texts(flood, "".join(LINES)) == ["".join(LINES[:100])]
    flood = Flood(900, Clock())
    assert texts(flood, "x" * 5000) == ["x" * 900]
    assert [each.text for each in flood.take()] == ["\n… 2,100 more characters\n" + "x" * 2000]


def test_little_that_did_not_fit_is_shown_in_full() -> None:
    flood = Flood(900, Clock())
    assert texts(flood, *LINES[:103]) == LINES[:100]
    assert [each.text for each in flood.take()] == ["".join(LINES[100:103])]


def test_streams_are_cut_by_themselves() -> None:
    flood = Flood(900, Clock())
    texts(flood, *LINES[:110])
    assert texts(flood, *LINES[:20], stream="stderr") == []
    assert [(each.stream, each.text.splitlines()[0]) for each in flood.take()] == [
        ("stdout", "… 5 more lines"),
        ("stderr", "… 15 more lines"),
    ]


def test_bytes_count_not_characters() -> None:
    flood = Flood(900, Clock())
    assert texts(flood, "é" * 450) == ["é" * 450]
    assert texts(flood, "e") == []
