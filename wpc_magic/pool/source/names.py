"""The global names that the parts of a module read, by Python's scoping rules.

A *part* is a top-level function or class: its code runs when that name is used. Everything else (imports,
assignments, decorators, default arguments, class bodies) is the *top level*, and runs with the module.

Code under a decorator may run with the module, too, or fix what it has read: `numba.njit` compiles globals
into a function, `functools.cache` remembers results. And annotations may be evaluated then, also those that
Python itself leaves alone (pydantic, dataclasses, singledispatch).
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from ..errors import DefinitionSyntaxError
from .bindings import Bindings, Comprehension, FunctionNode, all_arguments, last_identifier, never_runs

__all__ = ["ModuleNames", "Part", "Use", "read_names"]

_Try = ast.Try | ast.TryStar

_LOOKUPS = {"wpc_import": "alias", "wpc_constant": "name"}
_MAPPING_METHODS = frozenset({"get", "items", "keys", "values"})

_PLAIN_DECORATORS = frozenset(
    {"property", "staticmethod", "classmethod", "setter", "getter", "deleter"}
    | {"abstractmethod", "overload", "override", "final", "contextmanager", "asynccontextmanager"}
)
"""Decorators under which a function still reads its globals each time that it is called."""
_PLAIN_CLASS_DECORATORS = frozenset(
    {"dataclass", "total_ordering", "final", "runtime_checkable", "unique", "define", "frozen"}
)
"""Decorators of a class under which its methods do."""

_WORD = re.compile(r"[^\W\d]\w*")
_MAX_TEXT = 20_000
"""Of longer texts (data, pictures) the words are not taken for names."""


class Use(NamedTuple):
    """One place where a name is read."""

    name: str
    line: int
    owner: str  # the top-level function or class that contains it; "" for none
    required: bool  # False if the code handles the name being missing


@dataclasses.dataclass(slots=True)
class Part:
    """What one part of a module reads.

    Parameters
    ----------
    uses : list of Use
        Global names.
    lookups : list of Use
        What it looks up in the registry by name: ``wpc_import("a")``, ``context.constants.K``.
    words : set of str
        The words of its texts, which may be names: ``eval("K * 10")``, ``df.query("x > @LIMIT")``, SQL.
    """

    uses: list[Use] = dataclasses.field(default_factory=list)
    lookups: list[Use] = dataclasses.field(default_factory=list)
    words: set[str] = dataclasses.field(default_factory=set)


@dataclasses.dataclass(slots=True)
class ModuleNames:
    """The names of a module.

    Parameters
    ----------
    top_level : Part
        What the top level reads.
    evaluated : Part
        What the annotations read that are evaluated with the module.
    annotations : Part
        What all annotations of the module, its classes and their functions name.
    fixed : Part
        What the decorated functions and methods read: they may run with the module, or fix what they read.
    parts : dict
        What each of its top-level functions and classes reads, by name.
    functions : dict
        The top-level functions, by name; of two with one name the last.
    bound : set of str
        The global names that it binds at some time.
    deleted : set of str
        Those of them that are deleted when it has run.
    guarded : set of str
        Names whose existence it checks before it uses them: ``"np" in globals()``.
    has_star_import : bool
        Whether it may bind names that are not known statically.
    """

    top_level: Part = dataclasses.field(default_factory=Part)
    evaluated: Part = dataclasses.field(default_factory=Part)
    annotations: Part = dataclasses.field(default_factory=Part)
    fixed: Part = dataclasses.field(default_factory=Part)
    parts: dict[str, Part] = dataclasses.field(default_factory=dict)
    functions: dict[str, FunctionNode] = dataclasses.field(default_factory=dict)
    bound: set[str] = dataclasses.field(default_factory=set)
    deleted: set[str] = dataclasses.field(default_factory=set)
    guarded: set[str] = dataclasses.field(default_factory=set)
    has_star_import: bool = False


def read_names(tree: ast.Module) -> ModuleNames:
    r"""Return the global names that a module reads, with their places, and those that it binds.

    Parameters
    ----------
    tree : ast.Module
        The module; it must compile.

    Raises
    ------
    DefinitionSyntaxError
        If its expressions are nested too deeply to be walked.

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
    reader = _Reader(names, eager_annotations=not _has_lazy_annotations(tree))
    kept: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, FunctionNode | ast.ClassDef):
            if statement.name not in kept:
                names.parts.pop(statement.name, None)  # this one replaces an earlier one
            if statement.decorator_list:
                kept.add(statement.name)  # a decorator may have stored it elsewhere: `@process.register`
        reader.visit(statement)
    return names


def _has_lazy_annotations(tree: ast.Module) -> bool:
    """Return whether annotations are not evaluated when a function is defined."""
    return sys.version_info >= (3, 14) or any(
        isinstance(node, ast.ImportFrom)
        and node.module == "__future__"
        and any(alias.name == "annotations" for alias in node.names)
        for node in tree.body
    )


