"""Parses the source of a definition, with actionable errors."""

from __future__ import annotations

import ast
import re

from ..errors import DefinitionSyntaxError

__all__ = ["normalise", "parse"]

_IPYTHON = re.compile(r"\s*[!%?]|\s*%*[\w.*]+\?{1,2}\s*$|\s*[\w\s,]+=\s*[!%]")


def normalise(source: str) -> str:
    r"""Return source with ``\n`` as line ends, and one of them at its end.

    Examples
    --------
    >>> normalise("a = 1\r\nb = 2")
    'a = 1\nb = 2\n'
    """
    text = source.replace("\r\n", "\n").replace("\r", "\n")
    return text if text.endswith("\n") else text + "\n"


def parse(source: str, first_line: int = 1) -> ast.Module:
    r"""Return the tree of a module that compiles.

    Parameters
    ----------
    source : str
        Its source, normalised.
    first_line : int
        The number of its first line, for errors.

    Raises
    ------
    DefinitionSyntaxError
        If it does not compile. The message names the line and shows it.

    Examples
    --------
    >>> try:
    ...     parse("x = 1\n!ls\n")
    ... except DefinitionSyntaxError as error:
    ...     print(error)
    line 2: this is IPython syntax; cells of functions are plain Python
        !ls
    """
    try:
        tree = ast.parse(source)
        compile(tree, "<wpc>", "exec", dont_inherit=True)
    except SyntaxError as error:
        # `from None`: the message says everything, and a second traceback would hide it.
        raise _syntax_error(error, source, first_line) from None
    except (ValueError, RecursionError, MemoryError) as error:  # null bytes; lone surrogates; too deep
        raise DefinitionSyntaxError(f"the source cannot be compiled: {error}") from None
    return tree


def _syntax_error(error: SyntaxError, source: str, first_line: int) -> DefinitionSyntaxError:
    lines = source.split("\n")
    number = error.lineno or 0
    text = lines[number - 1] if 0 < number <= len(lines) else ""
    message = error.msg
    if _IPYTHON.match(text):
        message = "this is IPython syntax; cells of functions are plain Python"
    elif message == "'await' outside function" or (
        "outside" in message and "async" in message and text[:1].strip()
    ):
        message = (
            "await outside of a function; cells of functions are plain Python, so put it into an `async def`"
        )
    line = number + first_line - 1 if number else 0
    where = f"line {line}: " if line else ""
    shown = f"\n    {text.strip()}" if text.strip() else ""
    return DefinitionSyntaxError(f"{where}{message}{shown}", line)
