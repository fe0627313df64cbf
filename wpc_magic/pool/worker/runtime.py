"""The definitions of each epoch in a worker, loaded, with functions ready to be called.

An *epoch* is one state of the whole registry. A new epoch is installed beside the active one, and each call
names its epoch, so functions, dependencies and constants switch together. Names that the registry provides
to a cell (``np``, ``SEED``, another registered function) are simply globals of its module; they are bound
when the first call of an epoch activates it.

The parent process uses the same class to run functions locally.
"""

from __future__ import annotations

import sys

from wpc_magic.pool.errors import RequirementMissingError
from wpc_magic.pool.wire.codec import decode
from wpc_magic.pool.wire.protocol import (
    ANY_VALUE,
    Cell,
    Constant,
    Dependency,
    Function,
    Install,
    Resource,
    SetupCell,
    Shared,
)
from wpc_magic.pool.worker.bound_namespaces import BoundNamespaces
from wpc_magic.pool.worker.cell_modules import CellModules
from wpc_magic.pool.worker.cells import PREFIX, cell_key, load_cell
from wpc_magic.pool.worker.context import Context
from wpc_magic.pool.worker.dependencies import import_dependency, resolve
from wpc_magic.pool.worker.load_marks import marked
from wpc_magic.pool.worker.module_files import check_module
from wpc_magic.pool.worker.namespaces import Binding, Namespace
from wpc_magic.pool.worker.random_numbers import RandomNumbers
from wpc_magic.pool.worker.resources import NotMade, Resources
from wpc_magic.pool.worker.setup import add_setup, drop_setup, provide

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
    from types import ModuleType
    from typing import Any

    from wpc_magic.pool.worker.resources import Runner

__all__ = ["Runtime"]


