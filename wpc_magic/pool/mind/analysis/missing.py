"""What to type when a function uses a name that the workers do not have."""

from __future__ import annotations

import builtins
import dataclasses
import sys
import types
from collections.abc import Callable, Collection

from ...options import RESERVED, did_you_mean

__all__ = ["ALWAYS_THERE", "Fix", "find_fix", "python_line", "sentence"]


@dataclasses.dataclass(frozen=True, slots=True)
class Fix:
    """What is missing, and of which kind a definition has to be that mends it.

    Parameters
    ----------
    kind : str
        ``"dependency"``: a module. ``"dependency_from"``: an object of a module. ``"constant"``: a value.
        ``"function"``: a function of the caller's. ``"pool"``: the pool itself. ``"unknown"``: no definition
        is known that would mend it.
    name : str
        The name that is missing.
    module : str
        The module that it is, or is in.
    export : str
        The name of the object in that module.
    detail : str
        A sentence, where there is no line to type.
    """

    kind: str
    name: str
    module: str = ""
    export: str = ""
    detail: str = ""


LINES = frozenset({"dependency", "dependency_from", "constant", "function"})
"""The kinds that one line mends."""

ALWAYS_THERE = (
    frozenset(
        # What a notebook or a debugging tool has put among the builtins is not in the workers.
        name
        for name, value in vars(builtins).items()
        if not isinstance(value, types.FunctionType) and name not in ("_", "display", "__IPYTHON__")
    )
    | {"exit", "quit"}  # hidden while IPython runs a cell
    | {"__name__", "__file__", "__doc__", "__package__", "__loader__", "__spec__", "__builtins__"}
    | {"__annotations__", "__class__", "__debug__", "__module__", "__qualname__"}
    | RESERVED
)
"""Names that every function finds in a worker."""

_WELL_KNOWN = {
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
    """Return the line of plain Python that mends `fix`.

    Parameters
    ----------
    fix : Fix
        What is missing.
    pool_name : str
        The variable that holds the pool.

    Returns
    -------
    str
        The line; the fix's own detail, where no line mends it.

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
    return fix.detail


def find_fix(
    name: str, known: Collection[str], look: Callable[[str], Fix | None] | None, pool_name: str
) -> Fix:
    """Return what would mend a missing name.

    Parameters
    ----------
    name : str
        The name.
    known : collection of str
        Names that a misspelling may have meant.
    look : callable or None
        Says what the name is in the caller's process; None where it is nothing there.
    pool_name : str
        The variable that holds the pool.

    Examples
    --------
    >>> find_fix("plt", (), None, "wpc").module
    'matplotlib.pyplot'
    >>> find_fix("cout", ["count"], None, "wpc").detail
    "Did you mean 'count'?"
    """
    if name == "get_ipython":
        return Fix("unknown", name, detail="Only the notebook has IPython (and its ! and % lines).")
    fix = Fix("pool", name) if name == pool_name else look(name) if look is not None else None
    if fix is not None and fix.kind == "pool":
        detail = f"Registered functions call each other by name: f(x), not {name}.call.f(x)."
        return dataclasses.replace(fix, detail=detail)
    if fix is not None:
        return fix
    if name in _WELL_KNOWN or name in sys.stdlib_module_names:
        return Fix("dependency", name, module=_WELL_KNOWN.get(name, name))
    near = did_you_mean(name, sorted({*known, *ALWAYS_THERE})).strip()
    return Fix("unknown", name, detail=near or "Define it in the same cell, or pass it as an argument.")


def sentence(fix: Fix, describe_fix: Callable[[Fix], str]) -> str:
    """Return the advice for `fix` as a sentence.

    Examples
    --------
    >>> sentence(Fix("function", "clean"), python_line)
    'Type: wpc.function(clean)'
    """
    line = describe_fix(fix)
    return f"Type: {line}" if fix.kind in LINES else line
