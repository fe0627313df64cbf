"""What an object of the caller's process is, and by which definition it would come to the workers."""

from __future__ import annotations

import dis
import sys
from collections import ChainMap
from collections.abc import Callable, Mapping
from functools import reduce
from types import CodeType, FunctionType, ModuleType

from .mind.analysis.missing import Fix
from .worker.cells import PREFIX

__all__ = ["code_names", "is_pool", "look_in", "reference", "variables"]


def is_pool(value: object) -> bool:
    """Tell whether an object is a pool."""
    # By name: whoever makes the pool's definitions cannot import the pool.
    return any(
        kind.__name__ == "WorkerProcedureCall" and kind.__module__.startswith("wpc_magic.")
        for kind in type(value).__mro__
    )


def look_in(namespace: Mapping[str, object]) -> Callable[[str], Fix | None]:
    """Return a function that says what a name of `namespace` is, as the fix that brings it to the workers.

    Parameters
    ----------
    namespace : mapping
        The variables of a notebook, or the globals of a function.

    Examples
    --------
    >>> import math, fractions
    >>> look = look_in({"m": math, "F": fractions.Fraction, "SEED": 1})
    >>> look("m")
    Fix(kind='dependency', name='m', module='math', export='', detail='')
    >>> look("F").kind, look("F").module, look("F").export
    ('dependency_from', 'fractions', 'Fraction')
    >>> look("SEED").kind, look("other")
    ('constant', None)
    """

    def look(name: str) -> Fix | None:
        return _fix(name, namespace[name]) if name in namespace else None

    return look


def _fix(name: str, value: object) -> Fix:
    if is_pool(value):
        return Fix("pool", name)
    if isinstance(value, ModuleType):
        return Fix("dependency", name, module=value.__name__)
    where = reference(value)
    if where is not None and "." not in where[1]:
        module, export = where
        return Fix("dependency_from", name, module=_shortest(module, export, value), export=export)
    plain = getattr(value, "__wrapped__", value)  # behind functools.wraps, lru_cache and the like
    if isinstance(plain, FunctionType) and plain.__name__ != "<lambda>" and not isinstance(value, type):
        return Fix("function", name)
    return Fix("constant", name)


def _shortest(module: str, export: str, value: object) -> str:
    """Return the outermost package that offers an object: pandas, not pandas.core.frame."""
    parts = module.split(".")
    for count in range(1, len(parts)):
        package = ".".join(parts[:count])
        if getattr(sys.modules.get(package), export, None) is value:
            return package
    return module


def reference(value: object) -> tuple[str, str] | None:
    """Return the module that a worker can import an object from, and where it is in there; None if nowhere.

    Examples
    --------
    >>> from collections import OrderedDict
    >>> reference(OrderedDict), reference(len)
    (('collections', 'OrderedDict'), ('builtins', 'len'))
    >>> reference(lambda: 0) is None
    True
    """
    name = getattr(value, "__module__", None)
    path = getattr(value, "__qualname__", None)
    if not isinstance(name, str) or not isinstance(path, str) or "<" in path:
        return None
    module = sys.modules.get(name)
    if module is None or name == "__main__" or name.startswith(PREFIX) or not _is_importable(name):
        return None
    try:
        same = reduce(getattr, path.split("."), module) is value
    except AttributeError:
        # A decorator sees its function before the module has the name.
        same = bool(getattr(module.__spec__, "_initializing", False)) and "." not in path
    return (name, path) if same else None


def _is_importable(name: str) -> bool:
    """Tell whether a fresh process would find a module: not all that are loaded can be."""
    package = name.rpartition(".")[0]
    path = getattr(sys.modules.get(package), "__path__", None) if package else None
    if package and path is None:
        return False
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        if find is not None and find(name, path) is not None:
            return not package or _is_importable(package)
    return False


def variables(function: FunctionType) -> Mapping[str, object]:
    """Return the variables that a function can read: those of functions around it, then its globals.

    Examples
    --------
    >>> def outer(x):
    ...     return lambda: x
    >>> variables(outer(3))["x"]
    3
    """
    captured: dict[str, object] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
        try:
            captured[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            pass
    return ChainMap(captured, function.__globals__)


def code_names(code: CodeType) -> tuple[dict[str, int], set[str]]:
    """Return the global names that code reads, with their first lines, and what it asks the registry for.

    For functions that have no source.

    Examples
    --------
    >>> code_names((lambda x: np.mean(x) + wpc_constant("K")).__code__)
    ({'np': 1, 'wpc_constant': 1}, {'K'})
    """
    read: dict[str, int] = {}
    looked_up: set[str] = set()
    last = ""
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            line = step.positions.lineno if step.positions is not None else None
            read.setdefault(step.argval, line or code.co_firstlineno)
        asks = step.opname == "LOAD_CONST" and last in ("wpc_import", "wpc_constant")
        if asks and isinstance(step.argval, str):
            looked_up.add(step.argval)
        last = step.argval if step.opname == "LOAD_GLOBAL" else ""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            more, asked = code_names(inner)
            for name, line in more.items():
                read.setdefault(name, line)
            looked_up |= asked
    return read, looked_up
