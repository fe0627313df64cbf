"""The hash of a function with all that it needs: equal only if a call does the same, in any process."""

from __future__ import annotations

import ast
import functools
import hashlib
import platform
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..core.registry import Kind, Record, Registry
from ..options import SETUP
from ..wire.codec import decode
from ..worker.cells import PREFIX
from .argument_keys import ArgumentsKey, arguments_key, pickle_key
from .module_versions import ModuleVersions, UnhashableError, imported_names

__all__ = ["FunctionHash", "FunctionHashes"]

_FORMAT = "1"  # of what is hashed: another one makes all that is stored unknown
_LOOK_UP = {"wpc_import", "wpc_constant", "locals", "vars"}
_HARMLESS = {"worker_id", "progress", "rng"}  # of the context: no value is looked up through these


class FunctionHash(NamedTuple):
    """What a function is now.

    Parameters
    ----------
    digest : bytes
        The hash.
    changed_at : int
        The epoch in which something that it needs was defined last.
    changed_ns : int
        When the latest of the files that count was changed.
    draws : bool
        Whether it may draw numbers from ``context.rng``.
    """

    digest: bytes
    changed_at: int
    changed_ns: int
    draws: bool


class _Known(NamedTuple):
    """What is known of a function in one epoch; modules may change meanwhile."""

    digest: bytes
    changed_at: int
    modules: tuple[str, ...]
    cells: frozenset[str]
    draws: bool


class FunctionHashes:
    """The hashes of the functions of a pool.

    Parameters
    ----------
    reading : callable
        Returns a context manager in which the core can be read.
    buffers : callable
        Returns the memory of a constant, given its buffers as they are sent.
    """

    def __init__(self, reading: Callable[[], Any], buffers: Callable[[Any], Sequence[Any]]) -> None:
        self._reading = reading
        self._buffers = buffers
        self._versions = ModuleVersions()
        self._epoch = 0
        self._known: dict[str, _Known | UnhashableError] = {}
        self._constants: dict[tuple[str, int], tuple[bytes, frozenset[str]]] = {}

    def of(self, name: str, modules: Iterable[str] = ()) -> FunctionHash | None:
        """Return the hash of a function, and of modules that its arguments are of; None: it cannot be called.

        Raises
        ------
        UnhashableError
            If it has none.
        """
        known = self._in_this_epoch(name)
        if known is None:
            return None
        own = {each for each in modules if each not in known.cells}
        versions = self._versions.of([*known.modules, *sorted(own)])
        digest = hashlib.sha256(repr((known.digest, versions.texts)).encode(errors="surrogatepass"))
        draws = known.draws or versions.draws
        return FunctionHash(digest.digest(), known.changed_at, versions.changed_ns, draws)

    def has_cells(self, name: str, cells: Iterable[str]) -> bool:
        """Return whether these modules are all of cells that the function is made of."""
        known = self._in_this_epoch(name)
        return known is not None and known.cells.issuperset(cells)

    def _in_this_epoch(self, name: str) -> _Known | None:
        with self._reading() as core:
            registry: Registry = core.state.registry
            if registry.epoch != self._epoch:
                self._known = {}
                self._epoch = registry.epoch
            found = self._known.get(name)
            if found is None:
                if name not in registry.records or registry.missing(name) is not None:
                    return None
                records = _needed(name, registry.records)
                # Also without a setup: there may have been one meanwhile.
                changed_at = max(map(registry.changed_at, {SETUP, *records}))
                if _reads_any(records.values()):
                    changed_at = registry.epoch
            epoch = self._epoch
        if found is None:
            try:
                found = self._read(records, changed_at)
            except UnhashableError as error:
                found = UnhashableError(str(error))  # without a traceback, which would keep all of this
            if epoch == self._epoch:
                self._known[name] = found
        if isinstance(found, UnhashableError):
            raise UnhashableError(str(found))
        return found

    def _read(self, records: Mapping[str, Record], changed_at: int) -> _Known:
        texts = [_FORMAT, sys.version, sys.implementation.name, platform.machine()]
        modules: set[str] = set()
        cells: set[str] = set()
        draws = False
        for name, record in sorted(records.items()):
            text, used = self._text_of(record)
            texts += [name, record.kind.value, text]
            modules |= used
            if record.cell is not None:
                cells.add(record.cell.module)
                draws = draws or _uses(record.cell.wire.source).draws
        digest = hashlib.sha256("\0".join(texts).encode(errors="surrogatepass")).digest()
        modules -= cells
        return _Known(digest, changed_at, tuple(sorted(modules)), frozenset(cells), draws)

    def _text_of(self, record: Record) -> tuple[str, set[str]]:
        """Return what makes up a definition, and the modules that it uses."""
        wire = record.wire
        if record.kind is Kind.CONSTANT:
            digest, of_classes = self._constant(record)
            return digest.hex(), set(of_classes)
        if record.kind is Kind.RESOURCE:  # the functions that make it are needed, too
            return "", set()
        if record.kind is Kind.DEPENDENCY:
            return f"{wire.module} {wire.export}", {wire.module}
        if record.cell is not None:
            source = record.cell.wire.source
            found = imported_names(source, f"the cell of {record.name}")
            path = "" if record.kind is Kind.SETUP else wire.path
            return "\0".join([path, record.cell.wire.file, source]), set(found)
        if wire.how == "module":
            module = wire.payload.decode()
            return f"{module} {wire.path}", {module}
        raise UnhashableError(f"{record.name} is sent by value, without its source")

    def _constant(self, record: Record) -> tuple[bytes, frozenset[str]]:
        which = record.name, record.revision
        found = self._constants.get(which)
        if found is None:
            key = self._constant_key(record)
            self._constants = {key: each for key, each in self._constants.items() if key[0] != record.name}
            found = self._constants[which] = key.digest, key.modules
        return found

    def _constant_key(self, record: Record) -> ArgumentsKey:
        payload = record.wire.payload
        try:
            buffers = self._buffers(record.wire.buffers)
            if PREFIX.encode() in payload:  # to unpickle it here might run a cell that is meant for workers
                return pickle_key(payload, buffers)
            return arguments_key(decode(payload, buffers))
        except Exception as error:
            raise UnhashableError(f"the constant {record.name}: {error}") from None


