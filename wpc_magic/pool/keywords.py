"""The options of calls and maps as keywords, for type checkers; no call needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

__all__ = ["CallKeywords", "MapKeywords"]


class _Keywords(TypedDict, total=False):
    timeout_ms: int | None
    queue_timeout_ms: int | None
    worker_id: int | None
    retries: int | None
    buffer: int | None
    item_timeout_ms: int | None
    retry_on: type[BaseException] | str | Sequence[type[BaseException] | str] | None
    priority: int | None
    cache: bool | None
    resources: Mapping[str, float] | str | None


class CallKeywords(_Keywords, total=False):
    """The fields of `CallOptions`, which says what they mean."""

    keep: bool


class MapKeywords(_Keywords, total=False):
    """The options of `WorkerProcedureCall.map`, but ``on_error``, which changes the type of its results."""

    chunk_size: int | None
    chunksize: int | None
    ordered: bool
    kwargs: Mapping[str, Any] | None
