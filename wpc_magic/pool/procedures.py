"""``wpc.call.NAME(...)``: the registered functions by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, Self, Unpack

from .checks import shown
from .core.calls import NO_OPTIONS
from .core.snapshot import FunctionInfo
from .errors import NestedCallError, OptionError
from .future_values import with_values
from .maps.results import MapResults
from .options import CallOptions, check_name

if TYPE_CHECKING:
    from .keywords import CallKeywords

__all__ = [
    "FunctionDetails",
    "FunctionPool",
    "Procedure",
    "Procedures",
    "read_function",
    "read_signature",
]


class FunctionDetails(Protocol):
    """What a pool knows about a registered function."""

    @property
    def info(self) -> FunctionInfo:
        """What the getters return."""

    @property
    def source(self) -> str:
        """The source that it was defined from."""

    @property
    def has_exact_signature(self) -> bool:
        """Whether the function surely takes what its signature says."""


class FunctionPool(Protocol):
    """What the namespace ``wpc.call`` needs from its pool."""

    def submit(
        self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions = ...
    ) -> Any:
        """Submit a call."""

    def map(self, name: Procedure, *iterables: Any, **options: Any) -> MapResults:
        """Call a function for each item."""

    def starmap(self, name: Procedure, items: Any, **options: Any) -> MapResults:
        """Call a function for each item, which has all its arguments."""

    def check_arguments(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise a TypeError if a function does not take these arguments."""

    def local_function(self, name: str) -> Callable[..., Any]:
        """Return a function, to be called in this process."""

    def begin_local_call(self) -> None:
        """Begin a call in this process."""

    def describe(self, name: str) -> FunctionDetails | None:
        """Return what is known about a function."""

    def get_remote_functions(self) -> Sequence[FunctionInfo]:
        """Return the description of each function."""


