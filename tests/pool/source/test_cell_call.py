"""A cell becomes a function of what it reads."""

from __future__ import annotations

import ast

import pytest

from wpc_magic.pool.errors import DefinitionSyntaxError
from wpc_magic.pool.source.cell_call import read_cell


def run(cell: str, store: list[str] | None = None, **names: object) -> object:
    """Run the function that is made of a cell."""
    body = read_cell(cell)
    made: dict[str, object] = {}
    exec(body.as_function("f", [*names], store or []), made)
    return made["f"](**names)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("cell", "reads"),
    [
        ("a + b", "a b"),
        ("x = 1\nx + y", "y"),
        ("x += 1", "x"),
        ("df = load(p)\ndf.head()", "load p"),
        ("with open(p) as fh:\n    text = fh.read()\ntext", "open p"),
        ("for i in xs:\n    last = i\nlast", "xs last"),
        ("if c:\n    v = 1\nelse:\n    v = 2\nv", "c"),
        ("if c:\n    v = 1\nv", "c v"),
        ("try:\n    v = g()\nexcept E as e:\n    print(e)\nv", "g E print v"),
        ("[i * k for i in xs]", "xs k"),
        ("def f(n): return n * K + later\nlater = 2\nf(1)", "K"),
        ("def f(n): return f(n - 1)\nf(1)", ""),
        ("import numpy as np\nnp.ones(n)", "n"),
        ("class A(Base):\n    y = z", "Base z"),
    ],
)
def test_a_cell_reads_what_it_has_not_bound_before(cell: str, reads: str) -> None:
    assert sorted(read_cell(cell).reads) == sorted(reads.split())


def test_the_last_expression_is_the_value_and_a_semicolon_hides_it() -> None:
    assert run("y = x * 2\n(y +\n 1)  # the end", x=4) == 9
    assert run("x;", x=4) is None
    assert run("y = x", x=4) is None
    assert run("'ä'; 'ö' + x", x="ü") == "öü"


def test_stored_names_come_with_the_value() -> None:
    assert run("y = x + 1\ny * 2", ["y"], x=1) == (4, {"y": 2})
    assert run("y = x + 1", ["y"], x=1) == (None, {"y": 2})


def test_texts_of_several_lines_stay_as_they_are() -> None:
    assert run('a = """\n  b\nc"""\nf"""{a}\nd"""') == "\n  b\nc\nd"


def test_lines_keep_their_numbers_below_the_magic() -> None:
    source = read_cell("\n# first\nimport os\n\n@len\ndef g(): pass\n").as_function("f", ["x"])
    assert source.startswith("def f(*, x):\n")
    (function,) = ast.parse(source).body
    assert [node.lineno for node in function.body] == [3, 6]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("return 1", "line 1: 'return' outside function"),
        ("yield 1", "line 1: 'yield' outside function"),
        ("from os import *", "line 1: name what you import"),
        ("n = 0\ndef f():\n    global n", "line 3: the cell runs as a function: write nonlocal n"),
        ("!ls", "line 1: this is IPython syntax"),
    ],
)
def test_what_no_function_can_have_is_refused(cell: str, message: str) -> None:
    with pytest.raises(DefinitionSyntaxError, match=message.replace("(", r"\(")):
        read_cell(cell)
