"""What a stub refers to that ``%wpc_export --stubs`` has written.

A program needs it to annotate what takes a value or the future of a call, as functions of a pool do.
"""

from __future__ import annotations

from typing import TypeAlias, Union

from .api import WorkerProcedureCall
from .futures import CallFuture
from .keywords import CallKeywords, MapKeywords
from .maps.results import MapResults
from .procedures import Procedure
from .streams import ResultStream
from .value_type import Value

__all__ = [
    "Argument",
    "CallFuture",
    "CallKeywords",
    "MapKeywords",
    "MapResults",
    "Procedure",
    "ResultStream",
    "WorkerProcedureCall",
]

Argument: TypeAlias = Union[Value, CallFuture[Value]]  # noqa: UP007  # ``|`` knows no type variables here
"""An argument of a call: a value, or the future of another call, whose value it will be."""
