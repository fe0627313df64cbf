"""Requests for the stacks of workers: answered by the worker, or if it cannot, by `faulthandler` in it.

::

    request ── TakeStack ──> control thread ── StackTaken ──> report         1 ms; also while it is busy
     │
     └─ no answer: a signal ──> faulthandler ──> anonymous file ──> report   C code holds the GIL
         └─ no dump: the status of the process                               it is stopped
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..core import effects
from ..core.core import Core
from ..wire import fault_dump as dump
from ..wire import protocol
from ..wire.protocol import Stack
from ..wire.status_page import ANSWERED, BEGUN, DUMP_READY
from .inbox import settle
from .stack_report import StackReport, parse_dump

if TYPE_CHECKING:
    from ..core.slots import Slot
    from .link import Link
    from .outbox import Outbox

__all__ = ["StackRequests"]

_ANSWER_TIMEOUT_S = 0.15  # for the worker's own answer
_CHECK_S = 0.02  # a dump that has not grown for this long is complete
_ERROR_TIMEOUT_S = 0.05, 0.2  # how long the error of a call waits for the stack: minimum and maximum


class _Request:
    """A pending request to one worker."""

    def __init__(self, link: Link, on_report: Callable[[StackReport], object], for_error: bool) -> None:
        self.link = link
        self.on_report = [on_report]
        self.for_error = for_error
        self.names = {seq: str(call) for seq, call in link.slot.sent.items()}
        self.dump_requested = False


class StackRequests:
    """Requests the stacks of workers. All methods are called under the driver's lock.

    Parameters
    ----------
    core : Core
        Its timers are used.
    outbox : Outbox
        Sends the requests.
    links : dict
        The links, by incarnation.
    """

    def __init__(self, core: Core, outbox: Outbox, links: dict[int, Link]) -> None:
        self._core = core
        self._outbox = outbox
        self._links = links
        self._tokens = itertools.count(1)
        self._requests: dict[int, _Request] = {}
        self._dumping: set[Link] = set()
        self._asked: dict[int, tuple[Link, Callable[[Any], object]]] = {}

    def request_stacks(
        self, worker_id: int | None, timeout_s: float, on_report: Callable[[int, StackReport], object]
    ) -> list[int]:
        """Request the stacks of one worker, or of each; return which were requested.

        Parameters
        ----------
        worker_id : int or None
            The worker; None: all.
        timeout_s : float
            When a worker counts as unresponsive, in seconds.
        on_report : callable
            Called once per worker, perhaps immediately, with its number and its report.

        Raises
        ------
        NotRunningError, OptionError
        """
        core = self._core
        if core.state.phase in ("stopped", "stopping"):
            raise core.state.not_running()
        slots = sorted(core.state.slots) if worker_id is None else [core.supervisor.find(worker_id).id]
        for each in slots:
            link = self._links.get(core.state.slots[each].incarnation)
            if link is None:
                on_report(each, StackReport(_describe_without_process(core.state.slots[each])))
            else:
                self._send_request(link, timeout_s, partial(on_report, each))
        return slots

    def finish(self, effect: effects.FinishWithStack) -> None:
        """Settle a call with its error as soon as the report of its worker is there."""
        _, _, call, error = effect

        def fail(report: StackReport) -> None:
            error.stack = report
            settle(call, error)

        link = self._links.get(effect.incarnation)
        if link is None:
            fail(StackReport(f"worker {effect.slot} has ended"))
            return
        for request in self._requests.values():
            # Share a pending request, since calls may time out by the thousand: it was sent before the
            # message that stops this call.
            if request.link is link and request.for_error:
                request.on_report.append(fail)
                return
        # The stack must be taken before the worker is killed.
        min_s, max_s = _ERROR_TIMEOUT_S
        grace_s = self._core.state.options.interrupt_grace_ms / 1000
        self._send_request(link, min(max_s, max(min_s, 0.8 * grace_s)), fail, for_error=True)

    def request_of_calls(self, link: Link, on_stacks: Callable[[Sequence[Stack]], object]) -> None:
        """Request the stacks of the calls that a worker runs, however long it takes to answer.

        Parameters
        ----------
        link : Link
            The worker, whose main thread is not disturbed.
        on_stacks : callable
            Called with the stacks, under the driver's lock; not, if the process has exited first.
        """
        token = next(self._tokens)
        self._asked[token] = link, on_stacks
        self._outbox.request_stack(link, token, of_calls=True)

    def request_description(self, link: Link, on_answer: Callable[[protocol.Described], object]) -> None:
        """Request what the process of a worker runs with; otherwise as `request_of_calls`."""
        token = next(self._tokens)
        self._asked[token] = link, on_answer
        self._outbox.request_description(link, token)

    def described(self, token: int, answer: protocol.Described) -> None:
        """Handle the answer of a worker that says what it runs with."""
        if token in self._asked:
            self._asked.pop(token)[1](answer)

    def answered(self, token: int, stacks: Sequence[Stack]) -> None:
        """Handle the answer of a worker."""
        if token in self._asked:
            self._asked.pop(token)[1](stacks)
            return
        request = self._requests.get(token)
        if request is not None and request.dump_requested:
            # It is late. The dump was taken closer to the request, and is complete: one thread does both.
            stacks = _stacks_of_dump(request.link, request.link.process.dump.read()) or stacks
        self._report(token, stacks)

    def lost(self, link: Link) -> None:
        """Answer all requests to a process that has exited."""
        self._dumping.discard(link)
        self._asked = {token: each for token, each in self._asked.items() if each[0] is not link}
        for token, request in list(self._requests.items()):
            if request.link is link:
                self._resolve(token, StackReport(f"{_label(link)} ended before it could tell"))

    # -- internals --------------------------------------------------------------------------------------

    def _send_request(
        self,
        link: Link,
        timeout_s: float,
        on_report: Callable[[StackReport], object],
        for_error: bool = False,
    ) -> None:
        token = next(self._tokens)
        self._requests[token] = _Request(link, on_report, for_error)
        if link.dead or link.lost:
            self.lost(link)
            return
        self._outbox.request_stack(link, token)
        now, timers = time.monotonic(), self._core.state.timers
        timers.call_at(
            now + min(_ANSWER_TIMEOUT_S, 0.75 * timeout_s), lambda now: self._request_dump(token, now)
        )
        timers.call_at(now + timeout_s, lambda now: self._time_out(token))

    def _request_dump(self, token: int, now: float) -> None:
        request = self._requests.get(token)
        if request is None or not request.link.process.page.words[DUMP_READY]:
            return  # it has answered; or the signal would kill it
        request.dump_requested = True
        link = request.link
        if link in self._dumping and not link.process.dump.read():
            return  # signalled already, for another request, and not done yet
        link.process.dump.clear()
        if link.process.signal(dump.SIGNAL) and link not in self._dumping:
            self._dumping.add(link)
            self._schedule_dump_check(link, now, "", _CHECK_S)

    def _schedule_dump_check(self, link: Link, now: float, before: str, pause_s: float) -> None:
        self._core.state.timers.call_at(
            now + pause_s, lambda now: self._check_dump(link, now, before, pause_s)
        )

    def _check_dump(self, link: Link, now: float, before: str, pause_s: float) -> None:
        if link not in self._dumping:
            return
        tokens = [
            token for token, each in self._requests.items() if each.link is link and each.dump_requested
        ]
        text = link.process.dump.read()
        if tokens and (not text or text != before):
            self._schedule_dump_check(link, now, text, _CHECK_S if text else 2 * pause_s)
            return
        self._dumping.discard(link)
        stacks = _stacks_of_dump(link, text)
        for token in tokens if stacks else ():
            self._report(token, stacks)

    def _time_out(self, token: int) -> None:
        request = self._requests.get(token)
        if request is None:
            return
        link = request.link
        stacks = _stacks_of_dump(link, link.process.dump.read()) if request.dump_requested else []
        if stacks:
            self._report(token, stacks)
        else:
            self._resolve(token, StackReport(_describe_unresponsive(link)))

    def _report(self, token: int, stacks: Sequence[Stack]) -> None:
        request = self._requests.get(token)
        if request is None:  # timed out
            return
        slot = request.link.slot
        names = {**request.names, **{seq: str(call) for seq, call in slot.sent.items()}}
        self._resolve(token, StackReport(_describe(request.link, stacks, names), stacks, names))

    def _resolve(self, token: int, report: StackReport) -> None:
        for on_report in self._requests.pop(token).on_report:
            on_report(report)


def _label(link: Link) -> str:
    return f"worker {link.slot.id} (pid {link.process.worker_pid})"


def _describe(link: Link, stacks: Sequence[Stack], names: dict[int, str]) -> str:
    """Return a summary of what a worker does."""
    worker, slot = _label(link), link.slot
    seq, since_s = link.running()
    main = stacks[0].seq
    if main in names:
        ran = f" for {time.monotonic() - since_s:.2f} s" if main == seq and since_s else ""
        return f"{worker} runs {names[main]}{ran}"
    if not slot.ready_since:
        return f"{worker} starts"
    if slot.installing or slot.aborted:
        return f"{worker} installs definitions"
    waiting = [names[stack.seq] for stack in stacks if stack.seq in names]
    if waiting:
        return f"{worker} waits in {_shortened_list(waiting)}"
    return f"{worker} waits for calls"


def _stacks_of_dump(link: Link, text: str) -> list[Stack]:
    """Return the stacks of a dump; the running call is read from the status page."""
    _, stacks = parse_dump(text)
    words = link.process.page.words
    begun = words[BEGUN]
    call = link.slot.sent.get(begun)
    if stacks and call is not None and call.record is not None and begun != words[ANSWERED]:
        # With several coroutines, another one may be running.
        certain = not call.record.is_async or len(link.slot.sent) == 1
        stacks[0] = stacks[0]._replace(seq=begun if certain else 0)
    return stacks


def _shortened_list(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])


def _describe_unresponsive(link: Link) -> str:
    status = link.process.usage.status()
    return f"{_label(link)} does not answer" + (f"; {status}" if status else "")


def _describe_without_process(slot: Slot) -> str:
    return f"worker {slot.id} is {slot.state.value}, and has no process now"
