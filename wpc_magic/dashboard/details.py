"""What a page asks for when something is opened: the source of a function, and what the registry holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, TypedDict

from wpc_magic.pool.core.snapshot import DependencyInfo, SharedInfo

__all__ = [
    "CallRow",
    "FunctionDetails",
    "RegistryRow",
    "call_details",
    "call_row",
    "function_details",
    "registry_rows",
]

_LATEST = 20  # calls that are shown of a function
_LOOKED_AT = 5_000  # calls among which they are looked for
_LONGEST_SOURCE = 20_000
_LONGEST_TEXT = 300


class CallRow(TypedDict):
    """A call that has ended."""

    number: int
    function: str
    ended_at: float
    worker: int | None
    ran_s: float | None
    state: str
    items: int
    arguments: str
    error: str


class FunctionDetails(TypedDict):
    """A function, opened."""

    source: str
    needs: list[str]
    calls: list[CallRow]


class RegistryRow(TypedDict):
    """A definition."""

    kind: str
    name: str
    what: str
    needs: list[str]
    nbytes: int | None
    holders: list[int]  # the workers that have it
    broken: str
    stale: bool  # whether the notebook has another value under this name by now


def function_details(pool: Any, name: str) -> FunctionDetails:
    """Return the source of a function, what it needs, and its last calls, the latest first.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    name : str
        The function; one that is not registered has no source.
    """
    about = pool.describe(name)
    calls = [call for call in pool.history(latest=_LOOKED_AT).calls if call.function == name]
    return FunctionDetails(
        source="" if about is None else _shortened(about.source, _LONGEST_SOURCE),
        needs=[] if about is None else list(about.info.requires),
        calls=[call_row(call) for call in reversed(calls[-_LATEST:])],
    )


def call_row(call: Any) -> CallRow:
    """Return the row of a call that has ended."""
    return CallRow(
        number=call.number,
        function=call.function,
        ended_at=call.ended_at,
        worker=call.worker_id,
        ran_s=call.ran_s,
        state=call.state,
        items=call.items,
        arguments=_shortened(call.arguments),
        error=_shortened(call.error),
    )


def call_details(pool: Any, number: int) -> dict[str, Any] | None:
    """Return what is known of a call that has ended; None: it is not kept.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    number : int
        The number of the call; one that was retried is shown as it has ended.
    """
    call = next((call for call in reversed(pool.history().calls) if call.number == number), None)
    if call is None:
        return None
    details: dict[str, Any] = {**dataclasses.asdict(call), "worker": call.worker_id}
    return details | {"arguments": _shortened(call.arguments), "error": _shortened(call.error)}


def registry_rows(pool: Any, namespace: Mapping[str, object] | None = None) -> list[RegistryRow]:
    """Return all definitions of a pool, without their values.

    Parameters
    ----------
    pool : WorkerProcedureCall
        The pool.
    namespace : mapping, optional
        The variables of the notebook.
    """
    rows = [
        *(
            _row("function", each.name, each.name + each.parameter_signature, each, each.requires)
            for each in pool.get_remote_functions()
        ),
        *(_row("dependency", each.alias, _target(each), each) for each in pool.get_worker_dependencies()),
        *(
            _row("constant", each.name, each.type_name, each, nbytes=each.nbytes)
            for each in pool.get_worker_constants()
        ),
        *(
            _row("resource", each.name, each.made_by, each, each.requires)
            for each in pool.get_worker_resources()
        ),
        *(
            _row("shared", each.name, _shared(each), each, nbytes=each.nbytes)
            for each in pool.get_shared_objects()
        ),
    ]
    holders = pool.holders()
    constants = [row["name"] for row in rows if row["kind"] == "constant"]
    stale = set(pool.differing_constants(constants, {} if namespace is None else namespace))
    for row in rows:
        held = holders.get(row["name"])
        row["holders"] = [] if held is None else held.workers
        if row["kind"] == "constant":
            row["stale"] = row["name"] in stale
            row["what"] += ", in memory once" if held is not None and held.is_shared else ", in each worker"
    return rows


def _row(
    kind: str, name: str, what: str, info: Any, needs: Iterable[str] = (), nbytes: int | None = None
) -> RegistryRow:
    return RegistryRow(
        kind=kind,
        name=name,
        what=_shortened(what),
        needs=list(needs),
        nbytes=nbytes,
        holders=[],
        broken=_shortened(info.broken or ""),
        stale=False,
    )


def _target(info: DependencyInfo) -> str:
    if info.is_default_export:
        return f"{info.module_specifier}.{info.module_specifier.rpartition('.')[2]}"
    return f"{info.module_specifier}.{info.export_name}" if info.export_name else info.module_specifier


def _shared(info: SharedInfo) -> str:
    return f"array of {info.dtype} {info.shape}" if info.kind == "array" else info.kind


def _shortened(text: str, longest: int = _LONGEST_TEXT) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
