"""What annotations of cells refer to, taken over into one stub: imports, classes and type aliases.

A name that stands for something else, or for nothing that can be found, becomes ``Any``: a stub must not
refuse a program that is right. So does a name that means one thing in one cell and another one in another.
"""

from __future__ import annotations

import ast
import builtins
import copy
from collections import abc
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from .classes import class_stub, last_name

__all__ = ["Definer", "StubNames", "names_of_text"]

Definer = Callable[[str], ast.stmt | None]
"""Returns the statement that defines a name; None if it is not known."""

_BUILTIN = frozenset(name for name in dir(builtins) if not name.startswith("_"))
_MAKES_TYPES = {"NamedTuple", "NewType", "ParamSpec", "TypeVar", "TypeVarTuple", "TypedDict", "namedtuple"}


class StubNames:
    """The names that a stub has.

    Parameters
    ----------
    own : mapping
        Statements by the names that they define: those that the stub has anyway.
    """

    def __init__(self, own: Mapping[str, str]) -> None:
        self._own = own
        self._taken: dict[str, str] = {}

    @property
    def imports(self) -> list[str]:
        """The imports that were taken over."""
        taken = {text for text in self._taken.values() if text.startswith(("import ", "from "))}
        return sorted(taken - set(self._own.values()))

    @property
    def definitions(self) -> list[str]:
        """The classes and aliases that were taken over, each after those that it needs."""
        own = {*self.imports, *self._own.values()}
        return [text for text in self._taken.values() if text not in own]

    def annotation(
        self, node: ast.expr | None, definer: Definer, parameters: Collection[str] = ()
    ) -> ast.expr:
        """Return an annotation as it stands in the stub; what it refers to is taken over.

        Parameters
        ----------
        node : ast.expr or None
            The annotation; None: there is none.
        definer : Definer
            Knows the names of its cell.
        parameters : collection of str
            Names that are type parameters of the function itself.
        """
        if node is None:
            return ast.Name("Any")
        rewritten = _Annotation(lambda name: name in parameters or self._take(name, definer, ()))
        changed: ast.expr = rewritten.visit(copy.deepcopy(node))
        return changed

    def _take(self, name: str, definer: Definer, inside: tuple[str, ...]) -> bool:
        """Take a name over; return whether the stub has it, with this meaning."""
        if name in inside:  # a class that refers to itself
            return True
        statement = definer(name)
        if statement is None:
            return name in _BUILTIN and name not in self._taken and name not in self._own
        text = self._text(name, statement, definer, (*inside, name))
        if text is None:
            return False
        return self._own.get(name, text) == text and self._taken.setdefault(name, text) == text

    def _text(self, name: str, statement: ast.stmt, definer: Definer, inside: tuple[str, ...]) -> str | None:
        """Return the statement as it stands in the stub; None: it defines no type."""
        if isinstance(statement, ast.Import | ast.ImportFrom):
            return ast.unparse(statement)
        inside = (*inside, *(each.name for each in getattr(statement, "type_params", ())))
        rewritten = _Annotation(lambda used: self._take(used, definer, inside))
        if isinstance(statement, ast.ClassDef):
            made = class_stub(copy.deepcopy(statement), rewritten.visit, rewritten.is_known)
            return None if made is None else ast.unparse(made)
        value = getattr(statement, "value", None)
        if not isinstance(value, ast.expr) or not _may_be_type(value):
            return None
        if not all(rewritten.is_known(each) for each in _names(value)):
            return None
        return ast.unparse(statement)


def names_of_text(source: str) -> dict[str, ast.stmt]:
    r"""Return the statements at the top level of a source, each for one name, by the names that they bind.

    Examples
    --------
    >>> found = names_of_text("import numpy as np, re\nclass Point:\n    x: int\nT = TypeVar('T')")
    >>> [ast.unparse(found[name]).split("\n")[0] for name in ("np", "re", "Point", "T")]
    ['import numpy as np', 'import re', 'class Point:', "T = TypeVar('T')"]
    """
    try:
        return dict(_bindings(ast.parse(source).body))
    except (SyntaxError, ValueError):
        return {}


def _bindings(body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    for statement in body:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield alias.asname or alias.name.partition(".")[0], ast.Import([alias])
        elif isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                if statement.module != "__future__" and not statement.level:
                    is_abc = statement.module == "typing" and alias.name in abc.__all__
                    module = "collections.abc" if is_abc else statement.module
                    yield alias.asname or alias.name, ast.ImportFrom(module, [alias], 0)
        elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            if isinstance(target := statement.targets[0], ast.Name):
                yield target.id, statement
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id, statement
        elif isinstance(statement, ast.If | ast.Try):  # such as `if TYPE_CHECKING:`
            yield from _bindings(statement.body)
        elif isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield statement.name, statement
        elif type(statement).__name__ == "TypeAlias":  # since Python 3.12
            alias_name: Any = getattr(statement, "name", None)
            yield alias_name.id, statement


def _names(node: ast.AST) -> set[str]:
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}


def _may_be_type(value: ast.expr) -> bool:
    if isinstance(value, ast.Call):
        return last_name(value.func) in _MAKES_TYPES
    if isinstance(value, ast.BinOp):
        return isinstance(value.op, ast.BitOr)
    return isinstance(value, ast.Name | ast.Attribute | ast.Subscript)


class _Annotation(ast.NodeTransformer):
    """Writes an annotation anew: what is not known as ``Any``, and texts in it as the names that they are."""

    def __init__(self, is_known: Callable[[str], bool]) -> None:
        self.is_known = is_known

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return node if self.is_known(node.id) else ast.Name("Any")

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        known = all(self.is_known(name) for name in _names(node))
        return node if known else ast.Name("Any")

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        kind = last_name(node.value)
        if kind == "Annotated" and isinstance(node.slice, ast.Tuple):
            inner: ast.expr = self.visit(node.slice.elts[0])
            return inner
        base: ast.expr = self.visit(node.value)
        if isinstance(base, ast.Name) and base.id == "Any" and kind != "Any":
            return base  # Any[int] is nothing
        if kind != "Literal":
            node.slice = self.visit(node.slice)
        node.value = base
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not isinstance(node.value, str):
            return node
        try:
            inner: ast.expr = self.visit(ast.parse(node.value.strip(), mode="eval").body)
        except (SyntaxError, ValueError):
            return ast.Name("Any")
        return inner

    def visit_Call(self, node: ast.Call) -> ast.expr:
        return ast.Name("Any")
