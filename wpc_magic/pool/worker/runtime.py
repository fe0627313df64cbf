"""What a worker holds: the definitions of each epoch, and functions that are ready to be called.

An *epoch* is one state of the whole registry. A new epoch is installed beside the one in force, and calls say
which epoch they belong to, so functions, dependencies and constants switch together. Names that the registry
gives to a cell (``np``, ``SEED``, another registered function) are simply globals of its module; they are put
there when the first call of an epoch reaches a function of that cell.

The pool's own process uses the same class to run functions locally.
"""

from __future__ import annotations

import sys
from _collections_abc import Mapping  # `collections.abc`, which need not load `collections`

from wpc_magic.pool.errors import RequirementMissingError
from wpc_magic.pool.wire.codec import decode
from wpc_magic.pool.wire.protocol import Cell, Constant, Dependency, Function, Install
from wpc_magic.pool.worker.cells import PREFIX, load_cell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import ModuleType
    from typing import Any

__all__ = ["Bound", "Runtime"]


class _Home:
    """Where a function's globals are, and which of them the registry gives."""

    __slots__ = ("globals", "name", "needs", "own")

    def __init__(
        self, name: str, namespace: dict[str, Any], needs: tuple[str, ...], own: dict[str, Any]
    ) -> None:
        self.name = name
        self.globals = namespace
        self.needs = needs
        self.own = own  # what the cell itself has defined: a registered function may take a name's place

    def fill(self, names: dict[str, Bound]) -> None:
        """Put the names of an epoch into the globals."""
        for name in self.needs:
            if name in names:
                self.globals[name] = names[name].value
            elif name in self.own:
                self.globals[name] = self.own[name]
            else:
                self.globals.pop(name, None)


class Bound:
    """A definition as it is held: the record, the object, and for functions their home."""

    __slots__ = ("home", "record", "value")

    def __init__(self, record: Any, value: Any, home: _Home | None = None) -> None:
        self.record = record
        self.value = value
        self.home = home


class _Names(Mapping):  # type: ignore[type-arg]  # `typing` is not loaded here
    """``context.dependencies`` and ``context.constants``: by attribute, and by key."""

    def __init__(self, runtime: Runtime, kind: type, word: str) -> None:
        self._of = (runtime, kind, word)

    def __getitem__(self, name: str) -> Any:
        runtime, kind, word = self._of
        return runtime.look_up(name, kind, word)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self[name]

    def __contains__(self, name: object) -> bool:
        runtime, kind, _ = self._of
        return name in runtime.names(kind)

    def get(self, name: str, default: Any = None) -> Any:
        """Return what has that name, else the default."""
        return self[name] if name in self else default  # noqa: SIM401  # it would call itself

    def __iter__(self) -> Iterator[str]:
        runtime, kind, _ = self._of
        return iter(sorted(runtime.names(kind)))

    def __len__(self) -> int:
        runtime, kind, _ = self._of
        return len(runtime.names(kind))

    def __repr__(self) -> str:
        return f"<{self._of[2]}: {', '.join(self) or 'none'}>"


class Context:
    """What a function finds as ``context``.

    Attributes
    ----------
    dependencies, constants : mapping
        What is registered, by key or by attribute.
    worker_id : int
        The slot that runs the call; 0 in the pool's own process.
    """

    def __init__(self, runtime: Runtime) -> None:
        self.dependencies = _Names(runtime, Dependency, "dependency")
        self.constants = _Names(runtime, Constant, "constant")
        self.worker_id = 0


