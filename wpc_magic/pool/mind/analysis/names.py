"""Which global names the pieces of a module read, by Python's own rules of scope.

A *part* is a top-level function or class: what is in it runs when somebody uses that name. Everything else
(imports, assignments, decorators, default arguments, the bodies of classes) is the module's own *level*, and
runs as soon as the module does.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import sys
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from ...errors import DefinitionSyntaxError
from .bindings import Bindings, Comprehension, FunctionNode, all_arguments, last_word, never_runs

__all__ = ["ModuleNames", "Part", "Use", "read_names"]

_Try = ast.Try | ast.TryStar

_LOOKUPS = {"wpc_import": "alias", "wpc_constant": "name"}
_MAPPING_METHODS = frozenset({"get", "items", "keys", "values"})


class Use(NamedTuple):
    """One place where a name is read."""

    name: str
    line: int
    who: str  # the top-level function or class around it; "" for none
    sure: bool  # False where the code is ready for the name to be missing


@dataclasses.dataclass(slots=True)
class Part:
    """What one piece of a module reads.

    Parameters
    ----------
    uses : list of Use
        Global names.
    lookups : list of Use
        What it asks the registry for by name: ``wpc_import("a")``, ``context.constants.K``.
    """

    uses: list[Use] = dataclasses.field(default_factory=list)
    lookups: list[Use] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(slots=True)
class ModuleNames:
    """The names of a module.

    Parameters
    ----------
    level : Part
        What the module itself reads while it runs.
    parts : dict
        What each of its top-level functions and classes reads, by name.
    functions : dict
        The top-level functions, by name; of two with one name the last.
    bound : set of str
        The global names that it binds at some time.
    deleted : set of str
        Those of them that are gone when it has run.
    asked_for : set of str
        Names that it looks for itself before it uses them: ``"np" in globals()``.
    has_star_import : bool
        Whether it may bind names that nobody can know.
    """

    level: Part = dataclasses.field(default_factory=Part)
    parts: dict[str, Part] = dataclasses.field(default_factory=dict)
    functions: dict[str, FunctionNode] = dataclasses.field(default_factory=dict)
    bound: set[str] = dataclasses.field(default_factory=set)
    deleted: set[str] = dataclasses.field(default_factory=set)
    asked_for: set[str] = dataclasses.field(default_factory=set)
    has_star_import: bool = False


def read_names(tree: ast.Module) -> ModuleNames:
    r"""Return which global names a module reads, where, and which it binds.

    Parameters
    ----------
    tree : ast.Module
        The module; it must be one that compiles.

    Raises
    ------
    DefinitionSyntaxError
        If its expressions are nested too deep to be walked.

    Examples
    --------
    >>> names = read_names(ast.parse("import math\ndef f(x): return [math.sqrt(i) + np for i in x]"))
    >>> [use.name for use in names.parts["f"].uses], sorted(names.bound)
    (['math', 'np'], ['f', 'math'])
    """
    try:
        return _read_names(tree)
    except RecursionError:
        raise DefinitionSyntaxError("the source is nested too deep to be read") from None


def _read_names(tree: ast.Module) -> ModuleNames:
    names = ModuleNames()
    for statement in tree.body:
        found = Bindings([statement])
        names.bound |= found.defined
        names.has_star_import |= found.has_star_import
        names.deleted -= found.defined
        if isinstance(statement, ast.Delete):
            names.deleted |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    reader = _Reader(names, eager_annotations=not _annotations_wait(tree))
    kept: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, FunctionNode | ast.ClassDef):
            if statement.name not in kept:
                names.parts.pop(statement.name, None)  # this one takes the place of an earlier one
            if statement.decorator_list:
                kept.add(statement.name)  # a decorator may have put it elsewhere: `@process.register`
        reader.visit(statement)
    return names


def _annotations_wait(tree: ast.Module) -> bool:
    """Tell whether annotations are not evaluated when a function is defined."""
    return sys.version_info >= (3, 14) or any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
        for node in tree.body
    )


class _Scope(NamedTuple):
    """One scope, and the one around it; the module's is the one without."""

    kind: str  # "module", "function" (also a lambda or a comprehension), "class"
    own: frozenset[str] | set[str]
    outside: dict[str, str]
    around: _Scope | None
    already: set[str]  # for a class: what its lines so far have bound

    def reads_global(self, name: str) -> bool:
        """Tell whether reading `name` here reaches the module's globals."""
        scope: _Scope = self
        while scope.around is not None:
            if scope is self or scope.kind == "function":  # a class is seen from its own lines only
                declared = scope.outside.get(name)
                if declared == "global":
                    return True
                if declared is None and name in scope.own:
                    # A class looks among its own names first, then among the globals.
                    return scope.kind == "class" and name not in scope.already
            scope = scope.around
        return True

    def is_sure_of(self, name: str) -> bool:
        """Tell whether a global `name` is surely what is read, not a name of the class."""
        return self.kind != "class" or name not in self.own or name in self.outside


