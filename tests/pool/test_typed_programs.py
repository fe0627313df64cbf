"""Programs over an exported pool with its stub: `mypy --strict` accepts what is right and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from wpc_magic.pool import WorkerProcedureCall

CELL = '''
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass
class Run:
    n: int
    mean: float


def simulate(n: int, scale: float = 1.0) -> float:
    """Return the mean of n numbers."""
    return scale * sum(range(n)) / n


def summary(n: int, mean: float) -> Run:
    return Run(n, mean)


def numbers(n: int) -> Iterator[int]:
    yield from range(n)


async def fetch(url: str) -> bytes:
    return url.encode()


def plain(x):
    return x
'''

RIGHT = """
import asyncio
from typing import TYPE_CHECKING, assert_type

from pipeline import Pool, build_pool
from wpc_magic.pool import CallFuture, ResultStream
from wpc_magic.pool.typed import MapResults

if TYPE_CHECKING:
    from notebook import wpc

    assert_type(wpc.call.simulate(10), CallFuture[float])


def mean(pool: Pool, n: int) -> float:
    return pool.call.simulate(n, scale=2).result()


async def fetched(pool: Pool) -> bytes:
    return await pool.call.fetch("a")


with build_pool(call_timeout_ms=60_000) as pool:
    pool.start_workers(1)
    whole: CallFuture[float] = pool.call.simulate.options(timeout_ms=50_000, retries=1)(3)
    run = pool.call.summary(3, whole)  # waits for the other call
    print(run.result().mean, mean(pool, 5), pool.call.simulate.local(3))
    kept = pool.call.simulate.remote(n=5)
    print(pool.call.simulate.options(priority=1)(4, scale=kept).result())
    print(list(pool.call.simulate.map([1, 2], scale=3.0)))
    print(pool.call.simulate.starmap([(1, 2.0), (3,)]).result())
    values: MapResults[float | BaseException] = pool.call.simulate.map([3], on_error="return", chunk_size=1)
    print(values.result())
    stream: ResultStream[int] = pool.call.numbers(3)
    print(sum(stream), pool.call.numbers.options(buffer=2)(2).result())
    print(pool.call.numbers.map([1, 2]).result())
    print(asyncio.run(fetched(pool)), pool.call.plain(1).result() + 1, pool.call["plain"](2).result())
"""
SHOWN = """1.0 4.0 1.0
3.0
[0.0, 1.5]
[0.0, 1.0]
[1.0]
3 [0, 1]
[[0], [0, 1]]
b'a' 2 2
"""

# Each line is wrong for the reason that follows it.
WRONG = """
from pipeline import build_pool

pool = build_pool()
pool.call.simulate("ten")  # arg-type
text: str = pool.call.simulate(10).result()  # assignment
pool.call.simulat(10)  # attr-defined
pool.call.simulate(10, sale=2.0)  # call-arg
pool.call.simulate()  # call-arg
pool.call.simulate.options(timeout=5)  # call-arg
pool.call.summary(3, pool.call.fetch("a"))  # arg-type
pool.call.simulate.remote("ten")  # arg-type
pool.call.simulate.map(["a"])  # list-item
pool.call.simulate.starmap([("a", 1.0)])  # list-item
pool.call.numbers.map([1], keep=True)  # call-overload
number: float = pool.call.numbers(3)  # assignment
pool.call.summary(3, 1.0).result().median  # attr-defined
wrong: int = pool.call.simulate.local(3)  # assignment
"""


@pytest.mark.slow
def test_mypy_accepts_the_right_program_which_runs_and_names_what_is_wrong_in_others(tmp_path: Path) -> None:
    pool = WorkerProcedureCall()
    pool.define_worker_functions(CELL)
    stub = pool.export_stub()
    for file, text in {
        "pipeline.py": pool.export(),
        # Of a cell that annotates everything, it has no mistakes.
        "pipeline.pyi": stub.replace("# mypy: ignore-errors\n", ""),
        "notebook.pyi": pool.export_stub(None),
        "right.py": RIGHT,
        "wrong.py": WRONG,
    }.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    assert "# mypy: ignore-errors\n" in stub
    checked = subprocess.run(
        [
            *(sys.executable, "-m", "mypy", "--strict", "--config-file=", "--cache-dir", os.devnull),
            *("pipeline.pyi", "right.py", "wrong.py"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    found = re.findall(r"^(\S+):(\d+): error: .*\[([a-z-]+)\]$", checked.stdout, re.MULTILINE)
    expected = [
        ("wrong.py", str(number), line.rpartition("  # ")[2])
        for number, line in enumerate(WRONG.split("\n"), 1)
        if "  # " in line
    ]
    assert list(dict.fromkeys(found)) == expected, checked.stdout + checked.stderr
    ran = subprocess.run(
        [sys.executable, "right.py"], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert (ran.stdout, ran.stderr) == (SHOWN, "")
