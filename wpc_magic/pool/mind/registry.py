"""All definitions: functions, dependencies and constants, their revisions, and what each needs.

One *epoch* is one state of all of them. A change is proposed under a number of its own, and committed or
withdrawn as a whole; a number is never used twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple

from ..checks import shown
from ..errors import OptionError
from ..options import CallOptions

__all__ = ["Change", "Kind", "Record", "Registry"]


class Kind(StrEnum):
    """What a name stands for; the value is the word that users see."""

    FUNCTION = "function"
    DEPENDENCY = "dependency"
    CONSTANT = "constant"


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One definition in one revision.

    Parameters
    ----------
    name : str
        Unique among all kinds: functions find every kind as a plain name.
    kind : Kind
        What it is.
    wire : object
        What is sent to workers; opaque here.
    about : object
        What the getters tell of it; opaque here.
    needs : tuple of str
        Names of other definitions without which it cannot run.
    key : int
        For functions: the number of this revision among all functions.
    is_async : bool
        For functions: whether its calls interleave.
    options : CallOptions
        For functions: how its calls are made.
    revision : int
        How many times the name has been defined.
    block : object
        For constants: the shared memory that its buffers are in; opaque here.
    broken : str or None
        Why no worker could install it, where that became known only after it was accepted.
    """

    name: str
    kind: Kind
    wire: Any
    about: Any
    needs: tuple[str, ...] = ()
    key: int = 0
    is_async: bool = False
    options: CallOptions = dataclasses.field(default_factory=CallOptions)
    revision: int = 1
    block: Any = None
    broken: str | None = None


class Change(NamedTuple):
    """What has to be sent to come to an epoch from another one."""

    epoch: int
    base: int
    records: tuple[Record, ...]
    removed: tuple[str, ...]


class Registry:
    """The definitions in force.

    Attributes
    ----------
    epoch : int
        The epoch in force.
    records : dict
        By name.
    quick : dict
        Functions of which nothing is to be asked before a call; whoever notes them here knows why.
    """

    def __init__(self) -> None:
        self.epoch = 1  # 0 is what a worker holds that has just started
        self.records: dict[str, Record] = {}
        self._last_number = 1
        self._changed: dict[str, int] = {}  # name -> the epoch of its last change or removal
        self.quick: dict[str, Record] = {}
        self._missing: dict[str, str | None] = {}

    def of_kind(self, kind: Kind) -> list[Record]:
        """Return the records of one kind, sorted by name."""
        return sorted((r for r in self.records.values() if r.kind is kind), key=lambda r: r.name)

    def propose(self, records: Iterable[Record] = (), removed: Iterable[str] = ()) -> Change:
        """Return a change from the epoch in force; nothing takes effect yet.

        Raises
        ------
        OptionError
            If a name stands for another kind already.
        """
        numbered = []
        for record in records:
            old = self.records.get(record.name)
            if old is not None and old.kind is not record.kind:
                raise OptionError(
                    f"{shown(record.name)} is a {old.kind.value} already; "
                    f"undefine that first, or take another name"
                )
            revision = old.revision + 1 if old is not None else 1
            numbered.append(dataclasses.replace(record, revision=revision))
        self._last_number += 1
        return Change(self._last_number, self.epoch, tuple(numbered), tuple(removed))

    def commit(self, change: Change) -> None:
        """Put a change into force."""
        if change.base != self.epoch:
            raise ValueError(f"a change of epoch {change.base} cannot follow epoch {self.epoch}")
        for record in change.records:
            self.records[record.name] = record
            self._changed[record.name] = change.epoch
        for name in change.removed:
            if self.records.pop(name, None) is not None:
                self._changed[name] = change.epoch
        self.epoch = change.epoch
        self._missing.clear()
        self.quick.clear()

    def changed_at(self, name: str) -> int:
        """Return the epoch in which a name was changed last."""
        return self._changed[name]

    def since(self, epoch: int) -> Change:
        """Return what a worker at `epoch` has to be sent to come to the epoch in force.

        A record that is broken is not sent: to workers it is as if it had been removed.
        """
        changed = [name for name, at in self._changed.items() if at > epoch]
        present = [self.records[name] for name in changed if name in self.records]
        return Change(
            self.epoch,
            epoch,
            tuple(record for record in present if record.broken is None),
            tuple(n for n in changed if n not in self.records or self.records[n].broken is not None),
        )

    def break_records(self, names: Iterable[str], why: str) -> Change:
        """Return a change that keeps these definitions, but as broken."""
        records = [dataclasses.replace(self.records[n], broken=why) for n in names if n in self.records]
        self._last_number += 1
        return Change(self._last_number, self.epoch, tuple(records), ())

    def missing(self, name: str) -> str | None:
        """Return the first definition that the function `name` needs, itself or through others, and lacks.

        One that is broken is lacking, the function itself too.
        """
        if name not in self._missing:
            self._missing[name] = self._find_missing(name)
        return self._missing[name]

    def _find_missing(self, name: str) -> str | None:
        seen = {name}
        ahead = [name]
        for needed in ahead:  # it grows while it is walked
            record = self.records.get(needed)
            if record is None or record.broken is not None:
                return needed
            ahead += [need for need in record.needs if need not in seen]
            seen.update(record.needs)
        return None
