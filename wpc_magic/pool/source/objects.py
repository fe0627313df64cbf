"""Classifies objects of the caller's process: which definition would bring them to the workers."""

from __future__ import annotations

import builtins
import dis
import sys
from collections import ChainMap
from collections.abc import Mapping
from functools import reduce
from types import CodeType, FunctionType, ModuleType

from ..worker.cells import PREFIX
from .missing import ALWAYS_DEFINED, Fix

_OF_IPYTHON = frozenset({"In", "Out", "get_ipython"})

_DECORATOR = "Functions.function.<locals>.define"

__all__ = [
    "Look",
    "code_names",
    "enclosing_locals",
    "is_pool",
    "is_registration",
    "look_in",
    "plain_function",
    "reference",
    "variables",
]


def is_pool(value: object) -> bool:
    """Return whether an object is a pool."""
    # By name: the module of the pool imports this one.
    return any(
        kind.__name__ == "WorkerProcedureCall" and kind.__module__.startswith("wpc_magic.")
        for kind in type(value).__mro__
    )


def is_registration(value: object) -> bool:
    """Return whether an object is ``pool.function`` of a pool, or what ``pool.function(...)`` returns."""
    if is_pool(getattr(value, "__self__", None)):
        return getattr(value, "__name__", "") == "function"
    where = getattr(value, "__module__", None) or ""
    return where.startswith("wpc_magic.") and getattr(value, "__qualname__", "") == _DECORATOR


def enclosing_locals(function: FunctionType) -> Mapping[str, object]:
    """Return the variables of the code that defines a function, if it runs now: it is being decorated.

    Examples
    --------
    >>> def outer():
    ...     local = 1
    ...     def inner(): pass
    ...     return sorted(enclosing_locals(inner))
    >>> outer()
    ['inner', 'local']
    """
    frame = sys._getframe()
    code = function.__code__
    while frame.f_back is not None:
        frame = frame.f_back
        if any(constant is code for constant in frame.f_code.co_consts):
            return dict(frame.f_locals)
    return {}


class Look:
    """Maps a name of `namespace` to the fix that brings it to the workers.

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
    >>> look.names()
    ['m', 'F', 'SEED']
    """

    def __init__(self, namespace: Mapping[str, object]) -> None:
        self._namespace = namespace

    def __call__(self, name: str) -> Fix | None:
        """Return the fix; None if there is nothing of that name."""
        found = self._namespace
        if name not in found or _is_builtin(name, found[name]):
            return None
        return _fix(name, found[name])

    def names(self) -> list[str]:
        """Return the names that its author has given: none of Python's own, and none of IPython's."""
        own = (name for name in self._namespace if not name.startswith("_"))
        return [name for name in own if name not in ALWAYS_DEFINED and name not in _OF_IPYTHON]


look_in = Look


def _is_builtin(name: str, value: object) -> bool:
    """Return whether a variable is Python's own, what IPython has in its place, or what the pool gives."""
    if name not in ALWAYS_DEFINED:
        return False
    if value is getattr(builtins, name, builtins):
        return True
    # IPython's `open` says that it is of the module io.
    code_globals = getattr(value, "__globals__", {})
    where = code_globals.get("__name__") or getattr(value, "__module__", None)
    return isinstance(where, str) and where.partition(".")[0] in ("IPython", "ipykernel", "wpc_magic")


def _fix(name: str, value: object) -> Fix:
    if is_pool(value):
        return Fix("pool", name)
    if isinstance(value, ModuleType):
        return Fix("dependency", name, module=value.__name__)
    where = reference(value)
    if where is not None and "." not in where[1]:
        module, export = where
        return Fix("dependency_from", name, module=_outermost_package(module, export, value), export=export)
    if isinstance(value, type) and not value.__module__.startswith(PREFIX):
        return Fix("class", name, detail=f"Move the class {value.__name__} into the cell of the function.")
    if plain_function(value) is not None:
        return Fix("function", name)
    return Fix("constant", name)


def plain_function(value: object) -> FunctionType | None:
    """Return the function with a name that an object is or wraps; None: it is none."""
    plain = getattr(value, "__wrapped__", value)  # of functools.wraps, lru_cache and the like
    if not isinstance(plain, FunctionType) or isinstance(value, type):
        return None
    return plain if plain.__name__ != "<lambda>" else None


def _outermost_package(module: str, export: str, value: object) -> str:
    """Return the outermost package that exports an object: pandas, not pandas.core.frame."""
    parts = module.split(".")
    for count in range(1, len(parts)):
        package = ".".join(parts[:count])
        if getattr(sys.modules.get(package), export, None) is value:
            return package
    return module


def reference(value: object) -> tuple[str, str] | None:
    """Return the module that a worker can import an object from, and its qualified name; None if it cannot.

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
        # A decorator is called before the module has the name.
        same = bool(getattr(module.__spec__, "_initializing", False)) and "." not in path
    return (name, path) if same else None


def _is_importable(name: str) -> bool:
    """Return whether a fresh process would find a module: not every loaded module can be imported."""
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
    """Return the variables that a function can read: those of enclosing functions, then its globals.

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
    """Return the global names that code reads, with their first lines, and its registry lookups.

    For functions without source.

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
        is_lookup = step.opname == "LOAD_CONST" and last in ("wpc_import", "wpc_constant")
        if is_lookup and isinstance(step.argval, str):
            looked_up.add(step.argval)
        last = step.argval if step.opname == "LOAD_GLOBAL" else ""
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            inner_read, inner_looked_up = code_names(inner)
            for name, line in inner_read.items():
                read.setdefault(name, line)
            looked_up |= inner_looked_up
    return read, looked_up
