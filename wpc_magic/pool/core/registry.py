"""All definitions: functions, dependencies, constants and resources, their revisions, and their requirements.

An *epoch* is one version of the whole registry. A change is proposed as a new epoch, and committed or aborted
as a whole; epoch numbers are never reused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from ..checks import shown
from ..errors import OptionError
from ..options import PRIVATE, SETUP, CallOptions
from .cell_texts import CellTexts

__all__ = ["CellText", "Change", "Kind", "Record", "Registry"]


class Kind(StrEnum):
    """What a name refers to; the value is what users see."""

    FUNCTION = "function"
    DEPENDENCY = "dependency"
    CONSTANT = "constant"
    RESOURCE = "resource"
    SHARED = "shared object"
    SETUP = "setup"


class CellText(NamedTuple):
    """The cell in which a function is defined.

    Parameters
    ----------
    module : str
        The module that it is in workers; each time that it is loaded anew is a module of its own.
    key : str
        The same for the same text.
    inputs : tuple of str
        The names that it reads while it is loaded.
    size : int
        The length of the text, in characters.
    wire : object
        What is sent to workers; opaque here.
    reads_any_value : bool
        Whether every dependency and constant is an input, since it looks up names that it computes.
    """

    module: str
    key: str
    inputs: tuple[str, ...]
    size: int
    wire: Any
    reads_any_value: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One revision of one definition.

    Parameters
    ----------
    name : str
        Unique among all kinds: functions refer to every kind by a global name.
    kind : Kind
        What it is.
    wire : object
        What is sent to the workers; opaque here. Of an anonymous function its pickle; None: it is sent with
        the arguments.
    about : object
        What the getters return about it; opaque here.
    needs : tuple of str
        Names of the other definitions that it requires.
    key : int
        For functions: the number of this revision among all functions.
    is_async : bool
        For functions: whether it is a coroutine function.
    options : CallOptions
        For functions: the options of its calls.
    at_most : int or None
        For functions: how many calls of it workers may hold at once.
    revision : int
        How many times the name has been defined; 0: it is an anonymous function, which is not registered.
    block : object
        For constants: the shared memory that its buffers are in; opaque here.
    cell : CellText or None
        For functions and the setup: the cell that defines it.
    content : object
        For others: equal only if the value is the same; None: not comparable.
    broken : str or None
        Why no worker could install it, if this was found only after it was committed.
    timed_out : str
        The option whose time that has exceeded; empty: it is broken for another reason.
    provides : tuple of str
        For the setup: the names that it gives to all cells.
    """

    name: str
    kind: Kind
    wire: Any
    about: Any
    needs: tuple[str, ...] = ()
    key: int = 0
    is_async: bool = False
    options: CallOptions = dataclasses.field(default_factory=CallOptions)
    at_most: int | None = None
    revision: int = 1
    block: Any = None
    cell: CellText | None = None
    content: Any = None
    broken: str | None = None
    timed_out: str = ""
    provides: tuple[str, ...] = ()


class Change(NamedTuple):
    """The difference between two epochs: what a worker at `base` needs to reach `epoch`."""

    epoch: int
    base: int
    records: tuple[Record, ...]
    removed: tuple[str, ...]
    cells: tuple[Any, ...] = ()
    """Texts of cells that were replaced meanwhile: what is sent of them; opaque here."""


