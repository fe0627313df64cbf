"""A pytest plugin that fails every test and doctest that leaks a resource.

It compares a snapshot of this process from before the setup of the test's own fixtures with one from after
their teardown. Resources that a fixture of a wider scope opened earlier are in the first snapshot, so they do
not count.
"""

import contextlib
import faulthandler
import gc
import os
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

PATIENCE_S = 10.0  # a resource that is released within this time is not a leak
POLL_S = 0.02
EXIT_S = 30.0  # how long the run may take to exit after its last test

# Descendants inherit this environment variable, so that orphans are found too.
MARK = "WPC_TESTS_RUN"


class Snapshot(NamedTuple):
    """The resources of a process that a test could leak."""

    processes: frozenset[psutil.Process]
    threads: frozenset[threading.Thread]
    descriptors: Counter[str]
    memory: frozenset[str]
    files: frozenset[str]


def take() -> Snapshot:
    """Return the current resources."""
    return Snapshot(_processes(), _threads(), _descriptors(), _memory(), _files())


def _processes() -> frozenset[psutil.Process]:
    me = psutil.Process()
    found = set(me.children(recursive=True))  # with zombies: a process that was not waited for is a leak
    mark = f"{MARK}={os.environ.get(MARK)}".encode()
    for environ in Path("/proc").glob("[0-9]*/environ"):
        # The process may have exited, or belong to another user.
        with contextlib.suppress(OSError, psutil.NoSuchProcess):
            if mark in environ.read_bytes().split(b"\0"):
                found.add(psutil.Process(int(environ.parent.name)))
    return frozenset(found - {me})


def _threads() -> frozenset[threading.Thread]:
    # Daemon threads of other libraries may outlive a test; ours end with their pool.
    return frozenset(t for t in threading.enumerate() if not t.daemon or t.name.startswith("wpc-"))


def _descriptors() -> Counter[str]:
    # By link target: numbers are reused, while the names of sockets, pipes and files are unique.
    found: Counter[str] = Counter()
    with contextlib.suppress(FileNotFoundError):  # no /proc: not Linux
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):  # the descriptor of the listing itself
                found[os.readlink(f"/proc/self/fd/{number}")] += 1
    return found


def _memory() -> frozenset[str]:
    # A line ends in "inode /memfd:name (deleted)"; addresses change when neighbours are merged.
    with contextlib.suppress(FileNotFoundError):
        maps = Path("/proc/self/maps").read_text()
        return frozenset(line.split(maxsplit=4)[4] for line in maps.splitlines() if "/memfd:" in line)
    return frozenset()


def _files() -> frozenset[str]:
    return frozenset(str(path) for path in Path(tempfile.gettempdir()).glob("wpc*"))


def left_behind(before: Snapshot, *, descriptors: bool = True, patience_s: float | None = None) -> list[str]:
    """
    Describe the resources that exist now and did not exist before.

    Parameters
    ----------
    before
        The snapshot to compare with.
    descriptors
        Whether open file descriptors count.
    patience_s
        How long to wait for resources to be released, in seconds; `PATIENCE_S` by default.
    """
    deadline = time.monotonic() + (PATIENCE_S if patience_s is None else patience_s)
    attempts = 0
    while (found := _difference(before, take(), descriptors)) and time.monotonic() < deadline:
        attempts += 1
        if attempts.bit_count() == 1:  # less and less often
            gc.collect()  # a reference cycle that holds a socket is not a leak
        threading.Event().wait(POLL_S)
    return found


def _difference(before: Snapshot, after: Snapshot, descriptors: bool) -> list[str]:
    return [
        *(f"process {_describe(p)}" for p in new_processes(before, after)),
        *(f"thread {t.name!r}" for t in after.threads - before.threads),
        *(f"file descriptor of {name}" for name in (after.descriptors - before.descriptors) if descriptors),
        *(f"mapped memory {name}" for name in after.memory - before.memory),
        *(f"temporary file {name}" for name in after.files - before.files),
    ]


def new_processes(before: Snapshot, after: Snapshot) -> list[psutil.Process]:
    """Return the new processes, without children of older ones: a browser manages its own."""
    found = []
    for process in after.processes - before.processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if not before.processes.intersection(process.parents()):
                found.append(process)
    return found


def _describe(process: psutil.Process) -> str:
    try:
        words = [str(process.pid), f"({process.status()})", process.name()]
        with contextlib.suppress(psutil.ZombieProcess):
            words += process.cmdline()[1:]
    except psutil.NoSuchProcess:
        return f"{process.pid}, gone meanwhile"
    return " ".join(" ".join(words).split())[:200]


def _may_keep_descriptors(request: pytest.FixtureRequest) -> bool:
    marker = request.node.get_closest_marker("leaves")
    if marker is None:
        return False
    if not marker.kwargs.get("reason"):
        pytest.fail('say why: @pytest.mark.leaves(reason="...")')
    return True


@pytest.fixture(autouse=True)
def leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test if it leaves a process, thread, descriptor, shared memory, or temporary file."""
    may_keep = _may_keep_descriptors(request)
    before = take()
    yield
    found = left_behind(before, descriptors=not may_keep)
    for process in new_processes(before, take()) if found else []:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()  # so that it does not disturb later tests
    if found:
        pytest.fail("the test left behind:\n  " + "\n  ".join(found), pytrace=False)


def pytest_collection_finish() -> None:
    """Hide what was imported until now from the collector, which takes 0.1 s for it, each time."""
    gc.collect()
    gc.freeze()


def pytest_configure(config: pytest.Config) -> None:
    """Give this run its own temporary folder and mark, so that concurrent runs do not interfere."""
    os.environ[MARK] = f"{os.getpid()}-{time.time_ns()}"
    shared = tempfile.gettempdir()
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", shared)  # tmp_path stays in its usual place
    own = tempfile.mkdtemp(prefix="tests-of-wpc-")
    os.environ["TMPDIR"] = tempfile.tempdir = own

    def clean_up() -> None:
        # Python joins threads at exit: a leaked one perhaps for ever.
        faulthandler.dump_traceback_later(EXIT_S, exit=True)
        os.environ["TMPDIR"] = tempfile.tempdir = shared
        shutil.rmtree(own, ignore_errors=True)

    config.add_cleanup(clean_up)
