"""What a user hands over as a function, as drafts of definitions: source travels where there is any.

=======================================  =========================================================
handed over                              travels as
=======================================  =========================================================
source text                              that text, as a module of its own (`how` is ``"cell"``)
function of a notebook, of ``__main__``  its own text, likewise
or inside another function
function or class of a real module       its module's name and its own (``"module"``)
lambda, partial, method, C function,     a pickle by value, made by cloudpickle (``"pickle"``)
function without source
=======================================  =========================================================
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from types import FunctionType
from typing import Any

from .errors import DefinitionError, OptionError, UnknownNameError
from .mind.analysis.cell import Analysis, CellFunction, Fix, analyse, looked_up_names, python_line
from .mind.analysis.missing import ALWAYS_THERE, find_fix, sentence
from .mind.analysis.syntax import normalise
from .objects import code_names, is_pool, look_in, reference, variables
from .options import check_name
from .text import FUTURE, own_text, text_of, unindent, unwrap
from .wire.protocol import Cell
from .worker.cells import PREFIX

__all__ = ["FunctionDraft", "draft_cell", "draft_function", "look_in", "sha1_of"]


@dataclasses.dataclass(frozen=True, slots=True)
class FunctionDraft:
    """All that a definition of a function is made of.

    Parameters
    ----------
    name : str
        The name to register it under.
    how : {"cell", "module", "pickle"}
        How it travels, as `Function` of the wire has it.
    cell : Cell or None
        The source that travels; functions of one cell share it.
    path : str
        Where the function is in its module.
    payload : bytes
        The module's name, or the pickle.
    needs : tuple of str
        Definitions without which it cannot run, sorted.
    wire_needs : tuple of str
        For a pickle: the names that the registry puts among its globals.
    signature : str
        Its parameters as text.
    doc : str
        The first line of its docstring.
    is_async : bool
        Whether it is an ``async def``.
    sha1 : str
        `sha1_of` its source; of the pickle where it has none.
    source : str
        Its own text; empty where it has none.
    explicit : tuple of str
        Those of its needs that it asks for by name (``wpc_import("a")``), and that may be defined later.
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
    sha1: str
    source: str
    explicit: tuple[str, ...]


def sha1_of(source: str) -> str:
    r"""Return the SHA-1 of source, with its line ends normalised and the white space around it trimmed.

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
    r"""Return drafts of the functions that source text defines; they share one cell.

    Parameters
    ----------
    source : str
        The text of a cell, or of a function with what it needs.
    names : sequence of str, optional
        The functions to register. By default: each whose name begins without an underscore.
    known, look, describe_fix, pool_name
        As for `analyse`.
    rename : str, optional
        The name to register a single function under.

    Raises
    ------
    DefinitionError
        If the source does not compile, its functions use unknown names, or it has no such functions.
    OptionError
        If `source` is no text, or a name cannot be that of a definition.

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
        Any; the text at the top of this module says which kinds travel how.
    name : str, optional
        The name to register it under. By default its own.
    known, describe_fix, pool_name
        As for `analyse`. What an unknown name stands for is looked up where the function would find it.

    Raises
    ------
    UnknownNameError
        If it uses names that workers do not have, or variables of a function around it.
    DefinitionError
        If it cannot be pickled, or belongs to the pool itself.
    OptionError
        If it is not callable, or has no name that a definition can have.

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
    text = own_text(plain, pool_name) if isinstance(plain, FunctionType) else None
    if text is None or (plain is not function and not text[0].removeprefix(FUTURE).lstrip().startswith("@")):
        # `g = decorate(f)`: the text of f tells nothing of what was put around it.
        return _by_value(function, name, known, describe_fix, pool_name)
    assert isinstance(plain, FunctionType)
    source, first_line = text
    captured = set(plain.__code__.co_freevars) - {plain.__name__}
    analysis = analyse(
        source,
        [plain.__name__],
        known=known,
        look=look_in(variables(plain)),
        describe_fix=describe_fix,
        pool_name=pool_name,
        rename=name,
        captured=captured,
        first_line=first_line,
    )
    return _from_cell(analysis.functions[0], _cell(analysis), name)


