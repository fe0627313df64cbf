"""OpenTelemetry traces: the caller's span, that of the call, that of the function, and those of its code."""

from __future__ import annotations

import queue
import signal
from collections.abc import Iterator
from concurrent.futures import CancelledError
from typing import Any, NamedTuple

import pytest
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode, format_span_id

from tests.pool.conftest import PATIENCE_S, run
from wpc_magic import traces
from wpc_magic.pool import CallOptions, WorkerProcedureCall
from wpc_magic.pool.driver.driver import Driver
from wpc_magic.pool.driver.outbox import call_frame
from wpc_magic.pool.driver.traced_calls import CallEnd, observe_calls
from wpc_magic.pool.errors import CallTimeoutError, NotRunningError, OptionError

SETUP = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("user")
"""

SOURCE = """
import asyncio
import time


def work(x=0):
    with tracer.start_as_current_span("inner"):
        return x


def fails():
    raise ValueError("no")


def waits():
    while True:
        time.sleep(0.01)


async def works_later(x=0):
    with tracer.start_as_current_span("inner"):
        await asyncio.sleep(0)
        return x


async def yields_later(n):
    for each in range(n):
        with tracer.start_as_current_span("inner"):
            await asyncio.sleep(0)
        yield each


def waits_between(x):
    while True:
        time.sleep(0.01)
        yield 1


def yields(n):
    for each in range(n):
        with tracer.start_as_current_span("inner"):
            pass
        yield each


def current():
    return trace.get_current_span().get_span_context().is_valid


def finished():
    "The spans of this worker: name, id, that of the parent, trace, whether it is well."
    found = [
        (s.name, s.context.span_id, getattr(s.parent, "span_id", 0), s.context.trace_id, s.status.is_unset)
        for s in exporter.get_finished_spans()
        if s.name != "finished"
    ]
    exporter.clear()
    return found
"""


class Seen(NamedTuple):
    """A span of a worker."""

    name: str
    id: int
    parent: int
    trace: int
    is_well: bool


class Ended(SpanProcessor):
    """The spans that have ended. A thread of the pool ends that of a call, after it has its value."""

    def __init__(self) -> None:
        self._spans: queue.SimpleQueue[ReadableSpan] = queue.SimpleQueue()

    def on_end(self, span: ReadableSpan) -> None:
        self._spans.put(span)

    def next(self, name: str) -> Any:
        """Wait for the next one that has a name."""
        while (span := self._spans.get(timeout=PATIENCE_S)).name != name:
            pass
        return span


class Bench(NamedTuple):
    pool: WorkerProcedureCall
    exporter: InMemorySpanExporter
    provider: TracerProvider
    ended: Ended

    def in_worker(self) -> list[Seen]:
        return [Seen(*each) for each in self.pool.call.finished().result(PATIENCE_S)]

    def here(self) -> dict[str, Any]:
        """Return the spans of this process, when all calls have been told."""
        self.pool.stop_workers()  # which waits for the callbacks
        return {span.name: span for span in self.exporter.get_finished_spans() if span.name != "finished"}


@pytest.fixture
def bench() -> Iterator[Bench]:
    exporter, provider, ended = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False), Ended()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.add_span_processor(ended)
    with WorkerProcedureCall(interrupt_grace_ms=60_000) as pool:
        pool.define_worker_setup(SETUP)
        pool.define_worker_functions(SOURCE)
        pool.start_workers(1)
        traces.register(pool, provider)
        yield Bench(pool, exporter, provider, ended)


def check_chain(bench: Bench, name: str, call: Any) -> None:
    """Check that the caller's span, the call's, the function's, and that of its code are a chain."""
    with bench.provider.get_tracer("caller").start_as_current_span("outer") as outer:
        call()
    inner, function = bench.in_worker()[-2:]
    assert (inner.name, function.name) == ("inner", name)
    span = bench.here()[name]
    assert span.parent.span_id == outer.get_span_context().span_id
    assert function.parent == span.context.span_id
    assert inner.parent == function.id
    assert inner.trace == function.trace == span.context.trace_id == outer.get_span_context().trace_id


def test_a_call_joins_the_trace_of_its_caller_in_the_worker_too(bench: Bench) -> None:
    check_chain(bench, "work", lambda: bench.pool.call.work(1).result(PATIENCE_S))
    span = bench.here()["work"]
    assert span.status.is_unset
    assert span.attributes["wpc.outcome"] == "done"
    assert span.attributes["wpc.pool"] == "wpc"
    assert span.kind.name == "CLIENT"
    assert span.end_time > span.start_time


def test_a_coroutine_does(bench: Bench) -> None:
    check_chain(bench, "works_later", lambda: bench.pool.call.works_later(1).result(PATIENCE_S))


