"""Start-up of a worker: its descriptors, its signals, the watch over its parent.

Run as ``python -P -c ...`` by `process`, with six descriptors (the three channels, the status page, the
lifeline, the dump) and the process that must be our parent.

Modules of Python with an underscore are used here and around it where the ones without load five times as
much: ``import socket, signal, pickle, typing`` takes longer than an interpreter takes to start.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import faulthandler
import os
import sys

from wpc_magic.pool.wire import dump
from wpc_magic.pool.wire.late import OWN
from wpc_magic.pool.wire.page import DUMPS, StatusPage
from wpc_magic.pool.worker.control import Control, die, end_now
from wpc_magic.pool.worker.exchange import Exchange
from wpc_magic.pool.worker.guards import install_guards
from wpc_magic.pool.worker.output import Tagged
from wpc_magic.pool.worker.server import Server

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def _die_with(parent: int, lifeline: int) -> None:
    """Have the kernel end this process, and those that it has started, when the pool's process ends.

    The end-of-file on the control channel does the same everywhere, but not while C code holds the GIL. The
    lifeline is a pipe of which the pool has the other end; when that is closed, however that comes about,
    Linux kills our whole group. A fork of the pool's process may hold it open, so there is a third way: the
    signal for the death of the thread that has started us, which reaches us alone.
    """
    if sys.platform == "linux":
        import fcntl

        try:
            fcntl.fcntl(lifeline, fcntl.F_SETSIG, _signal.SIGKILL)
            fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
            fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        except OSError:
            pass  # a sandbox that does not know it
        import _ctypes  # `ctypes` is a layer over it that takes ten times as long to load

        prctl = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]
        _ctypes.call_function(prctl, (_PR_SET_PDEATHSIG, int(_signal.SIGKILL)))
    if os.getppid() != parent:  # it died before we asked
        end_now()


def _dump_to(fd: int, page: StatusPage) -> None:
    """Have stacks written to a file of the pool's: at a crash, and at a signal."""
    faulthandler.enable(file=fd)
    if dump.SIGNAL:
        faulthandler.register(dump.SIGNAL, file=fd, all_threads=True, chain=False)
        # It goes to the control thread: in this one it would end a system call of the user's C code early.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, [dump.SIGNAL])
        page.words[DUMPS] = 1
    # What a fork ends with is no news of this process.
    os.register_at_fork(after_in_child=lambda: faulthandler.enable(file=2))


def main() -> None:
    """Serve one pool until it lets go."""
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    call_fd, control_fd, blocks_fd, page_fd, lifeline, dump_fd, parent = map(int, sys.argv[1:8])
    _die_with(parent, lifeline)
    for fd in (call_fd, control_fd, blocks_fd, page_fd, lifeline, dump_fd):
        os.set_inheritable(fd, False)
    del sys.argv[1:]
    # Names that a user's pickles look for in `__main__` are not ours to answer.
    sys.modules["__main__"] = type(sys)("__main__")
    OWN[:] = sys.path

    page = StatusPage(page_fd)
    page.close_fd()
    _dump_to(dump_fd, page)
    call, control = _socket.socket(fileno=call_fd), _socket.socket(fileno=control_fd)
    server = Server(call, page, Exchange(_socket.socket(fileno=blocks_fd)))
    os.register_at_fork(after_in_child=control.close)
    _signal.signal(_signal.SIGINT, server.on_interrupt)
    sys.stdout = Tagged(server.output, "stdout", sys.stdout)
    sys.stderr = Tagged(server.output, "stderr", sys.stderr)
    install_guards(server.notice)
    Control(control, server).start()
    try:
        server.serve()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the pool is gone, or has let go of this worker
    except BaseException as error:
        die(f"the call channel cannot be served any more: {type(error).__name__}: {error}")
    # What follows is the interpreter's own ending: threads are waited for, `atexit` runs.
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
