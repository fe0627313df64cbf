"""What the buttons of the dashboard ask for: read from what a page sent, and done to the pool."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = ["Errands", "Request", "perform", "read_request"]

_ACTIONS = {"restart": 1, "scale": 1, "start": 0, "stop": 0}
"""What can be asked for, and how many numbers it takes."""


class Request(NamedTuple):
    """One click.

    Parameters
    ----------
    id : str
        The page's name for it; the answer carries it.
    action : {"restart", "scale", "start", "stop"}
        What to do.
    number : int
        The worker to restart, or how many there shall be; 0 for what takes none.
    """

    id: str
    action: str
    number: int = 0


def read_request(content: Mapping[str, Any]) -> Request | None:
    """Return the request in a message of a page, or None if it is none.

    Any page that reaches the kernel can send anything: what is not exactly a request is dropped.

    Examples
    --------
    >>> read_request({"id": "a1", "do": "restart", "number": 2})
    Request(id='a1', action='restart', number=2)
    >>> read_request({"id": "a2", "do": "shutdown"}) is None
    True
    """
    name, action, number = content.get("id"), content.get("do"), content.get("number", 0)
    if not isinstance(name, str) or not isinstance(action, str) or action not in _ACTIONS:
        return None
    if type(number) is not int or number < _ACTIONS[action]:
        return None
    return Request(name[:64], action, number)


def perform(pool: Any, request: Request) -> None:
    """Do what a request asks for.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    request : Request
        From `read_request`.
    """
    match request.action:
        case "restart":
            pool.restart_worker(request.number)
        case "scale":
            pool.resize(request.number)
        case "start":
            pool.start_workers(request.number or None)
        case "stop":
            pool.stop_workers()


class Errands:
    """Does requests one after another, on a thread that is there only while there is something to do.

    The thread that draws cannot do them: to stop a pool takes seconds, in which one wants to see it stop.

    Parameters
    ----------
    do : callable
        Does one request; it must not raise.
    """

    def __init__(self, do: Callable[[Request], None]) -> None:
        self._do = do
        self._waiting: deque[Request] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, request: Request) -> None:
        """Have a request done, in its turn."""
        with self._lock:
            self._waiting.append(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wpc-dashboard-errands", daemon=True)
                self._thread.start()

    def clear(self) -> None:
        """Forget what has not been begun."""
        with self._lock:
            self._waiting.clear()

    @property
    def busy(self) -> bool:
        """Whether there is something to do."""
        return self._thread is not None

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                request = self._waiting.popleft()
            self._do(request)
