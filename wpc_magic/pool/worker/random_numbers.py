"""``context.rng``: the random numbers of a call, or of an item of a map.

Where the pool has a seed, they follow from it and from the number of the call or item: neither from the
worker nor from what it has done before.
"""

from __future__ import annotations

from wpc_magic.pool.wire.seeded import Seeded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from contextvars import ContextVar
    from typing import Any

__all__ = ["RandomNumbers"]

_KEPT = 64  # calls


class _Draws:
    """The generators of one call; of a chunk, one for each item that is running."""

    __slots__ = ("generators", "is_chunk", "item", "key", "seed")

    def __init__(self, seed: int | None = None, key: tuple[int, ...] = (), is_chunk: bool = False) -> None:
        self.seed = seed
        self.key = key
        self.is_chunk = is_chunk
        self.item = 0
        self.generators: dict[int, Any] = {}

    def generator(self, item: int | None) -> Any:
        place = self.item if item is None else item
        found = self.generators.get(place)
        if found is None:
            found = self.generators[place] = self._make(place)
        return found

    def _make(self, item: int) -> Any:
        try:
            from numpy.random import SeedSequence, default_rng  # no worker loads it that draws nothing
        except ModuleNotFoundError as error:
            raise ImportError("context.rng needs NumPy. Type: pip install numpy", name=error.name) from None
        if self.seed is None:
            return default_rng()
        key = (self.key[0], self.key[1] + item) if self.is_chunk else self.key
        return default_rng(SeedSequence(self.seed, spawn_key=key))


class _Column(list):  # type: ignore[type-arg]  # of anything
    """The first arguments of a chunk: as each is taken, its item begins."""

    draws: _Draws

    def __iter__(self) -> Iterator[Any]:
        return _counted(super().__iter__(), self.draws)


class _Rows(tuple):  # type: ignore[type-arg]  # of tuples
    """The same for a chunk of which each item has all its arguments."""

    draws: _Draws

    def __iter__(self) -> Iterator[Any]:
        return _counted(super().__iter__(), self.draws)


def _counted(arguments: Iterator[Any], draws: _Draws) -> Iterator[Any]:
    for number, argument in enumerate(arguments):
        draws.item = number
        draws.generators = {}
        yield argument


class RandomNumbers:
    """The random numbers of the calls of a worker.

    Parameters
    ----------
    current_call : callable
        Returns the number of the call whose code is running.
    running : callable
        Returns the numbers of the coroutines' calls that have not ended.

    Attributes
    ----------
    has_begun : bool
        Whether there was a call with a seed.
    """

    def __init__(
        self,
        current_call: Callable[[], int],
        running: Callable[[], Collection[int]] = lambda: (),
    ) -> None:
        self.has_begun = False
        self._current_call = current_call
        self._running = running
        self._draws: dict[int, _Draws] = {}
        self._item: ContextVar[int] | None = None  # of the coroutine that is running

    def begin(self, call: int, arguments: Seeded, is_chunk: bool) -> tuple[Any, ...]:
        """Begin a call with a seed; return its arguments, or its columns.

        Parameters
        ----------
        call : int
            Its number.
        arguments : Seeded
            What was sent.
        is_chunk : bool
            Whether these are the columns of a chunk.
        """
        self.has_begun = True
        draws = self._add(call, _Draws(arguments.seed, arguments.key, is_chunk))
        if not is_chunk:
            return tuple(arguments)
        first: Any = (_Rows if isinstance(arguments[0], tuple) else _Column)(arguments[0])
        first.draws = draws
        return (first, *arguments[1:])

    def forget(self, call: int) -> None:
        """Forget the numbers of a call."""
        self._draws.pop(call, None)

    def begin_coroutine(self, item: int) -> None:
        """Say which item of a chunk the task is for that is made next in this context."""
        if self._item is None:
            from contextvars import ContextVar

            self._item = ContextVar("wpc_item")
        self._item.set(item)

    def generator(self) -> Any:
        """Return the generator of the code that is running: for one call, or item, it is one."""
        call = self._current_call()
        draws = self._draws.get(call)
        if draws is None:
            draws = self._add(call, _Draws())
        item = None if self._item is None else self._item.get(None)
        return draws.generator(item)

    def _add(self, call: int, draws: _Draws) -> _Draws:
        if len(self._draws) >= _KEPT:
            running = self._running()
            self._draws = {number: kept for number, kept in self._draws.items() if number in running}
        self._draws[call] = draws
        return draws
