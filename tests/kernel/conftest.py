"""Real kernels: one shared by the tests of a file that restore it, and one for each test that ends it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest
from jupyter_core.utils import ensure_event_loop

from tests.kernel.kernels import Gate, Kernel, eventually

# One call that waits at a gate, and one that returns its process id.
WAITS = """%%wpc_function
import os

def waits(gate, value=None):
    print("at the gate", flush=True)
    open(gate).read()
    print("through the gate")
    return value

def where():
    return os.getpid()
"""


@pytest.fixture(scope="module", autouse=True)
def event_loop_of_jupyter_client() -> Iterator[None]:
    """Create the loop that jupyter_client would otherwise create in some test, and never close.

    For each file: another folder's tests may run in between, and close the one that is there.
    """
    with closing(ensure_event_loop()):
        yield


@pytest.fixture(scope="module")
def one_kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    with closing(Kernel(tmp_path_factory.mktemp("kernel"))) as kernel:
        yield kernel


# On a busy machine any wait may take so long that it is shown: then a cell displays more than a test expects.
LOAD = "%load_ext wpc_magic\n%config WpcMagics.progress = 60"


@pytest.fixture
def kernel(one_kernel: Kernel) -> Iterator[Kernel]:
    """The shared kernel, with the extension newly loaded; afterwards, workers and variables are removed."""
    one_kernel.forget()
    one_kernel.good(LOAD)
    yield one_kernel
    one_kernel.run("%unload_ext wpc_magic")
    one_kernel.run("%reset -f")
    eventually(lambda: children(one_kernel.pid) == [], "the kernel has no children")


@pytest.fixture
def started(kernel: Kernel) -> Kernel:
    kernel.good("%wpc_start -n 2")
    return kernel


@pytest.fixture
def patient(started: Kernel) -> Kernel:
    """One whose workers are not ended because it takes long to interrupt what they do."""
    started.good("wpc.configure(interrupt_grace_ms=60_000)")
    return started


@pytest.fixture
def own_kernel(tmp_path: Path) -> Iterator[Kernel]:
    """A kernel that the test may end."""
    with closing(Kernel(tmp_path)) as kernel:
        kernel.good(LOAD)
        yield kernel


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def pids_of_workers(kernel: Kernel) -> list[int]:
    found: list[int] = kernel.evaluate("[worker.pid for worker in wpc.snapshot().workers]")
    return found


def descriptors(pid: int) -> Counter[str]:
    """Return the number of a kernel's descriptors by kind, since the names of sockets and pipes are numbers.

    Without event descriptors: the kernel's own output thread keeps one for each thread that has sent a
    message, and closes those of finished threads only every ten seconds.
    """
    found: Counter[str] = Counter()
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{number}")
        except OSError:  # closed meanwhile
            continue
        if not link.startswith("/") or link.startswith("/memfd:"):  # without the files of the history
            found[link if link.startswith("anon_inode:") else link.partition(":[")[0]] += 1
    del found["anon_inode:[eventfd]"]
    return found
