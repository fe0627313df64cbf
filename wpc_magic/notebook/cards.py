"""The card of a future that is a cell's last line: how its call stands, until it has ended."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from wpc_magic.pool.core.call_place import shown_s
from wpc_magic.pool.driver.arguments import text_of_value
from wpc_magic.pool.futures import CallFuture

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
    """Shows futures in a kernel, and keeps what is shown up to date.

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
        self._thread: threading.Thread | None = None
        self._closed = threading.Event()
        self._formatter: Any = shell.display_formatter.ipython_display_formatter  # type: ignore[union-attr]
        self._function = self.show

    def install(self) -> None:
        """Have the shell show futures as cards."""
        self._formatter.for_type(CallFuture, self._function)

    def uninstall(self) -> None:
        """Undo it, and show the last state of each card."""
        if self._formatter.type_printers.get(CallFuture) == self._function:
            self._formatter.pop(CallFuture)
        self._closed.set()
        thread = self._thread
        if thread is not None:
            thread.join()
        for card in self._live:
            card.draw()
            card.button.withdraw()

    def show(self, future: CallFuture) -> None:
        """Show a future under the running cell."""
        origin = self._origins.current() or {}
        button = StopButton(self._shell, origin, str(future.call), future.cancel)
        self.follow(
            _Card(future, KernelArea(self._shell, origin), button, partial(self._name, self._number()))
        )

    def _name(self, number: int, future: CallFuture) -> str:
        """Return what to type for a future that was shown by the cell of this number; empty: not known."""
        return f"Out[{number}]" if self._shell.user_ns.get("_oh", {}).get(number) is future else ""

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
        future: CallFuture,
        area: KernelArea,
        button: StopButton,
        name: Callable[[CallFuture], str],
    ) -> None:
        self.button = button
        self._future = future
        self._area = area
        self._name = name
        self._call = call_text(future)
        self._shown: tuple[str, str] | None = None

    def draw(self) -> bool:
        """Show how the call stands, if that has changed; return whether it has ended."""
        future = self._future
        is_last = future.done()
        state = ended_text(future) if is_last else str(future.place or "ending")
        if not is_last and self._shown is not None:  # `Out` has it when it has been shown
            state += stop_hint(self._name(future))
        style = "" if is_last else self.button.style
        if (state, style) != self._shown:
            self._shown = state, style
            text = f"{self._call} #{future.call_id}" if self._call.endswith(")") else self._call
            shown = f"<code>{html.escape(text)}</code> {html.escape(state)}"
            self._area.show_data(
                {
                    "text/plain": f"<CallFuture {text}: {state}>",
                    "text/html": f'<div class="wpc-card">{shown}{style}</div>',
                }
            )
        return is_last


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
