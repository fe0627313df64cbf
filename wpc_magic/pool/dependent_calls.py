"""Calls that have the futures of other calls among their arguments."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .core.calls import Call, WholeChunk
from .core.dependent_calls import DependentCall, DependentWholeChunk
from .core.dependent_streams import DependentStream
from .driver.value_passing import Links
from .errors import NotRunningError
from .future_arguments import collected_futures
from .futures import CallFuture
from .interrupts.hold import HeldInterrupts
from .interrupts.stack import ensure_step_room
from .kept_futures import KeptFuture
from .stream_futures import StreamFuture
from .streams import ResultStream
from .wire.codec import encode

if TYPE_CHECKING:
    from .driver.driver import Driver
    from .options import CallOptions

__all__ = ["DependentCalls"]


class DependentCalls:
    """The part of a pool that makes such calls."""

    # Of the pool.
    _driver: Driver
    _ids: Iterator[int]
    _streaming: set[str]
    _start_for_call: Callable[[NotRunningError], None]
    _submit: Callable[..., CallFuture]
    _submit_stream: Callable[..., ResultStream]

    @abstractmethod
    def encoding_error(self, name: str, error: Exception, what: str) -> Exception:
        """Return the error for what cannot be pickled."""

    def _submit_dependent(
        self,
        name: str,
        arguments: Any,
        find_unsendable: Callable[[], str],
        options: CallOptions,
        origin: Any,
        items: int = 0,
        keep_going: bool = False,
        attempts: int = 0,
        make_future: Callable[[Call, Driver], CallFuture] | None = None,
        is_stream: bool = False,
    ) -> Any:
        """Submit a call, or a chunk of a map, that waits for the values of the futures in its arguments.

        Wherever these are: as arguments, in containers, in objects. Each is replaced by its value.

        Parameters
        ----------
        name : str
            The function.
        arguments : object
            What is pickled for the call.
        find_unsendable : callable
            Returns what in it cannot be pickled.
        options : CallOptions
            The options of the call.
        origin : object
            Where it was made.
        items : int
            Not 0: it is a chunk of so many items. All of them wait for all of the values.
        keep_going : bool
            Whether its map goes on after an item that has failed.
        attempts : int
            How often that item has run before.
        make_future : callable, optional
            Makes the future; by default, that of any call.
        is_stream : bool
            Whether the function yields.

        Returns
        -------
        CallFuture or ResultStream
            The second if it is a stream.
        """
        with collected_futures() as numbers:
            try:
                body, buffers = encode(arguments, name in self._streaming)
            except Exception as error:
                raise self.encoding_error(name, error, find_unsendable()) from error
        futures = list(numbers)
        if not futures:  # their values have been unpickled here, and are sent as others
            if is_stream:
                return self._submit_stream(name, body, buffers, options)
            kind = WholeChunk if keep_going else Call
            return self._submit(name, body, buffers, items, options, origin, kind, attempts, make_future)
        for future in futures:
            if not future.ended:
                future._driver.check()
        make = DependentStream if is_stream else DependentWholeChunk if keep_going else DependentCall
        if make_future is None:
            make_future = StreamFuture if is_stream else KeptFuture if options.keep else CallFuture
        awaited = {number: str(future.call) for number, future in enumerate(futures)}
        call = make(next(self._ids), name, body, awaited, options, items=items, origin=origin)
        call.links, call.attempts = Links(body, futures), attempts
        driver = self._driver
        made: Any = make_future(call, driver)
        call.future = made
        del futures, numbers
        ensure_step_room()
        with HeldInterrupts():  # a call that is made, and waits for what does not come, would never end
            if buffers:
                # Copied: the caller may change an array meanwhile.
                store = driver.memory.store
                call.block = store.place(buffers) if store.keeps_contents else store.put(buffers)
                if call.block is None:
                    call.buffers = [memoryview(bytes(buffer)) for buffer in buffers]
            try:
                try:
                    driver.submit(call)
                except NotRunningError as error:
                    self._start_for_call(error)
                    driver.submit(call)
            except BaseException:
                if call.block is not None:
                    call.block.release()
                raise
            driver.attach(call)
            return ResultStream(made, driver) if is_stream else made
