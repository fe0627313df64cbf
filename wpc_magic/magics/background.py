"""Cells that run in a worker while the notebook goes on."""

from __future__ import annotations

import linecache
import queue
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Protocol

from wpc_magic.pool.core.call_place import shown_s
from wpc_magic.pool.driver.unasked import one_line
from wpc_magic.pool.errors import UnknownNameError, WpcError
from wpc_magic.pool.options import PRIVATE, CallOptions
from wpc_magic.pool.source.cell_call import CellBody, read_cell
from wpc_magic.pool.source.draft import look_in

from .parsing import UsageMistake
from .taken import take

if TYPE_CHECKING:
    from wpc_magic.pool import CallFuture, WorkerProcedureCall

__all__ = ["BackgroundCell", "BackgroundCells", "Front", "define_body", "free_name", "read_body"]


class BackgroundCell:
    """A cell that runs in a worker.

    Attributes
    ----------
    label : str
        What it is called: ``Cell In[3]``.
    number : int
        The number of the cell.
    names : tuple of str
        The variables that it binds when it is done.
    origin : object
        Where it was started.
    future : CallFuture
        The call.
    finished : threading.Event
        Set when its variables are bound, and its value is shown.
    """

    def __init__(self, number: int, names: Sequence[str], origin: Any, future: CallFuture) -> None:
        self.label = f"Cell In[{number}]"
        self.number = number
        self.names = tuple(names)
        self.origin = origin
        self.future = future
        self.finished = threading.Event()
        self.has_ended = False  # whether its variables are bound; its value may not be shown yet
        self.is_told = False  # whether the user knows of its error
        self.is_settled = False  # whether it has ended, and left nothing to tell
        self._outcome: tuple[Any, BaseException | None] = None, None

    def __repr__(self) -> str:
        return f"<{self.label}: {self.state}>"

    @property
    def state(self) -> str:
        """How it stands, in words."""
        if not self.has_ended:
            place = self.future.place
            if place is not None and place.running_s is not None and place.running_s < 1:
                return f"running on worker {place.worker_id}"
            return str(place or "ending")
        error = self._outcome[1]
        took = f" in {shown_s(self.future.ran_s)}" if self.future.ran_s >= 0.001 else ""
        if isinstance(error, CancelledError):
            return "cancelled"
        if error is not None:
            told = one_line(type(error).__name__, str(error).partition("\n")[0])
            return f"failed{took}: {told}"
        return f"finished{took}{' → ' * bool(self.names)}{', '.join(self.names)}"

    def finish(self) -> tuple[Any, Mapping[str, Any], BaseException | None]:
        """Return the value, the variables and the error of the call, which has ended."""
        found: Mapping[str, Any] = {}
        try:
            value = self.future.result()
            if self.names:
                value, found = value
            self._outcome = value, None
        except BaseException as error:  # of the function, which may raise anything
            self._outcome = None, error
        return self._outcome[0], found, self._outcome[1]

    def done(self) -> bool:
        """Return whether it has ended, and its variables are bound."""
        return self.finished.is_set()

    def cancel(self) -> bool:
        """Stop it; return whether it is stopped."""
        return self.future.cancel()

    def wait(self) -> None:
        """Wait until it is done; nothing is raised but an interrupt."""
        __tracebackhide__ = True
        try:
            self.future.result()
        except KeyboardInterrupt:
            if not self.future.ended:
                raise
        except BaseException:  # of the function; it is told otherwise
            pass
        self.finished.wait()

    def result(self) -> Any:
        """Return the value of its last line; wait for it if necessary."""
        __tracebackhide__ = True
        self.wait()
        value, error = self._outcome
        self.is_told = True
        try:
            if error is not None:
                raise error
            return value
        finally:
            del error


class Front(Protocol):
    """What shows background cells."""

    def number(self) -> int:
        """Return the number of the running cell."""

    def origin(self) -> Any:
        """Return the origin of the running cell."""

    def show(self, cell: Any) -> None:
        """Show how a cell stands under the running cell, until it is done."""

    def bind(self, names: Mapping[str, Any]) -> None:
        """Bind variables of the notebook; in any thread."""

    def ended(self, cell: BackgroundCell, value: Any, error: BaseException | None) -> None:
        """Show the value or the error under its cell; in any thread."""

    def repeat(self) -> None:
        """Show again what there is of cells that are done, as of the running cell."""

    def tell(self, text: str) -> None:
        """Print a line under the running cell, on stderr."""


