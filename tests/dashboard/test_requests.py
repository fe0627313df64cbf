"""Which requests a page may send, and how they are performed."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.dashboard.fakes import FakePool
from wpc_magic.dashboard.requests import Request, RequestQueue, perform, read_request


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"action": "restart", "number": 2}, ("restart", 2)),
        ({"action": "scale", "number": 3}, ("resize", 3)),
        ({"action": "start", "number": 4}, ("start", 4)),
        ({"action": "start"}, ("start", None)),
        ({"action": "stop"}, ("stop",)),
        ({"action": "restart", "number": 2, "drain": False}, ("restart", 2, "now")),
        ({"action": "stop_call", "text": "call-12"}, ("cancel_call", "call-12")),
        ({"action": "stop_map", "number": 3}, ("stop_map", 3)),
        ({"action": "drain"}, ("drain",)),
        ({"action": "clear"}, ("cancel_queued",)),
    ],
)
def test_each_button_does_one_thing_to_the_pool(content: dict[str, Any], expected: tuple[Any, ...]):
    pool = FakePool(2)
    request = read_request({"id": "a", **content})
    assert request is not None
    perform(pool, request)
    assert pool.requested == [expected]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"action": "stop"},
        {"id": 1, "action": "stop"},
        {"id": "a"},
        {"id": "a", "action": "shutdown"},
        {"id": "a", "action": ["stop"]},
        {"id": "a", "action": "restart"},
        {"id": "a", "action": "restart", "number": "2"},
        {"id": "a", "action": "restart", "number": True},
        {"id": "a", "action": "restart", "number": 1, "drain": "yes"},
        {"id": "a", "action": "stop_call"},
        {"id": "a", "action": "stop_call", "text": 12},
        {"id": "a", "action": "stop_call", "text": "x" * 10_000},
        {"id": "a", "action": "stop_map"},
        {"id": "a", "action": "stack"},
        {"id": "a", "action": "function"},
        {"id": "a", "action": "scale", "number": 0},
        {"id": "a", "action": "scale", "number": 2.5},
        {"id": "a", "action": "start", "number": -1},
        {"id": "a", "action": "__class__", "number": 1},
    ],
)
def test_what_is_no_request_is_dropped(content: dict[str, Any]):
    assert read_request(content) is None


def test_what_a_request_asks_for_is_returned():
    assert perform(FakePool(2), Request("a", "stack", 2)) == {"stack": "the stack of worker 2"}
    assert perform(FakePool(2), Request("a", "restart", 2)) is None
    assert perform(FakePool(2), Request("a", "worker", 2)) == {
        "worker": {"facts": [], "calls": [], "output": [], "events": []}
    }


def test_requests_are_performed_in_turn_on_a_thread_that_ends_with_the_last():
    done: list[str] = []
    threads: set[threading.Thread] = set()
    gate = threading.Event()

    def do(request: Request) -> None:
        assert gate.wait(30)
        threads.add(threading.current_thread())
        done.append(request.id)

    requests = RequestQueue(do)
    for name in "abc":
        requests.add(Request(name, "stop"))
    assert requests.busy
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "wpc-dashboard-requests":
            thread.join(30)
    assert done == ["a", "b", "c"]
    assert len(threads) == 1
    assert not requests.busy


def test_a_request_that_comes_after_the_last_is_performed_too():
    done = threading.Semaphore(0)
    requests = RequestQueue(lambda request: done.release() and None)
    for _ in range(50):
        requests.add(Request("a", "stop"))
        assert done.acquire(timeout=30)
