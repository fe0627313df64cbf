"""A future or a stream that is shown as text: how its call stands, and what to type to stop it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wpc_magic.pool.futures import CallFuture
from wpc_magic.pool.streams import ResultStream

from .cards import stop_hint

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["FutureText"]


class FutureText:
    """Shows streams, and in a terminal, which has no cards, futures.

    Parameters
    ----------
    shell : InteractiveShell
        The shell.
    number : callable
        Returns the number of the running cell.
    kind : type
        What it shows: `CallFuture` or `ResultStream`.
    """

    def __init__(
        self,
        shell: InteractiveShell,
        number: Callable[[], int],
        kind: type[CallFuture | ResultStream] = CallFuture,
    ) -> None:
        self._kind = kind
        self._shell: Any = shell
        self._number = number
        self._formatter: Any = shell.display_formatter.formatters["text/plain"]  # type: ignore[union-attr]
        self._function = self._text

    def install(self) -> None:
        """Have the shell show them so."""
        self._formatter.for_type(self._kind, self._function)

    def uninstall(self) -> None:
        """Undo it."""
        if self._formatter.type_printers.get(self._kind) == self._function:
            self._formatter.pop(self._kind)

    def _text(self, future: CallFuture | ResultStream, printer: Any, cycle: bool) -> None:
        # As the value of a cell, `Out` has it; inside of a list it has no name.
        is_alone = len(printer.stack) == 1
        has_name = is_alone and self._shell.displayhook.is_active
        hint = ""
        if isinstance(future, ResultStream):
            # A cell that only looks at an endless one leaves it with its worker.
            if is_alone and not future.ended:
                hint = stop_hint(f"Out[{self._number()}]" if has_name else "")
        elif has_name and not future.done():
            hint = stop_hint(f"Out[{self._number()}]")
        printer.text(f"{future!r}{hint}")
