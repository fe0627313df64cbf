"""The work behind each magic, over one pool; it knows no IPython."""

from __future__ import annotations

import ast
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from wpc_magic.pool.errors import FunctionNotDefinedError
from wpc_magic.pool.options import PoolOptions, did_you_mean
from wpc_magic.pool.source import look_in

from .evaluation import constant_value, evaluate_arguments, public_names
from .fixes import magic_line
from .parsing import ConstantLine, DependencyLine, UsageMistake
from .tables import constant_table, dependency_table, event_table, function_table, plural, status_table

if TYPE_CHECKING:
    from wpc_magic.dashboard.table import Table
    from wpc_magic.pool import WorkerProcedureCall
    from wpc_magic.pool.mind.snapshot import FunctionInfo

_POOL_OPTIONS = frozenset(field.name for field in dataclasses.fields(PoolOptions))

__all__ = ["Defined", "Said", "Session", "Shown"]


@dataclasses.dataclass(frozen=True, slots=True)
class Said:
    """What a magic has to say, in whole lines."""

    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Defined(Said):
    """What a magic has to say, and the names that it gives to the notebook."""

    names: Mapping[str, Any]


class Shown(str):
    """A text that is shown as it is, without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Session:
    """One shell's dealings with its pool.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool; from now on its errors tell magic lines to type.
    pool_name : str
        What the pool is called in the notebook.
    workers : int or None
        How many workers a start without a number makes; None: what the pool says.
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
        self.pool = pool
        self.workers = workers
        self.start_on_call = start_on_call
        self.pool_name = pool_name
        pool.describe_fix = lambda fix: magic_line(fix, self.pool_name)

    def configure(self, name: str, value: Any) -> None:
        """Take a changed setting: one of this session's, or an option of the pool."""
        if name in ("workers", "start_on_call", "pool_name"):
            setattr(self, name, value)
        elif name in _POOL_OPTIONS:
            self.pool.configure(**{name: value})

    # -- the workers ------------------------------------------------------------------------------------

    def start(self, count: int | None = None, options: Mapping[str, Any] | None = None) -> Said:
        """Start the workers and wait until they are ready; where they run already, change what differs."""
        if self.pool.is_running:
            if options:
                self.pool.configure(**options)
            if count is not None and count != self.count():
                return self.scale(count)
            return Said(f"{plural(self.count(), 'worker')} running already")
        began = time.perf_counter()
        self.pool.start_workers(count or self.workers, **(options or {}))
        self.pool.wait_until_ready()
        return Said(f"{plural(self.count(), 'worker')} ready in {time.perf_counter() - began:.2f} s")

    def stop(self, drain: bool = False, timeout_ms: int | None = None) -> Said:
        """Stop the workers; what is defined stays defined."""
        if not self.pool.is_running:
            return Said("the workers are not running")
        count = self.count()
        self.pool.stop_workers(drain=drain, timeout_ms=timeout_ms)
        return Said(f"{plural(count, 'worker')} stopped")

    def restart(self, worker_id: int | None = None, drain: bool = True) -> Said:
        """Restart one worker, or all of them with the folder, path and environment of now."""
        if worker_id is not None:
            self.pool.restart_worker(worker_id, drain=drain)
            self.pool.wait_until_ready()
            return Said(f"worker {worker_id} restarted")
        self.pool.restart_workers(drain=drain)
        self.pool.wait_until_ready()
        return Said(f"{plural(self.count(), 'worker')} restarted")

    def scale(self, count: int) -> Said:
        """Change how many workers there are."""
        before = self.count()
        self.pool.resize(count)
        self.pool.wait_until_ready()
        return Said(f"{plural(self.count(), 'worker')} ready, {before} before")

    def count(self) -> int:
        """Return how many slots the pool has."""
        return len(self.pool.get_worker_health_states()) if self.pool.is_running else 0

    # -- definitions ------------------------------------------------------------------------------------

    def define_functions(
        self,
        source: str,
        names: Sequence[str],
        here: bool,
        namespace: Mapping[str, Any],
        **options: int | None,
    ) -> Defined:
        """Register the functions of a cell; say for each what it needs, and its hash.

        With `here`, the cell's module is imported in this process too, so that its classes are the ones that
        come back from workers. What an unknown name is in the notebook's `namespace` decides what to type.
        """
        infos = self.pool.define_worker_functions(
            source, names=names or None, look=look_in(namespace), **_given(options)
        )
        bound: dict[str, Any] = {}
        if here and infos:
            module = self.pool.local_module(infos[0].name)
            bound = {name: getattr(module, name) for name in public_names(source) if hasattr(module, name)}
        return Defined("\n".join(self._registered(info) for info in infos), bound)

    def _registered(self, info: FunctionInfo) -> str:
        verb = "registered" if info.revision == 1 else f"registered again (revision {info.revision})"
        parts = [f"{info.name}{info.parameter_signature} {verb}{self._where(info.installed_worker_count)}"]
        if info.requires:
            parts.append("needs " + ", ".join(info.requires))
        missing = [name for name in info.requires if name not in self._known_names()]
        if missing:
            parts.append(f"calls are refused until {', '.join(missing)} is registered")
        return " · ".join([*parts, info.function_hash_sha1[:7]])

    def _where(self, installed: int) -> str:
        """Tell how many workers hold a definition; a busy one takes it when its call has ended."""
        total = self.count()
        if not total:
            return ""
        return (
            f" on {plural(total, 'worker')}" if installed >= total else f" on {installed} of {total} workers"
        )

    def _known_names(self) -> set[str]:
        pool = self.pool
        return {
            *(info.name for info in pool.get_remote_functions()),
            *(info.alias for info in pool.get_worker_dependencies()),
            *(info.name for info in pool.get_worker_constants()),
        }

    def dependencies(self, line: DependencyLine) -> Said | Table:
        """Register, remove or list dependencies."""
        for alias in line.delete:
            self._remove(alias, self.dependency_names(), "dependency", self.pool.undefine_worker_dependency)
        if line.delete:
            return Said(f"{', '.join(line.delete)} removed")
        if not line.define:
            return dependency_table(self.pool.get_worker_dependencies())
        said = []
        for one in line.define:
            info = self.pool.define_worker_dependency(
                alias=one.alias, module_specifier=one.module, export_name=one.export, reload=line.reload
            )
            target = f"{one.module}.{one.export}" if one.export else one.module
            verb = "reloaded" if line.reload else "registered"
            said.append(f"{one.alias} = {target} {verb}{self._where(info.installed_worker_count)}")
        return Said("\n".join(said))

    def constants(self, line: ConstantLine, namespace: dict[str, Any]) -> Said | Table:
        """Register, remove or list constants; values are those of the notebook's `namespace`."""
        for name in line.delete:
            self._remove(name, self.constant_names(), "constant", self.pool.undefine_worker_constant, "name")
        if line.delete:
            return Said(f"{', '.join(line.delete)} removed")
        if line.name is None:
            return constant_table(self.pool.get_worker_constants())
        value = constant_value(line.name, line.expression, namespace)
        info = self.pool.define_worker_constant(name=line.name, value=value)
        kind = info.type_name or type(value).__name__
        return Said(f"{line.name} ({kind}) registered{self._where(info.installed_worker_count)}")

    def undefine(self, names: Sequence[str]) -> Said:
        """Remove functions; say what to type for a name that is something else."""
        for name in names:
            for magic, others in (("wpc_dep", self.dependency_names()), ("wpc_const", self.constant_names())):
                if name in others and name not in self.function_names():
                    raise UsageMistake(f"{name} is no function. Type: %{magic} -d {name}")
            self._remove(name, self.function_names(), "function", self.pool.undefine_worker_function, "name")
        return Said(f"{', '.join(names)} removed")

    def _remove(
        self, name: str, known: Sequence[str], what: str, undefine: Callable[..., Any], keyword: str = "alias"
    ) -> None:
        if name not in known:
            raise UsageMistake(f"no {what} {name!r} is registered.{did_you_mean(name, known)}")
        undefine(**{keyword: name})

    # -- calls ------------------------------------------------------------------------------------------

    def call(self, node: ast.Call, namespace: dict[str, Any], **options: int | None) -> Any:
        """Run one call in a worker, and return its value; its own exception is raised as it came."""
        name = self._function(node)
        args, kwargs = evaluate_arguments(node, namespace)
        self._start_for_call()
        future = self.pool.call[name].options(**_given(options))(*args, **kwargs)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()  # nobody else holds it: what is left running would be lost work
            raise

    def map(self, node: ast.Call, namespace: dict[str, Any], **options: int | None) -> list[Any]:
        """Run a function over iterables, and return the list of results."""
        name = self._function(node)
        iterables, kwargs = evaluate_arguments(node, namespace)
        if kwargs or not iterables:
            raise UsageMistake(
                f"map takes iterables and no keywords. Type for example: %wpc_map {name}(range(10))"
            )
        self._start_for_call()
        return list(self.pool.map(name, *iterables, **_given(options)))

    def _function(self, node: ast.Call) -> str:
        assert isinstance(node.func, ast.Name)  # parse_call lets nothing else through
        name, known = node.func.id, self.function_names()
        if name not in known:
            message = f"no function {name!r} is registered.{did_you_mean(name, known)}"
            raise FunctionNotDefinedError(message)
        return name

    def _start_for_call(self) -> None:
        if self.start_on_call and not self.pool.is_running:
            self.start()

    # -- what there is ----------------------------------------------------------------------------------

    def functions(self, name: str | None = None) -> Said | Table:
        """List the functions, or tell the source of one."""
        if name is None:
            return function_table(self.pool.get_remote_functions())
        if name not in self.function_names():
            raise UsageMistake(
                f"no function {name!r} is registered.{did_you_mean(name, self.function_names())}"
            )
        return Said(self.pool.call[name].source.rstrip())

    def status(self) -> Table:
        """Return what each worker does now."""
        return status_table(self.pool.snapshot())

    def stack(self, worker_id: int | None = None) -> Shown:
        """Return where one worker is in what it runs, or each."""
        if worker_id is not None:
            return Shown(self.pool.stack(worker_id))
        return Shown("\n\n".join(self.pool.stack().values()))

    def events(self, count: int, severity: str | None = None, worker_id: int | None = None) -> Table:
        """Return the latest events of at least that severity."""
        return event_table(self.pool.events(), count, severity, worker_id)

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

    def worker_ids(self) -> list[int]:
        """Return the numbers of the slots."""
        return [state.worker_id for state in self.pool.get_worker_health_states()]


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
