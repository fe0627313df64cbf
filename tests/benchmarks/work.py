"""The functions that the workers of all contestants run. Few imports, since they count as start-up time."""

import _thread
import os
import sys
import time
from collections import Counter


def noop():
    return None


def increment(x):
    return x + 1


def numbers(count):
    yield from range(count)


def increment_all(items):
    return [x + 1 for x in items]


def plus_one(array):
    return array + 1


def echo(array):
    return array


def sample(array):
    return float(array[::4096].sum())


def total(array):
    return float(array.sum())


def write(array):
    array += 1
    return float(array[0]), float(array[-1])


def pid_after(seconds):
    time.sleep(seconds)  # noqa: TID251 - it is the work
    return os.getpid()


def thread_after(seconds):
    time.sleep(seconds)  # noqa: TID251 - it is the work
    return _thread.get_native_id()


def nap(seconds):
    time.sleep(seconds)  # noqa: TID251 - it is the work
    return seconds


def leave():
    os._exit(3)


def wait_at(path):
    """Wait until the named pipe is opened for writing, and closed."""
    with open(path, "rb") as pipe:
        pipe.read()


# C functions that always make a system call. Locks and semaphores do so only when they block, which is
# counted as wake-ups.
KERNEL = {
    "socket": {"send", "sendall", "sendmsg", "recv", "recv_into", "recvmsg", "recvmsg_into"},
    "poll": {"poll"},
    "epoll": {"poll", "register", "modify", "unregister"},
    "posix": {
        "read",
        "write",
        "readv",
        "writev",
        "pipe",
        "close",
        "kill",
        "waitpid",
        "waitid",
        "eventfd_write",
    },
    "select": {"select"},
    "_signal": {"signal", "pthread_sigmask", "pthread_kill", "setitimer"},
    "time": {"sleep"},
}
_counted: Counter = Counter()


def kernel_call(event, function):
    """Return the name of the system call in an event of ``sys.setprofile``; None for other events."""
    if event != "c_call":
        return None
    owner = getattr(function, "__self__", None)
    kind = owner.__name__ if isinstance(owner, type(sys)) else type(owner).__name__
    return f"{kind}.{function.__name__}" if function.__name__ in KERNEL.get(kind, ()) else None


def _count(frame, event, function):
    name = kernel_call(event, function)
    if name is not None:
        _counted[name] += 1


def start_counting():
    """Count the system calls of this thread from now on."""
    _counted.clear()
    sys.setprofile(_count)


def stop_counting():
    """Return the system calls since then."""
    sys.setprofile(None)
    return dict(_counted)
