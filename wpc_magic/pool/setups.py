"""The part of the public interface that defines the setup of workers."""

from __future__ import annotations

from collections.abc import Callable

from .checks import check_callable
from .core.registry import Kind, Record
from .core.snapshot import SetupInfo
from .definitions import Definitions
from .errors import InstallError, RequirementMissingError, StartError
from .options import SETUP
from .source.draft import sha1_of
from .source.missing import Fix
from .source.setup import draft_setup
from .wire import protocol

__all__ = ["Setups"]


class Setups(Definitions):
    """The methods of a pool that manage the setup of its workers."""

    def define_worker_setup(
        self, source: str, *, look: Callable[[str], Fix | None] | None = None
    ) -> SetupInfo:
        r"""Define code that each worker runs before anything else, also each new process that replaces one.

        It is for seeds, limits of threads, logging, options of libraries. The names that it binds are visible
        in all cells, unless a definition has the name. If workers have done something already, they are
        replaced one after another, and no call is lost, so that it does come before anything else.

        Parameters
        ----------
        source : str
            Plain Python. ``context.worker_id`` is the number of the worker.
        look : callable, optional
            As for `define_worker_functions`.

        Raises
        ------
        DefinitionError
            If it does not parse, reads what it does not define, or fails in a worker. Then the setup that was
            there before stays in force.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     info = pool.define_worker_setup("import decimal\ndecimal.getcontext().prec = 5")
        ...     _ = pool.define_worker_function(worker_func="def third(): return str(decimal.Decimal(1) / 3)")
        ...     _ = pool.start_workers(1)
        ...     info.names, pool.call.third().result()
        (('decimal',), '0.33333')
        """
        if look is not None:
            check_callable("look", look)
        draft = draft_setup(source, look, self.name)
        cell = self._driver.parts.cell_loads.next_load(draft.cell)
        wire = protocol.SetupCell(SETUP, cell.wire, draft.provides)
        about = SetupInfo(draft.provides, draft.cell.source, sha1_of(draft.cell.source), 0)
        with self._driver.reading() as core:
            is_first = core.state.registry.epoch == 1
            before = core.state.registry.records.get(SETUP)
        self._local.add_cell(cell.wire)
        self.when_cell_added(cell.wire.filename)
        record = Record(SETUP, Kind.SETUP, wire, about, cell=cell, provides=draft.provides)
        try:
            self._change([record])
        except InstallError:
            if not is_first:
                self._replace_workers()  # in some, a part of it has run
            raise
        if not is_first:
            self._run_anew(before)
        found: SetupInfo = self._info_of(SETUP)
        return found

    def _run_anew(self, before: Record | None) -> None:
        """Replace the workers, so that they run the setup first; if one cannot, restore the last setup."""
        try:
            self._replace_workers()
            why = self._info_of(SETUP).broken
        except StartError as error:
            why = self._last_refusal() or str(error)
        if why:
            self._change([before] if before is not None else [], [] if before is not None else [SETUP])
            raise InstallError(f"no worker could install the setup: {why}")

    def _last_refusal(self) -> str:
        """Return why a worker could not run the setup; empty: none has said so."""
        with self._driver.reading() as core:
            for event in reversed(core.state.events.latest()):
                if event.details.get("definition") == SETUP and event.error is not None:
                    return f"{event.error.name}: {event.error.message}"
        return ""

    def undefine_worker_setup(self) -> None:
        """Remove the setup, and replace the workers; functions that need its names are refused from now on.

        Raises
        ------
        RequirementMissingError
            If there is none.
        """
        if self.get_worker_setup() is None:
            raise RequirementMissingError("no setup is defined")
        self._change([], [SETUP])
        self._replace_workers()

    def get_worker_setup(self) -> SetupInfo | None:
        """Return the description of the setup; None: there is none."""
        found: list[SetupInfo] = self._infos(Kind.SETUP)
        return found[0] if found else None