class Registry:
    """The current definitions.

    Parameters
    ----------
    load_again : callable
        Given all functions of a cell, returns them as of a cell that is loaded again.

    Attributes
    ----------
    epoch : int
        The current epoch.
    records : dict
        By name.
    fast_path : dict
        Functions whose calls need no checks at submission, by name; see `Admission`.
    resources : set of str
        The names of the resources.
    """

    def __init__(self, load_again: Callable[[list[Record]], Iterable[Record]]) -> None:
        self._load_again = load_again
        self.epoch = 1  # 0 is the epoch of a worker that has just started
        self.records: dict[str, Record] = {}
        self._last_epoch = 1  # proposed, committed or not
        self._changed: dict[str, int] = {}  # name -> the epoch of its last change or removal
        self.fast_path: dict[str, Record] = {}
        self.resources: set[str] = set()
        self._missing: dict[str, str | None] = {}
        self._texts = CellTexts()
        self.dropped_texts: list[str] = []  # keys of cells that the latest commit has dropped

    def of_kind(self, kind: Kind) -> list[Record]:
        """Return the records of one kind, sorted by name, without private ones."""
        found = (r for r in self.records.values() if r.kind is kind and not r.name.startswith(PRIVATE))
        return sorted(found, key=lambda record: record.name)

    def kinds(self) -> list[Kind]:
        """Return the kind of each record, without private ones."""
        return [record.kind for record in self.records.values() if not record.name.startswith(PRIVATE)]

    def propose(self, records: Iterable[Record] = (), removed: Iterable[str] = ()) -> Change:
        """Return a change of the current epoch; nothing takes effect yet.

        Cells that have read, while they were loaded, what the change replaces are loaded again with it.

        Raises
        ------
        OptionError
            If a name already refers to another kind.
        """
        numbered, removed = [], tuple(removed)
        for record in records:
            old = self.records.get(record.name)
            if old is not None and old.kind is not record.kind:
                raise OptionError(
                    f"{shown(record.name)} is a {old.kind.value} already; "
                    f"undefine that first, or take another name"
                )
            revision = old.revision + 1 if old is not None else 1
            numbered.append(dataclasses.replace(record, revision=revision))
        self._last_epoch += 1
        return Change(self._last_epoch, self.epoch, (*numbered, *self._reloaded(numbered, removed)), removed)

    def _reloaded(self, records: Sequence[Record], removed: Collection[str]) -> Iterator[Record]:
        """Return the functions whose cells have to be loaded again with a change.

        Else a worker that started before the change would answer otherwise than one that starts after it. As
        in a spreadsheet, what depends on these is loaded again, too. A cell that lacks what it needs for that
        is left alone: its functions are refused anyway, until that is defined, and then it is loaded again.
        """
        new = {record.name: record for record in records}
        known = {**self.records, **new}
        changed = {*removed, *(record.name for record in records if not self._is_same(record))}
        current = {name: record for name, record in known.items() if name not in removed}
        if SETUP in changed:
            changed.update(*(each[SETUP].provides for each in (self.records, new) if SETUP in each))
        fresh = {record.cell.module for record in records if record.cell is not None}
        cells: dict[str, list[Record]] = {}
        for record in current.values():
            if record.cell is not None and record.cell.inputs and record.cell.module not in fresh:
                cells.setdefault(record.cell.module, []).append(record)
        changes_value = any(name in known and known[name].kind is not Kind.FUNCTION for name in changed)
        found = bool(changed)
        while found:
            found = False
            for module, functions in list(cells.items()):
                assert functions[0].cell is not None
                cell = functions[0].cell
                if (cell.reads_any_value and changes_value) or not changed.isdisjoint(
                    _read_while_loading(cell, current)
                ):
                    del cells[module]
                    changed.update(record.name for record in functions)
                    found = True
                    if all(is_loadable(record, current) for record in functions):
                        yield from self._load_again(functions)

    def _is_same(self, record: Record) -> bool:
        old = self.records.get(record.name)
        if old is None or old.broken != record.broken:
            return False
        return record.content is not None and record.content == old.content

    def commit(self, change: Change) -> None:
        """Make a change the current epoch."""
        if change.base != self.epoch:
            raise ValueError(f"a change of epoch {change.base} cannot follow epoch {self.epoch}")
        for record in change.records:
            self.records[record.name] = record
            self._changed[record.name] = change.epoch
        for name in change.removed:
            if self.records.pop(name, None) is not None:
                self._changed[name] = change.epoch
        self.resources.difference_update(change.removed)
        self.resources.update(record.name for record in change.records if record.kind is Kind.RESOURCE)
        self.dropped_texts = self._keep_texts(change)
        self.epoch = change.epoch
        self._missing.clear()
        self.fast_path.clear()

    def _keep_texts(self, change: Change) -> list[str]:
        cells = {record.cell.key: record.cell for record in change.records if record.cell is not None}
        if not cells:
            return []
        in_use = self.cells_in_use()
        return [
            dropped
            for key, cell in cells.items()
            for dropped in self._texts.add(key, change.epoch, cell.size, cell.wire, in_use)
        ]

    def cells_in_use(self) -> set[str]:
        """Return the keys of the cells that current definitions refer to."""
        return {record.cell.key for record in self.records.values() if record.cell is not None}

    def names(self) -> set[str]:
        """Return all names that cells find: those of definitions, and what the setup provides."""
        setup = self.records.get(SETUP)
        return self.records.keys() - {SETUP} | set(setup.provides if setup is not None else ())

    def changed_at(self, name: str) -> int:
        """Return the epoch of the last change of a name; 0: it was never defined."""
        return self._changed.get(name, 0)

    def since(self, epoch: int) -> Change:
        """Return what a worker at `epoch` needs to reach the current epoch.

        What is broken, or lacks what it needs while it is loaded, is not sent: for workers it is removed.
        """
        changed = [name for name, at in self._changed.items() if at > epoch]
        present = [self.records[name] for name in changed if name in self.records]
        return Change(
            self.epoch,
            epoch,
            tuple(record for record in present if is_loadable(record, self.records)),
            tuple(
                n for n in changed if n not in self.records or not is_loadable(self.records[n], self.records)
            ),
            self._texts.since(epoch),
        )

    def mark_broken(self, names: Iterable[str], why: str, timed_out: str = "") -> Change:
        """Return a change that marks these definitions as broken."""
        found = [self.records[name] for name in names if name in self.records]
        records = [dataclasses.replace(each, broken=why, timed_out=timed_out) for each in found]
        return self._amend(records)

    def mend_timed_out(self) -> Change | None:
        """Return a change with which what took too long is tried again; None: there is nothing."""
        found = [each for each in self.records.values() if each.broken is not None and each.timed_out]
        records = [dataclasses.replace(each, broken=None, timed_out="") for each in found]
        return self._amend(records) if records else None

    def in_cell_of(self, name: str) -> list[str]:
        """Return the names of all functions of a function's cell; of another definition just its own."""
        cell = self.records[name].cell
        if cell is None:
            return [name]
        return [each.name for each in self.records.values() if each.cell and each.cell.module == cell.module]

    def _amend(self, records: Sequence[Record]) -> Change:
        self._last_epoch += 1
        return Change(self._last_epoch, self.epoch, (*records, *self._reloaded(records, ())), ())

    def missing(self, name: str) -> str | None:
        """Return the first missing requirement of the function `name`, direct or indirect, or None.

        A broken definition counts as missing, also the function itself.
        """
        try:
            return self._missing[name]
        except KeyError:
            found = self._find_missing(name)
        record = self.records.get(name)
        # By the record's own name: that of an anonymous function must not be kept.
        self._missing[name if record is None else record.name] = found
        return found

    def add_anonymous(self, record: Record) -> None:
        """Add a function that workers are not told of: it comes with its calls."""
        self.records[record.name] = record

    def drop_anonymous(self, record: Record) -> None:
        """Remove such a function: there are no more calls of it."""
        self.records.pop(record.name, None)
        self.fast_path.pop(record.name, None)
        self._missing.pop(record.name, None)

    def _find_missing(self, name: str) -> str | None:
        setup = self.records.get(SETUP)
        if setup is not None and setup.broken is not None:  # no worker is as the author wants it
            return SETUP
        seen = {name}
        queue = [name]
        for needed in queue:  # it grows during the iteration
            record = _found(needed, self.records)
            if record is None or record.broken is not None:
                return needed
            queue += [need for need in record.needs if need not in seen]
            seen.update(record.needs)
        return None


def _found(name: str, current: Mapping[str, Record]) -> Record | None:
    """Return the definition of a name, which may be the setup that provides it; None: there is none."""
    setup = current.get(SETUP)
    return current.get(name) or (setup if setup is not None and name in setup.provides else None)


def _read_while_loading(cell: CellText, current: Mapping[str, Record]) -> set[str]:
    """Return the inputs of a cell, and what the functions among these need."""
    names = list(cell.inputs)
    seen = set(names)
    for name in names:  # it grows during the iteration
        record = current.get(name)
        if record is not None:
            names += [need for need in record.needs if need not in seen]
            seen.update(record.needs)
    return seen


def is_loadable(record: Record, current: Mapping[str, Record], above: frozenset[str] = frozenset()) -> bool:
    """Return whether a worker can load a definition: whether what its cell needs for that is there."""
    if record.broken is not None:
        return False
    if record.cell is None or record.name in above:
        return True
    above |= {record.name}
    required = set(record.cell.inputs).intersection(record.needs)
    found = [_found(name, current) for name in required]
    return all(each is not None and is_loadable(each, current, above) for each in found)
