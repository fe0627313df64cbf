"""Takes the names that functions need from the variables of a notebook, so that nobody has to register them.

Modules, and objects of modules, become dependencies; other values constants, if they are small.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from .constants import constant_record
from .core.registry import Record
from .dependencies import dependency_record
from .driver.changes import Changes
from .errors import UnknownNameError
from .options import RESERVED
from .source.draft import FunctionDraft, look_in
from .source.missing import Fix
from .wire.codec import encode
from .wire.unpicklable import explain, find_unpicklable

__all__ = ["MAX_CAPTURED", "Capture"]

MAX_CAPTURED = 1_000_000
"""How large a value may be that is captured, in bytes when it is pickled."""


class Capture:
    """The variables of a notebook, of which those are taken that functions need.

    Parameters
    ----------
    namespace : mapping
        The variables.
    changes : Changes
        Holds the buffers of constants.
    describe_fix : callable
        Returns the line to type for a `Fix`.
    again : collection of str
        The names that were captured before: they are taken as they are now.
    """

    def __init__(
        self,
        namespace: Mapping[str, Any],
        changes: Changes,
        describe_fix: Callable[[Fix], str],
        again: Collection[str] = (),
    ) -> None:
        self._namespace = namespace
        self._changes = changes
        self._describe_fix = describe_fix
        self._again = again
        self._look = look_in(namespace)

    def draft(
        self,
        make: Callable[[Collection[str], Callable[[str], Fix | None]], list[FunctionDraft]],
        known: Collection[str],
        records: Mapping[str, Record],
    ) -> tuple[list[FunctionDraft], dict[str, Record]]:
        """Return drafts of functions, and the definitions to make of what they need and is not registered.

        Parameters
        ----------
        make : callable
            Drafts the functions, given the names that are registered, and what says where others are.
        known : collection of str
            The names that are registered.
        records : mapping
            The definitions.

        Raises
        ------
        UnknownNameError
            If a name is nowhere, or cannot be captured.
        """
        known = set(known)
        taken: dict[str, Record] = {}
        try:
            drafts = make(known, self._look)
        except UnknownNameError as error:
            taken = self._take(name for name in error.names if name not in known)
            drafts = make(known | taken.keys(), self._fix)
        needs = {need for draft in drafts for need in draft.needs} - taken.keys()
        taken |= self._take(needs - known)  # what they look up by name may be defined later
        anew = self._take(needs & known & set(self._again))
        taken |= {name: new for name, new in anew.items() if not _is_same(new, records[name])}
        return drafts, taken

    def _take(self, names: Iterable[str]) -> dict[str, Record]:
        """Return definitions of those of these names that can be captured."""
        fixes = {name: self._fix(name) for name in sorted(names) if not _is_special(name)}
        return {
            name: self._record(fix)
            for name, fix in fixes.items()
            if fix is not None and fix.kind in ("dependency", "dependency_from", "constant")
        }

    def _record(self, fix: Fix) -> Record:
        if fix.kind == "constant":
            return constant_record(self._changes, fix.name, self._namespace[fix.name])
        return dependency_record(fix.name, fix.module, fix.export or None)

    def _fix(self, name: str) -> Fix | None:
        """Return what a variable is; one that is not captured says why."""
        fix = self._look(name)
        if fix is None or fix.kind != "constant":
            return fix
        value, line = self._namespace[name], self._describe_fix(fix)
        try:
            body, buffers = encode(value, streaming=True)
        except Exception as error:
            why = explain(find_unpicklable(value, name), error)
            return Fix("unsendable", name, detail=f"It cannot be captured: {why}")
        size = len(body) + sum(buffer.nbytes for buffer in buffers)
        if size <= MAX_CAPTURED:
            return fix
        return Fix(
            "large", name, detail=f"It has {size / 1e6:,.0f} MB, too much to be captured. Type: {line}"
        )


def _is_special(name: str) -> bool:
    """Return whether a name means another thing in a worker, whatever the variable is."""
    return name in RESERVED or name.startswith("__") or name == "get_ipython"


def _is_same(new: Record, old: Record) -> bool:
    return (
        old.broken is None and new.kind is old.kind and new.content is not None and new.content == old.content
    )
