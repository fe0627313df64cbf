"""What a page may ask for, and how it is done."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.dashboard.fakes import FakePool
from wpc_magic.dashboard.requests import Errands, Request, perform, read_request


@pytest.mark.parametrize(
    ("content", "did"),
    [
        ({"do": "restart", "number": 2}, ("restart", 2)),
        ({"do": "scale", "number": 3}, ("resize", 3)),
        ({"do": "start", "number": 4}, ("start", 4)),
        ({"do": "start"}, ("start", None)),
        ({"do": "stop"}, ("stop",)),
    ],
)
def test_each_button_does_one_thing_to_the_pool(content: dict[str, Any], did: tuple[Any, ...]):
    pool = FakePool(2)
    request = read_request({"id": "a", **content})
    assert request is not None
    perform(pool, request)
    assert pool.did == [did]


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"do": "stop"},
        {"id": 1, "do": "stop"},
        {"id": "a"},
        {"id": "a", "do": "shutdown"},
        {"id": "a", "do": ["stop"]},
        {"id": "a", "do": "restart"},
        {"id": "a", "do": "restart", "number": "2"},
        {"id": "a", "do": "restart", "number": True},
        {"id": "a", "do": "scale", "number": 0},
        {"id": "a", "do": "scale", "number": 2.5},
        {"id": "a", "do": "start", "number": -1},
        {"id": "a", "do": "__class__", "number": 1},
    ],
)
def test_what_is_no_request_is_dropped(content: dict[str, Any]):
    assert read_request(content) is None


def test_errands_are_done_in_turn_on_a_thread_that_ends_with_the_last():
    done: list[str] = []
    threads: set[threading.Thread] = set()
    gate = threading.Event()

    def do(request: Request) -> None:
        assert gate.wait(30)
        threads.add(threading.current_thread())
        done.append(request.id)

    errands = Errands(do)
    for name in "abc":
        errands.add(Request(name, "stop"))
    assert errands.busy
    gate.set()
    for thread in threading.enumerate():
        if thread.name == "wpc-dashboard-errands":
            thread.join(30)
    assert done == ["a", "b", "c"]
    assert len(threads) == 1
    assert not errands.busy


def test_an_errand_that_comes_after_the_last_is_done_too():
    done = threading.Semaphore(0)
    errands = Errands(lambda request: done.release() and None)
    for _ in range(50):
        errands.add(Request("a", "stop"))
        assert done.acquire(timeout=30)
