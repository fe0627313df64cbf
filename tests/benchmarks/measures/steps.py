"""What one blocking no-op call consists of: system calls, and wake-ups."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from typing import Any

from .. import processes, work
from ..bench import Measure
from ..contestants import US
from .calls import warm_up

__all__ = ["KEYS", "MEASURES"]

KEYS = (
    "steps.caller",
    "steps.threads",
    "steps.worker",
    "steps.messages",
    "steps.wakeups.caller",
    "steps.wakeups.workers",
)
_SENDS = ("socket.send", "socket.sendall", "socket.sendmsg", "posix.write", "posix.writev")


def steps(contestant: Any, count: int) -> dict[str, float]:
    """Count system calls by the functions that make them, then wake-ups from statistics of the kernel.

    System calls are counted with ``sys.setprofile`` in the calling thread, in all threads that the pool has
    started in its process, and in the thread that runs the function in the worker. Messages are the writes.
    """
    threads: Counter[str] = Counter()

    def count_in_threads(frame: Any, event: str, function: Any) -> None:
        name = work.kernel_call(event, function)
        if name is not None:
            threads[name] += 1

    threading.setprofile(count_in_threads)  # for threads that begin from now on
    contestant.open(1)
    call = contestant.caller(work.noop)
    warm_up(call)
    contestant.caller(work.start_counting)()
    threads.clear()
    work.start_counting()
    for _ in range(count):
        call()
    caller = Counter(work.stop_counting())
    in_threads = threads.copy()
    worker = Counter(contestant.caller(work.stop_counting)())
    contestant.close()
    threading.setprofile(None)
    sys.setprofile(None)

    contestant.open(1)
    call = contestant.caller(work.noop)
    warm_up(call)
    me, children = [os.getpid()], processes.descendants()
    before = processes.wakeups(me), processes.wakeups(children)
    for _ in range(count):
        call()
    after = processes.wakeups(me), processes.wakeups(children)
    contestant.close()
    messages = sum((caller + in_threads + worker)[name] for name in _SENDS)
    found = (
        caller.total(),
        in_threads.total(),
        worker.total(),
        messages,
        after[0] - before[0],
        after[1] - before[1],
    )
    return {key: value / count for key, value in zip(KEYS, found, strict=True)}


MEASURES = [
    Measure(
        "steps",
        steps,
        KEYS,
        who=["limit", US, "executor", "mp_pool"],
        full={"count": 2_000},
        quick={"count": 500},
        rounds=3,
    )
]
