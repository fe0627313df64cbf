"""The implementation of each magic, for one pool and without IPython."""

from __future__ import annotations

import ast
import dataclasses
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wpc_magic.pool.errors import DoctestError, FunctionNotDefinedError
from wpc_magic.pool.maps.request import OnError
from wpc_magic.pool.options import PoolOptions, did_you_mean
from wpc_magic.pool.source.draft import look_in

from .evaluation import constant_value, evaluate_arguments, public_names
from .fixes import magic_line
from .messages import DefinitionMessage, Message, PlainText
from .parsing import ConstantLine, DependencyLine, UsageMistake
from .pipeline import load_module, write_module
from .tables import constant_table, dependency_table, event_table, function_table, plural, status_table
from .taken import taken_line
from .timing import time_call
from .worker_commands import WorkerCommands

if TYPE_CHECKING:
    from wpc_magic.dashboard.table import Table
    from wpc_magic.pool import WorkerProcedureCall
    from wpc_magic.pool.core.snapshot import FunctionInfo
    from wpc_magic.pool.replay import Replay

_POOL_OPTIONS = frozenset(field.name for field in dataclasses.fields(PoolOptions))

__all__ = ["Session"]


class Session(WorkerCommands):
    """The operations of one shell on its pool; those on its workers are in the base class.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool; from now on its errors suggest magics to type.
    pool_name : str
        The name of the pool in the notebook.
    workers : int or None
        How many workers a start without a number creates; None: the pool's default.
    start_on_call : bool
        Whether the first call starts the workers.
    """

    def __init__(
        self,
        pool: WorkerProcedureCall,
        *,
        pool_name: str = "wpc",
        workers: int | None = None,
        start_on_call: bool = True,
    ) -> None:
        super().__init__(pool, workers)
        self.start_on_call = start_on_call
        self.pool_name = pool_name
        self._mentioned: set[str] = set()  # constants whose variable has changed
        self._starting = threading.Lock()
        pool.when_not_running = self._start_for_call
        pool.describe_fix = lambda fix: magic_line(fix, self.pool_name)

    def configure(self, name: str, value: Any) -> None:
        """Apply a changed setting: one of this session, or an option of the pool."""
        if name in ("workers", "start_on_call", "pool_name"):
            setattr(self, name, value)
        elif name in _POOL_OPTIONS:
            self.pool.configure(**{name: value})

    # -- definitions ------------------------------------------------------------------------------------

    def define_functions(
        self,
        source: str,
        names: Sequence[str],
        here: bool,
        namespace: Mapping[str, Any],
        capture: bool = False,
        test: bool = False,
        label: str = "",
        **options: Any,
    ) -> DefinitionMessage:
        """Register the functions of a cell; report the requirements and the hash of each.

        With `here`, the cell's module is imported in this process too, so that its classes are the same as
        those of values from workers. For an unknown name, the `namespace` of the notebook determines which
        fix is suggested; with `capture`, modules and small values are taken from it. With `test`, doctests
        are run first; their report calls the cell by the `label`.
        """
        given = _given(options)
        if capture:
            given["capture"] = namespace
        if test:
            given["test"] = True
            self._start_for_call()
        try:
            infos = self.pool.define_worker_functions(
                source, names=names or None, look=look_in(namespace), **given
            )
        except DoctestError as error:
            report = error.report.replace(f'File "{error.filename}"', f'File "{label}"')
            raise DoctestError(error.functions, error.attempted, error.failed, report, label) from None
        captured = {name for info in infos for name in info.captured}
        self._mentioned -= captured
        bound: dict[str, Any] = {}
        if here and infos:
            module = self.pool.local_module(infos[0].name)
            bound = {name: getattr(module, name) for name in public_names(source) if hasattr(module, name)}
        lines = taken_line(self.pool, captured)
        lines += [self._description(info) for info in infos]
        if test and infos:
            count = infos[0].doctests
            lines.append(f"{plural(count, 'doctest')} passed" if count else "the cell has no doctests")
        lines += self._differing([info.name for info in infos], namespace)
        return DefinitionMessage("\n".join(lines), bound)

    def check_variables(self, cell: str, namespace: Mapping[str, Any]) -> None:
        """Say which variables have changed since they became constants of functions that a cell has used.

        The magics say it themselves; this is for ``wpc.call.f()`` and ``@wpc.function``.
        """
        words = set(re.findall(r"\w+", cell))
        if self.pool_name in words:
            self._say(self._differing(words.intersection(self.function_names()), namespace))

    def _differing(self, names: Iterable[str], namespace: Mapping[str, Any]) -> list[str]:
        """Return a line for each constant of these functions whose variable has changed since; each once."""
        new = [
            name for name in self.pool.differing_constants(names, namespace) if name not in self._mentioned
        ]
        self._mentioned.update(new)
        return [f"{name} differs from the constant that workers have; %wpc_const {name}" for name in new]

    def _description(self, info: FunctionInfo) -> str:
        verb = "registered" if info.revision == 1 else f"registered again (revision {info.revision})"
        parts = [f"{info.name}{info.parameter_signature} {verb}{self.coverage(info.installed_worker_count)}"]
        if info.requires:
            parts.append("needs " + ", ".join(info.requires))
        missing = [name for name in info.requires if name not in self._known_names()]
        if missing:
            parts.append(f"calls are refused until {', '.join(missing)} is registered")
        return " · ".join([*parts, info.function_hash_sha1[:7]])

    def coverage(self, installed: int) -> str:
        """Describe how many workers have a definition; a busy one installs it after its call."""
        total = self.count()
        if not total:
            return ""
        return (
            f" on {plural(total, 'worker')}" if installed >= total else f" on {installed} of {total} workers"
        )

    def _known_names(self) -> set[str]:
        return self.pool.defined_names()

    def dependencies(self, line: DependencyLine) -> Message | Table:
        """Register, remove or list dependencies."""
        for alias in line.delete:
            self.remove(alias, self.dependency_names(), "dependency", self.pool.undefine_worker_dependency)
        if line.delete:
            return Message(f"{', '.join(line.delete)} removed")
        if not line.define:
            return dependency_table(self.pool.get_worker_dependencies())
        lines = []
        for one in line.define:
            info = self.pool.define_worker_dependency(
                alias=one.alias,
                module_specifier=one.module,
                export_name=one.export,
                reload=line.reload and one is line.define[-1],  # it replaces the workers, once
            )
            target = f"{one.module}.{one.export}" if one.export else one.module
            lines.append(f"{one.alias} = {target} registered{self.coverage(info.installed_worker_count)}")
        if line.reload and self.pool.is_running:
            lines.append("imported anew: the workers were replaced, one after another")
        return Message("\n".join(lines))

    def constants(self, line: ConstantLine, namespace: dict[str, Any]) -> Message | Table:
        """Register, remove or list constants; values are those of the notebook's `namespace`."""
        for name in line.delete:
            self.remove(name, self.constant_names(), "constant", self.pool.undefine_worker_constant, "name")
        if line.delete:
            return Message(f"{', '.join(line.delete)} removed")
        if line.name is None:
            return constant_table(self.pool.get_worker_constants())
        value = constant_value(line.name, line.expression, namespace)
        info = self.pool.define_worker_constant(name=line.name, value=value)
        self._mentioned.discard(line.name)
        if line.expression is not None:  # where that gives another value than the variable has, it is meant
            self._differing([line.name], namespace)
        kind = info.type_name or type(value).__name__
        coverage = self.coverage(info.installed_worker_count)
        shared = ", ".join(info.shared_kinds)
        note = f" · not read-only, shared by the calls of a worker: {shared}" if shared else ""
        return Message(f"{line.name} ({kind}) registered{coverage}{note}")

    def undefine(self, names: Sequence[str]) -> Message:
        """Remove functions; suggest the right magic for a name of another kind."""
        for name in names:
            for magic, others in (
                ("wpc_dep", self.dependency_names()),
                ("wpc_const", self.constant_names()),
                ("wpc_resource", self.resource_names()),
                ("wpc_shared", self.shared_names()),
            ):
                if name in others and name not in self.function_names():
                    raise UsageMistake(f"{name} is no function. Type: %{magic} -d {name}")
            self.remove(name, self.function_names(), "function", self.pool.undefine_worker_function, "name")
        return Message(f"{', '.join(names)} removed")

    def remove(
        self, name: str, known: Sequence[str], what: str, undefine: Callable[..., Any], keyword: str = "alias"
    ) -> None:
        """Remove a definition; for a name that is not there, say which may be meant."""
        self.check_known(name, known, what)
        undefine(**{keyword: name})

    def check_known(self, name: str, known: Sequence[str], what: str) -> None:
        """Refuse a name that no definition has, and say which may be meant."""
        if name not in known:
            raise UsageMistake(f"no {what} {name!r} is registered.{did_you_mean(name, known)}")

    def export(self, file: str, overwrite: bool, stubs: bool = False, large: bool = False) -> Message:
        """Write all definitions as a Python module, or their types."""
        return Message(write_module(self.pool, file, overwrite, stubs, large))

    def load(self, file: str) -> Message:
        """Define what such a module has."""
        return Message(load_module(self.pool, file))

    # -- calls ------------------------------------------------------------------------------------------

    def call(self, node: ast.Call, namespace: dict[str, Any], **options: int | None) -> Any:
        """Run one call in a worker, and return its value; the function's exception propagates unchanged."""
        name, args, kwargs = self._evaluated(node, namespace)
        future = self.pool.call[name].options(**_given(options))(*args, **kwargs)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()  # no other code holds the future, so the result would be lost
            raise

    def time(
        self,
        node: ast.Call,
        namespace: dict[str, Any],
        count: int | None = None,
        worker_id: int | None = None,
    ) -> Table:
        """Time a call in a worker, and here; return where its time goes."""
        __tracebackhide__ = True
        name, args, kwargs = self._evaluated(node, namespace)
        return time_call(self.pool, name, args, kwargs, count, worker_id)

    def _evaluated(
        self, node: ast.Call, namespace: dict[str, Any]
    ) -> tuple[str, Sequence[Any], Mapping[str, Any]]:
        """Return the function and the arguments of a call that can be made now."""
        name = self._function(node)
        args, kwargs = evaluate_arguments(node, namespace)
        self._check_arguments(name, args, kwargs)
        self._start_for_call()
        self._say(self._differing([name], namespace))
        return name, args, kwargs

    def map(
        self,
        node: ast.Call,
        namespace: dict[str, Any],
        keep_going: bool = False,
        star: bool = False,
        **options: int | None,
    ) -> list[Any]:
        """Run a function over iterables, and return the list of results; keywords are the same for all items.

        With `keep_going`, the exception of an item that fails stands in its place, and what has failed is
        printed. With `star`, there is one iterable, whose items have all arguments of one call.
        """
        name = self._function(node)
        iterables, kwargs = evaluate_arguments(node, namespace)
        if not iterables:
            raise UsageMistake(
                f"map takes iterables, and keywords that are the same for every item. "
                f"Type for example: %wpc_map {name}(range(10))"
            )
        if not star:
            self._check_arguments(name, iterables, kwargs)
        elif len(iterables) > 1:
            raise UsageMistake(
                f"--starmap takes one iterable, of tuples; for several type: %wpc_map {name}(xs, ys)"
            )
        self._start_for_call()
        self._say(self._differing([name], namespace))
        return self.map_over(name, iterables, keep_going, kwargs, star, **options)

    def map_over(
        self,
        name: str,
        iterables: Sequence[Any],
        keep_going: bool = False,
        kwargs: Mapping[str, Any] | None = None,
        star: bool = False,
        **options: int | None,
    ) -> list[Any]:
        """Do what `map` does with iterables that are evaluated already."""
        self._start_for_call()
        on_error: OnError = "return" if keep_going else "raise"
        run: Callable[..., Any] = self.pool.starmap if star else self.pool.map
        results = run(name, *iterables, on_error=on_error, kwargs=kwargs, **_given(options))
        values: list[Any] = results.result()
        if results.errors:
            self._say(
                [f"{results.error_count:,} of {plural(len(values), 'item')} failed", results.error_summary]
            )
        return values

    def _say(self, lines: Sequence[str]) -> None:
        if lines:
            sys.stdout.write("\n".join(lines) + "\n")

    def _function(self, node: ast.Call) -> str:
        assert isinstance(node.func, ast.Name)  # `parse_call` guarantees it
        name, known = node.func.id, self.function_names()
        if name not in known:
            message = f"no function {name!r} is registered.{did_you_mean(name, known)}"
            raise FunctionNotDefinedError(message)
        return name

    def _check_arguments(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        try:
            self.pool.check_arguments(name, args, kwargs)
        except TypeError as error:
            raise UsageMistake(str(error)) from None

    def _start_for_call(self) -> None:
        if not self.start_on_call:
            return
        with self._starting:  # several threads may make the first call
            if not self.pool.is_running:
                self.start()

    # -- state of the pool ------------------------------------------------------------------------------

    def functions(self, name: str | None = None) -> Message | Table:
        """List the functions, or return the source of one."""
        if name is None:
            return function_table(self.pool.get_remote_functions())
        if name not in self.function_names():
            raise UsageMistake(
                f"no function {name!r} is registered.{did_you_mean(name, self.function_names())}"
            )
        return Message(self.pool.call[name].source.strip("\n"))

    def status(self) -> Table:
        """Return the current activity of each worker."""
        return status_table(self.pool.snapshot())

    def stack(self, worker_id: int | None = None) -> PlainText:
        """Return the stack of one worker, or of each."""
        if worker_id is not None:
            return PlainText(self.pool.stack(worker_id))
        return PlainText("\n\n".join(self.pool.stack().values()))

    def events(self, count: int, severity: str | None = None, worker_id: int | None = None) -> Table:
        """Return the latest events of at least that severity."""
        return event_table(self.pool.events(), count, severity, worker_id)

    def failed_call(self, word: str | None = None) -> Replay:
        """Return a call that has failed, by its number (``#11``); without one, the latest."""
        number = None
        if word is not None:
            digits = word.removeprefix("#")
            if not digits.isdecimal() or not int(digits):
                raise UsageMistake(
                    f"a call is given by its number, not {word!r}. Type for example: %wpc_debug #11"
                )
            number = int(digits)
        return self.pool.failed_call(number)

    def dashboard(self) -> Any:
        """Return the live dashboard."""
        from wpc_magic.dashboard import open_dashboard

        return open_dashboard(self.pool)

    def function_names(self) -> list[str]:
        """Return the names of the functions."""
        return [info.name for info in self.pool.get_remote_functions()]

    def dependency_names(self) -> list[str]:
        """Return the aliases of the dependencies."""
        return [info.alias for info in self.pool.get_worker_dependencies()]

    def constant_names(self) -> list[str]:
        """Return the names of the constants."""
        return [info.name for info in self.pool.get_worker_constants()]

    def resource_names(self) -> list[str]:
        """Return the names of the resources."""
        return [info.name for info in self.pool.get_worker_resources()]

    def shared_names(self) -> list[str]:
        """Return the names of the shared arrays, counters and queues."""
        return [info.name for info in self.pool.get_shared_objects()]

    def worker_ids(self) -> list[int]:
        """Return the numbers of the slots."""
        return [state.worker_id for state in self.pool.get_worker_health_states()]


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
