"""The arguments of a call, checked against the signature of its function before anything is sent.

A signature becomes an empty function with the same parameters, compiled once: to call it is the check. So
Python itself decides, and the check costs as little as a call.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
from collections.abc import Callable
from typing import Any

__all__ = ["accept_all", "argument_check", "is_exact", "one_line", "plain_counts"]

_DECORATED = re.compile(r"^[ \t]*@", re.MULTILINE)


def accept_all(*args: Any, **kwargs: Any) -> None:
    """Accept any arguments: the check of a function whose signature is not known."""


@functools.lru_cache(256)  # a function that is defined again has mostly the same
def argument_check(name: str, signature: str) -> Callable[..., object]:
    """Return a function that does nothing, and takes the arguments that a signature takes.

    Parameters
    ----------
    name : str
        The name of the function, for the TypeError.
    signature : str
        Its parameters as text. Nothing in it is evaluated. `accept_all` is returned if it does not parse.

    Examples
    --------
    >>> check = argument_check("simulate", "(n, /, scale: float = pi, *, seed)")
    >>> check(10, seed=1)
    >>> check(10)
    Traceback (most recent call last):
    TypeError: simulate() missing 1 required keyword-only argument: 'seed'
    """
    try:
        tree = ast.parse(f"def {name}{signature}: pass")
        function: Any = tree.body[0]
        arguments = function.args
    except (SyntaxError, ValueError, AttributeError, RecursionError):
        return accept_all
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    for argument in (*every, arguments.vararg, arguments.kwarg):
        if argument is not None:
            argument.annotation = None
    nothing = ast.copy_location(ast.Constant(None), function)
    arguments.defaults = [nothing for _ in arguments.defaults]
    arguments.kw_defaults = [default and nothing for default in arguments.kw_defaults]
    function.returns = None
    made: dict[str, Any] = {}
    exec(compile(tree, f"<the signature of {name}>", "exec", dont_inherit=True), made)
    check: Callable[..., object] = made[name]
    return check


def plain_counts(check: Callable[..., object]) -> range:
    """Return how many arguments without a name a check surely accepts, if there are no others.

    Examples
    --------
    >>> plain_counts(argument_check("f", "(a, b=1)"))
    range(1, 3)
    >>> plain_counts(argument_check("f", "(a, *, key)"))
    range(0, 0)
    """
    function: Any = check
    code, defaults = function.__code__, function.__defaults__ or ()
    if code.co_kwonlyargcount > len(function.__kwdefaults__ or ()):
        return range(0)
    most = sys.maxsize - 1 if code.co_flags & inspect.CO_VARARGS else code.co_argcount
    return range(code.co_argcount - len(defaults), most + 1)


def is_exact(name: str, source: str, cell: str = "") -> bool:
    r"""Return whether a function surely takes what its ``def`` says: nothing decorates or replaces it.

    Parameters
    ----------
    name : str
        The name of its ``def``.
    source : str
        Its own source, with decorators; empty if there is none.
    cell : str
        The whole source that it comes from.

    Examples
    --------
    >>> is_exact("f", "def f(x): return x", "K = 1\ndef f(x): return x")
    True
    >>> is_exact("f", "def f(x): return x", "def f(x): return x\nf = partial(f, 1)")
    False
    >>> is_exact("f", "@decorated\ndef f(x): return x")
    False
    """
    head, _, _ = source.partition("def ")
    if _DECORATED.search(head):
        return False
    # Some other use may look like that as well; then nothing is checked, which does no harm.
    binds = rf"\bdef\s+{name}\b|\bclass\s+{name}\b|\b{name}\b(?=\s*(?::[^=\n]*)?=(?!=))|\bas\s+{name}\b"
    return len(re.findall(binds, cell)) <= 1


def one_line(error: TypeError) -> str:
    """Return what is wrong with the arguments of a call, without Python's kinds of parameters.

    Examples
    --------
    >>> one_line(TypeError("simulate() missing 1 required positional argument: 'n'"))
    "simulate() missing 1 required argument: 'n'"
    """
    return str(error).replace(" required positional argument", " required argument")
