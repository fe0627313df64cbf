"""OpenTelemetry traces of calls: ``pip install 'wpc_magic[traces]'``.

::

    import wpc_magic.traces

    wpc_magic.traces.register(wpc)

Each call then is a span, a child of the one in which it was made, with its outcome. If the workers are
started for it, it begins when they are; where none are, there is no span. The context travels to the worker
with the call: there the function runs in a span of its own, of which the spans of its code are children. For
the workers' spans to be exported, a setup gives each worker a provider, as a program does::

    %%wpc_setup
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    ...
    trace.set_tracer_provider(provider)

Without a provider here no context travels, and no worker imports anything. For pools that are not registered,
nothing is done at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate, trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from wpc_magic.pool.driver.traced_calls import CallEnd, observe_calls

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from wpc_magic.pool import WorkerProcedureCall

__all__ = ["CallSpans", "register", "unregister"]


class CallSpans:
    """Makes a span of each call of a pool.

    Parameters
    ----------
    pool_name : str
        The name of the pool.
    provider : TracerProvider or None
        Makes the spans; None: that of the process.
    """

    def __init__(self, pool_name: str, provider: TracerProvider | None = None) -> None:
        self._pool_name = pool_name
        self._tracer = trace.get_tracer("wpc_magic", tracer_provider=provider)

    def begin(self, name: str, call_id: int, items: int) -> tuple[Span, Mapping[str, str]] | None:
        """Begin the span of a call; return it, and the context that travels with the call."""
        span = self._tracer.start_span(
            name,
            kind=SpanKind.CLIENT,
            attributes={"wpc.pool": self._pool_name, "wpc.function": name, "wpc.call_id": call_id},
        )
        try:
            if not span.get_span_context().is_valid:
                return None
            if items:
                span.set_attribute("wpc.items", items)
            carrier: dict[str, str] = {}
            propagate.inject(carrier, trace.set_span_in_context(span))
        except BaseException:  # an interrupt, or from a propagator of the user's
            span.end()
            raise
        return span, carrier

    def end(self, begun: Span, end: CallEnd) -> None:
        """End the span of a call."""
        begun.set_attribute("wpc.outcome", end.outcome)
        if end.worker_id:
            begun.set_attribute("wpc.worker_id", end.worker_id)
            begun.set_attribute("wpc.ran_s", end.ran_s)
        if end.outcome == "cancelled":
            begun.set_status(Status(StatusCode.ERROR, "cancelled"))
        elif end.outcome == "failed":
            begun.set_attribute("error.type", end.error)
            details: dict[str, Any] = {"exception.type": end.error, "exception.message": end.message}
            if end.stack:
                details["exception.stacktrace"] = end.stack
            begun.add_event("exception", details, end.ended_ns or None)
            begun.set_status(Status(StatusCode.ERROR, f"{end.error}: {end.message}"))
        begun.end(end.ended_ns or None)


def register(pool: WorkerProcedureCall, provider: TracerProvider | None = None) -> None:
    """Make a span of each call of a pool from now on.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    provider : TracerProvider, optional
        Makes the spans; by default, that of the process.

    Examples
    --------
    >>> from opentelemetry.sdk.trace import TracerProvider
    >>> from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    >>> from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    >>> from wpc_magic.pool import WorkerProcedureCall
    >>> spans = InMemorySpanExporter()
    >>> provider = TracerProvider()
    >>> provider.add_span_processor(SimpleSpanProcessor(spans))
    >>> with WorkerProcedureCall() as pool:
    ...     register(pool, provider)
    ...     pool.start_workers(1)
    ...     pool.submit_function(abs, (-1,)).result()
    1
    >>> [(span.name, span.attributes["wpc.outcome"]) for span in spans.get_finished_spans()]
    [('abs', 'done')]
    """
    observe_calls(pool._driver, CallSpans(pool.name, provider))


def unregister(pool: WorkerProcedureCall) -> None:
    """Make no spans of the calls of a pool any more."""
    observe_calls(pool._driver, None)
