"""Fork a process whose parent is not this one, but the parent of this one.

So the worker that a template forks is a child of its pool, as one that the pool has started itself: the pool
is told of its end, reaps it, and signals it; and the system kills it when the pool's thread ends.

`os.fork` has no such flag, so what it does is done here: the hooks of Python around a bare system call. The
hooks of the C library are left out. Those that run before a fork, in which libraries end their threads, have
run in `Threads` of `template`; a process with one thread holds no lock that those after it would replace.
"""

from __future__ import annotations

import _ctypes
import _signal  # type: ignore[import-not-found]
import os
import sys
import threading

from wpc_magic.pool.wire.native import Address, Int, Long, c_function

__all__ = ["CannotForkError", "fork_sibling"]

_CLONE = {"x86_64": 56, "aarch64": 220}  # <asm/unistd.h>
_PARENT, _CHILD_CLEARTID, _CHILD_SETTID = 0x8000, 0x200000, 0x1000000  # <linux/sched.h>
_PR_GET_TID_ADDRESS = 40  # <linux/prctl.h>


class CannotForkError(Exception):
    """The system cannot start a process in this way; the text says why."""


def fork_sibling() -> int:
    """Fork this process, which has one thread, as a child of its own parent.

    Returns
    -------
    int
        0 in the new process; here its process id.

    Raises
    ------
    CannotForkError
        If the system does not do that; then nothing has happened.
    """
    machine = os.uname().machine if sys.platform == "linux" else sys.platform
    if machine not in _CLONE or sys.maxsize < 1 << 32:
        raise CannotForkError(f"no way is known to do it on {machine}")
    where = _thread_id_address()
    flags = _PARENT | _CHILD_SETTID | _CHILD_CLEARTID | int(_signal.SIGCHLD)
    # The last two arguments change places between systems. The other one of them is not used.
    arguments = _CLONE[machine], flags, 0, 0, where, where
    _before_fork()
    pid = int(_syscall(*arguments))
    if pid == 0:
        _after_fork_in_child()
        return 0
    number = _ctypes.get_errno()
    _after_fork_in_parent()
    if pid < 0:
        raise CannotForkError(f"the system refuses it: {os.strerror(number)}")
    return pid


def _thread_id_address() -> int:
    """Return where the C library keeps the number of this thread, so that the system sets it in a fork."""
    found = Address()
    if _prctl(_PR_GET_TID_ADDRESS, _ctypes.addressof(found)):
        raise CannotForkError(
            f"the system does not tell where thread ids are: {os.strerror(_ctypes.get_errno())}"
        )
    where = int(found.value or 0)
    if not where or Int.from_address(where).value != threading.get_native_id():
        raise CannotForkError("the C library keeps thread ids in another way")
    return where


_prctl = c_function("prctl", Int, Int, Address)
_syscall = c_function("syscall", Long, Long, Long, Long, Long, Address, Address, python=True)
_before_fork = c_function("PyOS_BeforeFork", None, python=True)
_after_fork_in_child = c_function("PyOS_AfterFork_Child", None, python=True)
_after_fork_in_parent = c_function("PyOS_AfterFork_Parent", None, python=True)
