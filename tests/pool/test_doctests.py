"""Definitions whose doctests are run first, in a worker."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest

from tests.pool.conftest import PATIENCE_S, pids
from wpc_magic.pool import WorkerProcedureCall
from wpc_magic.pool.errors import (
    CallTimeoutError,
    DoctestError,
    InstallError,
    NotRunningError,
    UnknownNameError,
    WorkerCrashedError,
)

DOUBLE = '''
def double(x):
    """Twice as much.

    >>> double(2)
    4
    >>> double("a")
    {answer}
    """
    return 2 * x
'''
GOOD, BAD = DOUBLE.format(answer="'aa'"), DOUBLE.format(answer="'a'")


def value(pool: WorkerProcedureCall, name: str, *args: Any) -> Any:
    return pool.call[name](*args).result(PATIENCE_S)


def defined(pool: WorkerProcedureCall) -> list[str]:
    return sorted(pool.defined_names() - {"held"})  # of the fixture


def test_a_definition_whose_doctests_pass_is_in_force(make_pool: Any) -> None:
    pool = make_pool()
    (info,) = pool.define_worker_functions(GOOD, test=True)
    assert info.doctests == 2
    assert value(pool, "double", 3) == 6
    assert defined(pool) == ["double"]
    assert pool.define_worker_functions(GOOD)[0].doctests is None


def test_a_definition_whose_doctests_fail_leaves_the_one_before_it(make_pool: Any) -> None:
    pool = make_pool(1, "def double(x): return 'old'\n")
    with pytest.raises(DoctestError, match="1 of 2 doctests fail, so double stays as it was") as caught:
        pool.define_worker_functions(BAD, test=True)
    error = caught.value
    assert (error.functions, error.attempted, error.failed) == ("double", 2, 1)
    expected = f'''\
        **********************************************************************
        File "{error.filename}", line 7, in double
        Failed example:
            double("a")
        Expected:
            'a'
        Got:
            'aa'
        '''
    assert error.report.startswith(textwrap.dedent(expected))
    assert "***Test Failed*** 1 failure" in error.report
    assert value(pool, "double", 3) == "old"
    assert defined(pool) == ["double"]


def test_doctests_use_what_the_workers_have(make_pool: Any) -> None:
    pool = make_pool(1, "def clean(x): return x.strip()\n")
    pool.define_worker_constant(name="LIMIT", value=3)
    pool.define_worker_dependency(alias="m", module_specifier="math")
    source = '''
def short(x):
    """
    >>> short(" abcde ") == clean("abc ")
    True
    >>> m.floor(2.5) + context.constants.LIMIT
    5
    """
    return clean(x)[:LIMIT]
'''
    assert pool.define_worker_functions(source, test=True)[0].doctests == 2


def test_doctests_of_helpers_classes_and_the_cell_itself_are_run_in_the_order_of_their_lines(
    make_pool: Any,
) -> None:
    source = '''"""A cell.

>>> one()
2
"""
import functools

class Point:
    """
    >>> Point().x
    2
    """
    x = 1

    def far(self):
        """
        >>> Point().far()
        2
        """
        return 1

@functools.cache
def _helper():
    """
    >>> _helper()
    2
    """
    return 1

def one():
    return _helper()
'''
    pool = make_pool()
    with pytest.raises(DoctestError) as caught:
        pool.define_worker_functions(source, test=True)
    headers = [line.partition(", ")[2] for line in caught.value.report.splitlines() if line[:4] == "File"]
    assert headers == [
        "line 3, in the cell",
        "line 10, in Point",
        "line 17, in Point.far",
        "line 25, in _helper",
    ]
    assert defined(pool) == []


def test_an_example_that_raises_is_shown_with_its_traceback(make_pool: Any) -> None:
    source = 'def half(x):\n    """\n    >>> half("a")\n    """\n    return x / 2\n'
    with pytest.raises(DoctestError, match=r"return x / 2\n(.*\n)*.*TypeError: unsupported operand"):
        make_pool().define_worker_functions(source, test=True)


def test_a_cell_without_doctests_is_defined(make_pool: Any) -> None:
    pool = make_pool()
    assert pool.define_worker_functions("def f(): return 1\n", test=True)[0].doctests == 0
    assert value(pool, "f") == 1


def test_the_classes_of_the_cell_are_those_of_the_definition(make_pool: Any) -> None:
    source = 'class P:\n    pass\ndef f(p=None):\n    """\n    >>> f(f())\n    True\n    """\n'
    source += "    return P() if p is None else isinstance(p, P)\n"
    pool = make_pool()
    pool.define_worker_functions(source, test=True)
    assert value(pool, "f", value(pool, "f")) is True


def test_what_was_captured_is_gone_or_as_it_was_when_a_doctest_fails(make_pool: Any) -> None:
    pool = make_pool(1)
    pool.define_worker_functions("def f(): return SEED\n", capture={"SEED": 1})
    source = 'def g():\n    """\n    >>> g()\n    {}\n    """\n    return SEED, m.pi > 3\n'
    variables = {"SEED": 2, "m": __import__("math")}
    with pytest.raises(DoctestError):
        pool.define_worker_functions(source.format("no"), capture=variables, test=True)
    assert defined(pool) == ["SEED", "f"]
    assert value(pool, "f") == 1
    (info,) = pool.define_worker_functions(source.format("(2, True)"), capture=variables, test=True)
    assert info.captured == ("SEED", "m")
    assert value(pool, "f") == 2


@pytest.mark.parametrize(
    ("source", "error", "says"),
    [
        ("def f(): return nowhere\n", UnknownNameError, r"f uses 'nowhere' \(line 1\)"),
        ("1 / 0\ndef f(): pass\n", InstallError, "could not install f: ZeroDivisionError"),
        (
            'import os\ndef f():\n    """\n    >>> f()\n    """\n    os.kill(os.getpid(), 9)\n',
            WorkerCrashedError,
            "doctests of f #1",
        ),
        ('import time\ndef f():\n    """\n    >>> f()\n    >>> f()\n    """\n    time.sleep(60)\n',
         CallTimeoutError, "doctests of f #1"),
    ],
    ids=["an unknown name", "a cell that fails", "a worker that dies", "a time-out"],
)  # fmt: skip
def test_whatever_goes_wrong_nothing_is_defined_and_nothing_is_left(
    make_pool: Any, source: str, error: type[Exception], says: str
) -> None:
    pool = make_pool(1, call_timeout_ms=500 if error is CallTimeoutError else None)
    with pytest.raises(error, match=says):
        pool.define_worker_functions(source, test=True)
    assert defined(pool) == []


def test_doctests_need_running_workers() -> None:
    pool = WorkerProcedureCall()
    with pytest.raises(NotRunningError):
        pool.define_worker_functions(GOOD, test=True)
    assert pool.defined_names() == set()


def test_a_time_out_ends_doctests_softly_and_the_worker_stays(make_pool: Any) -> None:
    pool = make_pool(1, call_timeout_ms=500, interrupt_grace_ms=60_000)
    before = pids(pool)
    source = 'import time\ndef f():\n    """\n    >>> f()\n    >>> f()\n    """\n    time.sleep(60)\n'
    with pytest.raises(CallTimeoutError):
        pool.define_worker_functions(source, test=True)
    pool.configure(call_timeout_ms=None)
    pool.define_worker_functions("def g(): return 1\n")
    assert value(pool, "g") == 1
    assert pids(pool) == before
