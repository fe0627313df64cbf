"""Fault injection: the code of each fault, and the table of all faults and the phases they occur in.

Workers import this module, so it imports nothing of pytest.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

PRINTED = 100 << 20  # bytes
SPARE = 64 << 20  # bytes that a worker may still take when it fills its memory

# -- the faults -------------------------------------------------------------------------------------------


class Wrong(Exception):
    """The exception of the fault "raises"."""


def _raises() -> None:
    raise Wrong("the fault")


def _exits() -> None:
    sys.exit(3)


def _ends_its_process() -> None:
    os._exit(3)


def _crashes() -> None:
    ctypes.string_at(0)


def _kills_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _stops_itself() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def _loops() -> None:
    while True:
        pass


def _holds_the_gil() -> None:
    sum(itertools.repeat(0))  # never returns to the interpreter: no signal handler, no other thread runs


def _recurses(depth: int = 0) -> int:
    return _recurses(depth + 1)


def _overflows_its_stack() -> None:
    # Since Python 3.12, C code that recurses too deep raises in time, so the stack may not grow.
    resource.setrlimit(resource.RLIMIT_STACK, (4096, resource.getrlimit(resource.RLIMIT_STACK)[1]))
    sys.setrecursionlimit(1 << 30)
    nested: list[Any] = []
    for _ in range(1_000_000):
        nested = [nested]
    repr(nested)


def _fills_its_memory() -> None:
    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * resource.getpagesize()
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(
        resource.RLIMIT_AS, (taken + SPARE, hard)
    )  # the limit stays: the worker has to cope with it
    held = []
    while True:
        held.append(bytearray(1 << 20))


def _closes_its_descriptors() -> None:
    os.closerange(3, 1000)


def _prints_100_mb() -> None:
    line = "x" * 1023
    for _ in range(PRINTED // 1024):
        print(line)


# -- injection --------------------------------------------------------------------------------------------


def commit(name: str, begun: str = "") -> str:
    """Inject a fault in a worker that has a child process of its own; return if the fault does.

    Just before, a file of the name `begun` is made. An interrupt may come even earlier: where it has no
    effect on the fault itself, it has none before.
    """
    if name in UNINTERRUPTIBLE:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    FAULTS[name].child = subprocess.Popen(["sleep", "1000"])  # kept, to avoid a ResourceWarning
    if begun:
        open(begun, "x").close()
    FAULTS[name].commit()
    return "went on"


def commit_here(name: str) -> str:
    """Inject a fault in the test process."""
    if name == "loops":
        INSIDE.set()
        while not OVER.is_set():
            pass
    else:
        FAULTS[name].commit()
    return "went on"


INSIDE, OVER = threading.Event(), threading.Event()  # of a loop in the test process


class AtPickling:
    """Injects a fault when it is pickled."""

    def __init__(self, commit: Callable[[str], str], name: str) -> None:
        self.how = commit, name

    def __reduce__(self) -> Any:
        commit, name = self.how
        return str, (commit(name),)


class AtUnpickling(AtPickling):
    """Injects a fault when it is unpickled."""

    def __reduce__(self) -> Any:
        commit, name = self.how
        return commit, (name,)


class AtTheEnd(AtPickling):
    """Injects a fault when it is finalized."""

    def __del__(self) -> None:
        commit, name = self.how
        commit(name)


def lock() -> Any:
    """Return an object that cannot be pickled."""
    return threading.Lock()


def stranger() -> Any:
    """Return an object that can be pickled, but not be unpickled elsewhere: its module exists here only."""
    module = type(sys)("nowhere_else")
    kind = type("Stranger", (), {"__module__": "nowhere_else"})
    module.Stranger = kind  # type: ignore[attr-defined]
    sys.modules["nowhere_else"] = module
    return kind()


# -- the table --------------------------------------------------------------------------------------------

STARTING = "starting"
INSTALLING = "installing a cell"
IMPORTING = "importing a dependency"
PICKLING_ARGUMENT = "pickling an argument"
UNPICKLING_ARGUMENT = "unpickling an argument"
RUNNING = "running"
PICKLING_ANSWER = "pickling the answer"
UNPICKLING_ANSWER = "unpickling the answer"
STOPPING = "stopping"

WHEN = (
    STARTING,
    INSTALLING,
    IMPORTING,
    PICKLING_ARGUMENT,
    UNPICKLING_ARGUMENT,
    RUNNING,
    PICKLING_ANSWER,
    UNPICKLING_ANSWER,
    STOPPING,
)
IN_A_WORKER = (UNPICKLING_ARGUMENT, RUNNING, PICKLING_ANSWER)  # and in a call
HERE = (PICKLING_ARGUMENT, UNPICKLING_ANSWER)  # in the parent process

RAISES = "raises"  # an exception
DIES = "dies"  # the process exits
HANGS = "hangs"  # until it is interrupted or killed
GOES_ON = "goes on"  # with no effect


class Fault:
    """One row.

    Attributes
    ----------
    commit : callable
        Injects the fault.
    ends : str
        Its effect in a worker, unless `OTHERWISE` says something else.
    error : str
        The class of the exception, if it raises.
    words : str
        What the error says: a regular expression.
    """

    child: Any = None

    def __init__(self, commit: Callable[[], object], ends: str, words: str = "", error: str = "") -> None:
        self.commit = commit
        self.ends = ends
        self.words = words
        self.error = error


FAULTS = {
    "raises": Fault(_raises, RAISES, "the fault", "Wrong"),
    "exits": Fault(_exits, RAISES, "3", "SystemExit"),
    "ends its process": Fault(_ends_its_process, DIES, "exited with code 3"),
    "crashes": Fault(_crashes, DIES, "was killed by SIGSEGV"),
    "kills itself": Fault(_kills_itself, DIES, "was killed by SIGKILL"),
    "stops itself": Fault(_stops_itself, HANGS),
    "loops": Fault(_loops, HANGS),
    "holds the GIL": Fault(_holds_the_gil, HANGS),
    "recurses": Fault(_recurses, RAISES, "maximum recursion depth exceeded", "RecursionError"),
    "overflows its stack": Fault(_overflows_its_stack, DIES, "was killed by SIGSEGV"),
    "fills its memory": Fault(_fills_its_memory, RAISES, "", "MemoryError"),
    # Whichever is detected first: that it cannot answer, or that its ends of the channels are closed.
    "closes its descriptors": Fault(
        _closes_its_descriptors, DIES, "exited with code 70|was killed by SIGKILL"
    ),
    "prints 100 MB": Fault(_prints_100_mb, GOES_ON),
    "cannot be pickled": Fault(lock, RAISES, "cannot pickle|is a _thread.lock", "TypeError"),
    "cannot be unpickled": Fault(stranger, RAISES, "No module named 'nowhere_else'", "ModuleNotFoundError"),
}
UNINTERRUPTIBLE = ("stops itself", "holds the GIL")
"""The faults that no signal handler of Python runs in."""


class Case(NamedTuple):
    """One cell of the table.

    Parameters
    ----------
    fault, when : str
        Its row and its column.
    ends : str
        Its effect.
    words : str
        What the error says: a regular expression.
    left_out : str
        Why it is not tested; empty: it is.
    """

    fault: str
    when: str
    ends: str
    words: str
    left_out: str = ""

    def __str__(self) -> str:
        return f"{self.fault} - {self.when}"

    @property
    def errors(self) -> tuple[str, ...]:
        """The allowed classes of the exception."""
        if self.fault == "recurses" and self.when == PICKLING_ANSWER:
            return ("PicklingError",)  # cloudpickle's
        if self.fault == "fills its memory":
            return "MemoryError", "RemoteError"  # there may be none left to pickle the exception itself
        return (FAULTS[self.fault].error,)


_ENDS_THE_CALLER = "it would end or stop the parent process, whose own thread pickles and unpickles"
_ABOUT_VALUES = "only a value can be so, and only where it is pickled or unpickled"

LEFT_OUT = {
    **{
        (fault, when): _ENDS_THE_CALLER
        for when in HERE
        for fault, row in FAULTS.items()
        if row.ends == DIES or fault in ("stops itself", "holds the GIL")
    },
    **{("fills its memory", when): "the limit would be that of the whole test run" for when in HERE},
    **{("prints 100 MB", when): "the pool has no part in what the parent process prints" for when in HERE},
    **{
        ("cannot be pickled", when): _ABOUT_VALUES
        for when in WHEN
        if when not in (PICKLING_ARGUMENT, PICKLING_ANSWER)
    },
    **{
        ("cannot be unpickled", when): _ABOUT_VALUES
        for when in WHEN
        if when not in (UNPICKLING_ARGUMENT, UNPICKLING_ANSWER)
    },
}

# Cells whose effect differs from that of the row: the effect, and what the error says.
OTHERWISE = {
    # Python itself catches and prints what a `sitecustomize` raises, and goes on.
    **{(fault, STARTING): (GOES_ON, "") for fault in ("raises", "recurses", "fills its memory")},
    ("exits", STARTING): (DIES, "exited with code [13]"),
    ("closes its descriptors", STARTING): (DIES, "exited with code 1|was killed by SIGKILL"),
    **{
        ("recurses", when): (RAISES, "excessively deep recursion")  # the message of cloudpickle
        for when in (PICKLING_ARGUMENT, PICKLING_ANSWER)
    },
}


def _table() -> Iterator[Case]:
    for fault, row in FAULTS.items():
        for when in WHEN:
            ends, words = OTHERWISE.get((fault, when), (row.ends, row.words))
            yield Case(fault, when, ends, words, LEFT_OUT.get((fault, when), ""))


TABLE = tuple(_table())


def has_words(case: Case, text: str) -> bool:
    """Whether a text says what the case expects."""
    return re.search(case.words, text) is not None
