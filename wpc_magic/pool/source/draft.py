"""Turns functions that a user hands over into drafts of definitions, as source if there is any.

=======================================  =========================================================
handed over                              sent as
=======================================  =========================================================
source text                              that source, as its own module (`how` is ``"cell"``)
function of a notebook, of ``__main__``  its own source, likewise
or nested in another function
function or class of a real module       by reference: module and qualified name (``"module"``)
lambda, partial, method, C function,     by value: pickled by cloudpickle (``"pickle"``)
function without source, or which uses
a class of the notebook
=======================================  =========================================================
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os.path
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from types import FunctionType
from typing import Any

from ..errors import DefinitionError, OptionError, UnknownNameError
from ..options import check_name
from ..wire.protocol import ANY_VALUE, Cell
from ..worker.cells import PREFIX
from .cell import Analysis, CellFunction, Fix, analyse, looked_up_names, python_line
from .companions import own_classes, who_need_each_other
from .metadata import metadata_of
from .missing import ALWAYS_DEFINED, find_fix, format_advice
from .objects import (
    Look,
    code_names,
    is_pool,
    look_in,
    reference,
    variables,
)
from .syntax import normalise
from .text import FUTURE, display_source, own_source, unindent, unwrap

_MAX_SHOWN = 80  # characters: numba makes names of files from it

__all__ = ["FunctionDraft", "draft_cell", "draft_function", "look_in", "sha1_of"]


@dataclasses.dataclass(frozen=True, slots=True)
class FunctionDraft:
    """Everything that a definition of a function is made from.

    Parameters
    ----------
    name : str
        The name to register it under.
    how : {"cell", "module", "pickle"}
        How it is sent, as in `Function` of the wire.
    cell : Cell or None
        The source that is sent; functions of one cell share it.
    path : str
        The qualified name of the function in its module.
    payload : bytes
        The module's name, or the pickle.
    needs : tuple of str
        Definitions without which it cannot run, sorted.
    wire_needs : tuple of str
        For a pickle: the names that the registry injects into its globals.
    signature : str
        Its parameters as text.
    doc : str
        The first line of its docstring.
    is_async : bool
        Whether it is an ``async def``.
    is_generator : bool
        Whether it yields: of a decorated one that is sent as source, what is decorated.
    sha1 : str
        `sha1_of` its source; that of the pickle if it has no source.
    source : str
        Its own source; empty if it has none.
    explicit : tuple of str
        The needs that it looks up by name (``wpc_import("a")``), and that may be defined later.
    file : str
        The file that it is defined in, or the name of its cell; empty if it is not known.
    first_line : int
        The line there.
    """

    name: str
    how: str
    cell: Cell | None
    path: str
    payload: bytes
    needs: tuple[str, ...]
    wire_needs: tuple[str, ...]
    signature: str
    doc: str
    is_async: bool
    is_generator: bool
    sha1: str
    source: str
    explicit: tuple[str, ...]
    file: str = ""
    first_line: int = 0


def sha1_of(source: str) -> str:
    r"""Return the SHA-1 of source, with normalised line ends and without leading and trailing white space.

    Examples
    --------
    >>> sha1_of("def f():\r\n    pass\r\n") == sha1_of("\n\ndef f():\n    pass")
    True
    """
    text = normalise(source).strip()
    return hashlib.sha1(text.encode(errors="surrogatepass"), usedforsecurity=False).hexdigest()


def draft_cell(
    source: str,
    names: Sequence[str] | None = None,
    *,
    known: Collection[str] = (),
    look: Callable[[str], Fix | None] | None = None,
    describe_fix: Callable[[Fix], str] = python_line,
    pool_name: str = "wpc",
    rename: str | None = None,
) -> list[FunctionDraft]:
    r"""Return drafts of the functions that a source defines; they share one cell.

    Parameters
    ----------
    source : str
        The source of a cell, or of a function with what it needs.
    names : sequence of str, optional
        The functions to register. By default: each whose name does not begin with an underscore.
    known, look, describe_fix, pool_name
        As for `analyse`.
    rename : str, optional
        The name to register a single function under.

    Raises
    ------
    DefinitionError
        If the source does not compile, its functions use unknown names, or it has no such functions.
    OptionError
        If `source` is not a string, or a name is not valid for a definition.

    Examples
    --------
    >>> drafts = draft_cell("import math\n\ndef area(r):\n    return math.pi * r * r\n")
    >>> [(draft.name, draft.signature, draft.needs) for draft in drafts]
    [('area', '(r)', ())]
    """
    if not isinstance(source, str):
        raise OptionError(f"source takes a text, not {type(source).__name__}")
    analysis = analyse(
        unindent(normalise(source)),
        names,
        known=known,
        look=look,
        describe_fix=describe_fix,
        pool_name=pool_name,
        rename=rename,
    )
    cell = _cell(analysis)
    return [_from_cell(function, cell, rename or function.name) for function in analysis.functions]


def draft_function(
    function: object,
    name: str | None = None,
    *,
    known: Collection[str] = (),
    describe_fix: Callable[[Fix], str] = python_line,
    pool_name: str = "wpc",
) -> FunctionDraft:
    """Return a draft of a function that is given as an object.

    Parameters
    ----------
    function : callable
        Any callable; the docstring of this module says how each kind is sent.
    name : str, optional
        The name to register it under. By default its own.
    known, describe_fix, pool_name
        As for `analyse`. An unknown name is looked up in the namespaces that the function reads.

    Raises
    ------
    UnknownNameError
        If it uses names that workers do not have, or variables of an enclosing function.
    DefinitionError
        If it cannot be pickled, or belongs to the pool itself.
    OptionError
        If it is not callable, or has no valid name.

    Examples
    --------
    >>> import math
    >>> draft = draft_function(math.sqrt)
    >>> draft.name, draft.how, draft.payload
    ('sqrt', 'module', b'math')
    >>> draft_function(lambda x: x + 1, "plus_one").how
    'pickle'
    """
    if not callable(function):
        raise OptionError(
            f"a function is given as a callable or as source text, not {type(function).__name__}"
        )
    if is_pool(function) or type(function).__module__.startswith("wpc_magic."):
        raise DefinitionError(f"{function!r} belongs to the pool; give the function itself")
    name = check_name(name or _own_name(function), "function name")
    where = reference(function)
    if where is not None:
        return _by_reference(function, name, *where)
    plain = unwrap(function)
    is_wrapped = plain is not function
    if isinstance(plain, FunctionType):
        found = own_source(plain, pool_name)
        # Not for `g = decorate(f)`: the source of f does not include the decorator.
        if found is not None and (not is_wrapped or _is_decorated(found[0])):
            return _by_source(function, plain, *found, name, known, describe_fix, pool_name)
    return _by_value(function, name, known, describe_fix, pool_name)


# -- source ---------------------------------------------------------------------------------------------


def _cell(analysis: Analysis, file: str = "") -> Cell:
    """Return the cell: equal sources with equal needs are one module, so that their classes are the same."""
    content = "\0".join(
        [analysis.source, *analysis.needs, *([file] if "__file__" in analysis.source else [])]
    )
    digest = hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:16]
    shown = ",".join(analysis.defined[:3])[:_MAX_SHOWN] + (",..." if len(analysis.defined) > 3 else "")
    # Debuggers take what has such a name for a cell of IPython; so does numba, and caches what it compiles.
    # Of a name that ends in ">", `linecache` does not ask the loader for the lines.
    filename = f"<ipython-wpc> {shown}-{digest[:8]}"
    inputs = (*analysis.inputs, ANY_VALUE) if analysis.reads_any_value else analysis.inputs
    return Cell(PREFIX + digest, analysis.source, filename, analysis.needs, inputs, file)


def _from_cell(function: CellFunction, cell: Cell, name: str, lines_above: int = 0) -> FunctionDraft:
    lines = cell.source.split("\n")[function.first_line - 1 : function.last_line]
    source = textwrap.dedent("\n".join(lines)) + "\n"
    return FunctionDraft(
        name=name,
        how="cell",
        cell=cell,
        path=function.name,
        payload=b"",
        needs=tuple(need for need in function.needs if need != name),
        wire_needs=(),
        signature=function.signature,
        doc=function.doc,
        is_async=function.is_async,
        is_generator=function.is_generator,
        sha1=sha1_of(source),
        source=source,
        explicit=function.explicit,
        file=cell.file or cell.filename,
        first_line=function.first_line + lines_above,
    )


# -- objects --------------------------------------------------------------------------------------------


def _is_decorated(source: str) -> bool:
    return source.removeprefix(FUTURE).lstrip().startswith("@")


def _by_source(
    whole: object,
    function: FunctionType,
    source: str,
    first_line: int,
    name: str,
    known: Collection[str],
    describe_fix: Callable[[Fix], str],
    pool_name: str,
) -> FunctionDraft:
    file = _file_of(function)
    if not file and first_line > 1:
        # Of a notebook: its lines are numbered as in its cell, as those of a whole cell are.
        source, first_line = "\n" * (first_line - 1) + source, 1
    found = variables(function)

    def analysed(known: Collection[str]) -> Analysis:
        return analyse(
            source,
            [function.__name__],
            known=known,
            look=_LookFrom(function),
            advice=_advice_for(function, pool_name),
            describe_fix=describe_fix,
            pool_name=pool_name,
            rename=name,
            captured=set(function.__code__.co_freevars) - {function.__name__},
            first_line=first_line,
            file=file,
        )

    try:
        analysis = analysed(known)
    except UnknownNameError as error:
        classes = own_classes(error.names, found)
        if not classes or whole is not function:  # by value, all names of decorators would be fixed
            raise
        analysed({*known, *classes})  # for whatever else is not known
        return _by_value(whole, name, known, describe_fix, pool_name)
    return _from_cell(analysis.functions[0], _cell(analysis, file), name, first_line - 1)


class _LookFrom(Look):
    """What a function reads; it also finds functions that need each other."""

    def __init__(self, function: FunctionType) -> None:
        super().__init__(variables(function))
        self._function = function

    def __call__(self, name: str) -> Fix | None:
        fix = super().__call__(name)
        if fix is not None and fix.kind == "function":
            together = who_need_each_other(self._function, name)
            return Fix("functions", name, detail=", ".join(together)) if together else fix
        return fix


def _advice_for(function: FunctionType, pool_name: str) -> Callable[[str], str]:
    """Return what returns the advice for a name that a function reads and that is nowhere."""
    own = function.__name__
    return lambda name: (
        "Define it first, or pass it as an argument. Functions that need each other are registered together: "
        f"{pool_name}.functions({own}, {name})"
    )


def _file_of(function: FunctionType) -> str:
    """Return the script or module of a function, which is what ``__file__`` is there; empty: it has none."""
    file = function.__globals__.get("__file__")
    return os.path.abspath(file) if isinstance(file, str) else ""


def _own_name(function: object) -> str:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        what = "a lambda" if name == "<lambda>" else f"{type(function).__name__} object"
        raise OptionError(
            f"{what} has no name of its own; give one: define_worker_function(name=..., worker_func=...)"
        )
    return name


def _by_reference(function: Any, name: str, module: str, path: str) -> FunctionDraft:
    source = display_source(function)
    payload = module.encode()
    try:
        explicit = looked_up_names(source)
    except (SyntaxError, ValueError, RecursionError, DefinitionError):
        explicit = ()
    return FunctionDraft(
        name=name,
        how="module",
        cell=None,
        path=path,
        payload=payload,
        needs=explicit,
        wire_needs=(),
        sha1=sha1_of(source) if source else sha1_of(f"{module}:{path}"),
        source=source,
        explicit=explicit,
        **metadata_of(function),
    )


def _by_value(
    function: Any,
    name: str,
    known: Collection[str],
    describe_fix: Callable[[Fix], str],
    pool_name: str,
) -> FunctionDraft:
    from ..wire.classes import dumps  # it loads cloudpickle

    wire_needs: tuple[str, ...] = ()
    explicit: tuple[str, ...] = ()
    if isinstance(function, FunctionType):
        found = variables(function)
        read, looked_up = code_names(function.__code__)
        if function.__name__ in read and function.__name__ not in {*found, name}:
            function = _knowing_itself(function)
        _refuse_unknown(function, name, read, known, describe_fix, pool_name)
        # A registered name comes from the registry, even if the caller has a variable of that name.
        given = {need for need in read if need in known and need != name}
        if name in read and name not in found:
            given.add(name)  # it calls itself, and the caller's variable is assigned after this
        wire_needs = tuple(sorted(given))
        explicit = tuple(sorted(looked_up))
    try:
        payload = dumps(function)
    except Exception as error:
        raise DefinitionError(f"{name} cannot be pickled: {error}") from error
    source = display_source(function)
    sha1 = sha1_of(source) if source else hashlib.sha1(payload, usedforsecurity=False).hexdigest()
    return FunctionDraft(
        name=name,
        how="pickle",
        cell=None,
        path="",
        payload=payload,
        needs=tuple(sorted({*wire_needs, *explicit} - {name})),
        wire_needs=wire_needs,
        sha1=sha1,
        source=source,
        explicit=explicit,
        **metadata_of(function),
    )


def _knowing_itself(function: FunctionType) -> FunctionType:
    """Return a copy of a function that finds itself under its own name, which is assigned after this."""
    own = FunctionType(
        function.__code__,
        {**function.__globals__},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    functools.update_wrapper(own, function)
    del own.__wrapped__  # type: ignore[attr-defined]
    own.__kwdefaults__ = function.__kwdefaults__
    own.__globals__[function.__name__] = own
    return own


def _refuse_unknown(
    function: FunctionType,
    registered_name: str,
    read: Mapping[str, int],
    known: Collection[str],
    describe_fix: Callable[[Fix], str],
    pool_name: str,
) -> None:
    """Raise if code without source reads names that are not defined anywhere, or the pool itself."""
    messages, names = [], []
    found = variables(function)
    for name, line in sorted(read.items(), key=lambda item: item[1]):
        if name in known or name == registered_name or (name in ALWAYS_DEFINED and name not in found):
            continue
        if name in found and not is_pool(found[name]):
            continue  # cloudpickle includes it
        fix = find_fix(name, known, _LookFrom(function), pool_name, _advice_for(function, pool_name))
        advice = format_advice(fix, describe_fix)
        messages.append(
            f"{registered_name} uses {name!r} (line {line}), which the workers don't have. {advice}"
        )
        names.append(name)
    if messages:
        raise UnknownNameError("\n".join(messages), tuple(names))
