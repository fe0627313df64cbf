"""The magics: each is given its parsed line, and asks the session."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, magics_class
from traitlets import All, Bool, Bunch, observe

from .boundary import magic
from .options import Option, Positional, pool_options
from .parsing import parse_call, parse_constant, parse_dependency, parse_names
from .settings import Name, PoolOption, Workers

if TYPE_CHECKING:
    from wpc_magic.dashboard.table import Table

    from .session import Said, Session, Shown

__all__ = ["WpcMagics"]

_TIMEOUT = Option("--timeout-ms", "End a call that runs for longer, in milliseconds.", "number")
_QUEUE_TIMEOUT = Option("--queue-timeout-ms", "Give up a call that waits longer, in milliseconds.", "number")
_RETRIES = Option("--retries", "Run a call again this often after its worker has died under it.", "number")
_WORKER = Option("--worker", "The worker, by its number.", "number", completes="worker")
_STORE = Option("-o --store", "Put the result into this variable instead of showing it.", "text")
_DRAIN = Option("--drain", "Let the calls that were made before end first.")
_DRAIN_TIMEOUT = Option("--timeout-ms", "With --drain: stop what has not ended by then.", "number")
_FORCE = Option("--force", "End the calls that run at once, instead of letting them end.")
_DELETE = Option("-d --delete", "Remove these names.")


@magics_class
class WpcMagics(Magics):
    """Settings and magics of the kernel's pool of workers."""

    pool_name = Name("wpc", help="The name of the pool in the notebook.").tag(config=True)
    workers = Workers(None, help="How many workers a start makes; None: one a core.").tag(config=True)
    start_on_call = Bool(True, help="Whether the first call starts the workers.").tag(config=True)
    quiet = Bool(False, help="Whether magics say nothing when all went well.").tag(config=True)
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
    block_memory_mb = PoolOption("block_memory_mb")

    shell: Any  # IPython tells few of its types
    session: Session
    settle: Callable[[], None]  # called when a magic has ended: brings the workers' text to the cell

    def of_pool(self) -> dict[str, Any]:
        """Return what the settings say of the pool."""
        return {name: getattr(self, name) for name in self.traits(pool_option=True)}

    @observe(All)
    def _changed(self, change: Bunch) -> None:
        if hasattr(self, "session"):  # else it is being configured, before there is a pool
            self.session.configure(change.name, change.new)

    def names(self, local_ns: dict[str, Any] | None) -> dict[str, Any]:
        """Return what code on a magic's line sees; `local_ns` is that of a function around the magic."""
        user_ns: dict[str, Any] = self.shell.user_ns
        return user_ns if local_ns is None or local_ns is user_ns else {**user_ns, **local_ns}

    def tell(self, text: str) -> None:
        """Show what a magic has to say."""
        if not self.quiet:
            sys.stdout.write(text + "\n")

    def store(self, name: str | None, value: Any) -> Any:
        """Return the value to show, or put it into a variable and show nothing."""
        if name is None:
            return value
        (name,) = parse_names(name, "%wpc_call -o result simulate(10)")
        self.shell.push({name: value})
        return None

    # -- the workers ------------------------------------------------------------------------------------

    @magic(Option("-n --count", "How many workers.", "number"), *pool_options())
    def wpc_start(self, line: Namespace) -> Said:
        """Start the workers.

        Where they run already, their number and the options are changed. Example::

            %wpc_start -n 4 --call-timeout-ms 5000
        """
        options = vars(line)
        return self.session.start(options.pop("count"), options)

    @magic(_DRAIN, _DRAIN_TIMEOUT)
    def wpc_stop(self, line: Namespace) -> Said:
        """Stop the workers; what is defined stays, and is there again after the next start.

        Examples::

            %wpc_stop
            %wpc_stop --drain --timeout-ms 5000
        """
        return self.session.stop(line.drain, line.timeout_ms)

    @magic(_FORCE, words=Positional("id", "The worker; without it, all.", number=True, completes="worker"))
    def wpc_restart(self, line: Namespace) -> Said:
        """Restart one worker, or all of them one after another; no call is lost.

        A restart brings the working folder, ``sys.path`` and ``os.environ`` as they are now. Each new process
        is ready before the old one goes, which first ends the calls that it has. Examples::

            %wpc_restart
            %wpc_restart 2 --force
        """
        return self.session.restart(line.id, not line.force)

    @magic(words=Positional("n", "How many workers there shall be.", "one", number=True))
    def wpc_scale(self, line: Namespace) -> Said:
        """Change the number of workers while they run."""
        return self.session.scale(line.n)

    # -- definitions ------------------------------------------------------------------------------------

    @magic(
        _TIMEOUT,
        _QUEUE_TIMEOUT,
        _RETRIES,
        Option("--here", "Define what the cell defines in the notebook too."),
        words=Positional("name", "The functions to register; without it, every public one of the cell.", "*"),
        cell=True,
    )
    def wpc_function(self, line: Namespace, cell: str) -> Said:
        """Register the functions of this cell in all workers; the cell does not run in the notebook.

        Imports, helpers, classes and constants of the cell come along. Example::

            %%wpc_function simulate --timeout-ms 5000
            def simulate(n):
                return np.random.default_rng(SEED).random(n).mean()
        """
        options = vars(line)
        names, here = options.pop("name"), options.pop("here")
        defined = self.session.define_functions(cell, names, here, self.shell.user_ns, **options)
        self.shell.push(dict(defined.names))
        return defined

    @magic(
        _DELETE,
        Option("--reload", "Import the module afresh, after its file has changed."),
        words=Positional("what", "What to import, as Python has it.", "code", completes="dependency"),
    )
    def wpc_dep(self, line: Namespace) -> Said | Table:
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
        words=Positional("what", "The name; its value, if it is no variable.", "code", completes="constant"),
        scope=True,
    )
    def wpc_const(self, line: Namespace, local_ns: dict[str, Any] | None = None) -> Said | Table:
        """Register constants for the workers' functions; without a word, list them.

        Examples::

            %wpc_const SEED 42
            %wpc_const SEED = 40 + 2
            %wpc_const df
            %wpc_const -d SEED
        """
        return self.session.constants(parse_constant(line.what, delete=line.delete), self.names(local_ns))

    @magic(words=Positional("name", "The functions to remove.", "+", completes="function"))
    def wpc_undef(self, line: Namespace) -> Said:
        """Remove functions from all workers."""
        return self.session.undefine(parse_names(" ".join(line.name), "%wpc_undef simulate"))

    # -- calls ------------------------------------------------------------------------------------------

    @magic(
        _TIMEOUT,
        _QUEUE_TIMEOUT,
        _WORKER,
        _STORE,
        words=Positional("call", "The call; its arguments are evaluated here.", "code", completes="function"),
        scope=True,
    )
    def wpc_call(self, line: Namespace, local_ns: dict[str, Any] | None = None) -> Any:
        """Call a registered function in a worker, wait, and return its value.

        The arguments are evaluated in the notebook; the workers are started if need be. Examples::

            %wpc_call simulate(10)
            x = %wpc_call simulate(n * 2, scale=3)
            %wpc_call --timeout-ms 500 --worker 2 -o result simulate(10)
        """
        node = parse_call(line.call, "wpc_call")
        options = {"timeout_ms": line.timeout_ms, "queue_timeout_ms": line.queue_timeout_ms}
        value = self.session.call(node, self.names(local_ns), worker_id=line.worker, **options)
        return self.store(line.store, value)

    @magic(
        Option("--chunk-size", "How many items travel together.", "number"),
        _TIMEOUT,
        _QUEUE_TIMEOUT,
        _STORE,
        words=Positional("call", "The function with what to go over.", "code", completes="function"),
        scope=True,
    )
    def wpc_map(self, line: Namespace, local_ns: dict[str, Any] | None = None) -> Any:
        """Call a registered function for each item, in all workers at once, and return the list of values.

        Examples::

            %wpc_map simulate(range(10))
            %wpc_map --chunk-size 100 -o totals add(xs, ys)
        """
        node = parse_call(line.call, "wpc_map")
        options = {"timeout_ms": line.timeout_ms, "queue_timeout_ms": line.queue_timeout_ms}
        values = self.session.map(node, self.names(local_ns), chunk_size=line.chunk_size, **options)
        return self.store(line.store, values)

    # -- what there is ----------------------------------------------------------------------------------

    @magic(words=Positional("name", "Show the source of this function.", completes="function"))
    def wpc_functions(self, line: Namespace) -> Said | Table:
        """List the registered functions, or show the source of one."""
        return self.session.functions(line.name)

    @magic()
    def wpc_status(self, line: Namespace) -> Table:
        """Show what each worker does now."""
        return self.session.status()

    @magic(words=Positional("id", "The worker; without it, all.", number=True, completes="worker"))
    def wpc_stack(self, line: Namespace) -> Shown:
        """Show where each worker is in the functions that it runs, also while it is busy."""
        return self.session.stack(line.id)

    @magic(
        Option("-n --count", "How many, the latest; 20 without it.", "number"),
        Option("--severity", "At least this.", "text", ("info", "warn", "error"), "severity"),
        _WORKER,
    )
    def wpc_events(self, line: Namespace) -> Table:
        """Show what happened to the workers, the latest last."""
        return self.session.events(line.count or 20, line.severity, line.worker)

    @magic()
    def wpc_dashboard(self, line: Namespace) -> Any:
        """Show the live dashboard: workers, events, and buttons to restart, scale and stop."""
        return self.session.dashboard()
