"""Requests of the dashboard's buttons: validated when they arrive from a page, then performed on the pool."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import IPython

from .details import call_details, function_details, registry_rows
from .worker_details import worker_details

__all__ = ["Request", "RequestQueue", "perform", "read_request"]

_ACTIONS = {
    "call": 1,
    "clear": 0,
    "drain": 0,
    "function": 0,
    "registry": 0,
    "restart": 1,
    "sample": 0,
    "scale": 1,
    "stack": 1,
    "start": 0,
    "stop": 0,
    "stop_call": 0,
    "stop_map": 1,
    "worker": 1,
}
"""The actions, and the least number that each accepts."""

_NAMED = {"stop_call", "function"}  # these are of something that has a name

_LONGEST_TEXT = 200


class Request(NamedTuple):
    """One click.

    Parameters
    ----------
    id : str
        Chosen by the page; the acknowledgement carries it.
    action : str
        What to do, or to tell: ``"restart"``, ``"stop_map"``, ``"function"``, ...
    number : int
        The worker, the call, the map, the number of workers, or 1 to begin and 0 to end; else 0.
    text : str
        The id of the call to stop, or the name of the function to tell of.
    drain : bool
        Whether a worker that is restarted finishes its calls.
    """

    id: str
    action: str
    number: int = 0
    text: str = ""
    drain: bool = True


def read_request(content: Mapping[str, Any]) -> Request | None:
    """Return the request in a message of a page, or None if it is not valid.

    A page that reaches the kernel can send anything: whatever is not exactly a request is dropped.

    Examples
    --------
    >>> read_request({"id": "a1", "action": "restart", "number": 2})
    Request(id='a1', action='restart', number=2, text='', drain=True)
    >>> read_request({"id": "a2", "action": "shutdown"}) is None
    True
    """
    id_, action, number = content.get("id"), content.get("action"), content.get("number", 0)
    text, drain = content.get("text", ""), content.get("drain", True)
    if not isinstance(id_, str) or not isinstance(action, str) or action not in _ACTIONS:
        return None
    if type(number) is not int or number < _ACTIONS[action] or type(drain) is not bool:
        return None
    if not isinstance(text, str) or len(text) > _LONGEST_TEXT or (action in _NAMED and not text):
        return None
    return Request(id_[:64], action, number, text, drain)


def perform(pool: Any, request: Request) -> dict[str, Any] | None:
    """Perform a request, and return what it asks for, if it asks for something.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    request : Request
        From `read_request`.
    """
    match request.action:
        case "restart":
            pool.restart_worker(request.number, drain=request.drain)
        case "scale":
            pool.resize(request.number)
        case "stack":
            return {"stack": pool.stack(request.number)}
        case "start":
            pool.start_workers(request.number or None)
        case "stop":
            pool.stop_workers()
        case "drain":
            pool.stop_workers(drain=True)
        case "clear":
            pool.cancel_queued()
        case "stop_call":
            pool.cancel_call(request.text)
        case "stop_map":
            pool.stop_map(request.number)
        case "call":
            return {"call": call_details(pool, request.number)}
        case "function":
            return {**function_details(pool, request.text)}
        case "worker":
            return {"worker": worker_details(pool, request.number)}
        case "registry":
            return {"rows": registry_rows(pool, getattr(IPython.get_ipython(), "user_ns", None))}
    return None


class RequestQueue:
    """Performs requests one after another, on a thread that exists only while requests are pending.

    The feed's thread cannot perform them: stopping a pool takes seconds, in which the page has to show
    progress.

    Parameters
    ----------
    perform : callable
        Performs one request; it must not raise.
    """

    def __init__(self, perform: Callable[[Request], None]) -> None:
        self._perform = perform
        self._queue: deque[Request] = deque()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, request: Request) -> None:
        """Queue a request."""
        with self._lock:
            self._queue.append(request)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="wpc-dashboard-requests", daemon=True)
                self._thread.start()

    def clear(self) -> None:
        """Drop the requests that have not begun."""
        with self._lock:
            self._queue.clear()

    @property
    def busy(self) -> bool:
        """Whether a request is queued or running."""
        return self._thread is not None

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    self._thread = None
                    return
                request = self._queue.popleft()
            self._perform(request)
