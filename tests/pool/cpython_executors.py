"""Runs CPython's own tests of executors with `WpcExecutor`, and prints the outcomes as JSON.

    python -m tests.pool.cpython_executors FOLDER TIER [ONLY [WITHOUT ...]]

FOLDER has the package ``test`` of the standard library, with `test_concurrent_futures`. TIER is ``portable``,
the tests that any executor is to pass, or ``process``, those for processes: each once, with what the context
``"spawn"`` gives; those of initializers also with that of ``"forkserver"``. ONLY is a part of the names of
those that are run, and WITHOUT the names of those that are not.

Three things are written anew, because tests name the class of the standard library instead of asking for it:
programs that tests run, the executors that three tests of the shutdown make, and the classes that the tests
of resources run.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import json
import multiprocessing
import re
import sys
import unittest
import unittest.mock
from typing import Any

from wpc_magic.pool import WpcExecutor

PORTABLE = {
    "ExecutorShutdownTest": "test_shutdown",
    "WaitTests": "test_wait",
    "AsCompletedTests": "test_as_completed",
    "ExecutorTest": "executor",
}
PROCESS = {
    "InitializerMixin": "test_init",
    "FailingInitializerMixin": "test_init",
    "ProcessPoolShutdownTest": "test_shutdown",
    "ProcessPoolExecutorTest": "test_process_pool",
    "ExecutorDeadlockTest": "test_deadlock",
}


def bases(module: str) -> dict[str, Any]:
    """Return what a module of the suite defines: one file until Python 3.11, a folder of files later."""
    found = importlib.import_module("test.test_concurrent_futures")
    if hasattr(found, "ExecutorMixin"):
        return vars(found)
    util = importlib.import_module("test.test_concurrent_futures.util")
    return {**vars(util), **vars(importlib.import_module(f"test.test_concurrent_futures.{module}"))}


def rewrite(scope: dict[str, Any]) -> None:
    """Let programs that a test writes import our class: they name it as one of `concurrent.futures`."""
    module = sys.modules[scope["ExecutorShutdownTest"].__module__]
    real = module.assert_python_ok
    if real.__module__ == __name__:
        return  # it is rewritten

    def assert_python_ok(*args: str, **env: str) -> Any:
        text = [
            re.sub(
                r"from concurrent\.futures import WpcExecutor",
                "import multiprocessing; from wpc_magic.pool import WpcExecutor",
                each,
            )
            for each in args
        ]
        return real(*text, **{**env, "PYTHONPATH": ":".join(sys.path)})

    module.assert_python_ok = assert_python_ok
    module.futures = Futures()


class Futures:
    """`concurrent.futures`, whose executor with processes is ours."""

    def __getattr__(self, name: str) -> Any:
        return getattr(concurrent.futures, name)

    @staticmethod
    def ProcessPoolExecutor(*args: Any, **options: Any) -> WpcExecutor:
        executor = WpcExecutor(*args, **options)
        executor._call_queue = unittest.mock.Mock()  # there is none, whose thread would have to end
        return executor


def resources(kinds: dict[str, type[unittest.TestCase]]) -> list[type[unittest.TestCase]]:
    """Return the test case of what initializers leave, with our executor; none until Python 3.11."""
    scope = bases("test_init")
    base = scope.get("FailingInitializerResourcesTest")
    if base is None:
        return []
    for context in ("Spawn", "Forkserver"):
        kind = kinds[f"FailingInitializerMixin{'' if context == 'Spawn' else context}"]
        setattr(sys.modules[base.__module__], f"ProcessPool{context}FailingInitializerTest", kind)
    return [base]


def cases(table: dict[str, str]) -> list[type[unittest.TestCase]]:
    """Return the test cases of a table, with our executor."""
    made = {}
    for name, module in table.items():
        for context in ("spawn", "forkserver") if module == "test_init" else ("spawn",):
            suffix = "" if context == "spawn" else context.title()
            made[name + suffix] = case(table, name, module, context)
    return [*(resources(made) if table is PROCESS else []), *made.values()]


def case(table: dict[str, str], name: str, module: str, context: str) -> type[unittest.TestCase]:
    """Return one test case with our executor, and with the context that its queues and locks come from."""
    scope = bases(module)
    if "assert_python_ok" in scope and "ExecutorShutdownTest" in scope:
        rewrite(scope)
    mixin, base = scope["ExecutorMixin"], scope[name]
    own = {test for test in dir(base) if test.startswith("test")}
    if table is PROCESS:
        for portable in PORTABLE:
            own -= set(dir(scope.get(portable, object)))
    body: dict[str, Any] = {
        "executor_type": WpcExecutor,
        "ctx": context,
        "get_context": lambda self: multiprocessing.get_context(context),
    }
    body.update({test: None for test in dir(base) if test.startswith("test") and test not in own})
    parents = (base,) if issubclass(base, mixin) else (mixin, base)
    suffix = "" if context == "spawn" else context.title()
    return type(name + suffix, (*parents, scope["BaseTestCase"]), body)


class Outcomes(unittest.TestResult):
    """How each test has ended."""

    def __init__(self) -> None:
        super().__init__()
        self.outcomes: dict[str, str] = {}

    def _add(self, test: Any, outcome: str) -> None:
        self.outcomes[f"{type(test).__name__}.{test._testMethodName}"] = outcome

    def addSuccess(self, test: Any) -> None:
        self._add(test, "")

    def addError(self, test: Any, err: Any) -> None:
        super().addError(test, err)
        self._add(test, self.errors[-1][1])

    def addFailure(self, test: Any, err: Any) -> None:
        super().addFailure(test, err)
        self._add(test, self.failures[-1][1])

    def addSkip(self, test: Any, reason: str) -> None:
        self._add(test, f"skipped: {reason}")


def main(tier: str, only: str = "", *without: str) -> None:
    """Run one tier."""
    outcomes = Outcomes()
    loader = unittest.TestLoader()
    for kind in cases(PORTABLE if tier == "portable" else PROCESS):
        for name in loader.getTestCaseNames(kind):
            full = f"{kind.__name__}.{name}"
            if callable(getattr(kind, name)) and only in full:
                if full in without:
                    outcomes.outcomes[full] = "left out"
                    continue
                print(kind.__name__, name, file=sys.stderr, flush=True)
                kind(name).run(outcomes)
    print(flush=True)
    print(json.dumps(outcomes.outcomes), flush=True)


if __name__ == "__main__":
    # Its programs and workers import the suite, too.
    sys.path.insert(0, sys.argv[1])
    sys.modules.pop("test", None)
    main(*sys.argv[2:])
