"""What a notebook shows of a cell in the background: a card, and below it the value or the error."""

from __future__ import annotations

import html
import sys
from base64 import b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Protocol

from wpc_magic.pool.driver.output import OutputText

from .cards import stop_hint
from .origins import same_origin
from .progress_area import KernelArea
from .progress_lines import as_html, as_text, reports
from .stop_button import StopButton

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from wpc_magic.pool.futures import CallFuture

    from .cards import Cards
    from .origins import Origins

__all__ = ["CellCards"]


class _Cell(Protocol):
    """A cell in the background."""

    label: str
    number: int
    origin: Any
    future: CallFuture

    @property
    def state(self) -> str:
        """How it stands."""

    def done(self) -> bool:
        """Return whether it is done."""

    def cancel(self) -> bool:
        """Stop it."""


class CellCards:
    """Shows background cells in one shell.

    Parameters
    ----------
    shell : InteractiveShell
        The shell.
    origins : Origins
        Says which cell runs.
    cards : Cards or None
        Keeps cards up to date; None: in a terminal, which is told of the end only.
    write : callable
        Takes an `OutputText`.
    number : callable
        Returns the number of the running cell.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        origins: Origins,
        cards: Cards | None,
        write: Callable[[OutputText], object],
        number: Callable[[], int],
    ) -> None:
        self._shell: Any = shell
        self._origins = origins
        self._cards = cards
        self._write = write
        self.number = number
        self._places: dict[int, KernelArea] = {}  # of values, by the cells
        self._shown: list[tuple[_Cell, KernelArea | _CellCard]] = []  # what no other cell has repeated yet

    def origin(self) -> Any:
        """Return the origin of the running cell."""
        return self._origins.current()

    def show(self, cell: _Cell) -> None:
        """Show the card of a cell under it, and keep a place for its value."""
        if self._cards is None:
            return
        self._follow(cell, cell.origin)
        place = self._places[id(cell)] = KernelArea(self._shell, cell.origin or {})
        # Only a display that is there when the cell ends is kept by nbconvert and papermill.
        place.show_data({"text/plain": "", "text/html": ""})
        self._shown.append((cell, place))

    def show_again(self, cell: _Cell) -> None:
        """Show the card of a cell under another one; nothing as the value of the cell itself.

        A terminal has no cards: there a line says how it stands.
        """
        if self._cards is None:
            hint = "" if cell.done() else stop_hint(f"Out[{cell.number}]")
            sys.stdout.write(f"{cell.label} {cell.state}{hint}\n")
        elif not same_origin(cell.origin, self.origin()):
            self._follow(cell, self.origin())

    def _follow(self, cell: _Cell, origin: Any) -> None:
        if self._cards is not None:
            button = StopButton(self._shell, origin or {}, cell.label, cell.cancel)
            card = _CellCard(cell, KernelArea(self._shell, origin or {}), button)
            self._shown.append((cell, card))
            self._cards.follow(card)

    def repeat(self) -> None:
        """Send what is shown of cells that are done again, as of the running cell."""
        done = [(cell, part) for cell, part in self._shown if cell.done()]
        self._shown = [each for each in self._shown if each not in done]
        for _, part in done:
            part.repeat(self.origin())

    def bind(self, names: Mapping[str, Any]) -> None:
        """Bind variables of the notebook."""
        self._shell.push(dict(names))

    def ended(self, cell: _Cell, value: Any, error: BaseException | None) -> None:
        """Show the value or the error of a cell under it."""
        data: dict[str, Any] = {}
        metadata: dict[str, Any] = {}
        if isinstance(error, CancelledError):
            pass
        elif error is not None:
            text = self._traceback(error)
            data = {"text/plain": text, "application/vnd.jupyter.stderr": text}
        elif value is not None:
            data, metadata = self._shell.display_formatter.format(value)
        place = self._places.pop(id(cell), None)
        if self._cards is None:
            text = f"{cell.label} {cell.state}\n" + (data["text/plain"] + "\n" if data else "")
            self._write(OutputText(text, cell.origin, "stdout", 0, None))
        elif data:
            place = place or KernelArea(self._shell, cell.origin or {})
            place.show_data({kind: _as_text(each) for kind, each in data.items()}, metadata)

    def tell(self, text: str) -> None:
        """Print a line under the running cell."""
        sys.stderr.write(text + "\n")

    def _traceback(self, error: BaseException) -> str:
        own = getattr(error, "_render_traceback_", None)
        formatter = self._shell.InteractiveTB
        lines = own() if own else formatter.structured_traceback(type(error), error, error.__traceback__)
        return str(formatter.stb2text(lines))


class _CellCard:
    def __init__(self, cell: _Cell, area: KernelArea, button: StopButton) -> None:
        self.button = button
        self._cell = cell
        self._area = area
        self._shown: tuple[str, str] | None = None

    def repeat(self, origin: Any) -> None:
        """Show the last state, as an update by another cell."""
        self.draw()
        self._area.repeat(origin)

    def draw(self) -> bool:
        """Show how the cell stands, if that has changed; return whether it is done."""
        cell = self._cell
        is_last = cell.done()
        state = cell.state if is_last or not cell.future.ended else "ending"  # the value is shown first
        if not cell.future.ended:
            state += stop_hint(f"Out[{cell.number}]")
        lines = [] if is_last else reports([cell.future])
        plain = "\n".join([f"<{cell.label}: {state}>", *([as_text(lines)] if lines else [])])
        style = "" if is_last else self.button.style
        if (plain, style) != self._shown:
            self._shown = plain, style
            shown = f"<code>{html.escape(cell.label)}</code> {html.escape(state)}"
            below = as_html(lines) if lines else ""
            self._area.show_data(
                {"text/plain": plain, "text/html": f'<div class="wpc-card">{shown}{below}{style}</div>'}
            )
        return is_last


def _as_text(data: Any) -> Any:
    return b64encode(data).decode() if isinstance(data, bytes) else data
