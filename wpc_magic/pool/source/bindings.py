"""The names that one scope binds, by Python's scoping rules."""

# Each method `visit_X` does for a node X what the docstring of the class says.
# ruff: noqa: D102

from __future__ import annotations

import ast
from collections.abc import Iterable

__all__ = ["Bindings", "Comprehension", "FunctionNode", "all_arguments", "last_identifier", "never_runs"]

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def never_runs(node: ast.If) -> bool:
    """Return whether the first branch is for type checkers or for scripts only: neither applies to a cell."""
    test = node.test
    if isinstance(test, ast.Compare):
        return (
            isinstance(test.left, ast.Name)
            and test.left.id == "__name__"
            and isinstance(test.ops[0], ast.Eq)
            and isinstance(test.comparators[0], ast.Constant)
            and test.comparators[0].value == "__main__"
        )
    return last_identifier(test) == "TYPE_CHECKING"


def last_identifier(node: ast.expr | None) -> str:
    """Return ``c`` for ``a.b.c``, the identifier of a name, and an empty string for anything else."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def all_arguments(node: ast.arguments) -> list[ast.arg]:
    """Return every parameter of a function."""
    more = [arg for arg in (node.vararg, node.kwarg) if arg is not None]
    return [*node.posonlyargs, *node.args, *node.kwonlyargs, *more]


class Bindings(ast.NodeVisitor):
    """The names that one scope binds, without those of nested scopes.

    Parameters
    ----------
    nodes : iterable of ast.AST
        The code of the scope.
    parameters : iterable of str
        Names that are bound from the beginning.

    Attributes
    ----------
    local : set of str
        Names that are local because the scope binds them, also by ``del x`` and ``x += 1``.
    defined : set of str
        Those that it assigns a value to.
    declared : dict
        Names declared ``global`` or ``nonlocal``, and which of the two.
    has_star_import : bool
        Whether it may bind names that are not known statically.

    Examples
    --------
    >>> found = Bindings(ast.parse("import os.path as p; x += 1; [y for y in (z := [])]").body)
    >>> sorted(found.local), sorted(found.defined)
    (['p', 'x', 'z'], ['p', 'z'])
    """

    def __init__(self, nodes: Iterable[ast.AST], parameters: Iterable[str] = ()) -> None:
        self.local = set(parameters)
        self.defined = set(self.local)
        self.declared: dict[str, str] = {}
        self.has_star_import = False
        self._dead = 0
        self._in_comprehension = 0
        for node in nodes:
            self.visit(node)

    def _bind(self, name: str | None, value: bool = True) -> None:
        if name is not None:
            self.local.add(name)
            if value and not self._dead:
                self.defined.add(name)

    def visit_Name(self, node: ast.Name) -> None:
        # The targets of a comprehension belong to its own scope, not to this one.
        if not isinstance(node.ctx, ast.Load) and not self._in_comprehension:
            self._bind(node.id, isinstance(node.ctx, ast.Store))

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._bind(node.target.id)
        self.visit(node.value)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._bind(node.target.id, False)
        else:
            self.visit(node.target)
        self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if isinstance(node.target, ast.Name):
            if node.simple or node.value is not None:  # `(x): int` alone does not even make x local
                self._bind(node.target.id, node.value is not None)
        else:
            self.visit(node.target)
        if node.value is not None:
            self.visit(node.value)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for default in [*node.args.defaults, *node.args.kw_defaults]:
            if default is not None:
                self.visit(default)

    def _function(self, node: FunctionNode) -> None:
        self._bind(node.name)
        for part in [*node.decorator_list, *node.args.defaults, *node.args.kw_defaults]:
            if part is not None:
                self.visit(part)

    visit_FunctionDef = _function
    visit_AsyncFunctionDef = _function

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name)
        for part in [*node.decorator_list, *node.bases, *node.keywords]:
            self.visit(part)

    def _comprehension(self, node: Comprehension) -> None:
        self._in_comprehension += 1
        self.generic_visit(node)
        self._in_comprehension -= 1

    visit_ListComp = _comprehension
    visit_SetComp = _comprehension
    visit_DictComp = _comprehension
    visit_GeneratorExp = _comprehension

    def visit_alias(self, node: ast.alias) -> None:
        if node.name == "*":
            self.has_star_import = self.has_star_import or not self._dead
        else:
            self._bind(node.asname or node.name.partition(".")[0])

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        self._bind(node.name)
        self.generic_visit(node)

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        self._bind(node.name)
        self.generic_visit(node)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        self._bind(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        self._bind(node.rest)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        self.declared.update(dict.fromkeys(node.names, "global"))

    def visit_Nonlocal(self, node: ast.Nonlocal) -> None:
        self.declared.update(dict.fromkeys(node.names, "nonlocal"))

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        dead = never_runs(node)
        self._dead += dead
        for statement in node.body:
            self.visit(statement)
        self._dead -= dead
        for statement in node.orelse:
            self.visit(statement)
