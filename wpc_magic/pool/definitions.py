"""The definitions of a pool, as its users make them: functions, dependencies and constants."""

from __future__ import annotations

import dataclasses
import importlib.util
import itertools
import pkgutil
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from .checks import check_callable, check_flag, check_iterable, check_text, shown
from .driver import Driver
from .errors import (
    DefinitionError,
    FunctionNotDefinedError,
    InstallError,
    NestedCallError,
    OptionError,
    RequirementMissingError,
)
from .local import LocalDefinitions
from .mind.analysis.missing import Fix, python_line
from .mind.core import Core
from .mind.registry import Kind, Record
from .mind.snapshot import ConstantInfo, DependencyInfo, FunctionInfo
from .options import CallOptions, check_name, did_you_mean
from .source import FunctionDraft, draft_cell, draft_function
from .wire import protocol
from .wire.codec import encode
from .worker.failure import revive

__all__ = ["Definitions"]


@dataclasses.dataclass(frozen=True, slots=True)
class _About:
    """What is kept of a function beside what workers get."""

    info: FunctionInfo
    source: str


class Definitions:
    """What a pool knows by name.

    Parameters
    ----------
    driver : Driver
        The hands of the pool.
    name : str
        What the pool is called in messages.
    changed : callable
        Called after every change.

    Attributes
    ----------
    describe_fix : callable
        Writes the line that mends a refused definition, given a `Fix`.
    local : LocalDefinitions
        The same definitions in this process.
    """

    def __init__(self, driver: Driver, name: str, changed: Callable[[], object]) -> None:
        self._driver = driver
        self.name = name
        self.describe_fix: Callable[[Fix], str] = python_line
        self._local = LocalDefinitions(driver.changes.since, driver.changes.buffers)
        self._changed = changed
        self._keys = itertools.count(1)
        self._reloads = itertools.count(1)

    def define_worker_function(
        self,
        *,
        worker_func: Callable[..., Any] | str,
        name: str | None = None,
        timeout_ms: int | None = None,
        queue_timeout_ms: int | None = None,
        retries: int = 0,
    ) -> FunctionInfo:
        """Define a function for the workers, or define it anew.

        Parameters
        ----------
        worker_func : callable or str
            The function, or the text of one ``def``.
        name : str, optional
            Its name in ``pool.call``; by default, the function's own.
        timeout_ms, queue_timeout_ms, retries : int
            As in `CallOptions`.

        Returns
        -------
        FunctionInfo
            What was registered.

        Raises
        ------
        DefinitionError
            If it does not parse, uses names that the workers do not have, or a worker could not install it.
            Then the definition before it stays in force everywhere.
        OptionError
            If the name or an option is wrong.
        """
        if name is not None:
            check_name(name, "function name")
        options = CallOptions(timeout_ms=timeout_ms, queue_timeout_ms=queue_timeout_ms, retries=retries)
        known = self._known() | ({name} if name else set())
        if isinstance(worker_func, str):
            drafts = draft_cell(
                worker_func,
                None,
                known=known,
                describe_fix=self.describe_fix,
                pool_name=self.name,
                rename=name,
            )
            if len(drafts) != 1:
                names = ", ".join(draft.name for draft in drafts)
                raise DefinitionError(
                    f"the text defines {len(drafts)} functions ({names}); "
                    f"define_worker_functions takes a text with several"
                )
        else:
            drafts = [
                draft_function(
                    worker_func, name, known=known, describe_fix=self.describe_fix, pool_name=self.name
                )
            ]
        return self._define_functions(drafts, options)[0]

    def define_worker_functions(
        self,
        source: str,
        *,
        names: Sequence[str] | None = None,
        look: Callable[[str], Fix | None] | None = None,
        timeout_ms: int | None = None,
        queue_timeout_ms: int | None = None,
        retries: int = 0,
    ) -> list[FunctionInfo]:
        """Define the functions of a cell: each public top-level ``def``, or those named.

        The whole text is one module in the workers: its imports, helpers and classes come along.

        Parameters
        ----------
        source : str
            The text.
        names : sequence of str, optional
            Which functions.
        look : callable, optional
            Tells what an unknown name stands for where the text was written, so that the error can say what
            to type; `wpc_magic.pool.source.look_in` makes one from a namespace.
        timeout_ms, queue_timeout_ms, retries : int
            As in `CallOptions`, for each.

        Raises
        ------
        DefinitionError, OptionError
            As `define_worker_function`; then none of them is defined.
        """
        options = CallOptions(timeout_ms=timeout_ms, queue_timeout_ms=queue_timeout_ms, retries=retries)
        if look is not None:
            check_callable("look", look)
        drafts = draft_cell(
            source,
            None if names is None else _names(names),
            known=self._known(),
            look=look,
            describe_fix=self.describe_fix,
            pool_name=self.name,
        )
        return self._define_functions(drafts, options)

    def function(self, worker_func: Any = None, /, **options: Any) -> Any:
        """Define the function below: a decorator, with options or without.

        The name stays bound to the function itself; ``pool.call`` has the one that runs in workers.

        Parameters
        ----------
        **options
            As `define_worker_function` takes them.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> pool = WorkerProcedureCall()
        >>> @pool.function(timeout_ms=500)
        ... def double(x):
        ...     return 2 * x
        >>> pool.call.double
        <registered function double(x)>
        """

        def define(function: Any) -> Any:
            self.define_worker_function(worker_func=function, **options)
            return function

        return define if worker_func is None else define(worker_func)

    def _define_functions(self, drafts: list[FunctionDraft], options: CallOptions) -> list[FunctionInfo]:
        records = []
        for draft in drafts:
            key = next(self._keys)
            info = FunctionInfo(
                draft.name,
                draft.signature,
                draft.sha1,
                0,
                requires=draft.needs,
                is_async=draft.is_async,
                doc=draft.doc,
                timeout_ms=options.timeout_ms,
                retries=options.retries or None,
            )
            wire = protocol.Function(
                draft.name, key, draft.how, draft.cell, draft.path, draft.payload, draft.wire_needs
            )
            about = _About(info, draft.source)
            records.append(
                Record(draft.name, Kind.FUNCTION, wire, about, draft.needs, key, draft.is_async, options)
            )
            self._local.know(draft.cell)
        self._change(records)
        return [self._info_of(draft.name) for draft in drafts]

    def undefine_worker_function(self, *, name: str) -> None:
        """Remove a function; calls of it that run go on.

        Raises
        ------
        FunctionNotDefinedError
            If there is none of that name.
        """
        self._remove(name, Kind.FUNCTION, FunctionNotDefinedError)

    undefine_woker_function = undefine_worker_function
    """The original documents this spelling."""

    def get_remote_functions(self) -> list[FunctionInfo]:
        """Return what is known of each function, sorted by name."""
        return self._infos(Kind.FUNCTION)

    def define_worker_dependency(
        self,
        *,
        alias: str,
        module_specifier: str,
        export_name: str | None = None,
        is_default_export: bool = False,
        reload: bool = False,
    ) -> DependencyInfo:
        """Give the workers a module, or an object of one, under a name.

        Parameters
        ----------
        alias : str
            The name in functions: ``np``.
        module_specifier : str
            The module: ``numpy``.
        export_name : str, optional
            The object of the module, instead of the module itself.
        is_default_export : bool
            Whether the object is the one named like the module's last part: ``datetime`` of ``datetime``.
        reload : bool
            Whether workers that have the module already read its file again.

        Raises
        ------
        DefinitionError
            If there is no such module here, or a worker could not import it.
        OptionError
            If an argument is wrong.
        """
        check_name(alias, "alias")
        _module_name(module_specifier)
        if export_name is not None and (not isinstance(export_name, str) or not export_name):
            raise OptionError(f"export_name takes a name, not {shown(export_name)}")
        check_flag("is_default_export", is_default_export)
        check_flag("reload", reload)
        if is_default_export and export_name is not None:
            raise OptionError("export_name and is_default_export do not go together")
        _find_module(module_specifier)
        export = module_specifier.rpartition(".")[2] if is_default_export else export_name
        info = DependencyInfo(alias, module_specifier, export_name, is_default_export, 0)
        count = next(self._reloads) if reload else 0
        wire = protocol.Dependency(alias, module_specifier, export, count)
        self._change([Record(alias, Kind.DEPENDENCY, wire, info)])
        found: DependencyInfo = self._info_of(alias)
        return found

    def undefine_worker_dependency(self, *, alias: str) -> None:
        """Remove a dependency; functions that need it are refused from now on.

        Raises
        ------
        RequirementMissingError
            If there is none of that name.
        """
        self._remove(alias, Kind.DEPENDENCY, RequirementMissingError)

    def get_worker_dependencies(self) -> list[DependencyInfo]:
        """Return what is known of each dependency, sorted by name."""
        return self._infos(Kind.DEPENDENCY)

    def define_worker_constant(self, *, name: str, value: Any) -> ConstantInfo:
        """Give the workers a value under a name; they cannot change it.

        Parameters
        ----------
        name : str
            The name in functions.
        value : object
            Anything that can be pickled. Dicts, lists, sets and bytearrays in it are read-only in workers.

        Raises
        ------
        OptionError
            If the name is wrong.
        DefinitionError
            If the value cannot be pickled, or not unpickled in a worker.
        """
        check_name(name, "constant name")
        try:
            payload, buffers = encode(value, streaming=True)
        except NestedCallError:
            raise
        except Exception as error:
            kind = type(value).__name__
            raise DefinitionError(
                f"the value of {name} ({kind}) cannot be sent to workers: {error}"
            ) from error
        size = len(payload) + sum(len(buffer) for buffer in buffers)
        about = ConstantInfo(name, 0, type(value).__name__, size)
        block, where = self._driver.changes.place(buffers)
        wire = protocol.Constant(name, payload, where)
        self._change([Record(name, Kind.CONSTANT, wire, about, block=block)])
        found: ConstantInfo = self._info_of(name)
        return found

    def undefine_worker_constant(self, *, name: str) -> None:
        """Remove a constant; functions that need it are refused from now on.

        Raises
        ------
        RequirementMissingError
            If there is none of that name.
        """
        self._remove(name, Kind.CONSTANT, RequirementMissingError)

    def get_worker_constants(self) -> list[ConstantInfo]:
        """Return what is known of each constant, sorted by name; not its value."""
        return self._infos(Kind.CONSTANT)

    def _known(self) -> set[str]:
        with self._driver.deciding() as (core, _):
            return set(core.state.registry.records)

    def _infos(self, kind: Kind) -> list[Any]:
        with self._driver.deciding() as (core, _):
            return [_info(core, record) for record in core.state.registry.of_kind(kind)]

    def _info_of(self, name: str) -> Any:
        with self._driver.deciding() as (core, _):
            return _info(core, core.state.registry.records[name])

    def _remove(self, name: str, kind: Kind, error: type[Exception]) -> None:
        check_text("alias" if kind is Kind.DEPENDENCY else "name", name)
        with self._driver.deciding() as (core, _):
            record = core.state.registry.records.get(name)
            known = [each.name for each in core.state.registry.of_kind(kind)]
        if record is None or record.kind is not kind:
            raise error(f"no {kind.value} {shown(name)} is defined.{did_you_mean(name, known)}")
        self._change([], [name])

    def _change(self, records: list[Record], removed: Sequence[str] = ()) -> None:
        """Have a change in force on all workers, or on none."""
        self._driver.check()
        rollout = self._driver.changes.make(records, removed)
        self._changed()
        if rollout.done:
            return
        names = ", ".join([*(record.name for record in records), *removed])
        reason = rollout.reason
        if isinstance(reason, protocol.Failure):
            message = (
                f"worker {rollout.refused_by} could not install {names}: {reason.name}: {reason.message}"
            )
            cause = revive(reason)
            stack = reason.stack
            if cause.__traceback__ is not None:  # this process has the lines of the cell at hand
                stack = "".join(traceback.format_exception(cause))
            if "\n" in stack.strip():  # else it says the same once more
                message += f"\n\nIn the worker:\n{stack.rstrip()}"
            raise InstallError(message) from cause
        raise InstallError(f"worker {rollout.refused_by} could not install {names}: {reason}")

    def local_function(self, name: str) -> Callable[..., Any]:
        """Return a registered function, to be called in this process."""
        return self._local.function(self._record(name).key)

    def local_module(self, name: str) -> Any:
        """Return the module of a registered function in this process; a cell is run here on first need."""
        return self._local.module(self._record(name).wire)

    def _record(self, name: str) -> Record:
        check_text("name", name)
        with self._driver.deciding() as (core, _):
            record = core.state.registry.records.get(name)
            known = [each.name for each in core.state.registry.of_kind(Kind.FUNCTION)]
        if record is None or record.kind is not Kind.FUNCTION:
            raise FunctionNotDefinedError(f"no function {shown(name)} is defined.{did_you_mean(name, known)}")
        return record

    def describe(self, name: str) -> Any:
        """Return what is kept of a function: its `info` and its `source`; None: there is none."""
        record = self._driver.core.state.registry.records.get(name)
        return record.about if record is not None and record.kind is Kind.FUNCTION else None