def _needed(name: str, records: Mapping[str, Record]) -> dict[str, Record]:
    """Return a function and all that it needs, directly or not, with the setup."""
    found: dict[str, Record] = {}
    names = [SETUP, name]
    for each in names:  # it grows during the iteration
        record = records.get(each)
        if record is None or each in found:
            continue
        found[each] = record
        names += record.needs
        if record.cell is not None:
            names += [*record.cell.inputs, *record.cell.wire.needs]
            if _reads_any([record]):
                names += [other for other in records if not other.startswith("_wpc_")]
    return found


def _reads_any(records: Iterable[Record]) -> bool:
    """Return whether one of these may look up names that it computes."""
    cells = [record.cell for record in records if record.cell is not None]
    return any(cell.reads_any_value or _uses(cell.wire.source).looks_up for cell in cells)


class _Uses(NamedTuple):
    looks_up: bool
    draws: bool


@functools.lru_cache(maxsize=256)
def _uses(source: str) -> _Uses:
    """Return whether a source looks names up in the registry, and whether it may draw random numbers."""
    nodes = list(ast.walk(ast.parse(source)))
    names = [node.id for node in nodes if isinstance(node, ast.Name)]
    of_context = [
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "context"
    ]
    is_passed_on = names.count("context") > len(of_context)
    looks_up = is_passed_on or not _LOOK_UP.isdisjoint(names) or not _HARMLESS.issuperset(of_context)
    return _Uses(looks_up, is_passed_on or "rng" in of_context)
