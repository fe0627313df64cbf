"""The output of functions, from the workers to the sink that shows it."""

from __future__ import annotations

import io
import logging
import math
import select
import sys
from _thread import allocate_lock, get_ident
from collections import deque
from collections.abc import Callable
from operator import length_hint
from typing import Any, NamedTuple

from ..interrupts.hold import HeldInterrupts, acquire, is_of_handler, poll
from ..interrupts.locks import SignalSafeLock
from .condition import time_left

__all__ = [
    "Output",
    "OutputDisplay",
    "OutputQueue",
    "OutputRecord",
    "OutputText",
    "RecentOutput",
    "escaped",
    "log_here",
    "write_out",
    "write_text",
]

_MAX_CHARACTERS = 4000  # of a worker's recent output
_MAX_LINES = 20
_MAX_WAITING = 1 << 25  # characters that wait for a sink which takes nothing
_PIECE = 1024  # characters: no more bytes than a pipe takes at once, however they are encoded


class OutputText(NamedTuple):
    """Text that a function printed.

    Parameters
    ----------
    text : str
        The text; several lines, or a part of one.
    origin : object
        What the pool's `origin` was when the call was made.
    stream : {"stdout", "stderr"}
        The stream that it was written to.
    worker_id : int
        The slot.
    call_id : int or None
        The call; None if no call was running.
    side_by_side : bool or None
        Whether another worker has calls of the same origin, too. None: that does not matter, since the text
        would be the same from any worker (a warning).
    """

    text: str
    origin: Any
    stream: str
    worker_id: int
    call_id: int | None
    side_by_side: bool | None = False


class OutputDisplay(NamedTuple):
    """What a function displayed, as in a notebook.

    Parameters
    ----------
    text : str
        Its plain text, a line or several; empty if it has none.
    origin, stream, worker_id, call_id : object
        As of `OutputText`; the stream is ``"stdout"``.
    kind : {"display_data", "update_display_data", "clear_output"}
        Which message of Jupyter it is.
    content : dict
        The content of that message.
    """

    text: str
    origin: Any
    stream: str
    worker_id: int
    call_id: int | None
    kind: str
    content: dict[str, Any]


class OutputRecord(NamedTuple):
    """A log record of a function.

    Parameters
    ----------
    text : str
        Its message, a line or several.
    origin, stream, worker_id, call_id : object
        As of `OutputText`; the stream is ``"stderr"``.
    record : dict
        The attributes of the record, of which `worker_id` and `call`, as ``"clean #7"``, are ours.
    """

    text: str
    origin: Any
    stream: str
    worker_id: int
    call_id: int | None
    record: dict[str, Any]


Output = OutputText | OutputDisplay | OutputRecord


def log_here(output: OutputRecord) -> None:
    """Pass a record to the logger of the same name in this process, if that takes its level."""
    record = logging.makeLogRecord(output.record)
    logger = logging.getLogger(record.name)
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def write_out(output: Output) -> None:
    """Write text to this process's own stream of the same name."""
    stream = sys.stdout if output.stream == "stdout" else sys.stderr
    if stream is None:
        return
    room = _room_of(stream)
    if room is None:
        write_text(stream, output.text)
        stream.flush()
        return
    # A thread that blocks in the write to a full pipe holds the stream's lock, without which the program can
    # neither print nor end. So this one blocks where it holds nothing, and writes what there is room for.
    for start in range(0, len(output.text), _PIECE):
        poll(room)
        write_text(stream, output.text[start : start + _PIECE])
        stream.flush()


def _room_of(stream: Any) -> select.poll | None:
    """Return what waits until a stream has room; None if it has no descriptor of its own."""
    if type(stream) is not io.TextIOWrapper:
        return None
    try:
        fd = stream.fileno()
    except (OSError, ValueError):  # it writes to memory, or is closed
        return None
    room = select.poll()
    room.register(fd, select.POLLOUT)
    return room


def write_text(stream: Any, text: str) -> None:
    r"""Write text to a stream; what the stream cannot encode is escaped.

    Examples
    --------
    >>> import io
    >>> stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    >>> write_text(stream, "naïve\n")
    >>> stream.flush()
    >>> stream.buffer.getvalue()
    b'na\\xefve\n'
    """
    try:
        stream.write(text)
    except UnicodeEncodeError:
        stream.write(escaped(text, getattr(stream, "encoding", None) or "ascii"))