def _info(core: Core, record: Record) -> Any:
    """Return what the getters tell of a definition, with what changes by the moment."""
    installed = core.installed_count(record)
    if record.kind is Kind.FUNCTION:
        about = record.about.info
        return dataclasses.replace(about, installed_worker_count=installed, revision=record.revision)
    return dataclasses.replace(record.about, installed_worker_count=installed)


def _names(names: Sequence[str]) -> list[str]:
    if isinstance(names, str):  # a sequence of texts, too, but not one of names
        raise OptionError(f"names takes a sequence of names, not {shown(names)}")
    return [check_text("names", name) for name in check_iterable("names", names)]


def _module_name(name: object) -> None:
    if not isinstance(name, str) or not all(part.isidentifier() for part in name.split(".")):
        told = shown(name)
        raise OptionError(f"module_specifier takes the name of a module, such as 'os.path', not {told}")


def _find_module(name: str) -> None:
    """Refuse a module that is not there; it is not imported, since it may be meant for workers only."""
    try:
        spec = sys.modules.get(name) or importlib.util.find_spec(name)
    except (ImportError, ValueError) as error:
        raise DefinitionError(f"the module {shown(name)} cannot be found: {error}") from None
    if spec is None:
        top = (module.name for module in pkgutil.iter_modules())
        near = did_you_mean(name, [*sys.stdlib_module_names, *top])
        raise DefinitionError(f"there is no module {shown(name)} here.{near}")
