"""Parses the code-like lines of the magics into frozen dataclasses, without IPython.

Options are parsed by `options.py`; this module parses what resembles Python: ``numpy as np``,
``SEED = 40 + 2``, ``simulate(10)``.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import re
import sys
from keyword import iskeyword

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
    """A line that the magic cannot parse; the message is the one line that the user sees."""


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
    """A parsed ``%wpc_dep`` line; an empty one requests the list.

    Parameters
    ----------
    define : tuple of Dependency
        The dependencies to register.
    delete : tuple of str
        The aliases to remove.
    reload : bool
        Whether the workers reload the modules.
    """

    define: tuple[Dependency, ...] = ()
    delete: tuple[str, ...] = ()
    reload: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class ConstantLine:
    """A parsed ``%wpc_const`` line; an empty one requests the list.

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
        A correct line, for the error message.

    Raises
    ------
    UsageMistake
        If there is no name, or a word is not a Python name.

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
    """Parse the ``%wpc_dep`` line after its options.

    Parameters
    ----------
    text : str
        ``np numpy``, ``numpy as np``, ``numpy``, ``from math import sqrt as root``, ``import numpy as np``.
    delete, reload : bool
        Whether the options ``-d`` and ``--reload`` were given.

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
        _refuse_module_as_alias(pair["alias"], pair["module"])
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


def _refuse_module_as_alias(alias: str, module: str) -> None:
    """Refuse ``numpy pandas``, which could mean both of them."""
    parts = [alias, *module.split(".")]
    if alias == module or not all(part.isidentifier() and not iskeyword(part) for part in parts):
        return
    if alias not in sys.stdlib_module_names and importlib.util.find_spec(alias) is None:
        return
    last = module.rpartition(".")[2]
    both = f"{alias}, {module}" if last == module else f"{alias}, {module} as {last}"
    raise UsageMistake(
        f"{alias} is a module, too. For both type: %wpc_dep {both}. "
        f"To call {module} {alias}: %wpc_dep {module} as {alias}"
    )


def _module(name: ast.alias) -> Dependency:
    # In Python, `import os.path` binds `os`, which is not what was requested; so an explicit name is
    # required.
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


def parse_constant(
    text: str,
    *,
    delete: bool = False,
    magic: str = "wpc_const",
    kind: str = "constant",
    example: str = "SEED = 42",
) -> ConstantLine:
    """Parse the line of ``%wpc_const`` after its options, or that of another magic which is written so.

    Parameters
    ----------
    text : str
        ``SEED 42``, ``SEED = 40 + 2``, or ``df`` for the notebook's variable.
    delete : bool
        Whether the option ``-d`` was given.
    magic, kind, example : str
        The magic, what it defines, and a definition, for error messages.

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
        return ConstantLine(delete=parse_names(text, f"%{magic} -d {example.split()[0]}"))
    if not text:
        return ConstantLine()
    match = _NAME_REST.fullmatch(text)
    if match is None:
        raise UsageMistake(f"a {kind} begins with its name. Type for example: %{magic} {example}")
    name, rest = match["name"], match["rest"]
    if not rest:
        return ConstantLine(name)
    if rest.startswith("=") and not rest.startswith("=="):
        return ConstantLine(name, _expression(rest[1:].strip(), name))
    if not match["space"]:  # `df.copy()` and `x+1` are values without a name
        raise UsageMistake(f"give the {kind} a name. Type for example: %{magic} NAME = {text}")
    return ConstantLine(name, _expression(rest, name))


def _expression(text: str, name: str) -> str:
    try:
        node = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        _refuse_dollar(text)
        raise UsageMistake(f"the value of {name} is not a Python expression: {_truncated(text)}") from None
    _refuse_braces(text, node)
    return text


def _refuse_dollar(text: str) -> None:
    """Refuse ``$n`` in Python with what to write."""
    found = re.search(r"\$\{?([^\W\d]\w*)", re.sub(r"'[^']*'|\"[^\"]*\"", "''", text))
    if found:
        raise UsageMistake(f"this is Python, where a variable is just its name: {found[1]}, not {found[0]}")


def _refuse_braces(text: str, value: ast.expr) -> None:
    """Refuse ``{n}``, by which other magics mean the value of n, as a whole value: in Python it is a set."""
    if not isinstance(value, ast.Set) or len(value.elts) != 1 or not isinstance(value.elts[0], ast.Name):
        return
    if "," not in (ast.get_source_segment(text, value) or ","):
        name = value.elts[0].id
        raise UsageMistake(
            f"this is Python, where {{{name}}} is a set: write {name} for the value, {{{name},}} for the set"
        )


def parse_call(text: str, magic: str) -> ast.Call:
    """Parse the call in a ``%wpc_call`` or ``%wpc_map`` line after the options.

    Parameters
    ----------
    text : str
        ``simulate(10, scale=2)``.
    magic : str
        The magic, for the error message.

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
    >>> ast.unparse(parse_call("simulate xs", "wpc_map"))
    'simulate(xs)'
    """
    text = text.strip().rstrip(";").strip()
    example = f"Type for example: %{magic} simulate(10)"
    if not text:
        raise UsageMistake(f"no call is given. {example}")
    if text.isidentifier():
        raise UsageMistake(f"write the arguments too: %{magic} {text}()")
    node = _read_call(text)
    if node is None:
        _refuse_dollar(text)
        if behind := _BEHIND.search(text):
            what = _truncated(behind[1])
            raise UsageMistake(f"{what} behind the call is no option. %{magic}? shows the options")
        raise UsageMistake(f"not a call: {_truncated(text)}. {example}")
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        raise UsageMistake(f"not the call of a registered function: {_truncated(text)}. {example}")
    for value in (*node.args, *(keyword.value for keyword in node.keywords)):
        _refuse_braces(text, value)
    return node


_BEHIND = re.compile(r"\)\s+(--?[a-zA-Z][^()]*)$")
_WITHOUT_BRACKETS = re.compile(r"^([^\W\d]\w*)\s+(?=[\w\[{'\"])(.*)", re.DOTALL)


def _read_call(text: str) -> ast.expr | None:
    """Parse a call, also one without brackets, or any other expression; None: it is none."""
    found: ast.expr | None = None
    for each in (text, _WITHOUT_BRACKETS.sub(r"\1(\2)", text, count=1)):
        try:
            node = ast.parse(each, mode="eval").body
        except (SyntaxError, ValueError):
            continue
        if isinstance(node, ast.Call):
            return node
        found = found or node
    return found


def _truncated(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
