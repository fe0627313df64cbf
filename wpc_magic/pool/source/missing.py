"""Fixes for names that the workers do not have: the line to type."""

from __future__ import annotations

import builtins
import dataclasses
import sys
import types
from collections.abc import Callable, Collection

from ..options import RESERVED, did_you_mean

__all__ = ["ALWAYS_DEFINED", "Fix", "find_fix", "format_advice", "in_the_cell", "is_hidden", "python_line"]


@dataclasses.dataclass(frozen=True, slots=True)
class Fix:
    """What is missing, and the kind of definition that fixes it.

    Parameters
    ----------
    kind : str
        ``"dependency"``: a module. ``"dependency_from"``: an object of a module. ``"constant"``: a value.
        ``"function"``: a function of the caller. ``"functions"``: several that need each other, named in
        `detail`. ``"class"``: a class of the caller. ``"pool"``: the pool itself. ``"unknown"``: no
        definition is known that fixes it.
    name : str
        The missing name.
    module : str
        The module that it refers to, or that contains it.
    export : str
        The name of the object in that module.
    detail : str
        The advice, if there is no line to type.
    """

    kind: str
    name: str
    module: str = ""
    export: str = ""
    detail: str = ""


_ONE_LINE_KINDS = frozenset({"dependency", "dependency_from", "constant", "function", "functions"})
"""The kinds that one line fixes."""

ALWAYS_DEFINED = (
    frozenset(
        # What a notebook or a debugger has added to the builtins is not in the workers.
        name
        for name, value in vars(builtins).items()
        if not isinstance(value, types.FunctionType) and name not in ("_", "__IPYTHON__")
    )
    | {"exit", "quit"}  # hidden while IPython runs a cell
    | {"display"}  # which a notebook has, and so do workers
    | {"__name__", "__doc__", "__package__", "__loader__", "__spec__", "__builtins__"}
    | {"__annotations__", "__class__", "__debug__", "__module__", "__qualname__"}
    | RESERVED
)
"""Names that are defined for every function in a worker."""

_INJECTED = ("wpc_import", "wpc_constant")
"""A notebook may have its own of these, to run a function of the cell itself."""

_COMMON_ALIASES = {
    "alt": "altair",
    "cp": "cupy",
    "cv2": "cv2",
    "da": "dask.array",
    "dd": "dask.dataframe",
    "gpd": "geopandas",
    "jnp": "jax.numpy",
    "mpl": "matplotlib",
    "nx": "networkx",
    "np": "numpy",
    "numpy": "numpy",
    "pa": "pyarrow",
    "pandas": "pandas",
    "pd": "pandas",
    "pl": "polars",
    "plt": "matplotlib.pyplot",
    "px": "plotly.express",
    "scipy": "scipy",
    "sm": "statsmodels.api",
    "sns": "seaborn",
    "sp": "scipy",
    "sy": "sympy",
    "tf": "tensorflow",
    "torch": "torch",
    "xr": "xarray",
}


def python_line(fix: Fix, pool_name: str = "wpc") -> str:
    """Return the line of plain Python for `fix`.

    Parameters
    ----------
    fix : Fix
        What is missing.
    pool_name : str
        The variable that holds the pool.

    Returns
    -------
    str
        The line; or the detail of the fix, if there is no such line.

    Examples
    --------
    >>> python_line(Fix("dependency", "np", module="numpy"))
    "wpc.define_worker_dependency(alias='np', module_specifier='numpy')"
    >>> python_line(Fix("constant", "SEED"), "pool")
    "pool.define_worker_constant(name='SEED', value=SEED)"
    >>> python_line(Fix("function", "clean"))
    'wpc.function(clean)'
    """
    if fix.kind == "dependency":
        module = fix.module or fix.name
        return f"{pool_name}.define_worker_dependency(alias={fix.name!r}, module_specifier={module!r})"
    if fix.kind == "dependency_from":
        where = f"module_specifier={fix.module!r}, export_name={fix.export or fix.name!r}"
        return f"{pool_name}.define_worker_dependency(alias={fix.name!r}, {where})"
    if fix.kind == "constant":
        return f"{pool_name}.define_worker_constant(name={fix.name!r}, value={fix.name})"
    if fix.kind == "function":
        return f"{pool_name}.function({fix.name})"
    if fix.kind == "functions":
        return f"{pool_name}.functions({fix.detail})"
    if fix.kind == "restart":
        return f"{pool_name}.restart_workers(); {pool_name}.wait_until_ready()"
    if fix.kind == "upload":
        return f"{pool_name}.upload_module({fix.name!r})"
    return fix.detail


