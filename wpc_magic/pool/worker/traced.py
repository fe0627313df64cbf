"""A function whose call joins the trace of its caller, by OpenTelemetry.

Imported for the first call that comes with the context of a trace.
"""

from __future__ import annotations

from types import AsyncGeneratorType, CoroutineType, GeneratorType

from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Generator
    from typing import Any

    from opentelemetry.context import Context
    from opentelemetry.trace import Span

    from wpc_magic.pool.wire.protocol import Trace

__all__ = ["CALLERS", "traced"]

_GENERATOR = 0x20  # a flag of code
_YIELDS = _GENERATOR | 0x200  # that, or an asynchronous generator


def traced(function: Callable[..., Any], message: Trace, is_chunk: bool) -> Callable[..., Any]:
    """Return a function that does the same in a span of its own, which is a child of the caller's.

    Of a chunk of a map, each call is in the caller's span itself. Where the function yields, so does what
    is returned: a chunk knows by the code that it has to collect the items.

    Parameters
    ----------
    function : callable
        The function.
    message : Trace
        What came with the call.
    is_chunk : bool
        Whether it is called for each item of a chunk.
    """
    parent = propagate.extract(message.carrier)
    if is_chunk:
        flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
        if flags & _YIELDS:
            return (_yielding if flags & _GENERATOR else _yielding_later)(function, parent)
        return _in_context(function, parent)
    return _in_span(function, message, parent)


def _in_span(function: Callable[..., Any], message: Trace, parent: Context) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        span = trace.get_tracer("wpc_magic").start_span(message.name, parent, SpanKind.SERVER)
        inside = trace.set_span_in_context(span, parent)
        token = context.attach(inside)
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            _end(span, error)
            raise
        finally:
            context.detach(token)
        if type(value) is CoroutineType:
            return _await(value, inside, span)
        if type(value) is GeneratorType:
            return _generate(value, inside, span)
        if type(value) is AsyncGeneratorType:
            return _generate_async(value, inside, span)
        span.end()
        return value

    return call


def _in_context(function: Callable[..., Any], inside: Context) -> Callable[..., Any]:
    def call_item(*args: Any, **kwargs: Any) -> Any:
        token = context.attach(inside)
        try:
            value = function(*args, **kwargs)
        finally:
            context.detach(token)
        return _await(value, inside, None) if type(value) is CoroutineType else value

    return call_item


def _yielding(function: Callable[..., Any], inside: Context) -> Callable[..., Any]:
    def generate_item(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        token = context.attach(inside)
        try:
            return (yield from function(*args, **kwargs))
        finally:
            context.detach(token)

    return generate_item


def _yielding_later(function: Callable[..., Any], inside: Context) -> Callable[..., Any]:
    async def generate_item(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        context.attach(inside)  # of this task, whose context ends with it
        items = function(*args, **kwargs)
        try:
            async for item in items:
                yield item
        finally:
            await items.aclose()

    return generate_item


async def _await(coroutine: Coroutine[Any, Any, Any], inside: Context, span: Span | None) -> Any:
    context.attach(inside)  # of this task, whose context ends with it
    try:
        value = await coroutine
    except BaseException as error:
        _end(span, error)
        raise
    _end(span, None)
    return value


def _generate(items: Generator[Any, Any, Any], inside: Context, span: Span) -> Generator[Any, Any, Any]:
    token = context.attach(inside)
    try:
        value = yield from items
    except GeneratorExit:
        _end(span, None)
        raise
    except BaseException as error:
        _end(span, error)
        raise
    finally:
        context.detach(token)
    _end(span, None)
    return value


async def _generate_async(items: AsyncIterator[Any], inside: Context, span: Span) -> AsyncIterator[Any]:
    context.attach(inside)  # of this task
    try:
        async for item in items:
            yield item
    except GeneratorExit:
        _end(span, None)
        raise
    except BaseException as error:
        _end(span, error)
        raise
    finally:
        await items.aclose()  # type: ignore[attr-defined]
    _end(span, None)


def _end(span: Span | None, error: BaseException | None) -> None:
    if span is None:
        return
    if error is not None:
        span.record_exception(error)
        span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))
    span.end()


CALLERS = (
    *(
        next(each for each in made.__code__.co_consts if hasattr(each, "co_code"))
        for made in (_in_span, _in_context, _yielding)
    ),
    _generate.__code__,
)
"""The code that calls the user's: an interrupt may raise above it."""
