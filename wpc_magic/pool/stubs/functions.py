"""One function as it stands in a stub: the class of ``pool.call.NAME``, with the methods of a `Procedure`."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterable

from ..core.snapshot import FunctionInfo
from ..keywords import MapKeywords
from .classes import last_name
from .names import Definer, StubNames

__all__ = ["FunctionStub"]

_STREAMS = {"AsyncGenerator", "AsyncIterable", "AsyncIterator", "Generator", "Iterable", "Iterator"}
_OF_MAPS = {*MapKeywords.__annotations__, "on_error"}
_LONGEST = 30  # characters of a default
_MOST = 8  # so many arguments of an item of a starmap are told apart


class FunctionStub:
    """The types of one function.

    Parameters
    ----------
    node : ast.FunctionDef or ast.AsyncFunctionDef
        Its definition.
    info : FunctionInfo
        What is known of it.
    names : StubNames
        The names of the stub.
    definer : Definer
        Knows the names in its annotations.
    """

    def __init__(
        self,
        node: ast.FunctionDef | ast.AsyncFunctionDef,
        info: FunctionInfo,
        names: StubNames,
        definer: Definer,
    ) -> None:
        self._info = info
        self._node = node
        self._type_parameters = getattr(node, "type_params", [])
        own = {each.name for each in self._type_parameters}

        def written(annotation: ast.expr | None) -> ast.expr:
            return names.annotation(annotation, definer, own)

        self._returns = written(node.returns)
        self._item = written(_item_of(node.returns))
        self._arguments = _typed(node.args, written)

    def text(self, name: str) -> str:
        """Return the class, under this name."""
        methods = [*self._calls(), *self._maps()]
        return f"class {name}(Procedure):\n" + "\n".join(f"    {line}" for line in methods)

    def _calls(self) -> list[str]:
        local, value = self._returns, self._returns
        is_stream = self._info.is_generator
        if isinstance(self._node, ast.AsyncFunctionDef) and not is_stream:
            local = _of("Coroutine", ast.Name("Any"), ast.Name("Any"), value)
        sent = _changed(self._arguments, _argument)
        result = _of("ResultStream", self._item) if is_stream else _of("CallFuture", value)
        doc = self._info.doc.replace("\\", "\\\\").replace('"', "'")
        text = [_method("__call__", sent, result, self._type_parameters)]
        if doc:
            text = [text[0].removesuffix(" ..."), f'    """{doc}"""']
        if not is_stream:  # whose items cannot stay with the pool
            text.append(_method("remote", sent, result, self._type_parameters))
        return [*text, _method("local", self._arguments, local, self._type_parameters)]

    def _maps(self) -> list[str]:
        arguments = self._arguments
        positional = [*arguments.posonlyargs, *arguments.args]
        if not (positional or arguments.vararg):
            return []  # a map needs an argument that differs
        by_name = [*arguments.args, *arguments.kwonlyargs]
        shared = [each for each in by_name if each not in positional[:1] and each.arg not in _OF_MAPS]
        value = _of("list", self._item) if self._info.is_generator else self._returns
        text: list[str] = []
        for name, items in (("map", None), ("starmap", _items(positional, arguments.vararg))):
            lines: list[str] = []
            for on_error, result in _outcomes(value):
                taken = _map_arguments(arguments, positional, shared, items, on_error)
                lines += ["@overload"] if not _is_any(value) else []
                lines.append(_method(name, taken, _of("MapResults", result), self._type_parameters))
            if items is not None:  # a `Procedure` goes over any items
                lines[0] += "  # type: ignore[override]"
            text += lines
        return text


def _outcomes(value: ast.expr) -> list[tuple[tuple[str, ...], ast.expr]]:
    """Return what a map gives, by `on_error`."""
    if _is_any(value):
        return [(("raise", "return", "skip"), value)]
    with_errors = ast.BinOp(value, ast.BitOr(), ast.Name("BaseException"))
    return [(("raise", "skip"), value), (("return",), with_errors)]


def _map_arguments(
    arguments: ast.arguments,
    positional: list[ast.arg],
    shared: list[ast.arg],
    items: ast.expr | None,
    on_error: tuple[str, ...],
) -> ast.arguments:
    """Return what a map takes: what it goes over, keywords that are the same for all items, and options."""
    over, rest = [], None
    if items is not None:
        shared = [each for each in shared if each.arg != "items"]
    else:
        over = [
            ast.arg(f"each_{each.arg}", _of("Iterable", _argument(each.annotation))) for each in positional
        ]
        rest = arguments.vararg and ast.arg("each", _of("Iterable", _argument(arguments.vararg.annotation)))
    keywords = [ast.arg(each.arg, _argument(each.annotation)) for each in shared]
    defaults: list[ast.expr | None] = [ast.Constant(...) for _ in keywords]
    keywords.append(ast.arg("on_error", _of("Literal", *(ast.Constant(each) for each in on_error))))
    defaults.append(ast.Constant(...) if "raise" in on_error else None)
    others = ast.Name("Any") if arguments.kwarg else _of("Unpack", ast.Name("MapKeywords"))
    return ast.arguments(
        posonlyargs=over,
        args=[ast.arg("items", items)] if items is not None else [],
        vararg=rest or None,
        kwonlyargs=keywords,
        kw_defaults=defaults,
        kwarg=ast.arg("options", others),
        defaults=[ast.Constant(...) for _ in over[1:]],
    )


def _items(positional: list[ast.arg], vararg: ast.arg | None) -> ast.expr:
    """Return what a starmap goes over: tuples of arguments, the last of which may be left out."""
    if vararg or len(positional) > _MOST:
        return _of("Iterable", _of("Iterable", ast.Name("Any")))
    kinds = [_argument(each.annotation) for each in positional]
    tuples = [_of("tuple", *kinds[:count]) for count in range(1, len(kinds) + 1)]
    union: ast.expr = tuples[0]
    for each in tuples[1:]:
        union = ast.BinOp(union, ast.BitOr(), each)
    return _of("Iterable", union)


def _typed(arguments: ast.arguments, written: Callable[[ast.expr | None], ast.expr]) -> ast.arguments:
    """Return parameters with their types; a default that is None is one of the values."""
    made = _changed(arguments, written)
    plain = [*made.posonlyargs, *made.args]
    pairs = zip(plain[len(plain) - len(made.defaults) :], made.defaults, strict=True)
    made.defaults = [_default(each, default) for each, default in pairs]
    by_name = zip(made.kwonlyargs, made.kw_defaults, strict=True)
    made.kw_defaults = [default and _default(each, default) for each, default in by_name]
    return made


def _default(argument: ast.arg, default: ast.expr) -> ast.expr:
    """Return a default as it stands in a stub: as it is where its type is surely right."""
    kind = argument.annotation
    assert kind is not None
    value = default.value if isinstance(default, ast.Constant) else ...
    if value is None and not _takes_none(kind):
        argument.annotation = ast.BinOp(kind, ast.BitOr(), ast.Constant(None))
    fits = isinstance(kind, ast.Name) and kind.id in ("Any", type(value).__name__)
    return default if value is None or (fits and len(repr(value)) <= _LONGEST) else ast.Constant(...)


def _takes_none(kind: ast.expr) -> bool:
    words = {last_name(each) for each in ast.walk(kind) if isinstance(each, ast.expr)}
    nothing = any(isinstance(each, ast.Constant) and each.value is None for each in ast.walk(kind))
    return nothing or not words.isdisjoint(("Any", "Optional", "object"))


def _changed(arguments: ast.arguments, change: Callable[[ast.expr | None], ast.expr]) -> ast.arguments:
    made = copy.deepcopy(arguments)
    every = [*made.posonlyargs, *made.args, *made.kwonlyargs]
    for each in (*every, made.vararg, made.kwarg):
        if each is not None:
            each.annotation = change(each.annotation)
    return made


def _argument(kind: ast.expr | None) -> ast.expr:
    """Return the type of an argument that may be the future of a call as well."""
    if kind is None or _is_any(kind):
        return ast.Name("Any")
    is_many = isinstance(kind, ast.Starred) or (
        isinstance(kind, ast.Subscript) and last_name(kind.value) == "Unpack"
    )
    is_of_parameters = isinstance(kind, ast.Attribute) and kind.attr in ("args", "kwargs")
    return kind if is_many or is_of_parameters else _of("Argument", kind)


def _item_of(returns: ast.expr | None) -> ast.expr | None:
    """Return the type of the items, given the annotation of what yields them."""
    if isinstance(returns, ast.Constant) and isinstance(returns.value, str):
        try:
            returns = ast.parse(returns.value.strip(), mode="eval").body
        except (SyntaxError, ValueError):
            return None
    if not isinstance(returns, ast.Subscript) or last_name(returns.value) not in _STREAMS:
        return None
    of = returns.slice
    return of.elts[0] if isinstance(of, ast.Tuple) and of.elts else of


def _is_any(kind: ast.expr) -> bool:
    return isinstance(kind, ast.Name) and kind.id == "Any"


def _of(name: str, *kinds: ast.expr) -> ast.expr:
    return ast.Subscript(ast.Name(name), kinds[0] if len(kinds) == 1 else ast.Tuple([*kinds]))


def _method(
    name: str, arguments: ast.arguments, returns: ast.expr, type_parameters: Iterable[ast.AST]
) -> str:
    """Return a method that takes these arguments, all after itself."""
    words = {each.arg for each in ast.walk(arguments) if isinstance(each, ast.arg)}
    own = ast.arg("self_" if "self" in words else "self")
    made = copy.copy(arguments)
    made.posonlyargs = [own, *arguments.posonlyargs]
    of = ", ".join(map(ast.unparse, type_parameters))
    return f"def {name}{f'[{of}]' if of else ''}({ast.unparse(made)}) -> {ast.unparse(returns)}: ..."
