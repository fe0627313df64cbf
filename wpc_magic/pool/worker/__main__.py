"""Start-up of a worker: its descriptors, its signals, and its end when the parent process ends.

`process` runs it as ``python -P -c ...``, with six descriptors (the three channels, the status page, the
lifeline, the fault dump), a seventh one if the channels of messages are to be encrypted (a file with the
certificates for that), and the pid that our parent must have. A worker that a `template` has forked begins
with `serve`.

This folder uses the standard library's underscore modules where the public ones import five times as much:
``import socket, signal, pickle, typing`` takes longer than the start of an interpreter.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import faulthandler
import os
import sys

from wpc_magic.pool.wire import fault_dump
from wpc_magic.pool.wire.channel import Reader, without_sigpipe
from wpc_magic.pool.wire.lazy_import import INTERPRETER_PATH
from wpc_magic.pool.wire.status_page import DUMP_READY, PID, StatusPage
from wpc_magic.pool.worker.cells import CellFinder
from wpc_magic.pool.worker.control import Control, die, kill_process_group
from wpc_magic.pool.worker.exception_hooks import install_exception_hooks
from wpc_magic.pool.worker.joblib_tasks import name_backend
from wpc_magic.pool.worker.messages import Messages
from wpc_magic.pool.worker.module_files import record_imports
from wpc_magic.pool.worker.no_terminal import refuse_questions
from wpc_magic.pool.worker.output import TaggedStream
from wpc_magic.pool.worker.process_state import ProcessState
from wpc_magic.pool.worker.rich_output import install_rich_output
from wpc_magic.pool.worker.server import Server
from wpc_magic.pool.worker.shared_memory import SharedBuffers
from wpc_magic.pool.worker.thread_limits import limit_threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NamedTuple
else:
    from wpc_magic.pool.wire.named_tuple import NamedTuple

__all__ = ["Descriptors", "die_with_parent", "main", "reset_signals", "serve"]

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_SOON_MS = 100
"""How long a process takes at most to close everything when it ends."""
_IGNORED = {_signal.SIGPIPE, _signal.SIGXFSZ}


def die_with_parent(parent: int, lifeline: int) -> None:
    """Make the kernel kill this process, and those that it has started, when the parent process ends.

    An end-of-file on the control channel has the same effect on every system, but not while C code holds the
    GIL. The lifeline is a pipe whose other end the pool holds; when that is closed for any reason, Linux
    kills our whole process group. A fork of the parent process may keep it open, so there is a third way: the
    signal for the death of the thread that has started us, which kills this process only.
    """
    if sys.platform == "linux":
        import fcntl

        try:
            fcntl.fcntl(lifeline, fcntl.F_SETSIG, _signal.SIGKILL)
            fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
            fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        except OSError:
            pass  # a sandbox that does not support it
        import _ctypes  # `ctypes`, a layer over it, takes ten times as long to load

        prctl = _ctypes.dlsym(_ctypes.dlopen(None, 0), "prctl")  # type: ignore[arg-type]
        _ctypes.call_function(prctl, (_PR_SET_PDEATHSIG, int(_signal.SIGKILL)))
    # If it died before the lines above. A script that starts Python, and waits, is in between.
    if os.getppid() != parent and (os.getpgrp() == os.getpid() or _is_closed(lifeline)):
        kill_process_group()


def _is_closed(pipe: int) -> bool:
    """Tell whether the other end of a pipe, to which nothing is written, is closed."""
    os.set_blocking(pipe, False)
    try:
        return os.read(pipe, 1) == b""
    except BlockingIOError:
        return False


def _is_soon_closed(pipe: int) -> bool:
    """Tell the same, where another end that the same process had has just been closed."""
    import select

    poll = select.poll()
    poll.register(pipe, 0)
    return bool(poll.poll(_SOON_MS))


def _enable_fault_dump(fd: int, page: StatusPage) -> None:
    """Write stacks to the pool's file on a crash and on a signal."""
    faulthandler.enable(file=fd)
    if fault_dump.SIGNAL:
        faulthandler.register(fault_dump.SIGNAL, file=fd, all_threads=True, chain=False)
        # The control thread receives it: in this one it would interrupt system calls of C code.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, [fault_dump.SIGNAL])
        page.words[DUMP_READY] = 1
    # The crash of a forked process does not belong to this one.
    os.register_at_fork(after_in_child=lambda: faulthandler.enable(file=2))


