"""The source text of a function that is given as an object."""

from __future__ import annotations
import __future__

import ast
import inspect
import textwrap
from collections.abc import Mapping
from types import CodeType, FunctionType
from typing import Any

from ..nameless import NAMELESS
from .objects import enclosing_locals, is_pool, is_registration, variables
from .syntax import normalise

__all__ = ["FUTURE", "display_source", "own_source", "unindent", "unwrap"]

FUTURE = "from __future__ import annotations"


def unindent(text: str) -> str:
    r"""Remove the first line's indentation from all lines of code; leave text inside strings as it is.

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
        return textwrap.dedent(text)  # the analysis reports what is wrong with it
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr) or (
            isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)
        ):
            # Line 2 of this tree is index 0 here; the line on which a string begins is code.
            inside.update(range(node.lineno - 1, (node.end_lineno or node.lineno) - 1))
    lines = text.split("\n")
    return "\n".join(
        line if number in inside else line.removeprefix(margin) for number, line in enumerate(lines)
    )


def unwrap(function: object) -> object:
    """Return the function under the decorators; a method itself, because it includes its instance."""
    return function if inspect.ismethod(function) or not callable(function) else inspect.unwrap(function)


def own_source(function: FunctionType, pool_name: str) -> tuple[str, int] | None:
    """Return the source of a function without the pool's own decorators, and its first line number.

    None if there is no source, or if the function was not compiled from it.
    """
    if function.__name__ == "<lambda>":
        return None
    try:
        text, first_line = _source(function)
        node = ast.parse(text).body[0]
    except (OSError, TypeError, SyntaxError, ValueError, IndexError, RecursionError):
        return None
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return None
    if node.name != function.__name__:
        return None
    rows = text.split("\n")
    found = {**enclosing_locals(function), **variables(function)}
    dropped: set[int] = set()
    for decorator in node.decorator_list:
        if _registers(decorator, found, pool_name):
            dropped.update(range(decorator.lineno, (decorator.end_lineno or decorator.lineno) + 1))
    kept = [row for number, row in enumerate(rows, 1) if number not in dropped]
    first_line = max(first_line, 1) + len(dropped)
    # The import is not part of this text.
    if function.__code__.co_flags & __future__.annotations.compiler_flag:
        return "\n".join([FUTURE, *kept]), first_line - 1
    return "\n".join(kept), first_line


def _registers(decorator: ast.expr, found: Mapping[str, object], pool_name: str) -> bool:
    """Return whether a decorator is ``@wpc.function`` or ``@wpc.function(...)``, however it is written."""
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    try:
        return is_registration(_evaluated(target, found))
    except Exception:  # whatever a property or an index raises; or it is not known here
        pass
    if not isinstance(target, ast.Attribute) or target.attr != "function":
        return False
    # What is not found may be a pool, for example in a variable of an enclosing function.
    try:
        return is_pool(_evaluated(target.value, found))
    except Exception:
        return True


def _evaluated(node: ast.expr, found: Mapping[str, object]) -> Any:
    """Return what names, attributes and subscripts stand for; nothing is called.

    Raises
    ------
    LookupError, AttributeError, ValueError
        If it is not known, or another kind of expression.
    """
    if isinstance(node, ast.Name):
        return found[node.id]
    if isinstance(node, ast.Attribute):
        return getattr(_evaluated(node.value, found), node.attr)
    if isinstance(node, ast.Subscript):
        holder: Any = _evaluated(node.value, found)
        return holder[_evaluated(node.slice, found)]
    return ast.literal_eval(node)


def display_source(function: Any) -> str:
    """Return the complete source of an object, for display; an empty string if it has none."""
    try:
        return _source(function)[0]
    except (OSError, TypeError):
        return ""


def _source(function: object) -> tuple[str, int]:
    """Return the source of an object, and its first line number.

    Raises
    ------
    OSError, TypeError
        If it has none, or if what is found was not what it was compiled from.
    """
    lines, first_line = inspect.getsourcelines(function)  # type: ignore[arg-type]
    text = unindent(normalise("".join(lines)))
    plain: Any = inspect.unwrap(function)  # type: ignore[arg-type]  # as `inspect` itself does, also of a method
    code = getattr(plain, "__code__", None)
    if isinstance(code, CodeType):
        if code.co_filename in NAMELESS and not _compiles_to("".join(inspect.findsource(plain)[0]), code):
            raise OSError("another text has the same name")
        if not _is_of(text, code):
            raise OSError("the file has changed since then")
    return text, first_line


def _compiles_to(text: str, code: CodeType) -> bool:
    """Return whether a text has this very code in it."""
    try:
        found = [compile(text, code.co_filename, "exec", dont_inherit=True)]
    except (SyntaxError, ValueError, RecursionError):
        return False
    for each in found:  # grows by the codes inside of each
        found += [inner for inner in each.co_consts if isinstance(inner, CodeType)]
    return code in found


def _is_of(text: str, code: CodeType) -> bool:
    """Return whether a text can be that of a code: a function must have its name and its parameters."""
    try:
        node = ast.parse(text).body[0]
    except (SyntaxError, ValueError, IndexError, RecursionError):
        return True  # a part of a statement, such as a lambda
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return True
    parameters = [arg.arg for arg in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]]
    count = code.co_argcount + code.co_kwonlyargcount
    return node.name == code.co_name and parameters == list(code.co_varnames[:count])
