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
from wpc_magic.pool.wire.channel import Reader, frame, send_all
from wpc_magic.pool.wire.codec import decode, encode, pack
from wpc_magic.pool.wire.lazy_import import interpreter_path_first
from wpc_magic.pool.wire.status_page import ANSWERED, BEGUN, PEAK, RESIDENT, SINCE, StatusPage
from wpc_magic.pool.worker import rich_output
from wpc_magic.pool.worker.anonymous import AnonymousFunctions
from wpc_magic.pool.worker.authkey import take_over_authkey
from wpc_magic.pool.worker.chunks import await_chunk, encode_each, has_coroutines, run_chunk
from wpc_magic.pool.worker.interruption import Interruption
from wpc_magic.pool.worker.outcomes import describe, described_end, unsendable
from wpc_magic.pool.worker.output import Output
from wpc_magic.pool.worker.progress import ProgressReports
from wpc_magic.pool.worker.random_numbers import RandomNumbers
from wpc_magic.pool.worker.resource_runs import ResourceRuns
from wpc_magic.pool.worker.runtime import Runtime
from wpc_magic.pool.worker.shared_memory import IDLE_S
from wpc_magic.pool.worker.stacks import take_stacks
from wpc_magic.pool.worker.streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket  # without its Python half, which `socket.socket` adds
    from collections.abc import Callable
    from typing import Any

    from wpc_magic.pool.wire.channel import Bytes, Frame
    from wpc_magic.pool.worker.namespaces import Binding
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
    sock : socket
        The call channel, in blocking mode.
    page : StatusPage
        Records which call runs.
    shared : SharedBuffers
        Shared memory.

    Attributes
    ----------
    output : Output
        What functions print.
    interruption : Interruption
        Interrupts the running call.
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
    """

    def __init__(self, sock: socket, page: StatusPage, shared: SharedBuffers) -> None:
        self.shutting_down = False
        self.output = Output(self.send_message, lambda: self._begun)
        self.interruption = Interruption(
            self._running,
            lambda: self.shutting_down,
            self._taint,
            (Server._call.__code__, run_chunk.__code__, ResourceRuns.call.__code__),
            (Streams.run.__code__,),
        )
        self._sock = sock
        self._reader = Reader(sock)
        self._send_lock = threading.RLock()
        self._in_frame = False
        self._unsent: list[list[Bytes]] = []
        self._words = page.words
        self._resource_runs = ResourceRuns(
            self.interruption,
            page.words,
            self._loop_tasks,
            lambda: self.shutting_down or self._reader.eof,
            self._running,
            self._report_resource,
        )
        self._runtime = Runtime(shared.constant, page.note_installing, runner=self._resource_runs)
        self._runtime.open_shared = self._open_first_shared
        self._anonymous = AnonymousFunctions()
        self._runtime.context.progress = ProgressReports(self._send_progress, self.output.current_call)
        self._runtime.numbers = RandomNumbers(
            self.output.current_call, lambda: () if self._tasks is None else self._tasks.calls()
        )
        self.find_cell = self._runtime.module
        self.name_of = self._runtime.name_of
        self.pool_name = "wpc"
        self._shared = shared
        self.streams = Streams(
            self.send_frame, shared, self.output, self.interruption, lambda: self._exit_if_forked(None)
        )
        self.interruption.stop_stream = self.streams.stop
        self._begin_lock = threading.Lock()  # a call either begins or is revoked
        self._begun = 0
        self._revoked: set[int] = set()
        self._tainted: protocol.Tainted | None = None  # what an interrupt has broken: no more calls begin
        self._taint_sent = False
        self._forked = False
        self._join_trace: Callable[..., Any] | None = None
        self._trace = protocol.Trace("", {})  # of the call that comes next, if it says so
        self._tasks: Tasks | None = None  # made for the first coroutine
        self._restore_process: Callable[[], object] = lambda: None
        self._state_is_changed: Callable[[], bool] = lambda: False
        os.register_at_fork(after_in_child=self._after_fork)

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
        while not (self.shutting_down or self._reader.eof):
            frames = self._tasks.run() if self._tasks else self._reader.read()
            while frames and not self.shutting_down:
                self._handle(frames.pop(0))  # no reference is kept: a frame may be large
                if self._runtime.has_unreferenced:
                    self._runtime.free_unreferenced()
        if self._tasks is not None:
            self._tasks.end_calls()
        self._runtime.resources.close_all()
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
        return begun if begun != self._words[ANSWERED] else 0

    def _handle(self, received: Frame) -> None:
        kind, epoch, target, seq, body, buffers = received
        if kind == protocol.CALL or kind in _OTHER_CALLS:
            if self._tainted:  # the pool replaces this process, and runs elsewhere what has not begun here
                self._shared.drop(buffers)
                return
            with self._begin_lock:
                if seq in self._revoked:
                    self._revoked.discard(seq)
                    self._shared.drop(buffers)
                    return
                self._begun = seq
            self._words[SINCE] = 0
            self._words[BEGUN] = seq
            self._call(kind, epoch, target, seq, body, buffers)
        elif kind == protocol.MESSAGE:
            try:
                message = decode(body)
            except Exception as error:
                message = error
            self._handle_message(message)
        elif kind == protocol.RELEASE:
            self._shared.released(body)
        else:
            self._handle_message(kind)

    def _handle_message(self, message: Any) -> None:
        if isinstance(message, protocol.Install):
            self._install(message)
        elif isinstance(message, protocol.Forget):
            self._runtime.forget(message.epoch)
        elif isinstance(message, protocol.Activate):
            # While coroutines of the old one run, the next call does it: it waits for them.
            if self._runtime.is_newer(message.epoch) and not (self._tasks is not None and self._tasks.count):
                self._runtime.activate(message.epoch)
        elif isinstance(message, protocol.HoldFunction):
            self._anonymous.hold(message)
            if message.dropped:
                self._runtime.cells.collect_if_grown()  # one that calls itself is a cycle
        elif isinstance(message, protocol.Trace):
            self._trace = message
        elif isinstance(message, protocol.Setup):
            # Not before our own imports, so that a ``queue.py`` beside the notebook breaks nothing here.
            sys.path[:] = message.path
            self._runtime.context.worker_id = message.worker_id
            self.pool_name = message.pool
            take_over_authkey(message.authkey)
            self._anonymous.initializer = message.initializer
        elif isinstance(message, protocol.Blocks):
            self._shared.configure(message.limit, message.in_memory)
        elif isinstance(message, protocol.LogLevels):
            rich_output.set_log_levels(message)
        elif isinstance(message, protocol.Shutdown):
            self.shutting_down = True
        else:
            self.emit("malformed_parent_message", None, {"what": repr(message)[:200]})

    def _install(self, message: protocol.Install) -> None:
        answer: protocol.FromWorker = protocol.Installed(message.epoch)
        try:
            self._runtime.install(message)
        except BaseException as error:
            self.interruption.armed = False  # an interrupt may have prevented it
            answer = protocol.Refused(message.epoch, described_end(error), self._runtime.installing)
        if type(answer) is protocol.Refused:
            self._runtime.cells.collect_if_grown()  # what the cell had made before it failed
        self._exit_if_forked(None)
        self.output.flush()
        if self._tainted and not self._taint_sent:
            self._taint_sent = True
            self.send_message(self._tainted)
        self.send_message(answer)

    def _open_first_shared(self, record: protocol.Shared) -> Binding:
        from wpc_magic.pool.worker.shared_objects import SharedObjects

        worker_id = self._runtime.context.worker_id
        self._runtime.open_shared = SharedObjects(
            self._shared, self.output, self.interruption, worker_id
        ).open
        return self._runtime.open_shared(record)

    def revoke(self, seqs: tuple[int, ...]) -> tuple[int, ...]:
        """Revoke the calls that have not begun, and return those. Called by the control thread."""
        with self._begin_lock:
            # Calls begin in the order of their numbers, so one comparison is enough.
            revoked = tuple(seq for seq in seqs if seq > self._begun and seq not in self._revoked)
            self._revoked.update(revoked)
        return revoked

    # -- one call ---------------------------------------------------------------------------------------

    def _call(self, kind: int, epoch: int, target: int, seq: int, body: Any, buffers: Any) -> None:
        runtime, interruption = self._runtime, self.interruption
        began = 0
        try:
            if epoch != runtime.active:
                self._switch(epoch)
            function = runtime.functions.get(target)
            if function is None:
                function = self._find(kind, target)
            if buffers and isinstance(buffers, BlockRef):
                ref, buffers = buffers, ()
                buffers = self._shared.arguments(ref)
            arguments = decode(body, buffers)
            if function is None:
                function, arguments = self._in_body(kind, target, *arguments)
            buffers = ()
            if arguments.__class__ is not tuple:
                arguments = runtime.numbers.begin(seq, arguments, kind in protocol.CHUNKS)
            if runtime.prepares:
                runtime.prepare(target & _KEY_MASK)
            self._words[SINCE] = began = time.monotonic_ns()
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
                self._shared.drop(buffers)
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
        return self._runtime.functions.get(key) or self._anonymous.find(key)

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
        return self._join_trace(function, self._trace, kind in protocol.CHUNKS)

    def _restore_state(self) -> None:
        """Set the state of the process again, unless it may be a coroutine's that goes on."""
        if not (self._tasks is not None and self._tasks.count) and self._state_is_changed():
            self._restore_process()

    def _between_items(self) -> Callable[[], object] | None:
        """Return what is to be done between two items of the running chunk; None: nothing."""
        renew = self._runtime.renew if self._runtime.renewed else None
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
        self._runtime.activate(epoch)

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
        self._send_answer(self._shared.answer(protocol.VALUE, ran, seq, body, buffers), seq)

    def _failure(self, error: BaseException, note: str = "") -> bytes:
        self._exit_if_forked(error)
        return pack(described_end(error, note))

    def _send_failure(self, seq: int, began: int, failure: bytes) -> None:
        ran = time.monotonic_ns() - began if began else 0
        if self.output.endings:
            self.output.end_all(self.output.endings, seq)
        self._send_answer(frame(protocol.ERROR, 0, ran, seq, failure), seq)

    def _fail(self, seq: int, began: int, error: BaseException, note: str = "") -> None:
        self._send_failure(seq, began, self._failure(error, note))

    def _send_answer(self, pieces: list[Bytes], seq: int) -> None:
        if self._forked:
            self._exit_if_forked(None)
        if not self.output.empty:
            self.output.flush()
        releases = self._shared.releases()
        if releases:
            pieces = [*frame(protocol.RELEASE, 0, 0, 0, releases), *pieces]
        if self._tainted and not self._taint_sent:
            self._taint_sent = True
            # Before the answer: after it the pool may send another call, which would end with this process.
            pieces = [*frame(protocol.MESSAGE, 0, 0, 0, pack(self._tainted)), *pieces]
        self.send_frame(pieces)
        self._words[ANSWERED] = seq

    # -- coroutines -------------------------------------------------------------------------------------

    def _start_task(self, kind: int, seq: int, began: int, value: Any) -> None:
        try:
            tasks = self._loop_tasks()
            numbers = self._runtime.numbers
            begin_item = numbers.begin_coroutine if numbers.has_begun else None
            coroutine = value if type(value) is CoroutineType else await_chunk(value, begin_item)
            self.send_frame(frame(protocol.BEGAN, 0, began, seq, b""))
            tasks.start(seq, coroutine, lambda task: self._finish_task(kind, seq, began, task))
        except Exception as error:
            self._fail(seq, began, error)

    def _loop_tasks(self) -> Tasks:
        """Return what runs coroutines; it is made for the first one."""
        if self._tasks is not None:
            return self._tasks
        with interpreter_path_first:
            from wpc_magic.pool.worker.tasks import Tasks
        tasks = Tasks(self._reader, self.emit)
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

    # -- to the pool ------------------------------------------------------------------------------------

    def send_frame(self, pieces: list[Bytes]) -> None:
        """Send a frame. Any thread may call this."""
        with self._send_lock:
            if self._in_frame:
                # A signal handler or a finalizer in user code prints while a frame is being sent.
                self._unsent.append(pieces)
                return
            self._in_frame = True
            try:
                send_all(self._sock, pieces)
                while self._unsent:
                    send_all(self._sock, self._unsent.pop(0))
            finally:
                self._in_frame = False

    def send_message(self, message: protocol.FromWorker) -> None:
        """Send a message. Any thread may call this."""
        body = pack(message)
        self.send_frame(frame(protocol.MESSAGE, 0, 0, 0, body))

    def resend(self, message: protocol.Resend) -> None:
        """Send what is in a block through the channel; called by the control thread."""
        data = self._shared.contents(message.lease)
        if data is not None:
            self.send_frame(frame(protocol.RESENT, 0, message.lease, message.seq, b"", [data]))

    def trim_idle(self, idle_s: float = IDLE_S) -> None:
        """Report released blocks, and free memory that is not used; called by the control thread."""
        releases = self._shared.releases()
        if releases:
            self.send_frame(frame(protocol.RELEASE, 0, 0, 0, releases))
        self._shared.trim_idle(idle_s)

    def stacks(self, main: int) -> tuple[protocol.Stack, ...]:
        """Return the current stacks, the main thread's first; called by the control thread."""
        tasks, seq = self._tasks, self._running()
        if tasks is not None and tasks.has(seq):
            seq = tasks.current()  # the main thread is in its event loop
        try:
            return take_stacks(main, seq, tasks)
        except Exception:  # such as MemoryError
            return (protocol.Stack("main", "", seq, (), 0),)

    def note_memory(self) -> None:
        """Record the memory of the process, and its peak; called by the control thread."""
        try:
            status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # not Linux
            return
        try:
            text = os.read(status, 4096)
        finally:
            os.close(status)
        for word, label in ((PEAK, b"VmHWM:"), (RESIDENT, b"VmRSS:")):
            _, _, rest = text.partition(label)
            if rest:
                self._words[word] = int(rest.split(None, 1)[0]) << 10

    def emit(self, name: str, error: BaseException | None, details: dict[str, Any]) -> None:
        """Send an event; it must not raise, since no caller catches."""
        if self._forked:
            return
        try:
            failure = None if error is None else describe(error, include_exception=False)
            self.send_message(protocol.Event(name, "error", self.output.current_call(), failure, details))
        except BaseException:
            pass

    def _report_resource(self, name: str, during: str, error: BaseException | None) -> None:
        """Send the event that a resource could not be closed, or does not work any more."""
        self.emit("resource_failed", error, {"resource": name, "during": during})

    def _send_progress(self, message: protocol.Progress) -> None:
        if not self._forked:
            self.send_message(message)

    def _taint(self, seq: int, what: str) -> None:
        self._tainted = protocol.Tainted(seq, what)

    # -- forks ------------------------------------------------------------------------------------------

    def _after_fork(self) -> None:
        """Release what belongs to the worker, in a process that user code has forked from it."""
        self._forked = True
        self.output.detach()
        self.streams.after_fork()
        self._sock.close()

    def _exit_if_forked(self, error: BaseException | None) -> None:
        """Exit from a forked process when its function has returned, as a program does: it must not serve."""
        if not self._forked:
            return
        code: Any = 0
        if isinstance(error, SystemExit):
            code = error.code
        elif error is not None:
            sys.__excepthook__(type(error), error, error.__traceback__)
            code = 1
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)