def reset_signals() -> None:
    """Undo what is inherited of the program: blocked signals, as in a service, and ignored ones.

    The parent process cannot: in its threads, which have other handlers, nothing may be unblocked.
    """
    for number in _signal.valid_signals():
        # Python itself ignores two, so that a write raises an exception instead.
        if number not in _IGNORED and _signal.getsignal(number) == _signal.SIG_IGN:
            _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def _readers(
    call: _socket.socket, control: _socket.socket, certificates: Sequence[int]
) -> tuple[Reader, Reader]:
    """Return what reads the two channels, which are encrypted if there are certificates for that."""
    for sock in (call, control):
        without_sigpipe(sock)
    if not certificates:
        return Reader(call), Reader(control)
    from wpc_magic.pool.wire.tls import context_of
    from wpc_magic.pool.wire.tls_channel import TlsReader, accept

    try:
        context = context_of(certificates[0])
        return TlsReader(accept(call, context)), TlsReader(accept(control, context))
    except (OSError, ValueError) as error:
        die(f"the pool cannot be reached over TLS: {type(error).__name__}: {error}")


class Descriptors(NamedTuple):
    """What the pool passes to a worker: the three channels, and the files that it reads."""

    call: int
    control: int
    blocks: int
    page: int
    lifeline: int
    dump: int


def main() -> None:
    """Serve one pool until it requests shutdown."""
    reset_signals()
    *fds, parent = map(int, sys.argv[1:])
    del sys.argv[1:]
    serve(Descriptors(*fds[:6]), parent, fds[6:])


def serve(fds: Descriptors, parent: int, certificates: Sequence[int] = ()) -> None:
    """Serve one pool until it requests shutdown.

    Parameters
    ----------
    fds : Descriptors
        What the pool has passed.
    parent : int
        The process id that our parent must have.
    certificates : sequence of int
        The file with the certificates, if the channels of messages are to be encrypted.
    """
    die_with_parent(parent, fds.lifeline)
    for fd in fds:
        os.set_inheritable(fd, False)
    # User pickles that refer to `__main__` must not find our names there.
    sys.modules["__main__"] = type(sys)("__main__")
    if "linecache" in sys.modules:  # since Python 3.13: with the text of `-c`, for whatever `exec` compiles
        sys.modules["linecache"].cache.pop("<string>", None)
    INTERPRETER_PATH[:] = sys.path

    page = StatusPage(fds.page)
    page.close_fd()
    page.words[PID] = os.getpid()
    _enable_fault_dump(fds.dump, page)
    sockets = _socket.socket(fileno=fds.call), _socket.socket(fileno=fds.control)
    call, control = _readers(*sockets, certificates)
    server = Server(call, page, SharedBuffers(_socket.socket(fileno=fds.blocks)))
    server.handle_message = Messages(server).handle
    os.register_at_fork(after_in_child=control.sock.close)
    stdout = TaggedStream(server.output, "stdout", sys.stdout)
    stderr = TaggedStream(server.output, "stderr", sys.stderr)
    server.use(ProcessState(server.interruption.on_signal, stdout, stderr))
    refuse_questions(server.name_of, lambda: f"{server.pool_name}.call")
    install_exception_hooks(server.outgoing.emit)
    install_rich_output(server.output)
    limit_threads()
    name_backend()
    sys.meta_path.append(CellFinder(server.find_cell))
    record_imports()
    Control(control, server).start()
    try:
        server.serve()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the pool has exited, or has closed the channel
    except BaseException as error:
        die(f"the call channel cannot be served any more: {type(error).__name__}: {error}")
    if not server.shutting_down and _is_soon_closed(fds.lifeline):
        kill_process_group()  # the pool has ended, and where the kernel does not do it, this does
    # Next, the interpreter finalizes: it joins threads and runs `atexit` callbacks.
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
