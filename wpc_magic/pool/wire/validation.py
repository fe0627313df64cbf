"""Validation of messages from workers: only protocol messages with items of the right types are accepted.

User code may write to any descriptor of its process, including ours. So the pool does not trust its workers:
reading a message creates only plain data and protocol types, and neither imports nor runs anything.
"""

from __future__ import annotations

import io
from _pickle import Unpickler

from wpc_magic.pool.wire import protocol

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["BadMessage", "read_failure", "read_message"]

_NUMBER, _TEXT = (int,), (str,)  # the allowed types of an item
_ITEMS: dict[type, tuple[tuple[type, ...], ...]] = {
    protocol.Failure: ((bytes, type(None)), _TEXT, _TEXT, _TEXT, _TEXT, (tuple,)),
    protocol.Revoked: ((tuple,),),
    protocol.Installed: (_NUMBER,),
    protocol.Described: (_NUMBER, _TEXT, _TEXT, (tuple,), (tuple,)),
    protocol.Event: (_TEXT, _TEXT, _NUMBER, (protocol.Failure, type(None)), (dict,)),
    protocol.Logged: (_NUMBER, (dict,)),
    protocol.Pong: (_NUMBER,),
    protocol.Printed: (_NUMBER, _TEXT, _TEXT),
    protocol.Progress: (_NUMBER, (int, float), (int, float, type(None)), _TEXT),
    protocol.Refused: (_NUMBER, (protocol.Failure,), _TEXT),
    protocol.Shown: (_NUMBER, _TEXT, (dict,)),
    protocol.Stack: (_TEXT, _TEXT, _NUMBER, (tuple,), _NUMBER),
    protocol.StackTaken: (_NUMBER, (tuple,)),
    protocol.Tainted: (_NUMBER, _TEXT),
    protocol.Warned: (_NUMBER, _TEXT),
}
_CHOICES = {
    (protocol.Event, "severity"): ("info", "warn", "error"),
    (protocol.Printed, "stream"): ("stdout", "stderr"),
    (protocol.Shown, "kind"): ("display_data", "update_display_data", "clear_output"),
}


class BadMessage(Exception):
    """The received bytes are not a valid message."""


class _Unpickler(Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module == protocol.__name__ and name in protocol.__all__:
            return getattr(protocol, name)
        raise BadMessage(f"{module}.{name} is none of our messages")


def read_message(body: Any) -> Any:
    """Return a message from a worker: one of `FromWorker`, or plain data, which is not a message.

    Raises
    ------
    BadMessage
        If it cannot be unpickled, or is a protocol message whose items have the wrong types.

    Examples
    --------
    >>> from wpc_magic.pool.wire.codec import pack
    >>> read_message(pack(protocol.Pong(7)))
    Pong(token=7)
    >>> read_message(pack(protocol.Pong("seven")))
    Traceback (most recent call last):
    ...
    wpc_magic.pool.wire.validation.BadMessage: Pong(token='seven')
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
    """Return the failure of a call.

    Raises
    ------
    BadMessage
        If it is not a valid failure.
    """
    failure = read_message(body)
    if type(failure) is not protocol.Failure:
        raise BadMessage(f"{type(failure).__name__} in the place of a Failure")
    return failure


def _check_stack(stack: protocol.Stack) -> bool:
    _check(stack)
    return all(type(f) is tuple and list(map(type, f)) == [str, int, str] for f in stack.frames)


def _check(message: Any) -> None:
    types = _ITEMS.get(type(message))
    if types is None:
        return
    good = len(message) == len(types) and all(type(i) in t for i, t in zip(message, types, strict=True))
    for (kind, name), allowed in _CHOICES.items():
        good = good and (type(message) is not kind or getattr(message, name) in allowed)
    if good and type(message) is protocol.Revoked:
        good = all(type(seq) is int for seq in message.seqs)
    elif good and type(message) is protocol.StackTaken:
        good = all(type(stack) is protocol.Stack and _check_stack(stack) for stack in message.stacks)
    elif good and type(message) is protocol.Described:
        pairs = (*message.variables, *message.packages)
        good = all(type(pair) is tuple and list(map(type, pair)) == [str, str] for pair in pairs)
    elif good and type(message) is protocol.Failure:
        good = all(type(kind) is str for kind in message.kinds)
    elif good and type(message) is protocol.Logged:
        record = message.record
        good = all(type(name) is str for name in record) and type(record.get("name")) is str
        good = good and type(record.get("levelno")) is int and type(record.get("msg")) is str
    if not good:
        raise BadMessage(repr(message)[:200])
    for item in message:
        _check(item)
