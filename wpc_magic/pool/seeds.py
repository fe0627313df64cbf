"""The seed of a pool: each call, and each item of a map, draws numbers of its own from it."""

from __future__ import annotations

import itertools
from typing import Any

from .checks import shown
from .errors import OptionError
from .local import LocalDefinitions
from .wire.seeded import Seeded

__all__ = ["CallSeeds", "MapSeed", "Seeds"]


_TOO_LARGE = 2**256  # SeedSequence makes seeds of 128 bits


class MapSeed:
    """The seed of one map.

    Parameters
    ----------
    seed : int
        The seed of the pool.
    number : int
        The number of the map among the calls since that was set.
    """

    def __init__(self, seed: int, number: int) -> None:
        self._seed = seed
        self._number = number

    def of_chunk(self, columns: tuple[Any, ...], first: int) -> Seeded:
        """Return the columns of a chunk with its seed, given the number of its first item in the map."""
        return Seeded(columns, self._seed, (self._number, first))


class CallSeeds:
    """Numbers the calls since a seed was set.

    Parameters
    ----------
    seed : int
        The seed.

    Examples
    --------
    >>> seeds = CallSeeds(42)
    >>> seeds.of_call((), {}).key, seeds.of_map().of_chunk(([1, 2],), 10).key, seeds.of_call((), {}).key
    ((0,), (1, 10), (2,))
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._numbers = itertools.count()

    def of_call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Seeded:
        """Return the arguments of the next call with its seed."""
        return Seeded((args, kwargs), self.seed, (next(self._numbers),))

    def of_map(self) -> MapSeed:
        """Return the seed of the next map, which counts as one call."""
        return MapSeed(self.seed, next(self._numbers))


class Seeds:
    """The methods of a pool for its seed."""

    _local: LocalDefinitions
    _seed: CallSeeds | None = None

    def seed(self, seed: int | None) -> None:
        """Have each call from now on draw the same numbers as it did after the last time.

        ``context.rng`` in a function is a NumPy generator, another one for each call and each item of a map.
        With a seed its numbers follow from that, from the number of the call since then, and from that of the
        item in its map: so neither the number of workers nor the size of chunks matters, and a call that is
        run again draws the same. Without one, they are others each time. Only a worker that asks for it
        imports NumPy.

        Parameters
        ----------
        seed : int or None
            The seed, 0 or more; the calls are counted anew. None: no seed.

        Examples
        --------
        >>> from wpc_magic.pool import WorkerProcedureCall
        >>> with WorkerProcedureCall() as pool:
        ...     source = "def draw(i): return int(context.rng.integers(100))"
        ...     _ = pool.define_worker_function(worker_func=source)
        ...     _ = pool.start_workers(2)
        ...     pool.seed(42)
        ...     one = pool.map("draw", range(3), chunk_size=1).result()
        ...     pool.seed(42)
        ...     two = pool.map("draw", range(3), chunk_size=3).result()
        >>> one == two
        True
        """
        if seed is not None and (
            isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < _TOO_LARGE
        ):
            raise OptionError(f"seed takes a whole number, 0 or more, or None, not {shown(seed)}")
        self._seed = None if seed is None else CallSeeds(seed)

    @property
    def current_seed(self) -> int | None:
        """The seed; None: there is none."""
        return None if self._seed is None else self._seed.seed

    def begin_local_call(self) -> None:
        """Begin a call in this process, which counts as others do."""
        self._local.begin_call(None if self._seed is None else self._seed.of_call((), {}))

    def seed_of_map(self) -> MapSeed | None:
        """Return the seed of the map that is made now; None: there is none."""
        return None if self._seed is None else self._seed.of_map()
