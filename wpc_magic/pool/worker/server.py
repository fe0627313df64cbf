"""The worker's main thread: it reads calls, runs them and answers.

Synchronous functions run one at a time in this thread. Coroutines run concurrently on an event loop, also in
this thread. The loop is stopped while a synchronous function runs, so that the function can run its own loop.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import CoroutineType

from wpc_magic.pool.errors import CallInterrupted
from wpc_magic.pool.wire import protocol
from wpc_magic.pool.wire.block_ref import BlockRef
from wpc_magic.pool.wire.channel import frame
from wpc_magic.pool.wire.codec import decode, encode, pack
from wpc_magic.pool.wire.lazy_import import interpreter_path_first
from wpc_magic.pool.wire.looks import Looks
from wpc_magic.pool.wire.status_page import ANSWERED, BEGUN, LOOK, SENT, SINCE, StatusPage
from wpc_magic.pool.worker.anonymous import AnonymousFunctions
from wpc_magic.pool.worker.chunks import (
    await_chunk,
    encode_each,
    failed_items,
    has_coroutines,
    run_chunk,
)
from wpc_magic.pool.worker.interruption import Interruption
from wpc_magic.pool.worker.outcomes import described_end, unsendable
from wpc_magic.pool.worker.outgoing import Outgoing
from wpc_magic.pool.worker.output import Output
from wpc_magic.pool.worker.progress import ProgressReports
from wpc_magic.pool.worker.random_numbers import RandomNumbers
from wpc_magic.pool.worker.resource_runs import ResourceRuns
from wpc_magic.pool.worker.runtime import Runtime
from wpc_magic.pool.worker.shared_memory import IDLE_S
from wpc_magic.pool.worker.stacks import take_call_stacks, take_stacks
from wpc_magic.pool.worker.streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wpc_magic.pool.wire.channel import Bytes, Frame, Reader
    from wpc_magic.pool.worker.process_state import ProcessState
    from wpc_magic.pool.worker.shared_memory import SharedBuffers
    from wpc_magic.pool.worker.tasks import Tasks

__all__ = ["Server"]

_OTHER_CALLS = (*protocol.CHUNKS, protocol.STREAM)
_KEY_MASK = (1 << protocol.KEY_BITS) - 1


class Server:
    """Serves the call channel.

    Parameters
    ----------
    reader : Reader
        Reads the call channel, whose socket is in blocking mode.
    page : StatusPage
        Records which call runs.
    shared : SharedBuffers
        Shared memory.

    Attributes
    ----------
    outgoing : Outgoing
        What sends to the pool.
    output : Output
        What functions print.
    interruption : Interruption
        Interrupts the running call.
    runtime : Runtime
        The definitions.
    anonymous : AnonymousFunctions
        Functions that are not registered.
    shared : SharedBuffers
        Shared memory.
    words : memoryview
        The words of the status page.
    kept : set of int
        The calls whose values are to stay on this machine.
    trace : protocol.Trace
        The trace that the next call joins, if it says so.
    shutting_down : bool
        Whether the worker shuts down.
    streams : Streams
        Calls of functions that yield.
    find_cell : callable
        Returns the module of a cell, given its name; None if it is not known.
    name_of : callable
        Returns the name of the function that has a code; empty if none has.
    pool_name : str
        The name of the pool in messages.
    handle_message : callable
        Handles what comes between calls; to be set before `serve`.
    """

    def __init__(self, reader: Reader, page: StatusPage, shared: SharedBuffers) -> None:
        self.shutting_down = False
        self.outgoing = Outgoing(reader.sock, lambda: self.output.current_call())
        self.output = Output(self.outgoing.send_message, lambda: self._begun)
        self.interruption = Interruption(
            self._running,
            lambda: self.shutting_down,
            self._taint,
            (Server._call.__code__, run_chunk.__code__, ResourceRuns.call.__code__),
            (Streams.run.__code__,),
        )
        self._sock = reader.sock
        self._reader = reader
        self.words = page.words
        self._resource_runs = ResourceRuns(
            self.interruption,
            page.words,
            self._loop_tasks,
            lambda: self.shutting_down or self._reader.eof,
            self._running,
            self.outgoing.report_resource,
        )
        self.runtime = Runtime(shared.constant, page.note_installing, runner=self._resource_runs)
        self.anonymous = AnonymousFunctions()
        self.runtime.context.progress = ProgressReports(self.outgoing.send_progress, self.output.current_call)
        self.runtime.numbers = RandomNumbers(
            self.output.current_call, lambda: () if self._tasks is None else self._tasks.calls()
        )
        self.find_cell = self.runtime.module
        self.name_of = self.runtime.name_of
        self.pool_name = "wpc"
        self.shared = shared
        self.streams = Streams(
            self.outgoing.send_frame,
            shared,
            self.output,
            self.interruption,
            lambda: self.exit_if_forked(None),
        )
        self.interruption.stop_stream = self.streams.stop
        self._begin_lock = threading.Lock()  # a call either begins or is revoked
        self._begun = 0
        self.kept: set[int] = set()
        self._revoked: set[int] = set()
        self._tainted: protocol.Tainted | None = None  # what an interrupt has broken: no more calls begin
        self._taint_sent = False
        self._join_trace: Callable[..., Any] | None = None
        self.trace = protocol.Trace("", {})  # of the call that comes next, if it says so
        self._tasks: Tasks | None = None  # made for the first coroutine
        self._restore_process: Callable[[], object] = lambda: None
        self._state_is_changed: Callable[[], bool] = lambda: False
        self.handle_message: Callable[[Any], object]
        os.register_at_fork(after_in_child=self._after_fork)

    @property
    def has_coroutines(self) -> bool:
        """Whether coroutines run."""
        return self._tasks is not None and self._tasks.count > 0

    def use(self, state: ProcessState) -> None:
        """Set the state of the process, and again after each call that has changed it."""
        self._state_is_changed, self._restore_process = state.is_changed, state.restore
        state.restore()

    # -- the loop ---------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Serve until the pool requests shutdown, or closes the channel.

        Raises
        ------
        Exception
            If a frame is malformed, or the socket is broken.
        """
        words, looks = self.words, Looks()
        while not (self.shutting_down or self._reader.eof):
            if self._tasks:
                frames = self._tasks.run()
            else:
                if words[LOOK] and words[SENT] == self._begun:
                    looks.before_read(words, SENT, self._begun + 1, words[LOOK])
                frames = self._reader.read()
            while frames and not self.shutting_down:
                self._handle(frames.pop(0))  # no reference is kept: a frame may be large
                if self.runtime.has_unreferenced:
                    self.runtime.free_unreferenced()
        if self._tasks is not None:
            self._tasks.end_calls()
        self.runtime.resources.close_all()
        if self._tasks is not None:
            self._tasks.cancel()
        self.output.flush()

    def shut_down(self) -> None:
        """Make `serve` return, also if it is blocked in a read; called by the control thread."""
        self.shutting_down = True
        self.streams.stop_all()
        try:
            self._sock.shutdown(0)  # of reading: wakes up `recv`, or the event loop
        except OSError:
            pass  # the other end is closed

    def _running(self) -> int:
        """Return the number of the call that began last, or 0 if it is answered. Any thread may call this."""
        begun = self._begun
        return begun if begun != self.words[ANSWERED] else 0

    def _handle(self, received: Frame) -> None:
        kind, epoch, target, seq, body, buffers = received
        if kind == protocol.CALL or kind in _OTHER_CALLS:
            if self._tainted:  # the pool replaces this process, and runs elsewhere what has not begun here
                self.shared.drop(buffers)
                return
            # Before it begins: until then it can be revoked.
            if self.shared.come_later and isinstance(buffers, BlockRef) and not self.shared.wait_for(buffers):
                return
            with self._begin_lock:
                if seq in self._revoked:
                    self._revoked.discard(seq)
                    self.kept.discard(seq)
                    self.shared.drop(buffers)
                    return
                self._begun = seq
            self.words[SINCE] = 0
            self.words[BEGUN] = seq
            self._call(kind, epoch, target, seq, body, buffers)
        elif kind == protocol.MESSAGE:
            try:
                message = decode(body)
            except Exception as error:
                message = error
            self.handle_message(message)
        elif kind == protocol.RELEASE:
            self.shared.released(body)
        else:
            self.handle_message(kind)

    def revoke(self, seqs: tuple[int, ...]) -> tuple[int, ...]:
        """Revoke the calls that have not begun, and return those. Called by the control thread."""
        with self._begin_lock:
            # Calls begin in the order of their numbers, so one comparison is enough.
            revoked = tuple(seq for seq in seqs if seq > self._begun and seq not in self._revoked)
            self._revoked.update(revoked)
        return revoked

    # -- one call ---------------------------------------------------------------------------------------

    def _call(self, kind: int, epoch: int, target: int, seq: int, body: Any, buffers: Any) -> None:
        runtime, interruption = self.runtime, self.interruption
        began = 0
        try:
            if epoch != runtime.active:
                self._switch(epoch)
            function = runtime.functions.get(target)
            if function is None:
                function = self._find(kind, target)
            if buffers and isinstance(buffers, BlockRef):
                ref, buffers = buffers, ()
                buffers = self.shared.arguments(ref)
            arguments = decode(body, buffers)
            if function is None:
                function, arguments = self._in_body(kind, target, *arguments)
            buffers = ()
            if arguments.__class__ is not tuple:
                arguments = runtime.numbers.begin(seq, arguments, kind in protocol.CHUNKS)
            if runtime.prepares:
                runtime.prepare(target & _KEY_MASK)
            self.words[SINCE] = began = time.monotonic_ns()
            try:
                interruption.armed = True
                if kind == protocol.CALL:
                    args, kwargs = arguments
                    value = function(*args, **kwargs)
                elif kind == protocol.STREAM:
                    value = self.streams.run(seq, target >> protocol.KEY_BITS, function, arguments)
                    began += self.streams.waited_ns
                else:
                    keep_going = kind == protocol.WHOLE_CHUNK
                    value = run_chunk(function, arguments, self._between_items, keep_going)
            finally:
                interruption.armed = False
        except BaseException as error:
            interruption.armed = False  # an interrupt may have prevented the same line in `finally`
            if buffers and isinstance(buffers, BlockRef):
                self.shared.drop(buffers)
            self._restore_state()
            failure = self._failure(error)
        else:
            if self._state_is_changed():
                self._restore_state()
            arguments = args = kwargs = function = None  # releases their buffers, which the answer reports
            if type(value) is CoroutineType or (
                kind != protocol.CALL and kind != protocol.STREAM and has_coroutines(value)
            ):
                self._start_task(kind, seq, began, value)
            else:
                self._answer(kind, seq, began, value)
            return
        arguments = args = kwargs = value = function = None  # the same: the exception and its frames are gone
        self._send_failure(seq, began, failure)

    def _find(self, kind: int, target: int) -> Any:
        """Return a function that is not registered, or that of a stream; None: it is in the body."""
        key = target & _KEY_MASK if kind == protocol.STREAM else target
        if key & protocol.TRACED:
            function = self._find(kind, target - protocol.TRACED)
            return None if function is None else self._traced(kind, function)
        return self.runtime.functions.get(key) or self.anonymous.find(key)

    def _in_body(self, kind: int, target: int, function: Any, arguments: Any) -> tuple[Any, Any]:
        """Return a function that is in the body of the call, and its arguments."""
        return (self._traced(kind, function) if target & protocol.TRACED else function), arguments

    def _traced(self, kind: int, function: Any) -> Any:
        """Return a function that joins the trace whose context has come before the call."""
        if self._join_trace is None:
            with interpreter_path_first:
                from wpc_magic.pool.worker.traced import CALLERS, traced
            self.interruption.add_callers(CALLERS)
            self._join_trace = traced
        return self._join_trace(function, self.trace, kind in protocol.CHUNKS)

    def _restore_state(self) -> None:
        """Set the state of the process again, unless it may be a coroutine's that goes on."""
        if not self.has_coroutines and self._state_is_changed():
            self._restore_process()

    def _between_items(self) -> Callable[[], object] | None:
        """Return what is to be done between two items of the running chunk; None: nothing."""
        renew = self.runtime.renew if self.runtime.renewed else None
        endings, seq = self.output.item_endings, self._begun
        if not endings:
            return renew

        def end_item() -> None:
            self.output.end_all(endings, seq)
            if renew is not None:
                renew()

        return end_item

    def _switch(self, epoch: int) -> None:
        """Activate another epoch after the coroutines of the current one have ended: they see its names."""
        if self._tasks is not None:
            early: list[Frame] = []  # frames that arrive meanwhile are handled after this call
            while self._tasks.count and not (self.shutting_down or self._reader.eof):
                early += self._tasks.run()
            self._tasks.inbox = early
        if self.shutting_down:
            raise CallInterrupted("the pool is stopping")
        self.runtime.activate(epoch)

    def _answer(self, kind: int, seq: int, began: int, value: Any) -> None:
        ran = time.monotonic_ns() - began
        if self.output.endings:
            self.output.end_all(self.output.endings, seq)
        try:
            body, buffers = encode(value)
        except BaseException as error:
            if kind not in protocol.CHUNKS:
                self._fail(seq, began, error, unsendable(value, error))
                return
            try:
                body, buffers = encode_each(value)
            except BaseException as error:
                self._fail(seq, began, error, unsendable(value, error))
                return
        failed = failed_items(value, kind == protocol.WHOLE_CHUNK) if kind in protocol.CHUNKS else 0
        keep = self.shared.keep if seq in self.kept else self.shared.answer
        self._send_answer(keep(protocol.VALUE, ran, seq, body, buffers, failed), seq)

    def _failure(self, error: BaseException, note: str = "") -> bytes:
        self.exit_if_forked(error)
        return pack(described_end(error, note))

    def _send_failure(self, seq: int, began: int, failure: bytes) -> None:
        ran = time.monotonic_ns() - began if began else 0
        if self.output.endings:
            self.output.end_all(self.output.endings, seq)
        self._send_answer(frame(protocol.ERROR, 0, ran, seq, failure), seq)

    def _fail(self, seq: int, began: int, error: BaseException, note: str = "") -> None:
        self._send_failure(seq, began, self._failure(error, note))

    def _send_answer(self, pieces: list[Bytes], seq: int) -> None:
        if self.outgoing.forked:
            self.exit_if_forked(None)
        if not self.output.empty:
            self.output.flush()
        releases = self.shared.releases()
        if releases:
            pieces = [*frame(protocol.RELEASE, 0, 0, 0, releases), *pieces]
        if self._tainted and not self._taint_sent:
            # Before the answer: after it the pool may send another call, which would end with this process.
            pieces = [*frame(protocol.MESSAGE, 0, 0, 0, pack(self.take_taint())), *pieces]
        self.outgoing.send_frame(pieces)
        self.kept.discard(seq)
        self.words[ANSWERED] = seq

    # -- coroutines -------------------------------------------------------------------------------------

    def _start_task(self, kind: int, seq: int, began: int, value: Any) -> None:
        try:
            tasks = self._loop_tasks()
            numbers = self.runtime.numbers
            begin_item = numbers.begin_coroutine if numbers.has_begun else None
            coroutine = value if type(value) is CoroutineType else await_chunk(value, begin_item)
            self.outgoing.send_frame(frame(protocol.BEGAN, 0, began, seq, b""))
            tasks.start(seq, coroutine, lambda task: self._finish_task(kind, seq, began, task))
        except Exception as error:
            self._fail(seq, began, error)

    def _loop_tasks(self) -> Tasks:
        """Return what runs coroutines; it is made for the first one."""
        if self._tasks is not None:
            return self._tasks
        with interpreter_path_first:
            from wpc_magic.pool.worker.tasks import Tasks
        tasks = Tasks(self._reader, self.outgoing.emit)
        self.output.tag = tasks.tag
        self._tasks = self.interruption.tasks = tasks
        return tasks

    def _finish_task(self, kind: int, seq: int, began: int, task: Any) -> None:
        self._restore_state()
        try:
            value = task.result()
        except BaseException as error:
            self._fail(seq, began, error)
        else:
            self._answer(kind, seq, began, value)

    # -- asked for by the control thread ----------------------------------------------------------------

    def resend(self, message: protocol.Resend) -> None:
        """Send what is in a block through the channel; called by the control thread."""
        data = self.shared.contents(message.lease)
        if data is not None:
            self.outgoing.send_frame(frame(protocol.RESENT, 0, message.lease, message.seq, b"", [data]))

    def trim_idle(self, idle_s: float = IDLE_S) -> None:
        """Report released blocks, and free memory that is not used; called by the control thread."""
        releases = self.shared.releases()
        if releases:
            self.outgoing.send_frame(frame(protocol.RELEASE, 0, 0, 0, releases))
        self.shared.trim_idle(idle_s)

    def stacks(self, main: int) -> tuple[protocol.Stack, ...]:
        """Return the current stacks, the main thread's first; called by the control thread."""
        seq = self._current()
        try:
            return take_stacks(main, seq, self._tasks)
        except Exception:  # such as MemoryError
            return (protocol.Stack("main", "", seq, (), 0),)

    def call_stacks(self, main: int) -> tuple[protocol.Stack, ...]:
        """Return the current stacks of calls; called by the control thread."""
        try:
            return take_call_stacks(main, self._current, self._tasks)
        except Exception:
            return ()

    def _current(self) -> int:
        """Return the call that runs in the main thread; 0: none."""
        tasks, seq = self._tasks, self._running()
        if tasks is not None and tasks.has(seq):
            seq = tasks.current()  # the main thread is in its event loop
        return seq

    def _taint(self, seq: int, what: str) -> None:
        self._tainted = protocol.Tainted(seq, what)

    def take_taint(self) -> protocol.Tainted | None:
        """Return what is to be told of an interrupt that has broken something, once; None: nothing."""
        if self._tainted is None or self._taint_sent:
            return None
        self._taint_sent = True
        return self._tainted

    # -- forks ------------------------------------------------------------------------------------------

    def _after_fork(self) -> None:
        """Release what belongs to the worker, in a process that user code has forked from it."""
        self.outgoing.forked = True
        self.output.detach()
        self.streams.after_fork()
        self._sock.close()

    def exit_if_forked(self, error: BaseException | None) -> None:
        """Exit from a forked process when its function has returned, as a program does: it must not serve."""
        if not self.outgoing.forked:
            return
        code: Any = 0
        if isinstance(error, SystemExit):
            code = error.code
        elif error is not None:
            sys.__excepthook__(type(error), error, error.__traceback__)
            code = 1
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)
