"""Frames of a traceback as they are shown: none of ours, and those of workers with their parameters."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Iterator
from types import FrameType, TracebackType

from wpc_magic.pool.options import PRIVATE

__all__ = ["is_from_worker", "module_of", "shown_frames", "strip_own_frames"]

_PACKAGE = __name__.partition(".")[0] + "."
_SERIALIZERS = frozenset({"cloudpickle", "tblib"})


def strip_own_frames(tb: TracebackType | None) -> TracebackType | None:
    """Return a traceback without the frames of this package; None if no frame is left.

    Frames of the serializers go with those of the package that have called them.
    """
    kept, ours = [], False
    for entry in _entries(tb):
        module = module_of(entry.tb_frame)
        if module.startswith(_PACKAGE):
            ours = True
        elif not (ours and module.partition(".")[0] in _SERIALIZERS):
            kept.append(entry)
    return _chained(kept)


def shown_frames(tb: TracebackType | None, parameters: bool = True) -> TracebackType | None:
    """Return a traceback as it is shown: `strip_own_frames`, and frames of workers with their parameters.

    Parameters
    ----------
    tb : traceback or None
        The traceback.
    parameters : bool
        Whether frames that came from a worker, where their variables have stayed, get the names of their
        function's parameters: ``in bad(rows)``.
    """
    entries = list(_entries(strip_own_frames(tb)))
    if parameters:
        entries = [_with_parameters(entry) if is_from_worker(entry.tb_frame) else entry for entry in entries]
    return _chained(entries)


def module_of(frame: FrameType) -> str:
    """Return the name of the module of a frame."""
    return str(frame.f_globals.get("__name__"))


def is_from_worker(frame: FrameType) -> bool:
    """Return whether a frame stands for one of another process, as `tblib` makes them."""
    return "__traceback_maker" in frame.f_code.co_names


def _entries(tb: TracebackType | None) -> Iterator[TracebackType]:
    while tb is not None:
        yield tb
        tb = tb.tb_next


def _chained(entries: list[TracebackType]) -> TracebackType | None:
    chained = None
    for entry in reversed(entries):
        chained = TracebackType(chained, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return chained


class _Stop(Exception):
    pass


def _with_parameters(entry: TracebackType) -> TracebackType:
    """Return an entry for the same line whose frame has the parameters of its function."""
    code = entry.tb_frame.f_code
    names: list[str] = []
    source, first_line = "raise stop", entry.tb_lineno
    if not code.co_name.startswith(PRIVATE):  # a cell, which is no function for its author
        names, first_line = _parameters(code.co_filename, code.co_name, entry.tb_lineno)
        if not names:
            return entry
        source = f"def {code.co_name}({', '.join(names)}): raise stop"
    tree = ast.increment_lineno(ast.parse(source), first_line - 1)
    for node in ast.walk(tree):  # the frame stands at the line of the error
        if isinstance(node, ast.Raise | ast.Name):
            node.lineno = node.end_lineno = entry.tb_lineno
    namespace = {**entry.tb_frame.f_globals, "stop": _Stop}
    try:
        exec(compile(tree, code.co_filename, "exec"), namespace)
        namespace[code.co_name](*[None] * sum(not name.startswith("*") for name in names))
    except _Stop as stop:
        return (stop.__traceback__ and stop.__traceback__.tb_next) or entry
    except Exception:  # a name that is none in this Python
        pass
    return entry


def _parameters(filename: str, name: str, line: int) -> tuple[list[str], int]:
    """Return the parameters of the function around a line, and its first line; none if it is not known."""
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except (SyntaxError, ValueError, RecursionError):
        return [], line
    found: ast.FunctionDef | ast.AsyncFunctionDef | None = None
    for node in ast.walk(tree):  # the innermost comes last
        if (
            isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name == name
            and node.lineno <= line <= (node.end_lineno or line)
        ):
            found = node
    if found is None:
        return [], line
    of = found.args
    names = [each.arg for each in (*of.posonlyargs, *of.args, *of.kwonlyargs)]
    names += [f"*{of.vararg.arg}"] if of.vararg else []
    names += [f"**{of.kwarg.arg}"] if of.kwarg else []
    return names, min([found.lineno, *(each.lineno for each in found.decorator_list)])
