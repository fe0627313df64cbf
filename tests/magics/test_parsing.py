"""The grammars of the code-like lines, as tables of examples."""

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
    with pytest.raises(UsageMistake) as raised:
        parse_dependency(text)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


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
    with pytest.raises(UsageMistake) as raised:
        parse_constant(text)
    assert says in str(raised.value)


def test_constants_are_listed_and_removed() -> None:
    assert parse_constant("") == ConstantLine()
    assert parse_constant("SEED K", delete=True).delete == ("SEED", "K")


@pytest.mark.parametrize(
    "text", ["simulate(10)", " simulate( 10 ) ; ", "simulate(10);", "simulate 10", "simulate  (10)"]
)
def test_a_call_is_that_of_a_plain_name(text: str) -> None:
    assert ast.unparse(parse_call(text, "wpc_call")) == "simulate(10)"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no call is given"),
        ("simulate", "%wpc_call simulate()"),
        ("simulate 10 20", "not a call"),
        ("simulate(10) --quiet 3", "--quiet 3 behind the call is no option. %wpc_call? shows the options"),
        ("wpc.call.simulate(10)", "not the call of a registered function"),
        ("simulate(10) + 1", "not the call of a registered function"),
        ("simulate(", "not a call"),
    ],
)
def test_what_is_no_call_is_told(text: str, says: str) -> None:
    with pytest.raises(UsageMistake) as raised:
        parse_call(text, "wpc_call")
    assert says in str(raised.value)


def test_names_are_separated_by_spaces_or_commas() -> None:
    assert parse_names(" a,b  c ", "%wpc_undef a") == ("a", "b", "c")


@pytest.mark.parametrize(
    ("text", "both"),
    [("json math", "json, math"), ("pytest json", "pytest, json"), ("json os.path", "json, os.path as path")],
)
def test_a_module_is_no_alias_of_another_unless_it_is_said_as_python_says_it(text: str, both: str) -> None:
    alias, _, module = text.partition(" ")
    with pytest.raises(UsageMistake) as raised:
        parse_dependency(text)
    assert str(raised.value) == (
        f"{alias} is a module, too. For both type: %wpc_dep {both}. "
        f"To call {module} {alias}: %wpc_dep {module} as {alias}"
    )
    assert parse_dependency(f"{module} as {alias}").define == (Dependency(alias, module),)
    assert len(parse_dependency(both).define) == 2


def test_a_module_under_its_own_name_and_a_short_alias_are_accepted() -> None:
    assert parse_dependency("json json").define == (Dependency("json", "json"),)
    assert parse_dependency("j json").define == (Dependency("j", "json"),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("f($n)", "a variable is just its name: n, not $n"),
        ("f(${n})", "a variable is just its name: n, not ${n"),
        ("f({n})", "{n} is a set: write n for the value, {n,} for the set"),
        ("f(1, k={ n })", "write n for the value, {n,} for the set"),
        ("f('$n' '", "not a call"),
    ],
)
def test_a_variable_in_python_is_written_as_its_name(text: str, says: str) -> None:
    for parse in (
        lambda: parse_call(text, "wpc_call"),
        lambda: parse_constant("K = " + text.removeprefix("f(").removeprefix("1, k=").removesuffix(")")),
    ):
        with pytest.raises(UsageMistake) as raised:
            parse()
        assert says.replace("not a call", "not a") in str(raised.value)


@pytest.mark.parametrize(
    "text", ["f({n,})", "f({n, m})", "f({n} | m)", "f({'n'})", "f('{n} $n')", "f({'a': n})"]
)
def test_sets_and_texts_are_what_they_are_in_python(text: str) -> None:
    assert parse_call(text, "wpc_call").args
