"""One process that the pool has started: signal it, learn how it has ended, reap it.

Its process group has the pid as its id, which is not reused before the process is reaped. So the order is
always: it has exited, its process group is killed (with everything that it started), it is reaped; and
nothing is signalled after that, since the pid may belong to another process by then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import StartError

__all__ = ["Child", "python_command"]

# The folder is on `sys.path` only while our package itself is imported: a ``queue.py`` in it must not shadow
# the standard library's, and another ``wpc_magic`` must not shadow ours.
_BOOTSTRAP = """\
import sys
sys.path.insert(0, {folder!r})
import wpc_magic
del sys.path[0]
from {module} import main
main()
"""
_FOLDER = str(Path(__file__).resolve().parents[3])
_HAS_WAITID = hasattr(os, "waitid")  # it can wait without reaping; on macOS since Python 3.13
_PATIENCE_S = 1.0
_UNKNOWN = 255  # as in asyncio
_SHELL_SIGNAL = 128
_PIDFD_GROUP = 4  # PIDFD_SIGNAL_PROCESS_GROUP, Linux 6.9
_PIDFD_INFO = struct.Struct("QQ11Ii")  # the mask and the exit status, of `struct pidfd_info`, Linux 6.13
_PIDFD_GET_INFO = 3 << 30 | _PIDFD_INFO.size << 16 | 0xFF << 8 | 11
_PIDFD_EXIT = 8  # PIDFD_INFO_EXIT, Linux 6.15


class Child:
    """A process that this one has started, in a session of its own. All methods are thread-safe.

    Parameters
    ----------
    pid : int
        Its process id, and the id of its session and process group.

    Attributes
    ----------
    pid : int
        As above. `worker_pid` is that of the interpreter, which may be another process.
    peak_bytes : int
        Its peak memory, in bytes, known once it is reaped; 0: unknown.
    is_exit_known : bool
        Whether the exit code is its own: other code may have reaped it, and SIGCHLD may be ignored.
    sentinel_fd : int
        A file descriptor that becomes readable when the process exits; -1 if the system has none, then use
        `wait_in_thread`.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peak_bytes = 0
        self.is_exit_known = True
        self._peak_at_start = _own_peak_bytes()
        self.sentinel_fd = _open_sentinel(pid)
        self._exitcode: int | None = None
        self._lock = threading.Lock()  # no signal is sent while it is reaped

    @property
    def worker_pid(self) -> int:
        """The process id of the interpreter: another one if a script has started it."""
        return self.pid

    def _told_pid(self) -> int:
        """Return which process has said that it is the interpreter."""
        return self.pid

    def signal(self, signum: int) -> bool:
        """Send a signal to the process alone, not to its group; return False if it has been reaped.

        Parameters
        ----------
        signum : int
            The signal's number.
        """
        with self._lock:
            if not self._owns_pid():
                return False
            os.kill(self.worker_pid, signum)
            return True

    def kill(self) -> None:
        """Kill the process and its whole process group. Does nothing once it is reaped."""
        with self._lock:
            if self._owns_pid():
                self._kill_group()
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid, signal.SIGKILL)  # a fork that does not lead its group yet

    def poll(self) -> int | None:
        """Return the exit code if the process has exited (minus the number of a signal), else None.

        Then everything that it started is killed, and it is reaped. If it was reaped by other code, or by the
        system since this program ignores SIGCHLD, the code may be unknown, and is 255.
        """
        with self._lock:
            if self._exitcode is None:
                self._reap_if_dead()
            return self._exitcode

    def reap(self) -> int:
        """Wait until the process has exited, and return as `poll` does; after `kill`, that is soon."""
        while (exitcode := self.poll()) is None:
            self._wait()
        return exitcode

    def end(self) -> None:
        """Kill the process, and reap it: here if it exits soon, as it should, else when it does."""
        self.kill()
        deadline = time.monotonic() + _PATIENCE_S
        while self.poll() is None:
            if time.monotonic() > deadline:  # it is frozen, or waits for a disk that does not answer
                self.wait_in_thread(lambda: None)
                return
            time.sleep(0.002)

    def wait_in_thread(self, ended: Callable[[], None]) -> None:
        """Wait in a new thread until the process has exited. Used if there is no sentinel.

        Parameters
        ----------
        ended : callable
            Called in that thread when `poll` returns the exit code.
        """

        def wait() -> None:
            self.reap()
            ended()

        threading.Thread(target=wait, name=f"wpc-wait-{self.pid}", daemon=True).start()

    def after_fork(self) -> None:
        """Replace the lock, in a fork: another thread may have held the old one."""
        self._lock = threading.Lock()

    def close_sentinel(self) -> None:
        """Close the file descriptor that tells of its end."""
        with self._lock:
            fd, self.sentinel_fd = self.sentinel_fd, -1
        if fd >= 0:
            os.close(fd)

    # -- internals --------------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Wait until the process has exited (or 20 ms), without reaping it."""
        if _HAS_WAITID:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            time.sleep(0.02)

    def _owns_pid(self) -> bool:
        """Whether the pid still belongs to our process, running or zombie."""
        if self._exitcode is not None:
            return False
        if _HAS_WAITID:
            try:
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            except ChildProcessError:
                self._reaped_by_others()
                return False
        return True

    def _reap_if_dead(self) -> None:
        try:
            if _HAS_WAITID:
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                    return
                self._kill_group()
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:
            self._reaped_by_others()
            return
        if pid:
            if not _HAS_WAITID:  # after reaping: the group's id is not reused while it has members
                self._kill_group()
            peak = _peak_bytes(usage)
            if peak > self._peak_at_start:  # else it is the peak of this process, which a child inherits
                self.peak_bytes = peak
            self._exitcode = self._exitcode_of(status)

    def _exitcode_of(self, status: int) -> int:
        exitcode = os.waitstatus_to_exitcode(status)
        if self._told_pid() != self.pid and exitcode - _SHELL_SIGNAL in signal.valid_signals():
            return _SHELL_SIGNAL - exitcode  # as a shell says that a signal has ended what it had started
        return exitcode

    def _reaped_by_others(self) -> None:
        """Note how it exited, as far as the system knows, and kill what it has started.

        Other code in this program waits for every child, or nobody does: SIGCHLD is ignored.
        """
        status = _exit_status(self.sentinel_fd)
        self.is_exit_known = status is not None
        self._exitcode = _UNKNOWN if status is None else self._exitcode_of(status)
        if self.sentinel_fd >= 0:
            try:
                signal.pidfd_send_signal(self.sentinel_fd, signal.SIGKILL, None, _PIDFD_GROUP)
                return
            except ProcessLookupError:  # it has no members
                return
            except OSError:  # an older system
                pass
        # The group's number is not reused while it has members. If it has none, a new process may have it.
        try:
            os.getsid(self.pid)
        except ProcessLookupError:
            self._kill_group()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: a group of zombies
            os.killpg(self.pid, signal.SIGKILL)


