"""Reads the setup of workers: code that each of them runs before anything else."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from ..checks import shown
from ..errors import OptionError, UnknownNameError
from ..options import RESERVED
from ..wire.protocol import Cell
from ..worker.cells import PREFIX
from .missing import ALWAYS_DEFINED, Fix, find_fix
from .names import ModuleNames, Part, Use, read_names
from .syntax import normalise, parse
from .text import unindent

__all__ = ["SetupDraft", "draft_setup"]


class SetupDraft(NamedTuple):
    """What is known of a setup before it is registered.

    Parameters
    ----------
    cell : Cell
        Its text.
    provides : tuple of str
        The names that it gives to all cells, sorted.
    """

    cell: Cell
    provides: tuple[str, ...]


def draft_setup(
    source: str, look: Callable[[str], Fix | None] | None = None, pool_name: str = "wpc"
) -> SetupDraft:
    r"""Return the draft of a setup.

    Parameters
    ----------
    source : str
        Plain Python.
    look : callable, optional
        Maps a name of the caller's process to the `Fix` that would bring it to the workers.
    pool_name : str
        The variable that holds the pool.

    Raises
    ------
    DefinitionSyntaxError
        If it does not compile.
    UnknownNameError
        If it reads, while it runs, what it has not defined itself: nothing else is there yet.

    Examples
    --------
    >>> draft_setup("import numpy as np\nLIMIT = 3").provides
    ('LIMIT', 'np')
    >>> try:
    ...     draft_setup("np.seterr(all='raise')")
    ... except UnknownNameError as error:
    ...     print(error)
    the setup uses 'np' (line 1), which is not there before anything else. Write in it: import numpy as np
    """
    if not isinstance(source, str):
        raise OptionError(f"source takes a text, not {type(source).__name__}")
    source = unindent(normalise(source))
    found = read_names(parse(source))
    _refuse_unknown(found, look, pool_name)
    provided = found.bound - found.deleted - RESERVED
    digest = hashlib.sha256(f"setup\0{source}".encode(errors="surrogatepass")).hexdigest()[:16]
    cell = Cell(PREFIX + digest, source, f"<ipython-wpc> setup-{digest[:8]}", (), (), "")
    return SetupDraft(cell, tuple(sorted(name for name in provided if not name.startswith("__"))))


def _refuse_unknown(found: ModuleNames, look: Callable[[str], Fix | None] | None, pool_name: str) -> None:
    unknown: dict[str, Use] = {}
    for part in _run(found):
        for use in part.uses:
            is_known = use.name in found.bound or use.name in ALWAYS_DEFINED or use.name in found.guarded
            if use.required and not is_known:
                unknown.setdefault(use.name, use)
    if not unknown or found.has_star_import:
        return
    messages = [
        f"the setup uses {shown(use.name)} (line {use.line}), which is not there before anything else. "
        f"{_advice(find_fix(use.name, found.bound, look, pool_name))}"
        for use in unknown.values()
    ]
    raise UnknownNameError("\n".join(messages), tuple(unknown))


def _run(found: ModuleNames) -> list[Part]:
    """Return the parts that run with the setup: its top level, and what that uses."""
    reached = [found.top_level, found.evaluated]
    for part in reached:  # it grows during the iteration
        for use in part.uses:
            other = found.parts.get(use.name)
            if other is not None and not any(other is each for each in reached):
                reached.append(other)
    return reached


def _advice(fix: Fix) -> str:
    if fix.kind == "dependency":
        module = fix.module or fix.name
        return f"Write in it: import {module}" + (f" as {fix.name}" if module != fix.name else "")
    if fix.kind == "dependency_from":
        alias = f" as {fix.name}" if fix.export != fix.name else ""
        return f"Write in it: from {fix.module} import {fix.export}{alias}"
    if fix.kind == "unknown" and fix.detail.startswith("Did you mean"):
        return fix.detail
    return "Define it in the setup."
