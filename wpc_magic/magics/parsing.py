"""What the code-like lines of the magics mean: text in, frozen answers out, and no IPython.

Options are read by `options.py`; here is what looks like Python: ``numpy as np``, ``SEED = 40 + 2``,
``simulate(10)``.
"""

from __future__ import annotations

import ast
import dataclasses
import re

__all__ = [
    "ConstantLine",
    "Dependency",
    "DependencyLine",
    "UsageMistake",
    "parse_call",
    "parse_constant",
    "parse_dependency",
    "parse_names",
]


class UsageMistake(ValueError):
    """A line that the magic cannot read; the text is the one line that the user sees."""


@dataclasses.dataclass(frozen=True, slots=True)
class Dependency:
    """One dependency to register.

    Parameters
    ----------
    alias : str
        The name that functions use.
    module : str
        The module to import.
    export : str or None
        The object of the module; None: the module itself.
    """

    alias: str
    module: str
    export: str | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class DependencyLine:
    """What a ``%wpc_dep`` line asks for; with nothing in it, the list.

    Parameters
    ----------
    define : tuple of Dependency
        What to register.
    delete : tuple of str
        The aliases to remove.
    reload : bool
        Whether the workers import the modules afresh.
    """

    define: tuple[Dependency, ...] = ()
    delete: tuple[str, ...] = ()
    reload: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class ConstantLine:
    """What a ``%wpc_const`` line asks for; with nothing in it, the list.

    Parameters
    ----------
    name : str or None
        The constant to register.
    expression : str or None
        Its value as Python; None: the notebook's variable of that name.
    delete : tuple of str
        The constants to remove.
    """

    name: str | None = None
    expression: str | None = None
    delete: tuple[str, ...] = ()


def parse_names(text: str, example: str) -> tuple[str, ...]:
    """Return the names in `text`, which spaces or commas separate.

    Parameters
    ----------
    text : str
        The names.
    example : str
        A right line, for the error.

    Raises
    ------
    UsageMistake
        If there is none, or one is not a Python name.

    Examples
    --------
    >>> parse_names("a, b c", "%wpc_undef simulate")
    ('a', 'b', 'c')
    """
    names = tuple(word for word in re.split(r"[\s,]+", text) if word)
    if not names:
        raise UsageMistake(f"no name is given. Type for example: {example}")
    for name in names:
        if not name.isidentifier():
            raise UsageMistake(f"{name!r} is not a name. Type for example: {example}")
    return names


def parse_dependency(text: str, *, delete: bool = False, reload: bool = False) -> DependencyLine:
    """Read what ``%wpc_dep`` is given after its options.

    Parameters
    ----------
    text : str
        ``np numpy``, ``numpy as np``, ``numpy``, ``from math import sqrt as root``, ``import numpy as np``.
    delete, reload : bool
        Whether the options ``-d`` and ``--reload`` were there.

    Raises
    ------
    UsageMistake
        If it is none of these.

    Examples
    --------
    >>> parse_dependency("numpy as np").define
    (Dependency(alias='np', module='numpy', export=None),)
    >>> parse_dependency("from math import sqrt as root").define
    (Dependency(alias='root', module='math', export='sqrt'),)
    """
    text = text.strip()
    if delete:
        if reload:
            raise UsageMistake("-d and --reload do not go together")
        return DependencyLine(delete=parse_names(text, "%wpc_dep -d np"))
    if not text:
        if reload:
            raise UsageMistake("--reload needs a module. Type for example: %wpc_dep helpers --reload")
        return DependencyLine()
    return DependencyLine(define=_dependencies(text), reload=reload)


_ALIAS_MODULE = re.compile(r"(?P<alias>[^\W\d]\w*)\s+(?P<module>[\w.]+)")
_DEPENDENCY_HELP = "Type for example: %wpc_dep numpy as np, or %wpc_dep from math import sqrt"


