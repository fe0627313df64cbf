"""A queue of calls from which any call can be removed at once, and which may be ordered by rank."""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Iterator

from .calls import Call

__all__ = ["CallQueue"]


class CallQueue(OrderedDict[Call, None]):
    """Queued calls, in order.

    A call that is cancelled leaves it in one step, wherever it is. A deque would have to be searched, or
    would keep the call until it comes to its head: 150,000 cancelled calls behind a slow one were 32 MB.

    Examples
    --------
    >>> queue, calls = CallQueue(), [Call(number, "f", b"") for number in (1, 2, 3)]
    >>> _ = [queue.append(call) for call in calls]
    >>> queue.discard(calls[1]); queue.head, list(queue)
    (<call f #1>, [<call f #1>, <call f #3>])
    """

    @property
    def head(self) -> Call:
        """The first call; the queue must not be empty."""
        return next(iter(self))

    def append(self, call: Call) -> bool:
        """Add a call at the end; return whether it is ahead of calls that were there before."""
        self[call] = None
        return False

    def appendleft(self, call: Call) -> None:
        """Add a call at the head."""
        self[call] = None
        self.move_to_end(call, last=False)

    def popleft(self) -> Call:
        """Remove and return the first call."""
        return self.popitem(last=False)[0]

    def discard(self, call: Call) -> None:
        """Remove a call if it is there."""
        self.pop(call, None)

    def rank(self) -> None:
        """Order the calls by rank from now on, until the queue is empty: see `_RankedQueue`.

        The object changes its class, so a queue in which no call has a priority does not pay for those that
        have one, not even by asking whether it does.
        """
        self.__class__ = _RankedQueue
        assert isinstance(self, _RankedQueue)
        self.ranks = [(*_rank(call), call) for call in OrderedDict.__iter__(self)]
        heapq.heapify(self.ranks)


class _RankedQueue(CallQueue):
    """Queued calls by priority, the highest first; those of one priority in the order of their numbers.

    So a call that returns to the queue has its old place again.

    Attributes
    ----------
    ranks : list
        A heap of (negative priority, number, call). Calls that have left the queue otherwise than from its
        head are still there, until they come to the head, or are too many.

    Examples
    --------
    >>> from wpc_magic.pool.options import CallOptions
    >>> queue, urgent = CallQueue(), CallOptions(priority=1)
    >>> _ = queue.append(Call(1, "f", b"")); queue.rank()
    >>> queue.append(Call(2, "f", b"", options=urgent)), queue.append(Call(3, "f", b"", options=urgent))
    (True, False)
    >>> [queue.popleft().id for _ in range(3)], type(queue).__name__
    ([2, 3, 1], 'CallQueue')
    """

    ranks: list[tuple[int, int, Call]]

    @property
    def head(self) -> Call:
        ranks = self.ranks
        while ranks[0][2] not in self:
            heapq.heappop(ranks)
        return ranks[0][2]

    def __iter__(self) -> Iterator[Call]:
        return iter(sorted(OrderedDict.__iter__(self), key=_rank))

    def append(self, call: Call) -> bool:
        self[call] = None
        heapq.heappush(self.ranks, (*_rank(call), call))
        return self.head is call

    def appendleft(self, call: Call) -> None:
        self.append(call)

    def popleft(self) -> Call:
        call = self.head
        heapq.heappop(self.ranks)
        del self[call]
        self._has_lost_one()
        return call

    def discard(self, call: Call) -> None:
        if call in self:
            del self[call]
            self._has_lost_one()

    def clear(self) -> None:
        OrderedDict.clear(self)
        self._has_lost_one()

    def rank(self) -> None:
        pass

    def _has_lost_one(self) -> None:
        if not self:
            del self.ranks
            self.__class__ = CallQueue  # type: ignore[assignment]  # which has no ranks
        elif len(self.ranks) > 2 * len(self) + 16:
            CallQueue.rank(self)


def _rank(call: Call) -> tuple[int, int]:
    return -(call.options.priority or 0), call.id
