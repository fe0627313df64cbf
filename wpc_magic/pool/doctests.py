"""Runs the doctests of a cell in a worker before its functions are defined.

The cell is defined with a function that runs them, and only that one is registered, under a private name.
So the doctests have what the workers have, and calls go on with the old functions meanwhile.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from .core.calls import NO_OPTIONS
from .core.registry import Record
from .definitions import Definitions
from .errors import DoctestError
from .options import PRIVATE
from .wire.codec import encode
from .wire.seeded import Seeded

__all__ = ["Doctests", "doctest_source", "free_test_name"]

_numbers = itertools.count(1)


def free_test_name(function: str) -> str:
    """Return a private name, for the function that runs the doctests of the cell of a function."""
    return f"{PRIVATE}test_{next(_numbers)}_{function}"


def doctest_source(source: str, name: str, functions: Sequence[str]) -> str:
    r"""Return the source of a cell with a function that runs its doctests.

    Parameters
    ----------
    source : str
        The source of the cell.
    name : str
        The name of that function.
    functions : sequence of str
        Functions of the cell, of which it needs what these need.

    Examples
    --------
    >>> print(doctest_source("def f(): pass\n", "_test", ["f"]))
    def f(): pass
    <BLANKLINE>
    def _test():
        from wpc_magic.pool.worker.doctests import run_doctests
        (f,)
        return run_doctests(__name__)
    <BLANKLINE>
    """
    return (
        f"{source.rstrip()}\n\ndef {name}():\n"
        f"    from {__package__}.worker.doctests import run_doctests\n"
        f"    ({', '.join(functions)},)\n"
        f"    return run_doctests(__name__)\n"
    )


class Doctests(Definitions):
    """The method of a pool that runs the doctests of a cell."""

    origin: Any

    def _submit(self, name: str, body: bytes, buffers: Any, items: int, options: Any, origin: Any) -> Any:
        """Submit a call whose arguments are encoded."""
        raise NotImplementedError

    def _run_doctests(self, test: Record, captured: Mapping[str, Record], functions: Sequence[str]) -> int:
        """Run doctests; return how many examples there are.

        Parameters
        ----------
        test : Record
            The function that runs them.
        captured : mapping
            What is to be defined with the functions; it is gone again afterwards.
        functions : sequence of str
            The functions, for messages.

        Raises
        ------
        DoctestError
            If an example fails.
        DefinitionError, CallError, KeyboardInterrupt
            If they could not be run to their end.
        """
        with self._driver.reading() as core:
            records = core.state.registry.records
            before = [records[name] for name in captured if name in records]
        known_captured = set(self._captured)
        try:
            self._change([*captured.values(), test], what=", ".join(functions))
            # As if with a seed of its own: doctests find the same numbers each time, and count as no call.
            body, _ = encode(Seeded(((), {}), 0, (0,)))
            future = self._submit(test.name, body, (), 0, NO_OPTIONS, self.origin)
            try:
                attempted, failed, report = future.result()
            except KeyboardInterrupt:
                future.cancel()
                raise
        finally:
            there = self.defined_names() & {*captured, test.name}
            if there:
                self._change(before, sorted(there - {record.name for record in before}))
            self._captured = known_captured
        if failed:
            assert test.cell is not None
            raise DoctestError(", ".join(functions), attempted, failed, report, test.cell.wire.filename)
        return int(attempted)
