"""What pages send to a widget: each message is taken once, in the order in which its page has sent them.

::

    outbox.js ── {from, nth: 1, …} ──────────> behind a cell that runs ───────────────────────┐
        │  (no answer: everything again)                                                      │
        ├── {from, nth: 1, …} ──> a subshell ──> receive() ──> take it, acknowledge {from: 1} │
        └── {from, nth: 2, …} ──> a subshell ──> receive() ──> take it, acknowledge {from: 2} │
                                                 receive() <── known: it is not taken again <─┘

A message that a page sends before it has a subshell waits for the end of the cell; its repetition does not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

__all__ = ["PageMessages"]

_MOST_SENDERS = 1000  # of which it is remembered what they have sent; a page has a few
_LONGEST_NAME = 64


class PageMessages:
    """Receives the messages of all pages that show a widget, in any thread.

    Parameters
    ----------
    take : callable
        Takes a message; called under a lock, so it must not wait for a page.
    acknowledge : callable
        Is given a sender, and how many of its messages have been taken; after each of them that arrives.

    Examples
    --------
    >>> inbox = PageMessages(lambda message: print(message["action"]), lambda sender, count: print(count))
    >>> inbox.receive({"from": "page", "nth": 2, "action": "stop"})  # the one before is under way
    >>> inbox.receive({"from": "page", "nth": 1, "action": "start"})
    start
    1
    >>> inbox.receive({"from": "page", "nth": 1, "action": "start"})  # a repetition
    1
    >>> inbox.receive({"from": "page", "nth": 2, "action": "stop"})
    stop
    2
    """

    def __init__(self, take: Callable[[dict[str, Any]], object], acknowledge: Callable[[str, int], object]):
        self._take = take
        self._acknowledge = acknowledge
        self._lock = threading.Lock()
        self._taken: dict[str, int] = {}  # how many of each sender, the one that was heard last at the end

    def receive(self, message: Any) -> None:
        """Take a message, unless it is none of a page, or not its sender's next."""
        if not isinstance(message, dict):
            return
        sender, nth = message.get("from"), message.get("nth")
        if not isinstance(sender, str) or len(sender) > _LONGEST_NAME or type(nth) is not int:
            return
        with self._lock:
            taken = self._taken.pop(sender, 0)
            is_next = nth == taken + 1
            if taken or is_next:
                self._taken[sender] = taken = taken + is_next
            if len(self._taken) > _MOST_SENDERS:
                del self._taken[next(iter(self._taken))]
            try:
                if is_next:
                    self._take(message)
            finally:
                if taken:
                    self._acknowledge(sender, taken)
