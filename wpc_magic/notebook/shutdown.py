"""Stops the pool before its kernel exits, however that exit is requested."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from _thread import start_new_thread
from types import FrameType
from typing import Any

__all__ = ["ShutdownHook"]

# A kernel that takes more than 2.5 s to exit is killed; then the processes that functions started survive it.
_STOP_TIMEOUT_MS = 500


class ShutdownHook:
    """Stops a pool when its process is about to exit, in each of the ways of which a process is notified.

    These are the exit of the interpreter; a notebook's request to shut the kernel down, which a running cell
    may delay; and SIGTERM, whose default action kills the kernel without any cleanup.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    shell : InteractiveShell
        The shell.
    in_kernel : bool
        Whether the shell belongs to a kernel.
    """

    def __init__(self, pool: Any, shell: Any, in_kernel: bool) -> None:
        self._pool = pool
        self._shell = shell
        self._in_kernel = in_kernel

    def install(self) -> None:
        """Register the hooks; in the main thread."""
        atexit.register(self._stop)
        if self._in_kernel:
            self._shell.observe(self._on_exit_now, "exit_now")
            # An existing handler has precedence; and only the main thread may install one.
            is_default = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            if is_default and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, self._on_term)

    def uninstall(self) -> None:
        """Remove the hooks."""
        atexit.unregister(self._stop)
        if self._in_kernel:
            self._shell.unobserve(self._on_exit_now, "exit_now")
            if signal.getsignal(signal.SIGTERM) == self._on_term:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _on_exit_now(self, change: Any) -> None:
        # Called in another thread: the main thread, busy with a cell, would handle the request later.
        if change.new:
            threading.Thread(target=self._stop, name="wpc-exit", daemon=True).start()

    def _on_term(self, signum: int, frame: FrameType | None) -> None:
        # The main thread may hold any lock: so another thread stops the pool, and it is started without the
        # locks of `threading`. A second signal has the default action again, and kills us at once.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        start_new_thread(self._stop_and_exit, ())

    def _stop_and_exit(self) -> None:
        try:
            self._stop()
        except Exception:  # in a fork of the kernel, which does not own the pool
            pass
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def _stop(self) -> None:
        """Stop the pool quickly: no caller is waiting for its calls any more."""
        self._pool.configure(stop_timeout_ms=min(_STOP_TIMEOUT_MS, self._pool.options.stop_timeout_ms))
        self._pool.stop_workers()
