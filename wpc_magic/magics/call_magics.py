"""The magics that make calls, run cells in workers, and wait for these."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING, Any

from IPython.core.magic import magics_class

from .base import PoolMagics
from .boundary import magic
from .cell_loop import parse_loop, run_for_each
from .cell_numbers import as_in_editor
from .options import QUEUE_TIMEOUT, TIMEOUT, WORKER, Option, Positional
from .parsing import parse_call, parse_names

if TYPE_CHECKING:
    from wpc_magic.dashboard.table import Table

    from .background import BackgroundCell, BackgroundCells

__all__ = ["CallMagics"]

_STORE = Option("-o --store", "Put the result into this variable instead of showing it.", "text")


@magics_class
class CallMagics(PoolMagics):
    """The magics for calls."""

    background: BackgroundCells

    @magic(
        TIMEOUT,
        QUEUE_TIMEOUT,
        WORKER,
        _STORE,
        words=Positional(
            "call", "The call; its arguments are evaluated here.", "code", completes="function", python=True
        ),
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
        Option("-n --count", "How often to call it; without it, for 0.3 s, at most 100 times.", "number"),
        WORKER,
        words=Positional(
            "call", "The call; its arguments are evaluated here.", "code", completes="function", python=True
        ),
        scope=True,
    )
    def wpc_time(self, line: Namespace, local_ns: dict[str, Any] | None = None) -> Table:
        """Compare a call with running it here, and show where its time goes.

        ``queue`` is the wait for a worker, and the way there; ``return`` the way back. Example::

            %wpc_time simulate(10)
            %wpc_time -n 1 simulate(10)
        """
        node = parse_call(line.call, "wpc_time")
        return self.session.time(node, self.names(local_ns), line.count, line.worker)

    @magic(
        Option("--chunk-size --chunksize", "How many items travel together.", "number"),
        Option("--keep-going", "Go on when an item fails: its exception stands in its place."),
        Option("--starmap", "Each item has all arguments of one call, as a tuple."),
        TIMEOUT,
        QUEUE_TIMEOUT,
        _STORE,
        words=Positional(
            "call", "The function with what to go over.", "code", completes="function", python=True
        ),
        scope=True,
    )
    def wpc_map(self, line: Namespace, local_ns: dict[str, Any] | None = None) -> Any:
        """Call a registered function for each item, in all workers at once, and return the list of values.

        Keywords are the same for every item. Examples::

            %wpc_map simulate(range(10))
            %wpc_map --chunk-size 100 -o totals add(xs, ys)
            %wpc_map score(grid, cv=3) --keep-going
            %wpc_map --starmap add([(1, 2), (3, 4)])
        """
        node = parse_call(line.call, "wpc_map")
        options = {"timeout_ms": line.timeout_ms, "queue_timeout_ms": line.queue_timeout_ms}
        options["chunk_size"] = line.chunk_size
        values = self.session.map(node, self.names(local_ns), line.keep_going, line.starmap, **options)
        return self.store(line.store, values)

    @magic(
        Option(
            "-o --store",
            "Bind this variable of the cell when it is done; may be repeated.",
            "names",
        ),
        WORKER,
        TIMEOUT,
        cell=True,
    )
    def wpc_cell(self, line: Namespace, cell: str) -> BackgroundCell:
        """Run this cell in a worker while the notebook goes on.

        The variables, functions and modules that it reads are taken along as they are now. What it shows
        appears under it; its last expression is its value. Example::

            %%wpc_cell -o model
            model = fit(df)
            model.score
        """
        names = parse_names(" ".join(line.store), "%%wpc_cell -o model") if line.store else []
        return self.background.run(
            as_in_editor(cell, self.running_cell()),
            self.shell.user_ns,
            names,
            self.print_message,
            worker_id=line.worker,
            timeout_ms=line.timeout_ms,
        )

    @magic(
        _STORE,
        Option("--keep-going", "Go on when an item fails: its exception stands in its place."),
        Option("--chunk-size --chunksize", "How many items travel together.", "number"),
        TIMEOUT,
        words=Positional("loop", "What to go over, as behind Python's for.", "code", python=True),
        cell=True,
        scope=True,
    )
    def wpc_for(self, line: Namespace, cell: str, local_ns: dict[str, Any] | None = None) -> Any:
        """Run this cell once for each item, in all workers at once, and wait.

        Its last expression is the value of an item; the values are a list, in the order of the items. What
        it reads is taken along, as with ``%%wpc_cell``. Examples::

            %%wpc_for path in paths -o tables --keep-going
            pd.read_csv(path).groupby("day").sum()
        """
        loop, store, keep_going = parse_loop(line.loop)
        values, is_worth_showing = run_for_each(
            self.session,
            as_in_editor(cell, self.running_cell()),
            loop,
            self.names(local_ns),
            self.cell_number(),
            self.print_message,
            keep_going=keep_going or line.keep_going,
            chunk_size=line.chunk_size,
            timeout_ms=line.timeout_ms,
        )
        name = store or line.store
        return self.store(name, values) if name or is_worth_showing else None

    @magic(words=Positional("name", "Variables of cells with -o; without them, all that run.", "*"))
    def wpc_wait(self, line: Namespace) -> None:
        """Wait for cells in the background; the error of one that has failed is raised.

        Examples::

            %wpc_wait
            %wpc_wait model
        """
        self.background.wait(parse_names(" ".join(line.name), "%wpc_wait model") if line.name else [])
