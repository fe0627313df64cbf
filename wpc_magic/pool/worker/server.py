"""The worker's main thread: reads, runs, answers.

Functions run one at a time in this thread. A coroutine runs on an event loop, also in this thread, and
interleaves with others; the loop stands still while a plain function runs, and is not running then, so that
the function may run a loop of its own.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from types import CoroutineType

from wpc_magic.pool.errors import CallInterrupted, RequirementMissingError
from wpc_magic.pool.wire import protocol
from wpc_magic.pool.wire.channel import Reader, frame, send_all
from wpc_magic.pool.wire.codec import decode, encode, pack
from wpc_magic.pool.wire.late import own_path
from wpc_magic.pool.wire.page import ANSWERED, BEGUN, PEAK, SINCE, StatusPage
from wpc_magic.pool.wire.placed import Placed
from wpc_magic.pool.worker.exchange import IDLE_S
from wpc_magic.pool.worker.output import Output
from wpc_magic.pool.worker.runtime import Runtime
from wpc_magic.pool.worker.stacks import take_stacks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket  # without its Python half, which `socket.socket` adds
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    from wpc_magic.pool.wire.channel import Bytes, Frame
    from wpc_magic.pool.worker.exchange import Exchange
    from wpc_magic.pool.worker.tasks import Tasks

__all__ = ["Server"]

_PACKAGE = __name__.partition(".")[0] + "."


class Server:
    """Serves the call channel.

    Parameters
    ----------
    sock : socket
        The call channel; it blocks.
    page : StatusPage
        Where what runs is written down.
    exchange : Exchange
        Shared memory.

    Attributes
    ----------
    output : Output
        What functions print.
    leaving : bool
        Whether the worker is to end.
    """

    def __init__(self, sock: socket, page: StatusPage, exchange: Exchange) -> None:
        self.leaving = False
        self.output = Output(self._print, lambda: self._begun)
        self._sock = sock
        self._reader = Reader(sock)
        self._sending = threading.RLock()
        self._in_frame = False
        self._unsent: list[list[Bytes]] = []
        self._words = page.words
        self._runtime = Runtime(exchange.constant, page.note_installing)
        self._exchange = exchange
        self._claims = threading.Lock()
        self._begun = 0
        self._revoked: set[int] = set()
        self._armed = False
        self._interrupting: set[int] = set()  # calls that are to end
        self._raised: CallInterrupted | None = None  # in it
        self._stained: protocol.Stained | None = None  # what an interrupt has torn: nothing more begins here
        self._stain_told = False
        self._forked = False
        self._tasks: Tasks | None = None  # with the first coroutine
        os.register_at_fork(after_in_child=self._after_fork)

    # -- the loop ---------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Serve until the pool says to leave, or is gone.

        Raises
        ------
        Exception
            If what comes makes no sense, or the socket is broken.
        """
        while not (self.leaving or self._reader.eof):
            frames = self._tasks.run() if self._tasks else self._reader.read()
            while frames and not self.leaving:
                self._handle(frames.pop(0))  # not kept: it may be large, and the next read may be far
        if self._tasks is not None:
            self._tasks.cancel()
        self.output.flush()

    def leave(self) -> None:
        """Have `serve` return, also if it waits; called by the control thread."""
        self.leaving = True
        try:
            self._sock.shutdown(0)  # of reading: what waits in `recv`, or in the event loop, wakes up
        except OSError:
            pass  # the other end is gone

    def _handle(self, one: Frame) -> None:
        kind, epoch, target, seq, body, buffers = one
        if kind == protocol.CALL or kind == protocol.CHUNK:
            if self._stained:  # the pool ends this process; what has not begun by then runs elsewhere
                self._exchange.drop(buffers)
                return
            with self._claims:
                if seq in self._revoked:  # the control thread has given it up
                    self._revoked.discard(seq)
                    self._exchange.drop(buffers)
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
            self._obey(message)
        elif kind == protocol.RELEASE:
            self._exchange.released(body)
        else:
            self._obey(kind)

    def _obey(self, message: Any) -> None:
        if isinstance(message, protocol.Install):
            self._install(message)
        elif isinstance(message, protocol.Forget):
            self._runtime.forget(message.epoch)
        elif isinstance(message, protocol.Setup):
            # After our own imports, so that a ``queue.py`` beside the notebook breaks nothing here.
            sys.path[:] = message.path
            self._runtime.context.worker_id = message.worker_id
        elif isinstance(message, protocol.Blocks):
            self._exchange.set_up(message.limit, message.in_memory)
        elif isinstance(message, protocol.Leave):
            self.leaving = True
        else:
            self.notice("malformed_parent_message", None, {"what": repr(message)[:200]})

    def _install(self, message: protocol.Install) -> None:
        answer: protocol.FromWorker = protocol.Installed(message.epoch)
        try:
            self._runtime.install(message)
        except BaseException as error:
            answer = protocol.Refused(message.epoch, _describe(error), self._runtime.installing)
        self._leave_if_forked(None)
        self.output.flush()
        self.tell(answer)

    def revoke(self, seqs: tuple[int, ...]) -> tuple[int, ...]:
        """Give up those of the calls that have not begun, and return them. Called by the control thread."""
        with self._claims:
            # Calls begin in the order of their numbers, so one comparison tells.
            given_up = tuple(seq for seq in seqs if seq > self._begun and seq not in self._revoked)
            self._revoked.update(given_up)
        return given_up

    # -- one call ---------------------------------------------------------------------------------------

    def _call(self, kind: int, epoch: int, target: int, seq: int, body: Any, buffers: Any) -> None:
        runtime = self._runtime
        began = 0
        try:
            if epoch != runtime.active:
                self._switch(epoch)
            function = runtime.functions.get(target)
            if function is None:
                raise RequirementMissingError(f"revision {target} of the function is not here")
            if buffers and isinstance(buffers, Placed):
                placed, buffers = buffers, ()
                buffers = self._exchange.arguments(placed)
            arguments = decode(body, buffers)
            buffers = ()
            self._words[SINCE] = began = time.monotonic_ns()
            try:
                self._armed = True
                if kind == protocol.CALL:
                    args, kwargs = arguments
                    value = function(*args, **kwargs)
                else:
                    value = _run_chunk(function, arguments)
            finally:
                self._armed = False
        except BaseException as error:
            self._armed = False  # the interrupt may have come between the two lines above
            if buffers and isinstance(buffers, Placed):
                self._exchange.drop(buffers)
            self._fail(seq, began, error)
            return
        arguments = args = kwargs = None  # what they are built on is free again, as this answer says
        first = value[0][0] if kind == protocol.CHUNK and value[0] else value
        if type(first) is CoroutineType:
            self._begin_task(kind, seq, began, value)
        else:
            self._answer(kind, seq, began, value)

    def _switch(self, epoch: int) -> None:
        """Take up another epoch, once the coroutines of the one before have ended: they see its names."""
        if self._tasks is not None:
            early: list[Frame] = []  # what comes meanwhile; its turn is after this call's
            while self._tasks.count and not (self.leaving or self._reader.eof):
                early += self._tasks.run()
            self._tasks.inbox = early
        if self.leaving:
            raise CallInterrupted("the pool is stopping")
        self._runtime.activate(epoch)

    def _answer(self, kind: int, seq: int, began: int, value: Any) -> None:
        ran = time.monotonic_ns() - began
        try:
            body, buffers = encode(value)
        except BaseException as error:
            note = f"the value that it returned ({type(value).__name__}) cannot be sent"
            if kind == protocol.CALL:
                self._fail(seq, began, error, note)
                return
            try:
                body, buffers = _encode_what_goes(value)
            except BaseException as error:
                self._fail(seq, began, error, note)
                return
        self._send(self._exchange.answer(protocol.VALUE, ran, seq, body, buffers), seq)

    def _fail(self, seq: int, began: int, error: BaseException, note: str = "") -> None:
        self._leave_if_forked(error)
        ran = time.monotonic_ns() - began if began else 0
        body = pack(_describe(error, note))
        self._send(frame(protocol.ERROR, 0, ran, seq, body), seq)

    def _send(self, pieces: list[Bytes], seq: int) -> None:
        if self._forked:
            self._leave_if_forked(None)
        if not self.output.empty:
            self.output.flush()
        news = self._exchange.news()
        if news:
            pieces = [*frame(protocol.RELEASE, 0, 0, 0, news), *pieces]
        if self._stained and not self._stain_told:
            self._stain_told = True
            # Before the answer: that makes room here for another call, which would end with this process.
            pieces = [*frame(protocol.MESSAGE, 0, 0, 0, pack(self._stained)), *pieces]
        self.post(pieces)
        self._words[ANSWERED] = seq

    # -- coroutines -------------------------------------------------------------------------------------

    def _begin_task(self, kind: int, seq: int, began: int, value: Any) -> None:
        try:
            if self._tasks is None:
                self._tasks = self._make_tasks()
            coroutine = value if kind == protocol.CALL else _await_chunk(value)
            self.post(frame(protocol.BEGAN, 0, began, seq, b""))
            self._tasks.begin(seq, coroutine, lambda task: self._end_task(kind, seq, began, task))
        except Exception as error:
            self._fail(seq, began, error)

    def _make_tasks(self) -> Tasks:
        with own_path:
            from wpc_magic.pool.worker.tasks import Tasks
        tasks = Tasks(self._reader, self.notice)
        self.output.tag = tasks.tag
        return tasks

    def _end_task(self, kind: int, seq: int, began: int, task: Any) -> None:
        try:
            value = task.result()
        except BaseException as error:
            self._fail(seq, began, error)
        else:
            self._answer(kind, seq, began, value)

    # -- to the pool ------------------------------------------------------------------------------------

    def post(self, pieces: list[Bytes]) -> None:
        """Send a frame that answers no call. Any thread may."""
        with self._sending:
            if self._in_frame:
                # A signal handler or a finalizer of the user's prints while we are in the middle of a frame.
                self._unsent.append(pieces)
                return
            self._in_frame = True
            try:
                send_all(self._sock, pieces)
                while self._unsent:
                    send_all(self._sock, self._unsent.pop(0))
            finally:
                self._in_frame = False

    def tell(self, message: protocol.FromWorker) -> None:
        """Send a message. Any thread may."""
        body = pack(message)
        self.post(frame(protocol.MESSAGE, 0, 0, 0, body))

    def tidy(self, idle_s: float = IDLE_S) -> None:
        """Tell what is not needed any more, and give back what is not used; called by the control thread."""
        news = self._exchange.news()
        if news:
            self.post(frame(protocol.RELEASE, 0, 0, 0, news))
        self._exchange.tidy(idle_s)

    def stacks(self, main: int) -> tuple[protocol.Stack, ...]:
        """Return what runs at this moment, the main thread's first; called by the control thread."""
        tasks, seq = self._tasks, self._begun
        if tasks is not None and tasks.has(seq):
            seq = tasks.now()  # the main thread is with its loop
        elif seq == self._words[ANSWERED]:
            seq = 0
        try:
            return take_stacks(main, seq, tasks)
        except Exception:  # no memory, say
            return (protocol.Stack("main", "", seq, (), 0),)

    def note_memory(self) -> None:
        """Write down how much memory the process has had at most; called by the control thread."""
        try:
            status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # not Linux
            return
        try:
            _, _, rest = os.read(status, 4096).partition(b"VmHWM:")
        finally:
            os.close(status)
        if rest:
            self._words[PEAK] = int(rest.split(None, 1)[0]) << 10

    def notice(self, name: str, error: BaseException | None, details: dict[str, Any]) -> None:
        """Send an event; it must not raise, since it is called where nobody catches."""
        if self._forked:
            return
        try:
            failure = None if error is None else _describe(error, itself=False)
            self.tell(protocol.Noticed(name, "error", self.output.caller(), failure, details))
        except BaseException:
            pass

    def _print(self, seq: int, stream: str, text: str) -> None:
        self.tell(protocol.Printed(seq, stream, text))

    # -- interrupts, forks ------------------------------------------------------------------------------

    def interrupt(self, seq: int) -> None:
        """Begin to end a call; called by the control thread, which then sends SIGINT until it has ended."""
        self._raised = None
        self._interrupting.add(seq)
        if self._tasks is not None:
            self._tasks.cancel_soon(seq)

    def is_interrupting(self) -> bool:
        """Whether there is something to end still."""
        running, tasks = self._begun, self._tasks
        for seq in list(self._interrupting):
            goes_on = seq == running and self._words[ANSWERED] != seq
            if not goes_on and (tasks is None or not tasks.has(seq)):
                self._interrupting.discard(seq)  # it has ended, or was given up
        return self.leaving or bool(self._interrupting)

    def on_interrupt(self, signum: int, at: FrameType | None) -> None:
        """End the function that runs, if that is wanted; the handler of SIGINT.

        The notebook's stop button and a terminal's Ctrl-C may send the same signal: alone it does nothing.
        While code of ours runs on top of the function's (it prints, say), the next signal will do. While the
        function cleans up, in a ``finally`` or an ``__exit__``, it is left alone: the pool gives it a time.
        """
        if not self._may_raise(at) or self._is_cleaning_up():
            return
        if _imports(at):
            seq = self._begun if self._armed or self._tasks is None else self._tasks.stepping()
            self._stained = protocol.Stained(seq, "an import was interrupted")
        why = "the pool is stopping" if self.leaving else "the call was ended from outside"
        self._raised = CallInterrupted(why)
        raise self._raised

    def _may_raise(self, at: FrameType | None) -> bool:
        if self._armed and (self.leaving or self._begun in self._interrupting):
            while at is not None and at.f_code is not _CALL_CODE and at.f_code is not _CHUNK_CODE:
                if str(at.f_globals.get("__name__", "")).startswith(_PACKAGE):
                    return False
                at = at.f_back
            return True
        if self._tasks is None or self._tasks.stepping() not in self._interrupting:
            return False
        # A step of its coroutine, or of a task of that, keeps the loop from cancelling it.
        name = str(at.f_globals.get("__name__", "")) if at is not None else ""
        return not name.startswith((_PACKAGE, "asyncio."))

    def _is_cleaning_up(self) -> bool:
        """Whether the exception that was raised before is being handled at this moment."""
        error, depth = sys.exc_info()[1], 0
        while error is not None and depth < 100:
            if error is self._raised:
                return True
            error, depth = error.__context__, depth + 1
        return False

    def _after_fork(self) -> None:
        """Let go of what is the parent's, in the child of a fork that a function has made."""
        self._forked = True
        self.output.detach()
        self._sock.close()

    def _leave_if_forked(self, error: BaseException | None) -> None:
        """End a child that comes back here out of its function, as a program ends: it must not serve."""
        if not self._forked:
            return
        code: Any = 0
        if isinstance(error, SystemExit):
            code = error.code
        elif error is not None:
            sys.__excepthook__(type(error), error, error.__traceback__)
            code = 1
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _imports(at: FrameType | None) -> bool:
    """Tell whether a module is being imported: where that is torn, it may never be imported whole again."""
    while at is not None:
        if at.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        at = at.f_back
    return False