class Runtime:
    """The definitions of each epoch that is in use.

    Parameters
    ----------
    map_buffers : callable
        Returns the memory of a constant's buffers, given these as they were received.
    on_installing : callable
        Called with the name of each definition before it is installed.
    cells_in_use : callable, optional
        Returns what `cell_key` returns of the cells whose texts must be kept; by default, of those loaded.
    runner : Runner, optional
        Runs the code that makes, checks and closes resources; by default, in this process as any function.

    Attributes
    ----------
    active : int
        The epoch of the calls that run now.
    installing : str
        The definition that is being installed, or was last.
    functions : dict
        The functions of every installed epoch, by their keys.
    renewed : dict
        The constants of the active epoch that calls must not share, by name; see `renew`.
    prepares : bool
        Whether calls of the active epoch may need `prepare`.
    resources : Resources
        The resources that are made.
    has_unreferenced : bool
        Whether there may be something to free; see `free_unreferenced`.
    context : Context
        The object that functions find as ``context``.
    numbers : RandomNumbers
        What ``context.rng`` returns.
    cells : CellModules
        The cells that were ever defined.
    open_shared : callable
        Returns the binding of a shared object, given its record.
    """

    def __init__(
        self,
        map_buffers: Callable[[Any], Sequence[Any]],
        on_installing: Callable[[str], object] = lambda name: None,
        cells_in_use: Callable[[], Collection[str]] | None = None,
        runner: Runner | None = None,
    ) -> None:
        self.active = 0
        self.prepares = False
        self.resources = Resources(self._publish, runner)
        self.open_shared: Callable[[Shared], Binding]
        self._on_installing = on_installing
        self._map_buffers = map_buffers
        self.installing = ""
        self.functions: dict[int, Callable[..., Any]] = {}
        self.has_unreferenced = False
        self.context = Context(self)
        self._epochs: dict[int, dict[str, Binding]] = {0: {}}
        self._current_names: dict[str, Binding] = {}  # of the active epoch, or the one being installed
        self._namespaces = BoundNamespaces()
        self.renewed: dict[str, Binding] = {}
        self._pending: dict[str, Any] = {}  # records that are being installed
        self.cells = CellModules(self._load_module, cells_in_use or self._cells_in_use)
        self._common_globals: dict[str, Any] = {
            "wpc_import": lambda alias: self.look_up(alias, Dependency, "dependency"),
            "wpc_constant": lambda name: self.look_up(name, Constant, "constant"),
            "context": self.context,
        }
        for name in ("wpc_import", "wpc_constant"):
            self._common_globals[name].__name__ = self._common_globals[name].__qualname__ = name

    # -- definitions ------------------------------------------------------------------------------------

    @property
    def numbers(self) -> RandomNumbers:  # noqa: D102  # see above
        return self.context._numbers

    @numbers.setter
    def numbers(self, numbers: RandomNumbers) -> None:
        self.context._numbers = numbers

    def install(self, message: Install) -> None:
        """Derive an epoch from another one by some changes; on any error all of it is rolled back.

        Raises
        ------
        BaseException
            Whatever importing a module, running a cell or unpickling a value raises.
        """
        if message.base not in self._epochs:
            raise RequirementMissingError(f"epoch {message.base} of the definitions is not here")
        self.installing = ""
        names = dict(self._epochs[message.base])
        # What is replaced is not there until its successor is: a worker that starts has only that, too.
        for name in (*message.removed, *(record.name for record in message.records)):
            names.pop(name, None)
        setup = next((record for record in message.records if type(record) is SetupCell), None)
        drop_setup(names, message.removed if setup is None else (setup.name,))
        provide(names)
        self.resources.forget_outdated(
            names, {*message.removed, *(record.name for record in message.records)}
        )
        before = set(self._namespaces.names())
        self._current_names = names  # for the code of a cell that runs while the cell is loaded
        self._pending = {r.name: r for r in _in_order([r for r in message.records if r is not setup])}
        try:
            new = [r.cell for r in message.records if isinstance(r, Function) and r.cell is not None]
            self.cells.add_texts([*message.cells, *new])
            if setup is not None:
                self._run_setup(setup, names)
            while self._pending:
                self._resolve(next(iter(self._pending)))
            self._make_eager(names)
        except BaseException:
            self.resources.close_unused(self._epochs.values())
            for name in self._namespaces.names() - before:
                self._drop_namespace(name)
            raise
        finally:
            self._pending = {}
            self._current_names = self._epochs.get(self.active, {})
            self._namespaces.bind(self._current_names)  # the code of a cell may have seen the new ones
        self._epochs[message.epoch] = names
        self.functions.update(_functions(names))
        # The pool sends this when the base epoch is committed: no more calls of an earlier epoch arrive.
        self._drop_epochs(
            number for number in self._epochs if number < message.base and number != self.active
        )

    def _run_setup(self, setup: SetupCell, names: dict[str, Binding]) -> None:
        """Run the setup before all else, also where other definitions are there already."""
        self.installing = setup.name
        self._on_installing(setup.name)
        self.cells.add_texts([setup.cell])
        self._current_names = {}
        namespace = self._cell_namespace(setup.cell)
        self._current_names = names
        add_setup(names, setup, sys.modules[setup.cell.module], namespace)

    def _make_eager(self, names: dict[str, Binding]) -> None:
        """Make the resources that are to be there before the first call, with what is defined with them."""
        eager = self.resources.eager(names)
        if not eager:
            return
        self._namespaces.bind_all(names)
        for name in eager:
            self.installing = name
            self._on_installing(name)
            self.resources.ensure([name], names)

    def _resolve(self, name: str) -> None:
        """Load a definition of the change that is installed, after those that it reads while it is loaded."""
        record = self._pending.pop(name, None)
        if record is None:  # it is loaded, or depends on what depends on it
            return
        if isinstance(record, Function):
            if record.cell is not None:
                self._resolve_inputs(record.cell)
            for need in record.needs if record.cell is None else record.cell.needs:
                self._resolve(need)
        self.installing = record.name
        self._on_installing(record.name)
        self._current_names[name] = self._load(record)

    def _resolve_inputs(self, cell: Cell) -> None:
        """Load what a cell reads while it is loaded."""
        if not self._pending:
            return
        for need in cell.inputs:
            self._resolve(need)
        if ANY_VALUE in cell.inputs:
            for name, record in list(self._pending.items()):
                if not isinstance(record, Function):
                    self._resolve(name)

    def _drop_epochs(self, numbers: Iterable[int]) -> None:
        for number in list(numbers):
            del self._epochs[number]
            self.has_unreferenced = True

    def is_newer(self, epoch: int) -> bool:
        """Return whether an epoch is here, and later than the active one."""
        return epoch > self.active and epoch in self._epochs

    def forget(self, epoch: int) -> None:
        """Drop an epoch that was aborted."""
        if epoch != self.active and self._epochs.pop(epoch, None) is not None:
            self.has_unreferenced = True

    def activate(self, epoch: int) -> None:
        """Switch to `epoch`; no calls of earlier epochs follow.

        The names are bound in all namespaces at once, not only in those of called functions, because a method
        of a cell's class may be called through an argument.

        Raises
        ------
        RequirementMissingError
            If the epoch is not here.
        """
        if epoch not in self._epochs:
            raise RequirementMissingError(f"epoch {epoch} of the definitions is not here")
        self.active = epoch
        names = self._current_names = self._epochs[epoch]
        self._namespaces.bind_all(names)
        self._namespaces.settle()
        self.renewed = {name: binding for name, binding in names.items() if binding.per_call is not None}
        self.prepares = self.resources.use(names) or bool(self.renewed)
        self._drop_epochs(number for number in self._epochs if number < epoch)

    def prepare(self, key: int) -> None:
        """Prepare a call of a function, given its key: renew constants, and make the resources that it needs.

        Raises
        ------
        BaseException
            Whatever making a resource raises.
        """
        if self.renewed:
            self.renew()
        needed = self.resources.needed_by(key)
        if needed:
            self.prepare_resources(needed)

    def prepare_older(self, function: Function) -> None:
        """Prepare a call of a function that is not in force any more."""
        if self.renewed:
            self.renew()
        self.prepare_resources(self.resources.among(function.needs))

    def prepare_resources(self, needed: Iterable[str]) -> None:
        """Make these resources of the active epoch, where they are not there, or do not work any more."""
        if self.has_unreferenced:  # the old ones first: there may be room, or a lock, for one only
            self.resources.close_unused(self._epochs.values())
        self.resources.ensure(needed, self._current_names)

    def _publish(self, name: str, binding: Binding) -> None:
        """Bind the name of a resource that was just made, or is no more."""
        self._namespaces.update({name: binding})

    def renew(self) -> None:
        """Give the next call, or item, values of its own of the constants that calls must not share."""
        for binding in self.renewed.values():
            assert binding.per_call is not None
            binding.value = binding.per_call()
        self._namespaces.update(self.renewed)

    def function(self, key: int) -> Callable[..., Any]:
        """Return a function by its key.

        Raises
        ------
        RequirementMissingError
            If this revision is in no installed epoch.
        """
        function = self.functions.get(key)
        if function is None:
            raise RequirementMissingError(f"revision {key} of the function is not here")
        return function

    def module(self, name: str) -> ModuleType | None:
        """Return the module of a cell that was ever defined; it is loaded on first need. None: not known."""
        if self._namespaces.get(name) is not None:
            return sys.modules.get(name)
        cell = self.cells.text(name)
        if cell is None:
            return None
        self._resolve_inputs(cell)
        for record in list(self._pending.values()):
            if isinstance(record, Function) and record.cell is not None and record.cell.module == name:
                self._resolve(record.name)  # an object of its class is in a constant of the same change
                return sys.modules.get(name)
        return self.cells.restore(name) or self._load_module(cell)

    def _cells_in_use(self) -> Collection[str]:
        pending = (getattr(record, "cell", None) for record in self._pending.values())
        modules = (*self._namespaces.names(), *(cell.module for cell in pending if cell is not None))
        return {cell_key(module) for module in modules}

    def _load_module(self, cell: Cell) -> ModuleType:
        self._cell_namespace(cell)
        return sys.modules[cell.module]

    def look_up(self, name: str, kind: type, label: str) -> Any:
        """Return the dependency or constant of that name in the active epoch.

        Raises
        ------
        RequirementMissingError
            If there is none; the text names those that are registered.
        """
        binding = self._current_names.get(name)
        if binding is None or type(binding.record) is not kind:
            known = ", ".join(sorted(self.names(kind))) or "none"
            raise RequirementMissingError(f"no {label} {name!r} is registered (registered: {known})")
        if type(binding.value) is NotMade:
            self.resources.ensure([name], self._current_names, within_call=True)
        return binding.value

    def name_of(self, code: object) -> str:
        """Return the name of the function in the active epoch that has a code; empty if none has."""
        for name, binding in self._current_names.items():
            if type(binding.record) is Function and getattr(binding.value, "__code__", None) is code:
                return name
        return ""

    def names(self, kind: type) -> list[str]:
        """Return the names of one kind in the active epoch."""
        return [name for name, binding in self._current_names.items() if type(binding.record) is kind]

    # -- loading ----------------------------------------------------------------------------------------

    def _load(self, record: Any) -> Binding:
        if isinstance(record, Dependency):
            return Binding(record, import_dependency(record))
        if isinstance(record, Shared):
            return self.open_shared(record)
        if isinstance(record, Constant):
            from wpc_magic.pool.worker.frozen import freeze
            from wpc_magic.pool.worker.sharing import per_call

            value = freeze(decode(record.payload, self._map_buffers(record.buffers)))
            own_value = per_call(value)
            # The value that others are made of reaches no code: a cell may change what it finds.
            return Binding(record, value if own_value is None else own_value(), per_call=own_value)
        if isinstance(record, Resource):
            return Binding(record, NotMade(record.name))
        return self._load_function(record)

    def _load_function(self, record: Function) -> Binding:
        if record.how == "cell":
            assert record.cell is not None
            namespace = self._cell_namespace(record.cell)
            first, _, rest = record.path.partition(".")
            value = namespace.own[first]
            return Binding(record, resolve(value, rest) if rest else value, namespace)
        if record.how == "module":
            from importlib import import_module

            name = record.payload.decode()
            module = import_module(name)
            check_module(name)
            value = resolve(module, record.path)
            return Binding(record, value, self._function_namespace(value, record, ()))
        value = decode(record.payload)
        return Binding(record, value, self._function_namespace(value, record, record.needs))

    def _function_namespace(self, value: Any, record: Function, needs: tuple[str, ...]) -> Namespace:
        """Make the namespace of a function outside any cell, and add the common globals to it."""
        global_names = getattr(value, "__globals__", {})
        own = {name: global_names[name] for name in needs if name in global_names}
        for common, thing in self._common_globals.items():
            global_names.setdefault(common, thing)
        name = f"{record.name}#{record.key}"
        return self._namespaces.add(Namespace(name, global_names, needs, own))

    def _cell_namespace(self, cell: Cell) -> Namespace:
        namespace = self._namespaces.get(cell.module)
        if namespace is None:
            names = self._current_names
            if cell.inputs:  # it may call functions, which then have to see the same state
                self._namespaces.bind_all(names)
            provided = {
                name: each.value for name, each in names.items() if each.is_for_all or name in cell.needs
            }
            initial = {**self._common_globals, **provided, "__builtins__": self._namespaces.builtins.globals}
            module, own = load_cell(cell, initial, marked(cell, names, self._map_buffers))
            global_names = vars(module)
            namespace = self._namespaces.add(
                Namespace(cell.module, global_names, cell.needs, own, True, provided.keys() - own.keys())
            )
        return namespace

    def free_unreferenced(self) -> None:
        """Drop functions and namespaces that no epoch refers to any more: when nobody waits for an answer."""
        self.has_unreferenced = False
        self.resources.close_unused(self._epochs.values())  # before what they need is gone
        self.functions = {}
        used: set[str] = set()
        for names in self._epochs.values():
            self.functions.update(_functions(names))
            used.update(b.namespace.name for b in names.values() if b.namespace is not None)
        for name in self._namespaces.names() - used:
            self._drop_namespace(name)

    def _drop_namespace(self, name: str) -> None:
        of_cell = name.startswith(PREFIX)
        self._namespaces.drop(name, release=of_cell)
        if of_cell:
            self.cells.drop(name)
        else:
            self.cells.collect_if_grown()  # a function that was sent by value may be a cycle, too


def _functions(names: dict[str, Binding]) -> Iterator[tuple[int, Callable[..., Any]]]:
    return ((b.record.key, b.value) for b in names.values() if type(b.record) is Function)


def _in_order(records: Sequence[Any]) -> list[Any]:
    """Return dependencies first, then constants: functions may need them after they were loaded."""
    kinds = (Dependency, Constant, Resource, Shared, Function)
    return sorted(records, key=lambda record: kinds.index(type(record)))