# -- source ---------------------------------------------------------------------------------------------


def _cell(analysis: Analysis) -> Cell:
    """Return the cell: equal texts with equal needs are one module, and their classes one."""
    made_of = "\0".join([analysis.source, *analysis.needs])
    digest = hashlib.sha256(made_of.encode(errors="surrogatepass")).hexdigest()[:16]
    shown = ",".join(analysis.defined[:3]) + (",..." if len(analysis.defined) > 3 else "")
    return Cell(PREFIX + digest, analysis.source, f"<wpc {shown}-{digest[:8]}>", analysis.needs)


def _from_cell(function: CellFunction, cell: Cell, name: str) -> FunctionDraft:
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
        sha1=sha1_of(source),
        source=source,
        explicit=function.explicit,
    )


# -- objects --------------------------------------------------------------------------------------------


def _own_name(function: object) -> str:
    name = getattr(function, "__name__", None)
    if not isinstance(name, str) or name == "<lambda>":
        what = "a lambda" if name == "<lambda>" else f"{type(function).__name__} object"
        raise OptionError(
            f"{what} has no name of its own; give one: define_worker_function(name=..., worker_func=...)"
        )
    return name


def _about(function: Any) -> dict[str, Any]:
    """Return what a draft tells of a function that does not travel as source."""
    try:
        signature = inspect.signature(function)
        text = str(signature.replace(return_annotation=inspect.Signature.empty))
    except (ValueError, TypeError):
        text = "(...)"  # some C functions do not tell
    is_own = isinstance(function, type) or function.__doc__ is not type(function).__doc__
    doc = (inspect.getdoc(function) or "").strip() if is_own else ""
    plain = unwrap(function)
    return {
        "signature": text,
        "doc": doc.splitlines()[0] if doc else "",
        "is_async": inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain),
    }


def _by_reference(function: Any, name: str, module: str, path: str) -> FunctionDraft:
    source = text_of(function)
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
        **_about(function),
    )


def _by_value(
    function: Any,
    name: str,
    known: Collection[str],
    describe_fix: Callable[[Fix], str],
    pool_name: str,
) -> FunctionDraft:
    import cloudpickle

    wire_needs: tuple[str, ...] = ()
    explicit: tuple[str, ...] = ()
    if isinstance(function, FunctionType):
        found = variables(function)
        read, looked_up = code_names(function.__code__)
        _refuse_unknown(name, read, found, known, describe_fix, pool_name)
        # What is registered comes from the registry, also where the caller has a variable of that name.
        wire_needs = tuple(sorted(need for need in read if need in known and need != name))
        explicit = tuple(sorted(looked_up))
    try:
        payload = cloudpickle.dumps(function, protocol=5)
    except Exception as error:
        raise DefinitionError(f"{name} cannot be pickled: {error}") from error
    source = text_of(function)
    sha1 = sha1_of(source) if source else hashlib.sha1(payload, usedforsecurity=False).hexdigest()
    return FunctionDraft(
        name=name,
        how="pickle",
        cell=None,
        path="",
        payload=payload,
        needs=tuple(sorted({*wire_needs, *explicit})),
        wire_needs=wire_needs,
        sha1=sha1,
        source=source,
        explicit=explicit,
        **_about(function),
    )


def _refuse_unknown(
    who: str,
    read: Mapping[str, int],
    found: Mapping[str, object],
    known: Collection[str],
    describe_fix: Callable[[Fix], str],
    pool_name: str,
) -> None:
    """Raise if code without source reads names that nobody has, or the pool itself."""
    messages, names = [], []
    for name, line in sorted(read.items(), key=lambda item: item[1]):
        if name in known or (name in ALWAYS_THERE and name not in found):
            continue
        if name in found and not is_pool(found[name]):
            continue  # cloudpickle takes it along
        fix = find_fix(name, known, look_in(found), pool_name)
        advice = sentence(fix, describe_fix)
        messages.append(f"{who} uses {name!r} (line {line}), which the workers don't have. {advice}")
        names.append(name)
    if messages:
        raise UnknownNameError("\n".join(messages), tuple(names))
