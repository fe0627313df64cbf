"""The arguments of a chunk of a map, as they are sent.

A chunk's arguments are a tuple: one list (or range) for each parameter, with the values of all items; or one
tuple of tuples, each of which has the arguments of one item. A dict behind these has the keyword arguments,
which are the same for all items.
"""

from __future__ import annotations

from _pickle import PickleBuffer

from wpc_magic.pool.wire.codec import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Keywords", "arguments_of_one", "decoded_keywords"]


class Keywords:
    """Keyword arguments that are sent with many chunks, and pickled once; they are unpickled as a dict.

    Their large buffers are the same each time, so that they lie in shared memory once.

    Parameters
    ----------
    values : dict
        The keyword arguments.

    Raises
    ------
    Exception
        Whatever pickling raises.

    Examples
    --------
    >>> decode(*encode(([1, 2], Keywords({"cv": 3}))))
    ([1, 2], {'cv': 3})
    """

    __slots__ = ("_body", "_buffers")

    def __init__(self, values: dict[str, Any]) -> None:
        body, buffers = encode(values)
        # Back to front: `encode` trusts no pickle in which it finds ``__main__``, but this one is right.
        self._body = body[::-1]
        self._buffers = buffers

    def __reduce__(self) -> Any:
        return decoded_keywords, (self._body, *map(PickleBuffer, self._buffers))


def decoded_keywords(body: bytes, *buffers: Any) -> dict[str, Any]:
    """Return the dict of `Keywords`."""
    keywords: dict[str, Any] = decode(body[::-1], buffers)
    return keywords


def arguments_of_one(columns: tuple[Any, ...], item: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments of one item of a chunk.

    Examples
    --------
    >>> arguments_of_one(([3, 4], [5, 6], {"scale": 2}), 1)
    ((4, 6), {'scale': 2})
    >>> arguments_of_one((((3, 5), (4,)),), 1)
    ((4,), {})
    """
    keywords: dict[str, Any] = {}
    if isinstance(columns[-1], dict):
        columns, keywords = columns[:-1], columns[-1]
    if type(columns[0]) is tuple:
        return columns[0][item], keywords
    return tuple([column[item] for column in columns]), keywords
