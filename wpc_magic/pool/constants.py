"""The part of the public interface that defines constants."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .core.registry import Kind, Record
from .core.snapshot import ConstantInfo
from .definitions import Definitions
from .driver.changes import Changes
from .errors import (
    DefinitionError,
    NestedCallError,
    RequirementMissingError,
)
from .listing import Listing
from .options import check_name
from .wire import protocol
from .wire.codec import encode
from .wire.unpicklable import explain, find_unpicklable

__all__ = ["Constants", "constant_record"]


class Constants(Definitions):
    """The methods of a pool that manage its constants."""

    def define_worker_constant(self, *, name: str, value: Any) -> ConstantInfo:
        """Make a value available to the workers under a name; they cannot change it.

        Parameters
        ----------
        name : str
            The name in functions.
        value : object
            Anything that can be pickled. Its arrays and containers of the standard library are read-only in
            workers; each call gets its own DataFrame or Series. All else is shared by the calls of a
            worker: its types are in `ConstantInfo.shared_kinds`.

        Raises
        ------
        OptionError
            If the name is invalid.
        DefinitionError
            If the value cannot be pickled, a worker cannot unpickle it, or there is no room for it.
        """
        self._change([constant_record(self._driver.changes, name, value)])
        self._simple.keep(name, value)
        found: ConstantInfo = self._info_of(name)
        return found

    def differing_constants(self, names: Iterable[str], namespace: Mapping[str, object]) -> list[str]:
        """Return the constants whose variable in the notebook has another value by now, sorted.

        Parameters
        ----------
        names : iterable of str
            Functions, whose constants these are, also through other functions; or constants.
        namespace : mapping
            The variables of the notebook.
        """
        with self._driver.reading() as core:
            records = core.state.registry.records
            read = {name for name in names if name in records}
            pending = list(read)
            while pending:
                more = {need for need in records[pending.pop()].needs if need in records} - read
                read |= more
                pending += more
            constants = [name for name in read if records[name].kind is Kind.CONSTANT]
        return self._simple.differing(constants, namespace)

    def undefine_worker_constant(self, *, name: str) -> None:
        """Remove a constant; functions that need it are refused from now on.

        Raises
        ------
        RequirementMissingError
            If there is none of that name.
        """
        self._remove(name, Kind.CONSTANT, RequirementMissingError)

    def get_worker_constants(self) -> list[ConstantInfo]:
        """Return the description of each constant, without its value, sorted by name."""
        return Listing(self._infos(Kind.CONSTANT), "constant")


def constant_record(changes: Changes, name: str, value: Any) -> Record:
    """Return the definition of a constant; its buffers are in shared memory already.

    Raises
    ------
    DefinitionError, OptionError
        As for `Constants.define_worker_constant`.
    """
    from .worker.sharing import shared_kinds

    check_name(name, "constant name")
    try:
        payload, buffers = encode(value, streaming=True)
    except NestedCallError:
        raise
    except Exception as error:
        kind, what = type(value).__name__, explain(find_unpicklable(value, name), error)
        raise DefinitionError(f"the value of {name} ({kind}) cannot be sent to workers: {what}") from error
    size = len(payload) + sum(len(buffer) for buffer in buffers)
    about = ConstantInfo(name, 0, type(value).__name__, size, shared_kinds=shared_kinds(value))
    try:
        found = changes.find_constant(name, payload, buffers)
        block, where = found or changes.put(buffers)
    except OSError as error:
        raise DefinitionError(
            f"there is no room for the value of {name} ({size:,} bytes) in shared memory: {error}"
        ) from error
    wire = protocol.Constant(name, payload, where)
    content = (payload, block) if block is not None or not buffers else None
    return Record(name, Kind.CONSTANT, wire, about, block=block, content=content)
