"""``wpc.call.NAME(...)``: the registered functions by their names."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from .futures import CallFuture
from .mapping import MapResults
from .mind.calls import NO_OPTIONS
from .options import CallOptions, check_name

if TYPE_CHECKING:
    from .api import WorkerProcedureCall

__all__ = ["Procedure", "Procedures"]


class Procedure:  # its docstring is that of the function
    """A registered function, to be called in a worker.

    Attributes
    ----------
    source : str
        The text that it was defined from; empty where there is none.
    """

    def __init__(self, pool: WorkerProcedureCall, name: str, options: CallOptions = NO_OPTIONS) -> None:
        self._pool = pool
        self._submit = pool.submit
        self._options = options
        self.__name__ = self.__qualname__ = name
        about = pool.describe(name)
        self.source = about.source if about is not None else ""
        self._info = about.info if about is not None else None

    def __getattr__(self, name: str) -> Any:
        # What help asks for, and calls do not.
        if name == "__signature__" and self._info is not None:
            signature = read_signature(self._info.parameter_signature)
            if signature is not None:
                return signature
        raise AttributeError(f"the registered function {self.__name__} has no attribute {name!r}")

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return read_doc(self.source) or (self._info.doc if self._info is not None else None)

    def __call__(self, /, *args: Any, **kwargs: Any) -> CallFuture:
        """Call the function in a worker, and return the future of its value at once."""
        return self._submit(self.__name__, args, kwargs, self._options)

    def options(self, **options: Any) -> Procedure:
        """Return the same function with options for its calls.

        Parameters
        ----------
        **options
            Of `CallOptions`: ``timeout_ms``, ``queue_timeout_ms``, ``worker_id``, ``retries``.

        Raises
        ------
        OptionError
            If an option is unknown, or does not take that value.
        """
        return Procedure(self._pool, self.__name__, self._options.replace(options))

    def map(self, *iterables: Any, **options: Any) -> MapResults:
        """Call it for each item; see `WorkerProcedureCall.map`."""
        return self._pool.map(self.__name__, *iterables, **options)

    def local(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function in this process, with the definitions that are in force; for debugging."""
        __tracebackhide__ = True
        return self._pool.local_function(self.__name__)(*args, **kwargs)

    def __repr__(self) -> str:
        if self._info is None:
            return f"<function {self.__name__}, which is not registered>"
        return f"<registered function {self.__name__}{self._info.parameter_signature}>"

    def __reduce__(self) -> Any:
        return self._pool.__reduce__()


class Procedures:
    """The namespace ``wpc.call``: by attribute or by key; ``dir`` lists the names."""

    def __init__(self, pool: WorkerProcedureCall) -> None:
        self._pool_of_procedures = pool

    def __getattr__(self, name: str) -> Procedure:
        # Reached only for what is not in the instance yet: from then on an access costs next to nothing.
        pool = self._pool_of_procedures
        if name.startswith("_") and pool.describe(name) is None:
            raise AttributeError(name)
        procedure = Procedure(pool, name)
        if pool.describe(name) is not None:
            self.__dict__[name] = procedure
        return procedure

    def __getitem__(self, name: str) -> Procedure:
        found = self.__dict__.get(check_name(name, "function name"))
        # Not by `getattr`: a function may be called as a method of ours.
        return found if isinstance(found, Procedure) else Procedure(self._pool_of_procedures, name)

    def __dir__(self) -> list[str]:
        return [info.name for info in self._pool_of_procedures.get_remote_functions()]

    def __repr__(self) -> str:
        return f"<registered functions: {', '.join(dir(self)) or 'none'}>"

    def __reduce__(self) -> Any:
        return self._pool_of_procedures.__reduce__()

    def forget(self) -> None:
        """Look everything up again: a definition has changed."""
        for name in list(self.__dict__):  # a copy: another thread may look one up, or forget them, too
            if name != "_pool_of_procedures":
                self.__dict__.pop(name, None)


def read_doc(source: str) -> str | None:
    r"""Return the docstring of the function in a text, without running it; None: there is none.

    Examples
    --------
    >>> read_doc("def f():\n    'It says so.'")
    'It says so.'
    """
    import ast

    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return None
    function = body[-1] if body else None
    if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
        return ast.get_docstring(function)
    return None


def read_signature(text: str) -> inspect.Signature | None:
    """Return a signature from its text, ``(n, scale=1.0)``; None where it cannot be read.

    Nothing in it is evaluated: a default is shown as it was written.

    Examples
    --------
    >>> read_signature("(n, scale=f(1), *rest)")
    <Signature (n, scale=f(1), *rest)>
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
    return inspect.Signature(found)


class _AsWritten:
    def __init__(self, node: Any) -> None:
        import ast

        self._text = ast.unparse(node)

    def __repr__(self) -> str:
        return self._text


def _parameter(argument: Any, kind: Any, default: Any) -> inspect.Parameter:
    empty = inspect.Parameter.empty
    annotation = empty if argument.annotation is None else _AsWritten(argument.annotation)
    return inspect.Parameter(
        argument.arg, kind, default=empty if default is None else _AsWritten(default), annotation=annotation
    )
