"""Reading a cell's source: which functions it defines, what they need, and what they lack.

Nothing is run. Names are found by Python's own rules of scope (`names`), so comments and strings never count.
A function needs what it reads itself and what it reaches through the cell's own helpers; what the cell reads
while it runs (imports, default arguments, decorators) every function of it needs.

Registered functions are names in each other, also within one cell: as in a notebook, a function that is
defined again is what its callers see. Helpers that are not registered stay the cell's own.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Collection, Iterable, Sequence

from ...errors import DefinitionError, UnknownNameError
from ...options import check_name, did_you_mean
from .bindings import FunctionNode
from .missing import ALWAYS_THERE, Fix, find_fix, python_line, sentence
from .names import ModuleNames, Part, Use, read_names
from .syntax import normalise, parse

__all__ = ["Analysis", "CellFunction", "Fix", "analyse", "looked_up_names", "python_line"]


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
        Where its own text is in the cell, decorators included, counted from 1.
    needs : tuple of str
        Definitions without which it cannot run, sorted; also those of `explicit`.
    explicit : tuple of str
        What it asks for by name (``wpc_import("a")``), sorted: these may be defined later.
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
    """What there is to know about a cell.

    Parameters
    ----------
    functions : tuple of CellFunction
        The functions to register, in the order of their lines.
    needs : tuple of str
        Global names that the registry has to give to the cell's module, sorted.
    source : str
        The source with its line ends normalised.
    defined : tuple of str
        Every top-level function of the cell, in the order of their lines.
    """

    functions: tuple[CellFunction, ...]
    needs: tuple[str, ...]
    source: str
    defined: tuple[str, ...]


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
) -> Analysis:
    r"""Read the source of a cell, and refuse it if its functions could not run in a worker.

    Parameters
    ----------
    source : str
        Plain Python.
    names : sequence of str, optional
        The functions to register. By default: every top-level function whose name begins without an
        underscore.
    known : collection of str
        The names that are registered.
    look : callable, optional
        Says what a name is in the caller's process, as the `Fix` that brings it to the workers.
    describe_fix : callable
        Returns the line to type that mends a `Fix`.
    pool_name : str
        The variable that holds the pool.
    rename : str, optional
        The name to register the function under: the function of that name if there is one, else the only one.
    captured : collection of str
        Names that are variables of a function around this one.
    first_line : int
        The number of the first line, for messages.

    Raises
    ------
    DefinitionSyntaxError
        If the source does not compile.
    UnknownNameError
        If a function uses names that workers do not have: all of them, each with its line and what to type.
    DefinitionError
        If there is no such function.
    OptionError
        If a function has a name that no definition can have.

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
    chosen = _choose(found, names, rename)
    # A name that a definition can have and this one has: it is the registry's to give.
    registered = {rename or name for name in chosen if rename in (None, name)}
    for name in chosen:
        check_name(rename or name, "function name")
    reader = _Needs(found, registered, frozenset(known))
    functions = tuple(
        _describe(found.functions[name], reader)
        for name in sorted(chosen, key=lambda n: found.functions[n].lineno)
    )
    unknown = reader.unknown(chosen)
    if unknown:
        nearby = {*known, *found.bound} - {rename or name for name in chosen}
        messages = []
        for use, too_early in unknown:
            fix = find_fix(use.name, nearby, look, pool_name)
            is_captured = use.name in captured and fix.kind != "pool"
            what = _complaint(use, use.line + first_line - 1, too_early, is_captured)
            if is_captured and fix.kind in ("constant", "unknown"):
                what += " Pass it as an argument, or make it a definition."
            messages.append(f"{what} {sentence(fix, describe_fix)}")
        raise UnknownNameError("\n".join(messages), tuple(use.name for use, _ in unknown))
    in_order = sorted(found.functions, key=lambda n: found.functions[n].lineno)
    return Analysis(functions, reader.of_module(), source, tuple(in_order))


def _complaint(use: Use, line: int, too_early: bool, captured: bool) -> str:
    who = use.who or "the cell"
    what = f"{use.name!r} (line {line})"
    if too_early:
        return f"{who} looks up {what} already while it is defined, so that has to be there first."
    if captured:
        return f"{who} captures {what} from the function around it, which does not travel."
    return f"{who} uses {what}, which the workers don't have."


