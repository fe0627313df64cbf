"""Streams in a worker: calls of functions that yield.

A plain generator runs in the main thread, and holds it as any call does, also while it is paused. An
asynchronous one runs on the event loop, interleaved with coroutines.
"""

from __future__ import annotations

from types import CoroutineType

from wpc_magic.pool.errors import CallInterrupted
from wpc_magic.pool.wire import protocol
from wpc_magic.pool.wire.channel import frame
from wpc_magic.pool.wire.lazy_import import interpreter_path_first
from wpc_magic.pool.worker.outflow import LateSender, Outflow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wpc_magic.pool.wire.channel import Bytes
    from wpc_magic.pool.worker.interruption import Interruption
    from wpc_magic.pool.worker.output import Output
    from wpc_magic.pool.worker.shared_memory import SharedBuffers

__all__ = ["Streams"]


class Streams:
    """The streams that have begun and not ended.

    Parameters
    ----------
    send : callable
        Sends the pieces of a frame.
    shared : SharedBuffers
        Takes the large items.
    output : Output
        What functions print: it is sent before the items that come after it.
    interruption : Interruption
        Armed while a generator runs.
    stopped : callable
        Called when a stream has been stopped, before it is closed: it does not return in a forked process.

    Attributes
    ----------
    waited_ns : int
        For how long the plain generator that `run` has run last was paused, in nanoseconds.
    """

    def __init__(
        self,
        send: Callable[[list[Bytes]], object],
        shared: SharedBuffers,
        output: Output,
        interruption: Interruption,
        stopped: Callable[[], object],
    ) -> None:
        self.waited_ns = 0
        self._send = send
        self._shared = shared
        self._output = output
        self._interruption = interruption
        self._stopped = stopped
        self._late = LateSender()
        self._outflows: dict[int, Outflow] = {}  # by the number of the call

    def run(self, seq: int, buffer: int, function: Callable[..., Any], arguments: Any) -> Any:
        """Call a function, send what its iterator yields, and return what the iterator returns at its end.

        Parameters
        ----------
        seq : int
            The call's number.
        buffer : int
            As in `Outflow`.
        function : callable
            The function.
        arguments : tuple
            Its arguments, and those by name.

        Returns
        -------
        object
            A coroutine that does the same, if it is asynchronous.
        """
        self.waited_ns = 0
        args, kwargs = arguments
        made = function(*args, **kwargs)
        if type(made) is CoroutineType or hasattr(type(made), "__aiter__"):
            return self._run_async(seq, buffer, made)
        try:
            step = iter(made).__next__
        except TypeError:
            raise TypeError(
                f"it returned {type(made).__name__}, which is no iterable: there is nothing to stream"
            ) from None
        outflow = self._open(seq, buffer)
        try:
            while True:
                try:
                    item = step()
                except StopIteration as end:
                    return end.value
                if not outflow.stopped:
                    outflow.put(item)
                    item = None  # it may be large
                    if not outflow.has_room():
                        outflow.wait()
                if outflow.stopped:
                    self._stopped()
                    raise CallInterrupted("the call was ended from outside")
        finally:
            self._interruption.armed = False  # how long it may take to close is limited by the pool
            try:
                close = getattr(made, "close", None)
                if close is not None and hasattr(made, "send"):  # a generator, and no file
                    close()
            finally:
                self.waited_ns = outflow.waited_ns
                self._close(seq, outflow)

    def _run_async(self, seq: int, buffer: int, made: Any) -> Any:
        with interpreter_path_first:
            from wpc_magic.pool.worker.async_streams import run_async
        outflow = self._open(seq, buffer)

        def ending() -> None:
            if self._interruption.tasks is not None:
                self._interruption.tasks.note_ending(seq)

        return run_async(made, outflow, ending, lambda: self._close(seq, outflow))

    def _open(self, seq: int, buffer: int) -> Outflow:
        def send(count: int, state: int, body: bytes, buffers: Any) -> None:
            if not self._output.empty:
                self._output.flush()
            if buffers:
                pieces = self._shared.answer(protocol.ITEMS, count, seq, body, buffers)
            else:
                pieces = frame(protocol.ITEMS, state, count, seq, body)
            releases = self._shared.releases()
            if releases:
                pieces = [*frame(protocol.RELEASE, 0, 0, 0, releases), *pieces]
            self._send(pieces)

        self._outflows[seq] = outflow = Outflow(buffer, send, self._late)
        if self._interruption.is_requested(seq):  # just now
            outflow.stop()
        return outflow

    def _close(self, seq: int, outflow: Outflow) -> None:
        """Send what is left, before the call is answered."""
        if not outflow.stopped:
            outflow.flush()
        self._outflows.pop(seq, None)

    # -- called by the control thread -------------------------------------------------------------------

    def credit(self, message: protocol.Credit) -> None:
        """Note what was taken of a stream, and which blocks are released."""
        if message.releases:
            self._shared.released(message.releases)
        outflow = self._outflows.get(message.seq)
        if outflow is not None and message.taken:
            outflow.take(message.taken)

    def stop(self, seq: int) -> None:
        """Have a stream end, also if it is paused."""
        outflow = self._outflows.get(seq)
        if outflow is not None:
            outflow.stop()

    def stop_all(self) -> None:
        """Have all streams end: the worker stops."""
        for outflow in list(self._outflows.values()):
            outflow.stop()

    def after_fork(self) -> None:
        """Send nothing more, in a forked process."""
        self._late.after_fork()
        for outflow in list(self._outflows.values()):
            outflow.after_fork()