class Runtime:
    """The definitions of each epoch that is in use.

    Parameters
    ----------
    constant : callable
        Given a constant's buffers as they have come, returns them as memory.
    note : callable
        Told of each definition before it is installed: its name.

    Attributes
    ----------
    active : int
        The epoch of the calls that run now.
    installing : str
        The definition that is being installed, or was last.
    functions : dict
        The functions of every epoch that is held, by their keys.
    context : Context
        The object that functions find as ``context``.
    """

    def __init__(
        self, constant: Callable[[Any], Sequence[Any]], note: Callable[[str], object] = lambda name: None
    ) -> None:
        self.active = 0
        self._note = note
        self._constant = constant
        self.installing = ""
        self.functions: dict[int, Callable[..., Any]] = {}
        self.context = Context(self)
        self._epochs: dict[int, dict[str, Bound]] = {0: {}}
        self._names_now: dict[str, Bound] = {}  # of the active epoch
        self._homes: dict[str, _Home] = {}
        self._reloads: dict[str, int] = {}
        self._given: dict[str, Any] = {
            "wpc_import": lambda alias: self.look_up(alias, Dependency, "dependency"),
            "wpc_constant": lambda name: self.look_up(name, Constant, "constant"),
            "context": self.context,
        }
        for name in ("wpc_import", "wpc_constant"):
            self._given[name].__name__ = self._given[name].__qualname__ = name

    # -- definitions ------------------------------------------------------------------------------------

    def install(self, message: Install) -> None:
        """Make an epoch out of another one and some changes; on any error nothing of it stays.

        Raises
        ------
        BaseException
            Whatever the import of a module, the run of a cell or the unpickling of a value raises.
        """
        if message.base not in self._epochs:
            raise RequirementMissingError(f"epoch {message.base} of the definitions is not here")
        self.installing = ""
        names = dict(self._epochs[message.base])
        for name in message.removed:
            names.pop(name, None)
        homes = set(self._homes)
        self._names_now = names  # for the lines of a cell that run while it is loaded
        try:
            for record in _in_order(message.records):
                self.installing = record.name
                self._note(record.name)
                names[record.name] = self._hold(record, names)
        except BaseException:
            for name in set(self._homes) - homes:
                self._drop_home(name)
            raise
        finally:
            self._names_now = self._epochs.get(self.active, {})
        self._epochs[message.epoch] = names
        self.functions.update(_functions(names))
        # What is built on an epoch comes when that is in force: no call of an earlier one comes after it.
        if self._drop(number for number in self._epochs if number < message.base and number != self.active):
            self._sweep()

    def _drop(self, numbers: Iterable[int]) -> bool:
        """Let go of epochs; return whether there were any."""
        old = list(numbers)
        for number in old:
            del self._epochs[number]
        return bool(old)

    def forget(self, epoch: int) -> None:
        """Drop an epoch that is not to be used."""
        if epoch != self.active and self._epochs.pop(epoch, None) is not None:
            self._sweep()

    def activate(self, epoch: int) -> None:
        """Begin with the calls of `epoch`; earlier epochs will not be asked for again.

        Every home is filled at once, not only those of the functions that are called: a method of a cell's
        class may be reached through an argument.

        Raises
        ------
        RequirementMissingError
            If the epoch is not here.
        """
        if epoch not in self._epochs:
            raise RequirementMissingError(f"epoch {epoch} of the definitions is not here")
        self.active = epoch
        names = self._names_now = self._epochs[epoch]
        for home in self._homes.values():
            home.fill(names)
        if self._drop(number for number in self._epochs if number < epoch):
            self._sweep()

    def function(self, key: int) -> Callable[..., Any]:
        """Return a function by its key.

        Raises
        ------
        RequirementMissingError
            If this revision is in no epoch that is held.
        """
        function = self.functions.get(key)
        if function is None:
            raise RequirementMissingError(f"revision {key} of the function is not here")
        return function

    def module(self, name: str) -> ModuleType | None:
        """Return the module of a cell that is held, else None."""
        return sys.modules.get(name) if name in self._homes else None

    def given(self, cell: Cell) -> dict[str, Any]:
        """Return the names that a cell finds when its first line runs, as the active epoch has them."""
        return self._names_for(cell, self._epochs[self.active])

    def look_up(self, name: str, kind: type, word: str) -> Any:
        """Return the dependency or constant of that name in the active epoch.

        Raises
        ------
        RequirementMissingError
            If there is none; the text names those that there are.
        """
        bound = self._names_now.get(name)
        if bound is None or type(bound.record) is not kind:
            known = ", ".join(sorted(self.names(kind))) or "none"
            raise RequirementMissingError(f"no {word} {name!r} is registered (registered: {known})")
        return bound.value

    def names(self, kind: type) -> list[str]:
        """Return the names of one kind in the active epoch."""
        return [name for name, bound in self._names_now.items() if type(bound.record) is kind]

    # -- how it is done ---------------------------------------------------------------------------------

    def _hold(self, record: Any, names: dict[str, Bound]) -> Bound:
        if isinstance(record, Dependency):
            return Bound(record, self._import(record))
        if isinstance(record, Constant):
            from wpc_magic.pool.worker.frozen import freeze

            return Bound(record, freeze(decode(record.payload, self._constant(record.buffers))))
        return self._hold_function(record, names)

    def _import(self, record: Dependency) -> Any:
        from importlib import import_module, reload

        module = sys.modules.get(record.module)
        if module is None:
            module = import_module(record.module)
        elif record.reload > self._reloads.get(record.module, 0):
            module = reload(module)
        self._reloads[record.module] = max(record.reload, self._reloads.get(record.module, 0))
        if record.export is None:
            return module
        try:
            return _reach(module, record.export)
        except AttributeError:
            try:  # `from package import module` imports it, too
                return import_module(f"{record.module}.{record.export}")
            except ModuleNotFoundError:
                pass
            raise

    def _hold_function(self, record: Function, names: dict[str, Bound]) -> Bound:
        if record.how == "cell":
            assert record.cell is not None
            home = self._home(record.cell, names)
            first, _, rest = record.path.partition(".")
            value = home.own[first]
            return Bound(record, _reach(value, rest) if rest else value, home)
        if record.how == "module":
            from importlib import import_module

            value = _reach(import_module(record.payload.decode()), record.path)
            return Bound(record, value, self._dress(value, record, ()))
        value = decode(record.payload)
        return Bound(record, value, self._dress(value, record, record.needs))

    def _dress(self, value: Any, record: Function, needs: tuple[str, ...]) -> _Home:
        """Give a function that has globals of its own what every function finds in them."""
        namespace = getattr(value, "__globals__", {})
        own = {name: namespace[name] for name in needs if name in namespace}
        for given, thing in self._given.items():
            namespace.setdefault(given, thing)
        name = f"{record.name}#{record.key}"
        home = self._homes[name] = _Home(name, namespace, needs, own)
        return home

    def _home(self, cell: Cell, names: dict[str, Bound]) -> _Home:
        home = self._homes.get(cell.module)
        if home is None:
            given = self._names_for(cell, names)
            namespace = load_cell(cell, given).__dict__
            own = {
                name: value
                for name, value in namespace.items()
                if name not in given or value is not given[name]
            }
            home = self._homes[cell.module] = _Home(cell.module, namespace, cell.needs, own)
        return home

    def _names_for(self, cell: Cell, names: dict[str, Bound]) -> dict[str, Any]:
        return {**self._given, **{name: names[name].value for name in cell.needs if name in names}}

    def _sweep(self) -> None:
        """Drop what no epoch refers to any more."""
        self.functions = {}
        used: set[str] = set()
        for names in self._epochs.values():
            self.functions.update(_functions(names))
            used.update(bound.home.name for bound in names.values() if bound.home is not None)
        for name in set(self._homes) - used:
            # The module of a cell stays importable: values of its classes may be under way.
            if not name.startswith(PREFIX):
                del self._homes[name]

    def _drop_home(self, name: str) -> None:
        del self._homes[name]
        if name.startswith(PREFIX):
            sys.modules.pop(name, None)


def _functions(names: dict[str, Bound]) -> Iterator[tuple[int, Callable[..., Any]]]:
    return ((bound.record.key, bound.value) for bound in names.values() if bound.home is not None)


def _reach(thing: Any, path: str) -> Any:
    for name in path.split("."):
        thing = getattr(thing, name)
    return thing


def _in_order(records: Sequence[Any]) -> list[Any]:
    """Return records so that what a cell's own lines need comes before it; in a circle, as they come."""
    functions = {record.name: record for record in records if isinstance(record, Function)}
    ordered: list[Any] = [record for record in records if isinstance(record, Dependency)]
    ordered += [record for record in records if isinstance(record, Constant)]
    seen: set[str] = set()

    def visit(record: Function) -> None:
        if record.name not in seen:
            seen.add(record.name)
            for need in record.cell.needs if record.cell is not None else record.needs:
                if need in functions:
                    visit(functions[need])
            ordered.append(record)

    for record in functions.values():
        visit(record)
    return ordered