class BackgroundCells:
    """The background cells of a notebook.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    front : Front
        Shows them.
    """

    def __init__(self, pool: WorkerProcedureCall, front: Front) -> None:
        self._pool = pool
        self._front = front
        self._cells: list[BackgroundCell] = []  # that run, or have failed and were not waited for
        self._bound: set[str] = set()  # the variables that cells have bound
        self._ended: queue.SimpleQueue[tuple[BackgroundCell, str] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(
        self,
        source: str,
        namespace: Mapping[str, Any],
        store: Sequence[str],
        say: Callable[[str], object],
        **options: Any,
    ) -> BackgroundCell:
        """Start a cell, and return it at once.

        Parameters
        ----------
        source : str
            Its text, with as many lines above it as in the editor.
        namespace : mapping
            The notebook's variables.
        store : sequence of str
            The variables to bind when it is done.
        say : callable
            Prints a line.
        **options
            Fields of `CallOptions`.
        """
        number = self._front.number()
        body = read_body(source, store)
        taken = take(body, namespace, self._pool.defined_names())
        name = free_name(self._pool, number)
        define_body(self._pool, name, body.as_function(name, list(taken.values), store), body, namespace)
        try:
            if line := str(taken):
                say(line)
            future = self._pool.submit(name, (), dict(taken.values), CallOptions(**options))
        except BaseException:
            self._pool.undefine_worker_function(name=name)
            raise
        cell = BackgroundCell(number, store, self._front.origin(), future)
        # One that has failed, and binds the same, is done again.
        again = [each for each in self._cells if each.done() and {*each.names} & {*store}]
        self._drop_settled(again)
        self._cells.append(cell)
        if self._thread is None:
            self._thread = threading.Thread(target=self._finish_cells, name="wpc-cells", daemon=True)
            self._thread.start()
        self._front.show(cell)  # before it can end: what it shows then has its place
        future.add_done_callback(lambda _: self._ended.put((cell, name)))
        return cell

    def wait(self, names: Sequence[str]) -> None:
        """Wait for the cells that bind these names, or for all; raise the error of one that has failed.

        Raises
        ------
        UsageMistake
            If no cell binds such a name.
        """
        __tracebackhide__ = True
        self._drop_settled()
        chosen = [cell for cell in self._cells if not names or set(names) & {*cell.names}]
        missing = set(names) - {name for cell in chosen for name in cell.names} - self._bound
        if missing:
            said = ", ".join(sorted(missing))
            raise UsageMistake(f"no background cell has -o {said} (%%wpc_for has ended when its cell has)")
        try:
            for cell in chosen:
                cell.wait()
        except KeyboardInterrupt:
            for cell in chosen:
                if not cell.done():
                    self._front.tell(f"{cell.label} goes on; Out[{cell.number}].cancel() stops it")
            raise
        finally:
            self._front.repeat()
        if not names:
            self._drop_settled(chosen)
        for cell in chosen:
            if names or not cell.future.cancelled():
                cell.result()

    def begin_cell(self) -> None:
        """Tell the cell that begins of the errors of background cells, each once."""
        self._front.repeat()
        self._drop_settled()
        for cell in self._cells:
            if cell.done() and not cell.is_told:
                cell.is_told = True
                self._front.tell(f"{cell.label} has {cell.state}")

    def explain(self, error: BaseException | None) -> None:
        """Tell a cell that has used a variable too early which background cell binds it."""
        name = getattr(error, "name", None)
        for cell in self._cells:
            if isinstance(error, NameError) and name in cell.names and not cell.done():
                self._front.tell(
                    f"{name} is there when {cell.label} has ended; %wpc_wait {name} waits for it"
                )

    def _drop_settled(self, others: Sequence[BackgroundCell] = ()) -> None:
        """Drop cells that are settled, and others. Only the notebook's own thread changes the list."""
        self._cells = [each for each in self._cells if not (each.is_settled or each in others)]

    def close(self) -> None:
        """Stop the thread."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._ended.put(None)
            thread.join()

    def _finish_cells(self) -> None:
        while (ended := self._ended.get()) is not None:
            self._finish(*ended)
            del ended  # it holds the value

    def _finish(self, cell: BackgroundCell, name: str) -> None:
        value, found, error = cell.finish()
        if found:
            self._front.bind(found)
            self._bound |= {*found}
        cell.has_ended = True
        cell.is_told = error is None or isinstance(error, CancelledError)
        cell.is_settled = cell.is_told
        try:
            self._front.ended(cell, value, error)
        finally:
            cell.finished.set()
        try:
            self._pool.undefine_worker_function(name=name)
        except WpcError:  # the pool is gone
            pass


_LACKS = ", which the workers don't have. Define it in the same cell, or pass it as an argument."


def read_body(source: str, store: Sequence[str] = ()) -> CellBody:
    """Return a cell that is to run in workers, and that binds these names."""
    body = read_cell(source)
    if not body.tree.body:
        raise UsageMistake("the cell is empty")
    for name in store:
        if name not in body.bound and name not in body.reads:
            raise UsageMistake(f"-o {name}: the cell has no {name}")
    return body


def free_name(pool: WorkerProcedureCall, number: int) -> str:
    """Return the private name for the function of a cell of this number."""
    known = pool.defined_names()
    name = f"{PRIVATE}cell_{number}"
    again = 1
    while name in known:
        again += 1
        name = f"{PRIVATE}cell_{number}_{again}"
    return name


def define_body(
    pool: WorkerProcedureCall, name: str, source: str, body: CellBody, namespace: Mapping[str, Any]
) -> None:
    """Define a cell as a private function, given its source as one."""
    try:
        pool.define_worker_functions(source, names=[name], look=look_in(namespace))
    except UnknownNameError as error:
        text = re.sub(rf"\b{name}\b", "the cell", str(error))
        raise UsageMistake(text.replace(_LACKS, ", which is not defined here, either.")) from None
    _show_as_written(name, body.source)


def _show_as_written(name: str, text: str) -> None:
    """Have tracebacks show the lines of a cell, and not those of the function that was made of it."""
    for filename in [each for each in linecache.cache if f" {name}-" in each]:
        linecache.cache[filename] = len(text), None, [line + "\n" for line in text.split("\n")], filename
