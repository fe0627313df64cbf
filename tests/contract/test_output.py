"""What functions print and log belongs to their call, and is there before its value."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.gate import PATIENCE_S
from wpc_magic.pool import WorkerProcedureCall

SOURCE = """
import logging, os, sys, warnings

def says(*words): print(*words)

def complains(text): print(text, file=sys.stderr)

def writes(text): os.write(1, text.encode())

def says_and_fails(text):
    print(text)
    raise ValueError(text)

async def says_twice(text):
    import asyncio
    print(text, 1)
    await asyncio.sleep(0)
    print(text, 2)

def logs(text): logging.getLogger("contract").warning("of %s", text)

def shows(text): display(text)
"""


class Sink:
    """Keeps what it gets, and lets a test wait for a text."""

    def __init__(self) -> None:
        self.received: list[Any] = []
        self._changed = threading.Condition()

    def __call__(self, output: Any) -> None:
        with self._changed:
            self.received.append(output)
            self._changed.notify_all()

    def text(self, stream: str = "stdout", origin: Any = None) -> str:
        """Return what has come of a stream, of calls of an origin."""
        return "".join(each.text for each in self.received if each.stream == stream and each.origin == origin)

    def wait(self, text: str, stream: str = "stdout") -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: text in self.text(stream), PATIENCE_S)


@pytest.fixture(scope="module", autouse=True)
def functions(pool: WorkerProcedureCall) -> None:
    pool.define_worker_functions(SOURCE)


@pytest.fixture
def sink(pool: WorkerProcedureCall) -> Iterator[Sink]:
    pool.output_sink = sink = Sink()
    yield sink
    pool.output_sink = None
    pool.origin = None


def test_a_text_is_there_before_the_value(pool: WorkerProcedureCall, sink: Sink) -> None:
    for n in range(50):
        pool.call.says("line", n).result()
        assert sink.text().endswith(f"line {n}\n")
    assert pool.call.says_and_fails("and fails").exception() is not None
    assert sink.text().endswith("and fails\n")
    assert sink.text() == "".join(f"line {n}\n" for n in range(50)) + "and fails\n"


def test_a_text_has_the_origin_of_its_call(pool: WorkerProcedureCall, sink: Sink) -> None:
    calls = []
    for origin in ("first", "second"):
        pool.origin = origin
        calls += [pool.call.says(origin), pool.call.says_twice(origin), pool.call.complains(origin)]
    for call in calls:
        call.result()
    for origin in ("first", "second"):
        assert sorted(sink.text(origin=origin).splitlines()) == [origin, f"{origin} 1", f"{origin} 2"]
        assert sink.text("stderr", origin) == f"{origin}\n"


def test_what_is_written_past_python_is_shown_too(pool: WorkerProcedureCall, sink: Sink) -> None:
    pool.call.writes("by itself\n").result()
    sink.wait("by itself\n")


def test_what_is_displayed_is_shown_as_text(pool: WorkerProcedureCall, sink: Sink) -> None:
    pool.call.shows("a display").result()
    assert "a display" in sink.text()


def test_a_log_record_goes_to_the_logger_of_its_name(pool: WorkerProcedureCall) -> None:
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    handler = logging.Handler()
    handler.emit = records.put  # type: ignore[method-assign]
    logger = logging.getLogger("contract")
    logger.addHandler(handler)
    try:
        call = pool.call.logs("a call")
        call.result()
        record = records.get(timeout=PATIENCE_S)
    finally:
        logger.removeHandler(handler)
    assert (record.getMessage(), record.levelname) == ("of a call", "WARNING")
    assert record.worker_id in (1, 2)  # type: ignore[attr-defined]