class _Scope(NamedTuple):
    """One scope, and the one that encloses it; that of the module has no parent."""

    kind: str  # "module", "function" (also a lambda or a comprehension), "class"
    local: frozenset[str] | set[str]
    declared: dict[str, str]
    parent: _Scope | None
    bound_so_far: set[str]  # for a class: the names that its lines so far have bound

    def reads_global(self, name: str) -> bool:
        """Return whether reading `name` here reaches the module's globals."""
        scope: _Scope = self
        while scope.parent is not None:
            if (
                scope is self or scope.kind == "function"
            ):  # names of a class are visible to its own lines only
                declared = scope.declared.get(name)
                if declared == "global":
                    return True
                if declared is None and name in scope.local:
                    # A class body reads its own names first, then the globals.
                    return scope.kind == "class" and name not in scope.bound_so_far
            scope = scope.parent
        return True

    def always_reads_global(self, name: str) -> bool:
        """Return whether a global `name` is certainly read, and not possibly a name of the class."""
        return self.kind != "class" or name not in self.local or name in self.declared


class _Reader(ast.NodeVisitor):
    """Walks the tree of a module and records every read of a global name."""

    def __init__(self, names: ModuleNames, eager_annotations: bool) -> None:
        self.names = names
        self._eager_annotations = eager_annotations
        self._scope = _Scope("module", set(), {}, None, set())
        self._part = names.top_level
        self._is_fixed = False  # by a decorator
        self._owner = ""
        self._name_required = True
        self._lookup_required = True

    # -- position ---------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _override(self, **changes: Any) -> Iterator[None]:
        """Change some attributes of this reader for the nodes visited inside."""
        before = self.__dict__.copy()
        self.__dict__.update(changes)
        try:
            yield
        finally:
            self.__dict__.update(before)

    def _new_scope(self, kind: str, found: Bindings) -> _Scope:
        declared = {name for name, how in found.declared.items() if how == "global"}
        self.names.bound |= found.defined & declared
        self.names.deleted -= found.defined & declared
        return _Scope(kind, found.local, found.declared, self._scope, set())

    def _visit_all(self, nodes: Iterable[ast.AST | None]) -> None:
        for node in nodes:
            if node is not None:
                self.visit(node)

    # -- reads ------------------------------------------------------------------------------------------

    def _read(self, name: str, line: int) -> None:
        if self._scope.reads_global(name):
            required = self._name_required and self._scope.always_reads_global(name)
            for part in self._recorded():
                part.uses.append(Use(name, line, self._owner, required))

    def _recorded(self) -> Iterator[Part]:
        """Yield the parts that the code read now belongs to."""
        yield self._part
        if self._is_fixed and self._part is not self.names.top_level:
            yield self.names.fixed
        if self._part is self.names.evaluated:
            yield self.names.annotations

    def visit_Expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):  # a docstring
            self.visit(node.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and len(node.value) <= _MAX_TEXT:
            for part in self._recorded():
                part.words.update(_WORD.findall(node.value))

    def visit_Name(self, node: ast.Name) -> None:
        if not isinstance(node.ctx, ast.Store):  # `del x` needs the name to exist, too
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
            and last_identifier(where.func) in ("globals", "vars", "dir")
        ):
            self.names.guarded.add(str(node.left.value))
        self.generic_visit(node)

    def _is_injected(self, node: ast.expr, *injected: str) -> bool:
        """Return whether an expression is one of the names that are injected into every function."""
        return (
            isinstance(node, ast.Name)
            and node.id in injected
            and node.id not in self.names.bound
            and self._scope.reads_global(node.id)
        )

    def _look_up(self, node: ast.expr, name: object) -> None:
        if isinstance(name, str) and name.isidentifier():
            for part in self._recorded():
                part.lookups.append(Use(name, node.lineno, self._owner, self._lookup_required))

    def visit_Call(self, node: ast.Call) -> None:
        if self._is_injected(node.func, *_LOOKUPS):
            keyword = _LOOKUPS[last_identifier(node.func)]
            arguments = [*node.args, *(word.value for word in node.keywords if word.arg == keyword)]
            if len(arguments) == 1 and isinstance(arguments[0], ast.Constant):
                self._look_up(node, arguments[0].value)
        self.generic_visit(node)

    def _is_context_mapping(self, node: ast.expr) -> bool:
        return (
            isinstance(node, ast.Attribute)
            and node.attr in ("dependencies", "constants", "resources")
            and self._is_injected(node.value, "context")
        )

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if (
            self._is_context_mapping(node.value)
            and node.attr not in _MAPPING_METHODS
            and node.attr[:2] != "__"
        ):
            self._look_up(node, node.attr)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if self._is_context_mapping(node.value) and isinstance(node.slice, ast.Constant):
            self._look_up(node, node.slice.value)
        self.generic_visit(node)

    # -- scopes -----------------------------------------------------------------------------------------

    def _type_parameters(self, node: Any) -> _Scope:
        """Return the scope that ``def f[T]`` adds around a definition (Python 3.12)."""
        parameters = getattr(node, "type_params", ())
        if not parameters:
            return self._scope
        scope = _Scope("function", {p.name for p in parameters}, {}, self._scope, set())
        with self._override(_scope=scope, _name_required=False):  # their bounds are evaluated on demand
            for parameter in parameters:
                self.generic_visit(parameter)
        return scope

    def visit_TypeAlias(self, node: Any) -> None:
        """Read ``type X = ...``, whose value is evaluated on demand."""
        with self._override(_scope=self._type_parameters(node), _name_required=False):
            self.visit(node.value)

    def _function(self, node: FunctionNode) -> None:
        if self._scope.parent is None:
            self.names.functions[node.name] = node
        with self._override(_owner=self._owner or node.name):
            self._visit_all([*node.decorator_list, *node.args.defaults, *node.args.kw_defaults])
            with self._override(_scope=self._type_parameters(node)):
                arguments = all_arguments(node.args)
                self._annotations([*(arg.annotation for arg in arguments), node.returns])
                part, is_fixed = self._part, self._is_fixed
                if part is self.names.top_level:  # a method runs when its class is used
                    part = self.names.parts.setdefault(self._owner, Part())
                    is_fixed |= not _are_plain(node.decorator_list, _PLAIN_DECORATORS)
                scope = self._new_scope("function", Bindings(node.body, [arg.arg for arg in arguments]))
                with self._override(
                    _scope=scope, _part=part, _name_required=True, _lookup_required=True, _is_fixed=is_fixed
                ):
                    self._visit_all(node.body)

    def _annotations(self, nodes: Iterable[ast.expr | None]) -> None:
        """Read annotations that are evaluated with the code around them, or may be later."""
        nodes = [node for node in nodes if node is not None]
        if not nodes:
            return
        if self._part is not self.names.top_level:
            if self._eager_annotations:
                self._visit_all(nodes)
        elif self._eager_annotations:
            with self._override(_part=self.names.evaluated):
                self._visit_all(nodes)
        else:
            with self._override(_part=self.names.annotations, _name_required=False, _lookup_required=False):
                self._visit_all(nodes)

    visit_FunctionDef = _function
    visit_AsyncFunctionDef = _function

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_all([*node.args.defaults, *node.args.kw_defaults])
        found = Bindings([node.body], [arg.arg for arg in all_arguments(node.args)])
        scope = self._new_scope("function", found)
        with self._override(_scope=scope, _name_required=True, _lookup_required=True):
            self.visit(node.body)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        with self._override(_owner=self._owner or node.name):
            self._visit_all(node.decorator_list)
            with self._override(_scope=self._type_parameters(node)):
                self._visit_all([*node.bases, *node.keywords])
                scope = self._new_scope("class", Bindings(node.body))
                is_fixed = self._is_fixed or not _are_plain(node.decorator_list, _PLAIN_CLASS_DECORATORS)
                with self._override(_scope=scope, _is_fixed=is_fixed):
                    for statement in node.body:
                        self.visit(statement)
                        scope.bound_so_far.update(Bindings([statement]).defined)

    def _comprehension(self, node: Comprehension) -> None:
        first, *others = node.generators
        self.visit(first.iter)  # belongs to the enclosing scope
        found = Bindings(generator.target for generator in node.generators)
        with self._override(_scope=_Scope("function", found.local, {}, self._scope, set())):
            self._visit_all([first.target, *first.ifs])
            for generator in others:
                self.visit(generator)
            elements = [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]
            self._visit_all(elements)

    visit_ListComp = _comprehension
    visit_SetComp = _comprehension
    visit_DictComp = _comprehension
    visit_GeneratorExp = _comprehension

    # -- code that does not run, or that handles a missing name -----------------------------------------

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if self._scope.kind != "function":
            self._annotations([node.annotation])
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
            caught |= {last_identifier(kind) for kind in kinds}
        # `except Exception` around a whole body does not mean that a name may be missing.
        with self._override(
            _name_required=self._name_required and "NameError" not in caught,
            _lookup_required=self._lookup_required
            and not caught & {"LookupError", "RequirementMissingError"},
        ):
            self._visit_all(node.body)
        self._visit_all([*node.handlers, *node.orelse, *node.finalbody])

    visit_Try = _try
    visit_TryStar = _try


def _are_plain(decorators: Iterable[ast.expr], plain: Collection[str]) -> bool:
    targets = (node.func if isinstance(node, ast.Call) else node for node in decorators)
    return all(last_identifier(target) in plain for target in targets)
