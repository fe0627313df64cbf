"""Installs the magics and the pool in a shell, and uninstalls them completely."""

from __future__ import annotations

import sys
from asyncio import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Any

from wpc_magic.notebook.cards import Cards
from wpc_magic.notebook.cell_cards import CellCards
from wpc_magic.notebook.future_text import FutureText
from wpc_magic.notebook.origins import Origins
from wpc_magic.notebook.output import NotebookOutput
from wpc_magic.notebook.progress import AUTO_S, Progress
from wpc_magic.notebook.published import PublishedPools
from wpc_magic.notebook.shutdown import ShutdownHook
from wpc_magic.notebook.status_line import StatusLine
from wpc_magic.notebook.tracebacks import TracebackFilter
from wpc_magic.notebook.unasked import UnaskedErrors
from wpc_magic.notebook.wakeup_fd import SignalWakeup
from wpc_magic.pool.errors import WpcError
from wpc_magic.pool.streams import ResultStream

from .autoreload import ChangedModules
from .background import BackgroundCell, BackgroundCells
from .cell_numbers import RunningCell
from .completion import Completer
from .debugging import DebugHint
from .displays import Displays
from .inspection import Inspection
from .interruption import Interruptions
from .joblib_backend import JoblibBackend
from .magics import WpcMagics
from .resources import ResourceCommands
from .session import Session
from .settings import drop_bad_settings
from .setup import SetupCommands
from .shared import SharedCommands
from .watching import watch

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from wpc_magic.pool import WorkerProcedureCall

    from .messages import PlainText

__all__ = ["Extension", "load", "unload"]

# Attributes of the shell, since they must survive a reload of these modules.
_LOADED = "_wpc_magic_extension"
_KEPT = "_wpc_magic_kept"

_PARTIAL = "_wpc_partial"  # the name of what was computed before a map has failed


def make_pool(**options: Any) -> WorkerProcedureCall:
    """Return a new pool."""
    from wpc_magic.pool import WorkerProcedureCall

    return WorkerProcedureCall(**options)


def load(shell: InteractiveShell) -> None:
    """Load the extension into a shell; a no-op if it is loaded already."""
    if getattr(shell, _LOADED, None) is None:
        kept = shell.__dict__.pop(_KEPT, None)
        pool, workers = kept or (None, 0)
        extension = Extension(shell, pool)
        setattr(shell, _LOADED, extension)
        if workers:
            extension.session.start(workers)
        elif extension.magics.start_on_load:
            extension.start_in_background()


