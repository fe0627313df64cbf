"""Turns the text of a cell into the source of one function: its names are arguments, its last line the value.

::

    %%wpc_cell -o model         def _wpc_cell_3(*, df, fit):
    model = fit(df)        ->       model = fit(df)
    model.score                     return (model.score), {'model': model}

The lines keep their numbers: the header takes the place of the magic.
"""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from ..errors import DefinitionSyntaxError
from .bindings import Bindings, FunctionNode
from .names import read_names
from .syntax import normalise, parse

__all__ = ["CellBody", "read_cell"]


@dataclasses.dataclass(frozen=True, slots=True)
class CellBody:
    """A cell that is to run in a worker.

    Parameters
    ----------
    source : str
        Its text, with as many lines above it as in the editor.
    tree : ast.Module
        The same, parsed.
    is_async : bool
        Whether it awaits at its top level.
    reads : tuple of str
        The names that it may read before it binds them, in the order of their first use.
    bound : frozenset of str
        The names that it binds.
    """

    source: str
    tree: ast.Module
    is_async: bool
    reads: tuple[str, ...]
    bound: frozenset[str]

    def as_function(
        self,
        name: str,
        parameters: Sequence[str],
        store: Sequence[str] = (),
        positional: Sequence[str] = (),
        defaults: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        r"""Return the source of a function that does what the cell does.

        Parameters
        ----------
        name : str
            The function's name.
        parameters : sequence of str
            The names that it is given, as keywords.
        store : sequence of str
            The names whose values are wanted. The function returns the value of the last expression, or with
            such names a pair: that, and a dict of the names that have a value.
        positional : sequence of str
            The names that it is given by position.
        defaults : mapping
            The definitions that are the values of parameters which are not given.

        Examples
        --------
        >>> cell = read_cell("\ny = x + 1\ny * 2", 2)
        >>> print(cell.as_function("f", ["x"], ["y"]))
        def f(*, x):
            y = x + 1
            return (y * 2), {'y': y}
        <BLANKLINE>
        """
        found = f", {{{', '.join(f'{each!r}: {each}' for each in store)}}}" if store else ""
        lines = self.source.rstrip("\n").split("\n")
        last = self.tree.body[-1] if self.tree.body else None
        tail = ""
        if last is not None and self.has_value:
            line, column = (last.end_lineno or 1) - 1, last.end_col_offset or 0
            lines[line] = _inserted(lines[line], column, f"){found}")
            lines[last.lineno - 1] = _inserted(lines[last.lineno - 1], last.col_offset, "return (")
        elif store:
            tail = f"    return None{found}\n"
        inside = _lines_in_texts(self.tree)
        body = [each if at in inside or not each else f"    {each}" for at, each in enumerate(lines)]
        given = [each if (value := defaults.get(each)) is None else f"{each}={value}" for each in parameters]
        stars = [*positional, "*", *given] if given else positional
        header = f"{'async ' * self.is_async}def {name}({', '.join(stars)}):"
        body[: not lines[0].strip()] = [header]  # in the line of the magic, if there is one
        if not self.tree.body:
            body.append("    pass")
        return "\n".join(body) + "\n" + tail

    @property
    def has_value(self) -> bool:
        """Whether its last line is an expression that is shown."""
        last = self.tree.body[-1] if self.tree.body else None
        return isinstance(last, ast.Expr) and not self._is_silent(last)

    def _is_silent(self, last: ast.Expr) -> bool:
        """Return whether the last expression ends with a semicolon, which shows nothing."""
        line = self.source.split("\n")[(last.end_lineno or 1) - 1]
        rest = line.encode()[last.end_col_offset or 0 :].decode()
        return rest.lstrip().startswith(";")


def read_cell(source: str, first_line: int = 1) -> CellBody:
    r"""Return a cell that is to run in a worker.

    Parameters
    ----------
    source : str
        Its text, with as many empty lines above it as it has lines above it in the editor.
    first_line : int
        The line at which its own text begins.

    Raises
    ------
    DefinitionSyntaxError
        If it does not compile, or needs to be the top level of a module.

    Examples
    --------
    >>> cell = read_cell("total += 1\nfor x in xs:\n    total += f(x)\ntotal")
    >>> cell.reads, sorted(cell.bound)
    (('total', 'xs', 'f'), ['total', 'x'])
    """
    source = normalise(source)
    tree = _parse_awaiting(source)
    is_async = tree is not None
    if tree is None:
        tree = parse(source)
    _check(tree)
    flow = _Flow()
    flow.run(tree.body, set())
    bound = frozenset(Bindings(tree.body).local)
    later = [name for name in flow.later if name not in bound]
    return CellBody(source, tree, is_async, tuple(dict.fromkeys([*flow.reads, *later])), bound)


def _parse_awaiting(source: str) -> ast.Module | None:
    """Return the tree of a cell that awaits at its top level; None: it does not, or does not compile."""
    if "async" not in source and "await" not in source:
        return None
    try:
        compile(source, "<wpc>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        pass
    else:
        return None
    try:
        compile(source, "<wpc>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        return ast.parse(source)
    except (SyntaxError, ValueError):
        return None


def _check(tree: ast.Module) -> None:
    """Refuse what a function cannot have."""
    own = Bindings(tree.body).defined
    for node in ast.walk(tree):
        problem = ""
        if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
            problem = f"name what you import: from {node.module} import ..."
        elif isinstance(node, ast.ImportFrom) and node.module == "__future__":
            problem = "no __future__ here"
        elif isinstance(node, ast.Global) and own.intersection(node.names):
            problem = f"the cell runs as a function: write nonlocal {', '.join(node.names)}"
        if problem:
            line = node.lineno  # type: ignore[attr-defined]  # all of these have one
            raise DefinitionSyntaxError(f"line {line}: {problem}", line)


def _inserted(line: str, column: int, text: str) -> str:
    """Insert a text at a column, which is counted in bytes."""
    raw = line.encode()
    return (raw[:column] + text.encode() + raw[column:]).decode()


def _lines_in_texts(tree: ast.Module) -> set[int]:
    """Return the lines, counted from 0, that begin inside of a text."""
    return {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        or (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes))
        for line in range(node.lineno, node.end_lineno or node.lineno)
    }


class _Flow:
    """Finds the names that statements may read before they have bound them.

    Attributes
    ----------
    reads : list of str
        Those names.
    later : list of str
        The names that functions and classes read when they are used, which may be bound by then.
    """

    def __init__(self) -> None:
        self.reads: list[str] = []
        self.later: list[str] = []

    def run(self, statements: Iterable[ast.stmt], bound: set[str]) -> set[str]:
        """Follow statements; return what is certainly bound after them."""
        for statement in statements:
            bound = self._statement(statement, bound)
        return bound

    def _statement(self, node: ast.stmt, bound: set[str]) -> set[str]:
        match node:
            case ast.If():
                self._expressions([node.test], bound)
                return self.run(node.body, bound) & self.run(node.orelse, bound)
            case ast.For() | ast.AsyncFor():
                self._expressions([node.iter], bound)
                self.run(node.body, bound | Bindings([node.target]).defined)
                self.run(node.orelse, bound)
                return bound
            case ast.While():
                self._expressions([node.test], bound)
                self.run(node.body, bound)
                self.run(node.orelse, bound)
                return bound
            case ast.With() | ast.AsyncWith():
                for item in node.items:
                    self._expressions([item.context_expr], bound)
                    if item.optional_vars is not None:
                        bound = bound | Bindings([item.optional_vars]).defined
                return self.run(node.body, bound)
            case ast.Try() | ast.TryStar():
                after = self.run(node.orelse, self.run(node.body, bound))
                for handler in node.handlers:
                    if handler.type is not None:
                        self._expressions([handler.type], bound)
                    own = {handler.name} if handler.name else set()
                    after = after & self.run(handler.body, bound | own)
                return self.run(node.finalbody, bound) | after
        if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
            self._read([node.target.id], bound)
        found = read_names(ast.Module([node], []))
        own = found.bound if isinstance(node, FunctionNode | ast.ClassDef) else set()
        self._read([use.name for use in found.top_level.uses if use.name not in own], bound)
        self._read([use.name for use in found.evaluated.uses if use.name not in own], bound)
        for part in found.parts.values():
            self.later += [use.name for use in part.uses if use.name not in bound]
        return bound | Bindings([node]).defined

    def _expressions(self, nodes: Iterable[ast.expr], bound: set[str]) -> None:
        for node in nodes:
            statement = ast.copy_location(ast.Expr(node), node)
            found = read_names(ast.Module([statement], []))
            self._read([use.name for use in found.top_level.uses], bound)

    def _read(self, names: Iterable[str], bound: set[str]) -> None:
        self.reads += [name for name in names if name not in bound]
