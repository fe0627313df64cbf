"""What futures need from the driver, and whoever looks at long waits from both.

Futures are opaque here: they are defined above.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from .core.call_place import CallPlace

__all__ = ["FutureDriver", "WaitObserver"]


class FutureDriver(Protocol):
    """What a future needs from the driver.

    Attributes
    ----------
    unsettled : set
        The futures that have not been settled: one takes itself out as the last step of its end.
    """

    unsettled: set[Any]
    drop: Callable[[Any], object]
    """Cancels the ``call`` of what it is given, a little later; no Python code runs in it."""

    @property
    def is_fork(self) -> bool:
        """Whether this process is a fork, where no answer ever arrives."""

    @property
    def observer(self) -> WaitObserver | None:
        """What is told of long waits."""

    def check(self) -> None:
        """Raise if this process is a fork."""

    def wait(self, future: Any, timeout: float | None) -> None:
        """Return when the future has ended, or the timeout has expired."""

    def wait_for_event(self, event: Any, timeout: float | None) -> bool:
        """Wait until a `WaitEvent` is set, or the timeout has expired; return whether it is set."""

    def ensure_polled(self) -> None:
        """Ensure that answers are read although no thread is in `wait`."""

    def ensure_read(self, future: Any) -> None:
        """Ensure that the answer to a call is read although no thread is in `wait` for it."""

    def poll_reserved(self, future: Any) -> None:
        """Do what `ensure_read` does, under the driver's lock."""

    def cancel(self, future: Any) -> bool:
        """Cancel the call, and its work."""

    def has_begun(self, future: Any) -> bool:
        """Return whether the call has begun to run."""

    def place_of(self, future: Any) -> CallPlace | None:
        """Return where the call is; None: it has ended."""

    def credit(self, future: Any, taken: int) -> None:
        """Tell the worker of a stream how many of its items were taken."""

    def give_up(self, futures: Any) -> None:
        """Cancel calls without waiting for anything; a finalizer may call this."""

    def finish_output(self) -> None:
        """Return when what functions have printed until now is shown."""

    def pass_on(self, future: Any, receive: Any, receive_unpickled: Callable[[], object]) -> None:
        """Call `receive` with what the call ends with, as soon as it has; see `passed_answers.pass_on`."""

    def cancel_unwanted(self, futures: list[Any]) -> None:
        """Cancel the call of the one future in a list, unless anything but that list refers to it."""

    def keep(self, future: Any) -> None:
        """Keep the value of a call until its future is freed, or the pool stops."""

    def call_soon(self, function: Callable[..., object], *args: object) -> object:
        """Call a function in the callback thread."""

    def wait_in_loop(self, future: Any, loop: Any) -> Any:
        """Return an asyncio future that ends with this one."""

    def is_shown(self, future: Any, loop: Any, waiter: Any) -> bool:
        """Return whether the output of a call that has ended is shown; if not, `waiter` ends when it is."""


class WaitObserver(Protocol):
    """Is told of long waits, in the thread that waits: a notebook shows them.

    A wait that is shorter than `pause_s` says costs nothing but that question.
    """

    def pause_s(self, waiting: Any) -> float:
        """Return after how many seconds of waiting to call `look`.

        `waiting` is what is waited for: a future, or a `WaitEvent`.
        """

    def look(self, waiting: Any) -> None:
        """Look at what is waited for: it has not ended yet."""

    def left(self, waiting: Any) -> None:
        """Note that the wait is over, however it has ended."""

    def awaited(self, future: Any, loop: Any, waiter: Any) -> None:
        """Note that an event loop waits for a future, until `waiter` is done."""

    def map_went_on(self, results: Any) -> None:
        """Note that a map has received results."""

    def map_ended(self, results: Any) -> None:
        """Note that a map is over, however it has ended."""