class Procedure:  # its docstring is that of the function
    """A registered function, to be called in a worker.

    Attributes
    ----------
    source : str
        The source that it was defined from; empty if there is none.
    """

    def __init__(self, pool: FunctionPool, name: str, options: CallOptions = NO_OPTIONS) -> None:
        self._pool = pool
        self._submit = pool.submit
        self._options = options
        self.__name__ = self.__qualname__ = name
        about = pool.describe(name)
        self.source = about.source if about is not None else ""
        self._info = about.info if about is not None else None

    def __getattr__(self, name: str) -> Any:
        # Used by help() only, so that making a call does not pay for it.
        if name == "__signature__" and self._info is not None:
            signature = read_signature(self._info.parameter_signature, self.source)
            if signature is not None:
                return signature
        raise AttributeError(f"the registered function {self.__name__} has no attribute {name!r}")

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return read_doc(self.source) or (self._info.doc if self._info is not None else None)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function in a worker; return a `CallFuture` of its value, or a `ResultStream`, at once."""
        __tracebackhide__ = True
        return self._submit(self.__name__, args, kwargs, self._options)

    def options(self, **options: Unpack[CallKeywords]) -> Self:
        """Return the same function with options for its calls.

        Parameters
        ----------
        **options
            Fields of `CallOptions`: ``timeout_ms``, ``queue_timeout_ms``, ``worker_id``, ``retries``,
            ``keep``; for streams ``buffer``, ``item_timeout_ms``.

        Raises
        ------
        OptionError
            If an option is unknown or has an invalid value.
        """
        return self.__class__(self._pool, self.__name__, self._options.replace(options))

    def remote(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function; its value stays with the pool, as with ``options(keep=True)``.

        The value is freed when the future is dropped. Until then each ``result()`` fetches a copy of it, and
        other calls take it from where it lies. When the pool stops it is lost, and ``result()`` says so.
        """
        __tracebackhide__ = True
        return self._submit(self.__name__, args, kwargs, self._options.replace({"keep": True}))

    def map(self, *iterables: Any, **options: Any) -> MapResults:
        """Call the function for each item, with the options of this object; see `WorkerProcedureCall.map`."""
        return self._pool.map(self, *iterables, **options)

    def starmap(self, items: Iterable[Iterable[Any]], **options: Any) -> MapResults:
        """Call the function for each item, which has all its arguments; see `WorkerProcedureCall.starmap`."""
        return self._pool.starmap(self, items, **options)

    def local(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function in this process, with the definitions in force; for debugging.

        Futures of calls among the arguments, also in lists, tuples and dicts, are awaited: the function gets
        their values, as in a worker.
        """
        __tracebackhide__ = True
        self._pool.check_arguments(self.__name__, args, kwargs)
        function = self._pool.local_function(self.__name__)
        args, kwargs = with_values(args), with_values(kwargs)
        self._pool.begin_local_call()
        return function(*args, **kwargs)

    def __repr__(self) -> str:
        if self._info is None:
            return f"<function {self.__name__}, which is not registered>"
        return f"<registered function {self.__name__}{self._info.parameter_signature}>"

    def __reduce__(self) -> NoReturn:
        name = self.__name__
        raise NestedCallError(
            f"the registered function {name} cannot be sent: registered functions call each other by their "
            f"names, {name}(...); here that is pool.call.{name}(...), or pool.map({name!r}, ...)"
        )


class Procedures:
    """The namespace ``wpc.call``: by attribute or by key; ``dir`` lists the names."""

    def __init__(self, pool: FunctionPool) -> None:
        self._pool_of_procedures = pool

    def __getattr__(self, name: str) -> Procedure:
        # Called only for names that are not cached in the instance yet: later access is nearly free.
        pool = self._pool_of_procedures
        if name.startswith("_") and pool.describe(name) is None:
            raise AttributeError(name)
        procedure = Procedure(pool, name)
        if pool.describe(name) is not None:
            self.__dict__[name] = procedure
        return procedure

    def __getitem__(self, name: str) -> Procedure:
        found = self.__dict__.get(check_name(name, "function name"))
        # Not `getattr`: a function may have the name of one of our methods.
        return found if isinstance(found, Procedure) else Procedure(self._pool_of_procedures, name)

    def __dir__(self) -> list[str]:
        return [info.name for info in self._pool_of_procedures.get_remote_functions()]

    def __repr__(self) -> str:
        return repr(self._pool_of_procedures.get_remote_functions())

    def __reduce__(self) -> Any:
        return self._pool_of_procedures.__reduce__()

    def forget(self) -> None:
        """Clear the cache: a definition has changed."""
        for name in list(self.__dict__):  # a copy: another thread may change the cache meanwhile
            if name != "_pool_of_procedures":
                self.__dict__.pop(name, None)


def read_function(function: object, pool: object) -> tuple[str, CallOptions]:
    """Return the name of a function that is given by it, or as ``pool.call.NAME``, and its options.

    Raises
    ------
    OptionError
        If it is neither, or the function of another pool.
    """
    if isinstance(function, str):
        return function, NO_OPTIONS
    if not isinstance(function, Procedure):
        raise OptionError(
            f"the function is given by its name, or as pool.call.NAME, not by {shown(function)}"
            f"{'; map_function takes one that is not registered' if callable(function) else ''}"
        )
    if vars(function._pool) is not vars(pool):  # what functions refer to is another object of the same state
        raise OptionError(f"the function {function.__name__} belongs to another pool")
    return function.__name__, function._options


def read_doc(source: str) -> str | None:
    r"""Return the docstring of the function in a source, without running it; None if there is none.

    Examples
    --------
    >>> read_doc("def f():\n    'It says so.'")
    'It says so.'
    """
    import ast

    function = _function_node(source)
    return None if function is None else ast.get_docstring(function)


def read_signature(text: str, source: str = "") -> inspect.Signature | None:
    """Parse a signature, ``(n, scale=1.0)``; return None if that fails.

    Nothing in it is evaluated: a default is shown as it was written.

    Parameters
    ----------
    text : str
        The parameters.
    source : str
        The source of the function, for the annotation of what it returns.

    Examples
    --------
    >>> read_signature("(n, scale=f(1), *rest)")
    <Signature (n, scale=f(1), *rest)>
    >>> read_signature("(n: int)", "def f(n: int) -> Table: ...")
    <Signature (n: int) -> Table>
    """
    import ast

    try:
        arguments = ast.parse(f"def f{text}: pass").body[0].args  # type: ignore[attr-defined]
    except (SyntaxError, ValueError):
        return None
    kinds = inspect.Parameter
    plain: list[tuple[Any, Any]] = [(a, kinds.POSITIONAL_ONLY) for a in arguments.posonlyargs]
    plain += [(a, kinds.POSITIONAL_OR_KEYWORD) for a in arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + arguments.defaults
    found = [_parameter(a, kind, default) for (a, kind), default in zip(plain, defaults, strict=True)]
    if arguments.vararg:
        found.append(_parameter(arguments.vararg, kinds.VAR_POSITIONAL, None))
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    found += [_parameter(a, kinds.KEYWORD_ONLY, default) for a, default in pairs]
    if arguments.kwarg:
        found.append(_parameter(arguments.kwarg, kinds.VAR_KEYWORD, None))
    returns = getattr(_function_node(source), "returns", None)
    annotation = inspect.Signature.empty if returns is None else _SourceText(returns)
    return inspect.Signature(found, return_annotation=annotation)


def _function_node(source: str) -> Any:
    """Return the syntax tree of the function at the end of a source; None if there is none."""
    import ast

    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return None
    is_function = bool(body) and isinstance(body[-1], ast.FunctionDef | ast.AsyncFunctionDef)
    return body[-1] if is_function else None


class _SourceText:
    """Its repr is the source of an expression."""

    def __init__(self, node: Any) -> None:
        import ast

        self._text = ast.unparse(node)

    def __repr__(self) -> str:
        return self._text


def _parameter(argument: Any, kind: Any, default: Any) -> inspect.Parameter:
    empty = inspect.Parameter.empty
    annotation = empty if argument.annotation is None else _SourceText(argument.annotation)
    return inspect.Parameter(
        argument.arg, kind, default=empty if default is None else _SourceText(default), annotation=annotation
    )