def looked_up_names(source: str) -> tuple[str, ...]:
    """Return what a text asks the registry for by name.

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
    parts = [found.level, *found.parts.values()]
    return tuple(sorted({use.name for part in parts for use in part.lookups if use.sure}))


def _choose(found: ModuleNames, names: Sequence[str] | None, rename: str | None) -> list[str]:
    """Return which functions of a cell to register."""
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
        there = ", ".join(found.functions) or "none"
        raise DefinitionError(f"the source defines no function {name!r}.{near} Its functions: {there}")
    return list(dict.fromkeys(names))


def _describe(node: FunctionNode, reader: _Needs) -> CellFunction:
    plain, explicit = reader.of_function(node.name)
    doc = (ast.get_docstring(node) or "").strip()
    return CellFunction(
        name=node.name,
        signature=f"({ast.unparse(node.args)})",
        doc=doc.splitlines()[0] if doc else "",
        is_async=isinstance(node, ast.AsyncFunctionDef),
        is_generator=_yields(node.body),
        first_line=min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]),
        last_line=node.end_lineno or node.lineno,
        needs=tuple(sorted(plain | explicit)),
        explicit=tuple(sorted(explicit)),
    )


def _yields(nodes: Iterable[ast.AST]) -> bool:
    """Tell whether code yields, other than in functions inside it."""
    for node in nodes:
        if isinstance(node, ast.Yield | ast.YieldFrom):
            return True
        inside = isinstance(node, FunctionNode | ast.Lambda | ast.ClassDef)
        if not inside and _yields(ast.iter_child_nodes(node)):
            return True
    return False


class _Needs:
    """What the module of a cell, and each function of it, needs of the registry."""

    def __init__(self, found: ModuleNames, registered: Collection[str], known: frozenset[str]) -> None:
        self._found = found
        self._registered = registered
        self._known = known
        self._lasting = found.bound - found.deleted
        self._level = self._reach([found.level], stop=())

    def _reach(self, start: Iterable[Part], stop: Collection[str]) -> list[Part]:
        """Return these parts and those that they use, not going into the functions of `stop`."""
        ahead = list(start)
        reached: list[Part] = []
        while ahead:
            part = ahead.pop()
            if any(part is other for other in reached):
                continue
            reached.append(part)
            for use in part.uses:
                if use.name in self._found.parts and use.name not in stop:
                    ahead.append(self._found.parts[use.name])
        return reached

    def _parts_of(self, name: str) -> list[Part]:
        """Return all that a function reaches, and what the cell itself does."""
        own = self._found.parts.get(name, Part())
        return [*self._level, *self._reach([own], stop=self._registered)]

    def _is_plain_need(self, part: Part, use: Use) -> bool:
        """Tell whether a name is for the registry to give."""
        # What the cell deletes at its end is still there while it runs.
        while_it_runs = any(part is other for other in self._level)
        bound = self._found.bound if while_it_runs else self._lasting
        if use.name in bound:
            return use.name in self._registered
        return use.name in self._known or use.name not in ALWAYS_THERE

    def _is_sure(self, use: Use) -> bool:
        """Tell whether the function fails where the registry does not give that name."""
        if use.name in self._found.asked_for or self._found.has_star_import:
            return False
        return use.sure

    def of_function(self, name: str) -> tuple[set[str], set[str]]:
        """Return the plain names that a function needs, and those that it looks up."""
        parts = self._parts_of(name)
        plain = {
            use.name
            for part in parts
            for use in part.uses
            if self._is_plain_need(part, use) and self._is_sure(use)
        }
        explicit = {use.name for part in parts for use in part.lookups if use.sure}
        return plain - {name}, explicit - {name}

    def of_module(self) -> tuple[str, ...]:
        """Return the global names that the registry is to give to the module."""
        parts = [self._found.level, *self._found.parts.values()]
        names = {use.name for part in parts for use in part.uses if self._is_plain_need(part, use)}
        if self._found.has_star_import:
            # Whatever the registry lacks is taken away from the module, and it may have come by the star.
            names &= self._known | frozenset(self._registered)
        return tuple(sorted(names))

    def unknown(self, chosen: Iterable[str]) -> list[tuple[Use, bool]]:
        """Return the first use of each name that is nowhere, in the order of the lines.

        With each: whether it is looked up by name, but already while the cell is installed.
        """
        there = self._known | frozenset(self._registered)
        found = [
            (use, False)
            for name in chosen
            for part in self._parts_of(name)
            for use in part.uses
            if use.name not in there and self._is_plain_need(part, use) and self._is_sure(use)
        ]
        found += [(use, True) for use in self._found.level.lookups if use.sure and use.name not in there]
        found.sort(key=lambda one: (one[0].line, one[0].name))
        first: dict[str, tuple[Use, bool]] = {}
        for one in found:
            first.setdefault(one[0].name, one)
        return list(first.values())
