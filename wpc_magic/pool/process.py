"""Start, signal, reap one worker process.

Its process group has the worker's own number, for as long as the worker is not reaped. So the order of an
end is always: the worker is dead, its group is killed (what it has started goes with it), it is reaped; and
nothing is signalled after that, since the number may be somebody else's by then.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from .errors import StartError
from .wire.dump import Dump
from .wire.page import StatusPage

__all__ = ["WorkerProcess"]

# The folder is on `sys.path` while our package itself is found, and not one import longer: a ``queue.py`` in
# it must not stand in for Python's, and another ``wpc_magic`` must not stand in for ours.
_BOOTSTRAP = """\
import sys
sys.path.insert(0, {folder!r})
import wpc_magic
del sys.path[0]
from wpc_magic.pool.worker.__main__ import main
main()
"""
_FOLDER = str(Path(__file__).resolve().parents[2])
_CAN_LOOK = hasattr(os, "waitid")  # at a dead process without reaping it; on macOS since Python 3.13
_UNKNOWN = 255  # as asyncio says it


class WorkerProcess:
    """One worker process, and the parent's ends of all that leads to it. `start` makes one.

    Any thread may call any method.

    Attributes
    ----------
    pid : int
        Its process id, and the id of its session and process group.
    call, control, blocks : socket.socket
        The parent's ends of the three channels.
    stdout_fd, stderr_fd : int
        What the process writes to its descriptors 1 and 2; they do not block. The end of file comes when
        the last process that holds the other end is gone, which need not be the worker.
    page : StatusPage
        What the worker writes down about itself.
    dump : Dump
        What its `faulthandler` writes.
    peak_bytes : int
        How much memory it has had at most, in bytes, known when it is reaped; 0: not known.
    sentinel_fd : int
        A descriptor that can be read once the process has ended; -1 where the system has none, then
        `wait_in_thread` does.
    """

    def __init__(
        self,
        pid: int,
        call: socket.socket,
        control: socket.socket,
        blocks: socket.socket,
        output: tuple[int, int],
        lifeline: int,
        page: StatusPage,
        dump: Dump,
    ) -> None:
        self.pid = pid
        self.call = call
        self.control = control
        self.blocks = blocks
        self.stdout_fd, self.stderr_fd = output
        self._lifeline = lifeline
        self.page = page
        self.dump = dump
        self.peak_bytes = 0
        self._peak_at_start = _own_peak_bytes()
        self.sentinel_fd = _open_sentinel(pid)
        self._exitcode: int | None = None
        self._lock = threading.Lock()  # nothing is signalled while it is reaped

    @classmethod
    def start(cls, *, environ: Mapping[str, str], cwd: str | None = None) -> WorkerProcess:
        """Start a worker in a session of its own, and return without waiting for it.

        On Linux the worker ends with the thread that calls this.

        Parameters
        ----------
        environ : mapping
            All of its environment.
        cwd : str, optional
            Its working directory; by default that of this process.

        Raises
        ------
        StartError
            If the system refuses.
        """
        if not sys.executable:
            raise StartError("sys.executable is empty, so there is no interpreter to start workers with")
        with ExitStack() as undo:  # closes the parent's ends, unless all goes well
            try:
                worker = cls._start(undo, environ, cwd)
            except OSError as error:
                raise StartError(f"a worker could not be started: {error}") from error
            undo.pop_all()
        return worker

    @classmethod
    def _start(cls, undo: ExitStack, environ: Mapping[str, str], cwd: str | None) -> WorkerProcess:
        page, dump = StatusPage(), Dump()
        undo.callback(page.close)
        undo.callback(dump.close)
        with ExitStack() as ends:  # of the child
            call, call_end = _pair(undo, ends)
            control, control_end = _pair(undo, ends)
            blocks, blocks_end = _pair(undo, ends)
            stdout, stdout_end = _pipe(undo, ends)
            stderr, stderr_end = _pipe(undo, ends)
            lifeline, lifeline_end = _lifeline(undo, ends)
            sockets = call_end, control_end, blocks_end
            passed = *(end.fileno() for end in sockets), page.fd, lifeline_end, dump.fd
            code = _BOOTSTRAP.format(folder=_FOLDER)
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", code, *map(str, passed), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=stdout_end,
                stderr=stderr_end,
                pass_fds=passed,
                start_new_session=True,
                cwd=cwd,
                env=environ,
            )
        # Popen would reap on its own terms, and warn; from here on the number is ours alone.
        process.returncode = 0
        page.close_fd()
        return cls(process.pid, call, control, blocks, (stdout, stderr), lifeline, page, dump)

    def signal(self, signum: int) -> bool:
        """Send a signal to the process alone; return whether it was there to get it.

        Parameters
        ----------
        signum : int
            The signal's number.
        """
        with self._lock:
            if not self._is_ours():
                return False
            os.kill(self.pid, signum)
            return True

    def kill(self) -> None:
        """End the process and all of its group now. Does nothing once it is reaped."""
        with self._lock:
            if self._is_ours():
                self._kill_group()

    def poll(self) -> int | None:
        """Return the exit code if the process has ended, else None; minus the number of a signal.

        What the process has started ends with it, and it is reaped. The code is 255 where somebody else has
        reaped it.
        """
        with self._lock:
            if self._exitcode is None:
                self._end_if_dead()
            return self._exitcode

    def reap(self) -> int:
        """Wait until the process has ended, and return as `poll` does; after `kill`, that is soon."""
        while (exitcode := self.poll()) is None:
            self._wait()
        return exitcode

    def wait_in_thread(self, ended: Callable[[], None]) -> None:
        """Wait in a thread of its own until the process has ended: where there is no sentinel.

        Parameters
        ----------
        ended : callable
            Called in that thread when `poll` has the exit code.
        """

        def wait() -> None:
            self.reap()
            ended()

        threading.Thread(target=wait, name=f"wpc-wait-{self.pid}", daemon=True).start()

    def disown(self) -> None:
        """Have a lock of its own, in a fork: another thread may have had the old one."""
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close every descriptor, and unmap the page. A process that has not ended yet ends by that."""
        with self._lock:
            held = self.stdout_fd, self.stderr_fd, self.sentinel_fd, self._lifeline
            fds = [fd for fd in held if fd >= 0]
            self.stdout_fd = self.stderr_fd = self.sentinel_fd = self._lifeline = -1
        for fd in fds:
            os.close(fd)
        self.call.close()
        self.control.close()
        self.blocks.close()
        self.page.close()
        self.dump.close()

    # -- how it is done ---------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Wait until the process has ended (or for a moment), and leave it to be reaped."""
        if _CAN_LOOK:
            with contextlib.suppress(ChildProcessError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        else:
            time.sleep(0.02)

    def _is_ours(self) -> bool:
        """Whether the number is still that of our process, dead or alive."""
        if self._exitcode is not None:
            return False
        if _CAN_LOOK:
            try:
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            except ChildProcessError:  # somebody waits for every child of this program
                self._exitcode = _UNKNOWN
                return False
        return True

    def _end_if_dead(self) -> None:
        try:
            if _CAN_LOOK:
                if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
                    return
                self._kill_group()
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
        except ChildProcessError:
            self._exitcode = _UNKNOWN
            return
        if pid:
            if not _CAN_LOOK:  # a moment late: the group's number is kept for as long as it has members
                self._kill_group()
            peak = _peak_bytes(usage)
            if peak > self._peak_at_start:  # else it is the peak of this process, which a new one inherits
                self.peak_bytes = peak
            self._exitcode = os.waitstatus_to_exitcode(status)

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS: of a group of zombies
            os.killpg(self.pid, signal.SIGKILL)


def _own_peak_bytes() -> int:
    import resource  # not on Windows, where this module can be imported at least

    return _peak_bytes(resource.getrusage(resource.RUSAGE_SELF))


def _peak_bytes(usage: Any) -> int:
    return int(usage.ru_maxrss) if sys.platform == "darwin" else int(usage.ru_maxrss) << 10


def _pair(undo: ExitStack, ends: ExitStack) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    undo.callback(ours.close)
    ends.callback(theirs.close)
    return ours, theirs


def _pipe(undo: ExitStack, ends: ExitStack) -> tuple[int, int]:
    ours, theirs = os.pipe()
    undo.callback(os.close, ours)
    ends.callback(os.close, theirs)
    os.set_blocking(ours, False)
    return ours, theirs


def _lifeline(undo: ExitStack, ends: ExitStack) -> tuple[int, int]:
    """Return the ends of a pipe that carries nothing: when ours is closed, the worker's group ends."""
    theirs, ours = os.pipe()
    undo.callback(os.close, ours)
    ends.callback(os.close, theirs)
    return ours, theirs


def _open_sentinel(pid: int) -> int:
    if not hasattr(os, "pidfd_open"):
        return -1
    try:
        return os.pidfd_open(pid)
    except OSError:  # a kernel before 5.3, or a sandbox that does not know it
        return -1
