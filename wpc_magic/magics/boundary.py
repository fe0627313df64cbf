"""The decorator of all magics: parses the line, prints messages, and turns errors into what the user sees."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

from IPython.core.error import UsageError
from IPython.core.magic import cell_magic, line_cell_magic, line_magic, no_var_expand
from IPython.utils.text import DollarFormatter

from wpc_magic.notebook.cell_places import with_cell_numbers
from wpc_magic.notebook.tracebacks import strip_own_frames
from wpc_magic.pool.errors import CallError, WpcError

from .messages import Message
from .options import LineOptions, Option, Positional
from .parsing import UsageMistake

__all__ = ["magic"]

Method = TypeVar("Method", bound=Callable[..., Any])


def magic(
    *options: Option,
    words: Positional | None = None,
    cell: bool = False,
    scope: bool = False,
    line: bool = False,
) -> Callable[[Method], Method]:
    """Make a method a magic that receives its parsed line.

    Parameters
    ----------
    *options : Option
        The options of its line.
    words : Positional, optional
        The other words of the line.
    cell : bool
        Whether it is a cell magic; the text of the cell is its second argument.
    line : bool
        Whether a cell magic is a line magic, too; there it is given None in the place of the cell.
    scope : bool
        Whether it takes ``local_ns``, the local variables where the magic is used.

    Notes
    -----
    IPython must not expand ``{x}`` and ``$x`` in a line with code, where ``{x}`` is a set: there they are
    expanded in the options only. In all other lines they are expanded as in any magic; what cannot be
    expanded is an error.
    """
    is_line_too = line

    def decorate(method: Method) -> Method:
        name = method.__name__
        line_options = LineOptions(("%%" if cell else "%") + name, options, words)

        @functools.wraps(method)
        def run(self: Any, line: str, *rest: Any, local_ns: Any = None) -> Any:
            __tracebackhide__ = True
            rest = rest or (None,) * is_line_too
            scoped = {"local_ns": local_ns} if scope else {}
            try:
                parsed = line_options.parse(line, lambda text: _expanded(text, self.names(local_ns)))
                result = method(self, parsed, *rest, **scoped)
            except (UsageMistake, WpcError) as error:
                text = with_cell_numbers(str(error), self.shell, self.running_number(error))
                raise _to_raise(error, text, line_options.magic) from error.__cause__
            except BaseException as error:
                _hide_own_frames(error)
                raise
            finally:
                self.flush_output()
            if isinstance(result, Message):
                self.print_message(result.text)
                return None
            return result

        shown = [line_options, LineOptions("%" + name, options, words)] if is_line_too else [line_options]
        run.__doc__ = _documentation(method, shown)
        run.line_options = line_options  # type: ignore[attr-defined]  # for completion
        run.needs_local_scope = True  # type: ignore[attr-defined]
        mark = line_cell_magic if is_line_too else cell_magic if cell else line_magic
        return cast("Method", mark(no_var_expand(run)))

    return decorate


def _expanded(text: str, names: Mapping[str, Any]) -> str:
    """Put the values of variables in the place of ``{x}`` and ``$x``."""
    if "{" not in text and "$" not in text:
        return text
    try:
        return str(DollarFormatter().vformat(text, (), dict(names)))
    except Exception as error:
        raise UsageMistake(
            f"cannot expand {text!r}, where {{x}} and $x are variables: {type(error).__name__}: {error}"
        ) from None


def _to_raise(error: WpcError | UsageMistake, text: str, magic: str) -> Exception:
    """Return the exception to raise for an error of this package, whose text is shown as `text`.

    IPython shortens only the exact class `UsageError` to one line, not its subclasses. An error of a call
    that did run is not a mistake in the line; it keeps its class, for ``except`` in the notebook, and is
    shown as its own text. Exceptions that the function itself raised are not passed here.
    """
    if isinstance(error, CallError):
        _show_as(error, f"{type(error).__name__}: {text}")
        return error
    return UsageError(f"{magic}: {text}" if isinstance(error, UsageMistake) else text)


def _hide_own_frames(error: BaseException) -> None:
    """Strip our frames from an exception raised by the function, an argument on the line, or the stop button.

    If all frames are ours, and it is not an interrupt, the bug is ours: the full traceback is shown.
    """
    traceback = strip_own_frames(error.__traceback__)
    if traceback is not None:
        error.__traceback__ = traceback
    elif isinstance(error, KeyboardInterrupt):
        _show_as(error, "\n".join([type(error).__name__, *getattr(error, "__notes__", ())]))


def _show_as(error: BaseException, text: str) -> None:
    """Make IPython show an exception as a text."""
    error._render_traceback_ = lambda: [text]  # type: ignore[attr-defined]


def _documentation(method: Callable[..., Any], line_options: list[LineOptions]) -> str:
    """Return the help for ``?``: the summary, the usage and the options, then the rest of the docstring."""
    summary, _, rest = (inspect.getdoc(method) or "").partition("\n")
    lines = [f"    {each.magic}" for each in line_options[:-1]]
    usage = "\n".join([*lines, line_options[-1].help()])
    return "\n\n".join(part for part in (summary, usage, rest.strip()) if part)
