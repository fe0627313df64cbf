"""What is known of a function that is not sent as source: its place, its parameters, what kind it is."""

from __future__ import annotations

import ast
import inspect
from typing import Any

from ..nameless import NAMELESS
from .text import unwrap

__all__ = ["metadata_of"]


def metadata_of(function: Any) -> dict[str, Any]:
    """Return the metadata in the draft of a function that is not sent as source."""
    is_own = isinstance(function, type) or function.__doc__ is not type(function).__doc__
    doc = (inspect.getdoc(function) or "").strip() if is_own else ""
    plain = unwrap(function)
    return {
        **_place(plain),
        "signature": _signature(function),
        "doc": doc.splitlines()[0] if doc else "",
        "is_async": inspect.iscoroutinefunction(plain) or inspect.isasyncgenfunction(plain),
        "is_generator": inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function),
    }


def _place(function: object) -> dict[str, Any]:
    """Return the file and the line that a function is defined in."""
    code = getattr(function, "__code__", None)
    try:
        file = inspect.getsourcefile(function) or ""  # type: ignore[arg-type]
        line = code.co_firstlineno if code is not None else inspect.getsourcelines(function)[1]  # type: ignore[arg-type]
    except (OSError, TypeError):
        return {}
    return {} if file in NAMELESS else {"file": file, "first_line": line}


class _Dots:
    """The default of a parameter whose own text is no Python."""

    def __repr__(self) -> str:
        return "..."


def _signature(function: Any) -> str:
    """Return the parameters of a function as text that parses."""
    empty = inspect.Signature.empty
    try:
        signature = inspect.signature(function).replace(return_annotation=empty)
    except (ValueError, TypeError):
        return "(...)"  # some C functions have no signature
    if not _parses(text := str(signature)):
        parameters = [
            each.replace(
                annotation=empty,
                default=each.default
                if each.default is empty or _parses(f"(a={each.default!r})")
                else _Dots(),
            )
            for each in signature.parameters.values()
        ]
        text = str(signature.replace(parameters=parameters))
    return text


def _parses(parameters: str) -> bool:
    try:
        ast.parse(f"def f{parameters}: pass")
    except (SyntaxError, ValueError):
        return False
    return True
