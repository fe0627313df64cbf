"""The dashboard's own thread."""

from __future__ import annotations

import gc
import queue
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.dashboard.fakes import FakeClock, FakePool
from wpc_magic.dashboard import feed as feed_module
from wpc_magic.dashboard.feed import FRAME_S, STEADY_S, Feed
from wpc_magic.dashboard.requests import Request


class Page:
    """Records messages."""

    def __init__(self) -> None:
        self.messages: queue.Queue[dict[str, Any]] = queue.Queue()

    def __call__(self, message: dict[str, Any]) -> None:
        self.messages.put(message)

    def next(self) -> dict[str, Any]:
        return self.messages.get(timeout=30)

    def until(self, key: str) -> dict[str, Any]:
        """Return the next message with that key."""
        while key not in (message := self.next()):
            pass
        return message

    @property
    def is_empty(self) -> bool:
        return self.messages.empty()


@pytest.fixture
def page() -> Page:
    return Page()


@pytest.fixture
def feeds(page: Page, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[FakePool], Feed]]:
    """Make a feed that polls often, and close it."""
    monkeypatch.setattr(feed_module, "FRAME_S", 0.001)
    monkeypatch.setattr(feed_module, "IDLE_S", 0.002)
    made: list[Feed] = []

    def make(pool: FakePool) -> Feed:
        made.append(Feed(pool, page))
        return made[-1]

    yield make
    for feed in made:
        feed.close()
    made.clear()


def thread_of(name: str = "wpc-dashboard") -> threading.Thread | None:
    return next((thread for thread in threading.enumerate() if thread.name == name), None)


def wait_until_the_thread_ends() -> None:
    thread = thread_of()
    if thread is not None:
        thread.join(30)
        assert not thread.is_alive()


# -- without its thread ---------------------------------------------------------------------------------


def test_a_step_shows_what_changed_with_its_number_and_the_time(page: Page):
    pool, clock = FakePool(), FakeClock()
    feed = Feed(pool, page, clock=clock)
    pool.change(done=1)
    clock.advance(0.1)
    assert feed.step()
    assert page.next() == {"seq": 1, "now": 1000.1, "pool": {"done": 1}}


def test_a_step_in_which_nothing_changed_shows_nothing(page: Page):
    pool, clock = FakePool(), FakeClock()
    pool.change_worker(1, current_call="f #1", running_s=1.0, memory_bytes=2**26, cpu_percent=0.4)
    feed = Feed(pool, page, clock=clock)
    clock.advance(1.0)
    pool.change_worker(1, running_s=2.0)
    feed.step()  # the first reading of the processor
    page.next()
    for second in range(3, 100):
        clock.advance(1.0)
        pool.change_worker(1, running_s=float(second) + 0.01, memory_bytes=2**26 + 4096 * (second % 3))
        assert not feed.step()
    assert page.is_empty


def test_the_events_are_fetched_only_if_there_are_new_ones(page: Page):
    pool = FakePool()
    pool.emit("worker_spawned")
    feed = Feed(pool, page)
    pool.events = lambda: pytest.fail("nothing happened")  # type: ignore[method-assign]
    pool.change(done=1)
    feed.step()
    assert page.next()["pool"] == {"done": 1}


def test_a_page_that_missed_something_is_sent_everything(page: Page):
    pool = FakePool(2)
    feed = Feed(pool, page)
    feed._resend = True
    feed.step()
    message = page.next()
    assert [row["id"] for row in message["full"]["workers"]] == [1, 2]
    assert message["full"]["notice"] == ""
    assert message["seq"] == feed.latest[1] == 1


def test_a_pool_that_cannot_be_polled_is_reported_and_polled_again(page: Page):
    pool = FakePool()
    feed = Feed(pool, page)
    snapshot = pool.snapshot
    pool.snapshot = lambda **options: 1 / 0  # type: ignore[method-assign, assignment, return-value]
    feed.step()
    assert page.next()["notice"] == "Could not look at the pool: division by zero"
    assert not feed.step()
    pool.snapshot = snapshot  # type: ignore[method-assign]
    pool.change(done=1)
    assert feed.step()


# -- with its thread ------------------------------------------------------------------------------------


def test_nothing_is_sent_while_nothing_changes(page: Page, feeds: Callable[[FakePool], Feed]):
    pool = FakePool()
    feeds(pool).follow()
    pool.wait_for_polls(50)
    assert page.is_empty