def _run_chunk(function: Callable[..., Any], columns: tuple[list[Any], ...]) -> tuple[list[Any], Any]:
    """Call the function for each item; return the values, and the failure that ended them or None."""
    values: list[Any] = []
    try:
        values.extend(map(function, *columns))  # where it fails, the values before are in
        if len(values) < len(columns[0]):
            # `map` takes a StopIteration of the function for the end of the items.
            raise RuntimeError("the function raised StopIteration")
    except BaseException as error:
        return values, _describe(error)
    return values, None


async def _await_chunk(value: tuple[list[Any], Any]) -> tuple[list[Any], Any]:
    """Await the coroutines of a chunk side by side; return as `_run_chunk` does."""
    import asyncio

    coroutines, failure = value
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    await asyncio.gather(*tasks, return_exceptions=True)
    values: list[Any] = []
    for task in tasks:  # not by what `gather` returns: a value may be an exception, too
        try:
            values.append(task.result())
        except BaseException as error:
            return values, _describe(error)
    return values, failure


def _encode_what_goes(value: tuple[list[Any], Any]) -> tuple[bytes, list[memoryview]]:
    """Encode a chunk's values up to the first that cannot be pickled, and say so of that one."""
    values, failure = value
    for n, one in enumerate(values):
        try:
            encode(one)
        except BaseException as error:
            note = f"the value that it returned ({type(one).__name__}) cannot be sent"
            values, failure = values[:n], _describe(error, note)
            break
    return encode((values, failure))


def _describe(error: BaseException, note: str = "", *, itself: bool = True) -> protocol.Failure:
    try:
        if _FAILURE not in sys.modules:
            with own_path:
                __import__(_FAILURE)
        from wpc_magic.pool.worker.failure import describe

        return describe(error, note, itself=itself)
    except BaseException:  # no memory, say
        return protocol.Failure(None, type(error).__name__, "", "", note)


_FAILURE = "wpc_magic.pool.worker.failure"
_CALL_CODE = Server._call.__code__
_CHUNK_CODE = _run_chunk.__code__