def escaped(text: str, encoding: str = "utf-8") -> str:
    r"""Return text in which what an encoding does not have is escaped.

    Examples
    --------
    >>> print(escaped("half a pair: \ud83d"))
    half a pair: \ud83d
    """
    if text.isascii():
        return text
    try:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except (LookupError, UnicodeError):  # an encoding that is unknown, or not only one
        return text.encode("ascii", "backslashreplace").decode("ascii")


class OutputQueue:
    """A queue of texts, delivered to the sink in order, one at a time.

    The sink is other people's code: it may block, and raise anything. So whoever waits with a timeout leaves
    the delivery to the output thread, and SIGINT is let through while the main thread calls the sink.

    Parameters
    ----------
    post : callable
        Has the output thread call a function; returns whether there is such a thread.

    Attributes
    ----------
    sink : callable
        Called with each text and display, in a thread that waits for a call or in the output thread; never
        under the driver's lock. Log records go to its method ``log`` if it has one, else to the loggers here.
    waiting : deque
        The texts not delivered yet.
    deliverer : int
        The thread that is calling the sink; 0: none.
    """

    def __init__(self, post: Callable[[Callable[[], object]], bool]) -> None:
        self._post = post
        self.sink: Callable[[Any], object] = write_out
        self.after_fork()

    def after_fork(self) -> None:
        """Drop everything, in a fork: the parent process delivers it."""
        self.waiting: deque[Output | _Gap] = deque()
        self.deliverer = 0
        # Held briefly, and never while the sink runs; reentrant for finalizers, which may print; as that of
        # `Callbacks`.
        self._lock = SignalSafeLock()
        self._waiters: list[Any] = []  # locks, each released when a text has been delivered
        self._posted = False  # whether the output thread has been told
        self._added = self._done = 0  # texts
        self._size_added = self._size_done = 0  # characters, counted by two threads

    def add(self, text: Output) -> None:
        """Enqueue a text; if too much is waiting, only its size. Under the driver's lock."""
        size = _size(text)
        if self._size_added - self._size_done > _MAX_WAITING:
            with self._lock:
                last = self.waiting[-1] if self.waiting else None
                if isinstance(last, _Gap):
                    last.size += size
                else:
                    self.waiting.append(_Gap(text, size))
                    self._added += 1
            return
        self._size_added += size
        self._added += 1
        self.waiting.append(text)

    def deliver_soon(self) -> bool:
        """Have the output thread deliver all texts; return False if there is no thread for it."""
        if self.waiting and not self._posted:
            self._posted = True  # before the output thread may reset it
            if not self._post(self._deliver_posted):
                self._posted = False
                return False
        return True

    def _deliver_posted(self) -> None:
        self._posted = False
        self._deliver()

    def deliver_here(self, interrupts: HeldInterrupts) -> None:
        """Deliver the texts that are there now."""
        self._deliver(interrupts, self._added)

    def _deliver(self, interrupts: HeldInterrupts | None = None, up_to: float = math.inf) -> None:
        """Deliver texts; if another thread is doing so, it delivers these as well.

        Parameters
        ----------
        interrupts : HeldInterrupts, optional
            What holds SIGINT back here; it is let through while the sink is called.
        up_to : float
            After how many texts, counted from the first of all, to leave the rest to the output thread.
        """
        while self.waiting and self._done < up_to and self._begin():
            try:
                while self.waiting and self._done < up_to:
                    self._deliver_one(interrupts)
            finally:
                self.deliverer = 0
                self._wake()
                self.deliver_soon()

    def _begin(self) -> bool:
        """Become the thread that calls the sink; return whether there was none."""
        with self._lock:
            if self.deliverer:
                return False
            self.deliverer = get_ident()
            return True

    def _deliver_one(self, interrupts: HeldInterrupts | None) -> None:
        with self._lock:
            next_ = self.waiting.popleft()
        text: Output = next_.as_text() if isinstance(next_, _Gap) else next_
        sink: Callable[[Any], object]
        sink = getattr(self.sink, "log", log_here) if type(text) is OutputRecord else self.sink
        # A handler may raise before each instruction: so the text is taken and the sink called within one.
        to_give = iter((text,))
        give = map(sink, to_give)
        try:
            if interrupts is None:
                next(give)
            else:
                interrupts.wait(next, give)
        except BaseException as error:
            if length_hint(to_give) or (interrupts is not None and is_of_handler(error)):
                raise
            # Otherwise it is the sink's: a broken display must not break a call.
        finally:
            if not length_hint(to_give):
                if not isinstance(next_, _Gap):
                    self._size_done += _size(text)
                self._done += 1
                self._wake()
            else:  # a signal handler has raised before
                with self._lock:
                    self.waiting.appendleft(next_)

    def _wake(self) -> None:
        with self._lock:
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.release()

    def finish(self, deadline: float | None = None) -> None:
        """Return when all texts that are there now have been delivered, by any thread, or at the deadline."""
        if not (self.waiting or self.deliverer):
            return
        ticket = self._added
        with HeldInterrupts() as interrupts:
            # The sink itself may wait for a call: it need not have been called for that.
            while self._done < ticket and self.deliverer != get_ident():
                here = deadline is None or not self.deliver_soon()
                if here:
                    self._deliver(interrupts, ticket)
                with self._lock:
                    if self._done >= ticket or (here and not self.deliverer):
                        continue
                    waiter = allocate_lock()
                    waiter.acquire()
                    self._waiters.append(waiter)
                if not interrupts.wait(acquire, waiter, time_left(deadline)):
                    return

    def when_finished(self, callback: Callable[[], object]) -> bool:
        """Call `callback`, in another thread, when all texts that are there now have been delivered.

        Returns
        -------
        bool
            False if there are none, or the sink itself asks: then it is not called.
        """
        with self._lock:
            if self._done >= self._added or self.deliverer == get_ident():
                return False
            self._waiters.append(_Ticket(self, self._added, callback))
        return True

    def is_past(self, ticket: int) -> bool:
        """Whether so many texts have been delivered, counted from the first of all."""
        return self._done >= ticket

    def wait_again(self, ticket: _Ticket) -> None:
        """Release a ticket again when the next text has been delivered."""
        with self._lock:
            self._waiters.append(ticket)


