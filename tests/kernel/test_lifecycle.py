"""The pool ends with its kernel, however that exits; the stop button does not end the pool."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests import leaks
from tests.kernel.conftest import WAITS, pids_of_workers
from tests.kernel.kernels import DEADLINE_S, Cell, Gate, Kernel, Processes, members

pytestmark = pytest.mark.kernel

BUSY = """%%wpc_function
import os, subprocess, threading

def spins():
    print("busy")
    while True:
        pass

def holds_the_lock_of_the_interpreter():
    print("busy")
    sum(range(10 ** 15))

def waits_with_a_child():
    child = subprocess.Popen(["sleep", "1000"])
    print("busy")
    child.wait()

def takes(array):
    return array
"""
CALLS = """
import numpy as np
array = np.arange(2_000_000.0)
calls = [wpc.call.spins(), wpc.call.holds_the_lock_of_the_interpreter(), wpc.call.waits_with_a_child()]
calls += [wpc.call.takes(array) for _ in range(20)]
"""


def make_busy(kernel: Kernel) -> tuple[Processes, Processes]:
    """Make three workers busy, with calls in the queue, and a cell that waits for them.

    Returns
    -------
    Processes, Processes
        The workers; and the processes that a function has started.
    """
    kernel.good("%wpc_start -n 3")
    kernel.good(BUSY)
    busy = kernel.good(CALLS)
    kernel.begin("import concurrent.futures\nconcurrent.futures.wait(calls)")
    kernel.until(lambda: busy.text.count("busy") == 3)
    workers = workers_of(kernel)
    assert all(os.getsid(pid) == pid for pid in workers)  # each leads a session
    started = [child.pid for pid in workers for child in psutil.Process(pid).children()]
    assert (len(workers), len(started)) == (3, 1)
    return Processes(workers), Processes(started)


def workers_of(kernel: Kernel) -> list[int]:
    """Return the worker processes, also while the kernel is busy."""
    return [child.pid for child in psutil.Process(kernel.pid).children()]


def assert_nothing_is_left(kernel: Kernel, sessions: set[int]) -> None:
    assert members(sessions) == []
    assert [path.name for path in kernel.temporary.rglob("wpc*")] == []
    assert [name for name in os.listdir("/dev/shm") if "wpc" in name] == []


def graceful_restart(kernel: Kernel) -> None:
    kernel.restart()


def graceful_shutdown(kernel: Kernel) -> None:
    kernel.manager.shutdown_kernel(now=False)


def restart_now(kernel: Kernel) -> None:
    kernel.manager.restart_kernel(now=True)


def shutdown_now(kernel: Kernel) -> None:
    kernel.manager.shutdown_kernel(now=True)


def sigkill_of_the_kernel_alone(kernel: Kernel) -> None:
    kernel.kill()


def sigterm_to_the_kernel_alone(kernel: Kernel) -> None:
    """Terminate the kernel as a supervisor does, which repeats the signal if the process does not exit.

    If a signal arrives in the microseconds before the main thread begins to wait for a lock, Python handles
    it only after that wait, or at the next signal.
    """
    handle = os.pidfd_open(kernel.pid)
    try:
        for _ in range(5):
            os.kill(kernel.pid, signal.SIGTERM)
            if select.select([handle], [], [], 5.0)[0]:
                return
    finally:
        os.close(handle)


@pytest.mark.parametrize(
    "end",
    [graceful_restart, graceful_shutdown, sigterm_to_the_kernel_alone],
    ids=lambda end: end.__name__,
)
def test_nothing_of_a_busy_pool_is_left_after_a(own_kernel: Kernel, end: Callable[[Kernel], None]) -> None:
    workers, started = make_busy(own_kernel)
    with workers, started:
        sessions = workers.sessions
        end(own_kernel)
        workers.wait_until_ended()
        started.wait_until_ended()
        assert_nothing_is_left(own_kernel, sessions)


@pytest.mark.parametrize(
    "end", [restart_now, shutdown_now, sigkill_of_the_kernel_alone], ids=lambda end: end.__name__
)
def test_no_worker_of_a_busy_pool_is_left_after_a(own_kernel: Kernel, end: Callable[[Kernel], None]) -> None:
    workers, started = make_busy(own_kernel)
    with workers, started:
        sessions = workers.sessions
        end(own_kernel)
        workers.wait_until_ended()
        # No process is left to end those that a function has started, so the test kills them.
        for pid in started.alive:
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(pid, signal.SIGKILL)
        started.wait_until_ended()
        assert_nothing_is_left(own_kernel, sessions)


@pytest.mark.parametrize("code", ["import os; os._exit(1)", "import ctypes; ctypes.string_at(0)", "exit()"])
def test_nothing_is_left_when_the_kernel_ends_by_itself(own_kernel: Kernel, code: str) -> None:
    own_kernel.good("%wpc_start -n 2")
    own_kernel.good(WAITS)
    with Processes.under(own_kernel.pid) as workers, Processes([own_kernel.pid]) as kernel:
        assert len(workers.pids) == 2
        sessions = workers.sessions
        own_kernel.begin(code)
        kernel.wait_until_ended()
        workers.wait_until_ended()
        assert_nothing_is_left(own_kernel, sessions)


def test_a_kernel_that_is_killed_while_it_starts_workers_leaves_none(own_kernel: Kernel) -> None:
    marked = leaks.take().processes
    own_kernel.begin("%wpc_start -n 8")
    deadline = time.monotonic() + DEADLINE_S
    while not workers_of(own_kernel):
        assert time.monotonic() < deadline
    with Processes.under(own_kernel.pid) as processes:
        own_kernel.kill()
        processes.wait_until_ended()
    left = [process for process in leaks.take().processes - marked if process.pid != own_kernel.pid]
    for process in left:  # started between `Processes.under` and `kill`
        process.wait(timeout=30)


def test_a_restarted_kernel_has_a_pool_of_its_own(own_kernel: Kernel) -> None:
    own_kernel.good("%wpc_start -n 1")
    own_kernel.good(WAITS)
    own_kernel.restart()
    own_kernel.good("%load_ext wpc_magic")
    assert own_kernel.good("%wpc_functions").value.startswith("No function is registered")
    own_kernel.good(WAITS)
    own_kernel.good("%wpc_start -n 1")
    assert own_kernel.evaluate("%wpc_call where()") == pids_of_workers(own_kernel)[0]


# -- the stop button ------------------------------------------------------------------------------------


def at_the_gate(kernel: Kernel, code: str) -> Cell:
    """Begin a cell, and return it when its call waits at the gate."""
    cell = kernel.begin(code)
    kernel.until(lambda: "at the gate" in cell.text)
    return cell


@pytest.mark.parametrize(
    "code",
    [
        "%wpc_call waits({gate!r})",
        "%wpc_map waits([{gate!r}])",
        "wpc.call.waits({gate!r}).result()",
        "list(wpc.map('waits', [{gate!r}]))",
        "await wpc.call.waits({gate!r})",
        "import concurrent.futures; concurrent.futures.wait([wpc.call.waits({gate!r})])",
    ],
)
def test_the_stop_button_ends_the_cell_and_no_worker(patient: Kernel, gate: Gate, code: str) -> None:
    patient.good(WAITS)
    before = pids_of_workers(patient)
    cell = at_the_gate(patient, code.format(gate=str(gate.path)))
    patient.interrupt()
    patient.wait(cell)
    assert cell.error_name in ("KeyboardInterrupt", "CancelledError")
    assert pids_of_workers(patient) == before
    assert patient.evaluate("%wpc_call where()") in before
    gate.open_if_needed()  # a call continues if other code may hold its future; others end with their cell
    each = "[future.result() for future in wpc.broadcast('where').values()]"
    assert patient.evaluate(each) == before


def test_the_stop_button_in_a_magic_shows_one_word(started: Kernel, gate: Gate) -> None:
    started.good(WAITS)
    cell = at_the_gate(started, f"%wpc_call waits({str(gate.path)!r})")
    started.interrupt()
    assert started.wait(cell).error == "KeyboardInterrupt"


def test_a_stopped_start_leaves_a_pool_that_can_be_used(started: Kernel) -> None:
    started.good("%wpc_stop")
    cell = started.begin("print('begins', flush=True)\n%wpc_start -n 4")
    started.until(lambda: "begins" in cell.text)
    started.interrupt()
    started.wait(cell)
    started.good("%wpc_start -n 2")
    started.good(WAITS)
    assert started.evaluate("%wpc_call where()") in pids_of_workers(started)


# -- as nbval and nbclient do ---------------------------------------------------------------------------


def test_cells_that_are_not_in_the_history_work(own_kernel: Kernel) -> None:
    shown: list[Cell] = []
    for code in (
        "%wpc_start -n 2",
        "%%wpc_function\ndef twice(x):\n    print('twice', x)\n    return 2 * x\n",
        "@wpc.function\ndef thrice(x):\n    return 3 * x\n",
        "%wpc_call twice(4)",
        "wpc.call.thrice(4).result()",
        "await wpc.call.twice(5)",
    ):
        shown.append(own_kernel.run(code, store_history=False))
        assert not shown[-1].error, shown[-1].error
    assert [cell.value for cell in shown[3:]] == ["8", "12", "10"]
    assert [cell.text for cell in shown[3:]] == ["twice 4\n", "", "twice 5\n"]
    with Processes.under(own_kernel.pid) as processes:
        sessions = processes.sessions
        shutdown_now(own_kernel)
        processes.wait_until_ended()
        assert members(sessions) == []


def test_a_stopped_pool_holds_nothing_in_the_kernel(started: Kernel) -> None:
    held = (
        "import os, threading\n"
        "[t.name for t in threading.enumerate() if t.name.startswith('wpc-')], "
        "[line.split()[-2:] for line in open('/proc/self/maps') if 'memfd' in line], "
        "[n for n in os.listdir('/proc/self/fd') if 'memfd' in os.path.realpath(f'/proc/self/fd/{n}')]"
    )
    started.good("%wpc_dep numpy as np")
    started.good("%%wpc_function\ndef total(array):\n    return float(array.sum())\n")
    started.good("import numpy as np\nbig = np.ones(3_000_000)")
    assert started.evaluate("%wpc_map total([big] * 6)") == [3e6] * 6
    started.good("%unload_ext wpc_magic")
    started.good("del big")
    assert started.evaluate(held) == ([], [], [])


def test_no_temporary_file_is_made(started: Kernel, one_kernel: Kernel) -> None:
    started.good(WAITS)
    started.good("%wpc_call where()")
    assert [path.name for path in Path(one_kernel.temporary).rglob("wpc*")] == []
