"""The items of streams: taken from their workers, and reported back to them when their callers took them."""

from __future__ import annotations

import time
from typing import Any

from ..core.core import Core
from ..core.slots import slot_of
from ..core.stream_calls import StreamCall
from ..errors import CallError
from ..wire.block_receiver import ShortageError
from ..wire.block_ref import BlockRef
from ..wire.items import are_well_formed
from ..wire.validation import BadMessage
from .link import Link
from .outbox import Outbox

__all__ = ["send_credit", "take_items"]


def take_items(link: Link, core: Core, items: tuple[int, int, Any, Any], state: int, now: float) -> None:
    """Give the items of a frame to the stream that they belong to. Under the lock.

    Parameters
    ----------
    link : Link
        The worker's.
    core : Core
        Knows the stream.
    items : tuple
        How many they are, the number of the call, the body and the buffers.
    state : int
        As in `StreamCall.items_arrived`.
    now : float
        In seconds.

    Raises
    ------
    BadMessage
        If they are malformed.
    """
    count, seq, body, buffers = items
    if not are_well_formed(body, count, buffers):
        raise BadMessage(f"{count} items in {len(body)} bytes")
    call = link.slot.sent.get(seq)
    if not isinstance(call, StreamCall):
        raise BadMessage(f"items of call {seq}, which is no stream")
    if call.ended:  # its worker has not been told yet
        if isinstance(buffers, BlockRef):
            link.receiver.drop(buffers)
        return
    size = len(body)
    if isinstance(buffers, BlockRef):
        size += sum(span[2] for span in buffers.spans)
        try:
            buffers = link.receiver.fetch(buffers)
        except ShortageError as error:
            if error.lease:
                link.receiver.release(error.lease)
            why = f"item {call.received} of {call} could not be received: {error}"
            core.dispatcher.fail(call, link.slot, CallError(why), now)
            return
        except OSError as error:
            raise BadMessage(str(error)) from None
    else:
        size += sum(map(len, buffers))
    call.items_arrived(count, state, now)
    if count and call.future is not None:
        call.future.add_items((count, body, buffers, size))


def send_credit(call: Any, taken: int, links: dict[int, Link], outbox: Outbox) -> None:
    """Tell the worker of a stream how many of its items were taken. Under the lock."""
    slot = slot_of(call)
    link = links.get(slot.incarnation) if slot is not None else None
    if link is not None:
        call.items_taken(taken, time.monotonic())
        outbox.credit(link, call.seq, taken)