def test_an_event_is_shown_as_soon_as_it_happens(
    page: Page, feeds: Callable[[FakePool], Feed], monkeypatch: pytest.MonkeyPatch
):
    pool = FakePool()
    monkeypatch.setattr(feed_module, "IDLE_S", 3600.0)
    feeds(pool).follow()
    pool.wait_for_total_polls(12)  # now it is idle: the next poll would be in an hour
    pool.emit("worker_ready")
    assert page.next()["events"][0]["name"] == "worker_ready"


def test_between_two_frames_a_tenth_of_a_second_passes_and_more_while_everything_changes(page: Page):
    waits: list[float | None] = []

    class Recorder(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            pool.change(done=pool.current.done + 1)  # every poll finds a change
            return self.is_set()

    pool = FakePool()
    feed = Feed(pool, page)
    feed._closed = Recorder()
    feed.follow()
    shown = [page.next() for _ in range(20)]
    feed.close()
    assert len(waits) >= len(shown) - 1
    assert waits[:5] == [FRAME_S] * 5 == [0.1] * 5  # nothing had changed in the first poll
    assert set(waits[5:]) == {STEADY_S} == {0.25}
    assert [message["seq"] for message in shown] == list(range(1, 21))


def test_nothing_is_sent_while_no_page_looks_and_then_everything(page: Page):
    pool = FakePool()
    feed = Feed(pool, page)
    feed._hidden = True
    pool.change(done=5)
    assert not feed.step()
    assert page.is_empty
    assert feed.latest[0]["pool"]["done"] == 5  # what the notebook saves
    feed._acked.append(("page", 1))  # that it does not look
    assert feed.step()
    assert set(page.next()) == {"seq", "now", "acked"}
    feed._hidden, feed._resend = False, True
    assert feed.step()
    assert page.next()["full"]["pool"]["done"] == 5


def test_while_no_page_looks_the_notebook_is_given_one_frame_more_and_then_none(
    page: Page, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed_module, "HIDDEN_S", 0.001)
    pool, saved = FakePool(), []
    feed = Feed(pool, page, lambda last: saved.append(pool.polls))
    feed._hidden = True
    feed.follow()
    with pool.polled:
        assert pool.polled.wait_for(lambda: pool.polls > 10, timeout=30)
    feed.close()
    assert len(saved) == 1


def test_the_workers_are_measured_once_a_second_and_not_for_each_frame(page: Page):
    pool, clock = FakePool(), FakeClock()
    feed = Feed(pool, page, clock=clock)
    for _ in range(20):
        clock.advance(0.25)
        feed.step()
    assert (pool.polls, pool.measured) == (21, 6)


def test_a_page_that_looks_again_is_sent_everything_at_once(
    page: Page, feeds: Callable[[FakePool], Feed], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(feed_module, "HIDDEN_S", 3600.0)
    pool = FakePool()
    feed = feeds(pool)
    feed.follow()
    feed.hide(True)
    pool.change(done=5)
    pool.emit("worker_ready")
    feed.hide(False)
    while page.until("full")["full"]["pool"]["done"] != 5:
        pass


def test_a_click_is_acknowledged_and_done(page: Page, feeds: Callable[[FakePool], Feed]):
    pool = FakePool()
    feed = feeds(pool)
    feed.follow()
    feed.submit(Request("click-1", "restart", 2))
    feed.acknowledge("page", 1)
    feed.acknowledge("other", 7)
    feed.acknowledge("page", 2)
    acked: dict[str, int] = {}
    while acked != {"page": 2, "other": 7}:
        acked |= page.until("acked")["acked"]
    rows = feed.latest[0]["workers"]
    while rows[1]["pid"] != 9002:
        page.next()
        rows = feed.latest[0]["workers"]
    assert pool.requested == [("restart", 2)]


def test_what_a_click_asks_for_is_sent_with_its_id(page: Page, feeds: Callable[[FakePool], Feed]):
    pool = FakePool()
    feed = feeds(pool)
    feed.follow()
    feed.submit(Request("click-1", "stack", 2))
    assert page.until("replies")["replies"] == [{"id": "click-1", "stack": "the stack of worker 2"}]


def test_frames_go_on_while_a_pool_takes_its_time_to_stop(page: Page, feeds: Callable[[FakePool], Feed]):
    pool = FakePool()
    pool.gate.clear()
    feed = feeds(pool)
    feed.follow()
    feed.submit(Request("click-1", "stop"))
    pool.change(done=7)
    assert page.until("pool")["pool"] == {"done": 7}
    assert pool.requested == []
    pool.gate.set()
    assert page.until("removed")["removed"] == [1, 2]


def test_a_request_that_fails_says_so_and_the_next_click_clears_it(
    page: Page, feeds: Callable[[FakePool], Feed]
):
    pool = FakePool()
    pool.error = RuntimeError("the pool was stopped")
    feed = feeds(pool)
    feed.follow()
    feed.submit(Request("click-1", "scale", 3))
    assert page.until("notice")["notice"] == "Could not scale to 3: the pool was stopped"
    assert feed.latest[2] == "Could not scale to 3: the pool was stopped"
    pool.error = None
    feed.submit(Request("click-2", "restart", 1))
    assert page.until("notice")["notice"] == ""


def test_a_stopped_pool_leaves_no_thread_and_is_seen_when_it_starts_again(
    page: Page, feeds: Callable[[FakePool], Feed]
):
    pool = FakePool()
    feeds(pool).follow()
    pool.stop_workers()
    assert page.until("pool")["pool"]["state"] == "stopped"
    wait_until_the_thread_ends()
    assert thread_of() is None
    pool.start_workers(3)
    pool.emit("worker_spawned")
    assert [row["id"] for row in page.until("workers")["workers"]] == [1, 2, 3]
    assert thread_of() is not None


def test_a_click_on_a_stopped_pool_starts_it(page: Page, feeds: Callable[[FakePool], Feed]):
    pool = FakePool(0)
    feed = feeds(pool)
    feed.follow()
    wait_until_the_thread_ends()
    feed.submit(Request("click-1", "start"))
    assert page.until("workers")["workers"][0]["id"] == 1


def test_a_pool_that_is_dropped_is_released_and_the_thread_ends(
    page: Page, feeds: Callable[[FakePool], Feed]
):
    pool = FakePool()
    pool.emit("worker_ready")
    feed = feeds(pool)
    feed.follow()
    pool.wait_for_polls(2)
    del pool
    gc.collect()
    message = page.until("pool")
    assert message["pool"]["state"] == "gone"
    assert message["removed"] == [1, 2]
    wait_until_the_thread_ends()
    assert feed.latest[0]["events"][0]["name"] == "worker_ready"


def test_a_closed_feed_has_no_thread_no_listener_and_takes_no_clicks(
    page: Page, feeds: Callable[[FakePool], Feed]
):
    pool = FakePool()
    feed = feeds(pool)
    feed.follow()
    assert pool.listeners == 1
    feed.close()
    feed.close()
    assert pool.listeners == 0
    assert thread_of() is None
    feed.submit(Request("click-1", "stop"))
    pool.emit("worker_ready")
    assert thread_of() is None
    assert thread_of("wpc-dashboard-requests") is None
    assert pool.requested == []


def test_what_was_asked_for_and_not_begun_when_it_closes_is_not_done(
    page: Page, feeds: Callable[[FakePool], Feed]
):
    pool = FakePool()
    pool.gate.clear()
    feed = feeds(pool)
    feed.follow()
    for number in (1, 2):
        feed.submit(Request(f"click-{number}", "restart", number))
    feed.acknowledge("page", 2)
    page.until("acked")
    thread = thread_of("wpc-dashboard-requests")
    feed.close()
    pool.gate.set()
    assert thread is not None
    thread.join(30)
    assert ("restart", 2) not in pool.requested


def test_a_page_that_cannot_be_reached_ends_the_thread(feeds: Callable[[FakePool], Feed]):
    pool = FakePool()

    def show(message: Any) -> None:
        raise OSError("the kernel is shutting down")

    feed = Feed(pool, show)
    feed.follow()
    pool.emit("worker_ready")
    wait_until_the_thread_ends()
    feed.close()


def test_a_pool_that_drains_says_so_and_can_be_stopped_meanwhile():
    pool = FakePool(2)
    pool.gate.clear()
    sent: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    feed = Feed(pool, sent.put)
    feed.submit(Request("a", "drain"))

    def until(key: str, value: str) -> None:
        while sent.get(timeout=30).get("pool", {}).get(key) != value:
            pass

    try:
        until("state", "draining")
        pool.gate.set()
        until("state", "stopped")
        assert pool.requested == [("drain",)]
    finally:
        feed.close()
