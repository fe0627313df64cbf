"""Calls that have the futures of other calls among their arguments."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .core.calls import Call, WholeChunk
from .core.dependent_calls import DependentCall, DependentWholeChunk
from .driver.value_passing import Links
from .errors import NotRunningError
from .future_arguments import collected_futures
from .futures import CallFuture
from .interrupts.hold import HeldInterrupts
from .interrupts.stack import ensure_step_room
from .kept_futures import KeptFuture
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
    ) -> CallFuture:
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
            1: it is a chunk of one item.
        keep_going : bool
            Whether its map goes on after an item that has failed.
        attempts : int
            How often that item has run before.
        """
        with collected_futures() as numbers:
            try:
                body, buffers = encode(arguments, name in self._streaming)
            except Exception as error:
                raise self.encoding_error(name, error, find_unsendable()) from error
        futures = list(numbers)
        if not futures:  # their values have been unpickled here, and are sent as others
            kind = WholeChunk if keep_going else Call
            return self._submit(name, body, buffers, items, options, origin, kind, attempts)
        for future in futures:
            if not future.ended:
                future._driver.check()
        make = DependentWholeChunk if keep_going else DependentCall
        awaited = {number: str(future.call) for number, future in enumerate(futures)}
        call = make(next(self._ids), name, body, awaited, options, items=items, origin=origin)
        call.links, call.attempts = Links(body, futures), attempts
        driver = self._driver
        future = call.future = KeptFuture(call, driver) if options.keep else CallFuture(call, driver)
        del futures, numbers
        ensure_step_room()
        with HeldInterrupts():  # a call that is made, and waits for what does not come, would never end
            if buffers:
                # Copied: the caller may change an array meanwhile.
                call.block = driver.memory.store.put(buffers)
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
        return future
