"""Stored values in kernels: two of them use one folder at the same time, and one of them is restarted."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.kernel.kernels import Gate, Kernel

pytestmark = pytest.mark.kernel

CELL = """%%wpc_function --cache
import os

def square(n):
    print("at the gate", flush=True)
    open(os.environ["GATE"]).read()
    return n * n
"""
FIND = "found = wpc.call.square(3)\nprint(found.from_cache, found.result(), wpc.is_running)"


def load(kernel: Kernel, folder: Path) -> None:
    kernel.good("%load_ext wpc_magic")
    kernel.good(f"%config WpcMagics.cache_folder = {str(folder)!r}")
    kernel.good(CELL)


def test_kernels_share_stored_values_also_with_those_that_come_later(tmp_path: Path) -> None:
    stored = tmp_path / "stored"
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with closing(Kernel(tmp_path / "one")) as one, closing(Kernel(tmp_path / "two")) as two:
        kernels = [(kernel, Gate(tmp_path / f"gate {number}")) for number, kernel in enumerate((one, two))]
        for kernel, gate in kernels:
            load(kernel, stored)
            kernel.good(f"%env GATE={gate.path}")
            kernel.good("%wpc_start -n 1")

        # The same call runs in both, since neither has stored it when the other one asks.
        cells = [kernel.begin("%wpc_call square(3)") for kernel, _ in kernels]
        for (kernel, _), cell in zip(kernels, cells, strict=True):
            kernel.until(lambda cell=cell: "at the gate" in cell.text)
        for (kernel, gate), cell in zip(kernels, cells, strict=True):
            gate.open()
            assert kernel.wait(cell).value == "9"

        for kernel, _ in kernels:
            assert kernel.good(FIND).text == "True 9 True\n", "it did not run"
        assert two.evaluate(
            "[(each.name, each.entries, each.hits) for each in wpc.get_cached_results()]"
        ) == [("square", 1, 1)]

        one.restart()
        load(one, stored)
        assert one.good(FIND).text == "True 9 False\n", "without a worker"
        row = one.good("%wpc_cache").value.splitlines()[-1].split()
        assert (row[0], row[1], row[-1]) == ("square", "1", "1")

        assert two.good("%wpc_cache -d square").text.startswith("1 stored value removed (")
        assert one.good("%wpc_cache").value.startswith("Nothing is stored: %%wpc_function --cache")
        said = one.run("%wpc_cache square").stream("stderr")
        assert said == "UsageError: %wpc_cache: names are for removing. Type: %wpc_cache -d square\n"
