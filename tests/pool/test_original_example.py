"""The example of the original's README, line by line; each line of it stands above ours."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import textwrap
import uuid
from typing import Any

from wpc_magic.pool import WorkerProcedureCall


def test_the_originals_example_works_line_by_line() -> None:
    heard: list[Any] = []

    # (async function () {
    async def main() -> None:
        # const workerprocedurecall = new WorkerProcedureCall({
        workerprocedurecall = WorkerProcedureCall(
            # call_timeout_ms: 30_000,
            call_timeout_ms=30_000,
            # control_timeout_ms: 10_000,
            control_timeout_ms=10_000,
            # restart_on_failure: true,
            restart_on_failure=True,
            # max_restarts_per_worker: 3,
            max_restarts_per_worker=3,
            # max_pending_calls_per_worker: 1_000,
            max_pending_calls_per_worker=1_000,
            # restart_base_delay_ms: 100,
            restart_base_delay_ms=100,
            # restart_max_delay_ms: 5_000,
            restart_max_delay_ms=5_000,
            # restart_jitter_ms: 100
            restart_jitter_ms=100,
        )  # });

        # const worker_event_listener_id = workerprocedurecall.onWorkerEvent({
        worker_event_listener_id = workerprocedurecall.on_worker_event(
            # listener: (worker_event) => { console.log('Worker event:', worker_event); }
            listener=heard.append
        )  # });

        # // Optional constants for worker functions.
        # await workerprocedurecall.defineWorkerConstant({ name: 'SERVICE_PREFIX', value: 'api-v1' });
        workerprocedurecall.define_worker_constant(name="SERVICE_PREFIX", value="api-v1")

        # // Define dependency alias before workers start.
        # await workerprocedurecall.defineWorkerDependency({
        #   alias: 'path_dep', module_specifier: 'node:path' });
        workerprocedurecall.define_worker_dependency(alias="path_dep", module_specifier="os.path")

        # await workerprocedurecall.defineWorkerFunction({
        #   name: 'WPCFunction1',
        #   worker_func: async function (file_path: string): Promise<string> {
        #     const path_module = (await wpc_import('path_dep')) as { basename: (value: string) => string; };
        #     const prefix = wpc_constant('SERVICE_PREFIX') as string;
        #     return `${prefix}:${path_module.basename(file_path)}`;
        #   }
        # });
        async def worker_func1(file_path: str) -> str:
            path_module = wpc_import("path_dep")  # type: ignore[name-defined]  # noqa: F821
            prefix = wpc_constant("SERVICE_PREFIX")  # type: ignore[name-defined]  # noqa: F821
            return f"{prefix}:{path_module.basename(file_path)}"

        workerprocedurecall.define_worker_function(name="WPCFunction1", worker_func=worker_func1)

        # await workerprocedurecall.startWorkers({ count: 4 });
        workerprocedurecall.start_workers(count=4)

        # // Define dependency after workers already started.
        # await workerprocedurecall.defineWorkerDependency({
        #   alias: 'crypto_dep', module_specifier: 'node:crypto' });
        workerprocedurecall.define_worker_dependency(alias="crypto_dep", module_specifier="uuid")

        # await workerprocedurecall.defineWorkerFunction({
        #   name: 'WPCFunction2',
        #   worker_func: async function (): Promise<string> {
        #     const crypto_module = (await wpc_import('crypto_dep')) as { randomUUID: () => string; };
        #     return crypto_module.randomUUID();
        #   }
        # });
        async def worker_func2() -> str:
            crypto_module = wpc_import("crypto_dep")  # type: ignore[name-defined]  # noqa: F821
            return str(crypto_module.uuid4())

        workerprocedurecall.define_worker_function(name="WPCFunction2", worker_func=worker_func2)

        # const remote_function_information = await workerprocedurecall.getRemoteFunctions();
        remote_function_information = workerprocedurecall.get_remote_functions()
        # const dependency_information = await workerprocedurecall.getWorkerDependencies();
        dependency_information = workerprocedurecall.get_worker_dependencies()
        # const constant_information = await workerprocedurecall.getWorkerConstants();
        constant_information = workerprocedurecall.get_worker_constants()

        # // Each function metadata entry includes function_hash_sha1.
        # console.log(remote_function_information, dependency_information, constant_information);
        assert [info.name for info in remote_function_information] == ["WPCFunction1", "WPCFunction2"]
        assert {info.installed_worker_count for info in remote_function_information} == {4}
        assert all(len(info.function_hash_sha1) == 40 for info in remote_function_information)
        assert [info.alias for info in dependency_information] == ["crypto_dep", "path_dep"]
        assert [info.name for info in constant_information] == ["SERVICE_PREFIX"]

        # // Hash Drift Check Pattern
        # const remote_hash = remote_functions.find((f) => f.name === 'WPCFunction1')?.function_hash_sha1;
        remote_hash = next(
            f for f in remote_function_information if f.name == "WPCFunction1"
        ).function_hash_sha1
        source = textwrap.dedent(inspect.getsource(worker_func1)).strip()
        assert remote_hash == hashlib.sha1(source.encode()).hexdigest()

        # const function1_return_val = await workerprocedurecall.call.WPCFunction1('/tmp/example.txt');
        function1_return_val = await workerprocedurecall.call.WPCFunction1("/tmp/example.txt")
        # const function2_return_val = await workerprocedurecall.call.WPCFunction2();
        function2_return_val = await workerprocedurecall.call.WPCFunction2()

        # console.log(function1_return_val, function2_return_val);
        assert function1_return_val == "api-v1:example.txt"
        assert uuid.UUID(function2_return_val).version == 4

        # await workerprocedurecall.undefineWorkerDependency({ alias: 'crypto_dep' });
        workerprocedurecall.undefine_worker_dependency(alias="crypto_dep")
        # await workerprocedurecall.undefineWokerFunction({ name: 'WPCFunction2' });
        workerprocedurecall.undefine_woker_function(name="WPCFunction2")
        # workerprocedurecall.offWorkerEvent({ listener_id: worker_event_listener_id });
        workerprocedurecall.off_worker_event(listener_id=worker_event_listener_id)
        # await workerprocedurecall.stopWorkers();
        workerprocedurecall.stop_workers()

    # })();
    asyncio.run(main())
    assert "worker_ready" in {event.event_name for event in heard}