class _Ticket:
    """A waiter that calls back when so many texts have been delivered."""

    def __init__(self, queue: OutputQueue, number: int, callback: Callable[[], object]) -> None:
        self._queue = queue
        self._number = number
        self._callback = callback

    def release(self) -> None:
        if self._queue.is_past(self._number):
            self._callback()
        else:
            self._queue.wait_again(self)


class _Gap:
    """Stands in the queue for texts that were left out."""

    def __init__(self, first: Output, size: int) -> None:
        self._first = first
        self.size = size

    def as_text(self) -> OutputText:
        why = "the output sink took nothing for too long"
        return OutputText(f"\n[{self.size:,} characters were left out here: {why}]\n", *self._first[1:5])


def _size(output: Output) -> int:
    if not isinstance(output, OutputDisplay):
        return len(output.text)
    return sum(len(value) for value in output.content.get("data", {}).values() if isinstance(value, str))


class RecentOutput:
    r"""The last output of the calls of a worker.

    Examples
    --------
    >>> recent = RecentOutput()
    >>> recent.add(7, "one\ntwo\n")
    >>> recent.add(8, "three\n")
    >>> recent.of(7)
    'one\ntwo\n'
    """

    def __init__(self) -> None:
        self._output: deque[tuple[int | None, str]] = deque()
        self._size = 0

    def add(self, call_id: int | None, text: str) -> None:
        """Append a text."""
        text = text[-_MAX_CHARACTERS:]
        self._output.append((call_id, text))
        self._size += len(text)
        while self._size > _MAX_CHARACTERS:
            self._size -= len(self._output.popleft()[1])

    def latest(self) -> list[tuple[int | None, str]]:
        """Return the last texts, oldest first, each with the call that has printed it."""
        return list(self._output)

    def of(self, call_id: int) -> str:
        """Return the last lines that a call printed."""
        text = "".join(text for printed_by, text in self._output if printed_by == call_id)
        return "".join(text.splitlines(keepends=True)[-_MAX_LINES:])