def test_coroutines_that_interleave_have_their_own_spans(bench: Bench) -> None:
    futures = [bench.pool.call.works_later(n) for n in range(5)]
    assert [future.result(PATIENCE_S) for future in futures] == [*range(5)]
    seen = bench.in_worker()
    functions = {each.id: each for each in seen if each.name == "works_later"}
    assert sorted(each.parent for each in seen if each.name == "inner") == sorted(functions)
    assert len({each.trace for each in functions.values()}) == 5


def test_a_stream_does(bench: Bench) -> None:
    check_chain(bench, "yields", lambda: list(bench.pool.call.yields(3)))


def test_a_function_that_is_not_registered_does_held_or_not(bench: Bench) -> None:
    changing = [0]
    for function in (lambda: 7, lambda: changing[0] + 7):
        bench.exporter.clear()
        assert bench.pool.submit_function(function).result(PATIENCE_S) == 7
        (seen,) = bench.in_worker()
        assert seen.name == "<lambda>"
    assert bench.here()["<lambda>"].context.span_id == seen.parent


def test_the_chunks_of_a_map_are_spans_and_its_items_are_in_them(bench: Bench) -> None:
    with bench.provider.get_tracer("caller").start_as_current_span("outer") as outer:
        assert list(bench.pool.map("work", range(4), chunk_size=4)) == [*range(4)]
        assert list(bench.pool.map("works_later", range(4), chunk_size=4)) == [*range(4)]
    seen = bench.in_worker()
    assert [each.name for each in seen] == ["inner"] * 8
    assert {each.trace for each in seen} == {outer.get_span_context().trace_id}
    here = bench.here()
    assert {each.parent for each in seen} == {here[n].context.span_id for n in ("work", "works_later")}
    assert here["work"].attributes["wpc.items"] == 4


def test_what_yields_in_the_chunks_of_a_map_is_in_them_too(bench: Bench) -> None:
    for name in ("yields", "yields_later"):
        assert list(bench.pool.map(name, [1, 2], chunk_size=2)) == [[0], [0, 1]]
        seen = bench.in_worker()
        assert [each.name for each in seen] == ["inner"] * 3
        assert {each.parent for each in seen} == {bench.ended.next(name).context.span_id}
    assert bench.pool.call.current().result(PATIENCE_S) is True
    pid = bench.pool.snapshot().workers[0].pid
    with pytest.raises(CallTimeoutError):
        list(bench.pool.map("waits_between", [0], timeout_ms=100))
    assert bench.pool.snapshot().workers[0].pid == pid, "it was interrupted, not the worker ended"


def test_an_error_is_recorded_on_both_sides_and_is_what_it_is_without(bench: Bench) -> None:
    error = bench.pool.call.fails().exception(PATIENCE_S)
    assert isinstance(error, ValueError)
    assert "traced.py" not in "".join(error.__notes__)
    (seen,) = bench.in_worker()
    assert (seen.name, seen.is_well) == ("fails", False)
    span = bench.here()["fails"]
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "ValueError"
    (event,) = span.events
    assert event.attributes["exception.message"] == "no"
    assert "traced.py" not in event.attributes["exception.stacktrace"]
    assert ", in fails" in event.attributes["exception.stacktrace"]


def test_a_timeout_stops_the_work_and_is_recorded(bench: Bench) -> None:
    pid = bench.pool.snapshot().workers[0].pid
    assert bench.pool.call.waits.options(timeout_ms=500)().exception(PATIENCE_S) is not None
    (seen,) = bench.in_worker()
    assert bench.pool.snapshot().workers[0].pid == pid, "the function was interrupted, not the worker ended"
    assert (seen.name, seen.is_well) == ("waits", False)
    assert bench.here()["waits"].attributes["error.type"] == "CallTimeoutError"


def test_a_cancel_stops_the_work_and_is_recorded(bench: Bench) -> None:
    pid = bench.pool.snapshot().workers[0].pid
    future = bench.pool.call.waits()
    while not future.running():
        pass
    assert future.cancel()
    with pytest.raises(CancelledError):
        future.result(PATIENCE_S)
    (seen,) = bench.in_worker()
    assert (seen.name, seen.is_well) == ("waits", False)
    assert bench.pool.snapshot().workers[0].pid == pid
    span = bench.here()["waits"]
    assert (span.attributes["wpc.outcome"], span.status.description) == ("cancelled", "cancelled")


