"""A pool without workers: it records its calls, and runs functions in the calling thread."""

from __future__ import annotations

import hashlib
import types
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

from wpc_magic.pool.core.events import WorkerEvent
from wpc_magic.pool.core.snapshot import (
    ConstantInfo,
    DependencyInfo,
    FunctionInfo,
    PoolSnapshot,
    ResourceInfo,
    WorkerHealth,
    WorkerSnapshot,
)
from wpc_magic.pool.errors import DefinitionSyntaxError, FunctionNotDefinedError, OptionError, PoolStateError
from wpc_magic.pool.options import PoolOptions


class FakeProcedure:
    def __init__(self, pool: FakePool, name: str, **options: Any) -> None:
        self._pool, self._name, self._options = pool, name, options
        self.source = pool.sources.get(name, "")

    def options(self, **options: Any) -> FakeProcedure:
        return FakeProcedure(self._pool, self._name, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Future[Any]:
        self._pool.calls.append((self._name, args, kwargs, self._options))
        if not self._pool.is_running:
            raise PoolStateError("the workers are not running")
        future: Future[Any] = Future()
        try:
            future.set_result(self._pool.functions[self._name](*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


class FakeCalls:
    def __init__(self, pool: FakePool) -> None:
        self._pool = pool

    def __getitem__(self, name: str) -> FakeProcedure:
        if name not in self._pool.functions:
            raise FunctionNotDefinedError(f"no function {name!r} is registered")
        return FakeProcedure(self._pool, name)

    def __getattr__(self, name: str) -> FakeProcedure:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __dir__(self) -> list[str]:
        return sorted(self._pool.functions)


class FakePool:
    """The part of `WorkerProcedureCall` that the magics use."""

    def __init__(self, *, name: str = "wpc", **options: Any) -> None:
        self.name = name
        self.options = PoolOptions(**options)
        self.describe_fix: Any = str
        self.output_sink: Any = None
        self.find_origin: Any = None
        self.when_not_running: Any = None
        self.keep_partial: Any = None
        self.wait_observer: Any = None
        self.when_cell_added: Any = len
        self.error_observer: Any = None
        self.workers = 0
        self.recorded: list[tuple[Any, ...]] = []
        self.calls: list[tuple[Any, ...]] = []
        self.infos: dict[str, FunctionInfo] = {}
        self.functions: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.modules: dict[str, types.ModuleType] = {}
        self.dependencies: dict[str, DependencyInfo] = {}
        self.constants: dict[str, Any] = {}
        self.resources: dict[str, str] = {}
        self.requires: tuple[str, ...] = ()
        self.listeners: list[Any] = []
        self.event_history: list[WorkerEvent] = []
        self.fail_next: BaseException | None = None
        self.call = FakeCalls(self)

    def _record(self, *what: Any) -> None:
        self.recorded.append(what)
        error, self.fail_next = self.fail_next, None
        if error is not None:
            raise error

    @property
    def is_running(self) -> bool:
        return self.workers > 0

    def differing_constants(self, names: Any, namespace: Any) -> list[str]:
        return []

    def check_arguments(self, name: str, args: Any, kwargs: Any) -> None:
        pass

    def start_workers(self, count: int | None = None, *, wait: bool = True, **options: Any) -> None:
        self._record("start", count, options if wait else {**options, "wait": False})
        self.configure(**options)
        self.workers = count or 2

    def stop_workers(self, drain: bool = False, timeout_ms: int | None = None) -> None:
        self._record("stop", drain, timeout_ms)
        self.workers = 0

    def wait_until_ready(self, timeout_ms: int | None = None) -> None:
        pass

    def resize(self, count: int) -> None:
        self._record("resize", count)
        self.workers = count

    def restart_worker(self, worker_id: int, drain: bool = True) -> None:
        self._record("restart", worker_id, drain)
        if not 1 <= worker_id <= self.workers:
            raise OptionError(f"there is no worker {worker_id}")

    def restart_workers(self, drain: bool = True) -> None:
        self._record("restart", None, drain)

    def configure(self, **options: Any) -> None:
        self.options = self.options.replace(options)

    def define_worker_functions(self, source: str, **options: Any) -> list[FunctionInfo]:
        options.pop("look")
        self._record("define", options)
        module = types.ModuleType("cell")
        try:
            exec(compile(source, "<cell>", "exec"), module.__dict__)
        except SyntaxError as error:
            raise DefinitionSyntaxError(f"line {error.lineno}: {error.msg}", error.lineno or 0) from None
        names = options.get("names") or [
            name for name, value in vars(module).items() if isinstance(value, types.FunctionType)
        ]
        for name in names:
            self.functions[name], self.sources[name] = getattr(module, name), source
            self.modules[name] = module
            revision = self.infos[name].revision + 1 if name in self.infos else 1
            digest = hashlib.sha1(source.strip().encode()).hexdigest()
            self.infos[name] = FunctionInfo(
                name,
                "(n)",
                digest,
                self.workers,
                revision,
                self.requires,
                timeout_ms=options.get("timeout_ms"),
            )
        return [self.infos[name] for name in names]

    def undefine_worker_function(self, *, name: str) -> None:
        del self.infos[name], self.functions[name]

    def get_remote_functions(self) -> list[FunctionInfo]:
        return [self.infos[name] for name in sorted(self.infos)]

    def referenced_modules(self) -> dict[str, str]:
        return {}

    def local_module(self, name: str) -> types.ModuleType:
        return self.modules[name]

    def define_worker_dependency(
        self, *, alias: str, module_specifier: str, export_name: str | None = None, reload: bool = False
    ) -> DependencyInfo:
        self._record("dependency", alias, module_specifier, export_name, reload)
        info = DependencyInfo(alias, module_specifier, export_name, False, self.workers)
        self.dependencies[alias] = info
        return info

    def undefine_worker_dependency(self, *, alias: str) -> None:
        del self.dependencies[alias]

    def get_worker_dependencies(self) -> list[DependencyInfo]:
        return [self.dependencies[alias] for alias in sorted(self.dependencies)]

    def define_worker_constant(self, *, name: str, value: Any) -> ConstantInfo:
        self._record("constant", name)
        self.constants[name] = value
        return ConstantInfo(name, self.workers, type(value).__name__, 2048)

    def undefine_worker_constant(self, *, name: str) -> None:
        del self.constants[name]

    def get_worker_constants(self) -> list[ConstantInfo]:
        return [
            ConstantInfo(name, self.workers, type(value).__name__, 2048)
            for name, value in sorted(self.constants.items())
        ]

    def map(
        self, name: str, *iterables: Any, chunk_size: int | None = None, kwargs: Any = None, **options: Any
    ) -> Any:
        self.calls.append((name, iterables, kwargs or {}, {"chunk_size": chunk_size}))
        values = [self.functions[name](*args, **kwargs or {}) for args in zip(*iterables, strict=False)]
        return SimpleNamespace(result=lambda: values, errors={})

    def get_worker_resources(self) -> list[ResourceInfo]:
        return [ResourceInfo(name, self.workers, "make()") for name in self.resources]

    def define_worker_resource(self, name: str, factory: str, **options: Any) -> ResourceInfo:
        self._record("resource", name, factory, options)
        self.resources[name] = factory
        return ResourceInfo(name, self.workers, "make()", eager=options["eager"])

    def resource_source(self, name: str) -> str:
        return self.resources[name]

    def undefine_worker_resource(self, *, name: str) -> None:
        del self.resources[name]

    def get_shared_objects(self) -> list[Any]:
        return []

    def get_worker_setup(self) -> None:
        return None

    def defined_names(self) -> set[str]:
        return {
            *self.infos,
            *(info.alias for info in self.get_worker_dependencies()),
            *(info.name for info in self.get_worker_constants()),
            *self.resources,
        }

    def starmap(self, name: str, items: Any, **options: Any) -> Any:
        return self.map(name, *zip(*items, strict=True), **options)

    def get_worker_health_states(self) -> list[WorkerHealth]:
        return [WorkerHealth(number + 1, "ready", 0, 0, 0) for number in range(self.workers)]

    cancelled_count = 0

    def cancelled_count_of(self, origin: Any) -> int:
        return self.cancelled_count

    def calls_at_workers(self, origin: Any) -> list[str]:
        return ["call-1", "call-2"]

    def on_worker_event(self, *, listener: Any) -> int:
        self.listeners.append(listener)
        return len(self.listeners)

    def off_worker_event(self, *, listener_id: int) -> bool:
        self.listeners[listener_id - 1] = None
        return True

    def stack(self, worker_id: int | None = None) -> Any:
        if worker_id is None:
            return {number + 1: self.stack(number + 1) for number in range(self.workers)}
        if worker_id > self.workers:
            raise OptionError(f"there is no worker {worker_id}")
        return f"worker {worker_id} waits for calls"

    def cancel_all(self, origin: Any = None) -> int:
        self._record("cancel", origin)
        self.cancelled_count += 2
        return 2

    def snapshot(self) -> PoolSnapshot:
        workers = tuple(
            WorkerSnapshot(number + 1, "ready", 100 + number, memory_bytes=2**20)
            for number in range(self.workers)
        )
        return PoolSnapshot(self.name, "running" if workers else "stopped", workers)

    def events(self) -> list[WorkerEvent]:
        return self.event_history
