"""The items of a map that run again, because they have raised what their function is retried on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..core.retries import is_among
from ..options import CallOptions

__all__ = ["ItemRetries", "Outcome", "retry_options"]


def retry_options(options: CallOptions, of_the_function: CallOptions) -> CallOptions | None:
    """Return the options of calls, with `retries` and `retry_on` as they apply; None: no error is retried.

    Examples
    --------
    >>> options = retry_options(CallOptions(retries=2), CallOptions(retry_on=OSError))
    >>> options.retries, options.retry_on
    (2, ('OSError',))
    """
    retries = of_the_function.retries if options.retries is None else options.retries
    retry_on = of_the_function.retry_on if options.retry_on is None else options.retry_on
    if not retries or not retry_on:
        return None
    changed: CallOptions = options.replace({"retries": retries, "retry_on": retry_on})
    return changed


class Outcome(NamedTuple):
    """What is known of a chunk.

    Parameters
    ----------
    values : list
        As a worker returns them: None where an item has failed; a chunk that ends with it ends there.
    failures : dict
        What the items have raised, by position.
    runs : dict
        By position of a failure: the call in which the item ran last, and its position there.
    """

    values: list[Any]
    failures: dict[int, Any]
    runs: dict[int, tuple[Any, int]]


class _Chunk:
    """The items of one chunk, of which the current call runs some."""

    def __init__(self, items: Sequence[Any]) -> None:
        self.items = items
        self.values: dict[int, Any] = {}  # by position
        self.failures: dict[int, Any] = {}
        self.runs: dict[int, tuple[Any, int]] = {}
        self.positions: Sequence[int] = range(len(items))  # of those that the current call runs
        self.ended_by: Any = None  # the latest call whose outcome is known
        self.attempts = dict.fromkeys(self.positions, 0)


class ItemRetries:
    """Decides which items of a map run again.

    Parameters
    ----------
    options : CallOptions
        The options of the calls: `retries` and `retry_on` are those that apply.
    keep_going : bool
        Whether a chunk goes on after an item that has failed. Else the items behind it have not run.
    """

    def __init__(self, options: CallOptions, keep_going: bool) -> None:
        self.options = options
        self._keep_going = keep_going
        self._chunks: dict[Any, _Chunk] = {}  # by the current call

    def sent(self, call: Any, items: Sequence[Any]) -> None:
        """Record the items of a chunk."""
        self._chunks[call] = _Chunk(items)

    def ended(self, call: Any, values: list[Any], failures: dict[int, Any]) -> list[Any]:
        """Record the outcome of a call; return the items that are to run again.

        If there are any, `sent_again` is called next, else `outcome`.
        """
        chunk = self._chunks[call]
        if chunk.ended_by is call:  # asked again, since the items could not be sent
            return [chunk.items[p] for p in chunk.positions]
        positions, chunk.ended_by = chunk.positions, call
        again: list[int] = []
        for n, p in enumerate(positions):
            failure = failures.get(n)
            if failure is None and n < len(values):
                chunk.values[p] = values[n]
            elif failure is None or self._is_retried(chunk, p, failure):
                again.append(p)  # it has not run, or runs again
            else:
                chunk.failures[p], chunk.runs[p] = failure, (call, n)
        if chunk.failures and not self._keep_going:
            again = []
        for n in failures:
            chunk.attempts[positions[n]] += 1
        chunk.positions = again
        return [chunk.items[p] for p in again]

    def _is_retried(self, chunk: _Chunk, position: int, failure: Any) -> bool:
        kinds = getattr(failure, "kinds", ())  # of an error of the pool's own there are none
        most, names = self.options.retries or 0, self.options.retry_on or ()
        return chunk.attempts[position] < most and is_among(kinds, names)

    def attempts(self, call: Any) -> int:
        """Return how often the item of a chunk that has failed most has run."""
        return max(self._chunks[call].attempts.values())

    def sent_again(self, before: Any, call: Any) -> None:
        """Record which call runs the items that `ended` has returned."""
        self._chunks[call] = self._chunks.pop(before)

    def outcome(self, call: Any) -> Outcome:
        """Return the outcome of a chunk all of whose calls have ended, and forget it."""
        chunk = self._chunks.pop(call)
        end = len(chunk.items)
        if not self._keep_going and chunk.failures:
            end = min(chunk.failures)
        return Outcome([chunk.values.get(p) for p in range(end)], chunk.failures, chunk.runs)

    def computed(self, call: Any) -> dict[int, Any]:
        """Return the values that a chunk has by now, by position."""
        chunk = self._chunks.get(call)
        return {} if chunk is None else chunk.values

    def first(self, call: Any) -> int:
        """Return the position of the first item that the current call of a chunk runs."""
        chunk = self._chunks.get(call)
        return chunk.positions[0] if chunk is not None and chunk.positions else 0
