"""The card of a future or stream that is a cell's last line: how its call stands, until it has ended."""

from __future__ import annotations

import html
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from wpc_magic.pool.core.call_place import shown_s
from wpc_magic.pool.driver.arguments import text_of_value
from wpc_magic.pool.futures import CallFuture
from wpc_magic.pool.stream_items import StreamItems, counted_items
from wpc_magic.pool.streams import ResultStream

from .progress_area import KernelArea
from .progress_lines import call_text
from .stop_button import StopButton

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from .origins import Origins

__all__ = ["Card", "Cards", "ended_text", "stop_hint"]

_TICK_S = 0.25


class Card(Protocol):
    """Something that is shown, and changes."""

    button: StopButton

    def draw(self) -> bool:
        """Show how it stands, if that has changed; return whether that was the last time."""


class Cards:
    """Shows futures and streams in a kernel, and keeps what is shown up to date.

    A card is plain HTML in a display with an id: the last state stays in the notebook. It unpickles nothing,
    since that may run user code, and a thread of this class is no place for it.

    Parameters
    ----------
    shell : InteractiveShell
        The shell of a kernel.
    origins : Origins
        Says which cell runs.
    number : callable
        Returns the number of the running cell.
    """

    def __init__(self, shell: InteractiveShell, origins: Origins, number: Callable[[], int]) -> None:
        self._shell: Any = shell
        self._origins = origins
        self._number = number
        self._lock = threading.Lock()
        self._live: list[Card] = []
        self._unrepeated: list[_Card] = []  # what no later cell has repeated yet
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._formatter: Any = shell.display_formatter.ipython_display_formatter  # type: ignore[union-attr]
        self._functions: dict[type, Callable[[Any], None]] = {
            CallFuture: self.show,
            ResultStream: self.show_stream,
        }

    def install(self) -> None:
        """Have the shell show futures and streams as cards."""
        for kind, function in self._functions.items():
            self._formatter.for_type(kind, function)

    def uninstall(self) -> None:
        """Undo it, and show the last state of each card."""
        for kind, function in self._functions.items():
            if self._formatter.type_printers.get(kind) == function:
                self._formatter.pop(kind)
        self._closed.set()
        thread = self._thread
        if thread is not None:
            thread.join()
        for card in self._live:
            card.draw()
            card.button.withdraw()

    def show(self, future: CallFuture) -> None:
        """Show a future under the running cell."""
        self._show("CallFuture", future, lambda: future, lambda: _state(future))

    def show_stream(self, stream: ResultStream) -> None:
        """Show a stream under the running cell; a card does not keep it alive, and so its function going."""
        items = stream.items
        self._show("ResultStream", items.future, weakref.ref(stream), lambda: _stream_state(items))

    def _show(
        self, kind: str, future: CallFuture, find: Callable[[], Any], state: Callable[[], tuple[str, bool]]
    ) -> None:
        """Show the card of a call; `find` returns what the user has of it, or None if that is gone."""
        origin, number = self._origins.current() or {}, self._number()

        def stop() -> None:
            found = find()
            if found is not None:
                found.cancel()

        def name() -> str:
            """Return what to type for it; empty: not known."""
            held = self._shell.user_ns.get("_oh", {}).get(number)
            return f"Out[{number}]" if held is not None and held is find() else ""

        button = StopButton(self._shell, origin, str(future.call), stop)
        area = KernelArea(self._shell, origin)
        card = _Card(kind, _label(future), state, area, button, name)
        self.follow(card)
        if not future.done():
            self._unrepeated.append(card)

    def repeat(self, origin: Any) -> None:
        """Send the last state of what has ended again, as an update by the cell that begins."""
        ended = [card for card in self._unrepeated if card.has_ended]
        self._unrepeated = [card for card in self._unrepeated if card not in ended]
        for card in ended:
            card.repeat(origin)

    def follow(self, card: Card) -> None:
        """Keep a card up to date; as long as it is not done, there is a button that stops what it shows."""
        if card.draw() or self._closed.is_set():
            return
        with self._lock:
            self._live.append(card)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wpc-cards", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closed.wait(_TICK_S):
            ended = []
            for card in list(self._live):
                if card.draw():
                    card.button.withdraw()
                    ended.append(card)
                else:
                    card.button.offer()
            with self._lock:
                self._live = [card for card in self._live if card not in ended]
                if not self._live:
                    self._thread = None
                    return


class _Card:
    def __init__(
        self,
        kind: str,
        call: str,
        state: Callable[[], tuple[str, bool]],
        area: KernelArea,
        button: StopButton,
        name: Callable[[], str],
    ) -> None:
        self.button = button
        self._kind = kind
        self._call = call
        self._state = state
        self._area = area
        self._name = name
        self._shown: tuple[str, str] | None = None

    @property
    def has_ended(self) -> bool:
        """Whether its call has ended."""
        return self._state()[1]

    def repeat(self, origin: Any) -> None:
        """Show the last state, as an update by another cell."""
        self.draw()
        self._area.repeat(origin)

    def draw(self) -> bool:
        """Show how the call stands, if that has changed; return whether it has ended."""
        state, is_last = self._state()
        if not is_last and self._shown is not None:  # `Out` has it when it has been shown
            state += stop_hint(self._name())
        style = "" if is_last else self.button.style
        if (state, style) != self._shown:
            self._shown = state, style
            shown = f"<code>{html.escape(self._call)}</code> {html.escape(state)}"
            self._area.show_data(
                {
                    "text/plain": f"<{self._kind} {self._call}: {state}>",
                    "text/html": f'<div class="wpc-card">{shown}{style}</div>',
                }
            )
        return is_last


def _label(future: CallFuture) -> str:
    call = call_text(future)
    return f"{call} #{future.call_id}" if call.endswith(")") else call


def _state(future: CallFuture) -> tuple[str, bool]:
    """Return how a call stands, and whether it has ended."""
    is_last = future.done()
    return (ended_text(future) if is_last else str(future.place or "ending")), is_last


def _stream_state(items: StreamItems) -> tuple[str, bool]:
    """Return how a stream stands, and whether its function has ended; items of it may still be here."""
    future = items.future
    if not future.done():
        return str(items), False
    if future.cancelled():
        return f"{counted_items(items.done)} taken, closed", True
    if future.unasked is not None:
        state, _, error = ended_text(future).partition(": ")
        return f"{state} after {counted_items(items.arrived)}: {error}", True
    return f"{ended_text(future).partition(' →')[0]} → {counted_items(items.arrived)}", True


def stop_hint(name: str) -> str:
    """Return what a card says behind the state of something that can be stopped.

    Examples
    --------
    >>> stop_hint("Out[3]")
    ' · Out[3].cancel() stops it'
    """
    return f" · {name}.cancel() stops it" if name else " · cancel() stops it"


def ended_text(future: CallFuture) -> str:
    """Return how a call has ended, without unpickling anything: ``finished in 3 s → 0.5``."""
    if future.cancelled():
        return "cancelled"
    took = f" in {shown_s(future.ran_s)}" if future.ran_s >= 0.001 else ""
    unasked = future.unasked
    if unasked is not None:
        unasked.asked()  # it is told here
        return f"failed{took}: {unasked.error}"
    body = future.value_body()
    if body is None:
        return future.state
    value = text_of_value(body)
    return f"finished{took} → {value}" if value else f"finished{took}"
