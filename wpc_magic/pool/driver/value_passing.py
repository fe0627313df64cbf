"""Values on their way from the calls that have them to the calls that wait for them.

::

    a future ends, in a step of its pool       a step of the pool of the call that waits
    CallFuture.settle ── pass_on ── receive ──> ValuePassing._received ──> Dependents.arrived
                                                  │ the last one
                                                  v
                                                _complete: arguments and values in one pickle, blocks as
                                                they lie ──> Dependents.release: it is queued

The two pools may be one, or not. A step never waits for another pool: what is received is a request
(`StateLock.do_after`), which is done as soon as that pool's own step has ended.
"""

from __future__ import annotations

import sys
import time
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core.core import Core
from ..core.dependent_calls import DependentCall
from ..errors import ArgumentsNotSerializableError, StartError, WorkerLostError
from ..futures import CallFuture
from ..passed_answers import Inherited, PassedFailure, pass_on
from ..wire.blocks import Placed
from ..wire.codec import encode
from ..wire.held_value import HeldValue
from ..wire.limits import MAX_BUFFERS
from ..wire.passed_values import with_values
from .state_lock import StateLock

if TYPE_CHECKING:
    from .memory import Memory

__all__ = ["Links", "ValuePassing"]


class Links:
    """What a call is made of that waits for the values of others.

    Attributes
    ----------
    body : bytes
        Its arguments, with marks in the places of the values.
    futures : list of CallFuture
        The calls that it waits for. Nobody else may refer to some of them.
    values : dict of HeldValue
        The values that are there, by number.
    names : list of str
        The calls as text.
    """

    __slots__ = ("body", "futures", "names", "values")

    def __init__(self, body: bytes, futures: Sequence[CallFuture]) -> None:
        self.body = body
        self.futures = list(futures)
        self.names = [str(future.call) for future in futures]
        self.values: dict[int, HeldValue] = {}


