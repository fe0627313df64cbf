"""What the workers of all contestants run. It imports next to nothing: that would count as their start."""

import os
import sys
import time
from collections import Counter


def noop():
    return None


def increment(x):
    return x + 1


def increment_all(items):
    return [x + 1 for x in items]


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


def nap(seconds):
    time.sleep(seconds)  # noqa: TID251 - it is the work
    return seconds


def leave():
    os._exit(3)


def wait_at(path):
    """Wait until somebody opens the named pipe for writing, and closes it."""
    with open(path, "rb") as pipe:
        pipe.read()


# Which functions written in C enter the kernel each time they are called. Locks and semaphores do so only
# when they have to wait: these show as wake-ups.
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
    """Return the name of the system call in an event of ``sys.setprofile``; None: it is none."""
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
