"""The arguments of a call that draws numbers from a seed: they say which."""

from __future__ import annotations

from wpc_magic.pool.wire.chunk_arguments import arguments_of_one

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Seeded"]


class Seeded(tuple):  # type: ignore[type-arg]  # of anything
    """The arguments of a call, or the columns of a chunk, with the seed of its numbers.

    It takes their place only where the pool has a seed: all other calls travel as before.

    Parameters
    ----------
    arguments : tuple
        What it is in the place of.
    seed : int
        The seed of the pool.
    key : tuple of int
        Of a call, its number since the seed was set. Of a chunk, that of its map, and that of its first item.

    Examples
    --------
    >>> args, kwargs = call = Seeded(((1,), {}), 42, (3,))
    >>> args, kwargs, call.seed, call.key
    ((1,), {}, 42, (3,))
    """

    seed: int
    key: tuple[int, ...]

    def __new__(cls, arguments: tuple[Any, ...], seed: int, key: tuple[int, ...]) -> Seeded:
        """Make it of a tuple."""
        made = super().__new__(cls, arguments)
        made.seed, made.key = seed, key
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Seeded, (tuple(self), self.seed, self.key)

    def of_item(self, item: int) -> Any:
        """Return the arguments of one item of a chunk, given its place there, as those of a call."""
        number, first = self.key
        return Seeded(arguments_of_one(self, item), self.seed, (number, first + item))