def python_command(module: str, *arguments: int) -> list[str]:
    """Return the command of a new interpreter that calls the `main` of a module of ours.

    Parameters
    ----------
    module : str
        Its full name.
    *arguments : int
        Numbers that it finds in ``sys.argv``.

    Raises
    ------
    StartError
        If nobody knows the interpreter.
    """
    if not sys.executable:
        raise StartError("sys.executable is empty, so there is no interpreter to start workers with")
    code = _BOOTSTRAP.format(folder=_FOLDER, module=module)
    return [sys.executable, *_interpreter_flags(), "-P", "-c", code, *map(str, arguments)]


_OWN_XOPTIONS = frozenset({"frozen_modules"})
"""What kernels are started with for their debugger, and what would make each start of a worker slower."""


def _interpreter_flags() -> list[str]:
    """Return the options of the interpreter with which this process was started (``-O``, ``-X dev``)."""
    every: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    flags: list[str] = []
    words = iter(every)
    for word in words:
        if word == "-X":
            next(words)  # it knows some of them only, and here they follow
        else:
            flags.append(word)
    for name, value in sys._xoptions.items():
        if name not in _OWN_XOPTIONS:
            flags += ["-X", name if value is True else f"{name}={value}"]
    return flags


def _own_peak_bytes() -> int:
    import resource  # not available on Windows, where this module must be importable

    return _peak_bytes(resource.getrusage(resource.RUSAGE_SELF))


def _peak_bytes(usage: Any) -> int:
    return int(usage.ru_maxrss) if sys.platform == "darwin" else int(usage.ru_maxrss) << 10


def _exit_status(sentinel_fd: int) -> int | None:
    """Return the wait status of a process that was reaped; None: the system does not keep it."""
    if sentinel_fd < 0:
        return None
    import fcntl  # not available on Windows

    for _ in range(1000):  # the sentinel is readable a moment before the status is
        info = bytearray(_PIDFD_INFO.pack(_PIDFD_EXIT, *[0] * 13))
        try:
            fcntl.ioctl(sentinel_fd, _PIDFD_GET_INFO, info)
        except OSError:
            return None
        mask, *_, status = _PIDFD_INFO.unpack(info)
        if mask & _PIDFD_EXIT:
            return int(status)
        os.sched_yield()
    return None


def _open_sentinel(pid: int) -> int:
    if not hasattr(os, "pidfd_open"):
        return -1
    try:
        return os.pidfd_open(pid)
    except OSError:  # a kernel before 5.3, or a sandbox without it
        return -1
