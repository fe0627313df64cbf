"""A class of a cell as it stands in a stub: what it has, with types, and without the code."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

__all__ = ["class_stub", "last_name"]

_KEPT = {"abstractmethod", "cached_property", "classmethod", "override", "property", "setter", "staticmethod"}
_FIELDS = {"Field", "auto", "field"}


def class_stub(
    node: ast.ClassDef, annotation: Callable[[Any], Any], is_known: Callable[[str], bool]
) -> ast.ClassDef | None:
    r"""Return a class without its code; None if what it is made by is not known.

    Parameters
    ----------
    node : ast.ClassDef
        The class, which is changed.
    annotation : callable
        Given an annotation, returns it as it stands in the stub.
    is_known : callable
        Given a name, returns whether the stub has it.

    Examples
    --------
    >>> node = ast.parse("class Point:\n    x: int\n    def move(self, by): return by").body[0]
    >>> print(ast.unparse(class_stub(node, lambda node: node, lambda name: True)))
    class Point:
        x: int
    <BLANKLINE>
        def move(self, by: Any) -> Any:
            ...
    """
    made_by = [*node.decorator_list, *node.bases, *(keyword.value for keyword in node.keywords)]
    if not all(_is_known(each, is_known) for each in made_by):
        return None  # a decorator, a base or a metaclass may change all of it
    attributes = _attributes(node, annotation)  # first: then the code is dropped
    body = [made for each in node.body for made in _member(each, annotation, is_known)]
    declared = {name for each in body if (name := _name(each))}
    has_fields = bool(node.decorator_list or node.bases)  # in a dataclass, each annotation is one
    for name, kind in attributes.items():
        if name not in declared:
            body.append(_property(name, kind) if has_fields else _declared(name, kind))
    node.body = body or [_ellipsis()]
    return node


def _member(
    node: ast.stmt, annotation: Callable[[Any], Any], is_known: Callable[[str], bool]
) -> Iterator[ast.stmt]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield _method(node, annotation, is_known)
    elif isinstance(node, ast.ClassDef):
        inner = class_stub(node, annotation, is_known)
        yield inner if inner is not None else _untyped(node.name)
    elif isinstance(node, ast.AnnAssign):
        node.annotation = annotation(node.annotation)
        if node.value is not None and not _is_field(node.value, is_known):
            node.value = ast.Constant(...)
        yield node
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if not isinstance(target, ast.Name) or target.id == "__slots__":
                continue
            if isinstance(node.value, ast.Constant) or _is_field(node.value, is_known):
                yield ast.Assign([target], node.value, lineno=0)
            else:
                yield _untyped(target.id)


def _method(
    node: ast.FunctionDef | ast.AsyncFunctionDef,
    annotation: Callable[[Any], Any],
    is_known: Callable[[str], bool],
) -> ast.stmt:
    names = [last_name(each) for each in node.decorator_list]
    decorators = zip(names, node.decorator_list, strict=True)
    known = all(name == "setter" or _is_known(each, is_known) for name, each in decorators)
    if not known or not set(names) <= _KEPT:
        return _untyped(node.name)
    arguments = node.args
    plain = [*arguments.posonlyargs, *arguments.args]
    first = plain[:1] if "staticmethod" not in names else []
    for argument in (*plain, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if argument is not None and (argument.annotation is not None or argument not in first):
            argument.annotation = _or_any(argument.annotation, annotation)
    arguments.defaults = [ast.Constant(...) for _ in arguments.defaults]
    arguments.kw_defaults = [default and ast.Constant(...) for default in arguments.kw_defaults]
    gives_nothing = node.name in ("__init__", "__post_init__")
    node.returns = ast.Constant(None) if gives_nothing else _or_any(node.returns, annotation)
    node.body = [_ellipsis()]
    return node


def _attributes(node: ast.ClassDef, annotation: Callable[[Any], Any]) -> dict[str, ast.expr]:
    """Return what its methods set in the instance, with the type of the parameter that it is set to."""
    found: dict[str, ast.expr] = {}
    for method in node.body:
        if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) or not method.args.args:
            continue
        own = method.args.args[0].arg
        parameters = {each.arg: each.annotation for each in (*method.args.args, *method.args.kwonlyargs)}
        for target, kind in _set_in(method, parameters):
            match target:
                case ast.Attribute(value=ast.Name(id=owner), attr=name) if owner == own and name not in found:
                    found[name] = _or_any(copy.deepcopy(kind), annotation)
    return found


def _set_in(
    method: ast.stmt, parameters: Mapping[str, ast.expr | None]
) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Yield what a method assigns to, and its type, if that is known."""
    for node in ast.walk(method):
        if isinstance(node, ast.AnnAssign):
            yield node.target, node.annotation
        elif isinstance(node, ast.Assign):
            value = node.value
            kind = parameters.get(value.id) if isinstance(value, ast.Name) else None
            yield from ((target, kind) for target in node.targets)


def _name(node: ast.stmt) -> str:
    """Return the name that a statement in a class binds."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
        return node.targets[0].id
    return str(getattr(node, "name", ""))


def _untyped(name: str) -> ast.stmt:
    return _declared(name, ast.Name("Any"))


def _declared(name: str, kind: ast.expr) -> ast.stmt:
    return ast.AnnAssign(ast.Name(name), kind, None, 1)


def _property(name: str, kind: ast.expr) -> ast.stmt:
    made = ast.parse(f"@property\ndef {name}(self): ...").body[0]
    assert isinstance(made, ast.FunctionDef)
    made.returns = kind
    return made


def _ellipsis() -> ast.stmt:
    return ast.Expr(ast.Constant(...))


def _or_any(node: ast.expr | None, annotation: Callable[[Any], Any]) -> Any:
    return ast.Name("Any") if node is None else annotation(node)


def _is_field(value: ast.expr, is_known: Callable[[str], bool]) -> bool:
    """Return whether it says of a field what a type checker has to know: ``field(default_factory=list)``."""
    return isinstance(value, ast.Call) and last_name(value.func) in _FIELDS and _is_known(value, is_known)


def _is_known(node: ast.expr, is_known: Callable[[str], bool]) -> bool:
    return all(is_known(each.id) for each in ast.walk(node) if isinstance(each, ast.Name))


def last_name(node: ast.expr) -> str:
    """Return the name at the end of a dotted one; of a call that of what is called; else an empty text.

    Examples
    --------
    >>> last_name(ast.parse("functools.lru_cache(8)", mode="eval").body)
    'lru_cache'
    """
    if isinstance(node, ast.Call):
        return last_name(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
