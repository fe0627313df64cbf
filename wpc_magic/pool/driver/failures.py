"""The calls that have failed last: with their arguments, so that they can be described, and run again here.

Nothing of this is done for a call that ends well. A call that fails passes on the pickle of its arguments,
which is there already; they are written as text when somebody asks for the error.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

from ..core.calls import Call
from ..core.registry import Record
from ..core.state import State
from ..errors import CallTimeoutError
from ..options import PRIVATE, shown_name
from ..wire.blanks import Blank, blank_found
from ..wire.chunk_arguments import arguments_of_one
from ..wire.codec import decode
from ..wire.seeded import Seeded
from .arguments import arguments_of, arguments_of_item
from .unasked import UnaskedError, one_line

__all__ = ["KEPT", "ErrorObserver", "FailedCall", "Failures"]

KEPT = 16
"""Of how many calls that have failed the arguments are kept."""


class ErrorObserver(Protocol):
    """Who is told of errors that nobody asks for."""

    def add(self, error: UnaskedError) -> None:
        """Take note of an error that may not be asked for. It must not block."""

    def tell(self, error: UnaskedError) -> None:
        """Tell an error; called anywhere."""


class FailedCall:
    """A call that has failed, or one item of a map.

    Attributes
    ----------
    id : int
        The number of the call.
    name : str
        The function.
    record : Record or None
        The revision that ran.
    worker_id : int or None
        The slot.
    items : int
        As in `Call`.
    item : int or None
        Of a chunk of a map: which of its items has failed; None: not known.
    body, buffers : object
        The encoded arguments; None: they are too large to be kept, or were dropped for later ones.
    """

    __slots__ = ("_state", "body", "buffers", "id", "item", "items", "name", "record", "worker_id")

    def __init__(self, call: Call, state: State, worker_id: int | None) -> None:
        self.id = call.id
        self.name = call.name
        self.record: Record | None = call.record
        self.worker_id = worker_id
        self.items = call.items
        self.item: int | None = None
        self.body: Any = call.body
        self.buffers: Sequence[Any] | None = None
        self._state = state

    def __str__(self) -> str:
        """Return the call with its arguments, shortened: ``bad(['1', 'x']) #11``."""
        revision = f" (revision {self.record.revision})" if self.record and self.record.revision > 1 else ""
        if self.name.startswith(PRIVATE) and not self.is_anonymous:  # a cell, whose author gave no arguments
            return f"{shown_name(self.name)} #{self.id}"
        return f"{shown_name(self.name)}{self.shown_arguments} #{self.id}{revision}"

    @property
    def shown_arguments(self) -> str:
        """Its arguments as text, shortened; empty: they are not known."""
        body = b"" if self.body is None else self.body
        if self.items and self.item is not None:
            return arguments_of_item(body, self.item)
        return "" if self.items else arguments_of(body, 0)

    @property
    def is_anonymous(self) -> bool:
        """Whether its function is not registered."""
        return self.record is not None and not self.record.revision

    @property
    def _function_is_in_body(self) -> bool:
        return self.record is not None and self.is_anonymous and type(self.record.wire) is not bytes

    @property
    def is_outdated(self) -> bool:
        """Whether the function has been defined again since."""
        now = self._state.registry.records.get(self.name)
        return self.record is not None and now is not None and now.revision != self.record.revision

    def add_to(self, error: BaseException) -> BaseException:
        """Add what is known of the call to its error, and return it: its number is for `replay`."""
        if isinstance(error, CallTimeoutError):  # it names the call, but not with its arguments
            error.add_note(f"in {self}")
        if self.is_outdated:
            error.add_note(f"{self.name} has been defined again since")
        try:
            error.wpc_call_id = self.id  # type: ignore[attr-defined]
        except Exception:  # a class that takes no attributes
            pass
        return error

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        """Return the arguments themselves, as the worker gets them; None: they are not kept."""
        value = self._decoded()
        if value is None:
            return None
        if self._function_is_in_body:
            value = value[1]
        if not self.items:
            return value  # type: ignore[no-any-return]
        if self.item is None:
            return None
        if isinstance(value, Seeded):
            return value.of_item(self.item)  # type: ignore[no-any-return]
        return arguments_of_one(value, self.item)

    def anonymous_function(self) -> Any:
        """Return the function of a call of which `arguments` are kept, if it is not registered."""
        if self._function_is_in_body:
            return self._decoded()[0]
        assert self.record is not None
        return decode(self.record.wire)

    def _decoded(self) -> Any:
        if self.body is None or self.buffers is None:
            return None
        # Copies, which can be written to, as those in a worker.
        buffers = [bytearray(buffer) for buffer in self.buffers]
        if self.record is None or type(self.record.wire) is not Blank:
            return decode(self.body, buffers)
        with blank_found(self.record.key, self.record.wire):
            return decode(self.body, buffers)


class Failures:
    """The calls that have failed last.

    Parameters
    ----------
    state : State
        The shared state of the core.

    Attributes
    ----------
    observer : ErrorObserver or None
        Is told of errors that nobody asks for.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self.observer: ErrorObserver | None = None
        self._kept: OrderedDict[int, FailedCall] = OrderedDict()

    def keep(self, call: Call, worker_id: int | None, kind: str, message: str) -> None:
        """Keep a call that fails now, before it lets go of its arguments. Under the lock.

        Parameters
        ----------
        call : Call
            The call.
        worker_id : int or None
            The slot, if it is known.
        kind, message : str
            The class of its error, and its message.
        """
        if call.future is None:
            return
        if self.observer is not None and not call.items:
            awaited = bool(call.future.loops or call.future.wakers)
            error = one_line(kind, message)
            unasked = UnaskedError(self.observer.tell, str(call), call.name, call.origin, error, awaited)
            call.future.unasked = unasked
            self.observer.add(unasked)
        failed = call.future.failed = FailedCall(call, self._state, worker_id)
        limit = self._state.options.keep_failed_arguments_mb << 20
        size = len(call.body) + sum(map(len, call.buffers))
        if call.block is not None:
            size += sum(length for _, _, length in call.block.spans)
        if size <= limit and not (call.block is not None and call.block.is_far):
            failed.buffers = call.buffers if call.block is None else call.block.copies()
        self._add(failed)

    def keep_item(self, call: Call, body: bytes, item: int, is_whole: bool) -> FailedCall:
        """Keep an item of a map that has failed, given the encoded arguments of its chunk.

        If these are not whole, since they had large buffers, it can be described, but not run again.
        """
        failed = FailedCall(call, self._state, None)
        failed.body, failed.item = body, item
        if body and is_whole and len(body) <= self._state.options.keep_failed_arguments_mb << 20:
            failed.buffers = ()
        self._add(failed)
        return failed

    def _add(self, failed: FailedCall) -> None:
        self._kept[failed.id] = failed
        while len(self._kept) > KEPT:
            try:
                self._kept.popitem(last=False)[1].buffers = None
            except KeyError:  # another thread has taken it
                break

    def find(self, number: int | None = None) -> FailedCall | None:
        """Return the call of that number, or the latest; None: it is not kept."""
        kept = list(self._kept.values())
        if number is None:
            return kept[-1] if kept else None
        return next((each for each in kept if each.id == number), None)