def is_hidden(name: str, look: Callable[[str], Fix | None] | None) -> bool:
    """Return whether a name that is defined for every function is another thing where the source was written.

    Parameters
    ----------
    name : str
        The name.
    look : callable or None
        Returns what the name refers to in the caller's process; None if it is not defined there.

    Examples
    --------
    >>> from wpc_magic.pool.source.objects import look_in
    >>> look = look_in({"pow": __import__("math").pow, "max": max})
    >>> is_hidden("pow", look), is_hidden("max", look), is_hidden("min", look)
    (True, False, False)
    """
    if look is None or name not in ALWAYS_DEFINED or name.startswith("__") or name in _INJECTED:
        return False
    return look(name) is not None


def in_the_cell(name: str) -> str:
    """Return the advice for a name that a cell reads and that is nowhere."""
    return "Define it in the same cell, or pass it as an argument."


def find_fix(
    name: str,
    known: Collection[str],
    look: Callable[[str], Fix | None] | None,
    pool_name: str,
    advice: Callable[[str], str] = in_the_cell,
) -> Fix:
    """Return the fix for a missing name.

    Parameters
    ----------
    name : str
        The name.
    known : collection of str
        Names that a misspelled one may refer to.
    look : callable or None
        Returns what the name refers to in the caller's process; None if it is not defined there. If it has
        a method ``names``, a misspelled name may refer to these, too.
    pool_name : str
        The variable that holds the pool.
    advice : callable
        Returns the advice for a name that is found nowhere.

    Examples
    --------
    >>> find_fix("plt", (), None, "wpc").module
    'matplotlib.pyplot'
    >>> find_fix("cout", ["count"], None, "wpc").detail
    "Did you mean 'count'?"
    """
    if name == "get_ipython":
        return Fix("unknown", name, detail="Only the notebook has IPython (and its ! and % lines).")
    if name == "__file__":
        detail = "A cell has no file: pass the path as an argument, or register it as a constant."
        return Fix("unknown", name, detail=detail)
    if name in RESERVED:
        detail = f"In workers, {name} is what the pool gives to every function: choose another name."
        return Fix("unknown", name, detail=detail)
    fix = Fix("pool", name) if name == pool_name else look(name) if look is not None else None
    if fix is not None and fix.kind == "pool":
        detail = f"Registered functions call each other by name: f(x), not {name}.call.f(x)."
        return dataclasses.replace(fix, detail=detail)
    if fix is not None:
        return fix
    if name in _COMMON_ALIASES or name in sys.stdlib_module_names:
        return Fix("dependency", name, module=_COMMON_ALIASES.get(name, name))
    # Not the builtins: these are many short words, and who has mistyped one sees it.
    there: Collection[str] = getattr(look, "names", tuple)()  # where the source was written
    near = did_you_mean(name, sorted({*known, *there, *RESERVED})).strip()
    return Fix("unknown", name, detail=near or advice(name))


def format_advice(fix: Fix, describe_fix: Callable[[Fix], str]) -> str:
    """Return the advice for `fix`, as a sentence of an error message.

    Examples
    --------
    >>> format_advice(Fix("function", "clean"), python_line)
    'Type: wpc.function(clean)'
    """
    line = describe_fix(fix)
    return f"Type: {line}" if fix.kind in _ONE_LINE_KINDS else line
