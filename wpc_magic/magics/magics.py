"""The magics: each receives its parsed line, and delegates to the session."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.magic import magics_class
from traitlets import All, Bool, Bunch, observe

from wpc_magic.notebook.cell_places import with_cell_numbers
from wpc_magic.pool.checks import shown

from .base import with_those_of_its_bases
from .boundary import magic
from .call_magics import CallMagics
from .cell_numbers import as_in_editor
from .debugging import how_it_ended, lines_for_debugger, post_mortem
from .event_log import event_log_command
from .messages import PlainText
from .options import (
    ENGINE_OPTIONS,
    QUEUE_TIMEOUT,
    TIMEOUT,
    WORKER,
    Option,
    Positional,
    pool_options,
    without_missing,
)
from .parsing import UsageMistake, parse_constant, parse_dependency, parse_names
from .results import cache_command
from .seed import seed_command
from .settings import Name, PoolOption, ProgressAfter, Workers
from .shared_magic import SharedMagics
from .upload_magic import UploadMagics

if TYPE_CHECKING:
    from wpc_magic.dashboard.table import Table
    from wpc_magic.pool.core.insights import Insights

    from .messages import Message
    from .resources import ResourceCommands
    from .setup import SetupCommands

__all__ = ["WpcMagics"]

_RETRIES = Option("--retries", "Run a call again this often after its worker has died under it.", "number")
_RETRY_ON = Option(
    "--retry-on", "With --retries: also after this error, a class by its name; may be repeated.", "names"
)
_AT_MOST = Option("--at-most", "Have at most this many of its calls at workers at once.", "number")
_NEEDS = Option("--resources", "What each call needs of its machine: GPU=1; may be repeated.", "names")
_CACHE = Option("--cache", "Store values on disk: the same call has its value from there next time.")
_DRAIN = Option("--drain", "Let the calls that were made before end first.")
_DRAIN_TIMEOUT = Option("--timeout-ms", "With --drain: stop what has not ended by then.", "number")
_FORCE = Option("--force", "End the calls that run at once, instead of letting them end.")
_DELETE = Option("-d --delete", "Remove these names.")
_DELETE_RESULTS = Option("-d --delete", "Remove what is stored, of these functions or of all.")
_DELETE_SEED = Option("-d --delete", "Remove the seed.")
_RESOURCE_TIMEOUT = Option(
    "--timeout-ms", "How long to make, check or close it may take; by default, any time.", "number"
)
_DELETE_SETUP = Option("-d --delete", "Remove it.")


@with_those_of_its_bases
@magics_class
class WpcMagics(CallMagics, SharedMagics, UploadMagics):
    """Settings and magics of the kernel's pool of workers."""

    pool_name = Name("wpc", help="The name of the pool in the notebook.").tag(config=True)
    workers = Workers(None, help="How many workers a start makes; None: one a core.").tag(config=True)
    start_on_load = Bool(
        False, help="Whether the workers start when the extension is loaded, while the notebook goes on."
    ).tag(config=True)
    start_on_call = Bool(True, help="Whether the first call starts the workers.").tag(config=True)
    quiet = Bool(False, help="Whether magics say nothing when all went well.").tag(config=True)
    progress = ProgressAfter(
        "auto", help="Whether long waits are shown: 'auto' (after 2 s), False, or after how many seconds."
    ).tag(config=True)
    call_timeout_ms = PoolOption("call_timeout_ms")
    queue_timeout_ms = PoolOption("queue_timeout_ms")
    start_timeout_ms = PoolOption("start_timeout_ms")
    stop_timeout_ms = PoolOption("stop_timeout_ms")
    interrupt_grace_ms = PoolOption("interrupt_grace_ms")
    restart_on_failure = PoolOption("restart_on_failure")
    max_restarts_per_worker = PoolOption("max_restarts_per_worker")
    max_pending_calls_per_worker = PoolOption("max_pending_calls_per_worker")
    saturation = PoolOption("saturation")
    threads_per_worker = PoolOption("threads_per_worker")
    spin_us = PoolOption("spin_us")
    start_method = PoolOption("start_method")
    spare_workers = PoolOption("spare_workers")
    block_memory_mb = PoolOption("block_memory_mb")
    cache_folder = PoolOption("cache_folder")
    cache_limit_mb = PoolOption("cache_limit_mb")

    setup: SetupCommands
    resources: ResourceCommands
    watch_status: Callable[[], PlainText | None]

    def pool_settings(self) -> dict[str, Any]:
        """Return the settings that are options of the pool."""
        return {name: getattr(self, name) for name in self.traits(pool_option=True)}

    @observe(All)
    def _changed(self, change: Bunch) -> None:
        if hasattr(self, "session"):  # otherwise it is being configured, before the pool exists
            self.session.configure(change.name, change.new)

    # -- the workers ------------------------------------------------------------------------------------

    @magic(
        Option("-n --count", "How many workers.", "number"),
        Option("--no-wait", "Do not wait until they are ready; calls do."),
        *ENGINE_OPTIONS,
        *pool_options(),
        words=Positional("n", "How many workers, without -n.", number=True),
    )
    def wpc_start(self, line: Namespace) -> Message:
        """Start the workers.

        Where they run already, their number and the options are changed. Examples::

            %wpc_start 4
            %wpc_start -n 4 --call-timeout-ms 5000
            %wpc_start --no-wait
            %wpc_start --engine dask --address tcp://10.0.0.1:8786
        """
        options = without_missing(vars(line), ENGINE_OPTIONS)
        wait = not options.pop("no_wait")
        count, word = options.pop("count"), options.pop("n")
        if None not in (count, word):
            raise UsageMistake(f"how many workers: {word} or -n {count}?")
        return self.session.start(count if word is None else word, options, wait)

    @magic(_DRAIN, _DRAIN_TIMEOUT)
    def wpc_stop(self, line: Namespace) -> Message:
        """Stop the workers; what is defined stays, and is there again after the next start.

        Examples::

            %wpc_stop
            %wpc_stop --drain --timeout-ms 5000
        """
        return self.session.stop(line.drain, line.timeout_ms)

    @magic(_FORCE, words=Positional("id", "The worker; without it, all.", number=True, completes="worker"))
    def wpc_restart(self, line: Namespace) -> Message:
        """Restart one worker, or all of them one after another; no call is lost.

        A restart brings the working folder, ``sys.path`` and ``os.environ`` as they are now. Each new process
        is ready before the old one goes, which first ends the calls that it has. Examples::

            %wpc_restart
            %wpc_restart 2 --force
        """
        return self.session.restart(line.id, not line.force)

    @magic(words=Positional("n", "How many workers there shall be.", "one", number=True))
    def wpc_scale(self, line: Namespace) -> Message:
        """Change the number of workers while they run."""
        return self.session.scale(line.n)

    # -- definitions ------------------------------------------------------------------------------------

    @magic(
        TIMEOUT,
        QUEUE_TIMEOUT,
        _RETRIES,
        _RETRY_ON,
        _AT_MOST,
        _NEEDS,
        _CACHE,
        Option("--here", "Define what the cell defines in the notebook too."),
        Option("--capture", "Take the modules and small values along that the notebook has and they need."),
        Option("--test", "Run the doctests of the cell in a worker first; if one fails, nothing is defined."),
        words=Positional("name", "The functions to register; without it, every public one of the cell.", "*"),
        cell=True,
    )
    def wpc_function(self, line: Namespace, cell: str) -> Message:
        """Register the functions of this cell in all workers; the cell does not run in the notebook.

        Imports, helpers, classes and constants of the cell come along. Example::

            %%wpc_function simulate --timeout-ms 5000
            def simulate(n):
                return np.random.default_rng(SEED).random(n).mean()
        """
        options = vars(line)
        names, here = options.pop("name"), options.pop("here")
        options["resources"] = " ".join(options["resources"] or ()) or None
        source = as_in_editor(cell, self.running_cell())
        label = f"Cell In[{self.cell_number()}]"
        defined = self.session.define_functions(
            source, names, here, self.shell.user_ns, label=label, **options
        )
        self.shell.push(dict(defined.names))
        return defined

    @magic(_DELETE_SETUP, cell=True, line=True)
    def wpc_setup(self, line: Namespace, cell: str | None = None) -> Message:
        """Have each worker run this cell before anything else, also each that replaces another one.

        It is for seeds, limits of threads, logging, options of libraries. Its names are visible in all cells.
        Workers that have done something already are replaced, one after another. Without a cell it is shown,
        or with -d removed. Example::

            %%wpc_setup
            import pandas as pd
            pd.options.mode.copy_on_write = True
            LIMIT = 3
        """
        if cell is None:
            return self.setup.remove() if line.delete else self.setup.show()
        if line.delete:
            raise UsageMistake("-d takes no cell. Type: %wpc_setup -d")
        return self.setup.define(as_in_editor(cell, self.running_cell()), self.shell.user_ns)

    @magic(
        _DELETE,
        Option("--eager", "Make it when a worker starts, and now, and not for the first call that needs it."),
        _RESOURCE_TIMEOUT,
        words=Positional("name", "The name in functions; without it, the list.", "*", completes="resource"),
        cell=True,
        line=True,
    )
    def wpc_resource(self, line: Namespace, cell: str | None = None) -> Message | Table:
        """Give each worker an object of its own, such as a model or a connection, under a name.

        The cell defines ``make()``, which returns it, and maybe ``close(x)``, and ``check(x)``, which returns
        False if it does not work any more; each may be an ``async def``. Without a cell they are listed, or
        with -d closed and removed. Example::

            %%wpc_resource db
            import sqlite3
            def make():
                return sqlite3.connect("data.db")
            def close(db):
                db.close()
        """
        if cell is None:
            return self.resources.remove(line.name) if line.delete else self.resources.show(line.name)
        if line.delete:
            raise UsageMistake("-d takes no cell. Type: %wpc_resource -d NAME")
        source = as_in_editor(cell, self.running_cell())
        return self.resources.define(source, line.name, line.eager, line.timeout_ms, self.shell.user_ns)

    @magic(
        _DELETE,
        Option("--reload", "Import the module afresh, after its file has changed."),
        words=Positional("what", "What to import, as Python has it.", "code", completes="dependency"),
    )
    def wpc_dep(self, line: Namespace) -> Message | Table:
        """Register modules for the workers' functions; without a word, list them.

        Examples::

            %wpc_dep numpy as np
            %wpc_dep np numpy
            %wpc_dep from math import sqrt as root
            %wpc_dep helpers --reload
            %wpc_dep -d np
        """
        return self.session.dependencies(parse_dependency(line.what, delete=line.delete, reload=line.reload))

    @magic(
        _DELETE,
        words=Positional(
            "what", "The name; its value, if it is no variable.", "code", completes="constant", python=True
        ),
        scope=True,
    )
    def wpc_const(self, line: Namespace, local_ns: dict[str, Any] | None = None) -> Message | Table:
        """Register constants for the workers' functions; without a word, list them.

        Examples::

            %wpc_const SEED 42
            %wpc_const SEED = 40 + 2
            %wpc_const df
            %wpc_const -d SEED
        """
        return self.session.constants(parse_constant(line.what, delete=line.delete), self.names(local_ns))

    @magic(_DELETE_SEED, words=Positional("seed", "A whole number; without it, the seed is shown."))
    def wpc_seed(self, line: Namespace) -> Message:
        """Have calls draw the same random numbers each time, however many workers there are.

        ``context.rng`` in a function is a NumPy generator of its own for each call, and each item of a map.
        The calls are counted from here on. Example::

            %wpc_seed 42
        """
        return seed_command(self.session.pool, line.seed, line.delete)

    @magic(words=Positional("name", "The functions to remove.", "+", completes="function"))
    def wpc_undef(self, line: Namespace) -> Message:
        """Remove functions from all workers."""
        return self.session.undefine(parse_names(" ".join(line.name), "%wpc_undef simulate"))

    @magic(
        Option("--force", "Overwrite a file that is something else."),
        Option("--large", "Also write down constants and shared arrays of more than 1 MB."),
        Option(
            "--stubs", "Also write pipeline.pyi: the types of the functions, for type checkers and editors."
        ),
        words=Positional("file", "The file to write.", "one"),
    )
    def wpc_export(self, line: Namespace) -> Message:
        """Write all definitions as a Python module, whose ``build_pool()`` returns the same pool.

        It needs no notebook; ``%wpc_load`` reads it back. Example::

            %wpc_export pipeline.py --stubs

        A file whose name ends in .pyi gets the types only, and that of a notebook's own ``wpc``.
        """
        return self.session.export(line.file, line.force, line.stubs, line.large)

    @magic(words=Positional("file", "A file that %wpc_export has written.", "one"))
    def wpc_load(self, line: Namespace) -> Message:
        """Define what a file has that ``%wpc_export`` has written."""
        return self.session.load(line.file)

    # -- state of the pool ------------------------------------------------------------------------------

    @magic(words=Positional("name", "Show the source of this function.", completes="function"))
    def wpc_functions(self, line: Namespace) -> Message | Table:
        """List the registered functions, or show the source of one."""
        return self.session.functions(line.name)

    @magic(_DELETE_RESULTS, words=Positional("name", "The functions to remove.", "*", completes="function"))
    def wpc_cache(self, line: Namespace) -> Message | Table:
        """List the values that are stored on disk, by function; with -d, remove them.

        ``%%wpc_function --cache`` stores values. Hits are those of this kernel. Examples::

            %wpc_cache
            %wpc_cache -d simulate
        """
        return cache_command(self.session.pool, line.name, line.delete)

    @magic(Option("--watch", "Show it again and again in its place, until Ctrl-C or the stop button."))
    def wpc_status(self, line: Namespace) -> Table | PlainText | None:
        """Show what each worker does now.

        With --watch the table is live, also in a terminal; Ctrl-C ends that, and no call. It ends by itself
        when the workers are stopped.
        """
        return self.watch_status() if line.watch else self.session.status()

    @magic()
    def wpc_insights(self, line: Namespace) -> Insights:
        """Show what stands out in how functions and maps have run: who works and waits, and what is slow."""
        return self.session.pool.insights()

    @magic(words=Positional("id", "The worker; without it, all.", number=True, completes="worker"))
    def wpc_stack(self, line: Namespace) -> PlainText:
        """Show where each worker is in the functions that it runs, also while it is busy."""
        return PlainText(with_cell_numbers(self.session.stack(line.id), self.shell))

    @magic(
        Option("-n --count", "How many, the latest; 20 without it.", "number"),
        Option("--severity", "At least this.", "text", ("info", "warn", "error"), "severity"),
        WORKER,
        Option("--log", "Write all events from now on to this file, as JSON lines.", "text"),
        Option("--no-log", "Write them to no file any more."),
    )
    def wpc_events(self, line: Namespace) -> Message | Table:
        """Show what happened to the workers, the latest last; or log it to a file.

        Examples::

            %wpc_events -n 50 --severity warn
            %wpc_events --log events.jsonl
        """
        if line.log is not None or line.no_log:
            return event_log_command(self.session.pool, line.log)
        return self.session.events(line.count or 20, line.severity, line.worker)

    @magic(
        words=Positional("call", "The failed call, by its number: #11; without it, the latest.", hashes=True)
    )
    def wpc_debug(self, line: Namespace) -> Message | None:
        """Run a call that has failed again here, and open the debugger where it fails, with real variables.

        It runs with its arguments and in its version. Examples::

            %wpc_debug
            %wpc_debug #11
        """
        replay = self.session.failed_call(line.call)
        sys.stdout.write(f"{how_it_ended(replay.ended)}{replay.call}, run again here:\n")
        with lines_for_debugger():
            try:
                value = replay()
            except BaseException as error:
                post_mortem(self.shell, error)
                return None
        return Message(f"it does not fail here: it returned {shown(value)}")

    @magic()
    def wpc_dashboard(self, line: Namespace) -> Any:
        """Show the live dashboard: workers, events, and buttons to restart, scale and stop."""
        return self.session.dashboard()
