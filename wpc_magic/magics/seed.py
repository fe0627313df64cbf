"""The implementation of ``%wpc_seed``, without IPython."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .messages import Message
from .parsing import UsageMistake

if TYPE_CHECKING:
    from wpc_magic.pool import WorkerProcedureCall

__all__ = ["seed_command"]


def seed_command(pool: WorkerProcedureCall, word: str | None, delete: bool) -> Message:
    """Set, remove or show the seed of a pool.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    word : str or None
        The seed as it was typed; None: it is shown.
    delete : bool
        Whether it is removed.

    Raises
    ------
    UsageMistake
        If it is not a whole number, 0 or more.
    """
    if delete:
        if word is not None:
            raise UsageMistake("-d takes no seed. Type: %wpc_seed -d")
        pool.seed(None)
        return Message("there is no seed: context.rng draws other numbers each time")
    if word is None:
        seed = pool.current_seed
        return Message("there is no seed; %wpc_seed 42 sets one" if seed is None else f"the seed is {seed}")
    if not word.isdecimal():
        raise UsageMistake(
            f"the seed is a whole number, 0 or more, not {word!r}. Type for example: %wpc_seed 42"
        )
    pool.seed(int(word))
    return Message(f"context.rng draws from seed {int(word)}: the calls are counted from here on")
