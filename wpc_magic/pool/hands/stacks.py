"""What workers do right now: asked of the worker, or where it cannot answer, of `faulthandler` in it.

::

    ask ── TakeStack ──> control thread ── StackTaken ──> taken          a millisecond; also while it is busy
     │
     └─ no answer: a signal ──> faulthandler ──> memory file ──> read    C code holds the GIL
         └─ nothing there: what the system says of the process           it is stopped
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import psutil

from ..mind import effects
from ..mind.core import Core
from ..wire import dump
from ..wire.page import ANSWERED, BEGUN, DUMPS
from ..wire.protocol import Stack
from .inbox import settle
from .seen import Seen, parse_dump

if TYPE_CHECKING:
    from ..mind.slots import Slot
    from .link import Link
    from .outbox import Outbox

__all__ = ["Stacks"]

_PATIENCE_S = 0.15  # for the worker's own answer
_LOOK_S = 0.02  # a dump that has not grown for so long is whole
_WITH_AN_ERROR_S = 0.05, 0.2  # for which the end of a call waits for the stack, at least and at most


class _Request:
    """What was asked of one worker, and is not answered."""

    def __init__(self, link: Link, tell: Callable[[Seen], object], goes_with_errors: bool) -> None:
        self.link = link
        self.tell = [tell]
        self.goes_with_errors = goes_with_errors
        self.names = {seq: str(call) for seq, call in link.slot.sent.items()}
        self.dumps = False  # whether its worker has been told to dump


class Stacks:
    """Asks workers for their stacks. All methods are called under the driver's lock.

    Parameters
    ----------
    core : Core
        Whose timers are used.
    outbox : Outbox
        Sends the question.
    links : dict
        The links by the lives of their processes.
    """

    def __init__(self, core: Core, outbox: Outbox, links: dict[int, Link]) -> None:
        self._core = core
        self._outbox = outbox
        self._links = links
        self._tokens = itertools.count(1)
        self._requests: dict[int, _Request] = {}
        self._dumping: set[Link] = set()

    def look_at(self, number: int | None, limit_s: float, tell: Callable[[int, Seen], object]) -> list[int]:
        """Look what one worker does, or each; return which are looked at.

        Parameters
        ----------
        number : int or None
            The worker; None: all.
        limit_s : float
            After how long a worker counts as not answering, in seconds.
        tell : callable
            Told of each, once: its number, and what it does. Perhaps at once.

        Raises
        ------
        NotRunningError, OptionError
        """
        core = self._core
        if core.state.phase in ("stopped", "stopping"):
            raise core.state.not_running()
        slots = sorted(core.state.slots) if number is None else [core.supervisor.find(number).id]
        for each in slots:
            link = self._links.get(core.state.slots[each].life)
            if link is None:
                tell(each, Seen(_without_process(core.state.slots[each])))
            else:
                self._ask(link, limit_s, partial(tell, each))
        return slots

    def finish(self, effect: effects.FinishWithStack) -> None:
        """End a call with its error as soon as the stack of its worker is in that, or will not be."""
        _, _, call, error = effect

        def end(seen: Seen) -> None:
            error.stack = seen
            settle(call, error)

        link = self._links.get(effect.life)
        if link is None:
            end(Seen(f"worker {effect.slot} has ended"))
            return
        for request in self._requests.values():
            # Its question is ahead of the order that ends this call: calls may time out by the thousand.
            if request.link is link and request.goes_with_errors:
                request.tell.append(end)
                return
        # The stack is taken before the worker is ended by force.
        least_s, most_s = _WITH_AN_ERROR_S
        grace_s = self._core.state.options.interrupt_grace_ms / 1000
        self._ask(link, min(most_s, max(least_s, 0.8 * grace_s)), end, goes_with_errors=True)

    def taken(self, token: int, stacks: Sequence[Stack]) -> None:
        """Take the answer of a worker."""
        request = self._requests.get(token)
        if request is not None and request.dumps:
            # It comes late. What was dumped is nearer to the moment, and whole: one thread does both.
            stacks = _dumped(request.link, request.link.process.dump.read()) or stacks
        self._tell(token, stacks)

    def lost(self, link: Link) -> None:
        """Note that a process is gone: it answers nothing any more."""
        self._dumping.discard(link)
        for token, request in list(self._requests.items()):
            if request.link is link:
                self._end(token, Seen(f"{_process(link)} ended before it could tell"))

    # -- how it is done ---------------------------------------------------------------------------------

    def _ask(
        self, link: Link, limit_s: float, tell: Callable[[Seen], object], goes_with_errors: bool = False
    ) -> None:
        token = next(self._tokens)
        self._requests[token] = _Request(link, tell, goes_with_errors)
        if link.dead or link.lost:
            self.lost(link)
            return
        self._outbox.ask_stack(link, token)
        now, timers = time.monotonic(), self._core.state.timers
        timers.at(now + min(_PATIENCE_S, 0.75 * limit_s), lambda now: self._have_it_dump(token, now))
        timers.at(now + limit_s, lambda now: self._give_up(token))

    def _have_it_dump(self, token: int, now: float) -> None:
        request = self._requests.get(token)
        if request is None or not request.link.process.page.words[DUMPS]:
            return  # it has answered; or the signal would end it
        request.dumps = True
        link = request.link
        if link in self._dumping and not link.process.dump.read():
            return  # it has been told, for another request, and has not come to it
        link.process.dump.clear()
        if link.process.signal(dump.SIGNAL) and link not in self._dumping:
            self._dumping.add(link)
            self._look_soon(link, now, "", _LOOK_S)

    def _look_soon(self, link: Link, now: float, before: str, pause_s: float) -> None:
        self._core.state.timers.at(now + pause_s, lambda now: self._look(link, now, before, pause_s))

    def _look(self, link: Link, now: float, before: str, pause_s: float) -> None:
        if link not in self._dumping:
            return
        tokens = [token for token, each in self._requests.items() if each.link is link and each.dumps]
        text = link.process.dump.read()
        if tokens and (not text or text != before):
            self._look_soon(link, now, text, _LOOK_S if text else 2 * pause_s)
            return
        self._dumping.discard(link)
        stacks = _dumped(link, text)
        for token in tokens if stacks else ():
            self._tell(token, stacks)

    def _give_up(self, token: int) -> None:
        request = self._requests.get(token)
        if request is None:
            return
        link = request.link
        stacks = _dumped(link, link.process.dump.read()) if request.dumps else []
        if stacks:
            self._tell(token, stacks)
        else:
            self._end(token, Seen(_silence(link)))

    def _tell(self, token: int, stacks: Sequence[Stack]) -> None:
        request = self._requests.get(token)
        if request is None:  # given up
            return
        slot = request.link.slot
        names = {**request.names, **{seq: str(call) for seq, call in slot.sent.items()}}
        self._end(token, Seen(_doing(request.link, stacks, names), stacks, names))

    def _end(self, token: int, seen: Seen) -> None:
        for tell in self._requests.pop(token).tell:
            tell(seen)


def _process(link: Link) -> str:
    return f"worker {link.slot.id} (pid {link.process.pid})"


def _doing(link: Link, stacks: Sequence[Stack], names: dict[int, str]) -> str:
    """Return in a few words what a worker does."""
    who, slot = _process(link), link.slot
    seq, since_s = link.running()
    main = stacks[0].seq
    if main in names:
        ran = f" for {time.monotonic() - since_s:.2f} s" if main == seq and since_s else ""
        return f"{who} runs {names[main]}{ran}"
    if not slot.ready_since:
        return f"{who} starts"
    if slot.installing or slot.withdrawn:
        return f"{who} installs definitions"
    waiting = [names[stack.seq] for stack in stacks if stack.seq in names]
    if waiting:
        return f"{who} waits in {_listed(waiting)}"
    return f"{who} waits for calls"


def _dumped(link: Link, text: str) -> list[Stack]:
    """Return the stacks of a dump; which call runs is in the status page."""
    _, stacks = parse_dump(text)
    words = link.process.page.words
    begun = words[BEGUN]
    call = link.slot.sent.get(begun)
    if stacks and call is not None and call.record is not None and begun != words[ANSWERED]:
        alone = not call.record.is_async or len(link.slot.sent) == 1  # else it may be another one's step
        stacks[0] = stacks[0]._replace(seq=begun if alone else 0)
    return stacks


def _listed(names: Iterable[str], most: int = 3) -> str:
    names = list(names)
    more = [f"{len(names) - most} more"] if len(names) > most else []
    return ", ".join([*names[:most], *more])


def _silence(link: Link) -> str:
    try:
        status = f"; its process is {psutil.Process(link.process.pid).status()}"
    except psutil.Error:
        status = "; its process is gone"
    except OSError:  # no descriptor is left to look with
        status = ""
    return f"{_process(link)} does not answer{status}"


def _without_process(slot: Slot) -> str:
    return f"worker {slot.id} is {slot.state.value}, and has no process now"
