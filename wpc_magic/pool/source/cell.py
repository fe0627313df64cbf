"""Static analysis of a cell: which functions it defines, what they need, and what is missing.

Nothing is run. Names are resolved by Python's scoping rules (`names`), so comments and strings never count.
A function needs what it reads itself or through the helpers of its cell; what the top level of the cell reads
(imports, default arguments, decorators) is needed by every function of it.

Registered functions refer to each other through the registry, also within one cell: as in a notebook, callers
see the latest definition of a function. Helpers that are not registered stay private to the cell.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence

from ..errors import DefinitionError, UnknownNameError
from ..options import RESERVED, check_name, did_you_mean
from .bindings import FunctionNode
from .missing import ALWAYS_DEFINED, Fix, find_fix, format_advice, in_the_cell, is_hidden, python_line
from .names import ModuleNames, Part, Use, read_names
from .syntax import normalise, parse

__all__ = ["Analysis", "CellFunction", "Fix", "analyse", "looked_up_names", "python_line"]

_LOOK_UP = RESERVED | {"eval", "exec", "globals", "locals", "vars"}
"""Through these, code may reach names that it computes."""


@dataclasses.dataclass(frozen=True, slots=True)
class CellFunction:
    """A function that a cell defines.

    Parameters
    ----------
    name : str
        The name of its ``def``.
    signature : str
        Its parameters as text: ``"(n, scale=1.0)"``.
    doc : str
        The first line of its docstring.
    is_async : bool
        Whether it is an ``async def``.
    is_generator : bool
        Whether it yields.
    first_line, last_line : int
        The lines of its source in the cell, including decorators, counted from 1.
    needs : tuple of str
        Definitions without which it cannot run, sorted; includes `explicit`.
    explicit : tuple of str
        What it looks up by name (``wpc_import("a")``), sorted: these may be defined later.
    """

    name: str
    signature: str
    doc: str
    is_async: bool
    is_generator: bool
    first_line: int
    last_line: int
    needs: tuple[str, ...]
    explicit: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Analysis:
    """The result of the analysis of a cell.

    Parameters
    ----------
    functions : tuple of CellFunction
        The functions to register, in the order of their lines.
    needs : tuple of str
        Global names that the registry has to inject into the cell's module, sorted.
    source : str
        The source with normalised line ends.
    defined : tuple of str
        Every top-level function of the cell, in the order of their lines.
    inputs : tuple of str
        Names that it reads while it is loaded, and that the registry may give, sorted.
    reads_any_value : bool
        Whether it may also read others meanwhile, since it looks up names that it computes.
    """

    functions: tuple[CellFunction, ...]
    needs: tuple[str, ...]
    source: str
    defined: tuple[str, ...]
    inputs: tuple[str, ...]
    reads_any_value: bool


def analyse(
    source: str,
    names: Sequence[str] | None = None,
    *,
    known: Collection[str] = (),
    look: Callable[[str], Fix | None] | None = None,
    describe_fix: Callable[[Fix], str] = python_line,
    pool_name: str = "wpc",
    rename: str | None = None,
    captured: Collection[str] = (),
    first_line: int = 1,
    file: str = "",
    advice: Callable[[str], str] = in_the_cell,
) -> Analysis:
    r"""Analyse the source of a cell; raise if its functions could not run in a worker.

    Parameters
    ----------
    source : str
        Plain Python.
    names : sequence of str, optional
        The functions to register. By default: every top-level function whose name does not begin with an
        underscore.
    known : collection of str
        The names that are registered.
    look : callable, optional
        Maps a name of the caller's process to the `Fix` that brings it to the workers.
    describe_fix : callable
        Returns the line to type for a `Fix`.
    pool_name : str
        The variable that holds the pool.
    rename : str, optional
        The name to register the function under: the function of that name if there is one, else the only one.
    captured : collection of str
        Names of variables of an enclosing function.
    first_line : int
        The number of the first line, for error messages.
    file : str
        The script or module that the source was taken from; empty: it has no file.
    advice : callable
        Returns the advice for a name that is found nowhere.

    Raises
    ------
    DefinitionSyntaxError
        If the source does not compile.
    UnknownNameError
        If a function uses names that workers do not have: all of them, each with its line and what to type.
    DefinitionError
        If there is no such function.
    OptionError
        If a function has a name that is not valid for a definition.

    Examples
    --------
    >>> cell = "def simulate(n, scale=1.0):\n    return np.ones(n) * scale * wpc_constant('LATER')"
    >>> analyse(cell, known=["np"]).functions[0].needs
    ('LATER', 'np')
    >>> try:
    ...     analyse(cell, describe_fix=lambda fix: f"%wpc_dep {fix.module} as {fix.name}")
    ... except UnknownNameError as error:
    ...     print(error)
    simulate uses 'np' (line 2), which the workers don't have. Type: %wpc_dep numpy as np
    """
    source = normalise(source)
    found = read_names(parse(source, first_line))
    if file:
        found.bound.add("__file__")
    chosen = _select(found, names, rename)
    # A function that keeps its name is injected by the registry, also into its own cell.
    registered = {rename or name for name in chosen if rename in (None, name)}
    for name in chosen:
        check_name(rename or name, "function name")
    reader = _Needs(found, registered, frozenset(known), look)
    functions = tuple(
        _describe(found.functions[name], reader, source)
        for name in sorted(chosen, key=lambda n: found.functions[n].lineno)
    )
    unknown = reader.unknown(chosen)
    if unknown:
        similar = {*known, *found.bound} - {rename or name for name in chosen}
        messages = []
        for use, too_early in unknown:
            fix = find_fix(use.name, similar, look, pool_name, advice)
            problem = _problem(use, use.line + first_line - 1, too_early, use.name in captured, fix)
            messages.append(f"{problem} {format_advice(fix, describe_fix)}")
        raise UnknownNameError("\n".join(messages), tuple(use.name for use, _ in unknown))
    in_order = sorted(found.functions, key=lambda n: found.functions[n].lineno)
    return Analysis(
        functions,
        reader.of_module(),
        source,
        tuple(in_order),
        reader.of_loading(),
        reader.reads_any_value(),
    )


def _problem(use: Use, line: int, too_early: bool, captured: bool, fix: Fix) -> str:
    """Return what is wrong with the use of a name; the advice is not included."""
    owner = use.owner or "the cell"
    what = f"{use.name!r} (line {line})"
    if too_early:
        problem = f"{owner} looks up {what} already while it is defined, so that has to be there first."
    elif captured and fix.kind != "pool":
        problem = f"{owner} captures {what} from the function around it, which does not travel."
    elif use.name in ALWAYS_DEFINED:
        problem = f"{owner} uses {what}, which is another thing here than in the workers."
    else:
        problem = f"{owner} uses {what}, which the workers don't have."
    if captured and fix.kind in ("constant", "unknown", "class"):
        problem += " Pass it as an argument, or make it a definition."
    return problem


def looked_up_names(source: str) -> tuple[str, ...]:
    """Return what a source looks up in the registry by name.

    Parameters
    ----------
    source : str
        Source that compiles.

    Examples
    --------
    >>> looked_up_names("def f(): return wpc_constant('K') + context.dependencies.a.b")
    ('K', 'a')
    """
    found = read_names(ast.parse(source))
    parts = [found.top_level, *found.parts.values()]
    return tuple(sorted({use.name for part in parts for use in part.lookups if use.required}))


def _select(found: ModuleNames, names: Sequence[str] | None, rename: str | None) -> list[str]:
    """Return the functions of a cell to register."""
    names = names or None
    public = [name for name in found.functions if not name.startswith("_")]
    if names is None and rename is not None:
        if rename in found.functions:
            return [rename]
        if len(public) > 1:
            raise DefinitionError(
                f"the source defines several functions ({', '.join(public)}) and none of them is {rename!r}; "
                f"give one of these names"
            )
        public = public or list(found.functions)[:1]
    if names is None:
        if not public:
            hint = "".join(f"; {name!r} begins with an underscore" for name in list(found.functions)[:1])
            raise DefinitionError(f"the source defines no function; write a def with a public name{hint}")
        return public
    for name in names:
        if name in found.functions:
            continue
        if name in found.bound:
            raise DefinitionError(f"{name!r} is not a function of the source: it is not made with def")
        near = did_you_mean(name, found.functions)
        defined = ", ".join(found.functions) or "none"
        raise DefinitionError(f"the source defines no function {name!r}.{near} Its functions: {defined}")
    return list(dict.fromkeys(names))


def _describe(node: FunctionNode, reader: _Needs, source: str) -> CellFunction:
    plain, explicit = reader.of_function(node.name)
    doc = (ast.get_docstring(node) or "").strip()
    return CellFunction(
        name=node.name,
        signature=f"({ast.unparse(node.args)})",
        doc=doc.splitlines()[0] if doc else "",
        is_async=isinstance(node, ast.AsyncFunctionDef),
        is_generator="yield" in source and _yields(node.body),
        first_line=min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]),
        last_line=node.end_lineno or node.lineno,
        needs=tuple(sorted(plain | explicit)),
        explicit=tuple(sorted(explicit)),
    )


def _yields(nodes: Iterable[ast.AST]) -> bool:
    """Return whether code yields, not counting nested functions."""
    for node in nodes:
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        is_nested = isinstance(node, FunctionNode | ast.Lambda | ast.ClassDef)
        if not is_nested and _yields(ast.iter_child_nodes(node)):
            return True
    return False


class _Needs:
    """What the module of a cell, and each function of it, needs from the registry."""

    def __init__(
        self,
        found: ModuleNames,
        registered: Collection[str],
        known: frozenset[str],
        look: Callable[[str], Fix | None] | None,
    ) -> None:
        self._found = found
        self._registered = registered
        self._known = known
        self._look = look
        self._bound_at_end = found.bound - found.deleted
        self._top_level = self._reach([found.top_level, found.evaluated], stop=())
        self._loaded = self._reach([found.top_level, found.fixed], stop=(), through_words=True)

    def _reach(self, start: Iterable[Part], stop: Collection[str], through_words: bool = False) -> list[Part]:
        """Return these parts and all that they use, transitively, except through functions in `stop`."""
        parts = self._found.parts
        pending = list(start)
        reached: dict[int, Part] = {}
        while pending:
            part = pending.pop()
            if id(part) in reached:
                continue
            reached[id(part)] = part
            pending += [parts[u.name] for u in part.uses if u.name in parts and u.name not in stop]
            if through_words:
                pending += [parts[n] for n in sorted(part.words) if n in parts and n not in stop]
        return list(reached.values())

    def _parts_of(self, name: str) -> list[Part]:
        """Return the top level of the cell, and the parts that a function reaches."""
        own = self._found.parts.get(name, Part())
        return [*self._top_level, *self._reach([own], stop=self._registered)]

    def _is_plain_need(self, part: Part, use: Use) -> bool:
        """Return whether the registry has to inject a name."""
        # A name that the cell deletes at its end still exists while the top level runs.
        is_top_level = any(part is other for other in self._top_level)
        bound = self._found.bound if is_top_level else self._bound_at_end
        if use.name in bound:
            return use.name in self._registered
        return use.name in self._known or use.name not in ALWAYS_DEFINED or is_hidden(use.name, self._look)

    def _is_required(self, use: Use) -> bool:
        """Return whether the function fails if the registry does not inject that name."""
        if use.name in self._found.guarded or self._found.has_star_import:
            return False
        return use.required

    def of_function(self, name: str) -> tuple[set[str], set[str]]:
        """Return the plain names that a function needs, and those that it looks up."""
        parts = self._parts_of(name)
        plain = {
            use.name
            for part in parts
            for use in part.uses
            if self._is_plain_need(part, use) and self._is_required(use)
        }
        explicit = {use.name for part in parts for use in part.lookups if use.required}
        return plain - {name}, explicit - {name}

    def of_loading(self) -> tuple[str, ...]:
        """Return the names that the registry may give and that are read while the cell is loaded.

        A name is given also where the cell has one of the builtins, or none, at the time.
        """
        found = self._found
        names: set[str] = set()
        for part in [
            *self._loaded,
            found.annotations,
        ]:  # that a class is named in one does not run its methods
            names.update(part.words, (use.name for use in (*part.uses, *part.lookups)))
        names -= found.bound - found.deleted - self._fixed_functions()
        return tuple(sorted(name for name in names - RESERVED if not name.startswith("__")))

    def reads_any_value(self) -> bool:
        """Return whether more may be read while the cell is loaded than the names that it spells out."""
        bound = self._found.bound
        return any(
            sum(use.name in _LOOK_UP and use.name not in bound for use in part.uses) > len(part.lookups)
            for part in self._loaded
        )

    def _fixed_functions(self) -> set[str]:
        """Return the registered functions that decorated ones read: later they may come from another cell."""
        parts = self._reach([self._found.fixed], stop=())
        return {use.name for part in parts for use in part.uses} & set(self._registered)

    def of_module(self) -> tuple[str, ...]:
        """Return the global names that the registry has to inject into the module."""
        parts = [self._found.top_level, self._found.evaluated, *self._found.parts.values()]
        names = {use.name for part in parts for use in part.uses if self._is_plain_need(part, use)}
        if self._found.has_star_import:
            # Names that are not registered would be removed from the module, but the star may import them.
            names &= self._known | frozenset(self._registered)
        return tuple(sorted(names))

    def unknown(self, chosen: Iterable[str]) -> list[tuple[Use, bool]]:
        """Return the first use of each undefined name, in the order of the lines.

        With each: whether it is looked up by name too early, while the cell is being installed.
        """
        defined = self._known | frozenset(self._registered)
        found = [
            (use, False)
            for name in chosen
            for part in self._parts_of(name)
            for use in part.uses
            if use.name not in defined and self._is_plain_need(part, use) and self._is_required(use)
        ]
        lookups = self._found.top_level.lookups
        found += [(use, True) for use in lookups if use.required and use.name not in defined]
        found.sort(key=lambda one: (one[0].line, one[0].name))
        first: dict[str, tuple[Use, bool]] = {}
        for one in found:
            first.setdefault(one[0].name, one)
        return list(first.values())