def unload(shell: InteractiveShell) -> None:
    """Unload the extension from a shell.

    The stopped pool is kept until the cell ends, since ``%reload_ext`` unloads and loads in one cell.
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
    """Everything that the extension has installed in a shell.

    Parameters
    ----------
    shell : InteractiveShell
        The shell.
    pool : WorkerProcedureCall, optional
        The pool that a reload has kept.
    """

    def __init__(self, shell: InteractiveShell, pool: WorkerProcedureCall | None = None) -> None:
        self._shell: Any = shell  # IPython is mostly untyped
        self._in_kernel = getattr(shell, "kernel", None) is not None
        drop_bad_settings(WpcMagics, shell.config, _print)
        self.magics = WpcMagics(shell=shell)
        self.pool = pool or make_pool(name=self.magics.pool_name, **self.magics.pool_settings())
        pool = self.pool
        self._before = (
            pool.describe_fix,
            pool.output_sink,
            pool.find_origin,
            pool.when_not_running,
            pool.keep_partial,
            pool.wait_observer,
            pool.when_cell_added,
            pool.error_observer,
        )
        self.session = Session(
            self.pool,
            pool_name=self.magics.pool_name,
            workers=self.magics.workers,
            start_on_call=self.magics.start_on_call,
        )
        self._origins = Origins(shell)
        self.output = NotebookOutput(shell, origins=self._origins)
        self._unasked = UnaskedErrors(self.output)
        self._progress = Progress(shell, self._origins.current)
        self.output.before_write = self._progress.make_room
        self._traceback_filter = TracebackFilter(shell, lambda: self._stop_calls(self._origins.current()))
        self._wakeup = SignalWakeup()
        self._published = PublishedPools(shell, self.pool)
        self._shutdown_hook = ShutdownHook(self.pool, shell, self._in_kernel)
        self._interruptions = Interruptions(self.pool, partial(StatusLine, shell))
        self._displays = Displays(shell)
        self._joblib = JoblibBackend(pool)
        self._debug_hint = DebugHint(shell)
        self._inspection = Inspection(shell, self.pool)
        self._changed_modules = ChangedModules(shell, self.pool)
        self._running_cell = RunningCell(shell)
        self.magics.cell_number = lambda: self._running_cell.number
        number = self.magics.cell_number
        self._cards = Cards(shell, self._origins, number) if self._in_kernel else None
        self._futures = self._cards or FutureText(shell, number)
        self._streams = FutureText(shell, number, ResultStream)
        self._listener = 0
        self.magics.session, self.magics.flush_output = self.session, self.output.flush
        self.magics.setup = SetupCommands(self.pool)
        self.magics.resources = ResourceCommands(self.session)
        self.magics.shared = SharedCommands(self.session)
        self.magics.watch_status = self._watch_status
        self.magics.running_cell = lambda: self._running_cell.text
        self._cell_cards = CellCards(shell, self._origins, self._cards, self.output, self.magics.cell_number)
        self.background = self.magics.background = BackgroundCells(self.pool, self._cell_cards)
        self._matcher = Completer(self.magics).matcher
        self._name = ""
        self._install()

    def _install(self) -> None:
        shell = self._shell
        shell.register_magics(self.magics)
        shell.Completer.custom_matchers.append(self._matcher)
        shell.events.register("pre_run_cell", self._begin_cell)
        shell.events.register("post_run_cell", self._end_cell)
        self.magics.observe(self._rename, "pool_name")
        self.pool.output_sink, self.pool.find_origin = self.output, self._origins.current
        self.pool.keep_partial = self._keep_partial
        self._observe_waits()
        self.magics.observe(self._observe_waits, "progress")
        self.pool.when_cell_added = self._running_cell.take
        self.pool.error_observer = self._unasked
        self._origins.threads.install()
        self._listener = self.pool.on_worker_event(listener=self._interruptions.on_event)
        self._traceback_filter.install()
        self._displays.install()
        self._joblib.install()
        self._debug_hint.install()
        self._inspection.install()
        self._futures.install()
        self._streams.install()
        self._displays.show(BackgroundCell, self._cell_cards.show_again)
        self._shutdown_hook.install()
        self._published.install()
        self._begin_cell()  # the cell that loads the extension has begun already
        self._bind_name(self.magics.pool_name)

    def start_in_background(self) -> None:
        """Start the workers while the notebook goes on; a start that is refused is told in one line."""
        try:
            self.session.start(wait=False)
        except WpcError as error:
            _print(f"The workers are not started: {error}")

    def close(self) -> tuple[WorkerProcedureCall, int]:
        """Uninstall; return the stopped pool with its definitions, and the number of workers that ran."""
        workers = self.session.count()
        try:
            self.pool.stop_workers()
        finally:
            self._uninstall()
        return self.pool, workers

    def _uninstall(self) -> None:
        shell = self._shell
        self._unbind_name()
        pool = self.pool
        (
            pool.describe_fix,
            pool.output_sink,
            pool.find_origin,
            pool.when_not_running,
            pool.keep_partial,
            pool.wait_observer,
            pool.when_cell_added,
            pool.error_observer,
        ) = self._before
        self._unasked.close()
        self._joblib.uninstall()
        self._shell.user_ns.pop(_PARTIAL, None)
        self._origins.threads.uninstall()
        self.pool.off_worker_event(listener_id=self._listener)
        self.output.close()
        self._traceback_filter.uninstall()
        self.background.close()
        self._displays.uninstall()
        self._debug_hint.uninstall()
        self._inspection.uninstall()
        self._futures.uninstall()
        self._streams.uninstall()
        self._wakeup.uninstall()
        self._shutdown_hook.uninstall()
        self._published.uninstall()
        self.magics.unobserve(self._rename, "pool_name")
        self.magics.unobserve(self._observe_waits, "progress")
        shell.events.unregister("pre_run_cell", self._begin_cell)
        shell.events.unregister("post_run_cell", self._end_cell)
        shell.Completer.custom_matchers.remove(self._matcher)
        # IPython has no API to unregister magics.
        for table in shell.magics_manager.magics.values():
            ours = [name for name, run in table.items() if getattr(run, "__self__", None) is self.magics]
            for name in ours:
                del table[name]
        shell.magics_manager.registry.pop(type(self.magics).__name__, None)
        if self.magics in shell.configurables:
            shell.configurables.remove(self.magics)

    def _begin_cell(self, info: Any = None) -> None:
        self._running_cell.begin(info)
        self.output.begin_cell()
        self.background.begin_cell()
        if self._cards is not None:
            self._cards.repeat(self._origins.current())
        self._changed_modules.begin_cell()
        if self._in_kernel:
            self._wakeup.install()  # not earlier: a kernel that is starting has no loop yet

    def _end_cell(self, result: Any = None) -> None:
        if isinstance(getattr(result, "error_in_exec", None), KeyboardInterrupt | CancelledError):
            self._stop_calls(self._origins.cell())
        elif result is not None and result.info is not None:
            self.session.check_variables(result.info.raw_cell, self._shell.user_ns)
        self._changed_modules.end_cell()
        self._progress.end_cell()
        self.background.explain(getattr(result, "error_in_exec", None))
        self._unasked.end_cell(self._origins.cell())
        self.output.end_cell()
        self._running_cell.begin(None)

    def _watch_status(self) -> PlainText | None:
        pool, origin = self.pool, self._origins.current()
        return watch(self.session.status, lambda: pool.is_running, self._shell, self.output, origin)

    def _observe_waits(self, *_: object) -> None:
        setting = self.magics.progress
        self._progress.after_s = None if setting is False else AUTO_S if setting == "auto" else float(setting)
        self.pool.wait_observer = None if setting is False else self._progress

    def _keep_partial(self, partial: dict[int, Any]) -> str:
        self._shell.push({_PARTIAL: partial}, interactive=False)
        return f"error.partial, and in {_PARTIAL}"

    def _stop_calls(self, origin: Any) -> None:
        self.output.flush()  # before the status line: what functions have printed
        self._progress.make_room()
        self._interruptions.stop_calls(origin)

    # -- the pool's name in the notebook ----------------------------------------------------------------

    def _rename(self, change: Any) -> None:
        self._unbind_name()
        self._bind_name(change.new)
        self.pool.name = change.new

    def _bind_name(self, name: str) -> None:
        held = self._shell.user_ns.get(name)
        if held is not None and held is not self.pool:
            kind = type(held).__name__
            _print(
                f"The name {name!r} holds your {kind} already, so the pool is not put there. "
                f"Type: %config WpcMagics.pool_name = 'pool'"
            )
            return
        self._name = name
        # Not "interactive", so that `%who` and `%reset -s` ignore it.
        self._shell.push({name: self.pool}, interactive=False)

    def _unbind_name(self) -> None:
        if self._shell.user_ns.get(self._name) is self.pool:
            self._shell.drop_by_id({self._name: self.pool})
        self._name = ""


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
