"""Whatever ends the kernel ends its pool first."""

from __future__ import annotations

import atexit
import os
import signal
import threading
from _thread import start_new_thread
from types import FrameType
from typing import Any

__all__ = ["Farewell"]

# A kernel that takes more than 2.5 s to end is ended by force, and cannot end what functions have started.
_MOST_MS = 500


class Farewell:
    """Stops a pool when its process is about to end, in each of the ways that a process hears of.

    These are the end of the interpreter; the wish of a notebook to shut the kernel down, which a cell may
    keep it from noticing; and SIGTERM, which by itself would end the kernel without a word to anybody.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    shell : InteractiveShell
        The shell.
    in_kernel : bool
        Whether it belongs to a kernel.
    """

    def __init__(self, pool: Any, shell: Any, in_kernel: bool) -> None:
        self._pool = pool
        self._shell = shell
        self._in_kernel = in_kernel

    def put_in(self) -> None:
        """Watch for the end from now on; in the main thread."""
        atexit.register(self._stop)
        if self._in_kernel:
            self._shell.observe(self._exits, "exit_now")
            # Where somebody has put a handler, that one knows better; and only the main thread may put one.
            alone = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            if alone and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, self._on_term)

    def take_out(self) -> None:
        """Watch no more."""
        atexit.unregister(self._stop)
        if self._in_kernel:
            self._shell.unobserve(self._exits, "exit_now")
            if signal.getsignal(signal.SIGTERM) == self._on_term:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _exits(self, change: Any) -> None:
        # A kernel hears of its end in another thread; the main one, busy with a cell, comes to it later.
        if change.new:
            threading.Thread(target=self._stop, name="wpc-exit", daemon=True).start()

    def _on_term(self, signum: int, frame: FrameType | None) -> None:
        # The main thread may be anywhere, with any lock: so the pool is stopped in another one, which is
        # started without those of `threading`. A second signal finds the default again, and ends us at once.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        start_new_thread(self._stop_and_end, ())

    def _stop_and_end(self) -> None:
        try:
            self._stop()
        except Exception:  # in a fork of the kernel: the pool is not its own
            pass
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    def _stop(self) -> None:
        """Stop the pool, and be quick: nobody waits for its calls any more."""
        self._pool.configure(stop_timeout_ms=min(_MOST_MS, self._pool.options.stop_timeout_ms))
        self._pool.stop_workers()