def test_functions_that_are_not_registered_join_the_trace_however_they_are_sent(bench: Bench) -> None:
    large = [*range(100)]
    for n in range(4):
        assert bench.pool.submit_function(lambda n=n: n).result(PATIENCE_S) == n
        assert bench.pool.submit_function(lambda n=n: n + len(large)).result(PATIENCE_S) == n + 100
    seen = bench.in_worker()
    assert [each.name for each in seen] == ["<lambda>"] * 8
    assert len({each.trace for each in seen}) == 8
    bench.pool.stop_workers()  # which waits for the callbacks
    calls = [span.context.span_id for span in bench.exporter.get_finished_spans() if span.name == "<lambda>"]
    assert sorted(calls) == sorted(each.parent for each in seen)


def test_a_refused_call_is_recorded(bench: Bench) -> None:
    with pytest.raises(LookupError):
        bench.pool.call.nothing()
    assert bench.here()["nothing"].attributes["error.type"] == "FunctionNotDefinedError"


class Begun:
    """Counts the calls that have begun and not ended."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.ends: list[CallEnd] = []

    def begin(self, name: str, call_id: int, items: int) -> tuple[str, dict[str, str]]:
        self.open.append(name)
        return name, {}

    def end(self, begun: str, end: CallEnd) -> None:
        self.open.remove(begun)
        self.ends.append(end)


def test_a_call_that_is_refused_or_started_for_has_begun_once_and_has_ended() -> None:
    begun = Begun()
    with WorkerProcedureCall() as pool:
        observe_calls(pool._driver, begun)
        with pytest.raises(NotRunningError):
            pool.submit_function(abs, (-1,))
        assert (begun.open, begun.ends) == ([], [])
        pool.when_not_running = lambda: pool.start_workers(1)
        assert pool.submit_function(abs, (-1,)).result(PATIENCE_S) == 1
        pool.stop_workers()
        assert (begun.open, [each.outcome for each in begun.ends]) == ([], ["done"])
        assert pool.submit_function(sum, (range(2), 1)).result(PATIENCE_S) == 2
        with pytest.raises(OptionError):
            pool.submit_function(abs, (-1,), None, CallOptions(worker_id=9))
        pool.stop_workers()
        assert begun.open == []
        assert sorted(each.outcome for each in begun.ends) == ["done", "done", "failed"]
        pool.when_not_running = interrupts
        with pytest.raises(KeyboardInterrupt):
            pool.submit_function(abs, (-1,))
        assert begun.open == []


def interrupts() -> None:
    raise KeyboardInterrupt


def test_an_interrupt_while_a_call_is_made_leaves_it_observed_to_its_end(bench: Bench) -> None:
    begun = Begun()
    observe_calls(bench.pool._driver, begun)
    submit = Driver.submit

    def submit_and_interrupt(driver: Driver, call: Any) -> None:
        submit(driver, call)
        signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Driver, "submit", submit_and_interrupt)
        observe_calls(bench.pool._driver, begun)
        with pytest.raises(KeyboardInterrupt):
            bench.pool.call.work(1)
    observe_calls(bench.pool._driver, None)
    assert bench.pool.call.work(2).result(PATIENCE_S) == 2
    bench.pool.stop_workers()
    assert (begun.open, [each.outcome for each in begun.ends]) == ([], ["done"])


def test_a_context_does_not_stay_in_the_worker(bench: Bench) -> None:
    assert bench.pool.call.current().result(PATIENCE_S) is True
    traces.unregister(bench.pool)
    assert bench.pool.call.current().result(PATIENCE_S) is False
    assert "submit" not in vars(bench.pool._driver)
    assert bench.pool._driver.parts.outbox.call_frame is call_frame
    assert [span.name for span in bench.exporter.get_finished_spans()] in ([], ["current"])


def test_a_span_that_is_not_sampled_is_not_in_the_worker_either(bench: Bench) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    traces.register(bench.pool, TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False))
    assert bench.pool.call.work(1).result(PATIENCE_S) == 1
    assert bench.in_worker() == []
    assert bench.here() == {}


def test_without_a_provider_nothing_travels_and_no_worker_imports_anything() -> None:
    program = """
        from wpc_magic import traces
        from wpc_magic.pool import WorkerProcedureCall

        def loaded():
            import sys
            return "opentelemetry" in sys.modules

        with WorkerProcedureCall() as pool:
            traces.register(pool)
            pool.start_workers(1)
            future = pool.submit_function(loaded)
            print(future.result(), future.trace)
    """
    import textwrap

    assert run(textwrap.dedent(program)).stdout == "False None\n"


def test_the_trace_of_a_call_is_that_of_its_span(bench: Bench) -> None:
    future = bench.pool.call.work()
    future.result(PATIENCE_S)
    assert format_span_id(bench.here()["work"].context.span_id) in future.trace.carrier["traceparent"]