class ValuePassing:
    """Passes values to the calls of one pool that wait for them.

    Parameters
    ----------
    lock : StateLock
        The driver's lock.
    core : Core
        The decisions.
    memory : Memory
        Shared memory, for arguments that are in no block.
    unsettled : set of CallFuture
        The futures of calls that have not ended.
    apply : callable
        Performs the effects of the core.
    call_soon : callable
        Calls a function in a thread that runs other people's code.
    """

    def __init__(
        self,
        lock: StateLock,
        core: Core,
        memory: Memory,
        unsettled: set[CallFuture],
        apply: Callable[[], object],
        call_soon: Callable[..., object],
    ) -> None:
        self._lock = lock
        self._core = core
        self._memory = memory
        self._unsettled = unsettled
        self._apply = apply
        self._call_soon = call_soon

    # -- a call is made ---------------------------------------------------------------------------------

    def attach(self, call: DependentCall) -> None:
        """Have the values passed to a call that has been made, as soon as they are there."""
        for number, future in enumerate(call.links.futures):
            later = partial(self._encode_soon, call, number, future)
            receive = partial(self._receive, call, number)
            if future._driver is not call.future._driver:
                # The future has this, and a reference to itself would count as somebody who wants it.
                receive = partial(self._receive_from_afar, call, number, weakref.ref(future))
            future._driver.pass_on(future, receive, later)

    def pass_on(
        self, future: CallFuture, receive: Callable[..., object], receive_unpickled: Callable[[], object]
    ) -> None:
        """Pass on what a call of this pool ends with; see `passed_answers.pass_on`."""
        self._lock.do_after(partial(pass_on, future, receive, receive_unpickled))

    def _encode_soon(self, call: DependentCall, number: int, future: CallFuture) -> None:
        """Pickle a value that has been unpickled here: in another thread, since its own code runs."""
        if not self._call_soon(self._encode, call, number, future):
            self._receive(call, number, _failure(future, StartError("no thread could be started")))

    def _encode(self, call: DependentCall, number: int, future: CallFuture) -> None:
        try:
            body, buffers = encode(future.result())
        except BaseException as error:  # of any kind: the call must end
            self._receive(call, number, _failure(future, error))
        else:
            self._receive(call, number, HeldValue(body, [bytes(buffer) for buffer in buffers]))

    def _receive_from_afar(
        self,
        call: DependentCall,
        number: int,
        future: weakref.ref[CallFuture],
        passed: HeldValue | PassedFailure,
    ) -> None:
        """Take what a call of another pool has ended with, whose machines the workers here cannot reach."""
        ended = future()
        if isinstance(passed, HeldValue) and passed.is_far and ended is not None:
            self._encode_soon(call, number, ended)
        else:
            self._receive(call, number, passed)

    # -- what it waits for ends -------------------------------------------------------------------------

    def _receive(self, call: DependentCall, number: int, passed: HeldValue | PassedFailure) -> None:
        """Take what a call has ended with. Any thread may call this, in a step of any pool."""
        self._lock.do_after(partial(self._received, call, number, passed))

    def _received(self, call: DependentCall, number: int, passed: HeldValue | PassedFailure) -> None:
        if call.ended:
            return
        links: Links = call.links
        queued = self._core.dispatcher.queued
        if isinstance(passed, HeldValue):
            links.values[number] = passed
            if queued.dependents.arrived(call, number):
                call.links = None
                self._complete(call, links)
        else:
            call.links = None
            if passed.answer is not None and call.future is not None:
                call.future.failed = Inherited(passed, str(call))
                call.future.unasked = passed.unasked
            answer = passed.answer
            queued.inherit(call, (*answer[:4], 0) if type(answer) is tuple else answer)  # it has not run
        self._apply()

    def _complete(self, call: DependentCall, links: Links) -> None:
        """Put the arguments and the values together, and queue the call."""
        own = call.buffers if call.block is None else call.block.spans
        values = [links.values[number] for number in range(len(links.names))]
        if len(own) + sum(map(len, values)) > MAX_BUFFERS:
            error = ArgumentsNotSerializableError(
                f"the arguments of {call} cannot be sent to a worker: "
                f"with the values that it waited for they have more than {MAX_BUFFERS:,} large parts"
            )
            self._core.dispatcher.queued.inherit(call, error)
            return
        parts = [(name, value.body, len(value)) for name, value in zip(links.names, values, strict=True)]
        lost = next((value.lost for value in values if value.lost), "")
        if lost:
            self._core.dispatcher.queued.inherit(call, WorkerLostError(f"{call} did not run: {lost}"))
            return
        call.body = with_values(links.body, len(own), parts)
        if any(map(len, values)) and not self._place(call, values):
            error = ArgumentsNotSerializableError(f"there is no room for the arguments of {call}")
            self._core.dispatcher.queued.inherit(call, error)
            return
        if call.items and call.future is not None:
            call.future.chunk = call.body
            call.future.chunk_is_whole = call.block is None and not call.buffers
        self._core.dispatcher.queued.dependents.release(call, time.monotonic())

    def _place(self, call: DependentCall, values: Sequence[HeldValue]) -> bool:
        """Give a call its own buffers and those of its values: all of them in blocks, or none.

        Return False if there is no room for that.
        """
        sources: list[Placed | Sequence[Any]] = [call.buffers if call.block is None else call.block]
        for value in values:
            placed = value.placed()
            sources.append(value.raw() if placed is None else placed)
        loose = [buffer for each in sources if not isinstance(each, Placed) for buffer in each]
        is_placed = any(isinstance(each, Placed) for each in sources)
        rest = None
        if loose:
            store = self._memory.store
            # What travels to other machines is found again where it was sent before.
            rest = store.place(loose) if store.keeps_contents else None
            if rest is None:
                rest = store.put(loose, 1) if is_placed else store.put(loose)
            if rest is None and any(value.is_far for value in values):
                return False  # what is elsewhere only a worker may wait for
            if rest is None:
                copies = [each.copies() if isinstance(each, Placed) else each for each in sources]
                if call.block is not None:
                    call.block.release()
                call.block, call.buffers = None, [buffer for each in copies for buffer in each]
                return True
        call.block, call.buffers = _together(sources, rest), ()
        return True

    # -- a call is cancelled that waits for others ------------------------------------------------------

    def let_go(self, call: DependentCall, cancels: bool) -> None:
        """Let go of the calls that a call waited for that has ended; see `effects.LetGo`."""
        links, call.links = call.links, None
        if links is not None and cancels:
            while links.futures:
                one = [links.futures.pop()]
                one[0]._driver.cancel_unwanted(one)

    def cancel_unwanted(self, futures: list[CallFuture]) -> None:
        """Cancel the call of the one future in a list, unless anything but that list refers to it."""
        self._lock.do_after(partial(self._cancel_unwanted, futures))

    def _cancel_unwanted(self, futures: list[CallFuture]) -> None:
        if not futures[0].ended and not self._is_wanted(futures):
            self._core.dispatcher.cancel(futures[0].call, time.monotonic())
            self._apply()

    def _is_wanted(self, futures: list[CallFuture]) -> bool:
        """Whether anything refers to a future, or waits for its end, besides what is ours while it is open.

        No variable of this method refers to it, since that would count.
        """
        ours = (futures[0] in self._unsettled) + (futures[0].call.future is futures[0])
        link = futures[0].reserved_at
        if link is not None:
            ours += 2 * (futures[0] in link.reserved) + (link.owner is futures[0])
        return _references(futures) > _ALONE + ours or futures[0].has_callbacks


def _failure(future: CallFuture, error: BaseException) -> PassedFailure:
    return PassedFailure(error, None, (str(future.call),), None, None)


def _references(items: list[Any]) -> int:
    return sys.getrefcount(items[0])


_ALONE = _references([object()])  # what is counted of an object that only a list refers to


def _together(sources: Sequence[Placed | Sequence[Any]], rest: Placed | None) -> Placed:
    """Return the buffers of several sources in their order; those in no block of theirs are in `rest`."""
    blocks: list[Any] = []
    spans: list[tuple[int, int, int]] = []

    def first_of(placed: Placed) -> int:
        blocks.extend(placed.blocks)
        return len(blocks) - len(placed.blocks)

    loose = []
    if rest is not None:
        first = first_of(rest)
        loose = [(first + part, *where) for part, *where in rest.spans]
    taken = 0
    for source in sources:
        if isinstance(source, Placed):
            start = first_of(source)
            spans += [(start + part, offset, size) for part, offset, size in source.spans]
        else:
            spans += loose[taken : taken + len(source)]  # type: ignore[arg-type]
            taken += len(source)
    return Placed(tuple(blocks), tuple(spans))
