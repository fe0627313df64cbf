"""Puts the magics and the pool into a shell, and takes all of it out again."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any

from wpc_magic.notebook.farewell import Farewell
from wpc_magic.notebook.line import Line
from wpc_magic.notebook.output import NotebookOutput
from wpc_magic.notebook.tracebacks import PlainErrors
from wpc_magic.notebook.wakeup import WakeOnSignal

from .completion import Completer
from .interruption import Interruptions
from .magics import WpcMagics
from .session import Session
from .settings import drop_bad_settings

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from wpc_magic.pool import WorkerProcedureCall

__all__ = ["Extension", "load", "unload"]

# Attributes of the shell; they outlive a reload of these modules.
_LOADED = "_wpc_magic_extension"
_KEPT = "_wpc_magic_kept"


def make_pool(**options: Any) -> WorkerProcedureCall:
    """Return a new pool."""
    from wpc_magic.pool import WorkerProcedureCall

    return WorkerProcedureCall(**options)


def load(shell: InteractiveShell) -> None:
    """Load the extension into a shell; where it is loaded already, nothing happens."""
    if getattr(shell, _LOADED, None) is None:
        kept = shell.__dict__.pop(_KEPT, None)
        pool, workers = kept or (None, 0)
        extension = Extension(shell, pool)
        setattr(shell, _LOADED, extension)
        if workers:
            extension.session.start(workers)


def unload(shell: InteractiveShell) -> None:
    """Unload the extension from a shell.

    The stopped pool is kept until the cell ends: ``%reload_ext`` unloads and loads in one cell, and finds it.
    """
    extension: Extension | None = shell.__dict__.pop(_LOADED, None)
    if extension is None:
        return
    setattr(shell, _KEPT, extension.close())

    def forget(*_: object) -> None:
        shell.events.unregister("post_run_cell", forget)
        shell.__dict__.pop(_KEPT, None)

    shell.events.register("post_run_cell", forget)


class Extension:
    """Everything that a loaded extension has put into its shell.

    Parameters
    ----------
    shell : InteractiveShell
        The shell.
    pool : WorkerProcedureCall, optional
        The pool that a reload brings along.
    """

    def __init__(self, shell: InteractiveShell, pool: WorkerProcedureCall | None = None) -> None:
        self._shell: Any = shell  # IPython tells few of its types
        self._in_kernel = getattr(shell, "kernel", None) is not None
        drop_bad_settings(WpcMagics, shell.config, _say)
        self.magics = WpcMagics(shell=shell)
        self.pool = pool or make_pool(name=self.magics.pool_name, **self.magics.of_pool())
        self._before = (self.pool.describe_fix, self.pool.output_sink)
        self.session = Session(
            self.pool,
            pool_name=self.magics.pool_name,
            workers=self.magics.workers,
            start_on_call=self.magics.start_on_call,
        )
        self.output = NotebookOutput(shell)
        self._errors = PlainErrors(shell, self._stop_calls)
        self._wakeup = WakeOnSignal()
        self._farewell = Farewell(self.pool, shell, self._in_kernel)
        self._interruptions = Interruptions(self.pool, partial(Line, shell))
        self._listener = 0
        self.magics.session, self.magics.settle = self.session, self.output.flush
        self._matcher = Completer(self.magics).matcher
        self._name = ""
        self._put_in()

    def _put_in(self) -> None:
        shell = self._shell
        shell.register_magics(self.magics)
        shell.Completer.custom_matchers.append(self._matcher)
        shell.events.register("pre_run_cell", self._begin_cell)
        shell.events.register("post_run_cell", self._end_cell)
        self.magics.observe(self._rename, "pool_name")
        self.pool.output_sink = self.output
        self._listener = self.pool.on_worker_event(listener=self._interruptions.on_event)
        self._errors.put_in()
        self._farewell.put_in()
        self._begin_cell()  # the cell that loads us has begun already
        self._take_name(self.magics.pool_name)

    def close(self) -> tuple[WorkerProcedureCall, int]:
        """Take everything out; return the stopped pool with its definitions, and how many workers ran."""
        workers = self.session.count()
        try:
            self.pool.stop_workers()
        finally:
            self._take_out()
        return self.pool, workers

    def _take_out(self) -> None:
        shell = self._shell
        self._drop_name()
        self.pool.describe_fix, self.pool.output_sink = self._before
        self.pool.origin = None
        self.pool.off_worker_event(listener_id=self._listener)
        self.output.close()
        self._errors.take_out()
        self._wakeup.take_out()
        self._farewell.take_out()
        self.magics.unobserve(self._rename, "pool_name")
        shell.events.unregister("pre_run_cell", self._begin_cell)
        shell.events.unregister("post_run_cell", self._end_cell)
        shell.Completer.custom_matchers.remove(self._matcher)
        # There is no way to unregister magics but by hand.
        for table in shell.magics_manager.magics.values():
            ours = [name for name, run in table.items() if getattr(run, "__self__", None) is self.magics]
            for name in ours:
                del table[name]
        shell.magics_manager.registry.pop(type(self.magics).__name__, None)
        if self.magics in shell.configurables:
            shell.configurables.remove(self.magics)

    def _begin_cell(self, *_: object) -> None:
        self.pool.origin = self.output.begin_cell()
        self._interruptions.begin_cell()
        if self._in_kernel:
            self._wakeup.put_in()  # here, since a kernel that loads us as it starts has no loop yet

    def _end_cell(self, result: Any = None) -> None:
        if isinstance(getattr(result, "error_in_exec", None), KeyboardInterrupt | CancelledError):
            self._stop_calls()
        self.output.end_cell()

    def _stop_calls(self) -> None:
        self.output.flush()  # what functions have printed comes before
        self._interruptions.stop_calls()

    # -- the pool's name in the notebook ----------------------------------------------------------------

    def _rename(self, change: Any) -> None:
        self._drop_name()
        self._take_name(change.new)
        self.pool.name = change.new

    def _take_name(self, name: str) -> None:
        held = self._shell.user_ns.get(name)
        if held is not None and held is not self.pool:
            kind = type(held).__name__
            _say(
                f"The name {name!r} holds your {kind} already, so the pool is not put there. "
                f"Type: %config WpcMagics.pool_name = 'pool'"
            )
            return
        self._name = name
        # Not "interactive": so that `%who` and `%reset -s` leave it alone.
        self._shell.push({name: self.pool}, interactive=False)

    def _drop_name(self) -> None:
        if self._shell.user_ns.get(self._name) is self.pool:
            self._shell.drop_by_id({self._name: self.pool})
        self._name = ""


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
