"""What a worker says, taken only where it is one of our messages, with items of the right types.

A user's function may write to any descriptor of its process, ours as well. So the pool believes nothing:
reading a message makes plain data and our own types, and neither imports anything nor runs it.
"""

from __future__ import annotations

import io
from _pickle import Unpickler

from wpc_magic.pool.wire import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["BadMessage", "read_failure", "read_message"]

_NUMBER, _TEXT = (int,), (str,)
_ITEMS: dict[type, tuple[tuple[type, ...], ...]] = {
    protocol.Failure: ((bytes, type(None)), _TEXT, _TEXT, _TEXT, _TEXT),
    protocol.GivenUp: ((tuple,),),
    protocol.Installed: (_NUMBER,),
    protocol.Noticed: (_TEXT, _TEXT, _NUMBER, (protocol.Failure, type(None)), (dict,)),
    protocol.Pong: (_NUMBER,),
    protocol.Printed: (_NUMBER, _TEXT, _TEXT),
    protocol.Refused: (_NUMBER, (protocol.Failure,), _TEXT),
    protocol.Stack: (_TEXT, _TEXT, _NUMBER, (tuple,), _NUMBER),
    protocol.StackTaken: (_NUMBER, (tuple,)),
    protocol.Stained: (_NUMBER, _TEXT),
}
_WORDS = {"severity": ("info", "warn", "error"), "stream": ("stdout", "stderr")}


class BadMessage(Exception):
    """The bytes that came are no message."""


class _Unpickler(Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == protocol.__name__ and name in protocol.__all__:
            return getattr(protocol, name)
        raise BadMessage(f"{module}.{name} is none of our messages")


def read_message(body: Any) -> Any:
    """Return what a worker says: one of `FromWorker`, or plain data that is none.

    Raises
    ------
    BadMessage
        If it cannot be read, or has the type of one of ours and not its items.

    Examples
    --------
    >>> from wpc_magic.pool.wire.codec import pack
    >>> read_message(pack(protocol.Pong(7)))
    Pong(token=7)
    >>> read_message(pack(protocol.Pong("seven")))
    Traceback (most recent call last):
    ...
    wpc_magic.pool.wire.received.BadMessage: Pong(token='seven')
    """
    try:
        message = _Unpickler(io.BytesIO(body)).load()
    except BadMessage:
        raise
    except Exception as error:
        raise BadMessage(f"{type(error).__name__}: {error}") from None
    _check(message)
    return message


def read_failure(body: Any) -> protocol.Failure:
    """Return the failure that a call has ended with.

    Raises
    ------
    BadMessage
        If it is none.
    """
    failure = read_message(body)
    if type(failure) is not protocol.Failure:
        raise BadMessage(f"{type(failure).__name__} in the place of a Failure")
    return failure


def _check_stack(stack: protocol.Stack) -> bool:
    _check(stack)
    return all(type(f) is tuple and list(map(type, f)) == [str, int, str] for f in stack.frames)


def _check(message: Any) -> None:
    kinds = _ITEMS.get(type(message))
    if kinds is None:
        return
    good = len(message) == len(kinds) and all(type(i) in k for i, k in zip(message, kinds, strict=True))
    good = good and all(getattr(message, name, words[0]) in words for name, words in _WORDS.items())
    if good and type(message) is protocol.GivenUp:
        good = all(type(seq) is int for seq in message.seqs)
    elif good and type(message) is protocol.StackTaken:
        good = all(type(stack) is protocol.Stack and _check_stack(stack) for stack in message.stacks)
    if not good:
        raise BadMessage(repr(message)[:200])
    for item in message:
        _check(item)
