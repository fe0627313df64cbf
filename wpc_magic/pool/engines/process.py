"""Start one worker process, with the channels to it."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import TypeAlias

from ..errors import StartError
from ..wire.block_ref import FD, LEASE, BlockRef
from ..wire.blocks import Block
from ..wire.channel import NO_SIGPIPE
from ..wire.fault_dump import FaultDump
from ..wire.status_page import PID, StatusPage
from .child import Child, python_command
from .usage import Usage

__all__ = ["Launch", "WorkerProcess", "own_authkey"]

Launch: TypeAlias = Callable[[Sequence[int], int, int], int]
"""Starts a process, given the descriptors of `worker.__main__`, stdout and stderr; returns its pid."""


class WorkerProcess(Child):
    """One worker process, and the parent's ends of its sockets and pipes. `start` creates one.

    All methods are thread-safe.

    Attributes
    ----------
    pid : int
        Its process id, and the id of its session and process group. `worker_pid` is that of the interpreter.
    call, control, blocks : socket.socket
        The parent's ends of the three channels.
    stdout_fd, stderr_fd : int
        Non-blocking pipes from the process's stdout and stderr. The end of file comes when the last process
        that holds the other end exits, which need not be the worker.
    page : StatusPage
        What the worker publishes about itself.
    dump : FaultDump
        What its `faulthandler` writes.
    usage : Usage
        What it uses.

    Those of `Child` besides.
    """

    host = place_name = ""
    offers: Mapping[str, float] = {}
    is_relayed = False
    shares_page = True
    lost = ""
    oom_killed: bool | None = None
    lend: Callable[[Block, int], object] | None = None
    adopt: Callable[[BlockRef], object] | None = None
    path: list[str] | None = None

    def __init__(
        self,
        pid: int,
        call: socket.socket,
        control: socket.socket,
        blocks: socket.socket,
        output: tuple[int, int],
        lifeline: int,
        page: StatusPage,
        dump: FaultDump,
    ) -> None:
        super().__init__(pid)
        self.call = call
        self.control = control
        self.blocks: socket.socket | None = blocks
        self.stdout_fd, self.stderr_fd = output
        self._lifeline = lifeline
        self.page = page
        self.dump = dump
        self.usage = Usage(partial(_worker_pid, pid, page))
        self.started_ns = 0

    @classmethod
    def start(
        cls,
        *,
        environ: Mapping[str, str],
        cwd: str | None = None,
        channels: tuple[socket.socket, socket.socket] | None = None,
        launch: Launch | None = None,
        certificates: bytes = b"",
    ) -> WorkerProcess:
        """Start a worker in a new session, and return without waiting for it.

        On Linux the worker is killed when the thread that calls this ends.

        Parameters
        ----------
        environ : mapping
            Its complete environment.
        cwd : str, optional
            Its working directory; by default that of this process.
        channels : tuple of socket.socket, optional
            The worker's ends of its call and control channels, if a pool elsewhere has the others: then these
            are the process's `call` and `control` here.
        launch : callable, optional
            Starts the process in place of a new interpreter: it has an environment and a folder already.
        certificates : bytes
            For channels that are to be encrypted: what `tls.context_of` reads. Empty: they are not.

        Raises
        ------
        StartError
            If the system refuses to start it.
        """
        started_ns = time.time_ns()
        with ExitStack() as undo:  # closes the parent's ends on failure
            try:
                worker = cls._start(undo, launch or partial(_launch, environ, cwd), channels, certificates)
            except StartError:
                raise
            except Exception as error:  # such as a ValueError for what is in the environment
                raise StartError(f"a worker could not be started: {error}") from error
            undo.pop_all()
        worker.started_ns = started_ns
        return worker

    @classmethod
    def _start(
        cls,
        undo: ExitStack,
        launch: Launch,
        channels: tuple[socket.socket, socket.socket] | None,
        certificates: bytes,
    ) -> WorkerProcess:
        page = StatusPage()
        undo.callback(page.close)
        dump = FaultDump()
        undo.callback(dump.close)
        with ExitStack() as ends:  # of the worker process
            if channels is None:
                call, call_end = _pair(undo, ends)
                control, control_end = _pair(undo, ends)
            else:
                call, control = call_end, control_end = channels
                for sock in channels:
                    sock.setblocking(True)  # the worker's end has the same flag
            blocks, blocks_end = _pair(undo, ends)
            stdout, stdout_end = _pipe(undo, ends)
            stderr, stderr_end = _pipe(undo, ends)
            lifeline, lifeline_end = _lifeline(undo, ends)
            sockets = call_end, control_end, blocks_end
            passed = [*(end.fileno() for end in sockets), page.fd, lifeline_end, dump.fd]
            if certificates:
                from ..wire.tls import private_file

                passed.append(private_file(certificates))
                ends.callback(os.close, passed[-1])
            pid = launch(passed, stdout_end, stderr_end)
        page.close_fd()
        return cls(pid, call, control, blocks, (stdout, stderr), lifeline, page, dump)

    @property
    def worker_pid(self) -> int:
        """The process id of the worker: another one if `sys.executable` is a script that starts Python."""
        return _worker_pid(self.pid, self.page)

    def _told_pid(self) -> int:
        return _told_pid(self.pid, self.page)

    def local_ns(self, ns: int) -> int:
        """Return a time of its clock as one of ours: the machine has one clock."""
        return ns

    def lend_descriptor(self, lease: int, fd: int) -> bool:
        """Pass the descriptor of a block that a pool elsewhere lends; False: again later."""
        assert self.blocks is not None
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, FD.pack(fd))]
        try:
            self.blocks.sendmsg([LEASE.pack(lease)], rights, socket.MSG_DONTWAIT | NO_SIGPIPE)
        except OSError as error:  # else it has exited
            return error.errno not in (errno.EAGAIN, errno.ETOOMANYREFS)
        return True

    def kept_descriptor(self) -> tuple[int, int] | None:
        """Return the number of a call and the descriptor of its value, which stays here; None: not yet.

        The descriptor is -1 if this process had none left for it.

        Raises
        ------
        EOFError
            If there will be none any more.
        """
        assert self.blocks is not None
        flags = socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
        try:
            data, rights, _, _ = self.blocks.recvmsg(LEASE.size, socket.CMSG_LEN(FD.size), flags)
        except BlockingIOError:
            return None
        except OSError:
            data, rights = b"", []
        if len(data) < LEASE.size:
            raise EOFError
        (call,) = LEASE.unpack(data)
        return call, FD.unpack(rights[0][2])[0] if rights else -1

    def close(self) -> None:
        """Close all file descriptors, and unmap the status page. If the process still runs, this kills it."""
        with self._lock:
            fds = [fd for fd in (self.stdout_fd, self.stderr_fd, self._lifeline) if fd >= 0]
            self.stdout_fd = self.stderr_fd = self._lifeline = -1
        for fd in fds:
            os.close(fd)
        self.close_sentinel()
        self.call.close()
        self.control.close()
        if self.blocks is not None:
            self.blocks.close()
        self.page.close()
        self.dump.close()


def _launch(
    environ: Mapping[str, str], cwd: str | None, passed: Sequence[int], stdout: int, stderr: int
) -> int:
    """Start a worker in a new interpreter."""
    process = subprocess.Popen(
        python_command("wpc_magic.pool.worker.__main__", *passed, os.getpid()),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        pass_fds=passed,
        start_new_session=True,
        cwd=cwd,
        env=environ,
    )
    # Otherwise Popen would reap the process by itself, and warn; from here on only we reap it.
    process.returncode = 0
    return process.pid


def _worker_pid(pid: int, page: StatusPage) -> int:
    """Return the process id of the worker, given that of the process that was started, and its page."""
    told = _told_pid(pid, page)
    if told == pid:
        return told
    try:
        return told if os.getpgid(told) == pid else pid
    except (OSError, OverflowError):  # nonsense, or it has ended
        return pid


def _told_pid(pid: int, page: StatusPage) -> int:
    """Return what the worker has written to its page."""
    try:
        return int(page.words[PID]) or pid
    except ValueError:  # it is unmapped
        return pid


def own_authkey() -> bytes:
    """Return the key by which the processes of `multiprocessing` that this one starts know it."""
    from multiprocessing.process import current_process  # not loaded before a worker starts

    return bytes(current_process().authkey)


def _pair(undo: ExitStack, ends: ExitStack) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    # With `socket.setdefaulttimeout` they would not block, in the worker either: both share the flag.
    ours.setblocking(True)
    theirs.setblocking(True)
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
    """Return the ends of a pipe that carries no data: closing our end kills the worker's process group."""
    theirs, ours = os.pipe()
    undo.callback(os.close, ours)
    ends.callback(os.close, theirs)
    return ours, theirs
