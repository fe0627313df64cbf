"""Code on a magic's line, evaluated in the notebook."""

from __future__ import annotations

import ast
import linecache
import symtable
from types import CodeType
from typing import Any

from wpc_magic.pool.options import RESERVED, did_you_mean

from .parsing import UsageMistake

__all__ = ["constant_value", "evaluate_arguments", "public_names"]


def constant_value(
    name: str, expression: str | None, namespace: dict[str, Any], magic: str = "wpc_const"
) -> Any:
    """Return the value of an expression, or of the variable `name` where there is none.

    Parameters
    ----------
    name : str
        The name.
    expression : str or None
        The expression.
    namespace : dict
        The notebook's variables.
    magic : str
        The magic on whose line it stands, for the error message.

    Raises
    ------
    UsageMistake
        If there is no such variable; exceptions of the expression propagate.
    """
    __tracebackhide__ = True
    if expression is not None:
        return eval(_compiled(expression, f"<{name}>"), namespace)
    if name not in namespace:
        near = did_you_mean(name, [key for key in namespace if not key.startswith("_")])
        raise UsageMistake(
            f"the notebook has no variable {name!r}.{near} To give a value: %{magic} {name} = ..."
        )
    return namespace[name]


def _compiled(expression: str, filename: str, callee: str | None = None) -> CodeType:
    """Compile an expression so that tracebacks show it; with `callee`, replace the function that it calls."""
    tree = ast.parse(expression, filename, "eval")
    if callee is not None and isinstance(tree.body, ast.Call):
        tree.body.func = ast.copy_location(ast.Name(callee, ast.Load()), tree.body.func)
    linecache.cache[filename] = (len(expression), None, [expression + "\n"], filename)
    return compile(tree, filename, "eval")


def public_names(source: str) -> list[str]:
    r"""Return the names that a cell binds at its top level, without those that begin with an underscore.

    Examples
    --------
    >>> public_names("import os as system\ndef f(): x = 1\n_y = K = 2")
    ['system', 'f', 'K']
    """
    table = symtable.symtable(source, "<cell>", "exec")
    bound = [s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()]
    return [name for name in bound if not name.startswith("_") and name not in RESERVED]


_COLLECT = "__wpc_arguments__"


def evaluate_arguments(node: ast.Call, namespace: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Evaluate the arguments of a call, but not its function.

    Parameters
    ----------
    node : ast.Call
        The call.
    namespace : dict
        Where its names are looked up, as globals: comprehensions and lambdas in the arguments see them.

    Examples
    --------
    >>> evaluate_arguments(ast.parse("f(x, *[i + x for i in (1, 2)], k=x)", mode="eval").body, {"x": 3})
    ((3, 4, 5), {'k': 3})
    """
    __tracebackhide__ = True

    def collect(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, kwargs

    code = _compiled(ast.unparse(node), "<arguments>", _COLLECT)
    # `_COLLECT` is a local, so that the namespace itself is not modified.
    arguments: tuple[tuple[Any, ...], dict[str, Any]] = eval(code, namespace, {_COLLECT: collect})
    return arguments
