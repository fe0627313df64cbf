"""The text of a function that is given as an object."""

from __future__ import annotations
import __future__

import ast
import inspect
import textwrap
from collections.abc import Mapping
from types import FunctionType
from typing import Any

from .mind.analysis.syntax import normalise
from .objects import is_pool, variables

__all__ = ["FUTURE", "own_text", "text_of", "unindent", "unwrap"]

FUTURE = "from __future__ import annotations"


def unindent(text: str) -> str:
    r"""Take the first line's indentation off all lines that are code: text inside strings stays as it is.

    Examples
    --------
    >>> unindent("  x = 1\n  y = 2")
    'x = 1\ny = 2'
    """
    first = next((line for line in text.split("\n") if line.strip()), "")
    margin = first[: len(first) - len(first.lstrip())]
    if not margin:
        return text
    try:
        tree = ast.parse(f"if True:\n{text}")
    except (SyntaxError, ValueError):
        return textwrap.dedent(text)  # the analysis says what is wrong with it
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        ):
            # Line 2 of this tree is number 0 here; where a string begins is code.
            inside.update(range(node.lineno - 1, (node.end_lineno or node.lineno) - 1))
    lines = text.split("\n")
    return "\n".join(
        line if number in inside else line.removeprefix(margin) for number, line in enumerate(lines)
    )


def unwrap(function: object) -> object:
    """Return what is under the decorators; a method shows its function's, but is more than that."""
    return function if inspect.ismethod(function) or not callable(function) else inspect.unwrap(function)


def own_text(function: FunctionType, pool_name: str) -> tuple[str, int] | None:
    """Return the text of a function without the pool's own decorators, and the number of its first line.

    None where there is no source, or one that the function was not made of.
    """
    if function.__name__ == "<lambda>":
        return None
    try:
        lines, first_line = inspect.getsourcelines(function)
        text = unindent(normalise("".join(lines)))
        node = ast.parse(text).body[0]
    except (OSError, TypeError, SyntaxError, ValueError, IndexError, RecursionError):
        return None
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    code = function.__code__
    parameters = [arg.arg for arg in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]]
    count = code.co_argcount + code.co_kwonlyargcount
    if node.name != function.__name__ or parameters != list(code.co_varnames[:count]):
        return None  # the file has changed since
    rows = text.split("\n")
    found = variables(function)
    dropped: set[int] = set()
    for decorator in node.decorator_list:
        if _registers(decorator, found, pool_name):
            dropped.update(range(decorator.lineno, (decorator.end_lineno or decorator.lineno) + 1))
    kept = [row for number, row in enumerate(rows, 1) if number not in dropped]
    first_line = max(first_line, 1) + len(dropped)
    if code.co_flags & __future__.annotations.compiler_flag:  # the line that says so is not in this text
        return "\n".join([FUTURE, *kept]), first_line - 1
    return "\n".join(kept), first_line


def _registers(decorator: ast.expr, found: Mapping[str, object], pool_name: str) -> bool:
    """Tell whether a decorator is ``@wpc.function`` or ``@wpc.function(...)`` of a pool, by any name."""
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    if not isinstance(target, ast.Attribute) or target.attr != "function":
        return False
    holder = target.value
    if not isinstance(holder, ast.Name):
        return False
    # A pool in a variable of a function around it is in no place where it could be looked up.
    return holder.id == pool_name or holder.id not in found or is_pool(found[holder.id])


def text_of(function: Any) -> str:
    """Return the whole text of anything that has one, for display; an empty one otherwise."""
    try:
        return unindent(normalise(inspect.getsource(function)))
    except (OSError, TypeError):
        return ""
