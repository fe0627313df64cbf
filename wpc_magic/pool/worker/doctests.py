"""Runs the doctests of a cell in a worker; loaded by the function that asks for it."""

from __future__ import annotations

import contextlib
import doctest
import inspect
import io
import sys

from wpc_magic.pool.errors import CallInterrupted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["run_doctests"]

_CELL = "the cell"


class _Runner(doctest.DocTestRunner):
    """A runner that ends when the call is interrupted."""

    def report_unexpected_exception(self, out: Any, test: Any, example: Any, exc_info: Any) -> None:
        if isinstance(exc_info[1], CallInterrupted):
            raise exc_info[1]
        super().report_unexpected_exception(out, test, example, exc_info)


class _Finder(doctest.DocTestFinder):
    """A finder that knows the lines of functions under decorators in C, such as `functools.cache`, too."""

    def _find_lineno(self, obj: Any, source_lines: Any) -> Any:
        plain = inspect.unwrap(obj) if callable(obj) else obj
        return super()._find_lineno(plain, source_lines)  # type: ignore[misc]  # it is not in the stubs


def run_doctests(module_name: str) -> tuple[int, int, str]:
    """Run the doctests of a cell's module; return how many examples there were, and failed, and the report.

    Parameters
    ----------
    module_name : str
        The name of the module.
    """
    module = sys.modules[module_name]
    runner, report = _Runner(verbose=False), io.StringIO()
    tests = _Finder().find(module, _CELL, module=module)
    for test in sorted(tests, key=lambda test: test.lineno or 0):
        test.name = test.name.removeprefix(f"{_CELL}.")
        runner.run(test, out=report.write)
    with contextlib.redirect_stdout(report):
        results = runner.summarize(verbose=False)
    return results.attempted, results.failed, report.getvalue()
