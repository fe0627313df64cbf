"""The grammars of the code-like lines, as tables."""

import ast

import pytest

from wpc_magic.magics.parsing import (
    ConstantLine,
    Dependency,
    DependencyLine,
    UsageMistake,
    parse_call,
    parse_constant,
    parse_dependency,
    parse_names,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("np numpy", [("np", "numpy", None)]),
        ("stats scipy.stats", [("stats", "scipy.stats", None)]),
        ("numpy as np", [("np", "numpy", None)]),
        ("numpy", [("numpy", "numpy", None)]),
        ("import numpy", [("numpy", "numpy", None)]),
        ("import numpy as np", [("np", "numpy", None)]),
        ("  import   os.path as p ", [("p", "os.path", None)]),
        ("numpy as np, pandas as pd", [("np", "numpy", None), ("pd", "pandas", None)]),
        ("from math import sqrt", [("sqrt", "math", "sqrt")]),
        ("from math import sqrt as root", [("root", "math", "sqrt")]),
        ("from math import (sqrt, pi as PI)", [("sqrt", "math", "sqrt"), ("PI", "math", "pi")]),
        ("from concurrent import futures", [("futures", "concurrent", "futures")]),
        ("importlib", [("importlib", "importlib", None)]),
        ("fromage cheese", [("fromage", "cheese", None)]),
    ],
)
def test_a_dependency_is_written_in_each_of_these_ways(text: str, expected: list[tuple[str, ...]]) -> None:
    assert parse_dependency(text).define == tuple(Dependency(*each) for each in expected)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("os.path", "%wpc_dep os.path as path"),
        ("import os.path", "%wpc_dep os.path as path"),
        ("from math import *", "name what to take from math"),
        ("from . import helpers", "relative"),
        ("a b c", "cannot read"),
        ("numpy as", "cannot read"),
        ("2np", "cannot read"),
        ("import a; import b", "one import a line"),
        ("'numpy'", "cannot read"),
    ],
)
def test_what_is_no_dependency_is_told_with_a_line_to_type(text: str, says: str) -> None:
    with pytest.raises(UsageMistake) as told:
        parse_dependency(text)
    assert says in str(told.value)
    assert "\n" not in str(told.value)


def test_nothing_is_the_list_of_dependencies() -> None:
    assert parse_dependency("  ") == DependencyLine()


def test_dependencies_are_removed_by_alias() -> None:
    assert parse_dependency("np, pd", delete=True).delete == ("np", "pd")
    with pytest.raises(UsageMistake, match="no name is given"):
        parse_dependency("", delete=True)
    with pytest.raises(UsageMistake, match="is not a name"):
        parse_dependency("numpy.linalg", delete=True)


def test_a_reload_needs_a_module() -> None:
    assert parse_dependency("helpers", reload=True).reload
    with pytest.raises(UsageMistake, match="--reload needs a module"):
        parse_dependency("", reload=True)
    with pytest.raises(UsageMistake, match="do not go together"):
        parse_dependency("helpers", reload=True, delete=True)


@pytest.mark.parametrize(
    ("text", "name", "expression"),
    [
        ("SEED 42", "SEED", "42"),
        ("SEED = 40 + 2", "SEED", "40 + 2"),
        ("SEED=42", "SEED", "42"),
        ("SEED -1", "SEED", "-1"),
        ("df", "df", None),
        ("limits {'low': 1}", "limits", "{'low': 1}"),
        ("both a == b", "both", "a == b"),
        ("ü 1", "ü", "1"),
    ],
)
def test_a_constant_is_written_in_each_of_these_ways(text: str, name: str, expression: str | None) -> None:
    assert parse_constant(text) == ConstantLine(name, expression)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("df.copy()", "%wpc_const NAME = df.copy()"),
        ("x+1", "%wpc_const NAME = x+1"),
        ("42", "begins with its name"),
        ("SEED =", "not a Python expression"),
        ("SEED = 40 +", "not a Python expression"),
        ("SEED == 3", "not a Python expression"),
        ("SEED += 3", "not a Python expression"),
        ("SEED: int = 3", "%wpc_const NAME = "),
    ],
)
def test_what_is_no_constant_is_told(text: str, says: str) -> None:
    with pytest.raises(UsageMistake) as told:
        parse_constant(text)
    assert says in str(told.value)


def test_constants_are_listed_and_removed() -> None:
    assert parse_constant("") == ConstantLine()
    assert parse_constant("SEED K", delete=True).delete == ("SEED", "K")


@pytest.mark.parametrize("text", ["simulate(10)", " simulate( 10 ) ; ", "simulate(10);"])
def test_a_call_is_that_of_a_plain_name(text: str) -> None:
    assert ast.unparse(parse_call(text, "wpc_call")) == "simulate(10)"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no call is given"),
        ("simulate", "%wpc_call simulate()"),
        ("simulate 10", "not a call"),
        ("simulate(10) -o out", "Options come before the call"),
        ("wpc.call.simulate(10)", "not the call of a registered function"),
        ("simulate(10) + 1", "not the call of a registered function"),
        ("simulate(", "not a call"),
    ],
)
def test_what_is_no_call_is_told(text: str, says: str) -> None:
    with pytest.raises(UsageMistake) as told:
        parse_call(text, "wpc_call")
    assert says in str(told.value)


def test_names_are_separated_by_spaces_or_commas() -> None:
    assert parse_names(" a,b  c ", "%wpc_undef a") == ("a", "b", "c")