class _Reader(ast.NodeVisitor):
    """Walks over a module and notes every read of a global name."""

    def __init__(self, names: ModuleNames, eager_annotations: bool) -> None:
        self.names = names
        self._eager_annotations = eager_annotations
        self._scope = _Scope("module", set(), {}, None, set())
        self._part = names.level
        self._who = ""
        self._name_sure = True
        self._lookup_sure = True

    # -- where we are -----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _inside(self, **changes: Any) -> Iterator[None]:
        """Walk with some attributes of this reader changed."""
        before = {name: getattr(self, name) for name in changes}
        for name, value in changes.items():
            setattr(self, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(self, name, value)

    def _new_scope(self, kind: str, found: Bindings) -> _Scope:
        declared = {name for name, how in found.outside.items() if how == "global"}
        self.names.bound |= found.defined & declared
        self.names.deleted -= found.defined & declared
        return _Scope(kind, found.own, found.outside, self._scope, set())

    def _visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    # -- reads ------------------------------------------------------------------------------------------

    def _read(self, name: str, line: int) -> None:
        if self._scope.reads_global(name):
            sure = self._name_sure and self._scope.is_sure_of(name)
            self._part.uses.append(Use(name, line, self._who, sure))

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Store):  # `del x` needs it to be there, too
            self._read(node.id, node.lineno)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.target, ast.Name):
            self._read(node.target.id, node.lineno)
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        where = node.comparators[0]
        if (
            isinstance(node.left, ast.Constant)
            and isinstance(node.ops[0], ast.In | ast.NotIn)
            and isinstance(where, ast.Call)
            and last_word(where.func) in ("globals", "vars", "dir")
        ):
            self.names.asked_for.add(str(node.left.value))
        self.generic_visit(node)

    def _is_given(self, node: ast.expr, *given: str) -> bool:
        """Tell whether an expression is one of the names that every function is given."""
        return (
            isinstance(node, ast.Name)
            and node.id in given
            and node.id not in self.names.bound
            and self._scope.reads_global(node.id)
        )

    def _look_up(self, node: ast.expr, name: object) -> None:
        if isinstance(name, str) and name.isidentifier():
            self._part.lookups.append(Use(name, node.lineno, self._who, self._lookup_sure))

    def visit_Call(self, node: ast.Call) -> None:
        if self._is_given(node.func, *_LOOKUPS):
            keyword = _LOOKUPS[last_word(node.func)]
            asked = [*node.args, *(word.value for word in node.keywords if word.arg == keyword)]
            if len(asked) == 1 and isinstance(asked[0], ast.Constant):
                self._look_up(node, asked[0].value)
        self.generic_visit(node)

    def _is_table(self, node: ast.expr) -> bool:
        return (
            isinstance(node, ast.Attribute)
            and node.attr in ("dependencies", "constants")
            and self._is_given(node.value, "context")
        )

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self._is_table(node.value) and node.attr not in _MAPPING_METHODS and node.attr[:2] != "__":
            self._look_up(node, node.attr)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if self._is_table(node.value) and isinstance(node.slice, ast.Constant):
            self._look_up(node, node.slice.value)
        self.generic_visit(node)

    # -- scopes -----------------------------------------------------------------------------------------

    def _type_parameters(self, node: Any) -> _Scope:
        """Return the scope that ``def f[T]`` puts around a definition (Python 3.12)."""
        parameters = getattr(node, "type_params", ())
        if not parameters:
            return self._scope
        scope = _Scope("function", {p.name for p in parameters}, {}, self._scope, set())
        with self._inside(_scope=scope, _name_sure=False):  # their bounds are evaluated on demand
            for parameter in parameters:
                self.generic_visit(parameter)
        return scope

    def visit_TypeAlias(self, node: Any) -> None:
        """Read ``type X = ...``, whose value is evaluated on demand."""
        with self._inside(_scope=self._type_parameters(node), _name_sure=False):
            self.visit(node.value)

    def _function(self, node: FunctionNode) -> None:
        at_level = self._scope.around is None
        if at_level:
            self.names.functions[node.name] = node
        with self._inside(_who=self._who or node.name):
            self._visit_all([*node.decorator_list, *node.args.defaults, *node.args.kw_defaults])
            with self._inside(_scope=self._type_parameters(node)):
                arguments = all_arguments(node.args)
                if self._eager_annotations:
                    self._visit_all([*(arg.annotation for arg in arguments), node.returns])
                part = self._part
                if part is self.names.level:  # a method runs when somebody uses its class
                    part = self.names.parts.setdefault(self._who, Part())
                scope = self._new_scope("function", Bindings(node.body, [arg.arg for arg in arguments]))
                with self._inside(_scope=scope, _part=part, _name_sure=True, _lookup_sure=True):
                    self._visit_all(node.body)

    visit_FunctionDef = _function
    visit_AsyncFunctionDef = _function

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_all([*node.args.defaults, *node.args.kw_defaults])
        found = Bindings([node.body], [arg.arg for arg in all_arguments(node.args)])
        scope = self._new_scope("function", found)
        with self._inside(_scope=scope, _name_sure=True, _lookup_sure=True):
            self.visit(node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        with self._inside(_who=self._who or node.name):
            self._visit_all(node.decorator_list)
            with self._inside(_scope=self._type_parameters(node)):
                self._visit_all([*node.bases, *node.keywords])
                scope = self._new_scope("class", Bindings(node.body))
                with self._inside(_scope=scope):
                    for statement in node.body:
                        self.visit(statement)
                        scope.already.update(Bindings([statement]).defined)

    def _comprehension(self, node: Comprehension) -> None:
        first, *others = node.generators
        self.visit(first.iter)  # belongs to the scope around
        found = Bindings(generator.target for generator in node.generators)
        with self._inside(_scope=_Scope("function", found.own, {}, self._scope, set())):
            self._visit_all([first.target, *first.ifs])
            for generator in others:
                self.visit(generator)
            elements = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            self._visit_all(elements)

    visit_ListComp = _comprehension
    visit_SetComp = _comprehension
    visit_DictComp = _comprehension
    visit_GeneratorExp = _comprehension

    # -- what does not run, or is ready for a missing name ------------------------------------------------

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if self._eager_annotations and self._scope.kind != "function":
            self.visit(node.annotation)
        self._visit_all([node.target, node.value])

    def visit_If(self, node: ast.If) -> None:
        self.visit(node.test)
        if not never_runs(node):
            self._visit_all(node.body)
        self._visit_all(node.orelse)

    def _try(self, node: _Try) -> None:
        caught = set()
        for handler in node.handlers:
            kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
            caught |= {last_word(kind) for kind in kinds}
        # `except Exception` around a whole body is no sign that a name may be missing.
        with self._inside(
            _name_sure=self._name_sure and "NameError" not in caught,
            _lookup_sure=self._lookup_sure and not caught & {"LookupError", "RequirementMissingError"},
        ):
            self._visit_all(node.body)
        self._visit_all([*node.handlers, *node.orelse, *node.finalbody])

    visit_Try = _try
    visit_TryStar = _try
