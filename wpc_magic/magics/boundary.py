"""The one place where a magic's line becomes an answer, and an error becomes what the user sees."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from IPython.core.error import UsageError
from IPython.core.magic import cell_magic, line_magic, no_var_expand

from wpc_magic.notebook.tracebacks import without_ours
from wpc_magic.pool.errors import CallError, WpcError

from .options import LineOptions, Option, Positional
from .parsing import UsageMistake
from .session import Said

__all__ = ["magic"]

Method = TypeVar("Method", bound=Callable[..., Any])


def magic(
    *options: Option, words: Positional | None = None, cell: bool = False, scope: bool = False
) -> Callable[[Method], Method]:
    """Make a method a magic that is given its parsed line.

    Parameters
    ----------
    *options : Option
        The options of its line.
    words : Positional, optional
        What else the line takes.
    cell : bool
        Whether it is a cell magic; the cell's text is its second argument.
    scope : bool
        Whether it takes ``local_ns``, the names where the magic stands.

    Notes
    -----
    The lines are code, or names of code: IPython is told to leave ``{x}`` and ``$x`` in them alone.
    """

    def decorate(method: Method) -> Method:
        name = method.__name__
        line_options = LineOptions(("%%" if cell else "%") + name, options, words)

        @functools.wraps(method)
        def run(self: Any, line: str, *rest: Any, **scoped: Any) -> Any:
            __tracebackhide__ = True
            try:
                answer = method(self, line_options.parse(line), *rest, **scoped)
            except (UsageMistake, WpcError) as error:
                raise _shown(error, line_options.magic) from error.__cause__
            except BaseException as error:
                _hide_ours(error)
                raise
            finally:
                self.settle()
            if isinstance(answer, Said):
                self.tell(answer.text)
                return None
            return answer

        run.__doc__ = _documentation(method, line_options)
        run.line_options = line_options  # type: ignore[attr-defined]  # for completion
        run.needs_local_scope = scope  # type: ignore[attr-defined]
        mark = cell_magic if cell else line_magic
        return cast("Method", mark(no_var_expand(run)))

    return decorate


def _shown(error: WpcError | UsageMistake, magic: str) -> Exception:
    """Return what is raised for an error of ours.

    IPython shortens the exact class `UsageError` to one line, and nothing else: not its subclasses. An error
    of a call that did run is no mistake in the line; it keeps its class, for ``except`` in the notebook, and
    asks to be shown as its own text. What the function itself raised does not come here at all.
    """
    if isinstance(error, CallError):
        _show_as(error, f"{type(error).__name__}: {error}")
        return error
    return UsageError(f"{magic}: {error}" if isinstance(error, UsageMistake) else str(error))


def _hide_ours(error: BaseException) -> None:
    """Take our frames off what the function, an argument on the line, or the stop button has raised.

    If there is nothing but our frames, and nobody has pressed the button, the mistake is ours: all is shown.
    """
    traceback = without_ours(error.__traceback__)
    if traceback is not None:
        error.__traceback__ = traceback
    elif isinstance(error, KeyboardInterrupt):
        _show_as(error, type(error).__name__)


def _show_as(error: BaseException, text: str) -> None:
    """Have IPython show an exception as a text."""
    error._render_traceback_ = lambda: [text]  # type: ignore[attr-defined]


def _documentation(method: Callable[..., Any], line_options: LineOptions) -> str:
    """Return what ``?`` shows: the summary, the usage and the options, then the rest of the docstring."""
    summary, _, rest = (inspect.getdoc(method) or "").partition("\n")
    return "\n\n".join(part for part in (summary, line_options.help(), rest.strip()) if part)
