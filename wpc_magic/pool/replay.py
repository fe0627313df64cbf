"""Failed calls: what their errors say of them, and how they are run again in this process."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping
from types import GeneratorType
from typing import Any, NamedTuple

from .checks import shown
from .core.ended_calls import EndedCall
from .core.history import history_of
from .driver.failures import KEPT, ErrorObserver
from .errors import OptionError
from .functions import Functions
from .futures import CallFuture
from .options import check_count
from .outcomes import FailedCall
from .wire.seeded import Seeded

__all__ = ["Replay", "Replays"]


class Replay(NamedTuple):
    """A failed call, ready to be run here.

    Parameters
    ----------
    call : str
        The call as text, with its number.
    function : callable
        The function as it was.
    args, kwargs : tuple, mapping
        Copies of its arguments.
    ended : EndedCall or None
        What the history says of it; of an item of a map, of its chunk. None: it is not kept there any more.
    """

    call: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    ended: EndedCall | None = None

    def __call__(self) -> Any:
        """Run it; where it is an ``async def``, or yields, to its end."""
        __tracebackhide__ = True
        value = self.function(*self.args, **self.kwargs)
        if isinstance(value, GeneratorType):
            return list(value)
        if not inspect.iscoroutine(value):
            return value
        from .run_here import run_coroutine  # it loads asyncio

        return run_coroutine(value)


class Replays(Functions):
    """The methods of a pool for calls that have failed."""

    def failed_call(self, which: BaseException | CallFuture | int | None = None) -> Replay:
        """Return a call that has failed, to be run again in this process.

        Parameters
        ----------
        which : BaseException, CallFuture or int, optional
            The error that it has raised, its future, or its number. By default the latest that has failed.

        Raises
        ------
        OptionError
            If it is not kept, or its arguments are not.
        """
        number = which
        if isinstance(which, BaseException):
            number = getattr(which, "wpc_call_id", None)
            if number is None:
                raise OptionError(f"{shown(which)} is no error of a call")
        elif isinstance(which, CallFuture):
            number = which.call_id
        found = None if number is None else check_count("which", number)
        failed = self._driver.failures.find(found)
        if failed is None:
            raise OptionError("no call has failed" if found is None else self._why_not(found))
        arguments = failed.arguments()
        if arguments is None:
            limit = self._driver.core.state.options.keep_failed_arguments_mb
            raise OptionError(
                f"the arguments of {failed} are not kept: those of the last {KEPT} failed calls are, "
                f"up to {limit} MB each (keep_failed_arguments_mb)"
            )
        record = failed.record
        now = self._driver.core.state.registry.records.get(failed.name)
        try:
            if failed.is_anonymous:
                function = failed.anonymous_function()
            elif record is None or (now is not None and now.key == record.key):
                function = self.local_function(failed.name)
            else:
                function = self._local.revision(record.wire)
        except LookupError:
            raise OptionError(f"the function of {failed} is not kept any more") from None
        if isinstance(arguments, Seeded):
            function = self._local.seeded(function, arguments)
        return Replay(str(failed), function, *arguments, self._ended(failed.id))

    def _why_not(self, number: int) -> str:
        """Return why a call cannot be run again here, which is not among the last that failed."""
        ended = self._ended(number)
        if ended is None:
            return f"call #{number} is none of the last that failed"
        if ended.state == "done":
            return f"{ended.function} #{number} has not failed"
        if ended.state == "cancelled":
            return f"{ended.function} #{number} was cancelled: it has not failed"
        error = f" ({ended.error})" if ended.error else ""
        kept = f"none of the last {KEPT} that failed, whose arguments are kept"
        return f"{ended.function} #{number} is {kept}{error}"

    def _ended(self, number: int) -> EndedCall | None:
        """Return what the history says of a call."""
        with self._driver.reading() as core:
            history = core.state.history
            row, processes = history.find(number), history.processes()
        if row is None:
            return None
        return history_of([row], processes, history.sizes, time.time() - time.monotonic()).calls[0]

    def replay(self, which: BaseException | CallFuture | int | None = None) -> Any:
        """Run a call that has failed again, in this process, with its arguments and its version.

        Parameters
        ----------
        which : BaseException, CallFuture or int, optional
            The error that it has raised, its future, or its number. By default the latest that has failed.

        Returns
        -------
        object
            What the function returns here, if it does not fail.

        Raises
        ------
        OptionError
            If the call is none of the last that failed, or its arguments were larger than
            `keep_failed_arguments_mb`.
        BaseException
            What the function raises here.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     _ = pool.define_worker_function(name="inverse", worker_func="def inverse(x): return 1 / x")
        ...     _ = pool.start_workers(1)
        ...     error = pool.call.inverse(0).exception()
        >>> error.__notes__
        ['in inverse(0) #1 on worker 1']
        >>> pool.replay(error)
        Traceback (most recent call last):
        ...
        ZeroDivisionError: division by zero
        """
        __tracebackhide__ = True
        return self.failed_call(which)()

    @property
    def error_observer(self) -> ErrorObserver | None:
        """Is told of errors that nobody asks for; None: they are silent."""
        return self._driver.failures.observer

    @error_observer.setter
    def error_observer(self, observer: ErrorObserver | None) -> None:
        self._driver.failures.observer = observer

    def failed_item(self, chunk: CallFuture, item: int) -> FailedCall:
        """Return what is known of an item of a map that has failed, given its chunk and its place there."""
        return self._driver.failures.keep_item(chunk.call, chunk.chunk, item, chunk.chunk_is_whole)
