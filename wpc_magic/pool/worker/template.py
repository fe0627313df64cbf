"""The template: a process that has imported the modules that workers need, and forks workers.

It does nothing else: it loads no definition, calls no function, and has one thread, since a fork has only the
thread that forks, and whatever the others held stays held for ever. A module that starts threads which do not
end before a fork, or that is known to fail in a fork, is therefore left to the workers. No module can be
unloaded, so the pool then goes on with another template that does not import it.

The messages are those of `wire.template`.
"""

from __future__ import annotations

import _socket
import gc
import os
import sys
import time
import warnings
from importlib import import_module

from wpc_magic.pool.wire.lazy_import import INTERPRETER_PATH, interpreter_path_first
from wpc_magic.pool.wire.template import (
    Begin,
    Fork,
    Forked,
    Import,
    Imported,
    Outdated,
    Refused,
    receive,
    send,
)
from wpc_magic.pool.worker.__main__ import Descriptors, die_with_parent, reset_signals, serve
from wpc_magic.pool.worker.module_files import edited_file, record_imports
from wpc_magic.pool.worker.rich_output import prepare_libraries
from wpc_magic.pool.worker.sibling import CannotForkError, fork_sibling

__all__ = ["main"]

_NOT_SAFE = ("polars", "grpc")
"""Modules whose authors say that they fail in a fork, also where they have no threads yet."""

_NO_THREAD = "JE_ARROW_MALLOC_CONF", "background_thread:false"
"""Keeps the allocator of Arrow, which pandas imports where it is installed, from starting a thread."""

_LOOKS = 50  # a millisecond each
_MAX_TEXT = 1 << 15  # bytes; what a pipe takes without a reader

_OURS = ("figures", "log_records", "warnings_shown")
"""Modules of ours that a worker loads where the libraries are loaded that they are for."""


class _Template:
    """The template of one pool.

    Parameters
    ----------
    sock : socket
        The channel to the pool.
    parent : int
        The process id of the pool.
    lifeline : int
        As in `worker.__main__`.
    """

    def __init__(self, sock: _socket.socket, parent: int, lifeline: int) -> None:
        self._sock = sock
        self._parent = parent
        self._lifeline = lifeline
        self._has_settled = False  # since the last import
        self._shown = [0, 0]  # how much of what imports have written to stdout and stderr

    def run(self) -> None:
        """Do what the pool asks for until it has no more use for this process; return in a worker, too."""
        while True:
            try:
                message, fds = receive(self._sock)
            except (EOFError, OSError):
                os._exit(0)  # no finalizers: what was imported has done nothing
            if isinstance(message, Begin):
                sys.path[:] = message.path
            elif isinstance(message, Import):
                send(self._sock, self._import(message.module))
            elif isinstance(message, Fork):
                worker = self._fork(fds)
                if worker is not None:
                    serve(worker, self._parent)
                    return

    def _import(self, name: str) -> Imported:
        """Import a module, unless that has to be left to the workers."""
        if name.partition(".")[0] in _NOT_SAFE:
            return Imported(f"{name} is not safe in a fork", False)
        self._has_settled = False
        before = _connections()
        try:
            import_module(name)
        except BaseException as error:
            return Imported(f"it cannot be imported here: {type(error).__name__}: {error}", True)
        why = next((f"{each} is not safe in a fork" for each in _NOT_SAFE if each in sys.modules), "")
        if not why and _thread_count() > 1:
            _end_threads()
            count = _thread_count() - 1
            why = f"it has started {count} thread{'s' * (count > 1)}" if count else ""
        if not why and (opened := _connections() - before):
            why = f"it has opened {min(opened)}"
        return Imported(why, bool(why))

    def _settle(self) -> None:
        """Let what is here be shared: a collector that marks objects would have each worker copy them."""
        with interpreter_path_first:
            for name in _OURS:
                import_module(f"wpc_magic.pool.worker.{name}")
        _end_threads()
        gc.collect()
        gc.freeze()
        self._has_settled = True

    def _fork(self, fds: list[int]) -> Descriptors | None:
        """Fork a worker, and tell the pool; return what it serves, in the worker."""
        pid = -1
        try:
            pid = self._forked(len(fds) == len(Descriptors._fields) + 2)
            if pid == 0:
                os.close(self._lifeline)
                return self._become_worker(fds)
        finally:
            if pid:
                for fd in fds:
                    os.close(fd)
        return None

    def _forked(self, is_whole: bool) -> int:
        """Fork if that can be done, and tell the pool; return 0 in the worker."""
        answer: Forked | Outdated | Refused
        path = edited_file()
        pid = -1
        if path:
            answer = Outdated(path)
        elif not is_whole:
            answer = Refused("it has no descriptor left")
        elif os.getppid() != self._parent:
            answer = Refused("the interpreter is started by a script, whose children its workers would be")
        else:
            if not self._has_settled:
                self._settle()
            sys.stdout.flush()
            sys.stderr.flush()
            try:
                pid = fork_sibling()
                answer = Forked(pid)
            except CannotForkError as error:
                answer = Refused(str(error))
        if pid:
            send(self._sock, answer)
        if pid > 0:
            self._shown = [os.fstat(standard).st_size for standard in (1, 2)]
        return pid

    def _become_worker(self, fds: list[int]) -> Descriptors:
        """Leave behind what is the template's."""
        self._sock.close()
        os.setsid()
        *worker, stdout, stderr = fds
        for fd, standard, shown in zip((stdout, stderr), (1, 2), self._shown, strict=True):
            text = os.pread(standard, _MAX_TEXT, shown)
            os.dup2(fd, standard)
            os.close(fd)
            os.write(standard, text)  # the first worker shows it
        sys.path[:] = INTERPRETER_PATH
        gc.enable()
        _draw_own_numbers()
        return Descriptors(*worker)


def _thread_count() -> int:
    return len(os.listdir("/proc/self/task"))


def _connections() -> set[str]:
    """Return what is open that two processes cannot use at once: sockets, pipes, selectors."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:  # the folder itself
            continue
        if target.startswith(("socket:", "pipe:", "anon_inode:")):
            found.add(target)
    return found


def _end_threads() -> None:
    """Let libraries end their threads, as those do that expect forks: by a fork, of which nothing comes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python's own, of threads in a process that forks
        pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    for _ in range(_LOOKS):  # the system lists one that has ended a moment longer
        if _thread_count() == 1:
            return
        time.sleep(0.001)


def _draw_own_numbers() -> None:
    """Seed NumPy's common generator anew, or all workers would draw the same. `random` does that itself."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def main() -> None:
    """Serve one pool until it has no more use for this process."""
    reset_signals()
    sock_fd, lifeline, parent = map(int, sys.argv[1:4])
    die_with_parent(parent, lifeline)
    os.set_inheritable(sock_fd, False)
    os.set_inheritable(lifeline, False)
    del sys.argv[1:]
    sys.modules["__main__"] = type(sys)("__main__")
    INTERPRETER_PATH[:] = sys.path
    record_imports()
    prepare_libraries()
    os.environ.setdefault(*_NO_THREAD)
    gc.disable()
    _Template(_socket.socket(fileno=sock_fd), parent, lifeline).run()
