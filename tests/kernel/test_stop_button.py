"""The stop button cancels the calls of its cell, and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.conftest import WAITS, pids_of_workers
from tests.kernel.kernels import Gate, Kernel

pytestmark = pytest.mark.kernel

SETTLED = "import time\nwhile wpc.snapshot().in_flight or wpc.snapshot().queued: time.sleep(0.01)"


def interrupted(kernel: Kernel, code: str) -> list[str]:
    """Run a cell whose call waits at the gate, interrupt it, and return what it displays.

    One that says "all made" makes several calls, the first of which may run before the last is made.
    """
    cell = kernel.begin(code)
    kernel.until(lambda: "at the gate" in cell.text and ("made" not in code or "all made" in cell.text))
    kernel.interrupt()
    kernel.wait(cell)
    assert cell.error_name in ("KeyboardInterrupt", "CancelledError")
    assert "wpc_magic" not in cell.error, "it is short: the cell's own lines"
    return cell.displayed


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ("%wpc_call waits({gate!r})", "1 call"),
        ("wpc.call.waits({gate!r}).result()", "1 call"),
        ("await wpc.call.waits({gate!r})", "1 call"),
        (
            "futures = [wpc.call.waits({gate!r}) for _ in range(1000)]\n"
            "print('all made', flush=True)\nfutures[0].result()",
            "1000 calls",
        ),
        (
            "import asyncio\nfutures = [wpc.call.waits({gate!r}) for _ in range(50)]\n"
            "print('all made', flush=True)\nawait asyncio.gather(*futures)",
            "50 calls",
        ),
    ],
)
def test_every_call_that_the_cell_made_is_stopped_and_the_workers_stay(
    patient: Kernel, gate: Gate, code: str, count: str
) -> None:
    patient.good(WAITS)
    before = pids_of_workers(patient)
    displayed = interrupted(patient, code.format(gate=str(gate.path)))
    assert displayed == [f"interrupted: {count} cancelled"]
    patient.good(SETTLED)
    assert not gate.open_if_needed(), "nobody waits in a worker any more"
    assert pids_of_workers(patient) == before
    assert patient.evaluate("%wpc_call where()") in before


def test_a_cell_that_catches_the_interrupt_goes_on_and_its_calls_do_not(patient: Kernel, gate: Gate) -> None:
    patient.good(WAITS)
    cell = patient.begin(
        f"try:\n    wpc.call.waits({str(gate.path)!r}).result()\n"
        "except KeyboardInterrupt:\n    print('caught')"
    )
    patient.until(lambda: "at the gate" in cell.text)
    patient.interrupt()
    patient.wait(cell)
    assert (cell.text, cell.error) == ("at the gate\ncaught\n", "")
    assert cell.displayed == ["interrupted: 1 call cancelled"]
    patient.good(SETTLED)
    assert not gate.open_if_needed()


def test_a_map_is_stopped_with_its_cell(patient: Kernel, gate: Gate) -> None:
    patient.good(WAITS)
    (displayed,) = interrupted(patient, f"%wpc_map waits([{str(gate.path)!r}] * 10)")
    assert "cancelled" in displayed
    patient.good(SETTLED)
    assert not gate.open_if_needed()


def test_the_calls_of_other_cells_go_on(patient: Kernel, gate: Gate, tmp_path: Path) -> None:
    other = Gate(tmp_path / "other")
    patient.good(WAITS)
    patient.good(f"mine = wpc.call.waits({str(other.path)!r}, 7)")
    interrupted(patient, f"wpc.call.waits({str(gate.path)!r}).result()")
    other.open()
    assert patient.evaluate("mine.result()") == 7


def test_a_call_that_does_not_end_costs_its_worker_and_its_own_cell_is_told(
    started: Kernel, gate: Gate
) -> None:
    started.good(
        "%%wpc_function\ndef stubborn(gate, said=[]):\n    while True:\n        try:\n"
        "            if not said:\n                said.append(1)\n"
        "                print('at the gate', flush=True)\n"
        "            open(gate).read()\n        except BaseException:\n            pass\n"
    )
    before = pids_of_workers(started)
    cell = started.begin(f"wpc.call.stubborn.options(worker_id=2)({str(gate.path)!r}).result()")
    started.until(lambda: "at the gate" in cell.text)
    started.interrupt()
    started.wait(cell)
    assert cell.text == "at the gate\n"
    (said,) = cell.displayed  # the worker is ended after a while
    assert said.startswith("interrupted: 1 call cancelled")
    other = started.good("wpc.wait_until_ready()")
    started.until(lambda: cell.displayed == ["interrupted: 1 call cancelled, 1 worker replaced"])
    assert (other.text, other.displayed) == ("", [])
    started.good("wpc.wait_until_ready()")
    after = pids_of_workers(started)
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)


def test_a_call_that_is_interrupted_in_an_import_costs_its_worker_too(
    started: Kernel, gate: Gate, tmp_path: Path
) -> None:
    module = f"print('at the gate', flush=True)\nopen({str(gate.path)!r}).read()\n"
    (tmp_path / "imports_slowly.py").write_text(module)
    started.good(
        "%%wpc_function\ndef imports():\n    import sys\n"
        f"    sys.path.insert(0, {str(tmp_path)!r})\n    import imports_slowly\n"
    )
    cell = started.begin("wpc.call.imports().result()")
    started.until(lambda: "at the gate" in cell.text)
    started.interrupt()
    started.until(lambda: cell.displayed == ["interrupted: 1 call cancelled, 1 worker replaced"])
    started.wait(cell)


def test_a_function_may_clean_up(patient: Kernel, gate: Gate, tmp_path: Path) -> None:
    note = tmp_path / "note"
    patient.good(
        "%%wpc_function\ndef tidy(gate, note):\n    print('at the gate', flush=True)\n    try:\n"
        "        open(gate).read()\n    finally:\n        open(note, 'w').write('cleaned up')\n"
    )
    interrupted(patient, f"wpc.call.tidy({str(gate.path)!r}, {str(note)!r}).result()")
    patient.good(SETTLED)
    assert note.read_text() == "cleaned up"
