"""A table in a terminal, and in a notebook."""

from __future__ import annotations

import html.parser
from typing import Any

import pytest

from wpc_magic.dashboard import Table
from wpc_magic.dashboard.table import MAX_WIDTH


class Reader(html.parser.HTMLParser):
    """Extracts the elements and the texts of HTML."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data)


EVIL = "<script>alert('x')</script> & <img src=x onerror=\"y\">"


def test_a_table_keeps_what_it_was_made_of():
    table = Table(["a"], [[1]], caption="one")
    assert (table.columns, table.rows, table.caption) == (["a"], [[1]], "one")


def test_columns_are_aligned_and_numbers_stand_on_the_right():
    table = Table(["name", "size", "n"], [["long one", "2.0 kB", 7], ["b", "512 B", 123], ["c", "", 5]])
    assert repr(table).splitlines() == [
        "name        size    n",
        "────────  ──────  ───",
        "long one  2.0 kB    7",
        "b          512 B  123",
        "c                   5",
    ]


def test_wide_characters_take_two_columns_and_combining_ones_none():
    lines = repr(Table(["a", "b"], [["日本", "x"], ["e\u0301", "y"]])).splitlines()
    assert lines[2:] == ["日本  x", "e\u0301     y"]


def test_a_cell_never_breaks_a_line_nor_commands_the_terminal():
    text = repr(Table(["a"], [["one\ntwo\x1b[2J\x07"]], caption="first\r\nsecond"))
    assert text.splitlines()[0] == "first  second"
    assert text.splitlines()[3] == r"one two\x1b[2J\x07"


def test_a_long_cell_is_cut_in_a_terminal_and_whole_in_a_notebook():
    table = Table(["a"], [["x" * 5_000]])
    assert max(map(len, repr(table).splitlines())) == MAX_WIDTH
    assert "x" * 5_000 in table._repr_html_()


@pytest.mark.parametrize("caption", ["No function is registered.", ""])
def test_a_table_without_rows_is_its_caption(caption: str):
    table = Table(["a"], [], caption=caption)
    assert repr(table) == (caption or "(empty)")
    assert Reader(table._repr_html_()).tags == ["p"]


def test_nothing_in_a_cell_a_head_or_a_caption_is_html():
    read = Reader(Table([EVIL], [[EVIL]], caption=EVIL)._repr_html_())
    assert read.texts == [EVIL] * 3
    assert read.tags == ["table", "caption", "thead", "tr", "th", "tbody", "tr", "td"]


def test_the_caption_of_an_empty_table_is_no_html():
    assert Reader(Table([], [], caption=EVIL)._repr_html_()).texts == [EVIL]


def test_numbers_stand_on_the_right_in_html_too():
    shown = Table(["name", "n"], [["a", 1]])._repr_html_()
    assert shown.count("text-align: left") == shown.count("text-align: right") == 2  # a head and a cell each


def test_the_html_takes_its_colours_from_the_page():
    assert "color" not in Table(["a", "n"], [["b", 1]], caption="c")._repr_html_()