def _dependencies(text: str) -> tuple[Dependency, ...]:
    pair = _ALIAS_MODULE.fullmatch(text)
    if pair and pair["alias"] not in ("import", "from"):
        text = f"import {pair['module']} as {pair['alias']}"
    elif not re.match(r"(import|from)\b", text):
        text = f"import {text}"
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError):
        raise UsageMistake(f"cannot read this as a dependency. {_DEPENDENCY_HELP}") from None
    statement = body[0] if len(body) == 1 else None
    if isinstance(statement, ast.Import):
        return tuple(_module(name) for name in statement.names)
    if isinstance(statement, ast.ImportFrom):
        return tuple(_export(statement, name) for name in statement.names)
    raise UsageMistake(f"one import a line. {_DEPENDENCY_HELP}")


def _module(name: ast.alias) -> Dependency:
    # `import os.path` binds `os` in Python, which would hide what was asked for; a name of its own says it.
    if "." in name.name and name.asname is None:
        last = name.name.rpartition(".")[2]
        raise UsageMistake(f"{name.name} needs a short name. Type: %wpc_dep {name.name} as {last}")
    return Dependency(name.asname or name.name, name.name)


def _export(statement: ast.ImportFrom, name: ast.alias) -> Dependency:
    if statement.level or statement.module is None:
        raise UsageMistake("workers have no package to import relative to; write the module's whole name")
    if name.name == "*":
        raise UsageMistake(f"name what to take from {statement.module}, not *: a dependency is one name")
    return Dependency(name.asname or name.name, statement.module, name.name)


_NAME_REST = re.compile(r"(?P<name>[^\W\d]\w*)(?P<space>\s*)(?P<rest>.*)", re.DOTALL)


def parse_constant(text: str, *, delete: bool = False) -> ConstantLine:
    """Read what ``%wpc_const`` is given after its options.

    Parameters
    ----------
    text : str
        ``SEED 42``, ``SEED = 40 + 2``, or ``df`` for the notebook's variable.
    delete : bool
        Whether the option ``-d`` was there.

    Raises
    ------
    UsageMistake
        If it is none of these.

    Examples
    --------
    >>> parse_constant("SEED = 40 + 2").expression
    '40 + 2'
    >>> parse_constant("df")
    ConstantLine(name='df', expression=None, delete=())
    """
    text = text.strip()
    if delete:
        return ConstantLine(delete=parse_names(text, "%wpc_const -d SEED"))
    if not text:
        return ConstantLine()
    match = _NAME_REST.fullmatch(text)
    if match is None:
        raise UsageMistake("a constant begins with its name. Type for example: %wpc_const SEED = 42")
    name, rest = match["name"], match["rest"]
    if not rest:
        return ConstantLine(name)
    if rest.startswith("=") and not rest.startswith("=="):
        return ConstantLine(name, _expression(rest[1:].strip(), name))
    if not match["space"]:  # `df.copy()` and `x+1` have a value and no name
        raise UsageMistake(f"give the constant a name. Type for example: %wpc_const NAME = {text}")
    return ConstantLine(name, _expression(rest, name))


def _expression(text: str, name: str) -> str:
    try:
        ast.parse(text, mode="eval")
    except (SyntaxError, ValueError):
        raise UsageMistake(f"the value of {name} is not a Python expression: {_short(text)}") from None
    return text


def parse_call(text: str, magic: str) -> ast.Call:
    """Read the call that ``%wpc_call`` and ``%wpc_map`` are given after their options.

    Parameters
    ----------
    text : str
        ``simulate(10, scale=2)``.
    magic : str
        The magic, for the error.

    Returns
    -------
    ast.Call
        The call of a plain name.

    Raises
    ------
    UsageMistake
        If it is not the call of a plain name.

    Examples
    --------
    >>> ast.unparse(parse_call("simulate( 10 )", "wpc_call"))
    'simulate(10)'
    """
    text = text.strip().rstrip(";").strip()
    example = f"Type for example: %{magic} simulate(10)"
    if not text:
        raise UsageMistake(f"no call is given. {example}")
    if text.isidentifier():
        raise UsageMistake(f"write the arguments too: %{magic} {text}()")
    try:
        node = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        raise UsageMistake(f"not a call: {_short(text)}. Options come before the call. {example}") from None
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise UsageMistake(f"not the call of a registered function: {_short(text)}. {example}")
    return node


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
